/*
 * cache.h - what is known of addresses, and which of them are to be looked at.
 *
 * Pure state over times that are passed in, so that tests run it on a simulated clock. Times are
 * seconds of the wall clock, since they are kept in a file.
 *
 * An address is GOOD, BAD, LATER (nothing could be learnt) or UNKNOWN (not looked at yet). An
 * answer is given out until it expires; once it is older than its refresh time, a question also
 * makes a new probe. What a probe says takes the place of what was known, but
 * - BAD and LATER never that of a GOOD that has not expired: one bad day of a server is no reason
 *   to refuse its users;
 * - LATER never that of a BAD that has not expired: it is no news.
 * At most one probe of an address is under way, and `pending_limit` of all. When there are `limit`
 * addresses the one that was not asked for longest makes room: one that is not GOOD if there is
 * any, so that who makes up addresses cannot push out those that exist.
 */
#ifndef DAKIYA_VERIFY_CACHE_H
#define DAKIYA_VERIFY_CACHE_H

#include "lib/base/hash.h"
#include "lib/base/list.h"
#include "lib/queue/id.h"
#include "lib/queue/verify.h"

#define VERIFY_ADDRESS_MOST 1000
#define VERIFY_TEXT_MOST    250
/* A probe that is not answered by then is given up. */
#define VERIFY_PROBE_S 1000

struct cache_settings {
	int64_t positive_expire_s, positive_refresh_s;
	int64_t negative_expire_s, negative_refresh_s;
	int64_t later_refresh_s; /* of LATER; and after a probe that was no news */
	bool    keeps_negative;
	size_t  limit;         /* addresses */
	size_t  pending_limit; /* probes */
};

/* Where an address stands. */
enum cache_line { LINE_GOOD, LINE_OTHER, LINE_PROBED, LINE_COUNT };

struct known {
	struct list_node   in_line;
	enum verify_status status;
	int64_t            updated_s; /* when that was learnt */
	int64_t            probed_s;  /* when the last probe began; 0 = never */
	bool               is_probed; /* and is under way */
	char              *text;      /* NULL = none */
	/* the service's, while it is probed */
	char             id[QUEUE_ID_MOST]; /* empty: qmgr does not know of it yet */
	struct list_node questions;
	size_t           length;
	char             address[];
};

struct cache {
	struct cache_settings settings;
	struct hash           known;             /* by address */
	struct list_node      lines[LINE_COUNT]; /* those asked for longest ago first */
	size_t                pending;
	uint64_t              changes; /* since it was made: what has to be kept */
};

void cache_init(struct cache *cache, const struct cache_settings *settings);
void cache_free(struct cache *cache);

/*
 * The address, made when it is new; *wants_probe: one has to be sent, then cache_learn has to be
 * called. NULL: it is not known, and nobody may look now (too many are looked at, or no memory).
 */
struct known *cache_ask(struct cache *cache, struct slice address, int64_t now_s,
                        bool *wants_probe);
/*
 * What its probe says. True: that is the answer now, and the address may be gone. False: it was no
 * news, and what was known stays.
 */
bool cache_learn(struct cache *cache, struct known *known, enum verify_status status,
                 struct slice text, int64_t now_s);
/* Removes what has expired; how many. */
size_t cache_clean(struct cache *cache, int64_t now_s);

/* ---- the form in which it is kept: "status:probed:updated:text" ---- */

/* Whether there is something worth keeping. */
bool known_append_value(const struct known *known, struct buf *value);
/* Takes an entry of a file; false when it is none, has expired, or there is no room. */
bool cache_take(struct cache *cache, struct slice address, struct slice value, int64_t now_s);

#endif
