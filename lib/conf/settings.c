/* settings.c - see settings.h. */
#include "lib/conf/settings.h"

#include <stdio.h>

#include "lib/base/number.h"
#include "lib/conf/expand.h"

/* myhostname less its first label; a name with one label stays as it is. */
static void
compute_mydomain(struct settings *settings)
{
	struct slice text;
	struct buf   name = BUF(sizeof(settings->mydomain) - 1);

	if (settings_text(settings, SLICE("myhostname"), &text) &&
	    settings_expand(settings, NULL, SLICE("myhostname"), text, &name, NULL)) {
		struct slice host = slice_trim(buf_slice(&name));
		size_t       dot = slice_find_byte(host, '.');
		struct slice domain =
			dot == SLICE_NOT_FOUND ? host : slice_from_offset(host, dot + 1);

		snprintf(settings->mydomain, sizeof(settings->mydomain), "%.*s",
		         SLICE_ARGS(domain));
	}
	buf_free(&name);
}

bool
settings_init(struct settings *settings, const struct values *values, const struct values *computed)
{
	*settings = (struct settings){ .values = values, .computed = computed };
	for (size_t i = 0; i < parameter_row_count; i++) {
		/* The table is constant; hash keeps plain pointers. */
		void *row = (void *)(uintptr_t)&parameter_rows[i];

		if (!hash_put(&settings->rows, slice_from(parameter_rows[i].name), row, NULL)) {
			settings_free(settings);
			return false;
		}
	}
	compute_mydomain(settings);
	return true;
}

void
settings_free(struct settings *settings)
{
	hash_free(&settings->rows, NULL);
}

const struct parameter_row *
settings_row(const struct settings *settings, struct slice name)
{
	return hash_get(&settings->rows, name);
}

bool
settings_default(const struct settings *settings, struct slice name, struct slice *text)
{
	const struct conf_value    *computed = NULL;
	const struct parameter_row *row;

	if (settings->computed != NULL)
		computed = values_get(settings->computed, name);
	if (computed != NULL) {
		*text = slice_from(computed->text);
		return true;
	}
	if (settings->mydomain[0] != '\0' && slice_equal(name, SLICE("mydomain"))) {
		*text = slice_from(settings->mydomain);
		return true;
	}
	row = settings_row(settings, name);
	if (row != NULL)
		*text = slice_from(row->standard);
	return row != NULL;
}

bool
settings_text(const struct settings *settings, struct slice name, struct slice *text)
{
	const struct conf_value *value = values_get(settings->values, name);

	if (value == NULL)
		return settings_default(settings, name, text);
	*text = slice_from(value->text);
	return true;
}

/* ---- expansion ---- */

struct finder {
	const struct settings       *settings;
	const struct settings_watch *watch;
};

static bool
find(void *context, struct slice name, struct slice *text)
{
	const struct finder *finder = context;

	if (slice_equal(name, SLICE("stress"))) {
		*text = finder->settings->is_stress ? SLICE("yes") : SLICE_EMPTY;
		return true;
	}
	return settings_text(finder->settings, name, text);
}

static void
undefined(void *context, struct slice name)
{
	const struct finder *finder = context;

	if (finder->watch != NULL && finder->watch->undefined != NULL)
		finder->watch->undefined(finder->watch->context, name);
}

bool
settings_expand(const struct settings *settings, const struct settings_watch *watch,
                struct slice name, struct slice text, struct buf *out, struct error *error)
{
	struct finder        finder = { settings, watch };
	struct expand_source source = { find, undefined, &finder };

	return expand(&source, name, text, out, error);
}

/* ---- types ---- */

char
parameter_unit(const struct parameter_row *row)
{
	struct slice text = slice_from(row->standard);
	char         last = text.length > 0 ? text.data[text.length - 1] : 's';
	size_t       dollar = slice_find_byte(text, '$');
	size_t       brace = slice_find_last_byte(text, '}');

	/* "300s", "${stress?{10}:{300}}s"; "$other_delays" says nothing of a unit. */
	if (dollar != SLICE_NOT_FOUND && (brace == SLICE_NOT_FOUND || brace + 2 != text.length))
		return 's';
	return last != '\0' && strchr("smhdw", last) != NULL ? last : 's';
}

