/* jobs.c - a job: some recipients of a message for an agent, and what the agent reports. */
#include "qmgr/jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/queue/verp.h"
#include "qmgr/retry.h"

#define LIST_MOST     (15u << 20)
#define SENDER_MOST   2048
#define ENVELOPE_MOST (128u * 1024)
#define DEATHS_MOST   20 /* agents that died with a message in hand before it is deferred */
#define FORWARDS_MOST 5
/* Of the recipients in a notice's job: the frame has room for the message, too. */
#define NOTICE_LIST_MOST      (12u << 20)
#define RECIPIENT_FRAME_BYTES 64 /* numbers and lengths of a msg_job_recipient */

/* ---- giving ---- */

/* Takes up to limit recipients (0 = all) off the lane. */
static struct job *
job_new(struct qmgr *qmgr, struct lane *lane, uint32_t limit)
{
	uint32_t    count = limit == 0 || lane->waiting < limit ? lane->waiting : limit;
	struct job *job = calloc(1, sizeof(*job) + count * sizeof(uint32_t));

	if (job == NULL)
		return NULL;
	list_init(&job->in_agent);
	job->number = ++qmgr->next_job;
	job->message = lane->message;
	job->destination = lane->destination;
	job->kind = lane->kind;
	for (; job->count < count; job->count++) {
		job->recipients[job->count] = lane->first;
		lane->first = lane->message->recipients[lane->first].next;
	}
	lane->waiting -= count;
	return job;
}

static bool
recipient_append(struct buf *list, const struct job *job, uint32_t index)
{
	const struct recipient  *known = &job->message->recipients[index];
	struct msg_recipient     recipient;
	struct msg_job_recipient one = { .mailbox = known->mailbox, .quota = known->quota };

	if (!message_recipient(job->message, index, &recipient))
		return false;
	one.address = recipient.address;
	one.original = recipient.original;
	one.dsn_orcpt = recipient.dsn_orcpt;
	one.dsn_notify = recipient.dsn_notify;
	if (job->kind == JOB_FORWARD)
		one.forward = known->stages->forward;
	else if (job->kind != JOB_DELIVER)
		one.outcome = known->outcome;
	else if (known->stages != NULL)
		one.local = known->stages->local;
	return msg_job_recipient_append(list, &one);
}

/*
 * Whether each recipient is a job of its own, with a sender of its own. A notice that tells of
 * failures goes to that sender, too, unless disable_verp_bounces.
 */
static bool
is_personal(const struct qmgr *qmgr, const struct message *message, enum job_kind kind)
{
	if ((message->envelope.flags & ENVELOPE_VERP) == 0 || message->sender.length == 0)
		return false;
	return kind == JOB_DELIVER ||
	       (kind == JOB_NOTICE_FAILURE && !qmgr->parameters->disable_verp_bounces);
}

/* The envelope with the recipient's own sender; by the address that the list knows. */
static bool
personal_envelope(const struct job *job, struct buf *out, struct error *error)
{
	struct slice         list = job->message->commit.envelope;
	struct msg_envelope  envelope;
	struct msg_recipient recipient;
	struct buf           sender = BUF(SENDER_MOST);

	bool is_good = msg_envelope_next(&list, &envelope) &&
	               message_recipient(job->message, job->recipients[0], &recipient);
	if (is_good &&
	    verp_sender(envelope.flags, envelope.sender,
	                recipient.original.length > 0 ? recipient.original : recipient.address,
	                &sender))
		envelope.sender = buf_slice(&sender);
	is_good = is_good && !sender.has_failed && msg_envelope_append(out, &envelope);
	buf_free(&sender);
	return is_good || error_set(error, "out of memory for the sender of one recipient");
}

