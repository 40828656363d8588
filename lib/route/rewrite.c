/* rewrite.c - addresses as they are to be: standard form, canonical, masquerade. See route.h. */
#include "lib/route/router.h"

#define NESTING_MOST 1000 /* of canonical mappings, as Postfix has it */

/* ---- standard form ---- */

/* "site!user" and "user%domain", when both parts are there. */
static bool
take_routing(const struct router *router, struct address *address)
{
	struct slice local = address->local;
	size_t       bang = slice_find_byte(local, '!');
	size_t       percent = slice_find_last_byte(local, '%');

	if (router->parameters->swap_bangpath && bang != SLICE_NOT_FOUND) {
		if (bang == 0 || bang + 1 == local.length)
			return false;
		address->domain = slice_first(local, bang);
		address->local = slice_from_offset(local, bang + 1);
		return true;
	}
	if (!router->parameters->allow_percent_hack || percent == SLICE_NOT_FOUND || percent == 0 ||
	    percent + 1 == local.length)
		return false;
	address->domain = slice_from_offset(local, percent + 1);
	address->local = slice_first(local, percent);
	return true;
}

bool
router_standardize(const struct router *router, bool is_remote, bool is_quoted,
                   struct address *address, struct arena *arena)
{
	const struct parameters *parameters = router->parameters;
	const char              *origin =
                is_remote ? parameters->remote_header_rewrite_domain : parameters->myorigin;
	const char *parent =
		is_remote ? parameters->remote_header_rewrite_domain : parameters->mydomain;

	if (address->domain.length == 0 && (is_quoted || !take_routing(router, address)) &&
	    parameters->append_at_myorigin)
		address->domain = slice_from(origin);
	if (parameters->append_dot_mydomain && address->domain.length > 0 && parent[0] != '\0' &&
	    address->domain.data[0] != '[' && !slice_contains_byte(address->domain, '.')) {
		const char *text =
			arena_format(arena, "%.*s.%s", SLICE_ARGS(address->domain), parent);
		if (text == NULL)
			return false;
		address->domain = slice_from(text);
	}
	size_t length = address->domain.length;
	if (length > 1 && address->domain.data[length - 1] == '.' &&
	    address->domain.data[length - 2] != '.')
		address->domain.length--;
	return true;
}

/* ---- canonical ---- */

static enum lookup
map_until_stable(struct router *router, enum router_table table, struct slice *address,
                 struct arena *arena, struct error *error)
{
	for (unsigned depth = 0; depth < NESTING_MOST; depth++) {
		struct slice before = *address;
		enum lookup  found = router_map_once(router, table,
		                                     (router->propagates & PROPAGATE_CANONICAL) != 0,
		                                     before, arena, address, error);

		if (found == LOOKUP_TRY_LATER)
			return found;
		if (found == LOOKUP_NOT_FOUND || slice_equal_fold(before, *address))
			return LOOKUP_FOUND;
	}
	error_set(error, "unreasonable %s nesting for %.*s", router_table_name(table),
	          SLICE_ARGS(*address));
	return LOOKUP_TRY_LATER;
}

/* ---- masquerade ---- */

/* A domain without its part below masquerade_domains; the same when none of them fits. */
static struct slice
masqueraded_domain(struct slice domain, struct slice masquerade)
{
	struct slice parent;

	while (slice_next_word(&masquerade, " \t\r\n,", &parent)) {
		bool cuts = true;

		for (; parent.length > 0 && parent.data[0] == '!'; cuts = !cuts)
			parent = slice_from_offset(parent, 1);
		if (parent.length == 0 || !slice_ends_with_fold(domain, parent))
			continue;
		if (parent.length == domain.length)
			return domain;
		if (domain.data[domain.length - parent.length - 1] == '.')
			return cuts ? parent : domain;
	}
	return domain;
}

static enum lookup
masquerade(struct router *router, struct slice *address, struct arena *arena, struct error *error)
{
	struct router_address parts = router_address_of(*address);
	struct slice          list = slice_from(router->parameters->masquerade_domains);

	if (parts.parts.domain.length == 0)
		return LOOKUP_FOUND;
	struct slice domain = masqueraded_domain(parts.parts.domain, list);
	if (domain.length == parts.parts.domain.length)
		return LOOKUP_FOUND;
	switch (match_list_name(router->masquerade_exceptions, parts.parts.local, error)) {
	case LOOKUP_FOUND: return LOOKUP_FOUND;
	case LOOKUP_TRY_LATER:
		error_prefix(error, "masquerade_exceptions");
		return LOOKUP_TRY_LATER;
	case LOOKUP_NOT_FOUND: break;
	}
	char *text =
		arena_format(arena, "%.*s@%.*s", SLICE_ARGS(parts.parts.local), SLICE_ARGS(domain));
	if (text == NULL) {
		error_set(error, "out of memory for an address");
		return LOOKUP_TRY_LATER;
	}
	*address = slice_from(text);
	return LOOKUP_FOUND;
}

/* ---- the whole ---- */

static bool
is_sender(enum route_role role)
{
	return role == ROUTE_ENVELOPE_SENDER || role == ROUTE_HEADER_SENDER;
}

