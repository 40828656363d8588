/* combined.c - tables made of tables: unionmap:{a,b}, pipemap:{a,b}, randmap:{x,y}. */
#include <stdlib.h>

#include "lib/base/array.h"
#include "lib/base/random.h"
#include "lib/table/type.h"

#define VALUE_MOST ((size_t)64 * 1024)

struct combined {
	ARRAY(struct table *) tables;
	ARRAY(char *) values; /* randmap */
};

static void
combined_unload(void *content)
{
	struct combined *combined = content;

	if (combined == NULL)
		return;
	for (size_t i = 0; i < combined->tables.count; i++)
		table_close(&combined->tables.items[i]);
	for (size_t i = 0; i < combined->values.count; i++)
		free(combined->values.items[i]);
	ARRAY_FREE(&combined->tables);
	ARRAY_FREE(&combined->values);
	free(combined);
}

static bool
combined_add(struct combined *combined, struct slice item, bool is_random, struct error *error)
{
	bool is_good;

	/* "{ ... }" around an item protects its blanks. */
	if (item.length >= 2 && item.data[0] == '{' && item.data[item.length - 1] == '}')
		item = slice_trim(slice_of(item.data + 1, item.length - 2));
	char *text = strndup(item.data, item.length);

	if (text == NULL)
		return error_set(error, "out of memory");
	if (is_random) {
		is_good = ARRAY_PUSH(&combined->values, text);
		if (!is_good)
			free(text);
		return is_good || error_set(error, "out of memory");
	}
	struct table *table = table_open(text, true, error);
	free(text);
	is_good = table != NULL && ARRAY_PUSH(&combined->tables, table);
	if (!is_good)
		table_close(&table);
	return is_good;
}

static void *
combined_load(const char *name, bool is_random, struct error *error)
{
	struct slice     rest = slice_trim(slice_from(name)), item;
	struct combined *combined = calloc(1, sizeof(*combined));
	bool             is_good = combined != NULL;

	if (rest.length < 2 || rest.data[0] != '{' || rest.data[rest.length - 1] != '}') {
		error_set(error, "want { one, two, ... }");
		is_good = false;
	}
	rest = is_good ? slice_of(rest.data + 1, rest.length - 2) : SLICE_EMPTY;
	while (is_good && table_next_item(&rest, &item))
		is_good = combined_add(combined, item, is_random, error);
	if (is_good && combined->tables.count + combined->values.count == 0)
		is_good = error_set(error, "nothing between the braces");
	if (is_good)
		return combined;
	combined_unload(combined);
	return NULL;
}

static void *
tables_load(const char *name, const char *path, struct error *error)
{
	(void)path;
	return combined_load(name, false, error);
}

static void *
values_load(const char *name, const char *path, struct error *error)
{
	(void)path;
	return combined_load(name, true, error);
}

static enum lookup
union_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	struct combined *combined = content;
	struct buf       one = BUF(VALUE_MOST);
	enum lookup      answer = LOOKUP_NOT_FOUND;

	for (size_t i = 0; i < combined->tables.count && answer != LOOKUP_TRY_LATER; i++) {
		enum lookup single = table_lookup(combined->tables.items[i], key, &one, error);

		if (single == LOOKUP_NOT_FOUND)
			continue;
		if (single == LOOKUP_FOUND && value->length > 0)
			single = table_give(SLICE(","), value, error);
		answer =
			single == LOOKUP_FOUND ? table_give(buf_slice(&one), value, error) : single;
	}
	buf_free(&one);
	return answer;
}

static enum lookup
pipe_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	struct combined *combined = content;
	struct buf       one = BUF(VALUE_MOST);
	enum lookup      answer = table_give(key, value, error);

	for (size_t i = 0; i < combined->tables.count && answer == LOOKUP_FOUND; i++) {
		answer = table_lookup(combined->tables.items[i], buf_slice(value), &one, error);
		buf_clear(value);
		if (answer == LOOKUP_FOUND)
			answer = table_give(buf_slice(&one), value, error);
	}
	buf_free(&one);
	return answer;
}

static enum lookup
random_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	struct combined *combined = content;

	(void)key;
	size_t chosen = random_below((uint32_t)combined->values.count);
	return table_give(slice_from(combined->values.items[chosen]), value, error);
}

/* Parts of keys are tried when any table inside is one for which that makes sense. */
static bool
combined_has_patterns(const void *content)
{
	const struct combined *combined = content;

	for (size_t i = 0; i < combined->tables.count; i++)
		if (!table_has_patterns(combined->tables.items[i]))
			return false;
	return true;
}

const struct table_type table_type_unionmap = {
	.name = "unionmap",
	.load = tables_load,
	.lookup = union_lookup,
	.unload = combined_unload,
	.content_has_patterns = combined_has_patterns,
};

const struct table_type table_type_pipemap = {
	.name = "pipemap",
	.load = tables_load,
	.lookup = pipe_lookup,
	.unload = combined_unload,
	.content_has_patterns = combined_has_patterns,
};

const struct table_type table_type_randmap = {
	.name = "randmap",
	.load = values_load,
	.lookup = random_lookup,
	.unload = combined_unload,
};
