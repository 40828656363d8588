/* router.c - opening what the parameters name; classes of domains. See route.h. */
#include "lib/route/router.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdlib.h>

/* ---- what is opened ---- */

struct domains_row {
	enum router_domains index;
	enum route_class class;
	const char *name;
	size_t      offset;
};
#define DOMAINS(index, class, name)                                                                \
	{                                                                                          \
		index, class, #name, offsetof(struct parameters, name)                             \
	}

/* In the order in which a domain is tried: it belongs to the first class that lists it. */
static const struct domains_row domains_rows[] = {
	DOMAINS(DOMAINS_LOCAL, ROUTE_LOCAL, mydestination),
	DOMAINS(DOMAINS_VIRTUAL_ALIAS, ROUTE_VIRTUAL_ALIAS, virtual_alias_domains),
	DOMAINS(DOMAINS_VIRTUAL_MAILBOX, ROUTE_VIRTUAL_MAILBOX, virtual_mailbox_domains),
	DOMAINS(DOMAINS_RELAY, ROUTE_RELAY, relay_domains),
};

#define TABLE(index, name) [index] = { #name, offsetof(struct parameters, name) }
static const struct {
	const char *name;
	size_t      offset;
} table_rows[TABLE_COUNT] = {
	TABLE(TABLE_TRANSPORT, transport_maps),
	TABLE(TABLE_VIRTUAL_ALIAS, virtual_alias_maps),
	TABLE(TABLE_VIRTUAL_MAILBOX, virtual_mailbox_maps),
	TABLE(TABLE_VIRTUAL_UID, virtual_uid_maps),
	TABLE(TABLE_VIRTUAL_GID, virtual_gid_maps),
	TABLE(TABLE_VIRTUAL_QUOTA, virtual_mailbox_quota_maps),
	TABLE(TABLE_RELAY_RECIPIENT, relay_recipient_maps),
	TABLE(TABLE_LOCAL_RECIPIENT, local_recipient_maps),
	TABLE(TABLE_SENDER_RELAYHOST, sender_dependent_relayhost_maps),
	TABLE(TABLE_SENDER_TRANSPORT, sender_dependent_default_transport_maps),
	TABLE(TABLE_ALIAS, alias_maps),
	TABLE(TABLE_LOCAL_USER, local_user_maps),
	TABLE(TABLE_MAILBOX_TRANSPORT, mailbox_transport_maps),
	TABLE(TABLE_MAILBOX_COMMAND, mailbox_command_maps),
	TABLE(TABLE_FALLBACK_TRANSPORT, fallback_transport_maps),
	TABLE(TABLE_CANONICAL, canonical_maps),
	TABLE(TABLE_SENDER_CANONICAL, sender_canonical_maps),
	TABLE(TABLE_RECIPIENT_CANONICAL, recipient_canonical_maps),
	TABLE(TABLE_SENDER_BCC, sender_bcc_maps),
	TABLE(TABLE_RECIPIENT_BCC, recipient_bcc_maps),
	TABLE(TABLE_RELOCATED, relocated_maps),
	[TABLE_GENERIC] = { "generic_maps", 0 }, /* router_create_generic */
};

/* The classes of addresses that a rewriting is for. */
static const struct {
	const char *name;
	size_t      offset;
} classes_rows[REWRITING_COUNT] = {
	TABLE(REWRITING_SENDER_CANONICAL, sender_canonical_classes),
	TABLE(REWRITING_RECIPIENT_CANONICAL, recipient_canonical_classes),
	TABLE(REWRITING_CANONICAL, canonical_classes),
	TABLE(REWRITING_MASQUERADE, masquerade_classes),
};
static const char *const class_words[] = {
	[ROUTE_ENVELOPE_SENDER] = "envelope_sender",
	[ROUTE_ENVELOPE_RECIPIENT] = "envelope_recipient",
	[ROUTE_HEADER_SENDER] = "header_sender",
	[ROUTE_HEADER_RECIPIENT] = "header_recipient",
};

