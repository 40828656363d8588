/* test_smtp_route.c - next hops as text, and the order in which hosts are tried. */
/* links: smtp/route.c smtp/verdict.c smtp/notify.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "smtp/smtp.h"

struct names {
	size_t v4, v6;        /* addresses of each MX host */
	size_t hosts;         /* MX hosts "a", "b" ... */
	bool   is_one_degree; /* all of equal preference */
	size_t lookups;
};

static enum dns_status
lookup_names(void *context, struct slice name, enum dns_type type, struct arena *arena,
             struct dns_answer *answer, struct error *error)
{
	struct names *names = context;
	size_t        count = type == DNS_MX ? names->hosts : type == DNS_A ? names->v4 : names->v6;

	(void)error;
	names->lookups++;
	answer->records = arena_alloc_array(arena, count + 1, sizeof(*answer->records));
	answer->count = count;
	for (size_t i = 0; i < count; i++) {
		char bytes[16] = { 10, name.data[0], 0, (char)(i + 1) };

		answer->records[i] = (struct dns_record){ .preference = 1 };
		if (type == DNS_MX) {
			char host[] = "a.test";

			host[0] = (char)('a' + i);
			answer->records[i].preference =
				names->is_one_degree ? 10 : (uint32_t)(10 * i);
			answer->records[i].target = arena_copy(arena, slice_from(host));
		} else {
			answer->records[i].data =
				arena_copy(arena, slice_of(bytes, type == DNS_A ? 4 : 16));
		}
	}
	return count > 0 ? DNS_FOUND : DNS_NO_DATA;
}

struct found {
	struct snapshot *snapshot;
	struct arena     arena;
	struct host_list route;
};

static void
find(struct found *found, struct names *names, const char *settings)
{
	struct error      error = ERROR_NONE;
	struct smtp_agent agent = { .lookup = lookup_names, .lookup_context = names };
	struct nexthop    nexthop;
	struct verdict    verdict = { .reason = "" };

	*found = (struct found){ .snapshot = snapshot_from_text(settings, &error),
		                 .arena = ARENA(1 << 20) };
	if (found->snapshot == NULL)
		fail_msg("%s", error.text);
	agent.parameters = snapshot_parameters(found->snapshot);
	assert_true(nexthop_parse(&agent, SLICE("example.org"), &found->arena, &nexthop, &error));
	if (!route_find(&agent, &nexthop, &found->arena, &found->route, &verdict))
		fail_msg("%s", verdict.reason);
}

static void
done(struct found *found)
{
	arena_reset(&found->arena);
	snapshot_destroy(&found->snapshot);
}

static void
preference_orders_hosts(void **state)
{
	struct names names = { .v4 = 1, .hosts = 4 };
	struct found found;

	(void)state;
	find(&found, &names, "");
	assert_int_equal(found.route.count, 4);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(found.route.hosts[i].name[0], 'a' + (int)i);
	assert_string_equal(found.route.hosts[0].relay, "a.test[10.97.0.1]:25");
	done(&found);
}

static void
equal_hosts_come_in_random_order(void **state)
{
	struct names names = { .v4 = 1, .hosts = 4, .is_one_degree = true };
	unsigned     first[4] = { 0 };

	(void)state;
	for (int round = 0; round < 400; round++) {
		struct found found;

		find(&found, &names, "");
		first[found.route.hosts[0].name[0] - 'a']++;
		done(&found);
	}
	/* 100 each are expected; 40 is seven standard deviations away */
	for (size_t i = 0; i < 4; i++)
		assert_true(first[i] > 40);
}

static void
address_limit_leaves_room_for_the_other_protocol(void **state)
{
	struct names names = { .v4 = 9, .v6 = 9, .hosts = 1 };
	struct found found;
	size_t       v6 = 0;

	(void)state;
	find(&found, &names, "smtp_address_preference = ipv4");
	assert_int_equal(found.route.count, 5);
	assert_int_equal(found.route.hosts[0].sockaddr.ss_family, AF_INET);
	for (size_t i = 0; i < 5; i++)
		v6 += found.route.hosts[i].sockaddr.ss_family == AF_INET6;
	assert_int_equal(v6, 1);
	done(&found);
	find(&found, &names, "smtp_address_preference = ipv4\nsmtp_balance_inet_protocols = no");
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(found.route.hosts[i].sockaddr.ss_family, AF_INET);
	done(&found);
}

