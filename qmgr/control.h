/* control.h - questions of the control threads to the scheduler; see control.c. */
#ifndef DAKIYA_QMGR_CONTROL_H
#define DAKIYA_QMGR_CONTROL_H

#include "lib/queue/control.h"
#include "qmgr/qmgr.h"

enum ask_kind {
	ASK_IDS,     /* of all messages in memory, a line each, in out */
	ASK_ENTRIES, /* of the ids given, if they are in memory */
	ASK_PAYLOAD, /* of the one id given, if it is in memory: count 1 */
	ASK_ACT,     /* on the ids given; count = how many that concerned */
	ASK_FLUSH_ALL,
	ASK_TOTALS, /* a queue_totals payload, in out */
};
struct ask {
	struct task       task;
	enum ask_kind     kind;
	struct slice      ids; /* a line each */
	struct slice      site;
	bool              want_recipients;
	enum queue_action action;
	/* the answer */
	struct buf       out;
	uint64_t         count;
	enum queue_state state;
	bool             is_done; /* guarded by the control's lock */
};
/* In the scheduler: answers. */
void ask_answer(struct qmgr *qmgr, struct task *task);
/* summary.c: for ASK_TOTALS. */
void ask_totals(struct qmgr *qmgr, struct ask *ask);
void ask_done(struct control *control, struct ask *ask);

/* act.c: what a message in memory counts as. */
enum queue_state message_queue_state(const struct message *message);

#endif
