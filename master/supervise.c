/* supervise.c - starts, restarts, replaces and ends the daemons; what is due when. */
#include "master/master.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

#include "lib/base/clock.h"

#define THROTTLE_FIRST_MS 100
#define THROTTLE_MOST_MS  5000
#define THROTTLE_KILL_MS  800   /* SIGKILL comes from outside, its victim is not to blame */
#define THROTTLE_ROOM_MS  400   /* no process or memory: trying is cheap, and room may come */
#define RAN_A_WHILE_MS    2000  /* one that has no room for its threads ends before */
#define RAN_WELL_MS       10000 /* a process that lived so long did not fail at its start */
#define LONGEST_WAIT_MS   60000
#define FLUSH_AGAIN_MS    20
#define HOPELESS_RESTARTS 3 /* after so many, `dakiya start` does not wait for a service */

int64_t
throttle_next(struct throttle *throttle, int cause, int64_t ran_ms)
{
	int64_t most = THROTTLE_MOST_MS;
	int64_t next = THROTTLE_FIRST_MS;

	if (cause == SIGKILL || cause == THROTTLE_NO_ROOM)
		most = THROTTLE_KILL_MS;
	else if (cause == THROTTLE_NO_START)
		most = THROTTLE_ROOM_MS;
	if (throttle->delay_ms > 0 && throttle->cause == cause && ran_ms < RAN_WELL_MS)
		next = throttle->delay_ms * 2;
	throttle->cause = cause;
	throttle->delay_ms = next > most ? most : next;
	return throttle->delay_ms;
}

void
supervise_describe_end(int status, char *text, size_t size)
{
	const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;

	if (WIFSIGNALED(status) && name != NULL)
		snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status), name);
	else if (WIFSIGNALED(status))
		snprintf(text, size, "killed by signal %d", WTERMSIG(status));
	else
		snprintf(text, size, "exit status %d", WEXITSTATUS(status));
}

/* ---- a service's process is there, or gone ---- */

/* Older processes of the same service have done their duty once the new one is ready. */
static void
drain_older(struct master *master, const struct process *newer)
{
	const struct parameters *parameters = &master->generation->configuration.parameters;

	LIST_EACH (node, &master->processes) {
		struct process *process = CONTAINER_OF(node, struct process, node);

		if (process->generation < newer->generation &&
		    strcmp(process->name, newer->name) == 0 &&
		    process->program->is_inet == newer->program->is_inet)
			process_drain(process, parameters->reload_drain_timeout * 1000, true);
	}
}

void
supervise_ready(struct master *master, struct process *process)
{
	process->state = PROCESS_READY;
	process->kill_ms = 0;
	drain_older(master, process);
	if (master->was_ready)
		return;
	for (size_t i = 0; i < master->generation->runs.count; i++) {
		const struct service_run *run = master->generation->runs.items[i];

		if (!run->is_asleep &&
		    (run->process == NULL || run->process->state != PROCESS_READY))
			return;
	}
	master->was_ready = true;
	report_start(master, "");
	notify_state(master, "READY=1\nSTATUS=running");
}

/*
 * Without room for processes all services are down and tried again and again, at their fork or
 * later: it is said once, until all are back. `dakiya status` tells of each.
 */
static void
note_no_start(struct master *master, struct service_run *run, const char *problem)
{
	if (!master->has_start_problem)
		log_error("service %s: %s; whatever is down is tried again until it works",
		          run->service->name, problem);
	master->has_start_problem = true;
	snprintf(run->last_end, sizeof(run->last_end), "%.290s", problem);
}

/* Whether it runs, and not only for as long as it takes to find out that there is no room. */
static bool
is_back(const struct service_run *run, int64_t now)
{
	return run->process != NULL && (run->throttle.cause != THROTTLE_NO_ROOM ||
	                                now - run->process->started_ms >= RAN_A_WHILE_MS);
}

static void
note_starts(struct master *master, int64_t now)
{
	for (size_t i = 0; i < master->generation->runs.count && master->has_start_problem; i++) {
		if (!is_back(master->generation->runs.items[i], now))
			return;
	}
	if (master->has_start_problem)
		log_info("all services are running again");
	master->has_start_problem = false;
}

static bool
is_no_room(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == EX_TEMPFAIL;
}

static void
note_end(struct master *master, struct process *process, int status)
{
	struct service_run *run = process->run;
	char                how[100];
	bool                is_good = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	supervise_describe_end(status, how, sizeof(how));
	if (run != NULL && process->state != PROCESS_DRAINING && is_no_room(status)) {
		note_no_start(master, run, "no room for its threads, files or memory");
		return;
	}
	if (process->state == PROCESS_DRAINING && is_good)
		log_debug("process %s pid %d has finished", process->name, (int)process->pid);
	else if (process->state != PROCESS_DRAINING || !process->was_killed)
		log_warning("process %s (service %s) pid %d %s", process->program->name,
		            process->name, (int)process->pid, how);
	if (run != NULL && process->state != PROCESS_DRAINING)
		snprintf(run->last_end, sizeof(run->last_end), "%s", how);
}

