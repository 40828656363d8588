/* control.h - questions of the control threads to the scheduler; see control.c. */
#ifndef DAKIYA_QMGR_CONTROL_H
#define DAKIYA_QMGR_CONTROL_H

#include "lib/queue/control.h"
#include "qmgr/qmgr.h"

enum ask_kind {
	ASK_IDS,       /* of all messages in memory, a line each, in out */
	ASK_ENTRIES,   /* of the ids given, if they are in memory, up to `at` */
	ASK_PAYLOAD,   /* of the one id given, if it is in memory: count 1 */
	ASK_ACT,       /* on the ids given; count = how many that concerned */
	ASK_FLUSH_ALL, /* begins or goes on at `at`, which is 0 when all is done */
	ASK_TOTALS,    /* a queue_totals payload, in out */
	ASK_WHY,       /* of the one id given: a queue_outlook payload, in out */
	ASK_SUSPEND,   /* the suspension given; count 1 when that changed something */
};
struct ask {
	struct task       task;
	enum ask_kind     kind;
	struct slice      ids; /* a line each */
	enum queue_action action;
	struct slice      recipients; /* WHY: a list of queue_recipient, those that are not done */
	bool              is_resumed; /* SUSPEND */
	const struct msg_queue_suspension *suspension;
	/* the answer */
	struct buf       out;
	uint64_t         count;
	size_t           at;
	size_t           slots; /* FLUSH_ALL: of the backlog when it began */
	enum queue_state state;
	struct error     error;   /* SUSPEND: it could not be written down */
	bool             is_done; /* guarded by the control's lock */
};
/* In the scheduler: answers. */
void ask_answer(struct qmgr *qmgr, struct task *task);
/* summary.c: for ASK_TOTALS. */
void ask_totals(struct qmgr *qmgr, struct ask *ask);
/* outlook.c: for ASK_WHY. */
void ask_why(struct qmgr *qmgr, struct ask *ask);
/* suspend.c: for ASK_SUSPEND. */
void ask_suspend(struct qmgr *qmgr, struct ask *ask);
void ask_done(struct control *control, struct ask *ask);

/* act.c: what a message in memory counts as. */
enum queue_state message_queue_state(const struct message *message);

#endif
