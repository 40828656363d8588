/*
 * rounds.c - a message's round: every recipient that waits is tried once; then notices are made,
 * what is left is deferred, and what is done is forgotten.
 */
#include "qmgr/qmgr.h"

#include "lib/base/log.h"
#include "lib/conf/notice_template.h"
#include "lib/mail/address.h"
#include "qmgr/retry.h"

#define PUT_BACK_US INT64_C(60000000) /* what was not tried because its like fill the memory */

/* "alice@example.org" as logs show it; the result lives in out. */
static struct slice
sender_text(const struct message *message, struct buf *out)
{
	address_append_external(out, message->sender);
	return buf_slice(out);
}

void
message_log_active(const struct message *message)
{
	struct buf sender = BUF(4096);

	sender_text(message, &sender);
	log_info("%s: from=<%.*s>, size=%llu, nrcpt=%u (queue active)", message->id,
	         SLICE_ARGS(buf_slice(&sender)), (unsigned long long)message->size,
	         (unsigned)message->count);
	buf_free(&sender);
}

/* What is said of a recipient that was never tried. */
static struct msg_outcome
outcome_expired(void)
{
	return (struct msg_outcome){ .action = OUTCOME_DEFERRED,
		                     .status = SLICE("4.7.0"),
		                     .reason = SLICE("message is administratively expired") };
}

/* An administrator wants it returned: nothing is tried. What is known of a recipient stays. */
static void
round_give_up(struct qmgr *qmgr, struct message *message)
{
	struct msg_outcome expired = outcome_expired();

	for (uint32_t i = 0; i < message->count; i++) {
		struct recipient *recipient = &message->recipients[i];

		if (recipient->is_settled)
			continue;
		if (recipient->outcome.length == 0) {
			settle_here(qmgr, message, i, &expired, NULL);
		} else {
			recipient->is_settled = true;
			message->unsettled--;
		}
	}
}

void
round_begin(struct qmgr *qmgr, struct message *message)
{
	message->is_round = true;
	message->has_notice_trouble = message->is_put_back = false;
	message->wants_flush = message->wants_mark = message->is_held = false;
	message->resume_us = 0;
	message->notice = JOB_DELIVER;
	message->active_us = qmgr->now_us;
	message->unsettled = 0;
	if (heap_contains(&message->alarm))
		heap_remove(&qmgr->alarms, &message->alarm);
	for (uint32_t i = 0; i < message->count; i++) {
		message->recipients[i].is_settled = message->recipients[i].state != STORED_WAITING;
		message->unsettled += !message->recipients[i].is_settled;
	}
	message_touch(qmgr, message);
	if (message->is_expired)
		round_give_up(qmgr, message);
	if (message->unsettled == 0 || resolve_request(qmgr, message))
		return;
	struct msg_outcome later = { .action = OUTCOME_DEFERRED,
		                     .status = SLICE("4.3.0"),
		                     .reason = SLICE("out of memory") };
	for (uint32_t i = 0; i < message->count; i++)
		settle_here(qmgr, message, i, &later, NULL);
}

void
round_schedule(struct qmgr *qmgr, struct message *message)
{
	if ((message->backing == BACKED_NOT && message->prober == NULL) || message->routes == NULL)
		return;
	resolve_apply(qmgr, message);
	message_trim(qmgr, message);
	message_touch(qmgr, message);
}

void
message_withdraw(struct qmgr *qmgr, struct message *message)
{
	struct list_node *node;

	while ((node = list_first(&message->lanes)) != NULL) {
		struct lane *lane = CONTAINER_OF(node, struct lane, in_message);

		message->unsettled -= lane->waiting;
		lane_free(qmgr, lane);
	}
}

/* ---- the end of a round ---- */

struct round_count {
	uint32_t waiting, failed, delivered;
};

static struct round_count
recipients_count(const struct message *message)
{
	struct round_count count = { 0 };

	for (uint32_t i = 0; i < message->count; i++)
		switch (message->recipients[i].state) {
		case STORED_WAITING: count.waiting++; break;
		case STORED_FAILED: count.failed++; break;
		case STORED_DELIVERED: count.delivered++; break;
		case STORED_DONE: break;
		}
	return count;
}

