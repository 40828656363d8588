/* lines.c - see lines.h. */
#include "lib/conf/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/error.h"

void
lines_init(struct lines *lines, struct slice whole)
{
	*lines = (struct lines){ .whole = whole, .text = BUF(LINES_TEXT_MOST) };
}

void
lines_free(struct lines *lines)
{
	buf_free(&lines->text);
}

/* The physical line at the offset, without its line end; *next is where the one behind begins. */
static struct slice
physical_line(struct slice whole, size_t offset, size_t *next)
{
	struct slice rest = slice_from_offset(whole, offset);
	size_t       end = slice_find_byte(rest, '\n');

	*next = end == SLICE_NOT_FOUND ? whole.length : offset + end + 1;
	return slice_first(rest, end);
}

static bool
is_comment_or_empty(struct slice line)
{
	struct slice trimmed = slice_trim(line);

	return trimmed.length == 0 || trimmed.data[0] == '#';
}

bool
lines_next(struct lines *lines, struct slice *text)
{
	struct slice line;
	size_t       next;

	buf_clear(&lines->text);
	for (;; lines->offset = next) { /* to the first line that says something */
		if (lines->offset >= lines->whole.length)
			return false;
		line = physical_line(lines->whole, lines->offset, &next);
		lines->number++;
		if (!is_comment_or_empty(line))
			break;
	}
	lines->first_number = lines->number;
	lines->first_offset = lines->offset;
	lines->is_orphan = ascii_is_space(line.data[0]);
	buf_append(&lines->text, line);
	lines->offset = lines->end_offset = next;

	/* Comments between are skipped for good only when a continuation follows them. */
	unsigned number = lines->number;
	for (size_t at = next; at < lines->whole.length; at = next) {
		line = physical_line(lines->whole, at, &next);
		number++;
		if (is_comment_or_empty(line))
			continue;
		if (!ascii_is_space(line.data[0]))
			break;
		buf_append(&lines->text, line);
		lines->offset = lines->end_offset = next;
		lines->number = number;
	}
	*text = slice_trim(buf_slice(&lines->text));
	return true;
}

static bool
read_descriptor(int fd, struct buf *bytes, struct error *error)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return error_set_errno(error, "fstat");
	if (!S_ISREG(status.st_mode))
		return error_set(error, "not a regular file");
	for (;;) {
		if (bytes->length >= LINES_FILE_MOST || !buf_reserve(bytes, 8192))
			return error_set(error, "larger than %u bytes", LINES_FILE_MOST);
		ssize_t got = read(fd, bytes->data + bytes->length, 8192);
		if (got < 0 && errno != EINTR)
			return error_set_errno(error, "read");
		if (got == 0)
			return true;
		if (got > 0)
			bytes->length += (size_t)got;
	}
}

bool
lines_read_file(const char *path, struct buf *bytes, struct report *report)
{
	struct error error = ERROR_NONE;
	int          fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool is_ok = fd >= 0 ? read_descriptor(fd, bytes, &error) : error_set_errno(&error, "open");

	if (fd >= 0)
		close(fd);
	if (is_ok && slice_contains_byte(buf_slice(bytes), '\0'))
		is_ok = error_set(&error, "has a NUL byte; is it a text file?");
	if (!is_ok)
		report_add(report, PROBLEM_ERROR, path, 0, "%s", error.text);
	return is_ok;
}
