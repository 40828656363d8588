/* fuzz_mail_header.c - header blocks: fields cover the block, unfolding gives one line. */
#include <assert.h>
#include <stdint.h>

#include "lib/mail/header.h"
#include "lib/mail/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice           message = slice_of((const char *)data, size), block = message;
	struct header_field    field;
	struct enhanced_status status;
	size_t                 walked = 0, length;

	while (header_next(&block, &field)) {
		struct buf value = BUF(1u << 20);

		assert(field.whole.data == message.data + walked && field.name.length > 0);
		walked += field.whole.length;
		assert(header_unfold(field.value, &value));
		assert(!slice_contains_byte(buf_slice(&value), '\n'));
		assert(!slice_contains_byte(buf_slice(&value), '\r'));
		buf_free(&value);
	}
	assert(walked + block.length == size);
	assert(header_block_length(message) <= size);
	(void)header_find(message, SLICE("Message-ID"), &field);
	if (enhanced_status_parse(message, &status, &length))
		assert(length >= 5 && length <= 9 && length <= size);
	return 0;
}
