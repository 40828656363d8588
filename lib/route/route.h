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
#include "lib/mail/address.h"
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
		"$mynetworks", "$local_header_rewrite_clients", "$canonical_maps",                 \
		"$sender_canonical_maps", "$recipient_canonical_maps", "$masquerade_exceptions",   \
		"$sender_bcc_maps", "$recipient_bcc_maps", "$relocated_maps", "$alias_maps",       \
		"$local_user_maps", "$mailbox_transport_maps", "$mailbox_command_maps",            \
		"$fallback_transport_maps"

/* The same for router_create_for_probes, beside that. */
#define PROBE_ROUTER_READABLE                                                                      \
	"$address_verify_transport_maps", "$address_verify_sender_dependent_relayhost_maps",       \
		"$address_verify_sender_dependent_default_transport_maps"

struct router;
/* Opens the tables that the parameters name; NULL and *error when one cannot be. */
struct router *router_create(const struct snapshot *snapshot, struct error *error);
/*
 * For an agent that only rewrites what leaves (route_generic) by the tables that specs name: opens
 * these and what tells our own domains.
 */
struct router *router_create_generic(const struct snapshot *snapshot, const char *specs,
                                     struct error *error);
/*
 * How probes of addresses go: address_verify_local_transport takes the place of local_transport,
 * and so on. The usual one itself when none of them says anything else.
 */
struct router *router_create_for_probes(const struct snapshot *snapshot, struct router *usual,
                                        struct error *error);
void           router_destroy(struct router **router);

/*
 * The class of a domain (lower or upper case). LOOKUP_FOUND sets *class (ROUTE_DEFAULT, too). No
 * domain ("<postmaster>") stands for this host: the class of $myorigin, or ROUTE_LOCAL when that
 * is not ours.
 */
enum lookup route_classify(struct router *router, struct slice domain, enum route_class *class,
                           struct error *error);

/* Whether a network address (presentation form) is one of this host's, or of proxy_interfaces. */
enum lookup route_is_own_address(struct router *router, struct slice address, struct error *error);

/*
 * Whether the address exists, for reject_unlisted_recipient. LOOKUP_FOUND also when the class
 * keeps no list, or canonical_maps or virtual_alias_maps know it. LOOKUP_NOT_FOUND: *reason is the
 * "User unknown in virtual mailbox table" text, or begins with a status of its own, "5.1.6 User
 * has moved to ...", "4.0.0 later" (relocated_maps, error: and retry: in transport_maps); it is
 * static or in the arena.
 * postmaster always exists without a domain and in $mydestination, and in all our domains when
 * postmaster_recipient is set or postmaster@$mydomain is a mailbox or alias (RFC 5321 4.5.1).
 */
enum lookup route_recipient_exists(struct router *router, struct slice address, struct arena *arena,
                                   const char **reason, struct error *error);

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

/* ---- rewriting ---- */

enum route_role {
	ROUTE_ENVELOPE_SENDER,
	ROUTE_ENVELOPE_RECIPIENT,
	ROUTE_HEADER_SENDER,
	ROUTE_HEADER_RECIPIENT,
};
struct route_rewriting {
	enum route_role role;
	bool            is_remote;    /* complete with remote_header_rewrite_domain */
	bool            is_quoted;    /* the local part was written in quotes */
	bool            without_maps; /* no_address_mappings: the standard form only */
};
/*
 * An address as it is to be: standard form, then sender_canonical_maps or recipient_canonical_maps,
 * canonical_maps (each until nothing changes), masquerade_domains, as far as their classes say.
 * LOOKUP_FOUND sets *result: address itself when nothing changes, otherwise in the arena. An
 * empty address, and one that cannot be looked up, stays as it is.
 */
enum lookup route_rewrite(struct router *router, const struct route_rewriting *how,
                          struct slice address, struct arena *arena, struct slice *result,
                          struct error *error);
/* Whether route_rewrite could change it at all: false costs nothing and is what most addresses are.
 */
bool route_may_rewrite(const struct router *router, const struct route_rewriting *how,
                       const struct address *address);
/* The standard form of an envelope address as a client gives it; data NULL when the arena is full.
 */
struct slice route_standard_form(struct router *router, struct slice address, struct arena *arena);
/*
 * The copy that sender_bcc_maps or recipient_bcc_maps want for an address, not yet rewritten.
 * LOOKUP_NOT_FOUND: none.
 */
enum lookup route_bcc(struct router *router, enum route_role role, struct slice address,
                      struct arena *arena, struct slice *copy, struct error *error);
/* The address as it leaves; LOOKUP_NOT_FOUND: unchanged. */
enum lookup route_generic(struct router *router, struct slice address, struct arena *arena,
                          struct slice *result, struct error *error);

/* ---- the sender of probes (address_verify_sender) ---- */

/*
 * The reverse-path of a probe sent now; empty = the null sender. With address_verify_sender_ttl its
 * local part changes in each of these times.
 */
bool route_probe_sender(const struct parameters *parameters, int64_t now_s, struct buf *sender);
/* Whether it is one of now, or of the time before or after: mail to it is taken, and discarded. */
bool route_is_probe_sender(const struct parameters *parameters, struct slice address,
                           int64_t now_s);

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
