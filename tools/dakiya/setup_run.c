/* setup_run.c - other programs: our own tools, and those that make accounts. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/conf/places.h"
#include "lib/io/file.h"
#include "tools/dakiya/setup.h"

bool
setup_tool_path(const char *name, char *path, size_t size)
{
	char    own[SETUP_PATH_MOST] = "";
	ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);
	char   *slash = length > 0 ? strrchr(own, '/') : NULL;

	if (slash != NULL) {
		*slash = '\0';
		snprintf(path, size, "%s/%s", own, name);
		if (access(path, X_OK) == 0)
			return true;
	}
	snprintf(path, size, "%s/%s", PLACE_COMMANDS, name);
	return access(path, X_OK) == 0 || setup_fail("%s is not installed", name);
}

static void __attribute__((noreturn))
child_run(const char *const arguments[], const int input[2], const int output[2])
{
	dup2(input[0], STDIN_FILENO);
	if (output[1] >= 0)
		dup2(output[1], STDOUT_FILENO);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	signal(SIGPIPE, SIG_DFL);
	execvp(arguments[0], (char *const *)(uintptr_t)arguments);
	_exit(errno == ENOENT ? 127 : 126);
}

/* Gives it the input (less than a pipe holds), takes the output, waits for its end. */
static int
attend(pid_t pid, int to, int from, const char *input, struct buf *output)
{
	struct error error = ERROR_NONE;
	int          status;

	signal(SIGPIPE, SIG_IGN);
	if (input != NULL)
		(void)file_write_all(to, slice_from(input), "pipe", &error); /* its end tells */
	close(to);
	if (from >= 0 && !file_read_all(from, output, "pipe", &error))
		setup_fail("%s", error.text);
	if (from >= 0)
		close(from);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int
setup_run(const char *const arguments[], const char *input, struct buf *output)
{
	int to[2] = { -1, -1 }, from[2] = { -1, -1 };

	fflush(stdout);
	if (pipe2(to, O_CLOEXEC) < 0 || (output != NULL && pipe2(from, O_CLOEXEC) < 0))
		return -1;
	pid_t pid = fork();
	if (pid == 0)
		child_run(arguments, to, from);
	close(to[0]);
	if (from[1] >= 0)
		close(from[1]);
	if (pid < 0) {
		close(to[1]);
		if (from[0] >= 0)
			close(from[0]);
		return -1;
	}
	return attend(pid, to[1], from[0], input, output);
}
