/* route.c - from a next hop to the hosts to try: MX, addresses, preference, ourselves. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "lib/base/random.h"
#include "smtp/smtp.h"

#define MX_MOST         100 /* names of one domain that are looked at */
#define CANDIDATES_MOST 200 /* addresses in all */
#define LOOKUPS_MOST_MS 120000

struct candidates {
	struct host host[CANDIDATES_MOST];
	size_t      count;
};

/* ---- next hops ---- */

static bool
take_port(struct slice text, struct nexthop *nexthop, struct error *error)
{
	int64_t port;

	if (slice_equal_fold(text, SLICE("smtp")))
		port = 25;
	else if (slice_equal_fold(text, SLICE("submission")))
		port = 587;
	else if (slice_equal_fold(text, SLICE("smtps")) ||
	         slice_equal_fold(text, SLICE("submissions")))
		port = 465;
	else if (slice_equal_fold(text, SLICE("lmtp")))
		port = 24;
	else if (!number_parse(text, 1, 65535, &port))
		return error_set(error, "bad port \"%.*s\" in the next hop %s", SLICE_ARGS(text),
		                 nexthop->text);
	nexthop->port = (unsigned)port;
	nexthop->has_port = true;
	return true;
}

bool
nexthop_parse(const struct smtp_agent *agent, struct slice text, struct arena *arena,
              struct nexthop *nexthop, struct error *error)
{
	struct slice domain = text;
	size_t       end;

	*nexthop = (struct nexthop){ .text = arena_text(arena, text) };
	if (nexthop->text == NULL || slice_is_empty(text) || slice_has_control(text))
		return error_set(error, "bad next hop");
	if (slice_starts_with(text, SLICE("unix:"))) {
		nexthop->is_unix = nexthop->is_host = true;
		nexthop->domain = nexthop->text + strlen("unix:");
		return true;
	}
	if (slice_starts_with(text, SLICE("inet:"))) {
		domain = slice_from_offset(text, strlen("inet:"));
		nexthop->is_host = true;
	}
	nexthop->port = (unsigned)(agent->is_lmtp ? agent->parameters->lmtp_tcp_port
	                                          : agent->parameters->smtp_tcp_port);
	if (slice_starts_with(domain, SLICE("["))) {
		struct slice rest;

		nexthop->is_host = true;
		end = slice_find_byte(domain, ']');
		if (end == SLICE_NOT_FOUND)
			return error_set(error, "no ] in the next hop %s", nexthop->text);
		rest = slice_from_offset(domain, end + 1);
		domain = slice_of(domain.data + 1, end - 1);
		if (slice_starts_with_fold(domain, SLICE("IPv6:")))
			domain = slice_from_offset(domain, 5);
		if (!slice_is_empty(rest) && rest.data[0] != ':')
			return error_set(error, "bad next hop %s", nexthop->text);
		if (!slice_is_empty(rest) && !take_port(slice_from_offset(rest, 1), nexthop, error))
			return false;
	} else if ((end = slice_find_last_byte(domain, ':')) != SLICE_NOT_FOUND) {
		if (!take_port(slice_from_offset(domain, end + 1), nexthop, error))
			return false;
		domain = slice_first(domain, end);
	}
	if (agent->is_lmtp || agent->parameters->disable_dns_lookups)
		nexthop->is_host = true;
	nexthop->domain = arena_text(arena, domain);
	if (nexthop->domain == NULL || slice_is_empty(domain) || domain.length > 255)
		return error_set(error, "bad next hop %s", nexthop->text);
	return true;
}

/* ---- addresses ---- */

void
host_describe(struct host *host, unsigned port)
{
	snprintf(host->place, sizeof(host->place), "%s[%s]", host->name, host->address);
	if (port == 0)
		snprintf(host->relay, sizeof(host->relay), "%s", host->place);
	else
		snprintf(host->relay, sizeof(host->relay), "%s:%u", host->place, port);
}

static void
set_port(struct host *host, unsigned port)
{
	if (host->sockaddr.ss_family == AF_INET)
		((struct sockaddr_in *)(void *)&host->sockaddr)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)(void *)&host->sockaddr)->sin6_port = htons((uint16_t)port);
	host_describe(host, port);
}

/* data: 4 or 16 bytes in network order. */
static bool
add_address(struct candidates *all, const struct nexthop *nexthop, struct slice name,
            struct slice data, uint32_t preference, bool is_secure)
{
	struct host *host;

