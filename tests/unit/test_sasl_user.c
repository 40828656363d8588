/* What is stored of a user: hashes, SCRAM keys, records, names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/encode.h"
#include "lib/sasl/lastuse.h"
#include "lib/sasl/user.h"

static void
the_hash_of_nobody_costs_the_same_and_fits_nothing(void **state)
{
	(void)state;
	char hash[PASSWORD_HASH_SIZE], real[PASSWORD_HASH_SIZE];

	assert_true(password_hash_of_nobody(1, hash, NULL));
	assert_true(password_hash(SLICE("correct horse"), 1, real, NULL));
	assert_int_equal(strlen(hash), strlen(real));
	assert_memory_equal(hash, real, 7); /* method and cost */
	assert_true(password_hash_is_known(hash));
	assert_int_equal(password_verify(SLICE("correct horse"), hash), PASSWORD_WRONG);
	assert_int_equal(password_verify(SLICE(""), hash), PASSWORD_WRONG);
}

/* As libxcrypt's gensalt makes them: cost 5 is 4096 passes over 32 blocks. */
static void
what_a_hash_takes_is_known_before(void **state)
{
	static const struct {
		const char *hash;
		int64_t     bytes;
	} rows[] = {
		{ "$y$j75$v9aGEdjv6RiQIpO/kVF/V0$x", 1 << 20 },
		{ "$y$j9T$EYYlHFewP2/7HeCJR2VG40$x", 16 << 20 },
		{ "$gy$jAT$e7awoR7NPiVXGE0xfSF5O0$x", 32 << 20 },
		{ "$7$CU..../....eJlt/tMef7.Udv2JpyqbM/$x", 64 << 20 },
		{ "$6$salt$hash", 0 },
		{ "$y$", 0 },
		{ "{SHA}", 0 },
		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t bytes = password_verify_bytes(rows[i].hash);

		assert_true(bytes >= rows[i].bytes && bytes < rows[i].bytes + (64 << 10));
	}
}

static void
hash_is_yescrypt_and_verifies(void **state)
{
	char hash[PASSWORD_HASH_SIZE], again[PASSWORD_HASH_SIZE];

	(void)state;
	assert_true(password_hash(SLICE("correct horse"), 1, hash, NULL));
	assert_memory_equal(hash, "$y$", 3);
	assert_int_equal(password_verify(SLICE("correct horse"), hash), PASSWORD_RIGHT);
	assert_int_equal(password_verify(SLICE("correct horsf"), hash), PASSWORD_WRONG);
	assert_int_equal(password_verify(SLICE(""), hash), PASSWORD_WRONG);
	assert_int_equal(password_verify(slice_of("correct horse\0x", 15), hash), PASSWORD_WRONG);
	assert_true(password_hash(SLICE("correct horse"), 1, again, NULL));
	assert_string_not_equal(hash, again);
}

static void
unknown_hash_is_no_answer(void **state)
{
	(void)state;
	assert_int_equal(password_verify(SLICE("x"), "$nonsense$"), PASSWORD_UNKNOWN);
}

static void
sound_passwords_are_told_from_others(void **state)
{
	char long_one[PASSWORD_MOST + 1];

	(void)state;
	memset(long_one, 'a', sizeof(long_one));
	assert_true(password_is_acceptable(SLICE("12345678"), 8, NULL));
	assert_true(password_is_acceptable(SLICE("p\xc3\xa4ssw\xc3\xb6rd"), 8, NULL));
	assert_false(password_is_acceptable(SLICE("p\xc3\xa4ssw\xc3\xb6r"), 8, NULL));
	assert_false(password_is_acceptable(SLICE("1234567"), 8, NULL));
	assert_false(password_is_acceptable(SLICE("12345678\n"), 8, NULL));
	assert_false(password_is_acceptable(SLICE("12345678\xff"), 8, NULL));
	assert_false(password_is_acceptable(slice_of(long_one, sizeof(long_one)), 8, NULL));
	assert_false(password_is_acceptable(SLICE(""), 0, NULL));
}

/* RFC 7677 section 3: user "user", password "pencil". The proof and the server's signature there
 * follow from these keys; both are checked. */
