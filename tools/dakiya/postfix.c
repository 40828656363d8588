/* postfix.c - dakiya under the name postfix: the words and exit codes that scripts wait for. */
#include "tools/dakiya/dakiya.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define SCRIPT "postfix/postfix-script: "

/* master's process id as text, "" when it does not run; nothing is said about a missing queue. */
static bool
find_master(const struct tool *tool, char pid[32])
{
	struct buf path = BUF(8192);
	FILE      *file = NULL;

	pid[0] = '\0';
	if (tool_setting(tool, "queue_directory", &path) == EX_OK &&
	    buf_append_text(&path, "/pid/master.pid"))
		file = fopen(buf_text(&path), "re");
	buf_free(&path);
	if (file == NULL)
		return false;
	/* A crash leaves the number there, but not the lock. */
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	bool         is_running = fscanf(file, " %20[0-9]", pid) == 1 &&
	                  fcntl(fileno(file), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	if (!is_running)
		pid[0] = '\0';
	fclose(file);
	return is_running;
}

/* On standard error; 1 when it is not running. */
int
tool_postfix_status(struct tool *tool)
{
	char pid[32];
	bool is_running = find_master(tool, pid);

	fprintf(stderr, SCRIPT "the Postfix mail system is %s%s\n",
	        is_running ? "running: PID: " : "not running", pid);
	return is_running ? EX_OK : EXIT_FAILURE;
}

/* Which commands want it running or not, and what is said when they begin. */
static const struct {
	const char *verb;
	bool        wants_running;
	const char *begins; /* NULL: nothing */
} verbs[] = {
	{ "start", false, "starting the Postfix mail system" },
	{ "start-fg", false, "starting the Postfix mail system" },
	{ "stop", true, "stopping the Postfix mail system" },
	{ "abort", true, "aborting the Postfix mail system" },
	{ "reload", true, "refreshing the Postfix mail system" },
	{ "flush", true, NULL },
	{ "logrotate", true, NULL },
};

int
tool_postfix(struct tool *tool, const char *verb, int (*run)(struct tool *, const char *))
{
	char   pid[32];
	size_t i = 0;

	while (i < sizeof(verbs) / sizeof(verbs[0]) && strcmp(verbs[i].verb, verb) != 0)
		i++;
	if (i == sizeof(verbs) / sizeof(verbs[0]))
		return run(tool, verb) == EX_OK ? EX_OK : EXIT_FAILURE;
	bool is_running = find_master(tool, pid);
	if (is_running != verbs[i].wants_running) {
		fprintf(stderr, SCRIPT "fatal: the Postfix mail system is %s running\n",
		        is_running ? "already" : "not");
		return EXIT_FAILURE;
	}
	if (verbs[i].begins != NULL)
		fprintf(stderr, SCRIPT "%s\n", verbs[i].begins);
	return run(tool, verb) == EX_OK ? EX_OK : EXIT_FAILURE;
}

int
tool_nothing(struct tool *tool, const char *verb)
{
	if (tool->is_verbose)
		printf("%s: %s: there is nothing to do\n", tool->name, verb);
	return EX_OK;
}
