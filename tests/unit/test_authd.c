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
	char                   credential[USER_APP_ID_BYTES + 1] = "";

	(void)state;
	assert_false(password_cache_has(cache, SLICE("a"), SLICE("pw"), 1, 0, credential));
	password_cache_add(cache, SLICE("a"), SLICE("pw"), "k7mw", 1, 0);
	assert_true(password_cache_has(cache, SLICE("a"), SLICE("pw"), 1, 999, credential));
	assert_string_equal(credential, "k7mw");
	assert_false(password_cache_has(cache, SLICE("a"), SLICE("pw"), 1, 1000, credential));
	password_cache_destroy(&cache);
}

static void
nothing_but_the_same_login_is_found(void **state)
{
	struct password_cache *cache = password_cache_create(1000);
	char                   credential[USER_APP_ID_BYTES + 1] = "";

	(void)state;
	password_cache_add(cache, SLICE("user"), SLICE("pw"), "k7mw", 1, 0);
	assert_false(password_cache_has(cache, SLICE("user"), SLICE("pW"), 1, 1, credential));
	assert_false(password_cache_has(cache, SLICE("user2"), SLICE("pw"), 1, 1, credential));
	assert_false(password_cache_has(cache, SLICE("use"), SLICE("rpw"), 1, 1, credential));
	assert_false(password_cache_has(cache, SLICE("user"), SLICE("pw"), 2, 1, credential));
	assert_false(password_cache_has(cache, SLICE("user"), SLICE(""), 1, 1, credential));
	password_cache_destroy(&cache);
}

static void
without_time_nothing_is_remembered(void **state)
{
	struct password_cache *cache = password_cache_create(0);
	char                   credential[USER_APP_ID_BYTES + 1] = "";

	(void)state;
	password_cache_add(cache, SLICE("a"), SLICE("pw"), "k7mw", 1, 0);
	assert_false(password_cache_has(cache, SLICE("a"), SLICE("pw"), 1, 0, credential));
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

	assert_int_equal(client_begin(table, client, now_ms), CLIENT_MAY);
	return client_failed(table, client, now_ms);
}

static void
delay_doubles_up_to_its_limit_and_is_forgotten(void **state)
{
	struct client_table *table = client_table_create(&rules);
	int64_t              now_ms = 7000;

	(void)state;
	assert_int_equal(fail_once(table, "192.0.2.1", 0), 1000);
	assert_int_equal(fail_once(table, "192.0.2.1", 1000), 2000);
	assert_int_equal(fail_once(table, "192.0.2.1", 3000), 4000);
	for (int i = 0; i < 100; i++, now_ms += 5000)
		assert_int_equal(fail_once(table, "192.0.2.1", now_ms), 5000);
	assert_int_equal(fail_once(table, "192.0.2.2", now_ms), 1000);
	assert_int_equal(fail_once(table, "192.0.2.1", now_ms - 5000 + 60001), 1000);
	client_table_destroy(&table);
}

static void
who_comes_early_waits_for_what_was_left(void **state)
{
	struct client_table *table = client_table_create(&rules);

	(void)state;
	assert_int_equal(fail_once(table, "192.0.2.1", 0), 1000);
	assert_int_equal(fail_once(table, "192.0.2.1", 400), 600 + 2000); /* until 3000 */
	assert_int_equal(fail_once(table, "192.0.2.1", 3000), 4000);
	client_table_destroy(&table);
}

static void
what_is_left_never_adds_up_beyond_one_delay(void **state)
{
	struct client_rules  many = { 1000, 5000, 60000, 100, 4 };
	struct client_table *table = client_table_create(&many);

	(void)state;
	for (int i = 0; i < 50; i++)
		assert_true(fail_once(table, "192.0.2.1", i) <= 10000);
	assert_int_equal(fail_once(table, "192.0.2.1", 50), 10000 - 1);
	client_table_destroy(&table);
}

