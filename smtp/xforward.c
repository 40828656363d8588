/*
 * xforward.c - tells a content filter whose message comes next (Postfix XFORWARD_README).
 */
#include "lib/base/encode.h"
#include "lib/base/log.h"
#include "smtp/smtp.h"

/* A command of 512 bytes is what every server takes. */
#define LINE_MOST  510
#define VALUE_MOST 255

struct line {
	struct session *session;
	struct buf      text;
	bool            is_dead;
	struct verdict *verdict;
};

/* Sends what is in the line. A server that says no goes without. */
static void
line_send(struct line *line)
{
	struct smtp_reply reply;

	if (line->text.length == 0 || line->is_dead)
		return;
	if (!session_command(line->session, STEP_XFORWARD, buf_slice(&line->text), line->verdict) ||
	    !session_reply(line->session, STEP_XFORWARD, &reply, line->verdict))
		line->is_dead = true;
	else if (reply.code / 100 != 2)
		log_warning("host %s said: %d (in reply to XFORWARD command)",
		            line->session->host.place, reply.code);
	buf_clear(&line->text);
}

static bool
is_wanted(const struct session *session, const char *name)
{
	struct slice rest = slice_from(session->forwards), word;

	while (slice_next_word(&rest, " \t", &word))
		if (slice_equal_fold(word, slice_from(name)))
			return true;
	return false;
}

static void
line_add(struct line *line, const char *name, struct slice value)
{
	struct buf word = BUF(VALUE_MOST * 3 + 20);

	if (!is_wanted(line->session, name) || value.length > VALUE_MOST)
		return;
	buf_append_format(&word, " %s=", name);
	if (value.length == 0 || slice_equal(value, SLICE("unknown")))
		buf_append_text(&word, "[UNAVAILABLE]");
	else
		xtext_encode(value, &word);
	if (line->text.length + word.length > LINE_MOST)
		line_send(line);
	if (line->text.length == 0)
		buf_append_text(&line->text, "XFORWARD");
	if (!word.has_failed)
		buf_append(&line->text, buf_slice(&word));
	buf_free(&word);
}

bool
session_forward(struct session *session, const struct agent_job *job, struct verdict *verdict)
{
	const struct msg_envelope *envelope = &job->envelope;
	bool                       is_local = slice_is_empty(envelope->client_address);
	struct line                line = { .session = session, .verdict = verdict };

	if ((session->offers & OFFER_XFORWARD) == 0 ||
	    !session->agent->parameters->smtp_send_xforward_command)
		return true;
	line.text = BUF(LINE_MOST + VALUE_MOST * 3);
	line_add(&line, "NAME", envelope->client_name);
	line_add(&line, "ADDR", envelope->client_address);
	line_add(&line, "PORT", envelope->client_port);
	line_add(&line, "PROTO", envelope->client_protocol);
	line_add(&line, "HELO", envelope->client_helo);
	line_add(&line, "IDENT", job->message.queue_id);
	line_add(&line, "SOURCE", is_local ? SLICE("LOCAL") : SLICE("REMOTE"));
	line_send(&line);
	buf_free(&line.text);
	return !line.is_dead;
}
