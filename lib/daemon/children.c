/* children.c - for a daemon that is master to children of its own: local's parent. Runs as root. */
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/daemon/core.h"

/* Into the child's socket, where it waits before there is a child. */
static bool
start_send(const struct daemon_context *context, struct ipc_channel *control, int requests)
{
	const struct daemon_core  *core = context->core;
	struct msg_daemon_listener listener = msg_daemon_listener_clear();
	struct msg_daemon_start    start = msg_daemon_start_clear();

	listener.address = SLICE("requests");
	listener.socket = requests;
	start.service = slice_from(context->service);
	start.process_limit = (uint32_t)context->thread_limit;
	start.is_unprivileged = context->is_unprivileged;
	start.is_verbose = log_is_verbose();
	start.log_target = (uint32_t)core->log_target;
	start.log = core->log_fd;
	start.snapshot = core->snapshot_fd;
	return ipc_queue(control, daemon_listener, &listener) &&
	       ipc_queue(control, daemon_start, &start) && ipc_flush(control) == IPC_OK;
}

/* Between fork and exec: only calls that are safe there. */
static void
become(const struct daemon_context *context, uid_t uid, const gid_t groups[2], int control)
{
	if (dup2(control, CONTROL_FD) < 0)
		_exit(EX_OSERR);
	if (control == CONTROL_FD)
		fcntl(CONTROL_FD, F_SETFD, 0);
	if (context->is_unprivileged)
		return;
	if (setgroups(groups[0] == groups[1] ? 1 : 2, groups) != 0 ||
	    setresgid(groups[0], groups[0], groups[0]) != 0 || setresuid(uid, uid, uid) != 0)
		_exit(EX_NOPERM);
	/* Root must be gone for good. */
	if (setuid(0) == 0 || geteuid() != uid || getegid() != groups[0])
		_exit(EX_NOPERM);
}

static pid_t
child_fork(const struct daemon_context *context, char *const arguments[], uid_t uid,
           const gid_t groups[2], int control)
{
	char  path[4096], locale[] = "LC_ALL=C";
	char *environment[] = { locale, NULL };

	snprintf(path, sizeof(path), "%s/%s", context->parameters->daemon_directory, arguments[0]);
	/* Below a directory that only root may enter, the child has nothing but this. */
	int   program = open(path, O_PATH | O_CLOEXEC);
	pid_t pid = fork();
	if (pid == 0) {
		become(context, uid, groups, control);
		execve(path, arguments, environment);
		execveat(program, "", arguments, environment, AT_EMPTY_PATH);
		_exit(EX_OSERR);
	}
	if (program >= 0)
		close(program);
	return pid;
}

static bool
pair_make(struct ipc_channel *ours, int *theirs, struct error *error)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return error_set_errno(error, "socketpair");
	ipc_channel_init(ours, pair[0]);
	*theirs = pair[1];
	return true;
}

pid_t
daemon_child_start(const struct daemon_context *context, char *const arguments[], uid_t uid,
                   const gid_t groups[2], struct ipc_channel *control, struct ipc_channel *requests,
                   struct error *error)
{
	int   their_control = -1, their_requests = -1;
	pid_t pid = -1;

	control->fd = requests->fd = -1;
	if (!pair_make(control, &their_control, error) ||
	    !pair_make(requests, &their_requests, error))
		; /* the error is set */
	else if (!start_send(context, control, their_requests))
		error_set(error, "its start message cannot be sent");
	else if ((pid = child_fork(context, arguments, uid, groups, their_control)) < 0)
		error_set_errno(error, "fork");
	if (their_control >= 0)
		close(their_control);
	if (their_requests >= 0)
		close(their_requests);
	return pid;
}

bool
daemon_log_changed(struct daemon_context *context)
{
	bool is_changed = context->core->is_log_changed;

	context->core->is_log_changed = false;
	return is_changed;
}

void
daemon_child_log(const struct daemon_context *context, struct ipc_channel *control)
{
	struct msg_daemon_log message = msg_daemon_log_clear();

	message.log_target = (uint32_t)context->core->log_target;
	message.log = context->core->log_fd;
	if (ipc_queue(control, daemon_log, &message))
		(void)ipc_flush(control);
}
