/*
 * sessions.h - what seat.c (one session), port.c (listeners) and sessions.c (workers and the main
 * loop) share. Nobody else includes it.
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
#ifndef DAKIYA_DAEMON_SESSIONS_H
#define DAKIYA_DAEMON_SESSIONS_H

#include <sys/epoll.h>

#include "lib/base/heap.h"
#include "lib/base/list.h"
#include "lib/base/mutex.h"
#include "lib/daemon/core.h"

#define KICK_AGAIN_MS 5000       /* a kicked session whose socket is full is shut down */
#define NUMBER_LEAST  (1u << 23) /* above every process id */
#define NUMBER_MOST   0x7fffffffu

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

/* handshake.c: TLS, as far as sessions use it. */
struct handshake {
	bool (*start)(struct tls_server *server, struct stream *stream, struct error *error);
	enum stream_result (*go_on)(struct stream *stream, short *wants, struct error *error);
};

struct seat { /* one session */
	struct item             item;
	enum phase              phase;
	enum phase              after;
	enum kick               kick; /* set while parked, under the lock */
	bool                    is_parked;
	bool                    is_in_epoll;
	bool                    is_ready;    /* the socket has input: no need to ask */
	bool                    is_quick;    /* the client answers fast */
	bool                    is_renewed;  /* the next call earns new time, input or not */
	bool                    has_stalled; /* the last call took nothing and wants another */
	unsigned                reads;       /* full reads since it last waited */
	struct heap_node        timer;
	struct list_node        link; /* in pool->seats */
	int64_t                 due_ms;
	int64_t                 parked_ms;
	uint64_t                number;
	struct stream          *stream;
	struct tls_server      *tls; /* handshake asked for */
	const struct handshake *handshake;
	void                   *session;
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
	int     spare_fd; /* to tell one that connects that there is none; -1 = it is used up */
	size_t  worker_count;
	size_t  ended;       /* since memory was last given back */
	int64_t active_ms;   /* when there was a session last */
	int64_t look_ms;     /* when the main thread looks at the timers next */
	bool    is_draining; /* idle sessions are to end */
	bool    is_expired;  /* the drain's deadline has passed */
};

/* ---- seat.c ---- */

/* Runs a session that is the caller's until it is parked or over. */
void seat_run(struct pool *pool, struct seat *seat);
/* A parked session comes back: because of its socket, or kicked. */
void seat_resume(struct pool *pool, struct seat *seat);
/* Its time counts anew. */
void seat_renew(struct pool *pool, struct seat *seat);
/* Gets rid of output first when there is any. */
void seat_flush_then(struct seat *seat, enum phase after);
/* Ends and frees it. */
void seat_end(struct pool *pool, struct seat *seat, enum session_end why);
/* Under the lock, on a parked session: epoll hands it to a worker. */
void seat_kick_locked(struct pool *pool, struct seat *seat, enum kick kick);

/* ---- port.c ---- */

/* Arms a listener for one event; operation is EPOLL_CTL_ADD or _MOD. */
void port_arm(struct pool *pool, struct port *port, int operation);
/* Accepts one connection and runs its session. */
void port_serve(struct pool *pool, struct port *port);

#endif
