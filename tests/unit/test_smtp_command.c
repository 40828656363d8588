/* test_smtp_command.c - command lines, MAIL, RCPT and BDAT arguments, extension keywords. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/smtp/command.h"
#include "lib/smtp/extensions.h"

#define T(literal) SLICE(literal)
#define ALL        ((struct smtp_grammar){ .extensions = 0xffff })

static void
a_line_ends_at_lf(void **state)
{
	struct slice line;
	size_t       length;
	bool         is_bare;
	(void)state;

	assert_true(smtp_line_take(T("NOOP\r\nQUIT\r\n"), &line, &length, &is_bare));
	assert_true(slice_equal(line, T("NOOP")));
	assert_int_equal(length, 6);
	assert_false(is_bare);
	assert_true(smtp_line_take(T("NOOP\n"), &line, &length, &is_bare));
	assert_true(is_bare);
	assert_true(smtp_line_take(T("\n"), &line, &length, &is_bare));
	assert_int_equal(line.length, 0);
	assert_false(smtp_line_take(T("NOOP\r"), &line, &length, &is_bare));
	assert_false(smtp_line_take(T(""), &line, &length, &is_bare));
}

static void
verbs_are_known_in_any_case(void **state)
{
	struct smtp_command command;
	(void)state;

	assert_true(smtp_command_parse(T("mAiL  FROM:<a@b> "), &command));
	assert_int_equal(command.verb, SMTP_VERB_MAIL);
	assert_true(slice_equal(command.arguments, T("FROM:<a@b>")));
	assert_true(smtp_command_parse(T("MAILX"), &command));
	assert_int_equal(command.verb, SMTP_VERB_UNKNOWN);
	assert_true(slice_equal(command.word, T("MAILX")));
	assert_true(smtp_command_parse(T("NOOP\tx"), &command));
	assert_int_equal(command.verb, SMTP_VERB_NOOP);
}

static void
control_bytes_make_no_command(void **state)
{
	struct smtp_command command;
	(void)state;

	assert_false(smtp_command_parse(T(""), &command));
	assert_false(smtp_command_parse(T("   "), &command));
	assert_false(smtp_command_parse(T("NO\rOP"), &command));
	assert_false(smtp_command_parse(T("NOOP\0"), &command));
	assert_false(smtp_command_parse(T("NOOP \x7f"), &command));
}

static void
expect_mail(struct slice arguments, int code, const char *text)
{
	struct arena        arena = ARENA(10000);
	struct smtp_mail    mail;
	struct smtp_reply   refusal = { 250, { 0, 0, 0 }, T("") };
	struct smtp_grammar grammar = ALL;

	assert_int_equal(smtp_mail_parse(arguments, &grammar, &arena, &mail, &refusal),
	                 code == 250);
	assert_int_equal(refusal.code, code);
	if (code != 250 && !slice_equal(refusal.text, slice_from(text)))
		fail_msg("%.*s", SLICE_ARGS(refusal.text));
	arena_reset(&arena);
}

static void
mail_parameters_are_checked(void **state)
{
	(void)state;
	expect_mail(T("FROM:<a@b.test>"), 250, "");
	expect_mail(T("FROM:<> SIZE=0"), 250, "");
	expect_mail(T("from: <a@b.test>  BODY=7bit   RET=hdrs"), 250, "");
	expect_mail(T("FROM:<a@b.test> AUTH=<>"), 250, "");
	expect_mail(T("FROM:<a@b.test> AUTH=a+40b"), 250, "");
	expect_mail(T("FROM <a@b.test>"), 501, "Syntax: MAIL FROM:<address>");
	expect_mail(T("FROM:<a@b.test> SIZE"), 501, "Bad message size syntax");
	expect_mail(T("FROM:<a@b.test> SIZE=1x"), 501, "Bad message size syntax");
	expect_mail(T("FROM:<a@b.test> RET=FULL RET=HDRS"), 501, "Bad RET parameter syntax");
	expect_mail(T("FROM:<a@b.test> ENVID="), 501, "Bad ENVID parameter syntax");
	expect_mail(T("FROM:<a@b.test> ENVID=a+0D"), 501, "Bad ENVID parameter syntax");
	expect_mail(T("FROM:<a@b.test> FOO=1"), 555, "Unsupported option: FOO");
	expect_mail(T("FROM:<a@b.test> <x>=1"), 555, "Unsupported option");
	expect_mail(T("FROM:<a@b.test>SIZE=1"), 501, "Bad sender address syntax");
	expect_mail(T("FROM:<a@b.test> SIZE=99999999999999999999"), 250, "");
	expect_mail(T("FROM:<\xc3\xa4@b.test>"), 553,
	            "Must declare SMTPUTF8 to send unicode address");
	expect_mail(T("FROM:<\xc3\xa4@b.test> SMTPUTF8"), 250, "");
}

static void
a_quoted_at_sign_is_no_domain(void **state)
{
	(void)state;
	expect_mail(T("FROM:<\"a@b\">"), 501, "Bad sender address syntax");
	expect_mail(T("FROM:<\"a@b\"@c.test>"), 250, "");
}

static void
parameters_of_others_are_refused(void **state)
{
	struct arena        arena = ARENA(10000);
	struct smtp_mail    mail;
	struct smtp_reply   refusal;
	struct smtp_grammar grammar = { .extensions = SMTP_SIZE };
	(void)state;

	assert_false(
		smtp_mail_parse(T("FROM:<a@b.test> RET=FULL"), &grammar, &arena, &mail, &refusal));
	assert_int_equal(refusal.code, 555);
	assert_true(
		smtp_mail_parse(T("FROM:<a@b.test> SIZE=7"), &grammar, &arena, &mail, &refusal));
	assert_int_equal(mail.size, 7);
	arena_reset(&arena);
}

/* It was answered 501, and mail was returned for it. */
static void
without_memory_an_address_is_not_called_wrong(void **state)
{
	struct arena        arena = ARENA(1);
	struct smtp_mail    mail;
	struct smtp_rcpt    rcpt;
	struct smtp_reply   refusal;
	struct smtp_grammar grammar = { .extensions = 0 };
	(void)state;

	assert_false(smtp_mail_parse(T("FROM:<a@b.test>"), &grammar, &arena, &mail, &refusal));
	assert_int_equal(refusal.code, 452);
	arena_reset(&arena);
	assert_false(smtp_rcpt_parse(T("TO:<a@b.test>"), &grammar, &arena, &rcpt, &refusal));
	assert_int_equal(refusal.code, 452);
	arena_reset(&arena);
	assert_false(smtp_rcpt_parse(T("TO:<a@b..test>"), &grammar, &arena, &rcpt, &refusal));
	assert_int_equal(refusal.code, 501);
}

