/* test_command.c - programs that mail is delivered to: real processes, every way they can end. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/daemon/command.h"

#define LIMIT_MS 30000

static const char *const no_environment[] = { "PATH=/usr/bin:/bin", "A=1", NULL };

struct source {
	struct slice text;
	size_t       times;
	bool         fails;
};

static bool
source_piece(void *context, struct slice *piece, struct error *error)
{
	struct source *source = context;

	*piece = SLICE_EMPTY;
	if (source->times > 0) {
		source->times--;
		*piece = source->text;
		return true;
	}
	return !source->fails || error_set(error, "the queue file cannot be read");
}

static int
set_up(void **state)
{
	struct error error = ERROR_NONE;

	signal(SIGPIPE, SIG_IGN);
	*state = command_runner_start(&error);
	return *state == NULL;
}

static int
tear_down(void **state)
{
	struct command_runner *runner = *state;

	command_runner_close(&runner);
	assert_null(runner);
	assert_true(waitpid(-1, NULL, 0) > 0);
	return 0;
}

static struct command_result
run_with(struct command_runner *runner, const char *script, struct source *source, int64_t limit_ms)
{
	const char *const     arguments[] = { "sh", "-c", script, NULL };
	struct command        command = { .arguments = arguments,
		                          .environment = no_environment,
		                          .time_limit_ms = limit_ms,
		                          .input = source_piece,
		                          .input_context = source };
	struct command_result result;

	command_run(runner, &command, &result);
	return result;
}

static struct command_result
run(struct command_runner *runner, const char *script)
{
	struct source empty = { 0 };

	return run_with(runner, script, &empty, LIMIT_MS);
}

static void
assert_output(struct command_result *result, const char *text)
{
	if (result->end != COMMAND_EXITED)
		fail_msg("end %d: %s", (int)result->end, result->error.text);
	assert_string_equal(buf_text(&result->output), text);
	command_result_free(result);
}

/* Gone, or dead and not reaped by who adopted it. */
static bool
has_ended(pid_t pid)
{
	char path[64], text[300] = "";

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	ssize_t got = read(fd, text, sizeof(text) - 1);
	close(fd);
	return got <= 0 || strstr(text, ") Z ") != NULL;
}

static bool
ends_soon(pid_t pid)
{
	for (int i = 0; i < 500 && !has_ended(pid); i++)
		usleep(20000);
	return has_ended(pid);
}

static void
output_and_status_come_back(void **state)
{
	struct command_result result = run(*state, "echo out; echo err >&2; exit 67");

	assert_int_equal(result.status, 67);
	assert_output(&result, "out\nerr\n");
}

static void
input_is_written_whole(void **state)
{
	struct source         source = { .text = SLICE("0123456789abcde\n"), .times = 100000 };
	struct command_result result = run_with(*state, "wc -c", &source, LIMIT_MS);

	assert_int_equal(result.status, 0);
	assert_output(&result, "1600000\n");
}

static void
input_and_output_flow_at_once(void **state)
{
	struct source         source = { .text = SLICE("0123456789abcde\n"), .times = 100000 };
	struct command_result result = run_with(*state, "exec cat", &source, LIMIT_MS);

	assert_int_equal(result.end, COMMAND_EXITED);
	assert_int_equal(result.output.length, COMMAND_OUTPUT_MOST);
	command_result_free(&result);
}

static void
input_that_is_not_read_is_no_failure(void **state)
{
	struct source         source = { .text = SLICE("0123456789abcde\n"), .times = 100000 };
	struct command_result result = run_with(*state, "exec <&-; echo done", &source, LIMIT_MS);

	assert_int_equal(result.status, 0);
	assert_output(&result, "done\n");
	source.times = 100000;
	result = run_with(*state, "exit 0", &source, LIMIT_MS);
	assert_int_equal(result.status, 0);
	assert_output(&result, "");
}

static void
input_that_cannot_be_read_kills(void **state)
{
	struct source         source = { .text = SLICE("x"), .times = 1, .fails = true };
	int64_t               begin = clock_monotonic_ms();
	struct command_result result = run_with(*state, "cat; sleep 100", &source, LIMIT_MS);

	assert_int_equal(result.end, COMMAND_NOT_RUN);
	assert_string_equal(result.error.text, "the queue file cannot be read");
	assert_true(clock_monotonic_ms() - begin < 20000);
	command_result_free(&result);
}

