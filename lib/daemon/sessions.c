/* sessions.c - the workers, the main thread's timers, and the drain. See sessions.h. */
#include "lib/daemon/sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"

#define TICK_MS           1000  /* how late a timeout may come */
#define QUIET_AFTER_MS    60000 /* without sessions: later still, but fewer wake-ups */
#define WORKER_IDLE_MS    30000 /* a worker without work for so long goes */
#define WORKERS_KEPT      2
#define LISTENER_PAUSE_MS 100  /* without descriptors */
#define THREAD_PAUSE_MS   200  /* without any worker */
#define GRACE_MS          2000 /* after the drain's deadline, for threads to come back */
#define DESCRIPTORS_KEPT  64   /* for tables, channels to other daemons, spool files */
#define TRIM_AFTER        200  /* ended sessions, then memory is given back */

static void *worker_run(void *argument);

/* ---- threads ---- */

static void
worker_start(struct pool *pool)
{
	pthread_t thread;

	mutex_lock(&pool->lock);
	bool may = pool->worker_count < pool->core->context.thread_limit;
	if (may)
		pool->worker_count++;
	mutex_unlock(&pool->lock);
	if (!may)
		return;
	if (thread_start(&thread, worker_run, pool) == 0) {
		pthread_detach(thread);
		return;
	}
	mutex_lock(&pool->lock);
	pool->worker_count--;
	mutex_unlock(&pool->lock);
}

/* Without any, nobody would start the next one: the main thread tries until there is room. */
static bool
worker_start_first(struct pool *pool)
{
	mutex_lock(&pool->lock);
	bool is_any = pool->worker_count > 0;
	mutex_unlock(&pool->lock);
	if (!is_any)
		worker_start(pool);
	mutex_lock(&pool->lock);
	is_any = pool->worker_count > 0;
	mutex_unlock(&pool->lock);
	return is_any;
}

/* ---- workers ---- */

static bool
worker_may_go(struct pool *pool)
{
	mutex_lock(&pool->lock);
	bool may = pool->worker_count > WORKERS_KEPT;
	if (may)
		pool->worker_count--;
	mutex_unlock(&pool->lock);
	return may;
}

/* False when the worker is to end. */
static bool
worker_step(struct pool *pool)
{
	struct epoll_event event;

	atomic_fetch_add(&pool->waiting, 1);
	int  ready = epoll_wait(pool->epoll_fd, &event, 1, WORKER_IDLE_MS);
	bool is_last = atomic_fetch_sub(&pool->waiting, 1) == 1;
	if (ready == 0)
		return !worker_may_go(pool);
	if (ready < 0)
		return true; /* EINTR */
	struct item *item = event.data.ptr;
	if (item->kind == ITEM_STOP) {
		mutex_lock(&pool->lock);
		pool->worker_count--;
		condition_signal(&pool->worker_gone);
		mutex_unlock(&pool->lock);
		return false;
	}
	if (is_last)
		worker_start(pool);
	atomic_fetch_add(&pool->core->busy, 1);
	if (item->kind == ITEM_LISTENER)
		port_serve(pool, (struct port *)item);
	else
		seat_resume(pool, (struct seat *)item);
	atomic_fetch_sub(&pool->core->busy, 1);
	return true;
}

static void *
worker_run(void *argument)
{
	while (worker_step(argument))
		;
	return NULL;
}

/* ---- the main thread: timers, drain, memory ---- */

