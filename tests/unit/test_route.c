/* test_route.c - lib/route: classes, recipients, aliases, routes and mailboxes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "lib/base/mutex.h"
#include "lib/ipc/messages.h"
#include "lib/route/route.h"

/* A host with a domain of each class. */
static const char *const base =
	"myhostname = mail.example.org\n"
	"mydestination = mail.example.org, localhost\n"
	"inet_interfaces = 192.0.2.1, [2001:db8::1]\n"
	"recipient_delimiter = +\n"
	"virtual_alias_domains = alias.example\n"
	"virtual_mailbox_domains = box.example\n"
	"relay_domains = relay.example\n"
	"virtual_mailbox_base = /mail\n"
	"virtual_mailbox_maps = inline:{ alice@box.example=box.example/alice/, @catch.example=c/ "
	"}\n"
	"virtual_uid_maps = static:5000\n"
	"virtual_gid_maps = static:5001\n"
	"virtual_mailbox_quota_maps = inline:{ alice@box.example=1000000 }\n"
	"relay_recipient_maps = inline:{ known@relay.example=x }\n"
	"local_recipient_maps = inline:{ root=x }\n"
	"default_privs = 65534:65534\n"
	"local_user_maps = inline:{ { root = root:x:0:0::/root:/bin/sh },"
	"{ bob = bob:x:1001:1002:Bob:/home/bob:/bin/bash }, { bad = bad:x:many:1:: },"
	"{ wheel = wheel:x:7:0::/: } }\n"
	"alias_maps = inline:{ { list = bob, alice@far.example }, { owner-list = carol, dave },"
	"{ bob = \\bob, |/bin/true }, { news+old = x }, { empty = }, { sub-request = list } }\n"
	"virtual_alias_maps = inline:{ "
	"{ list@alias.example = a@box.example, \"b, c\"@far.example, a@box.example },"
	"{ sales@alias.example = carol },"
	"{ blanks@alias.example = a@box.example  \"b c@d\"@far.example\tcarol },"
	"{ mixed@alias.example =  a@box.example , bob@far.example dave@far.example , , },"
	"{ apart@alias.example = a@ box.example }, { apart2@alias.example = a @box.example },"
	"{ @whole.example = @box.example },"
	"{ self@box.example = self@box.example, other@far.example },"
	"{ loop1@alias.example = loop2@alias.example },"
	"{ loop2@alias.example = loop1@alias.example },"
	"{ chain1@alias.example = chain2@alias.example },"
	"{ chain2@alias.example = end@far.example },"
	"{ bad@alias.example = not an address },"
	"{ root = admin@far.example },"
	"{ broken@alias.example = x@exa_mple..org } }\n";

struct host {
	struct snapshot *snapshot;
	struct router   *router;
	struct arena     arena;
	struct error     error;
};

static void
host_open(struct host *host, const char *more)
{
	char   text[4096];
	size_t length = (size_t)snprintf(text, sizeof(text), "%s%s", base, more);

	assert_true(length < sizeof(text));
	*host = (struct host){ .arena = ARENA(0) };
	host->snapshot = snapshot_from_text(text, &host->error);
	if (host->snapshot == NULL)
		fail_msg("%s", host->error.text);
	host->router = router_create(host->snapshot, &host->error);
	if (host->router == NULL)
		fail_msg("%s", host->error.text);
}

static void
host_close(struct host *host)
{
	router_destroy(&host->router);
	assert_null(host->router);
	snapshot_destroy(&host->snapshot);
	arena_reset(&host->arena);
}

/* ---- classes ---- */

static void
a_domain_belongs_to_the_class_that_lists_it(void **state)
{
	static const struct {
		const char *domain;
		enum route_class class;
	} cases[] = {
		{ "mail.example.org", ROUTE_LOCAL },      { "MAIL.Example.ORG", ROUTE_LOCAL },
		{ "[192.0.2.1]", ROUTE_LOCAL },           { "[IPv6:2001:db8::1]", ROUTE_LOCAL },
		{ "[192.0.2.9]", ROUTE_DEFAULT },         { "alias.example", ROUTE_VIRTUAL_ALIAS },
		{ "box.example", ROUTE_VIRTUAL_MAILBOX }, { "relay.example", ROUTE_RELAY },
		{ "sub.relay.example", ROUTE_RELAY },     { "sub.box.example", ROUTE_DEFAULT },
		{ "far.example", ROUTE_DEFAULT },         { "", ROUTE_LOCAL },
	};
	struct host host;

	(void)state;
	host_open(&host, "");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum route_class class = ROUTE_DEFAULT;

		assert_int_equal(route_classify(host.router, slice_from(cases[i].domain), &class,
		                                &host.error),
		                 LOOKUP_FOUND);
		if (class != cases[i].class)
			fail_msg("%s is in class %d", cases[i].domain, (int)class);
	}
	host_close(&host);
}

/* ---- existence ---- */

struct exists_case {
	const char *address;
	const char *reason; /* NULL = exists */
};

