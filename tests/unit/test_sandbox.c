/*
 * test_sandbox.c - what each daemon cannot do once its doors are closed.
 *
 * The doors are read from the daemons' own main.c; what each must be refused is written here by
 * hand, from the table of rooms in docs/architecture.md. A probe runs in a process of its own that
 * has entered the sandbox: it may come back with an error, or be killed by the kernel.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/daemon/daemon.h"
#include "lib/daemon/sandbox.h"
#include "lib/io/file.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZER true
#else
#define IS_SANITIZER false
#endif

/* ---- the probes: true when the thing could be done ---- */

struct place {
	pid_t sibling;
	int   listener; /* a Unix socket on which nobody waits */
};

static bool
can_read_file(const struct place *place)
{
	(void)place;
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
}

static bool
can_read_file_by_openat2(const struct place *place)
{
	(void)place;
	return file_open_beneath(AT_FDCWD, "Makefile", O_RDONLY, 0, NULL) >= 0;
}

static bool
can_write_file(const struct place *place)
{
	(void)place;
	return open("/tmp/dakiya-sandbox-probe", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0;
}

static bool
can_look_at_file(const struct place *place)
{
	struct stat status;

	(void)place;
	return stat("/etc/passwd", &status) == 0;
}

static bool
can_open_tcp(const struct place *place)
{
	(void)place;
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ||
	       socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0;
}

static bool
can_open_udp(const struct place *place)
{
	(void)place;
	return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) >= 0;
}

static bool
can_open_raw(const struct place *place)
{
	(void)place;
	return socket(AF_PACKET, SOCK_RAW, 0) >= 0 || socket(AF_NETLINK, SOCK_RAW, 0) >= 0;
}

static bool
can_open_unix(const struct place *place)
{
	(void)place;
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0;
}

static bool
can_make_pair(const struct place *place)
{
	int pair[2];

	(void)place;
	return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0;
}

static bool
can_accept(const struct place *place)
{
	return accept4(place->listener, NULL, NULL, SOCK_CLOEXEC) >= 0;
}

static bool
can_exec(const struct place *place)
{
	char *const arguments[] = { (char *)(uintptr_t) "true", NULL };
	char *const environment[] = { NULL };

	(void)place;
	execve("/bin/true", arguments, environment);
	return false; /* exit status 0 of true would say yes */
}

static bool
can_fork(const struct place *place)
{
	(void)place;
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	return child > 0;
}

static bool
can_signal_sibling(const struct place *place)
{
	return kill(place->sibling, 0) == 0;
}

static bool
can_trace_sibling(const struct place *place)
{
	return ptrace(PTRACE_ATTACH, place->sibling, NULL, NULL) == 0;
}

static bool
can_run_new_code(const struct place *place)
{
	(void)place;
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED;
}

static bool
can_become_root(const struct place *place)
{
	(void)place;
	return setuid(0) == 0 || setresuid(0, 0, 0) == 0;
}

static void *
thread_nothing(void *argument)
{
	return argument;
}

/* What every daemon needs: threads, memory, pipes, clocks. */
static bool
can_work(const struct place *place)
{
	pthread_t thread;
	void     *result = NULL;
	void     *memory = malloc(10 << 20);
	int       ends[2];

	if (memory == NULL || pipe2(ends, O_CLOEXEC) != 0 || write(ends[1], "x", 1) != 1)
		return false;
	memset(memory, 1, 10 << 20);
	free(memory);
	return pthread_create(&thread, NULL, thread_nothing, (void *)(uintptr_t)place) == 0 &&
	       pthread_join(thread, &result) == 0 && result == place;
}

enum probe_bit {
	READ = 1 << 0,
	READ2 = 1 << 1,
	WRITE = 1 << 2,
	LOOK = 1 << 3,
	TCP = 1 << 4,
	UDP = 1 << 5,
	RAW = 1 << 6,
	UNIX = 1 << 7,
	PAIR = 1 << 8,
	ACCEPT = 1 << 9,
	EXEC = 1 << 10,
	FORK = 1 << 11,
	SIGNAL = 1 << 12,
	TRACE = 1 << 13,
	CODE = 1 << 14,
	ROOT = 1 << 15,
	WORK = 1 << 16,
};

