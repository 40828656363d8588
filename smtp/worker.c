/*
 * worker.c - the threads: each pulls a job, delivers it, reports, and keeps its connection.
 *
 * The process limit of master.cf is how many of them transfer mail at a time. Those that wait for
 * hosts that say nothing do not count: for each another thread is lent. When more hosts answer than
 * there are places, their sessions wait for one.
 */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sysexits.h>

#include "lib/base/clock.h"
#include "lib/base/list.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/mutex.h"
#include "lib/io/file.h"
#include "smtp/smtp.h"

#define JOBS_SOCKET    "private/jobs"
#define RECONNECT_MS   500
#define RECONNECT_MOST 5000
#define BRIEF_MS       100 /* a channel that ends sooner would be made again and again */
#define FOREVER_MS     (365LL * 24 * 3600 * 1000)
#define OUTCOMES_MOST  (16u * 1024 * 1024)
#define LENT_IDLE_MS   2000
#define FILES_FEW      1024
#define LENT_BYTES     100000 /* a thread with its session */

struct pool {
	struct smtp_agent           *agent;
	const struct daemon_context *context;
	atomic_bool                  is_draining;

	struct mutex     lock;   /* guards what follows; taken before a worker's own */
	size_t           places; /* the process limit */
	size_t           taken;
	struct condition is_left; /* a place was */
	size_t           silent;  /* threads that wait for hosts that say nothing */
	size_t           lent_most;
	size_t           lent_count;
	struct list_node lent; /* workers that stand in for them */
	struct condition is_returned;
};

struct worker {
	struct pool     *pool;
	bool             is_lent;
	struct list_node in_lent;
	pthread_t        thread;
	struct mutex     lock; /* guards is_connected and the closing of the channel's descriptor */
	bool             is_connected;
	struct agent     channel;
	struct session  *kept; /* a connection that may serve the next job */
};

/* ---- the channel to qmgr ---- */

static bool
worker_connect(struct worker *worker, struct error *error)
{
	bool ok = agent_connect(&worker->channel, JOBS_SOCKET, worker->pool->agent->service, 1,
	                        error);

	mutex_lock(&worker->lock);
	worker->is_connected = ok;
	if (ok && atomic_load(&worker->pool->is_draining))
		shutdown(worker->channel.channel.fd, SHUT_RD);
	mutex_unlock(&worker->lock);
	return ok;
}

static void
worker_disconnect(struct worker *worker)
{
	mutex_lock(&worker->lock);
	worker->is_connected = false;
	agent_close(&worker->channel);
	mutex_unlock(&worker->lock);
}

/* Another thread asks the worker to take no more jobs; what it has read it still finishes. */
static void
worker_drain(struct worker *worker)
{
	mutex_lock(&worker->lock);
	if (worker->is_connected)
		shutdown(worker->channel.channel.fd, SHUT_RD);
	mutex_unlock(&worker->lock);
}

/* ---- one job ---- */

static void
log_and_append(struct delivery *delivery, const struct agent_job *job, struct buf *outcomes)
{
	int64_t done_us = clock_wall_us();

	for (size_t i = 0; i < delivery->count; i++) {
		const struct delivery_recipient *recipient = &delivery->recipients[i];
		struct msg_outcome               outcome = {
				      .recipient = (uint32_t)i,
				      .action = recipient->verdict.action,
				      .status = slice_from(recipient->verdict.status),
				      .reason = slice_from(recipient->verdict.reason),
				      .relay = slice_from(recipient->relay),
				      .remote_mta = slice_from(recipient->remote_mta),
				      .diagnostic = slice_from(recipient->verdict.diagnostic),
		};
		struct delivery_times times = {
			.arrival_us = job->envelope.arrival_us,
			.active_us = job->message.active_us,
			.begin_us = job->begin_us,
			.connected_us = recipient->connected_us,
			.done_us = done_us,
			.is_soft = job->message.is_soft,
			.is_verify = delivery_is_verify(delivery),
		};

		status_filter_apply(delivery->agent->statuses, delivery->queue_id, &delivery->arena,
		                    &outcome);
		job_log_outcome(delivery->queue_id, &recipient->row, &outcome, &times,
		                recipient->connection_use);
		if (!msg_outcome_append(outcomes, &outcome))
			log_error("%s: no memory for the report", delivery->queue_id);
	}
}

/* Concurrency feedback: a destination that nobody answered for is down. */
static enum destination_report
report_of(const struct delivery *delivery)
{
	if (delivery->has_spoken)
		return DESTINATION_OK;
	if (delivery->silence.has_run_out)
		return DESTINATION_SILENT;
	for (size_t i = 0; i < delivery->count; i++)
		if (delivery->recipients[i].verdict.action == OUTCOME_DEFERRED)
			return DESTINATION_FAILED;
	return DESTINATION_NEUTRAL;
}

