/* walk.c - the body line by line, for checks: text here, headers of parts there. */
#include <stdlib.h>

#include "lib/intake/steps.h"

enum walk_place { IN_TEXT, IN_PART_HEADER, IN_NESTED_HEADER };

struct body_walk {
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
body_walk_create(const struct parameters *parameters)
{
	struct body_walk *walk = calloc(1, sizeof(*walk));

	if (walk == NULL)
		return NULL;
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
fail_memory(struct intake *intake)
{
	struct error error = ERROR_NONE;

	error_set(&error, "out of memory for body checks");
	return intake_fail_error(intake, INTAKE_TRY_LATER, &error);
}

/* ---- text ---- */

/* What a check has decided about a piece of the body. */
static bool
store(struct intake *intake, enum check_fate fate, struct slice original)
{
	struct buf *out = &intake->walk->out;

	if (fate == CHECK_FAILED)
		return false;
	if (out->has_failed)
		return fail_memory(intake);
	if (out->length > 0 && !content_store(intake, buf_slice(out)))
		return false;
	return fate == CHECK_REPLACED || content_store(intake, original);
}

static bool
take_text(struct intake *intake, struct slice line)
{
	struct body_walk *walk = intake->walk;
	struct slice      text = line;
	int64_t           limit = intake->context->parameters->body_checks_size_limit;
	bool              is_looked_at = walk->segment < (uint64_t)limit;

	walk->segment += line.length;
	if (!is_looked_at || !checks_are_on(intake, CHECK_BODY))
		return content_store(intake, line);
	if (text.length > 0 && text.data[text.length - 1] == '\n')
		text.length--;
	if (text.length > 0 && text.data[text.length - 1] == '\r')
		text.length--;
	buf_clear(&walk->out);
	return store(intake, checks_text(intake, CHECK_BODY, text, &walk->out), line);
}

/* ---- headers of parts ---- */

/* The field is complete. */
static bool
end_field(struct intake *intake)
{
	struct body_walk   *walk = intake->walk;
	struct slice        block = buf_slice(&walk->field);
	struct header_field field;
	enum check_class    place = walk->place == IN_NESTED_HEADER ? CHECK_NESTED : CHECK_MIME;
	bool                ok;

	if (block.length == 0)
		return true;
	buf_clear(&walk->out);
	if (header_next(&block, &field)) {
		mime_take_field(&walk->mime, &field);
		ok = store(intake, checks_field(intake, place, &field, &walk->out), field.whole);
	} else {
		ok = content_store(intake, block);
	}
	buf_clear(&walk->field);
	walk->is_overlong = false;
	return ok;
}

/* The header of a part has ended, or that of the message. */
static bool
end_header(struct intake *intake)
{
	static const struct enhanced_status bad_content = { 5, 6, 0 };
	struct body_walk                   *walk = intake->walk;

	walk->segment = 0;
	switch (mime_end_header(&walk->mime)) {
	case MIME_BODY: walk->place = IN_TEXT; return true;
	case MIME_HEADER: walk->place = IN_NESTED_HEADER; return true;
	case MIME_TOO_DEEP:
		return intake_fail(intake, 550, bad_content, "MIME nesting exceeds safety limit");
	case MIME_NO_MEMORY: break;
	}
	return fail_memory(intake);
}

/* What goes on a field. Behind header_size_limit it is not looked at. */
static bool
continue_field(struct intake *intake, struct slice line)
{
	struct body_walk *walk = intake->walk;
	size_t            most = (size_t)intake->context->parameters->header_size_limit;

	if (walk->is_overlong)
		return content_store(intake, line);
	if (walk->field.length + line.length <= most)
		return buf_append(&walk->field, line) || fail_memory(intake);
	if (!end_field(intake) || !content_store(intake, line))
		return false;
	walk->is_overlong = true;
	return true;
}

static bool
take_header_line(struct intake *intake, struct slice line)
{
	struct body_walk   *walk = intake->walk;
	struct slice        block = line;
	struct header_field field;
	bool                has_field = walk->field.length > 0 || walk->is_overlong;

	if (has_field && (walk->is_continued || ascii_is_blank(line.data[0])))
		return continue_field(intake, line);
	if (!end_field(intake))
		return false;
	if (slice_equal(line, SLICE("\r\n")) || slice_equal(line, SLICE("\n")))
		return content_store(intake, line) && end_header(intake);
	if (!walk->is_continued && header_next(&block, &field)) {
		walk->is_overlong = false;
		return buf_append(&walk->field, line) || fail_memory(intake);
	}
	/* No field and no empty line: text, also in a message that has no header at all. */
	if (!end_header(intake) || (walk->place != IN_TEXT && !end_header(intake)))
		return false;
	return take_text(intake, line);
}

/* ---- lines ---- */

static bool
take_boundary(struct intake *intake, enum mime_boundary boundary, struct slice line)
{
	struct body_walk *walk = intake->walk;

	if (!end_field(intake) || !take_text(intake, line))
		return false;
	walk->segment = 0;
	walk->place = boundary == MIME_PART_BEGINS ? IN_PART_HEADER : IN_TEXT;
	walk->is_overlong = false;
	return true;
}

/* A line with its end, or a piece of one that is longer than line_length_limit. */
static bool
take_line(struct intake *intake, struct slice line)
{
	struct body_walk  *walk = intake->walk;
	enum mime_boundary boundary =
		walk->is_continued ? MIME_NO_BOUNDARY : mime_take_line(&walk->mime, line);
	bool ok;

	if (boundary != MIME_NO_BOUNDARY)
		ok = take_boundary(intake, boundary, line);
	else if (walk->place == IN_TEXT)
		ok = take_text(intake, line);
	else
		ok = take_header_line(intake, line);
	walk->is_continued = line.data[line.length - 1] != '\n';
	return ok;
}

bool
body_walk_begin(struct intake *intake)
{
	return end_header(intake);
}

bool
body_walk_take(struct intake *intake, struct slice bytes)
{
	struct body_walk *walk = intake->walk;
	size_t            limit = walk->line.limit;

	while (bytes.length > 0) {
		const char *newline = memchr(bytes.data, '\n', bytes.length);
		size_t length = newline == NULL ? bytes.length : (size_t)(newline - bytes.data) + 1;

		if (length > limit - walk->line.length)
			length = limit - walk->line.length;
		struct slice piece = slice_first(bytes, length);
		bool         is_whole = piece.data[length - 1] == '\n';
		bytes = slice_from_offset(bytes, length);
		if (walk->line.length == 0 && (is_whole || length == limit)) {
			if (!take_line(intake, piece))
				return false;
			continue;
		}
		if (!buf_append(&walk->line, piece))
			return fail_memory(intake);
		if (!is_whole && walk->line.length < limit)
			continue;
		bool ok = take_line(intake, buf_slice(&walk->line));
		buf_clear(&walk->line);
		if (!ok)
			return false;
	}
	return true;
}

bool
body_walk_end(struct intake *intake)
{
	struct body_walk *walk = intake->walk;

	if (walk->line.length > 0 && !take_line(intake, buf_slice(&walk->line)))
		return false;
	buf_clear(&walk->line);
	return end_field(intake);
}