/* Kicks what is overdue; gives the time of the next look. */
static int64_t
timers_run(struct pool *pool, int64_t now)
{
	int64_t next = now + 60000;

	mutex_lock(&pool->lock);
	for (;;) {
		struct heap_node *first = heap_first(&pool->timers);

		if (first == NULL)
			break;
		if (first->when > now) {
			next = first->when;
			break;
		}
		struct seat *seat = CONTAINER_OF(first, struct seat, timer);
		if (!seat->is_parked)
			heap_move(&pool->timers, first, now + KICK_AGAIN_MS);
		else if (seat->kick != KICK_NONE) {
			heap_move(&pool->timers, first, now + KICK_AGAIN_MS);
			stream_shutdown(seat->stream);
		} else if (seat->due_ms > now)
			heap_move(&pool->timers, first, seat->due_ms);
		else
			seat_kick_locked(pool, seat, KICK_TIMEOUT);
	}
	/* A session parked meanwhile may be due earlier: never look away for long. */
	if (pool->seat_count > 0)
		pool->active_ms = now;
	if (now - pool->active_ms < QUIET_AFTER_MS && next > now + TICK_MS)
		next = now + TICK_MS;
	pool->look_ms = next;
	mutex_unlock(&pool->lock);
	return next;
}

static void
ports_resume(struct pool *pool)
{
	if (!atomic_exchange(&pool->is_port_paused, false))
		return;
	for (size_t i = 0; i < pool->port_count; i++) {
		mutex_lock(&pool->lock);
		bool is_paused = pool->ports[i].is_paused;
		pool->ports[i].is_paused = false;
		mutex_unlock(&pool->lock);
		if (is_paused)
			port_arm(pool, &pool->ports[i], EPOLL_CTL_MOD);
	}
}

static void
memory_return(struct pool *pool)
{
	mutex_lock(&pool->lock);
	bool is_worthwhile = pool->ended >= TRIM_AFTER;
	if (is_worthwhile)
		pool->ended = 0;
	mutex_unlock(&pool->lock);
	if (is_worthwhile)
		malloc_trim(0);
}

/* Every parked session goes to a worker, which ends it if it may end. */
static void
drain_kick(struct pool *pool, bool is_expired)
{
	mutex_lock(&pool->lock);
	pool->is_draining = true;
	pool->is_expired = is_expired;
	LIST_EACH (node, &pool->seats) {
		struct seat *seat = CONTAINER_OF(node, struct seat, link);

		if (seat->is_parked && (is_expired || seat->phase != PHASE_FLUSH))
			seat_kick_locked(pool, seat, KICK_DRAIN);
		else if (is_expired)
			stream_shutdown(seat->stream);
	}
	mutex_unlock(&pool->lock);
}

static size_t
seats_left(struct pool *pool)
{
	mutex_lock(&pool->lock);
	size_t count = pool->seat_count;
	mutex_unlock(&pool->lock);
	return count;
}

/*
 * Master owns the sockets and keeps them. If it is dead, a port that we held until our last session
 * ends could not be bound by the next master. The numbers stay taken, since a worker may be in
 * accept() right now.
 */
