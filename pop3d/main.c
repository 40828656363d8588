/* main.c - pop3d: mail retrieval (POP3, POP3S). See pop3d(8). */
#include <stdlib.h>

#include "pop3d/pop3d.h"

static bool
prepare(struct daemon_context *context, struct error *error)
{
	struct pop3_room *room = calloc(1, sizeof(*room));
	struct error      tls_error = ERROR_NONE;

	if (room == NULL)
		return error_set(error, "out of memory");
	room->parameters = context->parameters;
	room->auth = auth_client_create("private/auth");
	if (room->auth == NULL)
		return error_set(error, "out of memory");
	auth_turns_init(&room->turns, context->thread_limit);
	pop3_counts_init(&room->counts);
	room->tls = daemon_tls_server(context, &tls_error);
	if (room->tls == NULL && tls_error.text[0] != '\0')
		return error_set(error, "TLS: %s", tls_error.text);
	if (room->tls == NULL && context->parameters->pop3_tls_wrappermode)
		return error_set(error, "pop3_tls_wrappermode needs TLS: set "
		                        "smtpd_tls_security_level and a certificate");
	context->room = room;
	return true;
}

static size_t
session_limit(const struct daemon_context *context)
{
	return (size_t)context->parameters->pop3_session_limit;
}

static const struct daemon pop3d = {
	.name = "pop3d",
	.bare_log_name = "dovecot",
	.identity = RUNS_AS_NET,
	.doors = DOOR_UNIX_CONNECT,
	.prepare = prepare,
	.session_begin = pop3_session_begin,
	.session_input = pop3_session_input,
	.session_end = pop3_session_end,
	.session_timeout = pop3_session_timeout,
	.session_is_idle = pop3_session_is_idle,
	.session_refusal = "-ERR [SYS/TEMP] Too many sessions, try again later.\r\n",
	.session_limit = session_limit,
};

int
main(int argc, char **argv)
{
	return daemon_main(&pop3d, argc, argv);
}
