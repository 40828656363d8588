/*
 * main.c - smtpd(8): the SMTP server as a row of promises to lib/daemon.
 */
#include "smtpd/session.h"

static const char *const readable[] = {
	ROUTER_READABLE,
	CHECKS_READABLE,
	"$smtpd_client_restrictions",
	"$smtpd_helo_restrictions",
	"$smtpd_sender_restrictions",
	"$smtpd_relay_restrictions",
	"$smtpd_recipient_restrictions",
	"$smtpd_sender_login_maps",
	"$relay_clientcerts",
	"$smtpd_data_restrictions",
	"$smtpd_etrn_restrictions",
	"$fast_flush_domains",
	"$smtpd_end_of_data_restrictions",
	"$smtpd_discard_ehlo_keyword_address_maps",
	"$smtpd_milter_maps",
	"$smtpd_command_filter",
	"$smtpd_authorized_xclient_hosts",
	"$smtpd_authorized_xforward_hosts",
	"$smtpd_authorized_verp_clients",
	"$smtpd_client_event_limit_exceptions",
	"$permit_mx_backup_networks",
	"$smtpd_forbid_bare_newline_exclusions",
	"$smtpd_restriction_classes",
	"$config_directory",
	"$data_directory",
	NULL,
};

static bool
prepare(struct daemon_context *context, struct error *error)
{
	struct room *room = room_create(context, error);

	context->room = room;
	if (room != NULL &&
	    (restrictions_need_network(room->restrictions) || milters_need_network(room) ||
	     (room->proxy_filter != NULL && !room->proxy_filter->is_unix)))
		context->extra_doors |= DOOR_INET_CONNECT;
	return room != NULL;
}

static const struct daemon smtpd = {
	.name = "smtpd",
	.identity = RUNS_AS_NET,
	.doors = DOOR_ACCEPT | DOOR_UNIX_CONNECT | DOOR_FILE_READ,
	.readable = readable,
	.prepare = prepare,
	.session_begin = session_begin,
	.session_input = session_input,
	.session_end = session_end,
	.session_timeout = session_timeout,
	.session_is_idle = session_is_idle,
	.session_refusal = "421 4.3.2 All server ports are busy\r\n",
	.session_limit = room_session_limit,
};

int
main(int argc, char **argv)
{
	return daemon_main(&smtpd, argc, argv);
}
