/* threads.c - for rooms with their own loop: waiting, draining, and threads that end with it. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mutex.h"
#include "lib/daemon/core.h"

struct memory *
daemon_memory(const struct daemon_context *context)
{
	return context->core == NULL ? NULL : context->core->memory;
}

bool
daemon_is_draining(const struct daemon_context *context)
{
	return atomic_load(&context->core->is_draining);
}

int64_t
daemon_drain_deadline_ms(const struct daemon_context *context)
{
	return daemon_is_draining(context) ? atomic_load(&context->core->drain_deadline_ms)
	                                   : INT64_MAX;
}

enum daemon_wait
daemon_wait(const struct daemon_context *context, int fd, short events, int64_t deadline_ms)
{
	for (;;) {
		struct pollfd two[] = { { .fd = fd, .events = events },
			                { .fd = context->core->drain_event, .events = POLLIN } };
		int64_t       left = deadline_ms - clock_monotonic_ms();

		if (left < 0)
			left = 0;
		int ready = poll(two, 2, left > 60000 ? 60000 : (int)left);
		if (ready > 0 && two[0].revents != 0)
			return DAEMON_WAIT_READY;
		if (ready > 0)
			return DAEMON_WAIT_DRAIN;
		if (ready == 0 && left <= 60000)
			return DAEMON_WAIT_TIMEOUT;
	}
}

struct worker {
	struct daemon_context *context;
	size_t                 index;
	void (*work)(struct daemon_context *context, size_t index);
};

static void *
worker_run(void *argument)
{
	struct worker *worker = argument;

	worker->work(worker->context, worker->index);
	return NULL;
}

int
daemon_run_threads(struct daemon_context *context, size_t count,
                   void (*work)(struct daemon_context *context, size_t index))
{
	struct worker *workers = calloc(count, sizeof(*workers));
	pthread_t     *threads = calloc(count, sizeof(*threads));
	size_t         started = 0;

	if (workers == NULL || threads == NULL) {
		log_error("out of memory");
		free(workers);
		free(threads);
		return 1;
	}
	for (; started < count; started++) {
		workers[started] = (struct worker){ context, started, work };
		int result = thread_start(&threads[started], worker_run, &workers[started]);
		if (result != 0) {
			log_warning("only %zu of %zu threads could be started (error %d)", started,
			            count, result);
			break;
		}
	}
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	free(workers);
	free(threads);
	return started > 0 ? 0 : EX_TEMPFAIL;
}

void
daemon_control(struct daemon_context *context)
{
	control_read(context->core);
}

void
daemon_tell_alive(struct daemon_context *context)
{
	control_tell_alive(context->core, clock_monotonic_ms());
}

void
daemon_want(struct daemon_context *context, const char *service)
{
	struct daemon_core *core = context->core;
	uint64_t            one = 1;

	mutex_lock(&core->wanted_lock);
	/* Whoever does not get in asks again. */
	if (core->wanted.length + strlen(service) < core->wanted.limit) {
		buf_append_text(&core->wanted, service);
		buf_append_byte(&core->wanted, '\0');
	}
	mutex_unlock(&core->wanted_lock);
	if (write(core->wake_event, &one, sizeof(one)) != (ssize_t)sizeof(one))
		log_debug("the control thread is awake already");
}

void
daemon_count(const struct daemon_context *context, int sessions, int busy)
{
	atomic_fetch_add(&context->core->sessions, sessions);
	atomic_fetch_add(&context->core->busy, busy);
	if (sessions > 0)
		atomic_fetch_add(&context->core->sessions_total, (uint64_t)sessions);
}
