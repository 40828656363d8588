/* generation.c - one generation of the configuration: loaded, checked, made into snapshots. */
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/io/file.h"

void
generation_free(struct generation **generation)
{
	struct generation *old = *generation;

	if (old == NULL)
		return;
	for (size_t i = 0; i < old->runs.count; i++) {
		struct service_run *run = old->runs.items[i];

		if (run->process != NULL)
			run->process->run = NULL;
		ARRAY_FREE(&run->listeners);
		ARRAY_FREE(&run->addresses);
		free(run);
	}
	ARRAY_FREE(&old->runs);
	configuration_free(&old->configuration);
	free(old);
	*generation = NULL;
}

int
generation_sealed_file(struct slice bytes, struct error *error)
{
	int fd = memfd_create("dakiya-snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0) {
		error_set_errno(error, "memfd_create");
		return -1;
	}
	if (!file_write_all(fd, bytes, "snapshot", error)) {
		/* worded */
	} else if (fcntl(fd, F_ADD_SEALS,
	                 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
		error_set_errno(error, "seal snapshot");
	} else {
		return fd;
	}
	close(fd);
	return -1;
}

int
generation_snapshot(const struct generation *generation, const struct service *service,
                    struct error *error)
{
	struct values values = VALUES_NONE;
	struct buf    bytes = BUF(VALUES_BYTES_MOST);
	int           fd = -1;

	if (configuration_service_values(&generation->configuration, service, &values) &&
	    values_encode(&values, &bytes))
		fd = generation_sealed_file(buf_slice(&bytes), error);
	else
		error_set(error, "the configuration is too large");
	buf_free(&bytes);
	values_free(&values);
	return fd;
}

static bool
add_run(struct master *master, struct generation *generation, const struct service *service,
        struct error *error)
{
	struct service_run *run = calloc(1, sizeof(*run));

	if (run == NULL || !ARRAY_PUSH(&generation->runs, run)) {
		free(run);
		return error_set(error, "out of memory");
	}
	run->service = service;
	run->is_drain_first = service->program->is_singleton;
	/* Made anew for each process; that it can be made is known from now on. */
	int  snapshot_fd = generation_snapshot(generation, service, error);
	bool is_ok = snapshot_fd >= 0 && certificates_of_run(master, run, snapshot_fd, error);
	if (snapshot_fd >= 0)
		close(snapshot_fd);
	return is_ok;
}

static void
add_runs(struct master *master, struct generation *generation, struct report *report)
{
	const struct master_file *file = &generation->configuration.master;

	for (size_t i = 0; i < file->services.count; i++) {
		struct error error = ERROR_NONE;

		if (file->services.items[i].is_run &&
		    !add_run(master, generation, &file->services.items[i], &error))
			report_add(report, PROBLEM_ERROR, file->services.items[i].file,
			           file->services.items[i].line, "%s", error.text);
	}
	if (generation->runs.count == 0)
		report_add(report, PROBLEM_ERROR, file->path, 0, "no service is to be run");
}

struct generation *
generation_new(struct master *master, struct report *report)
{
	struct generation *generation = calloc(1, sizeof(*generation));

	if (generation == NULL) {
		report_add(report, PROBLEM_ERROR, "", 0, "out of memory");
		return NULL;
	}
	generation->number = ++master->generation_count;
	if (configuration_load(&generation->configuration, master->config_directory, report))
		add_runs(master, generation, report);
	if (report->error_count > 0)
		generation_free(&generation);
	return generation;
}

/* ---- reload ---- */

/* A generation that cannot be bound leaves no trace in the list of listeners. */
static void
take_back_listeners(struct master *master, unsigned failed)
{
	for (size_t i = 0; i < master->generation->runs.count; i++) {
		const struct service_run *run = master->generation->runs.items[i];

		for (size_t j = 0; j < run->listeners.count; j++)
			run->listeners.items[j]->generation = master->generation->number;
	}
	LIST_EACH (node, &master->listeners) {
		struct master_listener *listener = CONTAINER_OF(node, struct master_listener, node);
		if (listener->generation == failed)
			listener_close(master, listener);
	}
}

static bool
is_same_place(const struct master *master, const struct generation *newer, struct report *report)
{
	const struct parameters *now = &master->generation->configuration.parameters;
	const struct parameters *then = &newer->configuration.parameters;

	if (strcmp(now->queue_directory, then->queue_directory) == 0 &&
	    strcmp(now->mail_owner, then->mail_owner) == 0)
		return true;
	report_add(report, PROBLEM_ERROR, newer->configuration.main.path, 0,
	           "queue_directory and mail_owner cannot change while running: stop and start");
	return false;
}

static bool
has_successor(const struct generation *generation, const struct process *process)
{
	for (size_t i = 0; i < generation->runs.count; i++) {
		const struct service_run *run = generation->runs.items[i];
		const struct service     *service = run->service;
		if (!run->is_asleep && strcmp(service->name, process->name) == 0 &&
		    service->program == process->program)
			return true;
	}
	return false;
}

/*
 * Daemons whose successor must wait, or that have none, finish now; the others when their
 * successor is ready, so that somebody always serves.
 */
static void
drain_replaced(struct master *master)
{
	const struct parameters *parameters = &master->generation->configuration.parameters;

	LIST_EACH (node, &master->processes) {
		struct process *process = CONTAINER_OF(node, struct process, node);

		if (process->generation == master->generation->number)
			continue;
		if (process->program->is_singleton)
			process_drain(process, parameters->drain_timeout * 1000, false);
		else if (!has_successor(master->generation, process) ||
		         process->state == PROCESS_STARTING)
			process_drain(process, parameters->reload_drain_timeout * 1000, true);
	}
}

bool
generation_reload(struct master *master, struct report *report)
{
	struct generation *newer = generation_new(master, report);

	if (newer == NULL)
		return false;
	if (!is_same_place(master, newer, report) || !listeners_bind(master, newer, report)) {
		take_back_listeners(master, newer->number);
		generation_free(&newer);
		certificates_sweep(master);
		return false;
	}
	demand_end(master);
	generation_free(&master->generation);
	master->generation = newer;
	demand_begin(master);
	logfile_open(master, &newer->configuration.parameters);
	certificates_sweep(master);
	certificates_look_now(master);
	drain_replaced(master);
	listeners_close_before(master, newer->number);
	return true;
}