static void
check_exists(struct host *host, const struct exists_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *reason = NULL;
		enum lookup found =
			route_recipient_exists(host->router, slice_from(cases[i].address),
		                               &host->arena, &reason, &host->error);

		if (found != (cases[i].reason == NULL ? LOOKUP_FOUND : LOOKUP_NOT_FOUND))
			fail_msg("%s: answer %d", cases[i].address, (int)found);
		if (cases[i].reason != NULL)
			assert_string_equal(reason, cases[i].reason);
	}
}

struct expand_case {
	const char *address;
	const char *expected; /* separated by one blank; NULL = try later */
};

static void
check_expand(struct host *host, const struct expand_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct route_addresses addresses = { NULL, 0 };
		struct buf             got = BUF(10000);
		enum lookup found = route_expand(host->router, slice_from(cases[i].address),
		                                 &host->arena, &addresses, &host->error);

		assert_int_equal(found,
		                 cases[i].expected == NULL ? LOOKUP_TRY_LATER : LOOKUP_FOUND);
		for (size_t j = 0; found == LOOKUP_FOUND && j < addresses.count; j++) {
			if (j > 0)
				buf_append_byte(&got, ' ');
			buf_append(&got, addresses.items[j]);
		}
		assert_string_equal(buf_text(&got), cases[i].expected ? cases[i].expected : "");
		buf_free(&got);
	}
}

static void
unknown_recipients_are_named_by_their_table(void **state)
{
	static const struct exists_case cases[] = {
		{ "alice@box.example", NULL },
		{ "alice+inbox@box.example", NULL },
		{ "ALICE@BOX.EXAMPLE", NULL },
		{ "nobody@box.example", "User unknown in virtual mailbox table" },
		{ "nobody@alias.example", "User unknown in virtual alias table" },
		{ "list@alias.example", NULL },
		{ "known@relay.example", NULL },
		{ "x@relay.example", "User unknown in relay recipient table" },
		{ "root@mail.example.org", NULL },
		{ "root", NULL },
		{ "x@localhost", "User unknown in local recipient table" },
		{ "x@[192.0.2.1]", "User unknown in local recipient table" },
		{ "anybody@far.example", NULL },
		{ "anybody@whole.example", NULL },
		{ "self@box.example", NULL },
		{ "postmaster", NULL },
		{ "Postmaster@localhost", NULL },
		{ "postmaster@box.example", "User unknown in virtual mailbox table" },
		{ "double-bounce@mail.example.org", NULL },
		{ "@box.example", "Bad address syntax" },
		{ "", "Bad address syntax" },
	};
	struct host host;

	(void)state;
	host_open(&host, "");
	check_exists(&host, cases, sizeof(cases) / sizeof(cases[0]));
	host_close(&host);
}

static void
an_empty_list_knows_everybody_except_of_alias_domains(void **state)
{
	static const struct exists_case cases[] = {
		{ "x@relay.example", NULL },
		{ "x@localhost", NULL },
		{ "x@box.example", NULL },
		{ "x@alias.example", "User unknown in virtual alias table" },
	};
	struct host host;

	(void)state;
	host_open(&host, "relay_recipient_maps =\nlocal_recipient_maps =\n"
	                 "virtual_mailbox_maps =\n");
	check_exists(&host, cases, sizeof(cases) / sizeof(cases[0]));
	host_close(&host);
}

static void
postmaster_recipient_serves_all_our_domains(void **state)
{
	static const struct exists_case cases[] = {
		{ "postmaster@box.example", NULL },
		{ "postmaster@alias.example", NULL },
		{ "POSTMASTER@relay.example", NULL },
		{ "postmaster", NULL },
		{ "x@box.example", "User unknown in virtual mailbox table" },
	};
	struct route_addresses addresses;
	struct host            host;

	(void)state;
	host_open(&host, "postmaster_recipient = alice@box.example\n");
	check_exists(&host, cases, sizeof(cases) / sizeof(cases[0]));
	assert_int_equal(route_expand(host.router, SLICE("postmaster"), &host.arena, &addresses,
	                              &host.error),
	                 LOOKUP_FOUND);
	assert_int_equal(addresses.count, 1);
	assert_true(slice_equal(addresses.items[0], SLICE("alice@box.example")));
	assert_int_equal(route_expand(host.router, SLICE("postmaster@far.example"), &host.arena,
	                              &addresses, &host.error),
	                 LOOKUP_FOUND);
	assert_true(slice_equal(addresses.items[0], SLICE("postmaster@far.example")));
	host_close(&host);
}

static void
postmaster_of_mydomain_serves_when_there_is_one(void **state)
{
	static const struct exists_case cases[] = {
		{ "postmaster@box.example", NULL },   { "postmaster@other.example", NULL },
		{ "POSTMASTER@relay.example", NULL }, { "postmaster", NULL },
		{ "postmaster@far.example", NULL },
	};
	static const struct expand_case expansions[] = {
		{ "postmaster", "postmaster@box.example" },
		{ "Postmaster@other.example", "postmaster@box.example" },
		{ "postmaster@mail.box.example", "postmaster@box.example" },
		{ "postmaster@box.example", "postmaster@box.example" },
		{ "postmaster@far.example", "postmaster@far.example" },
	};
	struct host host;

	(void)state;
	host_open(&host, "myhostname = mail.box.example\nmydestination =\n"
	                 "virtual_mailbox_domains = box.example, other.example\n"
	                 "virtual_mailbox_maps = inline:{ postmaster@box.example=p/ }\n");
	check_exists(&host, cases, sizeof(cases) / sizeof(cases[0]));
	check_expand(&host, expansions, sizeof(expansions) / sizeof(expansions[0]));
	host_close(&host);
}

