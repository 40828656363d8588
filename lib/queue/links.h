/*
 * links.h - channels to one daemon, each for one question at a time; idle ones are kept.
 *
 * Any thread may take one; the lock guards the list, never a wait.
 */
#ifndef DAKIYA_QUEUE_LINKS_H
#define DAKIYA_QUEUE_LINKS_H

#include "lib/base/error.h"
#include "lib/base/mutex.h"
#include "lib/ipc/channel.h"

struct queue_link {
	struct queue_link *next;
	struct ipc_channel channel;
};

struct queue_links {
	const char        *path; /* the daemon's socket; the caller's */
	size_t             idle_most;
	struct mutex       lock; /* guards what follows */
	struct queue_link *idle;
	size_t             idle_count;
};

void links_init(struct queue_links *links, const char *path);
/* None may be in use. */
void links_free(struct queue_links *links);

/* An idle one whose daemon is still there; NULL when there is none. */
struct queue_link *links_take_idle(struct queue_links *links);
/* A new one; NULL: *error. */
struct queue_link *links_open(struct queue_links *links, struct error *error);
/* Kept for the next question; closed when it is broken or enough are idle. */
void links_give_back(struct queue_links *links, struct queue_link *link);
void link_close(struct queue_link *link);

#endif