static void
recipient_parameters_are_kept(void **state)
{
	struct arena        arena = ARENA(10000);
	struct smtp_rcpt    rcpt;
	struct smtp_reply   refusal;
	struct smtp_grammar grammar = ALL;
	(void)state;

	assert_true(smtp_rcpt_parse(T("TO:<a@b.test> NOTIFY=success,DELAY ORCPT=rfc822;x+2By"),
	                            &grammar, &arena, &rcpt, &refusal));
	assert_int_equal(rcpt.notify, (1 << 1) | (1 << 3));
	assert_true(slice_equal(rcpt.orcpt, T("rfc822;x+y")));
	assert_true(slice_equal(rcpt.recipient, T("a@b.test")));
	/* RFC 6533 3: escaped, which stays so, or as it is. */
	assert_true(smtp_rcpt_parse(T("TO:<a@b.test> ORCPT=utf-8;j\\x{FC}r@x"), &grammar, &arena,
	                            &rcpt, &refusal));
	assert_true(slice_equal(rcpt.orcpt, T("utf-8;j\\x{FC}r@x")));
	assert_true(smtp_rcpt_parse(T("TO:<a@b.test> ORCPT=utf-8;j\xc3\xbcr@x"), &grammar, &arena,
	                            &rcpt, &refusal));
	assert_true(slice_equal(rcpt.orcpt, T("utf-8;j\xc3\xbcr@x")));
	assert_false(smtp_rcpt_parse(T("TO:<a@b.test> ORCPT=utf-8;j\xc3r@x"), &grammar, &arena,
	                             &rcpt, &refusal));
	assert_false(smtp_rcpt_parse(T("TO:<a@b.test> ORCPT=rfc822;j\xc3\xbcr@x"), &grammar, &arena,
	                             &rcpt, &refusal));
	assert_false(smtp_rcpt_parse(T("TO:<a@b.test> NOTIFY=NEVER,SUCCESS"), &grammar, &arena,
	                             &rcpt, &refusal));
	assert_false(
		smtp_rcpt_parse(T("TO:<a@b.test> NOTIFY="), &grammar, &arena, &rcpt, &refusal));
	assert_false(
		smtp_rcpt_parse(T("TO:<a@b.test> ORCPT=;x"), &grammar, &arena, &rcpt, &refusal));
	assert_false(smtp_rcpt_parse(T("TO:<>"), &grammar, &arena, &rcpt, &refusal));
	assert_int_equal(refusal.code, 501);
	arena_reset(&arena);
}

static void
chunk_sizes_are_whole_numbers(void **state)
{
	uint64_t size;
	bool     is_last;
	(void)state;

	assert_true(smtp_bdat_parse(T("0 LAST"), &size, &is_last));
	assert_true(is_last);
	assert_int_equal(size, 0);
	assert_true(smtp_bdat_parse(T("86"), &size, &is_last));
	assert_false(is_last);
	assert_int_equal(size, 86);
	assert_false(smtp_bdat_parse(T(""), &size, &is_last));
	assert_false(smtp_bdat_parse(T("-1"), &size, &is_last));
	assert_false(smtp_bdat_parse(T("1 FIRST"), &size, &is_last));
	assert_false(smtp_bdat_parse(T("1 LAST x"), &size, &is_last));
	assert_false(smtp_bdat_parse(T("18446744073709551616"), &size, &is_last));
}

static void
keywords_come_in_the_order_of_ehlo(void **state)
{
	unsigned bits = smtp_extension_list(T("chunking, SIZE\tauth nonsense")), bit;
	size_t   at = 0;
	(void)state;

	assert_string_equal(smtp_extension_next(bits, &at, &bit), "SIZE");
	assert_string_equal(smtp_extension_next(bits, &at, &bit), "AUTH");
	assert_string_equal(smtp_extension_next(bits, &at, &bit), "CHUNKING");
	assert_int_equal(bit, SMTP_CHUNKING);
	assert_null(smtp_extension_next(bits, &at, &bit));
	assert_int_equal(smtp_extension_find(T("nothing")), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_ends_at_lf),
		cmocka_unit_test(verbs_are_known_in_any_case),
		cmocka_unit_test(control_bytes_make_no_command),
		cmocka_unit_test(mail_parameters_are_checked),
		cmocka_unit_test(a_quoted_at_sign_is_no_domain),
		cmocka_unit_test(parameters_of_others_are_refused),
		cmocka_unit_test(without_memory_an_address_is_not_called_wrong),
		cmocka_unit_test(recipient_parameters_are_kept),
		cmocka_unit_test(chunk_sizes_are_whole_numbers),
		cmocka_unit_test(keywords_come_in_the_order_of_ehlo),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
