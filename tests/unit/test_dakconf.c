/* links: tools/dakconf/entries.c tools/dakconf/file.c */
/* master.cf as dakconf reads and writes it; which lines of a file an edit keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tools/dakconf/dakconf.h"

/* Parses one line and prints it again. */
static void
assert_entry(const char *line, bool is_folded, const char *expected)
{
	struct arena arena = ARENA(100000);
	struct entry entry;
	struct buf   out = BUF(100000), remarks = BUF(1000);
	struct error error = ERROR_NONE;

	if (!entry_parse(slice_from(line), &arena, &entry, &remarks, &error))
		fail_msg("%s: %s", line, error.text);
	entry_append(&entry, is_folded, &out);
	assert_string_equal(buf_text(&out), expected);
	entry_free(&entry);
	arena_reset(&arena);
	buf_free(&out);
	buf_free(&remarks);
}

static void
entries_are_printed_in_columns_and_folded(void **state)
{
	(void)state;
	assert_entry("smtp inet n - y - - smtpd -v", true,
	             "smtp       inet  n       -       y       -       -       smtpd -v\n");
	assert_entry("a unix - - - - - smtp -o { a = b } -o{c=d  e} -v -- x", true,
	             "a          unix  -       -       -       -       -       smtp\n"
	             "    -o a=b\n    -o {c=d  e}\n    -v -- x\n");
	assert_entry("p unix - n n - 2 pipe flags=R { two words } {} -o x=y", false,
	             "p          unix  -       n       n       -       2       pipe flags=R "
	             "{two words} {} -o x=y\n");
}

/* What is written by an edit must mean the same when it is read. */
static void
what_is_printed_reads_as_the_same(void **state)
{
	const char *const lines[] = {
		"a unix - - - - - pipe { a b } {c { d } } {e} {} { {x} y }",
		"a unix - - - - - smtp -o { a = b c } -v -o x={y} --",
		"scalemail-backend unix-dgram - n n 60? 0 pipe user=x argv=/bin/x ${user} {a  b}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct arena arena = ARENA(100000);
		struct entry first, second;
		struct buf   text = BUF(100000);

		assert_true(entry_parse(slice_from(lines[i]), &arena, &first, NULL, NULL));
		entry_append(&first, false, &text);
		assert_true(entry_parse(slice_trim(buf_slice(&text)), &arena, &second, NULL, NULL));
		assert_int_equal(first.arguments.count, second.arguments.count);
		for (size_t j = 0; j < first.arguments.count; j++)
			assert_string_equal(first.arguments.items[j], second.arguments.items[j]);
		entry_free(&first);
		entry_free(&second);
		arena_reset(&arena);
		buf_free(&text);
	}
}

static void
unsound_fields_are_named(void **state)
{
	static const struct {
		const char *line, *error;
	} bad[] = {
		{ "a unix - - - - -", "bad field count" },
		{ "", "bad field count" },
		{ "a tcp - - - - - x", "invalid type field \"tcp\" in \"a tcp - - - - - x\"" },
		{ "a unix x - - - - y", "invalid private field \"x\" in \"a unix x - - - - y\"" },
		{ "a unix - - - ? - y", "invalid wakeup field \"?\" in \"a unix - - - ? - y\"" },
		{ "a unix - - - - 1? y",
		  "invalid process_limit field \"1?\" in \"a unix - - - - 1? y\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct arena arena = ARENA(100000);
		struct entry entry;
		struct error error = ERROR_NONE;

		assert_false(entry_parse(slice_from(bad[i].line), &arena, &entry, NULL, &error));
		assert_string_equal(error.text, bad[i].error);
		entry_free(&entry);
		arena_reset(&arena);
	}
}

static void
overrides_end_where_the_command_begins(void **state)
{
	struct arena  arena = ARENA(100000);
	struct values values = VALUES_NONE;
	struct entry  entry;

	(void)state;
	assert_true(entry_parse(SLICE("e unix - - - - - pipe -o a=1 -o a=2 -o bad -v x -o c=3"),
	                        &arena, &entry, NULL, NULL));
	assert_true(entry_overrides(&entry, &values));
	assert_int_equal(values.list.count, 1);
	assert_string_equal(values_get(&values, SLICE("a"))->text, "2");
	assert_true(entry_matches(&entry, SLICE("e"), SLICE("unix")));
	assert_true(entry_matches(&entry, SLICE("*"), SLICE_EMPTY));
	assert_false(entry_matches(&entry, SLICE("e"), SLICE("inet")));
	values_free(&values);
	entry_free(&entry);
	arena_reset(&arena);
}

static void
comments_within_an_entry_are_kept(void **state)
{
	const char text[] = "before\na = 1,\n# why\n\n  2\nafter";
	struct buf out = BUF(1000);
	size_t     begin = sizeof("before\n") - 1, end = sizeof(text) - sizeof("after");

	(void)state;
	edit_append_old_lines(slice_from(text), begin, end, false, &out);
	assert_string_equal(buf_text(&out), "# why\n\n");
	buf_clear(&out);
	edit_append_old_lines(slice_from(text), begin, end, true, &out);
	assert_string_equal(buf_text(&out), "#a = 1,\n# why\n\n#  2\n");
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_printed_in_columns_and_folded),
		cmocka_unit_test(what_is_printed_reads_as_the_same),
		cmocka_unit_test(unsound_fields_are_named),
		cmocka_unit_test(overrides_end_where_the_command_begins),
		cmocka_unit_test(comments_within_an_entry_are_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
