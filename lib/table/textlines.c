/* textlines.c - see textlines.h. */
#include "lib/table/textlines.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define READ_STEP ((size_t)64 * 1024)

void
textlines_start(struct textlines *lines, struct slice text)
{
	*lines = (struct textlines){ .rest = text,
		                     .next_line = 1,
		                     .logical = BUF(TEXTLINES_LINE_MOST) };
}

void
textlines_end(struct textlines *lines)
{
	buf_free(&lines->logical);
}

/* Physical line at the front of rest; false at the end of the text. */
static bool
physical_line(struct slice rest, struct slice *line, size_t *whole)
{
	if (slice_is_empty(rest))
		return false;
	size_t end = slice_find_byte(rest, '\n');

	*line = slice_first(rest, end);
	*whole = end == SLICE_NOT_FOUND ? rest.length : end + 1;
	return true;
}

static bool
is_comment_or_empty(struct slice line)
{
	struct slice text = slice_trim(line);

	return slice_is_empty(text) || text.data[0] == '#';
}

static struct slice
without_trailing_space(struct slice line)
{
	while (line.length > 0 && ascii_is_space(line.data[line.length - 1]))
		line.length--;
	return line;
}

bool
textlines_next(struct textlines *lines, struct slice *line, struct error *error)
{
	struct slice physical;
	size_t       whole;
	bool         has_text = false;

	buf_clear(&lines->logical);
	while (physical_line(lines->rest, &physical, &whole)) {
		bool is_noise = is_comment_or_empty(physical);

		if (!is_noise && has_text && !ascii_is_space(physical.data[0]))
			break;
		if (!is_noise) {
			if (!has_text)
				lines->line = lines->next_line;
			has_text = true;
			if (!buf_append(&lines->logical, without_trailing_space(physical)))
				return error_set(error, "line %u: longer than %zu bytes",
				                 lines->line, TEXTLINES_LINE_MOST);
		}
		lines->rest = slice_from_offset(lines->rest, whole);
		lines->next_line++;
	}
	*line = slice_trim(buf_slice(&lines->logical));
	return has_text;
}

bool
textlines_split(struct slice line, struct slice *key, struct slice *value)
{
	size_t at = 0;
	bool   is_quoted = false;

	line = slice_trim(line);
	while (at < line.length && (is_quoted || !ascii_is_space(line.data[at]))) {
		if (line.data[at] == '\\' && at + 1 < line.length)
			at++;
		else if (line.data[at] == '"')
			is_quoted = !is_quoted;
		at++;
	}
	*key = slice_first(line, at);
	*value = slice_trim(slice_from_offset(line, at));
	return !slice_is_empty(*key) && !slice_is_empty(*value);
}

bool
textlines_read_file(const char *path, struct buf *out, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return error_set_errno(error, "open %s", path);
	for (;;) {
		if (!buf_reserve(out, READ_STEP)) {
			close(fd);
			errno = EFBIG;
			return error_set_errno(error, "read %s", path);
		}
		ssize_t got = read(fd, out->data + out->length, READ_STEP);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			error_set_errno(error, "read %s", path);
		if (got <= 0) {
			close(fd);
			return got == 0;
		}
		out->length += (size_t)got;
	}
}
