/* shelf.c - see shelf.h. Each file is a datagram of one byte, so its place is its offset. */
#include "master/shelf.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr align;
	char           bytes[CMSG_SPACE(sizeof(int))];
};

bool
shelf_open(struct shelf *shelf)
{
	int pair[2];

	*shelf = SHELF_NONE;
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return false;
	shelf->sender = pair[0];
	shelf->keeper = pair[1];
	return true;
}

void
shelf_close(struct shelf *shelf)
{
	if (shelf->sender >= 0) {
		close(shelf->sender);
		close(shelf->keeper);
	}
	ARRAY_FREE(&shelf->tickets);
	*shelf = SHELF_NONE;
}

static bool
file_send(const struct shelf *shelf, int fd)
{
	union control control;
	char          byte = 0;
	struct iovec  part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part,
		                  .msg_iovlen = 1,
		                  .msg_control = control.bytes,
		                  .msg_controllen = sizeof(control.bytes) };

	memset(&control, 0, sizeof(control));
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	return sendmsg(shelf->sender, &message, MSG_NOSIGNAL) == 1;
}

/* A descriptor of the file at this place; it stays there. */
static int
file_peek(const struct shelf *shelf, size_t place)
{
	union control control;
	char          byte;
	int           offset = (int)place, fd = -1;
	struct iovec  part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part,
		                  .msg_iovlen = 1,
		                  .msg_control = control.bytes,
		                  .msg_controllen = sizeof(control.bytes) };

	if (setsockopt(shelf->keeper, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)) < 0 ||
	    recvmsg(shelf->keeper, &message, MSG_PEEK | MSG_CMSG_CLOEXEC) != 1)
		return -1;
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	if (head != NULL && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	return fd;
}

/* The first message goes, and its file unless it lies elsewhere, too. Needs no free descriptor. */
static bool
first_drop(struct shelf *shelf)
{
	char byte;

	if (recv(shelf->keeper, &byte, 1, 0) != 1)
		return false;
	shelf->tickets.count--;
	memmove(shelf->tickets.items, shelf->tickets.items + 1,
	        shelf->tickets.count * sizeof(*shelf->tickets.items));
	return true;
}

unsigned
shelf_put(struct shelf *shelf, int fd)
{
	unsigned ticket = shelf->last + 1;

	if (shelf->sender < 0 || !ARRAY_PUSH(&shelf->tickets, ticket))
		return 0;
	if (!file_send(shelf, fd)) {
		shelf->tickets.count--;
		return 0;
	}
	return shelf->last = ticket;
}

int
shelf_get(const struct shelf *shelf, unsigned ticket)
{
	for (size_t i = 0; i < shelf->tickets.count; i++) {
		if (shelf->tickets.items[i] == ticket)
			return file_peek(shelf, i);
	}
	return -1;
}

/* The first goes to the end: there before it leaves its place. */
static bool
first_to_end(struct shelf *shelf)
{
	unsigned ticket = shelf->tickets.items[0];
	int      fd = file_peek(shelf, 0);
	bool     is_moved = false;

	if (fd >= 0 && ARRAY_PUSH(&shelf->tickets, ticket)) {
		is_moved = file_send(shelf, fd) && first_drop(shelf);
		if (!is_moved)
			shelf->tickets.count--;
	}
	if (fd >= 0)
		close(fd);
	return is_moved;
}

bool
shelf_remove(struct shelf *shelf, unsigned ticket)
{
	for (size_t i = shelf->tickets.count; i > 0; i--) {
		if (shelf->tickets.items[0] == ticket)
			return first_drop(shelf);
		if (!first_to_end(shelf))
			return false;
	}
	return false;
}