static void
plan_restart(struct master *master, struct service_run *run, int cause, int64_t ran_ms)
{
	int64_t delay = throttle_next(&run->throttle, cause, ran_ms);

	if (master->state == MASTER_STOPPING)
		return;
	run->restarts++;
	run->start_ms = clock_monotonic_ms() + delay;
	if (delay > THROTTLE_FIRST_MS && cause != THROTTLE_NO_START && cause != THROTTLE_NO_ROOM)
		log_warning("service %s: next start in %.1f s", run->service->name,
		            (double)delay / 1000);
}

static void
ended(struct master *master, struct process *process, int status)
{
	struct service_run *run = process->run;
	int64_t             ran_ms = clock_monotonic_ms() - process->started_ms;
	int                 cause = is_no_room(status) ? THROTTLE_NO_ROOM : status;

	note_end(master, process, status);
	loop_unwatch(master, &process->watch);
	if (run != NULL && run->process == process) {
		run->process = NULL;
		if (process->generation == master->generation->number &&
		    !demand_ended(master, run, process))
			plan_restart(master, run, process->was_killed ? THROTTLE_KILLED : cause,
			             ran_ms);
	}
	process_free(process);
}

void
supervise_reap(struct master *master)
{
	int   status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		LIST_EACH (node, &master->processes) {
			struct process *process = CONTAINER_OF(node, struct process, node);
			if (process->pid == pid) {
				ended(master, process, status);
				break;
			}
		}
	}
}

/* ---- what is due ---- */

static bool
has_older(struct master *master, const struct service_run *run)
{
	LIST_EACH (node, &master->processes) {
		const struct process *process = CONTAINER_OF(node, struct process, node);
		if (process != run->process && process->program == run->service->program &&
		    strcmp(process->name, run->service->name) == 0)
			return true;
	}
	return false;
}

/* After a reload the last generation's processes hold descriptors: new ones are started as those
 * end. Whether there are any; what they hold for idle sessions is asked back. */
static bool
hasten_older(struct master *master)
{
	bool is_any = false;

	LIST_EACH (node, &master->processes) {
		struct process *process = CONTAINER_OF(node, struct process, node);

		is_any |= process->generation < master->generation->number;
		process_hasten(process);
	}
	return is_any;
}

static void
start_due(struct master *master, struct service_run *run, int64_t now)
{
	struct error error = ERROR_NONE;

	if (run->process != NULL || run->start_ms == 0 || run->start_ms > now)
		return;
	if (run->is_drain_first && has_older(master, run))
		return; /* its end wakes us */
	if (!demand_has_room(master, run, now))
		return;
	run->start_ms = 0;
	if (process_start(master, run, &error))
		return;
	if (error.errno_value != EMFILE || !hasten_older(master))
		note_no_start(master, run, error.text);
	plan_restart(master, run, THROTTLE_NO_START, 0);
}

/* Where descriptors are few the next start waits until the last one has got its own. */
static bool
is_sending(const struct master *master)
{
	LIST_EACH (node, &master->processes) {
		const struct process *process = CONTAINER_OF(node, struct process, node);

		if (ipc_has_output(&process->channel) && !process->channel.is_broken)
			return master->shelf.sender >= 0;
	}
	return false;
}

static void
watch_process(const struct master *master, struct process *process, int64_t now)
{
	int64_t silent_ms =
		master->generation->configuration.parameters.daemon_watchdog_timeout * 1000;

	/* Many listeners do not fit into the socket at once. */
	if (ipc_has_output(&process->channel) && !process->channel.is_broken)
		(void)ipc_flush(&process->channel); /* a failure shows as its end */
	if (process->was_killed)
		return;
	if (process->kill_ms != 0 && process->kill_ms <= now)
		process_kill(process, process->state == PROCESS_STARTING
		                              ? "not ready in time"
		                              : "has not finished in time");
	else if (process->state == PROCESS_READY && process->alive_ms + silent_ms <= now)
		process_kill(process, "has been silent for too long");
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return b != 0 && b < a ? b : a;
}

