/*
 * fuzz_queue_file.c - any bytes as a queue file: refused, or a message and results, listed.
 * The checksums are made right when the first byte is below 128.
 */
#include <stdlib.h>

#include "lib/queue/crc.h"
#include "lib/queue/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
mend(char *bytes, size_t size)
{
	for (size_t at = 0; at + RECORD_HEADER_BYTES <= size; at += 8) {
		uint32_t length, crc;

		if (memcmp(bytes + at, "DkR1", 4) != 0)
			continue;
		memcpy(&length, bytes + at + 16, 4);
		if (length > size - at - RECORD_HEADER_BYTES)
			continue;
		crc = crc32c(0, slice_of(bytes + at + 8, RECORD_HEADER_BYTES - 8));
		crc = crc32c(crc, slice_of(bytes + at + RECORD_HEADER_BYTES, length));
		memcpy(bytes + at + 4, &crc, 4);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stored_file        file;
	struct queue_file_listing how = { .want_recipients = true };
	struct msg_queue_entry    entry;
	struct buf                list = BUF(1u << 20);

	if (size < 1)
		return 0;
	char *bytes = malloc(size);
	if (bytes == NULL)
		return 0;
	memcpy(bytes, data + 1, size - 1);
	if (data[0] < 128)
		mend(bytes, size - 1);
	if (stored_file_parse(slice_of(bytes, size - 1), &file)) {
		if (file.valid_bytes > size - 1 || file.recipient_count == 0)
			__builtin_trap();
		queue_entry_from_file(&file, &how, &list, &entry);
	}
	buf_free(&list);
	free(bytes);
	return 0;
}
