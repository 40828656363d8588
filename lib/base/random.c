/* random.c - see random.h. */
#include "lib/base/random.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void
random_bytes(void *out, size_t length)
{
	char *at = out;

	while (length > 0) {
		ssize_t got = getrandom(at, length, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort(); /* a kernel without getrandom(2) cannot run us safely */
		at += got;
		length -= (size_t)got;
	}
}

uint32_t
random_below(uint32_t below)
{
	uint32_t limit = UINT32_MAX - UINT32_MAX % below, number;

	do
		random_bytes(&number, sizeof(number));
	while (number >= limit);
	return number % below;
}
