/* array.c - see array.h. */
#include "lib/base/array.h"

bool
array_grow(void **items, size_t count, size_t *capacity, size_t item_size)
{
	size_t wanted, bytes;

	if (count < *capacity)
		return true;
	if (__builtin_mul_overflow(*capacity == 0 ? 4 : *capacity, *capacity == 0 ? 1 : 2,
	                           &wanted) ||
	    __builtin_mul_overflow(wanted, item_size, &bytes))
		return false;
	void *grown = realloc(*items, bytes);
	if (grown == NULL)
		return false;
	*items = grown;
	*capacity = wanted;
	return true;
}
