/* test_milter.c - milters: their list, the packets of each event, answers, what goes wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/milter/inside.h"

static const struct milter_settings defaults = {
	.connect_timeout_ms = 1000,
	.command_timeout_ms = 1000,
	.content_timeout_ms = 1000,
	.default_action = "tempfail",
	.protocol = 6,
	.macros = { [MILTER_MAIL] = "i, {mail_addr} {unknown}" },
	.macro_defaults = "{unknown} = known",
};

/* ---- the list ---- */

static void
test_list(void **state)
{
	struct error        error = ERROR_NONE;
	struct milter_list *list =
		milter_list_create(SLICE("unix:/run/a, inet:127.0.0.1:8891 { inet:[::1]:8892, "
	                                 "{ default_action = 451 4.7.1 not now }, "
	                                 "command_timeout=5s, mail_macros=i }"),
	                           &defaults, &error);

	(void)state;
	assert_non_null(list);
	assert_int_equal(list->count, 3);
	assert_true(milter_list_needs_network(list));
	assert_string_equal(list->milters[0].settings.default_action, "tempfail");
	assert_string_equal(list->milters[2].settings.default_action, "451 4.7.1 not now");
	assert_int_equal(list->milters[2].settings.command_timeout_ms, 5000);
	assert_int_equal(list->milters[2].settings.content_timeout_ms, 1000);
	assert_string_equal(list->milters[2].settings.macros[MILTER_MAIL], "i");
	milter_list_destroy(&list);
	list = milter_list_create(SLICE(" "), &defaults, &error);
	assert_true(milter_list_is_empty(list));
	assert_false(milter_list_needs_network(list));
	milter_list_destroy(&list);
}

static void
test_list_refusals(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "inet:127.0.0.1", "port" },
		{ "unix:", "path" },
		{ "{ unix:a, colour=red }", "there is no setting colour" },
		{ "{ unix:a, command_timeout }", "not name = value" },
		{ "{ unix:a, command_timeout=soon }", "command_timeout is no time" },
		{ "{ unix:a, protocol=7 }", "protocol" },
		{ "{ unix:a, default_action=perhaps }", "default_action" },
		{ "{ unix:a, default_action=250 Ok }", "default_action" },
		{ "unix:a, {}", "which milter" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error error = ERROR_NONE;

		assert_null(milter_list_create(slice_from(rows[i].text), &defaults, &error));
		if (strstr(error.text, rows[i].why) == NULL)
			fail_msg("%s: %s", rows[i].text, error.text);
	}
}

/* ---- a session over memory ---- */

struct talk {
	struct milter_list    *list;
	struct milter_session *session;
	struct channel        *channel;
	struct buf             input, said;
};

static struct slice
macro(void *context, struct slice name)
{
	(void)context;
	if (slice_equal(name, SLICE("i")))
		return SLICE("QUEUEID");
	return slice_equal(name, SLICE("mail_addr")) ? SLICE("a@b.test")
	                                             : (struct slice){ NULL, 0 };
}

static void
hears(struct talk *talk, char letter, struct slice data)
{
	packet_add_u32(&talk->input, (uint32_t)data.length + 1);
	buf_append_byte(&talk->input, letter);
	buf_append(&talk->input, data);
}

/* What was put in with hears is what the filter answers from now on. */
static void
begin(struct talk *talk, uint32_t may, uint32_t wants)
{
	talk->channel->state = CHANNEL_OPEN;
	talk->channel->may = may;
	talk->channel->wants = wants;
	talk->channel->stream = stream_from_memory(buf_slice(&talk->input), 3, &talk->said);
	assert_non_null(talk->channel->stream);
}

static int
setup(void **state)
{
	struct error error = ERROR_NONE;
	struct talk *talk = calloc(1, sizeof(*talk));

	assert_non_null(talk);
	talk->input = BUF(1u << 20);
	talk->said = BUF(1u << 20);
	talk->list = milter_list_create(SLICE("unix:nowhere"), &defaults, &error);
	talk->session = milter_session_create(talk->list, macro, NULL);
	talk->channel = &talk->session->channels[0];
	*state = talk;
	return 0;
}

