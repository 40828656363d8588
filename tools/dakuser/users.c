/* users.c - users come, change and go. */
#include <openssl/crypto.h>
#include <stdio.h>

#include "tools/dakuser/dakuser.h"

/* ---- passwords ---- */

/* The record as text, with the app passwords of the old one behind it. */
static int
put_record(struct store *store, const struct user_record *record, const char **text)
{
	struct buf  out = BUF(USER_RECORD_MOST);
	const char *made = NULL;

	if (user_record_encode(record, &out) &&
	    (*text == NULL || user_apps_copy(slice_from(*text), NULL, &out)))
		made = store_copy(store, buf_text(&out));
	buf_free(&out);
	if (made == NULL)
		return fail(EXIT_TROUBLE, "out of memory, or too many app passwords");
	*text = made;
	return EXIT_DONE;
}

/* Asks for a password and puts the record made of it into the store's memory. */
static int
set_password(struct store *store, const struct call *call, const char **record_text)
{
	const struct parameters *parameters = call->parameters;
	struct error             error = ERROR_NONE;
	struct user_record       record = { .is_enabled = true };
	char                     password[PASSWORD_MOST + 1];
	struct slice             old = slice_from(*record_text);
	struct user_app          app;
	int                      status;

	/* A new salt, unless app passwords hang on the old one. */
	user_salt(user_app_next(&old, &app) ? slice_from(*record_text) : SLICE_EMPTY,
	          (uint32_t)parameters->auth_scram_iterations, &record.scram);
	if (*record_text != NULL && user_record_decode(slice_from(*record_text), &record, &error) &&
	    !record.is_enabled)
		fprintf(stderr, "dakuser: note: %s is disabled\n", call->name);
	if (!password_read(call->from_stdin, password, &error) ||
	    !password_is_acceptable(slice_from(password),
	                            (unsigned)parameters->auth_password_min_length, &error))
		status = fail(EXIT_BAD_DATA, "%s", error.text);
	else if (!user_record_set_salted_password(&record, slice_from(password),
	                                          (unsigned)parameters->auth_password_cost, &error))
		status = fail(EXIT_TROUBLE, "%s", error.text);
	else
		status = put_record(store, &record, record_text);
	OPENSSL_cleanse(password, sizeof(password));
	return status;
}

static int
change_password(struct store *store, struct user *user, struct call *call)
{
	return set_password(store, call, &user->record);
}

int
command_password(struct call *call)
{
	return change_user(call, change_password);
}

/* ---- coming and going ---- */

static int
add_locked(struct store *store, const struct call *call, int64_t quota)
{
	const char *record = NULL;

	if (store_find(store, call->name) != NULL)
		return fail(EXIT_NOT_MADE, "%s is there already", call->name);
	if (store_find_alias(store, call->name) != NULL)
		return fail(EXIT_NOT_MADE, "%s is an alias; delete that first", call->name);
	int status = set_password(store, call, &record);
	if (status != EXIT_DONE)
		return status;
	char        *mailbox = mailbox_choose(store, call->name, call->mailbox);
	struct user *user = store_add(store, call->name);
	if (user == NULL || mailbox == NULL)
		return fail(EXIT_TROUBLE, "out of memory");
	user->record = record;
	user->mailbox = mailbox;
	user->quota = quota;
	return store_save(store);
}

int
command_add(struct call *call)
{
	struct store store;
	int64_t      quota = 0;

	if (call->quota != NULL && !size_parse(call->quota, &quota))
		return fail(EXIT_WRONG_USAGE,
		            "--quota %s: want bytes, or a number with K, M, G or T", call->quota);
	if (call->mailbox != NULL && !mailbox_is_sound(slice_from(call->mailbox)))
		return fail(EXIT_BAD_DATA,
		            "--mailbox %s: want a path below virtual_mailbox_base, without \"..\"",
		            call->mailbox);
	if (call->mailbox == NULL && call->name[0] == '.')
		return fail(EXIT_BAD_DATA, "%s: malformed address", call->arguments[0]);
	int status = store_fill(&store, call, true);
	if (status == EXIT_DONE)
		status = add_locked(&store, call, quota);
	store_close(&store);
	return status;
}

static int
change_delete(struct store *store, struct user *user, struct call *call)
{
	(void)call;
	store_remove(store, user);
	return EXIT_DONE;
}

int
command_delete(struct call *call)
{
	return change_user(call, change_delete);
}

/* Aliases that led to the old name lead to the new one. */
static bool
rename_targets(struct store *store, const char *old_name, const char *new_name)
{
	for (size_t i = 0; i < store->aliases.count; i++) {
		struct alias *alias = &store->aliases.items[i];
		struct slice  rest = slice_from(alias->targets), target;
		struct buf    out = BUF(64u * 1024);

		while (slice_next_word(&rest, ", ", &target)) {
			if (slice_equal_fold(target, slice_from(old_name)))
				target = slice_from(new_name);
			buf_append_format(&out, "%s%.*s", out.length > 0 ? ", " : "",
			                  SLICE_ARGS(target));
		}
		alias->targets = store_copy(store, buf_text(&out));
		buf_free(&out);
		if (alias->targets == NULL)
			return false;
	}
	return true;
}

/* The mailbox stays where it is on the disk. */
static int
change_rename(struct store *store, struct user *user, struct call *call)
{
	char         name[USER_NAME_MOST + 1];
	struct error error = ERROR_NONE;
	struct user  old = *user;

	if (!address_canonical(call->arguments[1], false, name, &error))
		return fail(EXIT_BAD_DATA, "%s: %s", call->arguments[1], error.text);
	if (store_find(store, name) != NULL || store_find_alias(store, name) != NULL)
		return fail(EXIT_NOT_MADE, "%s is there already", name);
	store_remove(store, user);
	user = store_add(store, name);
	if (user == NULL || !rename_targets(store, old.name, name))
		return fail(EXIT_TROUBLE, "out of memory");
	user->record = old.record;
	user->mailbox = old.mailbox;
	user->quota = old.quota;
	return EXIT_DONE;
}

int
command_rename(struct call *call)
{
	return change_user(call, change_rename);
}

/* ---- smaller changes ---- */

static int
change_quota(struct store *store, struct user *user, struct call *call)
{
	(void)store;
	if (!size_parse(call->arguments[1], &user->quota))
		return fail(EXIT_WRONG_USAGE, "%s: want bytes, or a number with K, M, G or T",
		            call->arguments[1]);
	return EXIT_DONE;
}

int
command_quota(struct call *call)
{
	return change_user(call, change_quota);
}

static int
set_enabled(struct store *store, struct user *user, bool is_enabled)
{
	struct user_record record;
	struct error       error = ERROR_NONE;

	if (user->record == NULL)
		return fail(EXIT_NO_USER, "%s has no credentials", user->name);
	if (!user_record_decode(slice_from(user->record), &record, &error))
		return fail(EXIT_BAD_DATA, "%s: %s", user->name, error.text);
	record.is_enabled = is_enabled;
	return put_record(store, &record, &user->record);
}

static int
change_enable(struct store *store, struct user *user, struct call *call)
{
	(void)call;
	return set_enabled(store, user, true);
}

int
command_enable(struct call *call)
{
	return change_user(call, change_enable);
}

static int
change_disable(struct store *store, struct user *user, struct call *call)
{
	(void)call;
	return set_enabled(store, user, false);
}

int
command_disable(struct call *call)
{
	return change_user(call, change_disable);
}
