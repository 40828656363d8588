/*
 * compile.c - restriction lists of main.cf, read once: names become functions, tables and policy
 * servers are opened before the doors close.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/number.h"
#include "lib/policy/policy.h"
#include "smtpd/lists.h"

static const struct restriction_row restriction_rows[] = {
#define RESTRICTION(name, needs, argument) { #name, NEEDS_##needs, WITH_##argument, check_##name },
#define RESTRICTION_ALIAS(old, name)
#define RESTRICTION_GONE(name, instead)
#include "lib/conf/restrictions.def"
#undef RESTRICTION
#undef RESTRICTION_ALIAS
#undef RESTRICTION_GONE
};

static const struct {
	const char *old, *name;
} restriction_aliases[] = {
#define RESTRICTION(name, needs, argument)
#define RESTRICTION_ALIAS(old, name) { #old, #name },
#define RESTRICTION_GONE(name, instead)
#include "lib/conf/restrictions.def"
#undef RESTRICTION
#undef RESTRICTION_ALIAS
#undef RESTRICTION_GONE
};

const struct restriction_row *
restriction_row_find(struct slice name)
{
	for (size_t i = 0; i < sizeof(restriction_aliases) / sizeof(restriction_aliases[0]); i++)
		if (slice_equal_fold(name, slice_from(restriction_aliases[i].old)))
			name = slice_from(restriction_aliases[i].name);
	for (size_t i = 0; i < sizeof(restriction_rows) / sizeof(restriction_rows[0]); i++)
		if (slice_equal_fold(name, slice_from(restriction_rows[i].name)))
			return &restriction_rows[i];
	return NULL;
}

struct table *
restriction_table_find(const struct restrictions *restrictions, struct slice spec)
{
	for (struct open_table *open = restrictions->tables; open != NULL; open = open->next)
		if (slice_equal(slice_from(table_spec(open->table)), spec))
			return open->table;
	return NULL;
}

static struct table *
open_table(struct restrictions *restrictions, struct slice spec, struct error *error)
{
	struct table *table = restriction_table_find(restrictions, spec);
	const char   *text = arena_text(&restrictions->arena, spec);

	if (table != NULL || text == NULL)
		return table;
	table = table_open(text, true, error);
	struct open_table *open = table != NULL ? calloc(1, sizeof(*open)) : NULL;
	if (open == NULL) {
		table_close(&table);
		return NULL;
	}
	open->table = table;
	open->next = restrictions->tables;
	restrictions->tables = open;
	return table;
}

/* Lists that name the same server share its connections. */
static struct policy_service *
open_policy(struct restrictions *restrictions, const char *text, struct error *error)
{
	struct open_policy *open = restrictions->policies;

	while (open != NULL && strcmp(open->text, text) != 0)
		open = open->next;
	if (open != NULL)
		return open->service;
	struct policy_service *service =
		policy_open(restrictions->parameters, slice_from(text), error);
	open = service != NULL ? calloc(1, sizeof(*open)) : NULL;
	if (open == NULL) {
		policy_service_destroy(&service);
		return NULL;
	}
	*open = (struct open_policy){ restrictions->policies, text, service };
	restrictions->policies = open;
	return service;
}

static struct entry_list *compile_list(struct restrictions *restrictions, const char *name,
                                       const char *text, unsigned depth, struct error *error);

static struct entry_list *
find_class(struct restrictions *restrictions, struct slice name, unsigned depth,
           struct error *error)
{
	struct slice rest = slice_from(restrictions->parameters->smtpd_restriction_classes);
	struct slice one;

	for (struct entry_list *list = restrictions->lists; list != NULL; list = list->next)
		if (slice_equal(slice_from(list->name), name))
			return list;
	while (slice_next_word(&rest, " \t\r\n,", &one)) {
		if (!slice_equal(one, name))
			continue;
		const char *class = arena_text(&restrictions->arena, name);
		const char *value =
			class != NULL ? snapshot_value(restrictions->snapshot, class) : NULL;
		if (value == NULL) {
			error_set(error, "restriction class %.*s is not defined", SLICE_ARGS(name));
			return NULL;
		}
		return compile_list(restrictions, class, value, depth + 1, error);
	}
	return NULL;
}

bool
restriction_next_item(struct slice *rest, struct slice *item)
{
	while (rest->length > 0 && (ascii_is_space(rest->data[0]) || rest->data[0] == ','))
		*rest = slice_from_offset(*rest, 1);
	if (rest->length == 0)
		return false;
	if (rest->data[0] == '{') {
		unsigned depth = 0;
		size_t   at = 0;
		do {
			depth += rest->data[at] == '{';
			depth -= rest->data[at] == '}';
			at++;
		} while (at < rest->length && depth > 0);
		*item = slice_trim(slice_of(rest->data + 1, at - (depth == 0 ? 2 : 1)));
		*rest = slice_from_offset(*rest, at);
		return true;
	}
	size_t at = 0;
	/* "inline:{ a b }" is one word. */
	for (unsigned depth = 0; at < rest->length; at++) {
		char c = rest->data[at];
		depth += c == '{';
		if (depth == 0 && (ascii_is_space(c) || c == ','))
			break;
		depth -= c == '}' && depth > 0;
	}
	*item = slice_first(*rest, at);
	*rest = slice_from_offset(*rest, at);
	return true;
}

