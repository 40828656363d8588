/* stream.c - see stream.h. */
#include "lib/io/stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"

#define TIMEOUT_DEFAULT_MS  300000
#define INPUT_LIMIT_DEFAULT (64u * 1024)
#define OUTPUT_HELD_MOST    (32u * 1024)
#define OUTPUT_LIMIT        (OUTPUT_HELD_MOST + 4096u)
/* What buf makes of it is 16 KB; up to the limit once a read was full: more has piled up. */
#define READ_STEP (16u * 1024 - 64)

#define SEND_LEAST   (16u * 1024) /* less is copied and sent with what follows */
#define SHRINK_ABOVE 4096u

struct stream {
	int   fd;
	short wants;             /* what the last STREAM_AGAIN waits for */
	bool  is_answer_awaited; /* sent since the last read */
	bool  is_piled_up;       /* the last read was full */
	bool  has_lost_output;   /* there was no memory for some: nothing may follow it */
	const struct stream_transport *transport;
	void                          *state;
	struct buf                     in;
	size_t                         in_start; /* bytes of in that are consumed */
	size_t                         scanned;  /* bytes behind in_start known to hold no LF */
	struct buf                     out;
	size_t                         out_start; /* bytes of out that are sent */
	int64_t                        timeout_ms;
	int64_t                        deadline_ms;
	struct error                  *error; /* NULL until something failed */
	void                          *owner;
};

/* ---- plain sockets ---- */

static enum stream_result
socket_failure(const char *what, struct error *error)
{
	if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
		error_set_errno(error, "lost connection");
	else
		error_set_errno(error, "%s", what);
	return STREAM_ERROR;
}

static enum stream_result
socket_read(void *state, int fd, char *data, size_t size, size_t *got, short *wants,
            struct error *error)
{
	ssize_t count;

	(void)state;
	do
		count = recv(fd, data, size, MSG_DONTWAIT);
	while (count < 0 && errno == EINTR);
	if (count > 0) {
		*got = (size_t)count;
		return STREAM_OK;
	}
	if (count == 0)
		return STREAM_EOF;
	if (errno == EAGAIN || errno == EWOULDBLOCK) {
		*wants = POLLIN;
		return STREAM_AGAIN;
	}
	return socket_failure("read", error);
}

static enum stream_result
socket_write(void *state, int fd, struct slice bytes, size_t *sent, short *wants,
             struct error *error)
{
	ssize_t count;

	(void)state;
	do
		count = send(fd, bytes.data, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (count < 0 && errno == EINTR);
	if (count >= 0) {
		*sent = (size_t)count;
		return STREAM_OK;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK) {
		*wants = POLLOUT;
		return STREAM_AGAIN;
	}
	return socket_failure("write", error);
}

static bool
socket_has_pending(void *state)
{
	(void)state;
	return false;
}

static void
socket_close(void *state, int fd)
{
	(void)state;
	(void)fd;
}

static const struct stream_transport socket_transport = {
	.read = socket_read,
	.write = socket_write,
	.has_pending = socket_has_pending,
	.close = socket_close,
};

/* ---- memory ---- */

struct memory {
	struct slice input;
	size_t       step;
	struct buf  *output;
};

static enum stream_result
memory_read(void *state, int fd, char *data, size_t size, size_t *got, short *wants,
            struct error *error)
{
	struct memory *memory = state;
	size_t         count = memory->input.length;

	(void)fd;
	(void)wants;
	(void)error;
	if (count == 0)
		return STREAM_EOF;
	if (memory->step > 0 && count > memory->step)
		count = memory->step;
	if (count > size)
		count = size;
	memcpy(data, memory->input.data, count);
	memory->input = slice_from_offset(memory->input, count);
	*got = count;
	return STREAM_OK;
}

static enum stream_result
memory_write(void *state, int fd, struct slice bytes, size_t *sent, short *wants,
             struct error *error)
{
	struct memory *memory = state;

