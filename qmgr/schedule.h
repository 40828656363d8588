/*
 * schedule.h - transports, destinations and the lanes of messages that wait at them.
 *
 * Pure state over times that are passed in, so that tests run it on a simulated clock. A lane is
 * one message's recipients at one destination. A destination gives its lanes turns (one job
 * each), those of fresh mail first, so that a long list or a backlog holds up nobody. A transport
 * gives its destinations turns, likewise (turns.c). Which agent takes a job is decided in agents.c;
 * what became of it teaches whether the destination answers (answers.c).
 *
 * Probes: jobs at a destination that has not answered yet. Each may take as long as a connection
 * takes to time out, and there may be more such destinations than agents, so
 * - half of a transport's own agents less one (50 at most) is for destinations that have answered,
 * alone;
 * - a first probe comes before a second one elsewhere;
 * - when a quarter of the agents are at it, a probe gets two seconds (destination_patience), and
 *   goes back into its line when nobody has answered by then: twice as many the next time;
 * - a destination that failed or was silent is suspect: it gets one probe at a time, and most of
 *   those come after the ones to destinations that nothing is known of;
 * - agents that are lent for those that wait add to the jobs of the transport, and to those of no
 *   single destination: it has as many as the transport has agents of its own, at most.
 */
#ifndef DAKIYA_QMGR_SCHEDULE_H
#define DAKIYA_QMGR_SCHEDULE_H

#include "lib/base/hash.h"
#include "lib/base/heap.h"
#include "lib/base/list.h"
#include "lib/conf/snapshot.h"
#include "lib/queue/job.h"
#include "qmgr/feedback.h"

struct message;

/* Lines of destinations that may have a job now, by what waits there. */
enum ready_line {
	READY_LETTER,  /* fresh mail to few recipients */
	READY_LIST,    /* fresh mail to many */
	READY_AGAIN,   /* only mail that is tried again */
	READY_SUSPECT, /* any, and the destination is suspect */
	READY_MORE,    /* any, and a first answer is waited for */
	READY_LINES
};

struct schedule {
	const struct snapshot   *snapshot;
	const struct parameters *parameters;
	struct hash              transports; /* by name */
	struct heap              wakes;      /* destinations and transports that pause */
	struct list_node         all_transports;
	size_t                   suspect_lanes; /* at destinations that are suspect */
	int64_t                  now_ms;        /* as last told */
};

struct transport {
	struct schedule       *schedule;
	struct list_node       in_all;
	char                  *name;
	struct feedback_config feedback;
	uint32_t               recipient_limit; /* 0 = none */
	bool                   is_limited;      /* its concurrency limit is set, no default */
	int64_t                destination_delay_ms;
	int64_t                transport_delay_ms;
	bool                   is_deferred; /* defer_transports */

	struct hash destinations; /* by key */
	/* Destinations that may have a job now; [true]: those that have not answered yet. */
	struct list_node ready[READY_LINES][2];
	unsigned         turn;
	size_t           room;           /* jobs that its agents take at a time, together */
	size_t           lent;           /* of those, by agents that stand in for waiting ones */
	size_t           probes;         /* of those under way, where nobody has answered yet */
	size_t           suspect_probes; /* of those, to destinations that are suspect */
	struct list_node waiting;        /* those with lanes, ready or not */
	struct heap_node wake;           /* when its pause ends (transport_delay) */
	bool             is_pausing;     /* or one is under way: with a delay there is but one */

	struct list_node idle; /* agents with room, agents.c */
	size_t           agents;
	int64_t          wanted_ms;         /* when master was last asked for one; 0 = not */
	int64_t          unserved_since_ms; /* no agent since then; 0 = there is one */
	bool             was_served;        /* since this qmgr began */
};

struct destination {
	struct transport *transport;
	char             *key;     /* nexthop, nexthop LF recipient, or "uid:gid" of a worker */
	struct slice      nexthop; /* in it */
	struct feedback   feedback;
	int               busy;    /* jobs under way */
	size_t            lanes;   /* waiting here */
	size_t            letters; /* of those, fresh ones to few recipients */
	struct list_node  fresh, retried;
	unsigned          turn;
	bool              is_proven;      /* somebody has answered here */
	bool              is_suspect;     /* nobody did, when it was tried last */
	int64_t           learnt_ms;      /* when that was */
	unsigned          silences;       /* probes in a row that ran out of patience */
	int               probes;         /* of the jobs under way */
	int               suspect_probes; /* of those, begun while it was suspect */
	struct list_node *line;           /* that it is in, while it is */
	struct lane      *latest;         /* the newest lane, while it is there */
	struct list_node  in_ready, in_waiting;
	struct heap_node  wake; /* while it is dead or pauses */
	bool              is_pausing;
	char              dead_reason[200];
	char              dead_status[16]; /* of what failed last; empty = not known */