/* When something has to be looked at again. */
static int64_t
next_due(struct master *master, int64_t now)
{
	int64_t silent_ms =
		master->generation->configuration.parameters.daemon_watchdog_timeout * 1000;
	int64_t next = now + LONGEST_WAIT_MS;

	for (size_t i = 0; i < master->generation->runs.count; i++) {
		const struct service_run *run = master->generation->runs.items[i];
		if (run->process == NULL && !is_sending(master) &&
		    !(run->is_drain_first && has_older(master, run)))
			next = earlier(next, run->start_ms);
	}
	LIST_EACH (node, &master->processes) {
		const struct process *process = CONTAINER_OF(node, struct process, node);
		if (process->was_killed)
			continue;
		if (ipc_has_output(&process->channel) && !process->channel.is_broken)
			next = earlier(next, now + FLUSH_AGAIN_MS);
		next = earlier(next, process->kill_ms);
		if (process->state == PROCESS_READY)
			next = earlier(next, process->alive_ms + silent_ms);
	}
	if (master->report_fd >= 0)
		next = earlier(next, master->first_deadline_ms);
	next = earlier(next, certificates_next_ms(master));
	next = earlier(next, master->control_again_ms);
	return earlier(next, master->notify_next_ms);
}

/* ---- the end ---- */

static bool
has_stage(struct master *master, enum program_stage stage)
{
	LIST_EACH (node, &master->processes) {
		const struct process *process = CONTAINER_OF(node, struct process, node);
		if (process->program->stage == stage)
			return true;
	}
	return false;
}

static void
drain_stage(struct master *master, enum program_stage stage)
{
	int64_t drain_ms = master->generation->configuration.parameters.drain_timeout * 1000;

	LIST_EACH (node, &master->processes) {
		struct process *process = CONTAINER_OF(node, struct process, node);
		if (process->program->stage != stage)
			continue;
		/* One that has been draining since a reload gets no longer time than the rest. */
		if (process->state == PROCESS_DRAINING) {
			process->state = PROCESS_READY;
			process->kill_ms = 0;
		}
		process_drain(process, drain_ms, false);
	}
}

bool
supervise_is_stopped(const struct master *master)
{
	return master->state == MASTER_STOPPING && list_is_empty(&master->processes);
}

static void
advance_stop(struct master *master)
{
	while (master->stage < STAGE_COUNT && !has_stage(master, master->stage)) {
		master->stage++;
		if (master->stage < STAGE_COUNT)
			drain_stage(master, master->stage);
	}
}

void
supervise_stop(struct master *master, bool at_once)
{
	bool is_first = master->state != MASTER_STOPPING;

	master->state = MASTER_STOPPING;
	notify_state(master, "STOPPING=1");
	if (at_once) {
		LIST_EACH (node, &master->processes) {
			struct process *process = CONTAINER_OF(node, struct process, node);
			process->was_killed = true;
			kill(process->pid, SIGKILL);
		}
	} else if (is_first) {
		master->stage = STAGE_NET;
		drain_stage(master, STAGE_NET);
	}
}

static bool
is_up(const struct service_run *run)
{
	return run->is_asleep || (run->process != NULL && run->process->state == PROCESS_READY);
}

/* Every service is up or has failed so often that waiting on is no use. */
static bool
is_settled(const struct master *master)
{
	for (size_t i = 0; i < master->generation->runs.count; i++) {
		const struct service_run *run = master->generation->runs.items[i];
		if (!is_up(run) && run->restarts < HOPELESS_RESTARTS)
			return false;
	}
	return true;
}

/* The first start is not all well: says what is not up. */
static void
report_late_start(struct master *master, int64_t now)
{
	struct buf text = BUF(4096);

	if (master->report_fd < 0 || (now < master->first_deadline_ms && !is_settled(master)))
		return;
	for (size_t i = 0; i < master->generation->runs.count; i++) {
		const struct service_run *run = master->generation->runs.items[i];
		if (!is_up(run))
			buf_append_format(&text, "service %s is not up: %s (see the log)\n",
			                  run->service->name,
			                  run->last_end[0] != '\0' ? run->last_end
			                                           : "still starting");
	}
	report_start(master, buf_text(&text));
	buf_free(&text);
}

int
supervise_due(struct master *master)
{
	int64_t now = clock_monotonic_ms(), next;

	if (master->state == MASTER_STOPPING)
		advance_stop(master);
	note_starts(master, now);
	for (size_t i = 0; i < master->generation->runs.count; i++) {
		if (master->state == MASTER_RUNNING && !is_sending(master))
			start_due(master, master->generation->runs.items[i], now);
	}
	LIST_EACH (node, &master->processes)
		watch_process(master, CONTAINER_OF(node, struct process, node), now);
	report_late_start(master, now);
	certificates_due(master, now);
	control_resume(master);
	notify_due(master);
	next = next_due(master, now) - now;
	return next < 0 ? 0 : (int)next;
}
