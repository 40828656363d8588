/* services.c - prints master.cf: whole services (-M), their fields (-F), their -o (-P). */
#include "tools/dakconf/dakconf.h"

#include <stdlib.h>
#include <sysexits.h>

#include "lib/base/json.h"

/* service/type/item, as far as it is given; what is not given fits all. */
struct request {
	struct slice service, type, item;
	size_t       count;
	bool         is_found;
};

static const char *
item_word(char mode)
{
	return mode == 'F' ? "[/field]" : mode == 'P' ? "[/parameter]" : "";
}

static bool
request_parse(const struct dakconf *dakconf, const char *text, struct request *request, int *status)
{
	struct slice  rest = slice_from(text), part;
	struct slice *parts[] = { &request->service, &request->type, &request->item };
	size_t        most = dakconf->mode == 'M' ? 2 : 3;
	bool          is_field = false;

	*request = (struct request){ .count = 0 };
	while (slice_next_part(&rest, '/', &part)) {
		if (request->count == most) {
			*status = dakconf_fail(dakconf, EX_USAGE,
			                       "-%c option requires service_name[/type%s]",
			                       dakconf->mode, item_word(dakconf->mode));
			return false;
		}
		*parts[request->count++] = part;
	}
	for (size_t i = 0; i < FIELD_COUNT; i++)
		is_field |= slice_equal(request->item, slice_from(entry_field_names[i]));
	if (dakconf->mode == 'F' && request->count == 3 && !is_field &&
	    !slice_equal(request->item, SLICE("*"))) {
		*status =
			dakconf_fail(dakconf, EX_USAGE, "invalid service attribute name: \"%.*s\"",
		                     SLICE_ARGS(request->item));
		return false;
	}
	return true;
}

static bool
item_is_wanted(const struct request *request, const char *name)
{
	return request->count < 3 || slice_equal(request->item, SLICE("*")) ||
	       slice_equal(request->item, slice_from(name));
}

/* ---- what is printed of an entry ---- */

/* "service", "type" and so on of the entry as the head of a JSON object. */
static void
append_json_member(const char *name, const char *text, const char *in_front, struct buf *out)
{
	buf_append_format(out, "%s\"%s\": ", in_front, name);
	json_append_string(out, slice_from(text));
}

static void
append_json_head(const struct entry *entry, struct buf *out)
{
	append_json_member("service", entry->fields[FIELD_SERVICE], "{", out);
	append_json_member("type", entry->fields[FIELD_TYPE], ", ", out);
}

static const char *
field_text(const struct entry *entry, size_t field, struct buf *command)
{
	if (field != FIELD_COMMAND)
		return entry->fields[field];
	entry_append_command(entry, false, 0, command);
	return buf_text(command);
}

static void
append_service(const struct dakconf *dakconf, const struct entry *entry, struct buf *out)
{
	struct buf command = BUF(1024u * 1024);

	if (!dakconf->as_json) {
		entry_append(entry, dakconf->folded, out);
		return;
	}
	append_json_head(entry, out);
	for (size_t i = FIELD_PRIVATE; i < FIELD_COUNT; i++)
		append_json_member(entry_field_names[i], field_text(entry, i, &command), ", ", out);
	buf_append_text(out, "}\n");
	buf_free(&command);
}

static void
append_field(const struct dakconf *dakconf, const struct entry *entry, size_t field,
             struct buf *out)
{
	struct buf name = BUF(2000), command = BUF(1024u * 1024);

	buf_append_format(&name, "%s/%s/%s", entry->fields[FIELD_SERVICE],
	                  entry->fields[FIELD_TYPE], entry_field_names[field]);
	if (dakconf->as_json) {
		append_json_head(entry, out);
		append_json_member("field", entry_field_names[field], ", ", out);
		append_json_member("value", field_text(entry, field, &command), ", ", out);
		buf_append_text(out, "}\n");
	} else if (dakconf->without_value) {
		buf_append_format(out, "%s\n", buf_text(&name));
	} else {
		if (!dakconf->without_name)
			buf_append_format(out, "%s = ", buf_text(&name));
		if (field == FIELD_COMMAND)
			entry_append_command(entry, dakconf->folded,
			                     dakconf->without_name ? 0 : name.length + 3, out);
		else
			buf_append_text(out, entry->fields[field]);
		buf_append_byte(out, '\n');
	}
	buf_free(&name);
	buf_free(&command);
}

static bool
append_fields(const struct dakconf *dakconf, const struct entry *entry,
              const struct request *request, struct buf *out)
{
	for (size_t i = 0; i < FIELD_COUNT; i++)
		if (item_is_wanted(request, entry_field_names[i]))
			append_field(dakconf, entry, i, out);
	return true;
}

static int
compare_values(const void *left, const void *right)
{
	const struct conf_value *const *a = left, *const *b = right;

	return strcmp((*a)->name, (*b)->name);
}

