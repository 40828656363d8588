/* exists.c - is there such a recipient: reject_unlisted_recipient. See route.h. */
#include "lib/route/router.h"

#include "lib/base/clock.h"

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
	/* Others that verify our probes' sender must find it. */
	if (route_is_probe_sender(router->parameters, address->whole, clock_wall_us() / 1000000))
		return true;
	return (class == ROUTE_LOCAL || is_bare) &&
	       (slice_equal_fold(address->parts.local, SLICE("postmaster")) ||
	        slice_equal_fold(address->parts.local,
	                         slice_from(router->parameters->double_bounce_sender)));
}

/* The tables that may know an address of any class. */
static enum lookup
ask_rewriting(struct router *router, const struct router_address *address, struct buf *value,
              struct error *error)
{
	static const enum router_table tables[] = { TABLE_RECIPIENT_CANONICAL, TABLE_CANONICAL,
		                                    TABLE_VIRTUAL_ALIAS };
	bool                           is_own;
	enum lookup found = router_is_own_domain(router, address->parts.domain, &is_own, error);

	if (found != LOOKUP_FOUND)
		return found;
	found = LOOKUP_NOT_FOUND;
	for (size_t i = 0; found == LOOKUP_NOT_FOUND && i < sizeof(tables) / sizeof(tables[0]); i++)
		found = router_lookup(router, tables[i], address, is_own, value, NULL, error);
	return found;
}

/* What relocated_maps or transport_maps say against it, as a reason. */
static enum lookup
ask_refusal(struct router *router, const struct router_address *address, struct arena *arena,
            const char **reason, struct error *error)
{
	struct slice text;
	enum lookup  found = router_refusal(router, address->whole, arena, &text, error);

	if (found != LOOKUP_FOUND)
		return found;
	*reason = arena_text(arena, text);
	if (*reason != NULL)
		return LOOKUP_FOUND;
	error_set(error, "out of memory for a reason");
	return LOOKUP_TRY_LATER;
}

/* Asks the tables that rewrite, what refuses by address, then the list of the class. */
static enum lookup
ask_tables(struct router *router, const struct router_address *address, enum route_class class,
           struct arena *arena, const char **reason, struct buf *value, struct error *error)
{
	const struct class_row *row = row_of(class);
	enum lookup             found = ask_rewriting(router, address, value, error);

	if (found != LOOKUP_NOT_FOUND)
		return found;
	found = ask_refusal(router, address, arena, reason, error);
	if (found != LOOKUP_NOT_FOUND)
		return found == LOOKUP_FOUND ? LOOKUP_NOT_FOUND : found;
	if (row == NULL)
		return LOOKUP_FOUND;
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

enum lookup
route_recipient_exists(struct router *router, struct slice address, struct arena *arena,
                       const char **reason, struct error *error)
{
	struct buf            value = BUF(ROUTER_VALUE_MOST);
	struct router_address complete;
	struct slice          ignored;
	enum route_class class;
	enum lookup found = router_complete(router, address, arena, &complete, error);

	if (found != LOOKUP_FOUND) {
		*reason = "Bad address syntax";
		goto out;
	}
	bool is_bare = complete.whole.length != address.length;
	found = route_classify(router, complete.parts.domain, &class, error);
	if (found != LOOKUP_FOUND || is_always_there(router, &complete, class, is_bare))
		goto out;
	found = router_postmaster(router, &complete, class, arena, &ignored, error);
	if (found != LOOKUP_NOT_FOUND)
		goto out;
	found = ask_tables(router, &complete, class, arena, reason, &value, error);
out:
	buf_free(&value);
	return found;
}
