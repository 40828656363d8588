/* cache.c - see cache.h. */
#include "lib/dns/cache.h"

#include <stdlib.h>

#include "lib/base/hash.h"
#include "lib/base/list.h"
#include "lib/base/mutex.h"

#define ANSWER_MOST (16u * 1024)
#define KEY_MOST    260

struct cache_entry {
	struct list_node recent; /* in dns_cache.recent, latest first */
	int64_t          expires_ms;
	uint32_t         status;
	bool             is_secure;
	size_t           key_length;
	size_t           canonical_length;
	size_t           records_length;
	char             bytes[]; /* key, canonical, records */
};

struct dns_cache {
	struct mutex     lock; /* guards everything below */
	struct hash      entries;
	struct list_node recent;
	size_t           bytes;
	size_t           entries_most;
	size_t           bytes_most;
};

struct dns_cache *
dns_cache_create(size_t entries_most, size_t bytes_most)
{
	struct dns_cache *cache = calloc(1, sizeof(*cache));

	if (cache == NULL)
		return NULL;
	mutex_init(&cache->lock);
	list_init(&cache->recent);
	cache->entries_most = entries_most;
	cache->bytes_most = bytes_most;
	return cache;
}

void
dns_cache_destroy(struct dns_cache **cache)
{
	if (*cache == NULL)
		return;
	hash_free(&(*cache)->entries, free);
	mutex_destroy(&(*cache)->lock);
	free(*cache);
	*cache = NULL;
}

static size_t
entry_size(const struct cache_entry *entry)
{
	return sizeof(*entry) + entry->key_length + entry->canonical_length + entry->records_length;
}

static void
entry_drop_locked(struct dns_cache *cache, struct cache_entry *entry)
{
	hash_remove(&cache->entries, slice_of(entry->bytes, entry->key_length));
	list_remove(&entry->recent);
	cache->bytes -= entry_size(entry);
	free(entry);
}

/* Type in two bytes, then the name; false when the name is too long to be one. */
static bool
key_make(struct slice name, enum dns_type type, char key[KEY_MOST], struct slice *made)
{
	if (name.length > KEY_MOST - 2)
		return false;
	key[0] = (char)((unsigned)type >> 8);
	key[1] = (char)((unsigned)type & 0xff);
	if (name.length > 0)
		memcpy(key + 2, name.data, name.length);
	*made = slice_of(key, name.length + 2);
	return true;
}

static bool
get_locked(struct dns_cache *cache, struct slice key, int64_t now_ms, struct arena *arena,
           struct msg_dns_answer *message)
{
	struct cache_entry *entry = hash_get(&cache->entries, key);

	if (entry == NULL)
		return false;
	int64_t left_ms = entry->expires_ms - now_ms;
	if (left_ms <= 0) {
		entry_drop_locked(cache, entry);
		return false;
	}
	struct slice whole =
		arena_copy(arena, slice_of(entry->bytes + entry->key_length,
	                                   entry->canonical_length + entry->records_length));
	if (whole.data == NULL)
		return false;
	list_remove(&entry->recent);
	list_prepend(&cache->recent, &entry->recent);
	*message = msg_dns_answer_clear();
	message->status = entry->status;
	message->is_secure = entry->is_secure;
	message->ttl_s = (uint32_t)((left_ms + 999) / 1000);
	message->canonical = slice_first(whole, entry->canonical_length);
	message->records = slice_of(whole.data + entry->canonical_length, entry->records_length);
	return true;
}

bool
dns_cache_get(struct dns_cache *cache, struct slice name, enum dns_type type, int64_t now_ms,
              struct arena *arena, struct msg_dns_answer *message)
{
	char         bytes[KEY_MOST];
	struct slice key;

	if (!key_make(name, type, bytes, &key))
		return false;
	mutex_lock(&cache->lock);
	bool is_there = get_locked(cache, key, now_ms, arena, message);
	mutex_unlock(&cache->lock);
	return is_there;
}

static char *
bytes_put(char *at, struct slice bytes)
{
	if (bytes.length > 0)
		memcpy(at, bytes.data, bytes.length);
	return at + bytes.length;
}

static void
put_locked(struct dns_cache *cache, struct cache_entry *entry)
{
	struct slice key = slice_of(entry->bytes, entry->key_length);
	void        *old = hash_get(&cache->entries, key);

	if (old != NULL)
		entry_drop_locked(cache, old);
	if (!hash_put(&cache->entries, key, entry, NULL)) {
		free(entry);
		return;
	}
	list_prepend(&cache->recent, &entry->recent);
	cache->bytes += entry_size(entry);
	while (cache->entries.count > cache->entries_most || cache->bytes > cache->bytes_most)
		entry_drop_locked(cache,
		                  CONTAINER_OF(cache->recent.previous, struct cache_entry, recent));
}

void
dns_cache_put(struct dns_cache *cache, struct slice name, enum dns_type type, int64_t now_ms,
              const struct msg_dns_answer *message)
{
	char         bytes[KEY_MOST];
	struct slice key;
	uint32_t     ttl_s = message->ttl_s;

	if (ttl_s == 0 || message->records.length > ANSWER_MOST ||
	    message->canonical.length > KEY_MOST || !key_make(name, type, bytes, &key))
		return;
	if (ttl_s > DNS_CACHE_TTL_MOST_S)
		ttl_s = DNS_CACHE_TTL_MOST_S;
	size_t size = sizeof(struct cache_entry) + key.length + message->canonical.length +
	              message->records.length;
	struct cache_entry *entry = size > cache->bytes_most ? NULL : malloc(size);
	if (entry == NULL)
		return;
	*entry = (struct cache_entry){ .expires_ms = now_ms + (int64_t)ttl_s * 1000,
		                       .status = message->status,
		                       .is_secure = message->is_secure,
		                       .key_length = key.length,
		                       .canonical_length = message->canonical.length,
		                       .records_length = message->records.length };
	list_init(&entry->recent);
	bytes_put(bytes_put(bytes_put(entry->bytes, key), message->canonical), message->records);
	mutex_lock(&cache->lock);
	put_locked(cache, entry);
	mutex_unlock(&cache->lock);
}
