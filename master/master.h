/*
 * master.h - what the parts of master share: generations, services, processes, listeners.
 *
 * Master reads the configuration once, binds every socket, starts the daemons, watches, replaces
 * and ends them. A single thread around epoll; it reads no mail and nothing from the network.
 *
 * A service is one line of master.cf in one generation of the configuration, and has at most one
 * running process; processes of older generations live on while they drain. Sockets belong to
 * master, so a client that connects while a daemon is replaced just waits.
 */
#ifndef DAKIYA_MASTER_H
#define DAKIYA_MASTER_H

#include <sys/types.h>

#include "lib/base/array.h"
#include "lib/base/error.h"
#include "lib/base/list.h"
#include "lib/base/log.h"
#include "lib/conf/configuration.h"
#include "lib/conf/owner.h"
#include "lib/ipc/channel.h"
#include "master/shelf.h"

struct master;
struct service_run;
struct certificate_set;

/* ---- things that epoll watches ---- */

enum watch_kind {
	WATCH_SIGNALS,
	WATCH_CONTROL_LISTENER,
	WATCH_CONTROL_CLIENT,
	WATCH_PROCESS,
	WATCH_LISTENER, /* of a service that is asleep */
};

/* Stands first in each watched struct; epoll's data points to it. */
struct watch {
	enum watch_kind kind;
	int             fd;
};

/* ---- listeners (listener.c) ---- */

struct master_listener {
	struct list_node node;       /* master.listeners */
	int              fd;         /* -1 while it lies on the shelf */
	unsigned         ticket;     /* on the shelf */
	struct watch     watch;      /* while its service is asleep */
	char            *key;        /* "inet:127.0.0.1:25" or "private/auth" */
	unsigned         generation; /* the last one that uses it */
};

/* ---- processes (process.c) ---- */

enum process_state {
	PROCESS_STARTING, /* until daemon_ready */
	PROCESS_READY,
	PROCESS_DRAINING, /* until it has ended */
};

struct process {
	struct watch          watch; /* its channel */
	struct list_node      node;  /* master.processes */
	struct service_run   *run;   /* NULL once its generation is gone */
	const struct program *program;
	char                 *name; /* of the service, for the log */
	pid_t                 pid;
	unsigned              generation;
	enum process_state    state;
	struct ipc_channel    channel;
	int64_t               started_ms;
	int64_t               alive_ms;   /* when it last said so */
	int64_t               kill_ms;    /* when patience ends; 0 = not set */
	bool                  was_killed; /* by us, for a reason that was logged */
	bool                  is_hastened;
	uint32_t              sessions;
	uint32_t              busy_threads;
	uint64_t              sessions_total;
	uint64_t              sessions_seen; /* the same, when last looked at */
	int64_t               used_ms;       /* when somebody last used it */
	bool                  is_retiring;   /* nobody did: it finishes, and its service sleeps */
	char                  last_error[200];
};

/* ---- services (supervise.c) ---- */

/* How long to wait before the next start: per cause from 0.1 s, doubling to 5 s. */
struct throttle {
	int     cause; /* wait status of the last end, or THROTTLE_* */
	int64_t delay_ms;
};
#define THROTTLE_NO_START (-1)
#define THROTTLE_KILLED   (-2) /* by master, as it was silent or made no sense */
#define THROTTLE_NO_ROOM  (-3) /* it started, and had no room for its threads or files */

struct service_run {
	const struct service *service; /* in the generation's configuration */
	struct process       *process; /* the one that serves, or NULL */
	/* What it names of keys and certificates; NULL = no TLS. Belongs to master. */
	struct certificate_set *certificates;
	ARRAY(struct master_listener *) listeners;
	ARRAY(const char *) addresses; /* of the listeners, as daemon_listener says them */
	struct throttle throttle;
	int64_t         start_ms; /* when to start the next process; 0 = none is wanted */
	unsigned        restarts;
	bool            is_asleep;      /* until somebody asks for it */
	bool            is_drain_first; /* a singleton: wait for the older one's end */
	char            last_end[300];  /* how the last process ended, when it was no good end */
};

