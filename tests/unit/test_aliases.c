/* test_aliases.c - lib/mail/aliases: what may stand behind "name:" and in .forward files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "lib/mail/aliases.h"

/* All destinations as "kind text", kind one of a c f i, \a for literal ones, ! for malformed. */
static void
describe(struct slice text, struct buf *out)
{
	struct arena             arena = ARENA(0);
	struct alias_destination one;
	struct error             error;
	enum alias_result        result;

	while ((result = alias_next(&text, &arena, &one, &error)) != ALIAS_END) {
		if (out->length > 0)
			buf_append_text(out, " ; ");
		if (result == ALIAS_MALFORMED) {
			buf_append_text(out, "!");
			continue;
		}
		if (one.is_literal)
			buf_append_byte(out, '\\');
		buf_append_byte(out, "acfi"[one.kind]);
		buf_append_byte(out, ' ');
		buf_append(out, one.text);
	}
	arena_reset(&arena);
}

static const struct {
	const char *text;
	const char *expected;
} rows[] = {
	{ "bob", "a bob" },
	{ "bob, alice@example.org", "a bob ; a alice@example.org" },
	{ " bob ,\n\talice ,, ", "a bob ; a alice" },
	{ "\\bob, \"|/usr/bin/procmail -a x\"", "\\a bob ; c /usr/bin/procmail -a x" },
	{ "|/bin/true", "c /bin/true" },
	{ "| \"cat >x, echo\", y", "c cat >x, echo ; a y" },
	{ "|\"IFS=' '&&p=/usr/bin/procmail&&exec $p -Yf-||exit 75#bob\"",
	  "c IFS=' '&&p=/usr/bin/procmail&&exec $p -Yf-||exit 75#bob" },
	{ "\"|say \\\"hello\\\" \\\\ back\"", "c say \"hello\" \\ back" },
	{ "|cmd (no comment)", "c cmd (no comment)" },
	{ "/var/mail/x, /var/maildir/", "f /var/mail/x ; f /var/maildir/" },
	{ "\"/var/with blank,comma\"", "f /var/with blank,comma" },
	{ ":include:/etc/list, :Include: /etc/other", "i /etc/list ; i /etc/other" },
	{ "\":include:/etc/my list\"", "i /etc/my list" },
	{ ":include:relative", "!" },
	{ "Bob Builder <bob@example.org>, x", "a bob@example.org ; a x" },
	{ "bob@example.org (Bob, the (nested) builder)", "a bob@example.org" },
	{ "(comment first) bob", "a bob" },
	{ "\"john smith\"@example.org", "a john smith@example.org" },
	{ "<a@example.org>", "a a@example.org" },
	{ "two words", "!" },
	{ "a, \"open, b", "a a ; !" },
	{ "\"open\nb", "! ; a b" },
	{ "<a@b, c\nd", "! ; a d" },
	{ "a@b@c", "!" },
	{ "|", "!" },
	{ "\"|\"", "!" },
	{ "/", "!" },
	{ "|x\001y", "!" },
	{ "\\", "!" },
	{ "@example.org", "!" },
	{ "\"a@b.example\"", "!" },
	{ "", "" },
	{ " , \n ", "" },
};

static void
each_destination_is_what_aliases_5_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf out = BUF(4096);

		describe(slice_from(rows[i].text), &out);
		assert_string_equal(buf_text(&out), rows[i].expected);
		buf_free(&out);
	}
}

static void
lines_are_joined_and_comments_dropped(void **state)
{
	struct buf out = BUF(4096);

	(void)state;
	assert_true(alias_join_lines(
		SLICE("# my forward\nbob,\n alice\r\n\n#x\ncarol@example.org\n  # not one\n"),
		&out));
	assert_string_equal(buf_text(&out), "bob, alice\ncarol@example.org");
	buf_free(&out);
	out = BUF(4096);
	assert_true(alias_join_lines(SLICE("\n \n"), &out));
	assert_int_equal(out.length, 0);
	buf_free(&out);
	out = BUF(4);
	assert_false(alias_join_lines(SLICE("longer than that"), &out));
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_destination_is_what_aliases_5_says),
		cmocka_unit_test(lines_are_joined_and_comments_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
