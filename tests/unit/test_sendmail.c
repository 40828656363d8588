/* test_sendmail.c - sendmail's address lists and options. */
/* links: tools/sendmail/recipients.c tools/sendmail/options.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sysexits.h>
#include <cmocka.h>

#include "lib/queue/verp.h"
#include "tools/sendmail/sendmail.h"

static char complaint[500];

int
complain(const struct tool *tool, int code, const char *format, ...)
{
	va_list arguments;

	(void)tool;
	va_start(arguments, format);
	vsnprintf(complaint, sizeof(complaint), format, arguments);
	va_end(arguments);
	return code;
}

void
warn(const struct tool *tool, const char *format, ...)
{
	(void)tool;
	(void)format;
}

/* ---- address lists ---- */

static const struct {
	const char *text;
	const char *addresses; /* with a bar between them; NULL: malformed */
} lists[] = {
	{ "a@example.org", "a@example.org" },
	{ "root", "root" },
	{ "", "" },
	{ " , ,, ", "" },
	{ "a@x.org,b@x.org ; c@x.org", "a@x.org|b@x.org|c@x.org" },
	{ "Jane Doe <jane@x.org>", "jane@x.org" },
	{ "\"Doe, Jane\" <jane@x.org>, <bob@x.org>", "jane@x.org|bob@x.org" },
	{ "jane@x.org (Jane (the \\) first), Doe), bob@x.org", "jane@x.org|bob@x.org" },
	{ "(only a comment)", "" },
	{ "jane . doe @ x . org", "jane.doe@x.org" },
	{ "jane(a)@(b)x.org", "jane@x.org" },
	{ "\"jane doe\"@x.org", "jane doe@x.org" },
	{ "\"a\\\"b\"@x.org", "a\"b@x.org" },
	{ "friends: a@x.org, B <b@x.org>;, c@x.org", "a@x.org|b@x.org|c@x.org" },
	{ "undisclosed-recipients:;", "" },
	{ "<@a.org,@b.org:c@x.org>", "c@x.org" },
	{ "u@[192.0.2.1]", "u@[192.0.2.1]" },
	{ "\r\n a@x.org,\r\n\tb@x.org\r\n", "a@x.org|b@x.org" },
	{ "J\xc3\xbcrgen <j@x.org>", "j@x.org" },
	{ "j\xc3\xbc@x.org", "j\xc3\xbc@x.org" },
	{ "First.Last (x) <f@x.org> (y)", "f@x.org" },
	{ "Jane <jane@x.org", "jane@x.org" },
	{ "\"open quote@x.org", "open quote@x.org" },
	/* No addresses: */
	{ "Jane Doe", NULL },
	{ "a@x.org b@x.org", NULL },
	{ "\"a b\" c@x.org", NULL },
	{ "user@", NULL },
	{ "@example.org", NULL },
	{ "Jane <>", NULL },
	{ "a@x.org, Jane <b@ >", NULL },
	{ "a\x01@x.org", NULL },
};

static void
address_lists_are_read_as_rfc_5322_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct arena        arena = ARENA(0);
		struct address_list list = { 0 };
		struct slice        bad = SLICE_EMPTY;
		struct buf          got = BUF(10000);

		bool is_good = address_list_read(slice_from(lists[i].text), &arena, &list, &bad);
		for (size_t j = 0; j < list.items.count; j++) {
			if (j > 0)
				buf_append_byte(&got, '|');
			buf_append(&got, list.items.items[j]);
		}
		if (is_good != (lists[i].addresses != NULL) ||
		    (is_good && strcmp(buf_text(&got), lists[i].addresses) != 0))
			fail_msg("%s: %s", lists[i].text, is_good ? buf_text(&got) : "malformed");
		buf_free(&got);
		ARRAY_FREE(&list.items);
		arena_reset(&arena);
	}
}

static void
a_bad_address_is_named(void **state)
{
	struct arena        arena = ARENA(0);
	struct address_list list = { 0 };
	struct slice        bad = SLICE_EMPTY;

	(void)state;
	assert_false(address_list_read(SLICE("a@x.org, two words, b@x.org"), &arena, &list, &bad));
	assert_true(slice_equal(bad, SLICE("two words")));
	ARRAY_FREE(&list.items);
	arena_reset(&arena);
}

