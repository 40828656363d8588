/*
 * backlog.h - messages that wait in files: their ids and when they are due, and nothing else.
 *
 * About 120 bytes a message: a node of 66 to 80 bytes, its place in a heap and in a table. Ids on
 * hold are in the table only.
 */
#ifndef DAKIYA_QMGR_BACKLOG_H
#define DAKIYA_QMGR_BACKLOG_H

#include "lib/base/heap.h"
#include "lib/base/list.h"
#include "lib/base/slice.h"

struct waiting {
	struct heap_node due;    /* wall clock in microseconds; outside the heap while on hold */
	struct list_node in_all; /* in the order in which they came: for walks */
	uint64_t         card;   /* where its card lies (cards.h); 0 = it has none */
	uint32_t         card_bytes;
	uint32_t         version; /* another one when its file may be another */
	bool             is_on_hold;
	bool             is_fetched;             /* being read, or in memory */
	bool             is_flushed, is_expired; /* asked for by hand */
	char             id[];
};

struct backlog {
	struct heap      due;
	struct list_node all;
	struct waiting **slots;            /* open addressing; NULL = free, TOMBSTONE = removed */
	size_t           slot_count, used; /* used: with tombstones */
	size_t           count;
	size_t           held;
	size_t           carded;     /* how many have a card */
	uint64_t         card_bytes; /* of these */
};

void            backlog_init(struct backlog *backlog);
void            backlog_free(struct backlog *backlog);
struct waiting *backlog_find(const struct backlog *backlog, struct slice id);
/* Adds or changes; NULL when memory is out. */
struct waiting *backlog_put(struct backlog *backlog, const char *id, int64_t due_us,
                            bool is_on_hold);
void            backlog_remove(struct backlog *backlog, struct waiting *waiting);
/* The first that is due at now_us; NULL when none is. It stays. */
struct waiting *backlog_due(const struct backlog *backlog, int64_t now_us);
/* When the next one is due; INT64_MAX for never. */
int64_t backlog_next_us(const struct backlog *backlog);
/* Takes it out of the heap while it is in memory. */
void backlog_fetched(struct backlog *backlog, struct waiting *waiting);
/* Puts it back, due at another time. */
bool backlog_requeue(struct backlog *backlog, struct waiting *waiting, int64_t due_us);

/* ---- cards ---- */

/* Its file was written: a card of what it held before is none. */
void backlog_changed(struct backlog *backlog, struct waiting *waiting);
/* What was read when the file had this version; passed over when it has another by now. */
void backlog_card(struct backlog *backlog, struct waiting *waiting, uint32_t version, uint64_t card,
                  uint32_t bytes);

/* ---- walks ---- */

/*
 * A mark in front of the first, for a walk over all that goes on while others come and go: each
 * that is there all the time is met once, and what comes meanwhile at the end. NULL: out of memory.
 */
struct waiting *backlog_walk(struct backlog *backlog);
/* The next one; NULL at the end, where there may be another one later. */
struct waiting *backlog_walk_next(struct backlog *backlog, struct waiting *mark);
void            backlog_walk_end(struct waiting **mark);

#endif