static void
arguments_are_exact(void **state)
{
	const char *const     arguments[] = { "/usr/bin/printf", "[%s]", "a b", "",
		                              "$HOME `id`",      "-x",   NULL };
	struct source         empty = { 0 };
	struct command        command = { .arguments = arguments,
		                          .environment = no_environment,
		                          .time_limit_ms = LIMIT_MS,
		                          .input = source_piece,
		                          .input_context = &empty };
	struct command_result result;

	command_run(*state, &command, &result);
	assert_output(&result, "[a b][][$HOME `id`][-x]");
}

static void
surroundings_are_clean(void **state)
{
	/* The environment is what was given, beside what the shell itself adds. */
	struct command_result result =
		run(*state, "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort");
	assert_output(&result, "A=1\nPATH=/usr/bin:/bin\n");
	result = run(*state, "pwd; umask; test $(ulimit -Sn) -le 1024 && ls /proc/self/fd | wc -l");
	/* 0, 1, 2, and the directory that ls reads */
	assert_output(&result, "/\n0077\n4\n");
	/* 32 and 33 are the C library's own: sigaction() does not touch what was inherited. */
	result = run(*state, "grep -E '^Sig(Blk|Ign)' /proc/self/status | "
	                     "sed 's/0000000[01]80000000/0000000000000000/'");
	assert_output(&result, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
	result = run(*state,
	             "test $(ps -o pgid= $$) = $$ && test $(ps -o sid= $$) = $$ && echo own");
	assert_output(&result, "own\n");
}

static void
directory_is_changed_to(void **state)
{
	const char *const     arguments[] = { "pwd", NULL };
	struct source         empty = { 0 };
	struct command        command = { .arguments = arguments,
		                          .environment = no_environment,
		                          .directory = "/usr",
		                          .time_limit_ms = LIMIT_MS,
		                          .input = source_piece,
		                          .input_context = &empty };
	struct command_result result;

	command_run(*state, &command, &result);
	assert_output(&result, "/usr\n");
	command.directory = "/nowhere/at/all";
	command_run(*state, &command, &result);
	assert_int_equal(result.end, COMMAND_NOT_RUN);
	assert_string_equal(result.error.text,
	                    "change to directory /nowhere/at/all: No such file or directory");
	command_result_free(&result);
}

static void
missing_programs_are_named(void **state)
{
	const char *const     absolute[] = { "/nowhere/program", NULL };
	const char *const     by_name[] = { "no-such-program", NULL };
	const char *const     is_folder[] = { "/usr", NULL };
	struct source         empty = { 0 };
	struct command        command = { .arguments = absolute,
		                          .environment = no_environment,
		                          .time_limit_ms = LIMIT_MS,
		                          .input = source_piece,
		                          .input_context = &empty };
	struct command_result result;

	command_run(*state, &command, &result);
	assert_int_equal(result.end, COMMAND_NOT_RUN);
	assert_string_equal(result.error.text,
	                    "execute /nowhere/program: No such file or directory");
	command.arguments = by_name;
	command_run(*state, &command, &result);
	assert_string_equal(result.error.text,
	                    "execute no-such-program: No such file or directory");
	command.arguments = is_folder;
	command_run(*state, &command, &result);
	assert_string_equal(result.error.text, "execute /usr: Permission denied");
	command_result_free(&result);
}

static void
script_without_interpreter_line_runs(void **state)
{
	char                  path[] = "/tmp/dakiya-command-XXXXXX";
	int                   fd = mkostemp(path, O_CLOEXEC);
	const char            text[] = "echo script \"$1\" \"$#\"\n";
	const char *const     arguments[] = { path, "a b", "c", NULL };
	struct source         empty = { 0 };
	struct command        command = { .arguments = arguments,
		                          .environment = no_environment,
		                          .time_limit_ms = LIMIT_MS,
		                          .input = source_piece,
		                          .input_context = &empty };
	struct command_result result;

	assert_true(fd >= 0 && write(fd, text, sizeof(text) - 1) == sizeof(text) - 1);
	assert_int_equal(fchmod(fd, 0700), 0);
	close(fd);
	command_run(*state, &command, &result);
	unlink(path);
	assert_output(&result, "script a b 2\n");
}

static void
slow_command_is_killed_with_its_group(void **state)
{
	struct source         empty = { 0 };
	int64_t               begin = clock_monotonic_ms();
	struct command_result result =
		run_with(*state, "sleep 1000 & echo $!; sleep 1000", &empty, 500);

	assert_int_equal(result.end, COMMAND_TIMED_OUT);
	assert_true(clock_monotonic_ms() - begin >= 500);
	pid_t other = (pid_t)atoi(buf_text(&result.output));
	assert_true(other > 1);
	assert_true(ends_soon(other));
	command_result_free(&result);
}

static bool
ends_at(void *context)
{
	return clock_monotonic_ms() > *(int64_t *)context;
}

static void
command_ends_when_its_room_says_so(void **state)
{
	const char *const     arguments[] = { "sleep", "1000", NULL };
	struct source         empty = { 0 };
	int64_t               begin = clock_monotonic_ms(), until = begin + 300;
	struct command        command = { .arguments = arguments,
		                          .environment = no_environment,
		                          .time_limit_ms = LIMIT_MS,
		                          .input = source_piece,
		                          .input_context = &empty,
		                          .must_end = ends_at,
		                          .must_end_context = &until };
	struct command_result result;

	command_run(*state, &command, &result);
	assert_int_equal(result.end, COMMAND_NOT_RUN);
	assert_string_equal(result.error.text, "the mail system stops");
	assert_true(clock_monotonic_ms() - begin < 15000);
	command_result_free(&result);
}

static void
command_that_ignores_sigterm_is_killed(void **state)
{
	struct source         empty = { 0 };
	int64_t               begin = clock_monotonic_ms();
	struct command_result result =
		run_with(*state, "trap '' TERM; echo $$; while :; do sleep 1; done", &empty, 500);

	assert_int_equal(result.end, COMMAND_TIMED_OUT);
	assert_true(clock_monotonic_ms() - begin >= 2000);
	assert_true(has_ended((pid_t)atoi(buf_text(&result.output))));
	command_result_free(&result);
}

static void
death_by_signal_is_told(void **state)
{
	struct command_result result = run(*state, "kill -SEGV $$");

	assert_int_equal(result.end, COMMAND_KILLED);
	assert_int_equal(result.status, SIGSEGV);
	command_result_free(&result);
}

static void
background_process_does_not_hold_up(void **state)
{
	int64_t               begin = clock_monotonic_ms();
	struct command_result result = run(*state, "sleep 20 & echo started");

	assert_output(&result, "started\n");
	assert_true(clock_monotonic_ms() - begin < 15000);
}

static void
closed_output_is_not_the_end(void **state)
{
	struct command_result result = run(*state, "exec >&- 2>&-; sleep 0.3; exit 75");

	assert_int_equal(result.end, COMMAND_EXITED);
	assert_int_equal(result.status, 75);
	command_result_free(&result);
}

static void
long_arguments_are_refused_and_room_is_known(void **state)
{
	char                 *text = malloc(300000);
	const char *const     arguments[] = { "/bin/true", text, NULL };
	struct source         empty = { 0 };
	struct command        command = { .arguments = arguments,
		                          .environment = no_environment,
		                          .time_limit_ms = LIMIT_MS,
		                          .input = source_piece,
		                          .input_context = &empty };
	struct command_result result;

	assert_non_null(text);
	text[0] = '\0';
	size_t left = command_room_left(&command);
	assert_true(left > 100000);
	memset(text, 'x', left);
	text[left] = '\0';
	assert_int_equal(command_room_left(&command), 0);
	command_run(*state, &command, &result);
	assert_output(&result, "");
	memset(text, 'x', 299999);
	text[299999] = '\0';
	command_run(*state, &command, &result);
	assert_int_equal(result.end, COMMAND_NOT_RUN);
	assert_non_null(strstr(result.error.text, "longer than 131072 bytes"));
	command_result_free(&result);
	free(text);
}

#define THREADS 8
#define ROUNDS  25

static void *
thread_run(void *runner)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct source         source = { .text = SLICE("hello\n"), .times = 3 };
		struct command_result result = run_with(runner, "cat; exit 3", &source, LIMIT_MS);
		bool                  is_good =
			result.end == COMMAND_EXITED && result.status == 3 &&
			slice_equal(buf_slice(&result.output), SLICE("hello\nhello\nhello\n"));
		command_result_free(&result);
		if (!is_good)
			return runner;
	}
	return NULL;
}

