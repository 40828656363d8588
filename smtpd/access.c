/*
 * access.c - access(5): search orders and results.
 *
 * LIMIT: what a table asks for (HOLD, FILTER, BCC ...) is kept in the transaction, so with
 * smtpd_delay_reject = no it has no effect in client and helo restrictions, which come before one.
 */
#include <stdio.h>

#include "lib/base/log.h"
#include "lib/base/number.h"
#include "smtpd/checks.h"

#define VALUE_MOST 2000

/* One search: found fills value. */
struct search {
	struct check *check;
	struct table *table;
	struct buf    value;
	struct error  error;
};

/* Keys are tried until one is there or the table cannot be read. */
static enum lookup
try_key(struct search *search, struct slice key)
{
	if (key.length == 0)
		return LOOKUP_NOT_FOUND;
	return table_lookup(search->table, key, &search->value, &search->error);
}

static bool
parents_match(const struct check *check)
{
	struct slice rest = slice_from(check->parameters->parent_domain_matches_subdomains), one;

	while (slice_next_word(&rest, " \t\r\n,", &one))
		if (slice_equal(one, SLICE("smtpd_access_maps")))
			return true;
	return false;
}

/* A domain, then its parents: without the dot or with it, as parent_domain_matches_subdomains. */
static enum lookup
search_domain(struct search *search, struct slice domain)
{
	enum lookup found = try_key(search, domain);
	bool        without_dot = parents_match(search->check);
	size_t      dot;

	if (table_has_patterns(search->table))
		return found;
	while (found == LOOKUP_NOT_FOUND &&
	       (dot = slice_find_byte(slice_from_offset(domain, 1), '.')) != SLICE_NOT_FOUND) {
		domain = slice_from_offset(domain, dot + 1); /* begins with the dot */
		found = try_key(search, without_dot ? slice_from_offset(domain, 1) : domain);
	}
	return found;
}

/* An address, then with groups cut from the right. */
static enum lookup
search_address(struct search *search, struct slice address)
{
	enum lookup found = try_key(search, address);
	char        separator = slice_contains_byte(address, ':') ? ':' : '.';
	size_t      at;

	if (table_has_patterns(search->table))
		return found;
	while (found == LOOKUP_NOT_FOUND &&
	       (at = slice_find_last_byte(address, separator)) != SLICE_NOT_FOUND) {
		address = slice_first(address, at);
		found = try_key(search, address);
	}
	return found;
}

static enum lookup
search_host(struct search *search, struct slice name, struct slice address)
{
	enum lookup found = search_domain(search, name);

	return found == LOOKUP_NOT_FOUND ? search_address(search, address) : found;
}

/* "user@" from a part of the address, with or without extension. */
static enum lookup
try_local(struct search *search, struct slice local)
{
	char key[ADDRESS_LOCAL_MOST + 2];

	if (local.length > ADDRESS_LOCAL_MOST)
		return LOOKUP_NOT_FOUND;
	memcpy(key, local.data, local.length);
	key[local.length] = '@';
	return try_key(search, slice_of(key, local.length + 1));
}

static enum lookup
try_without_extension(struct search *search, struct slice user, struct slice domain)
{
	char key[ADDRESS_LOCAL_MOST + ADDRESS_DOMAIN_MOST + 2];

	if (user.length + domain.length + 1 > sizeof(key))
		return LOOKUP_NOT_FOUND;
	memcpy(key, user.data, user.length);
	key[user.length] = '@';
	memcpy(key + user.length + 1, domain.data, domain.length);
	return try_key(search, slice_of(key, user.length + 1 + domain.length));
}

