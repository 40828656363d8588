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

/* The next descriptor, now the caller's; -1 when there are no more. */
int ipc_frame_take_descriptor(struct ipc_frame *frame);
/* Closes the descriptors that nobody took. */
void ipc_frame_close(struct ipc_frame *frame);

#endif
