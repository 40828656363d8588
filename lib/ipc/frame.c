/* frame.c - see frame.h. */
#include "lib/ipc/frame.h"

#include <unistd.h>

enum ipc_frame_read
ipc_frame_read(struct slice bytes, struct ipc_frame *frame, size_t *whole)
{
	uint32_t length;
	uint16_t type, descriptors;

	*frame = (struct ipc_frame){ 0 };
	if (bytes.length < IPC_HEADER_BYTES)
		return IPC_FRAME_MORE;
	memcpy(&length, bytes.data, 4);
	memcpy(&type, bytes.data + 4, 2);
	memcpy(&descriptors, bytes.data + 6, 2);
	frame->type = type;
	if (length > msg_most_bytes(type) || descriptors != 0)
		return IPC_FRAME_MALFORMED;
	*whole = (size_t)length + IPC_HEADER_BYTES;
	if (bytes.length < *whole)
		return IPC_FRAME_MORE;
	frame->payload = slice_of(bytes.data + IPC_HEADER_BYTES, length);
	return IPC_FRAME_WHOLE;
}

bool
ipc_frame_append(struct buf *out, uint32_t type, const struct ipc_encoding *encoding)
{
	size_t   length = encoding->fields.length + encoding->tail.length;
	uint32_t number = (uint32_t)length;
	uint16_t words[2] = { (uint16_t)type, 0 };

	if (length > msg_most_bytes(type) || encoding->descriptor_count > 0)
		return false;
	return buf_append(out, slice_of((const char *)&number, sizeof(number))) &&
	       buf_append(out, slice_of((const char *)words, sizeof(words))) &&
	       buf_append(out, buf_slice(&encoding->fields)) && buf_append(out, encoding->tail);
}

int
ipc_frame_take_descriptor(struct ipc_frame *frame)
{
	if (frame->descriptors_taken == frame->descriptor_count)
		return -1;
	return frame->descriptors[frame->descriptors_taken++];
}

void
ipc_frame_close(struct ipc_frame *frame)
{
	while (frame->descriptors_taken < frame->descriptor_count)
		close(frame->descriptors[frame->descriptors_taken++]);
}
