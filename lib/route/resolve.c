/* resolve.c - transport and next hop of a recipient, FACTS 2.4 "Resolution order". See route.h. */
#include "lib/route/router.h"

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/mail/status.h"

#define WARNING_PAUSE_MS 60000 /* between warnings about domains in two classes */

struct resolution {
	struct router        *router;
	struct arena         *arena;
	struct error         *error;
	struct slice          sender;
	bool                  without_sender; /* tables by sender are not asked */
	struct router_address recipient;
	struct buf            value;
	struct slice          transport;
	struct slice          nexthop;
};

/* Where each class goes unless transport_maps says otherwise. */
struct class_route {
	enum route_class class;
	size_t transport; /* parameter, transport:nexthop */
	bool   is_remote; /* relayhost may take the place of the domain */
};
#define CLASS_ROUTE(class, parameter, is_remote)                                                   \
	{                                                                                          \
		class, offsetof(struct parameters, parameter), is_remote                           \
	}
static const struct class_route class_routes[] = {
	CLASS_ROUTE(ROUTE_LOCAL, local_transport, false),
	CLASS_ROUTE(ROUTE_VIRTUAL_MAILBOX, virtual_transport, false),
	CLASS_ROUTE(ROUTE_RELAY, relay_transport, true),
	CLASS_ROUTE(ROUTE_DEFAULT, default_transport, true),
};

static enum lookup
out_of_memory(struct error *error)
{
	error_set(error, "out of memory for the route");
	return LOOKUP_TRY_LATER;
}

static bool
keep(struct resolution *resolution, struct slice text, struct slice *kept)
{
	*kept = arena_copy(resolution->arena, text);
	return kept->data != NULL;
}

/* "transport:nexthop", cut at the first colon; either part may be empty. */
static void
split_transport(struct slice text, struct slice *transport, struct slice *nexthop)
{
	size_t colon = slice_find_byte(text, ':');

	*transport = colon == SLICE_NOT_FOUND ? text : slice_first(text, colon);
	*nexthop = colon == SLICE_NOT_FOUND ? SLICE_EMPTY
	                                    : slice_trim(slice_from_offset(text, colon + 1));
}

/* ---- tables by sender ---- */

/* LOOKUP_FOUND leaves the trimmed result in *result, which lies in resolution->value. */
static enum lookup
ask_by_sender(struct resolution *resolution, enum router_table table, struct slice *result)
{
	struct router        *router = resolution->router;
	struct router_address sender = { SLICE("<>"), { SLICE("<>"), SLICE_EMPTY } };
	enum lookup           found = LOOKUP_FOUND;

	if (resolution->without_sender || table_list_is_empty(router->tables[table]))
		return LOOKUP_NOT_FOUND;
	if (resolution->sender.length > 0)
		found = router_complete(router, resolution->sender, resolution->arena, &sender,
		                        resolution->error);
	if (found != LOOKUP_FOUND)
		return found;
	if (resolution->sender.length == 0)
		found = table_list_lookup(router->tables[table], sender.whole, &resolution->value,
		                          resolution->error);
	else
		found = router_lookup(router, table, &sender, false, &resolution->value, NULL,
		                      resolution->error);
	*result = slice_trim(buf_slice(&resolution->value));
	if (found == LOOKUP_FOUND && slice_equal_fold(*result, SLICE("DUNNO")))
		return LOOKUP_NOT_FOUND;
	return found;
}

/* ---- the class's own route ---- */

static const struct class_route *class_route_of(enum route_class class)
{
	for (size_t i = 0; i < sizeof(class_routes) / sizeof(class_routes[0]); i++)
		if (class_routes[i].class == class)
			return &class_routes[i];
	return NULL;
}

