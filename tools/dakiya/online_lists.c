/* online_lists.c - whether lists of bad clients have one of our addresses (RFC 5782); see online.h.
 */
#include <string.h>

#include "lib/dns/name.h"
#include "tools/dakiya/online.h"

/* Those that large providers ask, or that admins put into their configuration. */
static const struct {
	const char *zone;
	const char *page; /* where one gets off it */
	bool        has_v6;
} lists[] = {
	{ "zen.spamhaus.org", "https://check.spamhaus.org/", true },
	{ "bl.spamcop.net", "https://www.spamcop.net/bl.shtml", false },
	{ "b.barracudacentral.org", "https://www.barracudacentral.org/lookups", false },
	{ "psbl.surriel.com", "https://psbl.org/", false },
};

static void
check_list(struct online *online, const struct online_address *address, size_t list,
           struct slice reversed)
{
	struct dns_answer answer;
	struct error      error = ERROR_NONE;
	const char *name = online_text(online, "%.*s.%s", SLICE_ARGS(reversed), lists[list].zone);
	enum dns_status status = online_ask(online, name, DNS_A, &answer, &error);

	if (status == DNS_TRY_LATER || status == DNS_BOGUS) {
		online_say(online, FINDING_UNKNOWN, "blocklist", NULL, "%s is not known to %s: %s",
		           address->text, lists[list].zone, error.text);
		return;
	}
	if (status != DNS_FOUND) {
		online_say(online, FINDING_OK, "blocklist", NULL, "%s is not on %s", address->text,
		           lists[list].zone);
		return;
	}
	const char *code = online_address_text(online, &answer.records[0]);
	/* An answer of this kind is no listing: the resolver asks too much, or is a public one. */
	if (strncmp(code, "127.255.", 8) == 0)
		online_say(online, FINDING_UNKNOWN, "blocklist", NULL,
		           "%s does not answer this resolver (%s): ask with a resolver of your own",
		           lists[list].zone, code);
	else
		online_say(online, FINDING_WRONG, "blocklist", NULL,
		           "%s is on %s (%s): much of its mail is refused; see %s", address->text,
		           lists[list].zone, code, lists[list].page);
}

void
online_lists(struct online *online)
{
	for (size_t i = 0; i < online->address_count; i++) {
		const struct online_address *address = &online->addresses[i];
		struct slice                 reverse;

		if (online_is_private(address->text) ||
		    !dns_name_reverse(slice_from(address->text), &online->arena, &reverse))
			continue;
		/* Without ".in-addr.arpa", ".ip6.arpa". */
		reverse.length -= strlen(address->length == 4 ? ".in-addr.arpa" : ".ip6.arpa");
		for (size_t j = 0; j < sizeof(lists) / sizeof(lists[0]); j++) {
			if (address->length == 4 || lists[j].has_v6)
				check_list(online, address, j, reverse);
		}
	}
}
