/*
 * Replies of socketmap and tcp servers: whatever comes, in whatever pieces, the parser wants more,
 * refuses, or gives one answer within what came. The first byte chooses the protocol.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/table/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum reply_parse
parse(bool is_tcp, struct slice input, size_t *used, enum lookup *answer, struct buf *value)
{
	struct error     error = ERROR_NONE;
	enum reply_parse result = (is_tcp ? reply_parse_tcp : reply_parse_socketmap)(
		input, used, answer, value, &error);

	if (result == REPLY_MALFORMED || (result == REPLY_DONE && *answer == LOOKUP_TRY_LATER))
		assert(error.text[0] != '\0');
	return result;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf       value = BUF(REPLY_MOST), again = BUF(REPLY_MOST);
	enum lookup      answer = LOOKUP_TRY_LATER, same = LOOKUP_TRY_LATER;
	enum reply_parse result = REPLY_MORE;
	size_t           used = 0, used_again = 0;

	if (size < 1 || size > 4000)
		return 0;
	bool         is_tcp = data[0] % 2 == 1;
	struct slice whole = slice_of((const char *)data + 1, size - 1);
	for (size_t length = 0; length <= whole.length && result == REPLY_MORE; length++)
		result = parse(is_tcp, slice_first(whole, length), &used, &answer, &value);
	if (result == REPLY_DONE) {
		assert(used <= whole.length);
		/* What stands behind it changes nothing. */
		enum reply_parse at_once = parse(is_tcp, whole, &used_again, &same, &again);
		assert(at_once == result && used_again == used && same == answer);
		assert(slice_equal(buf_slice(&value), buf_slice(&again)));
	}
	buf_free(&value);
	buf_free(&again);
	return 0;
}
