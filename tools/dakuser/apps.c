/* apps.c - app passwords: made at random, one a device or program, for some protocols only. */
#include <openssl/crypto.h>
#include <stdio.h>

#include "tools/dakuser/dakuser.h"

static const char *
record_of(const struct user *user)
{
	return user->record == NULL ? "" : user->record;
}

/* By its id or its label; false when there is none. */
static bool
find_app(const char *record, const char *wanted, struct user_app *app)
{
	struct slice rest = slice_from(record);

	while (user_app_next(&rest, app))
		if (strcmp(app->id, wanted) == 0 || strcmp(app->label, wanted) == 0)
			return true;
	return false;
}

static size_t
count_apps(const char *record)
{
	struct slice    rest = slice_from(record);
	struct user_app app;
	size_t          count = 0;

	while (user_app_next(&rest, &app))
		count++;
	return count;
}

/* Every id leads to one hash. */
static bool
make_unique(const struct call *call, const char *record, struct user_app *app,
            char password[USER_APP_PASSWORD], struct error *error)
{
	struct user_app other;

	user_salt(slice_from(record), (uint32_t)call->parameters->auth_scram_iterations,
	          &app->scram);
	do {
		if (!user_app_make(app, (unsigned)call->parameters->auth_password_cost, password,
		                   error))
			return false;
	} while (find_app(record, app->id, &other));
	return true;
}

static void
print_new(const struct call *call, const struct user_app *app, const char *password)
{
	if (!call->as_json) {
		puts(password);
		return;
	}
	printf("{\"user\":");
	print_json(call->name);
	printf(",\"id\":\"%s\",\"password\":\"%s\"}\n", app->id, password);
}

static int
app_add(struct store *store, struct user *user, struct call *call)
{
	struct user_app app = { .protocols = USER_PROTOCOL_ANY }, other;
	struct error    error = ERROR_NONE;
	struct buf      record = BUF(USER_RECORD_MOST);
	char            password[USER_APP_PASSWORD];
	int             status = EXIT_DONE;

	if (user->record == NULL)
		return fail(EXIT_NO_USER, "%s has no credentials", user->name);
	if (call->protocol != NULL)
		app.protocols = user_protocol_parse(slice_from(call->protocol));
	if (app.protocols == 0)
		return fail(EXIT_WRONG_USAGE, "--protocol %s: want smtp, pop3 or any",
		            call->protocol);
	const char *label = call->count > 1 ? call->arguments[1] : "unnamed";
	if (!user_label_is_sound(slice_from(label)))
		return fail(EXIT_BAD_DATA, "a label has 1 to %d bytes of UTF-8",
		            USER_APP_LABEL_MOST);
	if (call->count > 1 && find_app(user->record, label, &other))
		return fail(EXIT_NOT_MADE, "%s has an app password of that name already",
		            user->name);
	if (count_apps(user->record) >= USER_APPS_MOST)
		return fail(EXIT_NOT_MADE, "%s has %d app passwords, which is the most", user->name,
		            USER_APPS_MOST);
	snprintf(app.label, sizeof(app.label), "%s", label);
	if (!make_unique(call, user->record, &app, password, &error))
		return fail(EXIT_TROUBLE, "%s", error.text);
	buf_append_text(&record, user->record);
	if (!user_app_append(&app, &record) ||
	    (user->record = store_copy(store, buf_text(&record))) == NULL)
		status = fail(EXIT_NOT_MADE, "no room for another app password");
	else if ((status = store_save(store)) == EXIT_DONE)
		print_new(call, &app, password);
	OPENSSL_cleanse(password, sizeof(password));
	buf_free(&record);
	return status;
}

/* The password is shown when it is stored, not before. */
int
command_app_add(struct call *call)
{
	struct store store;
	int          status = store_fill(&store, call, true);

	if (status == EXIT_DONE) {
		struct user *user = store_find(&store, call->name);

		status = user == NULL ? fail(EXIT_NO_USER, "there is no user %s", call->name)
		                      : app_add(&store, user, call);
	}
	store_close(&store);
	return status;
}

static int
app_delete(struct store *store, struct user *user, struct call *call)
{
	struct user_app    app;
	struct user_record record;
	struct error       error = ERROR_NONE;
	struct buf         out = BUF(USER_RECORD_MOST);
	const char        *made = NULL;

	if (!find_app(record_of(user), call->arguments[1], &app))
		return fail(EXIT_NO_USER, "%s has no app password \"%s\"", user->name,
		            call->arguments[1]);
	if (!user_record_decode(slice_from(user->record), &record, &error))
		return fail(EXIT_BAD_DATA, "%s: %s", user->name, error.text);
	if (user_record_encode(&record, &out) &&
	    user_apps_copy(slice_from(user->record), app.id, &out))
		made = store_copy(store, buf_text(&out));
	buf_free(&out);
	if (made == NULL)
		return fail(EXIT_TROUBLE, "out of memory");
	user->record = made;
	return EXIT_DONE;
}

int
command_app_delete(struct call *call)
{
	return change_user(call, app_delete);
}

static const char *
protocol_word(unsigned protocols)
{
	return protocols == USER_PROTOCOL_SMTP   ? "smtp"
	       : protocols == USER_PROTOCOL_POP3 ? "pop3"
	                                         : "any";
}

static void
print_app(const struct user *user, const struct user_app *app, int64_t used_s, bool as_json)
{
	if (!as_json) {
		printf("%s  %-5s made ", app->id, protocol_word(app->protocols));
		print_time(app->created_s);
		printf("  used ");
		print_time(used_s);
		printf("  %s\n", app->label);
		return;
	}
	printf("{\"user\":");
	print_json(user->name);
	printf(",\"id\":\"%s\",\"protocol\":\"%s\",\"label\":", app->id,
	       protocol_word(app->protocols));
	print_json(app->label);
	printf(",\"created\":%lld,\"last_use\":%lld}\n", (long long)app->created_s,
	       (long long)used_s);
}

int
command_app_list(struct call *call)
{
	struct store       store;
	int                status = store_fill(&store, call, false);
	struct last_use   *last_use = store_last_use(&store);
	const struct user *user = status == EXIT_DONE ? store_find(&store, call->name) : NULL;

	if (status == EXIT_DONE && user == NULL)
		status = fail(EXIT_NO_USER, "there is no user %s", call->name);
	if (user != NULL) {
		struct slice    rest = slice_from(record_of(user));
		struct user_app app;

		while (user_app_next(&rest, &app))
			print_app(user, &app, last_use_get(last_use, user->name, app.id),
			          call->as_json);
	}
	last_use_close(&last_use);
	store_close(&store);
	return status;
}
