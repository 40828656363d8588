/*
 * online.h - inside `dakiya check --online': what the rest of the world sees of this host.
 *
 * Each part asks DNS or the own ports and says what it found, with the record to publish where one
 * is missing. What could not be asked is said as such, never taken for good or bad.
 */
#ifndef DAKIYA_TOOL_ONLINE_H
#define DAKIYA_TOOL_ONLINE_H

#include <openssl/x509.h>

#include "lib/dns/dns.h"
#include "tools/dakiya/check.h"

enum finding_kind {
	FINDING_OK,
	FINDING_HINT, /* could be better */
	FINDING_WARNING,
	FINDING_WRONG,
	FINDING_UNKNOWN, /* could not be asked */
};

struct finding {
	enum finding_kind kind;
	const char       *about; /* "mx", "spf" ... */
	const char       *text;
	const char       *record; /* to publish, in zone-file form; NULL */
};

struct online_address {
	const char   *text;
	unsigned char bytes[16];
	size_t        length;  /* 4 or 16 */
	bool          is_here; /* on an interface: not of a proxy, or only in DNS */
};

#define ONLINE_DOMAINS_MOST   50
#define ONLINE_ADDRESSES_MOST 20

struct online {
	const struct configuration *configuration;
	const struct parameters    *parameters;
	struct dns_client          *dns;
	struct arena                arena;
	int64_t                     deadline_ms;  /* of everything together */
	bool                        is_by_itself; /* no resolver runs */
	ARRAY(struct finding) findings;
	/* Domains whose mail we take; the host's own name is none of them. */
	const char *domains[ONLINE_DOMAINS_MOST];
	size_t      domain_count;
	/* Under which the world knows us. */
	struct online_address addresses[ONLINE_ADDRESSES_MOST];
	size_t                address_count;
	STACK_OF(X509) * chain; /* what our port for mail presents; NULL */
};

void online_say(struct online *online, enum finding_kind kind, const char *about,
                const char *record, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* dns_query with a share of the time that is left. A FINDING_UNKNOWN is the caller's to say. */
enum dns_status online_ask(struct online *online, const char *name, enum dns_type type,
                           struct dns_answer *answer, struct error *error);
/* The text of an address in an A or AAAA record; "" when memory is out. */
const char *online_address_text(struct online *online, const struct dns_record *record);
/* Whether an address is not reached from the Internet. */
bool online_is_private(const char *address);
/* Whether it is one of ours. */
bool online_is_ours(const struct online *online, const struct dns_record *record);
/* Text in the arena; "" when that is full. */
const char *online_text(struct online *online, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- the parts ---- */

void online_host(struct online *online);     /* name, addresses, PTR: online_names.c */
void online_mx(struct online *online);       /* MX of each domain */
void online_policies(struct online *online); /* SPF, DKIM, DMARC, MTA-STS, TLS reports */
void online_ports(struct online *online);    /* services, certificates, TLSA */
void online_lists(struct online *online);    /* blocklists */

/* What SPF (RFC 7208) says of mail from a domain and an address; online_spf.c. */
enum spf_result {
	SPF_NONE,
	SPF_PASS,
	SPF_NEUTRAL,
	SPF_SOFTFAIL,
	SPF_FAIL,
	SPF_TEMPERROR,
	SPF_PERMERROR,
	SPF_MACRO, /* depends on the message: not to be told here */
};
struct spf {
	struct online               *online;
	const struct online_address *address;
	unsigned                     lookups; /* of the ten that there may be */
	struct buf                   problem; /* words for SPF_PERMERROR */
};
#define SPF_LOOKUPS_MOST 10
enum spf_result online_spf(struct spf *spf, const char *domain, unsigned depth);

#endif
