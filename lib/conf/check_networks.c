/*
 * check_networks.c - who is trusted, where mail is sent to, whom the resolver asks: C2, C15, C19;
 * see check.h.
 */
#include "lib/conf/check.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/number.h"
#include "lib/conf/restrictions.h"

/* ---- addresses ---- */

struct network {
	int      family;
	uint8_t  bytes[16];
	unsigned bits;
	bool     has_host_bits; /* set behind the prefix: no table would take it */
};

static bool
bit_of(const uint8_t *bytes, unsigned bit)
{
	return (bytes[bit / 8] >> (7 - bit % 8) & 1) != 0;
}

/* "192.0.2.0/24", "[2001:db8::]/32", "[2001:db8::/32]", one address. */
static bool
parse_network(struct slice word, struct network *network)
{
	char    text[64];
	size_t  length = 0;
	int64_t bits = -1;

	*network = (struct network){ 0 };
	for (size_t i = 0; i < word.length; i++) {
		if (word.data[i] == '/') {
			struct slice rest = slice_from_offset(word, i + 1);

			if (rest.length > 0 && rest.data[rest.length - 1] == ']')
				rest.length--;
			if (!number_parse(rest, 0, 128, &bits))
				return false;
			break;
		}
		if (length + 1 >= sizeof(text))
			return false;
		if (word.data[i] != '[' && word.data[i] != ']')
			text[length++] = word.data[i];
	}
	text[length] = '\0';
	network->family = inet_pton(AF_INET, text, network->bytes) == 1    ? AF_INET
	                  : inet_pton(AF_INET6, text, network->bytes) == 1 ? AF_INET6
	                                                                   : AF_UNSPEC;
	unsigned most = network->family == AF_INET ? 32 : 128;
	if (network->family == AF_UNSPEC || bits > (int64_t)most)
		return false;
	network->bits = bits < 0 ? most : (unsigned)bits;
	for (unsigned i = network->bits; i < most; i++)
		network->has_host_bits |= bit_of(network->bytes, i);
	return true;
}

static bool
contains(const struct network *network, const struct network *other)
{
	if (network->family != other->family || network->bits > other->bits)
		return false;
	for (unsigned i = 0; i < network->bits; i++) {
		if (bit_of(network->bytes, i) != bit_of(other->bytes, i))
			return false;
	}
	return true;
}

/* Not reached from the Internet: RFC 1918, 6598, 3927, 4193, 4291; documentation, too. */
static bool
is_private(const struct network *network)
{
	static const char *const privates[] = { "10.0.0.0/8",  "172.16.0.0/12", "192.168.0.0/16",
		                                "127.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16",
		                                "fc00::/7",    "fe80::/10",     "::1/128" };

	for (size_t i = 0; i < sizeof(privates) / sizeof(privates[0]); i++) {
		struct network one;

		if (parse_network(slice_from(privates[i]), &one) && contains(&one, network))
			return true;
	}
	return false;
}

/* ---- C2: who may relay without logging in ---- */

/* The IPv4 address of the default route, as /proc has it. */
static bool
find_gateway(struct network *gateway)
{
	FILE    *file = fopen("/proc/net/route", "re");
	char     line[300], interface[100];
	unsigned destination, address;
	bool     is_found = false;

	if (file == NULL)
		return false;
	while (!is_found && fgets(line, sizeof(line), file) != NULL) {
		is_found = sscanf(line, "%99s %8x %8x", interface, &destination, &address) == 3 &&
		           destination == 0 && address != 0;
	}
	fclose(file);
	if (is_found) {
		*gateway = (struct network){ .family = AF_INET, .bits = 32 };
		memcpy(gateway->bytes, &address, 4); /* in the order of the wire already */
	}
	return is_found;
}

static bool
is_in_container(void)
{
	return access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0;
}

static void
check_network(const struct network *network, struct slice word, const char *file, unsigned line,
              struct report *report)
{
	bool     is_v6 = network->family == AF_INET6;
	unsigned few = is_v6 ? 48 : 24, large = is_v6 ? 16 : 8;

	if (network->bits == 0)
		report_add(report, PROBLEM_ERROR, file, line,
		           "mynetworks: %.*s is the whole Internet: everybody could relay",
		           SLICE_ARGS(slice_first(word, 100)));
	else if (network->has_host_bits)
		report_add(report, PROBLEM_ERROR, file, line,
		           "mynetworks: %.*s has bits set behind the first %u: write the network's "
		           "own address, or /%u for this host alone",
		           SLICE_ARGS(slice_first(word, 100)), network->bits, is_v6 ? 128 : 32);
	else if (is_private(network))
		return;
	else if (network->bits < large)
		report_add(report, PROBLEM_WARNING, file, line,
		           "mynetworks: %.*s is very large: all in it may relay",
		           SLICE_ARGS(slice_first(word, 100)));
	else if (network->bits < few)
		report_add(report, PROBLEM_WARNING, file, line,
		           "mynetworks: %.*s has public addresses: every host in it, yours or not, "
		           "may relay without logging in",
		           SLICE_ARGS(slice_first(word, 100)));
}

