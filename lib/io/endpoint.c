/* endpoint.c - see endpoint.h. */
#include "lib/io/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"

#define RETRY_MS 10

static bool
parse_unix(struct endpoint *endpoint, struct slice path, struct error *error)
{
	struct sockaddr_un *address = &endpoint->address.path;

	if (path.length == 0 || path.length >= sizeof(address->sun_path))
		return error_set(error, "%s: the path of a socket has 1 to %zu bytes",
		                 endpoint->name, sizeof(address->sun_path) - 1);
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path.data, path.length);
	endpoint->is_unix = true;
	endpoint->length = sizeof(*address);
	return true;
}

/* Before the sandbox: the system's resolver may read files and ask the network. */
static bool
look_up(struct endpoint *endpoint, const char *host, uint16_t port, struct error *error)
{
	struct addrinfo  hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct addrinfo *found = NULL;
	int              code = getaddrinfo(host, NULL, &hints, &found);

	if (code != 0 || found == NULL)
		return error_set(error, "%s: host %s: %s", endpoint->name, host,
		                 gai_strerror(code));
	memcpy(&endpoint->address, found->ai_addr, found->ai_addrlen);
	endpoint->length = found->ai_addrlen;
	freeaddrinfo(found);
	if (endpoint->address.any.sa_family == AF_INET6)
		((struct sockaddr_in6 *)&endpoint->address.inet)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)&endpoint->address.inet)->sin_port = htons(port);
	return true;
}

static bool
parse_inet(struct endpoint *endpoint, struct slice text, struct error *error)
{
	size_t               colon = slice_find_last_byte(text, ':');
	struct slice         host = slice_first(text, colon);
	struct sockaddr_in  *v4 = (struct sockaddr_in *)&endpoint->address.inet;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&endpoint->address.inet;
	char                 name[256];
	int64_t              port = 0;

	if (colon == SLICE_NOT_FOUND) {
		host = SLICE("localhost");
		colon = (size_t)-1; /* the port begins at 0 */
	}
	if (!number_parse(slice_from_offset(text, colon + 1), 1, 65535, &port))
		return error_set(error, "%s: no port number at the end", endpoint->name);
	if (host.length > 1 && host.data[0] == '[' && host.data[host.length - 1] == ']')
		host = slice_of(host.data + 1, host.length - 2);
	if (host.length == 0 || slice_equal_fold(host, SLICE("localhost")))
		host = SLICE("127.0.0.1");
	if (host.length >= sizeof(name) || slice_has_control(host))
		return error_set(error, "%s: no host name", endpoint->name);
	memcpy(name, host.data, host.length);
	name[host.length] = '\0';
	if (inet_pton(AF_INET, name, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		endpoint->length = sizeof(*v4);
		return true;
	}
	if (inet_pton(AF_INET6, name, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		endpoint->length = sizeof(*v6);
		return true;
	}
	return look_up(endpoint, name, (uint16_t)port, error);
}

bool
endpoint_parse(struct endpoint *endpoint, struct slice text, struct error *error)
{
	struct endpoint parsed = { 0 };

	if (text.length >= sizeof(parsed.name))
		return error_set(error, "the name of a server is longer than %zu bytes",
		                 sizeof(parsed.name) - 1);
	snprintf(parsed.name, sizeof(parsed.name), "%.*s", SLICE_ARGS(text));
	bool is_good = slice_starts_with(text, SLICE("unix:"))
	                       ? parse_unix(&parsed, slice_from_offset(text, 5), error)
	                       : parse_inet(&parsed,
	                                    slice_starts_with(text, SLICE("inet:"))
	                                            ? slice_from_offset(text, 5)
	                                            : text,
	                                    error);
	if (is_good)
		*endpoint = parsed;
	return is_good;
}

/* 0, or why not. A Unix socket whose backlog is full says EAGAIN, and cannot be waited for. */
static int
connect_until(int fd, const struct endpoint *endpoint, int64_t deadline_ms)
{
	struct pollfd wait = { .fd = fd, .events = POLLOUT };
	socklen_t     size = sizeof(int);
	int           failure = 0;

	while (connect(fd, &endpoint->address.any, endpoint->length) != 0) {
		int64_t left_ms = deadline_ms - clock_monotonic_ms();

		if (errno == EISCONN)
			return 0;
		if (errno != EINPROGRESS && errno != EINTR && errno != EAGAIN)
			return errno;
		if (left_ms <= 0)
			return ETIMEDOUT;
		if (errno == EAGAIN) {
			poll(NULL, 0, RETRY_MS);
			continue;
		}
		if (poll(&wait, 1, (int)(left_ms < INT32_MAX ? left_ms : INT32_MAX)) == 0)
			return ETIMEDOUT;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
			return errno;
		return failure;
	}
	return 0;
}

int
endpoint_connect(const struct endpoint *endpoint, int64_t deadline_ms, struct error *error)
{
	int on = 1;
	int fd = socket(endpoint->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	                0);

	if (fd < 0) {
		error_set_errno(error, "socket");
		return -1;
	}
	errno = connect_until(fd, endpoint, deadline_ms);
	if (errno == 0) {
		if (!endpoint->is_unix)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		return fd;
	}
	error_set_errno(error, "connect to %s", endpoint->name);
	close(fd);
	return -1;
}
