/* daemon.c - the start of every daemon, in the order that docs/architecture.md gives. */
#include "lib/daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syslog.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/mutex.h"
#include "lib/conf/version.h"
#include "lib/daemon/core.h"
#include "lib/daemon/sandbox.h"
#include "lib/io/file.h"
#include "lib/table/table.h"

#define START_WAIT_MS  60000
#define ARENAS_MOST    4
#define HEAP_STEP      (256 * 1024)
#define HEAP_STEP_FEW  (64 * 1024) /* where memory is little */
#define LISTENERS_MOST 256
#define FILES_MANY     1024
#define FILES_FEW      48 /* qmgr has room for one thread of each service */
#define WANTED_MOST    4096
#define THREAD_BYTES   (INT64_C(4) << 20) /* of little memory, for each thread of a daemon */

struct start { /* what came in daemon_start */
	int snapshot_fd;
};

/* ---- what master sends ---- */

static char *
text_copy(struct slice bytes)
{
	char *text = malloc(bytes.length + 1);

	if (text == NULL)
		log_fatal("out of memory");
	memcpy(text, bytes.data, bytes.length);
	text[bytes.length] = '\0';
	return text;
}

static bool
take_listener(struct daemon_core *core, struct ipc_frame *frame, struct error *error)
{
	struct msg_daemon_listener message = msg_daemon_listener_clear();
	int                        domain = 0;
	socklen_t                  length = sizeof(domain);

	if (!msg_daemon_listener_decode(frame, &message) || message.socket < 0)
		return error_set(error, "malformed daemon_listener");
	getsockopt(message.socket, SOL_SOCKET, SO_DOMAIN, &domain, &length);
	fcntl(message.socket, F_SETFL, fcntl(message.socket, F_GETFL) | O_NONBLOCK);
	struct listener listener = { .fd = message.socket,
		                     .address = text_copy(message.address),
		                     .is_unix = domain == AF_UNIX };
	if (core->listeners.count >= LISTENERS_MOST || !ARRAY_PUSH(&core->listeners, listener))
		return error_set(error, "too many listeners");
	return true;
}

/* Kept for daemon_tls_server; a room that never calls it has no use for them. */
static bool
take_certificates(struct daemon_core *core, struct ipc_frame *frame, struct error *error)
{
	struct msg_daemon_certificates message = msg_daemon_certificates_clear();

	if (!msg_daemon_certificates_decode(frame, &message) || message.bundle < 0)
		return error_set(error, "malformed daemon_certificates");
	if (core->certificates_fd >= 0)
		close(core->certificates_fd);
	core->certificates_fd = message.bundle;
	core->certificates_number = message.number;
	return true;
}

/* Agents keep a channel to qmgr for each of their threads: where descriptors are few, qmgr must not
 * be full of them before the first message comes. A thread costs some 40 KB before it does
 * anything. */
static size_t
threads_most(const struct memory *memory)
{
	size_t files = file_descriptors_most(), most = SIZE_MAX;

	if (memory_is_little(memory))
		most = (size_t)(memory_limit(memory) / THREAD_BYTES);
	if (files < FILES_MANY && most > (files < FILES_FEW ? 1 : files / 16))
		most = files < FILES_FEW ? 1 : files / 16;
	return most < 1 ? 1 : most;
}

static bool
take_start(struct daemon_core *core, struct ipc_frame *frame, struct start *start,
           struct error *error)
{
	struct msg_daemon_start message = msg_daemon_start_clear();

	if (!msg_daemon_start_decode(frame, &message) || message.snapshot < 0)
		return error_set(error, "malformed daemon_start");
	core->context.service = text_copy(message.service);
	core->context.arguments = text_copy(message.arguments);
	core->context.thread_limit = message.process_limit > 0 ? message.process_limit : 1;
	if (core->context.thread_limit > threads_most(core->memory))
		core->context.thread_limit = threads_most(core->memory);
	core->context.is_unprivileged = message.is_unprivileged;
	core->log_fd = message.log;
	core->log_target = message.log_target == LOG_TO_SYSLOG ? LOG_TO_SYSLOG : LOG_TO_STREAM;
	/* Standard error goes there already: one descriptor is enough. */
	if (core->log_target == LOG_TO_STREAM && dup2(core->log_fd, STDERR_FILENO) >= 0) {
		close(core->log_fd);
		core->log_fd = STDERR_FILENO;
	}
	log_set_verbose(message.is_verbose);
	start->snapshot_fd = message.snapshot;
	return true;
}

