/*
 * test_daemon.c - the skeleton of daemons: sessions parked and run, timeouts, refusal, drain.
 *
 * The test plays master: it forks a process that runs daemon_main with a small room of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/daemon/daemon.h"
#include "lib/ipc/channel.h"

/* ---- the room: lines are echoed; some words do more ---- */

struct echo {
	struct stream *stream;
	unsigned       pieces; /* still to be written for "flood", and the end */
	bool           is_pausing;
	bool           is_busy;
};

#define PIECE_BYTES 30000
#define PIECES      400

static void *
echo_begin(struct daemon_context *context, struct stream *stream, const struct session_peer *peer)
{
	struct echo *echo = calloc(1, sizeof(*echo));

	(void)context;
	(void)peer;
	echo->stream = stream;
	stream_write_text(stream, "hello\n");
	return echo;
}

static enum session_next
echo_flood(struct echo *echo)
{
	static const char piece[PIECE_BYTES];

	if (--echo->pieces == 0) {
		stream_write_text(echo->stream, "end\n");
		return SESSION_AGAIN;
	}
	stream_write(echo->stream, slice_of(piece, sizeof(piece)));
	return SESSION_CONTINUE;
}

static enum session_next
echo_line(struct echo *echo, struct slice line)
{
	if (slice_equal(line, SLICE("quit"))) {
		stream_write_text(echo->stream, "bye\n");
		return SESSION_CLOSE;
	}
	if (slice_equal(line, SLICE("flood"))) {
		echo->pieces = PIECES + 1;
		return echo_flood(echo);
	}
	if (slice_equal(line, SLICE("pause"))) {
		echo->is_pausing = true;
		return SESSION_PAUSE;
	}
	if (slice_equal(line, SLICE("begin")) || slice_equal(line, SLICE("finish")))
		echo->is_busy = slice_equal(line, SLICE("begin"));
	stream_write(echo->stream, line);
	stream_write_text(echo->stream, "\n");
	return SESSION_AGAIN;
}

static enum session_next
echo_input(void *session)
{
	struct echo *echo = session;
	struct slice input = stream_input(echo->stream);
	size_t       end = slice_find_byte(input, '\n');

	if (echo->pieces > 0)
		return echo_flood(echo);
	if (echo->is_pausing) {
		echo->is_pausing = false;
		stream_write_text(echo->stream, "paused\n");
		return SESSION_AGAIN;
	}
	if (end == SLICE_NOT_FOUND)
		return SESSION_WAIT;
	char         line[200];
	struct slice copy = slice_of(line, end < sizeof(line) ? end : sizeof(line));
	memcpy(line, input.data, copy.length);
	stream_consume(echo->stream, end + 1);
	return echo_line(echo, copy);
}

static void
echo_end(void *session, enum session_end why)
{
	static const char *const words[] = { "closed", "lost", "timeout", "drain", "refused" };
	struct echo             *echo = session;

	log_info("session over: %s", words[why]);
	stream_write_text(echo->stream, words[why]);
	free(echo);
}

static int64_t
echo_timeout(void *session)
{
	struct echo *echo = session;

	return echo->is_pausing ? 50 : 700;
}

static bool
echo_is_idle(void *session)
{
	return !((struct echo *)session)->is_busy;
}

static size_t
echo_limit(const struct daemon_context *context)
{
	return context->thread_limit * 20;
}

static const struct daemon echo_daemon = {
	.name = "echo",
	.identity = RUNS_AS_NET,
	.session_begin = echo_begin,
	.session_input = echo_input,
	.session_end = echo_end,
	.session_timeout = echo_timeout,
	.session_is_idle = echo_is_idle,
	.session_refusal = "refused\n",
	.session_limit = echo_limit,
};

/* A room with its own loop: threads that wait for the drain. */
static void
agent_work(struct daemon_context *context, size_t index)
{
	while (daemon_wait(context, -1, 0, clock_monotonic_ms() + 60000) != DAEMON_WAIT_DRAIN)
		;
	log_info("agent %zu saw the drain", index);
}

static int
agent_run(struct daemon_context *context)
{
	return daemon_run_threads(context, 3, agent_work) == 0 ? 7 : 1;
}

static const struct daemon agent_daemon = { .name = "agent",
	                                    .identity = RUNS_AS_NET,
	                                    .run = agent_run };

/* ---- master's part ---- */

struct host {
	pid_t              child;
	struct ipc_channel control;
	int                log; /* the daemon's log, for reading */
	struct sockaddr_in address;
};