static int
teardown(void **state)
{
	struct talk *talk = *state;

	milter_session_destroy(&talk->session);
	milter_list_destroy(&talk->list);
	buf_free(&talk->input);
	buf_free(&talk->said);
	free(talk);
	return 0;
}

static void
assert_said(struct talk *talk, struct slice expected)
{
	stream_flush(talk->channel->stream);
	assert_int_equal(talk->said.length, expected.length);
	assert_memory_equal(talk->said.data, expected.data, expected.length);
}

static void
test_packets_of_mail(void **state)
{
	struct talk *talk = *state;

	hears(talk, 'c', SLICE_EMPTY);
	begin(talk, 0, 0);
	struct milter_verdict verdict =
		milter_mail(talk->session, SLICE("<a@b.test>"), SLICE(" SIZE=5  BODY=7BIT"));
	assert_int_equal(verdict.outcome, MILTER_GO_ON);
	assert_said(talk, SLICE("\0\0\0\x31"
	                        "DMi\0QUEUEID\0{mail_addr}\0a@b.test\0{unknown}\0known\0"
	                        "\0\0\0\x1d"
	                        "M<a@b.test>\0SIZE=5\0BODY=7BIT\0"));
}

static void
test_no_event_and_no_answer(void **state)
{
	struct talk *talk = *state;

	begin(talk, 0, NO_RCPT | QUIET_HELO);
	assert_int_equal(milter_helo(talk->session, SLICE("h")).outcome, MILTER_GO_ON);
	assert_int_equal(milter_rcpt(talk->session, SLICE("<x>"), SLICE_EMPTY).outcome,
	                 MILTER_GO_ON);
	assert_said(talk, SLICE("\0\0\0\3Hh\0"));
}

