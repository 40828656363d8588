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
#include <sys/types.h>

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
	RUNS_AS_USER, /* pipe: whom its prepare named in daemon_run_as */
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

/* Who may connect to a Unix listener; the uid of the peer is compared (SO_PEERCRED). */
enum daemon_peer {
	PEER_NET = 1 << 0,
	PEER_MAIL = 1 << 1,
	PEER_AUTH = 1 << 2,
	PEER_DNS = 1 << 3,
	PEER_ROOT = 1 << 4,
};

struct daemon_core; /* what lib/daemon keeps for itself */

struct daemon_context {
	const char              *service;   /* master.cf name */
	const char              *arguments; /* of master.cf, when its program takes any */
	const struct snapshot   *snapshot;
	const struct parameters *parameters;
	size_t                   thread_limit; /* maxproc column */
	bool                     is_unprivileged;
	void                    *room; /* what prepare made */
	/* DOOR_* that the configuration asks for beside struct daemon's: set in prepare. */
	unsigned               extra_doors;
	const struct listener *listeners; /* for rooms with their own loop */
	size_t                 listener_count;
	/* Readable when master asks to drain or is gone; for rooms with their own loop. Rooms with
	 * is_single_threaded call daemon_control then, and look at daemon_is_draining. */
	int                 drain_fd;
	struct daemon_core *core;
};

struct listener {
	int         fd;      /* non-blocking */
	const char *address; /* as in master.cf */
	bool        is_unix;
};

/* What a session's input function wants next. */
enum session_next {
	SESSION_AGAIN, /* call me again if more input is buffered, otherwise wait for it */
	SESSION_WAIT,  /* what is buffered is not a whole command: wait for more */
	SESSION_CLOSE, /* flush what is to be sent and close */
	/* Call me again as soon as everything written has left, input or not: for long replies in
	 * pieces of some 32 KB, so that a slow reader costs no thread. */
	SESSION_CONTINUE,
	/* Flush, leave input alone for session_timeout ms (a penalty that holds no thread), then
	 * call me again, input or not. Not called when the peer resets meanwhile. */
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
	const char *name; /* log name: smtpd */
	/* A syslog_name that stands alone in log lines, without "/name", since readers of
	 * another suite's log know it so ("dovecot"); NULL for none. */
	const char          *bare_log_name;
	enum daemon_identity identity;
	unsigned             doors; /* DOOR_* */
	/* Landlock: paths, or "$parameter" for a parameter's value (a directory, or the
	 * directories of the tables that it names; tables that connect open that door, too).
	 * "$smtpd_restriction_classes" stands for the classes' values. NULL-terminated; may be
	 * NULL. */
	const char *const *readable;
	const char *const *writable;

	/* Before the doors close: open tables, keys, directories; *context->room is the room's. */
	bool (*prepare)(struct daemon_context *context, struct error *error);

	/* The same after the identity was changed; may be NULL. */
	bool (*prepare_as_owner)(struct daemon_context *context, struct error *error);

	/* Session rooms (smtpd, pop3d, authd, mailbox worker): all three, or none. */
	void *(*session_begin)(struct daemon_context *context, struct stream *stream,
	                       const struct session_peer *peer); /* NULL: close at once */
	enum session_next (*session_input)(void *session);
	void (*session_end)(void *session, enum session_end why); /* frees it; not the stream */
	/* How long to wait for input from now on, in ms. Counted from the last whole command: what
	 * session_input did not consume earns no new time. */
	int64_t (*session_timeout)(void *session);
	/* Whether the session is between two pieces of work, so that a drain may end it at once;
	 * otherwise it goes on until it is, or until the drain's deadline. NULL: always. */
	bool (*session_is_idle)(void *session);
	/* Unix listeners: PEER_* that may connect; 0 = whom the socket's mode lets in. */
	unsigned session_peers;
	/* Too many sessions, or draining: what to write before closing; may be NULL. */
	const char *session_refusal;
	/* Most sessions, parked or not; 0 = no sessions. */
	size_t (*session_limit)(const struct daemon_context *context);

	/* Rooms with their own loop (qmgr, resolver, smtp, local): returns the exit status once
	 * drain_fd is readable and what must be finished is. NULL for session rooms. */
	int (*run)(struct daemon_context *context);
	/* For run: no thread is started beside it (a room that forks). */
	bool is_single_threaded;
	/* A second loop beside sessions, in a thread of its own, until drain_fd is readable; may
	 * be NULL. Its argument is the context. */
	void *(*side_thread)(void *context);
};

