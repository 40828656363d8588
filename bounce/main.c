/* main.c - bounce: the agent that tells senders what became of their mail. bounce(8). */
#include "bounce/notice.h"

#include <poll.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/daemon/daemon.h"

#define JOBS_PATH   "private/jobs"
#define INTAKE_PATH "private/intake"

static bool
prepare(struct daemon_context *daemon, struct error *error)
{
	struct notice_room    *room = calloc(1, sizeof(*room));
	struct intake_context *context;

	if (room == NULL)
		return error_set(error, "out of memory");
	context = &room->intake;
	context->snapshot = daemon->snapshot;
	context->parameters = daemon->parameters;
	context->router = router_create(daemon->snapshot, error);
	if (context->router == NULL)
		return false; /* the process ends */
	context->queue = intake_client_create(INTAKE_PATH, daemon->service);
	if (context->queue == NULL)
		return error_set(error, "out of memory");
	daemon->room = room;
	return notice_room_init(room, daemon->snapshot, error);
}

/* Every recipient of the job has the same fate: the notice is on its way, or not yet. */
static bool
report(struct agent *agent, const struct agent_job *job, enum notice_result result,
       const struct error *error)
{
	struct msg_job_result    message = { .job = job->message.job };
	struct slice             list = job->message.recipients;
	struct msg_job_recipient recipient;
	struct buf               outcomes = BUF(16u << 20);
	struct msg_outcome       outcome = {
		      .action = result == NOTICE_DONE ? OUTCOME_DELIVERED : OUTCOME_DEFERRED,
		      .status = result == NOTICE_DONE ? SLICE("2.0.0") : SLICE("4.3.0"),
		      .reason = result == NOTICE_DONE ? SLICE("notified") : slice_from(error->text),
		      .relay = SLICE("none"),
	};

	for (; msg_job_recipient_next(&list, &recipient); outcome.recipient++)
		msg_outcome_append(&outcomes, &outcome);
	message.outcomes = buf_slice(&outcomes);
	message.destination = DESTINATION_OK;
	bool ok = agent_report(agent, &message);
	buf_free(&outcomes);
	return ok;
}

/* Recipients of local whose mail is sent on: each for itself. */
static bool
forward(struct daemon_context *daemon, struct agent *agent, const struct agent_job *job)
{
	struct msg_job_result    message = { .job = job->message.job };
	struct slice             list = job->message.recipients;
	struct msg_job_recipient recipient;
	struct buf               outcomes = BUF(16u << 20);
	struct notice_room      *room = daemon->room;

	for (uint32_t i = 0; msg_job_recipient_next(&list, &recipient); i++)
		forward_send(&room->intake, job, &recipient, i, &outcomes);
	message.outcomes = buf_slice(&outcomes);
	message.destination = DESTINATION_OK;
	bool ok = agent_report(agent, &message);
	buf_free(&outcomes);
	return ok;
}

static bool
notify(struct daemon_context *daemon, struct agent *agent, const struct agent_job *job)
{
	struct error       error = ERROR_NONE;
	enum notice_result result = notice_send(daemon->room, job, &error);

	if (result == NOTICE_LATER)
		log_trouble("%.*s: %s", SLICE_ARGS(job->message.queue_id), error.text);
	return report(agent, job, result, &error);
}

/* Jobs from one channel, until it breaks or the daemon drains. */
static void
serve(struct daemon_context *daemon, struct agent *agent)
{
	struct agent_job job;

	while (daemon_wait(daemon, agent->channel.fd, POLLIN, INT64_MAX) == DAEMON_WAIT_READY) {
		enum agent_result got = agent_next_job(agent, clock_monotonic_ms() + 10000, &job);

		if (got == AGENT_CLOSED)
			return;
		if (got == AGENT_IDLE)
			continue;
		daemon_count(daemon, 1, 1);
		bool ok = job.message.kind == JOB_FORWARD ? forward(daemon, agent, &job)
		                                          : notify(daemon, agent, &job);
		daemon_count(daemon, -1, -1);
		agent_job_release(&job);
		if (!ok)
			return;
	}
}

/* One channel to qmgr; when it is gone, again after 0.1 s doubling to 5 s. */
static void
work(struct daemon_context *daemon, size_t index)
{
	int64_t pause_ms = 100;

	(void)index;
	while (!daemon_is_draining(daemon)) {
		struct agent agent = { .channel = { .fd = -1 } };
		struct error error = ERROR_NONE;

		if (agent_connect(&agent, JOBS_PATH, daemon->service, 1, &error)) {
			pause_ms = 100;
			serve(daemon, &agent);
		} else {
			log_trouble("%s", error.text);
		}
		agent_close(&agent);
		daemon_wait(daemon, -1, 0, clock_monotonic_ms() + pause_ms);
		pause_ms = pause_ms < 2500 ? pause_ms * 2 : 5000;
	}
}

static int
run(struct daemon_context *daemon)
{
	return daemon_run_threads(daemon, daemon->thread_limit, work);
}

static const char *const readable[] = { ROUTER_READABLE, NULL };

int
main(int argc, char **argv)
{
	static const struct daemon bounce = {
		.name = "bounce",
		.identity = RUNS_AS_NET,
		.doors = DOOR_UNIX_CONNECT | DOOR_FILE_READ,
		.readable = readable,
		.prepare = prepare,
		.run = run,
	};

	return daemon_main(&bounce, argc, argv);
}