static bool
report(struct worker *worker, struct delivery *delivery, const struct agent_job *job)
{
	struct buf            outcomes = BUF(OUTCOMES_MOST);
	struct msg_job_result result = msg_job_result_clear();
	bool                  ok;

	result.job = job->message.job;
	result.destination = report_of(delivery);
	if (result.destination == DESTINATION_SILENT)
		log_info("%s: no answer yet from %.*s, others are tried first", delivery->queue_id,
		         SLICE_ARGS(job->message.nexthop));
	else
		log_and_append(delivery, job, &outcomes);
	result.outcomes = buf_slice(&outcomes);
	if (result.destination == DESTINATION_FAILED && delivery->count > 0)
		result.destination_reason = slice_from(delivery->recipients[0].verdict.reason);
	if (worker->kept != NULL) {
		result.held_nexthop = slice_from(worker->kept->nexthop);
		result.held_until_ms =
			clock_monotonic_ms() +
			worker->pool->agent->parameters->smtp_connection_cache_time_limit * 1000;
	}
	ok = agent_report(&worker->channel, &result);
	buf_free(&outcomes);
	return ok;
}

/* False: the channel is of no more use. */
static bool
carry_out(struct worker *worker, struct agent_job *job)
{
	struct delivery delivery;
	bool            ok = false;

	if (delivery_begin(&delivery, worker->pool->agent, job)) {
		delivery_run(&delivery, &worker->kept);
		ok = report(worker, &delivery, job);
		if (!ok)
			log_warning("%s: qmgr went away before it knew the result; the message "
			            "may be sent again",
			            delivery.queue_id);
		notify_send(worker->pool->agent, &delivery.notes);
	} else {
		log_error("a job of qmgr cannot be taken: malformed or no memory");
	}
	delivery_end(&delivery);
	agent_job_release(job);
	return ok;
}

/* ---- places ---- */

static void
place_take(void *context)
{
	struct pool *pool = context;

	mutex_lock(&pool->lock);
	while (pool->taken >= pool->places)
		condition_wait(&pool->is_left, &pool->lock);
	pool->taken++;
	mutex_unlock(&pool->lock);
}

static void
place_leave(void *context)
{
	struct pool *pool = context;

	mutex_lock(&pool->lock);
	pool->taken--;
	condition_signal(&pool->is_left);
	mutex_unlock(&pool->lock);
}

/* ---- more workers, while some only wait ---- */

static void *lent_run(void *argument);

/* With the pool's lock held. */
static void
lend_locked(struct pool *pool)
{
	struct worker *worker = NULL;

	if (memory_allows(daemon_memory(pool->context), LENT_BYTES))
		worker = calloc(1, sizeof(*worker));
	if (worker == NULL)
		return;
	worker->pool = pool;
	worker->is_lent = worker->channel.is_lent = true;
	mutex_init(&worker->lock);
	if (thread_start(&worker->thread, lent_run, worker) != 0) {
		mutex_destroy(&worker->lock);
		free(worker);
		return;
	}
	list_append(&pool->lent, &worker->in_lent);
	pool->lent_count++;
}

static void
silence_told(void *context, bool begins)
{
	struct pool *pool = context;

	mutex_lock(&pool->lock);
	pool->silent = begins ? pool->silent + 1 : pool->silent - 1;
	if (begins && pool->lent_count < pool->silent && pool->lent_count < pool->lent_most &&
	    !atomic_load(&pool->is_draining))
		lend_locked(pool);
	mutex_unlock(&pool->lock);
}

/*
 * Whether a lent worker is no longer needed: many more are there than wait, or it was idle. Some
 * stay while it goes on, since every new wait is noticed late.
 */
static bool
is_surplus(const struct worker *worker, bool is_idle)
{
	struct pool *pool = worker->pool;
	size_t       some = is_idle ? 0 : pool->context->thread_limit / 2;

	if (!worker->is_lent)
		return false;
	mutex_lock(&pool->lock);
	bool is_over = pool->lent_count > pool->silent + some;
	mutex_unlock(&pool->lock);
	return is_over;
}

/* ---- the loop ---- */

/* How long to wait for the next job before there is something else to do. */
static int64_t
idle_limit(const struct worker *worker)
{
	if (worker->kept != NULL)
		return worker->pool->agent->parameters->smtp_connection_cache_time_limit * 1000;
	return worker->is_lent ? LENT_IDLE_MS : FOREVER_MS;
}

/* Jobs until the channel ends. A kept connection is let go when its time has come. */
static void
serve(struct worker *worker)
{
	struct agent_job job;

	for (;;) {
		int64_t deadline_ms = clock_monotonic_ms() + idle_limit(worker);

		switch (agent_next_job(&worker->channel, deadline_ms, &job)) {
		case AGENT_JOB:
			daemon_count(worker->pool->context, 1, 1);
			bool is_good = carry_out(worker, &job);
			daemon_count(worker->pool->context, -1, -1);
			if (!is_good)
				return;
			ipc_channel_trim(&worker->channel.channel);
			if (is_surplus(worker, false))
				return;
			break;
		case AGENT_IDLE:
			session_quit(&worker->kept);
			if (is_surplus(worker, true))
				return;
			break;
		case AGENT_CLOSED: return;
		}
	}
}

