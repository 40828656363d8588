/*
 * dns.h - questions to the resolver daemon; nobody else speaks DNS.
 *
 * RFC 1035, 4033 (DNSSEC status comes only from the resolver). Answers are allocated in the
 * caller's arena. Safe from several threads: a small pool of channels and a small cache of
 * answers (each for its time to live) are shared.
 */
#ifndef DAKIYA_DNS_DNS_H
#define DAKIYA_DNS_DNS_H

#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/error.h"

enum dns_type {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_TLSA = 52,
	DNS_CAA = 257,
};

enum dns_status {
	DNS_FOUND,
	DNS_NO_DATA,   /* the name exists, not with this type */
	DNS_NO_NAME,   /* NXDOMAIN */
	DNS_TRY_LATER, /* SERVFAIL, timeout, resolver not there */
	DNS_BOGUS,     /* DNSSEC validation failed: treat as try later for mail, and say so */
};

struct dns_record {
	uint32_t     preference; /* MX, SRV: priority */
	struct slice target;     /* MX, CNAME, PTR, NS, SRV, SOA (MNAME): lower case, no final dot;
	                          * the null MX is "" */
	struct slice data;       /* A: 4 bytes; AAAA: 16; TXT: the strings joined; SRV: weight and
	                          * port, 2 bytes each, big-endian; TLSA, CAA: rdata */
};

struct dns_answer {
	bool               is_secure;
	uint32_t           ttl_s;
	struct slice       canonical;
	struct dns_record *records; /* MX and SRV sorted by preference */
	size_t             count;
};

struct dns_client;
/* path is the resolver's socket. */
struct dns_client *dns_client_create(const char *path);
/*
 * A client that asks by itself, with the resolver_* settings, where no resolver runs: for a tool
 * that is started by hand. Destroy it as any other. NULL and *error.
 */
struct parameters;
struct dns_client *dns_client_create_private(const struct parameters *parameters,
                                             struct error            *error);
void               dns_client_destroy(struct dns_client **client);

/*
 * *answer is set for DNS_FOUND (and is_secure, canonical for the two negative answers); for the
 * others error has the words that Postfix's logs have ("Host or domain name not found. Name
 * service error for name=.. type=MX: ..."). U-labels are asked for as A-labels. A text that is no
 * domain name gives DNS_NO_NAME without a question. timeout_ms is for the whole question.
 */
enum dns_status dns_query(struct dns_client *client, struct slice name, enum dns_type type,
                          int64_t timeout_ms, struct arena *arena, struct dns_answer *answer,
                          struct error *error);
/*
 * The confirmed name of an address (RFC 1912 2.1): PTR, then A/AAAA of that name must contain the
 * address. DNS_FOUND: *name is confirmed. DNS_NO_NAME: there is none or it does not confirm
 * (*unconfirmed is the PTR's name then, empty without PTR). DNS_TRY_LATER as usual.
 */
enum dns_status dns_confirm_client(struct dns_client *client, struct slice address,
                                   int64_t timeout_ms, struct arena *arena, struct slice *name,
                                   struct slice *unconfirmed, struct error *error);

#endif
