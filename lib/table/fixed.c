/* fixed.c - tables of fixed keys in memory: inline, texthash, unix; and the trivial types. */
#include <stdlib.h>

#include "lib/base/arena.h"
#include "lib/base/hash.h"
#include "lib/table/textlines.h"
#include "lib/table/type.h"

struct fixed_table {
	struct hash  values; /* -> struct slice in the arena */
	struct arena arena;
};

struct fixed_table *
fixed_table_create(void)
{
	struct fixed_table *fixed = calloc(1, sizeof(*fixed));

	if (fixed != NULL)
		fixed->arena = ARENA(TEXTLINES_FILE_MOST * 2);
	return fixed;
}

bool
fixed_table_add(struct fixed_table *fixed, struct slice key, struct slice value, bool *is_new)
{
	char folded[TABLE_KEY_MOST];

	if (key.length > sizeof(folded))
		return true; /* table_lookup does not look for it either */
	for (size_t i = 0; i < key.length; i++)
		folded[i] = ascii_lower(key.data[i]);
	key = slice_of(folded, key.length);
	if (is_new != NULL)
		*is_new = hash_get(&fixed->values, key) == NULL;
	if (hash_get(&fixed->values, key) != NULL)
		return true;
	struct slice *kept = arena_alloc(&fixed->arena, sizeof(*kept));
	if (kept == NULL)
		return false;
	*kept = arena_copy(&fixed->arena, value);
	return kept->data != NULL && hash_put(&fixed->values, key, kept, NULL);
}

enum lookup
fixed_table_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	const struct fixed_table *fixed = content;
	const struct slice       *found = hash_get(&fixed->values, key);

	return found == NULL ? LOOKUP_NOT_FOUND : table_give(*found, value, error);
}

struct listing {
	table_visit *visit;
	void        *context;
	bool         goes_on;
};

static void
list_one(struct slice key, void *value, void *context)
{
	struct listing *listing = context;

	if (listing->goes_on)
		listing->goes_on =
			listing->visit(key, *(const struct slice *)value, listing->context);
}

bool
fixed_table_each(void *content, table_visit *visit, void *context, struct error *error)
{
	const struct fixed_table *fixed = content;
	struct listing            listing = { visit, context, true };

	(void)error;
	hash_each(&fixed->values, list_one, &listing);
	return true;
}

void
fixed_table_free(void *content)
{
	struct fixed_table *fixed = content;

	if (fixed == NULL)
		return;
	hash_free(&fixed->values, NULL);
	arena_reset(&fixed->arena);
	free(fixed);
}

/* ---- inline:{ key=value, { key = value with blanks } } ---- */

/* "{ text }" without braces; false when it is none. */
static bool
braces_strip(struct slice *text)
{
	if (text->length < 2 || text->data[0] != '{' || text->data[text->length - 1] != '}')
		return false;
	*text = slice_trim(slice_of(text->data + 1, text->length - 2));
	return true;
}

static bool
inline_add(struct fixed_table *fixed, struct slice item, struct error *error)
{
	braces_strip(&item);
	size_t       at = slice_find_byte(item, '=');
	struct slice key = slice_trim(slice_first(item, at));

	if (at == SLICE_NOT_FOUND || slice_is_empty(key))
		return error_set(error, "\"%.*s\": want key=value or { key = value }",
		                 SLICE_ARGS(item));
	if (!fixed_table_add(fixed, key, slice_trim(slice_from_offset(item, at + 1)), NULL))
		return error_set(error, "out of memory");
	return true;
}

static void *
inline_load(const char *name, const char *path, struct error *error)
{
	struct slice        rest = slice_trim(slice_from(name)), item;
	struct fixed_table *fixed = fixed_table_create();
	bool                is_good = fixed != NULL, has_any = false;

	(void)path;
	if (!braces_strip(&rest)) {
		fixed_table_free(fixed);
		error_set(error, "want inline:{ key=value, ... }");
		return NULL;
	}
	while (is_good && table_next_item(&rest, &item)) {
		is_good = inline_add(fixed, item, error);
		has_any = true;
	}
	if (is_good && !has_any)
		is_good = error_set(error, "empty inline table");
	if (is_good)
		return fixed;
	fixed_table_free(fixed);
	return NULL;
}

const struct table_type table_type_inline = {
	.name = "inline",
	.folds_keys = true,
	.load = inline_load,
	.lookup = fixed_table_lookup,
	.each = fixed_table_each,
	.unload = fixed_table_free,
};

