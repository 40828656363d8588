/* test_route_rewrite.c - lib/route: addresses rewritten, copies, moved users, routing stripped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "lib/route/route.h"

static const char *const base = "myhostname = mail.example.org\n"
				"mydomain = example.org\n"
				"myorigin = example.org\n"
				"mydestination = mail.example.org, localhost\n"
				"inet_interfaces = 192.0.2.1\n"
				"recipient_delimiter = +\n";

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
	snapshot_destroy(&host->snapshot);
	arena_reset(&host->arena);
}

/* What becomes of an address; "TRY LATER" when a table fails. */
static const char *
rewritten(struct host *host, struct route_rewriting how, const char *address)
{
	struct slice result;

	if (route_rewrite(host->router, &how, slice_from(address), &host->arena, &result,
	                  &host->error) != LOOKUP_FOUND)
		return "TRY LATER";
	return arena_text(&host->arena, result);
}

struct case_row {
	const char *address;
	const char *expected;
};

static void
check(struct host *host, struct route_rewriting how, const struct case_row *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *got = rewritten(host, how, cases[i].address);

		if (strcmp(got, cases[i].expected) != 0)
			fail_msg("%s: %s and not %s (%s)", cases[i].address, got, cases[i].expected,
			         host->error.text);
	}
}
#define CHECK(host, how, cases) check(host, how, cases, sizeof(cases) / sizeof((cases)[0]))

static const struct route_rewriting envelope_sender = { .role = ROUTE_ENVELOPE_SENDER };
static const struct route_rewriting envelope_recipient = { .role = ROUTE_ENVELOPE_RECIPIENT };
static const struct route_rewriting header_sender = { .role = ROUTE_HEADER_SENDER };
static const struct route_rewriting header_recipient = { .role = ROUTE_HEADER_RECIPIENT };

/* ---- standard form ---- */

static void
incomplete_addresses_get_their_standard_form(void **state)
{
	static const struct case_row cases[] = {
		{ "user", "user@example.org" },
		{ "user@Far.example", "user@Far.example" },
		{ "site!user", "user@site" },
		{ "a!b!user", "b!user@a" },
		{ "a!b@far.example", "a!b@far.example" },
		{ "user%far.example", "user@far.example" },
		{ "user%a%b", "user%a@b" },
		{ "user%a@b.example", "user%a@b.example" },
		{ "!user", "!user@example.org" },
		{ "user%", "user%@example.org" },
		{ "user@far.example.", "user@far.example" },
		{ "user@far.example..", "user@far.example.." },
		{ "user@host", "user@host" },
		{ "user@[192.0.2.9]", "user@[192.0.2.9]" },
		{ "", "" },
		{ "a\xff@b", "a\xff@b" },
		{ "a\x01", "a\x01" },
	};
	static const struct case_row with_dot[] = {
		{ "user@host", "user@host.example.org" },
		{ "site!user", "user@site.example.org" },
		{ "user@host.", "user@host" },
		{ "user@[192.0.2.9]", "user@[192.0.2.9]" },
		{ "user@far.example", "user@far.example" },
	};
	struct host host;

	(void)state;
	host_open(&host, "");
	CHECK(&host, envelope_recipient, cases);
	CHECK(&host, header_sender, cases);
	host_close(&host);
	host_open(&host, "append_dot_mydomain = yes\n");
	CHECK(&host, header_sender, with_dot);
	CHECK(&host, envelope_recipient, with_dot);
	host_close(&host);
}

static void
each_rule_can_be_turned_off(void **state)
{
	struct host            host;
	struct route_rewriting quoted = { .role = ROUTE_HEADER_SENDER, .is_quoted = true };

	(void)state;
	host_open(&host, "swap_bangpath = no\nallow_percent_hack = no\n");
	assert_string_equal(rewritten(&host, header_sender, "a!b"), "a!b@example.org");
	assert_string_equal(rewritten(&host, header_sender, "a%b"), "a%b@example.org");
	host_close(&host);
	host_open(&host, "append_at_myorigin = no\n");
	assert_string_equal(rewritten(&host, header_sender, "a"), "a");
	assert_string_equal(rewritten(&host, header_sender, "b!a"), "a@b");
	host_close(&host);
	host_open(&host, "");
	assert_string_equal(rewritten(&host, quoted, "a!b"), "a!b@example.org");
	host_close(&host);
}

