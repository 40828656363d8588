/* command.c - one command out, one reply in: the only place where the agent speaks on a stream. */
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "smtp/smtp.h"

#define REPLY_MOST (256u * 1024)

/* The timeout parameter of each step. */
static const size_t timeouts[] = {
	[STEP_GREETING] = offsetof(struct parameters, smtp_helo_timeout),
	[STEP_EHLO] = offsetof(struct parameters, smtp_helo_timeout),
	[STEP_HELO] = offsetof(struct parameters, smtp_helo_timeout),
	[STEP_LHLO] = offsetof(struct parameters, smtp_helo_timeout),
	[STEP_STARTTLS] = offsetof(struct parameters, smtp_starttls_timeout),
	[STEP_AUTH] = offsetof(struct parameters, smtp_helo_timeout),
	[STEP_XFORWARD] = offsetof(struct parameters, smtp_xforward_timeout),
	[STEP_MAIL] = offsetof(struct parameters, smtp_mail_timeout),
	[STEP_RCPT] = offsetof(struct parameters, smtp_rcpt_timeout),
	[STEP_DATA] = offsetof(struct parameters, smtp_data_init_timeout),
	[STEP_CONTENT] = offsetof(struct parameters, smtp_data_xfer_timeout),
	[STEP_DOT] = offsetof(struct parameters, smtp_data_done_timeout),
	[STEP_RSET] = offsetof(struct parameters, smtp_rset_timeout),
	[STEP_QUIT] = offsetof(struct parameters, smtp_quit_timeout),
};

/* Both a limit for each wait and one for the whole reply: a byte a minute is no conversation. */
static int64_t
begin_step(struct session *session, enum step step)
{
	const char *parameters = (const char *)session->agent->parameters;
	int64_t     timeout_s;

	memcpy(&timeout_s, parameters + timeouts[step], sizeof(timeout_s));
	int64_t end_ms = clock_monotonic_ms() + timeout_s * 1000;
	stream_set_timeout(session->stream, timeout_s * 1000);
	stream_set_deadline(session->stream, end_ms);
	return end_ms;
}

static enum stream_result
reply_fill(struct session *session, int64_t end_ms)
{
	enum stream_result result;

	if (session->silence == NULL)
		return stream_fill(session->stream);
	do {
		stream_set_deadline(session->stream, silence_deadline(session->silence, end_ms));
		result = stream_fill(session->stream);
	} while (result == STREAM_TIMEOUT && silence_goes_on(session->silence, end_ms));
	return result;
}

bool
session_command(struct session *session, enum step step, struct slice line, struct verdict *verdict)
{
	enum stream_result result;

	/* The last gate: whatever an address or a parameter holds, a line stays one line. */
	if (slice_has_control(line)) {
		session->is_dead = true;
		*verdict = verdict_make(session->words, OUTCOME_FAILED, "5.5.2",
		                        "a command would hold a control character");
		return false;
	}
	notify_command(session, step, line);
	begin_step(session, step);
	result = stream_write(session->stream, line);
	if (result == STREAM_OK)
		result = stream_write(session->stream, SLICE("\r\n"));
	if (result == STREAM_OK)
		return true;
	session->is_dead = true;
	*verdict = verdict_of_loss(session, step, result);
	return false;
}

/* One reply off the stream's input, as the filter has it when there is one. */
static enum smtp_parse
parse_reply(struct session *session, struct filtered_reply *filtered, struct smtp_reply *reply,
            size_t *consumed, struct error *error)
{
	struct slice    input = stream_input(session->stream);
	enum smtp_parse parsed;

	if (session->agent->reply_filter == NULL)
		return smtp_reply_parse(input, &session->replies, reply, consumed);
	if (!reply_filter_lines(session, input, filtered, error))
		return SMTP_PARSE_MALFORMED;
	parsed = smtp_reply_parse(buf_slice(&filtered->text), &session->replies, reply, consumed);
	*consumed = filtered->taken;
	return parsed;
}

bool
session_reply(struct session *session, enum step step, struct smtp_reply *reply,
              struct verdict *verdict)
{
	enum stream_result    result = STREAM_OK;
	size_t                consumed = 0;
	struct filtered_reply filtered = { .text = BUF(REPLY_MOST) };
	struct error          error = ERROR_NONE;

	int64_t step_end_ms = begin_step(session, step);
	arena_reset(&session->replies);
	if (stream_has_output(session->stream))
		result = stream_flush(session->stream);
	/* When the peer has closed, its last words may still be there to be read. What there was
	 * no memory for was not sent, and nobody answers it. */
	if (result == STREAM_ERROR && !stream_has_lost_output(session->stream))
		result = STREAM_OK;
	while (result == STREAM_OK) {
		enum smtp_parse parsed = parse_reply(session, &filtered, reply, &consumed, &error);

		if (parsed == SMTP_PARSE_MALFORMED)
			result = STREAM_FULL;
		else if (parsed == SMTP_PARSE_MORE)
			result = reply_fill(session, step_end_ms);
		else
			break;
	}
	buf_free(&filtered.text);
	if (error.text[0] != '\0') {
		session->is_dead = true;
		*verdict =
			verdict_make(session->words, OUTCOME_DEFERRED, "4.3.0", "%s", error.text);
		return false;
	}
	if (result != STREAM_OK) {
		session->is_dead = true;
		if (result == STREAM_FULL)
			notify_reply(session, step, stream_input(session->stream));
		*verdict = verdict_of_loss(session, step, result);
		return false;
	}
	notify_reply(session, step, slice_first(stream_input(session->stream), consumed));
	stream_consume(session->stream, consumed);
	session->has_reply = true;
	/* RFC 5321 3.8: the server closes the connection now. */
	if (reply->code == 421)
		session->is_tainted = true;
	log_debug("< %s: %d %.*s", session->host.place, reply->code,
	          SLICE_ARGS(slice_first(reply->text, 200)));
	return true;
}
