/* seat.c - one session: parked, resumed, run through its phases, ended. See sessions.h. */
#include "lib/daemon/sessions.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"

#define LINGER_MS      3
#define QUICK_MS       4            /* an answer within this time makes lingering worthwhile */
#define READS_IN_A_ROW 16           /* full reads before others get their turn */
#define FULL_READ      8192         /* so much at once, and more is likely there */
#define HELD_MOST      (16u * 1024) /* answers of a pipelining client that go together */

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

void
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

void
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
void
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

void
seat_flush_then(struct seat *seat, enum phase after)
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
		seat_flush_then(seat, PHASE_TLS_START);
		return RUN_ON;
	}
	switch (next) {
	case SESSION_AGAIN:
		/* The next of several commands; answers go together. One call that takes nothing is
		 * fine (the end of a long reply), a second would be an endless loop. */
		if (left > 0 && (has_moved || !has_stalled)) {
			seat->has_stalled = !has_moved;
			if (stream_output_held(seat->stream) >= HELD_MOST)
				seat_flush_then(seat, PHASE_CALL);
			return RUN_ON;
		}
		seat_flush_then(seat, PHASE_READ);
		return RUN_ON;
	case SESSION_WAIT: seat_flush_then(seat, PHASE_READ); return RUN_ON;
	case SESSION_CONTINUE: seat_flush_then(seat, PHASE_CALL); return RUN_ON;
	case SESSION_PAUSE: seat_flush_then(seat, PHASE_PAUSE); return RUN_ON;
	case SESSION_CLOSE: seat_flush_then(seat, PHASE_CLOSE); return RUN_ON;
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
	if (!seat->handshake->start(tls, seat->stream, &error)) {
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

	switch (seat->handshake->go_on(seat->stream, &wants, &error)) {
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

void
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
void
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
	if (seat->phase == PHASE_PAUSE && kick == KICK_NONE) {
		/* Nothing was waited for: the socket is ready because it is broken. */
		seat_end(pool, seat, SESSION_END_LOST);
		return;
	}
	if (seat->phase == PHASE_PAUSE && kick == KICK_TIMEOUT) {
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