static int
snapshot_make(void)
{
	static const char text[] = "dakiya-snapshot 1\0queue_directory\0/tmp\0syslog_name\0test";
	int               fd = memfd_create("snapshot", MFD_CLOEXEC);

	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	return fd;
}

static int
listen_on_loopback(struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int       fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET,
		                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof(*address)), 0);
	assert_int_equal(listen(fd, 500), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)address, &length), 0);
	return fd;
}

static int64_t
soon(void)
{
	return clock_monotonic_ms() + 10000;
}

static void
start_daemon(struct host *host, const struct daemon *daemon, uint32_t threads)
{
	char *arguments[] = { (char *)(uintptr_t)daemon->name, NULL };
	int   pair[2], log[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe2(log, O_CLOEXEC), 0);
	host->child = fork();
	assert_true(host->child >= 0);
	if (host->child == 0) {
		dup2(pair[1], 3);
		_exit(daemon_main(daemon, 1, arguments));
	}
	close(pair[1]);
	ipc_channel_init(&host->control, pair[0]);
	struct msg_daemon_listener listener = msg_daemon_listener_clear();
	listener.address = SLICE("127.0.0.1:0");
	listener.socket = listen_on_loopback(&host->address);
	assert_int_equal(ipc_send(&host->control, daemon_listener, &listener, soon()), IPC_OK);
	close(listener.socket);
	struct msg_daemon_start start = msg_daemon_start_clear();
	start.service = SLICE("echo");
	start.process_limit = threads;
	start.is_unprivileged = true;
	start.log_target = LOG_TO_STREAM;
	start.log = log[1];
	start.snapshot = snapshot_make();
	assert_int_equal(ipc_send(&host->control, daemon_start, &start, soon()), IPC_OK);
	close(start.snapshot);
	close(log[1]);
	host->log = log[0];
	struct ipc_frame frame;
	assert_int_equal(ipc_receive(&host->control, soon(), &frame), IPC_OK);
	assert_int_equal(frame.type, MSG_daemon_ready);
}

static void
drain(struct host *host, uint32_t deadline_ms)
{
	struct msg_daemon_drain message = { .deadline_ms = deadline_ms };

	assert_int_equal(ipc_send(&host->control, daemon_drain, &message, soon()), IPC_OK);
}

/* The exit status, and the whole log in *text. */
static int
finish(struct host *host, struct buf *text)
{
	int status;

	assert_int_equal(waitpid(host->child, &status, 0), host->child);
	*text = BUF(1 << 20);
	for (;;) {
		char    piece[4096];
		ssize_t got = read(host->log, piece, sizeof(piece));

		if (got <= 0)
			break;
		buf_append(text, slice_of(piece, (size_t)got));
	}
	close(host->log);
	ipc_channel_close(&host->control);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int
connect_to(const struct host *host)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(
		connect(fd, (const struct sockaddr *)&host->address, sizeof(host->address)), 0);
	return fd;
}

/* Reads until a line end or the end; the line without it. */
static const char *
read_line(int fd, char *line, size_t size)
{
	size_t length = 0;

	while (length + 1 < size) {
		struct pollfd one = { .fd = fd, .events = POLLIN };

		if (poll(&one, 1, 10000) <= 0)
			return "(nothing came)";
		if (read(fd, line + length, 1) <= 0 || line[length] == '\n')
			break;
		length++;
	}
	line[length] = '\0';
	return line;
}

static void
send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

#define EXPECT_LINE(fd, expected)                                                                  \
	do {                                                                                       \
		char line_[256];                                                                   \
		assert_string_equal(read_line((fd), line_, sizeof(line_)), (expected));            \
	} while (0)

/* ---- the claims ---- */

static void
many_sessions_share_few_threads_and_none_is_mixed_up(void **unused)
{
	struct host host;
	struct buf  text;
	int         fds[60];

	(void)unused;
	start_daemon(&host, &echo_daemon, 3);
	for (size_t i = 0; i < 60; i++) {
		fds[i] = connect_to(&host);
		EXPECT_LINE(fds[i], "hello");
	}
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 60; i++) {
			char out[32];

			snprintf(out, sizeof(out), "line %d of %d\n", round, i);
			send_text(fds[i], out);
		}
		for (int i = 59; i >= 0; i--) {
			char out[32];

			snprintf(out, sizeof(out), "line %d of %d", round, i);
			EXPECT_LINE(fds[i], out);
		}
	}
	for (size_t i = 0; i < 60; i++) {
		send_text(fds[i], "one\ntwo\nquit\nnever\n");
		EXPECT_LINE(fds[i], "one");
		EXPECT_LINE(fds[i], "two");
		EXPECT_LINE(fds[i], "bye");
		close(fds[i]);
	}
	drain(&host, 5000);
	assert_int_equal(finish(&host, &text), 0);
	buf_free(&text);
}

