/*
 * notify.c - what the postmaster is told of sessions: notify_classes, with the session's
 * transcript.
 *
 * A stranger can cause such a mail, so there is a limit to them; it has the sender of double
 * bounces and ends where it cannot be delivered.
 */
#include "smtpd/session.h"

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/conf/notice_template.h"
#include "lib/mail/header.h"

#define LINE_MOST    512 /* bytes of a line that are kept */
#define NOTICES_MOST 20  /* a minute */
#define MINUTE_MS    60000

/* ---- the classes ---- */

enum notify_class {
	NOTIFY_BOUNCE = 1 << 0,
	NOTIFY_DATA = 1 << 1,
	NOTIFY_POLICY = 1 << 2,
	NOTIFY_PROTOCOL = 1 << 3,
	NOTIFY_RESOURCE = 1 << 4,
	NOTIFY_SOFTWARE = 1 << 5,
};

static const struct {
	const char *word;
	unsigned class;
} classes[] = {
	{ "bounce", NOTIFY_BOUNCE },     { "data", NOTIFY_DATA },
	{ "policy", NOTIFY_POLICY },     { "protocol", NOTIFY_PROTOCOL },
	{ "resource", NOTIFY_RESOURCE }, { "software", NOTIFY_SOFTWARE },
};

unsigned
notify_classes(const struct parameters *parameters)
{
	unsigned all = 0;

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (notice_class_is_set(parameters->notify_classes, classes[i].word))
			all |= classes[i].class;
	return all;
}

#define ANY_DETAIL 1000

/* By the status of RFC 3463; what is not here is policy. */
static const struct {
	unsigned subject, detail;
	unsigned class;
} by_status[] = {
	{ 1, 1, NOTIFY_BOUNCE }, /* no such user */
	{ 1, 3, NOTIFY_PROTOCOL },
	{ 1, 7, NOTIFY_PROTOCOL },
	{ 2, 2, NOTIFY_RESOURCE },
	{ 3, 0, NOTIFY_SOFTWARE },
	{ 3, 1, NOTIFY_RESOURCE },
	{ 3, 5, NOTIFY_SOFTWARE },
	{ 4, ANY_DETAIL, NOTIFY_PROTOCOL },
	{ 5, 3, NOTIFY_POLICY },
	{ 5, ANY_DETAIL, NOTIFY_PROTOCOL },
};

static unsigned
class_of(const struct smtp_reply *reply)
{
	/* Tables share their status with other trouble inside. */
	if (reply->status.subject == 3 &&
	    slice_find(reply->text, SLICE("Temporary lookup failure")) != SLICE_NOT_FOUND)
		return NOTIFY_DATA;
	for (size_t i = 0; i < sizeof(by_status) / sizeof(by_status[0]); i++)
		if (reply->status.class != 0 && by_status[i].subject == reply->status.subject &&
		    (by_status[i].detail == ANY_DETAIL ||
		     by_status[i].detail == reply->status.detail))
			return by_status[i].class;
	return NOTIFY_POLICY;
}

void
notify_note_error(struct session *session, const struct smtp_reply *reply)
{
	session->trouble |= class_of(reply) & session->room->notify_classes;
}

/* ---- the transcript ---- */

static void
append_line(struct session *session, const char *who, struct slice line)
{
	struct buf *transcript = &session->transcript;

	if (transcript->length + LINE_MOST * 4 > TRANSCRIPT_MOST) {
		size_t half = slice_find_byte(
			slice_from_offset(buf_slice(transcript), TRANSCRIPT_MOST / 2), '\n');
		buf_consume(transcript, half == SLICE_NOT_FOUND ? transcript->length
		                                                : TRANSCRIPT_MOST / 2 + half + 1);
		session->is_transcript_cut = true;
	}
	buf_append_text(transcript, who);
	buf_append_printable(transcript, slice_first(line, LINE_MOST));
	buf_append_text(transcript, line.length > LINE_MOST ? "...\r\n" : "\r\n");
}

void
notify_note_command(struct session *session, struct slice line)
{
	struct slice rest = line, word;

	if (session->room->notify_classes == 0)
		return;
	if (session->state == STATE_AUTH) {
		append_line(session, " In:  ", SLICE("(authentication response)"));
		return;
	}
	/* A password may stand behind the mechanism. */
	if (slice_next_word(&rest, " \t", &word) && slice_equal_fold(word, SLICE("AUTH")) &&
	    slice_next_word(&rest, " \t", &word))
		line = slice_first(line, (size_t)(word.data + word.length - line.data));
	append_line(session, " In:  ", line);
}