static void
a_name_without_domain_is_known_where_myorigin_is(void **state)
{
	static const struct exists_case far[] = { { "bob", NULL }, { "postmaster", NULL } };
	static const struct exists_case local[] = {
		{ "bob", "User unknown in local recipient table" },
		{ "root", NULL },
		{ "postmaster", NULL },
	};
	struct host host;

	(void)state;
	/* A null client's users live at another host; who may send there is another question. */
	host_open(&host, "mydestination =\nlocal_recipient_maps =\n");
	check_exists(&host, far, sizeof(far) / sizeof(far[0]));
	host_close(&host);
	host_open(&host, "");
	check_exists(&host, local, sizeof(local) / sizeof(local[0]));
	host_close(&host);
}

static void
a_table_that_cannot_be_read_is_never_not_found(void **state)
{
	struct route_addresses addresses;
	struct route           route;
	const char            *reason;
	struct host            host;
	struct slice           address = SLICE("nobody@box.example");

	(void)state;
	host_open(&host, "virtual_alias_maps = fail:unreadable\n");
	assert_int_equal(
		route_recipient_exists(host.router, address, &host.arena, &reason, &host.error),
		LOOKUP_TRY_LATER);
	assert_int_equal(route_expand(host.router, address, &host.arena, &addresses, &host.error),
	                 LOOKUP_TRY_LATER);
	host_close(&host);

	host_open(&host, "transport_maps = fail:unreadable\n");
	assert_int_equal(
		route_resolve(host.router, SLICE(""), address, &host.arena, &route, &host.error),
		LOOKUP_TRY_LATER);
	assert_non_null(strstr(host.error.text, "transport_maps"));
	host_close(&host);

	host_open(&host, "virtual_mailbox_domains = fail:unreadable\n");
	assert_int_equal(
		route_resolve(host.router, SLICE(""), address, &host.arena, &route, &host.error),
		LOOKUP_TRY_LATER);
	host_close(&host);
}

/* ---- aliases ---- */

static void
aliases_are_expanded_to_the_end_without_duplicates(void **state)
{
	static const struct expand_case cases[] = {
		{ "alice@box.example", "alice@box.example" },
		{ "Alice@BOX.example", "Alice@box.example" },
		{ "user", "user@mail.example.org" },
		{ "list@alias.example", "a@box.example b, c@far.example" },
		{ "sales@alias.example", "carol@mail.example.org" },
		{ "blanks@alias.example",
		  "a@box.example b c@d@far.example carol@mail.example.org" },
		{ "mixed@alias.example", "a@box.example bob@far.example dave@far.example" },
		{ "apart@alias.example", NULL },
		{ "apart2@alias.example", NULL },
		{ "sales+x@alias.example", "carol+x@mail.example.org" },
		{ "joe+x@whole.example", "joe+x@box.example" },
		{ "self@box.example", "self@box.example other@far.example" },
		{ "chain1@alias.example", "end@far.example" },
		{ "chain1+y@alias.example", "end+y@far.example" },
		{ "root@localhost", "admin@far.example" },
		{ "root@box.example", "root@box.example" },
		{ "loop1@alias.example", NULL },
		{ "bad@alias.example", NULL },
		{ "broken@alias.example", NULL },
	};
	struct host host;

	(void)state;
	host_open(&host, "");
	check_expand(&host, cases, sizeof(cases) / sizeof(cases[0]));
	host_close(&host);
}

static void
extensions_are_not_propagated_when_told_so(void **state)
{
	static const struct expand_case cases[] = {
		{ "sales+x@alias.example", "carol@mail.example.org" },
	};
	struct host host;

	(void)state;
	host_open(&host, "propagate_unmatched_extensions = canonical\n");
	check_expand(&host, cases, 1);
	host_close(&host);
}

static void
expansion_stops_at_its_limits(void **state)
{
	static const struct expand_case wide[] = { { "list@alias.example", NULL } };
	static const struct expand_case deep[] = { { "chain1@alias.example", NULL } };
	static const struct expand_case endless[] = { { "a@endless.example", NULL } };
	struct host                     host;

	(void)state;
	host_open(&host, "virtual_alias_expansion_limit = 1\n");
	check_expand(&host, wide, 1);
	host_close(&host);
	host_open(&host, "virtual_alias_recursion_limit = 1\n");
	check_expand(&host, deep, 1);
	host_close(&host);
	/* Each answer is longer than the address that it was given for. */
	host_open(&host, "virtual_alias_maps = pcre:{ {/^(.*)@endless/ x$$1@endless.example} }\n");
	check_expand(&host, endless, 1);
	host_close(&host);
}

/* ---- routes ---- */

