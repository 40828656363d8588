/* send.c - from a job to a committed notice. See notice.h. */
#include "bounce/notice.h"

#include "lib/base/clock.h"
#include "lib/base/encode.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/mail/address.h"
#include "lib/mail/header.h"

#define SETTLED_MOST (900u << 10) /* the job's report does for more */

/* Made of chance after the message was written, so nothing in it can end the part. */
static bool
make_boundary(struct notice *notice)
{
	unsigned char bytes[16];
	struct buf    text = BUF(sizeof(notice->boundary) - 1);

	random_bytes(bytes, sizeof(bytes));
	bool ok = buf_append_text(&text, "=_") &&
	          hex_encode(slice_of((const char *)bytes, sizeof(bytes)), &text);
	if (ok)
		memcpy(notice->boundary, buf_text(&text), text.length + 1);
	buf_free(&text);
	return ok;
}

/*
 * The whole message only with a failure, unless RET=HDRS (RFC 3461 4.3), REQUIRETLS (its content
 * may not go where that is not known: RFC 8689 5) or bounce_size_limit says no. The postmaster gets
 * a notice that nobody else has seen whole, too, and of others a copy of the header.
 */
static enum notice_returned
what_to_return(const struct notice *notice)
{
	uint64_t                   limit = (uint64_t)notice->parameters->bounce_size_limit;
	const struct msg_envelope *envelope = &notice->job->envelope;

	if (notice->kind->kind != JOB_NOTICE_FAILURE ||
	    notice->kind->audience == FOR_POSTMASTER_COPY || envelope->dsn_ret == DSN_RET_HDRS ||
	    (envelope->flags & ENVELOPE_REQUIRETLS) != 0 || agent_job_size(notice->job) > limit)
		return RETURN_HEADER;
	return RETURN_MESSAGE;
}

static bool
append_trace(const struct notice *notice, struct buf *out)
{
	buf_append_format(out, "Received: by %s (%s)\r\n\tid %s; ", notice->parameters->myhostname,
	                  notice->parameters->mail_name, notice->id);
	date_append(out, notice->now_s);
	return buf_append_text(out, "\r\n");
}

bool
notice_write_piece(struct intake *intake, struct buf *piece)
{
	if (piece->has_failed)
		return false;
	intake_write(intake, buf_slice(piece));
	buf_clear(piece);
	return true;
}

/* Writes all of the notice; false with *error when it cannot be composed. */
static bool
write_notice(const struct notice *notice, struct intake *intake, struct error *error)
{
	struct msg_recipient to = { .address = notice->to };
	struct buf           trace = BUF(4096), head = BUF(NOTICE_PIECE_MOST);
	bool                 ok;

	ok = intake_add_recipient(intake, &to) && append_trace(notice, &trace) &&
	     intake_set_trace(intake, buf_slice(&trace)) && notice_append_header(notice, &head) &&
	     notice_write_piece(intake, &head) && notice_write_text(notice, intake) &&
	     notice_write_report(notice, intake);
	if (!ok)
		error_set(error, "no room to compose a notice");
	buf_free(&trace);
	buf_free(&head);
	return ok && notice_write_returned(notice, intake, error);
}

/*
 * The recipients that the notice tells of, for qmgr to settle with it. A copy for the postmaster
 * settles nothing.
 */
static bool
list_settled(const struct notice *notice, struct buf *list)
{
	for (size_t i = notice->first; i < notice->end; i++) {
		struct msg_settled_recipient one = { .recipient =
			                                     notice->recipients.items[i].index };

		msg_settled_recipient_append(list, &one);
	}
	return !list->has_failed && notice->kind->audience != FOR_POSTMASTER_COPY;
}

/* One attempt to compose and commit. *reply is set when it came to a commit. */
static bool
submit_once(const struct intake_context *context, struct notice *notice, struct arena *arena,
            struct smtp_reply *reply, struct error *error)
{
	struct msg_envelope envelope = { .arrival_us = clock_wall_us(),
		                         .flags = ENVELOPE_IS_NOTICE,
		                         .service = SLICE("bounce") };
	struct buf          list = BUF(SETTLED_MOST);

	if (notice->kind->audience != FOR_SENDER) {
		char *sender =
			arena_format(arena, "%s@%s", notice->parameters->double_bounce_sender,
		                     notice->parameters->myhostname);
		if (sender == NULL)
			return error_set(error, "out of memory for a notice");
		envelope.sender = slice_from(sender);
		envelope.flags |= ENVELOPE_DOUBLE_BOUNCE;
	}
	struct intake *intake = intake_begin(context, &envelope, error);
	if (intake == NULL)
		return false;
	notice->id = intake_id(intake);
	notice->now_s = envelope.arrival_us / 1000000;
	struct intake_settles settles = { .job = notice->job->message.job,
		                          .about = notice->job->message.queue_id };
	if (list_settled(notice, &list)) {
		settles.recipients = buf_slice(&list);
		intake_set_settles(intake, &settles);
	}
	bool ok = make_boundary(notice) && write_notice(notice, intake, error);
	if (ok) {
		*reply = intake_finish(intake, arena);
		if (reply->code == 250)
			log_info("%.*s: %s: %s", SLICE_ARGS(notice->job->message.queue_id),
			         notice->kind->log, notice->id);
	}
	intake_end(&intake);
	buf_free(&list);
	return ok;
}