static void
check_mynetworks(const struct configuration *configuration, struct report *report)
{
	struct buf     text = BUF(SETTINGS_TEXT_MOST);
	struct slice   rest, word;
	struct network network, gateway;
	bool           has_gateway = is_in_container() && find_gateway(&gateway);
	const char    *file;
	unsigned       line;

	check_place(&configuration->settings, "mynetworks", &file, &line);
	if (!check_expanded(&configuration->settings, "mynetworks", &text))
		buf_clear(&text);
	rest = buf_slice(&text);
	while (slice_next_word(&rest, ", \t\r\n", &word)) {
		if (word.data[0] == '/' || word.data[0] == '!' || !parse_network(word, &network))
			continue;
		check_network(&network, word, file, line, report);
		if (has_gateway && line > 0 && contains(&network, &gateway))
			report_add(report, PROBLEM_WARNING, file, line,
			           "mynetworks: %.*s contains this container's gateway: when the "
			           "container engine hands connections on from there, everybody "
			           "could relay",
			           SLICE_ARGS(slice_first(word, 100)));
	}
	buf_free(&text);
}

/* ---- C15: whom the resolver asks ---- */

/* Resolvers that everybody may use: lists of bad clients do not answer them. */
static const char *const public_resolvers[] = {
	"8.8.8.8",
	"8.8.4.4",
	"2001:4860:4860::8888",
	"2001:4860:4860::8844",
	"1.1.1.1",
	"1.0.0.1",
	"2606:4700:4700::1111",
	"2606:4700:4700::1001",
	"9.9.9.9",
	"149.112.112.112",
	"2620:fe::fe",
	"2620:fe::9",
	"208.67.222.222",
	"208.67.220.220",
	"94.140.14.14",
	"94.140.15.15",
	"185.222.222.222",
	"45.11.45.11",
	"64.6.64.6",
	"76.76.2.0",
};

static bool
is_public_resolver(struct slice word)
{
	struct network one, other;

	word = slice_first(word, slice_find_byte(word, '@'));
	if (!parse_network(word, &one))
		return false;
	for (size_t i = 0; i < sizeof(public_resolvers) / sizeof(public_resolvers[0]); i++) {
		if (parse_network(slice_from(public_resolvers[i]), &other) &&
		    contains(&other, &one))
			return true;
	}
	return false;
}

/* The first one of /etc/resolv.conf that is public, in *out. */
static bool
find_public_in_system(struct buf *out)
{
	FILE *file = fopen("/etc/resolv.conf", "re");
	char  line[300];
	bool  is_found = false;

	if (file == NULL)
		return false;
	while (!is_found && fgets(line, sizeof(line), file) != NULL) {
		struct slice rest = slice_from(line), word;

		if (slice_next_word(&rest, " \t\r\n", &word) &&
		    slice_equal(word, SLICE("nameserver")) &&
		    slice_next_word(&rest, " \t\r\n", &word))
			is_found = is_public_resolver(word) && buf_append_printable(out, word);
	}
	fclose(file);
	return is_found;
}

bool
check_public_resolver(const struct settings *settings, struct buf *out)
{
	struct buf   text = BUF(SETTINGS_TEXT_MOST);
	struct slice rest, word;
	bool         is_found = false;

	if (check_expanded(settings, "resolver_forwarders", &text)) {
		rest = buf_slice(&text);
		while (!is_found && slice_next_word(&rest, ", \t\r\n", &word)) {
			if (slice_equal(word, SLICE("system")))
				is_found = find_public_in_system(out);
			else
				is_found = is_public_resolver(word) &&
				           buf_append_printable(out, slice_first(word, 100));
		}
	}
	buf_free(&text);
	return is_found;
}

static void
check_resolver(const struct configuration *configuration, struct report *report)
{
	const struct settings *settings = &configuration->settings;
	struct buf             level = BUF(1000), validates = BUF(1000), anchor = BUF(4096);
	struct buf             found = BUF(1000);
	const char            *file;
	unsigned               line;

	check_place(settings, "resolver_forwarders", &file, &line);
	if (check_uses_dns_lists(configuration) && check_public_resolver(settings, &found))
		report_add(
			report, PROBLEM_WARNING, file, line,
			"resolver_forwarders: %s is a public resolver, which lists of bad clients "
			"(reject_rbl_client) do not answer, or answer with everybody listed: "
			"leave resolver_forwarders empty",
			buf_text(&found));
	check_place(settings, "smtp_tls_security_level", &file, &line);
	if (check_expanded(settings, "smtp_tls_security_level", &level) &&
	    slice_starts_with(slice_trim(buf_slice(&level)), SLICE("dane")) &&
	    check_expanded(settings, "resolver_dnssec", &validates) &&
	    check_expanded(settings, "resolver_trust_anchor_file", &anchor) &&
	    (!slice_equal_fold(slice_trim(buf_slice(&validates)), SLICE("yes")) ||
	     access(buf_text(&anchor), R_OK) < 0))
		report_add(report, PROBLEM_WARNING, file, line,
		           "smtp_tls_security_level = %s has no effect: the resolver does not "
		           "validate (resolver_dnssec = %s, resolver_trust_anchor_file = %s%s)",
		           buf_text(&level), buf_text(&validates), buf_text(&anchor),
		           access(buf_text(&anchor), R_OK) < 0 ? ", which cannot be read" : "");
	buf_free(&level);
	buf_free(&validates);
	buf_free(&anchor);
	buf_free(&found);
}

