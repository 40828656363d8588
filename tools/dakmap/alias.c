/* alias.c - lines of aliases(5), for dakmap called as postalias. */
#include "tools/dakmap/dakmap.h"

/* The quoted name at the start of *rest, with its backslashes resolved. */
static bool
quoted_name(struct slice *rest, struct buf *key, struct error *error)
{
	for (size_t i = 1; i < rest->length; i++) {
		char c = rest->data[i];

		if (c == '"') {
			*rest = slice_from_offset(*rest, i + 1);
			return true;
		}
		if (c == '\\' && i + 1 < rest->length)
			c = rest->data[++i];
		buf_append_byte(key, c);
	}
	return error_set(error, "need name:value pair: no closing quote");
}

bool
alias_split(struct slice line, struct buf *key, struct slice *value, struct error *error)
{
	struct slice rest = slice_trim(line);
	bool         is_quoted = !slice_is_empty(rest) && rest.data[0] == '"';

	if (is_quoted) {
		if (!quoted_name(&rest, key, error))
			return false;
		rest = slice_trim(rest);
	} else {
		size_t colon = slice_find_byte(rest, ':');

		buf_append(key, slice_trim(slice_first(rest, colon)));
		rest = colon == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(rest, colon);
	}
	if (key->length == 0 || slice_is_empty(rest) || rest.data[0] != ':')
		return error_set(error, "need name:value pair");
	*value = slice_trim(slice_from_offset(rest, 1));
	if (slice_is_empty(*value) || (!is_quoted && slice_contains_byte(buf_slice(key), ',')))
		return error_set(error, "need name:value pair");
	if (!is_quoted &&
	    (slice_contains_byte(buf_slice(key), '@') || slice_contains_byte(buf_slice(key), '%')))
		return error_set(error, "name must be local");
	return !key->has_failed || error_set(error, "name too long");
}
