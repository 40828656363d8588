/*
 * messages.h - structs, encoders and decoders of all messages, generated from messages.def.
 *
 * For each MESSAGE or RECORD name there is `struct msg_NAME`. Slices in a decoded struct borrow
 * the frame's memory. A decoder checks every length and leaves nothing over; descriptors that a
 * decoded message does not take stay in the frame and are closed with it.
 */
#ifndef DAKIYA_IPC_MESSAGES_H
#define DAKIYA_IPC_MESSAGES_H

#include <stdint.h>

#include "lib/base/buf.h"

struct ipc_frame;

/* What an encoder fills: the fields' bytes, the tail to send behind them, the descriptors. */
#define IPC_DESCRIPTORS_MOST 4
struct ipc_encoding {
	struct buf   fields;
	struct slice tail;
	int          descriptors[IPC_DESCRIPTORS_MOST];
	size_t       descriptor_count;
};

/* The structs. */
#define RECORD(name)                struct msg_##name {
#define MESSAGE(name, number, most) struct msg_##name {
#define END                                                                                        \
	}                                                                                          \
	;
#define U32(name)          uint32_t name;
#define U64(name)          uint64_t name;
#define I64(name)          int64_t name;
#define BOOL(name)         bool name;
#define BYTES(name)        struct slice name;
#define LIST(name, record) struct slice name;
#define DESCRIPTOR(name)   int name;
#define TAIL(name)         struct slice name;
#include "lib/ipc/messages.def"
#undef RECORD
#undef MESSAGE
#undef END
#undef U32
#undef U64
#undef I64
#undef BOOL
#undef BYTES
#undef LIST
#undef DESCRIPTOR
#undef TAIL

/* The numbers: MSG_intake_hello = 1 ... */
#define RECORD(name)
#define MESSAGE(name, number, most) MSG_##name = (number),
#define END
#define U32(name)
#define U64(name)
#define I64(name)
#define BOOL(name)
#define BYTES(name)
#define LIST(name, record)
#define DESCRIPTOR(name)
#define TAIL(name)
enum msg_type {
#include "lib/ipc/messages.def"
};
#undef RECORD
#undef MESSAGE

/*
 * The functions. For records: append to a list in a buf (false: no room), take the next one off a
 * list (false: the list is empty or malformed; *list becomes {NULL, 0} when malformed, so check
 * list.data == NULL after the loop). For messages: encode (false: no room), decode (false:
 * malformed or another type), and msg_NAME_clear to start from (zeros, descriptors -1).
 */
#define RECORD(name)                                                                               \
	bool msg_##name##_append(struct buf *list, const struct msg_##name *record);               \
	bool msg_##name##_next(struct slice *list, struct msg_##name *record);
#define MESSAGE(name, number, most)                                                                \
	bool msg_##name##_encode(struct ipc_encoding *out, const struct msg_##name *message);      \
	bool msg_##name##_decode(struct ipc_frame *frame, struct msg_##name *message);             \
	struct msg_##name msg_##name##_clear(void);
#include "lib/ipc/messages.def"
#undef RECORD
#undef MESSAGE
#undef END
#undef U32
#undef U64
#undef I64
#undef BOOL
#undef BYTES
#undef LIST
#undef DESCRIPTOR
#undef TAIL

/* Largest frame of a type in bytes; 0 when there is no such type. */
size_t msg_most_bytes(uint32_t type);
/* "intake_hello", for logs; "unknown" otherwise. */
const char *msg_name(uint32_t type);

#endif
