/* fuzz_aliases.c - any bytes as an alias's text or a .forward file: what comes out is whole. */
#include <assert.h>
#include <stdint.h>

#include "lib/mail/address.h"
#include "lib/mail/aliases.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct alias_destination *destination)
{
	struct address parts;

	assert(destination->text.length > 0);
	assert(!slice_contains_byte(destination->text, '\n'));
	assert(!slice_contains_byte(destination->text, '\0'));
	switch (destination->kind) {
	case ALIAS_ADDRESS:
		assert(address_split(destination->text, &parts) && parts.local.length > 0);
		return;
	case ALIAS_FILE:
	case ALIAS_INCLUDE: assert(destination->text.data[0] == '/'); return;
	case ALIAS_COMMAND: return;
	}
	assert(false);
}

static void
walk(struct slice text)
{
	struct arena             arena = ARENA(64u << 20);
	struct alias_destination one;
	struct error             error = ERROR_NONE;
	enum alias_result        result;
	size_t                   before = text.length + 1;

	while ((result = alias_next(&text, &arena, &one, &error)) != ALIAS_END) {
		assert(text.length < before); /* it always goes on */
		before = text.length;
		if (result == ALIAS_FOUND)
			check(&one);
		else
			assert(error.text[0] != '\0');
		if (text.length == 0)
			break;
	}
	arena_reset(&arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_of((const char *)data, size);
	struct buf   joined = BUF(size * 2 + 16);

	if (size > 65536)
		return 0;
	walk(text);
	if (alias_join_lines(text, &joined))
		walk(buf_slice(&joined));
	buf_free(&joined);
	return 0;
}
