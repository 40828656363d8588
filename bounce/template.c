/* template.c - the words of notices: bounce_template_file, read once. See notice.h. */
#include "bounce/notice.h"

#include <fcntl.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/io/file.h"

/* ---- names in the texts ---- */

struct names {
	const struct snapshot *snapshot;
	struct arena           arena;
};

/* Values are expanded already: a '$' in them is one. */
static bool
find(void *context, struct slice name, struct slice *text)
{
	struct names *names = context;
	const char   *key = arena_text(&names->arena, name);
	const char   *value = key == NULL ? NULL : snapshot_value(names->snapshot, key);
	struct buf    doubled = BUF(NOTICE_TEXT_MOST);

	if (value == NULL)
		return false;
	for (const char *c = value; *c != '\0'; c++) {
		if (*c == '$')
			buf_append_byte(&doubled, '$');
		buf_append_byte(&doubled, *c);
	}
	*text = doubled.has_failed ? SLICE_EMPTY : arena_copy(&names->arena, buf_slice(&doubled));
	buf_free(&doubled);
	return text->data != NULL;
}

/*
 * What names brought in must fit the template: other control bytes than line ends and tabs, and in
 * an ASCII text what is not ASCII, become '?'; long lines are cut.
 */
static bool
append_fitting(struct buf *out, struct slice expanded, bool is_ascii)
{
	size_t column = 0;

	for (size_t i = 0; i < expanded.length; i++) {
		char c = expanded.data[i];

		if (c == '\r' && slice_starts_with(slice_from_offset(expanded, i + 1), SLICE("\n")))
			continue;
		if ((ascii_is_control(c) && c != '\n' && c != '\t') ||
		    (is_ascii && (unsigned char)c >= 128))
			c = '?';
		bool is_inside = ((unsigned char)c & 0xc0) == 0x80;
		if (column >= NOTICE_LINE_MOST && c != '\n' && !is_inside) {
			buf_append_byte(out, '\n');
			column = 0;
		}
		buf_append_byte(out, c);
		column = c == '\n' ? 0 : column + 1;
	}
	return !out->has_failed;
}

static bool
fill_in(struct notice_room *room, const struct snapshot *snapshot, struct notice_template *template,
        struct error *error)
{
	struct names         names = { .snapshot = snapshot, .arena = ARENA(1u << 20) };
	struct expand_source source = { .find = find, .context = &names };
	struct buf           text = BUF(NOTICE_TEXT_MOST), fitting = BUF(2 * NOTICE_TEXT_MOST);
	bool                 is_ascii = slice_equal_fold(template->charset, SLICE("us-ascii"));

	bool ok = notice_template_expand(template, &source, &text, error);
	if (ok) {
		ok = append_fitting(&fitting, buf_slice(&text), is_ascii);
		template->text = ok ? arena_copy(&room->arena, buf_slice(&fitting)) : SLICE_EMPTY;
		ok = template->text.data != NULL || error_set(error, "out of memory");
	}
	arena_reset(&names.arena);
	buf_free(&text);
	buf_free(&fitting);
	return ok;
}

static bool
fill_in_all(struct notice_room *room, const struct snapshot *snapshot, struct error *error)
{
	for (int i = 0; i < NOTICE_TEMPLATE_COUNT; i++)
		if (!fill_in(room, snapshot, &room->templates.items[i], error))
			return error_prefix(error, "%s",
			                    notice_template_name((enum notice_template_kind)i));
	return true;
}

/* ---- the file ---- */

static bool
read_file(struct notice_room *room, const char *path, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return error_set_errno(error, "open %s", path);
	bool ok = file_read_all(fd, &room->file, path, error);
	close(fd);
	return ok && (notice_templates_parse(buf_slice(&room->file), &room->templates, error) ||
	              error_prefix(error, "%s", path));
}

bool
notice_room_init(struct notice_room *room, const struct snapshot *snapshot, struct error *error)
{
	const char  *path = snapshot_parameters(snapshot)->bounce_template_file;
	struct error problem = ERROR_NONE;

	room->file = BUF(NOTICE_FILE_MOST + 1);
	room->arena = ARENA(8 * NOTICE_TEXT_MOST);
	notice_templates_default(&room->templates);
	if (path[0] == '\0')
		return fill_in_all(room, snapshot, error);
	if (read_file(room, path, &problem) && fill_in_all(room, snapshot, &problem))
		return true;
	log_warning("bounce_template_file: %s; the built-in words are used", problem.text);
	arena_reset(&room->arena);
	notice_templates_default(&room->templates);
	return fill_in_all(room, snapshot, error);
}

void
notice_room_free(struct notice_room *room)
{
	buf_free(&room->file);
	arena_reset(&room->arena);
}
