/*
 * checks.c - the restrictions that need no table: networks, names, addresses, destinations, owners.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/mail/status.h"
#include "lib/smtp/extensions.h"
#include "smtpd/checks.h"

#define DNS_TIMEOUT_MS 10000

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
	return client_is_mynetworks(check->session) ? VERDICT_PERMIT : VERDICT_DUNNO;
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

/* ---- DNS ---- */

bool
address_from_record(const struct dns_record *record, char *text, size_t size)
{
	if (record->data.length == 4)
		return inet_ntop(AF_INET, record->data.data, text, (socklen_t)size) != NULL;
	if (record->data.length == 16)
		return inet_ntop(AF_INET6, record->data.data, text, (socklen_t)size) != NULL;
	return false;
}

/* What is known of a mail domain. */
enum domain_state { DOMAIN_GOOD, DOMAIN_NOT_FOUND, DOMAIN_NULL_MX, DOMAIN_TRY_LATER };

static enum domain_state
state_from(enum dns_status status)
{
	switch (status) {
	case DNS_FOUND: return DOMAIN_GOOD;
	case DNS_NO_DATA:
	case DNS_NO_NAME: return DOMAIN_NOT_FOUND;
	case DNS_TRY_LATER:
	case DNS_BOGUS: break;
	}
	return DOMAIN_TRY_LATER;
}