static void
remote_headers_get_the_domain_that_is_set_for_them(void **state)
{
	struct route_rewriting remote = { .role = ROUTE_HEADER_SENDER, .is_remote = true };
	struct host            host;

	(void)state;
	host_open(&host, "remote_header_rewrite_domain = domain.invalid\n"
	                 "append_dot_mydomain = yes\n");
	assert_string_equal(rewritten(&host, remote, "user"), "user@domain.invalid");
	assert_string_equal(rewritten(&host, remote, "user@host"), "user@host.domain.invalid");
	assert_string_equal(rewritten(&host, remote, "user@far.example"), "user@far.example");
	host_close(&host);
	host_open(&host, "");
	assert_string_equal(rewritten(&host, remote, "user"), "user");
	host_close(&host);
}

/* ---- canonical ---- */

static void
canonical_maps_come_in_their_order_and_until_nothing_changes(void **state)
{
	static const struct case_row senders[] = {
		{ "one@far.example", "three@far.example" }, /* sender first, then both */
		{ "two@far.example", "three@far.example" },
		{ "chain1@far.example", "chain3@far.example" },
		{ "self@far.example", "self@far.example" },
		{ "user@whole.example", "user@new.example" },
		{ "bare@example.org", "Full.Name@example.org" },
		{ "bare", "Full.Name@example.org" },
		{ "bare@mail.example.org", "Full.Name@example.org" },
		{ "bare@[192.0.2.1]", "Full.Name@example.org" },
		{ "bare@far.example", "bare@far.example" },
		{ "name@far.example", "short@example.org" },
		{ "rcpt@far.example", "rcpt@far.example" },
		{ "many@far.example", "first@far.example" },
		{ "\"@far.example", "\"@far.example" },
		{ "circle1@far.example", "TRY LATER" },
		{ "bad@far.example", "TRY LATER" },
	};
	struct host host;

	(void)state;
	host_open(&host, "sender_canonical_maps = inline:{ one@far.example=two@far.example }\n"
	                 "recipient_canonical_maps = inline:{ rcpt@far.example=r2@far.example }\n"
	                 "canonical_maps = inline:{ two@far.example=three@far.example,"
	                 "chain1@far.example=chain2@far.example,"
	                 "chain2@far.example=chain3@far.example,"
	                 "self@far.example=self@far.example, @whole.example=@new.example,"
	                 "bare=Full.Name@example.org, name@far.example=short,"
	                 "{ many@far.example = first@far.example, second@far.example },"
	                 "circle1@far.example=circle2@far.example,"
	                 "circle2@far.example=circle1@far.example,"
	                 "{ bad@far.example = no address } }\n");
	CHECK(&host, envelope_sender, senders);
	CHECK(&host, header_sender, senders);
	assert_string_equal(rewritten(&host, envelope_recipient, "rcpt@far.example"),
	                    "r2@far.example");
	assert_string_equal(rewritten(&host, header_recipient, "one@far.example"),
	                    "one@far.example");
	host_close(&host);
}

static void
extensions_are_put_back_when_the_table_has_not_seen_them(void **state)
{
	static const struct case_row kept[] = {
		{ "user+ext@far.example", "mapped+ext@far.example" },
		{ "user+full@far.example", "whole@far.example" },
		{ "x+ext@whole.example", "x+ext@new.example" },
		{ "bare+ext@example.org", "named+ext@example.org" },
		{ "moved+ext@old.example", "moved+ext@new.example" },
	};
	static const struct case_row dropped[] = {
		{ "user+ext@far.example", "mapped@far.example" },
		{ "x+ext@whole.example", "x+ext@new.example" }, /* seen by the table */
		{ "moved+ext@old.example", "moved@new.example" },
	};
	static const char *const maps =
		"canonical_maps = inline:{ user@far.example=mapped@far.example,"
		"user+full@far.example=whole@far.example, @whole.example=@new.example,"
		"bare=named, moved@old.example=@new.example }\n";
	char        text[1000];
	struct host host;

	(void)state;
	host_open(&host, maps);
	CHECK(&host, envelope_recipient, kept);
	host_close(&host);
	snprintf(text, sizeof(text), "%spropagate_unmatched_extensions = virtual\n", maps);
	host_open(&host, text);
	CHECK(&host, envelope_recipient, dropped);
	host_close(&host);
}

