/*
 * worker.h - local's children: each runs as one uid and is the only code that touches its
 * mailboxes.
 *
 * Of three kinds: of the service virtual; of local for a user or the aliases of one owner (it may
 * run commands); and of local for mail_spool_directory, whose group it has beside the user's. What
 * a user may cause (a file in .forward, a command) never runs with that group.
 *
 * One thread around epoll owns all channels (from the parent, from qmgr, from POP3 logins); a few
 * threads do the file work. Jobs are copied out of their channel, so that one batch is written
 * while another is synced. An idle login costs its listing and a descriptor, no thread.
 */
#ifndef DAKIYA_LOCAL_WORKER_H
#define DAKIYA_LOCAL_WORKER_H

#include <pthread.h>

#include "lib/base/list.h"
#include "lib/base/mutex.h"
#include "lib/daemon/command.h"
#include "lib/daemon/daemon.h"
#include "lib/ipc/channel.h"
#include "lib/mailbox/deliver.h"
#include "lib/mailbox/mailbox.h"

enum worker_kind { WORKER_VIRTUAL, WORKER_USER, WORKER_SPOOL };

enum source_kind { SOURCE_ATTACH, SOURCE_DRAIN, SOURCE_WAKE, SOURCE_JOBS, SOURCE_SESSION };

struct source {
	enum source_kind kind;
};

struct worker;

/* A channel to qmgr. The loop's thread reads and writes it; threads hand results back. */
struct jobs_channel {
	struct source      source;
	struct list_node   node;
	struct worker     *worker;
	struct ipc_channel channel;
	int64_t            attached_us; /* wall clock */
	size_t             under_way;   /* jobs taken and not yet reported */
	bool               is_gone;     /* closed; freed when nothing is under way */
	bool               is_writing;  /* waits for POLLOUT */
};

/* A job, copied; from the loop to a thread and back. */
struct job_task {
	struct list_node     node;
	struct jobs_channel *from;
	char                *bytes; /* the frame's payload, which message borrows */
	struct msg_job       message;
	struct msg_envelope  envelope;
	size_t               recipients;
	int64_t              begin_us;
	struct buf           outcomes; /* the result */
	struct buf           forwards; /* local: what is to be sent on */
};

/* A login's channel; it belongs to the loop, or to the thread that works on it. */
struct session {
	struct source      source;
	struct list_node   node;  /* in worker.sessions */
	struct list_node   ready; /* in worker.ready_sessions */
	struct worker     *worker;
	struct ipc_channel channel;
	struct slice       path; /* of its mailbox, allocated */
	struct mailbox    *mailbox;
	bool               is_ended; /* set by a thread, seen by the loop */
};

struct worker {
	struct daemon_context *context;
	enum worker_kind       kind;
	struct mailbox_store   store;  /* not of a WORKER_USER, which makes one for each place */
	struct command_runner *runner; /* WORKER_USER */
	pthread_t             *threads;
	size_t                 thread_count, thread_most;
	int                    base; /* -1 = none */
	int                    epoll_fd;
	int                    wake_fd;
	struct source          drain, wake, attach_source;
	struct ipc_channel     attach;
	struct list_node       channels; /* struct jobs_channel */
	struct list_node       sessions;
	size_t                 session_count;
	int64_t                idle_since_ms;

	struct mutex     lock; /* guards everything below */
	struct condition has_work;
	struct list_node ready_jobs;     /* to be delivered */
	struct list_node done_jobs;      /* to be reported */
	struct list_node ready_sessions; /* with input */
	struct list_node done_sessions;  /* to be watched again, or freed */
	size_t           waiting_jobs;   /* ready_jobs' length */
	size_t           idle_threads;   /* that wait for something to do */
	bool             is_stopping;
};

/* argv[1] is worker or spool-worker, argv[2] the service. */
int worker_main(int argc, char **argv);

/* jobs.c: takes one frame of a channel from qmgr; false when it is malformed. */
bool job_task_make(struct jobs_channel *from, struct ipc_frame *frame, struct job_task **task);
void job_task_free(struct job_task *task);
/* Delivers all jobs in the list and fills in their outcomes. In a thread. */
void jobs_deliver(struct worker *worker, struct list_node *tasks);

/* recipient.c: the same for one job of a WORKER_USER. In a thread. */
void local_deliver(struct worker *worker, struct job_task *task);

/* sessions.c: carries out what the channel holds; false when the session is over. In a thread. */
bool session_work(struct session *session);
void session_free(struct session *session);

#endif
