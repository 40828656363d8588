/* record.c - see record.h. */
#include "lib/queue/record.h"

#include "lib/ipc/frame.h"
#include "lib/queue/crc.h"
#include "lib/queue/id.h"
#include "lib/queue/siphash.h"

/*
 * Record header:  0 magic  4 crc  8 epoch  16 payload length  20 type  22 version  24 seal
 * Segment header: 0 magic  8 epoch  16 tail  24 version  28 crc of 0..27 and the key  32 key
 *                 48 zeros
 * Version 1: the seal and the key are zeros, and the checksum of a segment header leaves it out.
 */
static const char record_magic[4] = { 'D', 'k', 'R', '1' };
static const char segment_magic[8] = { 'D', 'a', 'k', 'S', 'e', 'g', '1', '\n' };

#define CHECKED_FROM 8
#define SEAL_AT      24
#define KEY_AT       32
#define KEY_BYTES    16
#define DAMAGE_MOST  (1u << 20) /* most bytes of one damaged stretch that are set aside */

size_t
record_size(size_t payload_length)
{
	return (RECORD_HEADER_BYTES + payload_length + 7) & ~(size_t)7;
}

static void
header_begin(char header[RECORD_HEADER_BYTES], enum record_type type, unsigned version,
             uint64_t epoch, size_t payload_length)
{
	uint32_t length = (uint32_t)payload_length;
	uint16_t number = (uint16_t)type, short_version = (uint16_t)version;

	memset(header, 0, RECORD_HEADER_BYTES);
	memcpy(header, record_magic, 4);
	memcpy(header + 8, &epoch, 8);
	memcpy(header + 16, &length, 4);
	memcpy(header + 20, &number, 2);
	memcpy(header + 22, &short_version, 2);
}

static uint32_t
record_crc(const char header[RECORD_HEADER_BYTES], struct slice payload)
{
	uint32_t crc =
		crc32c(0, slice_of(header + CHECKED_FROM, RECORD_HEADER_BYTES - CHECKED_FROM));

	return crc32c(crc, payload);
}

uint64_t
record_seal(const char header[RECORD_HEADER_BYTES], const struct record_place *place)
{
	char text[24]; /* epoch, length, type and version, then the place */

	memcpy(text, header + CHECKED_FROM, 16);
	memcpy(text + 16, &place->offset, 8);
	return siphash(place->key.words, slice_of(text, sizeof(text)));
}

void
record_header_sealed(char header[RECORD_HEADER_BYTES], enum record_type type,
                     const struct record_place *place, struct slice payload)
{
	header_begin(header, type, RECORD_VERSION_SEALED, place->epoch, payload.length);
	uint64_t seal = record_seal(header, place);
	memcpy(header + SEAL_AT, &seal, 8);
	uint32_t crc = record_crc(header, payload);
	memcpy(header + 4, &crc, 4);
}

bool
record_append(struct buf *out, enum record_type type, uint64_t epoch, struct slice payload)
{
	static const char zeros[8] = { 0 };
	char              header[RECORD_HEADER_BYTES];
	size_t padding = record_size(payload.length) - RECORD_HEADER_BYTES - payload.length;

	header_begin(header, type, RECORD_VERSION, epoch, payload.length);
	uint32_t crc = record_crc(header, payload);
	memcpy(header + 4, &crc, 4);
	return buf_append(out, slice_of(header, sizeof(header))) && buf_append(out, payload) &&
	       buf_append(out, slice_of(zeros, padding));
}