struct resolve_case {
	const char *sender, *recipient;
	const char *expected; /* "transport nexthop recipient" */
};

static void
check_resolve(struct host *host, const struct resolve_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct route route;
		char         got[500];
		enum lookup  found = route_resolve(host->router, slice_from(cases[i].sender),
		                                   slice_from(cases[i].recipient), &host->arena,
		                                   &route, &host->error);

		if (found != LOOKUP_FOUND)
			fail_msg("%s: %s", cases[i].recipient, host->error.text);
		snprintf(got, sizeof(got), "%.*s|%.*s|%.*s", SLICE_ARGS(route.transport),
		         SLICE_ARGS(route.nexthop), SLICE_ARGS(route.recipient));
		assert_string_equal(got, cases[i].expected);
	}
}
#define CHECK_RESOLVE(host, cases) check_resolve(host, cases, sizeof(cases) / sizeof((cases)[0]))

static void
each_class_has_its_transport(void **state)
{
	static const struct resolve_case cases[] = {
		{ "", "list@LOCALHOST", "local|mail.example.org|list@localhost" },
		{ "", "bob@[192.0.2.1]", "local|mail.example.org|bob@[192.0.2.1]" },
		{ "", "x@localhost", "error|5.1.1 unknown user: \"x\"|x@localhost" },
		{ "", "alice+x@Box.example", "virtual|box.example|alice+x@box.example" },
		{ "", "x@box.example",
		  "error|5.1.1 User unknown in virtual mailbox table|x@box.example" },
		{ "", "x@alias.example",
		  "error|5.1.1 User unknown in virtual alias table|x@alias.example" },
		{ "", "x@relay.example", "relay|relay.example|x@relay.example" },
		{ "", "x@far.example", "smtp|far.example|x@far.example" },
		{ "", "x@[192.0.2.9]", "smtp|[192.0.2.9]|x@[192.0.2.9]" },
		{ "", "a@", "error|5.1.3 bad address syntax|a@" },
		{ "", "double-bounce@mail.example.org",
		  "discard|undeliverable postmaster notification|double-bounce@mail.example.org" },
	};
	struct host host;

	(void)state;
	host_open(&host, "");
	CHECK_RESOLVE(&host, cases);
	host_close(&host);
}

/* Without memory good mail was returned, or refused for good. */
static void
without_memory_no_address_is_called_wrong(void **state)
{
	struct host  host;
	struct arena full = ARENA(1);
	struct route route;
	struct slice address = SLICE("alice@box.example"), far = SLICE("x@far.example");
	const char  *reason;

	(void)state;
	host_open(&host, "");
	assert_int_equal(route_resolve(host.router, SLICE_EMPTY, far, &full, &route, &host.error),
	                 LOOKUP_TRY_LATER);
	assert_int_equal(route_recipient_exists(host.router, address, &full, &reason, &host.error),
	                 LOOKUP_TRY_LATER);
	assert_int_equal(route_mailbox(host.router, address, &full, &route, &host.error),
	                 LOOKUP_TRY_LATER);
	host_close(&host);
}

static void
relayhost_takes_the_place_of_remote_domains(void **state)
{
	static const struct resolve_case cases[] = {
		{ "", "x@far.example", "smtp|[smart.example]:587|x@far.example" },
		{ "", "x@relay.example", "relay|[smart.example]:587|x@relay.example" },
		{ "s@one.example", "x@far.example", "smtp|[one.example]|x@far.example" },
		{ "s@two.example", "x@far.example", "smtp|[two.example]|x@far.example" },
		{ "d@one.example", "x@far.example", "smtp|[smart.example]:587|x@far.example" },
		{ "t@three.example", "x@far.example", "slow|[three.example]|x@far.example" },
		{ "", "alice@box.example", "virtual|box.example|alice@box.example" },
	};
	struct host host;

	(void)state;
	host_open(&host, "relayhost = [smart.example]:587\n"
	                 "sender_dependent_relayhost_maps = inline:{ s@one.example=[one.example], "
	                 "d@one.example=DUNNO, @two.example=[two.example] }\n"
	                 "sender_dependent_default_transport_maps = "
	                 "inline:{ @three.example=slow:[three.example] }\n");
	CHECK_RESOLVE(&host, cases);
	host_close(&host);
}

static void
transport_maps_come_first_in_their_search_order(void **state)
{
	static const struct resolve_case cases[] = {
		{ "", "a+x@far.example", "ext|n|a+x@far.example" },
		{ "", "a+y@far.example", "user|n|a+y@far.example" },
		{ "", "b@far.example", "dom|n|b@far.example" },
		{ "", "b@sub.far.example", "sub|n|b@sub.far.example" },
		{ "", "b@a.b.far.example", "sub|n|b@a.b.far.example" },
		{ "", "b@reset.example", "smtp|reset.example|b@reset.example" },
		{ "", "b@keep.example", "smtp|[gate.example]|b@keep.example" },
		{ "", "b@same.example", "smtp|same.example|b@same.example" },
		{ "", "b@gone.example", "error|5.1.1 moved away|b@gone.example" },
		{ "", "b@later.example", "retry|4.0.0 come back|b@later.example" },
		{ "", "b@void.example", "discard|silently|b@void.example" },
		{ "", "b@other.example", "star|n|b@other.example" },
		{ "", "alice@box.example", "star|n|alice@box.example" },
	};
	struct host host;

	(void)state;
	host_open(&host, "transport_maps = inline:{ a+x@far.example=ext:n, a@far.example=user:n,"
	                 "far.example=dom:n, .far.example=sub:n, reset.example=smtp:,"
	                 "keep.example=:[gate.example], same.example=:,"
	                 "{ gone.example = error:5.1.1 moved away },"
	                 "{ later.example = retry:come back },"
	                 "void.example=discard:silently, *=star:n }\n");
	CHECK_RESOLVE(&host, cases);
	host_close(&host);
}

