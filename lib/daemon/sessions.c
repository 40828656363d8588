/*
 * sessions.c - many conversations on few threads: parked in epoll while they wait, run by a worker
 * when there is something to do.
 *
 * A session belongs to the worker that runs it, from the epoll event (one-shot, so exactly one
 * worker gets it) until park() arms it again. While it is parked it belongs to the pool's lock:
 * the main thread may then kick it (timeout, drain), which makes epoll hand it to a worker. Only
 * its worker frees it, so an event never points to freed memory.
 *
 * A command costs three system calls when the client answers fast (poll, recv, send: the worker
 * lingers while other workers are idle) and four when it does not (epoll_wait, recv, send,
 * epoll_ctl). Timers cost none: a session's node in the heap is moved only when it comes up.
 */
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/list.h"
#include "lib/base/mutex.h"
#include "lib/base/random.h"
#include "lib/daemon/core.h"
#include "lib/tls/tls.h"

#define TICK_MS           1000  /* how late a timeout may come */
#define QUIET_AFTER_MS    60000 /* without sessions: later still, but fewer wake-ups */
#define LINGER_MS         3
#define QUICK_MS          4     /* an answer within this time makes lingering worthwhile */
#define READS_IN_A_ROW    16    /* full reads before others get their turn */
#define WORKER_IDLE_MS    30000 /* a worker without work for so long goes */
#define WORKERS_KEPT      2
#define LISTENER_PAUSE_MS 1000         /* without descriptors */
#define KICK_AGAIN_MS     5000         /* a kicked session whose socket is full is shut down */
#define GRACE_MS          2000         /* after the drain's deadline, for threads to come back */
#define FULL_READ         8192         /* so much at once, and more is likely there */
#define HELD_MOST         (16u * 1024) /* answers of a pipelining client that go together */
#define DESCRIPTORS_KEPT  64           /* for tables, channels to other daemons, spool files */
#define TRIM_AFTER        200          /* ended sessions, then memory is given back */
#define NUMBER_LEAST      (1u << 23)   /* above every process id */
#define NUMBER_MOST       0x7fffffffu

/* What a session does next. */
enum phase {
	PHASE_READ,  /* wait for input, read it */
	PHASE_CALL,  /* call session_input */
	PHASE_FLUSH, /* get rid of output, then `after` */
	PHASE_TLS_START,
	PHASE_TLS,   /* handshake */
	PHASE_PAUSE, /* nothing until the time is up */
	PHASE_CLOSE,
};

enum kick { KICK_NONE, KICK_TIMEOUT, KICK_DRAIN };

enum item_kind { ITEM_LISTENER, ITEM_SESSION, ITEM_STOP };

struct item { /* what epoll's data points to */
	enum item_kind kind;
};

struct seat { /* one session */
	struct item        item;
	enum phase         phase;
	enum phase         after;
	enum kick          kick; /* set while parked, under the lock */
	bool               is_parked;
	bool               is_in_epoll;
	bool               is_ready;    /* the socket has input: no need to ask */
	bool               is_quick;    /* the client answers fast */
	bool               is_renewed;  /* the next call earns new time, input or not */
	bool               has_stalled; /* the last call took nothing and wants another */
	unsigned           reads;       /* full reads since it last waited */
	struct heap_node   timer;
	struct list_node   link; /* in pool->seats */
	int64_t            due_ms;
	int64_t            parked_ms;
	uint64_t           number;
	struct stream     *stream;
	struct tls_server *tls; /* handshake asked for */
	void              *session;
};

struct port { /* one listener */
	struct item            item;
	const struct listener *listener;
	bool                   is_paused;
};

struct pool {
	struct daemon_core  *core;
	const struct daemon *daemon;
	int                  epoll_fd;
	int                  stop_fd;
	struct item          stop;
	struct port         *ports;
	size_t               port_count;
	size_t               session_limit;
	_Atomic int          waiting; /* workers in epoll_wait */
	_Atomic uint32_t     next_number;
	_Atomic bool         is_port_paused;
	_Atomic int64_t      warned_ms;

	struct mutex     lock; /* guards everything below, and parked seats */
	struct condition worker_gone;
	struct heap      timers;
	struct list_node seats;
	size_t           seat_count;
	size_t           worker_count;
	size_t           ended;       /* since memory was last given back */
	int64_t          active_ms;   /* when there was a session last */
	int64_t          look_ms;     /* when the main thread looks at the timers next */
	bool             is_draining; /* idle sessions are to end */
	bool             is_expired;  /* the drain's deadline has passed */
};

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

