/*
 * setup_probe.c - what the network says before any mail does: names, the host's own, port 25 out.
 *
 * The mail system does not run yet, so its resolver cannot be asked: libunbound is, as the resolver
 * does it. Whatever is found is said with what to do; nothing is changed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unbound.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "tools/dakiya/setup.h"

#define QUESTION_MS 8000
#define CONNECT_MS  7000
#define ANCHORS     "/usr/share/dns/root.key" /* as resolver_trust_anchor_file */

enum { TYPE_A = 1, TYPE_SOA = 6, TYPE_PTR = 12, RCODE_SERVFAIL = 2 };

/* ---- addresses ---- */

static bool
is_public_ipv4(uint32_t address)
{
	static const struct {
		uint32_t net, mask;
	} reserved[] = { { 0x0a000000, 0xff000000 }, { 0x7f000000, 0xff000000 },
		         { 0xa9fe0000, 0xffff0000 }, { 0xac100000, 0xfff00000 },
		         { 0xc0a80000, 0xffff0000 }, { 0x64400000, 0xffc00000 },
		         { 0x00000000, 0xff000000 }, { 0xe0000000, 0xe0000000 },
		         { 0xc0000200, 0xffffff00 }, { 0xc6336400, 0xffffff00 },
		         { 0xcb007100, 0xffffff00 } };

	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if ((address & reserved[i].mask) == reserved[i].net)
			return false;
	return true;
}

static bool
is_public(const struct sockaddr *address, char *text, size_t size)
{
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *four = (const void *)address;

		inet_ntop(AF_INET, &four->sin_addr, text, (socklen_t)size);
		return is_public_ipv4(ntohl(four->sin_addr.s_addr));
	}
	if (address->sa_family != AF_INET6)
		return false;
	const struct sockaddr_in6 *six = (const void *)address;
	inet_ntop(AF_INET6, &six->sin6_addr, text, (socklen_t)size);
	return (six->sin6_addr.s6_addr[0] & 0xe0) == 0x20; /* 2000::/3 */
}

static void
add_address(struct setup_addresses *addresses, const char *text)
{
	size_t most = sizeof(addresses->text) / sizeof(addresses->text[0]);

	if (addresses->count < most)
		snprintf(addresses->text[addresses->count++], sizeof(addresses->text[0]), "%s",
		         text);
}

void
setup_public_addresses(const struct setup *setup, struct setup_addresses *addresses)
{
	struct ifaddrs *all = NULL;
	char            text[64];

	*addresses = (struct setup_addresses){ .count = 0 };
	for (size_t i = 0; i < setup->addresses.list.count; i++)
		add_address(addresses, setup->addresses.list.items[i]);
	if (addresses->count == 0 && getifaddrs(&all) == 0) {
		for (const struct ifaddrs *one = all; one != NULL; one = one->ifa_next)
			if (one->ifa_addr != NULL && (one->ifa_flags & IFF_UP) != 0 &&
			    is_public(one->ifa_addr, text, sizeof(text)))
				add_address(addresses, text);
		freeifaddrs(all);
	}
	if (addresses->count > 0)
		return;
	addresses->is_guess = true;
	add_address(addresses, "192.0.2.1");
}

/* ---- names ---- */

struct question {
	bool              is_answered;
	int               error;
	struct ub_result *result;
};

static void
take_answer(void *context, int error, struct ub_result *result)
{
	struct question *question = context;

	question->is_answered = true;
	question->error = error;
	question->result = result;
}

/* NULL when there is no answer in time; ub_resolve_free it. */
static struct ub_result *
look_up(struct ub_ctx *context, const char *name, int type)
{
	struct question question = { .is_answered = false };
	int64_t         until = clock_monotonic_ms() + QUESTION_MS;
	int             id = 0;

	if (ub_resolve_async(context, name, type, 1, &question, take_answer, &id) != 0)
		return NULL;
	while (!question.is_answered && clock_monotonic_ms() < until) {
		struct pollfd one = { .fd = ub_fd(context), .events = POLLIN };

		if (poll(&one, 1, (int)(until - clock_monotonic_ms())) > 0)
			ub_process(context);
	}
	if (!question.is_answered)
		ub_cancel(context, id);
	bool is_failure = question.result != NULL && question.result->rcode == RCODE_SERVFAIL &&
	                  !question.result->bogus;
	if (question.error != 0 || question.result == NULL || is_failure) {
		ub_resolve_free(question.result);
		return NULL;
	}
	return question.result;
}

/* Which servers are asked, and whether their answers must prove themselves. */
enum way { WAY_OWN, WAY_SYSTEM };

