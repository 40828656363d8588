/* test_smtp_compose.c - parts of commands as our clients write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "lib/smtp/compose.h"

static void
paths_are_quoted_where_they_must_be_and_never_hold_control_bytes(void **state)
{
	static const struct {
		const char *address, *expected; /* NULL: has no form */
	} rows[] = {
		{ "", "X:<>" },
		{ "a@b.test", "X:<a@b.test>" },
		{ "a b@b.test", "X:<\"a b\"@b.test>" },
		{ "a\r\nDATA@b.test", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf line = BUF(200);
		bool       ok = compose_path(&line, "X:", slice_from(rows[i].address));

		assert_int_equal(ok, rows[i].expected != NULL);
		if (ok)
			assert_string_equal(buf_text(&line), rows[i].expected);
		buf_free(&line);
	}
}

static void
dsn_parameters_are_those_of_rfc_3461(void **state)
{
	struct buf line = BUF(500);

	(void)state;
	compose_notify(&line, 0);
	compose_orcpt(&line, SLICE(""));
	compose_orcpt(&line, SLICE("no type"));
	assert_int_equal(line.length, 0);
	compose_notify(&line, 1);
	compose_notify(&line, 2 | 4 | 8);
	compose_orcpt(&line, SLICE("rfc822;a+b c@d"));
	compose_orcpt(&line, SLICE("utf-8;\xc3\xa4@d"));
	assert_string_equal(buf_text(&line), " NOTIFY=NEVER NOTIFY=SUCCESS,FAILURE,DELAY"
	                                     " ORCPT=rfc822;a+2Bb+20c@d"
	                                     " ORCPT=utf-8;\\x{E4}@d");
	buf_free(&line);
}

static void
xforward_says_what_is_wanted_in_lines_that_every_server_takes(void **state)
{
	char long_name[251], longer[300];
	memset(long_name, 'n', 250);
	memset(longer, 'x', 299);
	long_name[250] = longer[299] = '\0';
	const struct xforward_attribute attributes[] = {
		{ "NAME", slice_from(long_name) },
		{ "ADDR", SLICE("192.0.2.1") },
		{ "PORT", SLICE("unknown") },
		{ "HELO", slice_from(longer) }, /* not said: cut, it would be another name */
		{ "IDENT", SLICE("a\r\nb") },
		{ "SOURCE", slice_from(long_name) },
		{ "PROTO", SLICE("") },
	};
	struct buf line = BUF(2000);
	size_t     at = 0;

	(void)state;
	assert_true(compose_xforward(&line, SLICE("name Addr PORT HELO IDENT SOURCE"), attributes,
	                             7, &at));
	assert_true(line.length < 510);
	assert_non_null(strstr(buf_text(&line), "nnn ADDR=192.0.2.1 PORT=[UNAVAILABLE] "
	                                        "IDENT=a+0D+0Ab"));
	assert_null(strstr(buf_text(&line), "HELO"));
	assert_true(compose_xforward(&line, SLICE("name Addr PORT HELO IDENT SOURCE"), attributes,
	                             7, &at));
	assert_memory_equal(line.data, "XFORWARD SOURCE=nnn", 19);
	assert_null(strstr(buf_text(&line), "PROTO"));
	assert_false(compose_xforward(&line, SLICE("name Addr PORT HELO IDENT SOURCE"), attributes,
	                              7, &at));
	at = 0;
	assert_false(compose_xforward(&line, SLICE(""), attributes, 7, &at));
	buf_free(&line);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_quoted_where_they_must_be_and_never_hold_control_bytes),
		cmocka_unit_test(dsn_parameters_are_those_of_rfc_3461),
		cmocka_unit_test(xforward_says_what_is_wanted_in_lines_that_every_server_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
