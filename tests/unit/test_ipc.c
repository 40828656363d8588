/* test_ipc.c - every message between daemons: round trips, cut short, too long, descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/ipc/channel.h"

/* ---- every message and record with every field filled, generated from messages.def ---- */

static struct slice
some_bytes(void)
{
	return SLICE("bytes\0with NUL\r\n");
}

#define U32(name)          message->name = 0x81020304u;
#define U64(name)          message->name = 0x8102030405060708u;
#define I64(name)          message->name = -0x0102030405060708;
#define BOOL(name)         message->name = true;
#define BYTES(name)        message->name = some_bytes();
#define LIST(name, record) message->name = some_bytes();
#define DESCRIPTOR(name)   message->name = 0;
#define TAIL(name)         message->name = some_bytes();
#define END                }
#define RECORD(name)                                                                               \
	static void fill_##name(struct msg_##name *message)                                        \
	{                                                                                          \
		(void)message;

#define MESSAGE(name, number, most) RECORD(name)
#include "lib/ipc/messages.def"
#undef U32
#undef U64
#undef I64
#undef BOOL
#undef BYTES
#undef LIST
#undef DESCRIPTOR
#undef TAIL
#undef END
#undef RECORD
#undef MESSAGE

static bool
same(struct slice a, struct slice b)
{
	return slice_equal(a, b);
}

#define U32(name)          assert_int_equal(a->name, b->name);
#define U64(name)          assert_true(a->name == b->name);
#define I64(name)          assert_true(a->name == b->name);
#define BOOL(name)         assert_int_equal(a->name, b->name);
#define BYTES(name)        assert_true(same(a->name, b->name));
#define LIST(name, record) assert_true(same(a->name, b->name));
#define DESCRIPTOR(name)   assert_true(b->name >= 0 && close(b->name) == 0);
#define TAIL(name)         assert_true(same(a->name, b->name));
#define END                }
#define RECORD(name)                                                                               \
	static void same_##name(const struct msg_##name *a, const struct msg_##name *b)            \
	{                                                                                          \
		(void)a;                                                                           \
		(void)b;
#define MESSAGE(name, number, most) RECORD(name)
#include "lib/ipc/messages.def"
#undef U32
#undef U64
#undef I64
#undef BOOL
#undef BYTES
#undef LIST
#undef DESCRIPTOR
#undef TAIL
#undef END
#undef RECORD
#undef MESSAGE

#define U32(name)
#define U64(name)
#define I64(name)
#define BOOL(name)
#define BYTES(name)
#define LIST(name, record)
#define DESCRIPTOR(name)
#define TAIL(name)
#define END

/* ---- helpers ---- */

static int64_t
soon(void)
{
	return clock_monotonic_ms() + 10000;
}

static void
pair_open(struct ipc_channel *a, struct ipc_channel *b)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ipc_channel_init(a, pair[0]);
	ipc_channel_init(b, pair[1]);
}

static size_t
open_descriptors(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* ---- the claims ---- */

#define RECORD(name)
#define MESSAGE(name, number, most)                                                                \
	static __attribute__((noinline)) void pass_##name(struct ipc_channel *a,                   \
	                                                  struct ipc_channel *b)                   \
	{                                                                                          \
		struct ipc_frame  frame;                                                           \
		struct msg_##name sent = msg_##name##_clear(), got = msg_##name##_clear();         \
                                                                                                   \
		fill_##name(&sent);                                                                \
		assert_int_equal(ipc_send(a, name, &sent, soon()), IPC_OK);                        \
		assert_int_equal(ipc_receive(b, soon(), &frame), IPC_OK);                          \
		assert_int_equal(frame.type, number);                                              \
		assert_string_equal(msg_name(frame.type), #name);                                  \
		assert_true(msg_##name##_decode(&frame, &got));                                    \
		same_##name(&sent, &got);                                                          \
		ipc_frame_close(&frame);                                                           \
	}
#include "lib/ipc/messages.def"
#undef MESSAGE

static void
every_message_arrives_as_it_was_sent(void **unused)
{
	struct ipc_channel a, b;
	size_t             before = open_descriptors();

	(void)unused;
	pair_open(&a, &b);
#define MESSAGE(name, number, most) pass_##name(&a, &b);
#include "lib/ipc/messages.def"
#undef MESSAGE
#undef RECORD
	ipc_channel_close(&a);
	ipc_channel_close(&b);
	assert_int_equal(open_descriptors(), before);
}

/* The payload of a filled message in its own memory, so that a sanitizer sees a read beyond it. */
static struct slice
payload_of(const struct ipc_encoding *encoding, size_t length)
{
	char  *copy = malloc(length > 0 ? length : 1);
	size_t fields = encoding->fields.length < length ? encoding->fields.length : length;

	if (fields > 0)
		memcpy(copy, encoding->fields.data, fields);
	if (length > fields)
		memcpy(copy + fields, encoding->tail.data, length - fields);
	return slice_of(copy, length);
}

#define RECORD(name)
#define MESSAGE(name, number, most)                                                                \
	static __attribute__((noinline)) void cut_##name(void)                                     \
	{                                                                                          \
		struct msg_##name   sent = msg_##name##_clear(), got = msg_##name##_clear();       \
		struct ipc_encoding encoding = { .fields = BUF(1 << 20) };                         \
                                                                                                   \
		fill_##name(&sent);                                                                \
		assert_true(msg_##name##_encode(&encoding, &sent));                                \
		for (size_t length = 0; length < encoding.fields.length; length++) {               \
			struct ipc_frame frame = { .type = (number),                               \
				                   .payload = payload_of(&encoding, length),       \
				                   .descriptor_count =                             \
				                           encoding.descriptor_count };            \
			assert_false(msg_##name##_decode(&frame, &got));                           \
			free((void *)(uintptr_t)frame.payload.data);                               \
		}                                                                                  \
		buf_free(&encoding.fields);                                                        \
	}
#include "lib/ipc/messages.def"
#undef MESSAGE

static void
a_message_cut_at_any_byte_is_malformed(void **unused)
{
	(void)unused;
#define MESSAGE(name, number, most) cut_##name();
#include "lib/ipc/messages.def"
#undef MESSAGE
#undef RECORD
}

#define RECORD(name)
#define MESSAGE(name, number, most)                                                                \
	static __attribute__((noinline)) void damage_##name(void)                                  \
	{                                                                                          \
		struct msg_##name   sent = msg_##name##_clear(), got = msg_##name##_clear();       \
		struct ipc_encoding encoding = { .fields = BUF(1 << 20) };                         \
                                                                                                   \
		fill_##name(&sent);                                                                \
		assert_true(msg_##name##_encode(&encoding, &sent));                                \
		struct ipc_frame frame = { .type = (number),                                       \
			                   .payload = buf_slice(&encoding.fields) };               \
		if (encoding.descriptor_count > 0)                                                 \
			assert_false(msg_##name##_decode(&frame, &got));                           \
		frame.type = (number) == 1 ? 2 : 1;                                                \
		assert_false(msg_##name##_decode(&frame, &got));                                   \
		if (encoding.tail.length == 0) {                                                   \
			assert_true(buf_append_byte(&encoding.fields, '\0'));                      \
			frame = (struct ipc_frame){ .type = (number),                              \
				                    .payload = buf_slice(&encoding.fields),        \
				                    .descriptors = { 0 },                          \
				                    .descriptor_count =                            \
				                            encoding.descriptor_count };           \
			assert_false(msg_##name##_decode(&frame, &got));                           \
		}                                                                                  \
		buf_free(&encoding.fields);                                                        \
	}
#include "lib/ipc/messages.def"
#undef MESSAGE

static void
a_byte_too_many_a_wrong_type_or_a_missing_descriptor_is_malformed(void **unused)
{
	(void)unused;
#define MESSAGE(name, number, most) damage_##name();
#include "lib/ipc/messages.def"
#undef MESSAGE
#undef RECORD
}

#define MESSAGE(name, number, most)
#define RECORD(name)                                                                               \
	static __attribute__((noinline)) void walk_##name(void)                                    \
	{                                                                                          \
		struct msg_##name sent, got;                                                       \
		struct buf        list = BUF(1 << 20);                                             \
		size_t            count = 0;                                                       \
                                                                                                   \
		memset(&sent, 0, sizeof(sent));                                                    \
		fill_##name(&sent);                                                                \
		for (size_t i = 0; i < 3; i++)                                                     \
			assert_true(msg_##name##_append(&list, &sent));                            \
		struct slice rest = buf_slice(&list);                                              \
		while (msg_##name##_next(&rest, &got)) {                                           \
			same_##name(&sent, &got);                                                  \
			count++;                                                                   \
		}                                                                                  \
		assert_int_equal(count, 3);                                                        \
		assert_non_null(rest.data);                                                        \
		for (size_t cut = 1; cut < list.length; cut++) {                                   \
			rest = slice_first(buf_slice(&list), cut);                                 \
			while (msg_##name##_next(&rest, &got))                                     \
				;                                                                  \
			assert_true(rest.data == NULL || cut % (list.length / 3) == 0);            \
		}                                                                                  \
		buf_free(&list);                                                                   \
	}
#include "lib/ipc/messages.def"
#undef RECORD

static void
records_in_a_list_come_back_in_order_and_a_damaged_list_is_noticed(void **unused)
{
	(void)unused;
#define RECORD(name) walk_##name();
#include "lib/ipc/messages.def"
#undef MESSAGE
#undef RECORD
}

static void
sending_more_than_the_limit_of_a_type_is_refused(void **unused)
{
	static char            much[70000];
	struct ipc_channel     a, b;
	struct msg_agent_hello hello = msg_agent_hello_clear();

	(void)unused;
	pair_open(&a, &b);
	hello.transport = slice_of(much, sizeof(much));
	assert_int_equal(ipc_send(&a, agent_hello, &hello, soon()), IPC_MALFORMED);
	assert_false(ipc_queue(&a, agent_hello, &hello));
	hello.transport = SLICE("smtp");
	assert_int_equal(ipc_send(&a, agent_hello, &hello, soon()), IPC_OK);
	ipc_channel_close(&a);
	ipc_channel_close(&b);
}

static void
a_frame_above_its_limit_or_of_no_type_ends_the_channel(void **unused)
{
	static const struct {
		uint32_t length;
		uint16_t type, descriptors;
	} heads[] = { { 5000, MSG_agent_hello, 0 },
		      { 0xffffffff, MSG_intake_commit, 0 },
		      { 0, 0, 0 },
		      { 4, 65535, 0 },
		      { 0, MSG_daemon_ready, 1 },
		      { 0, MSG_daemon_ready, 5 } };

	(void)unused;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct ipc_channel a, b;
		struct ipc_frame   frame;
		char               head[8];

		pair_open(&a, &b);
		memcpy(head, &heads[i].length, 4);
		memcpy(head + 4, &heads[i].type, 2);
		memcpy(head + 6, &heads[i].descriptors, 2);
		assert_int_equal(write(a.fd, head, sizeof(head)), sizeof(head));
		assert_int_equal(ipc_receive(&b, soon(), &frame), IPC_MALFORMED);
		assert_true(b.is_broken);
		assert_int_equal(ipc_receive(&b, soon(), &frame), IPC_MALFORMED);
		ipc_channel_close(&a);
		ipc_channel_close(&b);
	}
}

static void
descriptors_stay_with_their_frames_when_many_are_queued(void **unused)
{
	struct ipc_channel         a, b;
	struct ipc_frame           frame;
	struct msg_mailbox_message message = msg_mailbox_message_clear(), got;
	size_t                     before = open_descriptors();

	(void)unused;
	pair_open(&a, &b);
	for (uint64_t i = 0; i < 40; i++) {
		int ends[2];

		assert_int_equal(pipe(ends), 0);
		message.file_length = i;
		message.file = i % 3 == 0 ? -1 : ends[0];
		assert_true(ipc_queue(&a, mailbox_message, &message));
		assert_int_equal(write(ends[1], &i, sizeof(i)), sizeof(i));
		close(ends[0]);
		close(ends[1]);
	}
	for (uint64_t i = 0; i < 40; i++) {
		assert_int_equal(ipc_flush(&a), IPC_OK);
		assert_int_equal(ipc_receive(&b, soon(), &frame), IPC_OK);
		assert_true(msg_mailbox_message_decode(&frame, &got));
		assert_int_equal(got.file_length, i);
		assert_int_equal(got.file >= 0, i % 3 != 0);
		uint64_t in_pipe = 0;
		if (got.file >= 0) {
			assert_int_equal(read(got.file, &in_pipe, sizeof(in_pipe)), 8);
			assert_int_equal(in_pipe, i);
			assert_int_equal(fcntl(got.file, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
			close(got.file);
		}
		ipc_frame_close(&frame);
	}
	ipc_channel_close(&a);
	ipc_channel_close(&b);
	assert_int_equal(open_descriptors(), before);
}

static void
descriptors_nobody_takes_are_closed(void **unused)
{
	struct ipc_channel         a, b;
	struct ipc_frame           frame;
	struct msg_mailbox_message message = msg_mailbox_message_clear();
	size_t                     before = open_descriptors();

	(void)unused;
	pair_open(&a, &b);
	message.file = 0;
	for (int i = 0; i < 3; i++)
		assert_int_equal(ipc_send(&a, mailbox_message, &message, soon()), IPC_OK);
	assert_int_equal(ipc_receive(&b, soon(), &frame), IPC_OK);
	ipc_frame_close(&frame);
	assert_int_equal(ipc_receive(&b, soon(), &frame), IPC_OK);
	ipc_frame_close(&frame);
	ipc_channel_close(&a);
	ipc_channel_close(&b); /* the third was never looked at */
	assert_int_equal(open_descriptors(), before);
}

static void
queued_output_that_was_never_sent_leaks_nothing(void **unused)
{
	struct ipc_channel         a, b;
	struct msg_mailbox_message message = msg_mailbox_message_clear();
	size_t                     before = open_descriptors();

	(void)unused;
	pair_open(&a, &b);
	message.file = 0;
	for (int i = 0; i < 5; i++)
		assert_true(ipc_queue(&a, mailbox_message, &message));
	assert_true(ipc_has_output(&a));
	ipc_channel_close(&a);
	ipc_channel_close(&b);
	assert_int_equal(open_descriptors(), before);
}

static void
a_frame_that_comes_byte_by_byte_is_whole_only_at_its_end(void **unused)
{
	struct ipc_channel     a, b, raw;
	struct ipc_frame       frame;
	struct msg_agent_hello hello = msg_agent_hello_clear(), got;
	char                   bytes[200];

	(void)unused;
	pair_open(&a, &raw);
	hello.transport = SLICE("relay");
	hello.window = 7;
	assert_int_equal(ipc_send(&a, agent_hello, &hello, soon()), IPC_OK);
	ssize_t length = read(raw.fd, bytes, sizeof(bytes));
	ipc_channel_close(&a);
	ipc_channel_close(&raw);
	pair_open(&a, &b);
	for (ssize_t i = 0; i < length; i++) {
		assert_false(ipc_next(&b, &frame));
		assert_int_equal(write(a.fd, bytes + i, 1), 1);
		assert_int_equal(ipc_fill(&b), IPC_OK);
	}
	assert_true(ipc_next(&b, &frame));
	assert_true(msg_agent_hello_decode(&frame, &got));
	assert_int_equal(got.window, 7);
	assert_true(slice_equal(got.transport, SLICE("relay")));
	ipc_channel_close(&a);
	ipc_channel_close(&b);
}

static void
silence_is_a_timeout_and_an_end_is_an_end(void **unused)
{
	struct ipc_channel a, b;
	struct ipc_frame   frame;
	int64_t            begin = clock_monotonic_ms();

	(void)unused;
	pair_open(&a, &b);
	assert_int_equal(ipc_receive(&b, clock_monotonic_ms() + 30, &frame), IPC_TIMEOUT);
	assert_in_range(clock_monotonic_ms() - begin, 30, 2000);
	ipc_channel_close(&a);
	ipc_channel_close(&b);
	pair_open(&a, &b);
	ipc_channel_close(&a);
	assert_int_equal(ipc_receive(&b, soon(), &frame), IPC_CLOSED);
	struct msg_daemon_ready ready = msg_daemon_ready_clear();
	assert_int_equal(ipc_send(&b, daemon_ready, &ready, soon()), IPC_CLOSED);
	ipc_channel_close(&b);
	ipc_channel_close(&b);
}

static void
a_tail_of_megabytes_arrives_whole(void **unused)
{
	enum { SIZE = 5 << 20 };
	struct ipc_channel       a, b;
	struct ipc_frame         frame;
	struct msg_intake_commit commit = msg_intake_commit_clear(), got;
	char                    *content = malloc(SIZE);

	(void)unused;
	for (size_t i = 0; i < SIZE; i++)
		content[i] = (char)(i * 31 >> 3);
	pair_open(&a, &b);
	commit.queue_id = SLICE("3FZk81");
	commit.content = slice_of(content, SIZE);
	assert_true(ipc_queue(&a, intake_commit, &commit));
	while (ipc_has_output(&a)) {
		assert_int_equal(ipc_flush(&a), IPC_OK);
		assert_int_equal(ipc_fill(&b), IPC_OK);
	}
	assert_int_equal(ipc_receive(&b, soon(), &frame), IPC_OK);
	assert_true(msg_intake_commit_decode(&frame, &got));
	assert_int_equal(got.content.length, SIZE);
	assert_memory_equal(got.content.data, content, SIZE);
	ipc_channel_close(&a);
	ipc_channel_close(&b);
	free(content);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_arrives_as_it_was_sent),
		cmocka_unit_test(a_message_cut_at_any_byte_is_malformed),
		cmocka_unit_test(a_byte_too_many_a_wrong_type_or_a_missing_descriptor_is_malformed),
		cmocka_unit_test(
			records_in_a_list_come_back_in_order_and_a_damaged_list_is_noticed),
		cmocka_unit_test(sending_more_than_the_limit_of_a_type_is_refused),
		cmocka_unit_test(a_frame_above_its_limit_or_of_no_type_ends_the_channel),
		cmocka_unit_test(descriptors_stay_with_their_frames_when_many_are_queued),
		cmocka_unit_test(descriptors_nobody_takes_are_closed),
		cmocka_unit_test(queued_output_that_was_never_sent_leaks_nothing),
		cmocka_unit_test(a_frame_that_comes_byte_by_byte_is_whole_only_at_its_end),
		cmocka_unit_test(silence_is_a_timeout_and_an_end_is_an_end),
		cmocka_unit_test(a_tail_of_megabytes_arrives_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
