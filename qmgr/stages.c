/* stages.c - local delivery in stages: what follows when a worker is done with its part. */
#include "qmgr/qmgr.h"

static struct slice
keep(struct message *message, struct slice bytes)
{
	return bytes.length == 0 ? SLICE_EMPTY : arena_copy(&message->arena, bytes);
}

/* A copy of the chain that lives as long as the message. */
static bool
chain_copy(struct message *message, const struct route *route, const struct route **copy)
{
	*copy = NULL;
	for (; route != NULL; route = route->next) {
		struct route *one = arena_alloc(&message->arena, sizeof(*one));

		if (one == NULL)
			return false;
		*one = *route;
		one->next = NULL;
		one->transport = keep(message, route->transport);
		one->nexthop = keep(message, route->nexthop);
		one->recipient = keep(message, route->recipient);
		one->mailbox = keep(message, route->mailbox);
		one->local = keep(message, route->local);
		if (one->transport.data == NULL || one->nexthop.data == NULL ||
		    one->recipient.data == NULL || one->mailbox.data == NULL ||
		    one->local.data == NULL)
			return false;
		*copy = one;
		copy = (const struct route **)(uintptr_t)&one->next;
	}
	return true;
}

bool
stages_set(struct message *message, uint32_t index, const struct route *route)
{
	struct recipient *recipient = &message->recipients[index];

	/* A later stage: its chain is in the arena already. */
	if (recipient->stages != NULL) {
		recipient->stages->local = route->local;
		recipient->stages->next = route->next;
		return true;
	}
	if (route->local.length == 0)
		return true;
	struct stages *stages = arena_alloc(&message->arena, sizeof(*stages));
	if (stages == NULL)
		return false;
	stages->local = keep(message, route->local);
	if (stages->local.data == NULL || !chain_copy(message, route->next, &stages->next))
		return false;
	recipient->stages = stages;
	return true;
}

/* Puts it in line for the stage after this one; there is one. */
static void
next_stage(struct qmgr *qmgr, struct message *message, uint32_t index)
{
	const struct route *next = message->recipients[index].stages->next;

	message->recipients[index].stages->passes = false;
	message->recipients[index].stages->next = NULL;
	route_apply(qmgr, message, index, next);
}

/* bounce makes the message; its outcome comes back to stages_continue. */
static bool
send_on(struct qmgr *qmgr, struct message *message, uint32_t index,
        const struct msg_forward *forward)
{
	struct stages      *stages = message->recipients[index].stages;
	struct transport   *transport = schedule_transport(&qmgr->schedule, SLICE("bounce"));
	struct destination *bounce =
		transport == NULL ? NULL : schedule_destination(transport, SLICE("bounce"));
	struct buf list = BUF(16u << 20);

	bool ok = bounce != NULL && msg_forward_append(&list, forward);
	stages->forward = ok ? keep(message, buf_slice(&list)) : SLICE_EMPTY;
	stages->passes = forward->passes;
	buf_free(&list);
	return ok && stages->forward.data != NULL &&
	       lane_add(qmgr, message, index, bounce, JOB_FORWARD);
}

bool
stages_go_on(struct qmgr *qmgr, struct message *message, uint32_t index,
             const struct msg_outcome *outcome, const struct msg_forward *forward)
{
	struct stages *stages = message->recipients[index].stages;

	if (outcome->status.length > 0 && outcome->status.data[0] == '5' &&
	    stages->fault.length == 0) {
		struct msg_outcome fault = *outcome;

		fault.action = OUTCOME_FAILED;
		stages->fault = message_outcome(message, &fault);
	}
	if (forward != NULL)
		return send_on(qmgr, message, index, forward);
	if (stages->next == NULL)
		return false;
	next_stage(qmgr, message, index);
	return true;
}

bool
stages_forward_is_end(struct qmgr *qmgr, struct message *message, uint32_t index)
{
	const struct stages *stages = message->recipients[index].stages;
	struct slice         list = stages == NULL ? SLICE_EMPTY : stages->forward;
	struct msg_forward   forward;

	return msg_forward_next(&list, &forward) && stages->fault.length == 0 &&
	       !(stages->passes && stages->next != NULL) &&
	       settle_is_end(qmgr, message, index, forward.action);
}

bool
stages_continue(struct qmgr *qmgr, struct message *message, uint32_t index,
                struct msg_outcome *outcome)
{
	struct stages     *stages = message->recipients[index].stages;
	struct slice       fault = stages->fault;
	struct msg_outcome failure;

	if (outcome->action == OUTCOME_DEFERRED || outcome->action == OUTCOME_FAILED)
		return false;
	if (stages->passes && stages->next != NULL) {
		next_stage(qmgr, message, index);
		return true;
	}
	if (msg_outcome_next(&fault, &failure))
		*outcome = failure;
	return false;
}
