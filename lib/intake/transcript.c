/* transcript.c - see transcript.h. */
#include "lib/intake/transcript.h"

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/mail/header.h"

#define LINE_MOST  512 /* bytes of a line that are kept */
#define MAILS_MOST 20  /* a minute */
#define MINUTE_MS  60000

/* ---- the lines ---- */

void
transcript_init(struct transcript *transcript)
{
	*transcript = (struct transcript){ .lines = BUF(TRANSCRIPT_MOST) };
}

void
transcript_free(struct transcript *transcript)
{
	buf_free(&transcript->lines);
	transcript_init(transcript);
}

void
transcript_add(struct transcript *transcript, const char *who, struct slice line)
{
	struct buf *lines = &transcript->lines;

	if (lines->length + LINE_MOST * 4 > TRANSCRIPT_MOST) {
		size_t half = slice_find_byte(
			slice_from_offset(buf_slice(lines), TRANSCRIPT_MOST / 2), '\n');
		buf_consume(lines, half == SLICE_NOT_FOUND ? lines->length
		                                           : TRANSCRIPT_MOST / 2 + half + 1);
		transcript->is_cut = true;
	}
	buf_append_text(lines, who);
	buf_append_printable(lines, slice_first(line, LINE_MOST));
	buf_append_text(lines, line.length > LINE_MOST ? "...\r\n" : "\r\n");
}

/* ---- the mail ---- */

/* At most so many in a minute, from all sessions; the log has them all. */
static bool
may_send(struct transcript_limit *limit)
{
	int64_t now_ms = clock_monotonic_ms();

	mutex_lock(&limit->lock);
	if (now_ms - limit->since_ms >= MINUTE_MS || limit->since_ms == 0) {
		limit->since_ms = now_ms;
		limit->count = 0;
	}
	unsigned count = ++limit->count;
	mutex_unlock(&limit->lock);
	if (count == MAILS_MOST + 1)
		log_warning("more than %d sessions with trouble in a minute: the postmaster is "
		            "told of no more",
		            MAILS_MOST);
	return count <= MAILS_MOST;
}

static bool
append_mail(const struct parameters *parameters, const struct transcript_mail *mail,
            const struct transcript *transcript, const char *id, struct buf *out)
{
	int64_t now_s = clock_wall_us() / 1000000;

	buf_append_text(out, "Date: ");
	date_append(out, now_s);
	buf_append_format(out,
	                  "\r\nFrom: Mail Delivery System <MAILER-DAEMON@%s>\r\n"
	                  "Subject: %s %s: errors from ",
	                  parameters->myorigin, parameters->mail_name, mail->role);
	buf_append_printable(out, slice_from(mail->peer));
	buf_append_text(out, "\r\nTo: ");
	buf_append_printable(out, slice_from(mail->to));
	if (!slice_contains_byte(slice_from(mail->to), '@'))
		buf_append_format(out, "@%s", parameters->myorigin);
	buf_append_text(out, "\r\nMessage-Id: ");
	message_id_append(out, now_s, id, parameters->myhostname);
	buf_append_text(out, "\r\nAuto-Submitted: auto-generated\r\n\r\n");
	if (mail->opening != NULL) {
		buf_append_printable(out, slice_from(mail->opening));
		buf_append_text(out, "\r\n\r\n");
	}
	buf_append_text(out, "Transcript of session follows.\r\n\r\n");
	if (transcript->is_cut)
		buf_append_text(out, "(earlier lines are left out)\r\n");
	buf_append(out, buf_slice(&transcript->lines));
	return buf_append_text(out, "\r\nFor other details, see the local mail logfile\r\n");
}

/* With *reply of intake; false with *error when it came not so far. */
static bool
submit(const struct intake_context *context, const struct transcript_mail *mail,
       const struct transcript *transcript, struct arena *arena, struct smtp_reply *reply,
       struct error *error)
{
	const struct parameters *parameters = context->parameters;
	char                *sender = arena_format(arena, "%s@%s", parameters->double_bounce_sender,
	                                           parameters->myhostname);
	struct msg_envelope  envelope = { .arrival_us = clock_wall_us(),
		                          .sender = slice_from(sender == NULL ? "" : sender),
		                          .flags = ENVELOPE_IS_NOTICE | ENVELOPE_DOUBLE_BOUNCE,
		                          .service = slice_from(mail->service) };
	struct msg_recipient recipient = { .address = slice_from(mail->to),
		                           .dsn_notify = DSN_NOTIFY_NEVER };
	struct buf           content = BUF(4 * TRANSCRIPT_MOST);

	struct intake *intake = intake_begin(context, &envelope, error);
	if (intake == NULL)
		return false;
	bool ok = intake_add_recipient(intake, &recipient) &&
	          append_mail(parameters, mail, transcript, intake_id(intake), &content);
	if (ok) {
		intake_write(intake, buf_slice(&content)); /* intake_finish tells of a failure */
		*reply = intake_finish(intake, arena);
		if (reply->code == 250)
			log_info("%s: postmaster notification of errors from %s", intake_id(intake),
			         mail->peer);
	} else {
		error_set(error, "no room to compose it");
	}
	intake_end(&intake);
	buf_free(&content);
	return ok;
}

void
transcript_send(const struct intake_context *context, struct transcript_limit *limit,
                const struct transcript_mail *mail, const struct transcript *transcript)
{
	struct arena      arena = ARENA(65536);
	struct smtp_reply reply = { 0 };
	struct error      error = ERROR_NONE;

	if (mail->to[0] == '\0' || !may_send(limit))
		return;
	if (!submit(context, mail, transcript, &arena, &reply, &error))
		log_trouble("no notification of errors from %s: %s", mail->peer, error.text);
	arena_reset(&arena);
}