/* sender_dependent_relayhost_maps, then relayhost, then the domain. */
static enum lookup
remote_nexthop(struct resolution *resolution)
{
	struct slice nexthop = slice_from(resolution->router->parameters->relayhost);
	enum lookup  found = ask_by_sender(resolution, TABLE_SENDER_RELAYHOST, &nexthop);

	if (found == LOOKUP_TRY_LATER)
		return found;
	if (found == LOOKUP_NOT_FOUND)
		nexthop = slice_trim(slice_from(resolution->router->parameters->relayhost));
	if (nexthop.length == 0)
		nexthop = resolution->recipient.parts.domain;
	return keep(resolution, nexthop, &resolution->nexthop) ? LOOKUP_FOUND
	                                                       : out_of_memory(resolution->error);
}

static enum lookup
route_by_class(struct resolution *resolution, enum route_class class)
{
	const struct class_route *row = class_route_of(class);
	struct slice              text;
	const char               *parameter;

	if (row == NULL) { /* an alias domain's address that no alias has replaced */
		resolution->transport = SLICE("error");
		resolution->nexthop = SLICE("5.1.1 User unknown in virtual alias table");
		return LOOKUP_FOUND;
	}
	memcpy(&parameter, (const char *)resolution->router->parameters + row->transport,
	       sizeof(parameter));
	text = slice_from(parameter);
	if (class == ROUTE_DEFAULT) {
		struct slice by_sender;
		enum lookup  found = ask_by_sender(resolution, TABLE_SENDER_TRANSPORT, &by_sender);

		if (found == LOOKUP_TRY_LATER)
			return found;
		if (found == LOOKUP_FOUND && !keep(resolution, by_sender, &text))
			return out_of_memory(resolution->error);
	}
	split_transport(text, &resolution->transport, &resolution->nexthop);
	if (resolution->nexthop.length > 0)
		return LOOKUP_FOUND;
	if (row->is_remote)
		return remote_nexthop(resolution);
	resolution->nexthop = resolution->recipient.parts.domain;
	return LOOKUP_FOUND;
}

/* ---- transport_maps ---- */

/* Only in tables that hold whole keys: patterns have seen the whole address. */
static enum lookup
ask_transport_part(struct resolution *resolution, struct slice key)
{
	struct table_list *list = resolution->router->tables[TABLE_TRANSPORT];

	for (size_t i = 0; i < table_list_count(list); i++) {
		struct table *table = table_list_get(list, i);

		if (table_has_patterns(table))
			continue;
		enum lookup found = table_lookup(table, key, &resolution->value, resolution->error);
		if (found != LOOKUP_NOT_FOUND)
			return found;
	}
	return LOOKUP_NOT_FOUND;
}

/* domain, then .parent for each parent (or parent, see parent_domain_matches_subdomains), "*". */
static enum lookup
ask_transport_domain(struct resolution *resolution)
{
	struct slice key = resolution->recipient.parts.domain;
	bool         with_dot = !resolution->router->transport_matches_parents;
	enum lookup  found = ask_transport_part(resolution, key);

	while (found == LOOKUP_NOT_FOUND && key.length > 0 && key.data[0] != '[') {
		size_t dot = slice_find_byte(slice_from_offset(key, 1), '.');

		if (dot == SLICE_NOT_FOUND)
			break;
		key = slice_from_offset(key, 1 + dot); /* begins with its dot */
		found = ask_transport_part(resolution, with_dot ? key : slice_from_offset(key, 1));
	}
	return found == LOOKUP_NOT_FOUND ? ask_transport_part(resolution, SLICE("*")) : found;
}

