/* process.c - one running daemon: started by fork and exec, spoken to on its descriptor 3. */
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/conf/environment.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

#define CONTROL_FD      3
#define START_MOST_MS   60000 /* from exec to daemon_ready; qmgr may replay a long journal */
#define HASTE_MS        5000
#define UNLIMITED_LIMIT 1000 /* threads for maxproc 0 */

/* What the child needs, made before fork: nothing is allocated between fork and exec. */
struct launch {
	char               path[4096];
	const char        *argv[3];
	struct environment environment;
	int                channel_fd;
	int                output_fd; /* where descriptors 1 and 2 go */
	int                spare_fd;  /* of no use to the child */
};

static void __attribute__((noreturn)) child_run(const struct launch *launch)
{
	sigset_t none;

	/* The copy of a descriptor that is master's alone makes room, should there be none. */
	close(launch->spare_fd);
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	setpgid(0, 0); /* the terminal's ^C is for master alone */
	dup2(null_fd, STDIN_FILENO);
	dup2(launch->output_fd >= 0 ? launch->output_fd : null_fd, STDOUT_FILENO);
	dup2(launch->output_fd >= 0 ? launch->output_fd : null_fd, STDERR_FILENO);
	/* Everything that is not handed over goes at exec; until then a failure can be logged. */
	close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	if (launch->channel_fd == CONTROL_FD)
		fcntl(CONTROL_FD, F_SETFD, 0);
	else
		dup2(launch->channel_fd, CONTROL_FD);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(launch->path, (char *const *)(uintptr_t)launch->argv, launch->environment.list);

	struct error error = ERROR_NONE;
	error_set_errno(&error, "exec %s", launch->path);
	(void)!write(STDERR_FILENO, error.text, strlen(error.text));
	_exit(127);
}

static bool
launch_prepare(struct master *master, const struct service_run *run, struct launch *launch,
               struct error *error)
{
	const struct parameters *parameters = &master->generation->configuration.parameters;
	const struct program    *program = run->service->program;

	if ((size_t)snprintf(launch->path, sizeof(launch->path), "%s/%s",
	                     parameters->daemon_directory,
	                     program->executable) >= sizeof(launch->path))
		return error_set(error, "daemon_directory is too long");
	launch->argv[0] = program->name;
	launch->argv[1] = NULL;
	/* Sanitizers and the C library complain on descriptor 2: keep that in the log file. */
	launch->spare_fd = master->signals.fd;
	launch->output_fd = master->log_target == LOG_TO_STREAM ? master->log_fd : -1;
	return environment_make(&launch->environment, parameters->import_environment) ||
	       error_set(error, "out of memory");
}

/* ---- what master says ---- */

static int64_t
process_limit_of(const struct master *master, const struct service *service)
{
	if (service->process_limit > 0)
		return service->process_limit;
	if (service->process_limit == 0)
		return UNLIMITED_LIMIT;
	return master->generation->configuration.parameters.default_process_limit;
}

/* Sent at once, so that no more than one copy of a descriptor is under way. */
static bool
send_listener(const struct master *master, struct process *process, size_t number)
{
	const struct master_listener *listener = process->run->listeners.items[number];
	struct msg_daemon_listener    message = {
		   .address = slice_from(process->run->addresses.items[number]),
		   .socket = listener_borrow(master, listener),
	};
	bool is_ok = message.socket >= 0 &&
	             ipc_queue(&process->channel, daemon_listener, &message) &&
	             ipc_flush(&process->channel) == IPC_OK;

	listener_return(listener, message.socket);
	return is_ok;
}

static bool
send_start(const struct master *master, struct process *process, int snapshot_fd)
{
	struct service_run *run = process->run;

	for (size_t i = 0; i < run->listeners.count; i++) {
		if (!send_listener(master, process, i))
			return false;
	}
	if (!certificates_queue_first(process) || ipc_flush(&process->channel) != IPC_OK)
		return false;
	struct msg_daemon_start start = {
		.service = slice_from(run->service->name),
		.arguments = slice_from(run->service->own_arguments),
		.generation = process->generation,
		.process_limit = (uint32_t)process_limit_of(master, run->service),
		.is_unprivileged = master->is_unprivileged,
		.is_verbose = run->service->is_verbose,
		.log_target = (uint32_t)master->log_target,
		.log = master->log_fd,
		.snapshot = snapshot_fd,
	};
	return ipc_queue(&process->channel, daemon_start, &start) &&
	       ipc_flush(&process->channel) == IPC_OK && certificates_queue_newest(process) &&
	       ipc_flush(&process->channel) == IPC_OK;
}

void
process_drain(struct process *process, int64_t deadline_ms, bool keeps_idle)
{
	struct msg_daemon_drain drain = { .deadline_ms = (uint32_t)deadline_ms,
		                          .keeps_idle = keeps_idle };
	int64_t                 grace_ms = process->program->stage == STAGE_QUEUE ? 60000 : 10000;

	if (process->state == PROCESS_DRAINING)
		return;
	process->state = PROCESS_DRAINING;
	process->kill_ms = clock_monotonic_ms() + deadline_ms + grace_ms;
	if (!ipc_queue(&process->channel, daemon_drain, &drain) ||
	    ipc_flush(&process->channel) != IPC_OK)
		log_debug("%s[%d] cannot be told to finish", process->name, (int)process->pid);
}

