/* mainfile.c - see mainfile.h. */
#include "lib/conf/mainfile.h"

#include "lib/conf/lines.h"

bool
parameter_name_is_sound(struct slice name)
{
	for (size_t i = 0; i < name.length; i++) {
		char c = name.data[i];

		if (!ascii_is_alnum(c) && c != '_' && c != '-' && c != '.')
			return false;
	}
	return name.length > 0 && name.length <= 200;
}

static void
parse_line(struct main_file *file, const struct lines *lines, struct slice line,
           struct report *report)
{
	size_t            equals = slice_find_byte(line, '=');
	struct slice      name = slice_trim(slice_first(line, equals));
	struct main_entry entry = { .line = lines->first_number,
		                    .first_byte = lines->first_offset,
		                    .end_byte = lines->end_offset };

	if (lines->is_orphan) {
		report_add(report, PROBLEM_ERROR, file->path, entry.line,
		           "begins with white space, but there is no line to continue");
		return;
	}
	if (equals == SLICE_NOT_FOUND) {
		report_add(report, PROBLEM_ERROR, file->path, entry.line,
		           "\"%.*s\" is not \"name = value\"", SLICE_ARGS(slice_first(line, 100)));
		return;
	}
	if (!parameter_name_is_sound(name)) {
		report_add(report, PROBLEM_ERROR, file->path, entry.line,
		           "\"%.*s\" is no parameter name", SLICE_ARGS(slice_first(name, 100)));
		return;
	}
	entry.name = arena_copy(&file->arena, name);
	entry.text = arena_copy(&file->arena, slice_trim(slice_from_offset(line, equals + 1)));
	if (entry.name.data == NULL || entry.text.data == NULL ||
	    !ARRAY_PUSH(&file->entries, entry))
		report_add(report, PROBLEM_ERROR, file->path, entry.line, "out of memory");
}

static void
parse_kept_text(struct main_file *file, struct report *report)
{
	struct lines lines;
	struct slice line;

	lines_init(&lines, buf_slice(&file->text));
	while (lines_next(&lines, &line)) {
		if (lines.text.has_failed)
			report_add(report, PROBLEM_ERROR, file->path, lines.first_number,
			           "longer than %u bytes", LINES_TEXT_MOST);
		else
			parse_line(file, &lines, line, report);
	}
	lines_free(&lines);
}

static void
main_file_init(struct main_file *file, const char *path)
{
	*file = (struct main_file){ .text = BUF(LINES_FILE_MOST + 8192),
		                    .arena = ARENA(VALUES_BYTES_MOST) };
	file->path = arena_text(&file->arena, slice_from(path));
	if (file->path == NULL)
		file->path = "main.cf";
}

bool
main_file_read(struct main_file *file, const char *path, struct report *report)
{
	main_file_init(file, path);
	if (!lines_read_file(path, &file->text, report))
		return false;
	parse_kept_text(file, report);
	return true;
}

void
main_file_parse(struct main_file *file, const char *path, struct slice text, struct report *report)
{
	main_file_init(file, path);
	if (slice_contains_byte(text, '\0') || !buf_append(&file->text, text))
		report_add(report, PROBLEM_ERROR, file->path, 0, "too large, or with a NUL byte");
	else
		parse_kept_text(file, report);
}

bool
main_file_values(const struct main_file *file, struct values *values, struct report *report)
{
	for (size_t i = 0; i < file->entries.count; i++) {
		const struct main_entry *entry = &file->entries.items[i];
		const struct conf_value *earlier = values_get(values, entry->name);

		if (earlier != NULL && earlier->line > 0)
			report_add(report, PROBLEM_WARNING, file->path, entry->line,
			           "overriding earlier entry: %s = %.200s (line %u)", earlier->name,
			           earlier->text, earlier->line);
		if (!values_set(values, entry->name, entry->text, file->path, entry->line, false)) {
			report_add(report, PROBLEM_ERROR, file->path, entry->line,
			           "too many entries");
			return false;
		}
	}
	return true;
}

void
main_file_free(struct main_file *file)
{
	ARRAY_FREE(&file->entries);
	buf_free(&file->text);
	arena_reset(&file->arena);
}
