/*
 * core.h - what the parts of lib/daemon share; rooms do not include it.
 *
 * One struct daemon_core a process, made by daemon_main and never freed. Only the counters and
 * the drain fields change after the start.
 */
#ifndef DAKIYA_DAEMON_CORE_H
#define DAKIYA_DAEMON_CORE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "lib/base/array.h"
#include "lib/base/log.h"
#include "lib/base/mutex.h"
#include "lib/daemon/daemon.h"
#include "lib/ipc/channel.h"

#define CONTROL_FD        3
#define ALIVE_INTERVAL_MS 5000
#define DRAIN_QUICK_MS    5000 /* SIGTERM */
#define DRAIN_ORPHAN_MS   1500 /* master is gone: the next one waits for the queue's lock */

struct owner {
	bool  is_known;
	uid_t uid;
	gid_t gid;
};

/* certificates.c: what it does later, in rooms that serve TLS. */
struct certificate_calls {
	void (*tell_first)(struct daemon_core *core);
	void (*replace)(struct daemon_core *core, struct ipc_frame *frame);
};

struct daemon_core {
	const struct daemon  *daemon;
	struct daemon_context context;
	struct ipc_channel    control;
	ARRAY(struct listener) listeners;

	struct memory  *memory;  /* opened before the doors close */
	int64_t         trim_ms; /* the control loop's: when memory is given back again */
	int             signal_fd;
	int             wake_event; /* eventfd: a timer is due before the main thread's next look */
	int             drain_event; /* eventfd, written once when the drain begins */
	int             log_fd;
	enum log_target log_target;
	bool            is_log_changed;
	int             certificates_fd; /* until daemon_tls_server has read it; -1 = none */
	uint32_t        certificates_number;
	/* What daemon_tls_server made of them; the control loop replaces what it serves. */
	struct tls_server              *tls_server;
	const struct certificate_calls *certificates; /* NULL = there is none */
	int snapshot_fd; /* kept for children by RUNS_AS_ROOT; otherwise -1 */

	struct mutex wanted_lock;
	struct buf   wanted; /* services that master is asked for, NUL behind each */

	struct owner owners[RUNS_AS_DNS + 1]; /* by enum daemon_identity */
	struct owner user;                    /* RUNS_AS_USER */

	_Atomic bool     is_draining;
	_Atomic int64_t  drain_deadline_ms;
	_Atomic bool     drain_keeps_idle; /* a reload: no session is ended before the deadline */
	_Atomic int32_t  sessions;
	_Atomic int32_t  busy;
	_Atomic uint64_t sessions_total;
	int64_t          next_alive_ms; /* the control loop's */
};

/* identity.c: the owners of net_owner and the others; false when one that is needed is unknown. */
bool identity_find_owners(struct daemon_core *core, struct error *error);
/* Becomes who the room runs as; nothing without root. */
bool identity_drop(const struct daemon_core *core, struct error *error);

/* control.c: one look at master's messages and at signals; begins the drain when told. */
void control_read(struct daemon_core *core);
void control_tell_alive(struct daemon_core *core, int64_t now_ms);
void control_begin_drain(struct daemon_core *core, int64_t within_ms, bool keeps_idle);
/* Waits for both, up to timeout_ms, and reads them. */
void control_wait(struct daemon_core *core, int64_t timeout_ms);

/* sessions.c: serves the listeners until drained; the exit status. */
int sessions_run(struct daemon_core *core);

#endif
