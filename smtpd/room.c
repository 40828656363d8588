/*
 * room.c - opens what sessions share, before the doors close.
 */
#include "smtpd/session.h"

#include <stdlib.h>

#include "lib/smtp/extensions.h"

#define INTAKE_SOCKET   "private/intake"
#define AUTH_SOCKET     "private/auth"
#define RESOLVER_SOCKET "private/resolver"
#define VERIFY_SOCKET   "private/verify"

struct list_to_open {
	struct match_list **list;
	const char         *items;
	enum match_kind     kind;
	const char         *name;
};

static bool
open_match_lists(struct room *room, struct error *error)
{
	const struct parameters *parameters = room->parameters;
	bool has_parents = slice_list_has(slice_from(parameters->parent_domain_matches_subdomains),
	                                  SLICE("fast_flush_domains"));
	struct list_to_open lists[] = {
		{ &room->flush_domains, parameters->fast_flush_domains,
		  has_parents ? MATCH_DOMAINS_AND_PARENTS : MATCH_DOMAINS, "fast_flush_domains" },
		{ &room->mynetworks, parameters->mynetworks, MATCH_ADDRESSES, "mynetworks" },
		{ &room->xclient_hosts, parameters->smtpd_authorized_xclient_hosts, MATCH_HOSTS,
		  "smtpd_authorized_xclient_hosts" },
		{ &room->xforward_hosts, parameters->smtpd_authorized_xforward_hosts, MATCH_HOSTS,
		  "smtpd_authorized_xforward_hosts" },
		{ &room->verp_hosts, parameters->smtpd_authorized_verp_clients, MATCH_HOSTS,
		  "smtpd_authorized_verp_clients" },
		{ &room->bare_newline_exclusions, parameters->smtpd_forbid_bare_newline_exclusions,
		  MATCH_HOSTS, "smtpd_forbid_bare_newline_exclusions" },
		{ &room->event_exceptions, parameters->smtpd_client_event_limit_exceptions,
		  MATCH_HOSTS, "smtpd_client_event_limit_exceptions" },
		{ &room->sasl_exceptions, parameters->smtpd_sasl_exceptions_networks,
		  MATCH_ADDRESSES, "smtpd_sasl_exceptions_networks" },
		{ &room->sasl_filter, parameters->smtpd_sasl_mechanism_filter, MATCH_STRINGS,
		  "smtpd_sasl_mechanism_filter" },
		{ &room->mx_backup_networks, parameters->permit_mx_backup_networks, MATCH_ADDRESSES,
		  "permit_mx_backup_networks" },
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		*lists[i].list = match_list_open(lists[i].items, lists[i].kind, error);
		if (*lists[i].list == NULL)
			return error_prefix(error, "%s", lists[i].name);
	}
	return true;
}

static bool
open_tables(struct room *room, struct error *error)
{
	room->discard_maps =
		table_list_open(room->parameters->smtpd_discard_ehlo_keyword_address_maps, error);
	if (room->discard_maps == NULL)
		return error_prefix(error, "smtpd_discard_ehlo_keyword_address_maps");
	room->command_filter = table_list_open(room->parameters->smtpd_command_filter, error);
	if (room->command_filter == NULL)
		return error_prefix(error, "smtpd_command_filter");
	room->login_maps = table_list_open(room->parameters->smtpd_sender_login_maps, error);
	if (room->login_maps == NULL)
		return error_prefix(error, "smtpd_sender_login_maps");
	room->client_certificates = table_list_open(room->parameters->relay_clientcerts, error);
	if (room->client_certificates == NULL)
		return error_prefix(error, "relay_clientcerts");
	return proxy_configure(room, error) && milters_open(room, error);
}

static bool
open_tls(struct room *room, const struct daemon_context *context, struct error *error)
{
	struct slice level = slice_from(room->parameters->smtpd_tls_security_level);
	bool         is_wrapped = room->parameters->smtpd_tls_wrappermode;

	room->is_tls_required = slice_equal(level, SLICE("encrypt"));
	room->tls = daemon_tls_server(context, error);
	if (room->tls == NULL && error->text[0] != '\0')
		return false;
	if (room->tls == NULL && (is_wrapped || room->is_tls_required))
		return error_set(error, "%s needs smtpd_tls_security_level and a certificate",
		                 is_wrapped ? "smtpd_tls_wrappermode" : "smtpd_tls_security_level");
	return true;
}

