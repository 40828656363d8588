/*
 * backlog.h - messages that wait in files: their ids and when they are due, and nothing else.
 *
 * About 110 bytes a message: a node of 24 to 56 bytes, its place in a heap and in a table. Ids on
 * hold are in the table only.
 */
#ifndef DAKIYA_QMGR_BACKLOG_H
#define DAKIYA_QMGR_BACKLOG_H

#include "lib/base/heap.h"
#include "lib/base/slice.h"

struct waiting {
	struct heap_node due; /* wall clock in microseconds; outside the heap while on hold */
	bool             is_on_hold;
	bool             is_fetched;             /* being read, or in memory */
	bool             is_flushed, is_expired; /* asked for by hand */
	char             id[];
};

struct backlog {
	struct heap      due;
	struct waiting **slots;            /* open addressing; NULL = free, TOMBSTONE = removed */
	size_t           slot_count, used; /* used: with tombstones */
	size_t           count;
	size_t           held;
};

void            backlog_free(struct backlog *backlog);
struct waiting *backlog_find(const struct backlog *backlog, struct slice id);
/* Adds or changes; NULL when memory is out. */
struct waiting *backlog_put(struct backlog *backlog, const char *id, int64_t due_us,
                            bool is_on_hold);
void            backlog_remove(struct backlog *backlog, struct waiting *waiting);
/* What lies in that slot; NULL when nothing does. For walks over all. */
struct waiting *backlog_at(const struct backlog *backlog, size_t slot);
/* The first that is due at now_us; NULL when none is. It stays. */
struct waiting *backlog_due(const struct backlog *backlog, int64_t now_us);
/* When the next one is due; INT64_MAX for never. */
int64_t backlog_next_us(const struct backlog *backlog);
/* Takes it out of the heap while it is in memory. */
void backlog_fetched(struct backlog *backlog, struct waiting *waiting);
/* Puts it back, due at another time. */
bool backlog_requeue(struct backlog *backlog, struct waiting *waiting, int64_t due_us);

#endif