static uint32_t
notify_of(const struct message *message, uint32_t index)
{
	struct msg_recipient recipient;

	return message_recipient(message, index, &recipient) ? recipient.dsn_notify : 0;
}

/*
 * Whether somebody is to hear that it takes long: the sender, who without NOTIFY wants to know (RFC
 * 3461 4.1), or the postmaster. bounce decides for each of them.
 */
static bool
delay_is_told(const struct qmgr *qmgr, const struct message *message, uint32_t index)
{
	uint32_t notify = notify_of(message, index);

	return notify == 0 || (notify & DSN_NOTIFY_DELAY) != 0 ||
	       notice_class_is_set(qmgr->parameters->notify_classes, "delay");
}

/* Whether that notice tells of the recipient. */
static bool
is_told(struct qmgr *qmgr, const struct message *message, uint32_t index, enum job_kind kind)
{
	const struct recipient *recipient = &message->recipients[index];

	switch (kind) {
	case JOB_NOTICE_FAILURE: return recipient->state == STORED_FAILED;
	case JOB_NOTICE_SUCCESS: return recipient->state == STORED_DELIVERED;
	case JOB_NOTICE_DELAY:
		return recipient->state == STORED_WAITING && delay_is_told(qmgr, message, index);
	case JOB_NOTICE_REPORT:
		return recipient->state != STORED_DONE && recipient->outcome.length > 0;
	case JOB_DELIVER:
	case JOB_FORWARD:
	case JOB_VERIFY: break;
	}
	return false;
}

/* Gives bounce a job for all recipients that the notice tells of; false when there is none. */
static bool
notice_begin(struct qmgr *qmgr, struct message *message, enum job_kind kind)
{
	struct transport   *transport = schedule_transport(&qmgr->schedule, SLICE("bounce"));
	struct destination *bounce =
		transport == NULL ? NULL : schedule_destination(transport, SLICE("bounce"));
	bool is_begun = false;

	message->notice = kind;
	for (uint32_t i = 0; i < message->count; i++) {
		struct recipient *recipient = &message->recipients[i];

		if (!is_told(qmgr, message, i, kind))
			continue;
		if (bounce == NULL || !lane_add(qmgr, message, i, bounce, kind)) {
			message->has_notice_trouble = true;
			continue;
		}
		recipient->is_settled = false;
		message->unsettled++;
		is_begun = true;
	}
	if (!is_begun)
		message->notice = JOB_DELIVER;
	if (bounce != NULL && destination_is_dead(bounce))
		destination_defer_all(qmgr, bounce, SLICE("4.3.0"),
		                      slice_from(bounce->dead_reason));
	message_touch(qmgr, message);
	return is_begun;
}

/* Too old: what still waits has failed, with the last reason that is known. */
static void
round_expire(struct qmgr *qmgr, struct message *message)
{
	struct msg_outcome expired = outcome_expired();
	struct buf         sender = BUF(4096);

	if (!message->is_expired && !retry_is_over(qmgr->parameters, message->sender.length == 0,
	                                           message->envelope.arrival_us, qmgr->now_us))
		return;
	struct slice from = sender_text(message, &sender);
	log_info("%s: from=<%.*s>, status=%s, returned to sender", message->id, SLICE_ARGS(from),
	         message->is_expired ? "force-expired" : "expired");
	buf_free(&sender);
	for (uint32_t i = 0; i < message->count; i++) {
		struct recipient *recipient = &message->recipients[i];

		if (recipient->state != STORED_WAITING)
			continue;
		if (recipient->outcome.length == 0)
			recipient->outcome = message_outcome(message, &expired);
		recipient->state = failure_is_told(qmgr, message, notify_of(message, i))
		                           ? STORED_FAILED
		                           : STORED_DONE;
		message_add_news(message, i);
		message->has_news = true;
	}
}