static enum lookup
search_mail(struct search *search, struct slice address)
{
	size_t       at = slice_find_last_byte(address, '@');
	struct slice local = at == SLICE_NOT_FOUND ? address : slice_first(address, at);
	struct slice domain = domain_of(address);
	struct slice user = SLICE_EMPTY, extension;

	if (address.length == 0)
		return try_key(search,
		               slice_from(search->check->parameters->smtpd_null_access_lookup_key));
	bool has_extension = address_split_extension(
		local, search->check->parameters->recipient_delimiter, &user, &extension);
	enum lookup found = try_key(search, address);
	if (table_has_patterns(search->table))
		return found;
	if (found == LOOKUP_NOT_FOUND && has_extension)
		found = try_without_extension(search, user, domain);
	if (found == LOOKUP_NOT_FOUND)
		found = search_domain(search, domain);
	if (found == LOOKUP_NOT_FOUND)
		found = try_local(search, local);
	if (found == LOOKUP_NOT_FOUND && has_extension)
		found = try_local(search, user);
	return found;
}

/* ---- results ---- */

/* What a result is about. */
struct result {
	struct check *check;
	const char   *table;
	struct slice  text; /* behind the word */
	struct slice  subject;
	const char *class;
};

/* "[e.e.e ]text" in front of which the standard words go. */
static enum verdict
refuse_as_told(const struct result *result, int64_t code, const char *status, const char *standard)
{
	struct enhanced_status given;
	struct slice           text = result->text;
	size_t                 length;
	char                   own[40];

	if (enhanced_status_parse(text, &given, &length)) {
		snprintf(own, sizeof(own), "%d.%d.%d", given.class, given.subject, given.detail);
		status = own;
		text = slice_trim(slice_from_offset(text, length));
	}
	if (text.length == 0)
		text = slice_from(standard);
	return refuse(result->check, code, status, "<%.*s>: %s rejected: %.*s",
	              SLICE_ARGS(result->subject), result->class, SLICE_ARGS(text));
}

static enum verdict
result_ok(const struct result *result)
{
	(void)result;
	return VERDICT_PERMIT;
}

static enum verdict
result_dunno(const struct result *result)
{
	(void)result;
	return VERDICT_DUNNO;
}

static enum verdict
result_reject(const struct result *result)
{
	return refuse_as_told(result, result->check->parameters->access_map_reject_code, "5.7.1",
	                      "Access denied");
}

static enum verdict
result_defer(const struct result *result)
{
	return refuse_as_told(result, result->check->parameters->access_map_defer_code, "4.7.1",
	                      "Access denied");
}

/* Also here the text may begin with a code of its own, as greylisting servers write it. */
static void
defer_if(const struct result *result, struct held_reply *held)
{
	struct enhanced_status given;
	struct slice           text = result->text;
	const char            *status = "4.7.1";
	size_t                 length;
	char                   own[40];

	if (enhanced_status_parse(text, &given, &length)) {
		snprintf(own, sizeof(own), "4.%d.%d", given.subject, given.detail);
		status = own;
		text = slice_trim(slice_from_offset(text, length));
	}
	if (text.length == 0)
		text = SLICE("Service unavailable");
	hold_reply(result->check, held, 450, status, "<%.*s>: %s rejected: %.*s",
	           SLICE_ARGS(result->subject), result->class, SLICE_ARGS(text));
}

static enum verdict
result_defer_if_permit(const struct result *result)
{
	defer_if(result, &result->check->defer_if_permit);
	return VERDICT_DUNNO;
}

static enum verdict
result_defer_if_reject(const struct result *result)
{
	defer_if(result, &result->check->defer_if_reject);
	return VERDICT_DUNNO;
}

/* A line "<subject>: Sender address triggers HOLD action" (or the result's own text). */
static void
log_action(const struct result *result, const char *action, const char *word)
{
	struct buf text = BUF(3000);

	buf_append_format(&text, "<%.*s>: %s ", SLICE_ARGS(result->subject), result->class);
	if (result->text.length > 0)
		buf_append(&text, result->text);
	else
		buf_append_format(&text, "triggers %s action", word);
	check_log(result->check, action, buf_text(&text));
	buf_free(&text);
}

