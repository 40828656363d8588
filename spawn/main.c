/*
 * main.c - spawn: runs a command for each client of its socket, as inetd does. See spawn(8).
 *
 * Made for policy servers and the like that speak on their standard streams. It is started as
 * root, becomes the user of user= for good, forks the helper that runs commands
 * (lib/daemon/command.h) and closes its doors. A thread waits for each command.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/conf/environment.h"
#include "lib/daemon/command.h"
#include "lib/daemon/command_service.h"
#include "lib/daemon/daemon.h"

struct room {
	struct arena           arena;
	struct pipe_arguments  arguments;
	struct environment     environment;
	int64_t                time_limit_ms;
	struct command_runner *runner;
};

/* ---- the beginning, as root ---- */

static bool
prepare(struct daemon_context *context, struct error *error)
{
	struct room *room = calloc(1, sizeof(*room));

	if (room == NULL)
		return error_set(error, "out of memory");
	context->room = room;
	if (context->listener_count != 1)
		return error_set(error, "spawn listens on one socket");
	if (!command_service_arguments(context, &room->arena, &room->arguments, error) ||
	    (!context->is_unprivileged && !command_service_user(context, &room->arguments, error)))
		return false;
	room->time_limit_ms = command_service_time_limit_ms(context);
	return environment_make(&room->environment, context->parameters->export_environment) ||
	       error_set(error, "export_environment: out of memory");
}

/* The helper runs commands as whom it is started: only now. */
static bool
prepare_as_owner(struct daemon_context *context, struct error *error)
{
	struct room *room = context->room;

	room->runner = command_runner_start(error);
	return room->runner != NULL;
}

/* ---- running ---- */

static bool
must_end(void *context)
{
	return daemon_is_draining(context);
}

static void
serve(struct daemon_context *context, int client)
{
	struct room          *room = context->room;
	const char *const    *argv = room->arguments.argv;
	struct command_result result = { 0 };
	const struct command  command = {
		 .arguments = argv,
		 .environment = (const char *const *)room->environment.list,
		 .directory = room->arguments.directory,
		 .time_limit_ms = room->time_limit_ms,
		 .must_end = must_end,
		 .must_end_context = context,
	};

	command_serve(room->runner, &command, client, &result);
	switch (result.end) {
	case COMMAND_EXITED:
		if (result.status != 0)
			log_warning("command %s exit status %d", argv[0], result.status);
		break;
	case COMMAND_KILLED:
		log_warning("command %s killed by signal %d", argv[0], result.status);
		break;
	case COMMAND_TIMED_OUT:
		log_warning("command %s was killed: it ran for %s_time_limit", argv[0],
		            context->service);
		break;
	case COMMAND_NOT_RUN:
		if (!daemon_is_draining(context))
			log_warning("command %s: %s", argv[0], result.error.text);
		break;
	}
	command_result_free(&result);
}

static void
work(struct daemon_context *context, size_t index)
{
	struct room *room = context->room;
	int          listener = context->listeners[0].fd;

	(void)index;
	while (!daemon_is_draining(context) && !command_runner_is_gone(room->runner)) {
		if (daemon_wait(context, listener, POLLIN, INT64_MAX) != DAEMON_WAIT_READY)
			continue;
		/* Blocking, as programs expect their standard streams to be. */
		int client = daemon_accept(listener, SOCK_CLOEXEC);
		if (client < 0)
			continue; /* another thread was faster */
		daemon_count(context, 1, 1);
		serve(context, client);
		daemon_count(context, -1, -1);
		close(client);
	}
}

static int
run(struct daemon_context *context)
{
	struct room *room = context->room;
	int          status = daemon_run_threads(context, context->thread_limit, work);

	if (!daemon_is_draining(context))
		log_info("the helper for commands has ended: starting anew");
	command_runner_close(&room->runner);
	return status;
}

int
main(int argc, char **argv)
{
	static const struct daemon spawn = {
		.name = "spawn",
		.identity = RUNS_AS_USER,
		.doors = DOOR_ACCEPT,
		.prepare = prepare,
		.prepare_as_owner = prepare_as_owner,
		.run = run,
	};

	return daemon_main(&spawn, argc, argv);
}
