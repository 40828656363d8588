/*
 * name.h - domain names as text: checked, lower case, no final dot; and the names of types.
 *
 * RFC 1035 2.3.4 (limits), RFC 5891 (U-labels become A-labels), RFC 1035 3.5 and 3596 2.5
 * (reverse names). Bytes that no name in mail needs (controls, blanks, backslash) are refused.
 */
#ifndef DAKIYA_DNS_NAME_H
#define DAKIYA_DNS_NAME_H

#include "lib/base/arena.h"
#include "lib/dns/dns.h"

#define DNS_NAME_MOST 253 /* characters without the final dot */

/* The form used everywhere; false when it cannot be a domain name. A NUL follows the text. */
bool dns_name_normalise(struct slice name, struct arena *arena, struct slice *normal);
/* Whether text is such a form already (what the resolver sends must be). "" is the root. */
bool dns_name_is_normal(struct slice name);
/* "4.3.2.1.in-addr.arpa" of the IPv4 or IPv6 address in text; false when it is none. */
bool dns_name_reverse(struct slice address, struct arena *arena, struct slice *name);
/* The address in text as 4 or 16 bytes (IPv4-mapped as IPv4); 0 when it is none. */
size_t dns_address_parse(struct slice text, unsigned char bytes[16]);
/* "MX"; "TYPE99" for types that we do not know. */
const char *dns_type_name(enum dns_type type, char unknown[16]);

#endif