static void
classes_say_which_addresses_are_rewritten(void **state)
{
	static const struct route_rewriting roles[] = { { .role = ROUTE_ENVELOPE_SENDER },
		                                        { .role = ROUTE_ENVELOPE_RECIPIENT },
		                                        { .role = ROUTE_HEADER_SENDER },
		                                        { .role = ROUTE_HEADER_RECIPIENT } };
	static const char *const            words[] = { "envelope_sender", "envelope_recipient",
		                                        "header_sender", "header_recipient" };
	struct route_rewriting without = { .role = ROUTE_ENVELOPE_SENDER, .without_maps = true };
	struct host            host;

	(void)state;
	for (size_t class = 0; class < 4; class ++) {
		char text[500];

		snprintf(text, sizeof(text),
		         "canonical_maps = inline:{ c@far.example=d@far.example }\n"
		         "canonical_classes = %s\nmasquerade_domains = masq.example\n"
		         "masquerade_classes = %s\n",
		         words[class], words[class]);
		host_open(&host, text);
		for (size_t role = 0; role < 4; role++) {
			bool is_meant = role == class;

			assert_string_equal(rewritten(&host, roles[role], "c@far.example"),
			                    is_meant ? "d@far.example" : "c@far.example");
			assert_string_equal(rewritten(&host, roles[role], "u@h.masq.example"),
			                    is_meant ? "u@masq.example" : "u@h.masq.example");
		}
		host_close(&host);
	}
	host_open(&host, "canonical_maps = static:x@y.example\n");
	assert_string_equal(rewritten(&host, without, "user"), "user@example.org");
	host_close(&host);
}

static void
an_unknown_class_is_refused(void **state)
{
	struct error     error = ERROR_NONE;
	struct snapshot *snapshot =
		snapshot_from_text("masquerade_classes = header_from\n", &error);

	(void)state;
	assert_non_null(snapshot);
	assert_null(router_create(snapshot, &error));
	assert_string_equal(error.text, "masquerade_classes: unknown class \"header_from\"");
	snapshot_destroy(&snapshot);
}

static void
a_canonical_table_that_fails_is_never_not_found(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "canonical_maps = hash:/nonexistent/table\n");
	assert_string_equal(rewritten(&host, header_sender, "user@far.example"), "TRY LATER");
	assert_true(strstr(host.error.text, "canonical_maps") != NULL);
	host_close(&host);
	host_open(&host, "masquerade_domains = example.org\n"
	                 "masquerade_exceptions = hash:/nonexistent/table\n");
	assert_string_equal(rewritten(&host, header_sender, "user@h.example.org"), "TRY LATER");
	host_close(&host);
}

/* ---- masquerade ---- */

static void
masquerading_cuts_at_the_first_domain_that_fits(void **state)
{
	static const struct case_row cases[] = {
		{ "u@any.thing.foo.example.com", "u@foo.example.com" },
		{ "u@any.thing.else.example.com", "u@example.com" },
		{ "u@foo.example.com", "u@foo.example.com" },
		{ "u@example.com", "u@example.com" },
		{ "u@x.EXAMPLE.com", "u@example.com" },
		{ "u@notexample.com", "u@notexample.com" },
		{ "u@x.keep.example.net", "u@x.keep.example.net" },
		{ "u@keep.example.net", "u@keep.example.net" },
		{ "u@x.example.net", "u@example.net" },
		{ "u@x.twice.example", "u@twice.example" },
		{ "root@x.example.com", "root@x.example.com" },
		{ "ROOT@x.example.com", "ROOT@x.example.com" },
		{ "admin@x.example.com", "admin@x.example.com" },
		{ "roots@x.example.com", "roots@example.com" },
		{ "", "" },
	};
	struct host host;

	(void)state;
	host_open(&host, "masquerade_domains = foo.example.com example.com,"
	                 " !keep.example.net example.net !!twice.example\n"
	                 "masquerade_exceptions = root, inline:{ admin=x }\n");
	CHECK(&host, header_sender, cases);
	CHECK(&host, envelope_sender, cases);
	assert_string_equal(rewritten(&host, envelope_recipient, "u@x.example.com"),
	                    "u@x.example.com");
	host_close(&host);
}