/* "<subject>: Sender address triggers REDIRECT bob@example.org" */
static void
log_action_to(const struct result *result, const char *action, const char *word)
{
	struct buf text = BUF(3000);

	buf_append_format(&text, "<%.*s>: %s triggers %s ", SLICE_ARGS(result->subject),
	                  result->class, word);
	buf_append(&text, result->text);
	check_log(result->check, action, buf_text(&text));
	buf_free(&text);
}

/* WARN and INFO: the admin's words alone. */
static void
log_note(const struct result *result, const char *action, const char *word)
{
	struct buf text = BUF(3000);

	if (result->text.length == 0) {
		log_action(result, action, word);
		return;
	}
	buf_append(&text, result->text);
	check_log(result->check, action, buf_text(&text));
	buf_free(&text);
}

static enum verdict
result_hold(const struct result *result)
{
	log_action(result, "hold", "HOLD");
	if (!result->check->is_warning)
		result->check->session->mail.is_held = true;
	return VERDICT_DUNNO;
}

static enum verdict
result_discard(const struct result *result)
{
	log_action(result, "discard", "DISCARD");
	if (result->check->is_warning)
		return VERDICT_DUNNO;
	result->check->session->mail.is_discarded = true;
	return VERDICT_PERMIT;
}

static enum verdict
configuration_error(const struct result *result, const char *what)
{
	log_warning("access table %s: %s: %.*s", result->table, what, SLICE_ARGS(result->text));
	return refuse(result->check, 451, "4.3.5",
	              "<%.*s>: %s rejected: Server configuration error",
	              SLICE_ARGS(result->subject), result->class);
}

static enum verdict
result_filter(const struct result *result)
{
	if (slice_find_byte(result->text, ':') == SLICE_NOT_FOUND)
		return configuration_error(result, "FILTER needs transport:nexthop");
	log_action_to(result, "filter", "FILTER");
	if (!result->check->is_warning)
		result->check->session->mail.filter =
			check_text(result->check, "%.*s", SLICE_ARGS(result->text));
	return VERDICT_DUNNO;
}

static enum verdict
result_redirect(const struct result *result)
{
	struct address address;

	if (!address_split(result->text, &address) || address.domain.length == 0)
		return configuration_error(result, "REDIRECT needs user@domain");
	log_action_to(result, "redirect", "REDIRECT");
	if (!result->check->is_warning)
		result->check->session->mail.redirect =
			check_text(result->check, "%.*s", SLICE_ARGS(result->text));
	return VERDICT_DUNNO;
}

static enum verdict
result_bcc(const struct result *result)
{
	struct address address;

	if (!address_split(result->text, &address) || address.domain.length == 0)
		return configuration_error(result, "BCC needs user@domain");
	log_action_to(result, "bcc", "BCC");
	if (result->check->is_warning)
		return VERDICT_DUNNO;
	struct recipient recipient = {
		.address = check_text(result->check, "%.*s", SLICE_ARGS(result->text)),
		.original = SLICE_EMPTY,
		.orcpt = SLICE_EMPTY,
		.is_bcc = true,
	};
	struct transaction *mail = &result->check->session->mail;
	for (size_t i = 0; i < mail->recipient_count; i++)
		if (mail->recipients[i].is_bcc &&
		    slice_equal(mail->recipients[i].address, recipient.address))
			return VERDICT_DUNNO;
	if (!transaction_add_recipient(result->check->session, &recipient))
		return refuse(result->check, 452, "4.3.1", "Insufficient system storage");
	return VERDICT_DUNNO;
}

/* One header field; what the table says is the admin's, but a line end in it is not let through. */
static enum verdict
result_prepend(const struct result *result)
{
	struct transaction *mail = &result->check->session->mail;

	if (slice_has_control(result->text) ||
	    slice_find_byte(result->text, ':') == SLICE_NOT_FOUND)
		return configuration_error(result, "PREPEND needs a header field");
	if (!result->check->is_warning && mail->prepend.length < 16384)
		mail->prepend = check_text(result->check, "%.*s%.*s\r\n", SLICE_ARGS(mail->prepend),
		                           SLICE_ARGS(result->text));
	return VERDICT_DUNNO;
}

