/* test_smtp_reply.c - replies between text and value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/smtp/reply.h"

#define T(literal) SLICE(literal)

static void
expect_reply(struct slice input, int code, const char *status, struct slice text, size_t length)
{
	struct arena      arena = ARENA(10000);
	struct smtp_reply reply;
	size_t            consumed;
	struct buf        number = BUF(50);

	assert_int_equal(smtp_reply_parse(input, &arena, &reply, &consumed), SMTP_PARSE_DONE);
	assert_int_equal(reply.code, code);
	assert_int_equal(consumed, length);
	assert_true(slice_equal(reply.text, text));
	if (reply.status.class != 0)
		enhanced_status_append(&number, reply.status);
	assert_string_equal(buf_text(&number), status);
	buf_free(&number);
	arena_reset(&arena);
}

static void
one_line_is_parsed(void **state)
{
	(void)state;
	expect_reply(T("250 2.1.0 Ok\r\nmore"), 250, "2.1.0", T("Ok"), 14);
	expect_reply(T("220 mx ESMTP\r\n"), 220, "", T("mx ESMTP"), 14);
	expect_reply(T("250\r\n"), 250, "", T(""), 5);
	expect_reply(T("250 \r\n"), 250, "", T(""), 6);
	expect_reply(T("354 go\n"), 354, "", T("go"), 7);
}

static void
multiline_reply_keeps_order(void **state)
{
	(void)state;
	expect_reply(T("250-mx\r\n250-SIZE 100\r\n250 DSN\r\n"), 250, "", T("mx\nSIZE 100\nDSN"),
	             31);
	expect_reply(T("550-5.7.1 no\r\n550 5.7.1 really\r\n"), 550, "5.7.1", T("no\nreally"), 32);
}

static void
a_status_of_another_class_is_text(void **state)
{
	(void)state;
	expect_reply(T("550 2.1.5 odd\r\n"), 550, "", T("2.1.5 odd"), 15);
	expect_reply(T("550 5.7.1\r\n"), 550, "5.7.1", T(""), 11);
	expect_reply(T("550 5.7\r\n"), 550, "", T("5.7"), 9);
}

static enum smtp_parse
parse(struct slice input)
{
	struct arena      arena = ARENA(10000);
	struct smtp_reply reply;
	size_t            consumed = 77;
	enum smtp_parse   result = smtp_reply_parse(input, &arena, &reply, &consumed);

	if (result != SMTP_PARSE_DONE)
		assert_int_equal(consumed, 77);
	arena_reset(&arena);
	return result;
}

static void
half_a_reply_wants_more(void **state)
{
	(void)state;
	assert_int_equal(parse(T("")), SMTP_PARSE_MORE);
	assert_int_equal(parse(T("250 Ok")), SMTP_PARSE_MORE);
	assert_int_equal(parse(T("250-Ok\r\n")), SMTP_PARSE_MORE);
	assert_int_equal(parse(T("250-Ok\r\n250 ")), SMTP_PARSE_MORE);
}

static void
what_is_no_reply_is_malformed(void **state)
{
	(void)state;
	assert_int_equal(parse(T("hello\r\n")), SMTP_PARSE_MALFORMED);
	assert_int_equal(parse(T("25\r\n")), SMTP_PARSE_MALFORMED);
	assert_int_equal(parse(T("2500 x\r\n")), SMTP_PARSE_MALFORMED);
	assert_int_equal(parse(T("150 x\r\n")), SMTP_PARSE_MALFORMED);
	assert_int_equal(parse(T("650 x\r\n")), SMTP_PARSE_MALFORMED);
	assert_int_equal(parse(T("250-x\r\nnonsense\r\n")), SMTP_PARSE_MALFORMED);
	assert_int_equal(parse(T("\r\n")), SMTP_PARSE_MALFORMED);
}

static void
each_line_carries_code_and_status(void **state)
{
	struct buf        out = BUF(1000);
	struct smtp_reply reply = { 550, { 5, 7, 1 }, T("one\ntwo") };
	(void)state;

	assert_true(smtp_reply_append(&out, &reply));
	assert_string_equal(buf_text(&out), "550-5.7.1 one\r\n550 5.7.1 two\r\n");
	buf_clear(&out);
	reply = (struct smtp_reply){ 220, { 0, 0, 0 }, T("mx ESMTP") };
	assert_true(smtp_reply_append(&out, &reply));
	assert_string_equal(buf_text(&out), "220 mx ESMTP\r\n");
	buf_free(&out);
}

static void
control_bytes_do_not_reach_the_wire(void **state)
{
	struct buf        out = BUF(1000);
	struct smtp_reply reply = { 550, { 0, 0, 0 }, T("a\rb\0c\x1b") };
	(void)state;

	assert_true(smtp_reply_append(&out, &reply));
	assert_string_equal(buf_text(&out), "550 a?b?c?\r\n");
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_line_is_parsed),
		cmocka_unit_test(multiline_reply_keeps_order),
		cmocka_unit_test(a_status_of_another_class_is_text),
		cmocka_unit_test(half_a_reply_wants_more),
		cmocka_unit_test(what_is_no_reply_is_malformed),
		cmocka_unit_test(each_line_carries_code_and_status),
		cmocka_unit_test(control_bytes_do_not_reach_the_wire),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
