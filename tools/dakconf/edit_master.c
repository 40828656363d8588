/* edit_master.c - changes services of master.cf, their fields and their -o; comments stay. */
#include "tools/dakconf/dakconf.h"

#include <sysexits.h>

#include "lib/conf/lines.h"

struct request {
	const char  *text; /* as given, for messages */
	struct slice service, type, item;
	struct slice value;
	struct entry entry; /* -Me */
	bool         is_done;
};

struct editing {
	struct dakconf *dakconf;
	ARRAY(struct request) requests;
	struct arena arena;
};

/* ---- requests ---- */

static int
bad_pattern(const struct dakconf *dakconf)
{
	switch (dakconf->mode) {
	case 'F':
		return dakconf_fail(dakconf, EX_USAGE,
		                    "-Fe or -FX requires service_name/type/field_name");
	case 'P':
		return dakconf_fail(dakconf, EX_USAGE,
		                    "-Pe or -PX requires service_name/type/parameter");
	}
	return dakconf_fail(dakconf, EX_USAGE, "-Me, -MX or -M# requires service_name/type");
}

/* service/type for -M, service/type/item for -F and -P. */
static int
parse_pattern(struct editing *editing, struct slice pattern, struct request *request)
{
	struct slice  rest = pattern, part;
	struct slice *parts[] = { &request->service, &request->type, &request->item };
	size_t        wanted = editing->dakconf->mode == 'M' ? 2 : 3, count = 0;

	while (slice_next_part(&rest, '/', &part)) {
		if (count == wanted || slice_is_empty(part))
			return bad_pattern(editing->dakconf);
		*parts[count++] = part;
	}
	return count == wanted ? EX_OK : bad_pattern(editing->dakconf);
}

static int
parse_entry(struct editing *editing, struct request *request)
{
	struct error error = ERROR_NONE;

	if (entry_parse(request->value, &editing->arena, &request->entry, NULL, &error))
		return EX_OK;
	if (slice_equal(slice_from(error.text), SLICE("bad field count")))
		return dakconf_fail(editing->dakconf, EX_USAGE, "bad field count: \"%s\"",
		                    request->text);
	return dakconf_fail(editing->dakconf, EX_USAGE, "%s", error.text);
}

static size_t
field_of(struct slice name)
{
	size_t field = 0;

	while (field < FIELD_COUNT && !slice_equal(name, slice_from(entry_field_names[field])))
		field++;
	return field;
}

static int
parse_field(struct editing *editing, const struct request *request)
{
	struct error error = ERROR_NONE;
	size_t       field = field_of(request->item);
	struct slice value = request->value;

	if (field == FIELD_COUNT)
		return dakconf_fail(editing->dakconf, EX_USAGE,
		                    "invalid service attribute name: \"%.*s\"",
		                    SLICE_ARGS(request->item));
	if (field == FIELD_COMMAND) {
		struct slice words = value;

		if (!slice_next_word(&words, " \t", &value))
			value = SLICE_EMPTY;
	}
	return entry_field_is_sound((enum entry_field)field, value, request->value, &error)
	               ? EX_OK
	               : dakconf_fail(editing->dakconf, EX_USAGE, "%s", error.text);
}

static int
request_parse(struct editing *editing, const char *text, struct request *request)
{
	const struct dakconf *dakconf = editing->dakconf;
	struct slice          whole = slice_from(text), pattern = whole;
	size_t                equals = slice_find_byte(whole, '=');
	int                   status;

	*request = (struct request){ .text = text };
	if (slice_contains_byte(whole, '\n'))
		return dakconf_fail(dakconf, EX_USAGE,
		                    "-Me, -Fe, -Pe, -X, or -# accept no multi-line input");
	if (dakconf->change == CHANGE_SET) {
		if (equals == SLICE_NOT_FOUND)
			return dakconf_fail(dakconf, EX_USAGE,
			                    "missing '=' after attribute name: \"%s\"", text);
		pattern = slice_first(whole, equals);
		request->value = slice_trim(slice_from_offset(whole, equals + 1));
	}
	status = parse_pattern(editing, slice_trim(pattern), request);
	if (status != EX_OK)
		return status;
	if (dakconf->mode == 'P' && !parameter_name_is_sound(request->item))
		return dakconf_fail(dakconf, EX_USAGE, "\"%.*s\" is no parameter name",
		                    SLICE_ARGS(request->item));
	if (dakconf->change != CHANGE_SET || dakconf->mode == 'P')
		return EX_OK;
	return dakconf->mode == 'M' ? parse_entry(editing, request) : parse_field(editing, request);
}

