/* test_qmgr_suspend.c - destinations that wait because an administrator said so. */
/* links: qmgr/suspend.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "qmgr/suspend.h"

static struct msg_queue_suspension
one(const char *transport, const char *nexthop, int64_t until_us)
{
	return (struct msg_queue_suspension){ .transport = slice_from(transport),
		                              .nexthop = slice_from(nexthop),
		                              .since_us = 1,
		                              .until_us = until_us,
		                              .reason = SLICE("asked to wait") };
}

static void
add(struct suspensions *all, const char *transport, const char *nexthop, int64_t until_us)
{
	struct msg_queue_suspension wanted = one(transport, nexthop, until_us);

	assert_int_equal(suspensions_add(all, &wanted), SUSPEND_DONE);
}

static bool
waits(const struct suspensions *all, const char *transport, const char *nexthop, const char *domain)
{
	return suspensions_find(all, slice_from(transport), slice_from(nexthop), slice_from(domain),
	                        1000) != NULL;
}

static void
a_domain_a_next_hop_or_a_transport_waits(void **state)
{
	struct suspensions all;

	(void)state;
	suspensions_init(&all);
	add(&all, "", "Slow.test", 0);
	add(&all, "smtp", "[mx.test]:25", 0);
	add(&all, "uucp", "", 0);
	assert_true(waits(&all, "smtp", "relay.test", "slow.TEST"));
	assert_false(waits(&all, "smtp", "relay.test", "fast.test"));
	assert_true(waits(&all, "smtp", "[mx.test]:25", "any.test"));
	assert_false(waits(&all, "lmtp", "[mx.test]:25", "any.test"));
	assert_true(waits(&all, "uucp", "anything", "any.test"));
	assert_int_equal(suspensions_remove(&all, SLICE(""), SLICE("slow.test")), SUSPEND_DONE);
	assert_int_equal(suspensions_remove(&all, SLICE(""), SLICE("slow.test")),
	                 SUSPEND_UNCHANGED);
	assert_false(waits(&all, "smtp", "relay.test", "slow.test"));
	suspensions_free(&all);
	assert_int_equal(all.count, 0);
}

static void
it_ends_at_its_time_and_the_longest_counts(void **state)
{
	struct suspensions all;

	(void)state;
	suspensions_init(&all);
	add(&all, "", "a.test", 1000);
	assert_false(waits(&all, "smtp", "a.test", "a.test"));
	add(&all, "", "a.test", 1001);
	assert_int_equal(all.count, 1); /* in the place of the other */
	assert_true(waits(&all, "smtp", "a.test", "a.test"));
	add(&all, "smtp", "a.test", 5000);
	assert_int_equal(
		suspensions_find(&all, SLICE("smtp"), SLICE("a.test"), SLICE("a.test"), 1000)
			->until_us,
		5000);
	assert_true(suspensions_expire(&all, 1001));
	assert_false(suspensions_expire(&all, 1001));
	assert_int_equal(all.count, 1);
	suspensions_free(&all);
}

static void
the_file_gives_back_what_was_written(void **state)
{
	struct suspensions all, again;
	struct buf         text = BUF(4096);

	(void)state;
	suspensions_init(&all);
	suspensions_init(&again);
	add(&all, "", "a.test", 0);
	add(&all, "smtp", "[::1]:25", 77);
	add(&all, "uucp", "", 0);
	assert_true(suspensions_write(&all, &text));
	suspensions_read(&again, buf_slice(&text));
	assert_int_equal(again.count, 3);
	struct suspension *second = CONTAINER_OF(again.all.next->next, struct suspension, in_all);
	assert_string_equal(second->transport, "smtp");
	assert_string_equal(second->nexthop, "[::1]:25");
	assert_string_equal(second->reason, "asked to wait");
	assert_int_equal(second->until_us, 77);
	suspensions_free(&all);
	suspensions_free(&again);
	buf_free(&text);
}

static void
damage_in_the_file_costs_its_line_only(void **state)
{
	struct suspensions all;

	(void)state;
	suspensions_init(&all);
	suspensions_read(&all, SLICE("\n1\nx\t0\t\ta.test\t\n1\t0\n1\t0\t\t\tnobody\n"
	                             "1\t0\t\tgood.test\twhy\n1\t0\tsmtp\tcut.test"));
	assert_int_equal(all.count, 2);
	assert_true(waits(&all, "smtp", "x", "good.test"));
	suspensions_free(&all);
}

static void
what_could_break_the_file_or_fill_memory_is_refused(void **state)
{
	struct suspensions          all;
	char                        name[32];
	struct msg_queue_suspension bad = one("", "a\tb", 0), nothing = one("", "", 0);

	(void)state;
	suspensions_init(&all);
	assert_int_equal(suspensions_add(&all, &bad), SUSPEND_FAILED);
	assert_int_equal(suspensions_add(&all, &nothing), SUSPEND_FAILED);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "d%d.test", i);
		add(&all, "", name, 0);
	}
	struct msg_queue_suspension more = one("", "more.test", 0), same = one("", "d5.test", 9);
	assert_int_equal(suspensions_add(&all, &more), SUSPEND_FAILED);
	assert_int_equal(suspensions_add(&all, &same), SUSPEND_DONE);
	suspensions_free(&all);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_domain_a_next_hop_or_a_transport_waits),
		cmocka_unit_test(it_ends_at_its_time_and_the_longest_counts),
		cmocka_unit_test(the_file_gives_back_what_was_written),
		cmocka_unit_test(damage_in_the_file_costs_its_line_only),
		cmocka_unit_test(what_could_break_the_file_or_fill_memory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