struct generation {
	unsigned             number;
	struct configuration configuration;
	ARRAY(struct service_run *) runs;
};

/* ---- the whole ---- */

enum master_state { MASTER_RUNNING, MASTER_STOPPING };

struct master {
	const char        *config_directory;
	bool               is_foreground;
	bool               is_unprivileged;
	enum master_state  state;
	struct generation *generation;
	unsigned           generation_count;
	struct owner       mail_owner;
	int                epoll_fd;
	struct watch       signals;
	struct watch       control;
	int64_t            control_again_ms; /* when to watch it again; 0 = it is watched */
	int                pid_file_fd;
	bool               was_unclean; /* the master before us did not end well */
	struct list_node   listeners;
	struct shelf       shelf; /* where listeners lie when descriptors are few */
	struct list_node   processes;
	struct list_node   clients;
	struct list_node   certificates; /* sets of files, each used by one or more services */
	enum program_stage stage;        /* while stopping: the stage that is being drained */
	int64_t            started_ms;
	int64_t            first_deadline_ms; /* until when the first start is reported */
	int                report_fd;         /* to the tool that started us, or -1 */
	enum log_target    log_target;
	int                log_fd;
	int                notify_fd; /* sd_notify, or -1 */
	int64_t            notify_interval_ms;
	int64_t            notify_next_ms;
	bool               is_memory_little;
	int64_t            memory_said_ms;
	bool               was_ready;         /* all services have been ready once */
	bool               has_start_problem; /* processes cannot be started, as was logged */
	int                exit_status;
};

/* prepare.c: directories, lock, identity. False and *error. */
bool prepare_directories(struct master *master, struct error *error);
bool prepare_lock(struct master *master, struct error *error);
/* As many open files as we may have; later, in the log, whether they are few. */
void prepare_limits(void);
void prepare_limits_check(void);
/* Where few files may be open, listeners will lie on a shelf. */
void prepare_shelf(struct master *master);
/* False when the services that are bound cannot all be started with as many as there are. */
bool prepare_limits_suffice(struct master *master, struct error *error);
/* False and *error (EMFILE) when too few descriptors are free to start a daemon. */
bool prepare_has_room(struct error *error);
void prepare_unlock(struct master *master);

/* logfile.c: opens the log that the configuration names; never fails for good. */
void logfile_open(struct master *master, const struct parameters *parameters);

/* listener.c */
/* Binds what the generation's services need and older ones have not; all errors to the report. */
bool listeners_bind(struct master *master, struct generation *generation, struct report *report);
/* Closes those that only generations before this one used. */
void listeners_close_before(struct master *master, unsigned generation);
void listener_close(struct master *master, struct master_listener *listener);
/* Its descriptor for a while, to be given back; -1 when none is free. */
int  listener_borrow(const struct master *master, const struct master_listener *listener);
void listener_return(const struct master_listener *listener, int fd);
/* A bound listening socket at a path below the queue directory, replacing a stale one; or -1. */
int listener_bind_unix(const char *path, mode_t mode, uid_t uid, gid_t gid, struct error *error);

/* generation.c */
/* Loads, checks, snapshots, binds. NULL when the report has an error. */
struct generation *generation_new(struct master *master, struct report *report);
void               generation_free(struct generation **generation);
/* Replaces the running generation: new daemons on the same sockets, old ones drain. */
bool generation_reload(struct master *master, struct report *report);

/* The values that are set for the service, in a sealed memfd; -1 and *error. */
int generation_snapshot(const struct generation *generation, const struct service *service,
                        struct error *error);
/* A memfd that nobody can change any more; -1 and *error. */
int generation_sealed_file(struct slice bytes, struct error *error);

/* certificates.c: keys and certificates are read here, and used in the daemons. */
/* Finds or reads the set that the run's service, with this snapshot, names. False and *error. */
bool certificates_of_run(struct master *master, struct service_run *run, int snapshot_fd,
                         struct error *error);
