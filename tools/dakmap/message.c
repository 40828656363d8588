/*
 * message.c - the keys that header and body checks would look for in a message (-h, -b, -m).
 *
 * Without -m the header is what stands before the first line that is no header line, and everything
 * after it is body. With -m the headers of MIME parts and of attached messages are headers, too.
 */
#include <stdlib.h>

#include "lib/mail/header.h"
#include "lib/table/textlines.h"
#include "tools/dakmap/dakmap.h"

#define DEPTH_MOST    100
#define BOUNDARY_MOST 250

enum place { IN_HEADER, IN_BODY };

struct reader {
	const struct options *options;
	bool (*visit)(struct slice key, void *context);
	void      *context;
	enum place place;
	bool       is_outermost;   /* header of the message itself */
	bool       begins_message; /* what follows this header is a message's header */
	struct buf field;          /* the header field under way, with its line ends */
	char       boundaries[DEPTH_MOST][BOUNDARY_MOST + 1];
	size_t     depth;
	char       pending[BOUNDARY_MOST + 1]; /* of the header under way; empty: no multipart */
};

/* ---- MIME ---- */

/* The boundary parameter of a Content-Type value. */
static void
boundary_read(struct reader *reader, struct slice value)
{
	size_t at = 0;

	while (at < value.length &&
	       !slice_starts_with_fold(slice_from_offset(value, at), SLICE("boundary=")))
		at++;
	struct slice text = slice_from_offset(value, at + 9);
	size_t       used = 0;
	bool         is_quoted = !slice_is_empty(text) && text.data[0] == '"';
	for (size_t i = is_quoted; i < text.length && used < BOUNDARY_MOST; i++) {
		char c = text.data[i];

		if (is_quoted ? c == '"' : (ascii_is_space(c) || c == ';'))
			break;
		if (is_quoted && c == '\\' && i + 1 < text.length)
			c = text.data[++i];
		reader->pending[used++] = c;
	}
	reader->pending[used] = '\0';
}

static void
content_type_read(struct reader *reader, struct slice field)
{
	struct slice name = slice_trim(slice_first(field, slice_find_byte(field, ':')));
	struct slice value = slice_trim(slice_from_offset(field, name.length + 1));

	if (!slice_equal_fold(name, SLICE("Content-Type")))
		return;
	if (slice_starts_with_fold(value, SLICE("multipart/")))
		boundary_read(reader, value);
	reader->begins_message = slice_starts_with_fold(value, SLICE("message/")) &&
	                         !slice_starts_with_fold(value, SLICE("message/partial")) &&
	                         !slice_starts_with_fold(value, SLICE("message/external"));
}

/* Whether line is a boundary of one of the open parts; those inside it end. */
static bool
boundary_match(struct reader *reader, struct slice line)
{
	if (!slice_starts_with(line, SLICE("--")))
		return false;
	for (size_t i = reader->depth; i > 0; i--) {
		struct slice boundary = slice_from(reader->boundaries[i - 1]);
		struct slice rest = slice_from_offset(line, 2);

		if (!slice_starts_with(rest, boundary))
			continue;
		rest = slice_from_offset(rest, boundary.length);
		bool is_end = slice_starts_with(rest, SLICE("--"));
		reader->depth = is_end ? i - 1 : i;
		reader->place = is_end ? IN_BODY : IN_HEADER;
		return true;
	}
	return false;
}

/* ---- lines ---- */

static bool
is_header_line(struct slice line)
{
	size_t colon = slice_find_byte(line, ':');

	if (colon == SLICE_NOT_FOUND || colon == 0)
		return false;
	struct slice name = slice_first(line, colon);
	while (name.length > 0 && ascii_is_blank(name.data[name.length - 1]))
		name.length--;
	for (size_t i = 0; i < name.length; i++)
		if (name.data[i] <= ' ' || !ascii_is_print(name.data[i]))
			return false;
	return name.length > 0;
}

/* The field that is whole now. */
static bool
field_end(struct reader *reader)
{
	struct slice field = buf_slice(&reader->field);
	bool         goes_on = true;

	if (slice_is_empty(field))
		return true;
	if (reader->options->knows_mime)
		content_type_read(reader, field);
	if (reader->options->asks_headers)
		goes_on = reader->visit(field, reader->context);
	buf_clear(&reader->field);
	return goes_on;
}

static bool
header_end(struct reader *reader)
{
	if (!field_end(reader))
		return false;
	reader->is_outermost = false;
	reader->place = reader->begins_message ? IN_HEADER : IN_BODY;
	reader->begins_message = false;
	if (reader->pending[0] != '\0' && reader->depth < DEPTH_MOST)
		memcpy(reader->boundaries[reader->depth++], reader->pending,
		       sizeof(reader->pending));
	reader->pending[0] = '\0';
	return true;
}

static bool
line_take(struct reader *reader, struct slice line)
{
	if (reader->options->knows_mime && boundary_match(reader, line))
		return field_end(reader);
	if (reader->place == IN_HEADER) {
		if (!slice_is_empty(line) && ascii_is_blank(line.data[0]) &&
		    reader->field.length > 0)
			return buf_append_byte(&reader->field, '\n') &&
			       buf_append(&reader->field, line);
		if (is_header_line(line))
			return field_end(reader) && buf_append(&reader->field, line);
		/* An mbox's "From " line in front is no header line, and no end. */
		if (reader->is_outermost && reader->field.length == 0 &&
		    slice_starts_with(line, SLICE("From ")))
			return true;
		bool is_separator = slice_is_empty(line);
		if (!header_end(reader) || is_separator || reader->place == IN_HEADER)
			return !ferror(stdin);
	}
	return !reader->options->asks_body || reader->visit(line, reader->context);
}

bool
message_each_key(const struct options *options, FILE                  *from,
                 bool (*visit)(struct slice key, void *context), void *context)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	char          *line = NULL;
	size_t         size = 0;
	ssize_t        length;
	bool           goes_on = reader != NULL;

	if (reader == NULL)
		return false;
	*reader = (struct reader){ .options = options,
		                   .visit = visit,
		                   .context = context,
		                   .place = IN_HEADER,
		                   .is_outermost = true,
		                   .field = BUF(TEXTLINES_LINE_MOST) };
	while (goes_on && (length = getline(&line, &size, from)) >= 0) {
		struct slice whole = slice_of(line, (size_t)length);

		if (slice_ends_with(whole, SLICE("\n")))
			whole.length--;
		if (slice_ends_with(whole, SLICE("\r")))
			whole.length--;
		goes_on = line_take(reader, whole);
	}
	goes_on = goes_on && field_end(reader);
	free(line);
	buf_free(&reader->field);
	free(reader);
	return goes_on;
}
