/*
 * blocklists.c - DNS lists: reject_rbl_client, reject_rhsbl_*, permit_dnswl_client,
 * permit_rhswl_client.
 *
 * RFC 5782. A list that cannot be asked blocks nobody and admits nobody: it is logged and passed
 * over.
 */
#include <arpa/inet.h>

#include "lib/base/log.h"
#include "lib/base/number.h"
#include "smtpd/checks.h"

#define DNS_TIMEOUT_MS 10000

/* "a", "[a..b]" or "[a;b]" against one octet. */
static bool
octet_matches(struct slice pattern, unsigned octet)
{
	struct slice one;
	int64_t      low, high;

	if (pattern.length < 2 || pattern.data[0] != '[')
		return number_parse(pattern, 0, 255, &low) && low == octet;
	pattern = slice_of(pattern.data + 1, pattern.length - 2);
	while (slice_next_part(&pattern, ';', &one)) {
		size_t dots = slice_find(one, SLICE(".."));
		if (dots == SLICE_NOT_FOUND) {
			if (number_parse(one, 0, 255, &low) && low == octet)
				return true;
		} else if (number_parse(slice_first(one, dots), 0, 255, &low) &&
		           number_parse(slice_from_offset(one, dots + 2), 0, 255, &high) &&
		           low <= octet && octet <= high) {
			return true;
		}
	}
	return false;
}

/* One octet's pattern off the filter; dots inside brackets belong to it. */
static bool
next_octet(struct slice *filter, struct slice *octet)
{
	size_t at = 0;

	if (filter->length == 0)
		return false;
	for (bool in_brackets = false; at < filter->length; at++) {
		in_brackets = filter->data[at] == '[' || (in_brackets && filter->data[at] != ']');
		if (!in_brackets && filter->data[at] == '.')
			break;
	}
	*octet = slice_first(*filter, at);
	*filter = slice_from_offset(*filter, at + 1);
	return true;
}

/* "127.0.0.[2..11]" against an answer. */
static bool
filter_matches(struct slice filter, const struct dns_record *record)
{
	struct slice octet;
	size_t       i = 0;

	if (filter.length == 0)
		return true;
	while (record->data.length == 4 && i < 4 && next_octet(&filter, &octet)) {
		if (!octet_matches(octet, (unsigned char)record->data.data[i]))
			return false;
		i++;
	}
	return i == 4 && filter.length == 0;
}

/* "2.0.0.127" or the nibbles of an IPv6 address. */
static bool
append_reversed(struct buf *name, struct slice address)
{
	unsigned char binary[16];
	char          text[64];

	if (address.length >= sizeof(text))
		return false;
	memcpy(text, address.data, address.length);
	text[address.length] = '\0';
	if (inet_pton(AF_INET, text, binary) == 1)
		return buf_append_format(name, "%u.%u.%u.%u.", binary[3], binary[2], binary[1],
		                         binary[0]);
	if (inet_pton(AF_INET6, text, binary) != 1)
		return false;
	for (int i = 15; i >= 0; i--)
		buf_append_format(name, "%x.%x.", binary[i] & 15, binary[i] >> 4);
	return !name->has_failed;
}

/* Whether name is on the list; *reason gets the TXT record's text. */
static bool
is_listed(struct check *check, struct slice name, struct slice filter, struct slice *reason)
{
	struct dns_client *dns = check->session->room->dns;
	struct arena       arena = ARENA(64u * 1024);
	struct error       error = ERROR_NONE;
	struct dns_answer  answer;
	bool               is_found = false;

	enum dns_status status =
		dns_query(dns, name, DNS_A, DNS_TIMEOUT_MS, &arena, &answer, &error);
	if (status == DNS_TRY_LATER || status == DNS_BOGUS)
		log_warning("%.*s: RBL lookup error: %s", SLICE_ARGS(name), error.text);
	for (size_t i = 0; status == DNS_FOUND && i < answer.count; i++)
		is_found |= filter_matches(filter, &answer.records[i]);
	if (is_found && reason != NULL &&
	    dns_query(dns, name, DNS_TXT, DNS_TIMEOUT_MS, &arena, &answer, &error) == DNS_FOUND &&
	    answer.count > 0)
		*reason = check_text(check, "; %.*s",
		                     (int)(answer.records[0].data.length > 400
		                                   ? 400
		                                   : answer.records[0].data.length),
		                     answer.records[0].data.data);
	arena_reset(&arena);
	return is_found;
}

