/*
 * hash.h - a hash table from byte strings to pointers.
 *
 * Keys are copied; values are the caller's. The hash is seeded at random in each process, so
 * that no stranger can choose colliding keys. One owner or one lock: it locks nothing itself.
 */
#ifndef DAKIYA_BASE_HASH_H
#define DAKIYA_BASE_HASH_H

#include <stdint.h>

#include "lib/base/slice.h"

struct hash_entry;

struct hash {
	struct hash_entry **buckets;
	size_t              bucket_count;
	size_t              count;
};

/* NULL when the key is not there. */
void *hash_get(const struct hash *hash, struct slice key);
/* Adds or replaces; gives the value replaced in *old (may be NULL). False when memory is out. */
bool hash_put(struct hash *hash, struct slice key, void *value, void **old);
/* Takes the key out and returns its value; NULL when it was not there. */
void *hash_remove(struct hash *hash, struct slice key);
/* Calls visit for every entry, in no order; visit must not change the table. */
void hash_each(const struct hash *hash, void (*visit)(struct slice key, void *value, void *context),
               void              *context);
/* Releases the table; release (may be NULL) is called for each value. */
void hash_free(struct hash *hash, void (*release)(void *value));
/* The seeded hash of bytes, for own tables. */
uint64_t hash_bytes(struct slice bytes);

#endif