static enum verdict
result_warn(const struct result *result)
{
	log_note(result, "warn", "WARN");
	return VERDICT_DUNNO;
}

static enum verdict
result_info(const struct result *result)
{
	log_note(result, "info", "INFO");
	return VERDICT_DUNNO;
}

static const struct {
	const char *word;
	enum verdict (*apply)(const struct result *result);
} result_rows[] = {
	{ "OK", result_ok },
	{ "DUNNO", result_dunno },
	{ "REJECT", result_reject },
	{ "DEFER", result_defer },
	{ "DEFER_IF_PERMIT", result_defer_if_permit },
	{ "DEFER_IF_REJECT", result_defer_if_reject },
	{ "HOLD", result_hold },
	{ "DISCARD", result_discard },
	{ "FILTER", result_filter },
	{ "REDIRECT", result_redirect },
	{ "BCC", result_bcc },
	{ "PREPEND", result_prepend },
	{ "WARN", result_warn },
	{ "INFO", result_info },
};

static bool
is_number(struct slice word)
{
	for (size_t i = 0; i < word.length; i++)
		if (!ascii_is_digit(word.data[i]))
			return false;
	return word.length > 0;
}

enum verdict
access_result(struct check *check, const char *table, struct slice value, struct slice subject,
              const char *class)
{
	struct slice rest = slice_trim(value), word;
	int64_t      code;

	if (!slice_next_word(&rest, " \t\r\n", &word))
		return VERDICT_DUNNO;
	struct result result = { check, table, slice_trim(rest), subject, class };
	if (word.length == 3 && number_parse(word, 400, 599, &code))
		return refuse_as_told(&result, code, code >= 500 ? "5.7.1" : "4.7.1",
		                      "Access denied");
	/* Only digits: what POP-before-SMTP writes. "200 text" is OK by its class; 600 is a slip.
	 */
	if (is_number(word) &&
	    (result.text.length == 0 || (word.length == 3 && word.data[0] == '2')))
		return VERDICT_PERMIT;
	for (size_t i = 0; i < sizeof(result_rows) / sizeof(result_rows[0]); i++)
		if (slice_equal_fold(word, slice_from(result_rows[i].word)))
			return result_rows[i].apply(&result);
	/* Words are copied: what they name may search the same table. */
	return evaluate_names(check, check_text(check, "%.*s", SLICE_ARGS(value)));
}

/* Ends a search: the result of what was found, or of not being able to look. */
static enum verdict
conclude(struct search *search, enum lookup found, struct slice subject, const char *class)
{
	enum verdict verdict = VERDICT_DUNNO;

	if (found == LOOKUP_FOUND) {
		verdict = access_result(search->check, table_spec(search->table),
		                        buf_slice(&search->value), subject, class);
	} else if (found == LOOKUP_TRY_LATER) {
		log_warning("%s: %s", table_spec(search->table), search->error.text);
		verdict = refuse(search->check, 451, "4.3.5",
		                 "<%.*s>: %s rejected: Server configuration error",
		                 SLICE_ARGS(subject), class);
	}
	buf_free(&search->value);
	return verdict;
}

#define SEARCH(the_check, the_table)                                                               \
	((struct search){ .check = (the_check), .table = (the_table), .value = BUF(VALUE_MOST) })

enum verdict
check_check_client_access(struct check *check, const struct entry *entry)
{
	struct search search = SEARCH(check, entry->table);

	client_know_name(check->session);
	const struct client *client = &check->session->client;
	return conclude(&search, search_host(&search, client->name, client->address),
	                slice_from(client_label(check->session)), "Client host");
}