void
process_hasten(struct process *process)
{
	if (process->state != PROCESS_DRAINING || process->is_hastened ||
	    process->program->stage != STAGE_NET)
		return;
	process->is_hastened = true;
	process->state = PROCESS_READY;
	process_drain(process, HASTE_MS, false);
}

void
process_send_log(struct master *master, struct process *process)
{
	struct msg_daemon_log message = { .log_target = (uint32_t)master->log_target,
		                          .log = master->log_fd };

	if (!ipc_queue(&process->channel, daemon_log, &message) ||
	    ipc_flush(&process->channel) != IPC_OK)
		log_warning("%s[%d] did not take the new log", process->name, (int)process->pid);
}

void
process_kill(struct process *process, const char *why)
{
	log_warning("process %s (service %s) pid %d: %s: killed", process->program->name,
	            process->name, (int)process->pid, why);
	process->was_killed = true;
	process->kill_ms = 0;
	kill(process->pid, SIGKILL);
}

/* ---- what a daemon says ---- */

static void
take_alive(struct master *master, struct process *process, struct ipc_frame *frame)
{
	struct msg_daemon_alive alive;

	if (!msg_daemon_alive_decode(frame, &alive)) {
		log_warning("%s[%d] sent a malformed message", process->name, (int)process->pid);
		return;
	}
	process->sessions = alive.sessions;
	process->busy_threads = alive.busy_threads;
	process->sessions_total = alive.sessions_total;
	if (alive.last_error.length > 0)
		snprintf(
			process->last_error, sizeof(process->last_error), "%.*s",
			SLICE_ARGS(slice_first(alive.last_error, sizeof(process->last_error) - 1)));
	demand_look(master, process);
}

void
process_input(struct master *master, struct process *process)
{
	enum ipc_result  result = ipc_fill(&process->channel);
	struct ipc_frame frame;

	while (ipc_next(&process->channel, &frame)) {
		process->alive_ms = clock_monotonic_ms();
		if (frame.type == MSG_daemon_ready && process->state == PROCESS_STARTING)
			supervise_ready(master, process);
		else if (frame.type == MSG_daemon_alive)
			take_alive(master, process, &frame);
		else if (frame.type == MSG_daemon_wants)
			demand_wanted(master, process, &frame);
		else if (frame.type == MSG_daemon_serves)
			certificates_told(process, &frame);
		else if (frame.type != MSG_daemon_ready)
			log_warning("%s[%d] sent %s, which is not expected", process->name,
			            (int)process->pid, msg_name(frame.type));
		ipc_frame_close(&frame);
	}
	/* A closed channel means that it ends, or has gone mad: SIGCHLD or the watchdog tells. */
	if (result != IPC_OK || process->channel.is_broken) {
		loop_unwatch(master, &process->watch);
		if (result == IPC_MALFORMED)
			process_kill(process, "sent a malformed frame");
	}
}

/* ---- birth and death ---- */

static struct process *
process_new(struct master *master, struct service_run *run, int channel_fd)
{
	struct process *process = calloc(1, sizeof(*process));

	if (process == NULL || (process->name = strdup(run->service->name)) == NULL) {
		free(process);
		close(channel_fd);
		return NULL;
	}
	ipc_channel_init(&process->channel, channel_fd);
	list_init(&process->node);
	process->watch = (struct watch){ WATCH_PROCESS, channel_fd };
	process->run = run;
	process->program = run->service->program;
	process->generation = master->generation->number;
	process->started_ms = process->alive_ms = process->used_ms = clock_monotonic_ms();
	process->kill_ms = process->started_ms + START_MOST_MS;
	return process;
}

void
process_free(struct process *process)
{
	list_remove(&process->node);
	ipc_channel_close(&process->channel);
	free(process->name);
	free(process);
}

static bool
fork_exec(const struct launch *launch, pid_t *pid, struct error *error)
{
	*pid = fork();
	if (*pid < 0)
		return error_set_errno(error, "fork");
	if (*pid == 0)
		child_run(launch);
	return true;
}

bool
process_start(struct master *master, struct service_run *run, struct error *error)
{
	struct launch  *launch = calloc(1, sizeof(*launch));
	struct process *process = NULL;
	int             pair[2] = { -1, -1 }, snapshot_fd = -1;
	bool            is_ok = false;

	if (launch == NULL) {
		error_set(error, "out of memory");
	} else if (!launch_prepare(master, run, launch, error) || !prepare_has_room(error) ||
	           (snapshot_fd = generation_snapshot(master->generation, run->service, error)) <
	                   0) {
		/* worded */
	} else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		error_set_errno(error, "socketpair");
	} else if ((process = process_new(master, run, pair[0])) == NULL) {
		error_set(error, "out of memory");
	} else {
		launch->channel_fd = pair[1];
		is_ok = fork_exec(launch, &process->pid, error);
	}
	if (pair[1] >= 0)
		close(pair[1]);
	if (launch != NULL)
		environment_free(&launch->environment);
	free(launch);
	if (is_ok) {
		list_append(&master->processes, &process->node);
		run->process = process;
		if (!loop_watch(master, &process->watch) ||
		    !send_start(master, process, snapshot_fd))
			process_kill(process, "cannot be spoken to");
	} else if (process != NULL) {
		process_free(process);
	}
	if (snapshot_fd >= 0)
		close(snapshot_fd);
	return is_ok;
}
