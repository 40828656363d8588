/* match.c - see match.h. */
#include "lib/table/match.h"

#include <stdlib.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/table/textlines.h"
#include "lib/table/net.h"

#define FILE_DEPTH_MOST 8
#define LIST_MEMORY     ((size_t)64 << 20)

enum item_kind { ITEM_NAME, ITEM_SUBDOMAINS, ITEM_NET, ITEM_TABLE };

struct item {
	enum item_kind kind;
	bool           is_negated;
	struct slice   name; /* ITEM_NAME; ITEM_SUBDOMAINS with its leading dot */
	struct net     net;
	struct table  *table;
};

struct match_list {
	enum match_kind kind;
	struct arena    arena;
	ARRAY(struct item) items;
};

static bool list_add_text(struct match_list *list, struct slice text, bool is_negated,
                          unsigned depth, struct error *error);

/* A file's lines are items. LIMIT: read when the list is opened; a change needs a reload. */
static bool
list_add_file(struct match_list *list, struct slice name, bool is_negated, unsigned depth,
              struct error *error)
{
	char            *path = arena_text(&list->arena, name);
	struct buf       text = BUF(TEXTLINES_FILE_MOST);
	struct textlines lines;
	struct slice     line;
	struct error     trouble = ERROR_NONE;

	if (path == NULL)
		return error_set(error, "out of memory");
	if (depth == FILE_DEPTH_MOST)
		return error_set(error, "%s: files name files too deeply", path);
	bool is_good = textlines_read_file(path, &text, error);
	textlines_start(&lines, buf_slice(&text));
	while (is_good && textlines_next(&lines, &line, &trouble)) {
		is_good = list_add_text(list, line, is_negated, depth + 1, error);
		if (!is_good)
			error_prefix(error, "%s:%u", path, lines.line);
	}
	textlines_end(&lines);
	buf_free(&text);
	if (is_good && trouble.text[0] != '\0')
		return error_set(error, "%s: %s", path, trouble.text);
	return is_good;
}

static bool
item_read_table(struct match_list *list, struct slice text, struct item *item, struct error *error)
{
	char *spec = arena_text(&list->arena, text);

	if (spec == NULL)
		return error_set(error, "out of memory");
	item->kind = ITEM_TABLE;
	item->table = table_open(spec, true, error);
	return item->table != NULL;
}

static bool
item_read(struct match_list *list, struct slice text, struct item *item, struct error *error)
{
	bool has_addresses = list->kind == MATCH_ADDRESSES || list->kind == MATCH_HOSTS;

	if (table_spec_is_known(text))
		return item_read_table(list, text, item, error);
	if (has_addresses && net_looks_like(text)) {
		item->kind = ITEM_NET;
		return net_parse(text, &item->net, error);
	}
	if (list->kind == MATCH_ADDRESSES)
		return error_set(error, "\"%.*s\" is no IP address, network or table",
		                 SLICE_ARGS(text));
	item->kind = text.length > 1 && text.data[0] == '.' && list->kind != MATCH_STRINGS
	                     ? ITEM_SUBDOMAINS
	                     : ITEM_NAME;
	item->name = arena_copy(&list->arena, text);
	return item->name.data != NULL || error_set(error, "out of memory");
}

static bool
list_add_item(struct match_list *list, struct slice text, bool is_negated, unsigned depth,
              struct error *error)
{
	struct item item = { .kind = ITEM_NAME };

	while (!slice_is_empty(text) && text.data[0] == '!') {
		is_negated = !is_negated;
		text = slice_from_offset(text, 1);
	}
	if (slice_is_empty(text))
		return error_set(error, "nothing behind \"!\"");
	if (text.data[0] == '/')
		return list_add_file(list, text, is_negated, depth, error);
	item.is_negated = is_negated;
	if (!item_read(list, text, &item, error))
		return false;
	if (ARRAY_PUSH(&list->items, item))
		return true;
	table_close(&item.table);
	return error_set(error, "out of memory");
}

static bool
list_add_text(struct match_list *list, struct slice text, bool is_negated, unsigned depth,
              struct error *error)
{
	struct slice item;

	while (table_next_item(&text, &item))
		if (!list_add_item(list, item, is_negated, depth, error))
			return false;
	return true;
}

