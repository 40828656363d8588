/* counts.c - how many sessions a user has from one address. See pop3d.h. */
#include <stdint.h>

#include "pop3d/pop3d.h"

void
pop3_counts_init(struct pop3_counts *counts)
{
	mutex_init(&counts->lock);
	counts->by_key = (struct hash){ 0 };
}

void
pop3_counts_destroy(struct pop3_counts *counts)
{
	hash_free(&counts->by_key, NULL);
	mutex_destroy(&counts->lock);
}

/* The count itself is the value: nothing to allocate, nothing to leak. */
bool
pop3_counts_enter(struct pop3_counts *counts, const char *key, int64_t limit)
{
	mutex_lock(&counts->lock);
	uintptr_t count = (uintptr_t)hash_get(&counts->by_key, slice_from(key));
	bool      may = (limit == 0 || count < (uintptr_t)limit) &&
	           hash_put(&counts->by_key, slice_from(key), (void *)(count + 1), NULL);
	mutex_unlock(&counts->lock);
	return may;
}

void
pop3_counts_leave(struct pop3_counts *counts, const char *key)
{
	mutex_lock(&counts->lock);
	uintptr_t count = (uintptr_t)hash_get(&counts->by_key, slice_from(key));
	if (count > 1)
		hash_put(&counts->by_key, slice_from(key), (void *)(count - 1), NULL);
	else
		hash_remove(&counts->by_key, slice_from(key));
	mutex_unlock(&counts->lock);
}