static void
a_long_display_name_is_no_trouble_and_a_long_address_is(void **state)
{
	struct arena        arena = ARENA(0);
	struct address_list list = { 0 };
	struct slice        bad = SLICE_EMPTY;
	struct buf          text = BUF(10000);

	(void)state;
	for (int i = 0; i < 3000; i++)
		buf_append_byte(&text, 'x');
	buf_append_text(&text, " <a@x.org>");
	assert_true(address_list_read(buf_slice(&text), &arena, &list, &bad));
	assert_int_equal(list.items.count, 1);
	buf_clear(&text);
	buf_append_byte(&text, '<');
	for (int i = 0; i < 3000; i++)
		buf_append_byte(&text, 'x');
	buf_append_text(&text, "@x.org>");
	assert_false(address_list_read(buf_slice(&text), &arena, &list, &bad));
	buf_free(&text);
	ARRAY_FREE(&list.items);
	arena_reset(&arena);
}

static void
check_header(const char *header, const char *first, size_t count)
{
	struct arena        arena = ARENA(0);
	struct address_list list = { 0 };
	struct slice        bad = SLICE_EMPTY;

	assert_true(address_list_read_header(slice_from(header), &arena, &list, &bad));
	assert_int_equal(list.items.count, count);
	if (count > 0)
		assert_true(slice_equal(list.items.items[0], slice_from(first)));
	ARRAY_FREE(&list.items);
	arena_reset(&arena);
}

static void
recipients_come_from_to_cc_and_bcc(void **state)
{
	(void)state;
	check_header("Subject: To: x@y.org\nto: a@x.org,\n b@x.org\nCC: c@x.org\nBcc: d@x.org\n"
	             "Reply-To: e@x.org\n",
	             "a@x.org", 4);
}

static void
resent_fields_are_taken_alone(void **state)
{
	(void)state;
	check_header("To: a@x.org\nResent-Cc: r@x.org\nResent-To: s@x.org\nBcc: d@x.org\n",
	             "r@x.org", 2);
}

/* ---- options ---- */

static int
read_options(struct tool *tool, const char *line)
{
	static char *words[40];
	static char  text[500];
	int          count = 0;

	snprintf(text, sizeof(text), "sendmail %s", line);
	for (char *at = text; *at != '\0' && count < 39;) {
		words[count++] = at;
		at += strcspn(at, " ");
		if (*at != '\0')
			*at++ = '\0';
	}
	words[count] = NULL;
	for (int i = 0; i < count; i++)
		if (strcmp(words[i], "''") == 0)
			words[i][0] = '\0';
	*tool = (struct tool){ .name = "sendmail" };
	complaint[0] = '\0';
	return options_read(tool, count, words);
}

static void
calls_of_well_known_programs_are_understood(void **state)
{
	struct tool tool;

	(void)state;
	/* cron */
	assert_int_equal(read_options(&tool, "-i -FCronDaemon -B8BITMIME -oem root"), EX_OK);
	assert_true(tool.options.ignores_dots);
	assert_string_equal(tool.options.full_name, "CronDaemon");
	assert_int_equal(tool.options.flags, ENVELOPE_8BIT);
	assert_string_equal(tool.options.recipients[0], "root");
	arena_reset(&tool.arena);
	/* mutt */
	assert_int_equal(read_options(&tool, "-oem -oi -f a@x.org -N never -- b@x.org c@x.org"),
	                 EX_OK);
	assert_true(tool.options.ignores_dots);
	assert_string_equal(tool.options.sender, "a@x.org");
	assert_int_equal(tool.options.dsn_notify, DSN_NOTIFY_NEVER);
	assert_int_equal(tool.options.recipient_count, 2);
	arena_reset(&tool.arena);
	/* PHP with a fifth argument, and words behind the recipient */
	assert_int_equal(read_options(&tool, "-t -i -fweb@x.org d@x.org -v"), EX_OK);
	assert_true(tool.options.reads_recipients);
	assert_string_equal(tool.options.sender, "web@x.org");
	assert_int_equal(tool.options.recipient_count, 1);
	arena_reset(&tool.arena);
	assert_int_equal(read_options(&tool, "-f '' -ti"), EX_OK);
	assert_string_equal(tool.options.sender, "");
	assert_true(tool.options.ignores_dots && tool.options.reads_recipients);
	arena_reset(&tool.arena);
}

static void
old_options_are_taken_and_ignored(void **state)
{
	struct tool tool;

	(void)state;
	assert_int_equal(read_options(&tool, "-Am -G -L tag -U -X log -d0.1 -em -h 5 -m -n -odb "
	                                     "-oMx -p smtp -v -v -x -c root"),
	                 EX_OK);
	assert_int_equal(tool.options.recipient_count, 1);
	assert_int_equal(tool.options.mode, MODE_MAIL);
	arena_reset(&tool.arena);
}

