/*
 * content.c - collecting content: where the header ends, limits, inline or spooled.
 *
 * The hot path: each byte is copied once, lines are looked for in the header only.
 */
#include "lib/intake/steps.h"

#include <errno.h>
#include <unistd.h>

#include "lib/mail/header.h"

/* Small pieces are collected up to so much; a piece that is no smaller is written as it lies. */
#define SPOOL_CHUNK (64u * 1024)
#define SPOOL_PIECE (16u * 1024)

static const struct enhanced_status too_large = { 5, 3, 4 };

/* ---- bytes ---- */

static bool
has_high_bit(struct slice bytes)
{
	uint64_t seen = 0, word, words[4];
	size_t   i = 0;

	for (; i + sizeof(words) <= bytes.length; i += sizeof(words)) {
		memcpy(words, bytes.data + i, sizeof(words));
		seen |= words[0] | words[1] | words[2] | words[3];
	}
	for (; i + sizeof(word) <= bytes.length; i += sizeof(word)) {
		memcpy(&word, bytes.data + i, sizeof(word));
		seen |= word;
	}
	for (; i < bytes.length; i++)
		seen |= (unsigned char)bytes.data[i];
	return (seen & 0x8080808080808080u) != 0;
}

static void
note_bytes(struct intake *intake, struct slice bytes)
{
	if (bytes.length == 0)
		return;
	if (!intake->has_8bit)
		intake->has_8bit = has_high_bit(bytes);
	intake->total += bytes.length;
	intake->last[0] = bytes.length > 1 ? bytes.data[bytes.length - 2] : intake->last[1];
	intake->last[1] = bytes.data[bytes.length - 1];
}

static bool
out_of_memory(struct intake *intake)
{
	struct error error = ERROR_NONE;

	error_set(&error, "out of memory for the content");
	return intake_fail_error(intake, INTAKE_TRY_LATER, &error);
}

/* ---- the spool file ---- */

static bool
spool_write(struct intake *intake, struct slice bytes)
{
	while (bytes.length > 0) {
		ssize_t written = write(intake->spool_fd, bytes.data, bytes.length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0) {
			struct error error = ERROR_NONE;
			bool         is_full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;

			error_set_errno(&error, "write content");
			return intake_fail_error(
				intake, is_full ? INTAKE_NO_SPACE : INTAKE_TRY_LATER, &error);
		}
		bytes = slice_from_offset(bytes, (size_t)written);
	}
	return true;
}

bool
content_flush(struct intake *intake)
{
	bool ok = spool_write(intake, buf_slice(&intake->content));

	buf_clear(&intake->content);
	return ok;
}

/* From now on content goes to a file that qmgr hands out. */
static bool
spool_begin(struct intake *intake)
{
	struct error       error = ERROR_NONE;
	enum intake_status status =
		intake_open_spool(intake->context->queue, intake->id, intake->envelope.size,
	                          &intake->spool_fd, &error);

	if (status != INTAKE_OK)
		return intake_fail_error(intake, status, &error);
	intake->is_spooled = true;
	return true;
}

bool
content_spool_end(struct intake *intake)
{
	bool ok = content_flush(intake);

	/* Errors that come this late (NFS) are errors of the write. */
	if (close(intake->spool_fd) != 0 && ok) {
		struct error error = ERROR_NONE;

		error_set_errno(&error, "close the content file");
		ok = intake_fail_error(intake, INTAKE_TRY_LATER, &error);
	}
	intake->spool_fd = -1;
	return ok;
}

/* ---- body ---- */

/* A message that says it will be larger than what can be held is not held at all. */
static bool
is_inline(struct intake *intake, uint64_t length)
{
	if (length <= INLINE_CONTENT_MOST)
		return true;
	if (!intake->is_held && length <= HELD_CONTENT_MOST &&
	    intake->envelope.size <= HELD_CONTENT_MOST)
		intake->is_held = intake_hold_content(intake->context->queue);
	return intake->is_held && length <= HELD_CONTENT_MOST;
}