/* ---- the end of a session ---- */

static void
seat_free(struct pool *pool, struct seat *seat)
{
	mutex_lock(&pool->lock);
	if (heap_contains(&seat->timer))
		heap_remove(&pool->timers, &seat->timer);
	list_remove(&seat->link);
	pool->seat_count--;
	pool->ended++;
	mutex_unlock(&pool->lock);
	stream_destroy(&seat->stream);
	free(seat);
	atomic_fetch_sub(&pool->core->sessions, 1);
}

static void
seat_end(struct pool *pool, struct seat *seat, enum session_end why)
{
	if (seat->session != NULL)
		pool->daemon->session_end(seat->session, why);
	/* What the room wrote in parting goes if it can go at once. */
	if (why != SESSION_END_LOST)
		stream_flush_now(seat->stream);
	seat_free(pool, seat);
	log_set_session(0);
}

/* ---- parking ---- */

static void
seat_renew(struct pool *pool, struct seat *seat)
{
	int64_t timeout = pool->daemon->session_timeout(seat->session);

	seat->due_ms = clock_monotonic_ms() + (timeout > 0 ? timeout : 0);
}

static bool
seat_is_idle(const struct pool *pool, const struct seat *seat)
{
	if (seat->phase != PHASE_READ)
		return false;
	return pool->daemon->session_is_idle == NULL ||
	       pool->daemon->session_is_idle(seat->session);
}

static bool
timer_set_locked(struct pool *pool, struct seat *seat)
{
	if (!heap_contains(&seat->timer))
		return heap_insert(&pool->timers, &seat->timer, seat->due_ms);
	if (seat->due_ms < seat->timer.when)
		heap_move(&pool->timers, &seat->timer, seat->due_ms);
	return true;
}

static void
main_wake(struct pool *pool)
{
	uint64_t one = 1;

	if (write(pool->core->wake_event, &one, sizeof(one)) != (ssize_t)sizeof(one))
		log_debug("the main thread is awake already");
}

/*
 * Gives the session back to epoll. False when it must end instead (drain): then it is still the
 * worker's. After true nothing of it may be touched.
 */
static bool
seat_park(struct pool *pool, struct seat *seat, short events)
{
	struct epoll_event event = { .events = EPOLLONESHOT, .data.ptr = seat };
	bool               is_idle = seat_is_idle(pool, seat);

	if ((events & POLLIN) != 0)
		event.events |= EPOLLIN;
	if ((events & POLLOUT) != 0)
		event.events |= EPOLLOUT;
	stream_trim(seat->stream);
	seat->reads = 0;
	seat->parked_ms = clock_monotonic_ms();
	bool is_early = false;
	mutex_lock(&pool->lock);
	bool may = !(pool->is_expired || (pool->is_draining && is_idle)) &&
	           timer_set_locked(pool, seat);
	if (may) {
		seat->is_parked = true;
		seat->kick = KICK_NONE;
		may = epoll_ctl(pool->epoll_fd, seat->is_in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
		                stream_fd(seat->stream), &event) == 0;
		if (may)
			seat->is_in_epoll = true;
		else
			seat->is_parked = false;
		/* Timeouts may come late by a tick; pauses are short and may not. */
		is_early = may && seat->phase == PHASE_PAUSE && seat->due_ms < pool->look_ms;
		if (is_early)
			pool->look_ms = seat->due_ms;
	}
	mutex_unlock(&pool->lock);
	if (is_early)
		main_wake(pool);
	return may;
}

/* Under the lock, on a parked session: epoll hands it to a worker. */
static void
seat_kick_locked(struct pool *pool, struct seat *seat, enum kick kick)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLONESHOT,
		                     .data.ptr = seat };

	seat->kick = kick;
	heap_move(&pool->timers, &seat->timer, clock_monotonic_ms() + KICK_AGAIN_MS);
	/* One that cannot send is waited for no longer: shut down, its socket is always ready. */
	if (seat->phase == PHASE_FLUSH)
		stream_shutdown(seat->stream);
	epoll_ctl(pool->epoll_fd, EPOLL_CTL_MOD, stream_fd(seat->stream), &event);
}