/* ---- C19: mail that is sent to ourselves ---- */

/* Whether an smtpd service listens on this port at this address ("" for a name of ours). */
static bool
is_listening(const struct configuration *configuration, struct slice host, uint16_t port)
{
	const struct master_file *master = &configuration->master;

	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];

		if (service->is_run && strcmp(service->program->name, "smtpd") == 0 &&
		    service->port == port &&
		    (host.length == 0 || service->host[0] == '\0' ||
		     slice_equal_fold(slice_from(service->host), host)))
			return true;
	}
	return false;
}

static bool
is_own_address(const struct network *address)
{
	struct ifaddrs *list = NULL;
	bool            is_own = false;

	if (address->family == AF_INET && address->bytes[0] == 127)
		return true;
	if (getifaddrs(&list) < 0)
		return false;
	for (const struct ifaddrs *entry = list; !is_own && entry != NULL;
	     entry = entry->ifa_next) {
		if (entry->ifa_addr == NULL || entry->ifa_addr->sa_family != address->family)
			continue;
		if (address->family == AF_INET)
			is_own = memcmp(&((const struct sockaddr_in *)(const void *)entry->ifa_addr)
			                         ->sin_addr,
			                address->bytes, 4) == 0;
		else
			is_own =
				memcmp(&((const struct sockaddr_in6 *)(const void *)entry->ifa_addr)
			                        ->sin6_addr,
			               address->bytes, 16) == 0;
	}
	freeifaddrs(list);
	return is_own;
}

/* "host", "[host]", "host:port", "[host]:port". */
static void
split_nexthop(struct slice word, struct slice *host, struct slice *port)
{
	size_t bracket = slice_find_byte(word, ']');

	*port = SLICE_EMPTY;
	if (word.length > 0 && word.data[0] == '[' && bracket != SLICE_NOT_FOUND) {
		*host = slice_of(word.data + 1, bracket - 1);
		if (bracket + 1 < word.length && word.data[bracket + 1] == ':')
			*port = slice_from_offset(word, bracket + 2);
		return;
	}
	size_t colon = slice_find_last_byte(word, ':');
	*host = slice_first(word, colon);
	if (colon != SLICE_NOT_FOUND)
		*port = slice_from_offset(word, colon + 1);
}

static void
check_nexthop(const struct configuration *configuration, const char *name, struct slice word,
              struct report *report)
{
	const struct settings *settings = &configuration->settings;
	struct slice           host, port_text;
	struct network         address;
	struct buf             own = BUF(1000);
	uint16_t               port = 25;
	const char            *file;
	unsigned               line;

	split_nexthop(word, &host, &port_text);
	if (slice_starts_with_fold(host, SLICE("ipv6:")))
		host = slice_from_offset(host, 5);
	if (port_text.length > 0 && !service_port_parse(port_text, &port))
		return;
	bool is_address = parse_network(host, &address);
	bool is_name = slice_equal_fold(host, SLICE("localhost")) ||
	               (check_expanded(settings, "myhostname", &own) &&
	                slice_equal_fold(host, buf_slice(&own)));
	check_place(settings, name, &file, &line);
	if ((is_name && is_listening(configuration, SLICE_EMPTY, port)) ||
	    (is_address && is_own_address(&address) && is_listening(configuration, host, port)))
		report_add(report, PROBLEM_ERROR, file, line,
		           "%s: %.*s is this host itself: mail would go round in circles", name,
		           SLICE_ARGS(slice_first(word, 200)));
	buf_free(&own);
}

static void
check_nexthops(const struct configuration *configuration, struct report *report)
{
	static const char *const names[] = { "relayhost", "smtp_fallback_relay",
		                             "default_transport", "relay_transport" };
	struct buf               text = BUF(SETTINGS_TEXT_MOST);
	struct slice             rest, word;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!check_expanded(&configuration->settings, names[i], &text))
			continue;
		rest = slice_trim(buf_slice(&text));
		/* A transport in front of its next hop; in a relayhost "smtp:" is no such thing. */
		if (slice_ends_with(slice_from(names[i]), SLICE("_transport"))) {
			size_t colon = slice_find_byte(rest, ':');

			if (!slice_starts_with(rest, SLICE("smtp:")) &&
			    !slice_starts_with(rest, SLICE("relay:")))
				continue;
			rest = slice_from_offset(rest, colon + 1);
		}
		while (slice_next_word(&rest, ", \t\r\n", &word))
			check_nexthop(configuration, names[i], word, report);
	}
	buf_free(&text);
}

void
check_networks(const struct configuration *configuration, struct report *report)
{
	check_mynetworks(configuration, report);
	check_resolver(configuration, report);
	check_nexthops(configuration, report);
}
