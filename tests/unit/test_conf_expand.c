/* test_conf_expand.c - expansion of $names and conditions in main.cf text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "lib/conf/expand.h"

static const struct {
	const char *name, *text;
} known[] = {
	{ "a", "alpha" },   { "b", "$a-beta" },    { "empty", "" },       { "five", "5" },
	{ "ten", "10" },    { "loop", "x $loop" }, { "ping", "$pong" },   { "pong", "${ping}" },
	{ "level", "3.6" }, { "blank", "  " },     { "unclosed", "${a" },
};

static bool
find(void *context, struct slice name, struct slice *text)
{
	(void)context;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (slice_equal(name, slice_from(known[i].name))) {
			*text = slice_from(known[i].text);
			return true;
		}
	}
	return false;
}

static void
undefined(void *context, struct slice name)
{
	snprintf(context, 100, "%.*s", SLICE_ARGS(name));
}

static void
texts_expand_as_main_cf_says(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "$a", "alpha" },
		{ "${a}", "alpha" },
		{ "$(a)", "alpha" },
		{ "x$a.y", "xalpha.y" },
		{ "$b", "alpha-beta" },
		{ "$$a", "$a" },
		{ "100$$", "100$" },
		{ "$undefined", "" },
		/* non-empty, empty */
		{ "${a?yes}", "yes" },
		{ "${empty?yes}", "" },
		{ "${undefined?yes}", "" },
		{ "${a:no}", "" },
		{ "${empty:no}", "no" },
		{ "${a?{yes}:{no}}", "yes" },
		{ "${empty?{yes}:{no}}", "no" },
		{ "${a ? {yes} : {no}}", "yes" },
		{ "${empty ? { yes } : { no }}", "no" },
		{ "${a?{$b}}", "alpha-beta" },
		{ "${empty:{$b}}", "alpha-beta" },
		{ "${blank?{yes}:{no}}", "yes" },
		{ "${a?${b}}", "alpha-beta" },
		{ "${a?a text with blanks}", "a text with blanks" },
		{ "${empty?{10}:{300}}s", "300s" },
		/* comparisons: numbers as numbers, the rest as text */
		{ "${{$five} < {$ten} ? {less} : {more}}", "less" },
		{ "${{5} == {05}?{same}:{other}}", "same" },
		{ "${{a} == {a}?{same}:{other}}", "same" },
		{ "${{a} != {a}?{differs}:{same}}", "same" },
		{ "${{b} > {a}?{yes}:{no}}", "yes" },
		{ "${{5} <= {5}?{yes}:{no}}", "yes" },
		{ "${{4} >= {5}?{yes}:{no}}", "no" },
		{ "${{10} > {9}?{yes}:{no}}", "yes" },
		{ "${{10a} > {9a}?{yes}:{no}}", "no" },
		{ "${{$a} == {alpha} ? {${b}} : {}}", "alpha-beta" },
		{ "${{x} == {y} : {differs}}", "differs" },
		/* levels */
		{ "${{$level} <level {3.10} ? {older} : {newer}}", "older" },
		{ "${{$level} >=level {3.6} ? {newer} : {older}}", "newer" },
		{ "${{3} <=level {2.9.9} ? {older} : {newer}}", "newer" },
	};
	struct expand_source source = { .find = find };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf   out = BUF(1000);
		struct error error = ERROR_NONE;

		if (!expand(&source, SLICE("test"), slice_from(cases[i].text), &out, &error))
			fail_msg("%s: %s", cases[i].text, error.text);
		assert_string_equal(buf_text(&out), cases[i].expected);
		buf_free(&out);
	}
}

static void
malformed_texts_are_errors(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "$loop", "loop is defined by itself through $loop" },
		{ "$ping", "ping is defined by itself through $pong" },
		{ "$test", "test is defined by itself through $test" },
		{ "a $ b", "a name is missing behind $ (a literal dollar is written $$)" },
		{ "a$", "a name is missing behind $ (a literal dollar is written $$)" },
		{ "${a", "\"${a\" is not closed" },
		{ "$(a", "\"$(a\" is not closed" },
		{ "$unclosed", "\"${a\" is not closed" },
		{ "${}", "\"${}\" begins with no name" },
		{ "${a b}", "\"b\" is not expected here" },
		{ "${a?{x}:{y} z}", "\"z\" is not expected here" },
		{ "${{a} ~ {b}}", "one of == != < <= > >= is missing in \"${{a} ~ {b}}\"" },
		{ "${{a} == b}", "{text} is missing behind == in \"${{a} == b}\"" },
		{ "${{x} <level {3}?{a}:{b}}", "<level compares levels like 3.6, not \"x\"" },
	};
	struct expand_source source = { .find = find };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf   out = BUF(1000);
		struct error error = ERROR_NONE;

		assert_false(
			expand(&source, SLICE("test"), slice_from(cases[i].text), &out, &error));
		assert_string_equal(error.text, cases[i].message);
		buf_free(&out);
	}
}

static void
undefined_names_are_told(void **state)
{
	(void)state;
	char                 name[100] = "";
	struct expand_source source = { .find = find, .undefined = undefined, .context = name };
	struct buf           out = BUF(100);

	assert_true(expand(&source, SLICE_EMPTY, SLICE("$a $typo"), &out, NULL));
	assert_string_equal(name, "typo");
	buf_free(&out);
}

static void
depth_and_size_are_bounded(void **state)
{
	(void)state;
	struct expand_source source = { .find = find };
	struct buf           text = BUF(100000), out = BUF(100), wide = BUF(10);
	struct error         error = ERROR_NONE;

	for (int i = 0; i < 200; i++)
		buf_append_text(&text, "${a?{");
	for (int i = 0; i < 200; i++)
		buf_append_text(&text, "}}");
	assert_false(expand(&source, SLICE_EMPTY, buf_slice(&text), &out, &error));
	assert_string_equal(error.text, "names are nested more than 50 deep");
	assert_false(expand(&source, SLICE_EMPTY, SLICE("$b $b $b"), &wide, &error));
	assert_string_equal(error.text, "the expanded text is too long");
	buf_free(&text);
	buf_free(&out);
	buf_free(&wide);
}

/* a0 = $a1$a1, a1 = $a2$a2 ...: doubling, forty deep. */
static bool
find_doubling(void *context, struct slice name, struct slice *text)
{
	static const char *const texts[] = {
		"$a$a", "$b$b", "$c$c", "$d$d", "$e$e", "$f$f", "$g$g", "$h$h", "$i$i",
		"$j$j", "$k$k", "$l$l", "$m$m", "$n$n", "$o$o", "$p$p", "$q$q", "$r$r",
		"$s$s", "$t$t", "$u$u", "$v$v", "$w$w", "$x$x", "$y$y", "$z$z",
	};
	size_t index = (size_t)(name.data[0] - 'a') + 1;

	(void)context;
	*text = index < sizeof(texts) / sizeof(texts[0]) ? slice_from(texts[index]) : SLICE_EMPTY;
	return true;
}

static void
doubling_names_end_soon(void **state)
{
	(void)state;
	struct expand_source source = { .find = find_doubling };
	struct buf           out = BUF(100);
	struct error         error = ERROR_NONE;

	assert_false(expand(&source, SLICE_EMPTY, SLICE("$a"), &out, &error));
	assert_string_equal(error.text, "the names in it refer to too many others");
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_expand_as_main_cf_says),
		cmocka_unit_test(malformed_texts_are_errors),
		cmocka_unit_test(undefined_names_are_told),
		cmocka_unit_test(depth_and_size_are_bounded),
		cmocka_unit_test(doubling_names_end_soon),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