/* The value of a STRING parameter by its offset. */
static const char *
text_at(const struct parameters *parameters, size_t offset)
{
	const char *text;

	memcpy(&text, (const char *)parameters + offset, sizeof(text));
	return text;
}

/* The first count classes. */
static bool
open_domains(struct router *router, size_t count, struct error *error)
{
	const struct parameters *parameters = router->parameters;

	for (size_t i = 0; i < count; i++) {
		const struct domains_row *row = &domains_rows[i];
		enum match_kind           kind =
                        slice_list_has(slice_from(parameters->parent_domain_matches_subdomains),
		                                 slice_from(row->name))
					  ? MATCH_DOMAINS_AND_PARENTS
					  : MATCH_DOMAINS;

		router->domains[row->index] =
			match_list_open(text_at(parameters, row->offset), kind, error);
		if (router->domains[row->index] == NULL)
			return error_prefix(error, "%s", row->name);
	}
	return true;
}

static bool
open_tables(struct router *router, struct error *error)
{
	for (size_t i = 0; i < TABLE_GENERIC; i++) {
		router->tables[i] =
			table_list_open(text_at(router->parameters, table_rows[i].offset), error);
		if (router->tables[i] == NULL)
			return error_prefix(error, "%s", table_rows[i].name);
	}
	return true;
}

/* ---- own addresses ---- */

static void
append_sockaddr(struct buf *items, const struct sockaddr *address)
{
	char text[INET6_ADDRSTRLEN];

	if (address != NULL && address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)address;

		if (inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text)) != NULL)
			buf_append_format(items, "%s ", text);
	} else if (address != NULL && address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)address;

		if (inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text)) != NULL)
			buf_append_format(items, "[%s] ", text);
	}
}

static bool
append_interfaces(struct buf *items, struct error *error)
{
	struct ifaddrs *interfaces;

	if (getifaddrs(&interfaces) != 0)
		return error_set_errno(error, "inet_interfaces: network interfaces");
	for (const struct ifaddrs *one = interfaces; one != NULL; one = one->ifa_next)
		append_sockaddr(items, one->ifa_addr);
	freeifaddrs(interfaces);
	return true;
}

/* One word of inet_interfaces or proxy_interfaces as an item of a match list. */
static void
append_interface_word(struct buf *items, struct slice word)
{
	unsigned char binary[sizeof(struct in6_addr)];
	char          text[INET6_ADDRSTRLEN];

	if (slice_equal_fold(word, SLICE("loopback-only")) ||
	    slice_equal_fold(word, SLICE("localhost"))) {
		buf_append_text(items, "127.0.0.0/8 [::1] ");
		return;
	}
	if (word.length >= 2 && word.data[0] == '[' && word.data[word.length - 1] == ']')
		word = slice_of(word.data + 1, word.length - 2);
	if (word.length >= sizeof(text))
		return; /* a host name: master has resolved it for listening, nobody writes mail so
		         */
	memcpy(text, word.data, word.length);
	text[word.length] = '\0';
	if (inet_pton(AF_INET6, text, binary) == 1)
		buf_append_format(items, "[%s] ", text);
	else if (inet_pton(AF_INET, text, binary) == 1)
		buf_append_format(items, "%s ", text);
}

static bool
open_own_addresses(struct router *router, struct error *error)
{
	const char  *lists[] = { router->parameters->inet_interfaces,
		                 router->parameters->proxy_interfaces };
	struct buf   items = BUF(1u << 20);
	struct slice rest, word;
	bool         ok = true;

	for (size_t i = 0; ok && i < sizeof(lists) / sizeof(lists[0]); i++) {
		rest = slice_from(lists[i]);
		while (ok && slice_next_word(&rest, " \t\r\n,", &word)) {
			if (slice_equal_fold(word, SLICE("all")))
				ok = append_interfaces(&items, error);
			else
				append_interface_word(&items, word);
		}
	}
	if (ok) {
		router->own_addresses = match_list_open(buf_text(&items), MATCH_ADDRESSES, error);
		ok = router->own_addresses != NULL;
	}
	buf_free(&items);
	return ok;
}

/* ---- life ---- */

