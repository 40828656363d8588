/* test_smtpd_notify.c - what the postmaster is told of sessions: classes, transcript, limits. */
/* links: smtpd/notify.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "smtpd/session.h"
#include "tests/unit/fake_queue.h"

const char *
client_label(struct session *session)
{
	(void)session;
	return "client.example[192.0.2.9]";
}

struct host {
	struct fake_queue queue;
	struct snapshot  *snapshot;
	struct room       room;
	struct session    session;
};

static void
host_open(struct host *host, const char *settings)
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
	host->room.parameters = snapshot_parameters(host->snapshot);
	host->room.service = "smtp";
	host->room.notify_classes = notify_classes(host->room.parameters);
	host->room.intake.snapshot = host->snapshot;
	host->room.intake.parameters = host->room.parameters;
	host->room.intake.router = router_create(host->snapshot, &error);
	if (host->room.intake.router == NULL)
		fail_msg("%s", error.text);
	host->room.intake.queue = intake_client_create(host->queue.path, "smtp");
	mutex_init(&host->room.notify_limit.lock);
	host->session.room = &host->room;
	host->session.parameters = host->room.parameters;
	transcript_init(&host->session.transcript);
}

static void
host_close(struct host *host)
{
	transcript_free(&host->session.transcript);
	mutex_destroy(&host->room.notify_limit.lock);
	router_destroy(&host->room.intake.router);
	intake_client_destroy(&host->room.intake.queue);
	snapshot_destroy(&host->snapshot);
	fake_queue_stop(&host->queue);
}

static void
refuse(struct host *host, int code, unsigned subject, unsigned detail, const char *text)
{
	struct smtp_reply reply = { .code = code, .text = slice_from(text) };

	reply.status.class = (unsigned char)(code / 100);
	reply.status.subject = (unsigned short)subject;
	reply.status.detail = (unsigned short)detail;
	notify_note_error(&host->session, &reply);
}

static bool
has(const struct host *host, const char *text)
{
	return slice_find(buf_slice(&host->queue.content), slice_from(text)) != SLICE_NOT_FOUND;
}

static void
each_refusal_has_its_class(void **state)
{
	static const struct {
		int         code;
		unsigned    subject, detail;
		const char *text, *class;
	} cases[] = {
		{ 550, 1, 1, "User unknown", "bounce" },
		{ 450, 1, 1, "User unknown", "bounce" },
		{ 451, 3, 0, "<a@b>: Temporary lookup failure", "data" },
		{ 451, 3, 0, "Error: queue file write error", "software" },
		{ 451, 3, 5, "Server configuration error", "software" },
		{ 452, 3, 1, "Insufficient system storage", "resource" },
		{ 500, 5, 2, "Error: command not recognized", "protocol" },
		{ 503, 5, 1, "Error: need RCPT command", "protocol" },
		{ 501, 1, 3, "Bad recipient address syntax", "protocol" },
		{ 554, 7, 1, "Relay access denied", "policy" },
		{ 450, 2, 0, "Greylisted", "policy" },
		{ 550, 1, 8, "Sender address rejected: Domain not found", "policy" },
		{ 552, 3, 4, "Message size exceeds fixed limit", "policy" },
		{ 452, 5, 3, "Error: too many recipients", "policy" },
	};
	static const char *const all[] = { "bounce",   "data",     "policy",
		                           "protocol", "resource", "software" };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t j = 0; j < sizeof(all) / sizeof(all[0]); j++) {
			struct host host;
			char        settings[100];

			snprintf(settings, sizeof(settings), "notify_classes = %s\n", all[j]);
			host_open(&host, settings);
			refuse(&host, cases[i].code, cases[i].subject, cases[i].detail,
			       cases[i].text);
			bool is_wanted = strcmp(all[j], cases[i].class) == 0;
			if ((host.session.trouble != 0) != is_wanted)
				fail_msg("\"%s\" and class %s", cases[i].text, all[j]);
			host_close(&host);
		}
}

static void
the_postmaster_gets_the_session_word_for_word(void **state)
{
	static const char expected[] =
		"Subject: Dakiya SMTP server: errors from client.example[192.0.2.9]\r\n"
		"To: oops@example.org\r\n";
	struct host host;

	(void)state;
	host_open(&host, "notify_classes = protocol\nerror_notice_recipient = oops\n");
	notify_note_answer(&host.session, SLICE("220 mx\r\n"));
	notify_note_command(&host.session, SLICE("FOO \001\xff"));
	notify_note_answer(&host.session, SLICE("500-5.5.2 no\r\n500 5.5.2 really\r\n"));
	notify_note_command(&host.session, SLICE("auth plain AGEAc2VjcmV0"));
	host.session.state = STATE_AUTH;
	notify_note_command(&host.session, SLICE("AGEAc2VjcmV0"));
	refuse(&host, 500, 5, 2, "no");
	notify_forget(&host.session); /* it stays: there is something to tell */
	notify_postmaster(&host.session);
	assert_int_equal(host.queue.commits, 1);
	assert_true(has(&host, expected));
	assert_true(has(&host, "Transcript of session follows.\r\n\r\n"
	                       " Out: 220 mx\r\n"
	                       " In:  FOO ??\r\n"
	                       " Out: 500-5.5.2 no\r\n"
	                       " Out: 500 5.5.2 really\r\n"
	                       " In:  auth plain\r\n"
	                       " In:  (authentication response)\r\n"
	                       "\r\n"));
	assert_false(has(&host, "AGEAc2VjcmV0"));
	assert_true(slice_equal(host.queue.envelope.sender, SLICE("double-bounce@mx.example.org")));
	assert_true((host.queue.envelope.flags & ENVELOPE_DOUBLE_BOUNCE) != 0);
	assert_int_equal(host.queue.recipients[0].dsn_notify, DSN_NOTIFY_NEVER);
	host_close(&host);
}

