/* fuzz_mail_dsn.c - fields of notices: whatever the value, one field with short lines comes out. */
#include <assert.h>
#include <stdint.h>

#include "lib/mail/dsn.h"
#include "lib/mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_field(struct buf *out, bool allow_utf8)
{
	struct slice        block = buf_slice(out), rest = block, line;
	struct header_field field;

	assert(slice_ends_with(block, SLICE("\r\n")));
	assert(header_next(&block, &field) && block.length == 0);
	while (slice_next_part(&rest, '\n', &line))
		assert(line.length <= 999);
	assert(allow_utf8 ? slice_is_utf8(buf_slice(out)) : slice_is_ascii(buf_slice(out)));
	buf_clear(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice value = slice_of((const char *)data, size);
	struct buf   out = BUF(1u << 20);

	for (int utf8 = 0; utf8 < 2; utf8++) {
		assert(dsn_append_field(&out, "Diagnostic-Code", "smtp", value, utf8));
		check_field(&out, utf8);
		if (dsn_append_address(&out, "Final-Recipient", value, utf8))
			check_field(&out, utf8);
		buf_clear(&out);
		assert(dsn_append_typed(&out, "Original-Recipient", value, utf8));
		check_field(&out, utf8);
	}
	buf_free(&out);
	return 0;
}