static enum lookup
apply_transport_maps(struct resolution *resolution)
{
	struct router        *router = resolution->router;
	struct address_lookup what = { .address = resolution->recipient.whole,
		                       .delimiters = router->parameters->recipient_delimiter,
		                       .without_catch_all = true,
		                       .splits_owner_request =
		                               !router->parameters->owner_request_special };
	struct slice          text, transport, nexthop;

	if (table_list_is_empty(router->tables[TABLE_TRANSPORT]))
		return LOOKUP_FOUND;
	enum lookup found = table_list_lookup_address(router->tables[TABLE_TRANSPORT], &what,
	                                              &resolution->value, NULL, resolution->error);
	if (found == LOOKUP_NOT_FOUND)
		found = ask_transport_domain(resolution);
	if (found == LOOKUP_TRY_LATER)
		error_prefix(resolution->error, "transport_maps");
	if (found != LOOKUP_FOUND)
		return found == LOOKUP_NOT_FOUND ? LOOKUP_FOUND : found;
	if (!keep(resolution, slice_trim(buf_slice(&resolution->value)), &text))
		return out_of_memory(resolution->error);
	split_transport(text, &transport, &nexthop);
	if (transport.length > 0) {
		resolution->transport = transport;
		/* "smtp:" resets the next hop to the recipient's domain. */
		resolution->nexthop = resolution->recipient.parts.domain;
	}
	if (nexthop.length > 0)
		resolution->nexthop = nexthop;
	else if (transport.length > 0 &&
	         (slice_equal(transport, SLICE("error")) || slice_equal(transport, SLICE("retry"))))
		resolution->nexthop = SLICE("Address is undeliverable");
	return LOOKUP_FOUND;
}

/* ---- the end ---- */

/* error: and retry: texts begin with a status code; the class of one that says otherwise is set. */
static enum lookup
complete_error_text(struct resolution *resolution)
{
	bool                   is_retry = slice_equal(resolution->transport, SLICE("retry"));
	struct slice           text = resolution->nexthop;
	struct enhanced_status status = { 0, 0, 0 };
	size_t                 length;

	if (!is_retry && !slice_equal(resolution->transport, SLICE("error")))
		return LOOKUP_FOUND;
	if (enhanced_status_parse(text, &status, &length)) {
		if (status.class == (is_retry ? 4 : 5))
			return LOOKUP_FOUND;
		text = slice_trim(slice_from_offset(text, length));
	}
	char *whole =
		arena_format(resolution->arena, "%d.%u.%u %.*s", is_retry ? 4 : 5,
	                     (unsigned)status.subject, (unsigned)status.detail, SLICE_ARGS(text));
	if (whole == NULL)
		return out_of_memory(resolution->error);
	resolution->nexthop = slice_from(whole);
	return LOOKUP_FOUND;
}

/* What must never be returned to anybody ends at double_bounce_sender@our-domain; and at the sender
 * of probes. */
static enum lookup
is_for_double_bounce(struct resolution *resolution, bool *is_double_bounce)
{
	const struct parameters *parameters = resolution->router->parameters;

	*is_double_bounce = route_is_probe_sender(parameters, resolution->recipient.whole,
	                                          clock_wall_us() / 1000000);
	if (*is_double_bounce)
		return LOOKUP_FOUND;
	if (!slice_equal_fold(resolution->recipient.parts.local,
	                      slice_from(parameters->double_bounce_sender)))
		return LOOKUP_FOUND;
	if (slice_equal_fold(resolution->recipient.parts.domain,
	                     slice_from(parameters->myhostname))) {
		*is_double_bounce = true;
		return LOOKUP_FOUND;
	}
	return router_is_own_domain(resolution->router, resolution->recipient.parts.domain,
	                            is_double_bounce, resolution->error);
}

/* ---- routing in local parts ---- */

/*
 * "user@other" out of "user%other", "other!user" or "user@other" that stood in quotes.
 * LOOKUP_NOT_FOUND: there is none.
 */
static enum lookup
take_routing(struct resolution *resolution, struct slice local, struct address *inner)
{
	const struct parameters *parameters = resolution->router->parameters;
	struct router_address    routed = router_address_of(local);

	*inner = routed.parts;
	if (address_needs_quotes(local) && !parameters->resolve_dequoted_address)
		return LOOKUP_NOT_FOUND;
	if (!slice_contains_byte(local, '@') &&
	    !(parameters->swap_bangpath && slice_contains_byte(local, '!')) &&
	    !(parameters->allow_percent_hack && slice_contains_byte(local, '%')))
		return LOOKUP_NOT_FOUND;
	if (!router_standardize(resolution->router, false, false, inner, resolution->arena))
		return out_of_memory(resolution->error);
	bool is_routed = inner->local.length > 0 && inner->domain.length > 0 &&
	                 inner->local.length + inner->domain.length < local.length + 1;
	return is_routed ? LOOKUP_FOUND : LOOKUP_NOT_FOUND;
}

