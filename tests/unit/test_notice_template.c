/* test_notice_template.c - bounce_template_file: what is read, what is refused and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/conf/notice_template.h"

static void
assert_text(struct slice got, const char *expected)
{
	if (!slice_equal(got, slice_from(expected)))
		fail_msg("\"%.*s\" is not \"%s\"", SLICE_ARGS(got), expected);
}

static void
every_part_of_a_template_is_taken(void **state)
{
	static const char       file[] = "# a comment\n"
					 "\n"
					 "   \t\n"
					 "failure_template = <<EOF\n"
					 "charset: UTF-8\n"
					 "FROM: Post <post@example.org>\n"
					 "Subject:  Not here: sorry \n"
					 "Postmaster-Subject: Copy\n"
					 "\n"
					 "Gr\xc3\xbc\xc3\x9f"
					 "e from $myhostname.\n"
					 "\n"
					 "# no comment, \\ no escape\n"
					 " EOF\n"
					 "EOF\n"
					 "delay_template=<<  END-1\r\n"
					 "\r\n"
					 "Late.\r\n"
					 "END-1\r\n"
					 "success_template = <<.\n"
					 "Subject: Arrived\n"
					 ".\n";
	struct notice_templates read, standard;
	struct error            error = ERROR_NONE;
	struct notice_template *one = read.items;

	(void)state;
	notice_templates_default(&standard);
	notice_templates_default(&read);
	if (!notice_templates_parse(slice_from(file), &read, &error))
		fail_msg("%s", error.text);
	assert_text(one->charset, "UTF-8");
	assert_text(one->from, "Post <post@example.org>");
	assert_text(one->subject, "Not here: sorry");
	assert_text(one->postmaster_subject, "Copy");
	assert_text(one->text, "Gr\xc3\xbc\xc3\x9f"
	                       "e from $myhostname.\n\n# no comment, \\ no escape\n EOF\n");
	one++;
	assert_text(one->subject, "Delayed Mail (still being retried)");
	assert_text(one->text, "Late.\r\n");
	one++;
	assert_text(one->subject, "Arrived");
	assert_true(slice_equal(one->text, standard.items[NOTICE_TEMPLATE_SUCCESS].text));
	one++;
	assert_true(slice_equal(one->text, standard.items[NOTICE_TEMPLATE_VERIFY].text));
}

static void
what_is_malformed_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *file, *error;
	} cases[] = {
		{ "failure_template\n", "line 1: expected a template" },
		{ "\n\nfailure_template = EOF\n", "line 3: expected a template" },
		{ "failure_template = <<'EOF'\n", "line 1: expected a word without quotes" },
		{ "failure_template = <<\n", "line 1: expected a word" },
		{ "other_template = <<EOF\nEOF\n", "line 1: templates are" },
		{ "failure_template = <<EOF\n\ntext\n", "ends without \"EOF\"" },
		{ "failure_template = <<EOF\n\ntext\nEOF", NULL },
		{ "failure_template = <<EOF\nSubject: a\n b\n\nt\nEOF\n",
		  "line 3: this is no header" },
		{ "failure_template = <<EOF\nSubject: a\nNo header here\nEOF\n",
		  "line 3: this is no header" },
		{ "failure_template = <<EOF\nReply-To: a@b\n\nt\nEOF\n",
		  "line 2: the header of a" },
		{ "failure_template = <<EOF\nSubject: \xc3\xbc\n\nt\nEOF\n",
		  "line 2: a template's" },
		{ "failure_template = <<EOF\nSubject: a\001\n\nt\nEOF\n", "line 2: a template's" },
		{ "failure_template = <<EOF\nSubject:\n\nt\nEOF\n",
		  "line 2: a template's header field" },
		{ "failure_template = <<EOF\nCharset: a b\n\nt\nEOF\n", "line 2: Charset" },
		{ "failure_template = <<EOF\n\n\xc3\xbc\nEOF\n", "is not ASCII" },
		{ "failure_template = <<EOF\nCharset: utf-8\n\n\xfc\nEOF\n", "is not UTF-8" },
		{ "failure_template = <<EOF\nCharset: iso-8859-1\n\n\xfc\nEOF\n", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct notice_templates read, standard;
		struct error            error = ERROR_NONE;

		notice_templates_default(&standard);
		notice_templates_default(&read);
		bool ok = notice_templates_parse(slice_from(cases[i].file), &read, &error);
		if (ok != (cases[i].error == NULL))
			fail_msg("case %zu: %s", i, ok ? "taken" : error.text);
		if (ok)
			continue;
		if (strstr(error.text, cases[i].error) == NULL)
			fail_msg("case %zu: \"%s\"", i, error.text);
		assert_memory_equal(&read, &standard, sizeof(read));
	}
}

static void
a_text_needs_no_header(void **state)
{
	struct notice_templates read, standard;
	struct error            error = ERROR_NONE;

	(void)state;
	notice_templates_default(&standard);
	notice_templates_default(&read);
	assert_true(notice_templates_parse(
		SLICE("failure_template = <<EOF\nNot delivered\n\nNote: $myhostname\nEOF\n"), &read,
		&error));
	assert_text(read.items[NOTICE_TEMPLATE_FAILURE].text,
	            "Not delivered\n\nNote: $myhostname\n");
	assert_true(slice_equal(read.items[NOTICE_TEMPLATE_FAILURE].subject,
	                        standard.items[NOTICE_TEMPLATE_FAILURE].subject));
}

static void
lines_that_are_too_long_and_nul_bytes_are_refused(void **state)
{
	struct notice_templates read;
	struct buf              file = BUF(4096);
	struct error            error = ERROR_NONE;

	(void)state;
	notice_templates_default(&read);
	buf_append_text(&file, "failure_template = <<EOF\n\n");
	for (int i = 0; i < NOTICE_LINE_MOST; i++)
		buf_append_byte(&file, 'x');
	size_t end = file.length;
	buf_append_text(&file, "\nEOF\n");
	assert_true(notice_templates_parse(buf_slice(&file), &read, &error));
	buf_truncate(&file, end);
	buf_append_text(&file, "y\nEOF\n");
	assert_false(notice_templates_parse(buf_slice(&file), &read, &error));
	buf_truncate(&file, end - 1);
	buf_append(&file, SLICE("\0\nEOF\n"));
	assert_false(notice_templates_parse(buf_slice(&file), &read, &error));
	assert_non_null(strstr(error.text, "NUL"));
	buf_free(&file);
}

/* ---- names ---- */