/* ---- changes of one entry ---- */

/* "{ a b }" is "a b": entries are written with braces wherever there are blanks. */
static struct slice
without_braces(struct slice value)
{
	if (value.length < 2 || value.data[0] != '{' || value.data[value.length - 1] != '}')
		return value;
	return slice_trim(slice_of(value.data + 1, value.length - 2));
}

static void
remove_override(struct entry *entry, size_t at)
{
	size_t behind = entry->arguments.count - at - 2;

	memmove(&entry->arguments.items[at], &entry->arguments.items[at + 2],
	        behind * sizeof(entry->arguments.items[0]));
	entry->arguments.count -= 2;
	entry->option_count -= 2;
}

/* Behind the options that are there, in front of what the command is given. */
static bool
add_override(struct entry *entry, const char *pair)
{
	size_t at = entry->option_count;

	if (!ARRAY_PUSH(&entry->arguments, "-o") || !ARRAY_PUSH(&entry->arguments, pair))
		return false;
	memmove(&entry->arguments.items[at + 2], &entry->arguments.items[at],
	        (entry->arguments.count - at - 2) * sizeof(entry->arguments.items[0]));
	entry->arguments.items[at] = "-o";
	entry->arguments.items[at + 1] = pair;
	entry->option_count += 2;
	return true;
}

static bool
change_override(struct editing *editing, struct entry *entry, const struct request *request)
{
	const char  *pair = arena_format(&editing->arena, "%.*s=%.*s", SLICE_ARGS(request->item),
	                                 SLICE_ARGS(without_braces(request->value)));
	bool         is_set = editing->dakconf->change == CHANGE_SET, is_done = false;
	struct slice name, value;

	if (pair == NULL)
		return false;
	for (size_t at = 0; at < entry->option_count; at++) {
		if (!entry_override(entry, at, &name, &value) || !slice_equal(name, request->item))
			continue;
		if (is_set && !is_done)
			entry->arguments.items[at + 1] = pair;
		else
			remove_override(entry, at--);
		is_done = true;
	}
	return !is_set || is_done || add_override(entry, pair);
}

static bool
change_field(struct editing *editing, struct entry *entry, const struct request *request)
{
	size_t field = field_of(request->item);

	if (field == FIELD_COMMAND)
		return entry_set_command(entry, request->value, &editing->arena, NULL);
	entry->fields[field] = arena_text(&editing->arena, request->value);
	return entry->fields[field] != NULL;
}

/* ---- the file ---- */

enum outcome { OUTCOME_KEPT, OUTCOME_CHANGED, OUTCOME_REMOVED, OUTCOME_COMMENTED, OUTCOME_FAILED };

/* What becomes of an entry that a request of -M names: the first takes the new one's place. */
static enum outcome
apply_service(struct editing *editing, struct request *request, struct entry *entry)
{
	bool was_done = request->is_done;

	request->is_done = true;
	switch (editing->dakconf->change) {
	case CHANGE_NONE: return OUTCOME_KEPT;
	case CHANGE_REMOVE: return OUTCOME_REMOVED;
	case CHANGE_COMMENT: return OUTCOME_COMMENTED;
	case CHANGE_SET: break;
	}
	if (was_done)
		return OUTCOME_REMOVED;
	entry_free(entry);
	*entry = request->entry;
	request->entry = (struct entry){ .option_count = 0 };
	return OUTCOME_CHANGED;
}

static enum outcome
apply(struct editing *editing, struct request *request, struct entry *entry)
{
	bool is_good;

	if (editing->dakconf->mode == 'M')
		return apply_service(editing, request, entry);
	request->is_done = true;
	is_good = editing->dakconf->mode == 'F' ? change_field(editing, entry, request)
	                                        : change_override(editing, entry, request);
	return is_good ? OUTCOME_CHANGED : OUTCOME_FAILED;
}

