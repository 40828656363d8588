/*
 * daemon.h - the skeleton of every daemon: a room's main.c fills in a struct daemon, no more.
 *
 * daemon_main receives listeners, snapshot and log from master on descriptor 3, lets the room
 * open what it needs, then closes every door: identity, no_new_privs, landlock, seccomp. After
 * that it runs sessions (parked in epoll between commands, worked on by threads) or the room's
 * own loop, answers the watchdog, and drains when master says so.
 */
#ifndef DAKIYA_DAEMON_DAEMON_H
#define DAKIYA_DAEMON_DAEMON_H

#include <sys/socket.h>

#include "lib/base/error.h"
#include "lib/conf/snapshot.h"
#include "lib/io/stream.h"

enum daemon_identity {
	RUNS_AS_NET,  /* net_owner (dakiya-net): talks to the network, owns nothing */
	RUNS_AS_MAIL, /* mail_owner (dakiya): the queue */
	RUNS_AS_AUTH, /* auth_owner (dakiya-auth): credentials */
	RUNS_AS_DNS,  /* dns_owner (dakiya-dns) */
	RUNS_AS_ROOT, /* local's parent only */
	RUNS_AS_IS,   /* local's children, which were given their uid before exec */
};

/* What the sandbox leaves open beside reading, writing, threads, clocks and memory. */
enum sandbox_door {
	DOOR_ACCEPT = 1 << 0,        /* accept on inherited listeners */
	DOOR_UNIX_CONNECT = 1 << 1,  /* connect to the suite's Unix sockets */
	DOOR_INET_CONNECT = 1 << 2,  /* TCP out */
	DOOR_INET_DATAGRAM = 1 << 3, /* UDP out (resolver) */
	DOOR_FILE_READ = 1 << 4,     /* open files below `readable` for reading */
	DOOR_FILE_WRITE = 1 << 5,    /* create, write, rename, remove below `writable` */
	DOOR_FORK_EXEC = 1 << 6,     /* local's parent */
	DOOR_SOCKETPAIR = 1 << 7,
};

struct daemon_context {
	const char              *service; /* master.cf name */
	const struct snapshot   *snapshot;
	const struct parameters *parameters;
	size_t                   thread_limit; /* maxproc column */
	bool                     is_unprivileged;
	void                    *room;      /* what prepare made */
	const struct listener   *listeners; /* for rooms with their own loop */
	size_t                   listener_count;
	/* Readable when master asks to drain or is gone; for rooms with their own loop. */
	int drain_fd;
};

struct listener {
	int         fd;
	const char *address; /* as in master.cf */
};

/* What a session's input function wants next. */
enum session_next {
	SESSION_AGAIN, /* call me again if more input is buffered, otherwise wait for it */
	SESSION_WAIT,  /* what is buffered is not a whole command: wait for more */
	SESSION_CLOSE, /* flush what is to be sent and close */
	/* Flush, leave input alone for session_timeout ms (a penalty that holds no thread), then
	 * call me again, input or not. */
	SESSION_PAUSE,
};
/* Why a session is over when the room did not ask for it. */
enum session_end {
	SESSION_END_CLOSED,  /* SESSION_CLOSE */
	SESSION_END_LOST,    /* the peer closed or reset */
	SESSION_END_TIMEOUT, /* nothing came within the session's timeout */
	SESSION_END_DRAIN,   /* the daemon stops */
	SESSION_END_REFUSED, /* too many sessions: the room sends its 421 in session_refuse */
};

struct session_peer {
	struct sockaddr_storage client;
	struct sockaddr_storage server;
	const struct listener  *listener;
	uint64_t                number; /* of this session, for log_set_session; never 0 */
};

struct daemon {
	const char          *name; /* log name: smtpd */
	enum daemon_identity identity;
	unsigned             doors; /* DOOR_* */
	/* Landlock: paths, or "$parameter" for a parameter's value (a directory, or the
	 * directories of the tables that it names). NULL-terminated; may be NULL. */
	const char *const *readable;
	const char *const *writable;

	/* Before the doors close: open tables, keys, directories; *context->room is the room's. */
	bool (*prepare)(struct daemon_context *context, struct error *error);

	/* Session rooms (smtpd, pop3d, authd, mailbox worker): all three, or none. */
	void *(*session_begin)(struct daemon_context *context, struct stream *stream,
	                       const struct session_peer *peer); /* NULL: close at once */
	enum session_next (*session_input)(void *session);
	void (*session_end)(void *session, enum session_end why); /* frees it; not the stream */
	/* How long to wait for input from now on, in ms. */
	int64_t (*session_timeout)(void *session);
	/* Too many sessions, or draining: what to write before closing; may be NULL. */
	const char *session_refusal;
	/* Most sessions, parked or not; 0 = no sessions. */
	size_t (*session_limit)(const struct daemon_context *context);

	/* Rooms with their own loop (qmgr, resolver, smtp, local): returns the exit status once
	 * drain_fd is readable and what must be finished is. NULL for session rooms. */
	int (*run)(struct daemon_context *context);
	/* A second loop beside sessions, in a thread of its own; may be NULL. */
	void *(*side_thread)(void *context);
};

int daemon_main(const struct daemon *daemon, int argc, char **argv);

/* For a session whose transport changes or that moves by itself (TLS handshake by the daemon). */
struct tls_server;
/*
 * Asks the daemon to do the server handshake on this session's stream before more input; also from
 * session_begin (wrapper mode). When it is done session_input is called once, input or not; when it
 * fails the session ends (SESSION_END_LOST). Flush what is to go out in clear before.
 */
void session_start_tls(void *session, struct stream *stream, struct tls_server *server);

#endif