/* How many descriptors the sets hold. */
size_t certificates_files(const struct master *master);
/* Frees the sets that no service of the current generation uses. */
void certificates_sweep(struct master *master);
/* Before daemon_start the last sound bundle, behind it a newer one, if there is. */
bool certificates_queue_first(struct process *process);
bool certificates_queue_newest(struct process *process);
/* A daemon says what it serves. */
void certificates_told(struct process *process, struct ipc_frame *frame);
/* Looks whether files were replaced, when it is time; and when it will be (0 = never). */
void    certificates_due(struct master *master, int64_t now);
int64_t certificates_next_ms(const struct master *master);
/* A reload: what was replaced counts at once. */
void certificates_look_now(struct master *master);
void certificates_status_text(const struct master *master, struct buf *out);
void certificates_status_json(const struct master *master, struct buf *out);

/* sni.c: the rows of tls_server_sni_maps; a tls_map_reader (lib/tls/tls_files.h). */
bool sni_read(const char *tables,
              bool (*entry)(struct slice name, struct slice value, void *context), void *context,
              struct error *error);

/* process.c */
bool process_start(struct master *master, struct service_run *run, struct error *error);
/* Tells it to finish; after a reload idle sessions go on, too. */
void process_drain(struct process *process, int64_t deadline_ms, bool keeps_idle);
/* One that drains is to end its idle sessions now: its descriptor is needed. */
void process_hasten(struct process *process);
void process_kill(struct process *process, const char *why);
void process_send_log(struct master *master, struct process *process);
/* Its channel has input or is gone. */
void process_input(struct master *master, struct process *process);
/* Its end was reaped: frees it. */
void process_free(struct process *process);

/* supervise.c */
void supervise_ready(struct master *master, struct process *process);
void supervise_reap(struct master *master);
/* Starts, drains and kills what is due; returns the ms until something is due, at most 60 s. */
int  supervise_due(struct master *master);
void supervise_stop(struct master *master, bool at_once);
/* All processes have ended while stopping. */
bool supervise_is_stopped(const struct master *master);
/* The ms to wait before the next start after an end for this cause; ran_ms since the start. */
int64_t throttle_next(struct throttle *throttle, int cause, int64_t ran_ms);
/* "killed by signal 11 (SEGV)" or "exit status 1". */
void supervise_describe_end(int status, char *text, size_t size);

/* demand.c: where memory is little, services start when somebody asks for them. */
/* Once, at the start: whether memory is little. */
void demand_decide(struct master *master);
/* A new generation's services are to start, or to sleep. */
void demand_begin(struct master *master);
/* Before a generation goes. */
void demand_end(struct master *master);
/* Somebody connects to a service that is asleep. */
void demand_input(struct master *master, struct watch *watch);
/* qmgr has mail for an agent. */
void demand_wanted(struct master *master, const struct process *process, struct ipc_frame *frame);
/* A process has told how busy it is: one that nobody uses may finish. */
void demand_look(struct master *master, struct process *process);
/* Whether the service sleeps, now that its process has ended. */
bool demand_ended(struct master *master, struct service_run *run, const struct process *process);
/* Whether there is memory for the service's process; otherwise it is tried again soon. */
bool demand_has_room(struct master *master, struct service_run *run, int64_t now);

/* control.c */
bool control_open(struct master *master, struct error *error);
void control_accept(struct master *master);
/* Accepts again when it is time; there was no descriptor. */
void control_resume(struct master *master);
struct control_client;
void control_input(struct master *master, struct watch *watch);
/* Answers those who wait for the stop, and closes. */
void control_close(struct master *master);
/* Opens the log anew and gives it to all. */
void control_rotate(struct master *master);

/* status.c: what `dakiya status --json` and `dakiya status` show. */
bool status_json(const struct master *master, struct buf *out);
bool status_text(const struct master *master, struct buf *out);

/* notify.c: systemd's readiness protocol. */
void notify_open(struct master *master);
void notify_state(struct master *master, const char *state);
void notify_due(struct master *master);

/* main loop (loop.c) */
bool loop_watch(struct master *master, struct watch *watch);
void loop_unwatch(struct master *master, struct watch *watch);
void loop_run(struct master *master);
/* Tells the tool that started us; "" = it is up. Closes the pipe. */
void report_start(struct master *master, const char *problem);

#endif
