/*
 * cache.h - the answers that a process asked for lately, so that hot names cost no round trip.
 *
 * In front of the resolver's cache, which all processes share. An entry lives for its record's
 * time to live, at most DNS_CACHE_TTL_MOST_S, and the least recently used go first. Safe from
 * several threads; answers are copied in and out under the lock.
 */
#ifndef DAKIYA_DNS_CACHE_H
#define DAKIYA_DNS_CACHE_H

#include "lib/base/buf.h"
#include "lib/dns/dns.h"
#include "lib/ipc/messages.h"

#define DNS_CACHE_TTL_MOST_S 3600

struct dns_cache;
/* NULL when memory is out. An entry costs its answer and about 150 bytes. */
struct dns_cache *dns_cache_create(size_t entries_most, size_t bytes_most);
void              dns_cache_destroy(struct dns_cache **cache);

/*
 * Copies the answer to (name, type) as the resolver sent it: slices of *message lie in the arena
 * and ttl_s is what is left. False when there is none, it has expired, or the arena is full.
 */
bool dns_cache_get(struct dns_cache *cache, struct slice name, enum dns_type type, int64_t now_ms,
                   struct arena *arena, struct msg_dns_answer *message);
/* Keeps a copy. Answers without time to live and ones above 16 KB are not kept. */
void dns_cache_put(struct dns_cache *cache, struct slice name, enum dns_type type, int64_t now_ms,
                   const struct msg_dns_answer *message);

#endif
