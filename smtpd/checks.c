/*
 * checks.c - the restrictions that need no table, about the client and its greeting.
 */
#include <arpa/inet.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/smtp/extensions.h"
#include "lib/tls/tls.h"
#include "smtpd/checks.h"

/* ---- anywhere ---- */

enum verdict
check_permit(struct check *check, const struct entry *entry)
{
	(void)check;
	(void)entry;
	return VERDICT_PERMIT;
}

enum verdict
check_reject(struct check *check, const struct entry *entry)
{
	(void)entry;
	return refuse(check, check->parameters->reject_code, "5.7.1",
	              "<%.*s>: %s rejected: Access denied", SLICE_ARGS(check->subject),
	              check->class);
}

enum verdict
check_defer(struct check *check, const struct entry *entry)
{
	(void)entry;
	return refuse(check, check->parameters->defer_code, "4.3.2",
	              "<%.*s>: %s rejected: Try again later", SLICE_ARGS(check->subject),
	              check->class);
}

enum verdict
check_defer_if_permit(struct check *check, const struct entry *entry)
{
	(void)entry;
	hold_reply(check, &check->defer_if_permit, 450, "4.3.2",
	           "<%.*s>: %s rejected: defer_if_permit requested", SLICE_ARGS(check->subject),
	           check->class);
	return VERDICT_DUNNO;
}

enum verdict
check_defer_if_reject(struct check *check, const struct entry *entry)
{
	(void)entry;
	hold_reply(check, &check->defer_if_reject, 450, "4.3.2",
	           "<%.*s>: %s rejected: defer_if_reject requested", SLICE_ARGS(check->subject),
	           check->class);
	return VERDICT_DUNNO;
}

enum verdict
check_warn_if_reject(struct check *check, const struct entry *entry)
{
	/* Compiled into the entry behind it; this row is there for its name. */
	(void)check;
	(void)entry;
	return VERDICT_DUNNO;
}

/* The answer waits, no thread does; so the client's next command does, too. */
enum verdict
check_sleep(struct check *check, const struct entry *entry)
{
	session_delay(check->session, entry->number * 1000);
	return VERDICT_DUNNO;
}

enum verdict
check_permit_mynetworks(struct check *check, const struct entry *entry)
{
	(void)entry;
	switch (client_find_in_mynetworks(check->session)) {
	case LOOKUP_FOUND: return VERDICT_PERMIT;
	case LOOKUP_NOT_FOUND: return VERDICT_DUNNO;
	case LOOKUP_TRY_LATER: break;
	}
	return refuse(check, 451, "4.3.0", "<%s>: Temporary lookup failure",
	              client_label(check->session));
}

enum verdict
check_permit_inet_interfaces(struct check *check, const struct entry *entry)
{
	struct session *session = check->session;
	struct slice    address = session->client.address;

	(void)entry;
	if (slice_equal(address, session->server_address) ||
	    slice_starts_with(address, SLICE("127.")) || slice_equal(address, SLICE("::1")))
		return VERDICT_PERMIT;
	return VERDICT_DUNNO;
}

enum verdict
check_permit_sasl_authenticated(struct check *check, const struct entry *entry)
{
	(void)entry;
	return check->session->sasl_user.length > 0 ? VERDICT_PERMIT : VERDICT_DUNNO;
}

enum verdict
check_permit_tls_all_clientcerts(struct check *check, const struct entry *entry)
{
	struct tls_info info;

	(void)entry;
	return tls_info_get(check->session->stream, &info) && info.is_trusted ? VERDICT_PERMIT
	                                                                      : VERDICT_DUNNO;
}

/* By fingerprint: who has signed the certificate does not matter. */
enum verdict
check_permit_tls_clientcerts(struct check *check, const struct entry *entry)
{
	struct tls_peer peer;
	struct buf      value = BUF(1000);
	struct error    error = ERROR_NONE;
	enum lookup     found = LOOKUP_NOT_FOUND;

	(void)entry;
	if (!tls_peer_get(check->session->stream, check->parameters->smtpd_tls_fingerprint_digest,
	                  &peer))
		return VERDICT_DUNNO;
	const char *const keys[] = { peer.fingerprint, peer.key_fingerprint };
	for (size_t i = 0; i < 2 && found == LOOKUP_NOT_FOUND; i++)
		if (keys[i][0] != '\0')
			found = table_list_lookup(check->session->room->client_certificates,
			                          slice_from(keys[i]), &value, &error);
	buf_free(&value);
	if (found == LOOKUP_TRY_LATER) {
		log_warning("relay_clientcerts: %s", error.text);
		return refuse(check, 451, "4.3.0", "<%s>: Temporary lookup failure",
		              client_label(check->session));
	}
	return found == LOOKUP_FOUND ? VERDICT_PERMIT : VERDICT_DUNNO;
}

enum verdict
check_reject_unauth_pipelining(struct check *check, const struct entry *entry)
{
	struct session *session = check->session;

	(void)entry;
	if (stream_input(session->stream).length == 0 ||
	    (session->is_esmtp && (session->extensions & SMTP_PIPELINING) != 0 &&
	     session->verb != SMTP_VERB_DATA))
		return VERDICT_DUNNO;
	return refuse(check, 503, "5.5.0",
	              "<%.*s>: %s rejected: Improper use of SMTP command pipelining",
	              SLICE_ARGS(check->subject), check->class);
}

