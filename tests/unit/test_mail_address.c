/* test_mail_address.c - lib/mail/address: paths, host names, quoting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/mail/address.h"

enum { UTF8 = 1, STRICT = 2 };

/* What a path gives: "local|domain|rest", or NULL when it is malformed. */
struct path_case {
	const char *path;
	int         mode;
	const char *expected;
};

static void
check_paths(const struct path_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct arena   arena = ARENA(0);
		struct address address = { SLICE("untouched"), SLICE_EMPTY };
		struct slice   rest = SLICE_EMPTY;
		bool        ok = address_parse_path(slice_from(cases[i].path), cases[i].mode & UTF8,
		                                    cases[i].mode & STRICT, &arena, &address, &rest);
		const char *got = "malformed";

		if (ok)
			got = arena_format(&arena, "%.*s|%.*s|%.*s", SLICE_ARGS(address.local),
			                   SLICE_ARGS(address.domain), SLICE_ARGS(rest));
		else
			assert_true(slice_equal(address.local, SLICE("untouched")));
		if (strcmp(got, cases[i].expected ? cases[i].expected : "malformed") != 0)
			fail_msg("path %s gives %s", cases[i].path, got);
		arena_reset(&arena);
	}
}
#define CHECK_PATHS(cases) check_paths(cases, sizeof(cases) / sizeof((cases)[0]))

static void
paths_of_rfc_5321_are_read(void **state)
{
	static const struct path_case cases[] = {
		{ "<a@example.org>", STRICT, "a|example.org|" },
		{ "<>", STRICT, "||" },
		{ "<> BODY=8BITMIME", STRICT, "|| BODY=8BITMIME" },
		{ "<Postmaster>", STRICT, "Postmaster||" },
		{ "<\"a b\"@example.org> X", STRICT, "a b|example.org| X" },
		{ "<\"a\\\"b\\\\c\"@example.org>", STRICT, "a\"b\\c|example.org|" },
		{ "<\"a@b>c\"@example.org>", STRICT, "a@b>c|example.org|" },
		{ "<@one.example,@two.example:u@example.org>", STRICT, "u|example.org|" },
		{ "<@[IPv6:2001:db8::1]:u@example.org>", STRICT, "u|example.org|" },
		{ "<u@[192.0.2.1]>", STRICT, "u|[192.0.2.1]|" },
		{ "<u@[IPv6:2001:db8::1]>", STRICT, "u|[IPv6:2001:db8::1]|" },
		{ "<user+box@example.org>", STRICT, "user+box|example.org|" },
		{ "<!#$%&'*+-/=?^_`{|}~@example.org>", STRICT, "!#$%&'*+-/=?^_`{|}~|example.org|" },
	};

	(void)state;
	CHECK_PATHS(cases);
}

static void
malformed_paths_are_refused(void **state)
{
	static const struct path_case cases[] = {
		{ "", 0, NULL },
		{ "   ", 0, NULL },
		{ "<", 0, NULL },
		{ "<a", 0, NULL },
		{ "<a@", 0, NULL },
		{ "<a@>", 0, NULL },
		{ "<@example.org>", 0, NULL },
		{ "<\"\"@example.org>", 0, NULL },
		{ "<\"a@example.org>", 0, NULL },
		{ "<\"a\\", 0, NULL },
		{ "<a@b@c>", 0, NULL },
		{ "<a b@example.org>", 0, NULL },
		{ "<a@example..org>", 0, NULL },
		{ "<a@-example.org>", 0, NULL },
		{ "<a@.org>", 0, NULL },
		{ "<a@example.org", 0, NULL },
		{ "<a@[192.0.2.300]>", 0, NULL },
		{ "<a@[fe80::1%eth0]>", 0, NULL },
		{ "<a@[IPv6:fe80::1%eth0]>", 0, NULL },
		{ "<a@192.0.2.1>", 0, NULL },
		{ "<a\x01@example.org>", 0, NULL },
		{ "<\"a\nb\"@example.org>", 0, NULL },
		{ "<a@exa\rmple.org>", 0, NULL },
		{ "<@one.example>", 0, NULL },
		{ "<@[1:u@example.org>", 0, NULL },
		{ "a@example.org>", 0, NULL },
	};

	(void)state;
	CHECK_PATHS(cases);
}

