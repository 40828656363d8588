/* test_mail_dsn.c - lib/mail/dsn: fields that stay fields whatever the value holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/mail/dsn.h"
#include "lib/mail/header.h"

#define U_UMLAUT "\xc3\xbc"

static void
a_value_cannot_begin_another_field(void **state)
{
	static const struct {
		const char *value, *expected;
		bool        allow_utf8;
	} cases[] = {
		{ "550 no", "Name: smtp; 550 no\r\n", false },
		{ "550-one\r\nStatus: 2.0.0", "Name: smtp; 550-one Status: 2.0.0\r\n", false },
		{ "a\nb\tc\x01", "Name: smtp; a b c?\r\n", false },
		{ "f" U_UMLAUT "r", "Name: smtp; f??r\r\n", false },
		{ "f" U_UMLAUT "r", "Name: smtp; f" U_UMLAUT "r\r\n", true },
		{ "f\xc3r", "Name: smtp; f?r\r\n", true },
		{ "", "Name: smtp;\r\n", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF(1000);

		assert_true(dsn_append_field(&out, "Name", "smtp", slice_from(cases[i].value),
		                             cases[i].allow_utf8));
		assert_string_equal(buf_text(&out), cases[i].expected);
		buf_free(&out);
	}
}

static void
long_values_are_folded_and_bounded(void **state)
{
	size_t              length = 1000000;
	char               *text = malloc(length);
	struct buf          out = BUF(100000);
	struct header_field field;

	(void)state;
	assert_non_null(text);
	for (size_t round = 0; round < 2; round++) {
		for (size_t i = 0; i < length; i++)
			text[i] = round == 0 && i % 10 == 9 ? ' ' : 'x';
		buf_clear(&out);
		assert_true(dsn_append_field(&out, "Diagnostic-Code", "smtp",
		                             slice_of(text, length), false));
		assert_true(out.length < DSN_VALUE_MOST + 600);
		struct slice block = buf_slice(&out), rest = block, line;
		size_t       longest = 0;
		while (slice_next_part(&rest, '\n', &line))
			longest = line.length > longest ? line.length : longest;
		assert_true(longest <= (round == 0 ? 79 : 999));
		assert_true(header_next(&block, &field)); /* it is one field */
		assert_int_equal(block.length, 0);
	}
	buf_free(&out);
	free(text);
}

static void
addresses_are_typed_by_their_bytes(void **state)
{
	static const struct {
		const char *address;
		bool        allow_utf8;
		const char *expected;
	} cases[] = {
		{ "user@example.org", false, "F: rfc822; user@example.org\r\n" },
		{ "a b@example.org", false, "F: rfc822; \"a b\"@example.org\r\n" },
		{ "a  b@example.org", false, "F: rfc822; \"a  b\"@example.org\r\n" },
		{ "1234567890 1234567890 1234567890 1234567890@a-domain-long-enough.example.org",
		  false,
		  "F: rfc822; \"1234567890 1234567890 1234567890 1234567890\""
		  "@a-domain-long-enough.example.org\r\n" },
		{ U_UMLAUT "@example.org", true, "F: utf-8; " U_UMLAUT "@example.org\r\n" },
		{ U_UMLAUT "@example.org", false, "F: utf-8; \\x{FC}@example.org\r\n" },
		{ "\xf0\x9f\x93\xae@example.org", false, "F: utf-8; \\x{1F4EE}@example.org\r\n" },
		{ "a+b" U_UMLAUT "@x", false, "F: utf-8; a\\x{2B}b\\x{FC}@x\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF(1000);

		assert_true(dsn_append_address(&out, "F", slice_from(cases[i].address),
		                               cases[i].allow_utf8));
		assert_string_equal(buf_text(&out), cases[i].expected);
		buf_free(&out);
	}
}

static void
original_recipients_keep_their_type(void **state)
{
	static const struct {
		const char *typed, *expected;
	} cases[] = {
		{ "rfc822;User@example.org", "O: rfc822; User@example.org\r\n" },
		{ "x400; /C=DE/S=x/", "O: x400; /C=DE/S=x/\r\n" },
		{ "no type", "O: rfc822; no type\r\n" },
		{ "x-odd;a  b ", "O: x-odd; a  b\r\n" },
		{ "b\r\nX: y;z", "O: b??X??y; z\r\n" },
		{ ";x", "O: rfc822; ;x\r\n" },
		{ "utf-8;j\\x{FC}r@x", "O: utf-8; j\\x{FC}r@x\r\n" },
		{ "UTF-8;j" U_UMLAUT "r+@x", "O: UTF-8; j\\x{FC}r\\x{2B}@x\r\n" },
		{ "utf-8;j\xc3r@x", "O: utf-8; j?r@x\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF(1000);

		assert_true(dsn_append_typed(&out, "O", slice_from(cases[i].typed), false));
		assert_string_equal(buf_text(&out), cases[i].expected);
		buf_free(&out);
	}
}

static void
text_hangs_below_its_first_line(void **state)
{
	struct buf out = BUF(1000);

	(void)state;
	buf_append_text(&out, "<a@example.org>:");
	assert_true(dsn_append_text(&out,
	                            SLICE("host mx.example.org[192.0.2.1] said: 550 5.1.1 "
	                                  "no such user here (in reply to RCPT TO command)"),
	                            16, 4, false));
	assert_string_equal(
		buf_text(&out),
		"<a@example.org>: host mx.example.org[192.0.2.1] said: 550 5.1.1 no such user\r\n"
		"    here (in reply to RCPT TO command)\r\n");
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_value_cannot_begin_another_field),
		cmocka_unit_test(long_values_are_folded_and_bounded),
		cmocka_unit_test(addresses_are_typed_by_their_bytes),
		cmocka_unit_test(original_recipients_keep_their_type),
		cmocka_unit_test(text_hangs_below_its_first_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
