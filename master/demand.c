/*
 * demand.c - where memory is little, services start when somebody asks for them.
 *
 * A daemon at rest takes 1 to 2 MB, and a host of 16 or 32 MB has none to spare for protocols that
 * nobody speaks today. So master watches the sockets of services that are asleep and starts one at
 * the first connection, which waits meanwhile; agents, which have no socket, are asked for by qmgr
 * when mail waits for them. A daemon that was not used for a while is told to finish. What mail
 * cannot do without, qmgr, runs always.
 */
#include "master/master.h"

#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"

#define IDLE_MS     10000
#define START_BYTES (INT64_C(1536) << 10) /* what a daemon takes at its start */
#define AGAIN_MS    200
#define SAID_MS     60000

/*
 * pickup has to look once for what was dropped while nobody ran; later whoever drops something has
 * connected before.
 */
static bool
has_work_at_start(const struct service_run *run)
{
	return strcmp(run->service->program->name, "pickup") == 0;
}

static bool
may_sleep(const struct master *master, const struct service_run *run)
{
	if (!master->is_memory_little || run->service->program->stage == STAGE_QUEUE)
		return false;
	/* One that has no descriptor now cannot be watched. */
	for (size_t i = 0; i < run->listeners.count; i++)
		if (run->listeners.items[i]->fd < 0)
			return false;
	return true;
}

/*
 * Those of which it is known whether they are at work: local's parent has children that are, and
 * pipe and spawn commands.
 */
static bool
may_be_put_to_sleep(const struct program *program)
{
	return strcmp(program->executable, "local") != 0 && !program->takes_arguments;
}

static void
unwatch(struct master *master, const struct service_run *run)
{
	for (size_t i = 0; i < run->listeners.count; i++)
		loop_unwatch(master, &run->listeners.items[i]->watch);
}

static void
wake(struct master *master, struct service_run *run)
{
	unwatch(master, run);
	run->is_asleep = false;
	run->start_ms = clock_monotonic_ms();
}

static void
put_to_sleep(struct master *master, struct service_run *run)
{
	run->is_asleep = true;
	run->start_ms = 0;
	for (size_t i = 0; i < run->listeners.count; i++) {
		struct master_listener *listener = run->listeners.items[i];

		listener->watch = (struct watch){ WATCH_LISTENER, listener->fd };
		if (loop_watch(master, &listener->watch))
			continue;
		listener->watch.fd = -1;
		wake(master, run);
		return;
	}
}

void
demand_decide(struct master *master)
{
	struct memory *memory = memory_open("");

	master->is_memory_little = memory_is_little(memory);
	if (master->is_memory_little)
		log_info("little memory (%lld MB): services start when they are asked for",
		         (long long)(memory_limit(memory) >> 20));
	memory_close(&memory);
}

void
demand_begin(struct master *master)
{
	for (size_t i = 0; i < master->generation->runs.count; i++) {
		struct service_run *run = master->generation->runs.items[i];

		if (may_sleep(master, run) && !has_work_at_start(run))
			put_to_sleep(master, run);
		else
			run->start_ms = clock_monotonic_ms();
	}
}

void
demand_end(struct master *master)
{
	for (size_t i = 0; i < master->generation->runs.count; i++)
		unwatch(master, master->generation->runs.items[i]);
}

void
demand_input(struct master *master, struct watch *watch)
{
	for (size_t i = 0; i < master->generation->runs.count; i++) {
		struct service_run *run = master->generation->runs.items[i];

		for (size_t j = 0; j < run->listeners.count; j++)
			if (run->is_asleep && watch == &run->listeners.items[j]->watch) {
				wake(master, run);
				return;
			}
	}
	loop_unwatch(master, watch); /* cannot be; not to spin on it */
}

void
demand_wanted(struct master *master, const struct process *process, struct ipc_frame *frame)
{
	struct msg_daemon_wants wants;

	if (process->program->stage != STAGE_QUEUE || !msg_daemon_wants_decode(frame, &wants)) {
		log_warning("%s[%d] asks for a service, and may not", process->name,
		            (int)process->pid);
		return;
	}
	for (size_t i = 0; i < master->generation->runs.count; i++) {
		struct service_run *run = master->generation->runs.items[i];

		if (run->is_asleep && run->service->program->stage == STAGE_AGENT &&
		    slice_equal(wants.service, slice_from(run->service->name)))
			wake(master, run);
	}
}

bool
demand_ended(struct master *master, struct service_run *run, const struct process *process)
{
	if (!process->is_retiring || master->state == MASTER_STOPPING)
		return false;
	put_to_sleep(master, run);
	return true;
}

/* It has told us how busy it is. */
void
demand_look(struct master *master, struct process *process)
{
	int64_t now = clock_monotonic_ms();

	if (process->sessions > 0 || process->busy_threads > 0 ||
	    process->sessions_total != process->sessions_seen)
		process->used_ms = now;
	process->sessions_seen = process->sessions_total;
	if (master->state != MASTER_RUNNING || process->state != PROCESS_READY ||
	    process->run == NULL || process->run->process != process ||
	    now - process->used_ms < IDLE_MS || !may_sleep(master, process->run) ||
	    !may_be_put_to_sleep(process->program))
		return;
	process->is_retiring = true;
	process_drain(process, master->generation->configuration.parameters.drain_timeout * 1000,
	              false);
}

/* What those will take that have just been started does not show yet. */
static int64_t
bytes_needed(struct master *master)
{
	int64_t bytes = START_BYTES;

	LIST_EACH (node, &master->processes)
		if (CONTAINER_OF(node, struct process, node)->state == PROCESS_STARTING)
			bytes += START_BYTES;
	return bytes;
}

bool
demand_has_room(struct master *master, struct service_run *run, int64_t now)
{
	struct memory *memory;
	bool           has_room;

	if (run->service->program->stage == STAGE_QUEUE)
		return true;
	memory = memory_open("");
	has_room = memory_allows(memory, bytes_needed(master) - memory_reserve(memory) / 2);
	memory_close(&memory);
	if (has_room)
		return true;
	if (master->memory_said_ms == 0 || now - master->memory_said_ms > SAID_MS) {
		log_warning("memory is short: service %s is started when there is some",
		            run->service->name);
		master->memory_said_ms = now;
	}
	run->start_ms = now + AGAIN_MS;
	return false;
}
