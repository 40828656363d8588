/* settle.c - what became of a recipient in this round. */
#include "qmgr/qmgr.h"

#include <stdio.h>

#include "lib/base/log.h"
#include "lib/conf/notice_template.h"

/* With soft_bounce every failure is a matter of time: 5.x.y becomes 4.x.y; not what is only asked.
 */
static struct msg_outcome
outcome_soften(const struct qmgr *qmgr, bool is_verify, const struct msg_outcome *outcome,
               char status[16])
{
	struct msg_outcome soft = *outcome;

	if (!qmgr->parameters->soft_bounce || outcome->action != OUTCOME_FAILED || is_verify)
		return soft;
	soft.action = OUTCOME_DEFERRED;
	if (outcome->status.length > 0 && outcome->status.length < 16 &&
	    outcome->status.data[0] == '5') {
		snprintf(status, 16, "4%.*s", SLICE_ARGS(slice_from_offset(outcome->status, 1)));
		soft.status = slice_from(status);
	}
	return soft;
}

static uint32_t
recipient_notify(struct qmgr *qmgr, struct message *message, uint32_t index)
{
	struct msg_recipient recipient;
	struct error         error;

	if (!message_load(qmgr, message, &error) || !message_recipient(message, index, &recipient))
		return 0;
	return recipient.dsn_notify;
}

bool
failure_is_told(const struct qmgr *qmgr, const struct message *message, uint32_t notify)
{
	const char *classes = qmgr->parameters->notify_classes;

	return notify == 0 || (notify & DSN_NOTIFY_FAILURE) != 0 ||
	       notice_class_is_set(classes, "bounce") ||
	       (message->sender.length == 0 && notice_class_is_set(classes, "2bounce"));
}

static bool
is_delay_told(uint32_t notify)
{
	return notify == 0 || (notify & DSN_NOTIFY_DELAY) != 0;
}

/* He was warned, and is to hear that it went well after all. */
static bool
is_clearing_told(const struct qmgr *qmgr, const struct message *message)
{
	return qmgr->parameters->confirm_delay_cleared && message->is_warned;
}

bool
wants_report(const struct message *message)
{
	return (message->envelope.flags & ENVELOPE_REPORT) != 0 && !message->is_reported &&
	       message->sender.length > 0;
}

/* The state that a delivery's outcome leads to. */
static enum stored_state
state_after(struct qmgr *qmgr, struct message *message, uint32_t index, uint32_t action)
{
	uint32_t notify;

	/* Whatever it was, there is no second attempt. */
	if (message->is_verify)
		return wants_report(message) ? STORED_DELIVERED : STORED_DONE;
	if (wants_report(message) && action != OUTCOME_FAILED && action != OUTCOME_DEFERRED)
		return STORED_DELIVERED;
	switch ((enum outcome_action)action) {
	case OUTCOME_RELAYED_DSN: /* who asked for success hears from there */
		if (!is_clearing_told(qmgr, message))
			return STORED_DONE;
		notify = recipient_notify(qmgr, message, index);
		return is_delay_told(notify) && (notify & DSN_NOTIFY_SUCCESS) == 0
		               ? STORED_DELIVERED
		               : STORED_DONE;
	case OUTCOME_DELIVERED:
	case OUTCOME_RELAYED:
	case OUTCOME_EXPANDED:
		notify = recipient_notify(qmgr, message, index);
		return (notify & DSN_NOTIFY_SUCCESS) != 0 ||
		                       (is_clearing_told(qmgr, message) && is_delay_told(notify))
		               ? STORED_DELIVERED
		               : STORED_DONE;
	case OUTCOME_FAILED:
		notify = recipient_notify(qmgr, message, index);
		return failure_is_told(qmgr, message, notify) ? STORED_FAILED : STORED_DONE;
	case OUTCOME_DEFERRED:
	case OUTCOME_PASS:
	case OUTCOME_FORWARD: break;
	}
	return STORED_WAITING;
}

bool
settle_is_end(struct qmgr *qmgr, struct message *message, uint32_t index, uint32_t action)
{
	return state_after(qmgr, message, index, action) == STORED_DONE;
}

/* Success that somebody asked for has a notice of its own, behind the report. */
bool
report_is_last(struct qmgr *qmgr, struct message *message, uint32_t index)
{
	return message->is_verify ||
	       (message->recipients[index].state == STORED_DELIVERED &&
	        (recipient_notify(qmgr, message, index) & DSN_NOTIFY_SUCCESS) == 0);
}