static bool
has_class(const struct router *router, enum router_rewriting rewriting, enum route_role role)
{
	return (router->classes[rewriting] & (1u << role)) != 0;
}

bool
route_may_rewrite(const struct router *router, const struct route_rewriting *how,
                  const struct address *address)
{
	struct slice domain = address->domain;

	if (domain.length == 0 || domain.data[domain.length - 1] == '.' ||
	    (router->parameters->append_dot_mydomain && !slice_contains_byte(domain, '.')))
		return true;
	if (how->without_maps)
		return false;
	return !table_list_is_empty(router->tables[TABLE_CANONICAL]) ||
	       !table_list_is_empty(
		       router->tables[is_sender(how->role) ? TABLE_SENDER_CANONICAL
	                                                   : TABLE_RECIPIENT_CANONICAL]) ||
	       router->parameters->masquerade_domains[0] != '\0';
}

static enum lookup
apply_maps(struct router *router, enum route_role role, struct slice *address, struct arena *arena,
           struct error *error)
{
	enum router_table own =
		is_sender(role) ? TABLE_SENDER_CANONICAL : TABLE_RECIPIENT_CANONICAL;
	enum router_rewriting own_classes =
		is_sender(role) ? REWRITING_SENDER_CANONICAL : REWRITING_RECIPIENT_CANONICAL;
	enum lookup found = LOOKUP_FOUND;

	if (!table_list_is_empty(router->tables[own]) && has_class(router, own_classes, role))
		found = map_until_stable(router, own, address, arena, error);
	if (found == LOOKUP_FOUND && !table_list_is_empty(router->tables[TABLE_CANONICAL]) &&
	    has_class(router, REWRITING_CANONICAL, role))
		found = map_until_stable(router, TABLE_CANONICAL, address, arena, error);
	if (found == LOOKUP_FOUND && router->parameters->masquerade_domains[0] != '\0' &&
	    has_class(router, REWRITING_MASQUERADE, role))
		found = masquerade(router, address, arena, error);
	return found;
}

/* Whether tables can be asked for it, and logs can hold it. */
static bool
is_sound(struct slice address)
{
	return address.length > 0 &&
	       address.length <= ADDRESS_LOCAL_MOST + ADDRESS_DOMAIN_MOST + 2 &&
	       !slice_has_control(address) && slice_is_utf8(address);
}

/* *whole: the standard form; address itself when it has it already. False: no memory. */
static bool
make_standard(struct router *router, const struct route_rewriting *how, struct slice address,
              struct arena *arena, struct slice *whole)
{
	struct router_address given = router_address_of(address);
	struct address        parts = given.parts;

	if (!router_standardize(router, how->is_remote, how->is_quoted, &parts, arena))
		return false;
	*whole = address;
	if (slice_equal(parts.local, given.parts.local) &&
	    slice_equal(parts.domain, given.parts.domain))
		return true;
	const char *text =
		arena_format(arena, "%.*s@%.*s", SLICE_ARGS(parts.local), SLICE_ARGS(parts.domain));
	*whole = slice_from(text);
	return text != NULL;
}

enum lookup
route_rewrite(struct router *router, const struct route_rewriting *how, struct slice address,
              struct arena *arena, struct slice *result, struct error *error)
{
	struct address parts = router_address_of(address).parts;
	struct slice   whole;

	*result = address;
	if (!route_may_rewrite(router, how, &parts) || !is_sound(address))
		return LOOKUP_FOUND;
	if (!make_standard(router, how, address, arena, &whole)) {
		error_set(error, "out of memory for an address");
		return LOOKUP_TRY_LATER;
	}
	if (!how->without_maps && slice_contains_byte(whole, '@')) {
		enum lookup found = apply_maps(router, how->role, &whole, arena, error);

		if (found != LOOKUP_FOUND)
			return found;
	}
	if (!slice_equal(whole, address))
		*result = whole;
	return LOOKUP_FOUND;
}

struct slice
route_standard_form(struct router *router, struct slice address, struct arena *arena)
{
	struct route_rewriting how = { .role = ROUTE_ENVELOPE_SENDER };
	struct slice           whole = address;

	how.is_quoted = address_needs_quotes(router_address_of(address).parts.local);
	if (address.length > 0 && !make_standard(router, &how, address, arena, &whole))
		return slice_of(NULL, 0);
	return whole;
}

enum lookup
route_bcc(struct router *router, enum route_role role, struct slice address, struct arena *arena,
          struct slice *copy, struct error *error)
{
	return router_map_once(router, is_sender(role) ? TABLE_SENDER_BCC : TABLE_RECIPIENT_BCC,
	                       false, address, arena, copy, error);
}

enum lookup
route_generic(struct router *router, struct slice address, struct arena *arena,
              struct slice *result, struct error *error)
{
	if (!is_sound(address))
		return LOOKUP_NOT_FOUND;
	enum lookup found = router_map_once(router, TABLE_GENERIC,
	                                    (router->propagates & PROPAGATE_GENERIC) != 0, address,
	                                    arena, result, error);
	return found == LOOKUP_FOUND && slice_equal(*result, address) ? LOOKUP_NOT_FOUND : found;
}