/* "search_order = pubkey_fingerprint, cert_fingerprint" behind the table of check_ccert_access. */
static bool
compile_order(struct restrictions *restrictions, struct slice settings, struct entry *entry,
              struct error *error)
{
	struct slice item, name;

	while (slice_next_item(&settings, ",", &item)) {
		size_t equals = slice_find_byte(item, '=');

		if (equals == SLICE_NOT_FOUND ||
		    !slice_equal(slice_trim(slice_first(item, equals)), SLICE("search_order")))
			return error_set(error, "check_ccert_access: %.*s: not search_order = ...",
			                 SLICE_ARGS(slice_first(item, 60)));
		struct slice order = slice_trim(slice_from_offset(item, equals + 1));
		entry->order = arena_text(&restrictions->arena, order);
		if (entry->order == NULL)
			return error_set(error, "out of memory");
		while (slice_next_word(&order, ", \t\r\n", &name))
			if (!slice_equal_fold(name, SLICE("cert_fingerprint")) &&
			    !slice_equal_fold(name, SLICE("pubkey_fingerprint")))
				return error_set(
					error,
					"check_ccert_access: search_order has "
					"cert_fingerprint and pubkey_fingerprint, not %.*s",
					SLICE_ARGS(slice_first(name, 60)));
	}
	return true;
}

static bool
compile_argument(struct restrictions *restrictions, const struct restriction_row *row,
                 struct slice *rest, struct entry *entry, struct error *error)
{
	struct slice item;

	if (row->argument == WITH_NONE || row->argument == WITH_RESTRICTION)
		return true;
	if (!restriction_next_item(rest, &item))
		return error_set(error, "%s needs an argument", row->name);
	entry->text = arena_text(&restrictions->arena, item);
	if (entry->text == NULL)
		return error_set(error, "out of memory");
	if (row->argument == WITH_TABLE) {
		struct slice settings = item, table;

		if (row->function != check_check_ccert_access)
			settings = SLICE_EMPTY;
		else if (slice_next_item(&settings, ",", &table))
			item = table;
		entry->table = open_table(restrictions, item, error);
		return entry->table != NULL && compile_order(restrictions, settings, entry, error);
	}
	if (row->argument == WITH_SERVICE) {
		entry->policy = open_policy(restrictions, entry->text, error);
		return entry->policy != NULL;
	}
	if (row->argument == WITH_NUMBER && !number_parse_seconds(item, 's', &entry->number))
		return error_set(error, "%s: %s is no time", row->name, entry->text);
	return true;
}

/* A bare table stands for the check of the list's own stage: the row's name from the list's. */
static const struct restriction_row *
bare_table_row(const struct entry_list *list, const char *parameter)
{
	static const struct {
		const char *parameter, *row;
	} rows[] = {
		{ "smtpd_client_restrictions", "check_client_access" },
		{ "smtpd_helo_restrictions", "check_helo_access" },
		{ "smtpd_sender_restrictions", "check_sender_access" },
		{ "smtpd_relay_restrictions", "check_recipient_access" },
		{ "smtpd_recipient_restrictions", "check_recipient_access" },
		{ "smtpd_etrn_restrictions", "check_etrn_access" },
	};

	(void)list;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (slice_equal(slice_from(parameter), slice_from(rows[i].parameter)))
			return restriction_row_find(slice_from(rows[i].row));
	return NULL;
}

/* Fills *entry from the item; what belongs to it is taken off *rest. */
static bool
compile_entry(struct restrictions *restrictions, struct entry_list *list, const char *parameter,
              struct slice item, struct slice *rest, unsigned depth, struct entry *entry,
              struct error *error)
{
	const struct restriction_row *row = restriction_row_find(item);

	if (row == NULL && slice_contains_byte(item, ':')) {
		row = bare_table_row(list, parameter);
		if (row == NULL)
			return error_set(error, "a table without check_*_access: %.*s",
			                 SLICE_ARGS(item));
		entry->name = row->name;
		entry->function = row->function;
		return compile_argument(restrictions, row, &item, entry, error);
	}
	if (row == NULL) {
		entry->list = find_class(restrictions, item, depth, error);
		entry->name = entry->list != NULL ? entry->list->name : NULL;
		if (entry->list == NULL && error->text[0] == '\0')
			error_set(error, "unknown restriction: %.*s", SLICE_ARGS(item));
		return entry->list != NULL;
	}
	entry->name = row->name;
	entry->function = row->function;
	return compile_argument(restrictions, row, rest, entry, error);
}

static struct entry_list *
compile_list(struct restrictions *restrictions, const char *name, const char *text, unsigned depth,
             struct error *error)
{
	bool is_class = name[0] != '\0' && !slice_starts_with(slice_from(name), SLICE("smtpd_"));
	struct entry_list *list = calloc(1, sizeof(*list));
	struct slice       rest = slice_from(text), item;
	bool               is_warning = false;

