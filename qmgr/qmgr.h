/*
 * qmgr.h - the queue manager's state: all of it belongs to the scheduler's thread, no locks.
 *
 * Threads: the scheduler (epoll loop, loop.c), the syncer (journal.c), three for files (files.c),
 * resolvers (resolve.c), those that talk to administrators (control.c), and one that prepares what
 * these will list (clerk.c). They give each other tasks (handoff.h) and share nothing else but
 * the cards (cards.h).
 *
 * The walk of a message: intake.c takes it in -> journal -> resolve.c finds out where its
 * recipients go -> lanes (schedule.c) -> agents.c gives jobs -> settle.c notes outcomes -> when a
 * round is over, rounds.c makes notices, defers or finishes it. store.c tells the journal, rest.c
 * moves messages to files, fetch.c reads them back; backlog.c remembers those that wait in files.
 */
#ifndef DAKIYA_QMGR_QMGR_H
#define DAKIYA_QMGR_QMGR_H

#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/daemon/daemon.h"
#include "lib/route/route.h"
#include "qmgr/backlog.h"
#include "qmgr/cards.h"
#include "qmgr/files.h"
#include "qmgr/journal.h"
#include "qmgr/recent.h"
#include "qmgr/schedule.h"
#include "qmgr/suspend.h"

struct resolvers;
struct resolve_task;
struct control;

/* Something that epoll watches. */
struct source {
	int fd;
	void (*ready)(struct qmgr *qmgr, struct source *source, uint32_t events);
};

/* A segment of the journal that holds, or held, live messages. */
struct segment {
	uint64_t         epoch;
	size_t           live;
	struct list_node messages; /* message.in_segment */
};

struct qmgr {
	struct daemon_context   *context;
	const struct parameters *parameters;
	int                      queue_fd, active_fd, state_fd, lock_fd, epoll_fd;
	int                      spare_fd;       /* see accept_refuse */
	int64_t                  now_ms, now_us; /* of this turn of the loop */

	struct handoff  inbox;
	struct source   inbox_source;
	struct journal *journal;
	struct files   *files;  /* what changes queue files, in the order given */
	struct files   *loads;  /* FILE_LOAD: reading is not to wait for these, nor they for it */
	struct files   *bodies; /* of mail that comes in: clients wait for FILE_SPOOL and its kin */
	struct resolvers *resolvers;
	struct control   *control;
	struct router    *router;
	/* As address_verify_* say; may be the same. */
	struct router *probe_router;
	size_t         probes;
	/* authorized_mailq_users, authorized_flush_users: for the control threads */
	struct match_list *mailq_users, *flush_users;
	struct cards       cards;    /* likewise */
	atomic_uint        listings; /* likewise: under way for administrators */
	struct schedule    schedule;
	struct backlog     backlog;
	struct suspensions suspensions;
	ARRAY(struct source *) listeners;

	struct hash      messages; /* in memory, by id */
	struct recent    recent;
	bool             is_catching_up; /* all intake channels are being read */
	size_t           retried;        /* of those, the ones that lie in files */
	size_t           fetching;       /* more of them, being read */
	size_t           recipients;     /* of all of them */
	uint64_t         content_bytes;
	struct list_node touched;         /* messages to be looked at (message_touch) */
	struct list_node later;           /* the same, but with the next tick */
	struct heap      alarms;          /* parked messages */
	struct list_node all_links;       /* intake and job channels */
	size_t           link_count;      /* of those */
	size_t           links_most;      /* see room.c */
	struct source   *paused_jobs;     /* agents wait there for a place; NULL = it is watched */
	struct list_node dirty;           /* links with output */
	struct list_node agents;          /* job channels */
	ARRAY(struct segment *) segments; /* oldest first */
	struct hash spools;               /* intake spool files that are not committed, by id */

	/* Files removed whose removal may not be durable: the oldest segment that is held for them.
	 */
	struct held {
		bool     is_any;
		uint64_t epoch;
	} removed, syncing;

	struct task_list to_journal, to_resolve; /* handed over at the end of the turn */

