/*
 * store.h - the file in which the cache is kept: read at the start, built anew and renamed.
 *
 * A thread writes it, so that questions go on being answered. A crash costs what was learnt since
 * the last time, which is learnt again.
 */
#ifndef DAKIYA_VERIFY_STORE_H
#define DAKIYA_VERIFY_STORE_H

#include "lib/base/error.h"
#include "verify/cache.h"

struct store;

/* spec is "type:/path" of a type that can be built; NULL and *error otherwise. */
struct store *store_create(const char *spec, struct error *error);
/* Fills the cache; what is not there, or not in order, is left out. False: unreadable, *error. */
bool store_load(struct store *store, struct cache *cache, int64_t now_s, size_t *count,
                struct error *error);
/*
 * To be called from time to time: writes the file when there is something new in the cache, and not
 * too soon after the last time. How long until the next call makes sense, in ms.
 */
int64_t store_tick(struct store *store, const struct cache *cache, int64_t now_ms);
/* Writes what is new, waits for it, and frees. */
void store_destroy(struct store **store, const struct cache *cache);

#endif
