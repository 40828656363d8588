/* probe.c - the sender of address probes. See route.h. */
#include "lib/route/route.h"

#define DIGITS      "0123456789BCDFGHJKLMNPQRSTVWXYZ" /* no vowels: no words come about */
#define DIGIT_COUNT (sizeof(DIGITS) - 1)
#define SUFFIX_MOST 20

/* Which stretch of address_verify_sender_ttl it is, in letters; "" without one. */
static void
suffix_make(const struct parameters *parameters, int64_t now_s, int64_t shift, char *suffix)
{
	int64_t ttl_s = parameters->address_verify_sender_ttl;
	int64_t number = ttl_s > 0 ? now_s / ttl_s + shift : 0;
	size_t  length = 0;

	for (; number > 0 && length < SUFFIX_MOST; number /= (int64_t)DIGIT_COUNT)
		suffix[length++] = DIGITS[number % (int64_t)DIGIT_COUNT];
	suffix[length] = '\0';
}

/* Its two parts, without a suffix; false: the null sender. */
static bool
parts_of(const struct parameters *parameters, struct slice *local, struct slice *domain)
{
	struct slice whole = slice_trim(slice_from(parameters->address_verify_sender));
	size_t       at = slice_find_last_byte(whole, '@');

	if (whole.length == 0 || slice_equal(whole, SLICE("<>")))
		return false;
	*local = slice_first(whole, at);
	*domain = at == SLICE_NOT_FOUND ? slice_from(parameters->myorigin)
	                                : slice_from_offset(whole, at + 1);
	return true;
}

bool
route_probe_sender(const struct parameters *parameters, int64_t now_s, struct buf *sender)
{
	struct slice local, domain;
	char         suffix[SUFFIX_MOST + 1];

	if (!parts_of(parameters, &local, &domain))
		return true;
	suffix_make(parameters, now_s, 0, suffix);
	buf_append(sender, local);
	buf_append_text(sender, suffix);
	buf_append_byte(sender, '@');
	return buf_append(sender, domain);
}

bool
route_is_probe_sender(const struct parameters *parameters, struct slice address, int64_t now_s)
{
	size_t       at = slice_find_last_byte(address, '@');
	struct slice local, domain, rest;
	char         suffix[SUFFIX_MOST + 1];

	if (at == SLICE_NOT_FOUND || !parts_of(parameters, &local, &domain) ||
	    !slice_equal_fold(slice_from_offset(address, at + 1), domain) ||
	    !slice_starts_with_fold(address, local) || local.length > at)
		return false;
	rest = slice_of(address.data + local.length, at - local.length);
	for (int64_t shift = -1; shift <= 1; shift++) {
		suffix_make(parameters, now_s, shift, suffix);
		if (slice_equal_fold(rest, slice_from(suffix)))
			return true;
	}
	return false;
}