/*
 * Mail for "user%other" at this host is mail for user@other: the local domain is taken off as often
 * as there is routing in front of it. What is gained is always shorter, so it ends.
 */
static enum lookup
strip_local_domains(struct resolution *resolution)
{
	struct router_address next;
	struct address        inner;
	enum route_class class;

	for (;;) {
		struct address parts = resolution->recipient.parts;

		if (!slice_contains_byte(parts.local, '@') &&
		    !slice_contains_byte(parts.local, '!') &&
		    !slice_contains_byte(parts.local, '%'))
			return LOOKUP_FOUND;
		enum lookup found =
			route_classify(resolution->router, parts.domain, &class, resolution->error);
		if (found != LOOKUP_FOUND || class != ROUTE_LOCAL)
			return found;
		found = take_routing(resolution, parts.local, &inner);
		if (found != LOOKUP_FOUND)
			return found == LOOKUP_NOT_FOUND ? LOOKUP_FOUND : found;
		char *text = arena_format(resolution->arena, "%.*s@%.*s", SLICE_ARGS(inner.local),
		                          SLICE_ARGS(inner.domain));
		if (text == NULL)
			return out_of_memory(resolution->error);
		found = router_complete(resolution->router, slice_from(text), resolution->arena,
		                        &next, resolution->error);
		if (found != LOOKUP_FOUND) /* not found: a name with odd characters */
			return found == LOOKUP_NOT_FOUND ? LOOKUP_FOUND : found;
		resolution->recipient = next;
	}
}

/* ---- who has moved ---- */

static enum lookup
apply_relocated_maps(struct resolution *resolution)
{
	struct router *router = resolution->router;
	bool           is_own;

	if (table_list_is_empty(router->tables[TABLE_RELOCATED]))
		return LOOKUP_FOUND;
	enum lookup found = router_is_own_domain(router, resolution->recipient.parts.domain,
	                                         &is_own, resolution->error);
	if (found == LOOKUP_FOUND)
		found = router_lookup(router, TABLE_RELOCATED, &resolution->recipient, is_own,
		                      &resolution->value, NULL, resolution->error);
	if (found != LOOKUP_FOUND)
		return found == LOOKUP_NOT_FOUND ? LOOKUP_FOUND : found;
	struct slice place = slice_trim(buf_slice(&resolution->value));
	const char  *prefix =
                router->parameters->relocated_prefix_enable ? "5.1.6 User has moved to " : "";
	char *text = arena_format(resolution->arena, "%s%.*s", prefix, SLICE_ARGS(place));
	if (text == NULL)
		return out_of_memory(resolution->error);
	resolution->transport = SLICE("error");
	resolution->nexthop = slice_from(text);
	return LOOKUP_FOUND;
}

/* ---- the whole ---- */

/* A domain in two classes: it belongs to the first, which may surprise whoever wrote the other. */
static void
warn_if_listed_twice(struct resolution *resolution, enum route_class class)
{
	struct router *router = resolution->router;
	struct slice   domain = resolution->recipient.parts.domain;
	int64_t        now_ms = clock_monotonic_ms();
	const char    *first, *second;

	if (!router->parameters->helpful_warnings ||
	    !router_second_class(router, domain, class, &first, &second))
		return;
	if (router->warned_ms != 0 && now_ms - router->warned_ms < WARNING_PAUSE_MS)
		return;
	router->warned_ms = now_ms;
	log_warning("do not list domain %.*s in BOTH %s and %s", SLICE_ARGS(domain), first, second);
}

