/*
 * job.h - the agent's side of qmgr's jobs: pull a job, deliver, report, pull the next.
 *
 * smtp, lmtp and bounce use one agent channel a thread; the mailbox worker takes several jobs at
 * a time on one channel (window) to share syncs.
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
};

enum outcome_action {
	OUTCOME_DELIVERED = 0, /* status=sent, final delivery here */
	OUTCOME_RELAYED,       /* status=sent, handed to another host (without DSN support) */
	OUTCOME_DEFERRED,      /* try again later */
	OUTCOME_FAILED,        /* status=bounced */
	OUTCOME_RELAYED_DSN,   /* status=sent, the other host takes over DSN duty (RFC 3461) */
};

/* What a job says of its destination, for concurrency feedback (FACTS 2.8). */
enum destination_report {
	DESTINATION_OK = 0,
	DESTINATION_FAILED,  /* connection or handshake failed: negative feedback */
	DESTINATION_NEUTRAL, /* nothing was learnt */
};

/*
 * The log line of one recipient's outcome, in the shape of FACTS 2.9 (to=, orig_to=, relay=,
 * delay=, delays=, dsn=, status=), written by the agent.
 */
struct delivery_times {
	int64_t arrival_us, active_us; /* from envelope and job */
	int64_t begin_us;              /* the agent took the job */
	int64_t connected_us;          /* connection set up; 0 = no set-up */
	int64_t done_us;
};
void job_log_outcome(const char *queue_id, const struct msg_job_recipient *recipient,
                     const struct msg_outcome *outcome, const struct delivery_times *times,
                     unsigned connection_use);

#endif
