/*
 * offline.h - the queue as it lies on disk, shared by what lists it and what changes it while qmgr
 * is down.
 */
#ifndef DAKIYA_DAKQUEUE_OFFLINE_H
#define DAKIYA_DAKQUEUE_OFFLINE_H

#include "lib/base/array.h"
#include "lib/base/hash.h"
#include "lib/queue/stored.h"
#include "tools/dakqueue/dakqueue.h"

struct segment {
	char               *bytes;
	char                name[24];
	struct segment_walk walk;
};

/* A RESULT of a message, and the one before it. */
struct journal_result {
	struct slice payload;
	size_t       previous; /* place in the list, from 1; 0 = none */
};

/* The segments, and which of their messages are not done. */
struct journal {
	ARRAY(struct segment) segments;
	ARRAY(struct slice) payloads; /* of messages, in order */
	ARRAY(struct journal_result) results;
	struct hash live;  /* id -> its payload's place in the list, from 1 */
	struct hash known; /* id -> its last result's place in the list, from 1 */
	uint64_t    tail;
};
/* False with errno when the directory cannot be read. */
bool journal_read(struct journal *journal);
void journal_free(struct journal *journal);
/* The payload of a message that is not done; empty when there is none. */
struct slice journal_message(const struct journal *journal, struct slice id);
/* Appends its results as records of a queue file. */
bool journal_results(const struct journal *journal, struct slice id, struct buf *records);

/* Says that the queue cannot be read; the exit code. */
int not_readable(const struct tool *tool);

#endif
