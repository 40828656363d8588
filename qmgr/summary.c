/* summary.c - how much waits where, for `dakiya status`; from memory alone, however long the queue.
 */
#include "qmgr/control.h"

#include <stdlib.h>

#define DESTINATIONS_MOST 200
#define LIST_MOST         (500u * 1024)
#define SUSPENDED_MOST    (500u * 1024)

/* ---- messages ---- */

struct count {
	struct qmgr            *qmgr;
	struct msg_queue_totals totals;
	uint64_t                in_both; /* in memory, and in the backlog, too */
};

static void
message_visit(struct slice id, void *value, void *context)
{
	const struct message *message = value;
	struct count         *count = context;
	const struct waiting *waiting = backlog_find(&count->qmgr->backlog, id);

	if (message->backing == BACKED_NOT)
		return;
	if (waiting != NULL && waiting->is_on_hold)
		return; /* counted as held in the backlog */
	count->in_both += waiting != NULL;
	switch (message_queue_state(message)) {
	case QUEUE_HOLD: count->totals.hold++; break;
	case QUEUE_DEFERRED: count->totals.deferred++; break;
	case QUEUE_INCOMING:
	case QUEUE_ACTIVE:
	case QUEUE_CORRUPT:
	case QUEUE_MAILDROP:
	case QUEUE_STATES: count->totals.active++; break;
	}
}

static void
count_messages(struct count *count)
{
	const struct backlog *backlog = &count->qmgr->backlog;
	uint64_t              in_files = backlog->count - backlog->held;

	hash_each(&count->qmgr->messages, message_visit, count);
	count->totals.deferred += in_files > count->in_both ? in_files - count->in_both : 0;
	count->totals.hold += backlog->held;
}

/* ---- destinations ---- */

struct found {
	ARRAY(const struct destination *) items;
};

static void
destination_visit(struct slice key, void *value, void *context)
{
	const struct destination *destination = value;
	struct found             *found = context;

	(void)key;
	if (destination->lanes > 0 || destination->busy > 0 || destination->is_pausing ||
	    destination_is_dead(destination))
		(void)ARRAY_PUSH(&found->items, destination);
}

static int
by_waiting(const void *a, const void *b)
{
	const struct destination *first = *(const struct destination *const *)a;
	const struct destination *second = *(const struct destination *const *)b;

	return (first->lanes < second->lanes) - (first->lanes > second->lanes);
}

static bool
destination_append(const struct qmgr *qmgr, const struct destination *destination, struct buf *list)
{
	bool is_away = destination->is_pausing || destination_is_dead(destination);
	struct msg_queue_destination one = {
		.transport = slice_from(destination->transport->name),
		.nexthop = destination->nexthop,
		.waiting = destination->lanes,
		.running = (uint32_t)destination->busy,
		.reason = SLICE_EMPTY,
	};

	if (is_away && heap_contains(&destination->wake))
		one.retry_ms = destination->wake.when > qmgr->now_ms
		                       ? destination->wake.when - qmgr->now_ms
		                       : 1;
	if (destination_is_dead(destination))
		one.reason = slice_from(destination->dead_reason);
	return msg_queue_destination_append(list, &one);
}

static void
list_destinations(struct count *count, struct buf *list)
{
	struct schedule *schedule = &count->qmgr->schedule;
	struct found     found = { 0 };

	LIST_EACH (node, &schedule->all_transports) {
		struct transport *transport = CONTAINER_OF(node, struct transport, in_all);

		hash_each(&transport->destinations, destination_visit, &found);
	}
	if (found.items.count > 1)
		qsort(found.items.items, found.items.count, sizeof(*found.items.items), by_waiting);
	count->totals.destination_count = found.items.count;
	for (size_t i = 0; i < found.items.count && i < DESTINATIONS_MOST; i++)
		if (!destination_append(count->qmgr, found.items.items[i], list))
			break;
	ARRAY_FREE(&found.items);
}

void
ask_totals(struct qmgr *qmgr, struct ask *ask)
{
	struct count        count = { .qmgr = qmgr, .totals = msg_queue_totals_clear() };
	struct ipc_encoding encoding = { .fields = BUF(LIST_MOST + SUSPENDED_MOST + 4096) };
	struct buf          list = BUF(LIST_MOST), suspended = BUF(SUSPENDED_MOST);

	count.totals.is_complete = qmgr->is_scanned;
	count_messages(&count);
	list_destinations(&count, &list);
	list.has_failed = false; /* what did not fit is in destination_count */
	count.totals.destinations = buf_slice(&list);
	suspensions_append(&qmgr->suspensions, &suspended);
	suspended.has_failed = false;
	count.totals.suspensions = buf_slice(&suspended);
	if (msg_queue_totals_encode(&encoding, &count.totals))
		buf_append(&ask->out, buf_slice(&encoding.fields));
	buf_free(&list);
	buf_free(&suspended);
	buf_free(&encoding.fields);
}