static void
pattern_transports_see_whole_addresses_only(void **state)
{
	static const struct resolve_case cases[] = {
		{ "", "x@far.example", "smtp|far.example|x@far.example" },
		{ "", "y@far.example", "why|n|y@far.example" },
	};
	struct host host;

	(void)state;
	host_open(&host, "transport_maps = pcre:{ {/^far\\.example$$/ wrong:n} {/^y@/ why:n} }\n");
	CHECK_RESOLVE(&host, cases);
	host_close(&host);
}

/* ---- mailboxes ---- */

static void
a_mailbox_has_path_owner_and_quota(void **state)
{
	struct route route;
	struct host  host;

	(void)state;
	host_open(&host, "");
	assert_int_equal(route_resolve(host.router, SLICE(""), SLICE("alice+x@box.example"),
	                               &host.arena, &route, &host.error),
	                 LOOKUP_FOUND);
	assert_true(slice_equal(route.mailbox, SLICE("box.example/alice/")));
	assert_int_equal(route.uid, 5000);
	assert_int_equal(route.gid, 5001);
	assert_int_equal(route.quota, 1000000);
	assert_int_equal(route_mailbox(host.router, SLICE("any@catch.example"), &host.arena, &route,
	                               &host.error),
	                 LOOKUP_FOUND);
	assert_true(slice_equal(route.mailbox, SLICE("c/")));
	assert_int_equal(route.quota, 0);
	assert_int_equal(route_mailbox(host.router, SLICE("x@box.example"), &host.arena, &route,
	                               &host.error),
	                 LOOKUP_NOT_FOUND);
	host_close(&host);
}

static void
an_owner_that_is_missing_or_too_low_defers(void **state)
{
	static const char *const settings[] = {
		"virtual_uid_maps = static:99\n",
		"virtual_uid_maps = static:root\n",
		"virtual_gid_maps =\n",
		"virtual_uid_maps = static:4294967295\n",
		"virtual_mailbox_quota_maps = static:much\n",
		"virtual_mailbox_maps = fail:x\n",
	};
	struct route route;
	struct host  host;

	(void)state;
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		host_open(&host, settings[i]);
		assert_int_equal(route_resolve(host.router, SLICE(""), SLICE("alice@box.example"),
		                               &host.arena, &route, &host.error),
		                 LOOKUP_TRY_LATER);
		assert_true(host.error.text[0] != '\0');
		host_close(&host);
	}
}

static void
clients_are_local_by_interface_network_or_login(void **state)
{
	static const struct {
		const char *setting, *address;
		bool        is_authenticated;
		enum lookup expected;
	} cases[] = {
		{ "", "", false, LOOKUP_FOUND },
		{ "", "192.0.2.1", false, LOOKUP_FOUND },
		{ "", "2001:db8::1", false, LOOKUP_FOUND },
		{ "", "192.0.2.2", false, LOOKUP_NOT_FOUND },
		{ "", "192.0.2.2", true, LOOKUP_NOT_FOUND },
		{ "local_header_rewrite_clients = permit_sasl_authenticated\n", "192.0.2.2", true,
		  LOOKUP_FOUND },
		{ "local_header_rewrite_clients = permit_mynetworks\n", "127.0.0.9", false,
		  LOOKUP_FOUND },
		{ "local_header_rewrite_clients = check_address_map "
		  "inline:{192.0.2.7=x}\n",
		  "192.0.2.7", false, LOOKUP_FOUND },
		{ "local_header_rewrite_clients =\n", "192.0.2.1", false, LOOKUP_NOT_FOUND },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct host         host;
		struct route_client client = { slice_from(cases[i].address),
			                       cases[i].is_authenticated };

		host_open(&host, cases[i].setting);
		assert_int_equal(route_client_is_local(host.router, &client, &host.error),
		                 cases[i].expected);
		host_close(&host);
	}
}

static void *
look_up_many(void *argument)
{
	struct host *host = argument;

	for (int i = 0; i < 2000; i++) {
		struct arena           arena = ARENA(0);
		struct error           error = ERROR_NONE;
		struct route_addresses addresses = { NULL, 0 };
		struct route           route = { .uid = 0 };
		bool ok = route_expand(host->router, SLICE("list@alias.example"), &arena,
		                       &addresses, &error) == LOOKUP_FOUND &&
		          addresses.count == 2 &&
		          route_resolve(host->router, SLICE(""), SLICE("alice@box.example"), &arena,
		                        &route, &error) == LOOKUP_FOUND &&
		          route.uid == 5000;

		arena_reset(&arena);
		if (!ok)
			return host;
	}
	return NULL;
}

