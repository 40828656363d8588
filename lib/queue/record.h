/*
 * record.h - the one record format of the queue on disk: journal segments and queue files.
 *
 * A record is a header of 32 bytes and a payload, padded to 8 bytes. The checksum covers all but
 * the magic and itself, so a record is whole or it is none. A segment begins with a header of
 * its own; records follow up to a header of zeros. A queue file is one MESSAGE record followed by
 * RESULT records. Numbers are little-endian. docs/queue.md has the layout and the guarantees.
 */
#ifndef DAKIYA_QUEUE_RECORD_H
#define DAKIYA_QUEUE_RECORD_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/ipc/messages.h"

#define RECORD_HEADER_BYTES  32
#define SEGMENT_HEADER_BYTES 64
#define QUEUE_FORMAT_VERSION 1
#define RECORD_PAYLOAD_MOST  (17u << 20)

enum record_type {
	RECORD_MESSAGE = 1, /* an intake_commit */
	RECORD_RESULT,      /* a stored_result */
	RECORD_DONE,        /* a stored_done */
};

/* What is still to do for a recipient. */
enum stored_state {
	STORED_WAITING,   /* to be tried (again) */
	STORED_DONE,      /* nothing */
	STORED_FAILED,    /* the sender is to be told */
	STORED_DELIVERED, /* the sender asked to be told, and is to be */
};

enum stored_flag {
	STORED_FLAG_WARNED = 1 << 0,  /* a delay notice was sent */
	STORED_FLAG_EXPIRED = 1 << 1, /* an admin ended its lifetime */
};

/* Bytes on disk of a record with that payload. */
size_t record_size(size_t payload_length);
/* The header for a payload given in one or two parts. */
void record_header(char header[RECORD_HEADER_BYTES], enum record_type type, uint64_t epoch,
                   struct slice payload);
/* Appends header, payload and padding. */
bool record_append(struct buf *out, enum record_type type, uint64_t epoch, struct slice payload);

struct record {
	enum record_type type;
	uint64_t         epoch;
	struct slice     payload; /* borrowed from the input */
	size_t           size;    /* with header and padding */
};
/* The record at the start of bytes; false when there is no whole and sound one. */
bool record_parse(struct slice bytes, struct record *record);

/* ---- segments ---- */

struct segment_head {
	uint64_t epoch; /* counts up with every use of a segment, never 0 */
	uint64_t tail;  /* segments with a smaller epoch held nothing live when this one began */
};
void segment_head_write(char header[SEGMENT_HEADER_BYTES], const struct segment_head *head);
bool segment_head_parse(struct slice bytes, struct segment_head *head);

/* A walk through a segment's records: bytes is the whole segment, memory or mapped. */
struct segment_walk {
	struct slice bytes;
	uint64_t     epoch;
	uint64_t     tail; /* 0 when the header was damaged */
	size_t       at;   /* offset of what comes next */
};
/*
 * False when it was never used (zeros). A damaged header is replaced by what the first record says;
 * *is_damaged tells; when that one is damaged, too, false with *is_damaged.
 */
bool segment_open(struct slice bytes, struct segment_walk *walk, bool *is_damaged);

enum segment_step {
	SEGMENT_RECORD,
	SEGMENT_DAMAGE, /* *damage is a stretch that is no record and no end */
	SEGMENT_END,
};
/* *offset is where the record or the damage begins. */
enum segment_step segment_next(struct segment_walk *walk, struct record *record, size_t *offset,
                               struct slice *damage);

/* ---- payloads ---- */

/* The message in a RECORD_MESSAGE payload; slices borrow it. False: malformed. */
bool stored_message_decode(struct slice payload, struct msg_intake_commit *commit,
                           struct msg_envelope *envelope, uint32_t *recipient_count);
bool stored_result_decode(struct slice payload, struct msg_stored_result *result);
bool stored_done_decode(struct slice payload, struct msg_stored_done *done);

#endif
