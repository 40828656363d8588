/* returned.c - what a notice returns of the message it is about, and its end. See notice.h. */
#include "bounce/notice.h"

#include "lib/base/encode.h"
#include "lib/mail/header.h"

#define PIECE_BYTES 16384

/*
 * RFC 6533 4.1: where the way back may not take UTF-8 in header fields, the message's are encoded;
 * so is then its whole text.
 */
static bool
is_quoted(const struct notice *notice)
{
	return notice->returned != RETURN_NOTHING && !notice->is_global && notice->has_utf8_field;
}

bool
notice_returns_8bit(const struct notice *notice)
{
	return notice->returned != RETURN_NOTHING && !is_quoted(notice) &&
	       (notice->is_global || (notice->job->envelope.flags & ENVELOPE_8BIT) != 0);
}

/* False: out of memory. */
static bool
write_part_header(const struct notice *notice, struct intake *intake)
{
	static const char *const types[][2] = {
		[RETURN_MESSAGE] = { "message/rfc822", "message/global" },
		[RETURN_HEADER] = { "text/rfc822-headers", "message/global-headers" },
	};
	struct buf head = BUF(1024);

	buf_append_format(&head, "--%s\r\nContent-Description: %s%s\r\nContent-Type: %s\r\n",
	                  notice->boundary, notice->kind->description,
	                  notice->returned == RETURN_HEADER ? " Headers" : "",
	                  types[notice->returned][notice->is_global || is_quoted(notice)]);
	if (is_quoted(notice))
		buf_append_text(&head, "Content-Transfer-Encoding: quoted-printable\r\n");
	else if (notice_returns_8bit(notice))
		buf_append_text(&head, "Content-Transfer-Encoding: 8bit\r\n");
	buf_append_text(&head, "\r\n");
	bool ok = !head.has_failed;
	if (ok)
		intake_write(intake, buf_slice(&head)); /* intake_finish says what is wrong */
	buf_free(&head);
	return ok;
}

/* What is returned, on its way into the notice. */
struct returning {
	struct intake *intake;
	bool           is_quoted;
	bool           has_failed; /* out of memory */
	struct quoted  quoted;
};

/* False: no more of it is wanted; intake_finish says why. */
static bool
write_piece(struct returning *returning, struct slice piece)
{
	struct buf encoded = BUF(8 * PIECE_BYTES); /* at worst three bytes each and soft breaks */
	bool       ok = true;

	if (!returning->is_quoted)
		return intake_write(returning->intake, piece);
	for (; ok && piece.length > 0; piece = slice_from_offset(piece, PIECE_BYTES)) {
		buf_clear(&encoded);
		ok = quoted_encode(&returning->quoted, slice_first(piece, PIECE_BYTES), &encoded);
		returning->has_failed |= !ok;
		ok = ok && intake_write(returning->intake, buf_slice(&encoded));
	}
	buf_free(&encoded);
	return ok;
}

static void
write_last(struct returning *returning)
{
	struct buf encoded = BUF(100);

	if (returning->is_quoted && !quoted_end(&returning->quoted, &encoded))
		returning->has_failed = true;
	intake_write(returning->intake, buf_slice(&encoded));
	buf_free(&encoded);
}

/* The message from its first to its last byte. */
static bool
write_message(const struct notice *notice, struct returning *returning, char *scratch,
              struct error *error)
{
	uint64_t     offset = 0;
	struct slice piece;

	do {
		if (!agent_job_content(notice->job, offset, scratch, PIECE_BYTES, &piece, error))
			return false;
		if (piece.length > 0 && !write_piece(returning, piece))
			return true;
		offset += piece.length;
	} while (piece.length > 0);
	return true;
}

bool
notice_read_header(const struct agent_job *job, struct buf *header, struct error *error)
{
	char        *scratch = malloc(PIECE_BYTES);
	struct slice piece;
	size_t       length = 0;
	bool         ok = scratch != NULL || error_set(error, "out of memory for a notice");

	while (ok && length == header->length) {
		ok = agent_job_content(job, header->length, scratch, PIECE_BYTES, &piece, error);
		if (!ok || piece.length == 0)
			break;
		if (!buf_append(header, piece)) { /* too long, which is as good as whole */
			ok = header->length + piece.length > header->limit ||
			     error_set(error, "out of memory for a notice");
			break;
		}
		length = header_block_length(buf_slice(header));
	}
	free(scratch);
	buf_truncate(header, length);
	if (slice_ends_with(buf_slice(header), SLICE("\r\n\r\n")))
		buf_truncate(header, header->length - 2);
	return ok;
}

static bool
write_header(const struct notice *notice, struct returning *returning, struct error *error)
{
	struct buf header = BUF(NOTICE_HEADER_MOST);
	bool       ok = notice_read_header(notice->job, &header, error);

	if (ok)
		write_piece(returning, buf_slice(&header));
	buf_free(&header);
	return ok;
}

bool
notice_write_returned(const struct notice *notice, struct intake *intake, struct error *error)
{
	struct returning returning = { .intake = intake, .is_quoted = is_quoted(notice) };
	char            *scratch = malloc(PIECE_BYTES);
	bool             ok = true;

	if (scratch == NULL)
		return error_set(error, "out of memory for a notice");
	if (notice->returned != RETURN_NOTHING) {
		ok = write_part_header(notice, intake) ||
		     error_set(error, "out of memory for a notice");
		if (ok)
			ok = notice->returned == RETURN_MESSAGE
			             ? write_message(notice, &returning, scratch, error)
			             : write_header(notice, &returning, error);
		write_last(&returning);
		if (ok && returning.has_failed)
			ok = error_set(error, "out of memory for a notice");
	}
	free(scratch);
	struct buf end = BUF(200);
	if (ok && !buf_append_format(&end, "\r\n--%s--\r\n", notice->boundary))
		ok = error_set(error, "out of memory for a notice");
	intake_write(intake, buf_slice(&end));
	buf_free(&end);
	return ok;
}