static void
each_mode_has_its_letter(void **state)
{
	static const struct {
		const char *line;
		int         code;
		enum mode   mode;
	} rows[] = {
		{ "-bm", EX_OK, MODE_MAIL },       { "-bs", EX_OK, MODE_SMTP },
		{ "-bp", EX_OK, MODE_QUEUE },      { "-bi", EX_OK, MODE_ALIASES },
		{ "-I", EX_OK, MODE_ALIASES },     { "-q", EX_OK, MODE_FLUSH },
		{ "-q15m", EX_OK, MODE_FLUSH },    { "-bd -q15m", EX_OK, MODE_DAEMON },
		{ "-bl", EX_OK, MODE_DAEMON },     { "-qIabc123", EX_OK, MODE_FLUSH },
		{ "-qRx.org", EX_OK, MODE_FLUSH }, { "-qSx.org", EX_UNAVAILABLE, MODE_FLUSH },
		{ "-qZ", EX_USAGE, MODE_FLUSH },   { "-bv a@x.org", EX_OK, MODE_MAIL },
		{ "-bv -t", EX_USAGE, MODE_MAIL }, { "-v a@x.org", EX_OK, MODE_MAIL },
		{ "-bz", EX_USAGE, MODE_MAIL },    { "-bh", EX_OK, MODE_NOTHING },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tool tool;

		if (read_options(&tool, rows[i].line) != rows[i].code ||
		    tool.options.mode != rows[i].mode)
			fail_msg("%s: %s", rows[i].line, complaint);
		assert_true((rows[i].code != EX_OK) == (complaint[0] != '\0'));
		arena_reset(&tool.arena);
	}
}

static void
dsn_options_reach_the_envelope(void **state)
{
	struct tool tool;

	(void)state;
	assert_int_equal(read_options(&tool, "-N success,failure -R hdrs -V job7 a@x.org"), EX_OK);
	assert_int_equal(tool.options.dsn_notify, DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE);
	assert_int_equal(tool.options.dsn_ret, DSN_RET_HDRS);
	assert_string_equal(tool.options.dsn_envid, "job7");
	arena_reset(&tool.arena);
	assert_int_equal(read_options(&tool, "-O smtputf8=yes -O requiretls=yes -O x=y a@x.org"),
	                 EX_OK);
	assert_int_equal(tool.options.flags, ENVELOPE_SMTPUTF8 | ENVELOPE_REQUIRETLS);
	arena_reset(&tool.arena);
	assert_int_equal(read_options(&tool, "-XV a@x.org"), EX_OK);
	assert_int_equal(tool.options.flags, ENVELOPE_VERP);
	arena_reset(&tool.arena);
	assert_int_equal(read_options(&tool, "-XV-= a@x.org"), EX_OK);
	assert_int_equal(tool.options.flags, verp_flags(SLICE("-=")));
	arena_reset(&tool.arena);
	assert_int_equal(read_options(&tool, "-X /tmp/log a@x.org"), EX_OK);
	assert_int_equal(tool.options.flags, 0);
	arena_reset(&tool.arena);
}

static void
what_is_not_there_is_refused_with_its_reason(void **state)
{
	static const struct {
		const char *line;
		int         code;
	} rows[] = {
		{ "-XV+ a@x.org", EX_USAGE },     { "-XV+=- a@x.org", EX_USAGE },
		{ "-N never,delay a", EX_USAGE }, { "-N often a", EX_USAGE },
		{ "-R all a", EX_USAGE },         { "-f", EX_USAGE },
		{ "-Z a@x.org", EX_USAGE },       { "-- -f@x.org", EX_USAGE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tool tool;

		if (read_options(&tool, rows[i].line) != rows[i].code)
			fail_msg("%s", rows[i].line);
		assert_true(complaint[0] != '\0');
		arena_reset(&tool.arena);
	}
}

static void
a_configuration_may_be_named_by_its_file(void **state)
{
	struct tool tool;

	(void)state;
	assert_int_equal(read_options(&tool, "-C /etc/x/main.cf a"), EX_OK);
	assert_string_equal(tool.options.config_directory, "/etc/x");
	arena_reset(&tool.arena);
	assert_int_equal(read_options(&tool, "-C/etc/x a"), EX_OK);
	assert_string_equal(tool.options.config_directory, "/etc/x");
	arena_reset(&tool.arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(address_lists_are_read_as_rfc_5322_says),
		cmocka_unit_test(a_bad_address_is_named),
		cmocka_unit_test(a_long_display_name_is_no_trouble_and_a_long_address_is),
		cmocka_unit_test(recipients_come_from_to_cc_and_bcc),
		cmocka_unit_test(resent_fields_are_taken_alone),
		cmocka_unit_test(calls_of_well_known_programs_are_understood),
		cmocka_unit_test(old_options_are_taken_and_ignored),
		cmocka_unit_test(each_mode_has_its_letter),
		cmocka_unit_test(dsn_options_reach_the_envelope),
		cmocka_unit_test(what_is_not_there_is_refused_with_its_reason),
		cmocka_unit_test(a_configuration_may_be_named_by_its_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
