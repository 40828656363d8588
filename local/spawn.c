/* spawn.c - see parent.h. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <unistd.h>

#include "local/parent.h"

#define CONTROL_FD  3
#define EXIT_OSERR  71
#define EXIT_NOPERM 77

/* Between fork and exec: only calls that are safe there. */
static void
become(const struct daemon_context *context, uid_t uid, gid_t gid, int control)
{
	if (dup2(control, CONTROL_FD) < 0)
		_exit(EXIT_OSERR);
	if (control == CONTROL_FD)
		fcntl(CONTROL_FD, F_SETFD, 0);
	if (context->is_unprivileged)
		return;
	if (setgroups(1, &gid) != 0 || setresgid(gid, gid, gid) != 0 ||
	    setresuid(uid, uid, uid) != 0)
		_exit(EXIT_NOPERM);
	/* Root must be gone for good. */
	if (setuid(0) == 0 || geteuid() != uid || getegid() != gid)
		_exit(EXIT_NOPERM);
}

pid_t
spawn_worker(const struct daemon_context *context, uid_t uid, gid_t gid, int control,
             struct error *error)
{
	char  path[4096], name[] = "local", mode[] = "worker", locale[] = "LC_ALL=C";
	char *arguments[] = { name, mode, NULL };
	char *environment[] = { locale, NULL };

	snprintf(path, sizeof(path), "%s/local", context->parameters->daemon_directory);
	pid_t pid = fork();
	if (pid < 0) {
		error_set_errno(error, "fork");
		return -1;
	}
	if (pid > 0)
		return pid;
	become(context, uid, gid, control);
	execve(path, arguments, environment);
	_exit(EXIT_OSERR);
}
