/* values.c - see values.h. */
#include "lib/conf/values.h"

#define SNAPSHOT_MAGIC "dakiya-snapshot 1"

bool
values_set(struct values *values, struct slice name, struct slice text, const char *file,
           unsigned line, bool is_override)
{
	struct conf_value *value = hash_get(&values->by_name, name);
	const char        *copy = arena_text(&values->arena, text);
	const char        *file_copy = "";

	/* Entries of one file come one after the other: the name is stored once. */
	if (file != NULL && values->list.count > 0 &&
	    strcmp(values->list.items[values->list.count - 1]->file, file) == 0)
		file_copy = values->list.items[values->list.count - 1]->file;
	else if (file != NULL && file[0] != '\0')
		file_copy = arena_text(&values->arena, slice_from(file));
	if (copy == NULL || file_copy == NULL)
		return false;
	if (value == NULL) {
		value = arena_alloc(&values->arena, sizeof(*value));
		if (value == NULL || values->list.count >= VALUES_MOST)
			return false;
		value->name = arena_text(&values->arena, name);
		if (value->name == NULL || !hash_put(&values->by_name, name, value, NULL))
			return false;
		if (!ARRAY_PUSH(&values->list, value)) {
			hash_remove(&values->by_name, name);
			return false;
		}
	}
	value->text = copy;
	value->file = file_copy;
	value->line = line;
	value->is_override = is_override;
	return true;
}

const struct conf_value *
values_get(const struct values *values, struct slice name)
{
	return hash_get(&values->by_name, name);
}

bool
values_copy(struct values *to, const struct values *from)
{
	for (size_t i = 0; i < from->list.count; i++) {
		const struct conf_value *value = from->list.items[i];

		if (!values_set(to, slice_from(value->name), slice_from(value->text), value->file,
		                value->line, value->is_override))
			return false;
	}
	return true;
}

void
values_free(struct values *values)
{
	hash_free(&values->by_name, NULL);
	ARRAY_FREE(&values->list);
	arena_reset(&values->arena);
	*values = VALUES_NONE;
}

bool
values_encode(const struct values *values, struct buf *out)
{
	bool is_ok = buf_append(out, slice_of(SNAPSHOT_MAGIC, sizeof(SNAPSHOT_MAGIC)));

	for (size_t i = 0; is_ok && i < values->list.count; i++) {
		const struct conf_value *value = values->list.items[i];

		is_ok = buf_append_text(out, value->name) && buf_append_byte(out, '\0') &&
		        buf_append_text(out, value->text) && buf_append_byte(out, '\0');
	}
	return is_ok;
}

/* Takes the text up to the next NUL off *rest. */
static bool
take_text(struct slice *rest, struct slice *text)
{
	size_t end = slice_find_byte(*rest, '\0');

	if (end == SLICE_NOT_FOUND)
		return false;
	*text = slice_first(*rest, end);
	*rest = slice_from_offset(*rest, end + 1);
	return true;
}

bool
values_decode(struct values *values, struct slice bytes, struct error *error)
{
	struct slice magic, name, text;

	if (!take_text(&bytes, &magic) || !slice_equal(magic, SLICE(SNAPSHOT_MAGIC)))
		return error_set(error, "snapshot: not of this version");
	while (bytes.length > 0) {
		if (!take_text(&bytes, &name) || name.length == 0 || !take_text(&bytes, &text))
			return error_set(error, "snapshot: malformed");
		if (!values_set(values, name, text, NULL, 0, false))
			return error_set(error, "snapshot: too large");
	}
	return true;
}

bool
values_from_text(struct values *values, const char *text, struct error *error)
{
	struct slice rest = slice_from(text), line, name = SLICE_EMPTY;
	struct buf   logical = BUF(VALUES_BYTES_MOST);
	bool         is_ok = true;

	for (unsigned number = 1; is_ok && slice_next_part(&rest, '\n', &line); number++) {
		struct slice trimmed = slice_trim(line);
		size_t       equals = slice_find_byte(trimmed, '=');

		if (trimmed.length == 0 || trimmed.data[0] == '#')
			continue;
		if (ascii_is_blank(line.data[0]) && name.length > 0) {
			is_ok = buf_append_byte(&logical, ' ') && buf_append(&logical, trimmed);
		} else if (equals == SLICE_NOT_FOUND || equals == 0) {
			buf_free(&logical);
			return error_set(error, "line %u: not \"name = value\"", number);
		} else {
			name = slice_trim(slice_first(trimmed, equals));
			buf_clear(&logical);
			is_ok = buf_append(&logical,
			                   slice_trim(slice_from_offset(trimmed, equals + 1)));
		}
		is_ok = is_ok && values_set(values, name, slice_trim(buf_slice(&logical)), NULL,
		                            number, false);
	}
	buf_free(&logical);
	return is_ok || error_set(error, "out of memory");
}
