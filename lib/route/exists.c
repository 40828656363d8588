/* exists.c - is there such a recipient: reject_unlisted_recipient. See route.h. */
#include "lib/route/router.h"

/* Who knows the recipients of a class, and what is said when they do not. */
struct class_row {
	enum route_class class;
	enum router_table list;
	bool              list_is_complete; /* without a row there is no such user, list or not */
	const char       *reason;
};
static const struct class_row class_rows[] = {
	{ ROUTE_LOCAL, TABLE_LOCAL_RECIPIENT, false, "User unknown in local recipient table" },
	{ ROUTE_VIRTUAL_ALIAS, TABLE_VIRTUAL_ALIAS, true, "User unknown in virtual alias table" },
	{ ROUTE_VIRTUAL_MAILBOX, TABLE_VIRTUAL_MAILBOX, false,
	  "User unknown in virtual mailbox table" },
	{ ROUTE_RELAY, TABLE_RELAY_RECIPIENT, false, "User unknown in relay recipient table" },
};

static const struct class_row *row_of(enum route_class class)
{
	for (size_t i = 0; i < sizeof(class_rows) / sizeof(class_rows[0]); i++)
		if (class_rows[i].class == class)
			return &class_rows[i];
	return NULL;
}

/* Names that exist at this host, whatever the tables say. */
static bool
is_always_there(const struct router *router, const struct router_address *address,
                enum route_class class, bool                              is_bare)
{
	return (class == ROUTE_LOCAL || is_bare) &&
	       (slice_equal_fold(address->parts.local, SLICE("postmaster")) ||
	        slice_equal_fold(address->parts.local,
	                         slice_from(router->parameters->double_bounce_sender)));
}

/* Asks virtual_alias_maps, which may know an address of any class, then the list of its class. */
static enum lookup
ask_tables(struct router *router, const struct router_address *address, enum route_class class,
           const char **reason, struct buf *value, struct error *error)
{
	const struct class_row *row = row_of(class);
	bool                    is_own;
	enum lookup found = router_is_own_domain(router, address->parts.domain, &is_own, error);

	if (found != LOOKUP_FOUND)
		return found;
	found = router_lookup(router, TABLE_VIRTUAL_ALIAS, address, is_own, value, NULL, error);
	if (found != LOOKUP_NOT_FOUND || row == NULL)
		return found == LOOKUP_TRY_LATER ? found : LOOKUP_FOUND;
	if (!row->list_is_complete) {
		if (table_list_is_empty(router->tables[row->list]))
			return LOOKUP_FOUND;
		found = router_lookup(router, row->list, address, class == ROUTE_LOCAL, value, NULL,
		                      error);
	}
	if (found == LOOKUP_NOT_FOUND)
		*reason = row->reason;
	return found;
}

/* A name without domain when $myorigin is somebody else's: there are no users here. */
static enum lookup
unknown_here(const char **reason)
{
	*reason = row_of(ROUTE_LOCAL)->reason;
	return LOOKUP_NOT_FOUND;
}

enum lookup
route_recipient_exists(struct router *router, struct slice address, const char **reason,
                       struct error *error)
{
	struct arena          arena = ARENA(16384);
	struct buf            value = BUF(ROUTER_VALUE_MOST);
	struct router_address complete;
	struct slice          ignored;
	enum route_class class;
	enum lookup found = LOOKUP_NOT_FOUND;

	if (!router_complete(router, address, &arena, &complete)) {
		*reason = "Bad address syntax";
		goto out;
	}
	bool is_bare = complete.whole.length != address.length;
	found = route_classify(router, complete.parts.domain, &class, error);
	if (found != LOOKUP_FOUND || is_always_there(router, &complete, class, is_bare))
		goto out;
	found = router_postmaster(router, &complete, class, &arena, &ignored, error);
	if (found != LOOKUP_NOT_FOUND)
		goto out;
	found = is_bare && class == ROUTE_DEFAULT
	                ? unknown_here(reason)
	                : ask_tables(router, &complete, class, reason, &value, error);
out:
	buf_free(&value);
	arena_reset(&arena);
	return found;
}
