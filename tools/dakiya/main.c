/* main.c - dakiya(8): starts, stops, checks and watches the mail system. */
#include "tools/dakiya/dakiya.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "lib/base/usage.h"
#include "lib/conf/version.h"
#include "lib/io/file.h"

static int
run_start(struct tool *tool, const char *verb)
{
	return tool_start(tool, strcmp(verb, "start-fg") == 0);
}
static int
run_check(struct tool *tool, const char *verb)
{
	(void)verb;
	return tool_check(tool);
}
static int
run_status(struct tool *tool, const char *verb)
{
	(void)verb;
	return tool_status(tool);
}
static int
run_flush(struct tool *tool, const char *verb)
{
	(void)verb;
	return tool_flush(tool);
}

static int
run_setup(struct tool *tool, const char *verb)
{
	(void)verb;
	return tool_setup(tool, tool->word_count, tool->words);
}

struct command {
	const char *verb;
	int (*run)(struct tool *tool, const char *verb);
	const char *help;
};

static const struct command commands[] = {
	{ "start", run_start, "start the mail system; returns when it is up" },
	{ "start-fg", run_start, "start it in the foreground, for containers and systemd" },
	{ "stop", tool_command, "let sessions and deliveries finish, then stop" },
	{ "abort", tool_command, "stop at once" },
	{ "reload", tool_command, "check the configuration and, when it is sound, use it" },
	{ "status", run_status, "show daemons and sessions; --json for programs" },
	{ "trace", tool_trace, "tell a message's story: trace ADDRESS|ID [--log FILE]; --json" },
	{ "check", run_check, "show everything that is wrong; --online asks the network, too" },
	{ "flush", run_flush, "try to deliver all waiting mail now" },
	{ "setup", run_setup, "make this a mail host for a domain; setup --help tells more" },
	{ "logrotate", tool_command, "open the log file anew" },
	{ "set-permissions", tool_nothing, "nothing: master sets them at each start" },
	{ "upgrade-configuration", tool_nothing, "nothing: every released parameter stays valid" },
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const struct command *
command_find(const char *verb)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(verb, commands[i].verb) == 0)
			return &commands[i];
	}
	return NULL;
}

static const char *const forms[] = { "[-c DIRECTORY] [-v] COMMAND", NULL };

static const struct usage_option options[] = {
	{ 'c', NULL, "DIRECTORY", "where main.cf and master.cf are" },
	{ 'D', NULL, NULL, "taken for Postfix's sake; nothing" },
	{ 'v', NULL, NULL, "show also what is only remarkable" },
	{ USAGE_LONG_ONLY, "json", NULL, "check, status, trace: for programs" },
	{ USAGE_LONG_ONLY + 1, "log", "FILE", "trace: a log file to read; up to 16 times" },
	{ USAGE_LONG_ONLY + 2, "online", NULL, "check: ask the network, too" },
	{ 0, NULL, NULL, NULL },
};

static void
print_help(FILE *to, const char *program, bool for_completion)
{
	struct usage_command list[COMMAND_COUNT + 1] = { { NULL, NULL, NULL } };
	struct usage         usage = { .forms = forms, .options = options, .commands = list };

	for (size_t i = 0; i < COMMAND_COUNT; i++)
		list[i] = (struct usage_command){ commands[i].verb, "", commands[i].help };
	if (for_completion)
		usage_print_words(to, &usage);
	else
		usage_print(to, program, &usage);
}

static void __attribute__((noreturn)) usage(const char *why, const char *what)
{
	fprintf(stderr, "dakiya: %s%s\n", why, what);
	print_help(stderr, "dakiya", false);
	exit(EX_USAGE);
}

/* The configuration's directory as an absolute path: daemons have another working directory. */
static void
set_directory(struct tool *tool, const char *path)
{
	char *absolute = realpath(path, NULL);

	if (absolute == NULL) {
		fprintf(stderr, "%s: configuration directory %s: %m\n", tool->name, path);
		exit(EX_NOINPUT);
	}
	snprintf(tool->config_directory, sizeof(tool->config_directory), "%s", absolute);
	free(absolute);
}

