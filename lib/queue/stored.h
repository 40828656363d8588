/*
 * stored.h - a queue file's bytes as a message with what is still to do: for qmgr and dakqueue.
 *
 * The first record is the message; RESULT records follow in order, and a torn one at the end is
 * ignored (nobody was told that it is there).
 */
#ifndef DAKIYA_QUEUE_STORED_H
#define DAKIYA_QUEUE_STORED_H

#include "lib/queue/record.h"

struct stored_file {
	struct slice             message; /* the payload of the message record */
	struct msg_intake_commit commit;
	struct msg_envelope      envelope;
	uint32_t                 recipient_count;
	struct slice             results;     /* the records behind it, sound ones only */
	uint64_t                 valid_bytes; /* where the next record is appended */
};
/* False: no sound message record; slices borrow bytes. */
bool stored_file_parse(struct slice bytes, struct stored_file *file);
/* The next RESULT of *results; false at the end. A record of another type is skipped. */
bool stored_result_next(struct slice *results, struct msg_stored_result *result);

#endif
