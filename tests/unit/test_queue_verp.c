/* test_queue_verp.c - senders that name their recipient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/queue/verp.h"

static void
the_sender_holds_the_recipient_between_the_delimiters(void **state)
{
	static const struct {
		const char *delimiters, *sender, *recipient, *expected; /* NULL: as it was */
	} rows[] = {
		{ "+=", "list@l.test", "user@example.org", "list+user=example.org@l.test" },
		{ "-=", "list-owner@l.test", "a@b", "list-owner-a=b@l.test" },
		{ "+=", "a@b@l.test", "c@d@e", "a@b+c@d=e@l.test" },
		{ "+=", "", "a@b", NULL },
		{ "+=", "list@l.test", "local", NULL },
		{ "", "list@l.test", "a@b", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf out = BUF(200);
		bool       is = verp_sender(verp_flags(slice_from(rows[i].delimiters)),
		                            slice_from(rows[i].sender), slice_from(rows[i].recipient),
		                            &out);

		assert_int_equal(is, rows[i].expected != NULL);
		if (is)
			assert_string_equal(buf_text(&out), rows[i].expected);
		buf_free(&out);
	}
}

static void
delimiters_are_two_of_those_allowed(void **state)
{
	(void)state;
	assert_true(verp_delimiters_are_good(SLICE("+="), "-=+"));
	assert_true(verp_delimiters_are_good(SLICE("--"), "-=+"));
	assert_false(verp_delimiters_are_good(SLICE("+"), "-=+"));
	assert_false(verp_delimiters_are_good(SLICE("+=="), "-=+"));
	assert_false(verp_delimiters_are_good(SLICE("+@"), "-=+"));
	assert_false(verp_delimiters_are_good(SLICE("\xc3="), "-=+\xc3"));
	assert_false(verp_delimiters_are_good(SLICE("+="), ""));
}

static void
flags_keep_their_delimiters_and_take_default_ones_only_when_they_have_none(void **state)
{
	struct buf out = BUF(200);

	(void)state;
	assert_int_equal(verp_complete(ENVELOPE_8BIT, SLICE("+=")), ENVELOPE_8BIT);
	assert_int_equal(verp_complete(verp_flags(SLICE("-=")), SLICE("+=")),
	                 verp_flags(SLICE("-=")));
	assert_int_equal(verp_complete(ENVELOPE_8BIT | verp_flags(SLICE("")), SLICE("+=")),
	                 ENVELOPE_8BIT | verp_flags(SLICE("+=")));
	/* Without the wish they are nothing, and are not kept. */
	assert_int_equal(verp_complete(0x2b3d0000u, SLICE("+=")), 0);
	assert_false(verp_sender(ENVELOPE_8BIT, SLICE("l@l.test"), SLICE("a@b"), &out));
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sender_holds_the_recipient_between_the_delimiters),
		cmocka_unit_test(delimiters_are_two_of_those_allowed),
		cmocka_unit_test(
			flags_keep_their_delimiters_and_take_default_ones_only_when_they_have_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
