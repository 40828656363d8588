/*
 * online_ports.c - our own ports as a client finds them: greeting, TLS, certificate, TLSA (RFC
 * 6698, 7672); see online.h.
 *
 * Seen from this host: whether a firewall stands in front of it is not seen.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/table/net.h"
#include "tools/dakiya/online.h"

#define ANSWER_MOST_MS 8000
#define LINE_MOST      2000
#define DAYS_LEAST     14

/* A conversation with one of our ports. */
struct port {
	struct online        *online;
	const struct service *service;
	const char           *where; /* "port 25 of 192.0.2.1" */
	int                   fd;
	SSL                  *ssl;             /* after the handshake */
	char                  line[LINE_MOST]; /* the last answer line, with a NUL */
};

/* ---- connecting ---- */

static bool
wait_for(int fd, short events, int64_t deadline_ms)
{
	struct pollfd ready = { .fd = fd, .events = events };
	int64_t       left_ms = deadline_ms - clock_monotonic_ms();

	return left_ms > 0 && poll(&ready, 1, (int)left_ms) == 1;
}

static int
connect_to(const char *address, uint16_t port, struct error *error)
{
	struct sockaddr_storage storage = { 0 };
	struct sockaddr_in     *v4 = (void *)&storage;
	struct sockaddr_in6    *v6 = (void *)&storage;
	socklen_t               length = sizeof(*v4), size = sizeof(int);
	int                     problem = 0;

	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
	} else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		length = sizeof(*v6);
	}
	int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		error_set_errno(error, "socket");
		return -1;
	}
	if (connect(fd, (struct sockaddr *)&storage, length) < 0 && errno != EINPROGRESS) {
		error_set_errno(error, "connect");
	} else if (!wait_for(fd, POLLOUT, clock_monotonic_ms() + ANSWER_MOST_MS)) {
		error_set(error, "no answer");
	} else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size) < 0 || problem != 0) {
		errno = problem;
		error_set_errno(error, "connect");
	} else {
		return fd;
	}
	close(fd);
	return -1;
}

/* ---- lines, before TLS ---- */

static bool
read_line(struct port *port)
{
	int64_t deadline_ms = clock_monotonic_ms() + ANSWER_MOST_MS;
	size_t  length = 0;
	char    c;

	while (length + 1 < sizeof(port->line)) {
		ssize_t got = read(port->fd, &c, 1);

		if (got == 1 && c == '\n')
			break;
		if (got == 1)
			port->line[length++] = c;
		else if (got == 0 || (errno != EAGAIN && errno != EINTR) ||
		         !wait_for(port->fd, POLLIN, deadline_ms))
			return false;
	}
	while (length > 0 && port->line[length - 1] == '\r')
		length--;
	port->line[length] = '\0';
	return true;
}

/* Says a line and reads the whole answer; true when its code is as expected. */
static bool
converse(struct port *port, const char *say, const char *code)
{
	if (say != NULL && write(port->fd, say, strlen(say)) != (ssize_t)strlen(say))
		return false;
	do {
		if (!read_line(port))
			return false;
	} while (strlen(port->line) > 3 && port->line[3] == '-');
	return strncmp(port->line, code, strlen(code)) == 0;
}

/* ---- TLS ---- */

static bool
handshake(struct port *port, SSL_CTX *context)
{
	int64_t deadline_ms = clock_monotonic_ms() + ANSWER_MOST_MS;

	port->ssl = SSL_new(context);
	if (port->ssl == NULL || SSL_set_fd(port->ssl, port->fd) != 1 ||
	    SSL_set_tlsext_host_name(port->ssl, port->online->parameters->myhostname) != 1)
		return false;
	for (;;) {
		int result = SSL_connect(port->ssl);
		int wanted = result == 1 ? SSL_ERROR_NONE : SSL_get_error(port->ssl, result);

		if (wanted == SSL_ERROR_NONE)
			return true;
		if ((wanted != SSL_ERROR_WANT_READ && wanted != SSL_ERROR_WANT_WRITE) ||
		    !wait_for(port->fd, wanted == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT,
		              deadline_ms))
			return false;
	}
}