/* A notice that is refused for good (its size, above all) is made again with less of the message.
 */
static bool
submit_with_less(const struct intake_context *context, struct notice *notice, struct arena *arena,
                 struct smtp_reply *reply, struct error *error)
{
	for (notice->returned = what_to_return(notice);; notice->returned++) {
		if (!submit_once(context, notice, arena, reply, error))
			return false;
		if (reply->code < 500 || notice->returned == RETURN_NOTHING)
			return true;
	}
}

/*
 * One notice tells of all recipients. When it is refused even without the message, half of them get
 * one each, and so on; what is refused with a single one waits in the queue, where an admin sees
 * it.
 */
static enum notice_result
submit(const struct intake_context *context, struct notice *notice, struct error *error)
{
	struct arena      arena = ARENA(0);
	struct smtp_reply reply = { .code = 250 };
	size_t            count = notice->recipients.count;
	bool              ok = true;

	for (notice->first = 0; ok && notice->first < notice->recipients.count;) {
		notice->end = notice->first + count;
		if (notice->end > notice->recipients.count)
			notice->end = notice->recipients.count;
		count = notice->end - notice->first;
		ok = submit_with_less(context, notice, &arena, &reply, error);
		if (ok && reply.code == 250)
			notice->first = notice->end;
		else if (ok && reply.code >= 500 && count > 1)
			count = (count + 1) / 2;
		else if (ok)
			ok = error_set(error, "notice not accepted: %d %.*s", reply.code,
			               SLICE_ARGS(reply.text));
	}
	arena_reset(&arena);
	return ok ? NOTICE_DONE : NOTICE_LATER;
}

/*
 * Who wanted the message delivered rather than encrypted wants so for what comes back. Only a
 * message that came with SMTPUTF8 has fields of which RFC 6533 speaks. LIMIT: the headers of its
 * parts are not looked at; who writes UTF-8 there does so in the message's, too.
 */
static void
look_at_header(struct notice *notice)
{
	struct buf          header = BUF(NOTICE_HEADER_MOST);
	struct slice        rest;
	struct header_field field;

	if (notice_read_header(notice->job, &header, NULL)) {
		rest = buf_slice(&header);
		notice->has_utf8_field = notice->is_utf8 && !slice_is_ascii(rest);
		while (!notice->needs_no_tls && header_next(&rest, &field))
			notice->needs_no_tls =
				slice_equal_fold(field.name, SLICE("TLS-Required")) &&
				slice_equal_fold(slice_trim(field.value), SLICE("no"));
	}
	buf_free(&header);
}

/*
 * The forms of RFC 6533 in UTF-8 go where they are certain to be taken: to an address that needs
 * SMTPUTF8 itself, or into a mailbox of ours. What another host offers is not known yet, and a
 * notice that it refuses would be lost: it gets the forms in ASCII, which all take.
 */
static bool
way_back_is_utf8(const struct notice_room *room, const struct notice *notice)
{
	struct error   error = ERROR_NONE;
	struct address parts;
	enum route_class class;

	if (!slice_is_ascii(notice->to))
		return true;
	return address_split(notice->to, &parts) &&
	       route_classify(room->intake.router, parts.domain, &class, &error) == LOOKUP_FOUND &&
	       (class == ROUTE_LOCAL || class == ROUTE_VIRTUAL_MAILBOX);
}

enum notice_result
notice_send(const struct notice_room *room, const struct agent_job *job, struct error *error)
{
	struct notice notice = {
		.parameters = room->intake.parameters,
		.job = job,
		.is_utf8 = (job->envelope.flags & ENVELOPE_SMTPUTF8) != 0,
	};
	enum notice_result result = NOTICE_DONE;
	size_t             row = 0, made = 0;

	look_at_header(&notice);
	while (result == NOTICE_DONE) {
		if (!notice_next(&notice, &row, error))
			result = NOTICE_LATER;
		if (result != NOTICE_DONE || notice.kind == NULL)
			break;
		notice.is_global = notice.is_utf8 && way_back_is_utf8(room, &notice);
		notice.template = &room->templates.items[notice.kind->text];
		result = submit(&room->intake, &notice, error);
		if (result == NOTICE_LATER && notice.kind->audience == FOR_POSTMASTER_COPY) {
			log_trouble("%.*s: no copy for the postmaster: %s",
			            SLICE_ARGS(job->message.queue_id), error->text);
			result = NOTICE_DONE;
		}
		made++;
	}
	if (made == 0 && result == NOTICE_DONE)
		notice_log_discarded(&notice);
	ARRAY_FREE(&notice.recipients);
	return result;
}