	(void)fd;
	(void)wants;
	if (!buf_append(memory->output, bytes)) {
		error_set(error, "the output buffer is full");
		return STREAM_ERROR;
	}
	*sent = bytes.length;
	return STREAM_OK;
}

static bool
memory_has_pending(void *state)
{
	const struct memory *memory = state;

	return memory->input.length > 0;
}

static void
memory_close(void *state, int fd)
{
	(void)fd;
	free(state);
}

static const struct stream_transport memory_transport = {
	.read = memory_read,
	.write = memory_write,
	.has_pending = memory_has_pending,
	.close = memory_close,
};

/* ---- making and ending ---- */

static struct stream *
stream_create(int fd, const struct stream_transport *transport, void *state)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (stream == NULL)
		return NULL;
	stream->fd = fd;
	stream->transport = transport;
	stream->state = state;
	stream->in = BUF(INPUT_LIMIT_DEFAULT);
	stream->out = BUF(OUTPUT_LIMIT);
	stream->timeout_ms = TIMEOUT_DEFAULT_MS;
	return stream;
}

struct stream *
stream_from_socket(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && (flags & O_NONBLOCK) == 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	return stream_create(fd, &socket_transport, NULL);
}

struct stream *
stream_from_memory(struct slice input, size_t step, struct buf *output)
{
	struct memory *memory = malloc(sizeof(*memory));

	if (memory == NULL)
		return NULL;
	*memory = (struct memory){ .input = input, .step = step, .output = output };
	struct stream *stream = stream_create(-1, &memory_transport, memory);
	if (stream == NULL)
		free(memory);
	return stream;
}

void
stream_destroy(struct stream **pointer)
{
	struct stream *stream = *pointer;

	if (stream == NULL)
		return;
	*pointer = NULL;
	stream->transport->close(stream->state, stream->fd);
	if (stream->fd >= 0)
		close(stream->fd);
	buf_free(&stream->in);
	buf_free(&stream->out);
	free(stream->error);
	free(stream);
}

int
stream_fd(const struct stream *stream)
{
	return stream->fd;
}

void
stream_set_transport(struct stream *stream, const struct stream_transport *transport, void *state)
{
	if (stream->transport != transport || stream->state != state)
		stream->transport->close(stream->state, stream->fd);
	stream->transport = transport;
	stream->state = state;
	stream->is_answer_awaited = false;
}

void *
stream_transport_state(const struct stream *stream, const struct stream_transport *transport)
{
	return stream->transport == transport ? stream->state : NULL;
}

void
stream_set_timeout(struct stream *stream, int64_t timeout_ms)
{
	stream->timeout_ms = timeout_ms;
}

void
stream_set_deadline(struct stream *stream, int64_t deadline_ms)
{
	stream->deadline_ms = deadline_ms;
}

void
stream_set_input_limit(struct stream *stream, size_t bytes)
{
	stream->in.limit = bytes;
}

/* ---- waiting ---- */

static struct error *
stream_error_make(struct stream *stream)
{
	if (stream->error == NULL)
		stream->error = calloc(1, sizeof(*stream->error));
	return stream->error; /* NULL is allowed by error_set */
}

/* When this wait ends at the latest; INT64_MAX = never. */
static int64_t
wait_end(const struct stream *stream, int64_t now)
{
	int64_t end;

	if (__builtin_add_overflow(now, stream->timeout_ms, &end))
		end = INT64_MAX;
	if (stream->deadline_ms != 0 && stream->deadline_ms < end)
		end = stream->deadline_ms;
	return end;
}

enum stream_result
stream_wait(struct stream *stream, short events)
{
	int64_t now = clock_monotonic_ms();
	int64_t end = wait_end(stream, now);

	for (;;) {
		struct pollfd one = { .fd = stream->fd, .events = events };
		int64_t       left = end - now;

		if (left <= 0)
			return STREAM_TIMEOUT;
		int ready = poll(&one, 1, left > 3600000 ? 3600000 : (int)left);
		if (ready > 0)
			return STREAM_OK;
		if (ready < 0 && errno != EINTR) {
			error_set_errno(stream_error_make(stream), "poll");
			return STREAM_ERROR;
		}
		now = clock_monotonic_ms();
	}
}

/* ---- input ---- */

struct slice
stream_input(const struct stream *stream)
{
	return slice_from_offset(buf_slice(&stream->in), stream->in_start);
}

void
stream_consume(struct stream *stream, size_t count)
{
	size_t held = stream->in.length - stream->in_start;

	assert(count <= held);
	if (count >= held) {
		/* The bytes stay where they are until the next read, for whoever looks at them. */
		buf_clear(&stream->in);
		stream->in_start = 0;
		stream->scanned = 0;
		return;
	}
	stream->in_start += count;
	stream->scanned = stream->scanned > count ? stream->scanned - count : 0;
}