static const struct probe {
	enum probe_bit bit;
	const char    *name;
	bool (*run)(const struct place *place);
} probes[] = {
	{ READ, "read a file", can_read_file },
	{ READ2, "read a file by openat2", can_read_file_by_openat2 },
	{ WRITE, "write a file", can_write_file },
	{ LOOK, "look at a file", can_look_at_file },
	{ TCP, "open a TCP socket", can_open_tcp },
	{ UDP, "open a UDP socket", can_open_udp },
	{ RAW, "open a raw socket", can_open_raw },
	{ UNIX, "open a Unix socket", can_open_unix },
	{ PAIR, "make a socket pair", can_make_pair },
	{ ACCEPT, "accept a connection", can_accept },
	{ EXEC, "execute a program", can_exec },
	{ FORK, "fork", can_fork },
	{ SIGNAL, "signal a sibling", can_signal_sibling },
	{ TRACE, "trace a sibling", can_trace_sibling },
	{ CODE, "map executable memory", can_run_new_code },
	{ ROOT, "become root", can_become_root },
	{ WORK, "work at all", can_work },
};

static bool
probe_succeeds(const struct probe *probe, unsigned doors)
{
	struct place place = { .sibling = fork() };
	int          status;

	assert_true(place.sibling >= 0);
	if (place.sibling == 0) {
		pause();
		_exit(0);
	}
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct sandbox sandbox = { .doors = doors };
		struct error   error = ERROR_NONE;

		/* A listener, made while it is allowed; it gets a name of the kernel's own. */
		struct sockaddr_un nameless = { .sun_family = AF_UNIX };
		place.listener = socket(AF_UNIX, SOCK_STREAM, 0);
		if (bind(place.listener, (struct sockaddr *)&nameless, sizeof(sa_family_t)) != 0 ||
		    listen(place.listener, 1) != 0)
			_exit(99);
		int on = fcntl(place.listener, F_SETFL, O_NONBLOCK);
		if (on != 0 || !sandbox_seccomp(sandbox.doors, &error))
			_exit(99);
		bool is_done = probe->run(&place);
		/* Nobody waits: EAGAIN comes from the socket, so the call itself was allowed. */
		if (probe->bit == ACCEPT)
			is_done = errno == EAGAIN;
		_exit(is_done ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	kill(place.sibling, SIGKILL);
	waitpid(place.sibling, NULL, 0);
	unlink("/tmp/dakiya-sandbox-probe");
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 99);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- the doors, as the rooms declare them ---- */

static unsigned
doors_parse(struct slice text)
{
	static const struct {
		const char *name;
		unsigned    door;
	} rows[] = { { "DOOR_ACCEPT", DOOR_ACCEPT },
		     { "DOOR_UNIX_CONNECT", DOOR_UNIX_CONNECT },
		     { "DOOR_INET_CONNECT", DOOR_INET_CONNECT },
		     { "DOOR_INET_DATAGRAM", DOOR_INET_DATAGRAM },
		     { "DOOR_FILE_READ", DOOR_FILE_READ },
		     { "DOOR_FILE_WRITE", DOOR_FILE_WRITE },
		     { "DOOR_FORK_EXEC", DOOR_FORK_EXEC },
		     { "DOOR_SOCKETPAIR", DOOR_SOCKETPAIR } };
	struct slice word;
	unsigned     doors = 0;

	while (slice_next_word(&text, " \t\n|", &word)) {
		size_t row = 0;
		while (row < sizeof(rows) / sizeof(rows[0]) &&
		       !slice_equal(word, slice_from(rows[row].name)))
			row++;
		if (row == sizeof(rows) / sizeof(rows[0]))
			fail_msg("unknown door %.*s", SLICE_ARGS(word));
		doors |= rows[row].door;
	}
	return doors;
}

/* The doors of the nth struct daemon in a main.c; session rooms accept, too. */
static unsigned
doors_of(const char *path, size_t nth)
{
	struct buf   text = BUF(1 << 20);
	int          fd = open(path, O_RDONLY | O_CLOEXEC);
	struct slice rest;

	if (fd < 0)
		fail_msg("%s: not there", path);
	assert_true(file_read_all(fd, &text, path, NULL));
	close(fd);
	rest = buf_slice(&text);
	for (size_t i = 0; i <= nth; i++) {
		size_t at = slice_find(rest, SLICE(".doors ="));
		if (at == SLICE_NOT_FOUND)
			fail_msg("%s declares no doors", path);
		rest = slice_from_offset(rest, at + strlen(".doors ="));
	}
	unsigned doors = doors_parse(slice_first(rest, slice_find_byte(rest, ',')));
	if (slice_find(buf_slice(&text), SLICE(".session_begin")) != SLICE_NOT_FOUND)
		doors |= DOOR_ACCEPT;
	buf_free(&text);
	return doors;
}

/* ---- the claims ---- */

#define NEVER (RAW | EXEC | FORK | SIGNAL | TRACE | CODE | ROOT)
#define FILES (READ | READ2 | WRITE | LOOK)

static const struct role {
	const char *path;
	size_t      nth;
	unsigned    refused; /* probes that must fail */
	unsigned    needed;  /* and some that must not, or the daemon could not do its work */
} roles[] = {
	/* No file at all, no socket of its own: what it serves comes as descriptors. */
	{ "pop3d/main.c", 0, NEVER | FILES | TCP | UDP | PAIR, UNIX | ACCEPT | WORK },
	/* No queue file, no password: tables are read, nothing is written. */
	{ "smtpd/main.c", 0, NEVER | WRITE | TCP | UDP | PAIR, UNIX | ACCEPT | READ | WORK },
	{ "smtp/main.c", 0, NEVER | WRITE | ACCEPT | PAIR, UNIX | TCP | WORK },
	{ "bounce/main.c", 0, NEVER | WRITE | TCP | UDP | ACCEPT | PAIR, UNIX | WORK },
	{ "qmgr/main.c", 0, NEVER | TCP | UDP, ACCEPT | READ | READ2 | WRITE | PAIR | WORK },
	{ "authd/main.c", 0, NEVER | WRITE | TCP | UDP, ACCEPT | READ | READ2 | PAIR | WORK },
	{ "resolver/main.c", 0, NEVER | WRITE | UNIX | PAIR, ACCEPT | TCP | UDP | WORK },
	/* local's children inherit what the parent's filter refuses, and refuse the rest. */
	{ "local/worker.c", 0, NEVER | TCP | UDP | UNIX, READ | WRITE | READ2 | WORK },
	{ "local/worker.c", 1, NEVER | TCP | UDP | UNIX, READ | WRITE | READ2 | WORK },
	{ "local/worker.c", 2, NEVER | TCP | UDP | UNIX, READ | WRITE | READ2 | WORK },
};

static void
check_role(const struct role *role)
{
	unsigned doors = doors_of(role->path, role->nth);

	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
		bool may = probe_succeeds(&probes[i], doors);

		if (may && (role->refused & probes[i].bit) != 0)
			fail_msg("%s can %s", role->path, probes[i].name);
		if (!may && (role->needed & probes[i].bit) != 0)
			fail_msg("%s cannot %s", role->path, probes[i].name);
	}
}

