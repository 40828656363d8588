/* command.c - the room's side of command.h. The helper's is in command_helper.c. */
#include "lib/daemon/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/daemon/command_wire.h"

#define STOP_WAIT_MS (COMMAND_GRACE_MS + 8000) /* until a killed command must be gone */
#define SEND_WAIT_MS 30000                     /* the helper forks for others */
#define LOOK_MS      1000                      /* for must_end */
#define LAST_READS   64                        /* of output after the end, by what still writes */

struct command_runner {
	int fd;
};

/* ---- the helper ---- */

static struct command_runner *
runner_make(int fd, struct error *error)
{
	struct command_runner *runner = malloc(sizeof(*runner));
	int                    size = 2 * (int)COMMAND_REQUEST_MOST;

	if (runner == NULL) {
		error_set(error, "out of memory");
		close(fd);
		return NULL;
	}
	/* A request is one message, and must fit. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	runner->fd = fd;
	return runner;
}

/* In the helper: nothing of the room stays open. */
static void
helper_run(int fd)
{
	if (fd != 3 && dup2(fd, 3) < 0)
		_exit(1);
	if (close_range(4, ~0u, 0) != 0)
		_exit(1);
	fcntl(3, F_SETFD, FD_CLOEXEC);
	_exit(command_runner_serve(3));
}

struct command_runner *
command_runner_start(struct error *error)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		error_set_errno(error, "socketpair");
		return NULL;
	}
	pid_t pid = fork();
	if (pid == 0)
		helper_run(pair[1]);
	if (pid < 0)
		error_set_errno(error, "fork the helper for commands");
	close(pair[1]);
	if (pid > 0)
		return runner_make(pair[0], error);
	close(pair[0]);
	return NULL;
}

struct command_runner *
command_runner_attach(int fd, struct error *error)
{
	int       type = 0;
	socklen_t length = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_SEQPACKET) {
		error_set(error, "descriptor %d leads to no helper for commands", fd);
		close(fd);
		return NULL;
	}
	return runner_make(fd, error);
}

void
command_runner_close(struct command_runner **runner)
{
	if (*runner == NULL)
		return;
	close((*runner)->fd);
	free(*runner);
	*runner = NULL;
}

