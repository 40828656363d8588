/* test_mail_addrlist.c - lib/mail/addrlist: addresses of header fields found and replaced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/mail/addrlist.h"

#define TOKENS_MOST 10240

/* ---- finding ---- */

/* Each address as "local@domain", with '"' behind when quoted, '~' when irregular, ':' routed. */
static void
list_addresses(const char *value, size_t token_limit, struct buf *out)
{
	struct address_list   list;
	struct listed_address address;

	buf_clear(out);
	address_list_begin(&list, slice_from(value), token_limit);
	while (address_list_next(&list, &address)) {
		if (out->length > 0)
			buf_append_byte(out, ' ');
		buf_append_byte(out, '<');
		buf_append(out, address.local);
		if (address.domain.length > 0)
			buf_append_format(out, "@%.*s", SLICE_ARGS(address.domain));
		buf_append_text(out, address.is_quoted ? "\"" : "");
		buf_append_text(out, address.is_irregular ? "~" : "");
		buf_append_text(out, address.has_route ? ":" : "");
		buf_append_byte(out, '>');
	}
}

static void
addresses_are_found_in_whatever_surrounds_them(void **state)
{
	static const struct {
		const char *value;
		const char *found;
	} cases[] = {
		{ "a@b", "<a@b>" },
		{ " a@b.example , c@d.example", "<a@b.example> <c@d.example>" },
		{ "root", "<root>" },
		{ "first.last, root", "<first.last> <root>" },
		{ "Joe Doe <joe@b.example>", "<joe@b.example>" },
		{ "\"Doe, Joe\" <joe@b.example>, x@y", "<joe@b.example> <x@y>" },
		{ "joe@b.example (Joe, at home)", "<joe@b.example>" },
		{ "(one) joe@b.example (two (nested, \\) three))", "<joe@b.example>" },
		{ "=?utf-8?Q?J=C3=B6rg?= <j@b.example>", "<j@b.example>" },
		{ "John Q. Public <jqp@b.example>", "<jqp@b.example>" },
		{ "A Group: a@b.example, C <c@d.example>;, e@f.example",
		  "<a@b.example> <c@d.example> <e@f.example>" },
		{ "undisclosed-recipients:;", "" },
		{ "undisclosed-recipients:", "" },
		{ "G:root;H:admin;", "<root> <admin>" },
		{ "\"joe doe\"@b.example", "<joe doe@b.example\">" },
		{ "\"a@b\"", "<a@b\">" },
		{ "\"a\\\"b\"@c", "<a\"b@c\">" },
		{ "\"a\r\n b\"@c", "<a b@c\">" },
		{ "<@one.example,@two.example:joe@b.example>", "<joe@b.example:>" },
		{ "<@one.example:joe>", "<joe:>" },
		{ "joe @ b . example", "<joe@b.example~>" },
		{ "pete(his account)@silly.test(his host)", "<pete@silly.test~>" },
		{ "joe@[192.0.2.1], x@[IPv6:2001:db8::1]",
		  "<joe@[192.0.2.1]> <x@[IPv6:2001:db8::1]>" },
		{ "a@b@c", "<a@b@c\">" },
		{ "site!user, user%other", "<site!user> <user%other>" },
		{ "joe@b.example.", "<joe@b.example.>" },
		{ "\xc3\xbcser@b\xc3\xbc.example", "<\xc3\xbcser@b\xc3\xbc.example>" },
		{ "a@b,\r\n\tc@d,\r\n e@f", "<a@b> <c@d> <e@f>" },
		{ "<a@b>,<c@d>", "<a@b> <c@d>" },
		{ "<a@b> <c@d>", "<a@b> <c@d>" },
		{ "a@b;c@d", "<a@b> <c@d>" },
		{ ",,a@b,,", "<a@b>" },
	};
	struct buf out = BUF(10000);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		list_addresses(cases[i].value, TOKENS_MOST, &out);
		if (strcmp(buf_text(&out), cases[i].found) != 0)
			fail_msg("%s: %s", cases[i].value, buf_text(&out));
	}
	buf_free(&out);
}

