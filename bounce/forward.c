/*
 * forward.c - what local sends on: a message made of another, with new recipients. See notice.h.
 *
 * It is done here and not by local's workers, since those run as the user: they may neither read
 * the tables that rewrite addresses nor put anything into the queue.
 */
#include "bounce/notice.h"

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/mail/address.h"
#include "lib/mail/header.h"

#define PIECE_BYTES (64u * 1024)
/* Of the first message; holding it back, above all, is settled. */
#define FLAGS_KEPT                                                                                 \
	(ENVELOPE_8BIT | ENVELOPE_SMTPUTF8 | ENVELOPE_IS_NOTICE | ENVELOPE_DOUBLE_BOUNCE |         \
	 ENVELOPE_REQUIRETLS)

static bool
set_trace(struct intake *intake, const struct parameters *parameters,
          const struct msg_forward *forward, int64_t now_s)
{
	struct buf trace = BUF(16384);

	buf_append_format(&trace, "Received: by %s (%s)\r\n\tid %s; ", parameters->myhostname,
	                  parameters->mail_name, intake_id(intake));
	date_append(&trace, now_s);
	buf_append_text(&trace, "\r\n");
	if (forward->delivered_to.length > 0) {
		buf_append_text(&trace, "Delivered-To: ");
		address_append_external(&trace, forward->delivered_to);
		buf_append_text(&trace, "\r\n");
	}
	bool ok = !trace.has_failed && intake_set_trace(intake, buf_slice(&trace));
	buf_free(&trace);
	return ok;
}

/* It comes from a process of the user's: what would not have come through SMTP does not here. */
static bool
is_address(struct slice text, bool may_be_empty)
{
	struct address parts;

	return text.length == 0 ? may_be_empty
	                        : address_split(text, &parts) && parts.local.length > 0 &&
	                                  slice_is_utf8(text);
}

static bool
add_recipients(struct intake *intake, struct slice list)
{
	struct msg_recipient recipient;

	while (msg_recipient_next(&list, &recipient)) {
		recipient.dsn_notify &= DSN_NOTIFY_NEVER | DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE |
		                        DSN_NOTIFY_DELAY;
		if (!is_address(recipient.address, false) ||
		    !is_address(recipient.original, true) ||
		    slice_has_control(recipient.dsn_orcpt) ||
		    !intake_add_recipient(intake, &recipient))
			return false;
	}
	return list.data != NULL;
}

static bool
copy_content(struct intake *intake, const struct agent_job *job, struct error *error)
{
	char        *scratch = malloc(PIECE_BYTES);
	struct slice piece;
	uint64_t     at = 0;
	bool         ok = scratch != NULL || error_set(error, "out of memory");

	while (ok && (ok = agent_job_content(job, at, scratch, PIECE_BYTES, &piece, error)) &&
	       piece.length > 0) {
		intake_write(intake, piece); /* intake_finish tells of a failure */
		at += piece.length;
	}
	free(scratch);
	return ok;
}

/* The recipient for whom something is sent on: that of the index in a job. */
struct origin {
	const struct agent_job *job;
	uint32_t                index;
};

/*
 * Commits the message, and with it the recipient's end, if that is all; *reply is what intake says.
 * False with *error when it came not so far.
 */
static bool
send_on(const struct intake_context *context, const struct origin *origin,
        const struct msg_forward *forward, struct arena *arena, char id[QUEUE_ID_MOST],
        struct smtp_reply *reply, struct error *error)
{
	const struct agent_job *job = origin->job;
	struct msg_envelope     envelope = job->envelope;
	bool                    keeps_dsn = forward->action != OUTCOME_DELIVERED;
	struct buf              list = BUF(256);
	struct intake_settles settles = { .job = job->message.job, .about = job->message.queue_id };
	struct msg_settled_recipient settled = { .recipient = origin->index };

