/* Turns: how many sessions may ask authd at a time, and what becomes of the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/sasl/turns.h"

static void
half_of_the_threads_may_ask_and_the_next_follows_when_one_ends(void **state)
{
	struct auth_turns turns;
	struct auth_turn  one = { 0 }, two = { 0 }, three = { 0 };
	int64_t           pause_ms = 0;

	(void)state;
	auth_turns_init(&turns, 4);
	assert_int_equal(auth_turn_take(&turns, &one, 0, &pause_ms), AUTH_TURN_TAKEN);
	assert_int_equal(auth_turn_take(&turns, &two, 0, &pause_ms), AUTH_TURN_TAKEN);
	assert_int_equal(auth_turn_take(&turns, &three, 0, &pause_ms), AUTH_TURN_WAIT);
	assert_in_range(pause_ms, 1, 100);
	auth_turn_end(&turns, &one);
	assert_int_equal(auth_turn_take(&turns, &three, 50, &pause_ms), AUTH_TURN_TAKEN);
	assert_int_equal(auth_turn_take(&turns, &one, 50, &pause_ms), AUTH_TURN_WAIT);
	auth_turns_destroy(&turns);
}

static void
one_thread_may_ask(void **state)
{
	struct auth_turns turns;
	struct auth_turn  one = { 0 }, two = { 0 };
	int64_t           pause_ms = 0;

	(void)state;
	auth_turns_init(&turns, 1);
	assert_int_equal(auth_turn_take(&turns, &one, 0, &pause_ms), AUTH_TURN_TAKEN);
	assert_int_equal(auth_turn_take(&turns, &two, 0, &pause_ms), AUTH_TURN_WAIT);
	auth_turns_destroy(&turns);
}

static void
who_waited_too_long_is_told_so(void **state)
{
	struct auth_turns turns;
	struct auth_turn  one = { 0 }, two = { 0 };
	int64_t           pause_ms = 0;

	(void)state;
	auth_turns_init(&turns, 2);
	assert_int_equal(auth_turn_take(&turns, &one, 0, &pause_ms), AUTH_TURN_TAKEN);
	assert_int_equal(auth_turn_take(&turns, &two, 1000, &pause_ms), AUTH_TURN_WAIT);
	assert_int_equal(auth_turn_take(&turns, &two, 31000, &pause_ms), AUTH_TURN_WAIT);
	assert_int_equal(auth_turn_take(&turns, &two, 31001, &pause_ms), AUTH_TURN_NEVER);
	assert_int_equal(turns.waiting, 0);
	auth_turn_end(&turns, &two);
	auth_turn_end(&turns, &one);
	assert_int_equal(turns.asking, 0);
	auth_turns_destroy(&turns);
}

static void
so_many_wait_and_the_next_is_refused_until_one_has_gone(void **state)
{
	static struct auth_turn waiting[1000];
	struct auth_turns       turns;
	struct auth_turn        one = { 0 }, late = { 0 };
	int64_t                 pause_ms = 0;

	(void)state;
	auth_turns_init(&turns, 2);
	assert_int_equal(auth_turn_take(&turns, &one, 0, &pause_ms), AUTH_TURN_TAKEN);
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(auth_turn_take(&turns, &waiting[i], 0, &pause_ms), AUTH_TURN_WAIT);
	assert_true(pause_ms >= 1000); /* together no more than a thousand looks a second */
	assert_int_equal(auth_turn_take(&turns, &late, 0, &pause_ms), AUTH_TURN_NEVER);
	auth_turn_end(&turns, &waiting[5]); /* hung up */
	assert_int_equal(auth_turn_take(&turns, &late, 0, &pause_ms), AUTH_TURN_WAIT);
	auth_turns_destroy(&turns);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_of_the_threads_may_ask_and_the_next_follows_when_one_ends),
		cmocka_unit_test(one_thread_may_ask),
		cmocka_unit_test(who_waited_too_long_is_told_so),
		cmocka_unit_test(so_many_wait_and_the_next_is_refused_until_one_has_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