static size_t
read_room(const struct stream *stream)
{
	size_t room = stream->in.limit - stream->in.length;

	return room > READ_STEP && !stream->is_piled_up ? READ_STEP : room;
}

enum stream_result
stream_fill_now(struct stream *stream)
{
	struct error error = ERROR_NONE;
	size_t       got = 0;
	short        wants = POLLIN;

	if (stream->in_start > 0) {
		buf_consume(&stream->in, stream->in_start);
		stream->in_start = 0;
	}
	if (stream->in.length >= stream->in.limit)
		return STREAM_FULL;
	size_t room = read_room(stream);
	if (!buf_reserve(&stream->in, room)) {
		stream->in.has_failed = false;
		error_set(stream_error_make(stream), "out of memory");
		return STREAM_ERROR;
	}
	stream->is_answer_awaited = false;
	enum stream_result result = stream->transport->read(stream->state, stream->fd,
	                                                    stream->in.data + stream->in.length,
	                                                    room, &got, &wants, &error);
	stream->is_piled_up = result == STREAM_OK && got == room && room >= READ_STEP;
	if (result == STREAM_OK)
		stream->in.length += got;
	else if (result == STREAM_AGAIN)
		stream->wants = wants;
	else if (result == STREAM_ERROR && stream_error_make(stream) != NULL)
		*stream->error = error;
	return result;
}

enum stream_result
stream_fill(struct stream *stream)
{
	/* An answer is hardly ever there at once: asking poll first saves a vain read. */
	if (stream->is_answer_awaited && stream->fd >= 0 &&
	    !stream->transport->has_pending(stream->state)) {
		enum stream_result waited = stream_wait(stream, POLLIN);

		if (waited != STREAM_OK)
			return waited;
	}
	for (;;) {
		enum stream_result result = stream_fill_now(stream);

		if (result != STREAM_AGAIN)
			return result;
		result = stream_wait(stream, stream->wants);
		if (result != STREAM_OK)
			return result;
	}
}

bool
stream_has_pending(const struct stream *stream)
{
	return stream->in.length > stream->in_start ||
	       stream->transport->has_pending(stream->state);
}

bool
stream_transport_has_pending(const struct stream *stream)
{
	return stream->transport->has_pending(stream->state);
}

enum stream_result
stream_read_line(struct stream *stream, struct slice *line, size_t *ending)
{
	for (;;) {
		struct slice input = stream_input(stream);
		size_t       at = slice_find_byte(slice_from_offset(input, stream->scanned), '\n');

		if (at != SLICE_NOT_FOUND) {
			at += stream->scanned;
			*ending = at > 0 && input.data[at - 1] == '\r' ? 2 : 1;
			*line = slice_first(input, at + 1 - *ending);
			stream_consume(stream, at + 1);
			return STREAM_OK;
		}
		stream->scanned = input.length;
		enum stream_result result = stream_fill(stream);
		if (result != STREAM_OK)
			return result;
	}
}

bool
stream_drop_input(struct stream *stream)
{
	size_t held = stream->in.length - stream->in_start;

	stream_consume(stream, held);
	return held > 0;
}

/* ---- output ---- */

enum stream_result
stream_flush_now(struct stream *stream)
{
	while (stream->out_start < stream->out.length) {
		struct error error = ERROR_NONE;
		struct slice left = slice_from_offset(buf_slice(&stream->out), stream->out_start);
		size_t       sent = 0;
		short        wants = POLLOUT;

		enum stream_result result = stream->transport->write(stream->state, stream->fd,
		                                                     left, &sent, &wants, &error);
		if (result == STREAM_AGAIN)
			stream->wants = wants;
		if (result == STREAM_ERROR && stream_error_make(stream) != NULL)
			*stream->error = error;
		if (result != STREAM_OK)
			return result;
		stream->out_start += sent;
		stream->is_answer_awaited = true;
	}
	buf_clear(&stream->out);
	stream->out_start = 0;
	return stream->has_lost_output ? STREAM_ERROR : STREAM_OK;
}

enum stream_result
stream_flush(struct stream *stream)
{
	for (;;) {
		enum stream_result result = stream_flush_now(stream);

		if (result != STREAM_AGAIN)
			return result;
		result = stream_wait(stream, stream->wants);
		if (result != STREAM_OK)
			return result;
	}
}