bool
record_parse(struct slice bytes, struct record *record)
{
	uint32_t length, crc;
	uint64_t epoch, seal;
	uint16_t type, version;

	if (bytes.length < RECORD_HEADER_BYTES || memcmp(bytes.data, record_magic, 4) != 0)
		return false;
	memcpy(&crc, bytes.data + 4, 4);
	memcpy(&epoch, bytes.data + 8, 8);
	memcpy(&length, bytes.data + 16, 4);
	memcpy(&type, bytes.data + 20, 2);
	memcpy(&version, bytes.data + 22, 2);
	memcpy(&seal, bytes.data + SEAL_AT, 8);
	if (length > RECORD_PAYLOAD_MOST || record_size(length) > bytes.length ||
	    type < RECORD_MESSAGE || version < RECORD_VERSION || version > RECORD_VERSION_SEALED ||
	    type > (version == RECORD_VERSION ? RECORD_DONE : RECORD_NOTICE))
		return false;
	struct slice payload = slice_of(bytes.data + RECORD_HEADER_BYTES, length);
	if (record_crc(bytes.data, payload) != crc)
		return false;
	*record = (struct record){ .type = (enum record_type)type,
		                   .version = version,
		                   .epoch = epoch,
		                   .seal = seal,
		                   .payload = payload,
		                   .size = record_size(length) };
	return true;
}

/* ---- segments ---- */

struct segment_key
segment_key_make(const struct segment_key *secret, uint64_t epoch)
{
	struct segment_key key;
	uint64_t           text[2] = { epoch, 0 };

	for (; text[1] < 2; text[1]++)
		key.words[text[1]] =
			siphash(secret->words, slice_of((const char *)text, sizeof(text)));
	return key;
}

static uint32_t
head_crc(const char *header, unsigned version)
{
	uint32_t crc = crc32c(0, slice_of(header, 28));

	return version == RECORD_VERSION ? crc : crc32c(crc, slice_of(header + KEY_AT, KEY_BYTES));
}

