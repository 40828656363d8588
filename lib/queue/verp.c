/* verp.c - see verp.h. */
#include "lib/queue/verp.h"

#define FIRST_SHIFT  16
#define SECOND_SHIFT 24
#define DELIMITERS   (0xffffu << FIRST_SHIFT)

bool
verp_delimiters_are_good(struct slice delimiters, const char *filter)
{
	return delimiters.length == 2 &&
	       slice_contains_byte(slice_from(filter), delimiters.data[0]) &&
	       slice_contains_byte(slice_from(filter), delimiters.data[1]) &&
	       (unsigned char)delimiters.data[0] < 128 && (unsigned char)delimiters.data[1] < 128;
}

uint32_t
verp_flags(struct slice delimiters)
{
	if (delimiters.length != 2)
		return ENVELOPE_VERP;
	return ENVELOPE_VERP | (uint32_t)(unsigned char)delimiters.data[0] << FIRST_SHIFT |
	       (uint32_t)(unsigned char)delimiters.data[1] << SECOND_SHIFT;
}

uint32_t
verp_complete(uint32_t flags, struct slice delimiters)
{
	if ((flags & ENVELOPE_VERP) == 0)
		return flags & ~DELIMITERS;
	return (flags & DELIMITERS) != 0 ? flags : flags | verp_flags(delimiters);
}

bool
verp_sender(uint32_t flags, struct slice sender, struct slice recipient, struct buf *out)
{
	size_t at = slice_find_last_byte(sender, '@'), to = slice_find_last_byte(recipient, '@');

	if ((flags & ENVELOPE_VERP) == 0 || (flags & DELIMITERS) == 0 || at == SLICE_NOT_FOUND ||
	    to == SLICE_NOT_FOUND)
		return false;
	buf_append(out, slice_first(sender, at));
	buf_append_byte(out, (char)(flags >> FIRST_SHIFT & 0x7f));
	buf_append(out, slice_first(recipient, to));
	buf_append_byte(out, (char)(flags >> SECOND_SHIFT & 0x7f));
	buf_append(out, slice_from_offset(recipient, to + 1));
	buf_append(out, slice_from_offset(sender, at));
	return true;
}
