/* messages.c - encoders and decoders, generated from messages.def. See messages.h. */
#include "lib/ipc/messages.h"

#include "lib/ipc/frame.h"

#define K 1024u

/* ---- primitives: little-endian numbers, 32-bit lengths ---- */

static bool
put(struct buf *out, const void *bytes, size_t length)
{
	return buf_append(out, slice_of(bytes, length));
}

static bool
put_u32(struct buf *out, uint32_t number)
{
	return put(out, &number, sizeof(number));
}

static bool
put_u64(struct buf *out, uint64_t number)
{
	return put(out, &number, sizeof(number));
}

static bool
put_bytes(struct buf *out, struct slice bytes)
{
	return bytes.length <= UINT32_MAX && put_u32(out, (uint32_t)bytes.length) &&
	       buf_append(out, bytes);
}

static bool
get(struct slice *in, void *out, size_t length)
{
	if (in->length < length)
		return false;
	memcpy(out, in->data, length);
	*in = slice_of(in->data + length, in->length - length);
	return true;
}

static bool
get_bool(struct slice *in, bool *out)
{
	unsigned char byte;

	if (!get(in, &byte, 1) || byte > 1)
		return false;
	*out = byte == 1;
	return true;
}

static bool
get_bytes(struct slice *in, struct slice *out)
{
	uint32_t length;

	if (!get(in, &length, sizeof(length)) || in->length < length)
		return false;
	*out = slice_of(in->data, length);
	*in = slice_of(in->data + length, in->length - length);
	return true;
}

static bool
put_descriptor(struct ipc_encoding *out, int fd)
{
	unsigned char is_there = fd >= 0;

	if (fd >= 0) {
		if (out->descriptor_count == IPC_DESCRIPTORS_MOST)
			return false;
		out->descriptors[out->descriptor_count++] = fd;
	}
	return put(&out->fields, &is_there, 1);
}

static bool
get_descriptor(struct slice *in, struct ipc_frame *frame, int *out)
{
	bool is_there;

	if (!get_bool(in, &is_there))
		return false;
	*out = -1;
	if (!is_there)
		return true;
	*out = ipc_frame_take_descriptor(frame);
	return *out >= 0;
}

/* ---- encoding the fields ---- */

#define U32(name)          ok = ok && put_u32(fields, message->name);
#define U64(name)          ok = ok && put_u64(fields, message->name);
#define I64(name)          ok = ok && put_u64(fields, (uint64_t)message->name);
#define BOOL(name)         ok = ok && buf_append_byte(fields, message->name ? 1 : 0);
#define BYTES(name)        ok = ok && put_bytes(fields, message->name);
#define LIST(name, record) ok = ok && put_bytes(fields, message->name);
#define DESCRIPTOR(name)   ok = ok && put_descriptor(out, message->name);
#define TAIL(name)         out->tail = message->name;
#define END                                                                                        \
	return ok;                                                                                 \
	}
