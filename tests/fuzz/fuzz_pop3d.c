/* fuzz_pop3d.c - a POP3 session with any bytes, in pieces of any size. */
/* links: pop3d/command.c pop3d/counts.c pop3d/login.c pop3d/mailbox.c */
/* links: pop3d/reply.c pop3d/send.c pop3d/session.c pop3d/transaction.c */
#include "lib/base/log.h"
#include "tests/dialogue/pop3_fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says how the rest is cut; a session must end, and answer in lines with CRLF. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct snapshot *snapshot;
	struct pop3_room        room = { 0 };
	struct buf              output = BUF(8 << 20);

	if (size < 1)
		return 0;
	if (snapshot == NULL) {
		log_open("fuzz", "", LOG_TO_STREAM, open("/dev/null", O_WRONLY | O_CLOEXEC), 0);
		snapshot = snapshot_from_text("auth_allow_cleartext = yes", NULL);
	}
	room.parameters = snapshot_parameters(snapshot);
	pop3_counts_init(&room.counts);
	fake_session(&room, slice_of((const char *)data + 1, size - 1), data[0], &output);
	if (output.length > 0 && output.data[output.length - 1] != '\n')
		abort();
	if (room.counts.by_key.count != 0)
		abort();
	pop3_counts_destroy(&room.counts);
	buf_free(&output);
	return 0;
}
