/* main.c - resolver: the only process that speaks DNS. See resolver(8). */
#include <stdlib.h>
#include <unbound.h>

#include "lib/daemon/daemon.h"
#include "resolver/service.h"
#include "lib/dns/unbound.h"

static bool
resolver_prepare(struct daemon_context *context, struct error *error)
{
	context->room = unbound_create(context->parameters, error);
	return context->room != NULL;
}

static int
resolver_run(struct daemon_context *context)
{
	const struct parameters *parameters = context->parameters;
	int                     *listeners = calloc(context->listener_count + 1, sizeof(int));

	if (listeners == NULL)
		return 1;
	for (size_t i = 0; i < context->listener_count; i++)
		listeners[i] = context->listeners[i].fd;
	struct service_settings settings = {
		.unbound = context->room,
		.listeners = listeners,
		.listener_count = context->listener_count,
		.stop_fd = context->drain_fd,
		.timeout_ms = parameters->resolver_timeout * 1000,
		.queries_limit = (size_t)parameters->resolver_queries_limit,
		.client_limit = (size_t)parameters->resolver_client_limit,
	};
	int status = service_run(&settings);
	free(listeners);
	/* The context is left to the kernel: its thread may be in the middle of something. */
	return status;
}

int
main(int argc, char **argv)
{
	static const struct daemon resolver = {
		.name = "resolver",
		.identity = RUNS_AS_DNS,
		.doors = DOOR_ACCEPT | DOOR_INET_CONNECT | DOOR_INET_DATAGRAM,
		.prepare = resolver_prepare,
		.run = resolver_run,
	};

	return daemon_main(&resolver, argc, argv);
}