static void
threads_share_a_router(void **state)
{
	pthread_t   threads[4];
	struct host host;

	(void)state;
	host_open(&host, "");
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(thread_start(&threads[i], look_up_many, &host), 0);
	for (size_t i = 0; i < 4; i++) {
		void *failed;

		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	host_close(&host);
}

/* ---- local ---- */

/* "uid:gid kind name+extension {text} [owner] home shell (command) > next", '*' = shared. */
static void
describe_local(const struct route *route, struct buf *out)
{
	for (; route != NULL; route = route->next) {
		struct slice     list = route->local;
		struct msg_local record;

		if (out->length > 0)
			buf_append_text(out, " > ");
		if (!msg_local_next(&list, &record)) {
			buf_append_format(out, "%.*s:%.*s", SLICE_ARGS(route->transport),
			                  SLICE_ARGS(route->nexthop));
			continue;
		}
		buf_append_format(out, "%u:%u%s %s %.*s", route->uid, route->gid,
		                  route->is_shared ? "*" : "",
		                  record.kind == LOCAL_ALIAS  ? "alias"
		                  : record.kind == LOCAL_USER ? "user"
		                                              : "spool",
		                  SLICE_ARGS(record.name));
		if (record.extension.length > 0)
			buf_append_format(out, "+%.*s", SLICE_ARGS(record.extension));
		if (record.kind == LOCAL_ALIAS)
			buf_append_format(out, " {%.*s}", SLICE_ARGS(record.text));
		if (record.owner.length > 0)
			buf_append_format(out, " [%.*s]", SLICE_ARGS(record.owner));
		if (record.home.length > 0)
			buf_append_format(out, " %.*s %.*s", SLICE_ARGS(record.home),
			                  SLICE_ARGS(record.shell));
		if (record.command.length > 0)
			buf_append_format(out, " (%.*s)", SLICE_ARGS(record.command));
		if (route->is_spool)
			buf_append_format(out, " %.*s", SLICE_ARGS(route->mailbox));
		assert_int_equal(record.has_next, route->next != NULL);
	}
}

static void
check_local(struct host *host, const char *address, const char *expected)
{
	struct buf   out = BUF(4096);
	struct route route;

	if (route_resolve(host->router, SLICE_EMPTY, slice_from(address), &host->arena, &route,
	                  &host->error) != LOOKUP_FOUND)
		buf_append_format(&out, "later: %s", host->error.text);
	else
		describe_local(&route, &out);
	assert_string_equal(buf_text(&out), expected);
	buf_free(&out);
}

static void
local_names_are_aliases_then_users_then_unknown(void **state)
{
	static const char *const rows[][2] = {
		{ "LIST+x@localhost", "65534:65534* alias list+x {bob, alice@far.example} "
		                      "[owner-list@mail.example.org]" },
		{ "owner-list@localhost", "65534:65534* alias owner-list {carol, dave}" },
		{ "owner-bob@localhost", "error:5.1.1 unknown user: \"owner-bob\"" },
		{ "sub-request@localhost", "65534:65534* alias sub-request {list}" },
		{ "list+x-request@localhost", "error:5.1.1 unknown user: \"list+x-request\"" },
		{ "news+old@localhost", "65534:65534* alias news+old+old {x}" },
		{ "Bob+X@localhost", "65534:65534* alias bob+X {\\bob, |/bin/true} > "
		                     "1001:1002 user bob+X /home/bob /bin/bash > "
		                     "1001:1002 spool bob bob" },
		{ "root@localhost", "retry:4.2.0 mail for root needs an alias to a person: see "
		                    "aliases(5), then newaliases" },
		{ "wheel@localhost", "retry:4.2.0 no mail is delivered with the group id of root: "
		                     "make an alias" },
		{ "bad@localhost", "later: local_user_maps: bad: not a line of passwd(5)" },
		{ "../bob@localhost", "error:5.1.1 unknown user: \"../bob\"" },
		{ ".@localhost", "error:5.1.1 unknown user: \".\"" },
	};
	struct host host;

	(void)state;
	host_open(&host, "");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_local(&host, rows[i][0], rows[i][1]);
	host_close(&host);
}

static void
the_mailbox_is_the_first_that_is_set(void **state)
{
	static const char *const user = "1001:1002 user bob /home/bob /bin/bash";
	static const char *const rows[][2] = {
		{ "mail_spool_directory = /var/mail/\n", " > 1001:1002 spool bob bob/" },
		{ "home_mailbox = Maildir/\n", "" },
		{ "mailbox_command = prog $USER\nhome_mailbox = x\n", " (prog $USER)" },
		{ "mailbox_command = prog\nmailbox_command_maps = inline:{ bob=own }\n", " (own)" },
		{ "mailbox_command = prog\nmailbox_transport = lmtp:unix:x\n", " > lmtp:unix:x" },
		{ "mailbox_transport_maps = inline:{ bob=virtual: }\n",
		  " > error:5.1.1 User unknown in virtual mailbox table" },
		{ "mailbox_transport = local:\n",
		  " > retry:4.3.5 mail for local users loops back to local" },
	};
	char        expected[300], more[300];
	struct host host;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(more, sizeof(more), "alias_maps =\n%s", rows[i][0]);
		snprintf(expected, sizeof(expected), "%s%s", user, rows[i][1]);
		host_open(&host, more);
		check_local(&host, "bob@localhost", expected);
		host_close(&host);
	}
}