static enum lookup
resolve_transport(struct resolution *resolution)
{
	enum route_class class;
	enum lookup found = strip_local_domains(resolution);

	if (found == LOOKUP_FOUND)
		found = route_classify(resolution->router, resolution->recipient.parts.domain,
		                       &class, resolution->error);
	if (found == LOOKUP_FOUND)
		warn_if_listed_twice(resolution, class);
	if (found == LOOKUP_FOUND)
		found = route_by_class(resolution, class);
	if (found == LOOKUP_FOUND)
		found = apply_transport_maps(resolution);
	if (found == LOOKUP_FOUND)
		found = apply_relocated_maps(resolution);
	return found == LOOKUP_FOUND ? complete_error_text(resolution) : found;
}

static enum lookup
resolve_recipient(struct resolution *resolution)
{
	bool        is_double_bounce;
	enum lookup found = is_for_double_bounce(resolution, &is_double_bounce);

	if (found == LOOKUP_FOUND && is_double_bounce) {
		resolution->transport = SLICE("discard");
		resolution->nexthop = SLICE("undeliverable postmaster notification");
		return LOOKUP_FOUND;
	}
	return found == LOOKUP_FOUND ? resolve_transport(resolution) : found;
}

enum lookup
router_refusal(struct router *router, struct slice address, struct arena *arena, struct slice *text,
               struct error *error)
{
	struct resolution resolution = { .router = router,
		                         .arena = arena,
		                         .error = error,
		                         .without_sender = true,
		                         .value = BUF(ROUTER_VALUE_MOST) };
	enum lookup       found;

	if (table_list_is_empty(router->tables[TABLE_TRANSPORT]) &&
	    table_list_is_empty(router->tables[TABLE_RELOCATED]))
		return LOOKUP_NOT_FOUND;
	found = router_complete(router, address, arena, &resolution.recipient, error);
	if (found != LOOKUP_FOUND)
		return found;
	found = resolve_transport(&resolution);
	if (found == LOOKUP_FOUND && (slice_equal(resolution.transport, SLICE("error")) ||
	                              slice_equal(resolution.transport, SLICE("retry"))))
		*text = resolution.nexthop;
	else if (found == LOOKUP_FOUND)
		found = LOOKUP_NOT_FOUND;
	buf_free(&resolution.value);
	return found;
}

enum lookup
route_resolve(struct router *router, struct slice sender, struct slice recipient,
              struct arena *arena, struct route *route, struct error *error)
{
	struct resolution resolution = { .router = router,
		                         .arena = arena,
		                         .error = error,
		                         .sender = sender,
		                         .value = BUF(ROUTER_VALUE_MOST) };
	struct route      resolved = { .transport = SLICE("error"),
		                       .nexthop = SLICE("5.1.3 bad address syntax"),
		                       .recipient = recipient };
	enum lookup found = router_complete(router, recipient, arena, &resolution.recipient, error);

	if (found == LOOKUP_NOT_FOUND) {
		found = LOOKUP_FOUND; /* an answer: it is returned */
	} else if (found == LOOKUP_FOUND) {
		found = resolve_recipient(&resolution);
		resolved.transport = resolution.transport;
		resolved.nexthop = resolution.nexthop;
		resolved.recipient = resolution.recipient.whole;
	}
	if (found == LOOKUP_FOUND && slice_equal(resolved.transport, SLICE("virtual"))) {
		found = router_fill_mailbox(router, &resolution.recipient, arena, &resolved, error);
		if (found == LOOKUP_NOT_FOUND) {
			resolved.transport = SLICE("error");
			resolved.nexthop = SLICE("5.1.1 User unknown in virtual mailbox table");
			found = LOOKUP_FOUND;
		}
	}
	if (found == LOOKUP_FOUND && slice_equal(resolved.transport, SLICE("local")))
		found = router_fill_local(router, &resolution.recipient, arena, &resolved, error);
	if (found == LOOKUP_FOUND)
		*route = resolved;
	buf_free(&resolution.value);
	return found;
}
