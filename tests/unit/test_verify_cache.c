/* The cache of address verification, on a simulated clock. */
/* links: verify/cache.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "verify/cache.h"

#define DAY INT64_C(86400)

static struct cache cache;
static int64_t      now = 1000 * DAY;

static void
begin_with(size_t limit, size_t pending_limit, bool keeps_negative)
{
	struct cache_settings settings = {
		.positive_expire_s = 31 * DAY,
		.positive_refresh_s = 7 * DAY,
		.negative_expire_s = 3 * DAY,
		.negative_refresh_s = 3 * 3600,
		.later_refresh_s = 300,
		.keeps_negative = keeps_negative,
		.limit = limit,
		.pending_limit = pending_limit,
	};

	cache_init(&cache, &settings);
	now = 1000 * DAY;
}

static void
begin(void)
{
	begin_with(100, 10, true);
}

/* Asks; the status, or -1 for "nobody may look". */
static int
ask(const char *address, bool expects_probe)
{
	bool          wants_probe;
	struct known *known = cache_ask(&cache, slice_from(address), now, &wants_probe);

	assert_int_equal(wants_probe, expects_probe);
	return known == NULL ? -1 : (int)known->status;
}

static bool
learn(const char *address, enum verify_status status, const char *text)
{
	struct known *known = hash_get(&cache.known, slice_from(address));

	assert_non_null(known);
	assert_true(known->is_probed);
	return cache_learn(&cache, known, status, slice_from(text), now);
}

static const char *
text_of(const char *address)
{
	struct known *known = hash_get(&cache.known, slice_from(address));

	return known == NULL || known->text == NULL ? "" : known->text;
}

static void
one_probe_for_all_who_ask(void **state)
{
	(void)state;
	begin();
	assert_int_equal(ask("a@b", true), VERIFY_UNKNOWN);
	assert_int_equal(ask("a@b", false), VERIFY_UNKNOWN);
	assert_int_equal(cache.pending, 1);
	assert_true(learn("a@b", VERIFY_GOOD, "250 Ok"));
	assert_int_equal(cache.pending, 0);
	assert_int_equal(ask("a@b", false), VERIFY_GOOD);
	assert_string_equal(text_of("a@b"), "250 Ok");
	cache_free(&cache);
}

static void
good_is_refreshed_after_a_week_and_believed_for_a_month(void **state)
{
	(void)state;
	begin();
	ask("a@b", true);
	learn("a@b", VERIFY_GOOD, "");
	now += 7 * DAY - 1;
	assert_int_equal(ask("a@b", false), VERIFY_GOOD);
	now += 1;
	assert_int_equal(ask("a@b", true), VERIFY_GOOD); /* the answer of before, meanwhile */
	assert_int_equal(ask("a@b", false), VERIFY_GOOD);
	/* One bad day is no reason to refuse a user; and not asked again at once. */
	assert_false(learn("a@b", VERIFY_BAD, "no such user"));
	assert_int_equal(ask("a@b", false), VERIFY_GOOD);
	now += 300;
	assert_int_equal(ask("a@b", true), VERIFY_GOOD);
	assert_false(learn("a@b", VERIFY_LATER, ""));
	now += 24 * DAY;
	assert_int_equal(ask("a@b", true), VERIFY_UNKNOWN); /* expired */
	assert_true(learn("a@b", VERIFY_BAD, "no such user"));
	assert_int_equal(ask("a@b", false), VERIFY_BAD);
	cache_free(&cache);
}

static void
bad_is_refreshed_after_hours_and_may_become_good(void **state)
{
	(void)state;
	begin();
	ask("a@b", true);
	assert_true(learn("a@b", VERIFY_BAD, "no such user"));
	now += 3 * 3600 - 1;
	assert_int_equal(ask("a@b", false), VERIFY_BAD);
	now += 1;
	assert_int_equal(ask("a@b", true), VERIFY_BAD);
	assert_false(learn("a@b", VERIFY_LATER, "come again")); /* no news */
	assert_string_equal(text_of("a@b"), "no such user");
	now += 300;
	assert_int_equal(ask("a@b", true), VERIFY_BAD);
	assert_true(learn("a@b", VERIFY_GOOD, "250"));
	assert_int_equal(ask("a@b", false), VERIFY_GOOD);
	cache_free(&cache);
}