static void
masquerading_comes_behind_canonical(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "canonical_maps = inline:{ u@far.example=v@h.example.com }\n"
	                 "masquerade_domains = example.com\n");
	assert_string_equal(rewritten(&host, header_sender, "u@far.example"), "v@example.com");
	host_close(&host);
}

/* ---- copies ---- */

static const char *
copy_of(struct host *host, enum route_role role, const char *address)
{
	struct slice copy;
	enum lookup  found = route_bcc(host->router, role, slice_from(address), &host->arena, &copy,
	                               &host->error);

	if (found == LOOKUP_FOUND)
		return arena_text(&host->arena, copy);
	return found == LOOKUP_NOT_FOUND ? "none" : "TRY LATER";
}

static void
copies_are_found_in_the_order_of_address_tables(void **state)
{
	struct host host;

	(void)state;
	host_open(&host,
	          "sender_bcc_maps = inline:{ a@far.example=copy, @all.example=whole@x.example "
	          "}\n"
	          "recipient_bcc_maps = inline:{ r=rc@x.example }\n");
	assert_string_equal(copy_of(&host, ROUTE_ENVELOPE_SENDER, "a@far.example"),
	                    "copy@example.org");
	assert_string_equal(copy_of(&host, ROUTE_ENVELOPE_SENDER, "a+ext@far.example"),
	                    "copy@example.org");
	assert_string_equal(copy_of(&host, ROUTE_ENVELOPE_SENDER, "b@ALL.example"),
	                    "whole@x.example");
	assert_string_equal(copy_of(&host, ROUTE_ENVELOPE_SENDER, "r@example.org"), "none");
	assert_string_equal(copy_of(&host, ROUTE_ENVELOPE_RECIPIENT, "r@example.org"),
	                    "rc@x.example");
	assert_string_equal(copy_of(&host, ROUTE_ENVELOPE_RECIPIENT, "r@far.example"), "none");
	host_close(&host);
	host_open(&host, "recipient_bcc_maps = hash:/nonexistent/table\n");
	assert_string_equal(copy_of(&host, ROUTE_ENVELOPE_RECIPIENT, "r@far.example"), "TRY LATER");
	host_close(&host);
}

/* ---- on the way out ---- */

static void
generic_maps_rewrite_once(void **state)
{
	static const struct {
		const char *address;
		const char *expected; /* NULL: unchanged */
	} cases[] = {
		{ "alice@mail.example.org", "alice@isp.example" },
		{ "alice+x@mail.example.org", "alice@isp.example" },
		{ "alice@far.example", NULL },
		{ "one@far.example", "two@far.example" },
		{ "any@local.lan", "host+local@isp.example" },
		{ "self@far.example", NULL },
		{ "", NULL },
	};
	struct host    host;
	struct router *generic;
	struct slice   result;

	(void)state;
	host_open(&host, "");
	generic = router_create_generic(host.snapshot,
	                                "inline:{ alice=alice@isp.example,"
	                                "one@far.example=two@far.example,"
	                                "two@far.example=three@far.example,"
	                                "self@far.example=self@far.example,"
	                                "@local.lan=host+local@isp.example }",
	                                &host.error);
	assert_non_null(generic);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum lookup found = route_generic(generic, slice_from(cases[i].address),
		                                  &host.arena, &result, &host.error);

		assert_int_equal(found,
		                 cases[i].expected == NULL ? LOOKUP_NOT_FOUND : LOOKUP_FOUND);
		if (found == LOOKUP_FOUND && !slice_equal(result, slice_from(cases[i].expected)))
			fail_msg("%s: %.*s", cases[i].address, SLICE_ARGS(result));
	}
	router_destroy(&generic);
	assert_null(router_create_generic(host.snapshot, "nosuchtype:x", &host.error));
	host_close(&host);
}