/* Whether it is time to say that it takes long. */
static bool
is_warning_due(const struct qmgr *qmgr, const struct message *message)
{
	return !message->is_warned &&
	       (message->sender.length > 0 ||
	        notice_class_is_set(qmgr->parameters->notify_classes, "delay")) &&
	       retry_is_late(qmgr->parameters, message->envelope.arrival_us, qmgr->now_us);
}

/* The longer it waits the rarer it is tried. */
static void
round_defer(struct qmgr *qmgr, struct message *message)
{
	bool is_put_back = message->is_put_back;

	message->is_put_back = false;
	if (is_put_back) {
		int64_t when_us = qmgr->now_us + PUT_BACK_US;

		if (message->resume_us == 0 || when_us < message->resume_us)
			message->resume_us = when_us;
	}
	if (is_put_back && message->backing == BACKED_FILE && !message->wants_flush &&
	    !message->is_unsaved && !message_has_changes(message)) {
		message->next_attempt_us = message->resume_us;
		message->is_round = false;
		store_put_back(qmgr, message);
		return;
	}
	message->attempts++;
	message->next_attempt_us = qmgr->now_us;
	if (!message->wants_flush)
		message->next_attempt_us =
			retry_next_us(qmgr->parameters, message->envelope.arrival_us, qmgr->now_us);
	if (message->resume_us != 0 && message->resume_us < message->next_attempt_us)
		message->next_attempt_us = message->resume_us;
	message->is_round = false;
	message->is_flushed = message->wants_flush = false;
	store_rest(qmgr, message, PLACE_DEFERRED);
}

static void
round_end(struct qmgr *qmgr, struct message *message)
{
	struct error error = ERROR_NONE;

	message->notice = JOB_DELIVER;
	struct round_count count = recipients_count(message);
	if (count.waiting + count.failed + count.delivered == 0) {
		store_finish(qmgr, message, NULL);
		return;
	}
	/* What follows looks at recipients in the content. */
	if (!message_load(qmgr, message, &error)) {
		log_trouble("%s: %s", message->id, error.text);
		round_defer(qmgr, message);
		return;
	}
	if (count.waiting > 0) {
		round_expire(qmgr, message);
		count = recipients_count(message);
	}
	if (message->has_news)
		store_result(qmgr, message);
	if (count.waiting + count.failed + count.delivered == 0) {
		message_touch(qmgr, message);
		return;
	}
	if (!message->has_notice_trouble) {
		if (wants_report(message) && notice_begin(qmgr, message, JOB_NOTICE_REPORT))
			return;
		if (count.failed > 0 && notice_begin(qmgr, message, JOB_NOTICE_FAILURE))
			return;
		if (count.delivered > 0 && notice_begin(qmgr, message, JOB_NOTICE_SUCCESS))
			return;
		if (count.waiting > 0 && is_warning_due(qmgr, message) &&
		    notice_begin(qmgr, message, JOB_NOTICE_DELAY))
			return;
	}
	round_defer(qmgr, message);
}

/* ---- what is next for a message ---- */

static void
message_hold(struct qmgr *qmgr, struct message *message)
{
	message_withdraw(qmgr, message);
	message->wants_hold = message->wants_flush = message->is_flushed = false;
	message->wants_mark = false;
	message->is_held = true;
	message->is_round = false;
	message->next_attempt_us = qmgr->now_us;
	store_rest(qmgr, message, PLACE_HOLD);
}

void
message_advance(struct qmgr *qmgr, struct message *message)
{
	if (message->prober != NULL) {
		probe_advance(qmgr, message);
		return;
	}
	if (message->backing == BACKED_NOT || message->is_resolving)
		return;
	if (message->has_news && (message->jobs > 0 || message->unsettled > 0))
		store_result(qmgr, message);
	if (message->jobs > 0 || message->io > 0)
		return;
	if (message->wants_delete) {
		message_withdraw(qmgr, message);
		store_finish(qmgr, message, "postsuper");
	} else if (message->wants_hold) {
		message_hold(qmgr, message);
	} else if (!message->is_round) {
		if (message->wants_flush)
			round_begin(qmgr, message);
		else if (message->wants_mark)
			message_hold(qmgr, message);
	} else if (message->unsettled == 0) {
		round_end(qmgr, message);
	}
}
