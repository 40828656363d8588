/* slice.c - see slice.h. */
#include "lib/base/slice.h"

#include <stdint.h>

bool
slice_equal(struct slice a, struct slice b)
{
	return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

bool
slice_equal_fold(struct slice a, struct slice b)
{
	if (a.length != b.length)
		return false;
	for (size_t i = 0; i < a.length; i++)
		if (ascii_lower(a.data[i]) != ascii_lower(b.data[i]))
			return false;
	return true;
}

bool
slice_starts_with(struct slice s, struct slice prefix)
{
	return s.length >= prefix.length && slice_equal(slice_first(s, prefix.length), prefix);
}

bool
slice_starts_with_fold(struct slice s, struct slice prefix)
{
	return s.length >= prefix.length && slice_equal_fold(slice_first(s, prefix.length), prefix);
}

bool
slice_ends_with(struct slice s, struct slice suffix)
{
	return s.length >= suffix.length &&
	       slice_equal(slice_of(s.data + (s.length - suffix.length), suffix.length), suffix);
}

bool
slice_ends_with_fold(struct slice s, struct slice suffix)
{
	return s.length >= suffix.length &&
	       slice_equal_fold(slice_of(s.data + (s.length - suffix.length), suffix.length),
	                        suffix);
}

int
slice_compare(struct slice a, struct slice b)
{
	size_t shorter = a.length < b.length ? a.length : b.length;
	int    order = shorter == 0 ? 0 : memcmp(a.data, b.data, shorter);

	if (order != 0)
		return order;
	return a.length < b.length ? -1 : a.length > b.length;
}

size_t
slice_find_byte(struct slice s, char byte)
{
	const char *at = s.length == 0 ? NULL : memchr(s.data, byte, s.length);

	return at == NULL ? SLICE_NOT_FOUND : (size_t)(at - s.data);
}

size_t
slice_find_last_byte(struct slice s, char byte)
{
	const char *at = s.length == 0 ? NULL : memrchr(s.data, byte, s.length);

	return at == NULL ? SLICE_NOT_FOUND : (size_t)(at - s.data);
}

size_t
slice_find(struct slice s, struct slice needle)
{
	if (needle.length == 0)
		return 0;
	const char *at =
		s.length == 0 ? NULL : memmem(s.data, s.length, needle.data, needle.length);

	return at == NULL ? SLICE_NOT_FOUND : (size_t)(at - s.data);
}

bool
slice_contains_byte(struct slice s, char byte)
{
	return slice_find_byte(s, byte) != SLICE_NOT_FOUND;
}

struct slice
slice_trim(struct slice s)
{
	while (s.length > 0 && ascii_is_space(s.data[0]))
		s = slice_of(s.data + 1, s.length - 1);
	while (s.length > 0 && ascii_is_space(s.data[s.length - 1]))
		s.length--;
	return s;
}

bool
slice_next_part(struct slice *rest, char separator, struct slice *part)
{
	if (rest->data == NULL)
		return false;
	size_t at = slice_find_byte(*rest, separator);

	if (at == SLICE_NOT_FOUND) {
		*part = *rest;
		*rest = slice_of(NULL, 0);
		return true;
	}
	*part = slice_first(*rest, at);
	*rest = slice_of(rest->data + at + 1, rest->length - at - 1);
	return true;
}

/* Bytes as bits: a test of one costs no call. */
struct byte_set {
	uint64_t bits[4];
};

static inline bool
byte_set_has(const struct byte_set *set, char byte)
{
	unsigned char c = (unsigned char)byte;

	return (set->bits[c / 64] >> (c % 64) & 1) != 0;
}

bool
slice_next_word(struct slice *rest, const char *separators, struct slice *word)
{
	struct byte_set set = { { 0 } };
	size_t          start = 0;

	for (const char *p = separators; *p != '\0'; p++)
		set.bits[(unsigned char)*p / 64] |= UINT64_C(1) << ((unsigned char)*p % 64);
	while (start < rest->length && byte_set_has(&set, rest->data[start]))
		start++;
	if (start == rest->length) {
		*rest = SLICE_EMPTY;
		return false;
	}
	size_t end = start;
	while (end < rest->length && !byte_set_has(&set, rest->data[end]))
		end++;
	*word = slice_of(rest->data + start, end - start);
	*rest = slice_from_offset(*rest, end);
	return true;
}

bool
slice_next_item(struct slice *rest, const char *separators, struct slice *item)
{
	size_t   at = 0;
	unsigned depth = 0;

	while (rest->length > 0 && (ascii_is_space(rest->data[0]) || rest->data[0] == ','))
		*rest = slice_from_offset(*rest, 1);
	for (; at < rest->length; at++) {
		depth += rest->data[at] == '{';
		depth -= rest->data[at] == '}' && depth > 0;
		if (depth == 0 && strchr(separators, rest->data[at]) != NULL)
			break;
	}
	*item = slice_trim(slice_first(*rest, at));
	*rest = slice_from_offset(*rest, at);
	if (item->length > 1 && item->data[0] == '{' && item->data[item->length - 1] == '}')
		*item = slice_trim(slice_of(item->data + 1, item->length - 2));
	return at > 0;
}

bool
slice_list_has(struct slice list, struct slice word)
{
	struct slice one;

	while (slice_next_word(&list, " \t\r\n,", &one))
		if (slice_equal_fold(one, word))
			return true;
	return false;
}

bool
slice_has_control(struct slice s)
{
	for (size_t i = 0; i < s.length; i++)
		if (ascii_is_control(s.data[i]))
			return true;
	return false;
}

bool
slice_is_ascii(struct slice s)
{
	for (size_t i = 0; i < s.length; i++)
		if ((unsigned char)s.data[i] >= 128)
			return false;
	return true;
}

/* Length of the well-formed UTF-8 sequence at p, 0 when there is none. RFC 3629 section 4. */
static size_t
utf8_sequence(const unsigned char *p, size_t left)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t        length;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		length = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		length = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		length = 4;
	else
		return 0;
	if (left < length)
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return length;
}

bool
slice_is_utf8(struct slice s)
{
	const unsigned char *p = (const unsigned char *)s.data;

	for (size_t at = 0; at < s.length;) {
		size_t step = utf8_sequence(p + at, s.length - at);

		if (step == 0)
			return false;
		at += step;
	}
	return true;
}
