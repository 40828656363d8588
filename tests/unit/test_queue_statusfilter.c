/* test_queue_statusfilter.c - what smtp_delivery_status_filter and its kin make of results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/queue/statusfilter.h"

struct row {
	enum outcome_action action;
	const char         *status, *reason;
	enum outcome_action then;
	const char         *then_status, *then_reason;
};

static void
check(const char *table, const struct row *row)
{
	struct error          error = ERROR_NONE;
	struct arena          arena = ARENA(10000);
	struct status_filter *filter = status_filter_open("x_filter", table, &error);
	struct msg_outcome    outcome = { .action = row->action,
		                          .status = slice_from(row->status),
		                          .reason = slice_from(row->reason) };

	if (filter == NULL)
		fail_msg("%s", error.text);
	status_filter_apply(filter, "4TEST", &arena, &outcome);
	if (outcome.action != row->then ||
	    !slice_equal(outcome.status, slice_from(row->then_status)) ||
	    !slice_equal(outcome.reason, slice_from(row->then_reason)))
		fail_msg("%s %s became %u %.*s %.*s", row->status, row->reason, outcome.action,
		         SLICE_ARGS(outcome.status), SLICE_ARGS(outcome.reason));
	status_filter_close(&filter);
	arena_reset(&arena);
}

static void
failures_wait_and_waits_fail_as_the_table_says(void **state)
{
	static const char       table[] = "pcre:{ {/^5(\\.7\\.1 .*blocked.*)/ 4$1},"
					  " {/^4\\.2\\.2 (.*)/ 5.2.2 full: $1},"
					  " {/^2\\.0\\.0 .*/ 2.1.5 thanks} }";
	static const struct row rows[] = {
		{ OUTCOME_FAILED, "5.7.1", "you are blocked", OUTCOME_DEFERRED, "4.7.1",
		  "you are blocked" },
		{ OUTCOME_DEFERRED, "4.2.2", "box", OUTCOME_FAILED, "5.2.2", "full: box" },
		{ OUTCOME_RELAYED, "2.0.0", "250 ok", OUTCOME_RELAYED, "2.1.5", "thanks" },
		{ OUTCOME_RELAYED_DSN, "2.0.0", "ok", OUTCOME_RELAYED_DSN, "2.1.5", "thanks" },
		{ OUTCOME_FAILED, "5.1.1", "unknown", OUTCOME_FAILED, "5.1.1", "unknown" },
		/* one stage of several is no result */
		{ OUTCOME_PASS, "2.0.0", "ok", OUTCOME_PASS, "2.0.0", "ok" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(table, &rows[i]);
}

static void
a_success_stays_one_and_what_is_no_result_is_not_used(void **state)
{
	static const struct {
		const char *table;
		struct row  row;
	} cases[] = {
		{ "static:{5.7.1 no}",
		  { OUTCOME_DELIVERED, "2.0.0", "ok", OUTCOME_DELIVERED, "2.0.0", "ok" } },
		{ "static:{4.7.1 no}",
		  { OUTCOME_RELAYED, "2.0.0", "ok", OUTCOME_RELAYED, "2.0.0", "ok" } },
		{ "static:{2.0.0 yes}",
		  { OUTCOME_FAILED, "5.1.1", "no", OUTCOME_FAILED, "5.1.1", "no" } },
		{ "static:{2.0.0 yes}",
		  { OUTCOME_DEFERRED, "4.1.1", "no", OUTCOME_DEFERRED, "4.1.1", "no" } },
		{ "static:nonsense",
		  { OUTCOME_FAILED, "5.1.1", "no", OUTCOME_FAILED, "5.1.1", "no" } },
		{ "", { OUTCOME_FAILED, "5.1.1", "no", OUTCOME_FAILED, "5.1.1", "no" } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(cases[i].table, &cases[i].row);
	status_filter_apply(NULL, "4TEST", NULL, &(struct msg_outcome){ .action = OUTCOME_FAILED });
}

static void
a_table_that_cannot_answer_returns_nobodys_mail(void **state)
{
	static const struct row rows[] = {
		{ OUTCOME_FAILED, "5.1.1", "no", OUTCOME_DEFERRED, "4.3.0", "no" },
		{ OUTCOME_DELIVERED, "2.0.0", "ok", OUTCOME_DELIVERED, "2.0.0", "ok" },
	};
	struct error error = ERROR_NONE;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check("fail:it", &rows[i]);
	assert_null(status_filter_open("x_filter", "nosuch:x", &error));
	assert_memory_equal(error.text, "x_filter: ", 10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failures_wait_and_waits_fail_as_the_table_says),
		cmocka_unit_test(a_success_stays_one_and_what_is_no_result_is_not_used),
		cmocka_unit_test(a_table_that_cannot_answer_returns_nobodys_mail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
