/* connect.c - a connection to one host, within smtp_connect_timeout. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "smtp/smtp.h"

#define WAIT_MOST_MS 1000000

/* smtp_bind_address and its IPv6 twin; an address that cannot be used is an error. */
static bool
bind_own(const struct smtp_agent *agent, int fd, int family, struct error *error)
{
	const char             *text = family == AF_INET ? agent->parameters->smtp_bind_address
	                                                 : agent->parameters->smtp_bind_address6;
	struct sockaddr_storage own = { .ss_family = (sa_family_t)family };
	struct sockaddr_in     *in = (struct sockaddr_in *)(void *)&own;
	struct sockaddr_in6    *in6 = (struct sockaddr_in6 *)(void *)&own;
	socklen_t               length = family == AF_INET ? sizeof(*in) : sizeof(*in6);

	if (text[0] == '\0' || family == AF_UNIX)
		return true;
	if (inet_pton(family, text,
	              family == AF_INET ? (void *)&in->sin_addr : (void *)&in6->sin6_addr) != 1)
		return error_set(error, "bad address \"%s\" in smtp_bind_address", text);
	if (bind(fd, (struct sockaddr *)&own, length) != 0)
		return error_set_errno(error, "cannot bind to %s", text);
	return true;
}

/* Waits for a connection that is under way. 0 or an errno value. */
static int
wait_connected(struct silence *silence, int fd, int64_t timeout_ms)
{
	int64_t   end_ms = timeout_ms > 0 ? clock_monotonic_ms() + timeout_ms : INT64_MAX;
	int       problem = 0;
	socklen_t length = sizeof(problem);

	for (;;) {
		struct pollfd one = { .fd = fd, .events = POLLOUT };
		int64_t       look_ms = silence_deadline(silence, end_ms);
		int64_t       left_ms = look_ms - clock_monotonic_ms();
		int           ready;

		if (look_ms == INT64_MAX || left_ms > WAIT_MOST_MS)
			left_ms = WAIT_MOST_MS;
		ready = poll(&one, 1, left_ms > 0 ? (int)left_ms : 0);
		if (ready < 0 && errno != EINTR)
			return errno;
		if (ready > 0)
			break;
		if (ready == 0 && !silence_goes_on(silence, end_ms))
			return ETIMEDOUT;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &length) != 0)
		return errno;
	return problem;
}

struct stream *
host_connect(struct silence *silence, const struct host *host, struct error *error)
{
	const struct smtp_agent *agent = silence->agent;

	int64_t        timeout_ms = agent->parameters->smtp_connect_timeout * 1000;
	int            family = host->sockaddr.ss_family, on = 1, problem = 0;
	struct stream *stream;
	int            fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0) {
		error_set_errno(error, "connect to %s", host->relay);
		return NULL;
	}
	if (!bind_own(agent, fd, family, error)) {
		error_prefix(error, "connect to %s", host->relay);
		close(fd);
		return NULL;
	}
	if (connect(fd, (const struct sockaddr *)&host->sockaddr, host->sockaddr_length) != 0)
		problem = errno == EINPROGRESS || errno == EINTR
		                  ? wait_connected(silence, fd, timeout_ms)
		                  : errno;
	if (problem != 0) {
		errno = problem;
		error_set_errno(error, "connect to %s", host->relay);
		close(fd);
		return NULL;
	}
	/* Commands go out in groups already; waiting for more would only cost time. */
	if (family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	stream = stream_from_socket(fd);
	if (stream == NULL) {
		error_set(error, "out of memory");
		close(fd);
	}
	return stream;
}