/* Waits a moment for a client that answers fast, when nobody else needs this thread. */
static bool
seat_linger(struct pool *pool, struct seat *seat)
{
	struct pollfd one = { .fd = stream_fd(seat->stream), .events = POLLIN };

	if (!seat->is_quick || atomic_load_explicit(&pool->waiting, memory_order_relaxed) == 0 ||
	    pool->core->is_draining)
		return false;
	seat->is_quick = poll(&one, 1, LINGER_MS) > 0;
	return seat->is_quick;
}

/* ---- running ---- */

enum run { RUN_ON, RUN_PARKED, RUN_ENDED };

static enum run
park_or_end(struct pool *pool, struct seat *seat, short events)
{
	if (seat_park(pool, seat, events))
		return RUN_PARKED;
	seat_end(pool, seat, SESSION_END_DRAIN);
	return RUN_ENDED;
}

static enum run
end(struct pool *pool, struct seat *seat, enum session_end why)
{
	seat_end(pool, seat, why);
	return RUN_ENDED;
}

static enum run
phase_read(struct pool *pool, struct seat *seat)
{
	if (!seat->is_ready && !stream_transport_has_pending(seat->stream) &&
	    !seat_linger(pool, seat))
		return park_or_end(pool, seat, POLLIN);
	seat->is_ready = false;
	size_t             before = stream_input(seat->stream).length;
	enum stream_result result = stream_fill_now(seat->stream);
	switch (result) {
	case STREAM_OK:
		seat->is_ready = stream_input(seat->stream).length - before >= FULL_READ &&
		                 ++seat->reads < READS_IN_A_ROW;
		seat->phase = PHASE_CALL;
		return RUN_ON;
	case STREAM_AGAIN: return park_or_end(pool, seat, stream_wants(seat->stream));
	case STREAM_FULL:
		log_warning("a session's input grew beyond its limit");
		return end(pool, seat, SESSION_END_LOST);
	case STREAM_EOF:
	case STREAM_TIMEOUT:
	case STREAM_ERROR: return end(pool, seat, SESSION_END_LOST);
	}
	return end(pool, seat, SESSION_END_LOST);
}

static void
flush_then(struct seat *seat, enum phase after)
{
	seat->phase = stream_has_output(seat->stream) ? PHASE_FLUSH : after;
	seat->after = after;
}

static enum run
phase_call(struct pool *pool, struct seat *seat)
{
	size_t            before = stream_input(seat->stream).length;
	enum session_next next = pool->daemon->session_input(seat->session);
	size_t            left = stream_input(seat->stream).length;
	bool              has_moved = left != before;

	if (has_moved || seat->is_renewed || next == SESSION_PAUSE)
		seat_renew(pool, seat);
	seat->is_renewed = false;
	bool has_stalled = seat->has_stalled;
	seat->has_stalled = false;
	if (seat->tls != NULL) {
		flush_then(seat, PHASE_TLS_START);
		return RUN_ON;
	}
	switch (next) {
	case SESSION_AGAIN:
		/* The next of several commands; answers go together. One call that takes nothing is
		 * fine (the end of a long reply), a second would be an endless loop. */
		if (left > 0 && (has_moved || !has_stalled)) {
			seat->has_stalled = !has_moved;
			if (stream_output_held(seat->stream) >= HELD_MOST)
				flush_then(seat, PHASE_CALL);
			return RUN_ON;
		}
		flush_then(seat, PHASE_READ);
		return RUN_ON;
	case SESSION_WAIT: flush_then(seat, PHASE_READ); return RUN_ON;
	case SESSION_CONTINUE: flush_then(seat, PHASE_CALL); return RUN_ON;
	case SESSION_PAUSE: flush_then(seat, PHASE_PAUSE); return RUN_ON;
	case SESSION_CLOSE: flush_then(seat, PHASE_CLOSE); return RUN_ON;
	}
	return end(pool, seat, SESSION_END_CLOSED);
}

