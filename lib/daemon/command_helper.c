/*
 * command_helper.c - the helper's side of command.h: fork, exec, wait, kill.
 *
 * One thread around poll. It holds its socket, and two descriptors for each command that runs. No
 * signal but SIGKILL stops it before its room has gone, so that nothing it started runs on alone.
 */
#include "lib/daemon/command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/array.h"
#include "lib/base/clock.h"
#include "lib/daemon/command_wire.h"

#define RUNNING_MOST 1000
#define FILES_USUAL  1024 /* a program that uses select() must not get higher descriptors */
#define PATH_USUAL   "/usr/bin:/bin"

struct running {
	pid_t   pid;
	int     report, hold; /* hold is -1 once it hung up */
	int64_t kill_ms;      /* when SIGKILL follows SIGTERM; 0 = it was not told to end */
};

struct helper {
	int fd; /* -1: the room is gone */
	int children;
	ARRAY(struct running) running;
	ARRAY(struct pollfd) polls;
	char *request; /* COMMAND_REQUEST_MOST bytes */
};

struct program {
	const char *directory;
	char      **arguments;
	char      **environment;
	int         descriptors[COMMAND_DESCRIPTORS];
};

static void
report_write(int fd, enum command_step step, int value)
{
	struct command_report report = { .step = step, .value = value };
	ssize_t               written = write(fd, &report, sizeof(report));

	(void)written; /* nobody asks any more */
}

/* ---- the child, up to its exec ---- */

