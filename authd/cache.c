/* cache.c - see cache.h. */
#include "authd/cache.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mutex.h"
#include "lib/base/random.h"

#define SLOT_COUNT   8192
#define DIGEST_BYTES 32
#define INPUT_MOST   1024

struct slot {
	unsigned char digest[DIGEST_BYTES];
	uint64_t      generation;
	int64_t       until_ms; /* 0: free */
	char          credential[USER_APP_ID_BYTES + 1];
};

struct password_cache {
	int64_t       ttl_ms;
	unsigned char key[DIGEST_BYTES];
	struct mutex  lock; /* guards slots */
	struct slot   slots[SLOT_COUNT];
};

struct password_cache *
password_cache_create(int64_t ttl_ms)
{
	struct password_cache *cache = calloc(1, sizeof(*cache));

	if (cache == NULL)
		return NULL;
	cache->ttl_ms = ttl_ms;
	random_bytes(cache->key, sizeof(cache->key));
	mutex_init(&cache->lock);
	return cache;
}

void
password_cache_destroy(struct password_cache **cache)
{
	if (*cache == NULL)
		return;
	mutex_destroy(&(*cache)->lock);
	OPENSSL_cleanse(*cache, sizeof(**cache));
	free(*cache);
	*cache = NULL;
}

/* The user's name cannot hold the NUL that stands between the two. */
static bool
digest_make(const struct password_cache *cache, struct slice user, struct slice password,
            unsigned char digest[DIGEST_BYTES])
{
	unsigned char input[INPUT_MOST];
	unsigned      length = DIGEST_BYTES;

	if (cache->ttl_ms == 0 || user.length + 1 + password.length > sizeof(input))
		return false;
	memcpy(input, user.data, user.length);
	input[user.length] = '\0';
	if (password.length > 0)
		memcpy(input + user.length + 1, password.data, password.length);
	bool is_good = HMAC(EVP_sha256(), cache->key, sizeof(cache->key), input,
	                    user.length + 1 + password.length, digest, &length) != NULL;
	OPENSSL_cleanse(input, sizeof(input));
	return is_good;
}

static struct slot *
slot_of(struct password_cache *cache, const unsigned char digest[DIGEST_BYTES])
{
	return &cache->slots[((size_t)digest[0] << 8 | digest[1]) % SLOT_COUNT];
}

void
password_cache_add(struct password_cache *cache, struct slice user, struct slice password,
                   const char *credential, uint64_t generation, int64_t now_ms)
{
	unsigned char digest[DIGEST_BYTES];

	if (!digest_make(cache, user, password, digest))
		return;
	mutex_lock(&cache->lock);
	struct slot *slot = slot_of(cache, digest);
	memcpy(slot->digest, digest, sizeof(digest));
	snprintf(slot->credential, sizeof(slot->credential), "%s", credential);
	slot->generation = generation;
	slot->until_ms = now_ms + cache->ttl_ms;
	mutex_unlock(&cache->lock);
}

bool
password_cache_has(struct password_cache *cache, struct slice user, struct slice password,
                   uint64_t generation, int64_t now_ms, char credential[USER_APP_ID_BYTES + 1])
{
	unsigned char digest[DIGEST_BYTES];

	if (!digest_make(cache, user, password, digest))
		return false;
	mutex_lock(&cache->lock);
	const struct slot *slot = slot_of(cache, digest);
	bool               is_there = slot->until_ms > now_ms && slot->generation == generation &&
	                CRYPTO_memcmp(slot->digest, digest, sizeof(digest)) == 0;
	if (is_there)
		memcpy(credential, slot->credential, sizeof(slot->credential));
	mutex_unlock(&cache->lock);
	return is_there;
}
