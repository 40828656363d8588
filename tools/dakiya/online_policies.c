/*
 * online_policies.c - what domains say of their mail: SPF, DKIM, DMARC, MTA-STS, TLS reports; see
 * online.h.
 */
#include <string.h>

#include "tools/dakiya/online.h"

/* ---- SPF ---- */

/* Through a relayhost mail leaves from addresses that only its owner knows. */
static bool
sends_itself(const struct online *online)
{
	return slice_is_empty(slice_trim(slice_from(online->parameters->relayhost)));
}

static void
check_spf_of(struct online *online, const char *domain, const struct online_address *address)
{
	struct spf      spf = { .online = online, .address = address, .problem = BUF(1000) };
	const char     *record = online_text(online, "%s. IN TXT \"v=spf1 mx %s:%s -all\"", domain,
                                         address->length == 4 ? "ip4" : "ip6", address->text);
	enum spf_result result = online_spf(&spf, domain, 0);

	switch (result) {
	case SPF_PASS:
		online_say(online, FINDING_OK, "spf", NULL,
		           "%s: mail from %s passes (%u of 10 lookups)", domain, address->text,
		           spf.lookups);
		break;
	case SPF_NONE:
		online_say(online, FINDING_WRONG, "spf", record,
		           "%s has no SPF record: large providers refuse or hide its mail", domain);
		break;
	case SPF_FAIL:
	case SPF_SOFTFAIL:
	case SPF_NEUTRAL:
		online_say(online, FINDING_WRONG, "spf", record,
		           "%s: its SPF record does not cover this host's address %s (%s)", domain,
		           address->text,
		           result == SPF_FAIL       ? "fail"
		           : result == SPF_SOFTFAIL ? "softfail"
		                                    : "neutral");
		break;
	case SPF_PERMERROR:
		online_say(online, FINDING_WRONG, "spf", record, "%s: its SPF record is wrong: %s",
		           domain, buf_text(&spf.problem));
		break;
	case SPF_TEMPERROR:
		online_say(online, FINDING_UNKNOWN, "spf", NULL,
		           "%s: a name in its SPF record cannot be looked up now", domain);
		break;
	case SPF_MACRO:
		online_say(online, FINDING_UNKNOWN, "spf", NULL,
		           "%s: its SPF record has macros, exists: or ptr, which only a message "
		           "decides",
		           domain);
		break;
	}
	buf_free(&spf.problem);
}

static void
check_spf(struct online *online, const char *domain)
{
	if (!sends_itself(online)) {
		online_say(online, FINDING_UNKNOWN, "spf", NULL,
		           "%s: mail leaves through %s: its SPF record must cover the addresses of "
		           "that (often include:..., told by its owner)",
		           domain, online->parameters->relayhost);
		return;
	}
	for (size_t i = 0; i < online->address_count; i++)
		check_spf_of(online, domain, &online->addresses[i]);
}

/* ---- records that begin with v= ---- */

/* DNS_FOUND and *text when exactly one TXT record begins so; *count of them. */
static enum dns_status
ask_policy(struct online *online, const char *name, const char *start, struct slice *text,
           size_t *count, struct error *error)
{
	struct dns_answer answer;
	enum dns_status   status = online_ask(online, name, DNS_TXT, &answer, error);

	*count = 0;
	for (size_t i = 0; status == DNS_FOUND && i < answer.count; i++) {
		if (!slice_starts_with_fold(answer.records[i].data, slice_from(start)))
			continue;
		*text = answer.records[i].data;
		(*count)++;
	}
	return status == DNS_FOUND && *count == 0 ? DNS_NO_DATA : status;
}

/* The value of "p=" in "v=DMARC1; p=reject". */
static struct slice
tag_of(struct slice record, const char *name)
{
	struct slice part;

	while (slice_next_part(&record, ';', &part)) {
		size_t equals = slice_find_byte(part, '=');

		if (equals != SLICE_NOT_FOUND &&
		    slice_equal_fold(slice_trim(slice_first(part, equals)), slice_from(name)))
			return slice_trim(slice_from_offset(part, equals + 1));
	}
	return SLICE_EMPTY;
}

/* ---- DMARC ---- */

