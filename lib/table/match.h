/*
 * match.h - match lists: mynetworks, mydestination, relay_domains, debug_peer_list.
 *
 * Items separated by blanks or commas, tried in order: a domain, .domain, an address, [v6]/len,
 * net/len, type:table (a found key matches), /file/name (its lines are items), !item (a match
 * says no). Three answers, because tables have three.
 */
#ifndef DAKIYA_TABLE_MATCH_H
#define DAKIYA_TABLE_MATCH_H

#include <sys/socket.h>

#include "lib/table/table.h"

struct match_list;

enum match_kind {
	MATCH_DOMAINS,             /* a domain matches itself only; .domain its subdomains */
	MATCH_DOMAINS_AND_PARENTS, /* listed in parent_domain_matches_subdomains */
	MATCH_ADDRESSES,           /* host addresses and networks */
	MATCH_HOSTS,               /* either */
	MATCH_STRINGS,
};

struct match_list *match_list_open(const char *items, enum match_kind kind, struct error *error);
void               match_list_close(struct match_list **list);
enum lookup        match_list_name(struct match_list *list, struct slice name, struct error *error);
/* Address in presentation form; name may be empty. */
enum lookup match_list_client(struct match_list *list, struct slice name, struct slice address,
                              struct error *error);

#endif