	uint64_t      next_job;
	uint64_t      next_instance, reserved_instance;
	bool          has_space;
	bool          is_draining;
	bool          wants_suspensions; /* state/suspended could not be read: tried again */
	bool          is_scanned;        /* deferred/ and hold/ are in the backlog */
	bool          wants_scan;        /* some of it could not be read, or kept: once more */
	bool          is_scanning;       /* scan_thread is to be joined */
	bool          is_scan_over;      /* its last word has come */
	int64_t       scan_again_ms;     /* when, if it is wanted */
	struct hash   gone;              /* removed before that: the scan may have their names */
	bool          is_scan_flushed;   /* all was flushed before that: also what comes then */
	int64_t       next_tick_ms;
	int64_t       evict_after_ms;    /* moving to files failed: not before */
	int64_t       complain_after_ms; /* the same trouble is logged once a second */
	struct error  act_error;         /* of files that administrators act upon, until told */
	size_t        jobs;              /* under way */
	pthread_t     scan_thread;
	atomic_bool   is_scan_given_up; /* tells the thread */
	struct source drain_source;
};

/* ---- messages ---- */

struct recipient {
	uint32_t          offset; /* of its record in the list */
	uint32_t          next;   /* in a lane */
	uint32_t          next_news;
	enum stored_state state : 8;
	bool              is_settled : 1; /* this round has nothing more for it */
	bool              is_changed : 1; /* since it was last stored where the message lies */
	bool              is_news : 1;    /* since the journal was last told */
	bool              is_noticed : 1; /* a notice of it is being written */
	struct slice      outcome; /* the last one: a list of one msg_outcome; in the arena */
	struct slice      mailbox; /* mailbox workers; in the arena */
	uint64_t          quota;
	struct stages    *stages; /* local: what else there is to do in this round, or NULL */
};

/*
 * Local delivery in stages: an alias, then the user of that name; a user's .forward, then the
 * mailbox. A worker says when the next one is due; which that is was found out by routing, so that
 * a worker cannot choose another identity. In the message's arena, for one round.
 */
struct stages {
	struct slice        local;   /* of the stage at hand: a list of one msg_local */
	const struct route *next;    /* NULL = none */
	struct slice        forward; /* what is to be sent on: a list of one msg_forward */
	bool                passes;  /* when that is done, the next stage follows */
	struct slice        fault;   /* an earlier stage's failure: a list of one msg_outcome */
};

enum backing {
	BACKED_NOT,     /* being taken in, or a probe */
	BACKED_JOURNAL, /* in the segment `epoch` */
	BACKED_FILE,    /* in `place` */
};

struct intake_link;
struct settlement;

struct message {
	char             id[QUEUE_ID_MOST];
	struct list_node in_touched;
	/* The segment that holds it, or results that its file does not have yet (notes.c). */
	struct list_node in_segment;
	struct heap_node alarm;

	/* content */
	char                    *block; /* what payload lies in; NULL when not in memory */
	struct slice             payload;
	struct msg_intake_commit commit; /* of the payload, while it is in memory */
	struct msg_envelope      envelope;
	struct slice             sender; /* in the arena: stays when the payload is dropped */
	size_t                   payload_length;
	struct arena             arena;
	uint64_t                 size;
	bool                     is_spooled;

	/* where it is safe */
	enum backing backing;
	enum place   place;
	uint64_t     epoch;       /* of the segment that it is in */
	uint64_t     offset;      /* journal: payload's place in the segment */
	uint64_t     valid_bytes; /* file: where results are appended */
	unsigned     io;          /* operations under way that need it unchanged in place */
	bool         is_moving;   /* one of them moves it from the journal to a file */
	bool         has_stray;   /* journal: one that failed may have left a file */

