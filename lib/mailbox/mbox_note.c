/* mbox_note.c - see mbox_note.h. */
#include "lib/mailbox/mbox_note.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/base/number.h"
#include "lib/io/file.h"

#define ATTRIBUTE   "user.dakiya.append"
#define PIECE_BYTES (64u * 1024)
#define LINE_MOST   2048 /* of a From_ line */

struct note {
	uint64_t start, end;
	uint64_t line_hash;
};

/* FNV-1a: the same in every process, which hash_bytes is not. */
static uint64_t
line_hash(struct slice line)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < line.length; i++)
		hash = (hash ^ (unsigned char)line.data[i]) * 0x100000001b3;
	return hash;
}

void
mbox_note_set(int fd, uint64_t start, uint64_t end, struct slice from_line)
{
	char text[100];
	int  length = snprintf(text, sizeof(text), "1 %llu %llu %016llx", (unsigned long long)start,
	                       (unsigned long long)end, (unsigned long long)line_hash(from_line));

	/* Where there are no attributes there is no protection, and mail is delivered all the same.
	 */
	(void)!fsetxattr(fd, ATTRIBUTE, text, (size_t)length, 0);
}

void
mbox_note_clear(int fd)
{
	(void)!fsetxattr(fd, ATTRIBUTE, "", 0, 0);
}

static bool
note_get(int fd, struct note *note)
{
	char         text[100];
	ssize_t      got = fgetxattr(fd, ATTRIBUTE, text, sizeof(text));
	struct slice rest, words[4];
	int64_t      start, end;

	if (got <= 0)
		return false;
	rest = slice_of(text, (size_t)got);
	for (size_t i = 0; i < 4; i++)
		if (!slice_next_part(&rest, ' ', &words[i]))
			return false;
	if (!slice_equal(words[0], SLICE("1")) || !number_parse(words[1], 0, INT64_MAX, &start) ||
	    !number_parse(words[2], 0, INT64_MAX, &end) ||
	    !number_parse_hex(words[3], UINT64_MAX, &note->line_hash))
		return false;
	note->start = (uint64_t)start;
	note->end = (uint64_t)end;
	return true;
}

/* ---- whose is the tail? ---- */

/* "hh:mm:ss" anywhere in the rest of the line: what every program's From_ line has. */
static bool
has_time(struct slice line)
{
	for (size_t i = 0; i + 8 <= line.length; i++) {
		const char *at = line.data + i;

		if (ascii_is_digit(at[0]) && ascii_is_digit(at[1]) && at[2] == ':' &&
		    ascii_is_digit(at[3]) && ascii_is_digit(at[4]) && at[5] == ':' &&
		    ascii_is_digit(at[6]) && ascii_is_digit(at[7]))
			return true;
	}
	return false;
}

/*
 * Whether another message begins among the first `step` places behind window[0]. Ours has no line
 * that begins with "From ", and one that was glued to our half line has the time in it.
 */
static bool
window_has_from(struct slice window, size_t step)
{
	for (size_t at = 1; at <= step && at < window.length; at++) {
		struct slice rest = slice_from_offset(window, at);
		size_t       found = slice_find(rest, SLICE("From "));

		if (found == SLICE_NOT_FOUND || at + found > step)
			return false;
		at += found;
		struct slice line = slice_from_offset(window, at);
		line = slice_first(line, slice_find_byte(line, '\n'));
		if (window.data[at - 1] == '\n' || has_time(slice_first(line, LINE_MOST)))
			return true;
	}
	return false;
}

/* The bytes behind start are our message, or its beginning, and nothing else. */
static bool
tail_is_ours(int fd, const struct note *note, uint64_t size, char *piece)
{
	const size_t step = PIECE_BYTES - LINE_MOST - 1;
	ssize_t      got = file_read_at(fd, piece, LINE_MOST, (int64_t)note->start);

	if (got <= 0)
		return false;
	struct slice head = slice_of(piece, (size_t)got);
	size_t       newline = slice_find_byte(head, '\n');
	if (!slice_starts_with(head, slice_first(SLICE("From "), head.length)))
		return false;
	if (newline == SLICE_NOT_FOUND && note->start + head.length < size)
		return false;
	if (newline != SLICE_NOT_FOUND &&
	    line_hash(slice_first(head, newline + 1)) != note->line_hash)
		return false;
	for (uint64_t at = note->start; at < size; at += step) {
		got = file_read_at(fd, piece, PIECE_BYTES, (int64_t)at);
		if (got < 0 || window_has_from(slice_of(piece, (size_t)got), step))
			return false;
	}
	return true;
}

bool
mbox_recover(int fd, uint64_t *size)
{
	struct note note;
	bool        is_undone = false;

	if (!note_get(fd, &note))
		return false;
	char *piece = malloc(PIECE_BYTES);
	/* Behind its end it was written and synced, or the file was changed by others. */
	if (piece != NULL && *size > note.start && (note.end == 0 || *size < note.end) &&
	    tail_is_ours(fd, &note, *size, piece))
		is_undone = ftruncate(fd, (off_t)note.start) == 0;
	free(piece);
	if (is_undone)
		*size = note.start;
	mbox_note_clear(fd);
	return is_undone;
}
