/* mailbox.c - virtual mailboxes: path, owner and quota. See route.h. */
#include "lib/route/router.h"

#include "lib/base/number.h"

/* The path of the mailbox. */
static enum lookup
fill_path(struct router *router, const struct router_address *address, struct arena *arena,
          struct route *route, struct buf *value, struct error *error)
{
	enum lookup found =
		router_lookup(router, TABLE_VIRTUAL_MAILBOX, address, false, value, NULL, error);

	if (found != LOOKUP_FOUND)
		return found;
	struct slice path = slice_trim(buf_slice(value));
	if (path.length == 0 || slice_has_control(path)) {
		error_set(error, "virtual_mailbox_maps: %.*s: bad mailbox path",
		          SLICE_ARGS(address->whole));
		return LOOKUP_TRY_LATER;
	}
	route->mailbox = arena_copy(arena, path);
	if (route->mailbox.data == NULL) {
		error_set(error, "out of memory");
		return LOOKUP_TRY_LATER;
	}
	return LOOKUP_FOUND;
}

/* A number from a table; LOOKUP_TRY_LATER also when what is there is no such number. */
static enum lookup
read_number(struct router *router, enum router_table table, const char *name,
            const struct router_address *address, int64_t least, int64_t most, struct buf *value,
            int64_t *number, struct error *error)
{
	enum lookup found = router_lookup(router, table, address, false, value, NULL, error);

	if (found != LOOKUP_FOUND)
		return found;
	if (number_parse(slice_trim(buf_slice(value)), least, most, number))
		return LOOKUP_FOUND;
	error_set(error, "%s: %.*s: \"%.*s\" is no number from %lld on", name,
	          SLICE_ARGS(address->whole), SLICE_ARGS(slice_first(buf_slice(value), 40)),
	          (long long)least);
	return LOOKUP_TRY_LATER;
}

static enum lookup
read_owner(struct router *router, enum router_table table, const char *name,
           const struct router_address *address, struct buf *value, uint32_t *owner,
           struct error *error)
{
	int64_t     number = 0;
	enum lookup found =
		read_number(router, table, name, address, router->parameters->virtual_minimum_uid,
	                    UINT32_MAX - 1, value, &number, error);

	/* A mailbox whose owner is not known is a mistake in the tables, not an unknown user. */
	if (found == LOOKUP_NOT_FOUND) {
		error_set(error, "recipient %.*s: not found in %s", SLICE_ARGS(address->whole),
		          name);
		return LOOKUP_TRY_LATER;
	}
	if (found == LOOKUP_FOUND)
		*owner = (uint32_t)number;
	return found;
}

static enum lookup
read_quota(struct router *router, const struct router_address *address, struct buf *value,
           uint64_t *quota, struct error *error)
{
	int64_t     number = 0;
	enum lookup found = read_number(router, TABLE_VIRTUAL_QUOTA, "virtual_mailbox_quota_maps",
	                                address, 0, INT64_MAX, value, &number, error);

	if (found == LOOKUP_TRY_LATER)
		return found;
	*quota = (uint64_t)number;
	return LOOKUP_FOUND;
}

enum lookup
router_fill_mailbox(struct router *router, const struct router_address *address,
                    struct arena *arena, struct route *route, struct error *error)
{
	struct route filled = *route;
	struct buf   value = BUF(ROUTER_VALUE_MOST);
	enum lookup  found = fill_path(router, address, arena, &filled, &value, error);

	if (found == LOOKUP_FOUND)
		found = read_owner(router, TABLE_VIRTUAL_UID, "virtual_uid_maps", address, &value,
		                   &filled.uid, error);
	if (found == LOOKUP_FOUND)
		found = read_owner(router, TABLE_VIRTUAL_GID, "virtual_gid_maps", address, &value,
		                   &filled.gid, error);
	if (found == LOOKUP_FOUND)
		found = read_quota(router, address, &value, &filled.quota, error);
	if (found == LOOKUP_FOUND)
		*route = filled;
	buf_free(&value);
	return found;
}

enum lookup
route_mailbox(struct router *router, struct slice address, struct arena *arena, struct route *route,
              struct error *error)
{
	struct route          found_route = { .transport = SLICE("virtual") };
	struct router_address complete;

	enum lookup found = router_complete(router, address, arena, &complete, error);
	if (found != LOOKUP_FOUND)
		return found;
	found_route.recipient = complete.whole;
	found_route.nexthop = complete.parts.domain;
	found = router_fill_mailbox(router, &complete, arena, &found_route, error);
	if (found == LOOKUP_FOUND)
		*route = found_route;
	return found;
}
