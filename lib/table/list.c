/* list.c - see table.h: several tables asked in turn, and the search order of addresses. */
#include <stdlib.h>

#include "lib/base/array.h"
#include "lib/mail/address.h"
#include "lib/table/table.h"

struct table_list {
	ARRAY(struct table *) tables;
};

struct table_list *
table_list_open(const char *specs, struct error *error)
{
	struct table_list *list = calloc(1, sizeof(*list));
	struct slice       rest = slice_from(specs), item;

	if (list == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	while (table_next_item(&rest, &item)) {
		char         *spec = strndup(item.data, item.length);
		struct table *table = spec == NULL ? NULL : table_open(spec, true, error);

		free(spec);
		if (table == NULL || !ARRAY_PUSH(&list->tables, table)) {
			table_close(&table);
			table_list_close(&list);
			return NULL;
		}
	}
	return list;
}

void
table_list_close(struct table_list **list)
{
	if (*list == NULL)
		return;
	for (size_t i = 0; i < (*list)->tables.count; i++)
		table_close(&(*list)->tables.items[i]);
	ARRAY_FREE(&(*list)->tables);
	free(*list);
	*list = NULL;
}

bool
table_list_is_empty(const struct table_list *list)
{
	return list == NULL || list->tables.count == 0;
}

size_t
table_list_count(const struct table_list *list)
{
	return list == NULL ? 0 : list->tables.count;
}

struct table *
table_list_get(const struct table_list *list, size_t index)
{
	return list->tables.items[index];
}

/* The first table that does not say "not found" decides; is_part skips pattern tables. */
static enum lookup
list_try(struct table_list *list, struct slice key, bool is_part, struct buf *value,
         struct error *error)
{
	for (size_t i = 0; i < list->tables.count; i++) {
		struct table *table = list->tables.items[i];

		if (is_part && table_has_patterns(table))
			continue;
		enum lookup answer = table_lookup(table, key, value, error);
		if (answer != LOOKUP_NOT_FOUND)
			return answer;
	}
	return LOOKUP_NOT_FOUND;
}

enum lookup
table_list_lookup(struct table_list *list, struct slice key, struct buf *value, struct error *error)
{
	return list_try(list, key, false, value, error);
}

/* Where the extension begins, with its delimiter; the end when there is none. */
static size_t
extension_start(struct slice local, const struct address_lookup *what)
{
	struct slice user, extension;
	bool         has_one =
                what->splits_owner_request
				? address_split_any_extension(local, what->delimiters, &user, &extension)
				: address_split_extension(local, what->delimiters, &user, &extension);

	return has_one ? user.length : local.length;
}

enum lookup
table_list_lookup_address(struct table_list *list, const struct address_lookup *what,
                          struct buf *value, struct slice *extension, struct error *error)
{
	struct slice address = what->address;
	size_t       at = slice_find_last_byte(address, '@');
	struct slice local = slice_first(address, at);
	struct slice domain = at == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(address, at);
	size_t       cut = extension_start(local, what);
	char         stripped[1024]; /* user@dom of user+ext@dom */
	bool         has_stripped = cut < local.length && cut + domain.length <= sizeof(stripped);
	enum lookup  answer;

	if (extension != NULL)
		*extension = SLICE_EMPTY;
	if (has_stripped) {
		memcpy(stripped, local.data, cut);
		memcpy(stripped + cut, domain.data, domain.length);
	}
	const struct {
		struct slice key;
		bool         is_tried, is_part, drops_extension;
	} steps[] = {
		{ address, true, false, false },
		{ slice_of(stripped, cut + domain.length), has_stripped, true, true },
		{ local, what->is_own_domain && domain.length > 0, true, false },
		{ slice_of(stripped, cut), what->is_own_domain && has_stripped, true, true },
		{ domain, !what->without_catch_all && domain.length > 1, true, false },
	};
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (!steps[i].is_tried)
			continue;
		answer = list_try(list, steps[i].key, steps[i].is_part, value, error);
		if (answer == LOOKUP_FOUND && steps[i].drops_extension && extension != NULL)
			*extension = slice_from_offset(local, cut);
		if (answer != LOOKUP_NOT_FOUND)
			return answer;
	}
	return LOOKUP_NOT_FOUND;
}