	/* Mailbox workers: */
	bool             is_worker;
	uint32_t         uid, gid;
	bool             is_spool;     /* the worker with the group of mail_spool_directory */
	int              worker_limit; /* jobs at a time; 0 = as its channels have room */
	struct list_node idle;         /* its agents with room */
	size_t           agents;
	unsigned         attach_failures; /* workers that did not come, in a row */
};

struct lane {
	struct list_node    in_destination, in_message;
	struct message     *message;
	struct destination *destination;
	uint32_t            first, last; /* recipients that wait, a chain through recipient.next */
	uint32_t            waiting;
	uint32_t            busy; /* jobs of this lane under way */
	bool                is_fresh;
	bool                is_list; /* its message has many recipients */
	enum job_kind       kind;
};
#define LANE_END UINT32_MAX

/* Recipients from which on a message is a list, which lets letters pass. */
#define LIST_LEAST 51

void schedule_init(struct schedule *schedule, const struct snapshot *snapshot);
void schedule_free(struct schedule *schedule);

/* settings.c: reads its parameters. */
void transport_configure(struct transport *transport);

/* Found or made; NULL when memory is out. */
struct transport   *schedule_transport(struct schedule *schedule, struct slice name);
struct destination *schedule_destination(struct transport *transport, struct slice key);
/*
 * Where mail for that recipient waits: with a recipient limit of 1 each recipient is a destination
 * of its own, with its own window, pauses and death, as postconf(5) has it.
 */
bool schedule_key(const struct transport *transport, struct slice nexthop, struct slice recipient,
                  struct buf *key);
/* Releases it when nothing refers to it and it has nothing to remember. */
void destination_rest(struct destination *destination);

/* Nobody has answered there yet: a job is a probe. */
bool destination_is_unproven(const struct destination *destination);

/* Puts a lane with waiting recipients in its destination's line; at the front when its job came
 * back undone. */
void lane_enter(struct lane *lane);
/* Takes it out of the line. */
void lane_leave(struct lane *lane);

bool destination_is_dead(const struct destination *destination);
/* Whether a job may be given: lanes, window, no pause. */
bool destination_is_ready(const struct destination *destination);
/* The transport's next destination whose turn it is; NULL when none may have a job. */
struct destination *transport_next(struct transport *transport);
/* The lane whose turn it is; NULL when none waits. It goes to the end of its line. */
struct lane *destination_next_lane(struct destination *destination);

/* Counts its lanes among those of suspects, or no more. */
void destination_set_suspect(struct destination *destination, bool is_suspect);
/* Its last attempt, in an earlier life of this process or its entry here, failed. */
void destination_suspect(struct destination *destination, int64_t now_ms);
/* Enough mail for such destinations is in memory, some of it for this one: half of what the active
 * queue may hold of mail that is tried again. */
bool destination_is_crowded(const struct destination *destination);
/* How long the job that has just begun may wait for a first answer, in ms; 0 = no limit of ours. */
int64_t destination_patience(const struct destination *destination);

/*
 * Whether nobody has served the transport, while mail waits, for transport_retry_time: once each
 * time that this has passed.
 */
bool transport_is_given_up(struct transport *transport, int64_t now_ms);

/* Not before until_ms; ends by itself. */
void destination_pause(struct destination *destination, int64_t until_ms);
/* Its agents, lanes or pause changed: puts it in its transport's line, or takes it out. */
void destination_review(struct destination *destination);

/* A job begins and ends. A lane that is used up must have left the line. */
void destination_job_begun(struct destination *destination, int64_t now_ms);
/* Before it: with which status a job failed, for what is deferred without an attempt. */
void         destination_note_status(struct destination *destination, struct slice status);
struct slice destination_dead_status(const struct destination *destination);
void         destination_job_ended(struct destination *destination, enum destination_report report,
                                   struct slice reason, int64_t now_ms);

/* The next time that something wakes, INT64_MAX for never. */
int64_t schedule_next_wake(const struct schedule *schedule);
/* Ends the pauses that are over. */
void schedule_wake(struct schedule *schedule, int64_t now_ms);
/* All destinations may be tried at once (flush). */
void schedule_revive(struct schedule *schedule);

#endif
