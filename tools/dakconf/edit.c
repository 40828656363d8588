/* edit.c - sets, removes and comments out parameters in main.cf; all else stays as it is. */
#include "tools/dakconf/dakconf.h"

#include <sysexits.h>

struct request {
	struct slice name, value;
	bool         is_done;    /* it stood in the file */
	bool         is_ignored; /* a later request is for the same name */
};

struct editing {
	const struct dakconf *dakconf;
	ARRAY(struct request) requests;
};

/* ---- requests ---- */

/* EX_OK, or what to exit with; said why. */
static int
request_add(struct editing *editing, const char *text)
{
	const struct dakconf *dakconf = editing->dakconf;
	struct slice          whole = slice_from(text);
	size_t                equals = slice_find_byte(whole, '=');
	bool                  is_set = dakconf->change == CHANGE_SET;
	struct request        request = { .name = slice_trim(slice_first(whole, equals)) };

	if (slice_contains_byte(whole, '\n'))
		return dakconf_fail(dakconf, EX_USAGE, "-e, -X, or -# accepts no multi-line input");
	if (slice_starts_with(slice_trim(whole), SLICE("#")))
		return dakconf_fail(dakconf, EX_USAGE, "-e, -X, or -# accepts no comment input");
	if (!is_set && equals != SLICE_NOT_FOUND)
		return dakconf_fail(dakconf, EX_USAGE, "specify one of -e -%c",
		                    dakconf->change == CHANGE_REMOVE ? 'X' : '#');
	if (!is_set && !parameter_name_is_sound(request.name))
		return dakconf_fail(dakconf, EX_USAGE,
		                    "-X or -# requires non-blank parameter names");
	if (is_set && equals != SLICE_NOT_FOUND && slice_is_empty(request.name))
		return dakconf_fail(dakconf, EX_USAGE, "missing attribute name: \"%s\"", text);
	if (is_set && (equals == SLICE_NOT_FOUND || !parameter_name_is_sound(request.name)))
		return dakconf_fail(dakconf, EX_USAGE, "missing '=' after attribute name: \"%s\"",
		                    text);
	if (is_set)
		request.value = slice_trim(slice_from_offset(whole, equals + 1));
	return ARRAY_PUSH(&editing->requests, request)
	               ? EX_OK
	               : dakconf_fail(dakconf, EX_OSERR, "out of memory");
}

/* The last request for a name counts. */
static void
drop_earlier(struct editing *editing)
{
	for (size_t i = 0; i < editing->requests.count; i++) {
		struct request *request = &editing->requests.items[i];

		for (size_t j = i + 1; j < editing->requests.count && !request->is_ignored; j++)
			request->is_ignored =
				slice_equal(request->name, editing->requests.items[j].name);
		if (request->is_ignored && editing->dakconf->change == CHANGE_SET)
			dakconf_warn(editing->dakconf, "ignoring earlier request: '%.*s = %.*s'",
			             SLICE_ARGS(request->name), SLICE_ARGS(request->value));
	}
}

static struct request *
request_for(struct editing *editing, struct slice name)
{
	for (size_t i = 0; i < editing->requests.count; i++)
		if (!editing->requests.items[i].is_ignored &&
		    slice_equal(editing->requests.items[i].name, name))
			return &editing->requests.items[i];
	return NULL;
}

/* ---- the file ---- */

static void
append_setting(const struct request *request, struct buf *out)
{
	buf_append_format(out, "%.*s = %.*s\n", SLICE_ARGS(request->name),
	                  SLICE_ARGS(request->value));
}

static void
end_line(struct buf *out)
{
	if (out->length > 0 && out->data[out->length - 1] != '\n')
		buf_append_byte(out, '\n');
}

/* Every definition of a name is treated alike, so that no earlier one comes to life again. */
static void
edit_entry(struct editing *editing, const struct main_file *file, const struct main_entry *entry,
           struct buf *out)
{
	struct slice    text = buf_slice(&file->text);
	struct request *request = request_for(editing, entry->name);

	if (request == NULL) {
		buf_append(out, slice_first(slice_from_offset(text, entry->first_byte),
		                            entry->end_byte - entry->first_byte));
		return;
	}
	if (request->is_done)
		dakconf_warn(editing->dakconf, "%s/main.cf: multiple entries for \"%.*s\"",
		             editing->dakconf->directory, SLICE_ARGS(request->name));
	request->is_done = true;
	if (editing->dakconf->change == CHANGE_SET)
		append_setting(request, out);
	edit_append_old_lines(text, entry->first_byte, entry->end_byte,
	                      editing->dakconf->change == CHANGE_COMMENT, out);
}

static void
edit_text(struct editing *editing, const struct main_file *file, struct buf *out)
{
	struct slice text = buf_slice(&file->text);
	size_t       done = 0;

	for (size_t i = 0; i < file->entries.count; i++) {
		const struct main_entry *entry = &file->entries.items[i];

		buf_append(out,
		           slice_first(slice_from_offset(text, done), entry->first_byte - done));
		edit_entry(editing, file, entry, out);
		done = entry->end_byte;
	}
	buf_append(out, slice_from_offset(text, done));
	for (size_t i = 0; i < editing->requests.count; i++) {
		const struct request *request = &editing->requests.items[i];

		if (request->is_done || request->is_ignored ||
		    editing->dakconf->change != CHANGE_SET)
			continue;
		end_line(out);
		append_setting(request, out);
	}
}

static int
edit_file(struct editing *editing)
{
	const struct dakconf *dakconf = editing->dakconf;
	struct edited_file    file;
	struct main_file      parsed;
	struct report         report = REPORT_NONE;
	struct error          error = ERROR_NONE;
	struct buf            out = BUF(16u * 1024 * 1024);
	int                   status = EX_OK;

	if (!edited_file_open(&file, dakconf->directory, "main.cf", &error)) {
		edited_file_close(&file);
		return dakconf_fail(dakconf, EX_NOINPUT, "%s", error.text);
	}
	main_file_parse(&parsed, file.path, buf_slice(&file.text), &report);
	edit_text(editing, &parsed, &out);
	if (out.has_failed || report.left_out > 0)
		status = dakconf_fail(dakconf, EX_SOFTWARE, "%s: too large", file.path);
	else if (!edited_file_replace(&file, buf_slice(&out), &error))
		status = dakconf_fail(dakconf, EX_CANTCREAT, "%s", error.text);
	buf_free(&out);
	main_file_free(&parsed);
	report_free(&report);
	edited_file_close(&file);
	return status;
}

int
edit_main(struct dakconf *dakconf, char **requests, int count)
{
	struct editing editing = { .dakconf = dakconf };
	int            status = EX_OK;

	for (int i = 0; status == EX_OK && i < count; i++)
		status = request_add(&editing, requests[i]);
	if (status == EX_OK) {
		drop_earlier(&editing);
		status = edit_file(&editing);
	}
	ARRAY_FREE(&editing.requests);
	return status;
}