static void
check_certificate(struct port *port)
{
	struct online *online = port->online;
	const char    *host = online->parameters->myhostname;
	X509          *certificate = SSL_get0_peer_certificate(port->ssl);
	long           verified = SSL_get_verify_result(port->ssl);
	int            days = 0, seconds = 0;

	if (certificate == NULL) {
		online_say(online, FINDING_WRONG, "certificate", NULL, "%s presents no certificate",
		           port->where);
		return;
	}
	(void)ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate));
	if (days < 0 || seconds < 0)
		online_say(online, FINDING_WRONG, "certificate", NULL, "%s: expired %d days ago",
		           port->where, -days);
	else if (X509_check_host(certificate, host, 0, 0, NULL) != 1)
		online_say(online, FINDING_WRONG, "certificate", NULL,
		           "%s: it is not for %s, the name that clients are told", port->where,
		           host);
	else if (verified != X509_V_OK)
		online_say(online, FINDING_WARNING, "certificate", NULL,
		           "%s: not from an authority that this system knows (%s): users' programs "
		           "complain, servers that demand MTA-STS refuse",
		           port->where, X509_verify_cert_error_string(verified));
	else if (days < DAYS_LEAST)
		online_say(online, FINDING_WARNING, "certificate", NULL, "%s: expires in %d days",
		           port->where, days);
	else
		online_say(online, FINDING_OK, "certificate", NULL,
		           "%s: for %s, from a known authority, %d days left", port->where, host,
		           days);
	/* What a server that delivers to us sees, for TLSA. */
	if (online->chain == NULL && strcmp(port->service->program->name, "smtpd") == 0)
		online->chain = X509_chain_up_ref(SSL_get_peer_cert_chain(port->ssl));
}

/* ---- one service ---- */

static bool
is_yes(const struct settings *settings, const char *name)
{
	struct buf text = BUF(1000);
	bool       is = check_expanded(settings, name, &text) &&
	          slice_equal_fold(slice_trim(buf_slice(&text)), SLICE("yes"));

	buf_free(&text);
	return is;
}

static bool
has_starttls(const struct settings *settings)
{
	struct buf text = BUF(1000);
	bool has = check_expanded(settings, "smtpd_tls_security_level", &text) && text.length > 0 &&
	           !slice_equal(buf_slice(&text), SLICE("none"));

	buf_free(&text);
	return has;
}

/* From the connection to where TLS begins; *wants_tls tells whether it does. */
static bool
greet(struct port *port, const struct settings *settings, bool *wants_tls)
{
	bool is_pop3 = strcmp(port->service->program->name, "pop3d") == 0;

	*wants_tls = is_yes(settings, is_pop3 ? "pop3_tls_wrappermode" : "smtpd_tls_wrappermode");
	if (*wants_tls)
		return true;
	if (!converse(port, NULL, is_pop3 ? "+OK" : "220"))
		return false;
	*wants_tls = !is_pop3 && has_starttls(settings);
	return !*wants_tls || (converse(port, "EHLO check.invalid\r\n", "250") &&
	                       converse(port, "STARTTLS\r\n", "220"));
}

static void
check_port(struct online *online, const struct service *service, const char *address,
           const struct settings *settings, SSL_CTX *context)
{
	struct port  port = { .online = online,
		              .service = service,
		              .where =
		                      online_text(online, "port %u of %s", service->port, address) };
	struct error error = ERROR_NONE;
	bool         wants_tls = false;

	port.fd = connect_to(address, service->port, &error);
	if (port.fd < 0) {
		online_say(online, FINDING_WRONG, "port", NULL, "%s does not answer: %s",
		           port.where, error.text);
		return;
	}
	if (!greet(&port, settings, &wants_tls))
		online_say(online, FINDING_WRONG, "port", NULL, "%s does not greet (%.200s)",
		           port.where, port.line[0] == '\0' ? "no answer" : port.line);
	else if (wants_tls && !handshake(&port, context))
		online_say(online, FINDING_WRONG, "port", NULL, "%s: TLS does not come about",
		           port.where);
	else {
		online_say(online, FINDING_OK, "port", NULL, "%s answers%s, seen from this host",
		           port.where, wants_tls ? " with TLS" : "");
		if (wants_tls)
			check_certificate(&port);
	}
	SSL_free(port.ssl);
	ERR_clear_error();
	close(port.fd);
}