/* All requests on one entry; the outcome that weighs most. */
static enum outcome
apply_all(struct editing *editing, struct entry *entry)
{
	enum outcome outcome = OUTCOME_KEPT;

	for (size_t i = 0; i < editing->requests.count; i++) {
		struct request *request = &editing->requests.items[i];

		if (!entry_matches(entry, request->service, request->type))
			continue;
		enum outcome one = apply(editing, request, entry);
		outcome = one > outcome ? one : outcome;
	}
	return outcome;
}

static bool
edit_entry(struct editing *editing, struct slice text, struct entry *entry, struct buf *out)
{
	size_t       begin = entry->first_byte, end = entry->end_byte;
	enum outcome outcome = apply_all(editing, entry);

	switch (outcome) {
	case OUTCOME_FAILED: return false;
	case OUTCOME_KEPT:
		return buf_append(out, slice_first(slice_from_offset(text, begin), end - begin));
	case OUTCOME_CHANGED: entry_append(entry, true, out); break;
	case OUTCOME_REMOVED:
	case OUTCOME_COMMENTED: break;
	}
	edit_append_old_lines(text, begin, end, outcome == OUTCOME_COMMENTED, out);
	return !out->has_failed;
}

static bool
edit_text(struct editing *editing, struct slice text, struct master_text *master, struct buf *out)
{
	size_t done = 0;

	for (size_t i = 0; i < master->entries.count; i++) {
		struct entry *entry = &master->entries.items[i];
		size_t        begin = entry->first_byte, end = entry->end_byte;

		buf_append(out, slice_first(slice_from_offset(text, done), begin - done));
		if (!edit_entry(editing, text, entry, out))
			return false;
		done = end;
	}
	buf_append(out, slice_from_offset(text, done));
	for (size_t i = 0; i < editing->requests.count; i++) {
		const struct request *request = &editing->requests.items[i];

		if (request->is_done)
			continue;
		if (editing->dakconf->mode != 'M') {
			dakconf_warn(editing->dakconf, "unmatched service_name/type: \"%s\"",
			             request->text);
		} else if (editing->dakconf->change == CHANGE_SET) {
			if (out->length > 0 && out->data[out->length - 1] != '\n')
				buf_append_byte(out, '\n');
			entry_append(&request->entry, true, out);
		}
	}
	return !out->has_failed;
}

static int
edit_file(struct editing *editing)
{
	const struct dakconf *dakconf = editing->dakconf;
	struct edited_file    file;
	struct master_text    master = { .path = "" };
	struct error          error = ERROR_NONE;
	struct buf            out = BUF(16u * 1024 * 1024);
	int                   status = EX_OK;

	if (!edited_file_open(&file, dakconf->directory, "master.cf", &error))
		status = dakconf_fail(dakconf, EX_NOINPUT, "%s", error.text);
	else if (!master_text_parse(&master, file.path, buf_slice(&file.text), &error))
		status = dakconf_fail(dakconf, EX_DATAERR, "%s", error.text);
	else if (!edit_text(editing, buf_slice(&file.text), &master, &out))
		status = dakconf_fail(dakconf, EX_SOFTWARE, "%s: too large, or memory is out",
		                      file.path);
	else if (!edited_file_replace(&file, buf_slice(&out), &error))
		status = dakconf_fail(dakconf, EX_CANTCREAT, "%s", error.text);
	buf_free(&out);
	master_text_free(&master);
	edited_file_close(&file);
	return status;
}

int
edit_master(struct dakconf *dakconf, char **requests, int count)
{
	struct editing editing = { .dakconf = dakconf, .arena = ARENA(16u * 1024 * 1024) };
	int            status = EX_OK;

	for (int i = 0; status == EX_OK && i < count; i++) {
		struct request request;

		status = request_parse(&editing, requests[i], &request);
		if (!ARRAY_PUSH(&editing.requests, request))
			status = dakconf_fail(dakconf, EX_OSERR, "out of memory");
	}
	if (status == EX_OK)
		status = edit_file(&editing);
	for (size_t i = 0; i < editing.requests.count; i++)
		entry_free(&editing.requests.items[i].entry);
	ARRAY_FREE(&editing.requests);
	arena_reset(&editing.arena);
	return status;
}
