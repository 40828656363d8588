/*
 * route.h - where an address goes: class, transport, next hop, mailbox; and alias expansion.
 *
 * Shared by smtpd (is this recipient ours, does it exist), lib/intake (virtual aliases) and qmgr
 * (transport and next hop). FACTS 2.4: search orders and resolution order. Every function may
 * answer "try later" when a table does. Safe from several threads.
 */
#ifndef DAKIYA_ROUTE_ROUTE_H
#define DAKIYA_ROUTE_ROUTE_H

#include "lib/base/arena.h"
#include "lib/conf/snapshot.h"
#include "lib/table/table.h"

enum route_class {
	ROUTE_LOCAL,
	ROUTE_VIRTUAL_ALIAS,
	ROUTE_VIRTUAL_MAILBOX,
	ROUTE_RELAY,
	ROUTE_DEFAULT, /* everybody else's: relaying needs permission */
};

/* For struct daemon.readable: the parameters whose tables a router reads. */
#define ROUTER_READABLE                                                                            \
	"$mydestination", "$virtual_alias_domains", "$virtual_mailbox_domains", "$relay_domains",  \
		"$transport_maps", "$virtual_alias_maps", "$virtual_mailbox_maps",                 \
		"$virtual_uid_maps", "$virtual_gid_maps", "$virtual_mailbox_quota_maps",           \
		"$relay_recipient_maps", "$local_recipient_maps",                                  \
		"$sender_dependent_relayhost_maps", "$sender_dependent_default_transport_maps",    \
		"$mynetworks", "$local_header_rewrite_clients", "$alias_maps", "$local_user_maps", \
		"$mailbox_transport_maps", "$mailbox_command_maps", "$fallback_transport_maps"

struct router;
/* Opens the tables that the parameters name; NULL and *error when one cannot be. */
struct router *router_create(const struct snapshot *snapshot, struct error *error);
void           router_destroy(struct router **router);

/*
 * The class of a domain (lower or upper case). LOOKUP_FOUND sets *class (ROUTE_DEFAULT, too). No
 * domain ("<postmaster>") stands for this host: the class of $myorigin, or ROUTE_LOCAL when that
 * is not ours.
 */
enum lookup route_classify(struct router *router, struct slice domain, enum route_class *class,
                           struct error *error);

/*
 * Whether the address exists, for reject_unlisted_recipient. LOOKUP_FOUND also when the class
 * keeps no list. LOOKUP_NOT_FOUND: *reason is the "User unknown in virtual mailbox table" text.
 * postmaster always exists without a domain and in $mydestination, and in all our domains when
 * postmaster_recipient is set or postmaster@$mydomain is a mailbox or alias (RFC 5321 4.5.1).
 */
enum lookup route_recipient_exists(struct router *router, struct slice address, const char **reason,
                                   struct error *error);

/*
 * The addresses that virtual_alias_maps makes of one, recursively, without duplicates; itself
 * when there is no alias. Complete (with @$myorigin), the domain in lower case, in the arena. Over
 * a limit, or when aliases lead in a circle, LOOKUP_TRY_LATER. postmaster becomes
 * postmaster_recipient (or postmaster@$mydomain) where no table knows it.
 */
struct route_addresses {
	struct slice *items;
	size_t        count;
};
enum lookup route_expand(struct router *router, struct slice address, struct arena *arena,
                         struct route_addresses *addresses, struct error *error);

/* msg_local.kind. */
enum local_kind {
	LOCAL_ALIAS, /* the destinations in text, as the alias table's owner or default_privs */
	LOCAL_USER,  /* .forward, then the mailbox, as the user */
	LOCAL_SPOOL, /* the mailbox in mail_spool_directory, as the user with the spool's group */
};

struct route {
	struct slice transport; /* "smtp", "virtual", "error" */
	struct slice nexthop;   /* domain, [host]:port; "5.1.1 text" for error */
	struct slice recipient; /* the address, domain in lower case */
	/* virtual and local transports: */
	struct slice mailbox; /* path below virtual_mailbox_base, or mail_spool_directory */
	uint32_t     uid, gid;
	uint64_t     quota;     /* bytes, 0 = none */
	struct slice local;     /* a list of one msg_local, for local's worker */
	bool         is_spool;  /* to the worker with the group of mail_spool_directory */
	bool         is_shared; /* that uid works for many recipients (aliases) */
	/* What follows when the worker says OUTCOME_PASS; NULL = nothing. */
	struct route *next;
};
/* LOOKUP_FOUND sets *route; unknown virtual mailboxes get transport "error", "5.1.1 User unknown
 * ...". */
enum lookup route_resolve(struct router *router, struct slice sender, struct slice recipient,
                          struct arena *arena, struct route *route, struct error *error);
/* Whether a client's messages get the header fields they lack (local_header_rewrite_clients). */
struct route_client {
	struct slice address; /* empty = not from the network */
	bool         is_authenticated;
};
enum lookup route_client_is_local(struct router *router, const struct route_client *client,
                                  struct error *error);

/* The mailbox of a virtual user, for authd. LOOKUP_NOT_FOUND when it has none. */
enum lookup route_mailbox(struct router *router, struct slice address, struct arena *arena,
                          struct route *route, struct error *error);

#endif