bool
content_store(struct intake *intake, struct slice bytes)
{
	note_bytes(intake, bytes);
	if (!intake->is_spooled &&
	    !is_inline(intake, (uint64_t)intake->content.length + bytes.length) &&
	    !spool_begin(intake))
		return false;
	bool is_large =
		bytes.length >= SPOOL_PIECE || intake->content.length + bytes.length > SPOOL_CHUNK;
	if (intake->is_spooled && is_large && !content_flush(intake))
		return false;
	if (intake->is_spooled && bytes.length >= SPOOL_PIECE)
		return spool_write(intake, bytes);
	return buf_append(&intake->content, bytes) || out_of_memory(intake);
}

static bool
take_body(struct intake *intake, struct slice bytes)
{
	return intake->walk != NULL ? body_walk_take(intake->walk, bytes)
	                            : content_store(intake, bytes);
}

/* ---- header ---- */

enum line_kind { LINE_FIELD, LINE_CONTINUED, LINE_EMPTY, LINE_BODY };

static enum line_kind
classify_line(const struct intake *intake, struct slice line)
{
	struct header_field field;

	if (slice_equal(line, SLICE("\r\n")) || slice_equal(line, SLICE("\n")))
		return LINE_EMPTY;
	if (ascii_is_blank(line.data[0]))
		return intake->line_start > intake->header_start ? LINE_CONTINUED : LINE_BODY;
	return header_next(&line, &field) ? LINE_FIELD : LINE_BODY;
}

/* start: of the field, or of the line while it is not known what the line is. */
static bool
is_header_within_limits(struct intake *intake, size_t start)
{
	const struct parameters *parameters = intake->context->parameters;

	if (intake->content.length - start > (size_t)parameters->header_size_limit)
		return intake_fail(intake, 552, too_large,
		                   "Message header field exceeds fixed limit");
	if (intake->content.length - intake->header_start >
	    (size_t)parameters->header_block_size_limit)
		return intake_fail(intake, 552, too_large, "Message header exceeds fixed limit");
	return true;
}

/*
 * The header is complete and ends at line_start; rest (what stands behind it) is no part of it
 * and may lie in the buffer.
 */
static bool
end_header(struct intake *intake, struct slice rest)
{
	struct slice kept = SLICE_EMPTY;

	if (rest.length > 0) {
		kept = arena_copy(&intake->arena, rest);
		if (kept.data == NULL)
			return out_of_memory(intake);
	}
	buf_truncate(&intake->content, intake->line_start);
	if (!intake_run_header_steps(intake))
		return false;
	intake->header_length = intake->content.length;
	if (!buf_append(&intake->content, SLICE("\r\n")))
		return out_of_memory(intake);
	intake->part = PART_BODY;
	note_bytes(intake, buf_slice(&intake->content));
	if (intake->walk != NULL && !body_walk_begin(intake->walk))
		return false;
	return kept.length == 0 || take_body(intake, kept);
}

/* A whole line stands at line_start. */
static bool
take_header_line(struct intake *intake)
{
	struct slice line = slice_from_offset(buf_slice(&intake->content), intake->line_start);

	switch (classify_line(intake, line)) {
	case LINE_EMPTY: return end_header(intake, SLICE_EMPTY);
	case LINE_BODY: return end_header(intake, line);
	case LINE_FIELD: intake->field_start = intake->line_start; break;
	case LINE_CONTINUED: break;
	}
	if (!is_header_within_limits(intake, intake->field_start))
		return false;
	intake->line_start = intake->content.length;
	return true;
}

/* Up to the next line end; *rest is what follows. */
static bool
write_header(struct intake *intake, struct slice bytes, struct slice *rest)
{
	const char *newline = memchr(bytes.data, '\n', bytes.length);
	size_t      length = newline == NULL ? bytes.length : (size_t)(newline - bytes.data) + 1;

	if (!buf_append(&intake->content, slice_first(bytes, length)))
		return out_of_memory(intake);
	*rest = slice_from_offset(bytes, length);
	return newline == NULL ? is_header_within_limits(intake, intake->line_start)
	                       : take_header_line(intake);
}

/* ---- what intake.c calls ---- */

