/* test_pipe.c - pipe's arguments in master.cf, their macros, and what a command reads. */
/* links: pipe/expand.c pipe/content.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "pipe/pipe.h"

/* ---- master.cf ---- */

static void
assert_report(const char *text, const char *expected)
{
	struct arena          arena = ARENA(512u * 1024);
	struct pipe_arguments arguments;
	struct report         report = REPORT_NONE;
	struct buf            out = BUF(10000);

	bool is_good = pipe_arguments_parse(slice_from(text), "m", 3, &arena, &arguments, &report);
	report_append(&report, false, &out);
	assert_string_equal(buf_text(&out), expected);
	assert_int_equal(is_good, expected[0] == '\0');
	buf_free(&out);
	report_free(&report);
	arena_reset(&arena);
}

static void
arguments_are_read_as_postfix_has_them(void **state)
{
	struct arena          arena = ARENA(512u * 1024);
	struct pipe_arguments arguments;
	struct report         report = REPORT_NONE;

	(void)state;
	assert_true(pipe_arguments_parse(
		SLICE("flags=DRhu user=vmail:mail directory=/tmp chroot=/srv null_sender= "
	              "size=1000 "
	              "eol=\\r\\n\\015x argv=/bin/x -o user=y {a b} ${sender} -- $recipient"),
		"m", 1, &arena, &arguments, &report));
	assert_int_equal(arguments.flags,
	                 PIPE_DELIVERED | PIPE_RETURN_PATH | PIPE_FOLD_DOMAIN | PIPE_FOLD_LOCAL);
	assert_string_equal(arguments.user, "vmail:mail");
	assert_string_equal(arguments.directory, "/tmp");
	assert_string_equal(arguments.root, "/srv");
	assert_string_equal(arguments.null_sender, "");
	assert_int_equal(arguments.size_limit, 1000);
	assert_true(slice_equal(arguments.eol, SLICE("\r\n\rx")));
	static const char *const words[] = { "/bin/x",    "-o", "user=y",    "a b",
		                             "${sender}", "--", "$recipient" };
	assert_int_equal(arguments.argc, 7);
	for (size_t i = 0; i < 7; i++)
		assert_string_equal(arguments.argv[i], words[i]);
	assert_null(arguments.argv[7]);
	assert_true(pipe_arguments_parse(SLICE("user=a flags=BFOXq.> argv=x"), "m", 1, &arena,
	                                 &arguments, &report));
	assert_int_equal(arguments.flags, PIPE_BLANK_LINE | PIPE_FROM_LINE | PIPE_ORIGINAL |
	                                          PIPE_FINAL | PIPE_QUOTE | PIPE_DOTS |
	                                          PIPE_FROM_QUOTE);
	assert_string_equal(arguments.null_sender, "MAILER-DAEMON");
	assert_true(slice_equal(arguments.eol, SLICE("\n")));
	arena_reset(&arena);
	report_free(&report);
}

static void
mistakes_are_told_with_what_would_be_right(void **state)
{
	(void)state;
	assert_report("user=a argv=/bin/x", "");
	assert_report("", "m:3: error: pipe: argv= with the command and its arguments is missing\n"
	                  "m:3: error: pipe: user= is missing: who the command runs as\n");
	assert_report("argv=/bin/x",
	              "m:3: error: pipe: user= is missing: who the command runs as\n");
	assert_report("user=a argv=", "m:3: error: pipe: argv= names no program\n");
	assert_report(
		"user=a flags=RZ argv=/bin/x",
		"m:3: error: pipe: flags=: there is no flag \"Z\"; B D F O R X h q u . > are\n");
	assert_report("user=a flag=R argv=/bin/x",
	              "m:3: error: pipe: \"flag\" is none of flags= user= directory= chroot= "
	              "null_sender= size= eol= argv=; did you mean flags=\n");
	assert_report("user=a directory=tmp size=1k eol=\\9 argv=/bin/x",
	              "m:3: error: pipe: directory=tmp: the path must begin with /\n"
	              "m:3: error: pipe: size=1k: not a number of bytes\n"
	              "m:3: error: pipe: eol=: \"\\9\" is no character; \\r, \\n, \\015 are\n");
	assert_report("user=a argv=/bin/x ${recipent} $$x ${a?b}",
	              "m:3: error: pipe: argv=: there is no ${recipent}, did you mean "
	              "${recipient}; a $ itself is $$\n"
	              "m:3: error: pipe: argv=: there is no ${a?b}; a $ itself is $$\n");
	assert_report("user=a argv=/bin/${user}",
	              "m:3: error: pipe: argv=: the program itself must not come from a macro\n");
	assert_report("user=a argv=/bin/x {a b", "m:3: error: pipe: a } is missing\n");
	assert_report("user=a argv=/bin/x $",
	              "m:3: error: pipe: argv=: there is no ${}; a $ itself "
	              "is $$\n");
}