static void
bad_expires(void **state)
{
	(void)state;
	begin();
	ask("a@b", true);
	learn("a@b", VERIFY_BAD, "no such user");
	now += 3 * DAY;
	assert_int_equal(ask("a@b", true), VERIFY_UNKNOWN);
	assert_string_equal(text_of("a@b"), "");
	cache_free(&cache);
}

static void
later_is_looked_at_again_soon(void **state)
{
	(void)state;
	begin();
	ask("a@b", true);
	assert_true(learn("a@b", VERIFY_LATER, "greylisted"));
	now += 299;
	assert_int_equal(ask("a@b", false), VERIFY_LATER);
	now += 1;
	assert_int_equal(ask("a@b", true), VERIFY_LATER);
	assert_true(learn("a@b", VERIFY_BAD, "no such user"));
	assert_int_equal(ask("a@b", false), VERIFY_BAD);
	cache_free(&cache);
}

static void
without_a_negative_cache_only_good_is_known(void **state)
{
	(void)state;
	begin_with(100, 10, false);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ask("a@b", true), VERIFY_UNKNOWN);
		assert_true(learn("a@b", i == 0 ? VERIFY_BAD : VERIFY_LATER, "no"));
		assert_int_equal(cache.known.count, 0);
	}
	ask("a@b", true);
	learn("a@b", VERIFY_GOOD, "");
	assert_int_equal(ask("a@b", false), VERIFY_GOOD);
	cache_free(&cache);
}

static void
no_more_probes_than_allowed(void **state)
{
	(void)state;
	begin_with(100, 2, true);
	ask("a@b", true);
	ask("b@b", true);
	assert_int_equal(ask("c@b", false), -1);
	assert_int_equal(cache.known.count, 2); /* nothing is kept of it */
	learn("a@b", VERIFY_GOOD, "");
	assert_int_equal(ask("c@b", true), VERIFY_UNKNOWN);
	/* What is known is given out, also when it cannot be refreshed now. */
	now += 8 * DAY;
	assert_int_equal(ask("a@b", false), VERIFY_GOOD);
	now += 31 * DAY;
	assert_int_equal(ask("a@b", false), -1);
	cache_free(&cache);
}

static void
who_makes_up_addresses_cannot_push_out_those_that_exist(void **state)
{
	char address[40];

	(void)state;
	begin_with(10, 20, true);
	for (int i = 0; i < 5; i++) {
		snprintf(address, sizeof(address), "good%d@b", i);
		ask(address, true);
		learn(address, VERIFY_GOOD, "");
	}
	for (int i = 0; i < 1000; i++) {
		snprintf(address, sizeof(address), "bad%d@b", i);
		assert_int_equal(ask(address, true), VERIFY_UNKNOWN);
		learn(address, VERIFY_BAD, "no");
	}
	assert_int_equal(cache.known.count, 10);
	for (int i = 0; i < 5; i++) {
		snprintf(address, sizeof(address), "good%d@b", i);
		assert_int_equal(ask(address, false), VERIFY_GOOD);
	}
	assert_int_equal(ask("bad999@b", false), VERIFY_BAD);
	assert_int_equal(ask("bad1@b", true), VERIFY_UNKNOWN);
	cache_free(&cache);
}

static void
the_one_not_asked_for_longest_makes_room(void **state)
{
	(void)state;
	begin_with(2, 5, true);
	ask("a@b", true);
	learn("a@b", VERIFY_GOOD, "");
	ask("b@b", true);
	learn("b@b", VERIFY_GOOD, "");
	ask("a@b", false);
	ask("c@b", true);
	assert_int_equal(ask("a@b", false), VERIFY_GOOD);
	/* One that is looked at is never dropped: somebody waits for it. */
	assert_int_equal(ask("d@b", true), VERIFY_UNKNOWN);
	assert_int_equal(ask("e@b", false), -1);
	learn("c@b", VERIFY_GOOD, "");
	learn("d@b", VERIFY_GOOD, "");
	cache_free(&cache);
}

