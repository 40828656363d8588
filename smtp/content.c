/* content.c - the message on its way: long lines broken, dots stuffed, only CRLF as line end. */
#include "lib/base/clock.h"
#include "lib/smtp/data.h"
#include "smtp/smtp.h"

#define DATA_RATE_LEAST 500 /* bytes a second, smtp_min_data_rate */

/* Where the folding is: bytes of the line so far, over the pieces of the content. */
struct folder {
	size_t limit; /* 0 = none */
	size_t column;
};

/*
 * Breaks lines longer than the limit with CRLF and a space, as Postfix does: RFC 5321 4.5.3.1.6
 * allows 998 bytes and servers cut or refuse what is longer.
 */
static bool
fold(struct folder *folder, struct slice piece, struct data_encoder *encoder, struct buf *out)
{
	const char *start = piece.data, *at = piece.data, *end = piece.data + piece.length;
	bool        ok = true;

	while (folder->limit > 0 && at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *stop = newline == NULL ? end : newline;
		size_t      length = (size_t)(stop - at), fits = length;

		if (folder->column + length > folder->limit) {
			fits = folder->column < folder->limit ? folder->limit - folder->column : 0;
			while (fits < length && at[fits] == '\r')
				fits++;
		}
		if (fits < length) {
			at += fits;
			ok = data_encode(encoder, slice_of(start, (size_t)(at - start)), out) &&
			     data_encode(encoder, SLICE("\r\n "), out) && ok;
			start = at++;
			folder->column = 2; /* the space and this byte */
			continue;
		}
		folder->column = newline == NULL ? folder->column + length : 0;
		at = newline == NULL ? end : newline + 1;
	}
	return data_encode(encoder, slice_of(start, (size_t)(end - start)), out) && ok;
}

/* An answer before the end was sent: a refusal in advance, or a server that is out of step. */
static bool
is_interrupted(struct session *session)
{
	if (stream_fd(session->stream) < 0)
		return false; /* a memory stream always holds what is to come */
	return stream_has_pending(session->stream) ||
	       stream_fill_now(session->stream) != STREAM_AGAIN;
}

/* What the server said (or did) before it had the whole message. */
static bool
take_early_reply(struct session *session, struct verdict *verdict)
{
	struct smtp_reply reply;

	if (session_reply(session, STEP_CONTENT, &reply, verdict)) {
		*verdict = verdict_of_reply(session, STEP_DATA, &reply);
		if (reply.code / 100 < 4)
			*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.5.0",
			                        "host %s answered before the end of the message",
			                        session->host.place);
	}
	session->is_dead = true;
	return false;
}

/* ---- the way of the bytes: rules, folding, dots, the stream ---- */

struct sending {
	struct session        *session;
	struct verdict        *verdict;
	struct folder          folder;
	struct data_encoder    encoder;
	struct buf             out;
	struct outgoing_checks checks;
	bool                   has_verdict; /* the stream has failed, and *verdict says how */
};

/* Half a message must not get a final dot. */
static bool
give_up(struct sending *sending, struct verdict verdict)
{
	sending->session->is_dead = true;
	sending->has_verdict = true;
	*sending->verdict = verdict;
	return false;
}

static bool
write_out(struct sending *sending)
{
	struct session    *session = sending->session;
	struct buf        *out = &sending->out;
	enum stream_result result;

	if (out->has_failed)
		return give_up(sending, verdict_make(session->words, OUTCOME_DEFERRED, "4.3.0",
		                                     "out of memory"));
	result = stream_send(session->stream, buf_slice(out));
	buf_clear(out);
	if (result == STREAM_OK)
		return true;
	sending->has_verdict = true;
	if (result == STREAM_ERROR)
		return take_early_reply(session, sending->verdict);
	return give_up(sending, verdict_of_loss(session, STEP_CONTENT, result));
}