/* A notice was made, or could not be. */
static void
settle_notice(struct qmgr *qmgr, struct message *message, uint32_t index,
              const struct msg_outcome *outcome)
{
	struct recipient *recipient = &message->recipients[index];

	if (outcome->action == OUTCOME_DEFERRED) {
		message->has_notice_trouble = true;
		return;
	}
	if (message->notice == JOB_NOTICE_DELAY) {
		message->is_warned = true;
		message->is_put_back = false; /* this has to be written down */
		return;
	}
	if (recipient->state == STORED_DONE) /* with its notice (settlement.c) */
		return;
	if (message->notice == JOB_NOTICE_REPORT) {
		message->is_reported = true;
		message->is_put_back = false;
		if (!report_is_last(qmgr, message, index))
			return;
	}
	recipient->state = STORED_DONE;
	message_add_news(message, index);
	message->has_news = true;
}

void
settle(struct qmgr *qmgr, struct message *message, uint32_t index,
       const struct msg_outcome *outcome, const struct destination *way)
{
	struct recipient *recipient = &message->recipients[index];
	char              status[16];

	struct msg_outcome last = *outcome;

	if (recipient->is_settled)
		return;
	if (recipient->stages != NULL && message->notice == JOB_DELIVER &&
	    stages_continue(qmgr, message, index, &last))
		return;
	outcome = &last;
	recipient->is_settled = true;
	message->unsettled--;
	message_touch(qmgr, message);
	if (message->notice != JOB_DELIVER) {
		settle_notice(qmgr, message, index, outcome);
		return;
	}
	struct msg_outcome final = outcome_soften(qmgr, message->is_verify, outcome, status);
	enum stored_state  state = state_after(qmgr, message, index, final.action);
	recipient->state = state;
	message_add_news(message, index);
	if (state != STORED_WAITING)
		message->has_news = true;
	/* Mailbox workers recognise a repeat; another host does not. */
	if (way != NULL && !way->is_worker && final.action != OUTCOME_FAILED &&
	    final.action != OUTCOME_DEFERRED)
		message->is_outside = true;
	/* The outcome of what is simply done with interests nobody any more. */
	final.recipient = 0;
	if (way != NULL) {
		final.transport = slice_from(way->transport->name);
		final.nexthop = way->is_worker ? SLICE_EMPTY : way->nexthop;
	}
	recipient->outcome = state == STORED_DONE && message->prober == NULL
	                             ? SLICE_EMPTY
	                             : message_outcome(message, &final);
}

/* As Postfix's error(8) and discard(8), which do there what needs no agent here. */
static void
outcome_log(const struct message *message, const struct msg_job_recipient *recipient,
            const struct msg_outcome *outcome, const struct delivery_times *times)
{
	struct buf  line = BUF(4096);
	const char *program =
		slice_equal(outcome->transport, SLICE("discard")) ? "discard" : "error";

	/* Longer than a log line may be: what matters most comes first anyway. */
	(void)job_outcome_append(&line, recipient, outcome, times, 0);
	line.has_failed = false;
	log_info_as(program, "%s: %.*s", message->id, SLICE_ARGS(buf_slice(&line)));
	buf_free(&line);
}

void
settle_here(struct qmgr *qmgr, struct message *message, uint32_t index,
            const struct msg_outcome *outcome, const struct destination *way)
{
	struct msg_job_recipient named = { .address = SLICE("?") };
	struct msg_recipient     recipient;
	struct error             error;
	struct delivery_times    times = { .arrival_us = message->envelope.arrival_us,
		                           .active_us = message->active_us,
		                           .begin_us = qmgr->now_us,
		                           .done_us = qmgr->now_us,
		                           .is_soft = qmgr->parameters->soft_bounce &&
		                                      !message->is_verify,
		                           .is_verify = message->is_verify };

	if (message->recipients[index].is_settled)
		return;
	if (message_load(qmgr, message, &error) && message_recipient(message, index, &recipient)) {
		named.address = recipient.address;
		named.original = recipient.original;
	}
	if (message->notice == JOB_DELIVER)
		outcome_log(message, &named, outcome, &times);
	settle(qmgr, message, index, outcome, way);
}

void
destination_defer_all(struct qmgr *qmgr, struct destination *destination, struct slice status,
                      struct slice reason)
{
	struct msg_outcome later = { .action = OUTCOME_DEFERRED,
		                     .status = status,
		                     .reason = reason };
	struct lane       *lane;

	destination->busy++; /* so that it stays while its lanes go */
	while ((lane = destination_next_lane(destination)) != NULL) {
		struct message *message = lane->message;

		for (uint32_t i = lane->first; i != LANE_END; i = message->recipients[i].next)
			settle_here(qmgr, message, i, &later, destination);
		lane_free(qmgr, lane);
	}
	destination->busy--;
	destination_rest(destination);
}