static struct ub_ctx *
open_context(const struct setup *setup, enum way way, bool is_validating)
{
	struct ub_ctx *context = ub_ctx_create();

	if (context == NULL)
		return NULL;
	ub_ctx_debugout(context, NULL);
	ub_ctx_async(context, 1);
	if (is_validating && access(ANCHORS, R_OK) == 0)
		ub_ctx_add_ta_file(context, ANCHORS);
	if (setup->name_server != NULL) {
		ub_ctx_set_option(context, "do-not-query-localhost:", "no");
		ub_ctx_set_fwd(context, setup->name_server);
	} else if (way == WAY_SYSTEM) {
		ub_ctx_set_option(context, "do-not-query-localhost:", "no");
		ub_ctx_resolvconf(context, NULL);
	}
	/* The addresses of a private network are asked for like all others. */
	ub_ctx_set_option(context, "unblock-lan-zones:", "yes");
	return context;
}

enum trial { TRIAL_SECURE, TRIAL_INSECURE, TRIAL_BOGUS, TRIAL_SILENT };

/* The root's SOA is signed: an answer that is secure shows that validation works. */
static enum trial
try_way(struct ub_ctx *context)
{
	struct ub_result *result = context == NULL ? NULL : look_up(context, ".", TYPE_SOA);
	enum trial        trial = result == NULL     ? TRIAL_SILENT
	                          : result->bogus    ? TRIAL_BOGUS
	                          : result->secure   ? TRIAL_SECURE
	                          : result->havedata ? TRIAL_INSECURE
	                                             : TRIAL_SILENT;

	ub_resolve_free(result);
	return trial;
}

/* A context that answers, opened without validation when that does not work; NULL = silence. */
static struct ub_ctx *
open_working(const struct setup *setup, enum way way, enum trial *trial)
{
	struct ub_ctx *context = open_context(setup, way, true);

	*trial = try_way(context);
	if (*trial == TRIAL_BOGUS) {
		ub_ctx_delete(context);
		context = open_context(setup, way, false);
		if (try_way(context) == TRIAL_INSECURE)
			return context;
		*trial = TRIAL_SILENT;
	}
	if (*trial != TRIAL_SILENT)
		return context;
	if (context != NULL)
		ub_ctx_delete(context);
	return NULL;
}

static const char *
dnssec_words(enum trial trial)
{
	if (trial == TRIAL_SECURE)
		return "DNSSEC is validated";
	if (trial == TRIAL_BOGUS)
		return "but what they answer fails DNSSEC: resolver_dnssec = no, or ask others";
	return "DNSSEC is not validated: install dns-root-data";
}

/* What answers, or NULL: no names. */
static struct ub_ctx *
probe_names(const struct setup *setup)
{
	enum trial     trial;
	struct ub_ctx *context = open_working(setup, WAY_OWN, &trial);

	if (context != NULL) {
		printf("  names: %s, %s\n",
		       setup->name_server != NULL ? "the name server answers"
		                                  : "the root servers answer",
		       dnssec_words(trial));
		return context;
	}
	if (setup->name_server == NULL)
		context = open_working(setup, WAY_SYSTEM, &trial);
	if (context != NULL) {
		printf("  names: only the name servers in /etc/resolv.conf answer (dakconf -e "
		       "resolver_forwarders=system), %s\n",
		       dnssec_words(trial));
		return context;
	}
	printf("  names: no answer: this host is offline, or may not ask. Nothing else can be "
	       "probed\n");
	return NULL;
}

/* ---- the host's own name ---- */

static void
reverse_name(const char *address, char *name, size_t size)
{
	unsigned char bytes[16];
	size_t        used = 0;

	name[0] = '\0';
	if (inet_pton(AF_INET, address, bytes) == 1) {
		snprintf(name, size, "%u.%u.%u.%u.in-addr.arpa", bytes[3], bytes[2], bytes[1],
		         bytes[0]);
		return;
	}
	if (inet_pton(AF_INET6, address, bytes) != 1)
		return;
	for (size_t i = 16; i-- > 0 && used + 5 < size;)
		used += (size_t)snprintf(name + used, size - used, "%x.%x.", bytes[i] & 15,
		                         bytes[i] >> 4);
	snprintf(name + used, size - used, "ip6.arpa");
}

/* A name in wire format, in text, lower case; "" when it is malformed. */
static void
name_from_wire(const char *data, int length, char *name, size_t size)
{
	size_t used = 0, at = 0, end = length > 0 ? (size_t)length : 0;

	while (at < end && data[at] != 0) {
		size_t label = (unsigned char)data[at++];

		if (label > 63 || at + label > end || used + label + 2 > size)
			break;
		for (size_t i = 0; i < label; i++)
			name[used + i] = ascii_lower(data[at + i]);
		used += label;
		name[used++] = '.';
		at += label;
	}
	name[used > 0 ? used - 1 : 0] = '\0';
}