/* ---- who has moved, and routing in local parts ---- */

static void
check_route(struct host *host, const char *recipient, const char *expected)
{
	struct route route;
	char         got[300];

	assert_int_equal(route_resolve(host->router, SLICE("s@far.example"), slice_from(recipient),
	                               &host->arena, &route, &host->error),
	                 LOOKUP_FOUND);
	snprintf(got, sizeof(got), "%.*s:%.*s <%.*s>", SLICE_ARGS(route.transport),
	         SLICE_ARGS(route.nexthop), SLICE_ARGS(route.recipient));
	assert_string_equal(got, expected);
}

static void
mail_for_who_has_moved_is_refused_with_the_new_place(void **state)
{
	const char *reason = NULL;
	struct host host;

	(void)state;
	host_open(&host, "virtual_mailbox_domains = box.example\n"
	                 "virtual_mailbox_maps = inline:{ old@box.example=x/ }\n"
	                 "virtual_uid_maps = static:5000\nvirtual_gid_maps = static:5000\n"
	                 "virtual_alias_maps = inline:{ alias@box.example=old@box.example }\n"
	                 "relocated_maps = inline:{ { old@box.example = new@far.example, phone 1 },"
	                 "@gone.example=elsewhere, alias@box.example=never }\n");
	check_route(&host, "old@box.example",
	            "error:5.1.6 User has moved to new@far.example, phone 1 <old@box.example>");
	check_route(&host, "any+x@gone.example",
	            "error:5.1.6 User has moved to elsewhere <any+x@gone.example>");
	check_route(&host, "other@far.example", "smtp:far.example <other@far.example>");
	assert_int_equal(route_recipient_exists(host.router, SLICE("old@box.example"), &host.arena,
	                                        &reason, &host.error),
	                 LOOKUP_NOT_FOUND);
	assert_string_equal(reason, "5.1.6 User has moved to new@far.example, phone 1");
	/* An alias is replaced before anybody looks whether it has moved. */
	assert_int_equal(route_recipient_exists(host.router, SLICE("alias@box.example"),
	                                        &host.arena, &reason, &host.error),
	                 LOOKUP_FOUND);
	host_close(&host);
}

static void
the_text_about_who_has_moved_can_be_the_admins(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "relocated_prefix_enable = no\n"
	                 "relocated_maps = inline:{ { a@far.example = 5.2.1 is no more },"
	                 "{ b@far.example = has left } }\n");
	check_route(&host, "a@far.example", "error:5.2.1 is no more <a@far.example>");
	check_route(&host, "b@far.example", "error:5.0.0 has left <b@far.example>");
	host_close(&host);
}

static void
a_recipient_for_the_error_transport_is_unknown_at_once(void **state)
{
	const char *reason = NULL;
	struct host host;

	(void)state;
	host_open(&host,
	          "relay_domains = relay.example\n"
	          "canonical_maps = inline:{ c@relay.example=d@relay.example }\n"
	          "transport_maps = inline:{ { x@relay.example = error:5.7.1 go away },"
	          "{ c@relay.example = error:never }, { y@relay.example = retry:later } }\n");
	assert_int_equal(route_recipient_exists(host.router, SLICE("x@relay.example"), &host.arena,
	                                        &reason, &host.error),
	                 LOOKUP_NOT_FOUND);
	assert_string_equal(reason, "5.7.1 go away");
	assert_int_equal(route_recipient_exists(host.router, SLICE("y@relay.example"), &host.arena,
	                                        &reason, &host.error),
	                 LOOKUP_NOT_FOUND);
	assert_string_equal(reason, "4.0.0 later"); /* for now */
	static const char *const known[] = { "z@relay.example", "c@relay.example" };
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(route_recipient_exists(host.router, slice_from(known[i]),
		                                        &host.arena, &reason, &host.error),
		                 LOOKUP_FOUND);
	host_close(&host);
}

