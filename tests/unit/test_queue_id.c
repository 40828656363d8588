/* test_queue_id.c - queue ids: the form that log readers know, never the same twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/queue/id.h"

static void
an_id_has_the_form_of_postfix_long_ids(void **state)
{
	char id[QUEUE_ID_MOST];

	(void)state;
	/* 0 s: six zeros; 51 us: the last digit of the alphabet; instance 50: the last of base 51
	 */
	queue_id_format(id, 51, 50);
	assert_string_equal(id, "000000000zzy");
	/* 52^5 s = 380204032: "1" and five zeros */
	queue_id_format(id, 380204032LL * 1000000, 51);
	assert_string_equal(id, "1000000000z10");
}

static void
what_was_put_in_comes_out(void **state)
{
	static const struct {
		int64_t  us;
		uint64_t instance;
	} rows[] = { { 0, 0 },
		     { 1795490224123456, 1 },
		     { 1795490224999999, UINT64_MAX },
		     { 4102444800000000, 51 * 51 } };
	char     id[QUEUE_ID_MOST];
	int64_t  us;
	uint64_t instance;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		queue_id_format(id, rows[i].us, rows[i].instance);
		assert_true(queue_id_is_valid(slice_from(id)));
		assert_true(queue_id_parse(slice_from(id), &us, &instance));
		assert_true(us == rows[i].us && instance == rows[i].instance);
	}
}

static void
only_letters_and_digits_can_be_a_file_name(void **state)
{
	static const char *const bad[] = { "",           "12345",
		                           "../../etc",  "4cRk2m5Wtb/BxQ",
		                           "4cRk2m 5Wt", "4cRk2m5WtbzBxQ4cRk2m5WtbzBxQ4cRk" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(queue_id_is_valid(slice_from(bad[i])));
	assert_false(queue_id_is_valid(slice_of("4cRk2m\0WtbzBxQ", 14)));
	assert_true(queue_id_is_valid(SLICE("4cRk2m5WtbzBxQ")));
}

static void
other_ids_do_not_parse(void **state)
{
	int64_t  us;
	uint64_t instance;

	(void)state;
	assert_false(queue_id_parse(SLICE("3B0F21A2C7"), &us, &instance));
	assert_false(queue_id_parse(SLICE("4cRk2m5WtbAz"), &us, &instance)); /* A is a vowel */
	assert_false(queue_id_parse(SLICE("4cRk2mzzzzz1"), &us, &instance)); /* > 999999 us */
}

static void
later_ids_sort_later(void **state)
{
	char a[QUEUE_ID_MOST], b[QUEUE_ID_MOST];

	(void)state;
	for (int64_t us = 1795490224000000; us < 1795490226000000; us += 99991) {
		queue_id_format(a, us, 1);
		queue_id_format(b, us + 1, 1);
		assert_true(strcmp(a, b) < 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_id_has_the_form_of_postfix_long_ids),
		cmocka_unit_test(what_was_put_in_comes_out),
		cmocka_unit_test(only_letters_and_digits_can_be_a_file_name),
		cmocka_unit_test(other_ids_do_not_parse),
		cmocka_unit_test(later_ids_sort_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
