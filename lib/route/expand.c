/* expand.c - virtual_alias_maps, applied until nothing changes. See route.h. */
#include "lib/route/router.h"

#include "lib/base/array.h"
#include "lib/base/hash.h"

struct pending {
	struct slice address;
	unsigned     depth;
};

struct expansion {
	struct router *router;
	struct arena  *arena;
	struct error  *error;
	ARRAY(struct pending) todo; /* the next one last */
	ARRAY(struct slice) done;
	struct hash seen; /* folded addresses that are in todo or done, or were replaced */
	struct buf  value;
};

/* ---- helpers ---- */

static enum lookup
out_of_memory(struct expansion *expansion)
{
	error_set(expansion->error, "virtual_alias_maps: out of memory");
	return LOOKUP_TRY_LATER;
}

/* Marks an address as seen; *is_new tells whether it was not. False: out of memory. */
static bool
mark_seen(struct expansion *expansion, struct slice address, bool *is_new)
{
	static const char seen; /* any pointer that is not NULL */
	struct buf        folded = BUF(ADDRESS_LOCAL_MOST + ADDRESS_DOMAIN_MOST + 2);
	bool              ok = buf_append_lower(&folded, address);

	*is_new = ok && hash_get(&expansion->seen, buf_slice(&folded)) == NULL;
	if (*is_new)
		ok = hash_put(&expansion->seen, buf_slice(&folded), (void *)(uintptr_t)&seen, NULL);
	buf_free(&folded);
	return ok;
}

/* What a table's item stands for, within its limit. */
static bool
make_result(struct expansion *expansion, const struct router_mapping *mapping, struct slice item,
            struct slice *result)
{
	struct router *router = expansion->router;

	if (!router_map_item(router, mapping, item, expansion->arena, result, expansion->error))
		return false;
	return result->length <= (size_t)router->parameters->virtual_alias_address_length_limit ||
	       error_set(expansion->error,
	                 "virtual_alias_maps: %.*s: result longer than "
	                 "virtual_alias_address_length_limit",
	                 SLICE_ARGS(mapping->from->whole));
}

/* ---- one address ---- */

/* Mail for postmaster where nobody else has that name. LOOKUP_FOUND puts it in the value. */
static enum lookup
ask_postmaster(struct expansion *expansion, const struct router_address *address)
{
	struct router *router = expansion->router;
	struct slice   recipient;
	enum route_class class;

	if (!slice_equal_fold(address->parts.local, SLICE("postmaster")))
		return LOOKUP_NOT_FOUND;
	enum lookup found = route_classify(router, address->parts.domain, &class, expansion->error);
	if (found == LOOKUP_FOUND && class == ROUTE_VIRTUAL_MAILBOX) {
		found = router_lookup(router, TABLE_VIRTUAL_MAILBOX, address, false,
		                      &expansion->value, NULL, expansion->error);
		if (found != LOOKUP_NOT_FOUND) /* a mailbox of its own */
			return found == LOOKUP_TRY_LATER ? found : LOOKUP_NOT_FOUND;
		found = LOOKUP_FOUND;
	}
	if (found == LOOKUP_FOUND)
		found = router_postmaster(router, address, class, expansion->arena, &recipient,
		                          expansion->error);
	if (found != LOOKUP_FOUND)
		return found;
	buf_clear(&expansion->value);
	return buf_append(&expansion->value, recipient) ? LOOKUP_FOUND : out_of_memory(expansion);
}

static enum lookup
ask_aliases(struct expansion *expansion, const struct router_address *address,
            struct slice *extension)
{
	bool        is_own;
	enum lookup found = router_is_own_domain(expansion->router, address->parts.domain, &is_own,
	                                         expansion->error);

	*extension = SLICE_EMPTY;
	if (found != LOOKUP_FOUND)
		return found;
	found = router_lookup(expansion->router, TABLE_VIRTUAL_ALIAS, address, is_own,
	                      &expansion->value, extension, expansion->error);
	return found == LOOKUP_NOT_FOUND ? ask_postmaster(expansion, address) : found;
}

static bool
is_over_a_limit(struct expansion *expansion, const struct pending *one)
{
	const struct parameters *parameters = expansion->router->parameters;

	if (expansion->todo.count + expansion->done.count >=
	    (size_t)parameters->virtual_alias_expansion_limit)
		return !error_set(expansion->error,
		                  "unreasonable virtual_alias_maps expansion size for %.*s",
		                  SLICE_ARGS(one->address));
	if (one->depth >= (unsigned)parameters->virtual_alias_recursion_limit)
		return !error_set(expansion->error,
		                  "unreasonable virtual_alias_maps nesting for %.*s",
		                  SLICE_ARGS(one->address));
	return false;
}