	/* its recipients and this round */
	struct recipient *recipients;
	uint32_t          count;
	uint32_t          unsettled; /* of this round */
	uint32_t          news;      /* the first of those that are news; LANE_END = none */
	uint32_t          jobs;      /* under way */
	uint32_t          attempts;
	struct list_node  lanes;
	int64_t           active_us;
	int64_t           next_attempt_us;
	int64_t           resume_us; /* this round met a suspension that ends then; 0 = none */
	bool              is_resolving;
	bool              is_round; /* lanes are made or about to be */
	bool              is_retried, is_warned, is_expired;
	bool              is_taken_here; /* by this process, not found in the queue at its start */
	bool              has_notice_trouble; /* bounce could not: try again with the next round */
	bool              wants_delete, wants_hold, wants_flush;
	bool              wants_mark;  /* that it is to expire is not in its file yet */
	bool              is_held;     /* on its way to hold/: a flush does not reach it */
	bool              is_flushed;  /* by hand: deferred transports are tried, too */
	bool              is_put_back; /* in this round some recipients were not tried */
	bool              is_refused;  /* intake: not taken after all, freed when nobody reads it */
	bool              has_news;    /* results that are not in the journal yet */
	bool              is_outside;  /* of those, one that no repeat can be recognised by */
	bool              is_verify;   /* recipients are asked for, nothing is delivered */
	bool              is_reported; /* ENVELOPE_REPORT: that is done */
	bool              is_unsaved;  /* results that could not be written to its file yet */
	unsigned          agent_deaths;
	enum job_kind     notice;    /* the notices under way; JOB_DELIVER = none */
	struct resolve_task *routes; /* found, waiting for the commit */

	/* intake */
	struct intake_link  *prober; /* a probe (probe.c): who wants to know; NULL = a message */
	struct journal_write commit_write;
	struct intake_link  *intake;
	struct settlement
		*settlement; /* what it settles, when it is a notice; until it is written */
};

struct message *message_create(struct qmgr *qmgr, char *block, struct slice payload);
/* Memory only; it must be in no lane, job or operation. */
void message_free(struct qmgr *qmgr, struct message *message);
/* Makes sure that the payload is in memory; false: it cannot be read now. */
bool message_load(struct qmgr *qmgr, struct message *message, struct error *error);
/* Drops the payload when content takes too much memory. */
void message_trim(struct qmgr *qmgr, struct message *message);
bool message_recipient(const struct message *message, uint32_t index, struct msg_recipient *out);
/* Applies a stored RESULT. */
void message_apply(struct message *message, const struct msg_stored_result *result);
/* What a stored_result tells of. */
enum result_part {
	RESULT_ALL,     /* with something to tell */
	RESULT_CHANGED, /* is_changed */
	RESULT_NEWS,    /* is_news: costs nothing for the others, however many there are */
};
/* Where message_result begins; LANE_END: it has no recipient to tell of. */
uint32_t message_result_first(const struct message *message, enum result_part part);
/*
 * Appends a stored_result payload, of the recipients from *next on: as many as a record should
 * hold. *next is LANE_END when none is left. False: no memory.
 */
bool message_result(const struct message *message, enum result_part part, uint32_t *next,
                    struct buf *out);
bool message_has_changes(const struct message *message);
void message_clear_changes(struct message *message);
/* Something new is known of the recipient. */
void message_add_news(struct message *message, uint32_t index);
/* The journal is told; knows_all: nobody else has to be. */
void            message_clear_news(struct message *message, bool knows_all);
struct message *message_find(struct qmgr *qmgr, struct slice id);
/* It will be looked at (message_advance) before the loop waits again. */
void message_touch(struct qmgr *qmgr, struct message *message);
/* The same within a second, when memory is out for more. */
void message_touch_later(struct qmgr *qmgr, struct message *message);
void messages_touch_late(struct qmgr *qmgr);
void messages_advance(struct qmgr *qmgr);
/* "4.3.0" and text as an outcome in the message's arena. */
struct slice message_outcome(struct message *message, const struct msg_outcome *outcome);

/* ---- rounds.c ---- */

/* Begins a round: routes are looked up for all recipients that wait. */
void round_begin(struct qmgr *qmgr, struct message *message);
void message_advance(struct qmgr *qmgr, struct message *message);
/* Takes recipients that wait out of their lanes; those in jobs stay. */
void message_withdraw(struct qmgr *qmgr, struct message *message);
void message_log_active(const struct message *message);
/* Journal-backed or not yet, with its routes known: makes the lanes. */
void round_schedule(struct qmgr *qmgr, struct message *message);

/* ---- settle.c ---- */

/* One recipient's outcome in this round, logged by the agent; way: where it went, or NULL. */
void settle(struct qmgr *qmgr, struct message *message, uint32_t index,
            const struct msg_outcome *outcome, const struct destination *way);
/* The same with action, status and reason of our own, logged here. */
void settle_here(struct qmgr *qmgr, struct message *message, uint32_t index,
                 const struct msg_outcome *outcome, const struct destination *way);
