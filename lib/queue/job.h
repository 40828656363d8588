/*
 * job.h - the agent's side of qmgr's jobs: pull a job, deliver, report, pull the next.
 *
 * smtp, lmtp and bounce use one agent channel a thread (window 1); the mailbox worker takes
 * several jobs at a time on one channel, delivers them with shared syncs and reports them in one
 * write. qmgr gives the next job as soon as one is reported: pulling is implied by the window.
 *
 *   one at a time                             in batches
 *     agent_connect                             agent_attach
 *     while (agent_next_job == AGENT_JOB) {     while (agent_wait == AGENT_JOB) {
 *             deliver                                   while (agent_take_job)
 *             agent_report                                      collect
 *             agent_job_release                         deliver all, agent_queue_report each,
 *     }                                                 agent_job_release each, agent_flush
 *                                               }
 *
 * An agent that dies or closes with jobs in hand has not delivered them, as far as qmgr knows:
 * they are given out again. So report what was delivered before anything else.
 */
#ifndef DAKIYA_QUEUE_JOB_H
#define DAKIYA_QUEUE_JOB_H

#include "lib/ipc/channel.h"
#include "lib/queue/envelope.h"

enum job_kind {
	JOB_DELIVER = 0,
	JOB_NOTICE_FAILURE, /* to bounce: recipients carry their outcomes */
	JOB_NOTICE_DELAY,
	JOB_NOTICE_SUCCESS,
	JOB_FORWARD, /* to bounce: recipients carry what local wants to be sent on */
	/* Nothing is delivered, there may be no content: the outcomes say what would be
	 * (OUTCOME_DELIVERED, _FAILED, _DEFERRED). */
	JOB_VERIFY,
	JOB_NOTICE_REPORT, /* to bounce: what became of all recipients at the first attempt */
};

enum outcome_action {
	OUTCOME_DELIVERED = 0, /* status=sent, final delivery here */
	OUTCOME_RELAYED,       /* status=sent, handed to another host (without DSN support) */
	OUTCOME_DEFERRED,      /* try again later */
	OUTCOME_FAILED,        /* status=bounced */
	OUTCOME_RELAYED_DSN,   /* status=sent, the other host takes over DSN duty (RFC 3461) */
	OUTCOME_EXPANDED,      /* status=sent, to several addresses (RFC 3461 5.2.7.3) */
	/*
	 * Of local, no end yet: the recipient's next stage follows; FORWARD: first a message is to
	 * be sent on (job_result.forwards). A status 5.x.y tells of what failed already: it is the
	 * recipient's outcome when all else went well.
	 */
	OUTCOME_PASS,
	OUTCOME_FORWARD,
};

/* What a job says of its destination, for concurrency feedback (FACTS 2.8). */
enum destination_report {
	DESTINATION_OK = 0,
	DESTINATION_FAILED,  /* connection or handshake failed: negative feedback */
	DESTINATION_NEUTRAL, /* nothing was learnt */
	DESTINATION_SILENT,  /* nobody answered within patience_ms: the job comes back undone */
};

/* ---- the channel ---- */

struct agent {
	struct ipc_channel channel;
	bool               is_lent; /* see agent_hello; set before connecting */
};

enum agent_result {
	AGENT_JOB,
	AGENT_IDLE,   /* the deadline passed; the channel is as good as before */
	AGENT_CLOSED, /* qmgr is gone or sent nonsense: close, then connect again */
};

/* Connects to qmgr's private/jobs and says which transport it serves. One thread at a time. */
bool agent_connect(struct agent *agent, const char *path, const char *transport, uint32_t window,
                   struct error *error);
/* The same on a descriptor that was handed over (mailbox worker, ATTACH_JOBS); taken over. */
bool agent_attach(struct agent *agent, int fd, const char *transport, uint32_t window, uint32_t uid,
                  uint32_t gid, struct error *error);
/* Harmless when closed already. */
void agent_close(struct agent *agent);

struct agent_job {
	struct msg_job      message;  /* slices borrow the channel's memory, see agent_wait */
	struct msg_envelope envelope; /* decoded from it */
	int64_t             begin_us; /* wall clock: taken by the agent, for delays= */
};

/*
 * Waits until at least one whole job is there. Reading ends the life of the slices of jobs taken
 * earlier, so finish with those first. AGENT_JOB: agent_take_job will succeed.
 */
enum agent_result agent_wait(struct agent *agent, int64_t deadline_ms);
/* The next job that has been read, without waiting or reading; false when there is none. */
bool agent_take_job(struct agent *agent, struct agent_job *job);
/* Both in one, for agents with one job at a time. */
enum agent_result agent_next_job(struct agent *agent, int64_t deadline_ms, struct agent_job *job);
/* Closes the job's descriptor, if it has one. */
void agent_job_release(struct agent_job *job);

/* A piece of the content: up to size bytes at offset; *piece is empty at its end. False with
 * *error when the file cannot be read. Inline content is given without a copy into scratch. */
bool agent_job_content(const struct agent_job *job, uint64_t offset, char *scratch, size_t size,
                       struct slice *piece, struct error *error);
/* Bytes of content. */
uint64_t agent_job_size(const struct agent_job *job);

/* ---- the report ---- */

/*
 * outcomes holds one msg_outcome for each recipient of the job, appended with msg_outcome_append.
 * A recipient without one counts as deferred. held_nexthop and held_until_ms tell of a connection
 * that is kept open (empty = none). False when the channel broke: the outcome is then not known
 * to qmgr.
 */
bool agent_report(struct agent *agent, const struct msg_job_result *result);
bool agent_queue_report(struct agent *agent, const struct msg_job_result *result);
bool agent_flush(struct agent *agent);

/* ---- the log ---- */

/*
 * The log line of one recipient's outcome, in the shape of FACTS 2.9 (to=, orig_to=, relay=,
 * delay=, delays=, dsn=, status=), written by the agent.
 */
struct delivery_times {
	int64_t arrival_us, active_us; /* from envelope and job */
	int64_t begin_us;              /* the agent took the job */
	int64_t connected_us;          /* connection set up; 0 = no set-up */
	int64_t done_us;
	bool    is_soft;   /* soft_bounce: a failure is a delay, which the log says */
	bool    is_verify; /* JOB_VERIFY: status=deliverable or undeliverable */
};
/* connection_use: how many deliveries this connection has seen; 0 or 1 is not logged. */
void job_log_outcome(const char *queue_id, const struct msg_job_recipient *recipient,
                     const struct msg_outcome *outcome, const struct delivery_times *times,
                     unsigned connection_use);
/* The text after "QID: " of that line, for tests and for callers that add to it. */
bool job_outcome_append(struct buf *out, const struct msg_job_recipient *recipient,
                        const struct msg_outcome *outcome, const struct delivery_times *times,
                        unsigned connection_use);

#endif
