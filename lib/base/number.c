/* number.c - see number.h. */
#include "lib/base/number.h"

bool
number_parse(struct slice text, int64_t least, int64_t most, int64_t *value)
{
	bool    is_negative = least < 0 && text.length > 0 && text.data[0] == '-';
	int64_t result = 0;

	if (is_negative)
		text = slice_from_offset(text, 1);
	if (text.length == 0)
		return false;
	for (size_t i = 0; i < text.length; i++) {
		if (!ascii_is_digit(text.data[i]))
			return false;
		int digit = text.data[i] - '0';
		if (__builtin_mul_overflow(result, 10, &result) ||
		    __builtin_add_overflow(result, is_negative ? -digit : digit, &result))
			return false;
	}
	if (result < least || result > most)
		return false;
	*value = result;
	return true;
}

bool
number_parse_hex(struct slice text, uint64_t most, uint64_t *value)
{
	uint64_t result = 0;

	if (text.length == 0 || text.length > 16)
		return false;
	for (size_t i = 0; i < text.length; i++) {
		char c = ascii_lower(text.data[i]);

		if (ascii_is_digit(c))
			result = result << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			result = result << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	if (result > most)
		return false;
	*value = result;
	return true;
}

static int64_t
unit_seconds(char unit)
{
	switch (ascii_lower(unit)) {
	case 's': return 1;
	case 'm': return 60;
	case 'h': return 3600;
	case 'd': return 86400;
	case 'w': return 604800;
	}
	return 0;
}

bool
number_parse_seconds(struct slice text, char default_unit, int64_t *value)
{
	int64_t scale = unit_seconds(default_unit), number, seconds;

	if (text.length > 0 && !ascii_is_digit(text.data[text.length - 1])) {
		scale = unit_seconds(text.data[text.length - 1]);
		text.length--;
	}
	if (scale == 0 || !number_parse(text, 0, INT64_MAX, &number) ||
	    __builtin_mul_overflow(number, scale, &seconds))
		return false;
	*value = seconds;
	return true;
}