static void
ipv6_clients_count_by_network(void **state)
{
	struct client_table *table = client_table_create(&rules);

	(void)state;
	assert_int_equal(fail_once(table, "2001:db8:0:1::1", 0), 1000);
	assert_int_equal(fail_once(table, "2001:db8:0:1:ffff::2", 1000), 2000);
	assert_int_equal(fail_once(table, "2001:db8:0:2::1", 0), 1000);
	assert_int_equal(fail_once(table, "::ffff:192.0.2.1", 0), 1000);
	assert_int_equal(fail_once(table, "192.0.2.1", 1000), 2000);
	client_table_destroy(&table);
}

static void
only_addresses_that_failed_are_limited(void **state)
{
	struct client_table *table = client_table_create(&rules);
	struct slice         good = SLICE("192.0.2.1"), bad = SLICE("192.0.2.9");

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(client_begin(table, good, 0), CLIENT_MAY);
	assert_int_equal(client_begin(table, bad, 0), CLIENT_MAY);
	client_failed(table, bad, 0); /* waits until 1000 */
	assert_int_equal(client_begin(table, bad, 0), CLIENT_MAY);
	assert_int_equal(client_begin(table, bad, 0), CLIENT_MAY);
	assert_int_equal(client_begin(table, bad, 0), CLIENT_WAITS);
	client_ended(table, bad);
	assert_int_equal(client_begin(table, bad, 0), CLIENT_MAY);
	assert_int_equal(client_begin(table, bad, 999), CLIENT_WAITS);
	assert_int_equal(client_begin(table, bad, 1000), CLIENT_MAY);
	assert_int_equal(client_begin(table, bad, 1000), CLIENT_WAITS);
	client_table_destroy(&table);
}

/* Whatever becomes of the connections meanwhile: nothing but time frees their places. */
static void
answers_that_wait_keep_their_places_until_their_time(void **state)
{
	struct client_table *table = client_table_create(&rules);
	struct slice         bad = SLICE("192.0.2.9");

	(void)state;
	assert_int_equal(fail_once(table, "192.0.2.9", 0), 1000);        /* until 1000 */
	assert_int_equal(fail_once(table, "192.0.2.9", 0), 1000 + 2000); /* until 3000 */
	assert_int_equal(fail_once(table, "192.0.2.9", 0), 2000 + 4000); /* until 6000 */
	assert_int_equal(client_begin(table, bad, 999), CLIENT_REFUSED);
	assert_int_equal(client_begin(table, bad, 1000), CLIENT_MAY);
	assert_int_equal(client_begin(table, bad, 2999), CLIENT_WAITS);
	client_ended(table, bad);
	assert_int_equal(client_begin(table, bad, 2999), CLIENT_MAY);
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
		fail_once(table, address, 1000);
	}
	assert_int_equal(fail_once(table, "192.0.2.1", 2000), 2000);
	for (int i = 20; i < 23; i++) {
		snprintf(address, sizeof(address), "192.0.2.%d", i);
		fail_once(table, address, 3000);
	}
	assert_int_equal(fail_once(table, "192.0.2.1", 4000), 4000);
	assert_int_equal(fail_once(table, "192.0.2.10", 5000), 1000);
	client_table_destroy(&table);
}

static void
table_stays_bounded_when_all_answers_wait(void **state)
{
	struct client_table *table = client_table_create(&rules);
	char                 address[20];

	(void)state;
	for (int i = 0; i < 50; i++) {
		snprintf(address, sizeof(address), "192.0.2.%d", i);
		assert_int_equal(fail_once(table, address, 0), 1000);
	}
	assert_int_equal(fail_once(table, "192.0.2.49", 1000), 2000); /* is known */
	assert_int_equal(fail_once(table, "192.0.2.0", 1000), 1000);  /* is forgotten */
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
		cmocka_unit_test(who_comes_early_waits_for_what_was_left),
		cmocka_unit_test(what_is_left_never_adds_up_beyond_one_delay),
		cmocka_unit_test(ipv6_clients_count_by_network),
		cmocka_unit_test(only_addresses_that_failed_are_limited),
		cmocka_unit_test(answers_that_wait_keep_their_places_until_their_time),
		cmocka_unit_test(table_is_bounded_and_forgets_the_quiet_first),
		cmocka_unit_test(table_stays_bounded_when_all_answers_wait),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