static void
what_is_no_address_is_passed_over(void **state)
{
	static const struct {
		const char *value;
		const char *found;
	} cases[] = {
		{ "", "" },
		{ "John Smith", "" },
		{ "John Smith, a@b", "<a@b>" },
		{ "<>", "" },
		{ "@", "" },
		{ "@b", "" },
		{ "a@", "" },
		{ "a@, c@d", "<c@d>" },
		{ "<a@b", "" },
		{ "<a@b, <c@d>", "<c@d>" },
		{ "a@b>, c@d", "<c@d>" },
		{ "\"a@b", "" },
		{ "c@d, (a@b", "<c@d>" },
		{ "\"\"@b", "" },
		{ "a\x01@b, c@d", "<c@d>" },
		{ "a\\@b", "" },
		{ "a@b[1], c@d", "<c@d>" },
		{ "[192.0.2.1]", "" },
		{ "a b@c, d@e", "<d@e>" },
		{ "Jr., x@y", "<x@y>" },
		{ "<a@b> junk, c@d", "<a@b> <c@d>" },
		{ "a@b) , c@d", "<c@d>" },
		{ "<<a@b>>", "<a@b>" },
		{ "a@\"b\"", "" },
	};
	struct buf out = BUF(10000);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		list_addresses(cases[i].value, TOKENS_MOST, &out);
		if (strcmp(buf_text(&out), cases[i].found) != 0)
			fail_msg("%s: %s", cases[i].value, buf_text(&out));
	}
	buf_free(&out);
}

static void
behind_the_token_limit_nothing_is_found(void **state)
{
	struct buf out = BUF(10000);

	(void)state;
	list_addresses("a@b, c@d, e@f", 8, &out); /* a @ b , c @ d , */
	assert_string_equal(buf_text(&out), "<a@b> <c@d>");
	list_addresses("a@b, c@d, e@f", 7, &out);
	assert_string_equal(buf_text(&out), "<a@b>");
	list_addresses("a@b, c@d, e@f", 11, &out);
	assert_string_equal(buf_text(&out), "<a@b> <c@d> <e@f>");
	buf_free(&out);
}

static void
overlong_parts_are_no_addresses(void **state)
{
	struct buf value = BUF(100000), out = BUF(100000);

	(void)state;
	for (size_t i = 0; i < 2000; i++)
		buf_append_byte(&value, 'x');
	buf_append_text(&value, "@b, c@d");
	list_addresses(buf_text(&value), TOKENS_MOST, &out);
	assert_string_equal(buf_text(&out), "<c@d>");
	buf_free(&value);
	buf_free(&out);
}

static void
the_role_of_a_field_is_known_by_its_name(void **state)
{
	(void)state;
	assert_int_equal(header_role_of(SLICE("FROM")), HEADER_SENDER);
	assert_int_equal(header_role_of(SLICE("Reply-To")), HEADER_SENDER);
	assert_int_equal(header_role_of(SLICE("resent-to")), HEADER_RECIPIENT);
	assert_int_equal(header_role_of(SLICE("Resent-Reply-To")), HEADER_RECIPIENT);
	assert_int_equal(header_role_of(SLICE("Subject")), HEADER_NO_ADDRESSES);
	assert_int_equal(header_role_of(SLICE("Message-ID")), HEADER_NO_ADDRESSES);
	assert_int_equal(header_role_of(SLICE("Received")), HEADER_NO_ADDRESSES);
	assert_int_equal(header_role_of(SLICE("")), HEADER_NO_ADDRESSES);
}

/* ---- replacing ---- */