static bool
open_others(struct room *room, const struct daemon_context *context, struct error *error)
{
	room->intake.snapshot = room->snapshot;
	room->intake.parameters = room->parameters;
	room->intake.queue = intake_client_create(INTAKE_SOCKET, room->service);
	room->intake.router = router_create(room->snapshot, error);
	if (room->intake.router == NULL)
		return false;
	room->intake.checks = checks_create(room->snapshot, error);
	if (room->intake.checks == NULL)
		return false;
	room->auth = auth_client_create(AUTH_SOCKET);
	room->dns = dns_client_create(RESOLVER_SOCKET);
	/* The other threads serve everybody else while probes are waited for. */
	room->verify = verify_client_create(VERIFY_SOCKET, (context->thread_limit + 1) / 2);
	room->limits = limits_create(room->parameters);
	if (room->verify == NULL || room->intake.queue == NULL || room->auth == NULL ||
	    room->dns == NULL || room->limits == NULL)
		return error_set(error, "out of memory");
	room->restrictions = restrictions_create(room->snapshot, error);
	return room->restrictions != NULL;
}

static unsigned
extensions_offered(const struct parameters *parameters)
{
	unsigned bits = SMTP_PIPELINING | SMTP_SIZE | SMTP_VRFY | SMTP_ETRN | SMTP_STARTTLS |
	                SMTP_AUTH | SMTP_XCLIENT | SMTP_XFORWARD | SMTP_XVERP |
	                SMTP_ENHANCEDSTATUSCODES | SMTP_8BITMIME | SMTP_DSN | SMTP_SMTPUTF8 |
	                SMTP_CHUNKING;

	if (parameters->disable_vrfy_command)
		bits &= ~(unsigned)SMTP_VRFY;
	if (!parameters->smtputf8_enable)
		bits &= ~(unsigned)SMTP_SMTPUTF8;
	return bits & ~smtp_extension_list(slice_from(parameters->smtpd_discard_ehlo_keywords));
}

struct room *
room_create(const struct daemon_context *context, struct error *error)
{
	struct room *room = calloc(1, sizeof(*room));

	if (room == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	room->service = context->service;
	room->snapshot = context->snapshot;
	room->parameters = context->parameters;
	room->memory = daemon_memory(context);
	room->notify_classes = notify_classes(room->parameters);
	mutex_init(&room->notify_limit.lock);
	room->extensions = extensions_offered(room->parameters);
	auth_turns_init(&room->turns, context->thread_limit);
	room->is_auth_enabled = room->parameters->smtpd_sasl_auth_enable;
	room->session_limit = room_session_limit(context);
	if (!open_match_lists(room, error) || !open_tables(room, error) ||
	    !open_tls(room, context, error) || !open_others(room, context, error))
		room_destroy(&room);
	return room;
}

size_t
room_session_limit(const struct daemon_context *context)
{
	size_t set = (size_t)context->parameters->smtpd_session_limit;
	size_t most = daemon_sessions_most();

	return set < most ? set : most;
}

void
room_destroy(struct room **pointer)
{
	struct room *room = *pointer;

	if (room == NULL)
		return;
	*pointer = NULL;
	restrictions_destroy(&room->restrictions);
	limits_destroy(&room->limits);
	dns_client_destroy(&room->dns);
	verify_client_destroy(&room->verify);
	auth_client_destroy(&room->auth);
	auth_turns_destroy(&room->turns);
	router_destroy(&room->intake.router);
	rules_close(&room->intake.checks);
	intake_client_destroy(&room->intake.queue);
	tls_server_destroy(&room->tls);
	milter_list_destroy(&room->milters);
	free(room->proxy_filter);
	table_list_close(&room->milter_maps);
	table_list_close(&room->client_certificates);
	table_list_close(&room->login_maps);
	table_list_close(&room->command_filter);
	table_list_close(&room->discard_maps);
	match_list_close(&room->mx_backup_networks);
	match_list_close(&room->sasl_filter);
	match_list_close(&room->sasl_exceptions);
	match_list_close(&room->event_exceptions);
	match_list_close(&room->flush_domains);
	match_list_close(&room->bare_newline_exclusions);
	match_list_close(&room->verp_hosts);
	match_list_close(&room->xforward_hosts);
	match_list_close(&room->xclient_hosts);
	match_list_close(&room->mynetworks);
	mutex_destroy(&room->notify_limit.lock);
	free(room);
}
