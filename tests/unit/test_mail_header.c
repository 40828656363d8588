/* test_mail_header.c - lib/mail/header and status: fields, dates, ids, status codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "lib/mail/header.h"
#include "lib/mail/status.h"

static void
fields_come_in_order_with_their_folds(void **state)
{
	struct slice block =
		SLICE("Received: from a\r\n\tby b\r\nSubject : hi\nX-Empty:\r\n\r\nbody");
	struct header_field field;

	(void)state;
	assert_true(header_next(&block, &field));
	assert_true(slice_equal(field.name, SLICE("Received")));
	assert_true(slice_equal(field.value, SLICE(" from a\r\n\tby b")));
	assert_true(slice_equal(field.whole, SLICE("Received: from a\r\n\tby b\r\n")));
	assert_true(header_next(&block, &field));
	assert_true(slice_equal(field.name, SLICE("Subject")));
	assert_true(slice_equal(field.value, SLICE(" hi")));
	assert_true(header_next(&block, &field));
	assert_true(slice_equal(field.name, SLICE("X-Empty")));
	assert_true(slice_is_empty(field.value));
	assert_false(header_next(&block, &field));
	assert_true(slice_equal(block, SLICE("\r\nbody")));
}

static void
what_is_no_field_ends_the_header(void **state)
{
	static const char *const blocks[] = {
		"no colon here\r\n", ": no name\r\n", " folded first: x\r\n",
		"bad name: x",       "\r\n",          "",
		"N\xc3\xa4me: x\r\n"
	};
	struct header_field field;

	(void)state;
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		struct slice block = slice_from(blocks[i]);

		assert_false(header_next(&block, &field));
	}
}

static void
find_ignores_case_and_takes_the_first(void **state)
{
	struct slice block = SLICE("To: a\r\nMESSAGE-ID: <1@x>\r\nMessage-Id: <2@x>\r\n\r\n");
	struct header_field field;

	(void)state;
	assert_true(header_find(block, SLICE("Message-ID"), &field));
	assert_true(slice_equal(slice_trim(field.value), SLICE("<1@x>")));
	assert_false(header_find(block, SLICE("Message"), &field));
}

static void
block_ends_behind_the_first_empty_line(void **state)
{
	static const struct {
		const char *message;
		size_t      length;
	} cases[] = {
		{ "A: b\r\n\r\nbody\r\n\r\n", 8 },
		{ "A: b\n\nbody", 6 },
		{ "\r\nbody", 2 },
		{ "A: b\r\n", 6 },
		{ "A: b", 4 },
		{ "", 0 },
		{ "A: b\r\r\n\r\n", 9 },
		{ "A: b\r\n\r", 7 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(header_block_length(slice_from(cases[i].message)),
		                 cases[i].length);
}

static void
unfolding_gives_one_line(void **state)
{
	static const struct {
		const char *value, *expected;
	} cases[] = {
		{ " one\r\n two\r\n\tthree ", "one two\tthree" },
		{ " one\n two", "one two" },
		{ "a\rb", "a b" },
		{ "a\r\r\nb", "a b" },
		{ "   ", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF(100);

		assert_true(header_unfold(slice_from(cases[i].value), &out));
		assert_string_equal(buf_text(&out), cases[i].expected);
		buf_free(&out);
	}
}

static void
a_huge_header_is_walked_in_linear_time(void **state)
{
	static const char   line[] = "X-A: b\r\n";
	size_t              count = 500000, seen = 0;
	char               *text = malloc(count * 8);
	struct header_field field;

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < count; i++)
		memcpy(text + i * 8, line, 8);
	struct slice block = slice_of(text, count * 8);
	while (header_next(&block, &field))
		seen++;
	assert_int_equal(seen, count);

	memset(text, 'a', count * 8); /* one line of 4 MB that never has a colon */
	block = slice_of(text, count * 8);
	assert_false(header_next(&block, &field));
	assert_int_equal(header_block_length(block), count * 8);
	free(text);
}

static void
dates_carry_the_local_zone(void **state)
{
	static const struct {
		const char *zone, *expected;
	} cases[] = {
		{ "UTC0", "Tue, 24 Nov 2026 09:15:02 +0000" },
		{ "IST-5:30", "Tue, 24 Nov 2026 14:45:02 +0530" },
		{ "NST3:30", "Tue, 24 Nov 2026 05:45:02 -0330" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF(100);

		setenv("TZ", cases[i].zone, 1);
		tzset();
		assert_true(date_append(&out, 1795511702));
		assert_string_equal(buf_text(&out), cases[i].expected);
		buf_free(&out);
	}
}

static void
message_id_holds_time_queue_id_and_host(void **state)
{
	struct buf out = BUF(100);

	(void)state;
	assert_true(message_id_append(&out, 1795511702, "4cRk2m5WtbzB", "mx.example.org"));
	assert_string_equal(buf_text(&out), "<20261124091502.4cRk2m5WtbzB@mx.example.org>");
	buf_free(&out);
}

static void
status_codes_are_read_with_their_length(void **state)
{
	static const struct {
		const char *text;
		size_t      length; /* 0 = none there */
		const char *again;
	} cases[] = {
		{ "5.1.1 User unknown", 5, "5.1.1" },
		{ "2.0.0", 5, "2.0.0" },
		{ "4.7.251\r\n", 7, "4.7.251" },
		{ "5.7.2", 5, "5.7.2" },
		{ "5.1", 0, NULL },
		{ "5.1.", 0, NULL },
		{ "3.1.1 x", 0, NULL },
		{ "5.1.1x", 0, NULL },
		{ "5.1234.1 x", 0, NULL },
		{ "5.1.1.1", 0, NULL },
		{ "", 0, NULL },
		{ "5..1 x", 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct enhanced_status status;
		size_t                 length = 0;
		bool ok = enhanced_status_parse(slice_from(cases[i].text), &status, &length);

		assert_int_equal(ok, cases[i].length > 0);
		assert_int_equal(length, cases[i].length);
		if (!ok)
			continue;
		struct buf out = BUF(100);
		assert_true(enhanced_status_append(&out, status));
		assert_string_equal(buf_text(&out), cases[i].again);
		buf_free(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_come_in_order_with_their_folds),
		cmocka_unit_test(what_is_no_field_ends_the_header),
		cmocka_unit_test(find_ignores_case_and_takes_the_first),
		cmocka_unit_test(block_ends_behind_the_first_empty_line),
		cmocka_unit_test(unfolding_gives_one_line),
		cmocka_unit_test(a_huge_header_is_walked_in_linear_time),
		cmocka_unit_test(dates_carry_the_local_zone),
		cmocka_unit_test(message_id_holds_time_queue_id_and_host),
		cmocka_unit_test(status_codes_are_read_with_their_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