static void
unknown_names_fall_to_fallback_then_luser_relay(void **state)
{
	static const char *const rows[][2] = {
		{ "fallback_transport = smtp:[other.example]\n", "smtp:[other.example]" },
		{ "fallback_transport_maps = inline:{ nobody=slow: }\n", "slow:localhost" },
		{ "mailbox_transport = lmtp:unix:x\nfallback_transport = smtp:y\n", "lmtp:unix:x" },
		{ "luser_relay = $user@other.example\n",
		  "65534:65534* alias nobody+a,b {nobody@other.example}" },
		{ "luser_relay = x+$local${extension?{!}:{?}}\n",
		  "65534:65534* alias nobody+a,b {x+nobody+a_b!}" },
		{ "luser_relay = ${user\n", "later: luser_relay: " },
		{ "fallback_transport_maps = fail:x\n", "later: fallback_transport_maps: " },
		{ "local_user_maps = fail:x\n", "later: local_user_maps: " },
	};
	struct host host;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct route route;
		struct buf   out = BUF(4096);

		host_open(&host, rows[i][0]);
		if (route_resolve(host.router, SLICE_EMPTY, SLICE("nobody+a,b@localhost"),
		                  &host.arena, &route, &host.error) != LOOKUP_FOUND)
			buf_append_format(&out, "later: %s", host.error.text);
		else
			describe_local(&route, &out);
		/* What an expansion or a table says is its own business. */
		buf_truncate(&out, strncmp(rows[i][1], "later", 5) == 0 ? strlen(rows[i][1])
		                                                        : out.length);
		assert_string_equal(buf_text(&out), rows[i][1]);
		buf_free(&out);
		host_close(&host);
	}
}

static void
aliases_wait_without_somebody_to_run_as(void **state)
{
	static const char *const rows[][2] = {
		{ "default_privs = no-such-user-here\n",
		  "later: default_privs: there is no user \"no-such-user-here\"" },
		{ "default_privs = 0:0\n", "later: default_privs must not be root" },
		{ "alias_maps = fail:x\n",
		  "later: alias_maps: table fail:x: this table always fails" },
		{ "alias_maps = inline:{ list=x }, fail:x\n",
		  "later: alias_maps: table fail:x: this table always fails" },
		{ "alias_maps = pcre:{ { /^list$$/ \"|/bin/x\" } }\n",
		  "65534:65534* alias list {\"|/bin/x\"}" },
		{ "expand_owner_alias = yes\nalias_maps = inline:{ { list = x },"
		  "{ owner-list = Carol <carol@far.example> } }\n",
		  "65534:65534* alias list {x} [carol@far.example]" },
	};
	struct host host;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		host_open(&host, rows[i][0]);
		check_local(&host, "list@localhost", rows[i][1]);
		host_close(&host);
	}
}

static void
a_pattern_makes_no_command_of_a_strange_name(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "alias_maps = pcre:{ { /^(.*)x$$/ |/bin/prog $$1 } { /^([^-]*)y$$/ "
	                 "$$1@far.example } }\n");
	check_local(&host, "abcx@localhost",
	            "65534:65534* alias abcx {|/bin/prog abc} "
	            "[owner-abcx@mail.example.org]");
	check_local(&host, "a;rm x@localhost",
	            "later: alias_maps: pcre:{ { /^(.*)x$/ |/bin/prog $1 } { /^([^-]*)y$/ "
	            "$1@far.example } }: no command or file for such a name");
	check_local(&host, "-fx@localhost",
	            "later: alias_maps: pcre:{ { /^(.*)x$/ |/bin/prog $1 } { /^([^-]*)y$/ "
	            "$1@far.example } }: no command or file for such a name");
	check_local(&host, "a;y@localhost", "65534:65534* alias a;y {a;@far.example}");
	host_close(&host);
}

/* ---- probes ---- */

static const char *
probe_way(struct host *host, struct router *router, const char *recipient)
{
	struct route route;

	assert_int_equal(route_resolve(router, SLICE_EMPTY, slice_from(recipient), &host->arena,
	                               &route, &host->error),
	                 LOOKUP_FOUND);
	const char *way = arena_format(&host->arena, "%.*s:%.*s", SLICE_ARGS(route.transport),
	                               SLICE_ARGS(route.nexthop));
	assert_non_null(way);
	return way;
}

