/*
 * domains.c - what DNS knows of a domain that somebody named.
 */
#include <arpa/inet.h>

#include "smtpd/checks.h"

#define DNS_TIMEOUT_MS 10000

bool
address_from_record(const struct dns_record *record, char *text, size_t size)
{
	if (record->data.length == 4)
		return inet_ntop(AF_INET, record->data.data, text, (socklen_t)size) != NULL;
	if (record->data.length == 16)
		return inet_ntop(AF_INET6, record->data.data, text, (socklen_t)size) != NULL;
	return false;
}

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

enum domain_state
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