static void
a_session_without_trouble_is_not_told_and_forgotten(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "notify_classes = policy\n");
	notify_note_command(&host.session, SLICE("NOOP"));
	refuse(&host, 500, 5, 2, "another class");
	assert_true(host.session.transcript.lines.length > 0);
	notify_forget(&host.session);
	assert_int_equal(host.session.transcript.lines.length, 0);
	notify_postmaster(&host.session);
	assert_int_equal(host.queue.commits, 0);
	host_close(&host);
	host_open(&host, "notify_classes =\n");
	notify_note_command(&host.session, SLICE("NOOP"));
	assert_int_equal(host.session.transcript.lines.length, 0);
	host_close(&host);
}

static void
a_long_session_keeps_its_last_lines(void **state)
{
	struct host host;
	char        line[2000];

	(void)state;
	host_open(&host, "notify_classes = policy\n");
	memset(line, '\xff', sizeof(line)); /* the worst: each byte may take more than one */
	for (int i = 0; i < 1000; i++) {
		notify_note_command(&host.session, slice_of(line, (size_t)(i * 7 % 2000)));
		assert_true(host.session.transcript.lines.length <= TRANSCRIPT_MOST);
		assert_false(host.session.transcript.lines.has_failed);
	}
	notify_note_command(&host.session, SLICE("the last"));
	refuse(&host, 554, 7, 1, "no");
	notify_postmaster(&host.session);
	assert_true(has(&host, "(earlier lines are left out)\r\n In:  "));
	assert_true(has(&host, " In:  the last\r\n\r\nFor other details"));
	host_close(&host);
}

static void
strangers_cannot_flood_the_postmaster(void **state)
{
	struct host host;

	(void)state;
	host_open(&host,
	          "notify_classes = policy, bounce\nbounce_notice_recipient = b@x.example\n");
	for (int i = 0; i < 30; i++) {
		refuse(&host, 550, 1, 1, "User unknown");
		notify_postmaster(&host.session);
	}
	assert_int_equal(host.queue.commits, 20);
	assert_true(slice_equal(host.queue.recipients[0].address, SLICE("b@x.example")));
	host.room.notify_limit.since_ms -= 60001; /* a minute later */
	notify_postmaster(&host.session);
	assert_int_equal(host.queue.commits, 21);
	host_close(&host);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_refusal_has_its_class),
		cmocka_unit_test(the_postmaster_gets_the_session_word_for_word),
		cmocka_unit_test(a_session_without_trouble_is_not_told_and_forgotten),
		cmocka_unit_test(a_long_session_keeps_its_last_lines),
		cmocka_unit_test(strangers_cannot_flood_the_postmaster),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
