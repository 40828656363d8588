/*
 * frame.h - one received message: its type, its bytes, its descriptors.
 *
 * On the wire: u32 payload length, u16 type, u16 number of descriptors, payload. Descriptors
 * travel with the frame's first byte (SCM_RIGHTS).
 */
#ifndef DAKIYA_IPC_FRAME_H
#define DAKIYA_IPC_FRAME_H

#include <stdint.h>

#include "lib/base/slice.h"
#include "lib/ipc/messages.h"

#define IPC_HEADER_BYTES 8

struct ipc_frame {
	uint32_t     type;
	struct slice payload; /* borrowed from the channel until its next receive */
	int          descriptors[IPC_DESCRIPTORS_MOST];
	size_t       descriptor_count;
	size_t       descriptors_taken;
};

enum ipc_frame_read { IPC_FRAME_WHOLE, IPC_FRAME_MORE, IPC_FRAME_MALFORMED };
/*
 * The frame at the front of bytes (a session's input, a file), which it borrows, and its length
 * with its header. Frames with descriptors, of unknown types or above their size are malformed. The
 * type is set as soon as it is there, also with IPC_FRAME_MORE.
 */
enum ipc_frame_read ipc_frame_read(struct slice bytes, struct ipc_frame *frame, size_t *whole);
/* Appends what was encoded as a frame; false when it is too large or memory is out. */
bool ipc_frame_append(struct buf *out, uint32_t type, const struct ipc_encoding *encoding);

/* The next descriptor, now the caller's; -1 when there are no more. */
int ipc_frame_take_descriptor(struct ipc_frame *frame);
/* Closes the descriptors that nobody took. */
void ipc_frame_close(struct ipc_frame *frame);

#endif
