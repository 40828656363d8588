/* walk.c - see walk.h. */
#include "lib/intake/walk.h"

#include <stdlib.h>

#include "lib/mail/mime.h"

enum walk_place { IN_TEXT, IN_PART_HEADER, IN_NESTED_HEADER };

struct body_walk {
	const struct walk_user  *user;
	void                    *context;
	const struct parameters *parameters;
	uint64_t                 text_most;

	struct mime_walk mime;
	enum walk_place  place;
	struct buf       line;         /* a line, or piece of one, that is not complete yet */
	bool             is_continued; /* what comes next belongs to a line that was cut */
	struct buf       field;        /* a header field of a part, while it may go on */
	bool             is_overlong;  /* more of it was stored already */
	uint64_t         segment;      /* bytes of the part's text so far */
	struct buf       out;          /* what a check puts in place */
};

struct body_walk *
body_walk_create(const struct parameters *parameters, uint64_t text_most,
                 const struct walk_user *user, void *context)
{
	struct body_walk *walk = calloc(1, sizeof(*walk));

	if (walk == NULL)
		return NULL;
	walk->user = user;
	walk->context = context;
	walk->parameters = parameters;
	walk->text_most = text_most;
	mime_begin(&walk->mime, (size_t)parameters->mime_nesting_limit,
	           (size_t)parameters->mime_boundary_length_limit);
	walk->line = BUF((size_t)parameters->line_length_limit);
	walk->field = BUF((size_t)(parameters->header_size_limit + parameters->line_length_limit));
	walk->out = BUF(128u * 1024);
	return walk;
}

void
body_walk_destroy(struct body_walk **walk)
{
	struct body_walk *gone = *walk;

	if (gone == NULL)
		return;
	mime_end(&gone->mime);
	buf_free(&gone->line);
	buf_free(&gone->field);
	buf_free(&gone->out);
	free(gone);
	*walk = NULL;
}

void
body_walk_field(struct body_walk *walk, const struct header_field *field)
{
	mime_take_field(&walk->mime, field);
}

static bool
fail_memory(struct body_walk *walk)
{
	return walk->user->fail(walk->context, WALK_NO_MEMORY);
}

static bool
put(struct body_walk *walk, struct slice bytes)
{
	return walk->user->store(walk->context, bytes);
}

/* ---- text ---- */

/* What a check has decided about a piece of the body. */
static bool
store(struct body_walk *walk, enum check_fate fate, struct slice original)
{
	struct buf *out = &walk->out;

	if (fate == CHECK_FAILED)
		return false;
	if (out->has_failed)
		return fail_memory(walk);
	if (out->length > 0 && !put(walk, buf_slice(out)))
		return false;
	return fate == CHECK_REPLACED || put(walk, original);
}

static bool
take_text(struct body_walk *walk, struct slice line)
{
	struct slice text = line;
	bool         is_looked_at = walk->segment < walk->text_most;

	walk->segment += line.length;
	if (!is_looked_at)
		return put(walk, line);
	if (text.length > 0 && text.data[text.length - 1] == '\n')
		text.length--;
	if (text.length > 0 && text.data[text.length - 1] == '\r')
		text.length--;
	buf_clear(&walk->out);
	return store(walk, walk->user->check_text(walk->context, text, &walk->out), line);
}

/* ---- headers of parts ---- */

/* The field is complete. */
static bool
end_field(struct body_walk *walk)
{
	struct slice        block = buf_slice(&walk->field);
	struct header_field field;
	enum check_class    place = walk->place == IN_NESTED_HEADER ? CHECK_NESTED : CHECK_MIME;
	bool                ok;

	if (block.length == 0)
		return true;
	buf_clear(&walk->out);
	if (header_next(&block, &field)) {
		mime_take_field(&walk->mime, &field);
		ok = store(walk, walk->user->check_field(walk->context, place, &field, &walk->out),
		           field.whole);
	} else {
		ok = put(walk, block);
	}
	buf_clear(&walk->field);
	walk->is_overlong = false;
	return ok;
}