static bool
receive_start(struct daemon_core *core, struct start *start, struct error *error)
{
	int64_t          deadline = clock_monotonic_ms() + START_WAIT_MS;
	struct ipc_frame frame;

	for (;;) {
		enum ipc_result result = ipc_receive(&core->control, deadline, &frame);
		bool            is_good = false;

		if (result != IPC_OK)
			return error_set(error, "master on descriptor %d: %s", CONTROL_FD,
			                 ipc_result_text(result));
		uint32_t type = frame.type;
		if (type == MSG_daemon_start)
			is_good = take_start(core, &frame, start, error);
		else if (type == MSG_daemon_listener)
			is_good = take_listener(core, &frame, error);
		else if (type == MSG_daemon_certificates)
			is_good = take_certificates(core, &frame, error);
		else
			error_set(error, "unexpected %s", msg_name(type));
		ipc_frame_close(&frame);
		if (!is_good || type == MSG_daemon_start)
			return is_good;
	}
}

/* ---- the process's own house ---- */

static int
facility_number(const char *name)
{
	static const struct {
		const char *name;
		int         number;
	} rows[] = { { "mail", LOG_MAIL },     { "daemon", LOG_DAEMON }, { "user", LOG_USER },
		     { "local0", LOG_LOCAL0 }, { "local1", LOG_LOCAL1 }, { "local2", LOG_LOCAL2 },
		     { "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 }, { "local5", LOG_LOCAL5 },
		     { "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].name, name) == 0)
			return rows[i].number;
	return LOG_MAIL;
}

static void
open_log(const struct daemon_core *core, const char *syslog_name, const char *facility)
{
	char name[200], host[64] = "localhost";

	const char *bare = core->daemon->bare_log_name;
	if (bare != NULL && strcmp(bare, syslog_name) == 0)
		snprintf(name, sizeof(name), "%s", syslog_name);
	else
		snprintf(name, sizeof(name), "%s%s%s", syslog_name,
		         syslog_name[0] != '\0' ? "/" : "", core->daemon->name);
	gethostname(host, sizeof(host) - 1);
	host[strcspn(host, ".")] = '\0';
	log_open(name, host, core->log_target, core->log_fd >= 0 ? core->log_fd : 2,
	         facility_number(facility));
}

/* Nothing inherited but standard streams and the control socket. */
static void
close_inherited(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0)
		dup2(null, 0);
	if (close_range(CONTROL_FD + 1, ~0u, 0) != 0)
		for (int fd = CONTROL_FD + 1; fd < 1024; fd++)
			close(fd);
	fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
}

static void
limits_set(const struct memory *memory)
{
	struct rlimit files, core_files = { 0, 0 };
	bool          is_little = memory_is_little(memory);
	int           step = is_little ? HEAP_STEP_FEW : HEAP_STEP;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	setrlimit(RLIMIT_CORE, &core_files);
	umask(077);
	tzset(); /* reads /etc/localtime while it still can */
	/* Few arenas and early trimming: ten thousand small sessions, not a hundred large heaps. */
	mallopt(M_ARENA_MAX, is_little ? 1 : ARENAS_MOST);
	mallopt(M_TRIM_THRESHOLD, step);
	mallopt(M_MMAP_THRESHOLD, step);
}

static bool
signals_take(struct daemon_core *core, struct error *error)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP); /* ignored: master reloads */
	sigprocmask(SIG_SETMASK, &set, NULL);
	core->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	core->drain_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (core->signal_fd < 0 || core->drain_event < 0)
		return error_set_errno(error, "signalfd");
	return true;
}

/* ---- the sandbox's paths ---- */

/* What the doors stand open for. */
struct openings {
	unsigned doors;
	ARRAY(const char *) readable;
	ARRAY(const char *) writable;
	bool has_failed; /* out of memory */
};

static void
readable_add(const char *directory, void *context)
{
	struct openings *openings = context;
	char            *copy = strdup(directory);

	if (copy == NULL || !ARRAY_PUSH(&openings->readable, copy))
		openings->has_failed = true;
}

static void
writable_add(const char *directory, void *context)
{
	struct openings *openings = context;
	char            *copy = strdup(directory);

	if (copy == NULL || !ARRAY_PUSH(&openings->writable, copy))
		openings->has_failed = true;
}