static enum run
phase_flush(struct pool *pool, struct seat *seat)
{
	switch (stream_flush_now(seat->stream)) {
	case STREAM_OK: seat->phase = seat->after; return RUN_ON;
	case STREAM_AGAIN:
		/* The time for all that is held counts from here. */
		seat_renew(pool, seat);
		return park_or_end(pool, seat, stream_wants(seat->stream));
	case STREAM_EOF:
	case STREAM_TIMEOUT:
	case STREAM_FULL:
	case STREAM_ERROR: break;
	}
	return end(pool, seat, seat->after == PHASE_CLOSE ? SESSION_END_CLOSED : SESSION_END_LOST);
}

static enum run
phase_tls_start(struct pool *pool, struct seat *seat)
{
	struct error       error = ERROR_NONE;
	struct tls_server *tls = seat->tls;

	seat->tls = NULL;
	stream_drop_input(seat->stream);
	if (!tls_server_start(tls, seat->stream, &error)) {
		stream_set_error(seat->stream, &error);
		return end(pool, seat, SESSION_END_LOST);
	}
	seat_renew(pool, seat);
	seat->phase = PHASE_TLS;
	return RUN_ON;
}

static enum run
phase_tls(struct pool *pool, struct seat *seat)
{
	struct error error = ERROR_NONE;
	short        wants = POLLIN;

	switch (tls_handshake(seat->stream, &wants, &error)) {
	case STREAM_OK:
		seat->is_renewed = true;
		seat->phase = PHASE_CALL;
		return RUN_ON;
	case STREAM_AGAIN: return park_or_end(pool, seat, wants);
	case STREAM_EOF:
	case STREAM_TIMEOUT:
	case STREAM_FULL:
	case STREAM_ERROR: break;
	}
	stream_set_error(seat->stream, &error);
	return end(pool, seat, SESSION_END_LOST);
}

static enum run
phase_pause(struct pool *pool, struct seat *seat)
{
	/* Not when it comes back from the pause: seat_resume has moved it on. */
	return park_or_end(pool, seat, 0);
}

static enum run
phase_close(struct pool *pool, struct seat *seat)
{
	return end(pool, seat, SESSION_END_CLOSED);
}

static void
seat_run(struct pool *pool, struct seat *seat)
{
	static enum run (*const phases[])(struct pool *, struct seat *) = {
		[PHASE_READ] = phase_read,   [PHASE_CALL] = phase_call,
		[PHASE_FLUSH] = phase_flush, [PHASE_TLS_START] = phase_tls_start,
		[PHASE_TLS] = phase_tls,     [PHASE_PAUSE] = phase_pause,
		[PHASE_CLOSE] = phase_close,
	};

	while (phases[seat->phase](pool, seat) == RUN_ON)
		;
	log_set_session(0);
}

/* A parked session comes back: because of its socket, or kicked. */
static void
seat_resume(struct pool *pool, struct seat *seat)
{
	mutex_lock(&pool->lock);
	seat->is_parked = false;
	enum kick kick = seat->kick;
	bool      is_expired = pool->is_expired;
	mutex_unlock(&pool->lock);

	log_set_session(seat->number);
	if (is_expired) {
		seat_end(pool, seat, SESSION_END_DRAIN);
		return;
	}
	if (seat->phase == PHASE_PAUSE && kick != KICK_DRAIN) {
		/* Without a kick the peer is gone; the room learns it when it is called. */
		seat->is_renewed = true;
		seat->phase = PHASE_CALL;
	} else if (kick == KICK_TIMEOUT) {
		seat_end(pool, seat, SESSION_END_TIMEOUT);
		return;
	} else if (kick == KICK_NONE) {
		seat->is_ready = seat->phase == PHASE_READ;
		seat->is_quick = clock_monotonic_ms() - seat->parked_ms <= QUICK_MS;
	}
	seat_run(pool, seat);
}

/* ---- new sessions ---- */

static uint64_t
number_next(struct pool *pool)
{
	uint32_t span = NUMBER_MOST - NUMBER_LEAST;

	return NUMBER_LEAST + atomic_fetch_add(&pool->next_number, 1) % span;
}

static void
port_arm(struct pool *pool, struct port *port, int operation)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = port };

	epoll_ctl(pool->epoll_fd, operation, port->listener->fd, &event);
}

static void
refuse(const struct pool *pool, int fd)
{
	const char *text = pool->daemon->session_refusal;

	if (text != NULL)
		send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	close(fd);
}