/* Puts the results of one address on the stack, or itself into done when it is among them. */
static enum lookup
push_results(struct expansion *expansion, const struct pending *from,
             const struct router_address *address, struct slice extension)
{
	struct router_mapping mapping = { .table = TABLE_VIRTUAL_ALIAS,
		                          .from = address,
		                          .extension = extension,
		                          .propagates = (expansion->router->propagates &
		                                         PROPAGATE_VIRTUAL) != 0 };
	struct slice          list = buf_slice(&expansion->value), item, result;
	size_t                first = expansion->todo.count;
	bool                  is_new;

	while (router_next_item(&list, &item)) {
		if (item.length == 0)
			continue;
		if (is_over_a_limit(expansion, from) ||
		    !make_result(expansion, &mapping, item, &result))
			return LOOKUP_TRY_LATER;
		if (slice_equal_fold(result, address->whole)) {
			if (!ARRAY_PUSH(&expansion->done, address->whole))
				return out_of_memory(expansion);
			continue;
		}
		struct pending next = { result, from->depth + 1 };
		if (!mark_seen(expansion, result, &is_new) ||
		    (is_new && !ARRAY_PUSH(&expansion->todo, next)))
			return out_of_memory(expansion);
	}
	/* The last on the stack is next: turn the new ones round to keep the table's order. */
	for (size_t a = first, b = expansion->todo.count; a + 1 < b; a++, b--) {
		struct pending swapped = expansion->todo.items[a];

		expansion->todo.items[a] = expansion->todo.items[b - 1];
		expansion->todo.items[b - 1] = swapped;
	}
	return LOOKUP_FOUND;
}

/* One address off the stack: final, or replaced by what its alias says. */
static enum lookup
expand_next(struct expansion *expansion)
{
	struct pending        one = expansion->todo.items[--expansion->todo.count];
	struct router_address address;
	struct slice          extension;

	enum lookup found = router_complete(expansion->router, one.address, expansion->arena,
	                                    &address, expansion->error);
	if (found == LOOKUP_NOT_FOUND)
		error_set(expansion->error, "virtual_alias_maps: bad address \"%.*s\"",
		          SLICE_ARGS(one.address));
	if (found != LOOKUP_FOUND)
		return LOOKUP_TRY_LATER;
	found = ask_aliases(expansion, &address, &extension);
	if (found == LOOKUP_FOUND)
		return push_results(expansion, &one, &address, extension);
	if (found == LOOKUP_NOT_FOUND && !ARRAY_PUSH(&expansion->done, address.whole))
		return out_of_memory(expansion);
	return found == LOOKUP_TRY_LATER ? found : LOOKUP_FOUND;
}

static enum lookup
expand_all(struct expansion *expansion, struct slice address)
{
	struct pending first = { address, 0 };
	bool           is_new;

	if (!mark_seen(expansion, address, &is_new) || !ARRAY_PUSH(&expansion->todo, first))
		return out_of_memory(expansion);
	while (expansion->todo.count > 0) {
		enum lookup found = expand_next(expansion);

		if (found != LOOKUP_FOUND)
			return found;
	}
	if (expansion->done.count > 0)
		return LOOKUP_FOUND;
	/* a -> b, b -> a: nobody would get it, so nobody may have accepted it. */
	error_set(expansion->error, "virtual_alias_maps: %.*s: aliases lead in a circle",
	          SLICE_ARGS(address));
	return LOOKUP_TRY_LATER;
}

enum lookup
route_expand(struct router *router, struct slice address, struct arena *arena,
             struct route_addresses *addresses, struct error *error)
{
	struct expansion      expansion = { .router = router, .arena = arena, .error = error };
	struct router_address complete;
	enum lookup           found;

	expansion.value = BUF(ROUTER_VALUE_MOST);
	found = router_complete(router, address, arena, &complete, error);
	if (found == LOOKUP_NOT_FOUND)
		error_set(error, "bad address \"%.*s\"", SLICE_ARGS(address));
	if (found != LOOKUP_FOUND)
		return LOOKUP_TRY_LATER;
	found = expand_all(&expansion, complete.whole);
	if (found == LOOKUP_FOUND) {
		struct slice *items =
			arena_alloc_array(arena, expansion.done.count, sizeof(struct slice));

		if (items == NULL) {
			found = out_of_memory(&expansion);
		} else {
			memcpy(items, expansion.done.items,
			       expansion.done.count * sizeof(struct slice));
			*addresses = (struct route_addresses){ items, expansion.done.count };
		}
	}
	ARRAY_FREE(&expansion.todo);
	ARRAY_FREE(&expansion.done);
	hash_free(&expansion.seen, NULL);
	buf_free(&expansion.value);
	return found;
}