int daemon_main(const struct daemon *daemon, int argc, char **argv);

/* The exit status of a start that failed: EX_TEMPFAIL when there was no room for a thread, a
 * descriptor or memory, so that master tries again soon; otherwise 1. */
int daemon_status(const struct error *error);

/* RUNS_AS_USER, in prepare: who it is to become, with no other group. */
void daemon_run_as(struct daemon_context *context, uid_t uid, gid_t gid);

/* How many sessions the process's limit of open files has room for; no session_limit above it
 * takes effect. */
size_t daemon_sessions_most(void);

/* How much memory is left (lib/base/memory.h), for rooms that would rather say "later". */
struct memory;
struct memory *daemon_memory(const struct daemon_context *context);

/* ---- for rooms with their own loop ---- */

/* Master asked to stop, or is gone. */
bool daemon_is_draining(const struct daemon_context *context);
/* clock_monotonic_ms until which running work may go on; INT64_MAX while not draining. */
int64_t daemon_drain_deadline_ms(const struct daemon_context *context);
enum daemon_wait { DAEMON_WAIT_READY, DAEMON_WAIT_TIMEOUT, DAEMON_WAIT_DRAIN };
/* Waits for events (POLLIN, POLLOUT) on fd, which may be -1, but not beyond a drain. */
enum daemon_wait daemon_wait(const struct daemon_context *context, int fd, short events,
                             int64_t deadline_ms);
/*
 * Runs work(context, index) in count threads and returns 0 when all are back: each returns soon
 * after daemon_is_draining. For delivery agents, one channel to qmgr a thread.
 */
int daemon_run_threads(struct daemon_context *context, size_t count,
                       void (*work)(struct daemon_context *context, size_t index));
/* is_single_threaded: drain_fd is readable; reads what master says. Never waits. */
void daemon_control(struct daemon_context *context);
/* is_single_threaded: to be called at least every 5 s. Others need not. */
void daemon_tell_alive(struct daemon_context *context);
/* Mail waits for the service, an agent: master is to start it when it is asleep. Any thread. */
void daemon_want(struct daemon_context *context, const char *service);
/* What status shows of a room with its own loop; added to what is there. Any thread. */
void daemon_count(const struct daemon_context *context, int sessions, int busy);
/*
 * accept4 with these flags; -1 when nobody is there any more. Without descriptors or memory a
 * listener stays readable, so there is a short pause then, or its watcher would spin.
 */
int daemon_accept(int listener, int flags);
/* Whether the process at the other end of a Unix socket runs as one of roles (PEER_*). */
bool daemon_peer_is_allowed(const struct daemon_context *context, int fd, unsigned roles);

/*
 * For local's parent (RUNS_AS_ROOT), which is master to its children.
 *
 * daemon_child_start runs a program of daemon_directory (arguments[0]) as uid, in groups[0] and the
 * supplementary groups[1] and no other (unless unprivileged; both may be the same), with nothing
 * open but its control socket. It is told what master told us, and its only listener is the other
 * end of *requests. The process id; -1 and *error when
 * there is no child. The channels are the caller's to close in any case.
 */
struct ipc_channel;
pid_t daemon_child_start(const struct daemon_context *context, char *const arguments[], uid_t uid,
                         const gid_t groups[2], struct ipc_channel *control,
                         struct ipc_channel *requests, struct error *error);
/* Whether the log's descriptor is another since the last call (rotation). */
bool daemon_log_changed(struct daemon_context *context);
/* Tells a child of it; a child that does not hear it has ended. */
void daemon_child_log(const struct daemon_context *context, struct ipc_channel *control);

/* ---- for sessions ---- */

struct tls_server;
/*
 * For prepare: the server side of TLS with the keys and certificates that master has read; it is
 * kept up to date when their files are replaced. One a daemon. As tls_server_create otherwise.
 */
struct tls_server *daemon_tls_server(const struct daemon_context *context, struct error *error);
/*
 * Asks the daemon to do the server handshake on this session's stream before more input; also from
 * session_begin (wrapper mode). What was written before goes out in clear first; what came in clear
 * after the command is dropped. When it is done session_input is called once, input or not; when it
 * fails the session ends (SESSION_END_LOST) and stream_error says why.
 */
void session_start_tls(void *session, struct stream *stream, struct tls_server *server);

#endif
