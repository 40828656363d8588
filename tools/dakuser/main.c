/* main.c - dakuser: the users of the mail system, their passwords, mailboxes and quotas. */
#include <getopt.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/number.h"
#include "lib/conf/version.h"
#include "tools/dakuser/dakuser.h"

struct call {
	const struct parameters *parameters;
	const char              *argument; /* the address or domain; NULL when none was given */
	const char              *second;
	const char              *mailbox; /* --mailbox */
	const char              *quota;   /* --quota */
	bool                     from_stdin;
	bool                     as_json;
	char                     name[USER_NAME_MOST + 1]; /* argument in canonical form */
};

static int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int
fail(int status, const char *format, ...)
{
	va_list arguments;

	fputs("dakuser: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return status;
}

/* ---- arguments ---- */

/* "1G", "500M", "0"; powers of 1024. */
static bool
size_parse(const char *text, int64_t *size)
{
	struct slice digits = slice_from(text);
	const char   units[] = "KMGT";
	int64_t      factor = 1, number;

	if (digits.length == 0)
		return false;
	const char *unit = strchr(units, ascii_upper(text[digits.length - 1]));
	if (unit != NULL) {
		for (const char *step = units; step <= unit; step++)
			factor *= 1024;
		digits.length--;
	}
	if (!number_parse(digits, 0, INT64_MAX, &number) ||
	    __builtin_mul_overflow(number, factor, &number))
		return false;
	*size = number;
	return true;
}

/* Below virtual_mailbox_base and nowhere else. */
static bool
mailbox_is_sound(struct slice path)
{
	struct slice rest = path, part;

	if (slice_is_empty(path) || path.data[0] == '/' || slice_has_control(path) ||
	    path.length > 1000)
		return false;
	while (slice_next_part(&rest, '/', &part)) {
		bool is_last = rest.data == NULL;

		if (slice_is_empty(part) && !is_last)
			return false;
		if (slice_equal(part, SLICE(".")) || slice_equal(part, SLICE("..")))
			return false;
	}
	return true;
}

static int
store_fill(struct store *store, const struct call *call, bool to_change)
{
	struct error error = ERROR_NONE;

	if (store_open(store, call->parameters, to_change, &error))
		return EXIT_DONE;
	return fail(EXIT_NOT_MADE, "%s", error.text);
}

static int
store_save(struct store *store)
{
	struct error error = ERROR_NONE;

	return store_write(store, &error) ? EXIT_DONE : fail(EXIT_NOT_MADE, "%s", error.text);
}

/* ---- commands ---- */

/* Asks for a password and puts the record made of it into the store's memory. */
static int
set_password(struct store *store, const struct call *call, const char **record_text)
{
	const struct parameters *parameters = call->parameters;
	struct error             error = ERROR_NONE;
	struct user_record       record = { .is_enabled = true };
	struct buf               text = BUF(USER_RECORD_MOST);
	char                     password[PASSWORD_MOST + 1];
	int                      status = EXIT_DONE;

	if (*record_text != NULL && user_record_decode(slice_from(*record_text), &record, &error) &&
	    !record.is_enabled)
		fprintf(stderr, "dakuser: note: %s is disabled\n", call->name);
	if (!password_read(call->from_stdin, password, &error) ||
	    !password_is_acceptable(slice_from(password),
	                            (unsigned)parameters->auth_password_min_length, &error))
		status = fail(EXIT_BAD_DATA, "%s", error.text);
	else if (!user_record_set_password(&record, slice_from(password),
	                                   (unsigned)parameters->auth_password_cost,
	                                   (uint32_t)parameters->auth_scram_iterations, &error))
		status = fail(EXIT_TROUBLE, "%s", error.text);
	else if (!user_record_encode(&record, &text) ||
	         (*record_text = store_copy(store, buf_text(&text))) == NULL)
		status = fail(EXIT_TROUBLE, "out of memory");
	OPENSSL_cleanse(password, sizeof(password));
	buf_free(&text);
	return status;
}

/* The mailbox that was asked for, or "domain/user/". */
static char *
mailbox_choose(struct store *store, const struct call *call)
{
	const char *at = strchr(call->name, '@');

	if (call->mailbox != NULL)
		return store_copy(store, call->mailbox);
	return arena_format(&store->arena, "%s/%.*s/", at + 1, (int)(at - call->name), call->name);
}

static int
add_locked(struct store *store, const struct call *call, int64_t quota)
{
	const char  *record = NULL;
	struct user *user = store_find(store, call->name);

	if (user != NULL)
		return fail(EXIT_NOT_MADE, "%s is there already", call->name);
	int status = set_password(store, call, &record);
	if (status != EXIT_DONE)
		return status;
	char *mailbox = mailbox_choose(store, call);
	user = store_add(store, call->name);
	if (user == NULL || mailbox == NULL)
		return fail(EXIT_TROUBLE, "out of memory");
	user->record = record;
	user->mailbox = mailbox;
	user->quota = quota;
	return store_save(store);
}

static int
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
		return fail(EXIT_BAD_DATA, "%s: malformed address", call->argument);
	int status = store_fill(&store, call, true);
	if (status == EXIT_DONE)
		status = add_locked(&store, call, quota);
	store_close(&store);
	return status;
}

