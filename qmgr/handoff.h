/*
 * handoff.h - how qmgr's threads give each other work: a locked list and a way to wake the taker.
 *
 * A task is owned by whoever holds it. Workers take all that is there in one go (that is what
 * makes group commit); the scheduler is woken through an eventfd, once for a burst.
 */
#ifndef DAKIYA_QMGR_HANDOFF_H
#define DAKIYA_QMGR_HANDOFF_H

#include "lib/base/error.h"
#include "lib/base/mutex.h"

struct qmgr;

struct task {
	struct task *next;
	/* Called in the scheduler's thread when the work is done; owns the task again. */
	void (*done)(struct qmgr *qmgr, struct task *task);
};
struct task_list {
	struct task  *first;
	struct task **end; /* where the next one is linked */
};
void         task_list_init(struct task_list *list);
void         task_list_append(struct task_list *list, struct task *task);
struct task *task_list_take(struct task_list *list); /* the first; NULL when empty */

struct handoff {
	struct mutex     lock; /* guards everything below */
	struct condition filled;
	struct task_list tasks;
	bool             is_closed;
	int              event_fd; /* -1: the taker waits on the condition */
};
/* has_event: the taker is an event loop and waits on event_fd. */
bool handoff_init(struct handoff *handoff, bool has_event, struct error *error);
void handoff_destroy(struct handoff *handoff);
/* Moves all tasks over; *list is empty afterwards. Nothing is done for an empty list. */
void handoff_give(struct handoff *handoff, struct task_list *list);
void handoff_give_one(struct handoff *handoff, struct task *task);
/* Everything that is there, without waiting. */
void handoff_take(struct handoff *handoff, struct task_list *list);
/* Waits for something; false when closed and empty. deadline_ms 0 = none; then true, empty. */
bool handoff_wait(struct handoff *handoff, struct task_list *list, int64_t deadline_ms);
/* Waits for one task, for pools of workers; NULL when closed and empty. */
struct task *handoff_wait_one(struct handoff *handoff);
void         handoff_close(struct handoff *handoff);

#endif
