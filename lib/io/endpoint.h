/*
 * endpoint.h - "unix:path" and "inet:host:port": the places of servers that daemons ask.
 *
 * Names are resolved when the endpoint is parsed: a sandboxed daemon cannot, so that an address
 * that changes needs a reload. Connecting waits no longer than it is told.
 */
#ifndef DAKIYA_IO_ENDPOINT_H
#define DAKIYA_IO_ENDPOINT_H

#include <sys/socket.h>
#include <sys/un.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"

struct endpoint {
	bool      is_unix;
	socklen_t length;
	union {
		struct sockaddr         any;
		struct sockaddr_un      path;
		struct sockaddr_storage inet;
	} address;
	char name[256]; /* as it was written, for messages */
};

/*
 * "unix:path" (relative to the working directory), "inet:host:port", "inet:[v6]:port", "inet:port"
 * on this host, "host:port". host is an address, or "localhost"; any other name is looked up with
 * the system's resolver, so parse before the doors close. False and *error otherwise.
 */
bool endpoint_parse(struct endpoint *endpoint, struct slice text, struct error *error);
/* A connected socket, non-blocking and close-on-exec; -1 and *error. */
int endpoint_connect(const struct endpoint *endpoint, int64_t deadline_ms, struct error *error);

#endif
