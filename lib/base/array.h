/*
 * array.h - a growing array of any one type, with an overflow-checked growth step.
 *
 * Declare `ARRAY(struct thing) things;` zeroed; push with ARRAY_PUSH, which is false when memory
 * is out; read things.items[0 .. things.count - 1]; release with ARRAY_FREE.
 */
#ifndef DAKIYA_BASE_ARRAY_H
#define DAKIYA_BASE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define ARRAY(type)                                                                                \
	struct {                                                                                   \
		type  *items;                                                                      \
		size_t count;                                                                      \
		size_t capacity;                                                                   \
	}

/* Makes room for one more item of item_size; false (and nothing changed) when memory is out. */
bool array_grow(void **items, size_t count, size_t *capacity, size_t item_size);

#define ARRAY_PUSH(array, item)                                                                    \
	(array_grow((void **)&(array)->items, (array)->count, &(array)->capacity,                  \
	            sizeof(*(array)->items))                                                       \
	         ? ((array)->items[(array)->count++] = (item), true)                               \
	         : false)
#define ARRAY_FREE(array)                                                                          \
	do {                                                                                       \
		free((array)->items);                                                              \
		(array)->items = NULL;                                                             \
		(array)->count = (array)->capacity = 0;                                            \
	} while (0)

#endif
