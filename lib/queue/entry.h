/*
 * entry.h - a queue file as one entry of a listing; qmgr and, while it is down, dakqueue use it.
 */
#ifndef DAKIYA_QUEUE_ENTRY_H
#define DAKIYA_QUEUE_ENTRY_H

#include "lib/queue/control.h"
#include "lib/queue/stored.h"

/* One recipient with its last outcome (a list of one msg_outcome, or empty); without reason and way
 * when the list is so long that it would not fit into an entry. */
bool queue_recipient_append(struct buf *list, const struct msg_recipient *recipient,
                            struct slice outcome);

struct queue_file_listing {
	enum queue_state state;
	int64_t          mtime_us; /* the next attempt */
	bool             want_recipients;
};
/*
 * Fills *entry; its recipients lie in *list, which the caller provides and frees. False: nothing
 * left to do in it, or out of memory.
 */
bool queue_entry_from_file(const struct stored_file *file, const struct queue_file_listing *how,
                           struct buf *list, struct msg_queue_entry *entry);

/* Whether text is the name of a file that could be a queue file of ours in deferred/ or hold/:
 * calls visit for each, until it returns false. False when a directory cannot be read. */
typedef bool queue_visit(void *context, int directory, const char *id, enum queue_state state);
bool         queue_files_visit(int queue_fd, queue_visit *visit, void *context);

/* A whole file in *bytes, which is used again and again; false with errno. Its mtime in *mtime_us,
 * which may be NULL: it costs a system call. */
bool queue_file_fetch(int directory, const char *path, struct buf *bytes, int64_t *mtime_us);

/* A whole file in memory, malloc'ed; NULL with errno. Its mtime in *mtime_us. */
char *queue_file_map(int queue_fd, const char *path, size_t *length, int64_t *mtime_us);

#endif