/* Names get @new.example, old.example becomes new.example, fail@... fails. */
static enum address_fate
modernize(void *context, enum header_role role, const struct listed_address *address,
          struct address *replacement)
{
	(void)context;
	assert_int_not_equal(role, HEADER_NO_ADDRESSES);
	if (slice_equal(address->local, SLICE("fail")))
		return ADDRESS_FAILED;
	if (address->domain.length > 0 && !slice_equal_fold(address->domain, SLICE("old.example")))
		return ADDRESS_KEPT;
	replacement->local = address->local;
	replacement->domain = SLICE("new.example");
	return ADDRESS_REPLACED;
}

static void
check_replaced(const char *block, const char *expected)
{
	struct buf out = BUF(1u << 24);
	bool       is_changed = false;

	assert_true(header_replace_addresses(slice_from(block), TOKENS_MOST, modernize, NULL, &out,
	                                     &is_changed));
	if (is_changed == (strcmp(block, expected) == 0))
		fail_msg("%s: changed %d", block, is_changed);
	if (is_changed && strcmp(buf_text(&out), expected) != 0)
		fail_msg("%s\n%s", block, buf_text(&out));
	buf_free(&out);
}

static void
only_addresses_change_and_nothing_around_them(void **state)
{
	(void)state;
	check_replaced("From: a@far.example\r\nSubject: root\r\n\r\nTo: root\r\n",
	               "From: a@far.example\r\nSubject: root\r\n\r\nTo: root\r\n");
	check_replaced("FROM :  Joe  \"Q.\"  Doe\t<root>  (x)\r\nX: y\r\n",
	               "FROM :  Joe  \"Q.\"  Doe\t<root@new.example>  (x)\r\nX: y\r\n");
	check_replaced("To: a@old.example,b@far.example ,\r\n\tC <c@OLD.example>,\r\n d\r\n",
	               "To: a@new.example,b@far.example ,\r\n\tC <c@new.example>,\r\n "
	               "d@new.example\r\n");
	check_replaced("Cc: Team: x, =?utf-8?B?w7w=?= <y@old.example>;, (c) z\r\n",
	               "Cc: Team: x@new.example, =?utf-8?B?w7w=?= <y@new.example>;, (c) "
	               "z@new.example\r\n");
	check_replaced("Reply-To: \"a b\"@old.example\r\n", "Reply-To: \"a b\"@new.example\r\n");
	check_replaced("Reply-To: \"plain\"@old.example\r\n", "Reply-To: plain@new.example\r\n");
	check_replaced("Sender: <@r.example:s@old.example>\r\n", "Sender: <s@new.example>\r\n");
	check_replaced("To: pete(his account)@old.example(his host)\r\n",
	               "To: pete@new.example (his account)(his host)\r\n");
	check_replaced("To: pete @\r\n old . example, x\r\n",
	               "To: pete@new.example, x@new.example\r\n");
	check_replaced("To: John Smith\r\nCc: <broken\r\n", "To: John Smith\r\nCc: <broken\r\n");
	check_replaced("To: root", "To: root@new.example");
	check_replaced("To: root\nCc: x\n", "To: root@new.example\nCc: x@new.example\n");
	check_replaced("no field at all", "no field at all");
	check_replaced("", "");
}

static void
a_failure_gives_up_the_whole(void **state)
{
	struct buf out = BUF(1000);
	bool       is_changed;

	(void)state;
	assert_false(header_replace_addresses(SLICE("To: root, fail@x, y\r\n"), TOKENS_MOST,
	                                      modernize, NULL, &out, &is_changed));
	buf_free(&out);
	out = BUF(20);
	assert_false(header_replace_addresses(SLICE("To: root, root, root, root\r\n"), TOKENS_MOST,
	                                      modernize, NULL, &out, &is_changed));
	buf_free(&out);
}

static void
check_line_lengths(struct slice text)
{
	struct slice line;

	while (slice_next_part(&text, '\n', &line))
		if (line.length > 999) /* with its CR */
			fail_msg("a line of %zu bytes", line.length);
}

