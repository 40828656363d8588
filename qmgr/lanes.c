/* lanes.c - puts recipients of a message in line at their destinations. */
#include "qmgr/qmgr.h"

#include <stdlib.h>

/* The message's lane there: a message's lanes are made in one go, so only the newest can be it. */
static struct lane *
lane_find(const struct message *message, const struct destination *destination, enum job_kind kind)
{
	struct lane *lane = destination->latest;

	return lane != NULL && lane->message == message && lane->kind == kind ? lane : NULL;
}

static struct lane *
lane_new(struct message *message, struct destination *destination, enum job_kind kind)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (lane == NULL)
		return NULL;
	list_init(&lane->in_destination);
	list_prepend(&message->lanes, &lane->in_message);
	lane->message = message;
	lane->destination = destination;
	lane->first = lane->last = LANE_END;
	lane->is_fresh = !message->is_retried;
	lane->is_list = message->count >= LIST_LEAST;
	lane->kind = kind;
	destination->latest = lane;
	return lane;
}

bool
lane_add(struct qmgr *qmgr, struct message *message, uint32_t index,
         struct destination *destination, enum job_kind kind)
{
	struct lane *lane = lane_find(message, destination, kind);

	(void)qmgr;
	if (lane == NULL)
		lane = lane_new(message, destination, kind);
	if (lane == NULL)
		return false;
	message->recipients[index].next = LANE_END;
	if (lane->first == LANE_END)
		lane->first = index;
	else
		message->recipients[lane->last].next = index;
	lane->last = index;
	lane->waiting++;
	lane_enter(lane);
	return true;
}

void
lane_free(struct qmgr *qmgr, struct lane *lane)
{
	struct destination *destination = lane->destination;

	(void)qmgr;
	lane_leave(lane);
	if (destination->latest == lane)
		destination->latest = NULL;
	list_remove(&lane->in_message);
	free(lane);
	destination_rest(destination);
}
