/* fuzz_ipc.c - any bytes as frames of any type, through a channel and through every decoder. */
#include <sys/socket.h>
#include <unistd.h>

#include "lib/ipc/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What decodes must encode to the same fields again: nothing is lost or made up. */
#define RECORD(name)
#define MESSAGE(name, number, most)                                                                \
	static void try_##name(struct ipc_frame *frame)                                            \
	{                                                                                          \
		struct msg_##name   message;                                                       \
		struct ipc_encoding again = { .fields = BUF(64u << 20) };                          \
                                                                                                   \
		if (msg_##name##_decode(frame, &message) &&                                        \
		    msg_##name##_encode(&again, &message)) {                                       \
			if (again.fields.length + again.tail.length != frame->payload.length)      \
				__builtin_trap();                                                  \
			if (again.fields.length > 0 &&                                             \
			    memcmp(again.fields.data, frame->payload.data, again.fields.length) != \
			            0)                                                             \
				__builtin_trap();                                                  \
		}                                                                                  \
		buf_free(&again.fields);                                                           \
	}
#define END
#define U32(name)
#define U64(name)
#define I64(name)
#define BOOL(name)
#define BYTES(name)
#define LIST(name, record)
#define DESCRIPTOR(name)
#define TAIL(name)
#include "lib/ipc/messages.def"
#undef MESSAGE
#undef RECORD

#define RECORD(name)                                                                               \
	static void walk_##name(struct slice list)                                                 \
	{                                                                                          \
		struct msg_##name record;                                                          \
                                                                                                   \
		while (msg_##name##_next(&list, &record))                                          \
			;                                                                          \
	}
#define MESSAGE(name, number, most)
#include "lib/ipc/messages.def"
#undef MESSAGE
#undef RECORD

static void
try_all(struct ipc_frame *frame)
{
#define RECORD(name)                walk_##name(frame->payload);
#define MESSAGE(name, number, most) try_##name(frame);
#include "lib/ipc/messages.def"
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ipc_channel channel;
	struct ipc_frame   frame;
	int                pair[2];

	if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return 0;
	ipc_channel_init(&channel, pair[0]);
	ssize_t sent = write(pair[1], data, size);
	close(pair[1]);
	while (sent >= 0 && ipc_fill(&channel) == IPC_OK)
		while (ipc_next(&channel, &frame)) {
			try_all(&frame);
			ipc_frame_close(&frame);
		}
	ipc_channel_close(&channel);
	/* The bytes as one payload of each type, too: the framing is not always guessed right. */
	frame = (struct ipc_frame){ .payload = slice_of((const char *)data, size) };
	for (frame.type = 0; frame.type < 200; frame.type++)
		try_all(&frame);
	return 0;
}
