/* dane.c - TLSA records of a host, and what is left of level dane without them (RFC 7672). */
#include "smtp/smtp.h"

static bool
refuse(struct arena *arena, struct verdict *verdict, const struct host *host, const char *why)
{
	*verdict = verdict_make(arena, OUTCOME_DEFERRED, "4.7.5", "TLSA lookup for %s: %s",
	                        host->relay, why);
	return false;
}

/* Without records: dane does what it can, dane-only waits. */
static bool
settle_for(enum tls_level less, struct arena *arena, const struct host *host, const char *why,
           struct tls_choice *chosen, struct verdict *verdict)
{
	if (chosen->level == TLS_DANE_ONLY)
		return refuse(arena, verdict, host, why);
	chosen->level = less;
	return true;
}

static bool
take_records(const struct dns_answer *answer, const struct host *host, struct arena *arena,
             struct tls_choice *chosen, struct verdict *verdict)
{
	struct tls_tlsa *records = arena_alloc_array(arena, answer->count, sizeof(*records));

	if (records == NULL)
		return refuse(arena, verdict, host, "out of memory");
	for (size_t i = 0; i < answer->count; i++)
		if (tls_tlsa_parse(answer->records[i].data, &records[chosen->tlsa_count]))
			chosen->tlsa_count++;
	chosen->tlsa = records;
	if (chosen->tlsa_count > 0)
		return true;
	/* The host says that it speaks TLS; how to verify it is not understood. */
	return settle_for(TLS_ENCRYPT, arena, host, "no usable records", chosen, verdict);
}

bool
dane_choose(const struct smtp_agent *agent, const struct tls_choice *choice,
            const struct nexthop *nexthop, const struct host *host, struct arena *arena,
            struct tls_choice *chosen, struct verdict *verdict)
{
	struct dns_answer answer = { .count = 0 };
	struct error      error = ERROR_NONE;
	const char       *name;
	enum dns_status   status;

	*chosen = *choice;
	if (choice->level != TLS_DANE && choice->level != TLS_DANE_ONLY)
		return true;
	if (!host->is_secure)
		return settle_for(TLS_MAY, arena, host, "DNSSEC does not vouch for the host",
		                  chosen, verdict);
	name = arena_format(arena, "_%u._tcp.%s", nexthop->port, host->name);
	if (name == NULL)
		return refuse(arena, verdict, host, "out of memory");
	status = agent->lookup(agent->lookup_context, slice_from(name), DNS_TLSA, arena, &answer,
	                       &error);
	switch (status) {
	case DNS_FOUND:
		if (answer.is_secure && answer.count > 0)
			return take_records(&answer, host, arena, chosen, verdict);
		return settle_for(TLS_MAY, arena, host, "the records are not secure", chosen,
		                  verdict);
	case DNS_NO_DATA:
	case DNS_NO_NAME:
		/* A denial counts only when it is proven: else somebody may hide the records. */
		if (answer.is_secure)
			return settle_for(TLS_MAY, arena, host, "there are no records", chosen,
			                  verdict);
		return settle_for(TLS_MAY, arena, host, "the records are not secure", chosen,
		                  verdict);
	case DNS_TRY_LATER:
	case DNS_BOGUS: break;
	}
	return refuse(arena, verdict, host, error.text);
}
