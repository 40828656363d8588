/* channel.c - see channel.h. */
#include "lib/ipc/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"

#define FRAME_MOST (64u << 20)
#define READ_STEP  (16u * 1024)
#define TRIM_ABOVE (16u * 1024)

#define ARRIVAL_WAITS   50
#define ARRIVAL_WAIT_NS (5 * 1000000L)

/* Descriptors that go out with the byte at this offset of the output (a frame's first). */
struct ipc_pending_descriptors {
	struct ipc_pending_descriptors *next;
	size_t                          offset;
	int                             descriptors[IPC_DESCRIPTORS_MOST];
	size_t                          count;
};

void
ipc_channel_init(struct ipc_channel *channel, int fd)
{
	*channel = (struct ipc_channel){ .fd = fd,
		                         .in = BUF(FRAME_MOST + READ_STEP),
		                         .out = BUF(2 * (size_t)FRAME_MOST),
		                         .encoding.fields = BUF(FRAME_MOST) };
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && (flags & O_NONBLOCK) == 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void
pending_free(struct ipc_channel *channel)
{
	struct ipc_pending_descriptors *pending = channel->pending;

	channel->pending = pending->next;
	for (size_t i = 0; i < pending->count; i++)
		close(pending->descriptors[i]);
	free(pending);
}

void
ipc_channel_close(struct ipc_channel *channel)
{
	if (channel->fd >= 0)
		close(channel->fd);
	channel->fd = -1;
	channel->is_broken = true;
	for (size_t i = 0; i < channel->received_count; i++)
		close(channel->received[i]);
	channel->received_count = 0;
	while (channel->pending != NULL)
		pending_free(channel);
	channel->in_used = 0;
	buf_free(&channel->in);
	buf_free(&channel->out);
	buf_free(&channel->encoding.fields);
}

bool
ipc_channel_connect(struct ipc_channel *channel, const char *path, struct error *error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t             length = strlen(path);

	if (length >= sizeof(address.sun_path))
		return error_set(error, "connect to %s: the path is too long", path);
	memcpy(address.sun_path, path, length);
	/* A full backlog is an error at once, not a wait without end in a scheduler. */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(error, "socket for %s", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		error_set_errno(error, "connect to %s", path);
		close(fd);
		return false;
	}
	ipc_channel_init(channel, fd);
	return true;
}

void
ipc_channel_trim(struct ipc_channel *channel)
{
	if (channel->in.length == 0 && channel->in.capacity > TRIM_ABOVE)
		buf_free(&channel->in);
	if (channel->out.length == 0 && channel->out.capacity > TRIM_ABOVE)
		buf_free(&channel->out);
	if (channel->encoding.fields.capacity > TRIM_ABOVE)
		buf_free(&channel->encoding.fields);
}

const char *
ipc_result_text(enum ipc_result result)
{
	switch (result) {
	case IPC_OK: return "ok";
	case IPC_CLOSED: return "the other side closed the channel";
	case IPC_TIMEOUT: return "no answer in time";
	case IPC_MALFORMED: return "malformed message";
	}
	return "?";
}

static enum ipc_result
channel_break(struct ipc_channel *channel, enum ipc_result result)
{
	channel->is_broken = true;
	return result;
}

/* ---- sending ---- */

static void
header_write(const struct ipc_encoding *encoding, uint32_t type, char *header)
{
	uint32_t length = (uint32_t)(encoding->fields.length + encoding->tail.length);
	uint16_t number = (uint16_t)type, count = (uint16_t)encoding->descriptor_count;

	memcpy(header, &length, 4);
	memcpy(header + 4, &number, 2);
	memcpy(header + 6, &count, 2);
}

static bool
frame_is_allowed(const struct ipc_encoding *encoding, uint32_t type)
{
	size_t length;

	return !__builtin_add_overflow(encoding->fields.length, encoding->tail.length, &length) &&
	       length <= msg_most_bytes(type);
}

/*
 * sendmsg with descriptors on the first byte. Without privileges no more descriptors of a user may
 * be on their way, between all his processes, than one process may have: where those are few, it
 * waits a moment for others to arrive.
 */
static ssize_t
send_parts(int fd, struct iovec *parts, size_t part_count, const int *descriptors, size_t count)
{
	union {
		struct cmsghdr align;
		char           bytes[CMSG_SPACE(sizeof(int) * IPC_DESCRIPTORS_MOST)];
	} control;
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = part_count };

	if (count > 0) {
		memset(&control, 0, sizeof(control));
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(head), descriptors, sizeof(int) * count);
	}
	for (int waits = 0;;) {
		ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);

		if (sent < 0 && errno == ETOOMANYREFS && waits++ < ARRIVAL_WAITS)
			nanosleep(&(struct timespec){ .tv_nsec = ARRIVAL_WAIT_NS }, NULL);
		else if (sent >= 0 || errno != EINTR)
			return sent;
	}
}

