/* edit.c - sets parameters in main.cf and leaves everything else in it as it is. */
#include "tools/dakconf/dakconf.h"

#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/io/file.h"

/* Appends name = value to the text, or puts it where the name stood last. */
static bool
set_one(struct buf *text, struct slice name, struct slice value)
{
	struct main_file         file;
	struct report            report = REPORT_NONE;
	const struct main_entry *entry = NULL;
	struct buf               out = BUF(text->limit);

	main_file_parse(&file, "main.cf", buf_slice(text), &report);
	for (size_t i = 0; i < file.entries.count; i++) {
		if (slice_equal(file.entries.items[i].name, name))
			entry = &file.entries.items[i];
	}
	size_t begin = entry == NULL ? text->length : entry->first_byte;
	size_t end = entry == NULL ? text->length : entry->end_byte;
	buf_append(&out, slice_first(buf_slice(text), begin));
	if (begin > 0 && out.data[begin - 1] != '\n')
		buf_append_byte(&out, '\n');
	buf_append(&out, name);
	buf_append_text(&out, value.length > 0 ? " = " : " =");
	buf_append(&out, value);
	buf_append_byte(&out, '\n');
	buf_append(&out, slice_from_offset(buf_slice(text), end));
	main_file_free(&file);
	report_free(&report);
	if (out.has_failed) {
		buf_free(&out);
		return false;
	}
	buf_free(text);
	*text = out;
	return true;
}

static int
apply(struct buf *text, char **assignments, int count)
{
	for (int i = 0; i < count; i++) {
		struct slice whole = slice_from(assignments[i]);
		size_t       equals = slice_find_byte(whole, '=');
		struct slice name = slice_trim(slice_first(whole, equals));

		if (equals == SLICE_NOT_FOUND || !parameter_name_is_sound(name) ||
		    slice_contains_byte(whole, '\n')) {
			fprintf(stderr, "dakconf: \"%s\" is not name=value\n", assignments[i]);
			return EX_USAGE;
		}
		if (!set_one(text, name, slice_trim(slice_from_offset(whole, equals + 1)))) {
			fprintf(stderr, "dakconf: out of memory\n");
			return EX_SOFTWARE;
		}
	}
	return EX_OK;
}

static bool
replace(const char *directory, const char *path, struct slice text, struct error *error)
{
	struct stat status;
	bool        is_ok = false;
	int         fd = file_open_directory(directory, error);

	if (fd < 0)
		return false;
	if (stat(path, &status) < 0)
		error_set_errno(error, "stat %s", path);
	else
		is_ok = file_replace(fd, "main.cf", text, status.st_mode & 07777, error);
	close(fd);
	return is_ok;
}

int
edit_main(const char *directory, char **assignments, int count)
{
	struct main_file file;
	struct report    report = REPORT_NONE;
	struct error     error = ERROR_NONE;
	struct buf       text = BUF(8u * 1024 * 1024), path = BUF(8192);
	int              status = EX_NOINPUT;

	buf_append_format(&path, "%s/main.cf", directory);
	if (main_file_read(&file, buf_text(&path), &report) &&
	    buf_append(&text, buf_slice(&file.text)))
		status = apply(&text, assignments, count);
	else
		fprintf(stderr, "dakconf: %s cannot be read\n", buf_text(&path));
	if (status == EX_OK && !replace(directory, buf_text(&path), buf_slice(&text), &error)) {
		fprintf(stderr, "dakconf: %s\n", error.text);
		status = EX_CANTCREAT;
	}
	buf_free(&text);
	buf_free(&path);
	main_file_free(&file);
	report_free(&report);
	return status;
}
