/* links: authd/cache.c authd/clients.c */
/* What authd remembers: right passwords, and addresses that failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "authd/cache.h"
#include "authd/clients.h"

static void
right_password_is_remembered_for_its_time(void **state)
{
	struct password_cache *cache = password_cache_create(1000);

	(void)state;
	assert_false(password_cache_has(cache, SLICE("a"), SLICE("pw"), 1, 0));
	password_cache_add(cache, SLICE("a"), SLICE("pw"), 1, 0);
	assert_true(password_cache_has(cache, SLICE("a"), SLICE("pw"), 1, 999));
	assert_false(password_cache_has(cache, SLICE("a"), SLICE("pw"), 1, 1000));
	password_cache_destroy(&cache);
}

static void
nothing_but_the_same_login_is_found(void **state)
{
	struct password_cache *cache = password_cache_create(1000);

	(void)state;
	password_cache_add(cache, SLICE("user"), SLICE("pw"), 1, 0);
	assert_false(password_cache_has(cache, SLICE("user"), SLICE("pW"), 1, 1));
	assert_false(password_cache_has(cache, SLICE("user2"), SLICE("pw"), 1, 1));
	assert_false(password_cache_has(cache, SLICE("use"), SLICE("rpw"), 1, 1));
	assert_false(password_cache_has(cache, SLICE("user"), SLICE("pw"), 2, 1));
	assert_false(password_cache_has(cache, SLICE("user"), SLICE(""), 1, 1));
	password_cache_destroy(&cache);
}

static void
without_time_nothing_is_remembered(void **state)
{
	struct password_cache *cache = password_cache_create(0);

	(void)state;
	password_cache_add(cache, SLICE("a"), SLICE("pw"), 1, 0);
	assert_false(password_cache_has(cache, SLICE("a"), SLICE("pw"), 1, 0));
	password_cache_destroy(&cache);
}

static const struct client_rules rules = { .delay_ms = 1000,
	                                   .delay_limit_ms = 5000,
	                                   .forget_ms = 60000,
	                                   .held_limit = 3,
	                                   .entry_limit = 4 };

static int64_t
fail_once(struct client_table *table, const char *address, int64_t now_ms)
{
	struct slice client = slice_from(address);

	assert_true(client_begin(table, client, now_ms));
	int64_t delay_ms = client_failed(table, client, now_ms);
	client_released(table, client);
	return delay_ms;
}

static void
delay_doubles_up_to_its_limit_and_is_forgotten(void **state)
{
	struct client_table *table = client_table_create(&rules);

	(void)state;
	assert_int_equal(fail_once(table, "192.0.2.1", 0), 1000);
	assert_int_equal(fail_once(table, "192.0.2.1", 1), 2000);
	assert_int_equal(fail_once(table, "192.0.2.1", 2), 4000);
	assert_int_equal(fail_once(table, "192.0.2.1", 3), 5000);
	for (int i = 0; i < 100; i++)
		assert_int_equal(fail_once(table, "192.0.2.1", 4), 5000);
	assert_int_equal(fail_once(table, "192.0.2.2", 4), 1000);
	assert_int_equal(fail_once(table, "192.0.2.1", 60005), 1000);
	client_table_destroy(&table);
}

static void
ipv6_clients_count_by_network(void **state)
{
	struct client_table *table = client_table_create(&rules);

	(void)state;
	assert_int_equal(fail_once(table, "2001:db8:0:1::1", 0), 1000);
	assert_int_equal(fail_once(table, "2001:db8:0:1:ffff::2", 0), 2000);
	assert_int_equal(fail_once(table, "2001:db8:0:2::1", 0), 1000);
	assert_int_equal(fail_once(table, "::ffff:192.0.2.1", 0), 1000);
	assert_int_equal(fail_once(table, "192.0.2.1", 0), 2000);
	client_table_destroy(&table);
}

static void
only_addresses_that_failed_are_limited(void **state)
{
	struct client_table *table = client_table_create(&rules);
	struct slice         good = SLICE("192.0.2.1"), bad = SLICE("192.0.2.9");

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_true(client_begin(table, good, 0));
	assert_true(client_begin(table, bad, 0));
	client_failed(table, bad, 0);
	assert_true(client_begin(table, bad, 0));
	assert_true(client_begin(table, bad, 0));
	assert_false(client_begin(table, bad, 0));
	client_ended(table, bad);
	assert_true(client_begin(table, bad, 0));
	assert_false(client_begin(table, bad, 0));
	client_released(table, bad);
	assert_true(client_begin(table, bad, 0));
	client_table_destroy(&table);
}

static void
table_is_bounded_and_forgets_the_quiet_first(void **state)
{
	struct client_table *table = client_table_create(&rules);
	char                 address[20];

	(void)state;
	assert_int_equal(fail_once(table, "192.0.2.1", 0), 1000);
	for (int i = 10; i < 12; i++) {
		snprintf(address, sizeof(address), "192.0.2.%d", i);
		fail_once(table, address, 1);
	}
	assert_int_equal(fail_once(table, "192.0.2.1", 2), 2000);
	for (int i = 20; i < 23; i++) {
		snprintf(address, sizeof(address), "192.0.2.%d", i);
		fail_once(table, address, 3);
	}
	assert_int_equal(fail_once(table, "192.0.2.1", 4), 4000);
	assert_int_equal(fail_once(table, "192.0.2.10", 5), 1000);
	client_table_destroy(&table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(right_password_is_remembered_for_its_time),
		cmocka_unit_test(nothing_but_the_same_login_is_found),
		cmocka_unit_test(without_time_nothing_is_remembered),
		cmocka_unit_test(delay_doubles_up_to_its_limit_and_is_forgotten),
		cmocka_unit_test(ipv6_clients_count_by_network),
		cmocka_unit_test(only_addresses_that_failed_are_limited),
		cmocka_unit_test(table_is_bounded_and_forgets_the_quiet_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