/* At most one line a minute about what would otherwise be said for every connection. */
static bool
may_warn(struct pool *pool)
{
	int64_t now = clock_monotonic_ms();
	int64_t last = atomic_load(&pool->warned_ms);

	return (last == 0 || now - last > 60000) &&
	       atomic_compare_exchange_strong(&pool->warned_ms, &last, now);
}

/* -1 when nobody is there (any more) or nothing can be accepted now. */
static int
port_accept(struct pool *pool, struct port *port, struct sockaddr_storage *client)
{
	socklen_t length = sizeof(*client);
	int       fd = accept4(port->listener->fd, (struct sockaddr *)client, &length,
	                       SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0 || errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) {
		port_arm(pool, port, EPOLL_CTL_MOD);
		return fd;
	}
	if (may_warn(pool))
		log_warning("accept on %s: %s; trying again every second", port->listener->address,
		            errno == EMFILE || errno == ENFILE ? "no more descriptors"
		                                               : "the system refuses");
	/* Armed again by the main thread: until then connections wait in the kernel. */
	mutex_lock(&pool->lock);
	port->is_paused = true;
	mutex_unlock(&pool->lock);
	atomic_store(&pool->is_port_paused, true);
	return -1;
}

static bool
may_serve(struct pool *pool, const struct port *port, int fd)
{
	unsigned roles = pool->daemon->session_peers;

	if (port->listener->is_unix && roles != 0 &&
	    !daemon_peer_is_allowed(&pool->core->context, fd, roles)) {
		if (may_warn(pool))
			log_warning("%s: a process connects that may not", port->listener->address);
		close(fd);
		return false;
	}
	if ((size_t)atomic_load(&pool->core->sessions) < pool->session_limit)
		return true;
	if (may_warn(pool))
		log_warning("all %zu sessions are in use: refusing more", pool->session_limit);
	refuse(pool, fd);
	return false;
}

static struct seat *
seat_create(struct pool *pool, int fd)
{
	struct seat *seat = calloc(1, sizeof(*seat));

	if (seat != NULL)
		seat->stream = stream_from_socket(fd);
	if (seat == NULL || seat->stream == NULL) {
		free(seat);
		refuse(pool, fd);
		return NULL;
	}
	seat->item.kind = ITEM_SESSION;
	seat->number = number_next(pool);
	seat->is_quick = true;
	list_init(&seat->link);
	stream_set_owner(seat->stream, seat);
	mutex_lock(&pool->lock);
	list_append(&pool->seats, &seat->link);
	pool->seat_count++;
	mutex_unlock(&pool->lock);
	atomic_fetch_add(&pool->core->sessions, 1);
	atomic_fetch_add(&pool->core->sessions_total, 1);
	return seat;
}

static void
port_serve(struct pool *pool, struct port *port)
{
	struct session_peer peer = { .listener = port->listener };
	int                 fd = port_accept(pool, port, &peer.client);
	socklen_t           length = sizeof(peer.server);

	if (fd < 0 || !may_serve(pool, port, fd))
		return;
	struct seat *seat = seat_create(pool, fd);
	if (seat == NULL)
		return;
	getsockname(fd, (struct sockaddr *)&peer.server, &length);
	peer.number = seat->number;
	log_set_session(seat->number);
	seat->session = pool->daemon->session_begin(&pool->core->context, seat->stream, &peer);
	if (seat->session == NULL) {
		seat_end(pool, seat, SESSION_END_CLOSED);
		return;
	}
	seat_renew(pool, seat);
	flush_then(seat, seat->tls != NULL ? PHASE_TLS_START : PHASE_READ);
	seat_run(pool, seat);
}

void
session_start_tls(void *session, struct stream *stream, struct tls_server *server)
{
	struct seat *seat = stream_owner(stream);

	(void)session;
	if (seat != NULL)
		seat->tls = server;
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

static void
sessions_drain(struct pool *pool)
{
	for (size_t i = 0; i < pool->port_count; i++)
		epoll_ctl(pool->epoll_fd, EPOLL_CTL_DEL, pool->ports[i].listener->fd, NULL);
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

	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur < 2 * DESCRIPTORS_KEPT)
		return DESCRIPTORS_KEPT;
	return (size_t)files.rlim_cur - DESCRIPTORS_KEPT;
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
	worker_start(pool);
	while (!daemon_is_draining(&core->context)) {
		int64_t now = clock_monotonic_ms();
		int64_t next = timers_run(pool, now);

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
