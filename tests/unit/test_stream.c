/* test_stream.c - a conversation's bytes over memory and over sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/io/stream.h"

static void
assert_slice(struct slice got, const char *expected)
{
	assert_int_equal(got.length, strlen(expected));
	assert_memory_equal(got.data, expected, got.length);
}

static void
memory_input_comes_in_steps_then_eof(void **unused)
{
	struct buf     output = BUF(100);
	struct stream *stream = stream_from_memory(SLICE("hello"), 2, &output);

	(void)unused;
	assert_int_equal(stream_fill(stream), STREAM_OK);
	assert_slice(stream_input(stream), "he");
	assert_int_equal(stream_fill_now(stream), STREAM_OK);
	assert_slice(stream_input(stream), "hell");
	stream_consume(stream, 3);
	assert_slice(stream_input(stream), "l");
	assert_int_equal(stream_fill(stream), STREAM_OK);
	assert_slice(stream_input(stream), "lo");
	assert_int_equal(stream_fill(stream), STREAM_EOF);
	assert_slice(stream_input(stream), "lo");
	stream_destroy(&stream);
	assert_null(stream);
	buf_free(&output);
}

static void
lines_end_at_lf_or_crlf_and_cr_elsewhere_stays(void **unused)
{
	(void)unused;
	for (size_t step = 0; step < 12; step++) {
		struct buf     output = BUF(100);
		struct stream *stream =
			stream_from_memory(SLICE("one\r\ntwo\nth\rree\r\r\n\nrest"), step, &output);
		const char *expected[] = { "one", "two", "th\rree\r", "" };
		size_t      endings[] = { 2, 1, 2, 1 };

		for (size_t i = 0; i < 4; i++) {
			struct slice line;
			size_t       ending;

			assert_int_equal(stream_read_line(stream, &line, &ending), STREAM_OK);
			assert_slice(line, expected[i]);
			assert_int_equal(ending, endings[i]);
		}
		struct slice line;
		size_t       ending;
		assert_int_equal(stream_read_line(stream, &line, &ending), STREAM_EOF);
		assert_slice(stream_input(stream), "rest");
		stream_destroy(&stream);
		buf_free(&output);
	}
}

static void
input_never_grows_beyond_its_limit(void **unused)
{
	static char  many[5000];
	struct buf   output = BUF(100);
	struct slice line;
	size_t       ending;

	(void)unused;
	memset(many, 'x', sizeof(many));
	struct stream *stream = stream_from_memory(slice_of(many, sizeof(many)), 700, &output);
	stream_set_input_limit(stream, 1000);
	assert_int_equal(stream_read_line(stream, &line, &ending), STREAM_FULL);
	assert_int_equal(stream_input(stream).length, 1000);
	stream_consume(stream, 999);
	assert_int_equal(stream_fill(stream), STREAM_OK);
	assert_true(stream_drop_input(stream));
	assert_false(stream_drop_input(stream));
	assert_int_equal(stream_input(stream).length, 0);
	stream_destroy(&stream);
	buf_free(&output);
}

static void
output_is_held_until_flushed(void **unused)
{
	struct buf     output = BUF(100);
	struct stream *stream = stream_from_memory(SLICE_EMPTY, 0, &output);

	(void)unused;
	assert_int_equal(stream_write_text(stream, "+OK\r\n"), STREAM_OK);
	assert_true(stream_has_output(stream));
	assert_int_equal(output.length, 0);
	assert_int_equal(stream_flush(stream), STREAM_OK);
	assert_false(stream_has_output(stream));
	assert_slice(buf_slice(&output), "+OK\r\n");
	stream_destroy(&stream);
	buf_free(&output);
}

static void
a_full_memory_output_is_an_error(void **unused)
{
	struct buf     output = BUF(3);
	struct stream *stream = stream_from_memory(SLICE_EMPTY, 0, &output);

	(void)unused;
	assert_int_equal(stream_write_text(stream, "four"), STREAM_OK);
	assert_int_equal(stream_flush(stream), STREAM_ERROR);
	assert_string_not_equal(stream_error(stream), "");
	stream_destroy(&stream);
	buf_free(&output);
}

static void
a_silent_peer_ends_in_a_timeout(void **unused)
{
	int pair[2];

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct stream *stream = stream_from_socket(pair[0]);
	int64_t        start = clock_monotonic_ms();
	assert_int_equal(stream_fill_now(stream), STREAM_AGAIN);
	assert_int_equal(stream_wants(stream), POLLIN);
	stream_set_timeout(stream, 30);
	assert_int_equal(stream_fill(stream), STREAM_TIMEOUT);
	assert_in_range(clock_monotonic_ms() - start, 30, 1000);
	stream_destroy(&stream);
	close(pair[1]);
}

static void
a_dripping_peer_does_not_pass_the_deadline(void **unused)
{
	int                pair[2];
	struct slice       line;
	size_t             ending;
	enum stream_result result;

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct stream *stream = stream_from_socket(pair[0]);
	stream_set_timeout(stream, 1000);
	stream_set_deadline(stream, clock_monotonic_ms() + 40);
	assert_int_equal(write(pair[1], "drip", 4), 4);
	result = stream_read_line(stream, &line, &ending);
	assert_int_equal(result, STREAM_TIMEOUT);
	assert_slice(stream_input(stream), "drip");
	stream_destroy(&stream);
	close(pair[1]);
}

static void *
read_slowly(void *argument)
{
	int    fd = *(int *)argument;
	char   piece[4096];
	size_t total = 0;

	for (;;) {
		ssize_t got = read(fd, piece, sizeof(piece));

		if (got <= 0)
			return (void *)total;
		total += (size_t)got;
	}
}

static void
more_than_the_socket_holds_arrives_whole(void **unused)
{
	static char many[3 << 20];
	int         pair[2];
	pthread_t   reader;
	void       *total;

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct stream *stream = stream_from_socket(pair[0]);
	memset(many, 'y', sizeof(many));
	pthread_create(&reader, NULL, read_slowly, &pair[1]);
	assert_int_equal(stream_write(stream, slice_of(many, sizeof(many))), STREAM_OK);
	assert_in_range(stream_output_held(stream), 1, 33 * 1024);
	assert_int_equal(stream_flush(stream), STREAM_OK);
	stream_destroy(&stream);
	pthread_join(reader, &total);
	assert_int_equal((size_t)total, sizeof(many));
	close(pair[1]);
}

static void
what_is_sent_at_once_stays_in_order_and_arrives_whole(void **unused)
{
	static char many[3 << 20];
	struct buf  got = BUF(4u << 20);
	int         pair[2];
	pthread_t   reader;
	void       *total;

	(void)unused;
	memset(many, 'y', sizeof(many));
	struct stream *stream = stream_from_memory(SLICE_EMPTY, 0, &got);
	assert_int_equal(stream_write_text(stream, "first "), STREAM_OK);
	assert_int_equal(stream_send(stream, slice_of(many, 100000)), STREAM_OK);
	assert_int_equal(got.length, 6 + 100000);
	assert_int_equal(stream_send(stream, SLICE(" last")), STREAM_OK);
	assert_int_equal(stream_flush(stream), STREAM_OK);
	assert_int_equal(got.length, 6 + 100000 + 5);
	assert_memory_equal(got.data, "first y", 7);
	assert_memory_equal(got.data + 6 + 100000 - 1, "y last", 6);
	stream_destroy(&stream);
	buf_free(&got);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	stream = stream_from_socket(pair[0]);
	pthread_create(&reader, NULL, read_slowly, &pair[1]);
	assert_int_equal(stream_send(stream, slice_of(many, sizeof(many))), STREAM_OK);
	assert_int_equal(stream_flush(stream), STREAM_OK);
	stream_destroy(&stream);
	pthread_join(reader, &total);
	assert_int_equal((size_t)total, sizeof(many));
	close(pair[1]);
}

static void
what_is_sent_to_nobody_ends_in_a_timeout_or_an_error(void **unused)
{
	static char many[8 << 20];
	int         pair[2];

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct stream *stream = stream_from_socket(pair[0]);
	stream_set_timeout(stream, 20);
	assert_int_equal(stream_send(stream, slice_of(many, sizeof(many))), STREAM_TIMEOUT);
	close(pair[1]);
	assert_int_equal(stream_send(stream, slice_of(many, sizeof(many))), STREAM_ERROR);
	assert_non_null(strstr(stream_error(stream), "lost connection"));
	stream_destroy(&stream);
}

static void
a_peer_that_does_not_read_ends_in_a_timeout(void **unused)
{
	static char many[8 << 20];
	int         pair[2];

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct stream *stream = stream_from_socket(pair[0]);
	stream_set_timeout(stream, 20);
	assert_int_equal(stream_write(stream, slice_of(many, sizeof(many))), STREAM_TIMEOUT);
	assert_int_equal(stream_flush_now(stream), STREAM_AGAIN);
	assert_int_equal(stream_wants(stream), POLLOUT);
	stream_destroy(&stream);
	close(pair[1]);
}

static void
a_closed_peer_is_eof_when_reading_and_an_error_when_writing(void **unused)
{
	int pair[2];

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct stream *stream = stream_from_socket(pair[0]);
	close(pair[1]);
	assert_int_equal(stream_fill(stream), STREAM_EOF);
	assert_int_equal(stream_write_text(stream, "x"), STREAM_OK);
	assert_int_equal(stream_flush(stream), STREAM_ERROR);
	assert_non_null(strstr(stream_error(stream), "lost connection"));
	stream_destroy(&stream);
}

static void
shutdown_from_outside_ends_the_conversation(void **unused)
{
	int pair[2];

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct stream *stream = stream_from_socket(pair[0]);
	stream_shutdown(stream);
	assert_int_equal(stream_fill(stream), STREAM_EOF);
	stream_destroy(&stream);
	close(pair[1]);
}

static void
trim_keeps_what_is_still_needed(void **unused)
{
	struct buf     output = BUF(100);
	struct stream *stream = stream_from_memory(SLICE("abcd"), 3, &output);

	(void)unused;
	assert_int_equal(stream_fill(stream), STREAM_OK);
	stream_consume(stream, 1);
	stream_write_text(stream, "kept");
	stream_trim(stream);
	assert_slice(stream_input(stream), "bc");
	stream_consume(stream, 2);
	stream_trim(stream);
	assert_int_equal(stream_fill(stream), STREAM_OK);
	assert_slice(stream_input(stream), "d");
	assert_int_equal(stream_flush(stream), STREAM_OK);
	assert_slice(buf_slice(&output), "kept");
	stream_destroy(&stream);
	buf_free(&output);
}

static enum stream_result
upper_read(void *state, int fd, char *data, size_t size, size_t *got, short *wants,
           struct error *error)
{
	(void)fd;
	(void)wants;
	(void)error;
	(void)size;
	int *left = state;
	if (*left == 0)
		return STREAM_EOF;
	--*left;
	data[0] = 'T';
	*got = 1;
	return STREAM_OK;
}

static bool
upper_has_pending(void *state)
{
	return *(int *)state > 0;
}

static void
upper_close(void *state, int fd)
{
	(void)fd;
	*(int *)state = -1;
}

static void
a_transport_replaces_reading_and_is_closed_with_the_stream(void **unused)
{
	static const struct stream_transport transport = { .read = upper_read,
		                                           .has_pending = upper_has_pending,
		                                           .close = upper_close };
	struct buf                           output = BUF(100);
	struct stream *stream = stream_from_memory(SLICE("plain"), 0, &output);
	int            left = 1;

	(void)unused;
	assert_null(stream_transport_state(stream, &transport));
	stream_set_transport(stream, &transport, &left);
	assert_ptr_equal(stream_transport_state(stream, &transport), &left);
	assert_true(stream_has_pending(stream));
	assert_int_equal(stream_fill(stream), STREAM_OK);
	assert_slice(stream_input(stream), "T");
	stream_consume(stream, 1);
	assert_false(stream_has_pending(stream));
	assert_int_equal(stream_fill(stream), STREAM_EOF);
	stream_destroy(&stream);
	assert_int_equal(left, -1);
	buf_free(&output);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_input_comes_in_steps_then_eof),
		cmocka_unit_test(lines_end_at_lf_or_crlf_and_cr_elsewhere_stays),
		cmocka_unit_test(input_never_grows_beyond_its_limit),
		cmocka_unit_test(output_is_held_until_flushed),
		cmocka_unit_test(a_full_memory_output_is_an_error),
		cmocka_unit_test(a_silent_peer_ends_in_a_timeout),
		cmocka_unit_test(a_dripping_peer_does_not_pass_the_deadline),
		cmocka_unit_test(more_than_the_socket_holds_arrives_whole),
		cmocka_unit_test(what_is_sent_at_once_stays_in_order_and_arrives_whole),
		cmocka_unit_test(what_is_sent_to_nobody_ends_in_a_timeout_or_an_error),
		cmocka_unit_test(a_peer_that_does_not_read_ends_in_a_timeout),
		cmocka_unit_test(a_closed_peer_is_eof_when_reading_and_an_error_when_writing),
		cmocka_unit_test(shutdown_from_outside_ends_the_conversation),
		cmocka_unit_test(trim_keeps_what_is_still_needed),
		cmocka_unit_test(a_transport_replaces_reading_and_is_closed_with_the_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