	if (list == NULL || depth > DEPTH_MOST) {
		free(list);
		error_set(error, depth > DEPTH_MOST ? "restriction classes are nested too deep"
		                                    : "out of memory");
		return NULL;
	}
	list->name = is_class ? name : "";
	list->next = restrictions->lists;
	restrictions->lists = list;
	while (restriction_next_item(&rest, &item)) {
		struct entry entry = { .is_warning = is_warning };
		if (slice_equal_fold(item, SLICE("warn_if_reject"))) {
			is_warning = true;
			continue;
		}
		is_warning = false;
		if (!compile_entry(restrictions, list, name, item, &rest, depth, &entry, error) ||
		    !ARRAY_PUSH(&list->entries, entry)) {
			error_prefix(error, "%s", name);
			return NULL;
		}
	}
	return list;
}

/* Whether something in the list refuses strangers' mail for elsewhere. */
static bool
list_guards_relay(const struct entry_list *list, unsigned depth)
{
	static check_function *const guards[] = { check_reject, check_defer, check_defer_if_permit,
		                                  check_reject_unauth_destination,
		                                  check_defer_unauth_destination };

	if (depth > DEPTH_MOST)
		return false;
	for (size_t i = 0; i < list->entries.count; i++) {
		const struct entry *entry = &list->entries.items[i];

		if (entry->is_warning)
			continue;
		if (entry->list != NULL && list_guards_relay(entry->list, depth + 1))
			return true;
		for (size_t j = 0; j < sizeof(guards) / sizeof(guards[0]); j++)
			if (entry->function == guards[j])
				return true;
		if (entry->function == check_permit)
			return false;
	}
	return false;
}

struct restrictions *
restrictions_create(const struct snapshot *snapshot, struct error *error)
{
	const struct parameters *parameters = snapshot_parameters(snapshot);
	struct restrictions     *made = calloc(1, sizeof(*made));
	struct {
		struct entry_list **list;
		const char         *name, *text;
	} parts[] = {
		{ &made->client, "smtpd_client_restrictions",
		  parameters->smtpd_client_restrictions },
		{ &made->helo, "smtpd_helo_restrictions", parameters->smtpd_helo_restrictions },
		{ &made->sender, "smtpd_sender_restrictions",
		  parameters->smtpd_sender_restrictions },
		{ &made->relay, "smtpd_relay_restrictions", parameters->smtpd_relay_restrictions },
		{ &made->recipient, "smtpd_recipient_restrictions",
		  parameters->smtpd_recipient_restrictions },
		{ &made->data, "smtpd_data_restrictions", parameters->smtpd_data_restrictions },
		{ &made->end_of_data, "smtpd_end_of_data_restrictions",
		  parameters->smtpd_end_of_data_restrictions },
		{ &made->etrn, "smtpd_etrn_restrictions", parameters->smtpd_etrn_restrictions },
	};

	if (made == NULL)
		return NULL;
	made->snapshot = snapshot;
	made->parameters = parameters;
	bool is_good = true;
	for (size_t i = 0; is_good && i < sizeof(parts) / sizeof(parts[0]); i++) {
		*parts[i].list = compile_list(made, parts[i].name, parts[i].text, 0, error);
		is_good = *parts[i].list != NULL;
	}
	/* Also those that only access tables name: their tables cannot be opened later. */
	struct slice classes = slice_from(parameters->smtpd_restriction_classes), class;
	while (is_good && slice_next_word(&classes, " \t\r\n,", &class))
		is_good = find_class(made, class, 0, error) != NULL;
	if (is_good && !list_guards_relay(made->relay, 0) &&
	    !list_guards_relay(made->recipient, 0)) {
		error_set(error,
		          "in parameter smtpd_relay_restrictions or "
		          "smtpd_recipient_restrictions, specify at least one working "
		          "instance of: reject_unauth_destination, defer_unauth_destination, "
		          "reject, defer, defer_if_permit");
		is_good = false;
	}
	if (!is_good)
		restrictions_destroy(&made);
	return made;
}

void
restrictions_destroy(struct restrictions **pointer)
{
	struct restrictions *restrictions = *pointer;

	if (restrictions == NULL)
		return;
	*pointer = NULL;
	while (restrictions->tables != NULL) {
		struct open_table *open = restrictions->tables;
		restrictions->tables = open->next;
		table_close(&open->table);
		free(open);
	}
	while (restrictions->policies != NULL) {
		struct open_policy *open = restrictions->policies;
		restrictions->policies = open->next;
		policy_service_destroy(&open->service);
		free(open);
	}
	while (restrictions->lists != NULL) {
		struct entry_list *list = restrictions->lists;
		restrictions->lists = list->next;
		ARRAY_FREE(&list->entries);
		free(list);
	}
	arena_reset(&restrictions->arena);
	free(restrictions);
}

bool
restrictions_need_network(const struct restrictions *restrictions)
{
	for (const struct open_policy *open = restrictions->policies; open != NULL;
	     open = open->next)
		if (!policy_service_is_unix(open->service))
			return true;
	return false;
}
