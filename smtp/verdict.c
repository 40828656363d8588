/* verdict.c - what befell a message, in Postfix's words. */
#include <stdarg.h>
#include <stdio.h>

#include "smtp/smtp.h"

#define REASON_MOST 1500

/* What the log and notices call each step. */
static const struct step_row {
	const char *command;  /* (in reply to ...) */
	const char *activity; /* lost connection with ... while ... */
} steps[] = {
	[STEP_GREETING] = { "connection", "receiving the initial server greeting" },
	[STEP_EHLO] = { "EHLO command", "performing the EHLO handshake" },
	[STEP_HELO] = { "HELO command", "performing the HELO handshake" },
	[STEP_LHLO] = { "LHLO command", "performing the LHLO handshake" },
	[STEP_STARTTLS] = { "STARTTLS command", "performing the STARTTLS handshake" },
	[STEP_AUTH] = { "AUTH command", "performing SASL authentication" },
	[STEP_XFORWARD] = { "XFORWARD command", "sending XFORWARD" },
	[STEP_MAIL] = { "MAIL FROM command", "sending MAIL FROM" },
	[STEP_RCPT] = { "RCPT TO command", "sending RCPT TO" },
	[STEP_DATA] = { "DATA command", "sending DATA command" },
	[STEP_CONTENT] = { "message content", "sending message body" },
	[STEP_DOT] = { "end of DATA command",
	               "sending end of data -- message may be sent more than once" },
	[STEP_RSET] = { "RSET command", "sending RSET" },
	[STEP_QUIT] = { "QUIT command", "sending QUIT" },
};

struct verdict
verdict_make(struct arena *arena, enum outcome_action action, const char *status,
             const char *format, ...)
{
	struct buf  raw = BUF(REASON_MOST), clean = BUF(2 * REASON_MOST);
	const char *copy_of_reason = NULL, *copy_of_status;
	va_list     arguments;

	va_start(arguments, format);
	buf_append_vformat(&raw, format, arguments);
	va_end(arguments);
	if (!raw.has_failed && buf_append_printable(&clean, buf_slice(&raw)))
		copy_of_reason = arena_text(arena, buf_slice(&clean));
	buf_free(&raw);
	buf_free(&clean);
	copy_of_status = arena_text(arena, slice_from(status));
	if (copy_of_reason == NULL || copy_of_status == NULL)
		return (struct verdict){ action, action == OUTCOME_FAILED ? "5.0.0" : "4.3.0",
			                 "no memory for the words", "" };
	return (struct verdict){ action, copy_of_status, copy_of_reason, "" };
}

const char *
reply_text(struct arena *arena, const struct smtp_reply *reply)
{
	struct buf   text = BUF(REASON_MOST), clean = BUF(2 * REASON_MOST);
	struct slice rest = reply->text;
	const char  *result;

	buf_append_format(&text, "%03d", reply->code);
	if (reply->status.class != 0) {
		buf_append_byte(&text, ' ');
		enhanced_status_append(&text, reply->status);
	}
	if (!slice_is_empty(rest))
		buf_append_byte(&text, ' ');
	for (size_t i = 0; i < rest.length && i < REASON_MOST - 200; i++)
		buf_append_byte(&text, rest.data[i] == '\n' ? ' ' : rest.data[i]);
	buf_append_printable(&clean, buf_slice(&text));
	result = arena_text(arena, buf_slice(&clean));
	buf_free(&text);
	buf_free(&clean);
	return result != NULL ? result : "";
}

static enum outcome_action
action_of(const struct smtp_reply *reply)
{
	return reply->code / 100 == 5 ? OUTCOME_FAILED : OUTCOME_DEFERRED;
}

/* The peer's own status when it is of the right class, else x.0.0; 4.5.0 for a reply that has no
 * place there (250 to DATA). */
static const char *
status_of(struct arena *arena, const struct smtp_reply *reply, char *room, size_t size)
{
	int class = reply->code / 100;

	(void)arena;
	if (class != 4 && class != 5)
		snprintf(room, size, "4.5.0");
	else if (reply->status.class == class)
		snprintf(room, size, "%d.%d.%d", reply->status.class, reply->status.subject,
		         reply->status.detail);
	else
		snprintf(room, size, "%d.0.0", class);
	return room;
}

struct verdict
verdict_of_reply(struct session *session, enum step step, const struct smtp_reply *reply)
{
	const char    *text = reply_text(session->words, reply);
	char           status[24];
	struct verdict verdict;

	notify_refusal(session, reply->code);
	verdict = verdict_make(session->words, action_of(reply),
	                       status_of(session->words, reply, status, sizeof(status)),
	                       "host %s said: %s (in reply to %s)", session->host.place, text,
	                       steps[step].command);
	verdict.diagnostic = text;
	return verdict;
}

struct verdict
verdict_of_refusal(struct session *session, const struct smtp_reply *reply)
{
	const char    *text = reply_text(session->words, reply);
	char           status[24];
	struct verdict verdict;

	notify_refusal(session, reply->code);
	verdict = verdict_make(session->words, action_of(reply),
	                       status_of(session->words, reply, status, sizeof(status)),
	                       "host %s refused to talk to me: %s", session->host.place, text);
	verdict.diagnostic = text;
	return verdict;
}

struct verdict
verdict_of_loss(struct session *session, enum step step, enum stream_result result)
{
	const char *place = session->host.place, *activity = steps[step].activity;

	if (result == STREAM_TIMEOUT)
		return verdict_make(session->words, OUTCOME_DEFERRED, "4.4.2",
		                    "conversation with %s timed out while %s", place, activity);
	if (result == STREAM_FULL) {
		notify_trouble(session, TROUBLE_PROTOCOL);
		return verdict_make(session->words, OUTCOME_DEFERRED, "4.5.0",
		                    "host %s sent a reply that cannot be understood while %s",
		                    place, activity);
	}
	return verdict_make(session->words, OUTCOME_DEFERRED, "4.4.2",
	                    "lost connection with %s while %s", place, activity);
}