void
notify_note_answer(struct session *session, struct slice bytes)
{
	struct slice line;

	if (session->room->notify_classes == 0)
		return;
	while (bytes.length > 0 && slice_next_part(&bytes, '\n', &line))
		append_line(session, " Out: ", slice_trim(line));
}

void
notify_forget(struct session *session)
{
	if (session->trouble != 0)
		return;
	buf_free(&session->transcript);
	session->transcript = BUF(TRANSCRIPT_MOST);
	session->is_transcript_cut = false;
}

/* ---- the mail ---- */

/* At most so many in a minute, from all sessions; the log has them all. */
static bool
may_notify(struct notify_limit *limit)
{
	int64_t now_ms = clock_monotonic_ms();

	mutex_lock(&limit->lock);
	if (now_ms - limit->since_ms >= MINUTE_MS || limit->since_ms == 0) {
		limit->since_ms = now_ms;
		limit->count = 0;
	}
	unsigned count = ++limit->count;
	mutex_unlock(&limit->lock);
	if (count == NOTICES_MOST + 1)
		log_warning("more than %d sessions with trouble in a minute: the postmaster is "
		            "told of no more",
		            NOTICES_MOST);
	return count <= NOTICES_MOST;
}

static bool
append_notice(struct session *session, const char *id, struct slice to, struct buf *out)
{
	const struct parameters *parameters = session->parameters;
	int64_t                  now_s = clock_wall_us() / 1000000;

	buf_append_text(out, "Date: ");
	date_append(out, now_s);
	buf_append_format(out,
	                  "\r\nFrom: Mail Delivery System <MAILER-DAEMON@%s>\r\n"
	                  "Subject: %s SMTP server: errors from %s\r\nTo: ",
	                  parameters->myorigin, parameters->mail_name, client_label(session));
	buf_append_printable(out, to);
	if (!slice_contains_byte(to, '@'))
		buf_append_format(out, "@%s", parameters->myorigin);
	buf_append_text(out, "\r\nMessage-Id: ");
	message_id_append(out, now_s, id, parameters->myhostname);
	buf_append_text(out, "\r\nAuto-Submitted: auto-generated\r\n\r\n"
	                     "Transcript of session follows.\r\n\r\n");
	if (session->is_transcript_cut)
		buf_append_text(out, "(earlier lines are left out)\r\n");
	buf_append(out, buf_slice(&session->transcript));
	return buf_append_text(out, "\r\nFor other details, see the local mail logfile\r\n");
}

/* With *reply of intake; false with *error when it came not so far. */
static bool
submit(struct session *session, struct slice to, struct arena *arena, struct smtp_reply *reply,
       struct error *error)
{
	const struct parameters *parameters = session->parameters;
	char                *sender = arena_format(arena, "%s@%s", parameters->double_bounce_sender,
	                                           parameters->myhostname);
	struct msg_envelope  envelope = { .arrival_us = clock_wall_us(),
		                          .sender = slice_from(sender == NULL ? "" : sender),
		                          .flags = ENVELOPE_IS_NOTICE | ENVELOPE_DOUBLE_BOUNCE,
		                          .service = slice_from(session->room->service) };
	struct msg_recipient recipient = { .address = to, .dsn_notify = DSN_NOTIFY_NEVER };
	struct buf           content = BUF(4 * TRANSCRIPT_MOST);

	struct intake *intake = intake_begin(&session->room->intake, &envelope, error);
	if (intake == NULL)
		return false;
	bool ok = intake_add_recipient(intake, &recipient) &&
	          append_notice(session, intake_id(intake), to, &content);
	if (ok) {
		intake_write(intake, buf_slice(&content)); /* intake_finish tells of a failure */
		*reply = intake_finish(intake, arena);
		if (reply->code == 250)
			log_info("%s: postmaster notification of errors from %s", intake_id(intake),
			         client_label(session));
	} else {
		error_set(error, "no room to compose it");
	}
	intake_end(&intake);
	buf_free(&content);
	return ok;
}

void
notify_postmaster(struct session *session)
{
	const struct parameters *parameters = session->parameters;
	struct arena             arena = ARENA(65536);
	struct smtp_reply        reply = { 0 };
	struct error             error = ERROR_NONE;
	struct slice             to = slice_from((session->trouble & NOTIFY_BOUNCE) != 0
	                                                 ? parameters->bounce_notice_recipient
	                                                 : parameters->error_notice_recipient);

	if (session->trouble == 0 || to.length == 0 || !may_notify(&session->room->notify_limit))
		return;
	if (!submit(session, to, &arena, &reply, &error))
		log_warning("no notification of errors from %s: %s", client_label(session),
		            error.text);
	arena_reset(&arena);
}
