/* frame.c - see frame.h. */
#include "lib/ipc/frame.h"

#include <unistd.h>

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
