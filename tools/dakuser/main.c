/* main.c - dakuser: users, domains, aliases and app passwords of the mail system. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/usage.h"
#include "lib/conf/places.h"
#include "lib/conf/version.h"
#include "lib/io/file.h"
#include "tools/dakuser/dakuser.h"

#define COUNT_MOST 1000

/* What stands behind a command: how many, and whether the first is a user. */
static const struct command {
	const char *group; /* NULL: the name is one word */
	const char *name;
	size_t      least, most;
	bool        is_user;
	int (*run)(struct call *call);
	const char *arguments;
	const char *help;
} commands[] = {
	{ NULL, "add", 1, 1, true, command_add, "[--quota SIZE] [--mailbox PATH] [--stdin] USER",
	  "makes a user; asks for the password" },
	{ NULL, "delete", 1, 1, true, command_delete, "USER",
	  "removes a user; the mailbox stays on disk" },
	{ NULL, "rename", 2, 2, true, command_rename, "USER NEWNAME",
	  "gives a user another address; mailbox and aliases follow" },
	{ NULL, "password", 1, 1, true, command_password, "[--stdin] USER", "sets a new password" },
	{ NULL, "quota", 2, 2, true, command_quota, "USER SIZE", "sets the quota; 0 for none" },
	{ NULL, "enable", 1, 1, true, command_enable, "USER", "lets a user log in again" },
	{ NULL, "disable", 1, 1, true, command_disable, "USER",
	  "refuses logins; mail is still delivered" },
	{ NULL, "list", 0, 1, false, command_list, "[--json] [DOMAIN]", "lists users" },
	{ "app", "add", 1, 2, true, command_app_add, "[--protocol smtp|pop3|any] USER [LABEL]",
	  "makes an app password and shows it, once" },
	{ "app", "delete", 2, 2, true, command_app_delete, "USER ID|LABEL",
	  "takes an app password away" },
	{ "app", "list", 1, 1, true, command_app_list, "[--json] USER",
	  "lists app passwords with their last use" },
	{ "alias", "add", 2, COUNT_MOST, false, command_alias_add, "ADDRESS|@DOMAIN TARGET ...",
	  "leads mail for an address to others, too" },
	{ "alias", "delete", 1, COUNT_MOST, false, command_alias_delete,
	  "ADDRESS|@DOMAIN [TARGET ...]", "removes an alias, or targets of it" },
	{ "alias", "list", 0, 1, false, command_alias_list, "[--json] [DOMAIN]", "lists aliases" },
	{ "domain", "add", 1, 1, false, command_domain_add, "DOMAIN",
	  "makes a domain that needs no users" },
	{ "domain", "remove", 1, 1, false, command_domain_remove, "[--force] DOMAIN",
	  "removes a domain; with --force its users and aliases" },
	{ "domain", "list", 0, 0, false, command_domain_list, "[--json]",
	  "lists domains with the number of users and aliases" },
	{ NULL, "domains", 0, 0, false, command_domain_list, "[--json]",
	  "lists domains, names only" },
	{ NULL, "import", 1, 1, false, command_import, "[--force] [--domain DOMAIN] FILE|-",
	  "users from Dovecot's passwd-file" },
	{ NULL, "export", 0, 0, false, command_export, "", "users as Dovecot's passwd-file" },
	{ NULL, "check", 0, 0, false, command_check, "", "names what does not fit together" },
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

enum {
	OPTION_QUOTA = USAGE_LONG_ONLY,
	OPTION_MAILBOX,
	OPTION_STDIN,
	OPTION_PROTOCOL,
	OPTION_DOMAIN,
	OPTION_FORCE,
};

static const char *const         forms[] = { "[-c DIRECTORY] COMMAND ...", NULL };
static const struct usage_option options[] = {
	{ 'c', NULL, "DIRECTORY", "where main.cf is" },
	{ OPTION_DOMAIN, "domain", "DOMAIN", "import: of users whose name has none" },
	{ OPTION_FORCE, "force", NULL,
	  "import: replace passwords; domain, alias: in spite of what is said" },
	{ 'j', "json", NULL, "one JSON object a line" },
	{ OPTION_MAILBOX, "mailbox", "PATH",
	  "add: below virtual_mailbox_base; / at its end: Maildir" },
	{ OPTION_PROTOCOL, "protocol", "WORD", "app add: smtp, pop3 or any" },
	{ OPTION_QUOTA, "quota", "SIZE", "add: bytes, or with K, M, G, T" },
	{ OPTION_STDIN, "stdin", NULL, "the password is the first line of standard input" },
	{ 'h', NULL, NULL, "this text" },
	{ 0, NULL, NULL, NULL },
};

/* The names for help and completion; two words for those of a group. */
struct names {
	char                 text[COMMAND_COUNT][24];
	struct usage_command list[COMMAND_COUNT + 1];
	struct usage         usage;
};

static void
names_make(struct names *names)
{
	*names = (struct names){ .usage = { .forms = forms, .options = options } };
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *command = &commands[i];

		snprintf(names->text[i], sizeof(names->text[i]), "%s%s%s",
		         command->group == NULL ? "" : command->group,
		         command->group == NULL ? "" : " ", command->name);
		names->list[i] =
			(struct usage_command){ names->text[i], command->arguments, command->help };
	}
	names->usage.commands = names->list;
	names->usage.notes =
		"USER and ADDRESS are user@domain. Passwords come from the terminal or --stdin,\n"
		"never from the command line.\n";
}

