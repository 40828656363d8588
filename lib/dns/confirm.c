/* confirm.c - the confirmed host name of a client's address (RFC 1912 2.1). See dns.h. */
#include "lib/base/clock.h"
#include "lib/dns/dns.h"
#include "lib/dns/name.h"

/* An address with a crowd of names costs a query each: the first few must do. */
#define NAMES_TRIED_MOST 5

static bool
answer_has_address(const struct dns_answer *answer, const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < answer->count; i++)
		if (slice_equal(answer->records[i].data, slice_of((const char *)bytes, length)))
			return true;
	return false;
}

enum dns_status
dns_confirm_client(struct dns_client *client, struct slice address, int64_t timeout_ms,
                   struct arena *arena, struct slice *name, struct slice *unconfirmed,
                   struct error *error)
{
	int64_t           deadline_ms = clock_monotonic_ms() + timeout_ms;
	unsigned char     bytes[16];
	size_t            length = dns_address_parse(address, bytes);
	enum dns_status   result = DNS_NO_NAME;
	struct dns_answer names, addresses;
	struct slice      reverse;

	*unconfirmed = SLICE_EMPTY;
	if (length == 0 || !dns_name_reverse(address, arena, &reverse)) {
		error_set(error, "not an address: %.*s", SLICE_ARGS(slice_first(address, 64)));
		return DNS_NO_NAME;
	}
	enum dns_status status =
		dns_query(client, reverse, DNS_PTR, timeout_ms, arena, &names, error);
	if (status == DNS_NO_DATA)
		return DNS_NO_NAME;
	if (status != DNS_FOUND)
		return status == DNS_NO_NAME ? DNS_NO_NAME : DNS_TRY_LATER;
	*unconfirmed = names.records[0].target;
	for (size_t i = 0; i < names.count && i < NAMES_TRIED_MOST; i++) {
		status = dns_query(client, names.records[i].target, length == 4 ? DNS_A : DNS_AAAA,
		                   deadline_ms - clock_monotonic_ms(), arena, &addresses, error);
		if (status == DNS_FOUND && answer_has_address(&addresses, bytes, length)) {
			*name = names.records[i].target;
			return DNS_FOUND;
		}
		if (status == DNS_TRY_LATER || status == DNS_BOGUS)
			result = DNS_TRY_LATER;
	}
	if (result == DNS_NO_NAME)
		error_set(error, "hostname %.*s does not resolve to address %.*s",
		          SLICE_ARGS(*unconfirmed), SLICE_ARGS(address));
	return result;
}
