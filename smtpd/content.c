/*
 * content.c - DATA and BDAT: content goes to intake as it comes.
 *
 * One read path for both (data_decode). Whatever happens, what the client sends as content is read
 * as content: also a chunk that was refused, and the rest of a message that is too large.
 */
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "smtpd/session.h"

static void
set_deadline(struct session *session)
{
	int64_t timeout = session->parameters->smtpd_timeout * 1000;

	session->deadline_ms = session->parameters->smtpd_per_request_deadline
	                               ? clock_monotonic_ms() + timeout
	                               : 0;
}

/* Content earns time, up to a full timeout from now. */
static void
extend_deadline(struct session *session, size_t bytes)
{
	int64_t latest = clock_monotonic_ms() + session->parameters->smtpd_timeout * 1000;

	if (session->deadline_ms == 0)
		return;
	session->deadline_ms += (int64_t)bytes * 1000 / session->parameters->smtpd_min_data_rate;
	if (session->deadline_ms > latest)
		session->deadline_ms = latest;
}

static enum bare_newline
bare_newline_mode(struct session *session)
{
	struct slice word = slice_from(session->parameters->smtpd_forbid_bare_newline);

	if (slice_equal(word, SLICE("reject")) &&
	    !client_is_in(session, session->room->bare_newline_exclusions))
		return BARE_NEWLINE_REJECT;
	if (slice_equal(word, SLICE("note")))
		return BARE_NEWLINE_NOTE;
	return slice_equal(word, SLICE("no")) ? BARE_NEWLINE_ALLOW : BARE_NEWLINE_NORMALIZE;
}

/* The transaction is over, one way or another. */
static void
content_end(struct session *session, const struct smtp_reply *reply)
{
	session->state = STATE_COMMAND;
	session->deadline_ms = 0;
	if (reply->code < 400)
		session->junk_count = 0;
	/* The reply's text may live in the transaction: answer first. */
	answer_reply(session, reply);
	transaction_reset(session);
	notify_forget(session);
}

static bool
check_stage(struct session *session, enum restriction_stage stage, struct smtp_reply *reply)
{
	const struct transaction   *mail = &session->mail;
	struct restriction_question question = {
		.stage = stage,
		.helo = session->helo,
		.has_sender = true,
		.sender = mail->sender,
		.sender_as_given = mail->mail.sender,
	};

	return restrictions_evaluate(session, &question, reply);
}

/* DATA and the first BDAT. */
static bool
content_begin(struct session *session, bool is_bdat, struct smtp_reply *reply)
{
	struct transaction *mail = &session->mail;

	if (!check_stage(session, STAGE_DATA, reply) || !milters_data(session, reply) ||
	    !transaction_begin_content(session, reply))
		return false;
	data_decoder_init(&mail->decoder, bare_newline_mode(session), is_bdat);
	return true;
}

/* Only for what is refused here: lib/intake logs its own refusals. */
static void
log_refusal(struct session *session, const char *what)
{
	log_info("%s: reject: END-OF-MESSAGE from %s: %s; from=<%.*s> proto=%s helo=<%.*s>",
	         transaction_id(session), client_label(session), what,
	         SLICE_ARGS(session->mail.sender), session_protocol(session),
	         SLICE_ARGS(session->helo));
}

static struct smtp_reply
content_verdict(struct session *session)
{
	struct transaction *mail = &session->mail;
	struct smtp_reply   reply;

	if (mail->is_too_large) {
		log_refusal(session, "552 5.3.4 Message size exceeds fixed limit");
		return (struct smtp_reply){ 552, status_from("5.3.4"),
			                    SLICE("Message size exceeds fixed limit") };
	}
	if (mail->is_out_of_memory)
		return (struct smtp_reply){ 452, status_from("4.3.1"),
			                    SLICE("Insufficient system storage") };
	if (mail->decoder.has_bare_newline && mail->decoder.bare_newline == BARE_NEWLINE_NOTE)
		session->has_noted_bare_newline = true;
	if (mail->decoder.has_bare_newline && mail->decoder.bare_newline == BARE_NEWLINE_REJECT) {
		log_refusal(session, "bare <LF> received");
		const char *text = arena_format(&mail->arena, "%s Error: bare <LF> received",
		                                session->parameters->myhostname);
		return (struct smtp_reply){
			(int)session->parameters->smtpd_forbid_bare_newline_reject_code,
			status_from("5.5.2"), slice_from(text)
		};
	}
	if (!check_stage(session, STAGE_END_OF_DATA, &reply))
		return reply;
	if (mail->is_discarded) {
		const char *text =
			arena_format(&mail->arena, "Ok: queued as %s", transaction_id(session));
		return (struct smtp_reply){ 250, status_from("2.0.0"), slice_from(text) };
	}
	if (mail->proxy != NULL)
		return proxy_finish(session);
	intake_amend(mail->intake, mail->is_held ? ENVELOPE_HOLD : 0, mail->filter);
	return intake_finish(mail->intake, &mail->arena);
}

static void
content_finish(struct session *session)
{
	struct smtp_reply reply = content_verdict(session);

	content_end(session, &reply);
}

/* Decoded content on its way; nothing more is written once it is refused or thrown away. */
static void
content_store(struct session *session, struct slice content)
{
	struct transaction *mail = &session->mail;
	int64_t             most = session->parameters->message_size_limit;

	mail->content_bytes += content.length;
	if (most > 0 && mail->content_bytes > (uint64_t)most)
		mail->is_too_large = true;
	if (!mail->is_too_large && !mail->is_out_of_memory && !mail->is_discarded &&
	    content.length > 0) {
		/* A failure is remembered there and told at the end. */
		if (mail->proxy != NULL)
			proxy_write(session, content);
		else
			(void)intake_write(mail->intake, content);
	}
}

