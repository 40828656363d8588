/* control.h - questions of the control threads to the scheduler; see control.c. */
#ifndef DAKIYA_QMGR_CONTROL_H
#define DAKIYA_QMGR_CONTROL_H

#include "lib/queue/control.h"
#include "qmgr/qmgr.h"

enum ask_kind {
	ASK_IDS,       /* of all messages in memory, a line each, in out */
	ASK_ENTRIES,   /* of the ids given, if they are in memory, up to `at` */
	ASK_ROWS,      /* the next of those that wait in files; see struct rows */
	ASK_PAYLOAD,   /* of the one id given, if it is in memory: count 1 */
	ASK_ACT,       /* on the ids given; count = how many that concerned, the others in out */
	ASK_BARRIER,   /* answered when what was done before is safe; otherwise with an error */
	ASK_FLUSH_ALL, /* a part of them; count grows, and is_over when that were all */
	ASK_TOTALS,    /* a queue_totals payload, in out */
	ASK_WHY,       /* of the one id given: a queue_outlook payload, in out */
	ASK_SUSPEND,   /* the suspension given; count 1 when that changed something */
};

/* A message that waits in a file, as the backlog knows it. */
struct row {
	char     id[QUEUE_ID_MOST];
	int64_t  due_us;
	uint64_t card; /* where it lies (cards.h); 0 = it has none */
	uint32_t card_bytes;
	uint32_t version;
	bool     is_on_hold;
	bool     is_expired;
	bool     has_new_card; /* the asker wrote one: noted when the next rows are asked for */
	bool     is_too_long;  /* or it cannot have one */
};

#define ROWS_AT_ONCE 500
/*
 * A walk over the backlog: begins with zeros. The last question is_given_up: the walk is over, or
 * forgotten, and cards are noted.
 */
struct rows {
	struct slice only; /* this id alone; empty = all */
	bool         wants_cardless, is_given_up;
	struct row   items[ROWS_AT_ONCE];
	size_t       count;
	bool         is_over;    /* there are no more; without it and without items more may come */
	uint64_t     card_bytes; /* of the whole backlog */
	/* the scheduler's own */
	struct waiting *mark;
};

struct ask {
	struct task       task;
	enum ask_kind     kind;
	struct slice      ids; /* a line each */
	enum queue_action action;
	uint32_t          states;       /* ACT: of enum queue_state; 0 = any */
	bool              is_in_memory; /* ACT, answered: some of them are. BARRIER: some were */
	struct slice      recipients; /* WHY: a list of queue_recipient, those that are not done */
	bool              is_resumed; /* SUSPEND */
	struct rows      *rows;       /* ROWS */
	const struct msg_queue_suspension *suspension;
	struct barrier                     barrier; /* BARRIER */
	/* the answer */
	struct buf       out;
	uint64_t         count;
	size_t           at;
	bool             is_over;
	struct waiting  *mark; /* FLUSH_ALL: the scheduler's own */
	enum queue_state state;
	struct error     error;   /* SUSPEND, BARRIER, FLUSH_ALL: not all could be done */
	bool             is_done; /* guarded by the control's lock */
};
/* In the scheduler: answers. */
void ask_answer(struct qmgr *qmgr, struct task *task);
/* rows.c: for ASK_ROWS. */
void ask_rows(struct qmgr *qmgr, struct ask *ask);
/* summary.c: for ASK_TOTALS. */
void ask_totals(struct qmgr *qmgr, struct ask *ask);
/* outlook.c: for ASK_WHY. */
void ask_why(struct qmgr *qmgr, struct ask *ask);
/* suspend.c: for ASK_SUSPEND. */
void ask_suspend(struct qmgr *qmgr, struct ask *ask);
void ask_done(struct control *control, struct ask *ask);

/* act.c: whether its bit is in states, or states is 0. */
bool queue_state_is_among(enum queue_state state, uint32_t states);
/* What a message in memory counts as. */
enum queue_state message_queue_state(const struct message *message);

#endif