/* MX, else an address (RFC 5321 5.1); RFC 7505 for the null MX. */
static enum domain_state
look_up_domain(struct session *session, struct slice domain)
{
	static const enum dns_type types[] = { DNS_MX, DNS_A, DNS_AAAA };
	struct arena               arena = ARENA(128u * 1024);
	enum domain_state          state = DOMAIN_NOT_FOUND;
	bool                       has_trouble = false;

	for (size_t i = 0; i < 3 && state == DOMAIN_NOT_FOUND; i++) {
		struct dns_answer answer;
		struct error      error = ERROR_NONE;
		enum dns_status   status = dns_query(session->room->dns, domain, types[i],
		                                     DNS_TIMEOUT_MS, &arena, &answer, &error);

		state = state_from(status);
		if (state == DOMAIN_GOOD && types[i] == DNS_MX && answer.count == 1 &&
		    answer.records[0].target.length == 0)
			state = DOMAIN_NULL_MX;
		if (status == DNS_NO_NAME)
			break;
		if (state == DOMAIN_TRY_LATER) {
			has_trouble = true;
			state = DOMAIN_NOT_FOUND;
		}
	}
	arena_reset(&arena);
	return state == DOMAIN_NOT_FOUND && has_trouble ? DOMAIN_TRY_LATER : state;
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

/* ---- sender and recipient ---- */

/* One of the two addresses, with its words. */
struct party {
	struct slice address, as_given;
	const char *class;
	const char *not_found_status, *null_mx_status, *unlisted_status;
	int64_t     null_mx_code;
};

static bool
sender_party(const struct check *check, struct party *party)
{
	*party = (struct party){ check->question->sender,
		                 check->question->sender_as_given,
		                 "Sender address",
		                 "4.1.8",
		                 "5.7.27",
		                 "5.1.0",
		                 550 };
	return check->question->has_sender && party->address.length > 0;
}

static bool
recipient_party(const struct check *check, struct party *party)
{
	if (check->question->recipient == NULL)
		return false;
	*party = (struct party){ check->question->recipient->address,
		                 check->question->recipient_as_given,
		                 "Recipient address",
		                 "4.1.2",
		                 "5.1.10",
		                 "5.1.1",
		                 556 };
	return true;
}

static enum verdict
refuse_party(struct check *check, const struct party *party, int64_t code, const char *status,
             const char *why)
{
	struct buf  external = BUF(700);
	const char *text;

	address_append_external(&external, party->as_given);
	text = buf_text(&external);
	enum verdict verdict =
		refuse(check, code, status, "<%s>: %s rejected: %s", text, party->class, why);
	buf_free(&external);
	return verdict;
}

static enum verdict
lookup_failed(struct check *check, struct slice address, const struct error *error)
{
	log_warning("lookup of %.*s: %s", SLICE_ARGS(address), error->text);
	return refuse(check, 451, "4.3.0", "<%.*s>: Temporary lookup failure", SLICE_ARGS(address));
}

static enum verdict
require_fqdn(struct check *check, const struct party *party)
{
	struct slice domain = domain_of(party->as_given);

	if (hostname_is_fqdn(domain) || address_literal_is_valid(domain))
		return VERDICT_DUNNO;
	return refuse_party(check, party, check->parameters->non_fqdn_reject_code, "5.5.2",
	                    "need fully-qualified address");
}

enum verdict
check_reject_non_fqdn_sender(struct check *check, const struct entry *entry)
{
	struct party party;

	(void)entry;
	return sender_party(check, &party) ? require_fqdn(check, &party) : VERDICT_DUNNO;
}

enum verdict
check_reject_non_fqdn_recipient(struct check *check, const struct entry *entry)
{
	struct party party;

	(void)entry;
	/* RFC 5321 4.5.1: <postmaster> is the one address that needs no domain. */
	if (!recipient_party(check, &party) ||
	    slice_equal_fold(party.as_given, SLICE("postmaster")))
		return VERDICT_DUNNO;
	return require_fqdn(check, &party);
}

/* Domains of our own need no DNS. */
static enum verdict
require_domain(struct check *check, const struct party *party)
{
	struct router *router = check->session->room->intake.router;
	struct slice   domain = domain_of(party->address);
	enum route_class class = ROUTE_DEFAULT;
	struct error error = ERROR_NONE;

	if (address_literal_is_valid(domain))
		return VERDICT_DUNNO;
	if (route_classify(router, domain, &class, &error) == LOOKUP_TRY_LATER)
		return lookup_failed(check, party->address, &error);
	if (class != ROUTE_DEFAULT)
		return VERDICT_DUNNO;
	switch (look_up_domain(check->session, domain)) {
	case DOMAIN_GOOD: return VERDICT_DUNNO;
	case DOMAIN_NOT_FOUND:
		return refuse_party(check, party, check->parameters->unknown_address_reject_code,
		                    party->not_found_status, "Domain not found");
	case DOMAIN_NULL_MX:
		return refuse_party(check, party, party->null_mx_code, party->null_mx_status,
		                    "Domain does not accept mail (nullMX)");
	case DOMAIN_TRY_LATER: break;
	}
	return tempfail(check, check->parameters->unknown_address_tempfail_action,
	                party->not_found_status, "<%.*s>: %s rejected: Domain not found",
	                SLICE_ARGS(party->as_given), party->class);
}

enum verdict
check_reject_unknown_sender_domain(struct check *check, const struct entry *entry)
{
	struct party party;

	(void)entry;
	return sender_party(check, &party) ? require_domain(check, &party) : VERDICT_DUNNO;
}

enum verdict
check_reject_unknown_recipient_domain(struct check *check, const struct entry *entry)
{
	struct party party;

	(void)entry;
	return recipient_party(check, &party) ? require_domain(check, &party) : VERDICT_DUNNO;
}

static int64_t
unlisted_code(struct check *check, struct slice address)
{
	const struct parameters *parameters = check->parameters;
	enum route_class class = ROUTE_DEFAULT;
	struct error error = ERROR_NONE;

	if (route_classify(check->session->room->intake.router, domain_of(address), &class,
	                   &error) != LOOKUP_FOUND)
		return 450;
	switch (class) {
	case ROUTE_LOCAL: return parameters->unknown_local_recipient_reject_code;
	case ROUTE_VIRTUAL_ALIAS: return parameters->unknown_virtual_alias_reject_code;
	case ROUTE_VIRTUAL_MAILBOX: return parameters->unknown_virtual_mailbox_reject_code;
	case ROUTE_RELAY: return parameters->unknown_relay_recipient_reject_code;
	case ROUTE_DEFAULT: break;
	}
	return 550;
}

/* A name without domain, which only $myorigin was appended to: it was said to this host. */
static bool
is_bare_name(const struct check *check, struct slice as_given, struct slice address)
{
	const char *origin = check->parameters->myorigin;

	return !slice_contains_byte(as_given, '@') &&
	       address.length == as_given.length + 1 + strlen(origin) &&
	       slice_starts_with(address, as_given) && address.data[as_given.length] == '@' &&
	       slice_equal_fold(slice_from_offset(address, as_given.length + 1),
	                        slice_from(origin));
}

/*
 * The reason may begin with a status of its own ("5.1.6 User has moved to ..."); 5.0.0 and 4.0.0
 * are what a text without one has become. What is said of a recipient's mailbox fits no sender.
 */
static enum verdict
refuse_unlisted(struct check *check, const struct party *party, const char *reason)
{
	struct enhanced_status status;
	struct slice           usual = slice_from(party->unlisted_status);
	bool                   is_sender = slice_equal(usual, SLICE("5.1.0"));
	char                   text[24];
	size_t                 length;

	if (!enhanced_status_parse(slice_from(reason), &status, &length))
		return refuse_party(check, party, unlisted_code(check, party->address),
		                    party->unlisted_status, reason);
	reason += length + (reason[length] == ' ');
	if (status.subject == 0 || (status.subject == 1 && status.detail == 1)) {
		status.subject = 1;
		status.detail = is_sender ? 0 : 1;
	} else if (is_sender && status.subject == 1 && status.detail == 6) {
		status.detail = 7;
	}
	snprintf(text, sizeof(text), "%u.%u.%u", (unsigned)status.class, (unsigned)status.subject,
	         (unsigned)status.detail);
	return refuse_party(check, party,
	                    status.class == 4 ? 450 : unlisted_code(check, party->address), text,
	                    reason);
}

static enum verdict
require_listed(struct check *check, const struct party *party)
{
	const char  *reason = "User unknown";
	struct arena arena = ARENA(64u * 1024);
	struct error error = ERROR_NONE;
	enum verdict verdict = VERDICT_DUNNO;
	/* Without a domain it is a name of this host ("<postmaster>"), which route knows best. */
	struct slice address = is_bare_name(check, party->as_given, party->address)
	                               ? party->as_given
	                               : party->address;

	switch (route_recipient_exists(check->session->room->intake.router, address, &arena,
	                               &reason, &error)) {
	case LOOKUP_FOUND: break;
	case LOOKUP_TRY_LATER: verdict = lookup_failed(check, party->address, &error); break;
	case LOOKUP_NOT_FOUND: verdict = refuse_unlisted(check, party, reason); break;
	}
	arena_reset(&arena);
	return verdict;
}

enum verdict
check_reject_unlisted_recipient(struct check *check, const struct entry *entry)
{
	struct party party;

	(void)entry;
	check->is_recipient_checked = true;
	if (slice_list_has(slice_from(check->parameters->receive_override_options),
	                   SLICE("no_unknown_recipient_checks")))
		return VERDICT_DUNNO;
	return recipient_party(check, &party) ? require_listed(check, &party) : VERDICT_DUNNO;
}

enum verdict
check_reject_unlisted_sender(struct check *check, const struct entry *entry)
{
	struct party party;

	(void)entry;
	check->is_sender_checked = true;
	return sender_party(check, &party) ? require_listed(check, &party) : VERDICT_DUNNO;
}

/* ---- destinations ---- */

/* Found: ours to take. A local part with routing in it ("user%other", "a!b") is not relayed on. */
static enum lookup
is_authorised_destination(struct check *check, struct error *error)
{
	struct slice address = check->question->recipient->address;
	struct slice domain = domain_of(address);
	struct slice local = slice_first(address, address.length - domain.length);
	struct slice given = check->question->recipient_as_given;
	/* <postmaster> is for this host even where $myorigin is another one (RFC 5321 4.5.1). */
	bool is_postmaster = slice_equal_fold(given, SLICE("postmaster"));
	enum route_class class = ROUTE_DEFAULT;

	if (!slice_contains_byte(address, '@')) /* append_at_myorigin = no: qmgr does it */
		domain = slice_from(check->parameters->myorigin);
	enum lookup found = route_classify(check->session->room->intake.router,
	                                   is_postmaster ? SLICE_EMPTY : domain, &class, error);

	if (local.length > 0)
		local.length--; /* the last '@' */
	if (found != LOOKUP_FOUND)
		return found;
	if (class == ROUTE_DEFAULT)
		return LOOKUP_NOT_FOUND;
	bool has_routing = slice_contains_byte(local, '@') || slice_contains_byte(local, '%') ||
	                   slice_contains_byte(local, '!');
	return has_routing ? LOOKUP_NOT_FOUND : LOOKUP_FOUND;
}

static enum verdict
require_authorised(struct check *check, int64_t code, const char *status)
{
	struct error error = ERROR_NONE;
	struct party party;

	if (!recipient_party(check, &party))
		return VERDICT_DUNNO;
	switch (is_authorised_destination(check, &error)) {
	case LOOKUP_FOUND: return VERDICT_DUNNO;
	case LOOKUP_TRY_LATER: return lookup_failed(check, party.address, &error);
	case LOOKUP_NOT_FOUND: break;
	}
	struct buf external = BUF(700);
	address_append_external(&external, party.as_given);
	enum verdict verdict =
		refuse(check, code, status, "<%s>: Relay access denied", buf_text(&external));
	buf_free(&external);
	return verdict;
}

enum verdict
check_reject_unauth_destination(struct check *check, const struct entry *entry)
{
	(void)entry;
	return require_authorised(check, check->parameters->relay_domains_reject_code, "5.7.1");
}

enum verdict
check_defer_unauth_destination(struct check *check, const struct entry *entry)
{
	(void)entry;
	return require_authorised(check,
	                          check->parameters->relay_domains_reject_code >= 500
	                                  ? check->parameters->relay_domains_reject_code - 100
	                                  : check->parameters->relay_domains_reject_code,
	                          "4.7.1");
}

enum verdict
check_permit_auth_destination(struct check *check, const struct entry *entry)
{
	struct error error = ERROR_NONE;

	(void)entry;
	if (check->question->recipient == NULL)
		return VERDICT_DUNNO;
	switch (is_authorised_destination(check, &error)) {
	case LOOKUP_FOUND: return VERDICT_PERMIT;
	case LOOKUP_NOT_FOUND: return VERDICT_DUNNO;
	case LOOKUP_TRY_LATER: break;
	}
	return lookup_failed(check, check->question->recipient->address, &error);
}

/* ---- who owns a sender address (smtpd_sender_login_maps) ---- */

static enum lookup
find_owners(struct check *check, struct buf *owners, struct error *error)
{
	struct address_lookup what = {
		.address = check->question->sender,
		.delimiters = check->parameters->recipient_delimiter,
	};

	return table_list_lookup_address(check->session->room->login_maps, &what, owners, NULL,
	                                 error);
}

static bool
is_owner(struct slice owners, struct slice user)
{
	struct slice one;

	while (slice_next_word(&owners, " \t\r\n,", &one))
		if (slice_equal_fold(one, user))
			return true;
	return false;
}

/* for_authenticated and for_others say whom the restriction is about. */
static enum verdict
require_ownership(struct check *check, bool for_authenticated, bool for_others, bool allow_unowned)
{
	struct slice user = check->session->sasl_user;
	struct buf   owners = BUF(8000);
	struct error error = ERROR_NONE;
	struct party party;
	enum verdict verdict = VERDICT_DUNNO;

	if (!sender_party(check, &party) || (user.length > 0 ? !for_authenticated : !for_others))
		return VERDICT_DUNNO;
	enum lookup found = find_owners(check, &owners, &error);
	if (found == LOOKUP_TRY_LATER) {
		verdict = lookup_failed(check, party.address, &error);
	} else if (user.length == 0 && found == LOOKUP_FOUND) {
		verdict = refuse_party(check, &party, 553, "5.7.1", "not logged in");
	} else if (user.length > 0 && !(found == LOOKUP_NOT_FOUND && allow_unowned) &&
	           !is_owner(buf_slice(&owners), user)) {
		struct slice why = check_text(check, "not owned by user %.*s", SLICE_ARGS(user));
		char         text[300];
		size_t       length = why.length < sizeof(text) ? why.length : sizeof(text) - 1;
		memcpy(text, why.data, length);
		text[length] = '\0';
		verdict = refuse_party(check, &party, 553, "5.7.1", text);
	}
	buf_free(&owners);
	return verdict;
}

enum verdict
check_reject_sender_login_mismatch(struct check *check, const struct entry *entry)
{
	(void)entry;
	return require_ownership(check, true, true, false);
}

enum verdict
check_reject_authenticated_sender_login_mismatch(struct check *check, const struct entry *entry)
{
	(void)entry;
	return require_ownership(check, true, false, false);
}

enum verdict
check_reject_known_sender_login_mismatch(struct check *check, const struct entry *entry)
{
	(void)entry;
	return require_ownership(check, true, true, true);
}

enum verdict
check_reject_unauthenticated_sender_login_mismatch(struct check *check, const struct entry *entry)
{
	(void)entry;
	return require_ownership(check, false, true, false);
}
