/* connect.c - see connect.h. */
#include "lib/table/connect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"

struct place {
	union {
		struct sockaddr     any;
		struct sockaddr_un  unix_path;
		struct sockaddr_in  v4;
		struct sockaddr_in6 v6;
	} address;
	socklen_t length;
};

static bool
place_of(const struct driver_host *host, struct place *place, struct error *error)
{
	int64_t port = 0;

	memset(place, 0, sizeof(*place));
	if (host->is_unix) {
		struct sockaddr_un *path = &place->address.unix_path;

		if (strlen(host->name) >= sizeof(path->sun_path))
			return error_set(error, "%s: the path of a socket is too long", host->name);
		path->sun_family = AF_UNIX;
		memcpy(path->sun_path, host->name, strlen(host->name));
		place->length = sizeof(*path);
		return true;
	}
	if (!number_parse(slice_from(host->port), 1, 65535, &port))
		return error_set(error, "%s: bad port", host->name);
	if (inet_pton(AF_INET, host->address, &place->address.v4.sin_addr) == 1) {
		place->address.v4.sin_family = AF_INET;
		place->address.v4.sin_port = htons((uint16_t)port);
		place->length = sizeof(place->address.v4);
		return true;
	}
	if (inet_pton(AF_INET6, host->address, &place->address.v6.sin6_addr) == 1) {
		place->address.v6.sin6_family = AF_INET6;
		place->address.v6.sin6_port = htons((uint16_t)port);
		place->length = sizeof(place->address.v6);
		return true;
	}
	return error_set(error, "%s: no address", host->name);
}

/* A Unix socket whose backlog is full says EAGAIN at once, and cannot be waited for. */
static int
connect_within(int fd, const struct place *place, int64_t timeout_ms)
{
	int64_t   deadline_ms = clock_monotonic_ms() + timeout_ms, left_ms;
	socklen_t size = sizeof(int);
	int       failure = 0;

	while (connect(fd, &place->address.any, place->length) != 0) {
		struct pollfd wait = { .fd = fd, .events = POLLOUT };

		left_ms = deadline_ms - clock_monotonic_ms();
		if (errno != EINPROGRESS && errno != EINTR && errno != EAGAIN)
			return errno;
		if (left_ms <= 0)
			return ETIMEDOUT;
		if (errno == EAGAIN) {
			poll(NULL, 0, 10);
			continue;
		}
		if (poll(&wait, 1, (int)left_ms) == 0)
			return ETIMEDOUT;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
			return errno;
		return failure;
	}
	return 0;
}

int
table_connect(const struct driver_host *host, int64_t timeout_ms, struct error *error)
{
	struct place place;
	int          on = 1;

	if (!place_of(host, &place, error))
		return -1;
	int fd = socket(place.address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		error_set_errno(error, "socket");
		return -1;
	}
	errno = connect_within(fd, &place, timeout_ms);
	if (errno == 0 && fcntl(fd, F_SETFL, 0) == 0) {
		if (!host->is_unix)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		return fd;
	}
	error_set_errno(error, "connect to %s%s%s", host->name, host->is_unix ? "" : ":",
	                host->is_unix ? "" : host->port);
	close(fd);
	return -1;
}