static bool
wait_for(int fd, short events, int64_t deadline_ms)
{
	for (;;) {
		struct pollfd one = { .fd = fd, .events = events };
		int64_t       left = deadline_ms - clock_monotonic_ms();

		if (left <= 0)
			return false;
		int ready = poll(&one, 1, left > 60000 ? 60000 : (int)left);
		if (ready > 0 || (ready < 0 && errno != EINTR))
			return true;
	}
}

static void
parts_advance(struct iovec *parts, size_t count, size_t sent)
{
	for (size_t i = 0; i < count && sent > 0; i++) {
		size_t step = sent < parts[i].iov_len ? sent : parts[i].iov_len;

		parts[i].iov_base = (char *)parts[i].iov_base + step;
		parts[i].iov_len -= step;
		sent -= step;
	}
}

enum ipc_result
ipc_send_encoding(struct ipc_channel *channel, uint32_t type, int64_t deadline_ms)
{
	struct ipc_encoding *encoding = &channel->encoding;
	char                 header[IPC_HEADER_BYTES];

	if (channel->is_broken)
		return IPC_CLOSED;
	if (!frame_is_allowed(encoding, type))
		return IPC_MALFORMED;
	header_write(encoding, type, header);
	struct iovec parts[3] = { { header, sizeof(header) },
		                  { encoding->fields.data, encoding->fields.length },
		                  { (void *)(uintptr_t)encoding->tail.data,
		                    encoding->tail.length } };
	size_t       left = sizeof(header) + encoding->fields.length + encoding->tail.length;
	size_t       descriptor_count = encoding->descriptor_count;

	while (left > 0) {
		ssize_t sent =
			send_parts(channel->fd, parts, 3, encoding->descriptors, descriptor_count);

		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			if (!wait_for(channel->fd, POLLOUT, deadline_ms))
				return channel_break(channel, IPC_TIMEOUT);
			continue;
		}
		if (sent < 0)
			return channel_break(channel, IPC_CLOSED);
		descriptor_count = 0;
		left -= (size_t)sent;
		parts_advance(parts, 3, (size_t)sent);
	}
	return IPC_OK;
}

bool
ipc_queue_encoding(struct ipc_channel *channel, uint32_t type)
{
	struct ipc_encoding *encoding = &channel->encoding;
	size_t               start = channel->out.length;
	char                 header[IPC_HEADER_BYTES];

	if (channel->is_broken || !frame_is_allowed(encoding, type))
		return false;
	header_write(encoding, type, header);
	if (!buf_append(&channel->out, slice_of(header, sizeof(header))) ||
	    !buf_append(&channel->out, buf_slice(&encoding->fields)) ||
	    !buf_append(&channel->out, encoding->tail))
		goto out;
	if (encoding->descriptor_count == 0)
		return true;
	struct ipc_pending_descriptors *pending = calloc(1, sizeof(*pending));
	if (pending == NULL)
		goto out;
	pending->offset = start;
	struct ipc_pending_descriptors **last = &channel->pending;
	while (*last != NULL)
		last = &(*last)->next;
	*last = pending;
	for (size_t i = 0; i < encoding->descriptor_count; i++) {
		int copy = fcntl(encoding->descriptors[i], F_DUPFD_CLOEXEC, 0);

		if (copy < 0) {
			while (pending->count > 0)
				close(pending->descriptors[--pending->count]);
			*last = NULL;
			free(pending);
			goto out;
		}
		pending->descriptors[pending->count++] = copy;
	}
	return true;
out:
	channel->out.has_failed = false;
	buf_truncate(&channel->out, start);
	return false;
}

/* How much may go in one sendmsg: up to the next frame that carries descriptors. */
static size_t
send_stretch(const struct ipc_channel *channel, size_t at)
{
	const struct ipc_pending_descriptors *pending = channel->pending;

	if (pending != NULL && pending->offset == at)
		pending = pending->next;
	return (pending == NULL ? channel->out.length : pending->offset) - at;
}

enum ipc_result
ipc_flush(struct ipc_channel *channel)
{
	size_t at = 0;

	if (channel->is_broken)
		return IPC_CLOSED;
	while (at < channel->out.length) {
		struct ipc_pending_descriptors *pending = channel->pending;
		struct iovec part = { channel->out.data + at, send_stretch(channel, at) };
		bool         has_descriptors = pending != NULL && pending->offset == at;
		ssize_t      sent = send_parts(channel->fd, &part, 1,
                                          has_descriptors ? pending->descriptors : NULL,
                                          has_descriptors ? pending->count : 0);

		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (sent < 0)
			return channel_break(channel, IPC_CLOSED);
		if (has_descriptors)
			pending_free(channel);
		at += (size_t)sent;
	}
	buf_consume(&channel->out, at);
	for (struct ipc_pending_descriptors *p = channel->pending; p != NULL; p = p->next)
		p->offset -= at;
	return IPC_OK;
}

