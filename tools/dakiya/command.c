/* command.c - what dakiya says to a running master and qmgr. */
#include "tools/dakiya/dakiya.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/ipc/channel.h"
#include "lib/queue/control.h"

#define STOP_MOST_MS    900000 /* the daemons' own limits are shorter */
#define COMMAND_MOST_MS 60000
#define FLUSH_TRIES     10
#define FLUSH_PAUSE_US  300000

static int
report_no_queue(const struct tool *tool, const char *path)
{
	int status = errno == EACCES ? EX_NOPERM : errno == ENOENT ? EX_UNAVAILABLE : EX_CONFIG;

	if (errno == ENOENT)
		fprintf(stderr,
		        "%s: the mail system is not running: its queue_directory %s is made by "
		        "`%s start'\n",
		        tool->name, path, tool->name);
	else
		fprintf(stderr, "%s: enter queue_directory %s: %m\n", tool->name, path);
	return status;
}

/* Only main.cf is needed: errors elsewhere do not keep one from stopping. */
int
tool_setting(const struct tool *tool, const char *name, struct buf *text)
{
	struct configuration *configuration = configuration_create();
	struct report         report = REPORT_NONE;
	struct error          error = ERROR_NONE;
	struct slice          value = SLICE_EMPTY;
	bool                  is_ok;

	if (configuration == NULL)
		return EX_OSERR;
	is_ok = configuration_read_main(configuration, tool->config_directory, &report);
	if (!is_ok)
		tool_print(tool, &report);
	else if (!settings_text(&configuration->settings, slice_from(name), &value) ||
	         !settings_expand(&configuration->settings, NULL, slice_from(name), value, text,
	                          &error))
		is_ok = error_set(&error, "%s cannot be found out", name);
	if (!is_ok && error.text[0] != '\0')
		fprintf(stderr, "%s: %s\n", tool->name, error.text);
	configuration_destroy(&configuration);
	report_free(&report);
	return is_ok ? EX_OK : EX_CONFIG;
}

/* master makes the directory at the first start. */
int
tool_enter_queue(const struct tool *tool)
{
	struct buf path = BUF(4096);
	int        status = tool_setting(tool, "queue_directory", &path);

	if (status == EX_OK && chdir(buf_text(&path)) < 0)
		status = report_no_queue(tool, buf_text(&path));
	buf_free(&path);
	return status;
}

int
tool_connect(const struct tool *tool, const char *path, struct ipc_channel *channel)
{
	struct error error = ERROR_NONE;
	int          status = tool_enter_queue(tool);

	if (status != EX_OK)
		return status;
	if (ipc_channel_connect(channel, path, &error))
		return EX_OK;
	if (error.errno_value == ECONNREFUSED || error.errno_value == ENOENT) {
		fprintf(stderr, "%s: the mail system is not running; start it: %s start\n",
		        tool->name, tool->name);
		return EX_UNAVAILABLE;
	}
	fprintf(stderr, "%s: %s\n", tool->name, error.text);
	return error.errno_value == EACCES ? EX_NOPERM : EX_OSERR;
}

static void
print_text(FILE *to, struct slice text)
{
	fwrite(text.data, 1, text.length, to);
	if (text.length > 0 && text.data[text.length - 1] != '\n')
		fputc('\n', to);
}

int
tool_ask_master(const struct tool *tool, const char *verb, int64_t most_ms, struct buf *text)
{
	struct ipc_channel        channel;
	struct msg_master_command command = { .verb = slice_from(verb) };
	struct msg_master_reply   reply;
	struct ipc_frame          frame;
	int64_t                   deadline = clock_monotonic_ms() + most_ms;
	enum ipc_result           result;
	int                       status = tool_connect(tool, "public/master", &channel);

	if (status != EX_OK)
		return status;
	result = ipc_send(&channel, master_command, &command, deadline);
	if (result == IPC_OK)
		result = ipc_receive(&channel, deadline, &frame);
	if (result == IPC_OK && !msg_master_reply_decode(&frame, &reply))
		result = IPC_MALFORMED;
	if (result == IPC_OK) {
		status = (int)reply.status;
		buf_append(text, reply.text);
	} else {
		fprintf(stderr, "%s: master does not answer: %s\n", tool->name,
		        ipc_result_text(result));
		status = EX_TEMPFAIL;
	}
	ipc_channel_close(&channel);
	return status;
}