static void
a_silent_client_times_out_and_a_dripping_one_does_too(void **unused)
{
	struct host host;
	struct buf  text;

	(void)unused;
	start_daemon(&host, &echo_daemon, 2);
	int     silent = connect_to(&host), dripping = connect_to(&host);
	int64_t begin = clock_monotonic_ms();
	EXPECT_LINE(silent, "hello");
	EXPECT_LINE(dripping, "hello");
	for (int i = 0; i < 12; i++) {
		send(dripping, "x", 1, MSG_NOSIGNAL);
		usleep(100000);
	}
	EXPECT_LINE(dripping, "timeout");
	EXPECT_LINE(silent, "timeout");
	assert_in_range(clock_monotonic_ms() - begin, 700, 5000);
	close(silent);
	close(dripping);
	kill(host.child, SIGTERM);
	assert_int_equal(finish(&host, &text), 0);
	buf_free(&text);
}

static void
a_pause_holds_input_back_and_then_goes_on(void **unused)
{
	struct host host;
	struct buf  text;

	(void)unused;
	start_daemon(&host, &echo_daemon, 1);
	int fd = connect_to(&host);
	EXPECT_LINE(fd, "hello");
	send_text(fd, "pause\nafter\n");
	EXPECT_LINE(fd, "paused");
	EXPECT_LINE(fd, "after");
	close(fd);
	usleep(300000); /* else the drain may find the session first */
	drain(&host, 5000);
	assert_int_equal(finish(&host, &text), 0);
	assert_non_null(strstr(buf_text(&text), "session over: lost"));
	buf_free(&text);
}

static void
a_slow_reader_holds_no_thread_and_gets_every_byte(void **unused)
{
	struct host host;
	struct buf  text;
	static char zeros[1 << 16];

	(void)unused;
	start_daemon(&host, &echo_daemon, 1);
	int slow = connect_to(&host), other = connect_to(&host);
	EXPECT_LINE(slow, "hello");
	send_text(slow, "flood\nflood\n");
	usleep(100000);
	EXPECT_LINE(other, "hello");
	for (int i = 0; i < 10; i++) {
		send_text(other, "served\n");
		EXPECT_LINE(other, "served");
	}
	for (int round = 0; round < 2; round++) {
		size_t total = 0;

		while (total < (size_t)PIECES * PIECE_BYTES) {
			size_t  left = (size_t)PIECES * PIECE_BYTES - total;
			ssize_t got =
				read(slow, zeros, left < sizeof(zeros) ? left : sizeof(zeros));

			assert_true(got > 0);
			total += (size_t)got;
		}
		EXPECT_LINE(slow, "end");
	}
	close(slow);
	close(other);
	drain(&host, 5000);
	assert_int_equal(finish(&host, &text), 0);
	buf_free(&text);
}

static void
a_session_too_many_is_told_so(void **unused)
{
	struct host host;
	struct buf  text;
	int         fds[20];

	(void)unused;
	start_daemon(&host, &echo_daemon, 1);
	for (size_t i = 0; i < 20; i++) {
		fds[i] = connect_to(&host);
		EXPECT_LINE(fds[i], "hello");
	}
	int more = connect_to(&host);
	EXPECT_LINE(more, "refused");
	EXPECT_LINE(more, "");
	close(more);
	close(fds[0]);
	usleep(100000);
	more = connect_to(&host);
	EXPECT_LINE(more, "hello");
	close(more);
	for (size_t i = 1; i < 20; i++)
		close(fds[i]);
	drain(&host, 5000);
	assert_int_equal(finish(&host, &text), 0);
	buf_free(&text);
}

