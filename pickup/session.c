/* session.c - a user's program on public/pickup: frames in, answers out. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/ipc/channel.h"
#include "pickup/pickup.h"
#include "pickup/submission.h"

#define FRAME_MOST      (64u * 1024)
#define INPUT_MOST      (FRAME_MOST + IPC_HEADER_BYTES)
#define SEND_TIMEOUT_MS 5000

struct session {
	struct room       *room;
	struct stream     *stream;
	struct ipc_channel out; /* borrows the stream's descriptor: only answers go this way */
	uint32_t           uid;
	bool               is_counted; /* users_enter */
	struct submission  submission;
};

size_t
session_limit(const struct daemon_context *context)
{
	return (size_t)context->parameters->pickup_session_limit;
}

void *
session_begin(struct daemon_context *context, struct stream *stream,
              const struct session_peer *peer)
{
	struct session *session = calloc(1, sizeof(*session));

	(void)peer;
	if (session == NULL || !ipc_peer_uid(stream_fd(stream), &session->uid)) {
		free(session);
		return NULL;
	}
	session->room = context->room;
	session->stream = stream;
	stream_set_input_limit(stream, INPUT_MOST);
	ipc_channel_init(&session->out, stream_fd(stream));
	submission_init(&session->submission, &session->room->intake, session->uid);
	return session;
}

static void
submission_over(struct session *session)
{
	submission_reset(&session->submission);
	if (session->is_counted)
		users_leave(session->room->users, session->uid);
	session->is_counted = false;
}

void
session_end(void *argument, enum session_end why)
{
	struct session *session = argument;

	if (session->submission.id[0] != '\0' && session->submission.state != SUBMISSION_IDLE)
		log_info("%s: uid=%u %s before its end: not taken", session->submission.id,
		         (unsigned)session->uid,
		         why == SESSION_END_TIMEOUT ? "was silent" : "closed");
	submission_over(session);
	session->out.fd = -1; /* the stream's */
	ipc_channel_close(&session->out);
	free(session);
}

int64_t
session_timeout(void *argument)
{
	const struct session *session = argument;

	return session->room->parameters->pickup_timeout * 1000;
}

bool
session_is_idle(void *argument)
{
	const struct session *session = argument;

	return session->submission.state == SUBMISSION_IDLE;
}

/* ---- answers ---- */

static enum session_next
after_send(enum ipc_result result)
{
	return result == IPC_OK ? SESSION_AGAIN : SESSION_CLOSE;
}

static enum session_next
send_done(struct session *session, enum submit_status status, const char *id, const char *reason)
{
	struct msg_submit_done done = { .status = status,
		                        .queue_id = slice_from(id),
		                        .reason = slice_first(slice_from(reason), 1000) };

	return after_send(ipc_send(&session->out, submit_done, &done,
	                           clock_monotonic_ms() + SEND_TIMEOUT_MS));
}

/* ---- frames ---- */

/* Whether this user may send now; otherwise the submission fails with the reason. */
static void
admit(struct session *session)
{
	struct error error = ERROR_NONE;

	session->is_counted = users_enter(session->room->users, session->uid);
	if (!session->is_counted) {
		submission_fail(&session->submission, SUBMIT_BUSY,
		                "too many of your messages at a time");
		return;
	}
	switch (user_list_has(session->room->submit_users, session->uid, &error)) {
	case LOOKUP_FOUND: return;
	case LOOKUP_NOT_FOUND:
		log_info("uid=%u may not send mail (authorized_submit_users)",
		         (unsigned)session->uid);
		submission_fail(&session->submission, SUBMIT_NOT_ALLOWED,
		                "you are not allowed to submit mail");
		return;
	case LOOKUP_TRY_LATER:
		log_warning("authorized_submit_users: %s", error.text);
		submission_fail(&session->submission, SUBMIT_TRY_LATER, "a lookup failed");
		return;
	}
}

static enum session_next
malformed(const struct session *session, const struct ipc_frame *frame)
{
	log_warning("uid=%u sends a malformed or unexpected message %s: closed",
	            (unsigned)session->uid, msg_name(frame->type));
	return SESSION_CLOSE;
}

static enum session_next
on_ask(struct session *session, struct ipc_frame *frame)
{
	struct msg_submit_ask ask;
	struct error          error = ERROR_NONE;
	char                  id[QUEUE_ID_MOST];

	if (session->submission.state != SUBMISSION_IDLE || !msg_submit_ask_decode(frame, &ask) ||
	    !queue_id_is_valid(ask.queue_id))
		return malformed(session, frame);
	snprintf(id, sizeof(id), "%.*s", SLICE_ARGS(ask.queue_id));
	switch (intake_ask_known(session->room->intake.queue, id, &error)) {
	case INTAKE_OK: return send_done(session, SUBMIT_OK, id, "");
	case INTAKE_REFUSED: return send_done(session, SUBMIT_UNKNOWN, id, "");
	case INTAKE_TRY_LATER:
	case INTAKE_NO_SPACE: break;
	}
	return send_done(session, SUBMIT_TRY_LATER, id, error.text);
}

static enum session_next
on_frame(struct session *session, struct ipc_frame *frame)
{
	struct submission *submission = &session->submission;
	bool               is_begin = frame->type == MSG_submit_begin;

	if (frame->type == MSG_submit_ask)
		return on_ask(session, frame);
	if (is_begin && submission->state == SUBMISSION_IDLE)
		admit(session);
	switch (submission_take(submission, frame)) {
	case SUBMISSION_MALFORMED: return malformed(session, frame);
	case SUBMISSION_GOES_ON: break;
	case SUBMISSION_ENDED: {
		struct submission_result result = submission_commit(submission);
		enum session_next        next =
			send_done(session, result.status, submission->id, result.reason);
		submission_over(session);
		return next;
	}
	}
	if (!is_begin || submission->failure != SUBMIT_OK)
		return SESSION_AGAIN;
	struct msg_submit_started started = { .queue_id = slice_from(submission->id) };
	return after_send(ipc_send(&session->out, submit_started, &started,
	                           clock_monotonic_ms() + SEND_TIMEOUT_MS));
}

enum session_next
session_input(void *argument)
{
	struct session  *session = argument;
	struct ipc_frame frame = { 0 };
	size_t           whole;

	switch (ipc_frame_read(stream_input(session->stream), &frame, &whole)) {
	case IPC_FRAME_MORE:
		/* What would not fit the buffer is none of ours. */
		return frame.type == 0 || msg_most_bytes(frame.type) <= FRAME_MOST
		               ? SESSION_WAIT
		               : malformed(session, &frame);
	case IPC_FRAME_MALFORMED: return malformed(session, &frame);
	case IPC_FRAME_WHOLE: break;
	}
	enum session_next next = on_frame(session, &frame);
	stream_consume(session->stream, whole);
	return next;
}