static void
user_must_have_no_rights_of_root_or_the_mail_system(void **state)
{
	struct parameters parameters = { .mail_owner = "70000:70001",
		                         .net_owner = "70002:70001",
		                         .auth_owner = "70003:70001",
		                         .dns_owner = "70004:70005" };
	struct owner      owner;
	struct error      error = ERROR_NONE;

	(void)state;
	assert_int_equal(PIPE_USER_FOUND,
	                 pipe_user_find("71000:71001", &parameters, &owner, &error));
	assert_int_equal(owner.uid, 71000);
	assert_int_equal(owner.gid, 71001);
	assert_int_equal(PIPE_USER_FOUND, pipe_user_find("nobody", &parameters, &owner, &error));
	assert_int_equal(PIPE_USER_FOUND,
	                 pipe_user_find("nobody:71001", &parameters, &owner, &error));
	assert_int_equal(owner.gid, 71001);
	assert_int_equal(PIPE_USER_REFUSED, pipe_user_find("root", &parameters, &owner, &error));
	assert_string_equal(error.text, "must not be root, nor have root's group");
	assert_int_equal(PIPE_USER_REFUSED,
	                 pipe_user_find("nobody:root", &parameters, &owner, &error));
	assert_int_equal(PIPE_USER_REFUSED, pipe_user_find("70003:5", &parameters, &owner, &error));
	assert_string_equal(error.text, "must not be auth_owner");
	assert_int_equal(PIPE_USER_REFUSED,
	                 pipe_user_find("71000:70001", &parameters, &owner, &error));
	assert_string_equal(error.text, "must not have the group of mail_owner");
	assert_int_equal(PIPE_USER_MISSING,
	                 pipe_user_find("nobody:no-such-group", &parameters, &owner, &error));
	assert_string_equal(error.text, "there is no group \"no-such-group\"");
	assert_int_equal(PIPE_USER_MISSING,
	                 pipe_user_find("no-such-user", &parameters, &owner, &error));
}

/* ---- a delivery ---- */

struct scene {
	struct pipe_room      room;
	struct agent_job      job;
	struct pipe_delivery  delivery;
	struct pipe_recipient recipients[3];
	struct arena          arena;
};

static struct scene *
scene_make(const char *arguments, const char *content)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	struct report report = REPORT_NONE;
	char          text[1000];

	snprintf(text, sizeof(text), "user=a %s", arguments);
	assert_true(pipe_arguments_parse(slice_from(text), "m", 1, &scene->room.arena,
	                                 &scene->room.arguments, &report));
	report_free(&report);
	scene->room.delimiters = "+";
	scene->room.service = "list";
	scene->job.message.file = -1;
	scene->job.message.content = slice_from(content);
	scene->job.message.queue_id = SLICE("4Tabcdez1");
	scene->job.message.nexthop = SLICE("Next.Hop");
	scene->job.envelope.sender = SLICE("S@Y.test");
	scene->job.envelope.client_name = SLICE("c.test");
	scene->job.envelope.client_address = SLICE("192.0.2.1");
	scene->job.envelope.sasl_username = SLICE("me");
	scene->delivery = (struct pipe_delivery){ .room = &scene->room,
		                                  .job = &scene->job,
		                                  .recipients = scene->recipients,
		                                  .count = 2 };
	scene->recipients[0].message.address = SLICE("A.b+Ext@X.test");
	scene->recipients[1].message.address = SLICE("c d@x.test");
	scene->recipients[1].message.original = SLICE("orig@x.test");
	scene->recipients[2].message.address = SLICE("-e@x.test");
	return scene;
}

static void
scene_free(struct scene *scene)
{
	arena_reset(&scene->room.arena);
	arena_reset(&scene->arena);
	free(scene);
}

static void
assert_argv(const char *arguments, size_t count, const char *expected)
{
	struct scene          *scene = scene_make(arguments, "A: b\r\n\r\nhello\r\n");
	struct pipe_recipient *list[] = { &scene->recipients[0], &scene->recipients[1] };
	const char *const     *argv = expand_argv(&scene->delivery, list, count, &scene->arena);
	struct buf             out = BUF(10000);

	assert_non_null(argv);
	for (; *argv != NULL; argv++)
		buf_append_format(&out, "[%s]", *argv);
	assert_string_equal(buf_text(&out), expected);
	buf_free(&out);
	scene_free(scene);
}