static const char *
parse_options(struct tool *tool, int argc, char **argv)
{
	const char *verb = NULL;
	const char *directory = getenv("MAIL_CONFIG");

	if (directory == NULL || directory[0] == '\0')
		directory = DEFAULT_CONFIG_DIRECTORY;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "--complete") == 0) {
			print_help(stdout, tool->name, argv[i][2] == 'c');
			exit(EX_OK);
		} else if (strcmp(argv[i], "--version") == 0) {
			printf("%s %s\n", tool->name, dakiya_version());
			exit(EX_OK);
		} else if (strcmp(argv[i], "--json") == 0) {
			tool->wants_json = true;
		} else if (strcmp(argv[i], "--log") == 0) {
			if (++i >= argc ||
			    tool->log_count == sizeof(tool->logs) / sizeof(tool->logs[0]))
				usage("--log needs a file, and there are at most 16", "");
			tool->logs[tool->log_count++] = argv[i];
		} else if (strcmp(argv[i], "--online") == 0) {
			tool->wants_online = true;
		} else if (strcmp(argv[i], "-v") == 0 || strcmp(argv[i], "-vv") == 0 ||
		           strcmp(argv[i], "-Dv") == 0) {
			tool->is_verbose = true;
		} else if (strcmp(argv[i], "-D") == 0) {
			continue;
		} else if (strcmp(argv[i], "-c") == 0) {
			if (++i >= argc)
				usage("-c needs a directory", "");
			directory = argv[i];
		} else if (verb != NULL && strcmp(verb, "trace") == 0 && tool->argument == NULL) {
			tool->argument = argv[i];
		} else if (argv[i][0] == '-') {
			usage("unknown option ", argv[i]);
		} else if (verb != NULL) {
			usage("one command at a time, not also ", argv[i]);
		} else {
			verb = argv[i];
		}
	}
	if (verb == NULL)
		usage("which command?", "");
	if (command_find(verb) == NULL)
		usage("there is no command ", verb);
	if (strcmp(verb, "trace") == 0 && (tool->argument == NULL || tool->argument[0] == '\0'))
		usage("trace what? An address, @domain or a queue id", "");
	if (tool->wants_online && strcmp(verb, "check") != 0)
		usage("--online belongs to check, not to ", verb);
	set_directory(tool, directory);
	return verb;
}

/* Setup has options of its own, and makes the directory that all others want to be there. */
static bool
is_setup(struct tool *tool, int argc, char **argv)
{
	const char *directory = getenv("MAIL_CONFIG");
	int         at = 1;

	for (; at + 1 < argc && strcmp(argv[at], "-c") == 0; at += 2)
		directory = argv[at + 1];
	if (at >= argc || strcmp(argv[at], "setup") != 0)
		return false;
	if (directory == NULL || directory[0] == '\0')
		directory = DEFAULT_CONFIG_DIRECTORY;
	snprintf(tool->config_directory, sizeof(tool->config_directory), "%s", directory);
	tool->words = argv + at + 1;
	tool->word_count = argc - at - 1;
	return true;
}

int
main(int argc, char **argv)
{
	struct tool tool = { .name = "dakiya" };
	const char *slash = strrchr(argv[0], '/');
	const char *verb;

	if (!file_open_standard())
		return EX_OSERR;
	if (strcmp(slash == NULL ? argv[0] : slash + 1, "postfix") == 0)
		tool = (struct tool){ .name = "postfix", .is_postfix = true };
	if (is_setup(&tool, argc, argv))
		return run_setup(&tool, "setup");
	verb = parse_options(&tool, argc, argv);
	if (tool.is_postfix)
		return tool_postfix(&tool, verb, command_find(verb)->run);
	return command_find(verb)->run(&tool, verb);
}