static bool
find(void *context, struct slice name, struct slice *text)
{
	static const char *const values[][2] = {
		{ "myhostname", "mx.$mydomain" },        { "mydomain", "example.org" },
		{ "maximal_queue_lifetime", "$limit" },  { "limit", "5d" },
		{ "delay_warning_time", "4" },           { "bounce_queue_lifetime", "90m" },
		{ "delay_warning_time_other", "other" },
	};

	(void)context;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (slice_equal(name, slice_from(values[i][0]))) {
			*text = slice_from(values[i][1]);
			return true;
		}
	return false;
}

static void
names_and_times_are_filled_in(void **state)
{
	static const char *const cases[][2] = {
		{ "at $myhostname.", "at mx.example.org." },
		{ "${mydomain}s $$5 \\$$", "example.orgs $5 \\$" },
		{ "${maximal_queue_lifetime_days} $maximal_queue_lifetime_hours", "5 120" },
		{ "$maximal_queue_lifetime_weeks", "0" },
		{ "$delay_warning_time_hours $delay_warning_time_minutes", "4 240" },
		{ "$delay_warning_time_seconds", "14400" },
		{ "$bounce_queue_lifetime_hours $bounce_queue_lifetime", "1 90m" },
		{ "$delay_warning_time_other", "other" },
		{ "[$nonesuch]", "[]" },
		{ "${mydomain?{in $mydomain}:{none}}${nonesuch:!}", "in example.org!" },
		{ "  kept\n\n  as it\tis\n", "  kept\n\n  as it\tis\n" },
	};
	struct expand_source source = { .find = find };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct notice_template template = { .text = slice_from(cases[i][0]) };
		struct error error = ERROR_NONE;
		struct buf   out = BUF(1000);

		if (!notice_template_expand(&template, &source, &out, &error))
			fail_msg("%s: %s", cases[i][0], error.text);
		assert_string_equal(buf_text(&out), cases[i][1]);
		buf_free(&out);
	}
	struct notice_template broken = { .text = SLICE("${myhostname") };
	struct buf             out = BUF(1000);
	struct error           error = ERROR_NONE;
	assert_false(notice_template_expand(&broken, &source, &out, &error));
	buf_free(&out);
}

static void
words_of_notify_classes(void **state)
{
	(void)state;
	assert_true(notice_class_is_set("resource, software", "software"));
	assert_true(notice_class_is_set("Resource\t2Bounce", "2bounce"));
	assert_false(notice_class_is_set("2bounce", "bounce"));
	assert_false(notice_class_is_set("", "bounce"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_part_of_a_template_is_taken),
		cmocka_unit_test(what_is_malformed_is_refused_with_its_line),
		cmocka_unit_test(a_text_needs_no_header),
		cmocka_unit_test(lines_that_are_too_long_and_nul_bytes_are_refused),
		cmocka_unit_test(names_and_times_are_filled_in),
		cmocka_unit_test(words_of_notify_classes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