	if (all->count >= CANDIDATES_MOST || (data.length != 4 && data.length != 16) ||
	    name.length >= sizeof(host->name))
		return false;
	host = &all->host[all->count++];
	*host = (struct host){ .preference = preference, .is_secure = is_secure };
	snprintf(host->name, sizeof(host->name), "%.*s", SLICE_ARGS(name));
	if (data.length == 4) {
		struct sockaddr_in *in = (struct sockaddr_in *)(void *)&host->sockaddr;

		in->sin_family = AF_INET;
		memcpy(&in->sin_addr, data.data, 4);
		host->sockaddr_length = sizeof(*in);
	} else {
		struct sockaddr_in6 *in = (struct sockaddr_in6 *)(void *)&host->sockaddr;

		in->sin6_family = AF_INET6;
		memcpy(&in->sin6_addr, data.data, 16);
		host->sockaddr_length = sizeof(*in);
	}
	inet_ntop(data.length == 4 ? AF_INET : AF_INET6, data.data, host->address,
	          sizeof(host->address));
	set_port(host, nexthop->port);
	return true;
}

static bool
add_literal(struct candidates *all, const struct nexthop *nexthop)
{
	unsigned char bytes[16];
	struct slice  name = slice_from(nexthop->domain);

	if (inet_pton(AF_INET, nexthop->domain, bytes) == 1)
		return add_address(all, nexthop, name, slice_of((const char *)bytes, 4), 0, false);
	if (inet_pton(AF_INET6, nexthop->domain, bytes) == 1)
		return add_address(all, nexthop, name, slice_of((const char *)bytes, 16), 0, false);
	return false;
}

static bool
uses_family(const struct smtp_agent *agent, enum dns_type type)
{
	const char *protocols = agent->parameters->inet_protocols;

	if (strstr(protocols, "all") != NULL)
		return true;
	return strstr(protocols, type == DNS_A ? "ipv4" : "ipv6") != NULL;
}

/* Both kinds of address of a name. DNS_FOUND when there was one; DNS_TRY_LATER only when there was
 * none and an answer is missing. */
static enum dns_status
add_host(const struct smtp_agent *agent, struct candidates *all, const struct nexthop *nexthop,
         struct slice name, uint32_t preference, bool is_secure, struct arena *arena,
         struct error *error)
{
	static const enum dns_type types[] = { DNS_AAAA, DNS_A };
	enum dns_status            worst = DNS_NO_NAME;
	size_t                     before = all->count;

	for (size_t t = 0; t < 2; t++) {
		struct dns_answer answer = { .count = 0 };
		enum dns_status   status;

		if (!uses_family(agent, types[t]))
			continue;
		status =
			agent->lookup(agent->lookup_context, name, types[t], arena, &answer, error);
		for (size_t i = 0; status == DNS_FOUND && i < answer.count; i++)
			add_address(all, nexthop, name, answer.records[i].data, preference,
			            is_secure && answer.is_secure);
		if (status == DNS_TRY_LATER || status == DNS_BOGUS)
			worst = status;
		else if (status == DNS_NO_DATA && worst == DNS_NO_NAME)
			worst = DNS_NO_DATA;
	}
	return all->count > before ? DNS_FOUND : worst;
}

/* ---- order ---- */

static bool
is_own_address(const struct smtp_agent *agent, const struct host *host)
{
	for (size_t i = 0; i < agent->own.count; i++) {
		const struct sockaddr_storage *own = &agent->own.items[i].address;

		if (own->ss_family != host->sockaddr.ss_family)
			continue;
		if (own->ss_family == AF_INET
		            ? memcmp(&((const struct sockaddr_in *)(const void *)own)->sin_addr,
		                     &((const struct sockaddr_in *)(const void *)&host->sockaddr)
		                              ->sin_addr,
		                     4) == 0
		            : memcmp(&((const struct sockaddr_in6 *)(const void *)own)->sin6_addr,
		                     &((const struct sockaddr_in6 *)(const void *)&host->sockaddr)
		                              ->sin6_addr,
		                     16) == 0)
			return true;
	}
	return slice_equal_fold(slice_from(host->name), slice_from(agent->parameters->myhostname));
}

/* RFC 5321 5.1: this host and all that are not preferred to it must not be tried. */
static void
drop_self_and_worse(const struct smtp_agent *agent, struct candidates *all)
{
	uint32_t least = UINT32_MAX;
	bool     is_here = false;
	size_t   kept = 0;

	for (size_t i = 0; i < all->count; i++)
		if (is_own_address(agent, &all->host[i]) &&
		    (!is_here || all->host[i].preference < least)) {
			least = all->host[i].preference;
			is_here = true;
		}
	for (size_t i = 0; i < all->count; i++)
		if (!is_here || all->host[i].preference < least)
			all->host[kept++] = all->host[i];
	all->count = kept;
}

static int
preferred_family(const struct smtp_agent *agent)
{
	const char *preference = agent->parameters->smtp_address_preference;

	return strcmp(preference, "ipv4") == 0   ? AF_INET
	       : strcmp(preference, "ipv6") == 0 ? AF_INET6
	                                         : AF_UNSPEC;
}

