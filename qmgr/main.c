/* main.c - qmgr: owns the queue; see qmgr.h. */
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/table/userlist.h"
#include "qmgr/qmgr.h"

static bool
open_users(struct qmgr *qmgr, struct error *error)
{
	char name[USER_TEXT_MOST];

	qmgr->mailq_users =
		match_list_open(qmgr->parameters->authorized_mailq_users, MATCH_STRINGS, error);
	if (qmgr->mailq_users == NULL)
		return error_prefix(error, "authorized_mailq_users");
	qmgr->flush_users =
		match_list_open(qmgr->parameters->authorized_flush_users, MATCH_STRINGS, error);
	if (qmgr->flush_users == NULL)
		return error_prefix(error, "authorized_flush_users");
	/* What the C library loads for looking up users it cannot load later. */
	user_name_find(0, name, NULL);
	return true;
}

static bool
qmgr_prepare(struct daemon_context *context, struct error *error)
{
	struct qmgr *qmgr = calloc(1, sizeof(*qmgr));

	if (qmgr == NULL)
		return error_set(error, "out of memory");
	qmgr->context = context;
	qmgr->parameters = context->parameters;
	qmgr->router = router_create(context->snapshot, error);
	if (qmgr->router != NULL)
		qmgr->probe_router =
			router_create_for_probes(context->snapshot, qmgr->router, error);
	if (qmgr->probe_router == NULL || !open_users(qmgr, error)) {
		free(qmgr);
		return false;
	}
	context->room = qmgr;
	return true;
}

static int
qmgr_run(struct daemon_context *context)
{
	struct qmgr *qmgr = context->room;
	struct error error = ERROR_NONE;

	/* Here and not in prepare: files belong to mail_owner, and the last generation has to end
	 * first, which it does when this one is up. */
	if (!qmgr_open(qmgr, &error)) {
		if (daemon_is_draining(context))
			return 0;
		log_error("%s", error.text);
		return daemon_status(&error);
	}
	int status = qmgr_loop(qmgr);
	qmgr_close(qmgr);
	return status;
}

/* The tables that routing reads, and where they are: they may be replaced while it runs. /etc for
 * the owners of alias tables (passwd). */
static const char *const readable[] = { "$queue_directory",
	                                ROUTER_READABLE,
	                                PROBE_ROUTER_READABLE,
	                                "$authorized_mailq_users",
	                                "$authorized_flush_users",
	                                "$config_directory",
	                                "$data_directory",
	                                "/etc",
	                                NULL };
static const char *const writable[] = { "$queue_directory", NULL };

int
main(int argc, char **argv)
{
	static const struct daemon qmgr = { .name = "qmgr",
		                            .identity = RUNS_AS_MAIL,
		                            .doors = DOOR_ACCEPT | DOOR_UNIX_CONNECT |
		                                     DOOR_SOCKETPAIR | DOOR_FILE_READ |
		                                     DOOR_FILE_WRITE,
		                            .readable = readable,
		                            .writable = writable,
		                            .prepare = qmgr_prepare,
		                            .run = qmgr_run };

	return daemon_main(&qmgr, argc, argv);
}
