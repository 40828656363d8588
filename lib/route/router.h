/*
 * router.h - inside lib/route: the open tables, and addresses completed for looking up.
 *
 * A router is made once and never changed, so threads share it without a lock.
 */
#ifndef DAKIYA_ROUTE_ROUTER_H
#define DAKIYA_ROUTE_ROUTER_H

#include "lib/conf/owner.h"
#include "lib/mail/address.h"
#include "lib/route/route.h"
#include "lib/table/match.h"

enum router_domains {
	DOMAINS_LOCAL,
	DOMAINS_VIRTUAL_ALIAS,
	DOMAINS_VIRTUAL_MAILBOX,
	DOMAINS_RELAY,
	DOMAINS_COUNT
};

enum router_table {
	TABLE_TRANSPORT,
	TABLE_VIRTUAL_ALIAS,
	TABLE_VIRTUAL_MAILBOX,
	TABLE_VIRTUAL_UID,
	TABLE_VIRTUAL_GID,
	TABLE_VIRTUAL_QUOTA,
	TABLE_RELAY_RECIPIENT,
	TABLE_LOCAL_RECIPIENT,
	TABLE_SENDER_RELAYHOST,
	TABLE_SENDER_TRANSPORT,
	TABLE_ALIAS,
	TABLE_LOCAL_USER,
	TABLE_MAILBOX_TRANSPORT,
	TABLE_MAILBOX_COMMAND,
	TABLE_FALLBACK_TRANSPORT,
	TABLE_COUNT
};

struct router {
	const struct parameters *parameters;
	struct match_list       *domains[DOMAINS_COUNT];
	struct table_list       *tables[TABLE_COUNT];
	struct match_list       *own_addresses; /* inet_interfaces and proxy_interfaces */
	struct match_list       *networks;      /* mynetworks */
	struct table_list *rewrite_clients; /* check_address_map of local_header_rewrite_clients */
	struct owner       default_privs;
	struct error       default_privs_error; /* why it is not known; empty text = it is */
	bool               propagates_virtual;
	bool               transport_matches_parents;
};

/* An address made whole: @$myorigin appended, the domain in lower case. */
struct router_address {
	struct slice   whole; /* local@domain */
	struct address parts;
};
/* False when it is malformed or the arena is full. */
bool router_complete(const struct router *router, struct slice address, struct arena *arena,
                     struct router_address *complete);

/* Whether bare local parts are tried for this domain: $myorigin, $mydestination, own literals. */
enum lookup router_is_own_domain(struct router *router, struct slice domain, bool *is_own,
                                 struct error *error);
/* A table of addresses in the order of FACTS 2.4; *value is cleared first. */
enum lookup router_lookup(struct router *router, enum router_table table,
                          const struct router_address *address, bool is_own_domain,
                          struct buf *value, struct slice *extension, struct error *error);
/*
 * Where mail for postmaster goes when no table knows the address (RFC 5321 4.5.1):
 * postmaster_recipient or, when that is not set, postmaster@$mydomain if there is such a mailbox
 * or alias. LOOKUP_NOT_FOUND: not postmaster, not of our domains, or nobody is named.
 */
enum lookup router_postmaster(struct router *router, const struct router_address *address,
                              enum route_class class, struct arena *arena, struct slice *recipient,
                              struct error *error);
/* mailbox, uid, gid and quota of a virtual mailbox address. */
enum lookup router_fill_mailbox(struct router *router, const struct router_address *address,
                                struct arena *arena, struct route *route, struct error *error);

/*
 * How local handles the address: as whom, what, and what follows (route.local, route.next). Also
 * when nobody has that name: then the route is fallback_transport's, luser_relay's, or error:.
 */
enum lookup router_fill_local(struct router *router, const struct router_address *address,
                              struct arena *arena, struct route *route, struct error *error);

#define ROUTER_VALUE_MOST (256u * 1024) /* a value of a table: a list of 1000 addresses fits */

#endif