static void
a_drain_ends_idle_sessions_and_lets_busy_ones_finish(void **unused)
{
	struct host host;
	struct buf  text;

	(void)unused;
	start_daemon(&host, &echo_daemon, 2);
	int idle = connect_to(&host), busy = connect_to(&host);
	EXPECT_LINE(idle, "hello");
	EXPECT_LINE(busy, "hello");
	send_text(busy, "begin\n");
	EXPECT_LINE(busy, "begin");
	drain(&host, 5000);
	EXPECT_LINE(idle, "drain");
	send_text(busy, "still here\n");
	EXPECT_LINE(busy, "still here");
	send_text(busy, "finish\n");
	EXPECT_LINE(busy, "finish");
	EXPECT_LINE(busy, "drain");
	close(idle);
	close(busy);
	assert_int_equal(finish(&host, &text), 0);
	buf_free(&text);
}

static void
a_drain_does_not_wait_beyond_its_deadline(void **unused)
{
	struct host host;
	struct buf  text;
	int64_t     begin = clock_monotonic_ms();

	(void)unused;
	start_daemon(&host, &echo_daemon, 2);
	int busy = connect_to(&host);
	EXPECT_LINE(busy, "hello");
	send_text(busy, "begin\n");
	EXPECT_LINE(busy, "begin");
	drain(&host, 200);
	EXPECT_LINE(busy, "drain");
	close(busy);
	assert_int_equal(finish(&host, &text), 0);
	assert_in_range(clock_monotonic_ms() - begin, 200, 3000);
	buf_free(&text);
}

static void
the_end_of_master_is_a_drain(void **unused)
{
	struct host host;
	struct buf  text;

	(void)unused;
	start_daemon(&host, &echo_daemon, 2);
	int idle = connect_to(&host);
	EXPECT_LINE(idle, "hello");
	ipc_channel_close(&host.control);
	EXPECT_LINE(idle, "drain");
	close(idle);
	assert_int_equal(finish(&host, &text), 0);
	buf_free(&text);
}

static void
a_malformed_message_from_master_is_a_drain_too(void **unused)
{
	struct host host;
	struct buf  text;

	(void)unused;
	start_daemon(&host, &echo_daemon, 2);
	assert_int_equal(write(host.control.fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8), 8);
	assert_int_equal(finish(&host, &text), 0);
	buf_free(&text);
}

static void
session_numbers_in_the_log_differ_and_fit_log_readers(void **unused)
{
	struct host   host;
	struct buf    text;
	unsigned long numbers[3];

	(void)unused;
	start_daemon(&host, &echo_daemon, 2);
	for (size_t i = 0; i < 3; i++) {
		int fd = connect_to(&host);

		EXPECT_LINE(fd, "hello");
		send_text(fd, "quit\n");
		EXPECT_LINE(fd, "bye");
		close(fd);
	}
	drain(&host, 5000);
	assert_int_equal(finish(&host, &text), 0);
	const char *at = buf_text(&text);
	for (size_t i = 0; i < 3; i++) {
		at = strstr(at, "test/echo[");
		assert_non_null(at);
		numbers[i] = strtoul(at + strlen("test/echo["), NULL, 10);
		assert_in_range(numbers[i], 1ul << 22, 0x7fffffff);
		at++;
	}
	assert_true(numbers[0] != numbers[1] && numbers[1] != numbers[2] &&
	            numbers[0] != numbers[2]);
	buf_free(&text);
}

static void
threads_of_a_room_with_its_own_loop_end_with_the_drain(void **unused)
{
	struct host host;
	struct buf  text;

	(void)unused;
	start_daemon(&host, &agent_daemon, 2);
	drain(&host, 5000);
	assert_int_equal(finish(&host, &text), 7);
	assert_non_null(strstr(buf_text(&text), "agent 0 saw the drain"));
	assert_non_null(strstr(buf_text(&text), "agent 2 saw the drain"));
	buf_free(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_sessions_share_few_threads_and_none_is_mixed_up),
		cmocka_unit_test(a_silent_client_times_out_and_a_dripping_one_does_too),
		cmocka_unit_test(a_pause_holds_input_back_and_then_goes_on),
		cmocka_unit_test(a_slow_reader_holds_no_thread_and_gets_every_byte),
		cmocka_unit_test(a_session_too_many_is_told_so),
		cmocka_unit_test(a_drain_ends_idle_sessions_and_lets_busy_ones_finish),
		cmocka_unit_test(a_drain_does_not_wait_beyond_its_deadline),
		cmocka_unit_test(the_end_of_master_is_a_drain),
		cmocka_unit_test(a_malformed_message_from_master_is_a_drain_too),
		cmocka_unit_test(session_numbers_in_the_log_differ_and_fit_log_readers),
		cmocka_unit_test(threads_of_a_room_with_its_own_loop_end_with_the_drain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
