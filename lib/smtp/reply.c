/*
 * reply.c - SMTP replies between text and value.
 */
#include "lib/smtp/reply.h"

#include <string.h>

/* One line of a reply. */
struct reply_line {
	int          code;
	bool         is_last;
	struct slice text; /* behind code and separator */
};

/* The line without its line end; servers that send a bare LF are understood. */
static bool
next_line(struct slice input, struct slice *line, size_t *length)
{
	const char *newline = input.length > 0 ? memchr(input.data, '\n', input.length) : NULL;

	if (newline == NULL)
		return false;
	*length = (size_t)(newline - input.data) + 1;
	size_t without = *length - 1;
	if (without > 0 && input.data[without - 1] == '\r')
		without--;
	*line = slice_of(input.data, without);
	return true;
}

static bool
line_parse(struct slice line, struct reply_line *parsed)
{
	if (line.length < 3 || line.data[0] < '2' || line.data[0] > '5' ||
	    !ascii_is_digit(line.data[1]) || !ascii_is_digit(line.data[2]))
		return false;
	if (line.length > 3 && line.data[3] != ' ' && line.data[3] != '-')
		return false;
	parsed->code = (line.data[0] - '0') * 100 + (line.data[1] - '0') * 10 + line.data[2] - '0';
	parsed->is_last = line.length == 3 || line.data[3] == ' ';
	parsed->text = slice_from_offset(line, 4);
	return true;
}

/* Takes the enhanced status off the line's text; it must be of the code's class (RFC 2034 4). */
static void
take_status(struct reply_line *line, struct enhanced_status *status)
{
	struct enhanced_status found;
	size_t                 length;

	if (!enhanced_status_parse(line->text, &found, &length) || found.class != line->code / 100)
		return;
	line->text = slice_from_offset(line->text, length);
	if (line->text.length > 0 && line->text.data[0] == ' ')
		line->text = slice_from_offset(line->text, 1);
	*status = found;
}

/* Lengths first, so that the text is allocated once. */
enum smtp_parse
smtp_reply_parse(struct slice input, struct arena *arena, struct smtp_reply *reply,
                 size_t *consumed)
{
	struct reply_line parsed = { .is_last = false };
	struct slice      line;
	size_t            length;
	size_t            total = 0;

	while (!parsed.is_last) {
		if (!next_line(slice_from_offset(input, total), &line, &length))
			return SMTP_PARSE_MORE;
		if (!line_parse(line, &parsed))
			return SMTP_PARSE_MALFORMED;
		total += length;
	}

	char                  *text = arena_alloc(arena, total);
	size_t                 used = 0;
	struct enhanced_status status = { 0, 0, 0 };
	if (text == NULL)
		return SMTP_PARSE_MALFORMED;
	for (size_t at = 0; at < total; at += length) {
		if (!next_line(slice_from_offset(input, at), &line, &length) ||
		    !line_parse(line, &parsed))
			return SMTP_PARSE_MALFORMED;
		take_status(&parsed, &status);
		if (at > 0)
			text[used++] = '\n';
		if (parsed.text.length > 0)
			memcpy(text + used, parsed.text.data, parsed.text.length);
		used += parsed.text.length;
	}
	/* The last line's code counts when a server mixes them, as in other clients. */
	*reply = (struct smtp_reply){ parsed.code, status, slice_of(text, used) };
	*consumed = total;
	return SMTP_PARSE_DONE;
}

bool
smtp_reply_append(struct buf *out, const struct smtp_reply *reply)
{
	struct slice rest = reply->text;
	struct slice line;
	bool         is_last;

	do {
		size_t end = slice_find_byte(rest, '\n');
		is_last = end == SLICE_NOT_FOUND;
		line = is_last ? rest : slice_first(rest, end);
		rest = is_last ? SLICE_EMPTY : slice_from_offset(rest, end + 1);

		buf_append_format(out, "%03d%c", reply->code, is_last ? ' ' : '-');
		if (reply->status.class != 0) {
			enhanced_status_append(out, reply->status);
			buf_append_byte(out, ' ');
		}
		buf_append_printable(out, line);
		buf_append(out, SLICE("\r\n"));
	} while (!is_last);
	return !out->has_failed;
}