/* Sends the verb and prints the answer. */
static int
ask_master(const struct tool *tool, const char *verb, int64_t most_ms)
{
	struct buf text = BUF(TOOL_TEXT_MOST);
	int        status = tool_ask_master(tool, verb, most_ms, &text);

	if (text.length > 0)
		print_text(status == EX_OK ? stdout : stderr, buf_slice(&text));
	buf_free(&text);
	return status;
}

/*
 * EX_OK when master is to be asked. Errors in main.cf and master.cf it finds, tells and logs
 * itself; tables and certificates are read here, since master is root.
 */
static int
prepare_reload(const struct tool *tool)
{
	struct ipc_channel    channel;
	struct configuration *configuration = NULL;
	struct report         report = REPORT_NONE;
	int                   status = tool_connect(tool, "public/master", &channel);

	if (status != EX_OK)
		return status;
	ipc_channel_close(&channel);
	configuration = configuration_create();
	if (configuration == NULL)
		return EX_OSERR;
	if (configuration_load(configuration, tool->config_directory, &report) &&
	    !tool_examine(configuration, &report)) {
		tool_print(tool, &report);
		status = EX_CONFIG;
	}
	configuration_destroy(&configuration);
	report_free(&report);
	return status;
}

int
tool_command(struct tool *tool, const char *verb)
{
	bool is_end = strcmp(verb, "stop") == 0 || strcmp(verb, "abort") == 0;
	int  status = EX_OK;

	if (strcmp(verb, "reload") == 0)
		status = prepare_reload(tool);
	if (status == EX_OK)
		status = ask_master(tool, verb, is_end ? STOP_MOST_MS : COMMAND_MOST_MS);
	if (status == EX_CONFIG && strcmp(verb, "reload") == 0)
		fprintf(stderr, "%s: not reloaded; the running configuration stays\n", tool->name);
	return status;
}

/* One try; *result tells what the channel said. EX_OK, or what to exit with, said why. */
static int
flush_once(struct tool *tool, bool is_last_try, enum ipc_result *result)
{
	struct ipc_channel   channel;
	struct msg_queue_act act = { .action = QUEUE_ACT_FLUSH };
	struct msg_queue_end end;
	struct ipc_frame     frame;
	int64_t              deadline = clock_monotonic_ms() + COMMAND_MOST_MS;
	int                  status = tool_connect(tool, "public/queue", &channel);

	*result = IPC_OK;
	if (status != EX_OK)
		return status;
	*result = ipc_send(&channel, queue_act, &act, deadline);
	if (*result == IPC_OK)
		*result = ipc_receive(&channel, deadline, &frame);
	if (*result == IPC_OK && !msg_queue_end_decode(&frame, &end))
		*result = IPC_MALFORMED;
	if (*result != IPC_OK) {
		if (*result != IPC_CLOSED || is_last_try)
			fprintf(stderr, "%s: qmgr does not answer: %s\n", tool->name,
			        ipc_result_text(*result));
		status = EX_TEMPFAIL;
	} else if (end.status != CONTROL_OK) {
		fprintf(stderr, "%s: not flushed: ", tool->name);
		print_text(stderr, end.reason);
		status = end.status == CONTROL_NOT_ALLOWED ? EX_NOPERM : EX_SOFTWARE;
	}
	ipc_channel_close(&channel);
	return status;
}

/* At a reload one qmgr follows another: who asked the old one asks again. */
int
tool_flush(struct tool *tool)
{
	enum ipc_result result = IPC_OK;
	int             status = EX_OK;

	for (int i = 1; i <= FLUSH_TRIES; i++) {
		status = flush_once(tool, i == FLUSH_TRIES, &result);
		if (result != IPC_CLOSED)
			break;
		usleep(FLUSH_PAUSE_US);
	}
	return status;
}
