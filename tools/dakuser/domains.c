/* domains.c - domains with and without users, and the aliases in them. */
#include <stdio.h>

#include "tools/dakuser/dakuser.h"

/* ---- what is there ---- */

static const char *
domain_of(const char *name)
{
	const char *at = strchr(name, '@');

	return at == NULL ? "" : at + 1;
}

static size_t
count_users(const struct store *store, const char *domain)
{
	size_t count = 0;

	for (size_t i = 0; i < store->users.count; i++)
		count += strcmp(domain_of(store->users.items[i].name), domain) == 0;
	return count;
}

static size_t
count_aliases(const struct store *store, const char *domain)
{
	size_t count = 0;

	for (size_t i = 0; i < store->aliases.count; i++)
		count += strcmp(domain_of(store->aliases.items[i].name), domain) == 0;
	return count;
}

static bool
domain_is_ours(struct store *store, const char *domain)
{
	const struct domain *found = store_find_domain(store, domain);

	return (found != NULL && found->is_own) || count_users(store, domain) > 0;
}

/* The argument as a domain in canonical form; EXIT_DONE or what to exit with. */
static int
parse_domain(const char *text, char domain[USER_NAME_MOST + 1])
{
	char         whole[USER_NAME_MOST + 1];
	struct error error = ERROR_NONE;

	if (snprintf(whole, sizeof(whole), "@%s", text) >= (int)sizeof(whole) ||
	    !address_canonical(whole, true, domain, &error))
		return fail(EXIT_BAD_DATA, "%s: not a domain", text);
	memmove(domain, domain + 1, strlen(domain));
	return EXIT_DONE;
}

/* ---- domains ---- */

static int
domain_add(struct store *store, const char *name)
{
	struct domain *found = store_find_domain(store, name);
	struct domain  fresh = { .name = store_copy(store, name), .is_own = true };

	if (found != NULL && found->is_own)
		return fail(EXIT_NOT_MADE, "%s is there already", name);
	if (found != NULL)
		found->is_own = true;
	else if (fresh.name == NULL || !ARRAY_PUSH(&store->domains, fresh))
		return fail(EXIT_TROUBLE, "out of memory");
	return store_save(store);
}

int
command_domain_add(struct call *call)
{
	struct store store;
	char         name[USER_NAME_MOST + 1];
	int          status = parse_domain(call->arguments[0], name);

	if (status != EXIT_DONE)
		return status;
	status = store_fill(&store, call, true);
	if (status == EXIT_DONE)
		status = domain_add(&store, name);
	store_close(&store);
	return status;
}

static void
remove_all_of(struct store *store, const char *domain)
{
	size_t kept = 0;

	for (size_t i = store->users.count; i > 0; i--)
		if (strcmp(domain_of(store->users.items[i - 1].name), domain) == 0)
			store_remove(store, &store->users.items[i - 1]);
	for (size_t i = 0; i < store->aliases.count; i++)
		if (strcmp(domain_of(store->aliases.items[i].name), domain) != 0)
			store->aliases.items[kept++] = store->aliases.items[i];
	store->aliases.count = kept;
}

static int
domain_remove(struct store *store, const struct call *call, const char *name)
{
	struct domain *found = store_find_domain(store, name);
	size_t         users = count_users(store, name), aliases = count_aliases(store, name);

	if (found == NULL && users == 0 && aliases == 0)
		return fail(EXIT_NO_USER, "there is no domain %s", name);
	if ((users > 0 || aliases > 0) && !call->is_forced)
		return fail(EXIT_NOT_MADE,
		            "%s has %zu users and %zu aliases; --force removes them, too "
		            "(mailboxes stay on disk)",
		            name, users, aliases);
	remove_all_of(store, name);
	if (found != NULL)
		found->is_own = false;
	return store_save(store);
}

int
command_domain_remove(struct call *call)
{
	struct store store;
	char         name[USER_NAME_MOST + 1];
	int          status = parse_domain(call->arguments[0], name);

	if (status != EXIT_DONE)
		return status;
	status = store_fill(&store, call, true);
	if (status == EXIT_DONE)
		status = domain_remove(&store, call, name);
	store_close(&store);
	return status;
}

/* `domain list' counts; `domains' gives the names only, for scripts. */
int
command_domain_list(struct call *call)
{
	struct store store;
	int          status = store_fill(&store, call, false);

	for (size_t i = 0; status == EXIT_DONE && i < store.domains.count; i++) {
		const char *name = store.domains.items[i].name;
		size_t users = count_users(&store, name), aliases = count_aliases(&store, name);

		if (call->as_json)
			printf("{\"domain\":\"%s\",\"users\":%zu,\"aliases\":%zu}\n", name, users,
			       aliases);
		else if (call->with_counts)
			printf("%-40s users=%zu aliases=%zu\n", name, users, aliases);
		else
			puts(name);
	}
	store_close(&store);
	return status;
}

/* ---- aliases ---- */

