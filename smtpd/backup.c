/*
 * backup.c - permit_mx_backup: mail for domains that name this host among their mail exchangers.
 */
#include <netinet/in.h>

#include "lib/base/log.h"
#include "smtpd/checks.h"

#define DNS_TIMEOUT_MS 10000
#define HOSTS_MOST     50 /* of one domain that are looked at */

/* An address of a mail exchanger is looked for in a list of addresses. */
typedef enum lookup address_test(struct room *room, struct slice address, struct error *error);

static enum lookup
is_own(struct room *room, struct slice address, struct error *error)
{
	return route_is_own_address(room->intake.router, address, error);
}

static enum lookup
is_in_networks(struct room *room, struct slice address, struct error *error)
{
	return match_list_client(room->mx_backup_networks, SLICE_EMPTY, address, error);
}

/*
 * Whether one of the host's addresses passes; with wants_all whether all do. A host without an
 * address has none that passes.
 */
static enum lookup
test_host(struct room *room, struct slice host, address_test *test, bool wants_all,
          struct arena *arena, struct error *error)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA };
	enum lookup                answer = LOOKUP_NOT_FOUND;
	bool                       has_trouble = false;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct dns_answer found;
		enum dns_status   status =
			dns_query(room->dns, host, types[i], DNS_TIMEOUT_MS, arena, &found, error);
		char text[INET6_ADDRSTRLEN];

		has_trouble |= status == DNS_TRY_LATER || status == DNS_BOGUS;
		for (size_t j = 0; status == DNS_FOUND && j < found.count; j++) {
			if (!address_from_record(&found.records[j], text, sizeof(text)))
				continue;
			answer = test(room, slice_from(text), error);
			if (answer == LOOKUP_TRY_LATER || (answer == LOOKUP_FOUND) != wants_all)
				return answer;
		}
	}
	return has_trouble ? LOOKUP_TRY_LATER : answer;
}

/* Whether this host is a mail exchanger of the domain. */
static enum lookup
names_this_host(struct room *room, const struct dns_answer *hosts, struct arena *arena,
                struct error *error)
{
	enum lookup answer = LOOKUP_NOT_FOUND;

	for (size_t i = 0; i < hosts->count && i < HOSTS_MOST; i++) {
		enum lookup one =
			test_host(room, hosts->records[i].target, is_own, false, arena, error);

		if (one == LOOKUP_FOUND)
			return one;
		if (one == LOOKUP_TRY_LATER)
			answer = one;
	}
	return answer;
}

/* Whether the best mail exchangers are in permit_mx_backup_networks; without the list all are. */
static enum lookup
primaries_are_known(struct room *room, const struct dns_answer *hosts, struct arena *arena,
                    struct error *error)
{
	enum lookup answer = LOOKUP_FOUND;

	if (room->parameters->permit_mx_backup_networks[0] == '\0')
		return LOOKUP_FOUND;
	for (size_t i = 0; i < hosts->count && answer == LOOKUP_FOUND; i++) {
		if (hosts->records[i].preference != hosts->records[0].preference)
			break;
		answer = i < HOSTS_MOST ? test_host(room, hosts->records[i].target, is_in_networks,
		                                    true, arena, error)
		                        : LOOKUP_NOT_FOUND;
	}
	return answer;
}

/* What DNS says of the domain. */
static enum lookup
is_backup_for(struct room *room, struct slice domain, struct error *error)
{
	struct arena      arena = ARENA(512u * 1024);
	struct dns_answer hosts;
	enum lookup       answer = LOOKUP_NOT_FOUND;

	switch (dns_query(room->dns, domain, DNS_MX, DNS_TIMEOUT_MS, &arena, &hosts, error)) {
	case DNS_FOUND:
		answer = names_this_host(room, &hosts, &arena, error);
		if (answer == LOOKUP_FOUND)
			answer = primaries_are_known(room, &hosts, &arena, error);
		break;
	/* Without MX records the domain's own host is its only one: nobody's backup. */
	case DNS_NO_DATA:
	case DNS_NO_NAME: break;
	case DNS_TRY_LATER:
	case DNS_BOGUS: answer = LOOKUP_TRY_LATER; break;
	}
	arena_reset(&arena);
	return answer;
}

enum verdict
check_permit_mx_backup(struct check *check, const struct entry *entry)
{
	struct error error = ERROR_NONE;

	(void)entry;
	if (check->question->recipient == NULL)
		return VERDICT_DUNNO;
	struct slice address = check->question->recipient->address;
	struct slice domain = domain_of(address);
	switch (recipient_is_ours(check, &error)) {
	case LOOKUP_FOUND: return VERDICT_PERMIT;
	case LOOKUP_TRY_LATER: return lookup_failed(check, address, &error);
	case LOOKUP_NOT_FOUND: break;
	}
	/* "a%b@c" would go on from there to b, for which nobody has named this host. */
	if (domain.length == 0 || domain.data[0] == '[' || address_has_routing(address))
		return VERDICT_DUNNO;
	switch (is_backup_for(check->session->room, domain, &error)) {
	case LOOKUP_FOUND: return VERDICT_PERMIT;
	case LOOKUP_NOT_FOUND: return VERDICT_DUNNO;
	case LOOKUP_TRY_LATER: break;
	}
	log_warning("permit_mx_backup: %.*s: %s", SLICE_ARGS(domain), error.text);
	return tempfail(check, check->parameters->reject_tempfail_action, "4.4.4",
	                "<%.*s>: %s rejected: Unable to look up mail exchanger information",
	                SLICE_ARGS(check->question->recipient_as_given), "Recipient address");
}