struct match_list *
match_list_open(const char *items, enum match_kind kind, struct error *error)
{
	struct match_list *list = calloc(1, sizeof(*list));

	if (list == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	list->kind = kind;
	list->arena = ARENA(LIST_MEMORY);
	if (!list_add_text(list, slice_from(items), false, 0, error))
		match_list_close(&list);
	return list;
}

void
match_list_close(struct match_list **list)
{
	if (*list == NULL)
		return;
	for (size_t i = 0; i < (*list)->items.count; i++)
		table_close(&(*list)->items.items[i].table);
	ARRAY_FREE(&(*list)->items);
	arena_reset(&(*list)->arena);
	free(*list);
	*list = NULL;
}

/* ---- matching ---- */

struct candidate {
	struct slice name, address;
	struct net   net;
	bool         has_net;
	struct buf  *value; /* room for what tables answer, which nobody reads */
};

/* A table with domains as keys: the name, then its parents as "parent" or ".parent". */
static enum lookup
table_match_name(const struct match_list *list, struct table *table, struct candidate *who,
                 struct error *error)
{
	enum lookup answer = table_lookup(table, who->name, who->value, error);
	bool        has_dot = list->kind != MATCH_DOMAINS_AND_PARENTS;

	if (answer != LOOKUP_NOT_FOUND || list->kind == MATCH_STRINGS || table_has_patterns(table))
		return answer;
	for (size_t at = 0; at < who->name.length; at++) {
		if (who->name.data[at] != '.' || at + 1 == who->name.length)
			continue;
		answer = table_lookup(table, slice_from_offset(who->name, has_dot ? at : at + 1),
		                      who->value, error);
		if (answer != LOOKUP_NOT_FOUND)
			return answer;
	}
	return LOOKUP_NOT_FOUND;
}

static enum lookup
table_match(const struct match_list *list, struct table *table, struct candidate *who,
            struct error *error)
{
	enum lookup answer = LOOKUP_NOT_FOUND;

	if (!slice_is_empty(who->name) && list->kind != MATCH_ADDRESSES)
		answer = table_match_name(list, table, who, error);
	if (answer == LOOKUP_NOT_FOUND && !slice_is_empty(who->address))
		answer = table_lookup(table, who->address, who->value, error);
	return answer;
}

static bool
name_match(const struct match_list *list, const struct item *item, struct slice name)
{
	if (slice_equal_fold(item->name, name))
		return true;
	return list->kind == MATCH_DOMAINS_AND_PARENTS && name.length > item->name.length &&
	       name.data[name.length - item->name.length - 1] == '.' &&
	       slice_ends_with_fold(name, item->name);
}

static enum lookup
item_match(const struct match_list *list, const struct item *item, struct candidate *who,
           struct error *error)
{
	bool has_matched = false;

	switch (item->kind) {
	case ITEM_TABLE: return table_match(list, item->table, who, error);
	case ITEM_NET: has_matched = who->has_net && net_contains(&item->net, &who->net); break;
	case ITEM_NAME:
		has_matched = !slice_is_empty(who->name) && name_match(list, item, who->name);
		break;
	case ITEM_SUBDOMAINS:
		has_matched = who->name.length > item->name.length &&
		              slice_ends_with_fold(who->name, item->name);
		break;
	}
	return has_matched ? LOOKUP_FOUND : LOOKUP_NOT_FOUND;
}

static enum lookup
list_match(struct match_list *list, struct candidate *who, struct error *error)
{
	struct buf  value = BUF((size_t)1 << 20);
	enum lookup answer = LOOKUP_NOT_FOUND;

	who->value = &value;
	for (size_t i = 0; i < list->items.count && answer == LOOKUP_NOT_FOUND; i++) {
		const struct item *item = &list->items.items[i];

		answer = item_match(list, item, who, error);
		if (answer == LOOKUP_FOUND && item->is_negated) {
			answer = LOOKUP_NOT_FOUND;
			break;
		}
	}
	buf_free(&value);
	return answer;
}

enum lookup
match_list_name(struct match_list *list, struct slice name, struct error *error)
{
	struct candidate who = { .name = name };

	/* A name that is an address, as HELO names may be. */
	who.has_net = net_looks_like(name) && net_parse_address(name, &who.net);
	return list_match(list, &who, error);
}

enum lookup
match_list_client(struct match_list *list, struct slice name, struct slice address,
                  struct error *error)
{
	struct candidate who = { .name = name, .address = address };

	who.has_net = net_parse_address(address, &who.net);
	return list_match(list, &who, error);
}
