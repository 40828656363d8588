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

static bool
write_out(struct session *session, struct buf *out, struct verdict *verdict)
{
	enum stream_result result;

	if (out->has_failed) {
		session->is_dead = true;
		*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.3.0", "out of memory");
		return false;
	}
	result = stream_send(session->stream, buf_slice(out));
	buf_clear(out);
	if (result == STREAM_OK)
		return true;
	if (result == STREAM_ERROR)
		return take_early_reply(session, verdict);
	session->is_dead = true;
	*verdict = verdict_of_loss(session, STEP_CONTENT, result);
	return false;
}

static bool
send_pieces(struct session *session, const struct delivery *delivery, struct buf *out,
            struct verdict *verdict)
{
	struct data_encoder encoder;
	struct folder       folder = {
		      .limit = (size_t)session->agent->parameters->smtp_line_length_limit
	};
	struct error error = ERROR_NONE;
	struct slice piece;
	uint64_t     offset = 0;

	data_encoder_init(&encoder, true);
	for (;;) {
		if (!delivery_content(delivery, offset, DELIVERY_PIECE, &piece, &error)) {
			session->is_dead = true; /* half a message must not get a final dot */
			notify_trouble(session, TROUBLE_DATA);
			*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.3.0",
			                        "cannot read the queue file: %s", error.text);
			return false;
		}
		if (slice_is_empty(piece))
			break;
		offset += piece.length;
		if (!fold(&folder, piece, &encoder, out))
			out->has_failed = true;
		if (!write_out(session, out, verdict))
			return false;
	}
	if (is_interrupted(session))
		return take_early_reply(session, verdict);
	if (!data_encode_end(&encoder, out))
		out->has_failed = true;
	return write_out(session, out, verdict);
}

bool
content_send(struct session *session, const struct delivery *delivery, struct verdict *verdict)
{
	int64_t    timeout_ms = session->agent->parameters->smtp_data_xfer_timeout * 1000;
	uint64_t   size = delivery_size(delivery);
	struct buf out = BUF(8 * DELIVERY_PIECE);
	bool       ok;

	stream_set_timeout(session->stream, timeout_ms);
	stream_set_deadline(session->stream, clock_monotonic_ms() + timeout_ms +
	                                             (int64_t)(size / DATA_RATE_LEAST) * 1000);
	ok = send_pieces(session, delivery, &out, verdict);
	buf_free(&out);
	return ok;
}
