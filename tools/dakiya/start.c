/* start.c - dakiya start and start-fg. */
#include "tools/dakiya/dakiya.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define REPORT_FD 3

void
tool_print(const struct tool *tool, const struct report *report)
{
	struct buf text = BUF(1024u * 1024);

	report_append(report, tool->is_verbose, &text);
	fprintf(stderr, "%s", buf_text(&text));
	buf_free(&text);
}

/* Loads, checks and prints; false when there are errors. */
static bool
load(struct tool *tool, struct configuration *configuration)
{
	struct report report = REPORT_NONE;
	bool          is_ok = tool_load_and_examine(tool, configuration, &report);

	tool_print(tool, &report);
	if (!is_ok)
		fprintf(stderr, "%s: %zu error%s in the configuration: not started\n", tool->name,
		        report.error_count, report.error_count == 1 ? "" : "s");
	report_free(&report);
	return is_ok;
}

/* Becomes master. Returns only on failure. */
static int
exec_master(const struct tool *tool, const char *path, bool in_foreground)
{
	char *arguments[7];
	int   count = 0;

	arguments[count++] = (char *)(uintptr_t) "master";
	arguments[count++] = (char *)(uintptr_t) "-c";
	arguments[count++] = (char *)(uintptr_t)tool->config_directory;
	if (in_foreground) {
		arguments[count++] = (char *)(uintptr_t) "-f";
	} else {
		arguments[count++] = (char *)(uintptr_t) "-r";
		arguments[count++] = (char *)(uintptr_t) "3";
	}
	arguments[count] = NULL;
	execv(path, arguments);
	fprintf(stderr, "%s: exec %s: %m\n", tool->name, path);
	return EX_OSFILE;
}

static void __attribute__((noreturn))
detach_and_exec(const struct tool *tool, const char *path, int report_fd)
{
	int null_fd = open("/dev/null", O_RDWR);

	setsid();
	dup2(report_fd, REPORT_FD);
	fcntl(REPORT_FD, F_SETFD, 0);
	dup2(null_fd, STDIN_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	dup2(null_fd, STDERR_FILENO);
	close_range(REPORT_FD + 1, ~0U, 0);
	exec_master(tool, path, false);
	(void)!write(REPORT_FD, "master cannot be executed\n", 26);
	_exit(EX_OSFILE);
}

/* Reads what master says until it is up or gone. */
static int
await(const struct tool *tool, int fd)
{
	struct buf text = BUF(1024u * 1024);
	char       piece[4096];
	ssize_t    got;
	bool       is_up;

	while ((got = read(fd, piece, sizeof(piece))) > 0 || (got < 0 && errno == EINTR)) {
		if (got > 0)
			buf_append(&text, slice_of(piece, (size_t)got));
	}
	is_up = slice_equal(buf_slice(&text), SLICE("OK"));
	if (!is_up)
		fprintf(stderr, "%s%s: the mail system is not up\n",
		        text.length > 0 ? buf_text(&text) : "master ended without a word\n",
		        tool->name);
	buf_free(&text);
	return is_up ? EX_OK : EX_UNAVAILABLE;
}

static int
start_in_background(const struct tool *tool, const char *path)
{
	int   ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "%s: cannot fork: %m\n", tool->name);
		return EX_OSERR;
	}
	if (pid == 0)
		detach_and_exec(tool, path, ends[1]);
	close(ends[1]);
	int result = await(tool, ends[0]);
	close(ends[0]);
	return result;
}

/* The master to start; false when the configuration has errors, which are printed. */
static bool
find_master(struct tool *tool, struct buf *path)
{
	struct configuration *configuration = configuration_create();
	bool                  is_ok = configuration != NULL && load(tool, configuration);

	if (is_ok)
		buf_append_format(path, "%s/master", configuration->parameters.daemon_directory);
	configuration_destroy(&configuration);
	return is_ok;
}

int
tool_start(struct tool *tool, bool in_foreground)
{
	struct buf path = BUF(8192);
	int        status = EX_CONFIG;

	if (find_master(tool, &path))
		status = in_foreground ? exec_master(tool, buf_text(&path), true)
		                       : start_in_background(tool, buf_text(&path));
	buf_free(&path);
	return status;
}
