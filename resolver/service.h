/*
 * service.h - the loop between the other daemons' channels and libunbound.
 *
 * One thread around epoll: channels, questions with their deadlines, libunbound's descriptor.
 * libunbound works in a thread of its own. A client's nonsense ends that client's channel only.
 */
#ifndef DAKIYA_RESOLVER_SERVICE_H
#define DAKIYA_RESOLVER_SERVICE_H

#include <stddef.h>
#include <stdint.h>
#include <unbound.h>

#include "lib/base/error.h"

struct service_settings {
	struct ub_ctx *unbound;
	const int     *listeners; /* listening Unix sockets */
	size_t         listener_count;
	int            stop_fd; /* readable: answer what is under way, then return */
	int64_t        timeout_ms;
	size_t         queries_limit;
	size_t         client_limit;
};

/* Returns the exit status. */
int service_run(const struct service_settings *settings);

#endif
