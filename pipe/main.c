/* main.c - pipe: deliver to a command. See pipe.h and pipe(8). */
#include "pipe/pipe.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/daemon/command_service.h"

#define JOBS_PATH       "private/jobs"
#define CONNECT_WAIT_MS 20000 /* qmgr may be behind with accepting */
#define OUTCOMES_MOST   (15u << 20)

/* ---- the beginning, as root ---- */

static bool
user_take(struct daemon_context *context, const struct pipe_room *room, struct error *error)
{
	const char *root = room->arguments.root;

	if (context->is_unprivileged)
		return root == NULL || error_set(error, "chroot=%s needs root", root);
	return command_service_user(context, &room->arguments, error);
}

/* The user has no right to the socket: so all channels are made now. */
static bool
agents_connect(const struct daemon_context *context, struct pipe_room *room, struct error *error)
{
	int64_t         until_ms = clock_monotonic_ms() + CONNECT_WAIT_MS;
	struct timespec pause = { .tv_nsec = 50 * 1000000 };

	room->agents = calloc(context->thread_limit, sizeof(*room->agents));
	if (room->agents == NULL)
		return error_set(error, "out of memory");
	while (room->agent_count < context->thread_limit) {
		struct agent *agent = &room->agents[room->agent_count];

		if (agent_connect(agent, JOBS_PATH, context->service, 1, error))
			room->agent_count++;
		else if (clock_monotonic_ms() > until_ms)
			return false;
		else
			nanosleep(&pause, NULL);
	}
	return true;
}

static bool
prepare(struct daemon_context *context, struct error *error)
{
	struct pipe_room *room = calloc(1, sizeof(*room));

	if (room == NULL)
		return error_set(error, "out of memory");
	context->room = room;
	room->service = context->service;
	room->daemon = context;
	room->arena = (struct arena){ 0 };
	room->statuses =
		status_filter_open("pipe_delivery_status_filter",
	                           context->parameters->pipe_delivery_status_filter, error);
	if (room->statuses == NULL)
		return false;
	room->delimiters = context->parameters->recipient_delimiter;
	if (!command_service_arguments(context, &room->arena, &room->arguments, error) ||
	    !user_take(context, room, error) || !agents_connect(context, room, error))
		return false;
	room->time_limit_ms = command_service_time_limit_ms(context);
	if (!environment_make(&room->environment, context->parameters->export_environment))
		return error_set(error, "export_environment: out of memory");
	const char *root = room->arguments.root;
	if (root != NULL && (chroot(root) != 0 || chdir("/") != 0))
		return error_set_errno(error, "chroot=%s", root);
	return true;
}

/* The helper runs commands as whom it is started: only now. */
static bool
prepare_as_owner(struct daemon_context *context, struct error *error)
{
	struct pipe_room *room = context->room;

	room->runner = command_runner_start(error);
	return room->runner != NULL;
}

/* ---- running ---- */

void
pipe_end(struct pipe_room *room)
{
	if (atomic_exchange(&room->is_over, true))
		return;
	/* Wakes those that wait for a job. All stay open until the threads are back. */
	for (size_t i = 0; i < room->agent_count; i++)
		shutdown(room->agents[i].channel.fd, SHUT_RD);
}

static bool
deliver_next(struct pipe_room *room, struct agent *agent)
{
	struct agent_job      job;
	struct buf            outcomes = BUF(OUTCOMES_MOST);
	struct msg_job_result result = { .destination = DESTINATION_OK };
	enum agent_result     got = agent_next_job(agent, clock_monotonic_ms() + 10000, &job);

	if (got != AGENT_JOB)
		return got == AGENT_IDLE;
	pipe_deliver(room, &job, &outcomes);
	result.job = job.message.job;
	result.outcomes = buf_slice(&outcomes);
	bool is_reported = agent_report(agent, &result);
	agent_job_release(&job);
	buf_free(&outcomes);
	return is_reported;
}

static void
work(struct daemon_context *context, size_t index)
{
	struct pipe_room *room = context->room;
	struct agent     *agent = &room->agents[index];

	while (!daemon_is_draining(context) && !atomic_load(&room->is_over)) {
		if (daemon_wait(context, agent->channel.fd, POLLIN, INT64_MAX) != DAEMON_WAIT_READY)
			continue;
		daemon_count(context, 0, 1);
		bool goes_on = deliver_next(room, agent);
		daemon_count(context, 0, -1);
		if (!goes_on)
			pipe_end(room);
	}
}

static int
run(struct daemon_context *context)
{
	struct pipe_room *room = context->room;
	int               status = daemon_run_threads(context, room->agent_count, work);

	if (!daemon_is_draining(context))
		log_info("the channel to qmgr, or the helper for commands, has ended: starting "
		         "anew");
	for (size_t i = 0; i < room->agent_count; i++)
		agent_close(&room->agents[i]);
	command_runner_close(&room->runner);
	status_filter_close(&room->statuses);
	return status;
}

int
main(int argc, char **argv)
{
	static const struct daemon pipe_daemon = {
		.name = "pipe",
		.identity = RUNS_AS_USER,
		.prepare = prepare,
		.prepare_as_owner = prepare_as_owner,
		.run = run,
	};

	return daemon_main(&pipe_daemon, argc, argv);
}
