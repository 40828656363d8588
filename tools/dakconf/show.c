/* show.c - prints parameters of main.cf as postconf does. */
#include "tools/dakconf/dakconf.h"

#include <stdlib.h>
#include <sysexits.h>

#include "lib/base/json.h"

#define LINE_MOST   80
#define INDENTATION "    "

/* ---- one value ---- */

/* Words with one blank between them; folded, lines of at most 80 columns. */
static void
append_words(struct slice text, bool is_folded, size_t column, struct buf *out)
{
	struct slice rest = text, word;
	bool         is_first = column == 0;

	while (slice_next_word(&rest, " \t\r\n", &word)) {
		if (is_folded && !is_first && column + 1 + word.length > LINE_MOST &&
		    column > sizeof(INDENTATION) - 1) {
			buf_append_text(out, "\n" INDENTATION);
			column = sizeof(INDENTATION) - 1;
		} else if (!is_first) {
			buf_append_byte(out, ' ');
			column++;
		}
		buf_append(out, word);
		column += word.length;
		is_first = false;
	}
}

static void
append_json_pair(const char *name, struct slice text, struct buf *out)
{
	struct buf words = BUF(SETTINGS_TEXT_MOST);

	append_words(text, false, 0, &words);
	buf_append_text(out, "{\"name\": ");
	json_append_string(out, slice_from(name));
	buf_append_text(out, ", \"value\": ");
	json_append_string(out, buf_slice(&words));
	buf_append_text(out, "}\n");
	buf_free(&words);
}

void
show_pair(const struct dakconf *dakconf, const char *name, struct slice text, struct buf *out)
{
	size_t column = 0;

	if (dakconf->as_json) {
		append_json_pair(name, text, out);
		return;
	}
	if (dakconf->without_value) {
		buf_append_format(out, "%s\n", name);
		return;
	}
	if (!dakconf->without_name) {
		buf_append_format(out, "%s =", name);
		column = strlen(name) + 2;
	}
	append_words(text, dakconf->folded, column, out);
	buf_append_byte(out, '\n');
}

bool
show_expand(const struct dakconf *dakconf, const struct values *overrides, const char *name,
            struct slice text, struct buf *out)
{
	const struct configuration *configuration = dakconf->configuration;
	const struct values        *set = configuration->settings.values;
	struct values               both = VALUES_NONE;
	struct settings             settings;
	struct error                error = ERROR_NONE;
	bool                        is_good = true;

	if (overrides != NULL) {
		is_good = values_copy(&both, set) && values_copy(&both, overrides);
		set = &both;
	}
	is_good = is_good && settings_init(&settings, set, &configuration->computed);
	if (!is_good) {
		values_free(&both);
		return false;
	}
	is_good = settings_expand(&settings, NULL, slice_from(name), text, out, &error);
	if (!is_good)
		dakconf_warn(dakconf, "%s: %s", name, error.text);
	settings_free(&settings);
	values_free(&both);
	return is_good;
}

/* ---- parameters ---- */

/* What the options ask for; false when there is nothing to show of the name. */
static bool
find_text(const struct dakconf *dakconf, const char *name, struct slice *text)
{
	const struct conf_value *value =
		values_get(dakconf->configuration->settings.values, slice_from(name));

	if (value != NULL && !dakconf->defaults) {
		*text = slice_from(value->text);
		return true;
	}
	return !dakconf->only_set && known_default(dakconf, slice_from(name), text);
}

static int
show_one(const struct dakconf *dakconf, const char *name)
{
	const struct parameter_row *row =
		settings_row(&dakconf->configuration->settings, slice_from(name));
	struct slice text;
	struct buf   out = BUF(1024u * 1024), expanded = BUF(SETTINGS_TEXT_MOST);
	int          status = EX_OK;

	if (!find_text(dakconf, name, &text))
		return EX_OK;
	/* Names that are filled in at run time mean nothing now. */
	if (dakconf->expanded && (row == NULL || row->type != PARAMETER_RAW)) {
		if (show_expand(dakconf, NULL, name, text, &expanded))
			text = buf_slice(&expanded);
		else
			status = dakconf_fail(dakconf, EX_DATAERR, "macro processing error");
	}
	if (status == EX_OK) {
		show_pair(dakconf, name, text, &out);
		fwrite(out.data, 1, out.length, stdout);
	}
	buf_free(&out);
	buf_free(&expanded);
	return status;
}

static int
show_named(const struct dakconf *dakconf, char **names, int count)
{
	int status = EX_OK;

	for (int i = 0; i < count; i++) {
		unsigned class = known_class(dakconf, slice_from(names[i]));

		if ((class & (dakconf->defaults ? ~(unsigned)CLASS_USER : CLASS_ALL)) == 0) {
			dakconf_warn(dakconf, "%s: unknown parameter", names[i]);
			status = dakconf->is_postconf ? status : EX_DATAERR;
		} else if ((class & dakconf->classes) != 0) {
			int one = show_one(dakconf, names[i]);

			status = one == EX_OK ? status : one;
		}
	}
	return status;
}

/* ---- all of them ---- */

struct listing {
	struct dakconf *dakconf;
	ARRAY(const char *) names;
};

static int
compare_names(const void *left, const void *right)
{
	const char *const *a = left, *const *b = right;

	return strcmp(*a, *b);
}

static void
listing_add(void *context, const char *name)
{
	struct listing *listing = context;
	const char     *copy = arena_text(&listing->dakconf->arena, slice_from(name));

	if (copy != NULL)
		ARRAY_PUSH(&listing->names, copy);
}

static int
show_all(struct dakconf *dakconf)
{
	const struct values *values = dakconf->configuration->settings.values;
	struct listing       listing = { .dakconf = dakconf };
	int                  status = EX_OK;

	for (size_t i = 0; i < parameter_row_count; i++)
		listing_add(&listing, parameter_rows[i].name);
	known_each_service_name(dakconf, listing_add, &listing);
	for (size_t i = 0; i < values->list.count && !dakconf->defaults; i++)
		listing_add(&listing, values->list.items[i]->name);
	qsort(listing.names.items, listing.names.count, sizeof(char *), compare_names);
	for (size_t i = 0; i < listing.names.count; i++) {
		const char *name = listing.names.items[i];
		unsigned class = known_class(dakconf, slice_from(name));

		if ((class & dakconf->classes) == 0 ||
		    (i > 0 && strcmp(name, listing.names.items[i - 1]) == 0))
			continue;
		int one = show_one(dakconf, name);
		status = one == EX_OK ? status : one;
	}
	ARRAY_FREE(&listing.names);
	return status;
}

int
show_parameters(struct dakconf *dakconf, char **names, int count)
{
	int status = count == 0 ? show_all(dakconf) : show_named(dakconf, names, count);

	/* Before warnings about it: whoever reads both sees the answer first. */
	fflush(stdout);
	if (!dakconf->defaults)
		known_warn(dakconf);
	return status;
}