/* Whether such an outcome leaves nothing to do, not even a notice. */
bool settle_is_end(struct qmgr *qmgr, struct message *message, uint32_t index, uint32_t action);
/*
 * Whether somebody is to hear of a failure: the sender, as NOTIFY says (0 = not given), or the
 * postmaster, as notify_classes says. bounce decides for each of them.
 */
bool failure_is_told(const struct qmgr *qmgr, const struct message *message, uint32_t notify);
/* Its sender is to be told what became of the first attempt. */
bool wants_report(const struct message *message);
/* That report is the end of this recipient: there is nothing else to do, or to tell. */
bool report_is_last(struct qmgr *qmgr, struct message *message, uint32_t index);
/* Settles everything that waits at a destination as deferred. */
void destination_defer_all(struct qmgr *qmgr, struct destination *destination, struct slice status,
                           struct slice reason);

/* ---- stages.c ---- */

/* Remembers what the route holds beside its first stage; false: out of memory. */
bool stages_set(struct message *message, uint32_t index, const struct route *route);
/*
 * A worker's outcome that is no end yet (OUTCOME_PASS, OUTCOME_FORWARD with what to send on, else
 * NULL): puts the recipient in line for its next stage. False: nonsense, or out of memory.
 */
bool stages_go_on(struct qmgr *qmgr, struct message *message, uint32_t index,
                  const struct msg_outcome *outcome, const struct msg_forward *forward);
/*
 * A stage ended well: true when that was not the last one and the recipient is in line again.
 * Otherwise *outcome may have become the failure of an earlier stage.
 */
bool stages_continue(struct qmgr *qmgr, struct message *message, uint32_t index,
                     struct msg_outcome *outcome);
/* Whether nothing is left to do for it once that is sent on which bounce has in hand for it. */
bool stages_forward_is_end(struct qmgr *qmgr, struct message *message, uint32_t index);

/* ---- lanes (agents.c, rounds.c) ---- */

bool lane_add(struct qmgr *qmgr, struct message *message, uint32_t index,
              struct destination *destination, enum job_kind kind);
void lane_free(struct qmgr *qmgr, struct lane *lane);

/* ---- resolve.c ---- */

struct resolvers *resolvers_start(struct qmgr *qmgr, size_t threads, struct error *error);
void              resolvers_give(struct resolvers *resolvers, struct task_list *list);
void              resolvers_stop(struct resolvers **resolvers);
/* Asks for the routes of all recipients that are not settled; false: out of memory. */
bool resolve_request(struct qmgr *qmgr, struct message *message);
/* Puts the recipient in line where the route leads, or settles it. */
void route_apply(struct qmgr *qmgr, struct message *message, uint32_t index,
                 const struct route *route);
/* Makes lanes of the answer, which it frees. */
void resolve_apply(struct qmgr *qmgr, struct message *message);
void resolve_forget(struct message *message);

/* ---- outlook.c ---- */

/* Reads state/suspended; what is over is forgotten. What cannot be read is tried with each tick,
 * and not written over. */
void suspensions_load(struct qmgr *qmgr);
/* Once a second. */
void suspensions_tick(struct qmgr *qmgr);
/* The message waits for the end of the suspension, if that has one. */
void suspension_wait(struct qmgr *qmgr, struct message *message,
                     const struct suspension *suspension);
/* "delivery temporarily suspended: ..." */
void suspension_reason(const struct suspension *suspension, struct buf *text);

/* ---- segments.c: which of them hold something live ---- */

/* The message lies in that segment. */
void segment_enter(struct qmgr *qmgr, struct message *message, uint64_t epoch);
/* Lives in a file, but records of that segment still tell of it. */
void segment_pin(struct qmgr *qmgr, struct message *message, uint64_t epoch);
/* Harmless when it is in none. */
void segment_leave(struct qmgr *qmgr, struct message *message);
/* The same for what is no message: the newest segment's epoch, or a given one again. */
uint64_t segment_hold(struct qmgr *qmgr);
void     segment_let_go(struct qmgr *qmgr, uint64_t epoch);
/* The journal goes on behind what the start found. */
void segments_begin(struct qmgr *qmgr, uint64_t epoch);

/* ---- store.c: what the journal is told of a message ---- */

