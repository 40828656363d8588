/* test_master_supervise.c - the pauses between restarts, and words for how a process ended. */
/* links: master/certificates.c master/sni.c */
/* links: master/supervise.c master/process.c master/listener.c master/generation.c */
/* links: master/prepare.c master/logfile.c master/control.c master/status.c */
/* links: master/notify.c master/loop.c master/shelf.c master/demand.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "master/master.h"

#define KILL     9        /* wait status of a process killed by signal 9 */
#define SEGV     11       /* wait status of a process killed by signal 11 */
#define EXIT_ONE (1 << 8) /* of one that exited with 1 */

static void
pauses_double_from_a_tenth_of_a_second_to_five(void **state)
{
	(void)state;
	struct throttle      throttle = { 0 };
	static const int64_t expected[] = { 100, 200, 400, 800, 1600, 3200, 5000, 5000 };

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(throttle_next(&throttle, SEGV, 50), expected[i]);
}

static void
one_that_others_kill_is_soon_back(void **state)
{
	(void)state;
	struct throttle      throttle = { 0 };
	static const int64_t expected[] = { 100, 200, 400, 800, 800 };

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(throttle_next(&throttle, KILL, 50), expected[i]);
}

static void
one_without_room_for_its_threads_is_soon_back(void **state)
{
	(void)state;
	struct throttle      throttle = { 0 };
	static const int64_t expected[] = { 100, 200, 400, 800, 800 };

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(throttle_next(&throttle, THROTTLE_NO_ROOM, 50), expected[i]);
}

static void
a_start_without_room_is_tried_often(void **state)
{
	(void)state;
	struct throttle      throttle = { 0 };
	static const int64_t expected[] = { 100, 200, 400, 400 };

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(throttle_next(&throttle, THROTTLE_NO_START, 0), expected[i]);
}

static void
another_cause_starts_anew(void **state)
{
	(void)state;
	struct throttle throttle = { 0 };

	throttle_next(&throttle, SEGV, 50);
	assert_int_equal(throttle_next(&throttle, SEGV, 50), 200);
	assert_int_equal(throttle_next(&throttle, EXIT_ONE, 50), 100);
	assert_int_equal(throttle_next(&throttle, EXIT_ONE, 50), 200);
}

static void
one_that_ran_well_is_started_soon(void **state)
{
	(void)state;
	struct throttle throttle = { 0 };

	for (int i = 0; i < 6; i++)
		throttle_next(&throttle, SEGV, 50);
	assert_int_equal(throttle_next(&throttle, SEGV, 3600000), 100);
}

static void
ends_are_described(void **state)
{
	(void)state;
	char text[100];

	supervise_describe_end(SEGV, text, sizeof(text));
	assert_string_equal(text, "killed by signal 11 (SEGV)");
	supervise_describe_end(EXIT_ONE, text, sizeof(text));
	assert_string_equal(text, "exit status 1");
}

static void
status_is_json_whatever_a_daemon_says(void **state)
{
	(void)state;
	struct master     master = { .config_directory = "/etc/\"x\"" };
	struct generation generation = { .number = 3 };
	struct process    process = { .name = (char[]){ "smtp" },
		                      .program = program_find(SLICE("smtp")),
		                      .last_error = "a\\b\n\xff" };
	struct buf        out = BUF(10000);

	master.generation = &generation;
	list_init(&master.processes);
	list_init(&master.certificates);
	list_append(&master.processes, &process.node);
	assert_true(status_json(&master, &out));
	assert_non_null(strstr(buf_text(&out), "\"config_directory\":\"/etc/\\\"x\\\"\""));
	assert_non_null(strstr(buf_text(&out), "\"last_error\":\"a\\\\b\\u000a?\""));
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pauses_double_from_a_tenth_of_a_second_to_five),
		cmocka_unit_test(one_that_others_kill_is_soon_back),
		cmocka_unit_test(one_without_room_for_its_threads_is_soon_back),
		cmocka_unit_test(a_start_without_room_is_tried_often),
		cmocka_unit_test(another_cause_starts_anew),
		cmocka_unit_test(one_that_ran_well_is_started_soon),
		cmocka_unit_test(ends_are_described),
		cmocka_unit_test(status_is_json_whatever_a_daemon_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