static void
all_forms_of_transport_results_are_read(void **state)
{
	static const struct case_row cases[] = {
		{ "u@same.example", "smtp:[relay.example] <u@same.example>" },
		{ "u@own.example", "slow:own.example <u@own.example>" },
		{ "u@hop.example", "smtp:gate.example <u@hop.example>" },
		{ "u@both.example", "slow:[gate.example]:2525 <u@both.example>" },
		{ "u@list.example", "smtp:one.example, [two.example]:26 <u@list.example>" },
		{ "u@err.example", "error:5.0.0 Address is undeliverable <u@err.example>" },
		{ "u@errtext.example", "error:5.1.1 no such <u@errtext.example>" },
		{ "u@retry.example", "retry:4.0.0 come back <u@retry.example>" },
		{ "u@other.example", "error:5.1.2 not now <u@other.example>" },
		{ "u@discard.example", "discard:silently <u@discard.example>" },
		{ "special+x@same.example", "special:same.example <special+x@same.example>" },
		{ "u@sub.same.example", "smtp:dotted.example <u@sub.same.example>" },
		{ "u@none.example", "star:none.example <u@none.example>" },
	};
	struct host host;

	(void)state;
	host_open(&host,
	          "relayhost = [relay.example]\n"
	          "transport_maps = inline:{ same.example=:, own.example=slow:,"
	          "hop.example=:gate.example, both.example=slow:[gate.example]:2525,"
	          "{ list.example = smtp:one.example, [two.example]:26 },"
	          "err.example=error:, { errtext.example = error:5.1.1 no such },"
	          "{ retry.example = retry:come back }, { other.example = error:4.1.2 not now },"
	          "discard.example=discard:silently,"
	          "special@same.example=special:, .same.example=:dotted.example, *=star: "
	          "}\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_route(&host, cases[i].address, cases[i].expected);
	host_close(&host);
}

static void
routing_through_this_host_is_followed(void **state)
{
	struct host host;

	(void)state;
	host_open(&host,
	          "local_transport = here:$myhostname\nvirtual_alias_domains = alias.example\n");
	check_route(&host, "user%far.example@localhost", "smtp:far.example <user@far.example>");
	check_route(&host, "far.example!user@localhost", "smtp:far.example <user@far.example>");
	check_route(&host, "user@far.example@localhost", "smtp:far.example <user@far.example>");
	check_route(&host, "u%far.example%localhost@mail.example.org",
	            "smtp:far.example <u@far.example>");
	check_route(&host, "u%x@[192.0.2.1]", "smtp:x <u@x>");
	check_route(&host, "user%far.example@other.example",
	            "smtp:other.example <user%far.example@other.example>");
	check_route(&host, "user%x@alias.example",
	            "error:5.1.1 User unknown in virtual alias table <user%x@alias.example>");
	check_route(&host, "%@localhost", "here:mail.example.org <%@localhost>");
	check_route(&host, "a!@localhost", "here:mail.example.org <a!@localhost>");
	host_close(&host);
	host_open(&host, "local_transport = here:$myhostname\nallow_percent_hack = "
	                 "no\nresolve_dequoted_address = no\n");
	check_route(&host, "user%far.example@localhost",
	            "here:mail.example.org <user%far.example@localhost>");
	check_route(&host, "user@far.example@localhost",
	            "here:mail.example.org <user@far.example@localhost>");
	host_close(&host);
}

static void
tables_by_sender_choose_relayhost_and_transport(void **state)
{
	static const struct {
		const char *sender;
		const char *transport;
		const char *nexthop;
	} cases[] = {
		{ "a@one.example", "smtp", "[gate1.example]" },
		{ "a+x@one.example", "smtp", "[gate1.example]" },
		{ "b@two.example", "out2", "[gate.example], [spare.example]" },
		{ "c@three.example", "out3", "fixed.example" },
		{ "dunno@one.example", "smtp", "[gate.example], [spare.example]" },
		{ "", "bounces", "[gate.example], [spare.example]" },
		{ "x@other.example", "smtp", "[gate.example], [spare.example]" },
	};
	struct host  host;
	struct route route;

	(void)state;
	host_open(&host, "relayhost = [gate.example], [spare.example]\n"
	                 "sender_dependent_relayhost_maps = inline:{ dunno@one.example=DUNNO,"
	                 "@one.example=[gate1.example] }\n"
	                 "sender_dependent_default_transport_maps = inline:{ @two.example=out2:,"
	                 "c@three.example=out3:fixed.example, <>=bounces: }\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(route_resolve(host.router, slice_from(cases[i].sender),
		                               SLICE("r@far.example"), &host.arena, &route,
		                               &host.error),
		                 LOOKUP_FOUND);
		if (!slice_equal(route.transport, slice_from(cases[i].transport)) ||
		    !slice_equal(route.nexthop, slice_from(cases[i].nexthop)))
			fail_msg("%s: %.*s:%.*s", cases[i].sender, SLICE_ARGS(route.transport),
			         SLICE_ARGS(route.nexthop));
	}
	host_close(&host);
}

