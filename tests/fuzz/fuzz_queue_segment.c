/*
 * fuzz_queue_segment.c - any bytes as a journal segment: the walk ends, and what it gives is
 * inside. A first byte below 128 makes the checksums right, so that what lies behind them is
 * reached, too.
 */
#include <stdlib.h>

#include "lib/queue/crc.h"
#include "lib/queue/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
decode(const struct record *record)
{
	struct msg_intake_commit    commit;
	struct msg_envelope         envelope;
	struct msg_stored_result    result;
	struct msg_stored_done      done;
	struct msg_stored_recipient recipient;
	struct slice                settled, message;
	uint32_t                    count;

	stored_message_decode(record->payload, &commit, &envelope, &count);
	stored_done_decode(record->payload, &done);
	stored_notice_decode(record->payload, &settled, &message);
	if (stored_result_decode(record->payload, &result)) {
		struct slice list = result.recipients;

		while (msg_stored_recipient_next(&list, &recipient))
			;
	}
}

/* Gives every record header in the bytes the seal and the checksum that it needs. */
static void
mend(char *bytes, size_t size)
{
	struct segment_head head = { 0 };

	if (size >= SEGMENT_HEADER_BYTES) { /* sealed or not, as it says */
		memcpy(&head.version, bytes + 24, 4);
		memcpy(&head.epoch, bytes + 8, 8);
		memcpy(head.key.words, bytes + 32, 16);
		segment_head_write(bytes, &head);
	}
	for (size_t at = SEGMENT_HEADER_BYTES; at + RECORD_HEADER_BYTES <= size; at += 8) {
		uint32_t length, crc;

		if (memcmp(bytes + at, "DkR1", 4) != 0)
			continue;
		memcpy(&length, bytes + at + 16, 4);
		if (length > size - at - RECORD_HEADER_BYTES)
			continue;
		if (head.version == RECORD_VERSION_SEALED) {
			struct record_place place = { head.key, head.epoch, at };
			uint64_t            seal = record_seal(bytes + at, &place);

			memcpy(bytes + at + 24, &seal, 8);
		}
		crc = crc32c(0, slice_of(bytes + at + 8, RECORD_HEADER_BYTES - 8));
		crc = crc32c(crc, slice_of(bytes + at + RECORD_HEADER_BYTES, length));
		memcpy(bytes + at + 4, &crc, 4);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct segment_walk      walk;
	struct record            record;
	struct slice             damage;
	size_t                   offset, steps = 0;
	bool                     is_damaged;
	enum segment_step        step;
	const struct segment_key secret = { { 1, 2 } };

	if (size < 1)
		return 0;
	char *bytes = malloc(size);
	if (bytes == NULL)
		return 0;
	memcpy(bytes, data + 1, size - 1);
	if (data[0] < 128)
		mend(bytes, size - 1);
	struct slice whole = slice_of(bytes, size - 1);
	if (segment_open(whole, data[0] % 2 == 0 ? &secret : NULL, &walk, &is_damaged))
		while ((step = segment_next(&walk, &record, &offset, &damage)) != SEGMENT_END) {
			if (++steps > size || offset > whole.length)
				__builtin_trap();
			if (step == SEGMENT_RECORD)
				decode(&record);
			else if (damage.length > 0 &&
			         (damage.data < bytes ||
			          damage.data + damage.length > bytes + whole.length))
				__builtin_trap();
		}
	free(bytes);
	return 0;
}
