/*
 * dropped.h - mail in maildrop/ that pickup has not taken in yet, as entries of a listing.
 *
 * Any user may put anything there: a file that is none of ours, or not finished, is passed over.
 */
#ifndef DAKIYA_QUEUE_DROPPED_H
#define DAKIYA_QUEUE_DROPPED_H

#include "lib/queue/control.h"
#include "lib/ipc/messages.h"

/* Called for each message until it returns false; the entry is borrowed. */
typedef bool queue_dropped_visit(void *context, const struct msg_queue_entry *entry);
/* False when the directory cannot be read (errno); one that is not there is empty. */
bool queue_dropped_each(int queue_fd, queue_dropped_visit *visit, void *context);

/* Removes one that pickup has not begun to take in; false when there is none of that id. */
bool queue_dropped_remove(int queue_fd, struct slice id);

#endif
