/* links: authd/scram.c */
/* SCRAM with an app password: the example of RFC 7677, whole and bent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "authd/scram.h"

#define NONCE  "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define FIRST  "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
#define SERVER "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define PROOF  "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define FINAL  "c=biws,r=" NONCE ",p=" PROOF
/* The keys of "pencil", as the example has them. */
#define KEYS                                                                                       \
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"                                             \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                                            \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
/* A table whose every value is this record. */
#define RECORD(enabled, protocol)                                                                  \
	"static:dakiya-user 1\nenabled " enabled "\nchanged 5\napp abcd any 5 $y$x - other\n"      \
	"app k7mw " protocol " 5 $y$x " KEYS " my phone\n"

struct trial {
	const char *record, *service, *first, *server, *final;
	bool        is_proven;
};

static bool
prove(const struct trial *trial, struct login_name *login, struct buf *server_final)
{
	struct scram_messages messages = { slice_from(trial->first), slice_from(trial->server),
		                           slice_from(trial->final) };
	struct authd          authd = { .users = table_open(trial->record, false, NULL) };

	assert_non_null(authd.users);
	bool is_proven = scram_app_prove(&authd, login, &messages, server_final);
	table_close(&authd.users);
	return is_proven;
}

static void
the_right_proof_is_answered_with_the_signature(void **state)
{
	const struct trial trial = { RECORD("yes", "smtp"), "smtp", FIRST, SERVER, FINAL, true };
	struct login_name  login = { "user@example.org", "smtp", "" };
	struct buf         server_final = BUF(1000);

	(void)state;
	assert_true(prove(&trial, &login, &server_final));
	assert_string_equal(buf_text(&server_final),
	                    "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
	assert_string_equal(login.credential, "k7mw");
	buf_free(&server_final);
}

static void
anything_else_proves_nothing(void **state)
{
	static const struct trial trials[] = {
		/* another service, a disabled user, no user at all */
		{ RECORD("yes", "pop3"), "smtp", FIRST, SERVER, FINAL, false },
		{ RECORD("yes", "any"), "pop3", FIRST, SERVER, FINAL, true },
		{ RECORD("no", "any"), "smtp", FIRST, SERVER, FINAL, false },
		{ "inline:{x=y}", "smtp", FIRST, SERVER, FINAL, false },
		/* a bit of the proof, its length, its encoding, nothing */
		{ RECORD("yes", "any"), "smtp", FIRST, SERVER,
		  "c=biws,r=" NONCE ",p=eHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", false },
		{ RECORD("yes", "any"), "smtp", FIRST, SERVER, "c=biws,r=" NONCE ",p=dHzb", false },
		{ RECORD("yes", "any"), "smtp", FIRST, SERVER, "c=biws,r=" NONCE ",p=!", false },
		{ RECORD("yes", "any"), "smtp", FIRST, SERVER, "c=biws,r=" NONCE, false },
		{ RECORD("yes", "any"), "smtp", FIRST, SERVER, "", false },
		/* a nonce of another exchange, one cut short, an extension, another header */
		{ RECORD("yes", "any"), "smtp", FIRST, "r=x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		  FINAL, false },
		{ RECORD("yes", "any"), "smtp", FIRST, SERVER,
		  "c=biws,r=rOprNGfwEbeRWgbNEkqO,p=" PROOF, false },
		{ RECORD("yes", "any"), "smtp", FIRST, SERVER, "c=biws,r=" NONCE ",x=y,p=" PROOF,
		  false },
		{ RECORD("yes", "any"), "smtp", FIRST, SERVER, "c=eSws,r=" NONCE ",p=" PROOF,
		  false },
		{ RECORD("yes", "any"), "smtp", "y,,n=user,r=rOprNGfwEbeRWgbNEkqO", SERVER, FINAL,
		  false },
		/* another name to be, channel binding, no message before */
		{ RECORD("yes", "any"), "smtp", "n,a=bob,n=user,r=rOprNGfwEbeRWgbNEkqO", SERVER,
		  FINAL, false },
		{ RECORD("yes", "any"), "smtp", "p=tls-unique,,n=user,r=x", SERVER, FINAL, false },
		{ RECORD("yes", "any"), "smtp", "", "", FINAL, false },
		{ RECORD("yes", "any"), "smtp", FIRST, "", "c=biws,,p=" PROOF, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
		struct login_name login = { "user@example.org", trials[i].service, "" };
		struct buf        server_final = BUF(1000);

		if (prove(&trials[i], &login, &server_final) != trials[i].is_proven)
			fail_msg("trial %zu", i);
		assert_int_equal(login.credential[0] != '\0', trials[i].is_proven);
		assert_int_equal(server_final.length > 0, trials[i].is_proven);
		buf_free(&server_final);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_right_proof_is_answered_with_the_signature),
		cmocka_unit_test(anything_else_proves_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