static bool
is_one_of(struct slice word, const char *words)
{
	struct slice rest = slice_from(words), one;

	while (slice_next_word(&rest, " ", &one)) {
		if (slice_equal(word, one))
			return true;
	}
	return false;
}

static bool
parse_bound(const struct parameter_row *row, const char *text, int64_t missing, int64_t *bound)
{
	*bound = missing;
	if (text == NULL)
		return true;
	if (row->type == PARAMETER_SECONDS)
		return number_parse_seconds(slice_from(text), parameter_unit(row), bound);
	return number_parse(slice_from(text), INT64_MIN, INT64_MAX, bound);
}

static bool
parse_number(const struct parameter_row *row, const char *text, int64_t *value, struct error *error)
{
	bool    is_time = row->type == PARAMETER_SECONDS;
	int64_t least, most, number;
	bool    is_number =
                is_time ? number_parse_seconds(slice_from(text), parameter_unit(row), &number)
			   : number_parse(slice_from(text), INT64_MIN, INT64_MAX, &number);

	if (!is_number)
		return error_set(error, "must be a %s, not \"%.200s\"",
		                 is_time ? "time like 30s, 5m, 2h, 1d or 1w" : "number", text);
	if (!parse_bound(row, row->least, INT64_MIN, &least) ||
	    !parse_bound(row, row->most, INT64_MAX, &most))
		return error_set(error, "has malformed bounds in the parameter table");
	if (number < least)
		return error_set(error, "must be at least %s, not \"%.200s\"", row->least, text);
	if (number > most)
		return error_set(error, "must be at most %s, not \"%.200s\"", row->most, text);
	*value = number;
	return true;
}

static bool
parse_boolean(const char *text, bool *value, struct error *error)
{
	if (slice_equal_fold(slice_from(text), SLICE("yes")))
		*value = true;
	else if (slice_equal_fold(slice_from(text), SLICE("no")))
		*value = false;
	else
		return error_set(error, "must be yes or no, not \"%.200s\"", text);
	return true;
}

bool
parameter_store(const struct parameter_row *row, const char *text, struct parameters *parameters,
                struct error *error)
{
	void *member = (char *)parameters + row->offset;

	switch (row->type) {
	case PARAMETER_STRING:
	case PARAMETER_RAW: *(const char **)member = text; return true;
	case PARAMETER_CHOICE:
		if (text[0] == '\0' && row->most != NULL)
			text = row->most;
		/* An empty choice is allowed where the default is empty: "not set". */
		if (!is_one_of(slice_from(text), row->least) &&
		    !(text[0] == '\0' && row->standard[0] == '\0'))
			return error_set(error, "must be one of: %s; not \"%.200s\"", row->least,
			                 text);
		*(const char **)member = text;
		return true;
	case PARAMETER_BOOLEAN: return parse_boolean(text, member, error);
	case PARAMETER_INTEGER:
	case PARAMETER_SECONDS: return parse_number(row, text, member, error);
	}
	return error_set(error, "has no type in the parameter table");
}

bool
settings_store(const struct settings *settings, const struct settings_watch *watch,
               const struct parameter_row *row, struct arena *arena, struct parameters *parameters,
               struct error *error)
{
	struct slice name = slice_from(row->name), text = SLICE_EMPTY;
	struct buf   expanded = BUF(SETTINGS_TEXT_MOST);
	const char  *copy;
	bool         is_ok;

	(void)settings_text(settings, name, &text); /* a row has at least its default */
	/* Most need no expansion: the text itself will do. */
	if (row->type == PARAMETER_RAW || !slice_contains_byte(text, '$'))
		return parameter_store(row, text.data, parameters, error);
	is_ok = settings_expand(settings, watch, name, text, &expanded, error);
	copy = is_ok ? arena_text(arena, slice_trim(buf_slice(&expanded))) : NULL;
	buf_free(&expanded);
	if (!is_ok)
		return false;
	if (copy == NULL)
		return error_set(error, "out of memory");
	return parameter_store(row, copy, parameters, error);
}
