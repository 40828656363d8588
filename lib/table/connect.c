/* connect.c - see connect.h. */
#include "lib/table/connect.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "lib/io/endpoint.h"

static bool
path_fill(const struct driver_host *host, struct endpoint *endpoint, struct error *error)
{
	struct sockaddr_un *path = &endpoint->address.path;

	if (strlen(host->name) >= sizeof(path->sun_path))
		return error_set(error, "%s: the path of a socket is too long", host->name);
	path->sun_family = AF_UNIX;
	memcpy(path->sun_path, host->name, strlen(host->name));
	endpoint->is_unix = true;
	endpoint->length = sizeof(*path);
	snprintf(endpoint->name, sizeof(endpoint->name), "%s", host->name);
	return true;
}

/* Not endpoint_parse: a module must not ask the name service, and the address is known. */
static bool
endpoint_fill(const struct driver_host *host, struct endpoint *endpoint, struct error *error)
{
	struct sockaddr_in  *v4 = (struct sockaddr_in *)(void *)&endpoint->address.inet;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&endpoint->address.inet;
	int64_t              port = 0;

	memset(endpoint, 0, sizeof(*endpoint));
	if (host->is_unix)
		return path_fill(host, endpoint, error);
	if (!number_parse(slice_from(host->port), 1, 65535, &port))
		return error_set(error, "%s: bad port", host->name);
	snprintf(endpoint->name, sizeof(endpoint->name), "%s:%s", host->name, host->port);
	if (inet_pton(AF_INET, host->address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		endpoint->length = sizeof(*v4);
		return true;
	}
	if (inet_pton(AF_INET6, host->address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		endpoint->length = sizeof(*v6);
		return true;
	}
	return error_set(error, "%s: no address", host->name);
}

int
table_connect(const struct driver_host *host, int64_t timeout_ms, struct error *error)
{
	struct endpoint endpoint;

	if (!endpoint_fill(host, &endpoint, error))
		return -1;
	int fd = endpoint_connect(&endpoint, clock_monotonic_ms() + timeout_ms, error);
	if (fd < 0 || fcntl(fd, F_SETFL, 0) == 0)
		return fd;
	error_set_errno(error, "connect to %s", endpoint.name);
	close(fd);
	return -1;
}