static void
what_clients_really_send_is_taken_unless_strict(void **state)
{
	static const struct path_case cases[] = {
		{ " <a@example.org>", 0, "a|example.org|" },
		{ " <a@example.org>", STRICT, NULL },
		{ "< a@example.org >", 0, "a|example.org|" },
		{ "< a@example.org >", STRICT, NULL },
		{ "a@example.org SIZE=3", 0, "a|example.org| SIZE=3" },
		{ "a@example.org SIZE=3", STRICT, NULL },
		{ "<a..b.@example.org>", 0, "a..b.|example.org|" },
		{ "<a..b@example.org>", STRICT, NULL },
		{ "<.a@example.org>", STRICT, NULL },
		{ "<a@example.org.>", 0, "a|example.org|" },
		{ "<a@example.org.>", STRICT, NULL },
		{ "<user>", 0, "user||" },
		{ "<user>", STRICT, NULL },
		{ "<a.\"b c\"@example.org>", 0, "a.b c|example.org|" },
		{ "<a.\"b c\"@example.org>", STRICT, NULL },
		{ "<a@my_host.example.org>", 0, "a|my_host.example.org|" },
	};

	(void)state;
	CHECK_PATHS(cases);
}

static void
utf8_passes_only_when_allowed_and_whole(void **state)
{
	static const struct path_case cases[] = {
		{ "<\xc3\xbc@example.org>", UTF8, "\xc3\xbc|example.org|" },
		{ "<\xc3\xbc@example.org>", 0, NULL },
		{ "<a@m\xc3\xbcller.example>", UTF8 | STRICT, "a|m\xc3\xbcller.example|" },
		{ "<a@m\xc3\xbcller.example>", 0, NULL },
		{ "<\xc3@example.org>", UTF8, NULL },         /* truncated */
		{ "<a@m\xc3ller.example>", UTF8, NULL },      /* truncated */
		{ "<\xc0\xae@example.org>", UTF8, NULL },     /* overlong */
		{ "<\xed\xa0\x80@example.org>", UTF8, NULL }, /* surrogate */
	};

	(void)state;
	CHECK_PATHS(cases);
}

static void
nul_never_ends_an_address_early(void **state)
{
	static const char path[] = "<a\0b@example.org>";
	static const char domain[] = "<a@example.org\0.evil>";
	struct arena      arena = ARENA(0);
	struct address    address;
	struct slice      rest;

	(void)state;
	assert_false(address_parse_path(slice_of(path, sizeof(path) - 1), true, false, &arena,
	                                &address, &rest));
	assert_false(address_parse_path(slice_of(domain, sizeof(domain) - 1), true, false, &arena,
	                                &address, &rest));
	arena_reset(&arena);
}

static void
a_ten_megabyte_path_is_refused_quickly(void **state)
{
	size_t         length = 10u * 1024 * 1024;
	char          *text = malloc(length);
	struct arena   arena = ARENA(0);
	struct address address;
	struct slice   rest;

	(void)state;
	assert_non_null(text);
	for (size_t round = 0; round < 4; round++) {
		memset(text, "a\"@["[round], length);
		text[0] = '<';
		assert_false(address_parse_path(slice_of(text, length), true, false, &arena,
		                                &address, &rest));
	}
	free(text);
	arena_reset(&arena);
}

static void
the_longest_local_part_fits_and_one_more_does_not(void **state)
{
	char           text[ADDRESS_LOCAL_MOST + 20] = "<";
	struct arena   arena = ARENA(0);
	struct address address;
	struct slice   rest;

	(void)state;
	memset(text + 1, 'a', ADDRESS_LOCAL_MOST);
	memcpy(text + 1 + ADDRESS_LOCAL_MOST, "@b>", 4);
	assert_true(address_parse_path(slice_from(text), false, true, &arena, &address, &rest));
	assert_int_equal(address.local.length, ADDRESS_LOCAL_MOST);
	memcpy(text + 1 + ADDRESS_LOCAL_MOST, "a@b>", 5);
	assert_false(address_parse_path(slice_from(text), false, true, &arena, &address, &rest));
	arena_reset(&arena);
}

static void
internal_form_splits_at_the_last_at_sign(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "a@example.org", "a|example.org" },
		{ "a@b@example.org", "a@b|example.org" },
		{ "user", "user|" },
		{ "", "|" },
		{ "a b@example.org", "a b|example.org" },
		{ "@example.org", NULL },
		{ "a@", NULL },
		{ "a@exa mple", NULL },
		{ "a\n@example.org", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct address address;
		char           got[100] = "malformed";

		if (address_split(slice_from(cases[i].text), &address))
			snprintf(got, sizeof(got), "%.*s|%.*s", SLICE_ARGS(address.local),
			         SLICE_ARGS(address.domain));
		assert_string_equal(got, cases[i].expected ? cases[i].expected : "malformed");
	}
}

