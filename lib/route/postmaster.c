/* postmaster.c - somebody reads mail for postmaster: RFC 5321 4.5.1. See router.h. */
#include "lib/route/router.h"

/* Whether an address is an alias or a virtual mailbox here. */
static enum lookup
is_known_here(struct router *router, const struct router_address *address, struct error *error)
{
	struct buf value = BUF(ROUTER_VALUE_MOST);
	enum route_class class;
	enum lookup found = route_classify(router, address->parts.domain, &class, error);

	if (found == LOOKUP_FOUND && class != ROUTE_VIRTUAL_ALIAS && class != ROUTE_VIRTUAL_MAILBOX)
		return LOOKUP_NOT_FOUND;
	if (found == LOOKUP_FOUND)
		found = router_lookup(router, TABLE_VIRTUAL_ALIAS, address, false, &value, NULL,
		                      error);
	if (found == LOOKUP_NOT_FOUND && class == ROUTE_VIRTUAL_MAILBOX)
		found = router_lookup(router, TABLE_VIRTUAL_MAILBOX, address, false, &value, NULL,
		                      error);
	buf_free(&value);
	return found;
}

/* postmaster@$mydomain, when it is there. */
static enum lookup
find_default(struct router *router, struct arena *arena, struct slice *recipient,
             struct error *error)
{
	struct router_address candidate;
	char *text = arena_format(arena, "postmaster@%s", router->parameters->mydomain);

	if (text == NULL) {
		error_set(error, "out of memory for an address");
		return LOOKUP_TRY_LATER;
	}
	enum lookup found = router_complete(router, slice_from(text), arena, &candidate, error);
	if (found != LOOKUP_FOUND)
		return found;
	*recipient = candidate.whole;
	return is_known_here(router, &candidate, error);
}

/* The alias of that name, where mail for a domain in mydestination is local's. */
static enum lookup
is_local_alias(struct router *router, const struct router_address *address, struct error *error)
{
	struct buf  value = BUF(ROUTER_VALUE_MOST);
	enum lookup found =
		match_list_name(router->domains[DOMAINS_LOCAL], address->parts.domain, error);

	if (found == LOOKUP_FOUND)
		found = table_list_lookup(router->tables[TABLE_ALIAS], SLICE("postmaster"), &value,
		                          error);
	buf_free(&value);
	return found;
}

enum lookup
router_postmaster(struct router *router, const struct router_address *address,
                  enum route_class class, struct arena *arena, struct slice *recipient,
                  struct error *error)
{
	struct slice set = slice_trim(slice_from(router->parameters->postmaster_recipient));
	enum lookup  found = LOOKUP_FOUND;

	if (!slice_equal_fold(address->parts.local, SLICE("postmaster")))
		return LOOKUP_NOT_FOUND;
	/* Without a domain, or at this host, it is our postmaster even where the domain is not. */
	if (class == ROUTE_DEFAULT &&
	    !slice_equal_fold(address->parts.domain, slice_from(router->parameters->myorigin)) &&
	    !slice_equal_fold(address->parts.domain, slice_from(router->parameters->myhostname)))
		return LOOKUP_NOT_FOUND;
	if (class == ROUTE_LOCAL) {
		found = is_local_alias(router, address, error);
		if (found != LOOKUP_NOT_FOUND)
			return found == LOOKUP_TRY_LATER ? found : LOOKUP_NOT_FOUND;
		found = LOOKUP_FOUND;
	}
	if (set.length > 0)
		*recipient = set;
	else
		found = find_default(router, arena, recipient, error);
	if (found == LOOKUP_FOUND && slice_equal_fold(*recipient, address->whole))
		return LOOKUP_NOT_FOUND;
	return found;
}