/* The table of "check_address_map type:name" in local_header_rewrite_clients. */
static bool
open_rewrite_clients(struct router *router, struct error *error)
{
	struct slice rest = slice_from(router->parameters->local_header_rewrite_clients), word;
	struct buf   specs = BUF(65536);

	while (slice_next_word(&rest, " \t\r\n,", &word)) {
		if (!slice_contains_byte(word, ':'))
			continue;
		buf_append(&specs, word);
		buf_append_byte(&specs, ' ');
	}
	router->rewrite_clients = table_list_open(buf_text(&specs), error);
	buf_free(&specs);
	if (router->rewrite_clients == NULL)
		return error_prefix(error, "local_header_rewrite_clients");
	return true;
}

static bool
open_networks(struct router *router, struct error *error)
{
	router->networks = match_list_open(router->parameters->mynetworks, MATCH_ADDRESSES, error);
	if (router->networks == NULL)
		return error_prefix(error, "mynetworks");
	return true;
}

static bool
read_classes(struct router *router, struct error *error)
{
	for (size_t i = 0; i < REWRITING_COUNT; i++) {
		struct slice rest = slice_from(text_at(router->parameters, classes_rows[i].offset));
		struct slice word;

		while (slice_next_word(&rest, " \t\r\n,", &word)) {
			size_t class = 0, count = sizeof(class_words) / sizeof(class_words[0]);

			while (class < count &&
			       !slice_equal_fold(word, slice_from(class_words[class])))
				class ++;
			if (class == count)
				return error_set(error, "%s: unknown class \"%.*s\"",
				                 classes_rows[i].name, SLICE_ARGS(word));
			router->classes[i] |= 1u << class;
		}
	}
	return true;
}