static void *
worker_run(void *argument)
{
	struct worker *worker = argument;
	struct pool   *pool = worker->pool;
	struct error   error = ERROR_NONE;
	int64_t        pause_ms = RECONNECT_MS;

	while (!atomic_load(&pool->is_draining)) {
		int64_t begin_ms = clock_monotonic_ms();

		if (worker_connect(worker, &error)) {
			pause_ms = RECONNECT_MS;
			serve(worker);
			worker_disconnect(worker);
			session_quit(&worker->kept);
			if (clock_monotonic_ms() - begin_ms >= BRIEF_MS)
				continue;
			pause_ms = BRIEF_MS;
		}
		agent_close(&worker->channel);
		if (pause_ms == RECONNECT_MOST)
			log_debug("qmgr cannot be reached: %s", error.text);
		/* wakes up at once when the daemon drains */
		struct pollfd drain = { .fd = pool->context->drain_fd, .events = POLLIN };
		poll(&drain, 1, (int)pause_ms);
		pause_ms = pause_ms * 2 > RECONNECT_MOST ? RECONNECT_MOST : pause_ms * 2;
	}
	return NULL;
}

static void *
lent_run(void *argument)
{
	struct worker *worker = argument;
	struct pool   *pool = worker->pool;
	struct error   error = ERROR_NONE;

	if (worker_connect(worker, &error))
		serve(worker);
	worker_disconnect(worker);
	session_quit(&worker->kept);
	pthread_detach(pthread_self());
	mutex_lock(&pool->lock);
	list_remove(&worker->in_lent);
	pool->lent_count--;
	condition_signal(&pool->is_returned);
	mutex_unlock(&pool->lock);
	mutex_destroy(&worker->lock);
	free(worker);
	return NULL;
}

/* A worker needs a channel, a connection and now and then a file; qmgr has a descriptor for each.
 */
static size_t
lent_limit(const struct smtp_agent *agent, size_t own)
{
	size_t most = (size_t)agent->parameters->smtp_silent_limit;
	size_t files = file_descriptors_most();
	size_t part = files < FILES_FEW ? files / 16 : files / 4;
	size_t may = part > own ? part - own : 0;

	return most < may ? most : may;
}

static void
pool_init(struct pool *pool, struct smtp_agent *agent, const struct daemon_context *context,
          size_t places)
{
	*pool = (struct pool){ .agent = agent,
		               .context = context,
		               .places = places,
		               .lent_most = lent_limit(agent, places) };
	mutex_init(&pool->lock);
	condition_init(&pool->is_left);
	condition_init(&pool->is_returned);
	list_init(&pool->lent);
	agent->pool = pool;
	agent->tell_silence = silence_told;
	agent->take_place = place_take;
	agent->leave_place = place_leave;
}

/* Ends the lent workers; those of its own are gone. */
static void
pool_end(struct pool *pool)
{
	mutex_lock(&pool->lock);
	while (pool->lent_count > 0)
		condition_wait(&pool->is_returned, &pool->lock);
	mutex_unlock(&pool->lock);
	condition_destroy(&pool->is_returned);
	condition_destroy(&pool->is_left);
	mutex_destroy(&pool->lock);
	pool->agent->tell_silence = NULL;
	pool->agent->take_place = pool->agent->leave_place = NULL;
}

static void
pool_drain(struct pool *pool, struct worker *workers, size_t count)
{
	atomic_store(&pool->is_draining, true);
	for (size_t i = 0; i < count; i++)
		worker_drain(&workers[i]);
	mutex_lock(&pool->lock);
	LIST_EACH (node, &pool->lent)
		worker_drain(CONTAINER_OF(node, struct worker, in_lent));
	mutex_unlock(&pool->lock);
}

int
smtp_run(struct smtp_agent *agent, const struct daemon_context *context)
{
	struct pool    pool;
	size_t         count = context->thread_limit > 0 ? context->thread_limit : 1, started = 0;
	struct worker *workers = calloc(count, sizeof(*workers));
	struct pollfd  drain = { .fd = context->drain_fd, .events = POLLIN };

	if (workers == NULL)
		return 1;
	pool_init(&pool, agent, context, count);
	for (; started < count; started++) {
		struct worker *worker = &workers[started];

		worker->pool = &pool;
		mutex_init(&worker->lock);
		if (thread_start(&worker->thread, worker_run, worker) != 0)
			break;
	}
	if (started < count)
		log_warning("only %zu of %zu threads could be started", started, count);
	while (started > 0 && poll(&drain, 1, -1) <= 0)
		;
	pool_drain(&pool, workers, started);
	for (size_t i = 0; i < started; i++) {
		pthread_join(workers[i].thread, NULL);
		mutex_destroy(&workers[i].lock);
	}
	pool_end(&pool);
	free(workers);
	return started > 0 ? 0 : EX_TEMPFAIL;
}