/* Names on one line would become a line that no server takes. */
static void
lines_that_grow_too_long_are_folded_at_commas(void **state)
{
	static const char *const separators[] = { ",", ", " };

	(void)state;
	for (size_t s = 0; s < 2; s++) {
		struct buf block = BUF(100000), out = BUF(100000), unfolded = BUF(100000);
		bool       is_changed = false;

		buf_append_text(&block, "To: n0");
		for (int i = 1; i < 200; i++)
			buf_append_format(&block, "%sn%d", separators[s], i);
		buf_append_text(&block, "\r\n");
		assert_true(header_replace_addresses(buf_slice(&block), TOKENS_MOST, modernize,
		                                     NULL, &out, &is_changed));
		assert_true(is_changed);
		check_line_lengths(buf_slice(&out));
		list_addresses(buf_text(&out) + 3, TOKENS_MOST, &unfolded);
		size_t       count = 0;
		struct slice rest = buf_slice(&unfolded), word;
		while (slice_next_word(&rest, " ", &word))
			assert_true(slice_ends_with(word, SLICE("@new.example>")) && ++count);
		assert_int_equal(count, 200);
		buf_free(&block);
		buf_free(&out);
		buf_free(&unfolded);
	}
}

static int64_t
time_of(size_t addresses)
{
	struct buf block = BUF(1u << 26), out = BUF(1u << 26);
	bool       is_changed = false;

	buf_append_text(&block, "To: ");
	for (size_t i = 0; i < addresses; i++)
		buf_append_format(&block, "%sUser %zu (of many) <user%zu@old.example>",
		                  i == 0 ? "" : ",\r\n\t", i, i);
	buf_append_text(&block, "\r\n");
	int64_t start_ms = clock_monotonic_ms();
	assert_true(header_replace_addresses(buf_slice(&block), SIZE_MAX, modernize, NULL, &out,
	                                     &is_changed));
	int64_t taken_ms = clock_monotonic_ms() - start_ms;
	assert_true(is_changed && out.length == block.length);
	assert_true(slice_find(buf_slice(&out), SLICE("old.example")) == SLICE_NOT_FOUND);
	buf_free(&block);
	buf_free(&out);
	return taken_ms;
}

static void
ten_thousand_addresses_take_no_time(void **state)
{
	(void)state;
	assert_true(time_of(10000) < 2000);
	/* Quadratic work would take a minute. */
	assert_true(time_of(300000) < 30000);
}

static void
nesting_and_openings_without_end_take_no_time(void **state)
{
	static const char openings[] = "(\"[<@:";
	struct buf        block = BUF(1u << 24), out = BUF(1u << 24);
	bool              is_changed;
	int64_t           start_ms = clock_monotonic_ms();

	(void)state;
	for (size_t o = 0; openings[o] != '\0'; o++) {
		buf_clear(&block);
		buf_append_text(&block, "To: ");
		for (size_t i = 0; i < 500000; i++)
			buf_append_byte(&block, openings[o]);
		assert_true(header_replace_addresses(buf_slice(&block), SIZE_MAX, modernize, NULL,
		                                     &out, &is_changed));
		assert_false(is_changed);
	}
	assert_true(clock_monotonic_ms() - start_ms < 30000);
	buf_free(&block);
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_found_in_whatever_surrounds_them),
		cmocka_unit_test(what_is_no_address_is_passed_over),
		cmocka_unit_test(behind_the_token_limit_nothing_is_found),
		cmocka_unit_test(overlong_parts_are_no_addresses),
		cmocka_unit_test(the_role_of_a_field_is_known_by_its_name),
		cmocka_unit_test(only_addresses_change_and_nothing_around_them),
		cmocka_unit_test(a_failure_gives_up_the_whole),
		cmocka_unit_test(lines_that_grow_too_long_are_folded_at_commas),
		cmocka_unit_test(ten_thousand_addresses_take_no_time),
		cmocka_unit_test(nesting_and_openings_without_end_take_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
