/* filter.c - see filter.h. */
#include "lib/queue/filter.h"

#include "lib/mail/address.h"

#define EXTERNAL_MOST 65536 /* an address with its quotes */

static bool
has_wildcard(struct slice pattern)
{
	return slice_contains_byte(pattern, '*') || slice_contains_byte(pattern, '?');
}

/* The whole text, with * and ?; at most as many steps as the lengths multiplied. */
static bool
wildcard_matches(struct slice pattern, struct slice text)
{
	size_t p = 0, t = 0, star = SLICE_NOT_FOUND, resume = 0;

	while (t < text.length) {
		bool is_left = p < pattern.length;

		if (is_left && pattern.data[p] == '*') {
			star = p++;
			resume = t;
		} else if (is_left && (pattern.data[p] == '?' ||
		                       ascii_lower(pattern.data[p]) == ascii_lower(text.data[t]))) {
			p++;
			t++;
		} else if (star != SLICE_NOT_FOUND) {
			p = star + 1;
			t = ++resume;
		} else {
			return false;
		}
	}
	while (p < pattern.length && pattern.data[p] == '*')
		p++;
	return p == pattern.length;
}

static bool
is_in_text(struct slice needle, struct slice text)
{
	for (size_t at = 0; at + needle.length <= text.length; at++)
		if (slice_equal_fold(slice_of(text.data + at, needle.length), needle))
			return true;
	return false;
}

bool
pattern_matches(struct slice pattern, struct slice text)
{
	if (pattern.length == 0)
		return true;
	return has_wildcard(pattern) ? wildcard_matches(pattern, text) : is_in_text(pattern, text);
}

/* Without wildcards the whole name. */
static bool
name_matches(struct slice pattern, struct slice name)
{
	if (pattern.length == 0)
		return true;
	return has_wildcard(pattern) ? wildcard_matches(pattern, name)
	                             : slice_equal_fold(pattern, name);
}

struct slice
address_domain(struct slice address)
{
	size_t at = slice_find_last_byte(address, '@');

	return at == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(address, at + 1);
}

/* A pattern with quotes is one of an address as listings show it. */
static bool
address_matches(struct slice pattern, struct slice address)
{
	struct buf shown = BUF(EXTERNAL_MOST);
	bool       matches = pattern_matches(pattern, address);

	if (!matches && slice_contains_byte(pattern, '"') &&
	    address_append_external(&shown, address))
		matches = pattern_matches(pattern, buf_slice(&shown));
	buf_free(&shown);
	return matches;
}

/* The null sender has two names: <>, and the one in listings. */
static bool
sender_matches(struct slice pattern, struct slice sender)
{
	bool wants_null = slice_equal(pattern, SLICE("<>"));

	if (wants_null || (sender.length == 0 && slice_equal_fold(pattern, SLICE("MAILER-DAEMON"))))
		return sender.length == 0;
	return address_matches(pattern, sender);
}

static bool
recipient_matches(const struct msg_queue_filter *filter, struct slice list)
{
	struct msg_queue_recipient one;

	while (msg_queue_recipient_next(&list, &one))
		if (address_matches(filter->recipient, one.address) &&
		    name_matches(filter->domain, address_domain(one.address)) &&
		    pattern_matches(filter->reason, one.reason) &&
		    name_matches(filter->transport, one.transport) &&
		    name_matches(filter->nexthop, one.nexthop))
			return true;
	return false;
}

static bool
asks_recipients(const struct msg_queue_filter *filter)
{
	return filter->recipient.length + filter->domain.length + filter->reason.length +
	               filter->transport.length + filter->nexthop.length >
	       0;
}

bool
queue_filter_has_state(const struct msg_queue_filter *filter, enum queue_state state)
{
	return filter->states == 0 || (filter->states & (1u << state)) != 0;
}

bool
queue_filter_needs_entry(const struct msg_queue_filter *filter)
{
	return asks_recipients(filter) || filter->sender.length > 0 ||
	       filter->arrived_from_us != 0 || filter->arrived_until_us != 0 ||
	       filter->size_least != 0 || filter->size_most != 0;
}

bool
queue_filter_matches(const struct msg_queue_filter *filter, const struct msg_queue_entry *entry)
{
	if (entry->state >= QUEUE_STATES ||
	    !queue_filter_has_state(filter, (enum queue_state)entry->state))
		return false;
	if (filter->arrived_from_us != 0 && entry->arrival_us < filter->arrived_from_us)
		return false;
	if (filter->arrived_until_us != 0 && entry->arrival_us > filter->arrived_until_us)
		return false;
	if (entry->size < filter->size_least ||
	    (filter->size_most != 0 && entry->size > filter->size_most))
		return false;
	if (!sender_matches(filter->sender, entry->sender))
		return false;
	return !asks_recipients(filter) || recipient_matches(filter, entry->recipients);
}