static void
signals_reset(void)
{
	struct sigaction usual = { .sa_handler = SIG_DFL };
	sigset_t         none;

	for (int number = 1; number < NSIG; number++)
		sigaction(number, &usual, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool
child_prepare(const struct program *program, pid_t helper)
{
	struct rlimit files;

	if (setsid() < 0 || dup2(program->descriptors[COMMAND_STDIN], 0) < 0 ||
	    dup2(program->descriptors[COMMAND_OUTPUT], 1) < 0 ||
	    dup2(program->descriptors[COMMAND_OUTPUT], 2) < 0 ||
	    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) != 0)
		return false;
	/* Should the helper be killed: what nobody watches must not deliver. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != helper)
		return false;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > FILES_USUAL) {
		files.rlim_cur = FILES_USUAL;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	umask(077);
	signals_reset();
	return true;
}

/* Also a script without "#!" runs, as it would under every other mail system. */
static void
execute_file(const char *path, const struct program *program)
{
	execve(path, program->arguments, program->environment);
	if (errno != ENOEXEC)
		return;
	size_t count = 0;
	while (program->arguments[count] != NULL)
		count++;
	char **shell = calloc(count + 2, sizeof(*shell));
	if (shell == NULL)
		return;
	char name[] = "/bin/sh";
	shell[0] = name;
	shell[1] = (char *)(uintptr_t)path;
	for (size_t i = 1; i < count; i++)
		shell[i + 1] = program->arguments[i];
	execve(name, shell, program->environment);
	free(shell);
}

static struct slice
environment_path(char *const *environment)
{
	for (; *environment != NULL; environment++)
		if (strncmp(*environment, "PATH=", 5) == 0)
			return slice_from(*environment + 5);
	return SLICE(PATH_USUAL);
}

/* Returns only when it could not be: with the errno that tells most. */
static int
execute(const struct program *program)
{
	const char  *name = program->arguments[0];
	struct slice rest = environment_path(program->environment), folder;
	struct buf   path = BUF(PATH_MAX);
	int          reason = ENOENT;

	if (strchr(name, '/') != NULL) {
		execute_file(name, program);
		return errno;
	}
	while (slice_next_word(&rest, ":", &folder)) {
		buf_clear(&path);
		buf_append(&path, folder);
		buf_append_byte(&path, '/');
		if (!buf_append_text(&path, name))
			continue;
		execute_file(buf_text(&path), program);
		if (errno != ENOENT && errno != ENOTDIR)
			reason = errno;
	}
	buf_free(&path);
	return reason;
}

static void
child_run(const struct program *program, pid_t helper)
{
	int report = program->descriptors[COMMAND_REPORT];

	if (!child_prepare(program, helper))
		report_write(report, COMMAND_STEP_PREPARE, errno);
	else if (chdir(program->directory) != 0)
		report_write(report, COMMAND_STEP_DIRECTORY, errno);
	else
		report_write(report, COMMAND_STEP_EXECUTE, execute(program));
	_exit(127);
}

/* ---- requests ---- */

/* Cuts the next text; NULL when there is none. */
static char *
text_take(char **at, const char *end)
{
	char *text = *at;
	char *nul = text < end ? memchr(text, '\0', (size_t)(end - text)) : NULL;

	if (nul == NULL)
		return NULL;
	*at = nul + 1;
	return text;
}

/* A NULL-terminated array of the next count texts; NULL when they are not there. */
static char **
texts_take(char **at, const char *end, size_t count)
{
	char **texts = count < COMMAND_REQUEST_MOST ? calloc(count + 1, sizeof(*texts)) : NULL;

	for (size_t i = 0; texts != NULL && i < count; i++)
		if ((texts[i] = text_take(at, end)) == NULL) {
			free(texts);
			texts = NULL;
		}
	return texts;
}

static bool
program_parse(struct program *program, char *bytes, size_t length)
{
	struct command_request request;
	char                  *at = bytes + sizeof(request), *end = bytes + length;

	if (length < sizeof(request))
		return false;
	memcpy(&request, bytes, sizeof(request));
	program->directory = text_take(&at, end);
	if (program->directory == NULL || request.argument_count == 0)
		return false;
	program->arguments = texts_take(&at, end, request.argument_count);
	if (program->arguments == NULL)
		return false;
	program->environment = texts_take(&at, end, request.environment_count);
	return program->environment != NULL && at == end;
}

static void
start(struct helper *helper, struct program *program)
{
	int            report = program->descriptors[COMMAND_REPORT];
	struct running running = { .report = report, .hold = program->descriptors[COMMAND_HOLD] };
	pid_t          self = getpid();

	if (helper->running.count >= RUNNING_MOST || !ARRAY_PUSH(&helper->running, running)) {
		report_write(report, COMMAND_STEP_FORK, EAGAIN);
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		child_run(program, self);
	if (pid < 0) {
		report_write(report, COMMAND_STEP_FORK, errno);
		helper->running.count--;
		return;
	}
	helper->running.items[helper->running.count - 1].pid = pid;
	program->descriptors[COMMAND_REPORT] = program->descriptors[COMMAND_HOLD] = -1;
}

static size_t
descriptors_take(struct msghdr *message, int descriptors[COMMAND_DESCRIPTORS])
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);

	if (control == NULL || control->cmsg_level != SOL_SOCKET ||
	    control->cmsg_type != SCM_RIGHTS)
		return 0;
	size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	if (count > COMMAND_DESCRIPTORS)
		count = COMMAND_DESCRIPTORS;
	memcpy(descriptors, CMSG_DATA(control), count * sizeof(int));
	return count;
}

/* False when the room is gone. */
static bool
request_receive(struct helper *helper)
{
	union {
		struct cmsghdr align;
		char           bytes[CMSG_SPACE(COMMAND_DESCRIPTORS * sizeof(int))];
	} control;
	struct program program = { .descriptors = { -1, -1, -1, -1 } };
	struct iovec   io = { helper->request, COMMAND_REQUEST_MOST };
	struct msghdr  message = { .msg_iov = &io,
		                   .msg_iovlen = 1,
		                   .msg_control = control.bytes,
		                   .msg_controllen = sizeof(control.bytes) };
	ssize_t        got = recvmsg(helper->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0)
		return false;
	size_t count = descriptors_take(&message, program.descriptors);
	bool   is_whole =
		count == COMMAND_DESCRIPTORS && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
	if (is_whole && program_parse(&program, helper->request, (size_t)got))
		start(helper, &program);
	else if (count > COMMAND_REPORT)
		report_write(program.descriptors[COMMAND_REPORT], COMMAND_STEP_REQUEST, EINVAL);
	for (size_t i = 0; i < COMMAND_DESCRIPTORS; i++)
		if (program.descriptors[i] >= 0)
			close(program.descriptors[i]);
	free(program.arguments);
	free(program.environment);
	return true;
}

/* ---- the end of a command ---- */

/* The group, or a child that has not made its group yet. Its id is its own until it is reaped. */
static void
running_signal(const struct running *running, int number)
{
	if (kill(-running->pid, number) != 0)
		kill(running->pid, number);
}

static void
running_stop(struct running *running)
{
	if (running->hold >= 0)
		close(running->hold);
	running->hold = -1;
	if (running->kill_ms != 0)
		return;
	running->kill_ms = clock_monotonic_ms() + COMMAND_GRACE_MS;
	running_signal(running, SIGTERM);
}

static void
running_end(struct helper *helper, size_t index, const siginfo_t *info)
{
	struct running *running = &helper->running.items[index];

	/* Told to end: also what its leader left behind. */
	if (running->kill_ms != 0)
		running_signal(running, SIGKILL);
	waitpid(running->pid, NULL, 0);
	report_write(running->report,
	             info->si_code == CLD_EXITED ? COMMAND_STEP_EXITED : COMMAND_STEP_KILLED,
	             info->si_status);
	close(running->report);
	if (running->hold >= 0)
		close(running->hold);
	*running = helper->running.items[--helper->running.count];
}

static void
reap(struct helper *helper)
{
	struct signalfd_siginfo ignored;
	ssize_t                 got = read(helper->children, &ignored, sizeof(ignored));

	(void)got;
	for (size_t i = helper->running.count; i-- > 0;) {
		siginfo_t info = { 0 };

		if (waitid(P_PID, (id_t)helper->running.items[i].pid, &info,
		           WEXITED | WNOHANG | WNOWAIT) == 0 &&
		    info.si_pid != 0)
			running_end(helper, i, &info);
	}
}

/* ---- the loop ---- */

static bool
polls_make(struct helper *helper)
{
	struct pollfd room = { .fd = helper->fd, .events = POLLIN };
	struct pollfd children = { .fd = helper->children, .events = POLLIN };

	helper->polls.count = 0;
	if (!ARRAY_PUSH(&helper->polls, room) || !ARRAY_PUSH(&helper->polls, children))
		return false;
	for (size_t i = 0; i < helper->running.count; i++) {
		struct pollfd hold = { .fd = helper->running.items[i].hold };

		if (!ARRAY_PUSH(&helper->polls, hold))
			return false;
	}
	return true;
}

/* Sends SIGKILL where it is due; ms until the next is, -1 = never. */
static int
kills_send(struct helper *helper)
{
	int64_t now = clock_monotonic_ms(), next = -1;

	for (size_t i = 0; i < helper->running.count; i++) {
		struct running *running = &helper->running.items[i];

		if (running->kill_ms == 0)
			continue;
		if (running->kill_ms <= now) {
			running_signal(running, SIGKILL);
			running->kill_ms = now + COMMAND_GRACE_MS;
		}
		if (next < 0 || running->kill_ms - now < next)
			next = running->kill_ms - now;
	}
	return (int)next;
}

static void
room_gone(struct helper *helper)
{
	close(helper->fd);
	helper->fd = -1;
	for (size_t i = 0; i < helper->running.count; i++)
		running_stop(&helper->running.items[i]);
}

static void
serve(struct helper *helper)
{
	while (helper->fd >= 0 || helper->running.count > 0) {
		int wait_ms = kills_send(helper);

		/* Without memory for the whole list: a look now and then. */
		if (!polls_make(helper))
			wait_ms = 100;
		if (poll(helper->polls.items, helper->polls.count, wait_ms) < 0 && errno != EINTR)
			return;
		/* In this order: reaping moves the others. */
		for (size_t i = 2; i < helper->polls.count; i++)
			if (helper->polls.items[i].revents != 0)
				running_stop(&helper->running.items[i - 2]);
		reap(helper);
		if (helper->fd >= 0 && helper->polls.count > 0 &&
		    helper->polls.items[0].revents != 0 && !request_receive(helper))
			room_gone(helper);
	}
}

static bool
signals_block(struct helper *helper)
{
	sigset_t all, child;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	helper->children = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
	return helper->children >= 0;
}

int
command_runner_serve(int fd)
{
	struct helper helper = { .fd = fd, .children = -1 };

	/* What it runs has the same uid, and its memory is a copy of its room's. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, "command-helper");
	helper.request = malloc(COMMAND_REQUEST_MOST);
	bool is_ready = helper.request != NULL && signals_block(&helper);
	if (is_ready)
		serve(&helper);
	free(helper.request);
	ARRAY_FREE(&helper.running);
	ARRAY_FREE(&helper.polls);
	if (helper.children >= 0)
		close(helper.children);
	return is_ready ? 0 : 1;
}
