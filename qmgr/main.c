/* main.c - qmgr: owns the queue; see qmgr.h. */
#include <stdlib.h>

#include "lib/base/log.h"
#include "qmgr/qmgr.h"

static bool
qmgr_prepare(struct daemon_context *context, struct error *error)
{
	struct qmgr *qmgr = calloc(1, sizeof(*qmgr));

	if (qmgr == NULL)
		return error_set(error, "out of memory");
	qmgr->context = context;
	qmgr->parameters = context->parameters;
	qmgr->router = router_create(context->snapshot, error);
	if (qmgr->router == NULL) {
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
		return 1;
	}
	int status = qmgr_loop(qmgr);
	qmgr_close(qmgr);
	return status;
}

/* The tables that routing reads, and where they are: they may be replaced while it runs. */
static const char *const readable[] = { "$queue_directory", ROUTER_READABLE, "$config_directory",
	                                "$data_directory", NULL };
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
