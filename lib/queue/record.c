/* record.c - see record.h. */
#include "lib/queue/record.h"

#include "lib/ipc/frame.h"
#include "lib/queue/crc.h"
#include "lib/queue/id.h"

/*
 * Record header:  0 magic  4 crc  8 epoch  16 payload length  20 type  22 version  24 zeros
 * Segment header: 0 magic  8 epoch  16 tail  24 version  28 crc of 0..27  32 zeros
 */
static const char record_magic[4] = { 'D', 'k', 'R', '1' };
static const char segment_magic[8] = { 'D', 'a', 'k', 'S', 'e', 'g', '1', '\n' };

#define CHECKED_FROM 8
#define DAMAGE_MOST  (1u << 20) /* most bytes of one damaged stretch that are set aside */

size_t
record_size(size_t payload_length)
{
	return (RECORD_HEADER_BYTES + payload_length + 7) & ~(size_t)7;
}

void
record_header(char header[RECORD_HEADER_BYTES], enum record_type type, uint64_t epoch,
              struct slice payload)
{
	uint32_t length = (uint32_t)payload.length, crc;
	uint16_t number = (uint16_t)type, version = QUEUE_FORMAT_VERSION;

	memset(header, 0, RECORD_HEADER_BYTES);
	memcpy(header, record_magic, 4);
	memcpy(header + 8, &epoch, 8);
	memcpy(header + 16, &length, 4);
	memcpy(header + 20, &number, 2);
	memcpy(header + 22, &version, 2);
	crc = crc32c(0, slice_of(header + CHECKED_FROM, RECORD_HEADER_BYTES - CHECKED_FROM));
	crc = crc32c(crc, payload);
	memcpy(header + 4, &crc, 4);
}

bool
record_append(struct buf *out, enum record_type type, uint64_t epoch, struct slice payload)
{
	static const char zeros[8] = { 0 };
	char              header[RECORD_HEADER_BYTES];
	size_t padding = record_size(payload.length) - RECORD_HEADER_BYTES - payload.length;

	record_header(header, type, epoch, payload);
	return buf_append(out, slice_of(header, sizeof(header))) && buf_append(out, payload) &&
	       buf_append(out, slice_of(zeros, padding));
}

bool
record_parse(struct slice bytes, struct record *record)
{
	uint32_t length, stored_crc, crc;
	uint64_t epoch;
	uint16_t type, version;

	if (bytes.length < RECORD_HEADER_BYTES || memcmp(bytes.data, record_magic, 4) != 0)
		return false;
	memcpy(&stored_crc, bytes.data + 4, 4);
	memcpy(&epoch, bytes.data + 8, 8);
	memcpy(&length, bytes.data + 16, 4);
	memcpy(&type, bytes.data + 20, 2);
	memcpy(&version, bytes.data + 22, 2);
	if (length > RECORD_PAYLOAD_MOST || record_size(length) > bytes.length ||
	    type < RECORD_MESSAGE || type > RECORD_DONE || version != QUEUE_FORMAT_VERSION)
		return false;
	struct slice payload = slice_of(bytes.data + RECORD_HEADER_BYTES, length);
	crc = crc32c(0, slice_of(bytes.data + CHECKED_FROM, RECORD_HEADER_BYTES - CHECKED_FROM));
	if (crc32c(crc, payload) != stored_crc)
		return false;
	*record = (struct record){ .type = (enum record_type)type,
		                   .epoch = epoch,
		                   .payload = payload,
		                   .size = record_size(length) };
	return true;
}

/* ---- segments ---- */

void
segment_head_write(char header[SEGMENT_HEADER_BYTES], const struct segment_head *head)
{
	uint32_t version = QUEUE_FORMAT_VERSION, crc;

	memset(header, 0, SEGMENT_HEADER_BYTES);
	memcpy(header, segment_magic, 8);
	memcpy(header + 8, &head->epoch, 8);
	memcpy(header + 16, &head->tail, 8);
	memcpy(header + 24, &version, 4);
	crc = crc32c(0, slice_of(header, 28));
	memcpy(header + 28, &crc, 4);
}

bool
segment_head_parse(struct slice bytes, struct segment_head *head)
{
	uint32_t version, crc;

	if (bytes.length < SEGMENT_HEADER_BYTES || memcmp(bytes.data, segment_magic, 8) != 0)
		return false;
	memcpy(&version, bytes.data + 24, 4);
	memcpy(&crc, bytes.data + 28, 4);
	if (version != QUEUE_FORMAT_VERSION || crc32c(0, slice_of(bytes.data, 28)) != crc)
		return false;
	memcpy(&head->epoch, bytes.data + 8, 8);
	memcpy(&head->tail, bytes.data + 16, 8);
	return true;
}