/* A service at one of the addresses where it listens. */
static void
check_at(struct online *online, const struct service *service, struct slice host, SSL_CTX *context)
{
	struct service_view view;
	struct net          net;

	if (slice_equal_fold(host, SLICE("localhost")))
		host = SLICE("127.0.0.1");
	if (host.length > 2 && host.data[0] == '[')
		host = slice_of(host.data + 1, host.length - 2);
	if (!net_parse_address(host, &net) ||
	    !service_view_init(&view, online->configuration, service))
		return;
	check_port(online, service, online_text(online, "%.*s", SLICE_ARGS(host)), &view.settings,
	           context);
	service_view_free(&view);
}

/* A service without an address of its own listens as inet_interfaces says. */
static void
check_everywhere(struct online *online, const struct service *service, SSL_CTX *context)
{
	struct slice rest = slice_from(online->parameters->inet_interfaces), word;

	while (slice_next_word(&rest, ", \t\r\n", &word)) {
		size_t count = 0;

		if (slice_equal_fold(word, SLICE("loopback-only")))
			word = SLICE("127.0.0.1");
		if (!slice_equal_fold(word, SLICE("all"))) {
			check_at(online, service, word, context);
			continue;
		}
		for (size_t i = 0; i < online->address_count; i++) {
			if (!online->addresses[i].is_here)
				continue;
			check_at(online, service, slice_from(online->addresses[i].text), context);
			count++;
		}
		if (count == 0)
			check_at(online, service, SLICE("127.0.0.1"), context);
	}
}

static void
check_services_here(struct online *online, SSL_CTX *context)
{
	const struct master_file *master = &online->configuration->master;

	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];

		if (!service->is_run || !service->program->is_inet)
			continue;
		if (service->host[0] != '\0')
			check_at(online, service, slice_from(service->host), context);
		else
			check_everywhere(online, service, context);
	}
}

static bool
has_port(const struct online *online, uint16_t port)
{
	const struct master_file *master = &online->configuration->master;

	for (size_t i = 0; i < master->services.count; i++) {
		if (master->services.items[i].is_run && master->services.items[i].port == port)
			return true;
	}
	return false;
}

/* Ports that the world expects something on. */
static void
check_well_known(struct online *online)
{
	static const struct {
		uint16_t          port;
		enum finding_kind kind;
		const char       *what;
	} rows[] = {
		{ 25, FINDING_WRONG, "no other server can deliver here" },
		{ 465, FINDING_HINT, "users' programs look for submission over TLS there" },
		{ 587, FINDING_HINT, "users' programs look for submission there" },
		{ 995, FINDING_HINT, "users' programs look for POP3 over TLS there" },
	};

	for (size_t i = 0; online->domain_count > 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!has_port(online, rows[i].port))
			online_say(online, rows[i].kind, "port", NULL,
			           "master.cf has no service on port %u: %s", rows[i].port,
			           rows[i].what);
	}
}

/* ---- TLSA ---- */

static bool
digest_of(const unsigned char *bytes, int length, unsigned kind, struct buf *out)
{
	unsigned char made[EVP_MAX_MD_SIZE];
	unsigned      made_length = 0;

	if (kind == 0)
		return buf_append(out, slice_of((const char *)bytes, (size_t)length));
	return EVP_Digest(bytes, (size_t)length, made, &made_length,
	                  kind == 1 ? EVP_sha256() : EVP_sha512(), NULL) == 1 &&
	       buf_append(out, slice_of((const char *)made, made_length));
}