static void
test_answers(void **state)
{
	static const struct {
		char                letter;
		const char         *data;
		enum milter_outcome outcome;
		int                 code;
		const char         *text;
	} rows[] = {
		{ 'c', "", MILTER_GO_ON, 0, "" },
		{ 'a', "", MILTER_GO_ON, 0, "" },
		{ 'd', "", MILTER_DISCARD, 0, "" },
		{ 'r', "", MILTER_REFUSED, 550, "Command rejected" },
		{ 't', "", MILTER_REFUSED, 451, "Service unavailable - try again later" },
		{ '4', "", MILTER_REFUSED, 421, "Server closing connection" },
		{ 'y', "554 5.7.9 no", MILTER_REFUSED, 554, "no" },
		{ 'y', "451 5.7.9 no", MILTER_REFUSED, 451, "no" },
		{ 'y', "550-5.1.1 a\r\n550 5.1.1 b %%", MILTER_REFUSED, 550, "a\nb %" },
		/* what is none: default_action */
		{ 'y', "250 2.0.0 fine", MILTER_REFUSED, 451,
		  "Service unavailable - try again later" },
		{ 'y', "", MILTER_REFUSED, 451, "Service unavailable - try again later" },
		{ 'x', "", MILTER_REFUSED, 451, "Service unavailable - try again later" },
		{ 'h', "", MILTER_REFUSED, 451, "Service unavailable - try again later" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		teardown(state);
		setup(state);
		struct talk *talk = *state;
		hears(talk, 'p', SLICE_EMPTY);
		hears(talk, rows[i].letter,
		      slice_of(rows[i].data, strlen(rows[i].data) + (rows[i].data[0] != '\0')));
		begin(talk, 0, 0);
		struct milter_verdict verdict =
			milter_mail(talk->session, SLICE("<>"), SLICE_EMPTY);
		assert_int_equal(verdict.outcome, rows[i].outcome);
		assert_int_equal(verdict.code, rows[i].code);
		assert_true(verdict.outcome != MILTER_REFUSED ||
		            slice_equal(verdict.text, slice_from(rows[i].text)));
		assert_true(verdict.outcome != MILTER_REFUSED ||
		            verdict.status.class == verdict.code / 100);
	}
}

static void
test_a_failed_filter_stays_failed(void **state)
{
	struct talk *talk = *state;

	begin(talk, 0, 0); /* no answer at all */
	assert_int_equal(milter_mail(talk->session, SLICE("<>"), SLICE_EMPTY).code, 451);
	assert_null(talk->channel->stream);
	milter_message_end(talk->session);
	struct milter_verdict verdict = milter_rcpt(talk->session, SLICE("<a>"), SLICE_EMPTY);
	assert_int_equal(verdict.code, 451);
	assert_true(slice_equal(verdict.text, SLICE("Service unavailable - try again later")));
}

/* ---- content ---- */

static struct slice
one_field(void *context)
{
	(void)context;
	return SLICE("Subject:  a\r\n b\r\n");
}

static ssize_t
short_body(void *context, uint64_t offset, char *data, size_t size, struct error *error)
{
	(void)context;
	(void)size;
	(void)error;
	if (offset > 0)
		return 0;
	memcpy(data, "hi\r\n", 4);
	return 4;
}

static bool
note_edit(void *context, const struct milter_edit *edit, struct error *error)
{
	struct buf *notes = context;

	(void)error;
	buf_append_format(notes, "%d %u %.*s=%.*s\n", (int)edit->kind, edit->index,
	                  SLICE_ARGS(edit->name), SLICE_ARGS(edit->value));
	return true;
}

static void
test_content_and_edits(void **state)
{
	struct talk          *talk = *state;
	struct buf            notes = BUF(10000);
	struct milter_content content = { &notes, one_field, short_body, note_edit };

	for (int i = 0; i < 3; i++) /* header, its end, body */
		hears(talk, 'c', SLICE_EMPTY);
	hears(talk, 'h', SLICE("X-A\0one\0"));
	hears(talk, 'i', SLICE("\0\0\0\2X-B\0two\0"));
	hears(talk, 'm', SLICE("\0\0\1\0X-C\0\0"));
	hears(talk, 'b', SLICE("new"));
	hears(talk, '2', SLICE("<r@x>\0NOTIFY=NEVER\0"));
	hears(talk, '-', SLICE("<s@x>\0"));
	hears(talk, 'e', SLICE("<>\0"));
	hears(talk, 'q', SLICE("odd\0"));
	hears(talk, 'a', SLICE_EMPTY);
	begin(talk, 0x1ff, 0);
	assert_int_equal(milter_message(talk->session, &content).outcome, MILTER_GO_ON);
	assert_said(talk, SLICE("\0\0\0\x0f"
	                        "LSubject\0 a\n b\0"
	                        "\0\0\0\1N"
	                        "\0\0\0\5Bhi\r\n"
	                        "\0\0\0\1E"));
	assert_string_equal(buf_text(&notes), "0 0 X-A=one\n"
	                                      "1 2 X-B=two\n"
	                                      "2 256 X-C=\n"
	                                      "3 0 =new\n"
	                                      "4 0 =<r@x>\n"
	                                      "5 0 =<s@x>\n"
	                                      "6 0 =<>\n"
	                                      "7 0 =odd\n");
	buf_free(&notes);
}

static void
test_an_edit_that_was_not_agreed_on_is_a_failure(void **state)
{
	struct talk          *talk = *state;
	struct buf            notes = BUF(10000);
	struct milter_content content = { &notes, one_field, short_body, note_edit };

	hears(talk, 'e', SLICE("<x@y>\0"));
	begin(talk, 0x3f, NO_HEADERS | NO_BODY | NO_END_OF_HEADER);
	assert_int_equal(milter_message(talk->session, &content).code, 451);
	assert_int_equal(notes.length, 0);
	buf_free(&notes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_list_refusals),
		cmocka_unit_test_setup_teardown(test_packets_of_mail, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_event_and_no_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_failed_filter_stays_failed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_content_and_edits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_edit_that_was_not_agreed_on_is_a_failure,
		                                setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