/* What is asked: prefix.zone; an address is reversed. */
static bool
ask_list(struct check *check, const struct entry *entry, struct slice what, bool is_address,
         struct slice *zone, struct slice *reason)
{
	struct slice whole = slice_from(entry->text);
	size_t       equals = slice_find_byte(whole, '=');
	struct slice filter = SLICE_EMPTY;
	struct buf   name = BUF(300);
	bool         is_good;

	*zone = slice_first(whole, equals == SLICE_NOT_FOUND ? whole.length : equals);
	if (equals != SLICE_NOT_FOUND)
		filter = slice_from_offset(whole, equals + 1);
	if (is_address)
		is_good = append_reversed(&name, what);
	else
		is_good = hostname_is_valid(what, false) && buf_append(&name, what) &&
		          buf_append_byte(&name, '.');
	is_good = is_good && buf_append(&name, *zone) &&
	          is_listed(check, buf_slice(&name), filter, reason);
	buf_free(&name);
	return is_good;
}

static enum verdict
refuse_listed(struct check *check, const struct entry *entry, struct slice what, bool is_address,
              const char *class)
{
	struct slice zone, reason = SLICE_EMPTY;

	if (what.length == 0 || slice_equal(what, SLICE("unknown")) || what.data[0] == '[' ||
	    !ask_list(check, entry, what, is_address, &zone, &reason))
		return VERDICT_DUNNO;
	return refuse(check, check->parameters->maps_rbl_reject_code, "5.7.1",
	              "Service unavailable; %s [%.*s] blocked using %.*s%.*s", class,
	              SLICE_ARGS(what), SLICE_ARGS(zone), SLICE_ARGS(reason));
}

enum verdict
check_reject_rbl_client(struct check *check, const struct entry *entry)
{
	return refuse_listed(check, entry, check->session->client.address, true, "Client host");
}

enum verdict
check_reject_rhsbl_client(struct check *check, const struct entry *entry)
{
	client_know_name(check->session);
	return refuse_listed(check, entry, check->session->client.name, false, "Client host");
}

enum verdict
check_reject_rhsbl_reverse_client(struct check *check, const struct entry *entry)
{
	client_know_name(check->session);
	return refuse_listed(check, entry, check->session->client.reverse_name, false,
	                     "Unverified Client host");
}

enum verdict
check_reject_rhsbl_helo(struct check *check, const struct entry *entry)
{
	return refuse_listed(check, entry, check->question->helo, false, "Helo command");
}

enum verdict
check_reject_rhsbl_sender(struct check *check, const struct entry *entry)
{
	if (!check->question->has_sender)
		return VERDICT_DUNNO;
	return refuse_listed(check, entry, domain_of(check->question->sender), false,
	                     "Sender address");
}

enum verdict
check_reject_rhsbl_recipient(struct check *check, const struct entry *entry)
{
	if (check->question->recipient == NULL)
		return VERDICT_DUNNO;
	return refuse_listed(check, entry, domain_of(check->question->recipient->address), false,
	                     "Recipient address");
}

/* Lists of good clients never open the relay: they end a list only for our own recipients. */
static enum verdict
permit_listed(struct check *check, const struct entry *entry, struct slice what, bool is_address)
{
	struct slice zone;

	if (what.length == 0 || slice_equal(what, SLICE("unknown")))
		return VERDICT_DUNNO;
	if (check->question->recipient != NULL &&
	    check_permit_auth_destination(check, entry) != VERDICT_PERMIT)
		return VERDICT_DUNNO;
	return ask_list(check, entry, what, is_address, &zone, NULL) ? VERDICT_PERMIT
	                                                             : VERDICT_DUNNO;
}

enum verdict
check_permit_dnswl_client(struct check *check, const struct entry *entry)
{
	return permit_listed(check, entry, check->session->client.address, true);
}

enum verdict
check_permit_rhswl_client(struct check *check, const struct entry *entry)
{
	client_know_name(check->session);
	return permit_listed(check, entry, check->session->client.name, false);
}
