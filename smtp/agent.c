/* agent.c - what all worker threads share: tables, TLS settings, own addresses. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "smtp/sasl.h"

#define RESOLVER_SOCKET "private/resolver"
#define DNS_TIMEOUT_MS  30000
#define SEPARATORS      " \t\r\n,"

static enum dns_status
ask_resolver(void *context, struct slice name, enum dns_type type, struct arena *arena,
             struct dns_answer *answer, struct error *error)
{
	return dns_query(context, name, type, DNS_TIMEOUT_MS, arena, answer, error);
}

/* ---- own addresses ---- */

static bool
add_own(struct smtp_agent *agent, const struct sockaddr *address)
{
	struct own_address own = { .address = { .ss_family = address->sa_family } };

	if (address->sa_family == AF_INET)
		memcpy(&own.address, address, sizeof(struct sockaddr_in));
	else if (address->sa_family == AF_INET6)
		memcpy(&own.address, address, sizeof(struct sockaddr_in6));
	else
		return true;
	return ARRAY_PUSH(&agent->own, own);
}

static bool
add_interfaces(struct smtp_agent *agent)
{
	struct ifaddrs *all, *one;
	bool            ok = true;

	if (getifaddrs(&all) != 0) {
		log_warning("the interfaces' addresses cannot be read: %m");
		return true;
	}
	for (one = all; one != NULL; one = one->ifa_next)
		if (one->ifa_addr != NULL)
			ok = add_own(agent, one->ifa_addr) && ok;
	freeifaddrs(all);
	return ok;
}

/* An address in presentation form; [ ] around it are allowed. */
static bool
add_address(struct smtp_agent *agent, struct slice word)
{
	struct sockaddr_in  in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	char                text[64];

	if (slice_starts_with(word, SLICE("[")) && slice_ends_with(word, SLICE("]")))
		word = slice_of(word.data + 1, word.length - 2);
	if (word.length >= sizeof(text))
		return true;
	snprintf(text, sizeof(text), "%.*s", SLICE_ARGS(word));
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return add_own(agent, (struct sockaddr *)&in);
	if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
		return add_own(agent, (struct sockaddr *)&in6);
	return true; /* a name: myhostname is compared by name */
}

static bool
add_addresses(struct smtp_agent *agent, const char *list)
{
	struct slice rest = slice_from(list), word;
	bool         ok = true;

	while (slice_next_word(&rest, SEPARATORS, &word)) {
		if (slice_equal_fold(word, SLICE("all"))) {
			ok = add_interfaces(agent) && ok;
		} else if (slice_equal_fold(word, SLICE("loopback-only")) ||
		           slice_equal_fold(word, SLICE("localhost"))) {
			ok = add_address(agent, SLICE("127.0.0.1")) && ok;
			ok = add_address(agent, SLICE("::1")) && ok;
		} else {
			ok = add_address(agent, word) && ok;
		}
	}
	return ok;
}

/* ---- settings ---- */

static enum tls_level
level_of(const char *word)
{
	static const char *const words[] = {
		[TLS_NONE] = "none",           [TLS_MAY] = "may",
		[TLS_ENCRYPT] = "encrypt",     [TLS_DANE] = "dane",
		[TLS_DANE_ONLY] = "dane-only", [TLS_FINGERPRINT] = "fingerprint",
		[TLS_VERIFY] = "verify",       [TLS_SECURE] = "secure",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(word, words[i]) == 0)
			return (enum tls_level)i;
	return TLS_NONE; /* empty */
}

static bool
open_tables(struct smtp_agent *agent, struct error *error)
{
	const struct parameters *parameters = agent->parameters;

	if (parameters->smtp_tls_policy_maps[0] != '\0') {
		agent->tls_policies = table_list_open(parameters->smtp_tls_policy_maps, error);
		if (agent->tls_policies == NULL)
			return error_prefix(error, "smtp_tls_policy_maps");
	}
	if (!parameters->smtp_sasl_auth_enable)
		return true;
	if (!sasl_library_start(error))
		return false;
	agent->passwords = table_list_open(parameters->smtp_sasl_password_maps, error);
	return agent->passwords != NULL || error_prefix(error, "smtp_sasl_password_maps");
}

static bool
open_filters(struct smtp_agent *agent, struct error *error)
{
	const struct parameters *parameters = agent->parameters;
	const char              *replies =
                agent->is_lmtp ? parameters->lmtp_reply_filter : parameters->smtp_reply_filter;

	agent->rules = outgoing_rules_open(parameters, agent->is_lmtp, error);
	if (agent->rules == NULL)
		return false;
	if (slice_trim(slice_from(replies)).length > 0) {
		agent->reply_filter = table_list_open(replies, error);
		if (agent->reply_filter == NULL)
			return error_prefix(error, "%s_reply_filter",
			                    agent->is_lmtp ? "lmtp" : "smtp");
	}
	agent->statuses =
		agent->is_lmtp ? status_filter_open("lmtp_delivery_status_filter",
	                                            parameters->lmtp_delivery_status_filter, error)
			       : status_filter_open("smtp_delivery_status_filter",
	                                            parameters->smtp_delivery_status_filter, error);
	return agent->statuses != NULL;
}

/* Without such tables nothing is opened, and no header is looked at. */
static bool
open_generic(struct smtp_agent *agent, const struct snapshot *snapshot, struct error *error)
{
	const char *maps = agent->is_lmtp ? agent->parameters->lmtp_generic_maps
	                                  : agent->parameters->smtp_generic_maps;

	if (slice_trim(slice_from(maps)).length == 0)
		return true;
	agent->generic = router_create_generic(snapshot, maps, error);
	return agent->generic != NULL;
}

struct smtp_agent *
smtp_agent_create(const struct daemon_context *context, bool is_lmtp, struct error *error)
{
	const struct parameters *parameters = context->parameters;
	struct smtp_agent       *agent = calloc(1, sizeof(*agent));

	if (agent == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	agent->service = context->service;
	agent->is_lmtp = is_lmtp;
	agent->parameters = parameters;
	agent->helo_name = is_lmtp ? parameters->lmtp_lhlo_name : parameters->smtp_helo_name;
	agent->tls_level = level_of(is_lmtp ? parameters->lmtp_tls_security_level
	                                    : parameters->smtp_tls_security_level);
	agent->lookup = ask_resolver;
	agent->lookup_context = dns_client_create(RESOLVER_SOCKET);
	if (agent->lookup_context == NULL)
		error_set(error, "out of memory");
	else if (!add_addresses(agent, parameters->inet_interfaces) ||
	         !add_addresses(agent, parameters->proxy_interfaces))
		error_set(error, "out of memory");
	else if (open_tables(agent, error) && open_generic(agent, context->snapshot, error) &&
	         open_filters(agent, error) && notify_open(agent, context, error) &&
	         (agent->tls = tls_client_create(parameters, error)) != NULL)
		return agent;
	smtp_agent_destroy(&agent);
	return NULL;
}

void
smtp_agent_destroy(struct smtp_agent **pointer)
{
	struct smtp_agent *agent = *pointer;
	struct dns_client *dns;

	if (agent == NULL)
		return;
	dns = agent->lookup_context;
	dns_client_destroy(&dns);
	table_list_close(&agent->tls_policies);
	table_list_close(&agent->passwords);
	router_destroy(&agent->generic);
	rules_close(&agent->rules);
	table_list_close(&agent->reply_filter);
	status_filter_close(&agent->statuses);
	notify_close(agent);
	tls_client_destroy(&agent->tls);
	ARRAY_FREE(&agent->own);
	free(agent);
	*pointer = NULL;
}
