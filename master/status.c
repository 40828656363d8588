/* status.c - the state of master and its daemons as JSON. */
#include "master/master.h"

#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/json.h"

static const char *
state_word(enum process_state state)
{
	switch (state) {
	case PROCESS_STARTING: return "starting";
	case PROCESS_READY: return "ready";
	case PROCESS_DRAINING: return "draining";
	}
	return "";
}

static void
append_process(struct buf *out, const struct process *process, int64_t now)
{
	buf_append_byte(out, '{');
	json_append_member(out, "service", slice_from(process->name));
	buf_append_byte(out, ',');
	json_append_member(out, "program", slice_from(process->program->name));
	buf_append_format(out, ",\"pid\":%d,\"generation\":%u,", (int)process->pid,
	                  process->generation);
	json_append_member(out, "state", slice_from(state_word(process->state)));
	buf_append_format(out,
	                  ",\"uptime_s\":%lld,\"sessions\":%u,\"busy_threads\":%u,"
	                  "\"sessions_total\":%llu,",
	                  (long long)(now - process->started_ms) / 1000, process->sessions,
	                  process->busy_threads, (unsigned long long)process->sessions_total);
	json_append_member(out, "last_error", slice_from(process->last_error));
	buf_append_byte(out, '}');
}

static void
append_run(struct buf *out, const struct service_run *run)
{
	buf_append_byte(out, '{');
	json_append_member(out, "service", slice_from(run->service->name));
	buf_append_byte(out, ',');
	json_append_member(out, "program", slice_from(run->service->program->name));
	buf_append_format(out, ",\"pid\":%d,\"is_asleep\":%s,\"restarts\":%u,",
	                  run->process == NULL ? 0 : (int)run->process->pid,
	                  run->is_asleep ? "true" : "false", run->restarts);
	json_append_member(out, "last_end", slice_from(run->last_end));
	buf_append_byte(out, '}');
}

bool
status_text(const struct master *master, struct buf *out)
{
	const struct list_node *processes = &master->processes;
	int64_t                 now = clock_monotonic_ms();

	buf_append_format(out, "the mail system is running: PID: %d\n", (int)getpid());
	buf_append_format(out, "%-20s %-9s %7s %4s %-8s %8s %8s %8s\n", "service", "program", "pid",
	                  "gen", "state", "up", "sessions", "restarts");
	for (const struct list_node *node = processes->next; node != processes; node = node->next) {
		const struct process *process = CONTAINER_OF(node, struct process, node);

		buf_append_format(out, "%-20s %-9s %7d %4u %-8s %7llds %8u %8u\n", process->name,
		                  process->program->name, (int)process->pid, process->generation,
		                  state_word(process->state),
		                  (long long)(now - process->started_ms) / 1000, process->sessions,
		                  process->run == NULL ? 0 : process->run->restarts);
		if (process->last_error[0] != '\0')
			buf_append_format(out, "    last error: %s\n", process->last_error);
	}
	for (size_t i = 0; i < master->generation->runs.count; i++) {
		const struct service_run *run = master->generation->runs.items[i];

		if (run->is_asleep)
			buf_append_format(out, "%-20s %-9s is asleep until somebody asks\n",
			                  run->service->name, run->service->program->name);
		else if (run->process == NULL)
			buf_append_format(out, "%-20s %-9s is down, %u restarts, last: %s\n",
			                  run->service->name, run->service->program->name,
			                  run->restarts, run->last_end);
	}
	certificates_status_text(master, out);
	return !out->has_failed;
}

bool
status_json(const struct master *master, struct buf *out)
{
	const struct list_node *processes = &master->processes;
	int64_t                 now = clock_monotonic_ms();

	buf_append_format(out, "{\"pid\":%d,\"generation\":%u,\"uptime_s\":%lld,", (int)getpid(),
	                  master->generation->number, (long long)(now - master->started_ms) / 1000);
	json_append_member(out, "state",
	                   slice_from(master->state == MASTER_STOPPING ? "stopping"
	                              : master->was_ready              ? "running"
	                                                               : "starting"));
	buf_append_byte(out, ',');
	json_append_member(out, "config_directory", slice_from(master->config_directory));
	buf_append_text(out, ",\"services\":[");
	for (size_t i = 0; i < master->generation->runs.count; i++) {
		buf_append_text(out, i == 0 ? "" : ",");
		append_run(out, master->generation->runs.items[i]);
	}
	buf_append_text(out, "],\"processes\":[");
	for (const struct list_node *node = processes->next; node != processes; node = node->next) {
		buf_append_text(out, node == processes->next ? "" : ",");
		append_process(out, CONTAINER_OF(node, struct process, node), now);
	}
	buf_append_text(out, "],");
	certificates_status_json(master, out);
	buf_append_byte(out, '}');
	return !out->has_failed;
}
