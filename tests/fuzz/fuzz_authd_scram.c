/* links: authd/scram.c */
/* The messages of a SCRAM exchange from a stranger, beside a user who has app passwords. */
#include <assert.h>

#include "authd/scram.h"

#define RECORD                                                                                     \
	"static:dakiya-user 1\nenabled yes\nchanged 5\napp k7mw any 5 $y$x "                       \
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"                                             \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                                            \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU= my phone\n"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

/* Three lines: the client's first message, the server's, the client's last. */
int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct slice          rest = slice_of((const char *)data, size);
	struct scram_messages messages = { SLICE_EMPTY, SLICE_EMPTY, SLICE_EMPTY };
	struct login_name     login = { "user@example.org", "smtp", "" };
	struct authd          authd = { .users = table_open(RECORD, false, NULL) };
	struct buf            server_final = BUF(1000);

	if (slice_next_part(&rest, '\n', &messages.client_first) &&
	    slice_next_part(&rest, '\n', &messages.server_first))
		messages.client_final = slice_trim(rest);
	bool is_proven = scram_app_prove(&authd, &login, &messages, &server_final);
	assert(is_proven == (login.credential[0] != '\0'));
	assert(is_proven == (server_final.length > 0));
	buf_free(&server_final);
	table_close(&authd.users);
	return 0;
}