void
segment_head_write(char header[SEGMENT_HEADER_BYTES], const struct segment_head *head)
{
	uint32_t version = head->version;

	memset(header, 0, SEGMENT_HEADER_BYTES);
	memcpy(header, segment_magic, 8);
	memcpy(header + 8, &head->epoch, 8);
	memcpy(header + 16, &head->tail, 8);
	memcpy(header + 24, &version, 4);
	memcpy(header + KEY_AT, head->key.words, KEY_BYTES);
	uint32_t crc = head_crc(header, version);
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
	if (version < RECORD_VERSION || version > RECORD_VERSION_SEALED ||
	    head_crc(bytes.data, version) != crc)
		return false;
	memcpy(&head->epoch, bytes.data + 8, 8);
	memcpy(&head->tail, bytes.data + 16, 8);
	memcpy(head->key.words, bytes.data + KEY_AT, KEY_BYTES);
	head->version = version;
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

/* Whether a sound record belongs where it lies; without a key nothing can be said of seals. */
static bool
belongs(const struct segment_walk *walk, const struct record *record, size_t at)
{
	struct record_place place = { .key = walk->key, .epoch = walk->epoch, .offset = at };

	if (record->epoch != walk->epoch || record->version != walk->version)
		return false;
	return walk->version == RECORD_VERSION || !walk->has_key ||
	       record_seal(walk->bytes.data + at, &place) == record->seal;
}

/* The next place behind `from` where a record's magic lies; the end of the bytes when there is
 * none. Records lie on multiples of 8. */
static size_t
find_magic(struct slice bytes, size_t from)
{
	for (size_t at = (from + 7) & ~(size_t)7; at + RECORD_HEADER_BYTES <= bytes.length; at += 8)
		if (memcmp(bytes.data + at, record_magic, 4) == 0)
			return at;
	return bytes.length;
}

/* Without the header: the first record tells the epoch; or any whose seal proves it. */
static bool
segment_guess(const struct segment_key *secret, struct segment_walk *walk)
{
	struct record first;

	if (record_parse(slice_from_offset(walk->bytes, SEGMENT_HEADER_BYTES), &first)) {
		walk->epoch = first.epoch;
		walk->version = first.version;
		if (first.version == RECORD_VERSION || secret == NULL)
			return true;
		walk->key = segment_key_make(secret, first.epoch);
		walk->has_key = true;
		walk->has_key = belongs(walk, &first, SEGMENT_HEADER_BYTES);
		return true;
	}
	walk->has_key = secret != NULL;
	for (size_t at = SEGMENT_HEADER_BYTES;
	     secret != NULL && (at = find_magic(walk->bytes, at)) < walk->bytes.length; at += 8) {
		if (!record_parse(slice_from_offset(walk->bytes, at), &first) ||
		    first.version != RECORD_VERSION_SEALED)
			continue;
		walk->epoch = first.epoch;
		walk->version = first.version;
		walk->key = segment_key_make(secret, first.epoch);
		if (belongs(walk, &first, at))
			return true;
	}
	return false;
}

bool
segment_open(struct slice bytes, const struct segment_key *secret, struct segment_walk *walk,
             bool *is_damaged)
{
	struct segment_head head;

	*is_damaged = false;
	*walk = (struct segment_walk){ .bytes = bytes, .at = SEGMENT_HEADER_BYTES };
	if (!segment_head_parse(bytes, &head)) {
		if (is_zero(slice_first(bytes, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES)))
			return false;
		*is_damaged = true;
		return segment_guess(secret, walk);
	}
	walk->epoch = head.epoch;
	walk->tail = head.tail;
	walk->version = head.version;
	walk->key = head.key;
	walk->has_key = head.version == RECORD_VERSION_SEALED;
	return true;
}

/*
 * Where the next sound record of this use begins behind `from`; the end of the bytes when there
 * is none. Content is passed over here, so a record in it must not count: none can be sealed.
 */
static size_t
resync(const struct segment_walk *walk, size_t from)
{
	struct record record;

	if (walk->version == RECORD_VERSION_SEALED && !walk->has_key)
		return walk->bytes.length;
	for (size_t at = from; (at = find_magic(walk->bytes, at)) < walk->bytes.length; at += 8)
		if (record_parse(slice_from_offset(walk->bytes, at), &record) &&
		    belongs(walk, &record, at))
			return at;
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
	/* Without a key nothing behind it can be read: all of that is kept. */
	bool is_end = walk->version == RECORD_VERSION_SEALED && !walk->has_key;
	if (is_end)
		length = next - walk->at;
	rest = slice_first(rest, is_end || length < DAMAGE_MOST ? length : DAMAGE_MOST);
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
	bool          is_end;

	*offset = walk->at;
	if (rest.length == 0)
		return SEGMENT_END;
	if (record_parse(rest, &found)) {
		/* A record of an earlier use, at the very place where the next would begin. */
		is_end = found.epoch != walk->epoch;
		if (belongs(walk, &found, walk->at)) {
			*record = found;
			walk->at += found.size;
			return SEGMENT_RECORD;
		}
	} else {
		is_end = is_zero(slice_first(rest, RECORD_HEADER_BYTES));
	}
	next = resync(walk, walk->at + 8);
	if (is_end && next == walk->bytes.length)
		return SEGMENT_END;
	*damage = damage_extent(walk, next);
	walk->at = next;
	return SEGMENT_DAMAGE;
}

bool
segment_record_append(struct buf *out, enum record_type type, const struct segment_walk *walk,
                      struct slice payload)
{
	static const char   zeros[8] = { 0 };
	struct record_place place = { .key = walk->key, .epoch = walk->epoch, .offset = walk->at };
	char                header[RECORD_HEADER_BYTES];

	if (walk->version == RECORD_VERSION)
		return record_append(out, type, walk->epoch, payload);
	if (!walk->has_key)
		return false;
	record_header_sealed(header, type, &place, payload);
	return buf_append(out, slice_of(header, sizeof(header))) && buf_append(out, payload) &&
	       buf_append(out, slice_of(zeros, record_size(payload.length) - RECORD_HEADER_BYTES -
	                                               payload.length));
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

bool
stored_notice_decode(struct slice payload, struct slice *result, struct slice *message)
{
	struct ipc_frame         frame = { .type = MSG_stored_notice, .payload = payload };
	struct msg_stored_notice notice;
	struct msg_stored_result settled;
	struct msg_intake_commit commit;
	struct msg_envelope      envelope;
	uint32_t                 count;

	if (!msg_stored_notice_decode(&frame, &notice) ||
	    !stored_result_decode(notice.result, &settled) ||
	    !stored_message_decode(notice.message, &commit, &envelope, &count))
		return false;
	*result = notice.result;
	*message = notice.message;
	return true;
}