/* Appends what is not there yet. */
static int
append_targets(struct buf *targets, char **arguments, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct error error = ERROR_NONE;
		struct slice rest = buf_slice(targets), one;
		char         name[USER_NAME_MOST + 1];
		bool         is_there = false;

		if (!address_canonical(arguments[i], false, name, &error))
			return fail(EXIT_BAD_DATA, "%s: %s", arguments[i], error.text);
		while (slice_next_word(&rest, ", ", &one))
			is_there |= slice_equal_fold(one, slice_from(arguments[i]));
		if (!is_there)
			buf_append_format(targets, "%s%s", targets->length > 0 ? ", " : "",
			                  arguments[i]);
	}
	return targets->has_failed ? fail(EXIT_BAD_DATA, "too many targets") : EXIT_DONE;
}

/* Without the table in main.cf an alias would be kept and do nothing. */
static void
warn_unused(const struct call *call)
{
	struct buf table = BUF(8192);

	buf_append_format(&table, "%s/aliases", call->parameters->data_directory);
	if (slice_find(slice_from(call->parameters->virtual_alias_maps), buf_slice(&table)) ==
	    SLICE_NOT_FOUND)
		fprintf(stderr,
		        "dakuser: note: aliases count when virtual_alias_maps names hash:%s\n",
		        buf_text(&table));
	buf_free(&table);
}

#define TARGETS_MOST ((size_t)32 * 1024)

static int
alias_add(struct store *store, const struct call *call, const char *name)
{
	struct alias *alias = store_find_alias(store, name), fresh = { 0 };
	struct buf    targets = BUF(TARGETS_MOST);
	const char   *text = NULL;

	if (!domain_is_ours(store, domain_of(name)) && !call->is_forced)
		return fail(EXIT_NO_USER,
		            "there is no domain %s: dakuser domain add %s, or --force when "
		            "another table has it",
		            domain_of(name), domain_of(name));
	if (alias != NULL)
		buf_append_text(&targets, alias->targets);
	int status = append_targets(&targets, call->arguments + 1, call->count - 1);
	if (status == EXIT_DONE)
		text = store_copy(store, buf_text(&targets));
	buf_free(&targets);
	if (status != EXIT_DONE)
		return status;
	fresh = (struct alias){ store_copy(store, name), text };
	if (text == NULL || fresh.name == NULL)
		return fail(EXIT_TROUBLE, "out of memory");
	if (alias != NULL)
		alias->targets = text;
	else if (!ARRAY_PUSH(&store->aliases, fresh))
		return fail(EXIT_TROUBLE, "out of memory");
	status = store_save(store);
	if (status == EXIT_DONE)
		warn_unused(call);
	return status;
}

/* All of it, or the targets that are named. */
static int
alias_delete(struct store *store, const struct call *call, const char *name)
{
	struct alias *alias = store_find_alias(store, name);
	struct buf    kept = BUF(TARGETS_MOST);
	struct slice  rest, one;

	if (alias == NULL)
		return fail(EXIT_NO_USER, "there is no alias %s", name);
	rest = slice_from(call->count > 1 ? alias->targets : "");
	while (slice_next_word(&rest, ", ", &one)) {
		bool is_gone = false;

		for (size_t i = 1; i < call->count; i++)
			is_gone |= slice_equal_fold(one, slice_from(call->arguments[i]));
		if (!is_gone)
			buf_append_format(&kept, "%s%.*s", kept.length > 0 ? ", " : "",
			                  SLICE_ARGS(one));
	}
	if (kept.length > 0) {
		alias->targets = store_copy(store, buf_text(&kept));
	} else {
		*alias = store->aliases.items[store->aliases.count - 1];
		store->aliases.count--;
	}
	bool is_good = kept.length == 0 || alias->targets != NULL;
	buf_free(&kept);
	return is_good ? store_save(store) : fail(EXIT_TROUBLE, "out of memory");
}

static int
change_alias(struct call *call, int (*change)(struct store *, const struct call *, const char *))
{
	struct store store;
	char         name[USER_NAME_MOST + 1];
	struct error error = ERROR_NONE;

	if (!address_canonical(call->arguments[0], true, name, &error))
		return fail(EXIT_BAD_DATA, "%s: %s", call->arguments[0], error.text);
	int status = store_fill(&store, call, true);
	if (status == EXIT_DONE)
		status = change(&store, call, name);
	store_close(&store);
	return status;
}

int
command_alias_add(struct call *call)
{
	return change_alias(call, alias_add);
}

int
command_alias_delete(struct call *call)
{
	return change_alias(call, alias_delete);
}

static void
print_alias(const struct alias *alias, bool as_json)
{
	struct slice rest = slice_from(alias->targets), one;
	bool         is_first = true;

	if (!as_json) {
		printf("%-40s %s\n", alias->name, alias->targets);
		return;
	}
	printf("{\"alias\":");
	print_json(alias->name);
	printf(",\"targets\":[");
	while (slice_next_word(&rest, ", ", &one)) {
		printf("%s\"%.*s\"", is_first ? "" : ",", SLICE_ARGS(one));
		is_first = false;
	}
	printf("]}\n");
}

int
command_alias_list(struct call *call)
{
	struct store store;
	int          status = store_fill(&store, call, false);
	const char  *domain = call->count > 0 ? call->arguments[0] : NULL;

	for (size_t i = 0; status == EXIT_DONE && i < store.aliases.count; i++) {
		const struct alias *alias = &store.aliases.items[i];

		if (domain == NULL ||
		    slice_equal_fold(slice_from(domain_of(alias->name)), slice_from(domain)))
			print_alias(alias, call->as_json);
	}
	store_close(&store);
	return status;
}