static bool
is_directory(const char *path)
{
	struct stat status;

	return path[0] == '/' && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* Files' directories, since files are replaced; and what tables need beside files. */
static void
value_add(struct openings *openings, const char *text)
{
	unsigned needs = table_text_needs(text);

	if ((needs & TABLE_NEEDS_UNIX) != 0)
		openings->doors |= DOOR_UNIX_CONNECT;
	if ((needs & TABLE_NEEDS_INET) != 0)
		openings->doors |= DOOR_INET_CONNECT;
	if (is_directory(text))
		readable_add(text, openings);
	else
		table_each_directory(text, readable_add, openings);
}

/* Restriction classes: names of parameters, which access tables may answer, too. */
static void
classes_add(struct openings *openings, const struct snapshot *snapshot, const char *classes)
{
	struct slice rest = slice_from(classes), name;

	while (slice_next_word(&rest, " \t\r\n,", &name)) {
		char       *copy = text_copy(name);
		const char *value = snapshot_value(snapshot, copy);

		if (value != NULL)
			value_add(openings, value);
		free(copy);
	}
}

static bool
openings_find(struct daemon_core *core, struct openings *openings, struct error *error)
{
	const struct snapshot *snapshot = core->context.snapshot;
	const char *const     *names = core->daemon->readable;

	openings->doors = core->daemon->doors;
	if (core->daemon->session_begin != NULL)
		openings->doors |= DOOR_ACCEPT;
	for (; names != NULL && *names != NULL; names++) {
		const char *text = **names == '$' ? snapshot_value(snapshot, *names + 1) : *names;

		if (**names != '$')
			readable_add(text, openings);
		else if (text != NULL && strcmp(*names, "$smtpd_restriction_classes") == 0)
			classes_add(openings, snapshot, text);
		else if (text != NULL)
			value_add(openings, text);
	}
	names = core->daemon->writable;
	for (; names != NULL && *names != NULL; names++) {
		const char *text = **names == '$' ? snapshot_value(snapshot, *names + 1) : *names;

		/* A parameter may name a table: its directory is meant. */
		if (text != NULL && **names == '$' && text[0] != '/')
			table_each_directory(text, writable_add, openings);
		else if (text != NULL && !ARRAY_PUSH(&openings->writable, text))
			openings->has_failed = true;
	}
	return !openings->has_failed || error_set(error, "out of memory");
}

static bool
close_doors(const struct openings *openings, struct error *error)
{
	struct sandbox sandbox = { .doors = openings->doors,
		                   .readable = openings->readable.items,
		                   .readable_count = openings->readable.count,
		                   .writable = openings->writable.items,
		                   .writable_count = openings->writable.count };

	return sandbox_enter(&sandbox, error);
}

/* ---- running ---- */

static void *
control_run(void *argument)
{
	struct daemon_core *core = argument;

	/* Also after the drain has begun: master may become more urgent. */
	for (;;)
		control_wait(core, ALIVE_INTERVAL_MS);
	return NULL;
}

static bool
thread_start_detached(void *(*run)(void *), void *argument, struct error *error)
{
	pthread_t thread;
	int       result = thread_start(&thread, run, argument);

	if (result != 0) {
		errno = result;
		return error_set_errno(error, "start a thread");
	}
	pthread_detach(thread);
	return true;
}

/* What a room with a single thread waits on: master's messages and signals. */
static bool
control_descriptor(struct daemon_core *core, struct error *error)
{
	struct epoll_event event = { .events = EPOLLIN };
	int                both = epoll_create1(EPOLL_CLOEXEC);

	if (both < 0 || epoll_ctl(both, EPOLL_CTL_ADD, core->control.fd, &event) != 0 ||
	    epoll_ctl(both, EPOLL_CTL_ADD, core->signal_fd, &event) != 0)
		return error_set_errno(error, "epoll");
	core->context.drain_fd = both;
	return true;
}

static bool
tell_ready(struct daemon_core *core, struct error *error)
{
	struct msg_daemon_ready ready = msg_daemon_ready_clear();
	enum ipc_result         result = ipc_send(&core->control, daemon_ready, &ready,
	                                          clock_monotonic_ms() + START_WAIT_MS);

	if (result != IPC_OK)
		return error_set(error, "master: %s", ipc_result_text(result));
	if (core->certificates != NULL)
		core->certificates->tell_first(core);
	return true;
}

static int
run(struct daemon_core *core, struct error *error)
{
	const struct daemon *daemon = core->daemon;

	core->context.drain_fd = core->drain_event;
	if (daemon->is_single_threaded && !control_descriptor(core, error))
		return -1;
	if (daemon->side_thread != NULL &&
	    !thread_start_detached(daemon->side_thread, &core->context, error))
		return -1;
	if (!tell_ready(core, error))
		return -1;
	if (daemon->run == NULL)
		return sessions_run(core);
	core->wake_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!daemon->is_single_threaded && !thread_start_detached(control_run, core, error))
		return -1;
	return daemon->run(&core->context);
}