static void
cleaning_removes_what_has_expired_and_no_more(void **state)
{
	(void)state;
	begin();
	ask("good@b", true);
	learn("good@b", VERIFY_GOOD, "");
	ask("bad@b", true);
	learn("bad@b", VERIFY_BAD, "");
	now += 3 * DAY;
	ask("new@b", true);
	assert_int_equal(cache_clean(&cache, now), 1);
	assert_int_equal(ask("good@b", false), VERIFY_GOOD);
	now += 28 * DAY;
	assert_int_equal(cache_clean(&cache, now), 1);
	assert_int_equal(cache.known.count, 1);
	learn("new@b", VERIFY_GOOD, "");
	cache_free(&cache);
}

static void
a_clock_set_back_makes_nothing_old(void **state)
{
	(void)state;
	begin();
	ask("a@b", true);
	learn("a@b", VERIFY_GOOD, "");
	now -= 400 * DAY;
	assert_int_equal(ask("a@b", false), VERIFY_GOOD);
	assert_int_equal(cache_clean(&cache, now), 0);
	cache_free(&cache);
}

/* "status:probed:updated:text", as Postfix has it. */
static void
entries_are_kept_and_taken(void **state)
{
	struct buf value = BUF(1000);

	(void)state;
	begin();
	ask("a@b", true);
	now += 5;
	learn("a@b", VERIFY_BAD, "host said: 550 no\r\n\x01user");
	assert_true(known_append_value(hash_get(&cache.known, SLICE("a@b")), &value));
	assert_string_equal(buf_text(&value), "2:86400000:86400005:host said: 550 no???user");
	ask("b@b", true);
	assert_false(known_append_value(hash_get(&cache.known, SLICE("b@b")), &value));
	learn("b@b", VERIFY_LATER, "");
	assert_false(known_append_value(hash_get(&cache.known, SLICE("b@b")), &value));
	cache_free(&cache);

	begin();
	assert_true(cache_take(&cache, SLICE("a@b"), buf_slice(&value), now + 10));
	assert_false(cache_take(&cache, SLICE("a@b"), buf_slice(&value), now + 10));
	assert_int_equal(ask("a@b", false), VERIFY_BAD);
	assert_string_equal(text_of("a@b"), "host said: 550 no???user");
	buf_free(&value);
	cache_free(&cache);
}

static void
what_is_no_entry_is_left_out(void **state)
{
	static const char *const values[] = {
		"",
		"0",
		"0:1",
		"0:86400000:86399999",         /* no text, not even an empty one */
		"1:86400000:86399999:later",   /* no knowledge */
		"3:86400000:86399999:unknown", /* the same */
		"4:86400000:86399999:x",
		"-1:86400000:86399999:x",
		"0:86400000:99999999999999999999:x",
		"2:0:86000000:expired",
		"_LAST_CACHE_CLEANUP_COMPLETED_",
	};

	(void)state;
	begin();
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		assert_false(cache_take(&cache, SLICE("a@b"), slice_from(values[i]), now));
	assert_false(cache_take(&cache, SLICE(""), SLICE("0:0:86399999:"), now));
	assert_int_equal(cache.known.count, 0);
	/* From the future: of now. */
	assert_true(cache_take(&cache, SLICE("a@b"), SLICE("0:0:96400000:"), now));
	now += 31 * DAY;
	assert_int_equal(ask("a@b", true), VERIFY_UNKNOWN);
	cache_free(&cache);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_probe_for_all_who_ask),
		cmocka_unit_test(good_is_refreshed_after_a_week_and_believed_for_a_month),
		cmocka_unit_test(bad_is_refreshed_after_hours_and_may_become_good),
		cmocka_unit_test(bad_expires),
		cmocka_unit_test(later_is_looked_at_again_soon),
		cmocka_unit_test(without_a_negative_cache_only_good_is_known),
		cmocka_unit_test(no_more_probes_than_allowed),
		cmocka_unit_test(who_makes_up_addresses_cannot_push_out_those_that_exist),
		cmocka_unit_test(the_one_not_asked_for_longest_makes_room),
		cmocka_unit_test(cleaning_removes_what_has_expired_and_no_more),
		cmocka_unit_test(a_clock_set_back_makes_nothing_old),
		cmocka_unit_test(entries_are_kept_and_taken),
		cmocka_unit_test(what_is_no_entry_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