/* The header of a part has ended, or that of the message. */
static bool
end_header(struct body_walk *walk)
{
	walk->segment = 0;
	switch (mime_end_header(&walk->mime)) {
	case MIME_BODY: walk->place = IN_TEXT; return true;
	case MIME_HEADER: walk->place = IN_NESTED_HEADER; return true;
	case MIME_TOO_DEEP: return walk->user->fail(walk->context, WALK_TOO_DEEP);
	case MIME_NO_MEMORY: break;
	}
	return fail_memory(walk);
}

/* What goes on a field. Behind header_size_limit it is not looked at. */
static bool
continue_field(struct body_walk *walk, struct slice line)
{
	size_t most = (size_t)walk->parameters->header_size_limit;

	if (walk->is_overlong)
		return put(walk, line);
	if (walk->field.length + line.length <= most)
		return buf_append(&walk->field, line) || fail_memory(walk);
	if (!end_field(walk) || !put(walk, line))
		return false;
	walk->is_overlong = true;
	return true;
}

static bool
take_header_line(struct body_walk *walk, struct slice line)
{
	struct slice        block = line;
	struct header_field field;
	bool                has_field = walk->field.length > 0 || walk->is_overlong;

	if (has_field && (walk->is_continued || ascii_is_blank(line.data[0])))
		return continue_field(walk, line);
	if (!end_field(walk))
		return false;
	if (slice_equal(line, SLICE("\r\n")) || slice_equal(line, SLICE("\n")))
		return put(walk, line) && end_header(walk);
	if (!walk->is_continued && header_next(&block, &field)) {
		walk->is_overlong = false;
		return buf_append(&walk->field, line) || fail_memory(walk);
	}
	/* No field and no empty line: text, also in a message that has no header at all. */
	if (!end_header(walk) || (walk->place != IN_TEXT && !end_header(walk)))
		return false;
	return take_text(walk, line);
}

/* ---- lines ---- */

static bool
take_boundary(struct body_walk *walk, enum mime_boundary boundary, struct slice line)
{

	if (!end_field(walk) || !take_text(walk, line))
		return false;
	walk->segment = 0;
	walk->place = boundary == MIME_PART_BEGINS ? IN_PART_HEADER : IN_TEXT;
	walk->is_overlong = false;
	return true;
}

/* A line with its end, or a piece of one that is longer than line_length_limit. */
static bool
take_line(struct body_walk *walk, struct slice line)
{
	enum mime_boundary boundary =
		walk->is_continued ? MIME_NO_BOUNDARY : mime_take_line(&walk->mime, line);
	bool ok;

	if (boundary != MIME_NO_BOUNDARY)
		ok = take_boundary(walk, boundary, line);
	else if (walk->place == IN_TEXT)
		ok = take_text(walk, line);
	else
		ok = take_header_line(walk, line);
	walk->is_continued = line.data[line.length - 1] != '\n';
	return ok;
}

bool
body_walk_begin(struct body_walk *walk)
{
	return end_header(walk);
}

bool
body_walk_take(struct body_walk *walk, struct slice bytes)
{
	size_t limit = walk->line.limit;

	while (bytes.length > 0) {
		const char *newline = memchr(bytes.data, '\n', bytes.length);
		size_t length = newline == NULL ? bytes.length : (size_t)(newline - bytes.data) + 1;

		if (length > limit - walk->line.length)
			length = limit - walk->line.length;
		struct slice piece = slice_first(bytes, length);
		bool         is_whole = piece.data[length - 1] == '\n';
		bytes = slice_from_offset(bytes, length);
		if (walk->line.length == 0 && (is_whole || length == limit)) {
			if (!take_line(walk, piece))
				return false;
			continue;
		}
		if (!buf_append(&walk->line, piece))
			return fail_memory(walk);
		if (!is_whole && walk->line.length < limit)
			continue;
		bool ok = take_line(walk, buf_slice(&walk->line));
		buf_clear(&walk->line);
		if (!ok)
			return false;
	}
	return true;
}

bool
body_walk_end(struct body_walk *walk)
{

	if (walk->line.length > 0 && !take_line(walk, buf_slice(&walk->line)))
		return false;
	buf_clear(&walk->line);
	return end_field(walk);
}