static bool
is_zero(struct slice bytes)
{
	for (size_t i = 0; i < bytes.length; i++)
		if (bytes.data[i] != 0)
			return false;
	return true;
}

bool
segment_open(struct slice bytes, struct segment_walk *walk, bool *is_damaged)
{
	struct segment_head head = { 0, 0 };
	struct record       first;

	*is_damaged = false;
	if (!segment_head_parse(bytes, &head)) {
		if (is_zero(slice_first(bytes, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES)))
			return false;
		*is_damaged = true;
		if (!record_parse(slice_from_offset(bytes, SEGMENT_HEADER_BYTES), &first))
			return false;
		head.epoch = first.epoch;
	}
	*walk = (struct segment_walk){
		.bytes = bytes, .epoch = head.epoch, .tail = head.tail, .at = SEGMENT_HEADER_BYTES
	};
	return true;
}

/*
 * Where the next sound record of this epoch begins behind `from`; the end of the bytes when there
 * is none. Records lie on multiples of 8.
 */
static size_t
resync(const struct segment_walk *walk, size_t from)
{
	struct record record;

	for (size_t at = (from + 7) & ~(size_t)7; at + RECORD_HEADER_BYTES <= walk->bytes.length;
	     at += 8) {
		if (memcmp(walk->bytes.data + at, record_magic, 4) != 0)
			continue;
		if (record_parse(slice_from_offset(walk->bytes, at), &record) &&
		    record.epoch == walk->epoch)
			return at;
	}
	return walk->bytes.length;
}

/* The damaged stretch: up to the next record, or as long as its header says, within reason. */
static struct slice
damage_extent(const struct segment_walk *walk, size_t next)
{
	struct slice rest = slice_from_offset(walk->bytes, walk->at);
	size_t       length = next - walk->at;
	uint32_t     claimed;

	if (next == walk->bytes.length && rest.length >= RECORD_HEADER_BYTES &&
	    memcmp(rest.data, record_magic, 4) == 0) {
		memcpy(&claimed, rest.data + 16, 4);
		if (claimed <= RECORD_PAYLOAD_MOST && record_size(claimed) <= length)
			length = record_size(claimed);
	}
	rest = slice_first(rest, length < DAMAGE_MOST ? length : DAMAGE_MOST);
	while (rest.length > 0 && rest.data[rest.length - 1] == 0)
		rest.length--;
	return rest;
}

enum segment_step
segment_next(struct segment_walk *walk, struct record *record, size_t *offset, struct slice *damage)
{
	struct slice  rest = slice_from_offset(walk->bytes, walk->at);
	struct record found;
	size_t        next;

	*offset = walk->at;
	if (record_parse(rest, &found)) {
		/* A record of an earlier use, at the very place where the next would begin. */
		if (found.epoch != walk->epoch) {
			next = resync(walk, walk->at + 8);
			if (next == walk->bytes.length)
				return SEGMENT_END;
			*damage = damage_extent(walk, next);
			walk->at = next;
			return SEGMENT_DAMAGE;
		}
		*record = found;
		walk->at += found.size;
		return SEGMENT_RECORD;
	}
	if (rest.length == 0)
		return SEGMENT_END;
	bool is_end = is_zero(slice_first(rest, RECORD_HEADER_BYTES));
	next = resync(walk, walk->at + 8);
	if (is_end && next == walk->bytes.length)
		return SEGMENT_END;
	*damage = damage_extent(walk, next);
	walk->at = next;
	return SEGMENT_DAMAGE;
}

/* ---- payloads ---- */

bool
stored_message_decode(struct slice payload, struct msg_intake_commit *commit,
                      struct msg_envelope *envelope, uint32_t *recipient_count)
{
	struct ipc_frame     frame = { .type = MSG_intake_commit, .payload = payload };
	struct msg_recipient recipient;
	uint32_t             count = 0;

	if (!msg_intake_commit_decode(&frame, commit) || !queue_id_is_valid(commit->queue_id))
		return false;
	struct slice list = commit->envelope;
	if (!msg_envelope_next(&list, envelope) || list.length != 0)
		return false;
	list = commit->recipients;
	while (msg_recipient_next(&list, &recipient))
		count++;
	if (list.data == NULL || count == 0)
		return false;
	*recipient_count = count;
	return true;
}

bool
stored_result_decode(struct slice payload, struct msg_stored_result *result)
{
	struct ipc_frame frame = { .type = MSG_stored_result, .payload = payload };

	return msg_stored_result_decode(&frame, result) && queue_id_is_valid(result->queue_id);
}

bool
stored_done_decode(struct slice payload, struct msg_stored_done *done)
{
	struct ipc_frame frame = { .type = MSG_stored_done, .payload = payload };

	return msg_stored_done_decode(&frame, done) && queue_id_is_valid(done->queue_id);
}