enum verdict
check_check_reverse_client_hostname_access(struct check *check, const struct entry *entry)
{
	struct search search = SEARCH(check, entry->table);

	client_know_name(check->session);
	return conclude(&search, search_domain(&search, check->session->client.reverse_name),
	                check->session->client.reverse_name, "Unverified Client host");
}

enum verdict
check_check_sasl_access(struct check *check, const struct entry *entry)
{
	struct search search = SEARCH(check, entry->table);

	if (check->session->sasl_user.length == 0)
		return VERDICT_DUNNO;
	return conclude(&search, try_key(&search, check->session->sasl_user),
	                check->session->sasl_user, "SASL login name");
}

/* The certificate's fingerprint, then its key's; or in the order of search_order. */
enum verdict
check_check_ccert_access(struct check *check, const struct entry *entry)
{
	struct search   search = SEARCH(check, entry->table);
	struct slice    order = slice_from(entry->order == NULL ? "" : entry->order), name;
	struct tls_peer peer;
	enum lookup     found = LOOKUP_NOT_FOUND;

	if (order.length == 0)
		order = SLICE("cert_fingerprint pubkey_fingerprint");
	if (!tls_peer_get(check->session->stream, check->parameters->smtpd_tls_fingerprint_digest,
	                  &peer))
		return VERDICT_DUNNO;
	while (found == LOOKUP_NOT_FOUND && slice_next_word(&order, ", \t\r\n", &name)) {
		bool is_key = slice_equal_fold(name, SLICE("pubkey_fingerprint"));

		found = try_key(&search,
		                slice_from(is_key ? peer.key_fingerprint : peer.fingerprint));
	}
	return conclude(&search, found, slice_from(client_label(check->session)),
	                "Client certificate");
}

enum verdict
check_check_helo_access(struct check *check, const struct entry *entry)
{
	struct search search = SEARCH(check, entry->table);

	if (check->question->helo.length == 0)
		return VERDICT_DUNNO;
	return conclude(&search, search_domain(&search, check->question->helo),
	                check->question->helo, "Helo command");
}

enum verdict
check_check_sender_access(struct check *check, const struct entry *entry)
{
	struct search search = SEARCH(check, entry->table);

	if (!check->question->has_sender)
		return VERDICT_DUNNO;
	return conclude(&search, search_mail(&search, check->question->sender),
	                check->question->sender_as_given, "Sender address");
}

enum verdict
check_check_recipient_access(struct check *check, const struct entry *entry)
{
	struct search search = SEARCH(check, entry->table);

	if (check->question->recipient == NULL)
		return VERDICT_DUNNO;
	return conclude(&search, search_mail(&search, check->question->recipient->address),
	                check->question->recipient_as_given, "Recipient address");
}

enum verdict
check_check_etrn_access(struct check *check, const struct entry *entry)
{
	struct search search = SEARCH(check, entry->table);

	if (check->question->etrn.length == 0)
		return VERDICT_DUNNO;
	return conclude(&search, search_domain(&search, check->question->etrn),
	                check->question->etrn, "Etrn command");
}

/* ---- by the hosts of a domain: check_*_a_access, _mx_access, _ns_access ---- */

/* Most hosts and addresses that one check looks at. */
#define HOSTS_MOST     20
#define DNS_TIMEOUT_MS 10000

static enum lookup
search_addresses_of(struct search *search, struct slice host, struct arena *arena)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA };
	enum lookup                found = LOOKUP_NOT_FOUND;

	for (size_t t = 0; t < 2 && found == LOOKUP_NOT_FOUND; t++) {
		struct dns_answer answer;
		if (dns_query(search->check->session->room->dns, host, types[t], DNS_TIMEOUT_MS,
		              arena, &answer, &search->error) != DNS_FOUND)
			continue;
		for (size_t i = 0; i < answer.count && i < HOSTS_MOST && found == LOOKUP_NOT_FOUND;
		     i++) {
			char text[64];
			if (address_from_record(&answer.records[i], text, sizeof(text)))
				found = search_address(search, slice_from(text));
		}
	}
	return found;
}

