/* main.c - dakqueue(1): looks at the queue and changes it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/conf/version.h"
#include "tools/dakqueue/dakqueue.h"

#define DEFAULT_CONFIG_DIRECTORY "/etc/dakiya"

enum verb { VERB_LIST, VERB_SHOW, VERB_ACT };

struct command {
	const char       *name;
	enum verb         verb;
	enum queue_action action;
	bool              needs_id;
	const char       *done; /* "Deleted: 3 messages" */
	const char       *help;
};

/* clang-format off */
static const struct command commands[] = {
	{ "list",    VERB_LIST, 0,                 false, NULL,                 "list [-j] [-i ID] [-s SITE]   what is in the queue" },
	{ "show",    VERB_SHOW, 0,                 true,  NULL,                 "show ID                       a message, envelope and content" },
	{ "flush",   VERB_ACT,  QUEUE_ACT_FLUSH,   false, NULL,                 "flush [ID ... | -s SITE]      try to deliver now" },
	{ "delete",  VERB_ACT,  QUEUE_ACT_DELETE,  true,  "Deleted",            "delete ID ... | ALL | -       without a notice to anybody" },
	{ "hold",    VERB_ACT,  QUEUE_ACT_HOLD,    true,  "Placed on hold",     "hold ID ... | ALL | -         do not try any more" },
	{ "release", VERB_ACT,  QUEUE_ACT_RELEASE, true,  "Released from hold", "release ID ... | ALL | -      try again" },
	{ "requeue", VERB_ACT,  QUEUE_ACT_REQUEUE, true,  "Requeued",           "requeue ID ... | ALL | -      route anew and try now" },
	{ "expire",  VERB_ACT,  QUEUE_ACT_EXPIRE,  true,  "Force-expired",      "expire ID ... | ALL | -       try once more, then return to the sender" },
};
/* clang-format on */

struct options {
	const struct command *command;
	const char           *config_directory;
	const char           *site;
	const char           *id;
	enum list_form        form;
	char                **ids;
	size_t                id_count;
};

static void
print_help(FILE *to, const char *name)
{
	fprintf(to, "usage: %s [-c directory] command\n", name);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(to, "       %s %s\n", name, commands[i].help);
	fprintf(to, "       %s -p | -j | -f | -i ID | -s SITE    as postqueue\n", name);
}

static int
usage(const char *name)
{
	print_help(stderr, name);
	return EX_USAGE;
}

static const struct command *
command_find(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* postqueue's options, in front of or instead of a command. */
static bool
option_take(struct options *options, int option)
{
	switch (option) {
	case 'c': options->config_directory = optarg; return true;
	case 'j':
		options->form = LIST_JSON;
		if (options->command == NULL)
			options->command = command_find("list");
		return true;
	case 'p': options->command = command_find("list"); return true;
	case 'f': options->command = command_find("flush"); return true;
	case 'i':
		options->id = optarg;
		if (options->command == NULL)
			options->command = command_find("flush");
		return true;
	case 's':
		options->site = optarg;
		if (options->command == NULL)
			options->command = command_find("flush");
		return true;
	case 'v': return true;
	default: return false;
	}
}

static bool
options_read(struct options *options, int argc, char **argv)
{
	int option;

	/* Options may stand in front of the command and behind it. */
	for (;;) {
		while ((option = getopt(argc, argv, "+c:jpfi:s:v")) != -1)
			if (!option_take(options, option))
				return false;
		if (optind < argc && strcmp(argv[optind], "--json") == 0) {
			option_take(options, 'j');
			optind++;
		} else if (optind < argc && options->ids == NULL && options->id == NULL &&
		           command_find(argv[optind]) != NULL) {
			options->command = command_find(argv[optind++]);
			options->ids = argv + optind;
		} else {
			break;
		}
	}
	options->ids = argv + optind;
	options->id_count = (size_t)(argc - optind);
	if (options->command == NULL)
		return false;
	if (options->id != NULL && options->id_count == 0 && options->command->verb != VERB_LIST) {
		options->ids = (char **)(uintptr_t)&options->id;
		options->id_count = 1;
	}
	if (options->command->verb == VERB_LIST)
		return options->id_count == 0;
	if (options->command->verb == VERB_SHOW)
		return options->id_count == 1;
	return !options->command->needs_id || options->id_count > 0 || options->site != NULL;
}

/* Only queue_directory is needed: errors elsewhere in main.cf keep nobody from his queue. */
int
tool_enter(struct tool *tool)
{
	struct configuration configuration;
	struct report        report = REPORT_NONE;
	struct error         error = ERROR_NONE;
	struct buf           path = BUF(4096);
	struct slice         text = SLICE_EMPTY;
	bool                 is_ok;

	is_ok = configuration_read_main(&configuration, tool->config_directory, &report);
	if (!is_ok)
		error_set(&error, "%s/main.cf cannot be read", tool->config_directory);
	else if (!settings_text(&configuration.settings, SLICE("queue_directory"), &text) ||
	         !settings_expand(&configuration.settings, NULL, SLICE("queue_directory"), text,
	                          &path, &error))
		is_ok = error_set(&error, "queue_directory cannot be found out");
	else if (chdir(buf_text(&path)) < 0)
		is_ok = error_set_errno(&error, "enter queue_directory %s", buf_text(&path));
	if (!is_ok)
		fprintf(stderr, "%s: %s\n", tool->name, error.text);
	buf_free(&path);
	configuration_free(&configuration);
	report_free(&report);
	return is_ok ? EX_OK : EX_CONFIG;
}

static int
command_run(struct tool *tool, const struct options *options, bool is_up)
{
	const struct command *command = options->command;

	switch (command->verb) {
	case VERB_LIST:
		return (is_up ? remote_list : offline_list)(tool, options->id, options->site,
		                                            options->form);
	case VERB_SHOW: return (is_up ? remote_show : offline_show)(tool, options->ids[0]);
	case VERB_ACT: break;
	}
	if (is_up)
		return remote_act(tool, command->action, options->site, options->ids,
		                  options->id_count, command->done);
	fprintf(stderr, "%s: the mail system is down\n", tool->name);
	return EX_UNAVAILABLE;
}

int
main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	struct tool tool = { .name = slash == NULL ? argv[0] : slash + 1, .channel = { .fd = -1 } };
	struct options options = { .config_directory = DEFAULT_CONFIG_DIRECTORY };
	const char    *config = getenv("MAIL_CONFIG");

	if (version_asked(argc, argv))
		return EX_OK;
	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		print_help(stdout, tool.name);
		return EX_OK;
	}
	if (config != NULL && geteuid() == getuid())
		options.config_directory = config;
	if (strcmp(tool.name, "mailq") == 0)
		options.command = command_find("list");
	if (!options_read(&options, argc, argv))
		return usage(tool.name);
	tool.config_directory = options.config_directory;
	int code = tool_enter(&tool);
	if (code != EX_OK)
		return code;
	code = remote_connect(&tool);
	if (code == EX_OK || code == EX_UNAVAILABLE)
		code = command_run(&tool, &options, code == EX_OK);
	ipc_channel_close(&tool.channel);
	if (fflush(stdout) != 0)
		code = EX_IOERR;
	return code;
}