static void
many_threads_run_commands_at_once(void **state)
{
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_run, *state), 0);
	for (size_t i = 0; i < THREADS; i++) {
		void *failed = NULL;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

static void
helper_cannot_be_looked_into_by_what_it_runs(void **state)
{
	struct command_result result =
		run(*state, "test -r /proc/$PPID/mem && head -c 0 /proc/$PPID/environ 2>&1 "
	                    ">/dev/null | grep -o denied; cat /proc/$PPID/comm");

	if (geteuid() == 0) { /* root may everything */
		command_result_free(&result);
		skip();
	}
	assert_output(&result, "command-helper\n");
}

static pid_t
helper_pid(struct command_runner *runner)
{
	struct command_result result = run(runner, "echo $PPID");
	pid_t                 pid = (pid_t)atoi(buf_text(&result.output));

	command_result_free(&result);
	return pid;
}

static void *
thread_long(void *runner)
{
	struct command_result *result = malloc(sizeof(*result));

	*result = run(runner, "echo $$; exec sleep 1000");
	return result;
}

static void
killed_helper_takes_its_commands_along(void **state)
{
	struct command_runner *runner = *state;
	pid_t                  helper = helper_pid(runner);
	pthread_t              thread;
	void                  *ended;

	assert_false(command_runner_is_gone(runner));
	assert_int_equal(pthread_create(&thread, NULL, thread_long, runner), 0);
	usleep(300000);
	kill(helper, SIGTERM); /* is not heard */
	usleep(50000);
	assert_false(command_runner_is_gone(runner));
	kill(helper, SIGKILL);
	pthread_join(thread, &ended);
	struct command_result *result = ended;
	assert_int_equal(result->end, COMMAND_NOT_RUN);
	assert_non_null(strstr(result->error.text, "ended while sh ran"));
	for (int i = 0; i < 500 && !command_runner_is_gone(runner); i++)
		usleep(20000); /* its descriptors are closed one by one */
	assert_true(command_runner_is_gone(runner));
	assert_true(ends_soon((pid_t)atoi(buf_text(&result->output))));
	command_result_free(result);
	free(result);
	struct command_result after = run(runner, "true");
	assert_int_equal(after.end, COMMAND_NOT_RUN);
	assert_string_equal(after.error.text, "the helper for commands has ended");
	command_result_free(&after);
}

/* A room of its own process is killed: what it had started must end. */
static void
commands_end_with_their_room(void **state)
{
	int  ends[2];
	char text[32] = "";

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid_t room = fork();
	if (room == 0) {
		struct command_runner *runner = command_runner_start(NULL);
		pthread_t              thread;
		struct command_result  result = run(runner, "echo $PPID");

		if (write(ends[1], result.output.data, result.output.length) < 0)
			_exit(1);
		pthread_create(&thread, NULL, thread_long, runner);
		pause();
		_exit(0);
	}
	assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
	pid_t helper = (pid_t)atoi(text);
	usleep(300000);
	char children[64], pids[64] = "";
	snprintf(children, sizeof(children), "/proc/%d/task/%d/children", (int)helper, (int)helper);
	int fd = open(children, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		assert_true(read(fd, pids, sizeof(pids) - 1) > 0);
		close(fd);
	}
	kill(room, SIGKILL);
	assert_int_equal(waitpid(room, NULL, 0), room);
	assert_true(ends_soon(helper));
	assert_true(pids[0] == '\0' || ends_soon((pid_t)atoi(pids)));
	close(ends[0]);
	close(ends[1]);
}

static void
helper_of_another_process_is_attached(void **state)
{
	int          pair[2];
	struct error error = ERROR_NONE;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		_exit(command_runner_serve(pair[1]));
	}
	close(pair[1]);
	struct command_runner *runner = command_runner_attach(pair[0], &error);
	assert_non_null(runner);
	struct command_result result = run(runner, "echo hello");
	assert_output(&result, "hello\n");
	command_runner_close(&runner);
	assert_int_equal(waitpid(pid, NULL, 0), pid);

	int other = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_null(command_runner_attach(other, &error));
	assert_non_null(strstr(error.text, "no helper"));
}

