/* control.h - constants of the queue's administration messages (queue_list, queue_act ...). */
#ifndef DAKIYA_QUEUE_CONTROL_H
#define DAKIYA_QUEUE_CONTROL_H

enum queue_state {
	QUEUE_INCOMING,
	QUEUE_ACTIVE,
	QUEUE_DEFERRED,
	QUEUE_HOLD,
	QUEUE_CORRUPT,
	QUEUE_MAILDROP, /* left by a user, not taken in yet */
	QUEUE_STATES
};

enum queue_action {
	QUEUE_ACT_FLUSH = 1, /* try now: all, one id, or one site */
	QUEUE_ACT_DELETE,
	QUEUE_ACT_HOLD,
	QUEUE_ACT_RELEASE,
	QUEUE_ACT_REQUEUE, /* as FLUSH, and routed anew */
	QUEUE_ACT_EXPIRE,  /* returned to its sender at the next chance */
	/* In qmgr only: what is in line is taken out of it and routed anew. */
	QUEUE_ACT_REROUTE,
};

enum control_status { CONTROL_OK, CONTROL_NOT_FOUND, CONTROL_NOT_ALLOWED, CONTROL_FAILED };

#endif
