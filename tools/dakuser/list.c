/* list.c - who is there, and what does not fit together. */
#include <stdio.h>

#include "tools/dakuser/dakuser.h"

static size_t
count_apps(const struct user *user)
{
	struct slice    rest = slice_from(user->record == NULL ? "" : user->record);
	struct user_app app;
	size_t          count = 0;

	while (user_app_next(&rest, &app))
		count++;
	return count;
}

static void
print_line(const struct user *user, const char *state, int64_t used_s)
{
	size_t apps = count_apps(user);

	printf("%-40s %-9s %s", user->name, state,
	       user->mailbox == NULL ? "(no mailbox)" : user->mailbox);
	if (user->quota > 0)
		printf(" quota=%lld", (long long)user->quota);
	if (apps > 0)
		printf(" apps=%zu", apps);
	if (used_s > 0) {
		printf(" used=");
		print_time(used_s);
	}
	putchar('\n');
}

static void
print_object(const struct user *user, const char *state, int64_t changed_s, int64_t used_s)
{
	printf("{\"user\":");
	print_json(user->name);
	printf(",\"state\":\"%s\",\"mailbox\":", state);
	if (user->mailbox == NULL)
		printf("null");
	else
		print_json(user->mailbox);
	printf(",\"quota\":%lld,\"changed\":%lld,\"last_use\":%lld,\"apps\":%zu}\n",
	       (long long)user->quota, (long long)changed_s, (long long)used_s, count_apps(user));
}

static void
print_user(const struct user *user, struct last_use *last_use, bool as_json)
{
	struct user_record record = { .is_enabled = false };
	bool               is_known =
		user->record != NULL && user_record_decode(slice_from(user->record), &record, NULL);
	const char *state = !is_known ? "no login" : record.is_enabled ? "enabled" : "disabled";
	int64_t     used_s = last_use_get(last_use, user->name, "");

	if (as_json)
		print_object(user, state, record.changed_s, used_s);
	else
		print_line(user, state, used_s);
}

static bool
is_listed(const struct user *user, const char *domain)
{
	return domain == NULL ||
	       slice_equal_fold(slice_from(strchr(user->name, '@') + 1), slice_from(domain));
}

int
command_list(struct call *call)
{
	struct store     store;
	int              status = store_fill(&store, call, false);
	struct last_use *last_use = store_last_use(&store);

	for (size_t i = 0; status == EXIT_DONE && i < store.users.count; i++)
		if (is_listed(&store.users.items[i], call->count > 0 ? call->arguments[0] : NULL))
			print_user(&store.users.items[i], last_use, call->as_json);
	last_use_close(&last_use);
	store_close(&store);
	return status;
}

/* ---- check ---- */

static bool
domain_is_written(const struct store *store, const char *domain)
{
	for (size_t i = 0; i < store->domains.count; i++)
		if (strcmp(store->domains.items[i].name, domain) == 0)
			return true;
	return false;
}

/* What a person's hand, or a crash between two files, may have left. */
static int
check_user(const struct store *store, const struct user *user)
{
	struct user_record record;
	struct error       error = ERROR_NONE;
	int                status = EXIT_DONE;

	if (user->record == NULL)
		status = fail(EXIT_FOUND_FAULTS, "%s has a mailbox but no credentials", user->name);
	else if (!user_record_decode(slice_from(user->record), &record, &error))
		status = fail(EXIT_FOUND_FAULTS, "%s: %s", user->name, error.text);
	if (user->mailbox == NULL)
		status = fail(EXIT_FOUND_FAULTS, "%s has credentials but no mailbox", user->name);
	else if (!mailbox_is_sound(slice_from(user->mailbox)))
		status = fail(EXIT_FOUND_FAULTS, "%s: mailbox %s leaves virtual_mailbox_base",
		              user->name, user->mailbox);
	else if (!domain_is_written(store, strchr(user->name, '@') + 1))
		status = fail(EXIT_FOUND_FAULTS, "%s: its domain is not in domains.db", user->name);
	return status;
}

/* A target in a domain of ours that nobody has would bounce. */
static int
check_alias(struct store *store, const struct alias *alias)
{
	struct slice rest = slice_from(alias->targets), target;
	int          status = EXIT_DONE;
	char         name[USER_NAME_MOST + 1];

	while (slice_next_word(&rest, ", ", &target)) {
		if (!user_name_canonical(target, "", name, NULL) ||
		    !domain_is_written(store, strchr(name, '@') + 1) ||
		    store_find(store, name) != NULL || store_find_alias(store, name) != NULL ||
		    store_find_alias(store, strchr(name, '@')) != NULL)
			continue;
		status = fail(EXIT_FOUND_FAULTS, "alias %s: there is no %s", alias->name, name);
	}
	return status;
}

int
command_check(struct call *call)
{
	struct store store;
	int          status = store_fill(&store, call, false);
	bool         is_open = status == EXIT_DONE;

	for (size_t i = 0; is_open && i < store.users.count; i++) {
		const struct user *user = &store.users.items[i];
		int                one = strchr(user->name, '@') == NULL
		                                 ? fail(EXIT_FOUND_FAULTS, "%s: no address", user->name)
		                                 : check_user(&store, user);

		status = one == EXIT_DONE ? status : one;
	}
	for (size_t i = 0; is_open && i < store.aliases.count; i++) {
		int one = check_alias(&store, &store.aliases.items[i]);

		status = one == EXIT_DONE ? status : one;
	}
	store_close(&store);
	return status;
}
