/* main.c - authd: credentials, every SASL server exchange, and logins to mailboxes. */
#include "authd/authd.h"

#define SESSIONS_MOST 10000

static bool
authd_prepare(struct daemon_context *context, struct error *error)
{
	/* libsasl2 loads its modules now: the sandbox forbids it later. */
	if (!exchange_library_start(error))
		return false;
	context->room = authd_create(context->snapshot, context->thread_limit,
	                             daemon_memory(context), error);
	return context->room != NULL;
}

static size_t
authd_session_limit(const struct daemon_context *context)
{
	(void)context;
	return SESSIONS_MOST;
}

static const char *const authd_readable[] = {
	"$data_directory",
	"$virtual_mailbox_maps",
	"$virtual_mailbox_domains",
	"$virtual_mailbox_quota_maps",
	"$virtual_alias_maps",
	"$virtual_alias_domains",
	"$virtual_uid_maps",
	"$virtual_gid_maps",
	"$transport_maps",
	"$relay_domains",
	"$relay_recipient_maps",
	"$local_recipient_maps",
	"$mydestination",
	"/dev/urandom", /* libsasl2 seeds its nonces from it in each exchange */
	NULL,
};

static const struct daemon authd_daemon = {
	.name = "authd",
	.identity = RUNS_AS_AUTH,
	.doors = DOOR_ACCEPT | DOOR_UNIX_CONNECT | DOOR_FILE_READ | DOOR_SOCKETPAIR,
	.readable = authd_readable,
	.prepare = authd_prepare,
	.session_begin = session_begin,
	.session_input = session_input,
	.session_end = session_end,
	.session_timeout = session_timeout,
	.session_is_idle = session_is_idle,
	.session_peers = PEER_NET | PEER_ROOT,
	.session_limit = authd_session_limit,
};

int
main(int argc, char **argv)
{
	return daemon_main(&authd_daemon, argc, argv);
}