/* A journal record that nobody waits for: result so far, or done. */
void store_result(struct qmgr *qmgr, struct message *message);
/* The message is done with: logs that as the program (NULL: itself), forgets it on disk and in
 * memory. Without memory it is tried again a second later. */
void store_finish(struct qmgr *qmgr, struct message *message, const char *program);
/* A body that nobody refers to any more. */
void store_forget_spool(struct qmgr *qmgr, const char *id);
/* Calls done when what was removed, or noted in the journal as done, would survive a power cut. */
struct barrier {
	void (*done)(struct qmgr *qmgr, struct barrier *barrier);
	struct error *error; /* why that is not so */
	unsigned      pending;
};
void store_barrier(struct qmgr *qmgr, struct barrier *barrier, bool with_journal);
/* Found in a file as well as in the journal, which forgets it: otherwise a later start, when the
 * file is done with, would deliver it again. */
void store_supersede(struct qmgr *qmgr, struct message *message);
/* done NULL: an error is logged, and the task freed. The task NULL: out of memory. */
struct file_task *file_task_new(struct qmgr *qmgr, enum file_verb verb, const char *id,
                                void (*done)(struct qmgr *, struct task *));

/* ---- rest.c: from the journal to a file, and out of memory ---- */

/* It rests in a file until next_attempt_us (or on hold) and leaves memory. */
void store_rest(struct qmgr *qmgr, struct message *message, enum place place);
/* It rests in its file until next_attempt_us, where nothing has changed. */
void store_put_back(struct qmgr *qmgr, struct message *message);
/* Once more: its results could not be written to its file. */
void store_again(struct qmgr *qmgr, struct message *message);
/* Moves what is live in the oldest segments to files when there are too many segments. */
void store_evict(struct qmgr *qmgr);

/* ---- fetch.c: back into memory ---- */

/* Reads what is due, as far as there is room. */
void store_fetch_due(struct qmgr *qmgr);

/* ---- notes.c ---- */

/* A message's file was removed: the GONE record in the held segment lives until that is durable. */
void note_removed(struct qmgr *qmgr, uint64_t held_epoch);
/* Once a second, or when segments run out: makes removals durable. */
void notes_tick(struct qmgr *qmgr);

/* ---- settlement.c ---- */

/*
 * The answer to what an intake channel said of its next message (intake_settles): *prefix becomes
 * what goes in front of the notice in its record. NULL: nobody may say so, or no memory.
 */
struct settlement *settlement_new(struct qmgr *qmgr, const struct intake_link *link,
                                  struct slice notice_id, struct buf *prefix);
/* The notice is on its way to the journal. */
void settlement_begin(struct message *notice, struct settlement *settlement);
/* It is there, or will not be; does nothing for a message that settles nothing. */
void settlement_end(struct qmgr *qmgr, struct message *notice, bool is_written);

/* ---- channels: intake.c, agents.c ---- */

/* After accept() failed: without descriptors or memory a listener stays readable, and the loop
 * would spin. Clients wait in the backlog meanwhile. */
void accept_pause(void);
/* The same, and without descriptors lets the first one that waits go with the spare one: it hears
 * at once that it has to come again. */
void accept_refuse(struct qmgr *qmgr, int listener_fd);

/* room.c */
void places_init(struct qmgr *qmgr);
/* Whether one more channel may be opened, if need be by closing an agent's that has no work. */
bool place_make(struct qmgr *qmgr);
/* Whether an agent may be accepted; otherwise those who connect wait, until places_tick. */
bool place_for_agent(struct qmgr *qmgr, struct source *listener);
/* Once a second. */
void places_tick(struct qmgr *qmgr);

enum link_kind { LINK_INTAKE, LINK_AGENT };
struct link {
	struct source      source;
	enum link_kind     kind;
	struct ipc_channel channel;
	struct list_node   in_links, in_dirty;
	bool               wants_write; /* epoll tells when there is room */
	bool               is_closed;   /* to be freed when nothing refers to it */
};
bool link_open(struct qmgr *qmgr, struct link *link, enum link_kind kind, int fd,
               void (*ready)(struct qmgr *, struct source *, uint32_t));
