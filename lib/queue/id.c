/* id.c - see id.h. */
#include "lib/queue/id.h"

static const char alphabet[] = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";

#define SECONDS_DIGITS      6
#define MICROSECONDS_DIGITS 4

/* Appends number in the base with at least `least` digits; returns the new end. */
static char *
digits_append(char *at, uint64_t number, unsigned base, size_t least)
{
	char   reversed[16];
	size_t count = 0;

	while (number > 0 || count < least || count == 0) {
		reversed[count++] = alphabet[number % base];
		number /= base;
	}
	while (count > 0)
		*at++ = reversed[--count];
	return at;
}

void
queue_id_format(char id[QUEUE_ID_MOST], int64_t wall_us, uint64_t instance)
{
	uint64_t us = (uint64_t)wall_us;
	char    *at = digits_append(id, us / 1000000, 52, SECONDS_DIGITS);

	at = digits_append(at, us % 1000000, 52, MICROSECONDS_DIGITS);
	*at++ = 'z';
	at = digits_append(at, instance, 51, 1);
	*at = '\0';
}

bool
queue_id_is_valid(struct slice id)
{
	if (id.length < 6 || id.length >= QUEUE_ID_MOST)
		return false;
	for (size_t i = 0; i < id.length; i++)
		if (!ascii_is_alnum(id.data[i]))
			return false;
	return true;
}

static bool
digits_parse(struct slice text, unsigned base, uint64_t *number)
{
	struct slice digits = slice_of(alphabet, base);
	uint64_t     value = 0;

	for (size_t i = 0; i < text.length; i++) {
		size_t digit = slice_find_byte(digits, text.data[i]);

		if (digit == SLICE_NOT_FOUND || __builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			return false;
	}
	*number = value;
	return text.length > 0;
}

bool
queue_id_parse(struct slice id, int64_t *wall_us, uint64_t *instance)
{
	size_t   z = slice_find_last_byte(id, 'z');
	uint64_t seconds, microseconds, number;

	if (!queue_id_is_valid(id) || z == SLICE_NOT_FOUND ||
	    z < SECONDS_DIGITS + MICROSECONDS_DIGITS)
		return false;
	if (!digits_parse(slice_of(id.data, z - MICROSECONDS_DIGITS), 52, &seconds) ||
	    !digits_parse(slice_of(id.data + z - MICROSECONDS_DIGITS, MICROSECONDS_DIGITS), 52,
	                  &microseconds) ||
	    !digits_parse(slice_from_offset(id, z + 1), 51, &number))
		return false;
	if (microseconds > 999999 || seconds > INT64_MAX / 1000000 - 1)
		return false;
	*wall_us = (int64_t)(seconds * 1000000 + microseconds);
	*instance = number;
	return true;
}

/* Of the microseconds' last digits, as Postfix does for its long ids: 16 directories. */
char
queue_id_subdirectory(struct slice id)
{
	static const char hex[] = "0123456789ABCDEF";
	int64_t           wall_us;
	uint64_t          instance, sum = 0;

	if (queue_id_parse(id, &wall_us, &instance))
		return hex[wall_us & 15];
	for (size_t i = 0; i < id.length; i++)
		sum += (unsigned char)id.data[i];
	return hex[sum & 15];
}
