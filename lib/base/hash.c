/* hash.c - see hash.h. SipHash-2-4 would be slower for short keys; a seeded FNV/murmur finish is
 * not collision-safe against a chosen-key attacker, so SipHash-1-3 it is. */
#include "lib/base/hash.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/random.h"

struct hash_entry {
	struct hash_entry *next;
	uint64_t           hash;
	void              *value;
	size_t             key_length;
	char               key[];
};

static uint64_t       seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void
seed_fill(void)
{
	random_bytes(seed, sizeof(seed));
}

static inline uint64_t
rotate(uint64_t x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

#define SIP_ROUND                                                                                  \
	do {                                                                                       \
		v0 += v1;                                                                          \
		v1 = rotate(v1, 13) ^ v0;                                                          \
		v0 = rotate(v0, 32);                                                               \
		v2 += v3;                                                                          \
		v3 = rotate(v3, 16) ^ v2;                                                          \
		v0 += v3;                                                                          \
		v3 = rotate(v3, 21) ^ v0;                                                          \
		v2 += v1;                                                                          \
		v1 = rotate(v1, 17) ^ v2;                                                          \
		v2 = rotate(v2, 32);                                                               \
	} while (0)

uint64_t
hash_bytes(struct slice bytes)
{
	pthread_once(&seed_once, seed_fill);

	uint64_t v0 = seed[0] ^ 0x736f6d6570736575ULL, v1 = seed[1] ^ 0x646f72616e646f6dULL;
	uint64_t v2 = seed[0] ^ 0x6c7967656e657261ULL, v3 = seed[1] ^ 0x7465646279746573ULL;
	uint64_t word;
	size_t   at = 0;

	for (; at + 8 <= bytes.length; at += 8) {
		memcpy(&word, bytes.data + at, 8);
		v3 ^= word;
		SIP_ROUND;
		v0 ^= word;
	}
	word = (uint64_t)bytes.length << 56;
	for (size_t i = 0; at + i < bytes.length; i++)
		word |= (uint64_t)(unsigned char)bytes.data[at + i] << (8 * i);
	v3 ^= word;
	SIP_ROUND;
	v0 ^= word;
	v2 ^= 0xff;
	SIP_ROUND;
	SIP_ROUND;
	SIP_ROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}

static struct hash_entry **
entry_find(const struct hash *hash, struct slice key, uint64_t value)
{
	struct hash_entry **at = &hash->buckets[value & (hash->bucket_count - 1)];

	while (*at != NULL &&
	       ((*at)->hash != value || !slice_equal(slice_of((*at)->key, (*at)->key_length), key)))
		at = &(*at)->next;
	return at;
}

static bool
hash_grow(struct hash *hash)
{
	size_t              wanted = hash->bucket_count == 0 ? 16 : hash->bucket_count * 2;
	struct hash_entry **buckets = calloc(wanted, sizeof(struct hash_entry *));

	if (buckets == NULL)
		return hash->bucket_count > 0; /* a full table still works */
	for (size_t i = 0; i < hash->bucket_count; i++) {
		while (hash->buckets[i] != NULL) {
			struct hash_entry *entry = hash->buckets[i];

			hash->buckets[i] = entry->next;
			entry->next = buckets[entry->hash & (wanted - 1)];
			buckets[entry->hash & (wanted - 1)] = entry;
		}
	}
	free(hash->buckets);
	hash->buckets = buckets;
	hash->bucket_count = wanted;
	return true;
}

void *
hash_get(const struct hash *hash, struct slice key)
{
	if (hash->count == 0)
		return NULL;
	struct hash_entry *entry = *entry_find(hash, key, hash_bytes(key));

	return entry == NULL ? NULL : entry->value;
}

bool
hash_put(struct hash *hash, struct slice key, void *value, void **old)
{
	uint64_t           number = hash_bytes(key);
	struct hash_entry *entry;
	size_t             size;

	if (old != NULL)
		*old = NULL;
	if (hash->count >= hash->bucket_count && !hash_grow(hash))
		return false;
	struct hash_entry **at = entry_find(hash, key, number);
	if (*at != NULL) {
		if (old != NULL)
			*old = (*at)->value;
		(*at)->value = value;
		return true;
	}
	if (__builtin_add_overflow(sizeof(*entry), key.length, &size))
		return false;
	entry = malloc(size);
	if (entry == NULL)
		return false;
	*entry = (struct hash_entry){ NULL, number, value, key.length };
	if (key.length > 0)
		memcpy(entry->key, key.data, key.length);
	*at = entry;
	hash->count++;
	return true;
}

void *
hash_remove(struct hash *hash, struct slice key)
{
	if (hash->count == 0)
		return NULL;
	struct hash_entry **at = entry_find(hash, key, hash_bytes(key));
	struct hash_entry  *entry = *at;

	if (entry == NULL)
		return NULL;
	void *value = entry->value;
	*at = entry->next;
	free(entry);
	hash->count--;
	return value;
}

void
hash_each(const struct hash *hash, void (*visit)(struct slice key, void *value, void *context),
          void              *context)
{
	for (size_t i = 0; i < hash->bucket_count; i++)
		for (struct hash_entry *e = hash->buckets[i], *next; e != NULL; e = next) {
			next = e->next;
			visit(slice_of(e->key, e->key_length), e->value, context);
		}
}

void
hash_free(struct hash *hash, void (*release)(void *value))
{
	for (size_t i = 0; i < hash->bucket_count; i++)
		while (hash->buckets[i] != NULL) {
			struct hash_entry *entry = hash->buckets[i];

			hash->buckets[i] = entry->next;
			if (release != NULL)
				release(entry->value);
			free(entry);
		}
	free(hash->buckets);
	*hash = (struct hash){ 0 };
}
