/*
 * message.c - standard input becomes a message: its end, its line ends, its size.
 *
 * All of it is read before anybody is bothered with it: a slow writer costs pickup nothing, and
 * what was not taken can be sent again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/mail/header.h"
#include "tools/sendmail/sendmail.h"

#define READ_MOST (64u * 1024)

struct input {
	struct tool   *tool;
	struct letter *letter;
	struct buf    *header; /* NULL: not wanted, or it is over */
	struct buf     text;   /* what was read */
	size_t         at;     /* so much of it is taken */
	struct buf     out;    /* taken and not written yet */
	bool           is_eof;
	bool           is_line_start;
	bool           is_first; /* "From " lines may come */
	char           last;     /* byte that was written */
	int64_t        size;     /* with CRLF */
};

/* In /tmp and not in memory when the message may be large. */
int
message_file(struct tool *tool)
{
	int fd = -1;

	if (tool->message_size_limit == 0 || tool->message_size_limit > INT64_C(64) << 20)
		fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = memfd_create("message", MFD_CLOEXEC);
	if (fd < 0)
		complain(tool, EX_OSERR, "no room for the message: error %d", errno);
	return fd;
}

bool
message_write(int fd, struct slice bytes)
{
	while (bytes.length > 0) {
		ssize_t written = write(fd, bytes.data, bytes.length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return false;
		bytes = slice_from_offset(bytes, (size_t)written);
	}
	return true;
}

/* More of standard input; a sysexits code. */
static int
input_fill(struct input *input)
{
	buf_consume(&input->text, input->at);
	input->at = 0;
	if (!buf_reserve(&input->text, READ_MOST))
		return complain(input->tool, EX_OSERR, "out of memory");
	for (;;) {
		ssize_t got = read(0, input->text.data + input->text.length, READ_MOST);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return complain(input->tool, EX_DATAERR, "error reading the message");
		input->is_eof = got == 0;
		input->text.length += (size_t)got;
		return EX_OK;
	}
}

/* The next line, or a piece of a long one. */
static struct slice
input_line(const struct input *input)
{
	struct slice text = slice_from_offset(buf_slice(&input->text), input->at);
	size_t       newline = slice_find_byte(text, '\n');

	return newline == SLICE_NOT_FOUND ? text : slice_first(text, newline + 1);
}

/* mbox's separator in front of the header. */
static bool
is_from_line(struct slice line)
{
	while (line.length > 0 && line.data[0] == '>')
		line = slice_from_offset(line, 1);
	return slice_starts_with(line, SLICE("From "));
}

static bool
is_end(struct slice line)
{
	return slice_equal(line, SLICE(".\n")) || slice_equal(line, SLICE(".\r\n")) ||
	       slice_equal(line, SLICE("."));
}

static bool
is_header_line(struct slice line)
{
	struct header_field field;

	return ascii_is_blank(line.data[0]) || header_next(&line, &field);
}

static int
out_flush(struct input *input)
{
	bool is_written = message_write(input->letter->fd, buf_slice(&input->out));

	buf_clear(&input->out);
	return is_written ? EX_OK
	                  : complain(input->tool, EX_TEMPFAIL, "no room for the message: error %d",
	                             errno);
}

static int
line_take(struct input *input, struct slice line)
{
	int64_t limit = input->tool->message_size_limit;
	bool    ends_bare = line.data[line.length - 1] == '\n' &&
	                 (line.length > 1 ? line.data[line.length - 2] : input->last) != '\r';

	if (input->header != NULL && input->is_line_start &&
	    (line.data[0] == '\n' || line.data[0] == '\r' || !is_header_line(line)))
		input->header = NULL;
	if (input->header != NULL && !buf_append(input->header, line))
		return complain(input->tool, EX_DATAERR, "the message's header is too large");
	input->size += (int64_t)line.length + ends_bare;
	input->last = line.data[line.length - 1];
	input->letter->size += line.length;
	if (limit > 0 && input->size > limit)
		return complain(input->tool, EX_UNAVAILABLE,
		                "message file too big (message_size_limit is %lld bytes)",
		                (long long)limit);
	if (!buf_append(&input->out, line))
		return complain(input->tool, EX_OSERR, "out of memory");
	return input->out.length < READ_MOST ? EX_OK : out_flush(input);
}

/* Lines until the end; a sysexits code. */
static int
input_read(struct input *input)
{
	for (;;) {
		struct slice line = input_line(input);
		bool         is_line = line.length > 0 && line.data[line.length - 1] == '\n';
		int          code = EX_OK;

		if (!is_line && !input->is_eof && line.length < READ_MOST) {
			code = input_fill(input);
			if (code != EX_OK)
				return code;
			continue;
		}
		if (line.length == 0 ||
		    (input->is_line_start && is_end(line) && !input->tool->options.ignores_dots))
			return out_flush(input);
		if (!input->is_first || !is_from_line(line)) {
			input->is_first = false;
			code = line_take(input, line);
		}
		input->is_line_start = is_line;
		input->at += line.length;
		if (code != EX_OK)
			return code;
	}
}

int
message_make_probe(struct tool *tool, struct letter *letter)
{
	struct slice content = SLICE("Subject: probe\n\n");

	letter->fd = message_file(tool);
	if (letter->fd < 0)
		return EX_OSERR;
	letter->size = content.length;
	return message_write(letter->fd, content)
	               ? EX_OK
	               : complain(tool, EX_TEMPFAIL, "no room for the message: error %d", errno);
}

int
message_read(struct tool *tool, struct letter *letter, bool wants_header, struct buf *header)
{
	struct input input = { .tool = tool,
		               .letter = letter,
		               .header = wants_header ? header : NULL,
		               .text = BUF(3 * (size_t)READ_MOST),
		               .out = BUF(3 * (size_t)READ_MOST),
		               .is_line_start = true,
		               .is_first = true };

	letter->fd = message_file(tool);
	int code = letter->fd < 0 ? EX_OSERR : input_read(&input);
	buf_free(&input.text);
	buf_free(&input.out);
	return code;
}