enum stream_result
stream_write(struct stream *stream, struct slice bytes)
{
	while (bytes.length > 0) {
		size_t held = stream->out.length - stream->out_start;

		if (stream->has_lost_output)
			return STREAM_ERROR;
		if (held >= OUTPUT_HELD_MOST) {
			enum stream_result result = stream_flush(stream);

			if (result != STREAM_OK)
				return result;
			continue;
		}
		if (stream->out_start > 0) {
			buf_consume(&stream->out, stream->out_start);
			stream->out_start = 0;
		}
		struct slice piece = slice_first(bytes, OUTPUT_HELD_MOST - held);
		if (!buf_append(&stream->out, piece)) {
			stream->out.has_failed = false;
			stream->has_lost_output = true;
			error_set(stream_error_make(stream), "out of memory");
			return STREAM_ERROR;
		}
		bytes = slice_from_offset(bytes, piece.length);
	}
	return STREAM_OK;
}

/* Once, from the caller's memory, or a wait: *bytes is what is left. */
static enum stream_result
write_through(struct stream *stream, struct slice *bytes)
{
	struct error error = ERROR_NONE;
	size_t       sent = 0;
	short        wants = POLLOUT;

	enum stream_result result =
		stream->transport->write(stream->state, stream->fd, *bytes, &sent, &wants, &error);
	if (result == STREAM_AGAIN)
		return stream_wait(stream, wants);
	if (result == STREAM_ERROR && stream_error_make(stream) != NULL)
		*stream->error = error;
	if (result != STREAM_OK)
		return result;
	*bytes = slice_from_offset(*bytes, sent);
	stream->is_answer_awaited = true;
	return STREAM_OK;
}

enum stream_result
stream_send(struct stream *stream, struct slice bytes)
{
	enum stream_result result = bytes.length < SEND_LEAST ? STREAM_OK : stream_flush(stream);

	while (result == STREAM_OK && bytes.length >= SEND_LEAST)
		result = write_through(stream, &bytes);
	return result == STREAM_OK ? stream_write(stream, bytes) : result;
}

enum stream_result
stream_write_text(struct stream *stream, const char *text)
{
	return stream_write(stream, slice_from(text));
}

bool
stream_has_output(const struct stream *stream)
{
	return stream->out.length > stream->out_start || stream->has_lost_output;
}

bool
stream_has_lost_output(const struct stream *stream)
{
	return stream->has_lost_output;
}

size_t
stream_output_held(const struct stream *stream)
{
	return stream->out.length - stream->out_start;
}

short
stream_wants(const struct stream *stream)
{
	return stream->wants;
}

/* Half a line in a large buffer moves into a small one: strangers can leave many of those. */
static void
input_shrink(struct stream *stream)
{
	if (stream->in_start > 0) {
		buf_consume(&stream->in, stream->in_start);
		stream->in_start = 0;
	}
	if (stream->in.length == 0) {
		buf_free(&stream->in);
		stream->scanned = 0;
		return;
	}
	if (stream->in.capacity < SHRINK_ABOVE || stream->in.length > SHRINK_ABOVE / 4)
		return;
	char *data = realloc(stream->in.data, stream->in.length + 1);
	if (data == NULL)
		return;
	stream->in.data = data;
	stream->in.capacity = stream->in.length + 1;
}

void
stream_trim(struct stream *stream)
{
	input_shrink(stream);
	if (stream->out.length == stream->out_start) {
		buf_free(&stream->out);
		stream->out_start = 0;
	}
}

void
stream_shutdown(struct stream *stream)
{
	if (stream->fd >= 0)
		shutdown(stream->fd, SHUT_RDWR);
}

void
stream_set_owner(struct stream *stream, void *owner)
{
	stream->owner = owner;
}

void *
stream_owner(const struct stream *stream)
{
	return stream->owner;
}

void
stream_set_error(struct stream *stream, const struct error *error)
{
	if (stream_error_make(stream) != NULL)
		*stream->error = *error;
}

const char *
stream_error(const struct stream *stream)
{
	return stream->error != NULL ? stream->error->text : "";
}

const char *
stream_result_text(enum stream_result result)
{
	switch (result) {
	case STREAM_OK: return "ok";
	case STREAM_AGAIN: return "nothing there yet";
	case STREAM_EOF: return "the other side closed the connection";
	case STREAM_TIMEOUT: return "timed out";
	case STREAM_FULL: return "too much input";
	case STREAM_ERROR: return "connection failed";
	}
	return "?";
}