#define RECORD(name)                                                                               \
	static bool put_##name(struct buf *fields, const struct msg_##name *message)               \
	{                                                                                          \
		bool ok = true;
#define MESSAGE(name, number, most)                                                                \
	bool msg_##name##_encode(struct ipc_encoding *out, const struct msg_##name *message)       \
	{                                                                                          \
		struct buf *fields = &out->fields;                                                 \
		bool        ok = true;                                                             \
                                                                                                   \
		buf_clear(fields);                                                                 \
		out->tail = SLICE_EMPTY;                                                           \
		out->descriptor_count = 0;                                                         \
		(void)message;
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

/* ---- decoding the fields ---- */

#define U32(name)          ok = ok && get(&in, &message->name, sizeof(message->name));
#define U64(name)          ok = ok && get(&in, &message->name, sizeof(message->name));
#define I64(name)          ok = ok && get(&in, &message->name, sizeof(message->name));
#define BOOL(name)         ok = ok && get_bool(&in, &message->name);
#define BYTES(name)        ok = ok && get_bytes(&in, &message->name);
#define LIST(name, record) ok = ok && get_bytes(&in, &message->name);
#define DESCRIPTOR(name)   ok = ok && get_descriptor(&in, frame, &message->name);
#define TAIL(name)                                                                                 \
	message->name = in;                                                                        \
	in = SLICE_EMPTY;
#define END                                                                                        \
	return ok && in.length == 0;                                                               \
	}
#define RECORD(name)                                                                               \
	static bool get_##name(struct slice in, struct msg_##name *message)                        \
	{                                                                                          \
		bool ok = true;
#define MESSAGE(name, number, most)                                                                \
	static bool get_##name(struct slice in, struct ipc_frame *frame,                           \
	                       struct msg_##name *message)                                         \
	{                                                                                          \
		bool ok = true;                                                                    \
                                                                                                   \
		(void)frame;                                                                       \
		(void)message;
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

/* ---- clearing: descriptors to -1 ---- */

#define U32(name)
#define U64(name)
#define I64(name)
#define BOOL(name)
#define BYTES(name)
#define LIST(name, record)
#define TAIL(name)
#define DESCRIPTOR(name) message.name = -1;
#define RECORD(name)                                                                               \
	static inline struct msg_##name clear_##name(void)                                         \
	{                                                                                          \
		struct msg_##name message = { 0 };
#define MESSAGE(name, number, most)                                                                \
	struct msg_##name msg_##name##_clear(void)                                                 \
	{                                                                                          \
		struct msg_##name message;                                                         \
                                                                                                   \
		memset(&message, 0, sizeof(message));
#define END                                                                                        \
	return message;                                                                            \
	}
#include "lib/ipc/messages.def"
#undef RECORD
#undef MESSAGE
#undef END
#undef DESCRIPTOR
#define DESCRIPTOR(name)
#define END

/* ---- the public functions over them ---- */

#define RECORD(name)                                                                               \
	bool msg_##name##_append(struct buf *list, const struct msg_##name *record)                \
	{                                                                                          \
		size_t start = list->length;                                                       \
                                                                                                   \
		if (!put_u32(list, 0) || !put_##name(list, record)) {                              \
			buf_truncate(list, start);                                                 \
			return false;                                                              \
		}                                                                                  \
		size_t   bytes = list->length - start - 4;                                         \
		uint32_t length = (uint32_t)bytes;                                                 \
		memcpy(list->data + start, &length, sizeof(length));                               \
		return true;                                                                       \
	}                                                                                          \
	bool msg_##name##_next(struct slice *list, struct msg_##name *record)                      \
	{                                                                                          \
		struct slice      one;                                                             \
		struct msg_##name decoded = clear_##name();                                        \
                                                                                                   \
		if (list->length == 0)                                                             \
			return false;                                                              \
		if (!get_bytes(list, &one) || !get_##name(one, &decoded)) {                        \
			*list = slice_of(NULL, 0);                                                 \
			return false;                                                              \
		}                                                                                  \
		*record = decoded;                                                                 \
		return true;                                                                       \
	}
#define MESSAGE(name, number, most)                                                                \
	bool msg_##name##_decode(struct ipc_frame *frame, struct msg_##name *message)              \
	{                                                                                          \
		struct msg_##name decoded = msg_##name##_clear();                                  \
                                                                                                   \
		if (frame->type != (number) || !get_##name(frame->payload, frame, &decoded))       \
			return false;                                                              \
		*message = decoded;                                                                \
		return true;                                                                       \
	}
#include "lib/ipc/messages.def"
#undef RECORD
#undef MESSAGE
#define RECORD(name)

static const struct {
	uint32_t    number;
	size_t      most;
	const char *name;
} message_rows[] = {
#define MESSAGE(name, number, most) { (number), (most), #name },
#include "lib/ipc/messages.def"
};

size_t
msg_most_bytes(uint32_t type)
{
	for (size_t i = 0; i < sizeof(message_rows) / sizeof(message_rows[0]); i++)
		if (message_rows[i].number == type)
			return message_rows[i].most;
	return 0;
}

const char *
msg_name(uint32_t type)
{
	for (size_t i = 0; i < sizeof(message_rows) / sizeof(message_rows[0]); i++)
		if (message_rows[i].number == type)
			return message_rows[i].name;
	return "unknown";
}
