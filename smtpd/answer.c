/*
 * answer.c - replies: the one place that writes them, counts them and slows down who errs.
 */
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/smtp/extensions.h"
#include "smtpd/session.h"

#define ANSWER_MOST 4096

struct enhanced_status
status_from(const char *text)
{
	struct enhanced_status status = { 0, 0, 0 };
	size_t                 length;

	enhanced_status_parse(slice_from(text), &status, &length);
	return status;
}

/* soft_bounce makes every final refusal one to be tried again. */
static void
soften(const struct session *session, struct smtp_reply *reply)
{
	if (!session->parameters->soft_bounce || reply->code < 500)
		return;
	reply->code -= 100;
	if (reply->status.class == 5)
		reply->status.class = 4;
}

/* smtpd_reject_footer, with "\c" joined to the last line. */
static void
append_footer(const struct session *session, const struct smtp_reply *reply, struct buf *text)
{
	struct slice footer = slice_from(session->parameters->smtpd_reject_footer);

	if (reply->code < 400 || footer.length == 0)
		return;
	if (slice_starts_with(footer, SLICE("\\c")))
		footer = slice_from_offset(footer, 2);
	else
		buf_append_byte(text, '\n');
	buf_append(text, footer);
}

/* An answer to who made many errors waits; it is written when the pause is over. */
static void
put_answer(struct session *session, struct slice bytes, bool is_error)
{
	int64_t sleep_ms = session->parameters->smtpd_error_sleep_time * 1000;

	notify_note_answer(session, bytes);
	if (is_error && sleep_ms > 0 &&
	    session->error_count > (size_t)session->parameters->smtpd_soft_error_limit &&
	    session->pause_until_ms == 0)
		session->pause_until_ms = clock_monotonic_ms() + sleep_ms;
	if (session->pause_until_ms != 0 && buf_append(&session->held, bytes))
		return;
	if (stream_write(session->stream, bytes) != STREAM_ERROR)
		return;
	/* Without it the client would wait in vain, or take the next answer for this one. */
	log_warning("no answer to %s: the connection is closed", client_label(session));
	session->is_ending = session->has_ended_badly = true;
}

static void
end_when_too_many(struct session *session)
{
	char text[512];

	if (session->is_ending ||
	    session->error_count < (size_t)session->parameters->smtpd_hard_error_limit)
		return;
	snprintf(text, sizeof(text), "421 4.7.0 %.400s Error: too many errors\r\n",
	         session->parameters->myhostname);
	put_answer(session, slice_from(text), true);
	/* No id in front: fail2ban's filter (1.0) does not know one here. */
	log_info("too many errors after %s from %s", smtp_verb_name(session->verb),
	         client_label(session));
	session->has_ended_badly = true;
	session->is_ending = true;
}

/* Whether a command was carried out: not so the greeting, a challenge, or being sent away. */
static bool
is_success(const struct session *session, int code)
{
	return session->has_command && code != 334 && code != 354 &&
	       (session->verb != SMTP_VERB_UNKNOWN || code == 250);
}

void
answer_reply(struct session *session, const struct smtp_reply *given)
{
	struct smtp_reply reply = *given;
	struct buf        text = BUF(ANSWER_MOST), out = BUF(2 * ANSWER_MOST);
	char              short_text[64];
	bool              is_error;

	soften(session, &reply);
	is_error = reply.code >= 400;
	/* Both say that the connection ends (RFC 5321 3.8, RFC 7504), also from an access table. */
	if (reply.code == 421 || reply.code == 521)
		session->is_ending = true;
	if ((session->extensions & SMTP_ENHANCEDSTATUSCODES) == 0 && session->extensions != 0 &&
	    session->is_esmtp)
		reply.status.class = 0;
	buf_append(&text, reply.text);
	append_footer(session, &reply, &text);
	if (!text.has_failed)
		reply.text = buf_slice(&text);
	bool is_whole = smtp_reply_append(&out, &reply);
	if (!is_whole) /* too long, or there is no memory: the code is what counts */
		snprintf(short_text, sizeof(short_text), "%03d no room for the answer\r\n",
		         reply.code);
	if (is_error) {
		session->error_count++;
		notify_note_error(session, given);
	} else if (is_success(session, reply.code)) {
		session->counts[session->verb].good++;
	}
	put_answer(session, is_whole ? buf_slice(&out) : slice_from(short_text), is_error);
	buf_free(&text);
	buf_free(&out);
	/* Also behind a good answer: too many commands that bring no mail count as errors. */
	end_when_too_many(session);
}

static void
answer_arguments(struct session *session, int code, const char *status, const char *format,
                 va_list arguments)
{
	struct buf text = BUF(ANSWER_MOST);

	buf_append_vformat(&text, format, arguments);
	struct smtp_reply reply = { code, status_from(status), buf_slice(&text) };
	answer_reply(session, &reply);
	buf_free(&text);
}

void
answer(struct session *session, int code, const char *status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	answer_arguments(session, code, status, format, arguments);
	va_end(arguments);
}

void
answer_and_end(struct session *session, int code, const char *status, const char *format, ...)
{
	va_list arguments;

	session->is_ending = true;
	va_start(arguments, format);
	answer_arguments(session, code, status, format, arguments);
	va_end(arguments);
}
