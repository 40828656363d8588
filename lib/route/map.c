/* map.c - results of tables that map an address to others: canonical, virtual, generic, bcc. */
#include "lib/route/router.h"

#include "lib/base/log.h"

/* "a@b c@d" is two addresses, as everybody reads it; "a @b", "a@ b" and "a b" are none. */
static bool
is_behind_address(struct slice list, size_t blank, bool has_sign)
{
	return has_sign && list.data[blank - 1] != '@' &&
	       !slice_starts_with(slice_trim(slice_from_offset(list, blank)), SLICE("@"));
}

bool
router_next_item(struct slice *list, struct slice *item)
{
	size_t i = 0;
	bool   is_quoted = false, has_sign = false;

	if (list->length == 0)
		return false;
	*list = slice_trim(*list);
	for (; i < list->length; i++) {
		char c = list->data[i];

		if (c == '\\' && is_quoted && i + 1 < list->length)
			i++;
		else if (c == '"')
			is_quoted = !is_quoted;
		else if (is_quoted)
			continue;
		else if (c == ',' || c == '\n' ||
		         (ascii_is_space(c) && is_behind_address(*list, i, has_sign)))
			break;
		else if (c == '@')
			has_sign = true;
	}
	*item = slice_trim(slice_first(*list, i));
	*list = slice_from_offset(*list, i + 1);
	return true;
}

/* The parts of an item, before its extension. False: it is no address. */
static bool
read_item(struct router *router, const struct router_mapping *mapping, struct slice item,
          struct arena *arena, struct address *parts)
{
	struct slice rest;

	if (item.data[0] == '@') {
		parts->local = mapping->from->parts.local;
		parts->local.length -= mapping->extension.length;
		parts->domain = slice_from_offset(item, 1);
		return parts->domain.length > 0;
	}
	return address_parse_path(item, true, false, arena, parts, &rest) &&
	       slice_trim(rest).length == 0 && parts->local.length > 0 &&
	       router_standardize(router, false, address_needs_quotes(parts->local), parts, arena);
}

bool
router_map_item(struct router *router, const struct router_mapping *mapping, struct slice item,
                struct arena *arena, struct slice *result, struct error *error)
{
	struct slice   extension = mapping->propagates ? mapping->extension : SLICE_EMPTY;
	const char    *name = router_table_name(mapping->table);
	struct address parts;

	if (item.length == 0 || !read_item(router, mapping, item, arena, &parts))
		return error_set(error, "%s: %.*s: bad address \"%.*s\"", name,
		                 SLICE_ARGS(mapping->from->whole), SLICE_ARGS(item));
	if (parts.domain.length == 0) /* append_at_myorigin = no */
		parts.domain = slice_from(router->parameters->myorigin);
	char *text = arena_format(arena, "%.*s%.*s@%.*s", SLICE_ARGS(parts.local),
	                          SLICE_ARGS(extension), SLICE_ARGS(parts.domain));
	if (text == NULL || !address_split(slice_from(text), &parts))
		return error_set(error, "%s: %.*s: bad result \"%.*s\"", name,
		                 SLICE_ARGS(mapping->from->whole), SLICE_ARGS(item));
	*result = slice_from(text);
	return true;
}

/* The only item of a value. */
static bool
take_first(const struct router_mapping *mapping, struct slice value, struct slice *first)
{
	struct slice list = value, item;
	size_t       count = 0;

	*first = SLICE_EMPTY;
	while (router_next_item(&list, &item)) {
		if (item.length == 0)
			continue;
		if (count++ == 0)
			*first = item;
	}
	if (count > 1)
		log_warning("multi-valued %s entry for %.*s", router_table_name(mapping->table),
		            SLICE_ARGS(mapping->from->whole));
	return count > 0;
}

enum lookup
router_map_once(struct router *router, enum router_table table, bool propagates,
                struct slice address, struct arena *arena, struct slice *result,
                struct error *error)
{
	struct router_address from = router_address_of(address);
	struct router_mapping mapping = {
		.table = table, .from = &from, .extension = SLICE_EMPTY, .propagates = propagates
	};
	struct buf   value = BUF(ROUTER_VALUE_MOST);
	struct slice item;
	bool         is_own;

	if (table_list_is_empty(router->tables[table]))
		return LOOKUP_NOT_FOUND;
	enum lookup found = router_is_own_domain(router, from.parts.domain, &is_own, error);
	if (found == LOOKUP_FOUND)
		found = router_lookup(router, table, &from, is_own, &value, &mapping.extension,
		                      error);
	if (found == LOOKUP_FOUND && !take_first(&mapping, buf_slice(&value), &item)) {
		error_set(error, "%s: %.*s: no address in the result", router_table_name(table),
		          SLICE_ARGS(address));
		found = LOOKUP_TRY_LATER;
	}
	if (found == LOOKUP_FOUND && !router_map_item(router, &mapping, item, arena, result, error))
		found = LOOKUP_TRY_LATER;
	buf_free(&value);
	return found;
}