static void
preferred_protocol_comes_first(void **state)
{
	struct names names = { .v4 = 2, .v6 = 2, .hosts = 1 };
	struct found found;

	(void)state;
	find(&found, &names, "smtp_address_preference = ipv6");
	assert_int_equal(found.route.count, 4);
	assert_int_equal(found.route.hosts[0].sockaddr.ss_family, AF_INET6);
	assert_int_equal(found.route.hosts[1].sockaddr.ss_family, AF_INET6);
	assert_int_equal(found.route.hosts[2].sockaddr.ss_family, AF_INET);
	done(&found);
}

static void
protocol_that_is_off_is_not_asked_for(void **state)
{
	struct names names = { .v4 = 1, .v6 = 1, .hosts = 1 };
	struct found found;

	(void)state;
	find(&found, &names, "inet_protocols = ipv4");
	assert_int_equal(found.route.count, 1);
	assert_int_equal(found.route.hosts[0].sockaddr.ss_family, AF_INET);
	assert_int_equal(names.lookups, 2);
	done(&found);
}

static void
names_beyond_the_limit_are_not_looked_up(void **state)
{
	struct names names = { .v4 = 1, .hosts = 20 };
	struct found found;

	(void)state;
	find(&found, &names, "");
	assert_int_equal(found.route.count, 5);
	assert_int_equal(names.lookups, 1 + 5 * 2);
	done(&found);
}

static void
forms_of_next_hops(void **state)
{
	static const struct {
		const char *text, *domain;
		unsigned    port; /* 0 = malformed */
		bool        is_host, has_port, is_lmtp;
	} cases[] = {
		{ "example.org", "example.org", 25, false, false, false },
		{ "example.org:587", "example.org", 587, false, true, false },
		{ "example.org:submission", "example.org", 587, false, true, false },
		{ "[mx.example.org]", "mx.example.org", 25, true, false, false },
		{ "[mx.example.org]:26", "mx.example.org", 26, true, true, false },
		{ "[2001:db8::1]:26", "2001:db8::1", 26, true, true, false },
		{ "[IPv6:2001:db8::1]", "2001:db8::1", 25, true, false, false },
		{ "inet:lmtp.example.org:2003", "lmtp.example.org", 2003, true, true, true },
		{ "lmtp.example.org", "lmtp.example.org", 24, true, false, true },
		{ "", "", 0, false, false, false },
		{ "[", "", 0, false, false, false },
		{ "[]", "", 0, false, false, false },
		{ "[a]b", "", 0, false, false, false },
		{ "[a]:", "", 0, false, false, false },
		{ "a:0", "", 0, false, false, false },
		{ "a:65536", "", 0, false, false, false },
		{ "a:x", "", 0, false, false, false },
		{ ":25", "", 0, false, false, false },
		{ "a\nb", "", 0, false, false, false },
	};
	struct error      error = ERROR_NONE;
	struct snapshot  *snapshot = snapshot_from_text("", &error);
	struct smtp_agent agent = { .parameters = snapshot_parameters(snapshot) };
	struct arena      arena = ARENA(100000);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nexthop nexthop;

		agent.is_lmtp = cases[i].is_lmtp;
		if (nexthop_parse(&agent, slice_from(cases[i].text), &arena, &nexthop, &error) !=
		    (cases[i].port != 0))
			fail_msg("%s", cases[i].text);
		if (cases[i].port == 0)
			continue;
		assert_string_equal(nexthop.domain, cases[i].domain);
		assert_string_equal(nexthop.text, cases[i].text);
		assert_int_equal(nexthop.port, cases[i].port);
		assert_int_equal(nexthop.is_host, cases[i].is_host);
		assert_int_equal(nexthop.has_port, cases[i].has_port);
	}
	arena_reset(&arena);
	snapshot_destroy(&snapshot);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(preference_orders_hosts),
		cmocka_unit_test(equal_hosts_come_in_random_order),
		cmocka_unit_test(address_limit_leaves_room_for_the_other_protocol),
		cmocka_unit_test(preferred_protocol_comes_first),
		cmocka_unit_test(protocol_that_is_off_is_not_asked_for),
		cmocka_unit_test(names_beyond_the_limit_are_not_looked_up),
		cmocka_unit_test(forms_of_next_hops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