	envelope.sender = forward->sender;
	envelope.arrival_us = clock_wall_us();
	envelope.size = agent_job_size(job);
	envelope.flags &= FLAGS_KEPT;
	envelope.filter = SLICE_EMPTY;
	envelope.service = SLICE("local");
	if (!keeps_dsn) {
		envelope.dsn_ret = DSN_RET_NONE;
		envelope.dsn_envid = SLICE_EMPTY;
	}
	if (!is_address(forward->sender, true) || !is_address(forward->delivered_to, true))
		return error_set(error, "malformed address in what is to be sent on");
	struct intake *intake = intake_begin(context, &envelope, error);
	if (intake == NULL)
		return false;
	if (msg_settled_recipient_append(&list, &settled)) {
		settles.recipients = buf_slice(&list);
		intake_set_settles(intake, &settles);
	}
	memcpy(id, intake_id(intake), strlen(intake_id(intake)) + 1);
	bool ok = set_trace(intake, context->parameters, forward, envelope.arrival_us / 1000000) &&
	          add_recipients(intake, forward->recipients);
	if (!ok)
		error_set(error, "no room for what is sent on, or it is malformed");
	ok = ok && copy_content(intake, job, error);
	if (ok)
		*reply = intake_finish(intake, arena);
	intake_end(&intake);
	buf_free(&list);
	return ok;
}

/* The outcome of the recipient for which it was sent on. */
static void
set_outcome(const struct msg_forward *forward, const struct smtp_reply *reply, const char *id,
            struct arena *arena, struct msg_outcome *outcome)
{
	struct buf status = BUF(16);
	char      *text;

	outcome->status = SLICE("2.0.0");
	outcome->action = forward->action;
	if (reply->code == 250) {
		text = arena_format(arena, "forwarded as %s", id);
	} else {
		enhanced_status_append(&status, reply->status);
		outcome->action = reply->code >= 500 ? OUTCOME_FAILED : OUTCOME_DEFERRED;
		outcome->status = arena_copy(arena, buf_slice(&status));
		text = arena_format(arena, "cannot be forwarded: %.*s", SLICE_ARGS(reply->text));
	}
	outcome->reason = slice_from(text == NULL ? "forwarded" : text);
	buf_free(&status);
}

bool
forward_send(const struct intake_context *context, const struct agent_job *job,
             const struct msg_job_recipient *recipient, uint32_t index, struct buf *outcomes)
{
	struct slice          list = recipient->forward;
	struct arena          arena = ARENA(0);
	struct error          error = ERROR_NONE;
	struct smtp_reply     reply = { .code = 451, .status = { 4, 3, 0 } };
	struct msg_outcome    outcome = { .recipient = index, .relay = SLICE("local") };
	struct delivery_times times = { .arrival_us = job->envelope.arrival_us,
		                        .active_us = job->message.active_us,
		                        .begin_us = job->begin_us,
		                        .is_soft = job->message.is_soft };
	struct msg_forward    forward;
	struct origin         origin = { job, index };
	char                  id[QUEUE_ID_MOST] = "", queue_id[QUEUE_ID_MOST] = "?";

	if (!msg_forward_next(&list, &forward) || forward.action > OUTCOME_EXPANDED)
		reply.text = SLICE("the queue sent nothing to send on");
	else if (!send_on(context, &origin, &forward, &arena, id, &reply, &error))
		reply.text = slice_from(error.text);
	set_outcome(&forward, &reply, id, &arena, &outcome);
	if (job->message.queue_id.length < sizeof(queue_id)) {
		memcpy(queue_id, job->message.queue_id.data, job->message.queue_id.length);
		queue_id[job->message.queue_id.length] = '\0';
	}
	times.done_us = clock_wall_us();
	job_log_outcome(queue_id, recipient, &outcome, &times, 0);
	bool ok = msg_outcome_append(outcomes, &outcome);
	arena_reset(&arena);
	return ok;
}