static void
macros_are_filled_in_and_repeated(void **state)
{
	(void)state;
	assert_argv("argv=x -f ${sender} -- ${recipient}", 2,
	            "[x][-f][S@Y.test][--][A.b+Ext@X.test][c d@x.test]");
	assert_argv("argv=x to=$user:$(domain) ${extension} ${mailbox}", 2,
	            "[x][to=A.b:X.test][to=c d:x.test][Ext][][A.b+Ext][c d]");
	assert_argv("argv=x ${original_recipient}", 2, "[x][A.b+Ext@X.test][orig@x.test]");
	assert_argv("flags=hu argv=x ${recipient} ${user} ${domain} ${nexthop} ${sender}", 1,
	            "[x][a.b+ext@x.test][a.b][x.test][next.hop][S@Y.test]");
	assert_argv("flags=q argv=x ${recipient} ${mailbox}", 2,
	            "[x][A.b+Ext@X.test][\"c d\"@x.test][A.b+Ext][c d]");
	assert_argv("argv=x $queue_id $size $$HOME$$ ${client_hostname}[${client_address}]", 1,
	            "[x][4Tabcdez1][15][$HOME$][c.test[192.0.2.1]]");
	assert_argv("argv=x ${sasl_username} ${sasl_method} ${envid} ${client_port}", 1,
	            "[x][me][][][]");
}

static void
null_sender_has_a_name(void **state)
{
	static const char *const rows[][2] = { { "argv=x ${sender}", "MAILER-DAEMON" },
		                               { "null_sender= argv=x ${sender}", "" },
		                               { "null_sender=<> argv=x ${sender}", "<>" } };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct scene          *scene = scene_make(rows[i][0], "\r\n");
		struct pipe_recipient *list[] = { &scene->recipients[0] };

		scene->job.envelope.sender = SLICE_EMPTY;
		const char *const *argv = expand_argv(&scene->delivery, list, 1, &scene->arena);
		assert_string_equal(argv[1], rows[i][1]);
		scene_free(scene);
	}
}

/* What an address holds is never expanded, and never an option that master.cf did not write. */
static void
addresses_are_data(void **state)
{
	struct scene          *scene = scene_make("argv=x ${recipient} a-${user} -${user}", "\r\n");
	struct pipe_recipient *list[] = { &scene->recipients[2] };

	(void)state;
	scene->recipients[2].message.address = SLICE("${sender}`id`$(x);|&\"'\\@x.test");
	const char *const *argv = expand_argv(&scene->delivery, list, 1, &scene->arena);
	assert_string_equal(argv[1], "${sender}`id`$(x);|&\"'\\@x.test");
	assert_false(expand_makes_option(&scene->delivery, list[0], &scene->arena));
	scene->recipients[2].message.address = SLICE("-oQ/tmp@x.test");
	assert_true(expand_makes_option(&scene->delivery, list[0], &scene->arena));
	assert_false(expand_makes_option(&scene->delivery, NULL, &scene->arena));
	scene_free(scene);

	scene = scene_make("argv=x ${sender} a${recipient} -${user}", "\r\n");
	scene->job.envelope.sender = SLICE("-bs@y.test");
	assert_true(expand_makes_option(&scene->delivery, NULL, &scene->arena));
	assert_false(expand_makes_option(&scene->delivery, &scene->recipients[2], &scene->arena));
	scene_free(scene);
}

/* ---- content ---- */

static struct buf
read_all(struct scene *scene)
{
	struct pipe_content content;
	struct buf          out = BUF(10u << 20);
	struct slice        piece;
	struct error        error = ERROR_NONE;

	assert_true(pipe_content_init(&content, &scene->delivery, &scene->recipients[0]));
	do {
		assert_true(pipe_content_next(&content, &piece, &error));
		buf_append(&out, piece);
	} while (piece.length > 0);
	pipe_content_free(&content);
	return out;
}

static void
assert_content(const char *arguments, const char *content, const char *expected)
{
	struct scene *scene = scene_make(arguments, content);
	struct buf    out = read_all(scene);

	assert_string_equal(buf_text(&out), expected);
	buf_free(&out);
	scene_free(scene);
}