static void
external_form_quotes_what_needs_it(void **state)
{
	static const struct {
		const char *internal, *expected;
	} cases[] = {
		{ "a.b@example.org", "a.b@example.org" },
		{ "a b@example.org", "\"a b\"@example.org" },
		{ "a..b@example.org", "\"a..b\"@example.org" },
		{ ".a@example.org", "\".a\"@example.org" },
		{ "a.@example.org", "\"a.\"@example.org" },
		{ "a@b@example.org", "\"a@b\"@example.org" },
		{ "a\"b\\c@example.org", "\"a\\\"b\\\\c\"@example.org" },
		{ "user", "user" },
		{ "", "" },
		{ "\xc3\xbc@example.org", "\xc3\xbc@example.org" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF(1000);

		assert_true(address_append_external(&out, slice_from(cases[i].internal)));
		assert_string_equal(buf_text(&out), cases[i].expected);
		buf_free(&out);
	}
}

static void
extension_is_split_at_the_first_delimiter(void **state)
{
	static const struct {
		const char *local, *delimiters, *expected;
	} cases[] = {
		{ "user+ext", "+", "user|ext" },
		{ "user+a+b", "+", "user|a+b" },
		{ "user-a+b", "+-", "user|a+b" },
		{ "user+", "+", "user|" },
		{ "user", "+", NULL },
		{ "+ext", "+", NULL },
		{ "user+ext", "", NULL },
		{ "user+ext", NULL, NULL },
		{ "Mailer-Daemon", "-", NULL },
		{ "double-bounce", "-", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct slice user, extension;
		char         got[100] = "none";

		if (address_split_extension(slice_from(cases[i].local), cases[i].delimiters, &user,
		                            &extension))
			snprintf(got, sizeof(got), "%.*s|%.*s", SLICE_ARGS(user),
			         SLICE_ARGS(extension));
		assert_string_equal(got, cases[i].expected ? cases[i].expected : "none");
	}
}

static void
host_names_follow_rfc_1123(void **state)
{
	static const struct {
		const char *name;
		bool        is_valid, is_fqdn;
	} cases[] = {
		{ "mx.example.org", true, true },
		{ "localhost", true, false },
		{ "3com.example", true, true },
		{ "a_b.example", true, true },
		{ "192.0.2.1", false, false },
		{ "1234", false, false },
		{ "example.org.", false, false },
		{ ".example.org", false, false },
		{ "a..b", false, false },
		{ "-a.b", false, false },
		{ "a-.b", false, false },
		{ "a b", false, false },
		{ "", false, false },
		{ "[192.0.2.1]", false, false },
		{ "123456789012345678901234567890123456789012345678901234567890abc.d", true, true },
		{ "123456789012345678901234567890123456789012345678901234567890abcd.d", false,
		  false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(hostname_is_valid(slice_from(cases[i].name), false),
		                 cases[i].is_valid);
		assert_int_equal(hostname_is_fqdn(slice_from(cases[i].name)), cases[i].is_fqdn);
	}
	assert_true(hostname_is_valid(SLICE("m\xc3\xbcller.example"), true));
	assert_false(hostname_is_valid(SLICE("m\xc3\xbcller.example"), false));
}

static void
literals_are_ipv4_or_tagged_ipv6(void **state)
{
	static const struct {
		const char *text;
		bool        is_valid;
	} cases[] = {
		{ "[192.0.2.1]", true },       { "[IPv6:2001:db8::1]", true },
		{ "[ipv6:::1]", true },        { "[2001:db8::1]", false },
		{ "[IPv6:192.0.2.1]", false }, { "[]", false },
		{ "[192.0.2]", false },        { "192.0.2.1", false },
		{ "[192.0.2.1", false },       { "[IPv6:fe80::1%1]", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(address_literal_is_valid(slice_from(cases[i].text)),
		                 cases[i].is_valid);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_of_rfc_5321_are_read),
		cmocka_unit_test(malformed_paths_are_refused),
		cmocka_unit_test(what_clients_really_send_is_taken_unless_strict),
		cmocka_unit_test(utf8_passes_only_when_allowed_and_whole),
		cmocka_unit_test(nul_never_ends_an_address_early),
		cmocka_unit_test(a_ten_megabyte_path_is_refused_quickly),
		cmocka_unit_test(the_longest_local_part_fits_and_one_more_does_not),
		cmocka_unit_test(internal_form_splits_at_the_last_at_sign),
		cmocka_unit_test(external_form_quotes_what_needs_it),
		cmocka_unit_test(extension_is_split_at_the_first_delimiter),
		cmocka_unit_test(host_names_follow_rfc_1123),
		cmocka_unit_test(literals_are_ipv4_or_tagged_ipv6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
