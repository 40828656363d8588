/* test_smtp_notify.c - what the postmaster is told of sessions with other hosts. */
/* links: smtp/notify.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "smtp/smtp.h"
#include "tests/unit/fake_queue.h"

struct fixture {
	struct fake_queue     queue;
	struct snapshot      *snapshot;
	struct daemon_context context;
	struct smtp_agent     agent;
	struct session        session;
	struct note          *notes;
};

static void
host_open(struct fixture *host, const char *settings)
{
	char         text[1000];
	struct error error = ERROR_NONE;

	memset(host, 0, sizeof(*host));
	snprintf(text, sizeof(text),
	         "myhostname = mx.example.org\nmyorigin = example.org\nalias_maps =\n%s", settings);
	assert_true(fake_queue_start(&host->queue));
	host->snapshot = snapshot_from_text(text, &error);
	if (host->snapshot == NULL)
		fail_msg("%s", error.text);
	host->context.snapshot = host->snapshot;
	host->agent.parameters = snapshot_parameters(host->snapshot);
	host->agent.service = "smtp";
	if (!notify_open(&host->agent, &host->context, &error))
		fail_msg("%s", error.text);
	if (host->agent.notify_limit != NULL) { /* its queue is the test's */
		intake_client_destroy(&host->agent.intake.queue);
		host->agent.intake.queue = intake_client_create(host->queue.path, "smtp");
	}
	host->session.agent = &host->agent;
	host->session.notes = &host->notes;
	snprintf(host->session.host.relay, sizeof(host->session.host.relay),
	         "mx.far.example[192.0.2.9]:25");
	transcript_init(&host->session.transcript);
}

static void
host_close(struct fixture *host)
{
	notify_send(NULL, &host->notes);
	transcript_free(&host->session.transcript);
	notify_close(&host->agent);
	snapshot_destroy(&host->snapshot);
	fake_queue_stop(&host->queue);
}

static void
only_what_breaks_the_protocol_is_trouble(void **state)
{
	static const struct {
		int  code;
		bool is_trouble;
	} cases[] = { { 250, true },  { 354, true },  { 421, false }, { 450, false },
		      { 499, false }, { 500, true },  { 503, true },  { 509, true },
		      { 510, false }, { 550, false }, { 554, false }, { 555, true } };
	struct fixture host;

	(void)state;
	host_open(&host, "notify_classes = protocol\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		notify_refusal(&host.session, cases[i].code);
		if ((host.session.trouble != 0) != cases[i].is_trouble)
			fail_msg("%d", cases[i].code);
		notify_keep(&host.session);
	}
	notify_trouble(&host.session, TROUBLE_DATA); /* not one of his classes */
	assert_int_equal(host.session.trouble, 0);
	host_close(&host);
}

static void
without_classes_nothing_is_opened_or_kept(void **state)
{
	struct fixture host;

	(void)state;
	host_open(&host, "");
	assert_null(host.agent.intake.router);
	notify_command(&host.session, STEP_EHLO, SLICE("EHLO mx.example.org"));
	notify_reply(&host.session, STEP_EHLO, SLICE("500 what?\r\n"));
	notify_refusal(&host.session, 500);
	assert_int_equal(host.session.transcript.lines.length, 0);
	notify_keep(&host.session);
	assert_null(host.notes);
	host_close(&host);
}

static void
the_postmaster_gets_the_session_without_secrets(void **state)
{
	static const char expected[] =
		"\r\n\r\nUnexpected response from mx.far.example[192.0.2.9]:25.\r\n\r\n"
		"Transcript of session follows.\r\n\r\n"
		" In:  220-mx.far.example\r\n"
		" In:  220 ESMTP?\r\n"
		" Out: AUTH PLAIN\r\n"
		" In:  334 (challenge)\r\n"
		" Out: (authentication response)\r\n"
		" In:  501 5.5.2 no\r\n"
		"\r\nFor other details, see the local mail logfile\r\n";
	struct fixture host;

	(void)state;
	host_open(&host, "notify_classes = protocol, data\n");
	notify_reply(&host.session, STEP_GREETING,
	             SLICE("220-mx.far.example\r\n220 ESMTP\x01\r\n"));
	notify_command(&host.session, STEP_AUTH, SLICE("AUTH PLAIN AGFsaWNlAHNlY3JldA=="));
	notify_reply(&host.session, STEP_AUTH, SLICE("334 c2VjcmV0\r\n"));
	notify_command(&host.session, STEP_AUTH, SLICE("AGFsaWNlAHNlY3JldA=="));
	notify_reply(&host.session, STEP_AUTH, SLICE("501 5.5.2 no\r\n"));
	notify_refusal(&host.session, 501);
	notify_keep(&host.session);
	assert_int_equal(host.session.transcript.lines.length, 0);
	assert_int_equal(host.queue.commits, 0); /* the results come first */
	notify_send(&host.agent, &host.notes);
	assert_null(host.notes);
	assert_int_equal(host.queue.commits, 1);
	struct slice content = buf_slice(&host.queue.content);
	assert_true(slice_ends_with(content, slice_from(expected)));
	assert_true(slice_find(content, SLICE("Subject: Dakiya SMTP client: errors from "
	                                      "mx.far.example[192.0.2.9]:25\r\n")) !=
	            SLICE_NOT_FOUND);
	assert_true(slice_equal(host.queue.recipients[0].address, SLICE("postmaster@example.org")));
	assert_true(slice_equal(host.queue.envelope.sender, SLICE("double-bounce@mx.example.org")));
	host_close(&host);
}

static void
trouble_with_a_notice_is_not_told(void **state)
{
	struct fixture host;

	(void)state;
	host_open(&host, "notify_classes = protocol\n");
	host.session.carries_notice = true;
	notify_refusal(&host.session, 500);
	notify_keep(&host.session);
	assert_null(host.notes);
	host_close(&host);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_breaks_the_protocol_is_trouble),
		cmocka_unit_test(without_classes_nothing_is_opened_or_kept),
		cmocka_unit_test(the_postmaster_gets_the_session_without_secrets),
		cmocka_unit_test(trouble_with_a_notice_is_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