static void
append_parameter(const struct dakconf *dakconf, const struct entry *entry,
                 const struct conf_value *value, struct buf *out)
{
	struct buf    name = BUF(2000), expanded = BUF(SETTINGS_TEXT_MOST);
	struct values scope = VALUES_NONE;
	struct slice  text = slice_from(value->text);

	if (dakconf->expanded && entry_scope(entry, &scope) &&
	    show_expand(dakconf, &scope, value->name, text, &expanded))
		text = buf_slice(&expanded);
	values_free(&scope);
	buf_append_format(&name, "%s/%s/%s", entry->fields[FIELD_SERVICE],
	                  entry->fields[FIELD_TYPE], value->name);
	if (dakconf->as_json) {
		append_json_head(entry, out);
		append_json_member("parameter", value->name, ", ", out);
		buf_append_text(out, ", \"value\": ");
		json_append_string(out, text);
		buf_append_text(out, "}\n");
	} else {
		show_pair(dakconf, buf_text(&name), text, out);
	}
	buf_free(&name);
	buf_free(&expanded);
}

/* In the order of their names; true when there is one. */
static bool
append_overrides(const struct dakconf *dakconf, const struct entry *entry,
                 const struct request *request, struct buf *out)
{
	struct values overrides = VALUES_NONE;
	bool          is_found = false;

	if (entry_overrides(entry, &overrides) && overrides.list.count > 0) {
		qsort(overrides.list.items, overrides.list.count, sizeof(void *), compare_values);
		for (size_t i = 0; i < overrides.list.count; i++) {
			if (!item_is_wanted(request, overrides.list.items[i]->name))
				continue;
			append_parameter(dakconf, entry, overrides.list.items[i], out);
			is_found = true;
		}
	}
	values_free(&overrides);
	return is_found;
}

/* ---- all that is asked for ---- */

/* -x: the values of -o are expanded, what the command itself is given is not. */
static void
expand_overrides(struct dakconf *dakconf, struct entry *entry)
{
	struct values scope = VALUES_NONE;
	struct slice  name, value;

	if (!entry_scope(entry, &scope))
		return;
	for (size_t at = 0; at < entry->option_count; at++) {
		struct buf  text = BUF(SETTINGS_TEXT_MOST);
		const char *pair = NULL;

		if (entry_override(entry, at, &name, &value) &&
		    show_expand(dakconf, &scope, "", value, &text))
			pair = arena_format(&dakconf->arena, "%.*s=%s", SLICE_ARGS(name),
			                    buf_text(&text));
		if (pair != NULL)
			entry->arguments.items[at + 1] = pair;
		buf_free(&text);
	}
	values_free(&scope);
}

static bool
show_entry(const struct dakconf *dakconf, const struct entry *entry, const struct request *request,
           struct buf *out)
{
	switch (dakconf->mode) {
	case 'M': append_service(dakconf, entry, out); return true;
	case 'F': return append_fields(dakconf, entry, request, out);
	}
	return append_overrides(dakconf, entry, request, out);
}

/* An entry that several requests name comes once for each. */
static void
show_matching(const struct dakconf *dakconf, const struct entry *entry, struct request *requests,
              size_t count, struct buf *out)
{
	for (size_t i = 0; i < count; i++) {
		struct request *request = &requests[i];

		if (request->count == 0 || entry_matches(entry, request->service, request->type))
			request->is_found |= show_entry(dakconf, entry, request, out);
	}
}

/* EX_OK, or what to exit with; said why. */
static int
parse_requests(const struct dakconf *dakconf, char **texts, size_t count, struct request *requests)
{
	int status = EX_OK;

	for (size_t i = 0; i < count; i++)
		if (!request_parse(dakconf, texts[i], &requests[i], &status))
			return status;
	return EX_OK;
}

int
show_master(struct dakconf *dakconf, char **texts, int given)
{
	size_t          count = given > 0 ? (size_t)given : 0;
	struct request *requests = arena_alloc_array(&dakconf->arena, count + 1, sizeof(*requests));
	struct buf      out = BUF(64u * 1024 * 1024);
	int             status;

	if (requests == NULL)
		return dakconf_fail(dakconf, EX_OSERR, "out of memory");
	status = parse_requests(dakconf, texts, count, requests);
	if (status != EX_OK)
		return status;
	known_warn(dakconf); /* about what is written, before it is expanded */
	for (size_t i = 0; i < dakconf->master.entries.count; i++) {
		struct entry *entry = &dakconf->master.entries.items[i];

		/* -P expands each value by itself. */
		if (dakconf->expanded && dakconf->mode != 'P')
			expand_overrides(dakconf, entry);
		/* Without requests the empty one behind them stands for all. */
		show_matching(dakconf, entry, requests, count == 0 ? 1 : count, &out);
	}
	if (out.length > 0)
		fwrite(out.data, 1, out.length, stdout);
	fflush(stdout);
	buf_free(&out);
	for (size_t i = 0; i < count; i++) {
		if (requests[i].is_found)
			continue;
		dakconf_warn(dakconf, "unmatched request: \"%s\"", texts[i]);
		status = dakconf->is_postconf ? EX_OK : EX_DATAERR;
	}
	return status;
}