/* The command that the words begin with; *used of them name it. NULL when there is none. */
static const struct command *
command_find(char **words, int count, int *used)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *command = &commands[i];
		int                   needed = command->group == NULL ? 1 : 2;

		if (count >= needed && strcmp(words[needed - 1], command->name) == 0 &&
		    (command->group == NULL || strcmp(words[0], command->group) == 0)) {
			*used = needed;
			return command;
		}
	}
	return NULL;
}

static int
run_command(const struct command *command, struct call *call, const char *config_directory)
{
	struct error     error = ERROR_NONE;
	struct snapshot *snapshot = config_read(config_directory, &error);
	int              status;

	if (snapshot == NULL)
		return fail(EXIT_NO_CONFIG, "%s", error.text);
	call->parameters = snapshot_parameters(snapshot);
	if (command->is_user &&
	    !user_name_canonical(slice_from(call->arguments[0]), "", call->name, &error))
		status = fail(EXIT_BAD_DATA, "%s: %s", call->arguments[0], error.text);
	else
		status = command->run(call);
	snapshot_destroy(&snapshot);
	if (fflush(stdout) != 0)
		return fail(EXIT_TROUBLE, "standard output cannot be written");
	return status;
}

static int
wrong_usage(const struct names *names)
{
	usage_print(stderr, "dakuser", &names->usage);
	return EXIT_WRONG_USAGE;
}

/* EXIT_DONE; or what to exit with, or -1 when help was asked for. */
static int
take_options(struct call *call, const struct names *names, const char **directory, int argc,
             char **argv)
{
	int option;

	while ((option = usage_next(&names->usage, argc, argv)) != -1) {
		switch (option) {
		case 'c': *directory = optarg; break;
		case 'j': call->as_json = true; break;
		case OPTION_QUOTA: call->quota = optarg; break;
		case OPTION_MAILBOX: call->mailbox = optarg; break;
		case OPTION_STDIN: call->from_stdin = true; break;
		case OPTION_PROTOCOL: call->protocol = optarg; break;
		case OPTION_DOMAIN: call->domain = optarg; break;
		case OPTION_FORCE: call->is_forced = true; break;
		case 'h': usage_print(stdout, "dakuser", &names->usage); return -1;
		default: return wrong_usage(names);
		}
	}
	return EXIT_DONE;
}

int
main(int argc, char **argv)
{
	const char  *environment = getenv("MAIL_CONFIG");
	const char  *directory = environment != NULL ? environment : PLACE_CONFIG;
	struct call  call = { .parameters = NULL };
	struct names names;
	int          used = 0;

	if (!file_open_standard())
		return EXIT_TROUBLE;
	if (version_asked(argc, argv))
		return EXIT_DONE;
	names_make(&names);
	int status = take_options(&call, &names, &directory, argc, argv);
	if (status != EXIT_DONE)
		return status == -1 ? EXIT_DONE : status;
	const struct command *command = command_find(argv + optind, argc - optind, &used);
	if (command == NULL)
		return wrong_usage(&names);
	call.arguments = argv + optind + used;
	call.count = (size_t)(argc - optind - used);
	call.with_counts = command->group != NULL;
	if (call.count < command->least || call.count > command->most)
		return wrong_usage(&names);
	return run_command(command, &call, directory);
}
