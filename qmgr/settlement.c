/*
 * settlement.c - a notice and the end of what it is about are written as one record; so are a
 * message that local sends on and the end of the recipient that it is for.
 *
 * Otherwise a power cut between the two would have it made again. bounce says which recipients of
 * the job in its hands its next commit tells of; qmgr puts that in front of the message in a
 * RECORD_NOTICE, and notes it in memory when the record is safe.
 */
#include <stdlib.h>

#include "qmgr/jobs.h"

#define PREFIX_MOST (16u << 20)

struct settlement {
	struct message *about; /* stays in memory: its io is counted */
	enum job_kind   kind;  /* of the notice */
	uint32_t        count;
	uint32_t        recipients[];
};

/* ---- who may ---- */

/* The job of bounce that a process of that pid holds; any other is none of its business. */
static struct job *
job_of(struct qmgr *qmgr, int pid, const struct msg_intake_settles *settles)
{
	LIST_EACH (node, &qmgr->agents) {
		struct agent_link *agent = CONTAINER_OF(node, struct agent_link, in_agents);

		if (agent->pid != pid || pid == 0)
			continue;
		struct job *job = job_find(agent, settles->job);
		if (job != NULL && job->kind != JOB_DELIVER &&
		    slice_equal(slice_from(job->message->id), settles->about))
			return job;
	}
	return NULL;
}

/*
 * Fills in the recipients; false when one is not the job's, or is told of already. One that has
 * more to come when its message is sent on is left to the report: then nothing is settled.
 */
static bool
recipients_take(struct qmgr *qmgr, struct settlement *settlement, const struct job *job,
                struct slice list)
{
	struct msg_settled_recipient one;

	while (msg_settled_recipient_next(&list, &one)) {
		if (one.recipient >= job->count || settlement->count == job->count)
			return false;
		uint32_t index = job->recipients[one.recipient];
		if (index == LANE_END || job->message->recipients[index].is_settled ||
		    job->message->recipients[index].is_noticed)
			return false;
		if (job->kind == JOB_FORWARD && !stages_forward_is_end(qmgr, job->message, index))
			continue;
		settlement->recipients[settlement->count++] = index;
	}
	return list.data != NULL && (settlement->count > 0 || job->kind == JOB_FORWARD);
}

/* ---- the record ---- */

/* Whether the notice is all that was left to do for that recipient. */
static bool
is_end(struct qmgr *qmgr, const struct settlement *settlement, uint32_t recipient)
{
	return settlement->kind != JOB_NOTICE_DELAY &&
	       (settlement->kind != JOB_NOTICE_REPORT ||
	        report_is_last(qmgr, settlement->about, recipient));
}

/* What is known of the message once the notice is there. */
static bool
result_append(struct qmgr *qmgr, const struct settlement *settlement, struct buf *out)
{
	const struct message    *about = settlement->about;
	struct ipc_encoding      encoding = { .fields = BUF(PREFIX_MOST) };
	struct buf               list = BUF(PREFIX_MOST);
	struct msg_stored_result result = { .queue_id = slice_from(about->id),
		                            .attempts = about->attempts };

	if (about->is_warned || settlement->kind == JOB_NOTICE_DELAY)
		result.flags |= STORED_FLAG_WARNED;
	if (about->is_reported || settlement->kind == JOB_NOTICE_REPORT)
		result.flags |= STORED_FLAG_REPORTED;
	if (about->is_expired)
		result.flags |= STORED_FLAG_EXPIRED;
	for (uint32_t i = 0; i < settlement->count; i++) {
		struct msg_stored_recipient one = { .recipient = settlement->recipients[i],
			                            .state = STORED_DONE };

		if (!is_end(qmgr, settlement, one.recipient))
			continue;
		msg_stored_recipient_append(&list, &one);
	}
	result.recipients = buf_slice(&list);
	bool is_good = !list.has_failed && msg_stored_result_encode(&encoding, &result) &&
	               buf_append(out, buf_slice(&encoding.fields));
	buf_free(&list);
	buf_free(&encoding.fields);
	return is_good;
}

static bool
prefix_append(struct qmgr *qmgr, const struct settlement *settlement, struct buf *out)
{
	struct ipc_encoding      encoding = { .fields = BUF(PREFIX_MOST) };
	struct buf               result = BUF(PREFIX_MOST);
	struct msg_stored_notice notice = { 0 };
	bool                     is_good = result_append(qmgr, settlement, &result);

	notice.result = buf_slice(&result);
	is_good = is_good && msg_stored_notice_encode(&encoding, &notice) &&
	          buf_append(out, buf_slice(&encoding.fields));
	buf_free(&result);
	buf_free(&encoding.fields);
	return is_good;
}

/* ---- from the commit to the journal's answer ---- */

struct settlement *
settlement_new(struct qmgr *qmgr, const struct intake_link *link, struct slice notice_id,
               struct buf *prefix)
{
	struct ipc_frame          frame = { .type = MSG_intake_settles,
		                            .payload = buf_slice(&link->settles) };
	struct msg_intake_settles settles;

	if (!msg_intake_settles_decode(&frame, &settles) ||
	    !slice_equal(settles.queue_id, notice_id))
		return NULL;
	struct job *job = job_of(qmgr, link->pid, &settles);
	if (job == NULL)
		return NULL;
	struct settlement *settlement =
		calloc(1, sizeof(*settlement) + job->count * sizeof(settlement->recipients[0]));
	if (settlement == NULL)
		return NULL;
	settlement->about = job->message;
	settlement->kind = job->kind;
	if (!recipients_take(qmgr, settlement, job, settles.recipients) ||
	    !prefix_append(qmgr, settlement, prefix)) {
		free(settlement);
		return NULL;
	}
	return settlement;
}

void
settlement_begin(struct message *notice, struct settlement *settlement)
{
	notice->settlement = settlement;
	if (settlement == NULL)
		return;
	settlement->about->io++;
	for (uint32_t i = 0; i < settlement->count; i++)
		settlement->about->recipients[settlement->recipients[i]].is_noticed = true;
}

/* Told of: also when the job's report, or its agent's end, said meanwhile that it was not. */
static void
recipient_close(struct message *about, struct recipient *recipient, bool is_last)
{
	if (is_last) {
		recipient->state = STORED_DONE;
		recipient->outcome = SLICE_EMPTY;
		recipient->is_changed = true;
	}
	if (recipient->is_settled)
		return;
	recipient->is_settled = true;
	about->unsettled--;
}

void
settlement_end(struct qmgr *qmgr, struct message *notice, bool is_written)
{
	struct settlement *settlement = notice->settlement;

	notice->settlement = NULL;
	if (settlement == NULL)
		return;
	struct message *about = settlement->about;
	about->io--;
	for (uint32_t i = 0; i < settlement->count; i++) {
		uint32_t          index = settlement->recipients[i];
		struct recipient *recipient = &about->recipients[index];

		recipient->is_noticed = false;
		if (is_written)
			recipient_close(about, recipient, is_end(qmgr, settlement, index));
	}
	if (is_written) {
		about->is_warned |= settlement->kind == JOB_NOTICE_DELAY;
		about->is_reported |= settlement->kind == JOB_NOTICE_REPORT;
		if (about->backing == BACKED_FILE)
			segment_pin(qmgr, about, notice->commit_write.epoch);
	}
	message_touch(qmgr, about);
	free(settlement);
}