/* Has output for the end of the turn. */
void link_dirty(struct qmgr *qmgr, struct link *link);
void link_shut(struct qmgr *qmgr, struct link *link);
/* Sends what waits on dirty links. */
void links_flush(struct qmgr *qmgr);
/* Gives back the buffers of all that are idle. */
void links_trim(struct qmgr *qmgr);

struct intake_link {
	struct link link;
	char        service[64];
	bool        has_greeted;
	size_t      pending; /* commits and spools without an answer */
	size_t      probes;  /* likewise */
	int         pid;     /* who connected; 0 = unknown */
	struct buf  settles; /* payload of the intake_settles that came before a commit */
};
void intake_accept(struct qmgr *qmgr, struct source *source, uint32_t events);
void intake_committed(struct qmgr *qmgr, struct message *message);
void intake_close(struct qmgr *qmgr, struct intake_link *link);
/*
 * Before a drained qmgr ends: what was sent whole is taken, and nothing more gets in, so that a
 * sender sees its send fail and may repeat it to the next qmgr.
 */
void intake_finish(struct qmgr *qmgr, struct intake_link *link);
/* Frees it when it is closed and nothing refers to it. */
void intake_release(struct intake_link *link);

/* ---- probe.c ---- */

/* False: malformed. */
bool probe_take(struct qmgr *qmgr, struct intake_link *link, struct ipc_frame *frame);
/* Its round may be over: then the answer is sent, and it is gone. */
void probe_advance(struct qmgr *qmgr, struct message *probe);

struct job {
	struct list_node    in_agent;
	uint64_t            number;
	struct message     *message;
	struct destination *destination;
	enum job_kind       kind;
	bool                is_fresh;
	uint32_t            count;
	uint32_t            recipients[];
};
struct agent_link {
	struct link         link;
	struct transport   *transport;
	struct destination *worker; /* the destination that it serves alone; NULL = any */
	uint32_t            window;
	uint32_t            busy;
	struct list_node    jobs;
	struct list_node    in_idle, in_agents;
	char               *held; /* nexthop of a connection that it keeps */
	int64_t             held_until_ms;
	unsigned            streak; /* jobs in a row because of that */
	bool                has_greeted, is_lent;
	int                 pid; /* who connected; 0 = unknown */
	int64_t             attached_ms;
	int64_t             used_ms; /* a worker's: when it last had something to do */
};
void agent_accept(struct qmgr *qmgr, struct source *source, uint32_t events);
/* Gives jobs to whoever has room. */
void agents_dispatch(struct qmgr *qmgr);
void agent_close_link(struct qmgr *qmgr, struct agent_link *agent, const char *why);
/* Once a second: transports without agents. */
void agents_tick(struct qmgr *qmgr);

/* ---- scan.c ---- */

/* From time to time: reads the directories once more when that did not go well. */
void scan_again(struct qmgr *qmgr);
/*
 * That message's file is about to be removed: the scan may have read its name before, and another
 * thread would read the file before it is gone. False: no memory, and it must not be removed yet.
 */
bool scan_note_gone(struct qmgr *qmgr, const char *id);

/* ---- start.c ---- */

/* Locks the queue, replays the journal, makes directories and threads. */
bool qmgr_open(struct qmgr *qmgr, struct error *error);
void qmgr_close(struct qmgr *qmgr);
/* Gives the deferred and held messages to the backlog while mail flows. */
bool scan_start(struct qmgr *qmgr, struct error *error);
/* It is given up where it is. */
void scan_stop(struct qmgr *qmgr);
/* An instance number for an intake channel; false when none can be reserved. */
bool instance_take(struct qmgr *qmgr, uint64_t *instance, struct error *error);

/* ---- control.c ---- */

struct control *control_start(struct qmgr *qmgr, int listener, struct error *error);
void            control_stop(struct control **control);

/* ---- loop.c ---- */

int  qmgr_loop(struct qmgr *qmgr);
void inbox_ready(struct qmgr *qmgr, struct source *source, uint32_t events);
void drain_ready(struct qmgr *qmgr, struct source *source, uint32_t events);
bool watch(struct qmgr *qmgr, struct source *source, uint32_t events, bool is_new);
void clock_update(struct qmgr *qmgr);
/* Whether trouble that comes with every message may be logged now. */
bool may_complain(struct qmgr *qmgr);

#endif