static void
probes_go_as_mail_unless_told_otherwise(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "relayhost = [hub.example]\n");
	struct router *probes = router_create_for_probes(host.snapshot, host.router, &host.error);
	assert_ptr_equal(probes, host.router);
	host_close(&host);

	host_open(&host, "relayhost = [hub.example]\naddress_verify_relayhost =\n"
	                 "address_verify_transport_maps = inline:{ relay.example=lmtp:[in]:24 }\n");
	probes = router_create_for_probes(host.snapshot, host.router, &host.error);
	assert_non_null(probes);
	assert_ptr_not_equal(probes, host.router);
	assert_string_equal(probe_way(&host, probes, "x@far.example"), "smtp:far.example");
	assert_string_equal(probe_way(&host, host.router, "x@far.example"), "smtp:[hub.example]");
	assert_string_equal(probe_way(&host, probes, "x@relay.example"), "lmtp:[in]:24");
	assert_string_equal(probe_way(&host, host.router, "x@relay.example"),
	                    "relay:[hub.example]");
	router_destroy(&probes);
	host_close(&host);
}

static void
the_sender_of_probes_changes_and_is_known_for_a_while(void **state)
{
	struct host              host;
	struct buf               sender = BUF(1000);
	const struct parameters *parameters;
	const int64_t            now_s = 1800000000;

	(void)state;
	host_open(&host, "myorigin = here.example\n");
	parameters = snapshot_parameters(host.snapshot);
	assert_true(route_probe_sender(parameters, now_s, &sender));
	assert_string_equal(buf_text(&sender), "double-bounce@here.example");
	assert_true(route_is_probe_sender(parameters, SLICE("Double-Bounce@Here.example"), now_s));
	assert_false(route_is_probe_sender(parameters, SLICE("double-bounce@far.example"), now_s));
	assert_false(
		route_is_probe_sender(parameters, SLICE("double-bouncex@here.example"), now_s));
	assert_false(route_is_probe_sender(parameters, SLICE("double@here.example"), now_s));
	assert_false(route_is_probe_sender(parameters, SLICE("double-bounce"), now_s));
	host_close(&host);

	host_open(&host, "address_verify_sender = probe@p.example\n"
	                 "address_verify_sender_ttl = 1000s\n");
	parameters = snapshot_parameters(host.snapshot);
	buf_clear(&sender);
	assert_true(route_probe_sender(parameters, now_s, &sender));
	assert_int_equal(sender.length, strlen("probeXXXXX@p.example"));
	assert_true(route_is_probe_sender(parameters, buf_slice(&sender), now_s - 1000));
	assert_true(route_is_probe_sender(parameters, buf_slice(&sender), now_s));
	assert_true(route_is_probe_sender(parameters, buf_slice(&sender), now_s + 1999));
	assert_false(route_is_probe_sender(parameters, buf_slice(&sender), now_s + 2000));
	assert_false(route_is_probe_sender(parameters, SLICE("probe@p.example"), now_s));
	host_close(&host);

	host_open(&host, "address_verify_sender = <>\n");
	buf_clear(&sender);
	assert_true(route_probe_sender(snapshot_parameters(host.snapshot), now_s, &sender));
	assert_int_equal(sender.length, 0);
	assert_false(route_is_probe_sender(snapshot_parameters(host.snapshot), SLICE("@x"), now_s));
	host_close(&host);
	buf_free(&sender);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_domain_belongs_to_the_class_that_lists_it),
		cmocka_unit_test(unknown_recipients_are_named_by_their_table),
		cmocka_unit_test(an_empty_list_knows_everybody_except_of_alias_domains),
		cmocka_unit_test(postmaster_recipient_serves_all_our_domains),
		cmocka_unit_test(postmaster_of_mydomain_serves_when_there_is_one),
		cmocka_unit_test(a_name_without_domain_is_known_where_myorigin_is),
		cmocka_unit_test(a_table_that_cannot_be_read_is_never_not_found),
		cmocka_unit_test(aliases_are_expanded_to_the_end_without_duplicates),
		cmocka_unit_test(extensions_are_not_propagated_when_told_so),
		cmocka_unit_test(expansion_stops_at_its_limits),
		cmocka_unit_test(each_class_has_its_transport),
		cmocka_unit_test(without_memory_no_address_is_called_wrong),
		cmocka_unit_test(relayhost_takes_the_place_of_remote_domains),
		cmocka_unit_test(transport_maps_come_first_in_their_search_order),
		cmocka_unit_test(pattern_transports_see_whole_addresses_only),
		cmocka_unit_test(a_mailbox_has_path_owner_and_quota),
		cmocka_unit_test(an_owner_that_is_missing_or_too_low_defers),
		cmocka_unit_test(clients_are_local_by_interface_network_or_login),
		cmocka_unit_test(threads_share_a_router),
		cmocka_unit_test(local_names_are_aliases_then_users_then_unknown),
		cmocka_unit_test(the_mailbox_is_the_first_that_is_set),
		cmocka_unit_test(unknown_names_fall_to_fallback_then_luser_relay),
		cmocka_unit_test(aliases_wait_without_somebody_to_run_as),
		cmocka_unit_test(a_pattern_makes_no_command_of_a_strange_name),
		cmocka_unit_test(probes_go_as_mail_unless_told_otherwise),
		cmocka_unit_test(the_sender_of_probes_changes_and_is_known_for_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
