/*
 * files.h - the file threads: everything in the queue that is a file of its own (places.h).
 *
 * A thread takes all tasks that wait, carries them out and syncs them together: files first, then
 * renames, then directories; only then are they given back. file_verbs.c holds the work itself.
 */
#ifndef DAKIYA_QMGR_FILES_H
#define DAKIYA_QMGR_FILES_H

#include "lib/queue/record.h"
#include "qmgr/handoff.h"
#include "qmgr/places.h"

enum file_verb {
	FILE_SPOOL,      /* creates spool/ID, gives fd */
	FILE_SPOOL_SYNC, /* makes what was written to it durable; gives length */
	FILE_SPOOL_REMOVE,
	FILE_STORE,   /* a new file with message and result, durable; mtime */
	FILE_UPDATE,  /* appends result at valid_bytes (nothing when empty); mtime */
	FILE_REWRITE, /* STORE in the place of the file that is there, which stays when it fails */
	FILE_LOAD,   /* gives bytes, valid_bytes; looks in the other place, too, where a MOVE may be
	                due */
	FILE_REMOVE, /* with its spool file */
	FILE_MOVE,   /* from `place` to the other one; mtime */
	FILE_CORRUPT, /* from `place` to corrupt/ */
	FILE_EXPIRE,  /* appends a result that marks it to be returned; mtime */
	FILE_BARRIER, /* what was removed before is gone for good; an error when some could not be
	               */
};

struct file_task {
	struct task    task;
	enum file_verb verb;
	char           id[QUEUE_ID_MOST];
	enum place     place;
	int64_t        mtime_us;    /* the next attempt */
	struct slice   message;     /* STORE, REWRITE: payload, borrowed */
	struct buf     result;      /* STORE, REWRITE, UPDATE: records; empty = none */
	uint64_t       valid_bytes; /* sound bytes of the file, in and out; REWRITE: of the one
	                             * that has the name, also when it failed */
	bool has_spool;             /* REMOVE */
	/* STORE, REMOVE: one that failed before may have left a file, also in the other place.
	 * After STORE: whether it may still be there. */
	bool     has_stray;
	void    *context;
	uint64_t held_epoch; /* REMOVE: a segment held until it is durable; 0 = none */

	/* the answer */
	struct error error; /* errno_value 0 = done */
	int          fd;    /* SPOOL */
	char        *bytes; /* LOAD: malloc'ed; the caller frees it */
	size_t       length;

	/* the thread's own */
	int      work_fd;
	uint64_t new_bytes; /* of a file in tmp/ that is to get the name; 0 = none */
	bool     is_synced; /* what was written to it */
	bool     is_second; /* a removal that failed before */
};

struct files;
struct files_config {
	int             queue_fd; /* the queue directory */
	struct handoff *inbox;    /* the scheduler's */
};
struct files *files_start(const struct files_config *config, struct error *error);
/* The caller fills in what the verb needs; buf and bytes stay his. */
void files_give(struct files *files, struct file_task *task);
/* Tasks that are not carried out yet; from any thread. */
size_t files_pending(const struct files *files);
/* Finishes what was given, but for loads, which are given up; ends the thread. */
void files_stop(struct files **files);

#endif