bool
ipc_has_output(const struct ipc_channel *channel)
{
	return channel->out.length > 0;
}

/* ---- receiving ---- */

static bool
take_descriptors(struct ipc_channel *channel, struct msghdr *message)
{
	size_t most = sizeof(channel->received) / sizeof(channel->received[0]);
	bool   is_good = (message->msg_flags & MSG_CTRUNC) == 0;

	for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL;
	     head = CMSG_NXTHDR(message, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(fd));
			if (channel->received_count < most) {
				channel->received[channel->received_count++] = fd;
			} else {
				close(fd);
				is_good = false;
			}
		}
	}
	return is_good;
}

static void
frame_release(struct ipc_channel *channel)
{
	if (channel->in_used > 0)
		buf_consume(&channel->in, channel->in_used);
	channel->in_used = 0;
}

/* Bytes to read next: the rest of a large frame in one go, otherwise a step. */
static size_t
read_size(const struct ipc_channel *channel)
{
	uint32_t length;

	if (channel->in.length < IPC_HEADER_BYTES)
		return READ_STEP;
	memcpy(&length, channel->in.data, sizeof(length));
	size_t whole = (size_t)length + IPC_HEADER_BYTES;
	if (length > FRAME_MOST || whole <= channel->in.length)
		return READ_STEP;
	return whole - channel->in.length > READ_STEP ? whole - channel->in.length : READ_STEP;
}

enum ipc_result
ipc_fill(struct ipc_channel *channel)
{
	union {
		struct cmsghdr align;
		char           bytes[CMSG_SPACE(sizeof(int) * IPC_DESCRIPTORS_MOST)];
	} control;

	if (channel->is_broken)
		return IPC_CLOSED;
	frame_release(channel);
	size_t room = read_size(channel);
	if (!buf_reserve(&channel->in, room))
		return channel_break(channel, IPC_MALFORMED);
	struct iovec  part = { channel->in.data + channel->in.length, room };
	struct msghdr message = { .msg_iov = &part,
		                  .msg_iovlen = 1,
		                  .msg_control = control.bytes,
		                  .msg_controllen = sizeof(control.bytes) };
	ssize_t       got;
	do
		got = recvmsg(channel->fd, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return IPC_OK;
	if (got <= 0)
		return channel_break(channel, IPC_CLOSED);
	channel->in.length += (size_t)got;
	if (!take_descriptors(channel, &message))
		return channel_break(channel, IPC_MALFORMED);
	return IPC_OK;
}

bool
ipc_next(struct ipc_channel *channel, struct ipc_frame *frame)
{
	uint32_t length;
	uint16_t type, count;

	if (channel->in.length < channel->in_used + IPC_HEADER_BYTES)
		return false;
	const char *at = channel->in.data + channel->in_used;
	memcpy(&length, at, 4);
	memcpy(&type, at + 4, 2);
	memcpy(&count, at + 6, 2);
	size_t most = msg_most_bytes(type); /* 0: no such type, however short */
	if (most == 0 || length > most || count > IPC_DESCRIPTORS_MOST) {
		channel->is_broken = true;
		return false;
	}
	if (channel->in.length - channel->in_used < (size_t)length + IPC_HEADER_BYTES)
		return false;
	if (count > channel->received_count) {
		channel->is_broken = true;
		return false;
	}
	*frame = (struct ipc_frame){ .type = type,
		                     .payload = slice_of(at + IPC_HEADER_BYTES, length),
		                     .descriptor_count = count };
	memcpy(frame->descriptors, channel->received, count * sizeof(int));
	channel->received_count -= count;
	memmove(channel->received, channel->received + count,
	        channel->received_count * sizeof(int));
	channel->in_used += (size_t)length + IPC_HEADER_BYTES;
	return true;
}

bool
ipc_has_input(const struct ipc_channel *channel)
{
	return channel->in.length > channel->in_used;
}

enum ipc_result
ipc_receive(struct ipc_channel *channel, int64_t deadline_ms, struct ipc_frame *frame)
{
	for (;;) {
		if (ipc_next(channel, frame))
			return IPC_OK;
		if (channel->is_broken)
			return IPC_MALFORMED;
		size_t          before = channel->in.length - channel->in_used;
		enum ipc_result result = ipc_fill(channel);
		if (result != IPC_OK)
			return result;
		if (channel->in.length == before && !wait_for(channel->fd, POLLIN, deadline_ms))
			return channel_break(channel, IPC_TIMEOUT);
	}
}

bool
ipc_peer_pid(int fd, int *pid)
{
	struct ucred credentials;
	socklen_t    length = sizeof(credentials);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0 ||
	    credentials.pid <= 0)
		return false;
	*pid = credentials.pid;
	return true;
}

bool
ipc_peer_uid(int fd, uint32_t *uid)
{
	struct ucred credentials;
	socklen_t    length = sizeof(credentials);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
		return false;
	*uid = credentials.uid;
	return true;
}
