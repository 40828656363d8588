/* online_names.c - the host's name and addresses, PTR, MX; see online.h. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

#include "lib/dns/name.h"
#include "tools/dakiya/online.h"

/* ---- under which addresses the world knows us ---- */

static void
add_address(struct online *online, const char *text)
{
	struct online_address address = { .text = online_text(online, "%s", text) };

	address.length = dns_address_parse(slice_from(text), address.bytes);
	if (address.length == 0 || online->address_count >= ONLINE_ADDRESSES_MOST)
		return;
	for (size_t i = 0; i < online->address_count; i++) {
		if (strcmp(online->addresses[i].text, text) == 0)
			return;
	}
	online->addresses[online->address_count++] = address;
}

/* Public ones of this host, as far as inet_interfaces listens on them. */
static void
add_interfaces(struct online *online)
{
	struct slice    rest = slice_from(online->parameters->inet_interfaces), word;
	struct ifaddrs *list = NULL;
	char            text[INET6_ADDRSTRLEN];

	while (slice_next_word(&rest, ", \t\r\n", &word)) {
		if (word.length > 2 && word.data[0] == '[')
			word = slice_of(word.data + 1, word.length - 2);
		const char *one = online_text(online, "%.*s", SLICE_ARGS(word));
		if (!online_is_private(one))
			add_address(online, one);
	}
	rest = slice_from(online->parameters->inet_interfaces);
	if (!slice_equal_fold(slice_trim(rest), SLICE("all")) || getifaddrs(&list) < 0)
		return;
	for (const struct ifaddrs *entry = list; entry != NULL; entry = entry->ifa_next) {
		const void *bytes = NULL;

		if (entry->ifa_addr == NULL || (entry->ifa_flags & IFF_LOOPBACK) != 0)
			continue;
		if (entry->ifa_addr->sa_family == AF_INET)
			bytes = &((const struct sockaddr_in *)(const void *)entry->ifa_addr)
			                 ->sin_addr;
		else if (entry->ifa_addr->sa_family == AF_INET6)
			bytes = &((const struct sockaddr_in6 *)(const void *)entry->ifa_addr)
			                 ->sin6_addr;
		if (bytes != NULL &&
		    inet_ntop(entry->ifa_addr->sa_family, bytes, text, sizeof(text)) != NULL &&
		    !online_is_private(text))
			add_address(online, text);
	}
	freeifaddrs(list);
}

static void
add_proxies(struct online *online)
{
	struct slice rest = slice_from(online->parameters->proxy_interfaces), word;

	while (slice_next_word(&rest, ", \t\r\n", &word))
		add_address(online, online_text(online, "%.*s", SLICE_ARGS(word)));
}

/* ---- the host's name ---- */

/* Adds the addresses of myhostname when we know none of our own; false when it has none. */
static bool
check_name(struct online *online)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA };
	const char                *host = online->parameters->myhostname;
	bool                       knows_own = online->address_count > 0, has_any = false;
	struct buf                 shown = BUF(2000);
	struct error               error = ERROR_NONE;
	struct dns_answer          answer;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		enum dns_status status = online_ask(online, host, types[i], &answer, &error);

		if (status == DNS_TRY_LATER || status == DNS_BOGUS) {
			online_say(online, FINDING_UNKNOWN, "name", NULL, "%s", error.text);
			buf_free(&shown);
			return false;
		}
		for (size_t j = 0; status == DNS_FOUND && j < answer.count; j++) {
			const char *text = online_address_text(online, &answer.records[j]);

			has_any = true;
			buf_append_format(&shown, "%s%s", shown.length > 0 ? ", " : "", text);
			if (knows_own && !online_is_ours(online, &answer.records[j]))
				online_say(online, FINDING_WRONG, "name", NULL,
				           "%s has address %s, which is not this host's", host,
				           text);
			else if (online_is_private(text))
				online_say(online, FINDING_WRONG, "name", NULL,
				           "%s has address %s, which the Internet does not reach",
				           host, text);
			else if (!knows_own)
				add_address(online, text);
		}
	}
	if (has_any)
		online_say(online, FINDING_OK, "name", NULL, "%s has address %s", host,
		           buf_text(&shown));
	else
		online_say(
			online, FINDING_WRONG, "name",
			online_text(online, "%s. IN %s %s", host,
		                    knows_own && online->addresses[0].length == 16 ? "AAAA" : "A",
		                    knows_own ? online->addresses[0].text
		                              : "THE-ADDRESS-OF-THIS-HOST"),
			"myhostname %s has no address: servers and programs do not find this host",
			host);
	buf_free(&shown);
	return has_any;
}

/* ---- PTR ---- */

