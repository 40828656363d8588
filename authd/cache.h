/*
 * cache.h - passwords that were right a short while ago, so that a repeated login costs no hash.
 *
 * Only a digest under a key made at random in this process is kept, never the password. An entry
 * counts for one version of the user database. Bounded: a newer entry takes an older one's place.
 */
#ifndef DAKIYA_AUTHD_CACHE_H
#define DAKIYA_AUTHD_CACHE_H

#include <stdint.h>

#include "lib/sasl/user.h"

struct password_cache;

/* ttl_ms 0: remembers nothing. NULL when memory is out. */
struct password_cache *password_cache_create(int64_t ttl_ms);
void                   password_cache_destroy(struct password_cache **cache);
/* What was right: user may name the service, too; credential is given back when it is found. */
void password_cache_add(struct password_cache *cache, struct slice user, struct slice password,
                        const char *credential, uint64_t generation, int64_t now_ms);
bool password_cache_has(struct password_cache *cache, struct slice user, struct slice password,
                        uint64_t generation, int64_t now_ms,
                        char credential[USER_APP_ID_BYTES + 1]);

#endif
