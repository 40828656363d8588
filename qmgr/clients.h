/*
 * clients.h - what the files that serve administrators share; they run in control.c's threads.
 */
#ifndef DAKIYA_QMGR_CLIENTS_H
#define DAKIYA_QMGR_CLIENTS_H

#include "lib/queue/stored.h"
#include "qmgr/control.h"

#define CLIENT_MS 60000        /* how long a client may take to ask or to read */
#define OUT_MOST  (256u << 20) /* of an answer of the scheduler */

struct client {
	struct control    *control;
	struct qmgr       *qmgr;
	struct ipc_channel channel;
	uint32_t           uid;
	bool               is_owner;           /* root or the queue's owner: may do everything */
	bool               has_changed_memory; /* since the last listing_settle */
};

/* Rests that long; false at once when these threads are to end. */
bool control_pause(struct control *control, int64_t pause_ms);
/* Waits for the scheduler's answer, which comes until the last of these threads has ended. */
void ask_wait(struct control *control, struct ask *ask);
/* The last frame of an answer; false when the client is gone. */
bool end_send(struct client *client, enum control_status status, uint64_t count,
              const char *reason);
/* Whether the list has this user; otherwise *is_good is what became of the answer. */
bool client_may(struct client *client, struct match_list *list, const char *what, bool *is_good);
/* A message's file wherever it lies: malloc'ed, with what is in it; NULL when there is none. */
char *client_file(struct client *client, struct slice id, struct stored_file *file,
                  enum queue_state *state, int64_t *mtime_us);

/* ---- listing.c ---- */

struct listing {
	struct client          *client;
	struct msg_queue_filter filter;
	struct slice            only;   /* this id; empty = all */
	enum queue_action       action; /* 0 = the entries are sent */
	bool                    is_forced;
	bool                    is_memory_only;
	bool                    want_recipients;
	bool                    is_silent; /* only to make the cards that are missing */
	uint64_t                count;     /* listed, or acted upon */
	bool                    has_failed;
	/* its own */
	struct hash in_memory;
	struct buf  ids; /* to be acted upon, a line each */
	size_t      id_count;
	int64_t     pause_ms; /* what the last portion took: a silent one rests as long */
};
/* Lists or acts upon what the filter lets through, a few messages at a time. */
void listing_run(struct listing *listing);
/* Of what pickup has not taken in; how many that concerned. */
uint64_t dropped_remove(const struct qmgr *qmgr, struct slice id);
/* On its ids and states; how many that concerned, the other ids in *others unless that is NULL. */
uint64_t listing_act(struct client *client, const struct msg_queue_act *act, struct buf *others);
/* Waits until it would survive a power cut. */
bool listing_settle(struct client *client, enum queue_action action, struct error *error);

/* ---- clerk.c ---- */

/* Until the control is stopped. */
void clerk_work(struct control *control, struct qmgr *qmgr);

/* ---- explain.c ---- */

bool serve_why(struct client *client, struct ipc_frame *frame);
bool serve_suspend(struct client *client, struct ipc_frame *frame);

#endif