bool
content_write(struct intake *intake, struct slice content)
{
	int64_t limit = intake->context->parameters->message_size_limit;

	intake->received += content.length;
	if (limit > 0 && intake->received > (uint64_t)limit)
		return intake_fail(intake, 552, too_large, "Message size exceeds fixed limit");
	while (intake->part == PART_HEADER && content.length > 0)
		if (!write_header(intake, content, &content))
			return false;
	return content.length == 0 || take_body(intake, content);
}

bool
content_end(struct intake *intake)
{
	if (intake->part == PART_HEADER && intake->content.length > intake->line_start) {
		/* The last line has no end; with one it is a field or the body like any other. */
		if (!buf_append(&intake->content, SLICE("\r\n")))
			return out_of_memory(intake);
		if (!take_header_line(intake))
			return false;
	}
	if (intake->part == PART_HEADER && !end_header(intake, SLICE_EMPTY))
		return false;
	if (intake->walk != NULL && !body_walk_end(intake->walk))
		return false;
	if (intake->last[0] == '\r' && intake->last[1] == '\n')
		return true;
	return content_store(intake, intake->last[1] == '\r' ? SLICE("\n") : SLICE("\r\n"));
}

/* ---- changed by steps at the end ---- */

static bool
spool_failed(struct intake *intake)
{
	struct error error = ERROR_NONE;
	bool         is_full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;

	error_set_errno(&error, "change the content");
	return intake_fail_error(intake, is_full ? INTAKE_NO_SPACE : INTAKE_TRY_LATER, &error);
}

bool
content_replace(struct intake *intake, struct slice header, struct slice body)
{
	buf_clear(&intake->content);
	intake->total = 0;
	intake->header_length = header.length;
	if (intake->is_spooled &&
	    (ftruncate(intake->spool_fd, 0) != 0 || lseek(intake->spool_fd, 0, SEEK_SET) != 0))
		return spool_failed(intake);
	if (!content_store(intake, header) || !content_store(intake, SLICE("\r\n")) ||
	    !content_store(intake, body))
		return false;
	return (intake->last[0] == '\r' && intake->last[1] == '\n') ||
	       content_store(intake, SLICE("\r\n"));
}

static bool
move_piece(int fd, char *bytes, size_t length, off_t from, off_t to)
{
	for (size_t done = 0; done < length;) {
		ssize_t got = pread(fd, bytes + done, length - done, from + (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			errno = EIO; /* nobody else writes there */
		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	for (size_t done = 0; done < length;) {
		ssize_t put = pwrite(fd, bytes + done, length - done, to + (off_t)done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put == 0)
			errno = EIO;
		if (put <= 0)
			return false;
		done += (size_t)put;
	}
	return true;
}

/* Within one file, as memmove does it: from the end when it moves back, else from the front. */
static bool
move_within(int fd, struct buf *room, off_t from, off_t to, off_t length)
{
	for (off_t done = 0; done < length;) {
		off_t size =
			length - done < (off_t)SPOOL_CHUNK ? length - done : (off_t)SPOOL_CHUNK;
		off_t at = to > from ? length - done - size : done;

		if (!move_piece(fd, room->data, (size_t)size, from + at, to + at))
			return false;
		done += size;
	}
	return true;
}

bool
content_replace_header(struct intake *intake, struct slice header)
{
	struct buf room = BUF(SPOOL_CHUNK);
	off_t      from = (off_t)intake->header_length, to = (off_t)header.length;
	off_t      rest = (off_t)intake->total - from;
	bool       ok = buf_reserve(&room, SPOOL_CHUNK) || out_of_memory(intake);

	if (ok && from != to && !move_within(intake->spool_fd, &room, from, to, rest))
		ok = spool_failed(intake);
	if (ok && to < from && ftruncate(intake->spool_fd, to + rest) != 0)
		ok = spool_failed(intake);
	if (ok && lseek(intake->spool_fd, 0, SEEK_SET) != 0)
		ok = spool_failed(intake);
	ok = ok && spool_write(intake, header);
	intake->header_length = header.length;
	intake->total = (uint64_t)(to + rest);
	intake->has_8bit = intake->has_8bit || has_high_bit(header);
	buf_free(&room);
	return ok;
}