static bool
comes_before(const struct host *a, const struct host *b, int family)
{
	if (a->preference != b->preference)
		return a->preference < b->preference;
	return family != AF_UNSPEC && a->sockaddr.ss_family == family &&
	       b->sockaddr.ss_family != family;
}

/* Shuffled, then sorted stably: equals come in random order. */
static void
sort_hosts(const struct smtp_agent *agent, struct candidates *all)
{
	int family = preferred_family(agent);

	if (agent->parameters->smtp_randomize_addresses)
		for (size_t i = all->count; i > 1; i--) {
			size_t      k = random_below((uint32_t)i);
			struct host moved = all->host[i - 1];

			all->host[i - 1] = all->host[k];
			all->host[k] = moved;
		}
	for (size_t i = 1; i < all->count; i++) {
		struct host moved = all->host[i];
		size_t      k = i;

		for (; k > 0 && comes_before(&moved, &all->host[k - 1], family); k--)
			all->host[k] = all->host[k - 1];
		all->host[k] = moved;
	}
}

/* The first of a list, but not all of one protocol when the other is there, too. */
static void
limit_hosts(const struct smtp_agent *agent, struct candidates *all)
{
	size_t limit = (size_t)agent->parameters->smtp_mx_address_limit;
	int    first_family;

	if (limit == 0 || all->count <= limit)
		return;
	first_family = all->host[0].sockaddr.ss_family;
	if (agent->parameters->smtp_balance_inet_protocols && limit > 1) {
		bool   is_mixed = false;
		size_t other = limit;

		for (size_t i = 0; i < limit; i++)
			is_mixed |= all->host[i].sockaddr.ss_family != first_family;
		while (other < all->count && all->host[other].sockaddr.ss_family == first_family)
			other++;
		if (!is_mixed && other < all->count)
			all->host[limit - 1] = all->host[other];
	}
	all->count = limit;
}

/* ---- routes ---- */

static struct verdict
name_error(struct arena *arena, enum dns_status status, const char *name, const char *type)
{
	if (status == DNS_TRY_LATER || status == DNS_BOGUS)
		return verdict_make(arena, OUTCOME_DEFERRED, "4.4.3",
		                    "Host or domain name not found. Name service error for "
		                    "name=%s type=%s: %s",
		                    name, type,
		                    status == DNS_BOGUS ? "DNSSEC validation failed"
		                                        : "Host not found, try again");
	return verdict_make(arena, OUTCOME_FAILED, "5.4.4",
	                    "Host or domain name not found. Name service error for name=%s "
	                    "type=%s: %s",
	                    name, type,
	                    status == DNS_NO_DATA
	                            ? "Host found but no data record of requested type"
	                            : "Host not found");
}

/*
 * Whether the addresses found fill the limit, and the next name is less preferred than all of
 * them: it would not be tried, nor could it, being this host, rule any of them out. The protocols
 * are balanced among what was found.
 */
static bool
has_enough(const struct smtp_agent *agent, const struct candidates *all,
           const struct dns_answer *mx, size_t next)
{
	size_t limit = (size_t)agent->parameters->smtp_mx_address_limit;

	return limit > 0 && all->count >= limit && next > 0 &&
	       mx->records[next].preference > mx->records[next - 1].preference;
}

/* MX records are there: their hosts' addresses. One name that fails leaves the others. */
static bool
add_mx_hosts(const struct smtp_agent *agent, struct candidates *all, const struct nexthop *nexthop,
             const struct dns_answer *mx, struct arena *arena, struct verdict *verdict)
{
	enum dns_status worst = DNS_NO_NAME;
	struct error    error = ERROR_NONE;
	int64_t         end_ms = clock_monotonic_ms() + LOOKUPS_MOST_MS;

	/* RFC 7505: one record, the root. */
	if (mx->count == 1 && slice_is_empty(mx->records[0].target)) {
		*verdict = verdict_make(arena, OUTCOME_FAILED, "5.1.0",
		                        "Domain %s does not accept mail (nullMX)", nexthop->domain);
		return false;
	}
	for (size_t i = 0; i < mx->count && i < MX_MOST; i++) {
		enum dns_status status;

		if (slice_is_empty(mx->records[i].target))
			continue;
		if (has_enough(agent, all, mx, i))
			break;
		if (clock_monotonic_ms() > end_ms) { /* names that nobody answers for */
			worst = DNS_TRY_LATER;
			break;
		}
		status = add_host(agent, all, nexthop, mx->records[i].target,
		                  mx->records[i].preference, mx->is_secure, arena, &error);
		if (status == DNS_TRY_LATER || status == DNS_BOGUS || worst == DNS_NO_NAME)
			worst = status;
	}
	if (all->count > 0)
		return true;
	*verdict = name_error(arena, worst, nexthop->domain, "MX");
	if (worst != DNS_TRY_LATER && worst != DNS_BOGUS) {
		bool may_wait = agent->parameters->smtp_defer_if_no_mx_address_found;

		*verdict = verdict_make(arena, may_wait ? OUTCOME_DEFERRED : OUTCOME_FAILED,
		                        may_wait ? "4.4.4" : "5.4.4",
		                        "unable to look up host %.*s: no address found",
		                        SLICE_ARGS(mx->records[0].target));
	}
	return false;
}

