/*
 * computed.h - the defaults that depend on the host: myhostname and mynetworks.
 */
#ifndef DAKIYA_CONF_COMPUTED_H
#define DAKIYA_CONF_COMPUTED_H

#include <netinet/in.h>
#include <stdint.h>

#include "lib/conf/settings.h"

/* The system's name; ".localdomain" is appended to one without a dot. Asks no DNS. */
bool computed_hostname(struct buf *out);

/* An interface's address: 4 or 16 bytes, and how many bits its network has. */
struct interface_address {
	int      family;
	uint8_t  bytes[16];
	unsigned prefix;
};

enum network_style { NETWORK_HOST, NETWORK_SUBNET, NETWORK_CLASS };

/* Appends "127.0.0.0/8" or "[::1]/128" for the address in this style. */
bool computed_network(const struct interface_address *address, enum network_style style,
                      struct buf *out);
/*
 * Appends the mynetworks of all interfaces that inet_interfaces ("all", "loopback-only" or
 * addresses) and inet_protocols allow; the loopback networks when none can be found.
 */
bool computed_networks(const char *inet_interfaces, const char *inet_protocols,
                       enum network_style style, struct buf *out);

/* Sets this host's defaults in computed; mynetworks follows what values say of interfaces. */
bool computed_defaults(const struct values *values, struct values *computed);

#endif
