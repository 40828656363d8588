/* command.c - what dakiya says to a running master and qmgr. */
#include "tools/dakiya/dakiya.h"

#include <errno.h>
#include <fcntl.h>
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

/*
 * Only queue_directory is needed: errors elsewhere in main.cf do not keep one from stopping.
 * EX_OK, or what to exit with; words are printed. master makes the directory at the first start.
 */
static int
enter_queue(const struct tool *tool)
{
	struct configuration *configuration = configuration_create();
	struct report         report = REPORT_NONE;
	struct error          error = ERROR_NONE;
	struct buf            path = BUF(4096);
	struct slice          text = SLICE_EMPTY;
	int                   status = EX_OK;
	bool                  is_ok;

	if (configuration == NULL)
		return EX_OSERR;
	is_ok = configuration_read_main(configuration, tool->config_directory, &report);
	if (!is_ok)
		tool_print(tool, &report);
	else if (!settings_text(&configuration->settings, SLICE("queue_directory"), &text) ||
	         !settings_expand(&configuration->settings, NULL, SLICE("queue_directory"), text,
	                          &path, &error))
		is_ok = error_set(&error, "queue_directory cannot be found out");
	else if (chdir(buf_text(&path)) < 0)
		status = report_no_queue(tool, buf_text(&path));
	if (!is_ok && error.text[0] != '\0')
		fprintf(stderr, "%s: %s\n", tool->name, error.text);
	buf_free(&path);
	configuration_destroy(&configuration);
	report_free(&report);
	return is_ok ? status : EX_CONFIG;
}

/* EX_OK, or what to exit with; words are printed. */
static int
connect_to(const struct tool *tool, const char *path, struct ipc_channel *channel)
{
	struct error error = ERROR_NONE;
	int          status = enter_queue(tool);

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

/* Sends the verb and prints the answer. */
static int
ask_master(const struct tool *tool, const char *verb, int64_t most_ms)
{
	struct ipc_channel        channel;
	struct msg_master_command command = { .verb = slice_from(verb) };
	struct msg_master_reply   reply;
	struct ipc_frame          frame;
	int64_t                   deadline = clock_monotonic_ms() + most_ms;
	enum ipc_result           result;
	int                       status = connect_to(tool, "public/master", &channel);

	if (status != EX_OK)
		return status;
	result = ipc_send(&channel, master_command, &command, deadline);
	if (result == IPC_OK)
		result = ipc_receive(&channel, deadline, &frame);
	if (result == IPC_OK && !msg_master_reply_decode(&frame, &reply))
		result = IPC_MALFORMED;
	if (result == IPC_OK) {
		status = (int)reply.status;
		print_text(status == EX_OK ? stdout : stderr, reply.text);
	} else {
		fprintf(stderr, "%s: master does not answer: %s\n", tool->name,
		        ipc_result_text(result));
		status = EX_TEMPFAIL;
	}
	ipc_channel_close(&channel);
	return status;
}

int
tool_command(struct tool *tool, const char *verb)
{
	bool is_end = strcmp(verb, "stop") == 0 || strcmp(verb, "abort") == 0;
	int  status = ask_master(tool, verb, is_end ? STOP_MOST_MS : COMMAND_MOST_MS);

	if (status == EX_CONFIG && strcmp(verb, "reload") == 0)
		fprintf(stderr, "%s: not reloaded; the running configuration stays\n", tool->name);
	return status;
}

/* `postfix status`: in Postfix's words, on standard error; 1 when it is not running. */
static int
postfix_status(struct tool *tool)
{
	char  pid[32] = "";
	FILE *file;

	if (enter_queue(tool) != EX_OK)
		return EXIT_FAILURE;
	file = fopen("pid/master.pid", "re");
	/* A crash leaves the number there, but not the lock. */
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	bool         is_running = file != NULL && fscanf(file, " %20[0-9]", pid) == 1 &&
	                  fcntl(fileno(file), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	if (!is_running)
		pid[0] = '\0';
	if (file != NULL)
		fclose(file);
	fprintf(stderr, "postfix/postfix-script: the Postfix mail system is %s%s\n",
	        is_running ? "running: PID: " : "not running", pid);
	return is_running ? EX_OK : EXIT_FAILURE;
}

int
tool_status(struct tool *tool)
{
	if (tool->is_postfix)
		return postfix_status(tool);
	return ask_master(tool, tool->wants_json ? "status" : "status-text", COMMAND_MOST_MS);
}

int
tool_flush(struct tool *tool)
{
	struct ipc_channel   channel;
	struct msg_queue_act act = { .action = QUEUE_ACT_FLUSH };
	struct msg_queue_end end;
	struct ipc_frame     frame;
	int64_t              deadline = clock_monotonic_ms() + COMMAND_MOST_MS;
	enum ipc_result      result;
	int                  status = connect_to(tool, "public/queue", &channel);

	if (status != EX_OK)
		return status;
	result = ipc_send(&channel, queue_act, &act, deadline);
	if (result == IPC_OK)
		result = ipc_receive(&channel, deadline, &frame);
	if (result == IPC_OK && !msg_queue_end_decode(&frame, &end))
		result = IPC_MALFORMED;
	if (result != IPC_OK) {
		fprintf(stderr, "%s: qmgr does not answer: %s\n", tool->name,
		        ipc_result_text(result));
		status = EX_TEMPFAIL;
	} else if (end.status != CONTROL_OK) {
		fprintf(stderr, "%s: not flushed: ", tool->name);
		print_text(stderr, end.reason);
		status = end.status == CONTROL_NOT_ALLOWED ? EX_NOPERM : EX_SOFTWARE;
	}
	ipc_channel_close(&channel);
	return status;
}
