/* main.c - dakqueue(1): looks at the queue and changes it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/conf/places.h"
#include "lib/conf/version.h"
#include "lib/io/file.h"
#include "lib/mail/address.h"
#include "tools/dakqueue/dakqueue.h"

#define DEFAULT_CONFIG_DIRECTORY PLACE_CONFIG

/* Only queue_directory is needed: errors elsewhere in main.cf keep nobody from his queue. */
static int
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
		fprintf(stderr, "%s: %s\n", tool->voice, error.text);
	buf_free(&path);
	configuration_free(&configuration);
	report_free(&report);
	return is_ok ? EX_OK : EX_CONFIG;
}

static int
down(const struct tool *tool, bool is_flush)
{
	fprintf(stderr, "%s: %s\n", tool->voice,
	        tool->is_postfix && is_flush ? "Cannot flush mail queue - mail system is down"
	                                     : "the mail system is down");
	return EX_UNAVAILABLE;
}

/* A domain, or an address in brackets: anything else would never match. */
static bool
site_is_valid(const struct tool *tool, const char *site, bool is_flush)
{
	struct slice name = slice_from(site);

	if (site == NULL || hostname_is_valid(name, true) || address_literal_is_valid(name))
		return true;
	fprintf(stderr, "%s: %sinvalid destination: \"%s\"\n", tool->voice,
	        is_flush ? "Cannot flush mail queue - " : "", site);
	return false;
}

/* What postqueue takes for an id, whether or not it is one of ours. */
static bool
id_is_word(const struct tool *tool, const char *id)
{
	size_t length = 0;

	while (ascii_is_alnum(id[length]) || id[length] == '_')
		length++;
	if (length > 0 && id[length] == '\0')
		return true;
	fprintf(stderr, "%s: Cannot flush queue ID - invalid name: \"%s\"\n", tool->voice, id);
	return false;
}

static int
act_run(struct tool *tool, const struct arguments *arguments, const struct step *step, bool is_up)
{
	if (is_up && (arguments->is_selected || arguments->is_dry_run))
		return remote_select(tool, arguments, step);
	if (is_up)
		return remote_act(tool, arguments, step);
	if (step->command->action != QUEUE_ACT_FLUSH && arguments->site == NULL)
		return offline_act(tool, arguments, step);
	return down(tool, step->command->action == QUEUE_ACT_FLUSH);
}

/* Of several messages one that is not there keeps the others from nothing. */
static bool
may_go_on(int code)
{
	return code == EX_OK || code == EX_DATAERR;
}

static int
worse(int code, int next)
{
	return next == EX_OK ? code : next;
}

static int
step_run(struct tool *tool, const struct arguments *arguments, const struct step *step, bool is_up)
{
	int code = EX_OK;

	if (!site_is_valid(tool, arguments->site, step->command->action == QUEUE_ACT_FLUSH))
		return EX_UNAVAILABLE;
	if (tool->is_postfix && arguments->list_id != NULL && !id_is_word(tool, arguments->list_id))
		return EX_UNAVAILABLE;
	switch (step->command->verb) {
	case VERB_NOTHING: return EX_OK;
	case VERB_LIST: return (is_up ? remote_list : offline_list)(tool, arguments);
	case VERB_SHOW:
		for (size_t i = 0; i < step->id_count && may_go_on(code); i++)
			code = worse(code, (is_up ? remote_show : offline_show)(tool, step->ids[i],
			                                                        arguments->parts));
		return code;
	case VERB_SUMMARY:
		return summary_run(tool, arguments, is_up ? remote_entries : offline_entries);
	case VERB_SUSPENDED:
		if (is_up)
			return remote_suspended(tool, arguments->form);
		break;
	case VERB_WHY:
		for (size_t i = 0; is_up && i < step->id_count && may_go_on(code); i++)
			code = worse(code, remote_why(tool, step->ids[i], arguments->form));
		if (is_up)
			return code;
		break;
	case VERB_SUSPEND:
	case VERB_RESUME:
		for (size_t i = 0; is_up && i < step->id_count && may_go_on(code); i++)
			code = worse(code, remote_suspend(tool, arguments, step->ids[i],
			                                  step->command->verb == VERB_RESUME));
		if (is_up)
			return code;
		break;
	case VERB_ACT: return act_run(tool, arguments, step, is_up);
	}
	return down(tool, false);
}

static int
run(struct tool *tool, const struct arguments *arguments)
{
	int code = tool_enter(tool);

	if (code != EX_OK)
		return code;
	code = remote_connect(tool);
	if (code != EX_OK && code != EX_UNAVAILABLE)
		return code;
	bool is_up = code == EX_OK;
	code = EX_OK;
	for (size_t i = 0; i < arguments->step_count && may_go_on(code); i++)
		code = worse(code, step_run(tool, arguments, &arguments->steps[i], is_up));
	ipc_channel_close(&tool->channel);
	return code;
}

int
main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/'), *config = getenv("MAIL_CONFIG");
	struct tool tool = { .name = slash == NULL ? argv[0] : slash + 1, .channel = { .fd = -1 } };
	struct arguments arguments = { 0 };
	char             voice[64];
	int              code = EX_USAGE;

	if (!file_open_standard())
		return EX_OSERR;
	if (version_asked(argc, argv))
		return EX_OK;
	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		arguments_usage(stdout, tool.name);
		return EX_OK;
	}
	if (argc > 1 && strcmp(argv[1], "--complete") == 0) {
		arguments_words(stdout, tool.name);
		return EX_OK;
	}
	if (config == NULL || geteuid() != getuid())
		config = DEFAULT_CONFIG_DIRECTORY;
	if (arguments_read(&arguments, tool.name, argc, argv)) {
		tool.config_directory =
			arguments.config_directory == NULL ? config : arguments.config_directory;
		tool.is_postfix = arguments.is_postfix;
		tool.tells_each = arguments.tells_each;
		snprintf(voice, sizeof(voice), "%.50s%s", tool.name,
		         tool.is_postfix ? ": fatal" : "");
		tool.voice = voice;
		code = run(&tool, &arguments);
	} else {
		arguments_usage(stderr, tool.name);
	}
	arguments_free(&arguments);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "%s: standard output cannot be written\n", tool.name);
		code = EX_IOERR;
	}
	return code;
}
