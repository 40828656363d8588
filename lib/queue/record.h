/*
 * record.h - the one record format of the queue on disk: journal segments and queue files.
 *
 * A record is a header of 32 bytes and a payload, padded to 8 bytes. The checksum covers all but
 * the magic and itself, so a record is whole or it is none. A segment begins with a header of
 * its own; records follow up to a header of zeros. A queue file is one MESSAGE record followed by
 * RESULT records. Numbers are little-endian. docs/queue.md has the layout and the guarantees.
 *
 * Mail may hold the bytes of a record, even of one in this very segment. So records in segments
 * are sealed: a keyed hash says that a record belongs at its place in this use of its segment. The
 * key is in the segment's header; it follows from the queue's secret, so that a header can be lost.
 */
#ifndef DAKIYA_QUEUE_RECORD_H
#define DAKIYA_QUEUE_RECORD_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/ipc/messages.h"

#define RECORD_HEADER_BYTES   32
#define SEGMENT_HEADER_BYTES  64
#define RECORD_VERSION        1 /* in queue files, and in segments of the first format */
#define RECORD_VERSION_SEALED 2
#define RECORD_PAYLOAD_MOST   (17u << 20)

enum record_type {
	RECORD_MESSAGE = 1, /* an intake_commit */
	RECORD_RESULT,      /* a stored_result */
	RECORD_DONE,        /* a stored_done: done with, or in a file now */
	/* only sealed */
	RECORD_GONE,   /* a stored_done: a message in a file is done with, the file to be removed */
	RECORD_NOTICE, /* a stored_notice: a MESSAGE, and a RESULT of the message that it is about
	                */
};

/* What is still to do for a recipient. */
enum stored_state {
	STORED_WAITING,   /* to be tried (again) */
	STORED_DONE,      /* nothing */
	STORED_FAILED,    /* the sender is to be told */
	STORED_DELIVERED, /* the sender asked to be told, and is to be */
};

enum stored_flag {
	STORED_FLAG_WARNED = 1 << 0,   /* a delay notice was sent */
	STORED_FLAG_EXPIRED = 1 << 1,  /* an admin ended its lifetime */
	STORED_FLAG_REPORTED = 1 << 2, /* ENVELOPE_REPORT: that is done */
};

/* Bytes on disk of a record with that payload. */
size_t record_size(size_t payload_length);
/* Appends an unsealed record of a queue file: header, payload and padding. */
bool record_append(struct buf *out, enum record_type type, uint64_t epoch, struct slice payload);

struct segment_key {
	uint64_t words[2];
};
/* Where a record lies: what its seal is about. */
struct record_place {
	struct segment_key key;
	uint64_t           epoch;
	uint64_t           offset; /* of its header in the segment */
};
/* The header of a sealed record. */
void record_header_sealed(char header[RECORD_HEADER_BYTES], enum record_type type,
                          const struct record_place *place, struct slice payload);

struct record {
	enum record_type type;
	unsigned         version;
	uint64_t         epoch;
	uint64_t         seal;
	struct slice     payload; /* borrowed from the input */
	size_t           size;    /* with header and padding */
};
/* The record at the start of bytes, its seal unseen; false when there is no whole and sound one. */
bool record_parse(struct slice bytes, struct record *record);
/* The seal that the header of a sealed record must have at that place. */
uint64_t record_seal(const char header[RECORD_HEADER_BYTES], const struct record_place *place);

/* ---- segments ---- */

struct segment_head {
	uint64_t epoch;   /* counts up with every use of a segment, never 0 */
	uint64_t tail;    /* segments with a smaller epoch held nothing live when this one began */
	unsigned version; /* of its records; RECORD_VERSION_SEALED when it is written */
	struct segment_key key; /* sealed */
};
/* The key for the use of a segment with that epoch. */
struct segment_key segment_key_make(const struct segment_key *secret, uint64_t epoch);
void segment_head_write(char header[SEGMENT_HEADER_BYTES], const struct segment_head *head);
bool segment_head_parse(struct slice bytes, struct segment_head *head);

/* A walk through a segment's records: bytes is the whole segment, memory or mapped. */
struct segment_walk {
	struct slice       bytes;
	uint64_t           epoch;
	uint64_t           tail; /* 0 when the header was damaged */
	size_t             at;   /* offset of what comes next */
	unsigned           version;
	bool               has_key; /* of sealed records: otherwise only an unbroken row counts */
	struct segment_key key;
};
/*
 * False when it was never used (zeros). A damaged header (*is_damaged) is replaced by what the
 * queue's secret (NULL when it is lost, too) and a record say; false when there is no such record.
 */
bool segment_open(struct slice bytes, const struct segment_key *secret, struct segment_walk *walk,
                  bool *is_damaged);

enum segment_step {
	SEGMENT_RECORD,
	SEGMENT_DAMAGE, /* *damage is a stretch that is no record and no end */
	SEGMENT_END,
};
/* *offset is where the record or the damage begins. */
enum segment_step segment_next(struct segment_walk *walk, struct record *record, size_t *offset,
                               struct slice *damage);

/* Appends a record as the segment's format has it, for the place where the walk ended; false also
 * when its key is lost. */
bool segment_record_append(struct buf *out, enum record_type type, const struct segment_walk *walk,
                           struct slice payload);

/* ---- payloads ---- */

/* The message in a RECORD_MESSAGE payload; slices borrow it. False: malformed. */
bool stored_message_decode(struct slice payload, struct msg_intake_commit *commit,
                           struct msg_envelope *envelope, uint32_t *recipient_count);
bool stored_result_decode(struct slice payload, struct msg_stored_result *result);
bool stored_done_decode(struct slice payload, struct msg_stored_done *done);
/* The payloads in a RECORD_NOTICE's: of a RESULT and of a MESSAGE, which ends where it ends. False:
 * one of them is malformed. */
bool stored_notice_decode(struct slice payload, struct slice *result, struct slice *message);

#endif