/* Content as it is to arrive there. */
static bool
send_bytes(void *context, struct slice bytes)
{
	struct sending *sending = context;
	struct buf     *out = &sending->out;

	while (bytes.length > 0) {
		if (!fold(&sending->folder, slice_first(bytes, DELIVERY_PIECE), &sending->encoder,
		          out))
			out->has_failed = true;
		if ((out->has_failed || out->length >= DELIVERY_PIECE) && !write_out(sending))
			return false;
		bytes = slice_from_offset(bytes, DELIVERY_PIECE);
	}
	return true;
}

/* The walk has ended early: what failed is the stream, or a rule. */
static bool
fail_walk(struct sending *sending)
{
	const struct outgoing_checks *checks = &sending->checks;

	if (sending->has_verdict)
		return false;
	return give_up(sending,
	               verdict_make(sending->session->words,
	                            checks->status[0] == '5' ? OUTCOME_FAILED : OUTCOME_DEFERRED,
	                            checks->status, "%s", checks->error.text));
}

/* One piece of the stored content, of the header or of the body. */
static bool
send_piece(struct sending *sending, struct slice piece, bool is_header)
{
	struct body_walk *walk = sending->checks.walk;

	if (walk == NULL || is_header)
		return send_bytes(sending, piece);
	return body_walk_take(walk, piece) || fail_walk(sending);
}

static bool
send_pieces(struct sending *sending, const struct delivery *delivery)
{
	struct session *session = sending->session;
	struct error    error = ERROR_NONE;
	struct slice    piece;
	uint64_t        offset = 0;

	for (;;) {
		bool is_header = offset < delivery->header.length;

		if (!delivery_content(delivery, offset, DELIVERY_PIECE, &piece, &error)) {
			notify_trouble(session, TROUBLE_DATA);
			return give_up(sending,
			               verdict_make(session->words, OUTCOME_DEFERRED, "4.3.0",
			                            "cannot read the queue file: %s", error.text));
		}
		if (slice_is_empty(piece))
			break;
		offset += piece.length;
		if (!send_piece(sending, piece, is_header))
			return false;
	}
	if (sending->checks.walk != NULL && !body_walk_end(sending->checks.walk))
		return fail_walk(sending);
	if (is_interrupted(session))
		return take_early_reply(session, sending->verdict);
	if (!data_encode_end(&sending->encoder, &sending->out))
		sending->out.has_failed = true;
	return write_out(sending);
}

/* Whether rules look at the body; the header has been through them. */
static bool
has_body_rules(const struct rules *rules)
{
	return rules_have(rules, CHECK_BODY) || rules_have(rules, CHECK_MIME) ||
	       rules_have(rules, CHECK_NESTED);
}

bool
content_send(struct session *session, const struct delivery *delivery, struct verdict *verdict)
{
	const struct parameters *parameters = session->agent->parameters;
	int64_t                  timeout_ms = parameters->smtp_data_xfer_timeout * 1000;
	uint64_t                 size = delivery_size(delivery);
	struct sending           sending = {
			  .session = session,
			  .verdict = verdict,
			  .folder = { .limit = (size_t)parameters->smtp_line_length_limit },
			  .out = BUF(8 * DELIVERY_PIECE),
			  .checks = { .rules = session->agent->rules,
		                      .queue_id = delivery->queue_id,
		                      .store = send_bytes },
	};
	bool ok = true;

	sending.checks.store_context = &sending;
	data_encoder_init(&sending.encoder, true);
	stream_set_timeout(session->stream, timeout_ms);
	stream_set_deadline(session->stream, clock_monotonic_ms() + timeout_ms +
	                                             (int64_t)(size / DATA_RATE_LEAST) * 1000);
	if (has_body_rules(session->agent->rules))
		ok = outgoing_walk_begin(&sending.checks, parameters,
		                         buf_slice(&delivery->content_types)) ||
		     fail_walk(&sending);
	ok = ok && send_pieces(&sending, delivery);
	body_walk_destroy(&sending.checks.walk);
	buf_free(&sending.out);
	return ok;
}