/* ---- texthash: the text that dakmap would build a database from ---- */

static bool
texthash_fill(struct fixed_table *fixed, const char *path, struct slice text, struct error *error)
{
	struct textlines lines;
	struct slice     line, key, value;
	struct error     trouble = ERROR_NONE;
	bool             is_good = true;

	textlines_start(&lines, text);
	while (is_good && textlines_next(&lines, &line, &trouble)) {
		if (!textlines_split(line, &key, &value))
			is_good = error_set(error, "%s:%u: want \"key value\"", path, lines.line);
		else if (!fixed_table_add(fixed, key, value, NULL))
			is_good = error_set(error, "%s: out of memory", path);
	}
	textlines_end(&lines);
	if (is_good && trouble.text[0] != '\0')
		return error_set(error, "%s: %s", path, trouble.text);
	return is_good;
}

static void *
texthash_load(const char *name, const char *path, struct error *error)
{
	struct buf          text = BUF(TEXTLINES_FILE_MOST);
	struct fixed_table *fixed = fixed_table_create();

	(void)name;
	if (fixed == NULL || !textlines_read_file(path, &text, error) ||
	    !texthash_fill(fixed, path, buf_slice(&text), error)) {
		fixed_table_free(fixed);
		fixed = NULL;
	}
	buf_free(&text);
	return fixed;
}

const struct table_type table_type_texthash = {
	.name = "texthash",
	.suffix = "",
	.folds_keys = true,
	.load = texthash_load,
	.lookup = fixed_table_lookup,
	.each = fixed_table_each,
	.unload = fixed_table_free,
};

/* ---- unix:passwd.byname, unix:group.byname ---- */

/*
 * LIMIT: reads the file itself, since the C library's way loads modules, which a sandbox forbids.
 * Matters where users come from LDAP and the like.
 */
static void *
unix_load(const char *name, const char *path, struct error *error)
{
	struct buf          text = BUF(TEXTLINES_FILE_MOST);
	struct fixed_table *fixed = NULL;
	bool                is_good;

	if (strcmp(name, "passwd.byname") != 0 && strcmp(name, "group.byname") != 0) {
		error_set(error, "want unix:passwd.byname or unix:group.byname");
		return NULL;
	}
	fixed = fixed_table_create();
	is_good = fixed != NULL && textlines_read_file(path, &text, error);
	struct slice rest = buf_slice(&text), line;
	while (is_good && slice_next_part(&rest, '\n', &line)) {
		size_t colon = slice_find_byte(line, ':');

		if (colon != SLICE_NOT_FOUND && colon > 0)
			is_good = fixed_table_add(fixed, slice_first(line, colon), line, NULL);
	}
	buf_free(&text);
	if (is_good)
		return fixed;
	fixed_table_free(fixed);
	return NULL;
}

const struct table_type table_type_unix = {
	.name = "unix",
	.suffix = "",
	.folds_keys = true,
	.load = unix_load,
	.lookup = fixed_table_lookup,
	.each = fixed_table_each,
	.unload = fixed_table_free,
};

/* ---- static, fail, environ ---- */

static void *
text_load(const char *name, const char *path, struct error *error)
{
	struct slice text = slice_trim(slice_from(name));

	(void)path;
	braces_strip(&text);
	char *copy = strndup(text.data, text.length);
	if (copy == NULL)
		error_set(error, "out of memory");
	return copy;
}

static enum lookup
static_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	(void)key;
	return table_give(slice_from(content), value, error);
}

const struct table_type table_type_static = {
	.name = "static",
	.load = text_load,
	.lookup = static_lookup,
	.unload = free,
};

static enum lookup
fail_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	(void)content;
	(void)key;
	(void)value;
	error_set(error, "this table always fails");
	return LOOKUP_TRY_LATER;
}

const struct table_type table_type_fail = {
	.name = "fail",
	.load = text_load,
	.lookup = fail_lookup,
	.unload = free,
};

static enum lookup
environ_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	char name[256];

	(void)content;
	if (key.length >= sizeof(name) || slice_has_control(key))
		return LOOKUP_NOT_FOUND;
	memcpy(name, key.data, key.length);
	name[key.length] = '\0';
	const char *found = getenv(name);
	return found == NULL ? LOOKUP_NOT_FOUND : table_give(slice_from(found), value, error);
}

const struct table_type table_type_environ = {
	.name = "environ",
	.load = text_load,
	.lookup = environ_lookup,
	.unload = free,
};
