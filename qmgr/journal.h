/*
 * journal.h - the syncer: writes records to the segments in active/ and shares the syncs.
 *
 * One thread. It takes everything that was handed in while the last sync ran, writes it in one
 * go behind what is there, syncs, and gives all of it back. Records that nobody waits for (not
 * urgent) are written at once and synced with the next batch, or LAZY_MS later; what tells of a
 * delivery that cannot be recognised when it is repeated, HURRY_MS later.
 */
#ifndef DAKIYA_QMGR_JOURNAL_H
#define DAKIYA_QMGR_JOURNAL_H

#include "lib/queue/record.h"
#include "qmgr/handoff.h"

struct journal;

struct journal_write {
	struct task      task;
	enum record_type type;
	bool             is_urgent; /* given back only when it would survive a power cut */
	bool             is_hurried;
	struct slice     payload; /* borrowed until given back */
	/* the answer */
	int      errno_value; /* 0 = written */
	uint64_t epoch;       /* the segment, and the payload's offset in it */
	uint64_t offset;

	char header[RECORD_HEADER_BYTES]; /* the syncer's */
};

struct journal_config {
	int                directory_fd; /* active/ */
	uint64_t           segment_bytes;
	uint64_t           next_epoch; /* above every epoch found at the start */
	struct segment_key secret;     /* of the queue: what segments' keys are made from */
	struct handoff    *inbox;      /* the scheduler's */
};
struct journal *journal_start(const struct journal_config *config, struct error *error);
/* Tells of a segment file found at the start; in the order of epochs, before anything is given.
 * False: out of memory. */
bool journal_add_file(struct journal *journal, uint64_t number, uint64_t epoch);
/* Hands records in; *list is empty afterwards. */
void journal_give(struct journal *journal, struct task_list *list);
/* Nothing in the segments before this epoch is live any more: they may be written over. */
void journal_set_tail(struct journal *journal, uint64_t epoch);
/* The file that holds an epoch's segment, -1 when none does: for reading. Any thread. */
int64_t journal_file_number(struct journal *journal, uint64_t epoch);
/* Writes and syncs what was handed in, ends the thread. */
void journal_stop(struct journal **journal);

void segment_file_name(char name[24], uint64_t number);

#endif
