/*
 * net.h - IP addresses and networks as text: "192.0.2.0/24", "2001:db8::/32", "[::1]/128".
 *
 * RFC 4291 2.2 (text form). Addresses of the ::ffff:0:0/96 block are the IPv4 address that they
 * hold. No allocation, no state.
 */
#ifndef DAKIYA_TABLE_NET_H
#define DAKIYA_TABLE_NET_H

#include "lib/base/error.h"
#include "lib/base/slice.h"

struct net {
	unsigned char bytes[16];
	int           family; /* AF_INET or AF_INET6 */
	unsigned      bits;   /* prefix length; 32 or 128 for one address */
};

/* An address with optional brackets and no prefix length. False when it is none. */
bool net_parse_address(struct slice text, struct net *net);
/* An address or network. False and *error also when bits are set behind the prefix. */
bool net_parse(struct slice text, struct net *net, struct error *error);
/* Whether text has the look of an address or network, right or wrong, so that it is no name. */
bool net_looks_like(struct slice text);
bool net_contains(const struct net *net, const struct net *address);

#endif
