/* returned.c - what a notice returns of the message it is about, and its end. See notice.h. */
#include "bounce/notice.h"

#include "lib/mail/header.h"

#define PIECE_BYTES 16384
#define HEADER_MOST (1u << 20) /* intake lets no larger header in, see header_block_size_limit */

static bool
write_part_header(const struct notice *notice, struct intake *intake)
{
	static const char *const types[][2] = {
		[RETURN_MESSAGE] = { "message/rfc822", "message/global" },
		[RETURN_HEADER] = { "text/rfc822-headers", "message/global-headers" },
	};
	struct buf head = BUF(1024);
	bool       is_8bit = (notice->job->envelope.flags & ENVELOPE_8BIT) != 0;

	buf_append_format(&head, "--%s\r\nContent-Description: %s%s\r\nContent-Type: %s\r\n",
	                  notice->boundary, notice->kind->description,
	                  notice->returned == RETURN_HEADER ? " Headers" : "",
	                  types[notice->returned][notice->is_utf8]);
	if (is_8bit || notice->is_utf8)
		buf_append_text(&head, "Content-Transfer-Encoding: 8bit\r\n");
	buf_append_text(&head, "\r\n");
	bool ok = !head.has_failed && intake_write(intake, buf_slice(&head));
	buf_free(&head);
	return ok;
}

/* The message from its first to its last byte. */
static bool
write_message(const struct notice *notice, struct intake *intake, char *scratch,
              struct error *error)
{
	uint64_t     offset = 0;
	struct slice piece;

	do {
		if (!agent_job_content(notice->job, offset, scratch, PIECE_BYTES, &piece, error))
			return false;
		if (piece.length > 0 && !intake_write(intake, piece))
			return true; /* intake_finish will say why */
		offset += piece.length;
	} while (piece.length > 0);
	return true;
}

/* Its header, without the empty line. */
static bool
write_header(const struct notice *notice, struct intake *intake, char *scratch, struct error *error)
{
	struct buf   collected = BUF(HEADER_MOST);
	struct slice piece;
	size_t       length = 0;
	bool         ok = true;

	do {
		ok = agent_job_content(notice->job, collected.length, scratch, PIECE_BYTES, &piece,
		                       error);
		if (!ok || piece.length == 0 || !buf_append(&collected, piece))
			break;
		length = header_block_length(buf_slice(&collected));
	} while (length == collected.length);
	struct slice header = slice_first(buf_slice(&collected), length);
	if (slice_ends_with(header, SLICE("\r\n\r\n")))
		header.length -= 2;
	if (ok)
		intake_write(intake, header);
	buf_free(&collected);
	return ok;
}

bool
notice_write_returned(const struct notice *notice, struct intake *intake, struct error *error)
{
	char *scratch = malloc(PIECE_BYTES);
	bool  ok = true;

	if (scratch == NULL)
		return error_set(error, "out of memory for a notice");
	if (notice->returned != RETURN_NOTHING && write_part_header(notice, intake)) {
		ok = notice->returned == RETURN_MESSAGE
		             ? write_message(notice, intake, scratch, error)
		             : write_header(notice, intake, scratch, error);
	}
	free(scratch);
	struct buf end = BUF(200);
	buf_append_format(&end, "\r\n--%s--\r\n", notice->boundary);
	intake_write(intake, buf_slice(&end));
	buf_free(&end);
	return ok;
}
