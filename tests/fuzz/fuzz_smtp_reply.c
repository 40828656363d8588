/* fuzz_smtp_reply.c - replies of a server: what is parsed and written again parses to the same. */
#include <assert.h>
#include <stdint.h>

#include "lib/smtp/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena      arena = ARENA(1u << 20);
	struct buf        once = BUF(1u << 20), twice = BUF(1u << 20);
	struct smtp_reply reply;
	size_t            consumed = 0;

	if (smtp_reply_parse(slice_of((const char *)data, size), &arena, &reply, &consumed) ==
	    SMTP_PARSE_DONE) {
		assert(consumed > 0 && consumed <= size);
		if (smtp_reply_append(&once, &reply)) {
			struct smtp_reply again;
			assert(smtp_reply_parse(buf_slice(&once), &arena, &again, &consumed) ==
			       SMTP_PARSE_DONE);
			assert(consumed == once.length && again.code == reply.code);
			assert(smtp_reply_append(&twice, &again));
		}
	}
	buf_free(&once);
	buf_free(&twice);
	arena_reset(&arena);
	return 0;
}
