/* header.c - header fields, dates and message ids. See header.h. */
#include "lib/mail/header.h"

#include <time.h>

/* ---- iteration ---- */

/* Offset behind the line end of the line that starts at offset; the length when there is none. */
static size_t
line_end(struct slice text, size_t offset)
{
	const char *newline = memchr(text.data + offset, '\n', text.length - offset);

	return newline == NULL ? text.length : (size_t)(newline - text.data) + 1;
}

/* Length of "name" and offset of ':' at the start of text; false when there is no field name. */
static bool
field_name(struct slice text, size_t *name_length, size_t *colon)
{
	size_t i = 0;

	while (i < text.length && text.data[i] > ' ' && text.data[i] < 127 && text.data[i] != ':')
		i++;
	*name_length = i;
	while (i < text.length && ascii_is_blank(text.data[i])) /* RFC 5322 4.5.3: obsolete, seen */
		i++;
	*colon = i;
	return *name_length > 0 && i < text.length && text.data[i] == ':';
}

bool
header_next(struct slice *block, struct header_field *field)
{
	size_t name_length, colon;

	if (!field_name(*block, &name_length, &colon))
		return false;
	size_t end = line_end(*block, colon);
	while (end < block->length && ascii_is_blank(block->data[end]))
		end = line_end(*block, end);

	size_t value_end = end;
	if (value_end > colon && block->data[value_end - 1] == '\n')
		value_end--;
	if (value_end > colon + 1 && block->data[value_end - 1] == '\r')
		value_end--;
	field->name = slice_of(block->data, name_length);
	field->value = slice_of(block->data + colon + 1, value_end - colon - 1);
	field->whole = slice_of(block->data, end);
	*block = slice_of(block->data + end, block->length - end);
	return true;
}

bool
header_find(struct slice block, struct slice name, struct header_field *field)
{
	struct header_field candidate;

	while (header_next(&block, &candidate)) {
		if (!slice_equal_fold(candidate.name, name))
			continue;
		*field = candidate;
		return true;
	}
	return false;
}

static bool
is_empty_line(struct slice text, size_t offset)
{
	if (offset < text.length && text.data[offset] == '\n')
		return true;
	return offset + 1 < text.length && text.data[offset] == '\r' &&
	       text.data[offset + 1] == '\n';
}

size_t
header_block_length(struct slice message)
{
	size_t offset = 0;

	while (offset < message.length && !is_empty_line(message, offset))
		offset = line_end(message, offset);
	return offset < message.length ? line_end(message, offset) : message.length;
}

bool
header_unfold(struct slice value, struct buf *out)
{
	struct slice rest = slice_trim(value);

	while (rest.length > 0) {
		size_t run = 0;

		while (run < rest.length && rest.data[run] != '\r' && rest.data[run] != '\n')
			run++;
		buf_append(out, slice_first(rest, run));
		if (run == rest.length)
			break;
		if (rest.data[run] == '\r' &&
		    !(run + 1 < rest.length && rest.data[run + 1] == '\n'))
			buf_append_byte(out, ' ');
		rest = slice_from_offset(rest, run + 1);
	}
	return !out->has_failed;
}

/* ---- making ---- */

bool
date_append(struct buf *out, int64_t wall_s)
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
		                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t                   when = (time_t)wall_s;
	struct tm                tm;

	if (localtime_r(&when, &tm) == NULL)
		return false;
	long minutes = tm.tm_gmtoff / 60;
	char sign = minutes < 0 ? '-' : '+';
	if (minutes < 0)
		minutes = -minutes;
	return buf_append_format(out, "%s, %d %s %d %02d:%02d:%02d %c%02ld%02ld", days[tm.tm_wday],
	                         tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour,
	                         tm.tm_min, tm.tm_sec, sign, minutes / 60, minutes % 60);
}

bool
message_id_append(struct buf *out, int64_t wall_s, const char *queue_id, const char *host)
{
	time_t    when = (time_t)wall_s;
	struct tm tm;

	if (gmtime_r(&when, &tm) == NULL)
		return false;
	return buf_append_format(out, "<%04d%02d%02d%02d%02d%02d.%s@%s>", tm.tm_year + 1900,
	                         tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
	                         queue_id, host);
}