static enum verdict
check_hosts(struct check *check, const struct entry *entry, struct slice domain, enum dns_type type,
            struct slice subject, const char *class)
{
	struct search     search = SEARCH(check, entry->table);
	struct arena      arena = ARENA(256u * 1024);
	struct dns_answer answer = { .count = 0 };
	enum lookup       found = LOOKUP_NOT_FOUND;
	enum dns_status   status = DNS_NO_DATA;

	if (domain.length == 0 || domain.data[0] == '[')
		return VERDICT_DUNNO;
	if (type != DNS_A)
		status = dns_query(check->session->room->dns, domain, type, DNS_TIMEOUT_MS, &arena,
		                   &answer, &search.error);
	if (type == DNS_A || (type == DNS_MX && status == DNS_NO_DATA)) {
		found = search_addresses_of(&search, domain, &arena);
		answer.count = 0;
	}
	for (size_t i = 0;
	     status == DNS_FOUND && i < answer.count && i < HOSTS_MOST && found == LOOKUP_NOT_FOUND;
	     i++) {
		found = search_domain(&search, answer.records[i].target);
		if (found == LOOKUP_NOT_FOUND && answer.records[i].target.length > 0)
			found = search_addresses_of(&search, answer.records[i].target, &arena);
	}
	arena_reset(&arena);
	return conclude(&search, found, subject, class);
}

static enum verdict
check_client_hosts(struct check *check, const struct entry *entry, enum dns_type type)
{
	client_know_name(check->session);
	struct slice name = check->session->client.name;
	if (slice_equal(name, SLICE("unknown")))
		return VERDICT_DUNNO;
	return check_hosts(check, entry, name, type, slice_from(client_label(check->session)),
	                   "Client host");
}

static enum verdict
check_reverse_hosts(struct check *check, const struct entry *entry, enum dns_type type)
{
	client_know_name(check->session);
	struct slice name = check->session->client.reverse_name;
	if (slice_equal(name, SLICE("unknown")))
		return VERDICT_DUNNO;
	return check_hosts(check, entry, name, type, name, "Unverified Client host");
}

static enum verdict
check_helo_hosts(struct check *check, const struct entry *entry, enum dns_type type)
{
	return check_hosts(check, entry, check->question->helo, type, check->question->helo,
	                   "Helo command");
}

static enum verdict
check_sender_hosts(struct check *check, const struct entry *entry, enum dns_type type)
{
	if (!check->question->has_sender)
		return VERDICT_DUNNO;
	return check_hosts(check, entry, domain_of(check->question->sender), type,
	                   check->question->sender_as_given, "Sender address");
}

static enum verdict
check_recipient_hosts(struct check *check, const struct entry *entry, enum dns_type type)
{
	if (check->question->recipient == NULL)
		return VERDICT_DUNNO;
	return check_hosts(check, entry, domain_of(check->question->recipient->address), type,
	                   check->question->recipient_as_given, "Recipient address");
}

#define HOST_CHECKS(what, function)                                                                \
	enum verdict check_check_##what##_a_access(struct check *check, const struct entry *entry) \
	{                                                                                          \
		return function(check, entry, DNS_A);                                              \
	}                                                                                          \
	enum verdict check_check_##what##_mx_access(struct check       *check,                     \
	                                            const struct entry *entry)                     \
	{                                                                                          \
		return function(check, entry, DNS_MX);                                             \
	}                                                                                          \
	enum verdict check_check_##what##_ns_access(struct check       *check,                     \
	                                            const struct entry *entry)                     \
	{                                                                                          \
		return function(check, entry, DNS_NS);                                             \
	}

HOST_CHECKS(client, check_client_hosts)
HOST_CHECKS(reverse_client_hostname, check_reverse_hosts)
HOST_CHECKS(helo, check_helo_hosts)
HOST_CHECKS(sender, check_sender_hosts)
HOST_CHECKS(recipient, check_recipient_hosts)
