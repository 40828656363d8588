/* main.c - pickup(8): takes mail from this host's users. */
#include <stdlib.h>

#include "lib/queue/submit.h"
#include "pickup/pickup.h"

#define INTAKE_SOCKET "private/intake"
#define THREADS_LEAST 10

static bool
open_milters(struct room *room, struct error *error)
{
	struct milter_settings settings = intake_milter_settings(room->parameters);

	if (slice_list_has(slice_from(room->parameters->receive_override_options),
	                   SLICE("no_milters")))
		return true;
	room->milters = milter_list_create(slice_from(room->parameters->non_smtpd_milters),
	                                   &settings, error);
	room->intake.milters = room->milters;
	return room->milters != NULL || error_prefix(error, "non_smtpd_milters");
}

static bool
prepare(struct daemon_context *context, struct error *error)
{
	struct room *room = calloc(1, sizeof(*room));
	char         name[USER_TEXT_MOST];

	if (room == NULL)
		return error_set(error, "out of memory");
	room->parameters = context->parameters;
	room->intake.snapshot = context->snapshot;
	room->intake.parameters = context->parameters;
	room->intake.queue = intake_client_create(INTAKE_SOCKET, context->service);
	room->users = users_create((size_t)context->parameters->pickup_user_session_limit);
	if (room->intake.queue == NULL || room->users == NULL)
		return error_set(error, "out of memory");
	room->intake.router = router_create(context->snapshot, error);
	if (room->intake.router == NULL)
		return false; /* the process ends */
	room->intake.checks = checks_create(context->snapshot, error);
	if (room->intake.checks == NULL)
		return false;
	if (!open_milters(room, error))
		return false;
	if (milter_list_needs_network(room->milters))
		context->extra_doors |= DOOR_INET_CONNECT;
	room->submit_users =
		match_list_open(context->parameters->authorized_submit_users, MATCH_STRINGS, error);
	if (room->submit_users == NULL)
		return error_prefix(error, "authorized_submit_users");
	room->watch_fd = drop_watch();
	/* Postfix's master.cf says 1, which means a process there; a thread waits for each commit.
	 */
	if (context->thread_limit < THREADS_LEAST)
		context->thread_limit = THREADS_LEAST;
	/* What the C library loads for looking up users it cannot load later. */
	user_name_find(0, name, NULL);
	context->room = room;
	return true;
}

static const char *const readable[] = { ROUTER_READABLE,
	                                CHECKS_READABLE,
	                                "$authorized_submit_users",
	                                "$config_directory",
	                                "$data_directory",
	                                "/etc",
	                                NULL };
static const char *const writable[] = { SUBMIT_DIRECTORY, "pickup", "corrupt", NULL };

int
main(int argc, char **argv)
{
	static const struct daemon pickup = {
		.name = "pickup",
		.identity = RUNS_AS_MAIL,
		.doors = DOOR_ACCEPT | DOOR_UNIX_CONNECT | DOOR_FILE_READ | DOOR_FILE_WRITE,
		.readable = readable,
		.writable = writable,
		.prepare = prepare,
		.session_begin = session_begin,
		.session_input = session_input,
		.session_end = session_end,
		.session_timeout = session_timeout,
		.session_is_idle = session_is_idle,
		.session_limit = session_limit,
		.side_thread = drop_run,
	};

	return daemon_main(&pickup, argc, argv);
}
