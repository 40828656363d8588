/*
 * router.h - inside lib/route: the open tables, and addresses completed for looking up.
 *
 * A router is made once and never changed, so threads share it without a lock.
 */
#ifndef DAKIYA_ROUTE_ROUTER_H
#define DAKIYA_ROUTE_ROUTER_H

#include <stdatomic.h>

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
	TABLE_CANONICAL,
	TABLE_SENDER_CANONICAL,
	TABLE_RECIPIENT_CANONICAL,
	TABLE_SENDER_BCC,
	TABLE_RECIPIENT_BCC,
	TABLE_RELOCATED,
	TABLE_GENERIC, /* smtp_generic_maps or lmtp_generic_maps, see router_create_generic */
	TABLE_COUNT
};

/* What rewrites the addresses of some classes only; rows of classes_rows in router.c. */
enum router_rewriting {
	REWRITING_SENDER_CANONICAL,
	REWRITING_RECIPIENT_CANONICAL,
	REWRITING_CANONICAL,
	REWRITING_MASQUERADE,
	REWRITING_COUNT
};

/* propagate_unmatched_extensions */
enum router_propagation {
	PROPAGATE_CANONICAL = 1 << 0,
	PROPAGATE_VIRTUAL = 1 << 1,
	PROPAGATE_GENERIC = 1 << 2,
};

struct router {
	const struct parameters *parameters;
	struct parameters       *own_parameters; /* those for probes; NULL = the snapshot's */
	struct match_list       *domains[DOMAINS_COUNT];
	struct table_list       *tables[TABLE_COUNT];
	struct match_list       *own_addresses; /* inet_interfaces and proxy_interfaces */
	struct match_list       *networks;      /* mynetworks */
	struct table_list *rewrite_clients; /* check_address_map of local_header_rewrite_clients */
	struct owner       default_privs;
	struct error       default_privs_error; /* why it is not known; empty text = it is */
	struct match_list *masquerade_exceptions;
	unsigned           classes[REWRITING_COUNT]; /* bits 1 << enum route_role */
	unsigned           propagates;               /* enum router_propagation */
	bool               transport_matches_parents;
	_Atomic int64_t    warned_ms; /* when a domain in two classes was last warned about */
};

/* An address made whole: @$myorigin appended, the domain in lower case. */
struct router_address {
	struct slice   whole; /* local@domain */
	struct address parts;
};
/* LOOKUP_NOT_FOUND when it is malformed, LOOKUP_TRY_LATER when the arena is full. */
enum lookup router_complete(const struct router *router, struct slice address, struct arena *arena,
                            struct router_address *complete, struct error *error);

/* The same for an address that is known to be in order: nothing is appended or changed. */
struct router_address router_address_of(struct slice whole);

/*
 * Whether another class lists a domain, too; *first and *second are the parameters. A table that
 * fails says no: this is for a warning.
 */
bool router_second_class(struct router *router, struct slice domain, enum route_class class,
                         const char **first, const char **second);

/* Whether bare local parts are tried for this domain: $myorigin, $mydestination, own literals. */
enum lookup router_is_own_domain(struct router *router, struct slice domain, bool *is_own,
                                 struct error *error);
/* A table of addresses in the order of FACTS 2.4; *value is cleared first. */
enum lookup router_lookup(struct router *router, enum router_table table,
                          const struct router_address *address, bool is_own_domain,
                          struct buf *value, struct slice *extension, struct error *error);
/* The name of the parameter that a table is of, for messages. */
const char *router_table_name(enum router_table table);

/* ---- rewrite.c ---- */

/*
 * Standard form: "a!b", "a%b" and "a" get an '@', a domain of one label $mydomain, a final dot is
 * dropped. is_quoted: the local part is written in quotes and holds no routing. False: the arena
 * is full.
 */
bool router_standardize(const struct router *router, bool is_remote, bool is_quoted,
                        struct address *address, struct arena *arena);

/* ---- map.c: the results of tables that map addresses ---- */

/*
 * The next item of "a, \"b,c\"@d, e@f g@h" off *list: split at commas outside quotes and at blanks
 * behind an address, trimmed.
 */
bool router_next_item(struct slice *list, struct slice *item);
/* What an item of a table's result is made from. */
struct router_mapping {
	enum router_table            table;
	const struct router_address *from;
	struct slice                 extension; /* that the match ignored, with its delimiter */
	bool                         propagates;
};
/*
 * What a table's item stands for: "@domain" keeps the local part, anything else is an address that
 * is made whole; an ignored extension is put back when it propagates. False with an error when
 * it is no address.
 */
bool router_map_item(struct router *router, const struct router_mapping *mapping, struct slice item,
                     struct arena *arena, struct slice *result, struct error *error);
/*
 * One lookup of a table that gives one address for one. More than one in a result is warned about,
 * and the first is taken.
 */
enum lookup router_map_once(struct router *router, enum router_table table, bool propagates,
                            struct slice address, struct arena *arena, struct slice *result,
                            struct error *error);

/* ---- resolve.c ---- */

/*
 * "5.1.6 User has moved to ..." or what transport_maps says with error: or retry:, with a status in
 * front, for an address that no table of aliases knows. LOOKUP_NOT_FOUND when it is not refused
 * like that.
 */
enum lookup router_refusal(struct router *router, struct slice address, struct arena *arena,
                           struct slice *text, struct error *error);

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