static void
read_propagation(struct router *router)
{
	static const struct {
		const char *word;
		unsigned    bit;
	} words[] = {
		{ "canonical", PROPAGATE_CANONICAL },
		{ "virtual", PROPAGATE_VIRTUAL },
		{ "generic", PROPAGATE_GENERIC },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (slice_list_has(slice_from(router->parameters->propagate_unmatched_extensions),
		                   slice_from(words[i].word)))
			router->propagates |= words[i].bit;
}

static bool
open_masquerade(struct router *router, struct error *error)
{
	router->masquerade_exceptions =
		match_list_open(router->parameters->masquerade_exceptions, MATCH_STRINGS, error);
	return router->masquerade_exceptions != NULL ||
	       error_prefix(error, "masquerade_exceptions");
}

static struct router *
router_allocate(const struct snapshot *snapshot, struct error *error)
{
	struct router *router = calloc(1, sizeof(*router));

	if (router == NULL) {
		error_set(error, "out of memory for the routing tables");
		return NULL;
	}
	router->parameters = snapshot_parameters(snapshot);
	read_propagation(router);
	return router;
}

/* Opens everything; takes the router over when that fails. */
static struct router *
router_open(struct router *router, struct error *error)
{
	router->transport_matches_parents =
		slice_list_has(slice_from(router->parameters->parent_domain_matches_subdomains),
	                       SLICE("transport_maps"));
	/* Without that user mail flows; only what would be done as it waits. */
	if (owner_parse(router->parameters->default_privs, &router->default_privs,
	                &router->default_privs_error))
		router->default_privs_error = ERROR_NONE;
	if (!open_domains(router, DOMAINS_COUNT, error) || !open_tables(router, error) ||
	    !open_own_addresses(router, error) || !open_networks(router, error) ||
	    !open_rewrite_clients(router, error) || !read_classes(router, error) ||
	    !open_masquerade(router, error))
		router_destroy(&router);
	return router;
}

struct router *
router_create(const struct snapshot *snapshot, struct error *error)
{
	struct router *router = router_allocate(snapshot, error);

	return router == NULL ? NULL : router_open(router, error);
}

#define PROBE_ROW(parameter)                                                                       \
	{                                                                                          \
		offsetof(struct parameters, address_verify_##parameter),                           \
			offsetof(struct parameters, parameter)                                     \
	}

/* Copies what stands for probes over what stands for mail; false when that changes nothing. */
static bool
parameters_for_probes(struct parameters *parameters)
{
	static const struct {
		size_t from, to;
	} rows[] = {
		PROBE_ROW(local_transport),
		PROBE_ROW(virtual_transport),
		PROBE_ROW(relay_transport),
		PROBE_ROW(default_transport),
		PROBE_ROW(relayhost),
		PROBE_ROW(transport_maps),
		PROBE_ROW(sender_dependent_relayhost_maps),
		PROBE_ROW(sender_dependent_default_transport_maps),
	};
	bool differs = false;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *from = text_at(parameters, rows[i].from);

		differs |= strcmp(from, text_at(parameters, rows[i].to)) != 0;
		memcpy((char *)parameters + rows[i].to, &from, sizeof(from));
	}
	return differs;
}

struct router *
router_create_for_probes(const struct snapshot *snapshot, struct router *usual, struct error *error)
{
	struct parameters *own = malloc(sizeof(*own));
	struct router     *router = own == NULL ? NULL : router_allocate(snapshot, error);

	if (router == NULL) {
		free(own);
		error_set(error, "out of memory for the routing tables");
		return NULL;
	}
	*own = *router->parameters;
	router->parameters = router->own_parameters = own;
	if (!parameters_for_probes(own)) {
		router_destroy(&router);
		return usual;
	}
	return router_open(router, error);
}

struct router *
router_create_generic(const struct snapshot *snapshot, const char *specs, struct error *error)
{
	struct router *router = router_allocate(snapshot, error);

	if (router == NULL)
		return NULL;
	router->tables[TABLE_GENERIC] = table_list_open(specs, error);
	if (router->tables[TABLE_GENERIC] == NULL) {
		error_prefix(error, "%s", router_table_name(TABLE_GENERIC));
		router_destroy(&router);
	} else if (!open_domains(router, DOMAINS_LOCAL + 1, error) ||
	           !open_own_addresses(router, error)) {
		router_destroy(&router);
	}
	return router;
}

const char *
router_table_name(enum router_table table)
{
	return table_rows[table].name;
}

void
router_destroy(struct router **router)
{
	struct router *gone = *router;

	if (gone == NULL)
		return;
	for (size_t i = 0; i < DOMAINS_COUNT; i++)
		match_list_close(&gone->domains[i]);
	for (size_t i = 0; i < TABLE_COUNT; i++)
		table_list_close(&gone->tables[i]);
	match_list_close(&gone->own_addresses);
	match_list_close(&gone->networks);
	match_list_close(&gone->masquerade_exceptions);
	table_list_close(&gone->rewrite_clients);
	free(gone->own_parameters);
	free(gone);
	*router = NULL;
}

/* ---- addresses ---- */

enum lookup
router_complete(const struct router *router, struct slice address, struct arena *arena,
                struct router_address *complete, struct error *error)
{
	struct address parts;

	if (!address_split(address, &parts) || parts.local.length == 0)
		return LOOKUP_NOT_FOUND;
	if (parts.domain.length == 0)
		parts.domain = slice_from(router->parameters->myorigin);
	size_t length = parts.local.length + 1 + parts.domain.length;
	char  *text = arena_alloc(arena, length + 1);
	if (text == NULL) {
		error_set(error, "out of memory for an address");
		return LOOKUP_TRY_LATER;
	}
	memcpy(text, parts.local.data, parts.local.length);
	text[parts.local.length] = '@';
	for (size_t i = 0; i < parts.domain.length; i++)
		text[parts.local.length + 1 + i] = ascii_lower(parts.domain.data[i]);
	complete->whole = slice_of(text, length);
	complete->parts.local = slice_of(text, parts.local.length);
	complete->parts.domain = slice_of(text + parts.local.length + 1, parts.domain.length);
	return LOOKUP_FOUND;
}

struct router_address
router_address_of(struct slice whole)
{
	size_t at = slice_find_last_byte(whole, '@');

	return (struct router_address){
		.whole = whole,
		.parts = { slice_first(whole, at),
		           at == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(whole, at + 1) },
	};
}

static bool
is_literal(struct slice domain)
{
	return domain.length > 2 && domain.data[0] == '[' && domain.data[domain.length - 1] == ']';
}

/* Whether "[192.0.2.1]" is one of ours. */
static enum lookup
own_literal(struct router *router, struct slice literal, struct error *error)
{
	struct slice address = slice_of(literal.data + 1, literal.length - 2);

	if (!address_literal_is_valid(literal))
		return LOOKUP_NOT_FOUND;
	if (slice_starts_with_fold(address, SLICE("IPv6:")))
		address = slice_from_offset(address, strlen("IPv6:"));
	return match_list_client(router->own_addresses, SLICE_EMPTY, address, error);
}

enum lookup
route_is_own_address(struct router *router, struct slice address, struct error *error)
{
	return match_list_client(router->own_addresses, SLICE_EMPTY, address, error);
}

enum lookup
route_classify(struct router *router, struct slice domain, enum route_class *class,
               struct error *error)
{
	bool is_ours = domain.length == 0; /* by definition: it was said to this host */

	if (is_ours)
		domain = slice_from(router->parameters->myorigin);
	if (is_literal(domain)) {
		enum lookup found = own_literal(router, domain, error);

		if (found == LOOKUP_TRY_LATER)
			return found;
		*class = found == LOOKUP_FOUND ? ROUTE_LOCAL : ROUTE_DEFAULT;
		return LOOKUP_FOUND;
	}
	for (size_t i = 0; i < DOMAINS_COUNT; i++) {
		enum lookup found =
			match_list_name(router->domains[domains_rows[i].index], domain, error);

		if (found == LOOKUP_TRY_LATER) {
			error_prefix(error, "%s", domains_rows[i].name);
			return found;
		}
		if (found == LOOKUP_FOUND) {
			*class = domains_rows[i].class;
			return found;
		}
	}
	*class = is_ours ? ROUTE_LOCAL : ROUTE_DEFAULT;
	return LOOKUP_FOUND;
}

bool
router_second_class(struct router *router, struct slice domain, enum route_class class,
                    const char **first, const char **second)
{
	struct error error = ERROR_NONE;
	size_t       i = 0;

	while (i < DOMAINS_COUNT && domains_rows[i].class != class)
		i++;
	if (i == DOMAINS_COUNT || is_literal(domain))
		return false;
	*first = domains_rows[i].name;
	while (++i < DOMAINS_COUNT) {
		/* What is local is often listed for relaying, too, and that does no harm. */
		if (class == ROUTE_LOCAL && domains_rows[i].class == ROUTE_RELAY)
			continue;
		*second = domains_rows[i].name;
		if (match_list_name(router->domains[domains_rows[i].index], domain, &error) ==
		    LOOKUP_FOUND)
			return true;
	}
	return false;
}

enum lookup
router_is_own_domain(struct router *router, struct slice domain, bool *is_own, struct error *error)
{
	enum lookup found = LOOKUP_FOUND;

	if (is_literal(domain))
		found = own_literal(router, domain, error);
	else if (!slice_equal_fold(domain, slice_from(router->parameters->myorigin)))
		found = match_list_name(router->domains[DOMAINS_LOCAL], domain, error);
	if (found == LOOKUP_TRY_LATER)
		return found;
	*is_own = found == LOOKUP_FOUND;
	return LOOKUP_FOUND;
}

enum lookup
router_lookup(struct router *router, enum router_table table, const struct router_address *address,
              bool is_own_domain, struct buf *value, struct slice *extension, struct error *error)
{
	struct address_lookup what = { .address = address->whole,
		                       .delimiters = router->parameters->recipient_delimiter,
		                       .is_own_domain = is_own_domain,
		                       .splits_owner_request =
		                               !router->parameters->owner_request_special };

	if (table_list_is_empty(router->tables[table]))
		return LOOKUP_NOT_FOUND;
	enum lookup found =
		table_list_lookup_address(router->tables[table], &what, value, extension, error);
	if (found == LOOKUP_TRY_LATER)
		error_prefix(error, "%s", table_rows[table].name);
	return found;
}