static bool
find_domain(const struct smtp_agent *agent, struct candidates *all, const struct nexthop *nexthop,
            struct arena *arena, struct verdict *verdict)
{
	struct dns_answer mx = { .count = 0 };
	struct error      error = ERROR_NONE;
	struct slice      domain = slice_from(nexthop->domain);
	enum dns_status   status;

	status = agent->lookup(agent->lookup_context, domain, DNS_MX, arena, &mx, &error);
	if (status == DNS_FOUND && mx.count > 0) {
		if (!add_mx_hosts(agent, all, nexthop, &mx, arena, verdict))
			return false;
	} else if (status == DNS_NO_DATA || status == DNS_FOUND) {
		/* RFC 5321 5.1: the domain itself is an implicit MX. */
		status = add_host(agent, all, nexthop, domain, 0, mx.is_secure, arena, &error);
		if (status != DNS_FOUND) {
			*verdict = name_error(arena, status, nexthop->domain, "A");
			return false;
		}
	} else {
		*verdict = name_error(arena, status, nexthop->domain, "MX");
		return false;
	}
	/* A port in the next hop is an admin's word: such a host is never taken for this one. */
	if (!nexthop->has_port) {
		drop_self_and_worse(agent, all);
		for (size_t i = 0; i < all->count; i++)
			all->host[i].detects_loops = true;
	}
	if (all->count > 0)
		return true;
	*verdict = verdict_make(arena, OUTCOME_FAILED, "5.4.6", "mail for %s loops back to myself",
	                        nexthop->domain);
	return false;
}

static bool
find_host(const struct smtp_agent *agent, struct candidates *all, const struct nexthop *nexthop,
          struct arena *arena, struct verdict *verdict)
{
	struct error    error = ERROR_NONE;
	enum dns_status status;

	if (add_literal(all, nexthop))
		return true;
	status = add_host(agent, all, nexthop, slice_from(nexthop->domain), 0, true, arena, &error);
	if (status == DNS_FOUND)
		return true;
	*verdict = name_error(arena, status, nexthop->domain, "A");
	return false;
}

static bool
find_socket(const struct smtp_agent *agent, struct candidates *all, const struct nexthop *nexthop,
            struct arena *arena, struct verdict *verdict)
{
	struct host        *host = &all->host[0];
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&host->sockaddr;

	*host = (struct host){ .preference = 0 };
	if (strlen(nexthop->domain) >= sizeof(un->sun_path)) {
		*verdict = verdict_make(arena, OUTCOME_DEFERRED, "4.3.5",
		                        "socket name too long: %s", nexthop->domain);
		return false;
	}
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, nexthop->domain, strlen(nexthop->domain) + 1);
	host->sockaddr_length = sizeof(*un);
	snprintf(host->name, sizeof(host->name), "%s", agent->parameters->myhostname);
	snprintf(host->address, sizeof(host->address), "%s", nexthop->domain);
	host_describe(host, 0);
	all->count = 1;
	return true;
}

bool
route_find(const struct smtp_agent *agent, const struct nexthop *nexthop, struct arena *arena,
           struct host_list *list, struct verdict *verdict)
{
	struct candidates *all = calloc(1, sizeof(*all));
	bool               ok;

	if (all == NULL) {
		*verdict = verdict_make(arena, OUTCOME_DEFERRED, "4.3.0", "out of memory");
		return false;
	}
	if (nexthop->is_unix)
		ok = find_socket(agent, all, nexthop, arena, verdict);
	else if (nexthop->is_host)
		ok = find_host(agent, all, nexthop, arena, verdict);
	else
		ok = find_domain(agent, all, nexthop, arena, verdict);
	if (ok) {
		sort_hosts(agent, all);
		limit_hosts(agent, all);
		list->count = all->count;
		list->hosts = arena_alloc_array(arena, all->count, sizeof(*list->hosts));
		ok = list->hosts != NULL;
		if (ok)
			memcpy(list->hosts, all->host, all->count * sizeof(*list->hosts));
		else
			*verdict = verdict_make(arena, OUTCOME_DEFERRED, "4.3.0", "out of memory");
	}
	free(all);
	return ok;
}