void
command_data(struct session *session, const struct smtp_command *command)
{
	struct smtp_reply reply;

	if (command->arguments.length > 0) {
		answer(session, 501, "5.5.4", "Syntax: DATA");
		return;
	}
	if (!content_begin(session, false, &reply)) {
		content_end(session, &reply);
		return;
	}
	session->state = STATE_DATA;
	set_deadline(session);
	answer(session, 354, "", "End data with <CR><LF>.<CR><LF>");
}

/* ---- BDAT (RFC 3030) ---- */

/* More than this is not read just to be thrown away. */
static uint64_t
skip_most(const struct session *session)
{
	int64_t most = session->parameters->message_size_limit;

	return most > 0 ? (uint64_t)most * 2 : UINT64_MAX;
}

void
content_skip_chunk(struct session *session, const struct smtp_command *command,
                   const struct smtp_reply *refusal)
{
	struct transaction *mail = &session->mail;
	uint64_t            size;
	bool                is_last;

	/* Where the chunk ends is not known: what follows may not be read as commands. */
	if (!smtp_bdat_parse(command->arguments, &size, &is_last)) {
		answer_and_end(session, 521, "5.5.4", "Syntax: BDAT count [LAST]");
		return;
	}
	if (size > skip_most(session)) {
		answer_and_end(session, 552, "5.3.4", "Message size exceeds fixed limit");
		return;
	}
	mail->chunk_left = size;
	mail->is_last_chunk = is_last;
	mail->is_chunk_skipped = true;
	mail->chunk_refusal = *refusal;
	session->state = STATE_BDAT;
	set_deadline(session);
	if (size == 0)
		content_end(session, refusal);
}

static void
chunk_done(struct session *session)
{
	struct transaction *mail = &session->mail;
	struct buf          rest = BUF(16);

	if (mail->is_chunk_skipped) {
		struct smtp_reply refusal = mail->chunk_refusal;
		content_end(session, &refusal);
		return;
	}
	if (mail->is_last_chunk) {
		data_decode_end(&mail->decoder, &rest);
		content_store(session, buf_slice(&rest));
		buf_free(&rest);
		content_finish(session);
		return;
	}
	session->state = STATE_COMMAND;
	session->deadline_ms = 0;
	answer(session, 250, "2.0.0", "Ok: %llu bytes", (unsigned long long)mail->chunk_size);
}

void
command_bdat(struct session *session, const struct smtp_command *command)
{
	struct transaction *mail = &session->mail;
	struct smtp_reply   reply = { 552, status_from("5.3.4"),
		                      SLICE("Message size exceeds fixed limit") };
	int64_t             most = session->parameters->message_size_limit;
	uint64_t            size;
	bool                is_last;

	if (!smtp_bdat_parse(command->arguments, &size, &is_last) ||
	    (most > 0 && (size > (uint64_t)most || mail->content_bytes > (uint64_t)most - size)) ||
	    (session->phase == PHASE_RCPT && !content_begin(session, true, &reply))) {
		content_skip_chunk(session, command, &reply);
		return;
	}
	session->phase = PHASE_BDAT;
	mail->chunk_left = mail->chunk_size = size;
	mail->is_last_chunk = is_last;
	session->state = STATE_BDAT;
	set_deadline(session);
	if (size == 0)
		chunk_done(session);
}

/* ---- input ---- */

/* What is content as it stands goes on from where it lies; only the rest is decoded into a copy. */
static enum data_result
content_decode(struct session *session, struct slice input, size_t *consumed)
{
	struct transaction *mail = &session->mail;
	size_t              clean = data_decode_clean(&mail->decoder, input), more = 0;
	struct slice        rest = slice_from_offset(input, clean);
	struct buf          out = BUF(2 * rest.length + 16);
	enum data_result    result = DATA_MORE;
	bool                ok = true;

	content_store(session, slice_first(input, clean));
	if (rest.length > 0) {
		result = data_decode(&mail->decoder, rest, &more, &out, &ok);
		mail->is_out_of_memory |= !ok;
		content_store(session, buf_slice(&out));
		buf_free(&out);
	}
	*consumed = clean + more;
	return result;
}

static enum session_next
chunk_input(struct session *session, struct slice input)
{
	struct transaction *mail = &session->mail;
	size_t              consumed;

	if (mail->chunk_left < input.length)
		input = slice_first(input, (size_t)mail->chunk_left);
	consumed = input.length;
	if (!mail->is_chunk_skipped)
		content_decode(session, input, &consumed);
	stream_consume(session->stream, consumed);
	mail->chunk_left -= consumed;
	extend_deadline(session, consumed);
	if (mail->chunk_left == 0)
		chunk_done(session);
	return SESSION_AGAIN;
}

enum session_next
content_input(struct session *session)
{
	struct slice input = stream_input(session->stream);
	size_t       consumed;

	if (input.length == 0)
		return SESSION_WAIT;
	if (session->state == STATE_BDAT)
		return chunk_input(session, input);
	enum data_result result = content_decode(session, input, &consumed);
	stream_consume(session->stream, consumed);
	extend_deadline(session, consumed);
	if (result == DATA_END)
		content_finish(session);
	return SESSION_AGAIN;
}