static void
no_daemon_can_do_what_its_role_excludes(void **unused)
{
	(void)unused;
	if (IS_SANITIZER) /* their runtimes need what the filter refuses */
		skip();
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		check_role(&roles[i]);
}

static void
without_a_sandbox_every_probe_can_succeed(void **unused)
{
	(void)unused;
	/* Else the test above would prove nothing: with all doors open these must work. */
	unsigned all = DOOR_ACCEPT | DOOR_UNIX_CONNECT | DOOR_INET_CONNECT | DOOR_INET_DATAGRAM |
	               DOOR_FILE_READ | DOOR_FILE_WRITE | DOOR_FORK_EXEC | DOOR_SOCKETPAIR;
	unsigned closed_for_good = TRACE | (geteuid() == 0 ? 0 : ROOT | RAW);

	if (IS_SANITIZER)
		skip();
	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
		if ((closed_for_good & probes[i].bit) == 0 && !probe_succeeds(&probes[i], all))
			fail_msg("even with all doors open it cannot %s", probes[i].name);
}

static void
a_read_only_role_cannot_create_or_truncate(void **unused)
{
	static const int flags[] = { O_WRONLY, O_RDWR, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC,
		                     O_RDWR | O_TMPFILE };

	(void)unused;
	if (IS_SANITIZER)
		skip();
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		int   status;
		pid_t child = fork();

		if (child == 0) {
			if (!sandbox_seccomp(DOOR_FILE_READ, NULL))
				_exit(99);
			_exit(open("/tmp", flags[i] | O_CLOEXEC, 0600) >= 0 ? 0
			      : errno == ENOSYS || errno == EACCES          ? 1
			                                                    : 2);
		}
		waitpid(child, &status, 0);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 1);
	}
}

static void
landlock_opens_only_what_is_named(void **unused)
{
	static const char *const readable[] = { "/usr/lib" };
	struct sandbox           sandbox = { .doors = DOOR_FILE_READ,
		                             .readable = readable,
		                             .readable_count = 1 };
	int                      status;

	(void)unused;
	pid_t child = fork();
	if (child == 0) {
		struct error error = ERROR_NONE;

		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (!sandbox_landlock(&sandbox, &error))
			_exit(error.errno_value == ENOSYS ? 77 : 99);
		bool named = open("/usr/lib/os-release", O_RDONLY | O_CLOEXEC) >= 0;
		bool other = open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
		_exit(named && !other ? 0 : 1);
	}
	waitpid(child, &status, 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip(); /* this kernel has no landlock */
	assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_daemon_can_do_what_its_role_excludes),
		cmocka_unit_test(without_a_sandbox_every_probe_can_succeed),
		cmocka_unit_test(a_read_only_role_cannot_create_or_truncate),
		cmocka_unit_test(landlock_opens_only_what_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