static bool
configure(struct daemon_core *core, const struct start *start, struct error *error)
{
	struct snapshot *snapshot = snapshot_open(start->snapshot_fd, error);

	if (core->daemon->identity == RUNS_AS_ROOT)
		core->snapshot_fd = start->snapshot_fd;
	else
		close(start->snapshot_fd);
	if (snapshot == NULL)
		return error_prefix(error, "configuration");
	core->context.snapshot = snapshot;
	core->context.parameters = snapshot_parameters(snapshot);
	const struct parameters *parameters = core->context.parameters;
	open_log(core, parameters->syslog_name, parameters->syslog_facility);
	if (chdir(parameters->queue_directory) != 0)
		return error_set_errno(error, "queue_directory %s", parameters->queue_directory);
	return identity_find_owners(core, error);
}

static bool
start(struct daemon_core *core, struct error *error)
{
	struct start start = { .snapshot_fd = -1 };

	core->memory = memory_open("");
	limits_set(core->memory);
	if (!receive_start(core, &start, error) || !signals_take(core, error) ||
	    !configure(core, &start, error))
		return false;
	core->context.listeners = core->listeners.items;
	core->context.listener_count = core->listeners.count;
	if (core->daemon->prepare != NULL && !core->daemon->prepare(&core->context, error))
		return false;
	/* Before the identity goes: cf files, which hold passwords, may be root's alone. */
	struct openings openings = { .doors = 0 };
	if (!openings_find(core, &openings, error) || !identity_drop(core, error))
		return false;
	if (core->daemon->prepare_as_owner != NULL &&
	    !core->daemon->prepare_as_owner(&core->context, error))
		return false;
	openings.doors |= core->context.extra_doors;
	return close_doors(&openings, error);
}

/* What somebody at a terminal asks. */
static bool
is_question(const struct daemon *daemon, int argc, char **argv)
{
	if (version_asked(argc, argv))
		return true;
	if (argc < 2 || strcmp(argv[1], "--help") != 0)
		return false;
	const char *slash = strrchr(argv[0], '/');
	const char *name = slash == NULL ? argv[0] : slash + 1;
	printf("%s is a daemon of the mail system%s%s%s. `dakiya start' starts it; see dakiya(8), "
	       "master.cf(5) and %s(8).\n",
	       name, strcmp(name, daemon->name) == 0 ? "" : " (as service ",
	       strcmp(name, daemon->name) == 0 ? "" : daemon->name,
	       strcmp(name, daemon->name) == 0 ? "" : ")", name);
	return true;
}

int
daemon_status(const struct error *error)
{
	switch (error->errno_value) {
	case EAGAIN:
	case ENOMEM:
	case EMFILE:
	case ENFILE: return EX_TEMPFAIL;
	}
	return 1;
}

static void __attribute__((noreturn)) give_up(const struct error *error)
{
	if (daemon_status(error) == 1)
		log_fatal("%s", error->text);
	log_error("%s", error->text);
	_exit(daemon_status(error));
}

int
daemon_main(const struct daemon *daemon, int argc, char **argv)
{
	struct daemon_core *core = calloc(1, sizeof(*core));
	struct error        error = ERROR_NONE;
	struct stat         status;

	if (is_question(daemon, argc, argv))
		return 0;
	if (core == NULL)
		log_fatal("out of memory");
	if (fstat(CONTROL_FD, &status) != 0 || !S_ISSOCK(status.st_mode)) {
		fprintf(stderr, "%s: started by dakiya's master only; try `dakiya start'\n",
		        argv[0] != NULL ? argv[0] : daemon->name);
		return 64; /* EX_USAGE */
	}
	core->daemon = daemon;
	core->context.core = core;
	mutex_init(&core->wanted_lock);
	core->wanted = BUF(WANTED_MOST);
	core->log_fd = core->snapshot_fd = core->wake_event = core->certificates_fd = -1;
	close_inherited();
	ipc_channel_init(&core->control, CONTROL_FD);
	if (!start(core, &error))
		give_up(&error);
	int result = run(core, &error);
	if (result < 0)
		give_up(&error);
	/* Threads that still run, if any, must not see things being taken down: no exit handlers.
	 */
	_exit(result);
}