/* Encodes and queues the job on the agent's channel. */
static bool
job_send(struct qmgr *qmgr, struct agent_link *agent, const struct job *job, struct error *error)
{
	struct message *message = job->message;
	struct buf      list = BUF(LIST_MOST), personal = BUF(ENVELOPE_MOST);
	struct msg_job  frame = msg_job_clear();
	struct stat     info;
	char            path[64];
	bool            is_sent = true;

	for (uint32_t i = 0; i < job->count && is_sent; i++)
		is_sent = recipient_append(&list, job, job->recipients[i]);
	frame.job = job->number;
	frame.queue_id = slice_from(message->id);
	frame.kind = job->kind == JOB_DELIVER && message->is_verify ? JOB_VERIFY : job->kind;
	if (!job->destination->is_worker)
		frame.nexthop = job->destination->nexthop;
	frame.envelope = message->commit.envelope;
	if (is_sent && is_personal(qmgr, message, job->kind) && job->count == 1) {
		is_sent = personal_envelope(job, &personal, error);
		frame.envelope = buf_slice(&personal);
	}
	frame.recipients = buf_slice(&list);
	frame.active_us = message->active_us;
	frame.retry_until_us = retry_until_us(qmgr->parameters, message->sender.length == 0,
	                                      message->envelope.arrival_us);
	/* Nobody can have delivered it without our knowing. */
	frame.is_fresh =
		message->is_taken_here && !message->is_retried && message->agent_deaths == 0;
	frame.is_soft = qmgr->parameters->soft_bounce && !message->is_verify;
	frame.patience_ms = destination_patience(job->destination);
	frame.content = message->commit.content;
	if (is_sent && message->is_spooled) {
		snprintf(path, sizeof(path), "spool/%s", message->id);
		frame.file = openat(qmgr->queue_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		frame.content = SLICE_EMPTY;
		if (frame.file < 0 || fstat(frame.file, &info) != 0)
			is_sent = error_set_errno(error, "open %s", path);
		else
			frame.file_length = (uint64_t)info.st_size;
	}
	if (is_sent && !ipc_queue(&agent->link.channel, job, &frame))
		is_sent = error_set(error, "the job cannot be sent");
	if (frame.file >= 0)
		close(frame.file);
	buf_free(&list);
	buf_free(&personal);
	return is_sent;
}

static void
job_defer(struct qmgr *qmgr, const struct job *job, const char *reason)
{
	struct msg_outcome later = { .action = OUTCOME_DEFERRED,
		                     .status = SLICE("4.3.0"),
		                     .reason = slice_from(reason) };

	for (uint32_t i = 0; i < job->count; i++)
		if (job->recipients[i] != LANE_END) /* not on its way elsewhere */
			settle_here(qmgr, job->message, job->recipients[i], &later,
			            job->destination);
}

/*
 * How many recipients one notice tells of: all, unless the job would be longer than a message
 * between daemons may be.
 */
static uint32_t
notice_limit(struct qmgr *qmgr, const struct lane *lane)
{
	struct message      *message = lane->message;
	struct msg_recipient recipient;
	struct error         error;
	size_t               bytes = 0;
	uint32_t             count = 0;

	if (!message_load(qmgr, message, &error))
		return 0;
	for (uint32_t i = lane->first; i != LANE_END; i = message->recipients[i].next) {
		if (message_recipient(message, i, &recipient))
			bytes += recipient.address.length + recipient.original.length +
			         recipient.dsn_orcpt.length;
		bytes += message->recipients[i].outcome.length + RECIPIENT_FRAME_BYTES;
		if (count > 0 && bytes > NOTICE_LIST_MOST)
			break;
		count++;
	}
	return count;
}

bool
job_give(struct qmgr *qmgr, struct agent_link *agent, struct destination *destination)
{
	struct lane *lane = destination_next_lane(destination);
	/* What local sends on may be long for each. */
	uint32_t     limit = is_personal(qmgr, lane->message, lane->kind) ? 1
	                     : lane->kind == JOB_DELIVER ? destination->transport->recipient_limit
	                     : lane->kind == JOB_FORWARD ? FORWARDS_MOST
	                                                 : notice_limit(qmgr, lane);
	struct error error = ERROR_NONE;
	struct job  *job = job_new(qmgr, lane, limit);

	if (job == NULL)
		return false;
	destination_job_begun(destination, qmgr->now_ms);
	if (lane->waiting == 0)
		lane_free(qmgr, lane);
	if (!message_load(qmgr, job->message, &error) || !job_send(qmgr, agent, job, &error)) {
		log_trouble("%s: %s", job->message->id, error.text);
		job_defer(qmgr, job, error.text);
		destination_job_ended(destination, DESTINATION_NEUTRAL, SLICE_EMPTY, qmgr->now_ms);
		destination_rest(destination);
		free(job);
		return true;
	}
	job->message->jobs++;
	qmgr->jobs++;
	agent->busy++;
	list_append(&agent->jobs, &job->in_agent);
	link_dirty(qmgr, &agent->link);
	return true;
}

/* ---- the report ---- */

struct job *
job_find(const struct agent_link *agent, uint64_t number)
{
	LIST_EACH (node, &agent->jobs) {
		struct job *job = CONTAINER_OF(node, struct job, in_agent);

		if (job->number == number)
			return job;
	}
	return NULL;
}

/* The job is over; its destination learns from it. */
static void
job_free(struct qmgr *qmgr, struct agent_link *agent, struct job *job,
         enum destination_report report, struct slice reason)
{
	struct destination *destination = job->destination;
	char                text[256];

	list_remove(&job->in_agent);
	agent->busy--;
	qmgr->jobs--;
	job->message->jobs--;
	message_trim(qmgr, job->message);
	message_touch(qmgr, job->message);
	free(job);
	bool was_dead = destination_is_dead(destination);
	destination_job_ended(destination, report, reason, qmgr->now_ms);
	/* Dead before: this job came back undone. */
	if (destination_is_dead(destination) && (!was_dead || destination->lanes > 0)) {
		snprintf(text, sizeof(text), "delivery temporarily suspended: %s",
		         destination->dead_reason);
		destination_defer_all(qmgr, destination, destination_dead_status(destination),
		                      slice_from(text));
	} else {
		destination_rest(destination);
	}
}

static bool
outcome_is_sane(const struct msg_outcome *outcome, const struct job *job)
{
	return outcome->recipient < job->count && job->recipients[outcome->recipient] != LANE_END &&
	       outcome->action <= OUTCOME_FORWARD && outcome->status.length < 16;
}

/* What is to be sent on for a recipient of the job; false when the list is malformed or has none.
 */
static bool
forward_find(struct slice list, uint32_t recipient, struct msg_forward *forward)
{
	while (msg_forward_next(&list, forward))
		if (forward->recipient == recipient)
			return true;
	return false;
}

/* An outcome that is no end: only a worker may give one. False: nonsense. */
static bool
outcome_goes_on(struct qmgr *qmgr, struct job *job, const struct msg_outcome *outcome,
                const struct msg_job_result *result)
{
	uint32_t           index = job->recipients[outcome->recipient];
	struct msg_outcome later = { .action = OUTCOME_DEFERRED,
		                     .status = SLICE("4.3.0"),
		                     .reason = SLICE("out of memory") };
	struct msg_forward forward;
	bool               has_forward = outcome->action == OUTCOME_FORWARD;

	if (!job->destination->is_worker || job->kind != JOB_DELIVER ||
	    job->message->recipients[index].stages == NULL ||
	    (has_forward && !forward_find(result->forwards, outcome->recipient, &forward)))
		return false;
	if (!job->message->recipients[index].is_settled &&
	    !stages_go_on(qmgr, job->message, index, outcome, has_forward ? &forward : NULL))
		settle_here(qmgr, job->message, index, &later, job->destination);
	job->recipients[outcome->recipient] = LANE_END; /* no longer this job's */
	return true;
}

/* Its recipients wait again. */
static void
job_requeue(struct qmgr *qmgr, struct job *job)
{
	struct message    *message = job->message;
	struct msg_outcome later = { .action = OUTCOME_DEFERRED,
		                     .status = SLICE("4.3.0"),
		                     .reason = SLICE("out of memory") };

	for (uint32_t i = 0; i < job->count; i++) {
		if (job->recipients[i] == LANE_END ||
		    message->recipients[job->recipients[i]].is_settled)
			continue;
		/* One whose notice is being written is not given out a second time. */
		if (message->recipients[job->recipients[i]].is_noticed ||
		    !lane_add(qmgr, message, job->recipients[i], job->destination, job->kind))
			settle_here(qmgr, message, job->recipients[i], &later, job->destination);
	}
}

bool
job_result(struct qmgr *qmgr, struct agent_link *agent, const struct msg_job_result *result)
{
	struct job        *job = job_find(agent, result->job);
	struct slice       list = result->outcomes;
	struct msg_outcome outcome;

	if (job == NULL || result->destination > DESTINATION_SILENT)
		return false;
	if (result->destination == DESTINATION_SILENT) {
		job_requeue(qmgr, job);
		job_free(qmgr, agent, job, DESTINATION_SILENT, SLICE_EMPTY);
		return true;
	}
	while (msg_outcome_next(&list, &outcome)) {
		if (!outcome_is_sane(&outcome, job))
			return false;
		if (outcome.action == OUTCOME_PASS || outcome.action == OUTCOME_FORWARD) {
			if (!outcome_goes_on(qmgr, job, &outcome, result))
				return false;
			continue;
		}
		uint32_t index = job->recipients[outcome.recipient];
		settle(qmgr, job->message, index, &outcome, job->destination);
		if (result->destination == DESTINATION_FAILED)
			destination_note_status(job->destination, outcome.status);
		if (!job->message->recipients[index].is_settled) /* in its next stage */
			job->recipients[outcome.recipient] = LANE_END;
	}
	if (list.data == NULL)
		return false;
	job_defer(qmgr, job, "the delivery agent reported no result");
	job_free(qmgr, agent, job, (enum destination_report)result->destination,
	         result->destination_reason);
	return true;
}

/* The agent is gone: its recipients wait again, unless this message has been the end of several. */
void
job_return(struct qmgr *qmgr, struct agent_link *agent, struct job *job)
{
	if (++job->message->agent_deaths >= DEATHS_MOST)
		job_defer(qmgr, job, "the delivery agent ended without a result");
	else
		job_requeue(qmgr, job);
	job_free(qmgr, agent, job, DESTINATION_NEUTRAL, SLICE_EMPTY);
}
