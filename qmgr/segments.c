/* segments.c - which segments of the journal hold something live, and may not be written over. */
#include "qmgr/qmgr.h"

#include <stdlib.h>

#include "lib/base/log.h"

static struct segment *
segment_find(struct qmgr *qmgr, uint64_t epoch)
{
	for (size_t i = qmgr->segments.count; i > 0; i--)
		if (qmgr->segments.items[i - 1]->epoch == epoch)
			return qmgr->segments.items[i - 1];
	struct segment *segment = calloc(1, sizeof(*segment));
	/* Without the count the tail must not move: a message might be written over. */
	if (segment == NULL || !ARRAY_PUSH(&qmgr->segments, segment))
		log_fatal("out of memory for the journal's segments");
	segment->epoch = epoch;
	list_init(&segment->messages);
	for (size_t i = qmgr->segments.count - 1;
	     i > 0 && qmgr->segments.items[i - 1]->epoch > epoch; i--) {
		qmgr->segments.items[i] = qmgr->segments.items[i - 1];
		qmgr->segments.items[i - 1] = segment;
	}
	return segment;
}

/* Segments in front that hold nothing live may be written over, in their order. */
static void
segments_release(struct qmgr *qmgr)
{
	size_t gone = 0;

	while (gone + 1 < qmgr->segments.count && qmgr->segments.items[gone]->live == 0)
		free(qmgr->segments.items[gone++]);
	if (gone == 0)
		return;
	qmgr->segments.count -= gone;
	memmove(qmgr->segments.items, qmgr->segments.items + gone,
	        qmgr->segments.count * sizeof(struct segment *));
	journal_set_tail(qmgr->journal, qmgr->segments.items[0]->epoch);
}

void
segment_pin(struct qmgr *qmgr, struct message *message, uint64_t epoch)
{
	if (!list_is_empty(&message->in_segment))
		return; /* in an older one: later ones are not released before it */
	struct segment *segment = segment_find(qmgr, epoch);
	message->epoch = epoch;
	segment->live++;
	list_append(&segment->messages, &message->in_segment);
	segments_release(qmgr);
}

void
segment_enter(struct qmgr *qmgr, struct message *message, uint64_t epoch)
{
	message->backing = BACKED_JOURNAL;
	segment_pin(qmgr, message, epoch);
}

void
segment_leave(struct qmgr *qmgr, struct message *message)
{
	if (list_is_empty(&message->in_segment))
		return;
	list_remove(&message->in_segment);
	segment_let_go(qmgr, message->epoch);
}

uint64_t
segment_hold(struct qmgr *qmgr)
{
	struct segment *newest = qmgr->segments.items[qmgr->segments.count - 1];

	newest->live++;
	return newest->epoch;
}

void
segment_let_go(struct qmgr *qmgr, uint64_t epoch)
{
	struct segment *segment = segment_find(qmgr, epoch);

	if (segment->live > 0)
		segment->live--;
	segments_release(qmgr);
}

void
segments_begin(struct qmgr *qmgr, uint64_t epoch)
{
	segment_find(qmgr, epoch);
	segments_release(qmgr);
	journal_set_tail(qmgr->journal, qmgr->segments.items[0]->epoch);
}