static void
probe_reverse(struct ub_ctx *context, const struct setup *setup, const char *address)
{
	char reverse[100], name[300] = "";

	reverse_name(address, reverse, sizeof(reverse));
	if (reverse[0] == '\0') {
		printf("  %s: is no address\n", address);
		return;
	}
	struct ub_result *result = look_up(context, reverse, TYPE_PTR);
	if (result == NULL)
		printf("  %s: whether it has a name cannot be found out now\n", address);
	else if (!result->havedata)
		printf("  %s: has no name (PTR): many hosts refuse its mail. Have the provider "
		       "set it to %s\n",
		       address, setup->hostname);
	else
		name_from_wire(result->data[0], result->len[0], name, sizeof(name));
	if (name[0] != '\0' && strcmp(name, setup->hostname) == 0)
		printf("  %s: its name (PTR) is %s\n", address, setup->hostname);
	else if (name[0] != '\0') {
		printf("  %s: its name (PTR) is ", address);
		for (const char *c = name; *c != '\0'; c++)
			putchar(*c > ' ' && *c < 127 ? *c : '?');
		printf(", not %s: have the provider change it, or use that host name\n",
		       setup->hostname);
	}
	ub_resolve_free(result);
}

/* ---- port 25 out ---- */

static int
connect_within(const struct sockaddr *address, socklen_t length)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct pollfd one = { .fd = fd, .events = POLLOUT };
	int           error = 0;
	socklen_t     size = sizeof(error);

	if (fd < 0)
		return errno;
	if (connect(fd, address, length) != 0 && errno != EINPROGRESS)
		error = errno;
	else if (poll(&one, 1, CONNECT_MS) <= 0)
		error = ETIMEDOUT;
	else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		error = errno;
	close(fd);
	return error;
}

struct target {
	char     host[SETUP_NAME_MOST + 1];
	uint16_t port;
};

static bool
target_parse(const char *text, struct target *target)
{
	const char *colon = strrchr(text, ':');
	int64_t     port = 25;
	size_t      length = strlen(text);

	/* More than one colon: an IPv6 address without a port. */
	if (colon != NULL && strchr(text, ':') == colon) {
		if (!number_parse(slice_from(colon + 1), 1, 65535, &port))
			return false;
		length = (size_t)(colon - text);
	}
	if (length == 0 || length >= sizeof(target->host))
		return false;
	snprintf(target->host, sizeof(target->host), "%.*s", (int)length, text);
	target->port = (uint16_t)port;
	return true;
}

/* The target's address: written so, or the first that its name has. */
static bool
target_address(struct ub_ctx *context, const struct target *target,
               struct sockaddr_storage *address, socklen_t *length)
{
	struct sockaddr_in  *four = (struct sockaddr_in *)address;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;

	*address = (struct sockaddr_storage){ 0 };
	if (inet_pton(AF_INET6, target->host, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(target->port);
		*length = sizeof(*six);
		return true;
	}
	four->sin_family = AF_INET;
	four->sin_port = htons(target->port);
	*length = sizeof(*four);
	if (inet_pton(AF_INET, target->host, &four->sin_addr) == 1)
		return true;
	struct ub_result *result = context == NULL ? NULL : look_up(context, target->host, TYPE_A);
	bool              is_found = result != NULL && result->havedata && result->len[0] == 4;
	if (is_found)
		memcpy(&four->sin_addr, result->data[0], 4);
	ub_resolve_free(result);
	return is_found;
}

/* One that answers is enough; what fails is said only when all do. */
static void
probe_port(struct ub_ctx *context, const struct setup *setup)
{
	static const char *const standard[] = { "gmail-smtp-in.l.google.com",
		                                "outlook-com.olc.protection.outlook.com" };
	bool                     is_told = setup->probes.list.count > 0;
	const char *const       *hosts = is_told ? setup->probes.list.items : standard;
	size_t                   count = is_told ? setup->probes.list.count : 2;
	struct buf               failures = BUF(4096);

	for (size_t i = 0; i < count; i++) {
		struct target           target;
		struct sockaddr_storage address;
		socklen_t               length = 0;
		struct error            error = ERROR_NONE;

		if (!target_parse(hosts[i], &target)) {
			buf_append_format(&failures, "; %s is no host:port", hosts[i]);
		} else if (!target_address(context, &target, &address, &length)) {
			buf_append_format(&failures, "; %s: not found", hosts[i]);
		} else if ((errno = connect_within((struct sockaddr *)&address, length)) == 0) {
			printf("  port 25 out: open (%s answers)\n", hosts[i]);
			buf_free(&failures);
			return;
		} else {
			error_set_errno(&error, "%s", hosts[i]);
			buf_append_format(&failures, "; %s", error.text);
		}
	}
	printf("  port 25 out: closed: mail to other hosts will wait. Many providers open it on "
	       "request;\n    otherwise send through theirs: dakconf -e relayhost=[HOST]:587\n");
	if (failures.length > 2)
		printf("    (%s)\n", buf_text(&failures) + 2);
	buf_free(&failures);
}

void
setup_probe(struct setup *setup)
{
	struct setup_addresses addresses;

	printf("\nThe network (--no-probe leaves this out):\n");
	fflush(stdout);
	struct ub_ctx *context = probe_names(setup);
	setup_public_addresses(setup, &addresses);
	for (size_t i = 0; context != NULL && !addresses.is_guess && i < addresses.count; i++)
		probe_reverse(context, setup, addresses.text[i]);
	if (context != NULL || setup->probes.list.count > 0)
		probe_port(context, setup);
	if (context != NULL)
		ub_ctx_delete(context);
}