/* selector 0: the certificate, 1: its key; matching 0: as it is, 1: SHA-256, 2: SHA-512. */
static bool
append_association(X509 *certificate, unsigned selector, unsigned matching, struct buf *out)
{
	unsigned char *bytes = NULL;
	int            length = selector == 0 ? i2d_X509(certificate, &bytes)
	                                      : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &bytes);
	bool           is_ok = length > 0 && digest_of(bytes, length, matching, out);

	OPENSSL_free(bytes);
	return is_ok;
}

static bool
record_matches(const struct online *online, struct slice data)
{
	unsigned usage = (unsigned char)data.data[0], selector = (unsigned char)data.data[1],
		 matching = (unsigned char)data.data[2];
	struct slice wanted = slice_from_offset(data, 3);
	bool         is_match = false;
	/* Usage 3 is the server's own certificate, 2 an issuer's; 0 and 1 count for nobody here. */
	int first = usage == 2 ? 1 : 0;
	int end = usage == 3 ? 1 : sk_X509_num(online->chain);

	if ((usage != 2 && usage != 3) || selector > 1 || matching > 2)
		return false;
	for (int i = first; !is_match && i < end && i < sk_X509_num(online->chain); i++) {
		struct buf made = BUF(64u * 1024);

		is_match = append_association(sk_X509_value(online->chain, i), selector, matching,
		                              &made) &&
		           slice_equal(buf_slice(&made), wanted);
		buf_free(&made);
	}
	return is_match;
}

static const char *
wanted_tlsa(struct online *online, const char *name)
{
	struct buf  made = BUF(1000), text = BUF(2000);
	const char *record;

	(void)append_association(sk_X509_value(online->chain, 0), 1, 1, &made);
	buf_append_format(&text, "%s. IN TLSA 3 1 1 ", name);
	for (size_t i = 0; i < made.length; i++)
		buf_append_format(&text, "%02x", (unsigned)(unsigned char)made.data[i]);
	record = online_text(online, "%s", buf_text(&text));
	buf_free(&made);
	buf_free(&text);
	return record;
}

static void
check_tlsa(struct online *online)
{
	struct dns_answer answer;
	struct error      error = ERROR_NONE;
	const char       *name = online_text(online, "_25._tcp.%s", online->parameters->myhostname);
	enum dns_status   status = online_ask(online, name, DNS_TLSA, &answer, &error);
	bool              is_match = false;

	if (status == DNS_TRY_LATER || status == DNS_BOGUS) {
		online_say(online, status == DNS_BOGUS ? FINDING_WRONG : FINDING_UNKNOWN, "tlsa",
		           NULL, "%s", error.text);
		return;
	}
	bool is_there = status == DNS_FOUND, is_signed = answer.is_secure;
	if (!is_there && is_signed && online->chain != NULL)
		online_say(
			online, FINDING_HINT, "tlsa", wanted_tlsa(online, name),
			"%s is in a signed zone and has no TLSA record: with one, others send with "
			"verified TLS only (DANE)",
			online->parameters->myhostname);
	if (!is_there)
		return;
	if (online->chain == NULL || sk_X509_num(online->chain) == 0) {
		online_say(online, FINDING_UNKNOWN, "tlsa", NULL,
		           "%s has records, but no service here shows its certificate", name);
		return;
	}
	for (size_t i = 0; i < answer.count; i++)
		is_match |= answer.records[i].data.length > 3 &&
		            record_matches(online, answer.records[i].data);
	if (!is_match)
		online_say(
			online, FINDING_WRONG, "tlsa", wanted_tlsa(online, name),
			"%s fits no certificate that is presented here: servers with DANE do not "
			"deliver",
			name);
	else if (!is_signed)
		online_say(online, FINDING_WARNING, "tlsa", NULL,
		           "%s fits, but is not signed (DNSSEC): it has no effect", name);
	else
		online_say(online, FINDING_OK, "tlsa", NULL, "%s fits", name);
}

void
online_ports(struct online *online)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	if (context == NULL)
		return;
	/* What is wrong with a certificate is told; it does not end the handshake. */
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	(void)SSL_CTX_set_default_verify_paths(context);
	check_services_here(online, context);
	check_well_known(online);
	check_tlsa(online);
	SSL_CTX_free(context);
}