bool
command_runner_is_gone(const struct command_runner *runner)
{
	struct pollfd one = { .fd = runner->fd };

	return poll(&one, 1, 0) > 0 && (one.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

/* ---- the request ---- */

static bool
texts_append(struct buf *request, const char *const *texts, uint32_t *count)
{
	for (*count = 0; *texts != NULL; texts++, (*count)++)
		if (!buf_append(request, slice_of(*texts, strlen(*texts) + 1)))
			return false;
	return true;
}

static bool
request_make(struct buf *request, const struct command *command, struct error *error)
{
	struct command_request header = { 0 };
	const char            *directory = command->directory == NULL ? "/" : command->directory;
	struct slice           head = slice_of((const char *)&header, sizeof(header));

	if (!buf_append(request, head) ||
	    !buf_append(request, slice_of(directory, strlen(directory) + 1)) ||
	    !texts_append(request, command->arguments, &header.argument_count) ||
	    !texts_append(request, command->environment, &header.environment_count))
		return error_set(error, "its arguments and environment are longer than %u bytes",
		                 COMMAND_REQUEST_MOST);
	memcpy(request->data, &header, sizeof(header));
	return true;
}

size_t
command_room_left(const struct command *command)
{
	struct buf request = BUF(COMMAND_REQUEST_MOST);
	size_t     left = 0;

	if (request_make(&request, command, NULL))
		left = COMMAND_REQUEST_MOST - request.length;
	buf_free(&request);
	return left;
}

static bool
request_send(const struct command_runner *runner, struct slice bytes,
             const int descriptors[COMMAND_DESCRIPTORS], struct error *error)
{
	union {
		struct cmsghdr align;
		char           bytes[CMSG_SPACE(COMMAND_DESCRIPTORS * sizeof(int))];
	} control = { 0 };
	struct iovec    io = { (char *)(uintptr_t)bytes.data, bytes.length };
	struct msghdr   message = { .msg_iov = &io,
		                    .msg_iovlen = 1,
		                    .msg_control = control.bytes,
		                    .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	struct pollfd   one = { .fd = runner->fd, .events = POLLOUT };
	int64_t         until_ms = clock_monotonic_ms() + SEND_WAIT_MS;

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(COMMAND_DESCRIPTORS * sizeof(int));
	memcpy(CMSG_DATA(rights), descriptors, COMMAND_DESCRIPTORS * sizeof(int));
	while (sendmsg(runner->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno == EPIPE || errno == ECONNRESET)
			return error_set(error, "the helper for commands has ended");
		if ((errno != EAGAIN && errno != EINTR) || clock_monotonic_ms() > until_ms)
			return error_set_errno(error, "ask the helper for commands");
		poll(&one, 1, 1000);
	}
	return true;
}

/* ---- one run ---- */

struct run {
	const struct command  *command;
	struct command_result *result;
	int                    input, output, report, hold; /* our ends; -1 = closed */
	int                    socket;                      /* instead of input and output; -1 */
	struct slice           piece;                       /* of its input, not written yet */
	int64_t                deadline_ms;
	bool                   is_stopping; /* it was told to end; result->end says why */
};

static void
end_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static bool
pipe_make(int *ours, int *theirs, bool we_write)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		return false;
	*ours = ends[we_write];
	*theirs = ends[!we_write];
	fcntl(*ours, F_SETFL, fcntl(*ours, F_GETFL) | O_NONBLOCK);
	return true;
}

/* Its three streams: pipes, or the socket. */
static bool
streams_make(struct run *run, int theirs[COMMAND_DESCRIPTORS])
{
	if (run->socket < 0)
		return pipe_make(&run->input, &theirs[COMMAND_STDIN], true) &&
		       pipe_make(&run->output, &theirs[COMMAND_OUTPUT], false);
	theirs[COMMAND_STDIN] = fcntl(run->socket, F_DUPFD_CLOEXEC, 3);
	theirs[COMMAND_OUTPUT] = fcntl(run->socket, F_DUPFD_CLOEXEC, 3);
	return theirs[COMMAND_STDIN] >= 0 && theirs[COMMAND_OUTPUT] >= 0;
}

static bool
run_start(struct run *run, const struct command_runner *runner)
{
	int           theirs[COMMAND_DESCRIPTORS] = { -1, -1, -1, -1 };
	struct buf    request = BUF(COMMAND_REQUEST_MOST);
	struct error *error = &run->result->error;
	bool          is_sent = false;

	if (!streams_make(run, theirs) ||
	    !pipe_make(&run->report, &theirs[COMMAND_REPORT], false) ||
	    !pipe_make(&run->hold, &theirs[COMMAND_HOLD], true))
		error_set_errno(error, "pipe");
	else if (request_make(&request, run->command, error))
		is_sent = request_send(runner, buf_slice(&request), theirs, error);
	for (size_t i = 0; i < COMMAND_DESCRIPTORS; i++)
		end_close(&theirs[i]);
	buf_free(&request);
	return is_sent;
}

/* The helper kills it, and reports when that is done. */
static void
run_stop(struct run *run, enum command_end why)
{
	run->is_stopping = true;
	run->result->end = why;
	run->deadline_ms = clock_monotonic_ms() + STOP_WAIT_MS;
	end_close(&run->hold);
	end_close(&run->input);
}

/* False when there is nothing more now. */
static bool
output_read(struct run *run)
{
	char        bytes[4096];
	struct buf *kept = &run->result->output;
	ssize_t     got = read(run->output, bytes, sizeof(bytes));

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		end_close(&run->output);
		return false;
	}
	buf_append(kept, slice_first(slice_of(bytes, (size_t)got), kept->limit - kept->length));
	return true;
}

static void
input_write(struct run *run)
{
	const struct command *command = run->command;

	if (run->piece.length == 0 &&
	    !command->input(command->input_context, &run->piece, &run->result->error)) {
		run_stop(run, COMMAND_NOT_RUN);
		return;
	}
	if (run->piece.length == 0) {
		end_close(&run->input);
		return;
	}
	ssize_t written = write(run->input, run->piece.data, run->piece.length);
	if (written >= 0)
		run->piece = slice_from_offset(run->piece, (size_t)written);
	else if (errno != EAGAIN && errno != EINTR)
		end_close(&run->input); /* it does not want the rest */
}

static void
report_word(struct run *run, const struct command_report *report)
{
	const struct command *command = run->command;
	struct error         *error = &run->result->error;

	run->result->status = report->value;
	errno = report->value;
	switch ((enum command_step)report->step) {
	case COMMAND_STEP_EXITED: run->result->end = COMMAND_EXITED; return;
	case COMMAND_STEP_KILLED: run->result->end = COMMAND_KILLED; return;
	case COMMAND_STEP_DIRECTORY:
		error_set_errno(error, "change to directory %.200s",
		                command->directory == NULL ? "/" : command->directory);
		break;
	case COMMAND_STEP_EXECUTE:
		error_set_errno(error, "execute %.200s", command->arguments[0]);
		break;
	case COMMAND_STEP_REQUEST:
	case COMMAND_STEP_FORK:
	case COMMAND_STEP_PREPARE:
		error_set_errno(error, "start %.200s", command->arguments[0]);
		break;
	}
	run->result->end = COMMAND_NOT_RUN;
}

/* False when there is none yet. */
static bool
report_read(struct run *run)
{
	struct command_report report;
	ssize_t               got = read(run->report, &report, sizeof(report));

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (run->is_stopping)
		return true;
	if (got == (ssize_t)sizeof(report)) {
		report_word(run, &report);
		return true;
	}
	run->result->end = COMMAND_NOT_RUN;
	error_set(&run->result->error, "the helper for commands ended while %.200s ran",
	          run->command->arguments[0]);
	return true;
}

static bool
run_must_end(const struct run *run)
{
	const struct command *command = run->command;

	return !run->is_stopping && command->must_end != NULL &&
	       command->must_end(command->must_end_context);
}

static void
run_watch(struct run *run)
{
	for (;;) {
		struct pollfd polls[] = { { .fd = run->report, .events = POLLIN },
			                  { .fd = run->output, .events = POLLIN },
			                  { .fd = run->input, .events = POLLOUT } };
		int64_t       left = run->deadline_ms - clock_monotonic_ms();

		if (left <= 0 && run->is_stopping)
			return;
		if (left <= 0) {
			run_stop(run, COMMAND_TIMED_OUT);
			continue;
		}
		if (run_must_end(run)) {
			error_set(&run->result->error, "the mail system stops");
			run_stop(run, COMMAND_NOT_RUN);
			continue;
		}
		if (poll(polls, 3, left > LOOK_MS ? LOOK_MS : (int)left) <= 0)
			continue;
		if (polls[1].revents != 0)
			output_read(run);
		if (polls[2].revents != 0)
			input_write(run);
		if (polls[0].revents != 0 && report_read(run))
			break;
	}
	for (size_t i = 0; i < LAST_READS && run->output >= 0 && output_read(run); i++)
		continue;
}

static void
run_whole(struct command_runner *runner, const struct command *command, int socket,
          struct command_result *result)
{
	struct run run = { .command = command,
		           .result = result,
		           .input = -1,
		           .output = -1,
		           .report = -1,
		           .hold = -1,
		           .socket = socket,
		           .piece = SLICE_EMPTY,
		           .deadline_ms = clock_monotonic_ms() + command->time_limit_ms };

	*result = (struct command_result){ .end = COMMAND_NOT_RUN,
		                           .output = BUF(COMMAND_OUTPUT_MOST) };
	if (run_start(&run, runner))
		run_watch(&run);
	end_close(&run.input);
	end_close(&run.output);
	end_close(&run.report);
	end_close(&run.hold);
}

void
command_run(struct command_runner *runner, const struct command *command,
            struct command_result *result)
{
	run_whole(runner, command, -1, result);
}

void
command_serve(struct command_runner *runner, const struct command *command, int socket,
              struct command_result *result)
{
	run_whole(runner, command, socket, result);
}

void
command_result_free(struct command_result *result)
{
	buf_free(&result->output);
}
