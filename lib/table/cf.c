/* cf.c - see cf.h. */
#include "lib/table/cf.h"

#include <stdlib.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/base/log.h"
#include "lib/base/number.h"
#include "lib/table/textlines.h"

#define CF_FILE_MOST ((size_t)1 << 20)

struct setting {
	const char *name;
	const char *value;
	unsigned    line;
};

struct cf {
	struct arena arena;
	const char  *name;
	ARRAY(struct setting) settings;
};

static bool
cf_add(struct cf *cf, struct slice line, unsigned number, struct error *error)
{
	size_t       equals = slice_find_byte(line, '=');
	struct slice name = slice_trim(slice_first(line, equals));

	if (equals == SLICE_NOT_FOUND || slice_is_empty(name) || memchr(line.data, 0, line.length))
		return error_set(error, "%s:%u: want \"name = value\"", cf->name, number);
	struct setting setting = {
		.name = arena_text(&cf->arena, name),
		.value = arena_text(&cf->arena, slice_trim(slice_from_offset(line, equals + 1))),
		.line = number,
	};
	if (setting.name == NULL || setting.value == NULL || !ARRAY_PUSH(&cf->settings, setting))
		return error_set(error, "%s: out of memory", cf->name);
	return true;
}

struct cf *
cf_parse(const char *name, struct slice text, struct error *error)
{
	struct cf       *cf = calloc(1, sizeof(*cf));
	struct textlines lines;
	struct slice     line;
	struct error     trouble = ERROR_NONE;

	if (cf == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	cf->arena = ARENA(4 * CF_FILE_MOST);
	cf->name = arena_text(&cf->arena, slice_from(name));
	bool is_good = cf->name != NULL || error_set(error, "out of memory");
	textlines_start(&lines, text);
	while (is_good && textlines_next(&lines, &line, &trouble))
		is_good = cf_add(cf, line, lines.line, error);
	textlines_end(&lines);
	if (is_good && trouble.text[0] != '\0')
		is_good = error_set(error, "%s: %s", name, trouble.text);
	if (is_good)
		return cf;
	cf_free(cf);
	return NULL;
}

struct cf *
cf_read(const char *path, struct error *error)
{
	struct buf text = BUF(CF_FILE_MOST);
	struct cf *cf = NULL;

	if (textlines_read_file(path, &text, error))
		cf = cf_parse(path, buf_slice(&text), error);
	buf_free(&text);
	return cf;
}

void
cf_free(struct cf *cf)
{
	if (cf == NULL)
		return;
	ARRAY_FREE(&cf->settings);
	arena_reset(&cf->arena);
	free(cf);
}

const char *
cf_name(const struct cf *cf)
{
	return cf->name;
}

const char *
cf_get(const struct cf *cf, const char *name, const char *otherwise)
{
	for (size_t i = cf->settings.count; i > 0; i--)
		if (strcmp(cf->settings.items[i - 1].name, name) == 0)
			return cf->settings.items[i - 1].value;
	return otherwise;
}

bool
cf_get_number(const struct cf *cf, const char *name, int64_t least, int64_t most, int64_t *value,
              struct error *error)
{
	const char *text = cf_get(cf, name, NULL);

	if (text == NULL || number_parse(slice_from(text), least, most, value))
		return true;
	return error_set(error, "%s: %s = %s: want a number from %lld to %lld", cf->name, name,
	                 text, (long long)least, (long long)most);
}

bool
cf_get_bool(const struct cf *cf, const char *name, bool *value, struct error *error)
{
	const char *text = cf_get(cf, name, NULL);

	if (text == NULL)
		return true;
	bool is_yes = slice_equal_fold(slice_from(text), SLICE("yes"));
	if (!is_yes && !slice_equal_fold(slice_from(text), SLICE("no")))
		return error_set(error, "%s: %s = %s: want yes or no", cf->name, name, text);
	*value = is_yes;
	return true;
}

static bool
list_has(const char *const *list, const char *name)
{
	for (; list != NULL && *list != NULL; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

void
cf_warn_unknown(const struct cf *cf, const char *const *const *lists, size_t list_count)
{
	for (size_t i = 0; i < cf->settings.count; i++) {
		const struct setting *setting = &cf->settings.items[i];
		bool                  is_known = false;

		for (size_t j = 0; j < list_count && !is_known; j++)
			is_known = list_has(lists[j], setting->name);
		if (!is_known)
			log_warning("%s:%u: unknown parameter \"%.100s\" is ignored", cf->name,
			            setting->line, setting->name);
	}
}

size_t
cf_count(const struct cf *cf)
{
	return cf == NULL ? 0 : cf->settings.count;
}

const char *
cf_value_at(const struct cf *cf, size_t index)
{
	return cf->settings.items[index].value;
}
