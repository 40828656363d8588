/* mime.c - the structure of a message, line by line. See mime.h. */
#include "lib/mail/mime.h"

#include <stdlib.h>

/* ---- Content-Type ---- */

/* Behind blanks, line ends and comments. */
static size_t
skip_blanks(struct slice text, size_t at)
{
	size_t depth = 0;

	for (; at < text.length; at++) {
		char c = text.data[at];

		if (c == '(')
			depth++;
		else if (depth > 0 && c == ')')
			depth--;
		else if (depth > 0 && c == '\\')
			at++;
		else if (depth == 0 && !ascii_is_space(c))
			break;
	}
	return at < text.length ? at : text.length;
}

static size_t
token_end(struct slice text, size_t at)
{
	while (at < text.length && !ascii_is_space(text.data[at]) && text.data[at] != '\0' &&
	       strchr("()<>@,;:\\\"/[]?=", text.data[at]) == NULL)
		at++;
	return at;
}

static struct slice
take_token(struct slice text, size_t *at)
{
	size_t start = skip_blanks(text, *at);

	*at = token_end(text, start);
	return slice_of(text.data + start, *at - start);
}

static bool
take_byte(struct slice text, size_t *at, char byte)
{
	size_t next = skip_blanks(text, *at);

	if (next >= text.length || text.data[next] != byte)
		return false;
	*at = next + 1;
	return true;
}

/* A token or quoted string, as far as out has room. */
static void
take_value(struct slice text, size_t *at, struct buf *out)
{
	if (!take_byte(text, at, '"')) {
		buf_append(out, slice_first(take_token(text, at), out->limit));
		return;
	}
	while (*at < text.length && text.data[*at] != '"') {
		if (text.data[*at] == '\\' && *at + 1 < text.length)
			++*at;
		if (out->length < out->limit && text.data[*at] != '\r' && text.data[*at] != '\n')
			buf_append_byte(out, text.data[*at]);
		++*at;
	}
	if (*at < text.length)
		++*at;
}

/* The boundary among the parameters; the first one counts. */
static void
take_boundary(struct mime_walk *walk, struct slice text, size_t at)
{
	struct buf ignored = BUF(1);

	while (take_byte(text, &at, ';')) {
		struct slice name = take_token(text, &at);
		bool         is_boundary = slice_equal_fold(name, SLICE("boundary"));

		if (!take_byte(text, &at, '='))
			continue;
		take_value(text, &at,
		           is_boundary && walk->boundary.length == 0 ? &walk->boundary : &ignored);
		buf_clear(&ignored);
	}
	buf_free(&ignored);
}

static void
take_type(struct mime_walk *walk, struct slice text)
{
	size_t       at = 0;
	struct slice type = take_token(text, &at), subtype = SLICE_EMPTY;

	if (take_byte(text, &at, '/'))
		subtype = take_token(text, &at);
	walk->kind = MIME_LEAF;
	walk->is_digest = false;
	buf_clear(&walk->boundary);
	if (slice_equal_fold(type, SLICE("multipart"))) {
		take_boundary(walk, text, at);
		if (walk->boundary.length > 0)
			walk->kind = MIME_MULTIPART;
		walk->is_digest = slice_equal_fold(subtype, SLICE("digest"));
	} else if (slice_equal_fold(type, SLICE("message")) &&
	           (slice_equal_fold(subtype, SLICE("rfc822")) ||
	            slice_equal_fold(subtype, SLICE("global")))) {
		walk->kind = MIME_MESSAGE;
	}
}

void
mime_take_field(struct mime_walk *walk, const struct header_field *field)
{
	if (slice_equal_fold(field->name, SLICE("Content-Type")))
		take_type(walk, field->value);
}

bool
mime_is_field(struct slice name)
{
	static const struct slice names[] = {
		SLICE("Content-Type"),        SLICE("Content-Transfer-Encoding"),
		SLICE("Content-Disposition"), SLICE("Content-Description"),
		SLICE("Content-ID"),          SLICE("MIME-Version"),
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (slice_equal_fold(name, names[i]))
			return true;
	return false;
}

/* ---- parts ---- */

static void
begin_header(struct mime_walk *walk, enum mime_kind kind)
{
	walk->kind = kind;
	walk->is_digest = false;
	buf_clear(&walk->boundary);
}

void
mime_begin(struct mime_walk *walk, size_t nesting_limit, size_t boundary_limit)
{
	*walk = (struct mime_walk){ .nesting_limit = nesting_limit,
		                    .boundary_limit = boundary_limit,
		                    .boundary = BUF(boundary_limit) };
}

static void
drop_levels(struct mime_walk *walk, size_t kept)
{
	while (walk->levels.count > kept)
		free(walk->levels.items[--walk->levels.count].boundary);
}

void
mime_end(struct mime_walk *walk)
{
	drop_levels(walk, 0);
	ARRAY_FREE(&walk->levels);
	buf_free(&walk->boundary);
}

static bool
push_level(struct mime_walk *walk)
{
	struct mime_level level = { .boundary = malloc(walk->boundary.length),
		                    .length = walk->boundary.length,
		                    .is_digest = walk->is_digest,
		                    .depth = walk->depth };

	if (level.boundary == NULL)
		return false;
	memcpy(level.boundary, walk->boundary.data, level.length);
	if (ARRAY_PUSH(&walk->levels, level))
		return true;
	free(level.boundary);
	return false;
}

enum mime_next
mime_end_header(struct mime_walk *walk)
{
	enum mime_kind kind = walk->kind;

	if (kind == MIME_LEAF)
		return MIME_BODY;
	if (walk->depth >= walk->nesting_limit)
		return MIME_TOO_DEEP;
	walk->depth++;
	if (kind == MIME_MULTIPART)
		return push_level(walk) ? MIME_BODY : MIME_NO_MEMORY;
	begin_header(walk, MIME_LEAF);
	return MIME_HEADER;
}

enum mime_boundary
mime_take_line(struct mime_walk *walk, struct slice line)
{
	struct slice rest = slice_from_offset(line, 2);

	if (walk->levels.count == 0 || !slice_starts_with(line, SLICE("--")))
		return MIME_NO_BOUNDARY;
	for (size_t i = walk->levels.count; i > 0; i--) {
		struct mime_level *level = &walk->levels.items[i - 1];
		size_t             depth = level->depth;

		if (!slice_starts_with(rest, slice_of(level->boundary, level->length)))
			continue;
		drop_levels(walk, i);
		if (slice_starts_with(slice_from_offset(rest, level->length), SLICE("--"))) {
			drop_levels(walk, i - 1);
			walk->depth = depth - 1;
			return MIME_PARTS_END;
		}
		walk->depth = depth;
		begin_header(walk, level->is_digest ? MIME_MESSAGE : MIME_LEAF);
		return MIME_PART_BEGINS;
	}
	return MIME_NO_BOUNDARY;
}
