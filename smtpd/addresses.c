/*
 * addresses.c - the restrictions about sender and recipient: names, domains, destinations, owners.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/mail/status.h"
#include "smtpd/checks.h"

/* ---- sender and recipient ---- */

bool
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

bool
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

enum verdict
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

enum verdict
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

bool
address_has_routing(struct slice address)
{
	struct slice domain = domain_of(address);
	struct slice local = slice_first(address, address.length - domain.length);

	if (local.length > 0)
		local.length--; /* the last '@' */
	return slice_contains_byte(local, '@') || slice_contains_byte(local, '%') ||
	       slice_contains_byte(local, '!');
}

enum lookup
recipient_is_ours(struct check *check, struct error *error)
{
	struct slice address = check->question->recipient->address;
	struct slice domain = domain_of(address);
	struct slice given = check->question->recipient_as_given;
	/* <postmaster> is for this host even where $myorigin is another one (RFC 5321 4.5.1). */
	bool is_postmaster = slice_equal_fold(given, SLICE("postmaster"));
	enum route_class class = ROUTE_DEFAULT;

	if (!slice_contains_byte(address, '@')) /* append_at_myorigin = no: qmgr does it */
		domain = slice_from(check->parameters->myorigin);
	enum lookup found = route_classify(check->session->room->intake.router,
	                                   is_postmaster ? SLICE_EMPTY : domain, &class, error);

	if (found != LOOKUP_FOUND)
		return found;
	return class == ROUTE_DEFAULT || address_has_routing(address) ? LOOKUP_NOT_FOUND
	                                                              : LOOKUP_FOUND;
}

static enum verdict
require_authorised(struct check *check, int64_t code, const char *status)
{
	struct error error = ERROR_NONE;
	struct party party;

	if (!recipient_party(check, &party))
		return VERDICT_DUNNO;
	switch (recipient_is_ours(check, &error)) {
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
	switch (recipient_is_ours(check, &error)) {
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