static void
content_is_as_flags_ask(void **state)
{
	const char *text = "A: b\r\n\r\n.dot\r\n..\r\nFrom x\r\nend";

	(void)state;
	assert_content("argv=x", text, "A: b\n\n.dot\n..\nFrom x\nend\n");
	assert_content("flags=. argv=x", text, "A: b\n\n..dot\n...\nFrom x\nend\n");
	assert_content("flags=> argv=x", text, "A: b\n\n.dot\n..\n>From x\nend\n");
	assert_content("flags=B argv=x", text, "A: b\n\n.dot\n..\nFrom x\nend\n\n");
	assert_content("flags=.>B eol=\\r\\n argv=x", text,
	               "A: b\r\n\r\n..dot\r\n...\r\n>From x\r\nend\r\n\r\n");
	assert_content("flags=R argv=x", text,
	               "Return-Path: <S@Y.test>\nA: b\n\n.dot\n..\nFrom x\nend\n");
	assert_content("flags=DOR eol=\\r\\n argv=x", "A: b\r\n\r\nx\r\n",
	               "Return-Path: <S@Y.test>\r\nX-Original-To: A.b+Ext@X.test\r\n"
	               "Delivered-To: A.b+Ext@X.test\r\nA: b\r\n\r\nx\r\n");
	struct scene *scene = scene_make("flags=F argv=x", "A: b\r\n\r\nx\r\n");
	struct buf    out = read_all(scene);
	assert_true(slice_starts_with(buf_slice(&out), SLICE("From S@Y.test ")));
	assert_true(slice_ends_with(buf_slice(&out), SLICE("\nA: b\n\nx\n")));
	assert_int_equal(slice_find_byte(buf_slice(&out), '\n'), 14 + 24);
	buf_free(&out);
	scene_free(scene);
}

/* Dots, "From " and line ends do not depend on where a piece of 32 KB ends. */
static void
content_does_not_depend_on_pieces(void **state)
{
	struct buf text = BUF(1u << 20), expected = BUF(1u << 20);

	(void)state;
	for (size_t shift = 0; shift < 20; shift++) {
		buf_clear(&text);
		buf_clear(&expected);
		for (size_t i = 0; i < shift; i++) {
			buf_append_byte(&text, 'x');
			buf_append_byte(&expected, 'x');
		}
		while (text.length < 70000) {
			buf_append_text(&text, "\r\n.\r\nFrom y\r\nFro");
			buf_append_text(&expected, "\r\n..\r\n>From y\r\nFro");
		}
		buf_append_text(&expected, "\r\n");
		assert_content("flags=.> eol=\\r\\n argv=x", buf_text(&text), buf_text(&expected));
	}
	buf_free(&text);
	buf_free(&expected);
}

static void
control_byte_never_gets_into_a_field(void **state)
{
	struct scene       *scene = scene_make("flags=R argv=x", "A: b\r\n\r\n");
	struct pipe_content content;
	struct slice        piece;
	struct error        error = ERROR_NONE;

	(void)state;
	scene->job.envelope.sender = SLICE("a\nBcc: x@y");
	assert_true(pipe_content_init(&content, &scene->delivery, &scene->recipients[0]));
	assert_false(pipe_content_next(&content, &piece, &error));
	assert_string_equal(error.text, "an address holds a control character");
	pipe_content_free(&content);
	scene_free(scene);
}

static void
loop_is_seen_in_the_header(void **state)
{
	struct scene *scene = scene_make("flags=D argv=x", "Delivered-To: a@x.test\r\n\r\n"
	                                                   "Delivered-To: b@x.test\r\n");
	bool          was = false;

	(void)state;
	assert_true(pipe_was_delivered_to(&scene->delivery, SLICE("A@x.test"), &was, NULL));
	assert_true(was);
	assert_true(pipe_was_delivered_to(&scene->delivery, SLICE("b@x.test"), &was, NULL));
	assert_false(was);
	scene_free(scene);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arguments_are_read_as_postfix_has_them),
		cmocka_unit_test(mistakes_are_told_with_what_would_be_right),
		cmocka_unit_test(user_must_have_no_rights_of_root_or_the_mail_system),
		cmocka_unit_test(macros_are_filled_in_and_repeated),
		cmocka_unit_test(null_sender_has_a_name),
		cmocka_unit_test(addresses_are_data),
		cmocka_unit_test(content_is_as_flags_ask),
		cmocka_unit_test(content_does_not_depend_on_pieces),
		cmocka_unit_test(control_byte_never_gets_into_a_field),
		cmocka_unit_test(loop_is_seen_in_the_header),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