static void
check_dmarc(struct online *online, const char *domain)
{
	struct slice record = SLICE_EMPTY;
	struct error error = ERROR_NONE;
	size_t       count = 0;
	const char  *at = domain;
	const char  *wanted = online_text(
		 online, "_dmarc.%s. IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@%s\"", domain,
		 domain);
	enum dns_status status = DNS_NO_DATA;

	/* A subdomain follows the record of its parents. */
	while (status != DNS_FOUND && at != NULL && strchr(at, '.') != NULL) {
		status = ask_policy(online, online_text(online, "_dmarc.%s", at), "v=DMARC1",
		                    &record, &count, &error);
		if (status == DNS_TRY_LATER || status == DNS_BOGUS) {
			online_say(online, FINDING_UNKNOWN, "dmarc", NULL, "%s", error.text);
			return;
		}
		if (status != DNS_FOUND)
			at = strchr(at, '.') + 1;
	}
	if (status != DNS_FOUND)
		online_say(online, FINDING_WRONG, "dmarc", wanted,
		           "%s has no DMARC record: large providers want one", domain);
	else if (count > 1)
		online_say(online, FINDING_WRONG, "dmarc", NULL,
		           "_dmarc.%s has %zu records: then none counts", at, count);
	else if (tag_of(record, "p").length == 0)
		online_say(online, FINDING_WRONG, "dmarc", wanted, "_dmarc.%s has no policy (p=)",
		           at);
	else
		online_say(online, FINDING_OK, "dmarc", NULL, "%s: p=%.*s", domain,
		           SLICE_ARGS(slice_first(tag_of(record, "p"), 50)));
}

/* ---- MTA-STS and reports ---- */

static void
check_sts(struct online *online, const char *domain)
{
	struct slice      record = SLICE_EMPTY;
	struct error      error = ERROR_NONE;
	struct dns_answer answer;
	size_t            count = 0;
	const char       *host = online_text(online, "mta-sts.%s", domain);
	enum dns_status   status = ask_policy(online, online_text(online, "_mta-sts.%s", domain),
	                                      "v=STSv1", &record, &count, &error);

	if (status == DNS_TRY_LATER || status == DNS_BOGUS) {
		online_say(online, FINDING_UNKNOWN, "mta-sts", NULL, "%s", error.text);
	} else if (status != DNS_FOUND) {
		online_say(online, FINDING_HINT, "mta-sts", NULL,
		           "%s has no MTA-STS policy: others may send to it without TLS", domain);
	} else if (count > 1 || tag_of(record, "id").length == 0) {
		online_say(online, FINDING_WRONG, "mta-sts",
		           online_text(online, "_mta-sts.%s. IN TXT \"v=STSv1; id=1\"", domain),
		           "%s: its MTA-STS record needs one id=, and be alone", domain);
	} else if (online_ask(online, host, DNS_A, &answer, &error) != DNS_FOUND &&
	           online_ask(online, host, DNS_AAAA, &answer, &error) != DNS_FOUND) {
		online_say(online, FINDING_WRONG, "mta-sts",
		           online_text(online, "%s. IN A ADDRESS-OF-THE-WEB-SERVER", host),
		           "%s announces MTA-STS, but %s has no address", domain, host);
	} else {
		online_say(
			online, FINDING_UNKNOWN, "mta-sts", NULL,
			"%s announces MTA-STS; https://%s/.well-known/mta-sts.txt is not fetched "
			"by this command: see that its mx: lines have the MX hosts above",
			domain, host);
	}
}

static void
check_reports(struct online *online, const char *domain)
{
	struct slice    record = SLICE_EMPTY;
	struct error    error = ERROR_NONE;
	size_t          count = 0;
	enum dns_status status = ask_policy(online, online_text(online, "_smtp._tls.%s", domain),
	                                    "v=TLSRPTv1", &record, &count, &error);

	if (status == DNS_FOUND && count == 1)
		online_say(online, FINDING_OK, "tls-rpt", NULL, "%s: %.*s", domain,
		           SLICE_ARGS(slice_first(tag_of(record, "rua"), 200)));
	else if (status == DNS_NO_NAME || status == DNS_NO_DATA)
		online_say(online, FINDING_HINT, "tls-rpt",
		           online_text(online,
		                       "_smtp._tls.%s. IN TXT \"v=TLSRPTv1; "
		                       "rua=mailto:postmaster@%s\"",
		                       domain, domain),
		           "%s asks for no reports on TLS", domain);
}

void
online_policies(struct online *online)
{
	for (size_t i = 0; i < online->domain_count; i++) {
		check_spf(online, online->domains[i]);
		check_dmarc(online, online->domains[i]);
		check_sts(online, online->domains[i]);
		check_reports(online, online->domains[i]);
	}
	if (online->domain_count > 0)
		online_say(online, FINDING_UNKNOWN, "dkim", NULL,
		           "this version signs no mail: there is no selector to look up");
}
