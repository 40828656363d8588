/*
 * client.c - who is at the other end: address, confirmed name, networks, limits.
 *
 * The name costs DNS questions that may wait, so it is looked up when something first needs it
 * (usually the first command's log line), and not for clients that connect and say nothing.
 */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "smtpd/session.h"

/* A client whose DNS is slower than this has no name today. */
#define NAME_TIMEOUT_MS 5000

static const struct slice unknown = { "unknown", 7 };

static void
address_text(struct session *session, const struct sockaddr_storage *from, struct slice *address,
             struct slice *port)
{
	char     text[INET6_ADDRSTRLEN] = "";
	uint16_t number = 0;

	if (from->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)from;

		inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		number = ntohs(in->sin_port);
	} else if (from->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)from;

		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
			inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, text, sizeof(text));
		else
			inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		number = ntohs(in6->sin6_port);
	}
	*address = slice_from(arena_text(&session->arena, slice_from(text)));
	*port = slice_from(arena_format(&session->arena, "%u", number));
	if (address->length == 0)
		*address = unknown;
}

bool
client_from_peer(struct session *session, const struct session_peer *peer)
{
	session->client = (struct client){ .name = unknown, .reverse_name = unknown };
	address_text(session, &peer->client, &session->client.address, &session->client.port);
	address_text(session, &peer->server, &session->server_address, &session->server_port);
	session->client.is_name_known = !session->parameters->smtpd_peername_lookup;
	return !session->arena.has_failed;
}

static void
keep(struct session *session, struct slice name, struct slice *into)
{
	struct slice copy = arena_copy(&session->arena, name);

	if (copy.data != NULL && copy.length > 0)
		*into = copy;
	/* It has a name, which there is no memory for. */
	session->client.is_name_trouble |= copy.data == NULL && name.length > 0;
}

void
client_know_name(struct session *session)
{
	struct client *client = &session->client;
	struct arena   arena = ARENA(64u * 1024);
	struct slice   name = SLICE_EMPTY, unconfirmed = SLICE_EMPTY;
	struct error   error = ERROR_NONE;

	if (client->is_name_known)
		return;
	client->is_name_known = true;
	switch (dns_confirm_client(session->room->dns, client->address, NAME_TIMEOUT_MS, &arena,
	                           &name, &unconfirmed, &error)) {
	case DNS_FOUND:
		keep(session, name, &client->name);
		keep(session, name, &client->reverse_name);
		break;
	case DNS_NO_DATA:
	case DNS_NO_NAME:
		keep(session, unconfirmed, &client->reverse_name);
		if (unconfirmed.length > 0)
			log_warning("hostname %.*s does not resolve to address %.*s",
			            SLICE_ARGS(unconfirmed), SLICE_ARGS(client->address));
		break;
	case DNS_TRY_LATER:
	case DNS_BOGUS:
		keep(session, unconfirmed, &client->reverse_name);
		client->is_name_trouble = true;
		client->is_reverse_trouble = unconfirmed.length == 0;
		break;
	}
	arena_reset(&arena);
}

const char *
client_label(struct session *session)
{
	struct client *client = &session->client;

	if (client->label == NULL) {
		client_know_name(session);
		bool has_port = session->parameters->smtpd_client_port_logging;
		client->label =
			arena_format(&session->arena, "%.*s[%.*s]%s%.*s", SLICE_ARGS(client->name),
		                     SLICE_ARGS(client->address), has_port ? ":" : "",
		                     has_port ? (int)client->port.length : 0, client->port.data);
	}
	return client->label != NULL ? client->label : "unknown[unknown]";
}

enum lookup
client_find_in(struct session *session, struct match_list *list)
{
	struct client *client = &session->client;
	struct error   error = ERROR_NONE;

	if (list == NULL)
		return LOOKUP_NOT_FOUND;
	struct slice name = client->is_name_known && !slice_equal(client->name, unknown)
	                            ? client->name
	                            : SLICE_EMPTY;
	enum lookup  found = match_list_client(list, name, client->address, &error);
	if (found == LOOKUP_TRY_LATER)
		log_warning("%s", error.text);
	return found;
}

bool
client_is_in(struct session *session, struct match_list *list)
{
	return client_find_in(session, list) == LOOKUP_FOUND;
}

enum lookup
client_find_in_mynetworks(struct session *session)
{
	enum lookup found = LOOKUP_TRY_LATER;

	if (session->is_mynetworks_known)
		return session->is_mynetworks ? LOOKUP_FOUND : LOOKUP_NOT_FOUND;
	found = client_find_in(session, session->room->mynetworks);
	session->is_mynetworks = found == LOOKUP_FOUND;
	session->is_mynetworks_known = found != LOOKUP_TRY_LATER;
	return found;
}

void
client_log_connect(struct session *session)
{
	if (session->has_logged_connect)
		return;
	session->has_logged_connect = true;
	log_info("connect from %s", client_label(session));
}

bool
client_may(struct session *session, enum limit_event event, int64_t most, const char *what)
{
	if (most <= 0 || session->limit == NULL)
		return true;
	size_t count =
		limits_count(session->room->limits, session->limit, event, clock_monotonic_ms());
	if (count <= (size_t)most || client_is_in(session, session->room->event_exceptions))
		return true;
	log_warning("%s limit exceeded: %zu from %s for service %s", what, count,
	            client_label(session), session->room->service);
	return false;
}