/* ---- the meaning of a result ---- */

static void
results_mean_what_sysexits_says(void **state)
{
	static const struct {
		enum command_end end;
		int              value;
		const char      *output;
		const char      *status;
		const char      *text;
	} rows[] = {
		{ COMMAND_EXITED, 0, "", "2.0.0", "" },
		{ COMMAND_EXITED, 0, "5.7.1 no\n", "2.0.0", "5.7.1 no" },
		{ COMMAND_EXITED, 64, "", "5.3.0", "command line usage error" },
		{ COMMAND_EXITED, 65, "", "5.6.0", "data format error" },
		{ COMMAND_EXITED, 66, "", "5.3.0", "cannot open input" },
		{ COMMAND_EXITED, 67, "", "5.1.1", "user unknown" },
		{ COMMAND_EXITED, 67, "No such\n  box\n", "5.1.1",
		  "user unknown. Command output: No such box" },
		{ COMMAND_EXITED, 68, "", "5.1.2", "host name unknown" },
		{ COMMAND_EXITED, 69, "", "5.3.0", "service unavailable" },
		{ COMMAND_EXITED, 70, "", "5.3.0", "internal software error" },
		{ COMMAND_EXITED, 71, "", "4.3.0", "system resource problem" },
		{ COMMAND_EXITED, 72, "", "5.3.0", "critical OS file missing" },
		{ COMMAND_EXITED, 73, "", "5.2.0", "can't create user output file" },
		{ COMMAND_EXITED, 74, "", "5.3.0", "input/output error" },
		{ COMMAND_EXITED, 75, "", "4.3.0", "temporary failure" },
		{ COMMAND_EXITED, 76, "", "5.5.0", "remote error in protocol" },
		{ COMMAND_EXITED, 77, "", "5.7.0", "permission denied" },
		{ COMMAND_EXITED, 78, "", "5.3.5", "local configuration error" },
		{ COMMAND_EXITED, 1, "", "5.3.0", "Command died with status 1: \"/bin/x -y\"" },
		{ COMMAND_EXITED, 255, "bad\x01\r\nthing", "5.3.0",
		  "Command died with status 255: \"/bin/x -y\". Command output: bad? thing" },
		{ COMMAND_EXITED, 1, "5.7.1 go away\n", "5.7.1", "go away" },
		{ COMMAND_EXITED, 69, "4.2.2 mailbox full", "4.2.2", "mailbox full" },
		{ COMMAND_EXITED, 75, "5.2.1", "5.2.1", "command refused the message" },
		{ COMMAND_EXITED, 75, "2.0.0 fine", "4.3.0",
		  "temporary failure. Command output: 2.0.0 fine" },
		{ COMMAND_EXITED, 1, "5.7.1234 x", "5.3.0",
		  "Command died with status 1: \"/bin/x -y\". Command output: 5.7.1234 x" },
		{ COMMAND_KILLED, 9, "", "4.3.0", "Command died with signal 9: \"/bin/x -y\"" },
		{ COMMAND_TIMED_OUT, 0, "half", "4.3.0",
		  "Command time limit exceeded: \"/bin/x -y\". Command output: half" },
		{ COMMAND_NOT_RUN, 0, "", "4.3.0",
		  "temporary failure. Command output: execute /bin/x: No such file or directory" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct command_result result = { .end = rows[i].end,
			                         .status = rows[i].value,
			                         .output = BUF(COMMAND_OUTPUT_MOST) };
		struct buf            text = BUF(8192);
		char                  status[12];

		error_set(&result.error, "execute /bin/x: No such file or directory");
		buf_append_text(&result.output, rows[i].output);
		bool is_success = command_result_status(&result, "/bin/x -y", status, &text);
		assert_int_equal(is_success, rows[i].status[0] == '2');
		assert_string_equal(status, rows[i].status);
		assert_string_equal(buf_text(&text), rows[i].text);
		buf_free(&text);
		command_result_free(&result);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define RUN(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		RUN(output_and_status_come_back),
		RUN(input_is_written_whole),
		RUN(input_and_output_flow_at_once),
		RUN(input_that_is_not_read_is_no_failure),
		RUN(input_that_cannot_be_read_kills),
		RUN(arguments_are_exact),
		RUN(surroundings_are_clean),
		RUN(directory_is_changed_to),
		RUN(missing_programs_are_named),
		RUN(script_without_interpreter_line_runs),
		RUN(slow_command_is_killed_with_its_group),
		RUN(command_ends_when_its_room_says_so),
		RUN(command_that_ignores_sigterm_is_killed),
		RUN(death_by_signal_is_told),
		RUN(background_process_does_not_hold_up),
		RUN(closed_output_is_not_the_end),
		RUN(long_arguments_are_refused_and_room_is_known),
		RUN(many_threads_run_commands_at_once),
		RUN(helper_cannot_be_looked_into_by_what_it_runs),
		RUN(killed_helper_takes_its_commands_along),
		cmocka_unit_test(commands_end_with_their_room),
		cmocka_unit_test(helper_of_another_process_is_attached),
		cmocka_unit_test(results_mean_what_sysexits_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