static void
check_reverse(struct online *online, const struct online_address *address)
{
	const char  *helo = online->parameters->smtp_helo_name;
	struct slice name = SLICE_EMPTY, unconfirmed = SLICE_EMPTY, reverse = SLICE_EMPTY;
	struct error error = ERROR_NONE;
	const char  *record = NULL;

	if (dns_name_reverse(slice_from(address->text), &online->arena, &reverse))
		record = online_text(online,
		                     "%.*s. IN PTR %s. ; set by whom you have the address from",
		                     SLICE_ARGS(reverse), helo);
	switch (dns_confirm_client(online->dns, slice_from(address->text), 15000, &online->arena,
	                           &name, &unconfirmed, &error)) {
	case DNS_FOUND:
		if (slice_equal_fold(name, slice_from(helo)))
			online_say(online, FINDING_OK, "ptr", NULL, "%s is %s, and back",
			           address->text, helo);
		else
			online_say(online, FINDING_WARNING, "ptr", record,
			           "%s is %.*s, but says EHLO %s: some servers take it for a "
			           "forgery; one name for both",
			           address->text, SLICE_ARGS(name), helo);
		break;
	case DNS_NO_NAME:
	case DNS_NO_DATA:
		if (unconfirmed.length > 0)
			online_say(online, FINDING_WRONG, "ptr", record,
			           "%s is %.*s, but that name does not have this address: many "
			           "servers refuse such mail",
			           address->text, SLICE_ARGS(unconfirmed));
		else
			online_say(online, FINDING_WRONG, "ptr", record,
			           "%s has no name: many servers refuse its mail", address->text);
		break;
	case DNS_TRY_LATER:
	case DNS_BOGUS:
		online_say(online, FINDING_UNKNOWN, "ptr", NULL, "%s: %s", address->text,
		           error.text);
		break;
	}
}

void
online_host(struct online *online)
{
	const char *host = online->parameters->myhostname;

	if (!slice_contains_byte(slice_from(host), '.') ||
	    slice_ends_with(slice_from(host), SLICE(".localdomain")))
		online_say(online, FINDING_WRONG, "name", NULL,
		           "myhostname %s is no name in the Internet: myhostname = mail.DOMAIN",
		           host);
	add_interfaces(online);
	for (size_t i = 0; i < online->address_count; i++)
		online->addresses[i].is_here = true;
	add_proxies(online);
	(void)check_name(online);
	if (online->address_count == 0)
		online_say(online, FINDING_UNKNOWN, "address", NULL,
		           "this host has no public address: set proxy_interfaces to that under "
		           "which the Internet sees it");
	for (size_t i = 0; i < online->address_count; i++)
		check_reverse(online, &online->addresses[i]);
}

/* ---- MX ---- */

/* The addresses of one MX host; *is_us when one is ours. */
static void
check_mx_host(struct online *online, const char *domain, const char *host, bool *is_us)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA };
	struct dns_answer          answer;
	struct error               error = ERROR_NONE;
	bool                       has_any = false;

	if (online_ask(online, host, DNS_CNAME, &answer, &error) == DNS_FOUND)
		online_say(online, FINDING_WRONG, "mx", NULL,
		           "%s: MX host %s is a CNAME, which RFC 2181 does not allow: use its "
		           "real name",
		           domain, host);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		enum dns_status status = online_ask(online, host, types[i], &answer, &error);

		if (status == DNS_TRY_LATER || status == DNS_BOGUS) {
			online_say(online, FINDING_UNKNOWN, "mx", NULL, "%s: %s", domain,
			           error.text);
			return;
		}
		for (size_t j = 0; status == DNS_FOUND && j < answer.count; j++) {
			const char *text = online_address_text(online, &answer.records[j]);

			has_any = true;
			*is_us |= online_is_ours(online, &answer.records[j]);
			if (online_is_private(text))
				online_say(online, FINDING_WRONG, "mx", NULL,
				           "%s: MX host %s has address %s, which the Internet does "
				           "not reach",
				           domain, host, text);
		}
	}
	if (!has_any)
		online_say(online, FINDING_WRONG, "mx", NULL, "%s: MX host %s has no address",
		           domain, host);
}

static void
check_mx(struct online *online, const char *domain)
{
	struct dns_answer answer;
	struct error      error = ERROR_NONE;
	const char       *record =
		online_text(online, "%s. IN MX 10 %s.", domain, online->parameters->myhostname);
	bool            is_us = false;
	enum dns_status status = online_ask(online, domain, DNS_MX, &answer, &error);

	if (status == DNS_TRY_LATER || status == DNS_BOGUS) {
		online_say(online, FINDING_UNKNOWN, "mx", NULL, "%s", error.text);
		return;
	}
	if (status != DNS_FOUND) {
		online_say(online, FINDING_WRONG, "mx", record, "%s has no MX record: %s", domain,
		           status == DNS_NO_NAME ? "the name does not exist"
		                                 : "mail goes to its address, if to anything");
		return;
	}
	struct buf shown = BUF(4000);
	for (size_t i = 0; i < answer.count && i < 20; i++) {
		const char *host =
			online_text(online, "%.*s", SLICE_ARGS(answer.records[i].target));

		buf_append_format(&shown, "%s%s", i > 0 ? ", " : "", host);
		if (host[0] != '\0')
			check_mx_host(online, domain, host, &is_us);
		is_us |= strcasecmp(host, online->parameters->myhostname) == 0;
	}
	if (answer.count == 1 && answer.records[0].target.length == 0)
		online_say(online, FINDING_WRONG, "mx", record,
		           "%s has a null MX: it says that it takes no mail at all", domain);
	else if (!is_us)
		online_say(online, FINDING_WARNING, "mx", record,
		           "%s: none of its MX hosts (%s) is this host", domain, buf_text(&shown));
	else
		online_say(online, FINDING_OK, "mx", NULL, "%s: %s", domain, buf_text(&shown));
	buf_free(&shown);
}

void
online_mx(struct online *online)
{
	for (size_t i = 0; i < online->domain_count; i++)
		check_mx(online, online->domains[i]);
}