static void
ports_leave(struct pool *pool)
{
	for (size_t i = 0; i < pool->port_count; i++) {
		int fd = pool->ports[i].listener->fd;

		epoll_ctl(pool->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		if (dup3(pool->stop_fd, fd, O_CLOEXEC) < 0)
			log_warning("%s stays bound until the last session ends",
			            pool->ports[i].listener->address);
	}
}

static void
sessions_drain(struct pool *pool)
{
	ports_leave(pool);
	while (seats_left(pool) > 0 &&
	       clock_monotonic_ms() < daemon_drain_deadline_ms(&pool->core->context)) {
		/* At a stop at once; after a reload perhaps later, when the stop comes. */
		if (!pool->is_draining && !atomic_load(&pool->core->drain_keeps_idle))
			drain_kick(pool, false);
		timers_run(pool, clock_monotonic_ms());
		control_wait(pool->core, 50);
	}
	if (seats_left(pool) == 0)
		return;
	drain_kick(pool, true);
	int64_t until = clock_monotonic_ms() + GRACE_MS;
	while (seats_left(pool) > 0 && clock_monotonic_ms() < until)
		control_wait(pool->core, 20);
}

/* Whether all workers came back. */
static bool
workers_stop(struct pool *pool)
{
	uint64_t one = 1;
	int64_t  until = clock_monotonic_ms() + GRACE_MS;
	ssize_t  written = write(pool->stop_fd, &one, sizeof(one));

	(void)written;
	mutex_lock(&pool->lock);
	while (pool->worker_count > 0 &&
	       condition_wait_until(&pool->worker_gone, &pool->lock, until))
		;
	bool are_gone = pool->worker_count == 0;
	mutex_unlock(&pool->lock);
	return are_gone;
}

/* ---- the start ---- */

size_t
daemon_sessions_most(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return DESCRIPTORS_KEPT;
	size_t all = (size_t)files.rlim_cur;
	/* With few of them, sessions must leave enough for each other's files and channels. */
	size_t few = all / 4;
	return all > DESCRIPTORS_KEPT + few ? all - DESCRIPTORS_KEPT : few;
}

static bool
pool_open(struct pool *pool, struct daemon_core *core)
{
	pool->core = core;
	pool->daemon = core->daemon;
	pool->session_limit = core->daemon->session_limit(&core->context);
	if (pool->session_limit > daemon_sessions_most())
		pool->session_limit = daemon_sessions_most();
	pool->stop.kind = ITEM_STOP;
	pool->active_ms = clock_monotonic_ms();
	mutex_init(&pool->lock);
	condition_init(&pool->worker_gone);
	list_init(&pool->seats);
	uint32_t start = random_below(NUMBER_MOST - NUMBER_LEAST);
	atomic_store(&pool->next_number, start);
	pool->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	pool->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	core->wake_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pool->spare_fd = fcntl(pool->stop_fd, F_DUPFD_CLOEXEC, 0);
	pool->ports = calloc(core->listeners.count + 1, sizeof(*pool->ports));
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &pool->stop };
	if (pool->epoll_fd < 0 || pool->stop_fd < 0 || core->wake_event < 0 ||
	    pool->ports == NULL ||
	    epoll_ctl(pool->epoll_fd, EPOLL_CTL_ADD, pool->stop_fd, &event) != 0)
		return false;
	for (; pool->port_count < core->listeners.count; pool->port_count++) {
		struct port *port = &pool->ports[pool->port_count];

		port->item.kind = ITEM_LISTENER;
		port->listener = &core->listeners.items[pool->port_count];
		if (!port->listener->is_unix) {
			int on = 1; /* accepted sockets inherit both */
			setsockopt(port->listener->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			setsockopt(port->listener->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		}
		port_arm(pool, port, EPOLL_CTL_ADD);
	}
	return true;
}

static void
pool_free(struct pool *pool)
{
	close(pool->epoll_fd);
	close(pool->stop_fd);
	if (pool->spare_fd >= 0)
		close(pool->spare_fd);
	free(pool->ports);
	heap_free(&pool->timers);
	condition_destroy(&pool->worker_gone);
	mutex_destroy(&pool->lock);
	free(pool);
}

int
sessions_run(struct daemon_core *core)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (pool == NULL || !pool_open(pool, core)) {
		log_error("sessions: out of memory or descriptors");
		free(pool);
		return 1;
	}
	while (!daemon_is_draining(&core->context)) {
		bool    is_served = worker_start_first(pool);
		int64_t now = clock_monotonic_ms();
		int64_t next = timers_run(pool, now);

		if (!is_served && next > now + THREAD_PAUSE_MS)
			next = now + THREAD_PAUSE_MS;
		if (atomic_load(&pool->is_port_paused) && next > now + LISTENER_PAUSE_MS)
			next = now + LISTENER_PAUSE_MS;
		control_wait(core, next - now);
		ports_resume(pool);
		memory_return(pool);
	}
	sessions_drain(pool);
	/* A thread that hangs in something else's call keeps its memory until the process ends. */
	if (workers_stop(pool))
		pool_free(pool);
	return 0;
}