enum verdict
check_reject_plaintext_session(struct check *check, const struct entry *entry)
{
	(void)entry;
	if (tls_is_active(check->session->stream))
		return VERDICT_DUNNO;
	return refuse(check, check->parameters->plaintext_reject_code, "4.7.1",
	              "<%.*s>: %s rejected: Session encryption is required",
	              SLICE_ARGS(check->subject), check->class);
}

enum verdict
check_reject_multi_recipient_bounce(struct check *check, const struct entry *entry)
{
	size_t coming = check->question->recipient != NULL ? 1 : 0;

	(void)entry;
	if (!check->question->has_sender || check->question->sender.length > 0 ||
	    check->session->mail.recipient_count + coming < 2)
		return VERDICT_DUNNO;
	return refuse(check, check->parameters->multi_recipient_bounce_reject_code, "5.5.3",
	              "<%.*s>: %s rejected: Multi-recipient bounce", SLICE_ARGS(check->subject),
	              check->class);
}

/* ---- client ---- */

static bool
is_unknown(struct slice name)
{
	return slice_equal(name, SLICE("unknown"));
}

static enum verdict
refuse_client(struct check *check, bool is_trouble, const char *what)
{
	int64_t code = is_trouble ? 450 : check->parameters->unknown_client_reject_code;

	return refuse(check, code, "4.7.25", "Client host rejected: cannot find your %s, [%.*s]",
	              what, SLICE_ARGS(check->session->client.address));
}

enum verdict
check_reject_unknown_client_hostname(struct check *check, const struct entry *entry)
{
	(void)entry;
	client_know_name(check->session);
	if (!is_unknown(check->session->client.name))
		return VERDICT_DUNNO;
	return refuse_client(check, check->session->client.is_name_trouble, "hostname");
}

enum verdict
check_reject_unknown_reverse_client_hostname(struct check *check, const struct entry *entry)
{
	(void)entry;
	client_know_name(check->session);
	if (!is_unknown(check->session->client.reverse_name))
		return VERDICT_DUNNO;
	return refuse_client(check, check->session->client.is_reverse_trouble, "reverse hostname");
}

enum verdict
check_reject_unknown_forward_client_hostname(struct check *check, const struct entry *entry)
{
	(void)entry;
	client_know_name(check->session);
	struct slice name = check->session->client.reverse_name;
	if (is_unknown(name) || !is_unknown(check->session->client.name))
		return VERDICT_DUNNO;
	switch (look_up_domain(check->session, name)) {
	case DOMAIN_GOOD:
	case DOMAIN_NULL_MX: return VERDICT_DUNNO;
	case DOMAIN_TRY_LATER: return refuse_client(check, true, "forward hostname");
	case DOMAIN_NOT_FOUND: break;
	}
	return refuse_client(check, false, "forward hostname");
}

/* ---- helo ---- */

static enum verdict
refuse_helo(struct check *check, int64_t code, const char *status, const char *why)
{
	return refuse(check, code, status, "<%.*s>: Helo command rejected: %s",
	              SLICE_ARGS(check->question->helo), why);
}

static bool
helo_is_literal(const struct check *check)
{
	return check->question->helo.length > 0 && check->question->helo.data[0] == '[';
}

/* The name as hosts are looked up: "mx.example.org." is one, too. */
static struct slice
helo_name(const struct check *check)
{
	struct slice helo = check->question->helo;

	if (helo.length > 1 && helo.data[helo.length - 1] == '.')
		helo.length--;
	return helo;
}

/* "192.0.2.1" without brackets: what devices say that know no better. */
static bool
is_bare_address(struct slice text)
{
	unsigned char binary[16];
	char          copy[INET6_ADDRSTRLEN];

	if (text.length >= sizeof(copy))
		return false;
	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	return inet_pton(AF_INET, copy, binary) == 1 || inet_pton(AF_INET6, copy, binary) == 1;
}

enum verdict
check_reject_invalid_helo_hostname(struct check *check, const struct entry *entry)
{
	struct slice helo = helo_name(check);

	(void)entry;
	if (helo.length == 0 || hostname_is_valid(helo, true) || address_literal_is_valid(helo) ||
	    is_bare_address(helo))
		return VERDICT_DUNNO;
	return refuse_helo(check, check->parameters->invalid_hostname_reject_code, "5.5.2",
	                   "Invalid name");
}

enum verdict
check_reject_non_fqdn_helo_hostname(struct check *check, const struct entry *entry)
{
	struct slice helo = helo_name(check);

	(void)entry;
	if (helo.length == 0 || hostname_is_fqdn(helo) || address_literal_is_valid(helo))
		return VERDICT_DUNNO;
	return refuse_helo(check, check->parameters->non_fqdn_reject_code, "5.5.2",
	                   "need fully-qualified hostname");
}

enum verdict
check_reject_unknown_helo_hostname(struct check *check, const struct entry *entry)
{
	(void)entry;
	if (check->question->helo.length == 0 || helo_is_literal(check))
		return VERDICT_DUNNO;
	switch (look_up_domain(check->session, check->question->helo)) {
	case DOMAIN_GOOD:
	case DOMAIN_NULL_MX: return VERDICT_DUNNO;
	case DOMAIN_TRY_LATER:
		return tempfail(check, check->parameters->unknown_helo_hostname_tempfail_action,
		                "4.7.1", "<%.*s>: Helo command rejected: Host not found",
		                SLICE_ARGS(check->question->helo));
	case DOMAIN_NOT_FOUND: break;
	}
	return refuse_helo(check, check->parameters->unknown_hostname_reject_code, "4.7.1",
	                   "Host not found");
}