static void
names_of_lists_are_not_taken_apart(void **state)
{
	static const char *const maps =
		"recipient_delimiter = -+\n"
		"virtual_alias_maps = inline:{ owner@example.org=wrong, list@example.org=all,"
		"owner-list@example.org=boss }\n";
	static const struct {
		const char *address;
		const char *special, *plain;
	} cases[] = {
		{ "owner-other@example.org", "owner-other@example.org", "wrong-other@example.org" },
		{ "list-request@example.org", "list-request@example.org",
		  "all-request@example.org" },
		{ "owner-list@example.org", "boss@example.org", "boss@example.org" },
		{ "list-x@example.org", "all-x@example.org", "all-x@example.org" },
		{ "list+x@example.org", "all+x@example.org", "all+x@example.org" },
	};

	(void)state;
	for (int is_plain = 0; is_plain < 2; is_plain++) {
		struct route_addresses addresses;
		struct host            host;
		char                   text[500];

		snprintf(text, sizeof(text), "%sowner_request_special = %s\n", maps,
		         is_plain ? "no" : "yes");
		host_open(&host, text);
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			assert_int_equal(route_expand(host.router, slice_from(cases[i].address),
			                              &host.arena, &addresses, &host.error),
			                 LOOKUP_FOUND);
			assert_int_equal(addresses.count, 1);
			assert_true(slice_equal(
				addresses.items[0],
				slice_from(is_plain ? cases[i].plain : cases[i].special)));
		}
		host_close(&host);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(incomplete_addresses_get_their_standard_form),
		cmocka_unit_test(each_rule_can_be_turned_off),
		cmocka_unit_test(remote_headers_get_the_domain_that_is_set_for_them),
		cmocka_unit_test(canonical_maps_come_in_their_order_and_until_nothing_changes),
		cmocka_unit_test(extensions_are_put_back_when_the_table_has_not_seen_them),
		cmocka_unit_test(classes_say_which_addresses_are_rewritten),
		cmocka_unit_test(an_unknown_class_is_refused),
		cmocka_unit_test(a_canonical_table_that_fails_is_never_not_found),
		cmocka_unit_test(masquerading_cuts_at_the_first_domain_that_fits),
		cmocka_unit_test(masquerading_comes_behind_canonical),
		cmocka_unit_test(copies_are_found_in_the_order_of_address_tables),
		cmocka_unit_test(generic_maps_rewrite_once),
		cmocka_unit_test(mail_for_who_has_moved_is_refused_with_the_new_place),
		cmocka_unit_test(the_text_about_who_has_moved_can_be_the_admins),
		cmocka_unit_test(a_recipient_for_the_error_transport_is_unknown_at_once),
		cmocka_unit_test(all_forms_of_transport_results_are_read),
		cmocka_unit_test(routing_through_this_host_is_followed),
		cmocka_unit_test(tables_by_sender_choose_relayhost_and_transport),
		cmocka_unit_test(names_of_lists_are_not_taken_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