static void
scram_keys_reproduce_the_exchange_of_rfc_7677(void **state)
{
	struct scram_keys keys = { .iterations = 4096 };
	struct buf        salt = BUF(100), text = BUF(1000);
	struct scram_keys parsed;

	(void)state;
	assert_true(base64_decode(SLICE("W22ZaJ0SNY7soEsUEjb6gQ=="), &salt));
	assert_int_equal(salt.length, SCRAM_SALT_BYTES);
	memcpy(keys.salt, salt.data, salt.length);
	assert_true(scram_derive(SLICE("pencil"), &keys, NULL));
	assert_true(scram_append(&keys, &text));
	assert_string_equal(buf_text(&text), "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
	                                     "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
	                                     "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
	assert_true(scram_parse(buf_slice(&text), &parsed));
	assert_memory_equal(&parsed, &keys, sizeof(keys));

	struct slice  message = SLICE("n=user,r=rOprNGfwEbeRWgbNEkqO,"
	                               "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
	                               "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,"
	                               "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
	struct buf    proof = BUF(100), expected = BUF(100);
	unsigned char signature[SCRAM_KEY_BYTES];
	assert_true(base64_decode(SLICE("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), &proof));
	assert_true(scram_proof_is_right(&keys, message, (const unsigned char *)proof.data));
	proof.data[31] ^= 1;
	assert_false(scram_proof_is_right(&keys, message, (const unsigned char *)proof.data));
	assert_true(scram_server_signature(&keys, message, signature));
	assert_true(
		base64_decode(SLICE("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), &expected));
	assert_memory_equal(signature, expected.data, SCRAM_KEY_BYTES);
	buf_free(&proof);
	buf_free(&expected);
	buf_free(&salt);
	buf_free(&text);
}

static void
malformed_scram_text_is_refused(void **state)
{
	const char *const bad[] = {
		"",
		"SCRAM-SHA-256$",
		"SCRAM-SHA-1$4096:W22ZaJ0SNY7soEsUEjb6gQ==$a:b",
		"SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
		"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcX:x",
	};
	struct scram_keys keys;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(scram_parse(slice_from(bad[i]), &keys));
}

static void
record_survives_the_round_trip(void **state)
{
	struct user_record record = { .is_enabled = true }, read;
	struct buf         text = BUF(USER_RECORD_MOST);

	(void)state;
	assert_true(user_record_set_password(&record, SLICE("secret password"), 1, 4096, NULL));
	assert_true(user_record_encode(&record, &text));
	assert_true(user_record_decode(buf_slice(&text), &read, NULL));
	assert_true(read.is_enabled);
	assert_true(read.has_scram);
	assert_string_equal(read.password, record.password);
	assert_memory_equal(&read.scram, &record.scram, sizeof(record.scram));
	assert_int_equal(read.changed_s, record.changed_s);
	buf_free(&text);
}

static void
unknown_fields_are_passed_over_and_versions_are_not(void **state)
{
	struct user_record read;

	(void)state;
	assert_true(user_record_decode(
		SLICE("dakiya-user 1\nenabled yes\nfuture phone $y$x\nnew\n"), &read, NULL));
	assert_true(read.is_enabled);
	assert_false(read.has_scram);
	assert_string_equal(read.password, "");
	assert_false(user_record_decode(SLICE("dakiya-user 2\nenabled yes\n"), &read, NULL));
	assert_false(user_record_decode(SLICE("dakiya-user 1\nenabled maybe\n"), &read, NULL));
	assert_false(user_record_decode(SLICE("dakiya-user 1\nscram x\n"), &read, NULL));
	assert_false(user_record_decode(SLICE(""), &read, NULL));
}

/* Values made with Python's hashlib: digest of "secret" and, salted, "secret" "salt". */
static void
digests_of_other_servers_verify(void **state)
{
	const char *const good[] = {
		"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
		"{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
		"{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
	};
	const char *const malformed[] = { "{SHA}AAAA", "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
		                          "{SHA}!",    "{MD4}x",
		                          "{SHA512}",  "{" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(password_hash_is_known(good[i]));
		assert_int_equal(password_verify(SLICE("secret"), good[i]), PASSWORD_RIGHT);
		assert_int_equal(password_verify(SLICE("secres"), good[i]), PASSWORD_WRONG);
		assert_int_equal(password_verify(SLICE(""), good[i]), PASSWORD_WRONG);
	}
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		assert_false(password_hash_is_known(malformed[i]));
		assert_int_equal(password_verify(SLICE("secret"), malformed[i]), PASSWORD_UNKNOWN);
	}
}

static void
app_passwords_stand_behind_the_record_and_survive_it(void **state)
{
	struct user_app    first = { .protocols = USER_PROTOCOL_SMTP, .label = "my phone" };
	struct user_app    second = { .protocols = USER_PROTOCOL_ANY, .label = "p\xc3\xa4" }, read;
	struct user_record record = { .is_enabled = true, .changed_s = 5 }, again;
	struct buf         text = BUF(USER_RECORD_MOST), less = BUF(USER_RECORD_MOST);
	char               password[USER_APP_PASSWORD], other[USER_APP_PASSWORD];

	(void)state;
	user_salt(SLICE("dakiya-user 1\nenabled yes\n"), 4096, &first.scram);
	second.scram = first.scram;
	assert_true(user_app_make(&first, 1, password, NULL));
	assert_true(user_app_make(&second, 1, other, NULL));
	assert_int_equal(first.scram.iterations, 4096);
	assert_int_equal(strlen(password), 24);
	assert_true(user_app_fits(&first, slice_from(password)));
	assert_false(user_app_fits(&first, slice_first(slice_from(password), 23)));
	assert_true(user_record_encode(&record, &text));
	assert_true(user_app_append(&first, &text) && user_app_append(&second, &text));
	assert_true(user_record_decode(buf_slice(&text), &again, NULL)); /* an older program, too */
	assert_int_equal(again.changed_s, 5);

	struct slice rest = buf_slice(&text);
	assert_true(user_app_next(&rest, &read));
	assert_string_equal(read.label, "my phone");
	assert_int_equal(read.protocols, USER_PROTOCOL_SMTP);
	assert_int_equal(password_verify(slice_from(password), read.password), PASSWORD_RIGHT);
	assert_memory_equal(&read.scram, &first.scram, sizeof(read.scram));
	assert_true(user_app_next(&rest, &read));
	assert_string_equal(read.label, "p\xc3\xa4");
	assert_false(user_app_next(&rest, &read));

	/* The next one gets the salt of those that are there. */
	user_salt(buf_slice(&text), 5000, &second.scram);
	assert_int_equal(second.scram.iterations, 4096);
	assert_memory_equal(second.scram.salt, first.scram.salt, SCRAM_SALT_BYTES);

	assert_true(user_apps_copy(buf_slice(&text), first.id, &less));
	rest = buf_slice(&less);
	assert_true(user_app_next(&rest, &read));
	assert_string_equal(read.id, second.id);
	assert_false(user_app_next(&rest, &read));
	buf_free(&text);
	buf_free(&less);
}

static void
malformed_app_passwords_are_no_logins(void **state)
{
	const char *const lines[] = { "app",
		                      "app ",
		                      "app abcd smtp 1 $y$x",
		                      "app abc smtp 1 $y$x - label",
		                      "app abcd imap 1 $y$x - label",
		                      "app abcd smtp -1 $y$x - label",
		                      "app abcd smtp 1 $y$x keys label",
		                      "app abcd smtp 1 $y$x - ",
		                      "apps abcd smtp 1 $y$x - label" };
	struct user_app   app;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct slice rest = slice_from(lines[i]);

		if (user_app_next(&rest, &app))
			fail_msg("accepted: %s", lines[i]);
	}
	assert_true(user_label_is_sound(SLICE("my phone")));
	assert_false(user_label_is_sound(SLICE("two\nlines")));
	assert_false(user_label_is_sound(SLICE("")));
	assert_false(user_label_is_sound(SLICE("\xff")));
}

static void
last_use_is_kept_to_a_minute_and_bounded(void **state)
{
	char             path[] = "/tmp/dakiya-last-use-XXXXXX", user[32];
	struct stat      before, after;
	struct error     error = ERROR_NONE;
	struct last_use *writer, *reader;

	(void)state;
	assert_null(last_use_open("/nonexistent/last-use", true, &error));
	assert_int_equal(error.errno_value, ENOENT);
	close(mkstemp(path));
	unlink(path);
	assert_true(last_use_create(path, (uid_t)-1, (gid_t)-1, NULL));
	assert_true(last_use_create(path, (uid_t)-1, (gid_t)-1, NULL)); /* what is there stays */
	writer = last_use_open(path, true, NULL);
	reader = last_use_open(path, false, NULL);
	assert_int_equal(last_use_get(reader, "a@b", ""), 0);
	last_use_note(writer, "a@b", "", 1000);
	last_use_note(writer, "a@b", "k7mw", 1030);
	assert_int_equal(last_use_get(reader, "a@b", ""), 1000);
	assert_int_equal(last_use_get(reader, "a@b", "k7mw"), 1030);
	assert_int_equal(last_use_get(reader, "a@", "b"), 0);
	last_use_note(writer, "a@b", "", 1059); /* no news yet */
	assert_int_equal(last_use_get(reader, "a@b", ""), 1000);
	last_use_note(writer, "a@b", "", 1060);
	assert_int_equal(last_use_get(reader, "a@b", ""), 1060);
	last_use_note(writer, "a@b", "", 500); /* the clock was set back */
	assert_int_equal(last_use_get(reader, "a@b", ""), 500);

	assert_int_equal(stat(path, &before), 0);
	for (int i = 0; i < 100000; i++) {
		snprintf(user, sizeof(user), "user%d@example.org", i);
		last_use_note(writer, user, "", 2000 + i);
	}
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	assert_int_equal(last_use_get(reader, "user99999@example.org", ""), 2000 + 99999);
	last_use_note(NULL, "a@b", "", 1);
	assert_int_equal(last_use_get(NULL, "a@b", ""), 0);
	last_use_close(&writer);
	last_use_close(&reader);
	unlink(path);
}

static void
user_names_are_folded_and_checked(void **state)
{
	char name[USER_NAME_MOST + 1];

	(void)state;
	assert_true(user_name_canonical(SLICE("Alice@Example.ORG"), "", name, NULL));
	assert_string_equal(name, "alice@example.org");
	assert_true(user_name_canonical(SLICE("bob"), "example.org", name, NULL));
	assert_string_equal(name, "bob@example.org");
	assert_false(user_name_canonical(SLICE("bob"), "", name, NULL));
	const char *const bad[] = { "@example.org",       "a@",
		                    "a b@example.org",    "a@b@example.org",
		                    "a/../b@example.org", "..@example.org",
		                    "a..b@example.org",   "a@example..org",
		                    "a@-x.org",           "a\n@example.org",
		                    "a@[1.2.3.4]",        "\xff@example.org" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (user_name_canonical(slice_from(bad[i]), "", name, NULL))
			fail_msg("accepted: %s", bad[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_hash_takes_is_known_before),
		cmocka_unit_test(the_hash_of_nobody_costs_the_same_and_fits_nothing),
		cmocka_unit_test(hash_is_yescrypt_and_verifies),
		cmocka_unit_test(unknown_hash_is_no_answer),
		cmocka_unit_test(sound_passwords_are_told_from_others),
		cmocka_unit_test(scram_keys_reproduce_the_exchange_of_rfc_7677),
		cmocka_unit_test(malformed_scram_text_is_refused),
		cmocka_unit_test(record_survives_the_round_trip),
		cmocka_unit_test(unknown_fields_are_passed_over_and_versions_are_not),
		cmocka_unit_test(digests_of_other_servers_verify),
		cmocka_unit_test(app_passwords_stand_behind_the_record_and_survive_it),
		cmocka_unit_test(malformed_app_passwords_are_no_logins),
		cmocka_unit_test(last_use_is_kept_to_a_minute_and_bounded),
		cmocka_unit_test(user_names_are_folded_and_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