/* The commands that change a user who must be there. */
static int
change_user(struct call *call,
            int (*change)(struct store *store, struct user *user, struct call *call))
{
	struct store store;
	int          status = store_fill(&store, call, true);

	if (status == EXIT_DONE) {
		struct user *user = store_find(&store, call->name);

		status = user == NULL ? fail(EXIT_NO_USER, "there is no user %s", call->name)
		                      : change(&store, user, call);
	}
	if (status == EXIT_DONE)
		status = store_save(&store);
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

static int
change_password(struct store *store, struct user *user, struct call *call)
{
	return set_password(store, call, &user->record);
}

static int
change_quota(struct store *store, struct user *user, struct call *call)
{
	(void)store;
	if (!size_parse(call->second, &user->quota))
		return fail(EXIT_WRONG_USAGE, "%s: want bytes, or a number with K, M, G or T",
		            call->second);
	return EXIT_DONE;
}

static int
set_enabled(struct store *store, struct user *user, bool is_enabled)
{
	struct user_record record;
	struct error       error = ERROR_NONE;
	struct buf         text = BUF(USER_RECORD_MOST);

	if (user->record == NULL)
		return fail(EXIT_NO_USER, "%s has no credentials", user->name);
	if (!user_record_decode(slice_from(user->record), &record, &error))
		return fail(EXIT_BAD_DATA, "%s: %s", user->name, error.text);
	record.is_enabled = is_enabled;
	if (user_record_encode(&record, &text))
		user->record = store_copy(store, buf_text(&text));
	buf_free(&text);
	return user->record == NULL ? fail(EXIT_TROUBLE, "out of memory") : EXIT_DONE;
}

static int
change_enable(struct store *store, struct user *user, struct call *call)
{
	(void)call;
	return set_enabled(store, user, true);
}

static int
change_disable(struct store *store, struct user *user, struct call *call)
{
	(void)call;
	return set_enabled(store, user, false);
}

static int
command_delete(struct call *call)
{
	return change_user(call, change_delete);
}

static int
command_password(struct call *call)
{
	return change_user(call, change_password);
}

static int
command_quota(struct call *call)
{
	return change_user(call, change_quota);
}

static int
command_enable(struct call *call)
{
	return change_user(call, change_enable);
}

static int
command_disable(struct call *call)
{
	return change_user(call, change_disable);
}

/* A JSON string; names and paths hold no control characters, so two escapes do. */
static void
print_json(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('"');
}

static void
print_user(const struct user *user, bool as_json)
{
	struct user_record record = { .is_enabled = false };
	bool               is_known =
		user->record != NULL && user_record_decode(slice_from(user->record), &record, NULL);
	const char *state = !is_known ? "no login" : record.is_enabled ? "enabled" : "disabled";

	if (!as_json) {
		printf("%-40s %-9s %s", user->name, state,
		       user->mailbox == NULL ? "(no mailbox)" : user->mailbox);
		if (user->quota > 0)
			printf(" quota=%lld", (long long)user->quota);
		putchar('\n');
		return;
	}
	printf("{\"user\":");
	print_json(user->name);
	printf(",\"state\":\"%s\",\"mailbox\":", state);
	if (user->mailbox == NULL)
		printf("null");
	else
		print_json(user->mailbox);
	printf(",\"quota\":%lld,\"changed\":%lld}\n", (long long)user->quota,
	       (long long)record.changed_s);
}

static bool
is_listed(const struct user *user, const char *domain)
{
	return domain == NULL ||
	       slice_equal_fold(slice_from(strchr(user->name, '@') + 1), slice_from(domain));
}

static int
command_list(struct call *call)
{
	struct store store;
	int          status = store_fill(&store, call, false);

	for (size_t i = 0; status == EXIT_DONE && i < store.users.count; i++)
		if (is_listed(&store.users.items[i], call->argument))
			print_user(&store.users.items[i], call->as_json);
	store_close(&store);
	return status;
}

static int
command_domains(struct call *call)
{
	struct store store;
	int          status = store_fill(&store, call, false);

	for (size_t i = 0; status == EXIT_DONE && i < store.domains.count; i++) {
		if (call->as_json)
			printf("{\"domain\":\"%s\"}\n", store.domains.items[i]);
		else
			puts(store.domains.items[i]);
	}
	store_close(&store);
	return status;
}

static bool
domain_is_there(const struct store *store, const char *domain)
{
	for (size_t i = 0; i < store->domains.count; i++)
		if (strcmp(store->domains.items[i], domain) == 0)
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
	else if (!domain_is_there(store, strchr(user->name, '@') + 1))
		status = fail(EXIT_FOUND_FAULTS, "%s: its domain is not in domains.db", user->name);
	return status;
}

static int
command_check(struct call *call)
{
	struct store store;
	int          status = store_fill(&store, call, false);

	for (size_t i = 0; status != EXIT_NOT_MADE && i < store.users.count; i++) {
		const struct user *user = &store.users.items[i];
		int                one = strchr(user->name, '@') == NULL
		                                 ? fail(EXIT_FOUND_FAULTS, "%s: no address", user->name)
		                                 : check_user(&store, user);

		status = one == EXIT_DONE ? status : one;
	}
	store_close(&store);
	return status;
}

enum argument { NO_ARGUMENT, MAYBE_DOMAIN, USER, USER_AND_SIZE };

static const struct command {
	const char   *name;
	enum argument argument;
	int (*run)(struct call *call);
	const char *usage;
	const char *help;
} commands[] = {
	{ "add", USER, command_add, "add [--quota SIZE] [--mailbox PATH] [--stdin] user@domain",
	  "makes a user; asks for the password" },
	{ "delete", USER, command_delete, "delete user@domain",
	  "removes a user; the mailbox stays on disk" },
	{ "password", USER, command_password, "password [--stdin] user@domain",
	  "sets a new password" },
	{ "quota", USER_AND_SIZE, command_quota, "quota user@domain SIZE",
	  "sets the quota; 0 for none" },
	{ "enable", USER, command_enable, "enable user@domain", "lets a user log in again" },
	{ "disable", USER, command_disable, "disable user@domain",
	  "refuses logins; mail is still delivered" },
	{ "list", MAYBE_DOMAIN, command_list, "list [--json] [domain]", "lists users" },
	{ "domains", NO_ARGUMENT, command_domains, "domains [--json]", "lists domains" },
	{ "check", NO_ARGUMENT, command_check, "check", "names what does not fit together" },
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static int
usage(FILE *out, int status)
{
	fputs("usage: dakuser [-c config_directory] command ...\n\n", out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-58s %s\n", commands[i].usage, commands[i].help);
	fputs("\nSIZE is in bytes, or with K, M, G, T. PATH lies below virtual_mailbox_base and\n"
	      "ends in / for a Maildir. Passwords come from the terminal, or with --stdin from\n"
	      "the first line of standard input; never from the command line.\n",
	      out);
	return status;
}

static bool
arguments_fit(enum argument wanted, int count)
{
	switch (wanted) {
	case NO_ARGUMENT: return count == 0;
	case MAYBE_DOMAIN: return count <= 1;
	case USER: return count == 1;
	case USER_AND_SIZE: return count == 2;
	}
	return false;
}

static int
run_command(const struct command *command, struct call *call, const char *config_directory)
{
	struct error     error = ERROR_NONE;
	struct snapshot *snapshot = config_read(config_directory, &error);

	if (snapshot == NULL)
		return fail(EXIT_NO_CONFIG, "%s", error.text);
	call->parameters = snapshot_parameters(snapshot);
	int status = EXIT_DONE;
	if ((command->argument == USER || command->argument == USER_AND_SIZE) &&
	    !user_name_canonical(slice_from(call->argument), "", call->name, &error))
		status = fail(EXIT_BAD_DATA, "%s: %s", call->argument, error.text);
	else
		status = command->run(call);
	snapshot_destroy(&snapshot);
	if (fflush(stdout) != 0)
		return fail(EXIT_TROUBLE, "standard output cannot be written");
	return status;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "quota", required_argument, NULL, 'q' },
		{ "mailbox", required_argument, NULL, 'm' },
		{ "stdin", no_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *environment = getenv("MAIL_CONFIG");
	const char *config_directory = environment != NULL ? environment : "/etc/dakiya";
	struct call call = { 0 };
	int         letter;

	if (version_asked(argc, argv))
		return EXIT_DONE;
	while ((letter = getopt_long(argc, argv, "c:jh", options, NULL)) != -1) {
		switch (letter) {
		case 'c': config_directory = optarg; break;
		case 'q': call.quota = optarg; break;
		case 'm': call.mailbox = optarg; break;
		case 's': call.from_stdin = true; break;
		case 'j': call.as_json = true; break;
		case 'h': return usage(stdout, EXIT_DONE);
		default: return usage(stderr, EXIT_WRONG_USAGE);
		}
	}
	if (optind == argc)
		return usage(stderr, EXIT_WRONG_USAGE);
	int given = argc - optind - 1;
	call.argument = given > 0 ? argv[optind + 1] : NULL;
	call.second = given > 1 ? argv[optind + 2] : NULL;
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(commands[i].name, argv[optind]) == 0)
			return arguments_fit(commands[i].argument, given)
			               ? run_command(&commands[i], &call, config_directory)
			               : usage(stderr, EXIT_WRONG_USAGE);
	return usage(stderr, EXIT_WRONG_USAGE);
}
