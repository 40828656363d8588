/* test_bounce.c - bounce: who is told, and the notice word for word, against a queue of the test.
 */
/* links: bounce/kind.c bounce/report.c bounce/returned.c bounce/send.c */
/* links: bounce/template.c bounce/text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "bounce/notice.h"
#include "tests/unit/fake_queue.h"

#define ORIGINAL "Received: by mx\r\nFrom: s@far.example\r\nSubject: hello\r\n\r\nThe body.\r\n"

struct host {
	struct fake_queue  queue;
	struct snapshot   *snapshot;
	struct notice_room room;
	struct agent_job   job;
	struct buf         recipients;
	struct error       error;
};

static void
host_open(struct host *host, const char *more)
{
	char         text[2000];
	struct error error = ERROR_NONE;

	setenv("TZ", "UTC0", 1);
	tzset();
	memset(host, 0, sizeof(*host));
	snprintf(text, sizeof(text), "myhostname = mx.example.org\nmyorigin = example.org\n%s",
	         more);
	assert_true(fake_queue_start(&host->queue));
	host->snapshot = snapshot_from_text(text, &error);
	if (host->snapshot == NULL)
		fail_msg("%s", error.text);
	host->room.intake.snapshot = host->snapshot;
	host->room.intake.parameters = snapshot_parameters(host->snapshot);
	host->room.intake.router = router_create(host->snapshot, &error);
	if (host->room.intake.router == NULL)
		fail_msg("%s", error.text);
	if (!notice_room_init(&host->room, host->snapshot, &error))
		fail_msg("%s", error.text);
	host->room.intake.queue = intake_client_create(host->queue.path, "bounce");
	host->recipients = BUF(65536);
	host->job.message = msg_job_clear();
	host->job.message.queue_id = SLICE("ORIGINAL");
	host->job.message.kind = JOB_NOTICE_FAILURE;
	host->job.message.content = SLICE(ORIGINAL);
	host->job.envelope.sender = SLICE("s@far.example");
	host->job.envelope.arrival_us = INT64_C(1795511702000000);
	host->job.envelope.message_id = SLICE("<1@far.example>");
}

static void
host_close(struct host *host)
{
	notice_room_free(&host->room);
	router_destroy(&host->room.intake.router);
	intake_client_destroy(&host->room.intake.queue);
	snapshot_destroy(&host->snapshot);
	fake_queue_stop(&host->queue);
	buf_free(&host->recipients);
}

static void
add(struct host *host, const struct msg_job_recipient *recipient, const struct msg_outcome *outcome)
{
	struct msg_job_recipient copy = *recipient;
	struct buf               list = BUF(65536);

	assert_true(msg_outcome_append(&list, outcome));
	copy.outcome = buf_slice(&list);
	assert_true(msg_job_recipient_append(&host->recipients, &copy));
	buf_free(&list);
	host->job.message.recipients = buf_slice(&host->recipients);
}

static const struct msg_outcome unknown_user = {
	.action = OUTCOME_FAILED,
	.status = SLICE("5.1.1"),
	.reason = SLICE("host mx.far.example[192.0.2.9] said: 550 5.1.1 no such user "
	                "(in reply to RCPT TO command)"),
	.remote_mta = SLICE("mx.far.example"),
	.diagnostic = SLICE("550 5.1.1 no such user"),
};

static void
add_simple(struct host *host, const char *address, unsigned notify)
{
	struct msg_job_recipient recipient = { .address = slice_from(address),
		                               .dsn_notify = notify };

	add(host, &recipient, &unknown_user);
}

static void
tell(struct host *host, enum notice_result expected)
{
	if (notice_send(&host->room, &host->job, &host->error) != expected)
		fail_msg("%s", host->error.text);
}

/* The notice without what differs each time: dates, ids, the boundary (shown as BOUNDARY). */
static const char *
normal(struct host *host, struct buf *out)
{
	struct slice rest = buf_slice(&host->queue.content), line;
	size_t       at = slice_find(rest, SLICE("boundary=\"=_"));
	struct slice boundary = slice_of(rest.data + at + 10, 34);

	assert_true(at != SLICE_NOT_FOUND);
	while (slice_next_part(&rest, '\n', &line)) {
		if (slice_starts_with(line, SLICE("Date:")) ||
		    slice_starts_with(line, SLICE("\tid ")) ||
		    slice_starts_with(line, SLICE("Message-Id:")))
			continue;
		size_t found = slice_find(line, boundary);
		if (found != SLICE_NOT_FOUND) {
			buf_append(out, slice_first(line, found));
			buf_append_text(out, "BOUNDARY");
			line = slice_from_offset(line, found + boundary.length);
		}
		if (line.length > 0 && line.data[line.length - 1] == '\r')
			line.length--;
		buf_append(out, line);
		if (rest.length > 0)
			buf_append_byte(out, '\n');
	}
	return buf_text(out);
}

static void
assert_has(struct host *host, const char *text)
{
	if (slice_find(buf_slice(&host->queue.content), slice_from(text)) == SLICE_NOT_FOUND)
		fail_msg("\"%s\" is not in\n%s", text, buf_text(&host->queue.content));
}

static void
assert_has_not(struct host *host, const char *text)
{
	if (slice_find(buf_slice(&host->queue.content), slice_from(text)) != SLICE_NOT_FOUND)
		fail_msg("\"%s\" is in\n%s", text, buf_text(&host->queue.content));
}

/* ---- the notice ---- */

static const char expected_failure[] =
	"Received: by mx.example.org (Dakiya)\n"
	"From: Mail Delivery System <MAILER-DAEMON@example.org>\n"
	"Subject: Undelivered Mail Returned to Sender\n"
	"To: s@far.example\n"
	"Auto-Submitted: auto-replied\n"
	"MIME-Version: 1.0\n"
	"Content-Type: multipart/report; report-type=delivery-status;\n"
	"\tboundary=\"BOUNDARY\"\n"
	"\n"
	"This is a MIME-encapsulated message.\n"
	"\n"
	"--BOUNDARY\n"
	"Content-Description: Notification\n"
	"Content-Type: text/plain; charset=us-ascii\n"
	"\n"
	"This is the mail system at host mx.example.org.\n"
	"\n"
	"Your message did not reach everybody that you sent it to. The addresses below\n"
	"did not get it, each with the reason; nothing more will be tried for them.\n"
	"\n"
	"Please check the addresses first. If you need help, write to <postmaster> and\n"
	"send this report along; you may leave out your own text at its end.\n"
	"\n"
	"<r@far.example> (expanded from <list@example.org>): host\n"
	"    mx.far.example[192.0.2.9] said: 550 5.1.1 no such user (in reply to RCPT\n"
	"    TO command)\n"
	"\n"
	"--BOUNDARY\n"
	"Content-Description: Delivery report\n"
	"Content-Type: message/delivery-status\n"
	"\n"
	"Reporting-MTA: dns; mx.example.org\n"
	"Original-Envelope-Id: env=1\n"
	"X-Dakiya-Queue-ID: ORIGINAL\n"
	"X-Dakiya-Sender: rfc822; s@far.example\n"
	"Arrival-Date: Tue, 24 Nov 2026 09:15:02 +0000\n"
	"\n"
	"Original-Recipient: rfc822; List@example.org\n"
	"Final-Recipient: rfc822; r@far.example\n"
	"Action: failed\n"
	"Status: 5.1.1\n"
	"Remote-MTA: dns; mx.far.example\n"
	"Diagnostic-Code: smtp; 550 5.1.1 no such user\n"
	"\n"
	"--BOUNDARY\n"
	"Content-Description: Undelivered Message\n"
	"Content-Type: message/rfc822\n"
	"\n"
	"Received: by mx\n"
	"From: s@far.example\n"
	"Subject: hello\n"
	"\n"
	"The body.\n"
	"\n"
	"--BOUNDARY--";

static void
a_failure_notice_has_every_part_and_field(void **state)
{
	struct msg_job_recipient recipient = { .address = SLICE("r@far.example"),
		                               .original = SLICE("list@example.org"),
		                               .dsn_orcpt = SLICE("rfc822;List@example.org") };
	struct buf               out = BUF(65536);
	struct host              host;

	(void)state;
	host_open(&host, "");
	host.job.envelope.dsn_envid = SLICE("env=1");
	add(&host, &recipient, &unknown_user);
	tell(&host, NOTICE_DONE);
	assert_string_equal(normal(&host, &out), expected_failure);
	assert_int_equal(host.queue.envelope.sender.length, 0);
	assert_int_equal(host.queue.envelope.flags, ENVELOPE_IS_NOTICE);
	assert_int_equal(host.queue.recipient_count, 1);
	assert_int_equal(host.queue.settles, 1);
	assert_true(slice_equal(host.queue.recipients[0].address, SLICE("s@far.example")));
	buf_free(&out);
	host_close(&host);
}

static void
a_delay_notice_says_until_when_and_returns_the_header(void **state)
{
	struct host              host;
	struct msg_job_recipient recipient = { .address = SLICE("r@far.example") };
	struct msg_outcome       outcome = {
		      .action = OUTCOME_DEFERRED,
		      .status = SLICE("4.4.1"),
		      .reason = SLICE("connect to mx.far.example[192.0.2.9]:25: Connection refused"),
	};

	(void)state;
	host_open(&host, "");
	host.job.message.kind = JOB_NOTICE_DELAY;
	host.job.message.retry_until_us = INT64_C(1795943702000000);
	add(&host, &recipient, &outcome);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Subject: Delayed Mail (still being retried)\r\n");
	assert_has(&host, "Action: delayed\r\nStatus: 4.4.1\r\nDiagnostic-Code: X-Dakiya; "
	                  "connect to mx.far.example[192.0.2.9]:25: Connection\r\n    refused\r\n"
	                  "Will-Retry-Until: Sun, 29 Nov 2026 09:15:02 +0000\r\n");
	assert_has(&host, "Content-Description: Delayed Message Headers\r\n"
	                  "Content-Type: text/rfc822-headers\r\n\r\nReceived: by mx\r\n");
	assert_has_not(&host, "The body.");
	host_close(&host);
}

static void
a_success_notice_goes_out_only_when_asked_for(void **state)
{
	struct msg_job_recipient asks = { .address = SLICE("a@far.example"),
		                          .dsn_notify = DSN_NOTIFY_SUCCESS };
	struct msg_job_recipient relayed = { .address = SLICE("b@far.example"),
		                             .dsn_notify = DSN_NOTIFY_SUCCESS };
	struct msg_job_recipient silent = { .address = SLICE("c@far.example") };
	struct msg_outcome       outcome = { .action = OUTCOME_DELIVERED,
		                             .status = SLICE("2.0.0"),
		                             .relay = SLICE("virtual"),
		                             .reason = SLICE("delivered to maildir") };
	struct host              host;

	(void)state;
	host_open(&host, "");
	host.job.message.kind = JOB_NOTICE_SUCCESS;
	add(&host, &asks, &outcome);
	outcome.action = OUTCOME_RELAYED;
	outcome.relay = SLICE("192.0.2.9[192.0.2.9]:25");
	outcome.remote_mta = SLICE("192.0.2.9");
	outcome.reason = outcome.diagnostic = SLICE("250 taken");
	add(&host, &relayed, &outcome);
	outcome.action = OUTCOME_RELAYED_DSN;
	relayed.address = SLICE("d@far.example");
	add(&host, &relayed, &outcome);
	add(&host, &silent, &outcome);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Subject: Successful Mail Delivery Report\r\n");
	assert_has(&host, "Final-Recipient: rfc822; a@far.example\r\nAction: delivered\r\n");
	assert_has(&host, "Final-Recipient: rfc822; b@far.example\r\nAction: relayed\r\n"
	                  "Status: 2.0.0\r\nRemote-MTA: dns; [192.0.2.9]\r\n"
	                  "Diagnostic-Code: smtp; 250 taken\r\n");
	assert_has(&host, "<a@far.example>: delivery via virtual: delivered to maildir\r\n");
	assert_has(&host, "Diagnostic-Code: X-Dakiya; delivery via virtual: delivered to maildir");
	assert_has(&host, "<b@far.example>: delivery via 192.0.2.9[192.0.2.9]:25: 250 taken\r\n");
	assert_has_not(&host, "c@far.example");
	assert_has_not(&host, "d@far.example");
	host_close(&host);
}

/* ---- who is told ---- */

static void
notify_decides_where_it_was_given(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	add_simple(&host, "never@far.example", DSN_NOTIFY_NEVER);
	add_simple(&host, "success@far.example", DSN_NOTIFY_SUCCESS | DSN_NOTIFY_DELAY);
	tell(&host, NOTICE_DONE);
	assert_int_equal(host.queue.commits, 0);
	add_simple(&host, "failure@far.example", DSN_NOTIFY_FAILURE);
	tell(&host, NOTICE_DONE);
	assert_int_equal(host.queue.commits, 1);
	assert_has(&host, "<failure@far.example>:");
	assert_has_not(&host, "never@far.example");
	assert_has_not(&host, "success@far.example");
	host_close(&host);
}

static void
nobody_is_told_of_a_notice_unless_the_postmaster_wants_it(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	host.job.envelope.sender = SLICE("");
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_int_equal(host.queue.commits, 0);
	host_close(&host);

	host_open(&host, "notify_classes = resource, 2bounce\n"
	                 "2bounce_notice_recipient = admin\n");
	host.job.envelope.sender = SLICE("");
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_int_equal(host.queue.commits, 1);
	assert_has(&host,
	           "Subject: Postmaster Copy: Undelivered Mail\r\nTo: admin@example.org\r\n");
	assert_true(slice_equal(host.queue.envelope.sender, SLICE("double-bounce@mx.example.org")));
	assert_true(slice_equal(host.queue.recipients[0].address, SLICE("admin@example.org")));
	assert_int_equal(host.queue.envelope.flags, ENVELOPE_IS_NOTICE | ENVELOPE_DOUBLE_BOUNCE);
	host_close(&host);
}

static void
a_double_bounce_and_the_delay_of_a_notice_end_here(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "notify_classes = 2bounce\n");
	add_simple(&host, "r@far.example", 0);
	host.job.envelope.sender = SLICE("double-bounce@mx.example.org");
	tell(&host, NOTICE_DONE);
	host.job.envelope.sender = SLICE("");
	host.job.message.kind = JOB_NOTICE_DELAY;
	tell(&host, NOTICE_DONE);
	host.job.message.kind = JOB_NOTICE_FAILURE;
	host.job.envelope.flags = ENVELOPE_IS_NOTICE | ENVELOPE_DOUBLE_BOUNCE;
	tell(&host, NOTICE_DONE);
	assert_int_equal(host.queue.commits, 0);
	host_close(&host);
}

/* ---- what is returned ---- */

static void
ret_and_size_decide_what_comes_back(void **state)
{
	static const struct {
		const char *setting;
		uint32_t    ret;
		bool        has_body;
	} cases[] = {
		{ "", DSN_RET_NONE, true },
		{ "", DSN_RET_FULL, true },
		{ "", DSN_RET_HDRS, false },
		{ "bounce_size_limit = 10\n", DSN_RET_FULL, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct host host;

		host_open(&host, cases[i].setting);
		host.job.envelope.dsn_ret = cases[i].ret;
		add_simple(&host, "r@far.example", 0);
		tell(&host, NOTICE_DONE);
		assert_has(&host, "Subject: hello\r\n");
		if (cases[i].has_body)
			assert_has(&host, "The body.");
		else
			assert_has_not(&host, "The body.");
		host_close(&host);
	}
}

static void
utf8_mail_gets_the_global_forms(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	host.job.envelope.flags = ENVELOPE_SMTPUTF8 | ENVELOPE_8BIT;
	host.job.envelope.sender = SLICE("s\xc3\xbc@far.example");
	add_simple(&host, "r\xc3\xbc@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "report-type=global-delivery-status;");
	assert_has(&host, "Content-Type: message/global-delivery-status\r\n");
	assert_has(&host, "Content-Type: message/global\r\n");
	assert_has(&host, "To: s\xc3\xbc@far.example\r\n");
	assert_has(&host, "Final-Recipient: utf-8; r\xc3\xbc@far.example\r\n");
	assert_has(&host, "<r\xc3\xbc@far.example>:");
	assert_true((host.queue.envelope.flags & ENVELOPE_SMTPUTF8) != 0);
	host_close(&host);
}

/* RFC 6533 4.1: what every host on the way back takes, since nobody knows what it offers. */
static void
an_ascii_sender_elsewhere_gets_the_forms_in_ascii(void **state)
{
	struct msg_job_recipient recipient = { .address = SLICE("r\xc3\xbc@far.example"),
		                               .dsn_orcpt = SLICE("utf-8;\xc3\xbc=@x.example") };
	struct host              host;

	(void)state;
	host_open(&host, "");
	host.job.envelope.flags = ENVELOPE_SMTPUTF8 | ENVELOPE_8BIT;
	host.job.message.content = SLICE("Subject: \xc3\xbc=1\r\n\r\nThe \xc3\xbc. \r\n");
	add(&host, &recipient, &unknown_user);
	tell(&host, NOTICE_DONE);
	assert_true((host.queue.envelope.flags & ENVELOPE_SMTPUTF8) == 0);
	assert_has(&host, "report-type=delivery-status;");
	assert_has(&host, "text/plain; charset=utf-8\r\n"
	                  "Content-Transfer-Encoding: quoted-printable\r\n\r\nThis is the mail ");
	assert_has(&host, "\r\n<r=C3=BC@far.example>: host ");
	assert_has_not(&host, "8bit");
	assert_has(&host, "Content-Type: message/delivery-status\r\n\r\n");
	assert_has(&host, "Original-Recipient: utf-8; \\x{FC}\\x{3D}@x.example\r\n"
	                  "Final-Recipient: utf-8; r\\x{FC}@far.example\r\n");
	assert_has(&host, "Content-Type: message/global\r\n"
	                  "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
	                  "Subject: =C3=BC=3D1\r\n\r\nThe =C3=BC.=20\r\n\r\n--=_");
	/* Only its addresses were UTF-8: the message is one that everybody takes. */
	host.job.message.content = SLICE("Subject: u\r\n\r\nThe \xc3\xbc.\r\n");
	host.job.envelope.dsn_ret = DSN_RET_HDRS;
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Content-Type: text/rfc822-headers\r\n");
	host.job.message.content = SLICE("Subject: \xc3\xbc\r\n\r\nText\r\n");
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Content-Type: message/global-headers\r\n"
	                  "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
	                  "Subject: =C3=BC\r\n\r\n--=_");
	host_close(&host);
}

/* A mailbox of ours takes all. */
static void
an_ascii_sender_of_ours_gets_the_global_forms(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "mydestination = far.example\nalias_maps =\n");
	host.job.envelope.flags = ENVELOPE_SMTPUTF8;
	host.job.message.content = SLICE("Subject: \xc3\xbc\r\n\r\nText\r\n");
	add_simple(&host, "r\xc3\xbc@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Content-Type: message/global-delivery-status\r\n");
	assert_has(&host, "Content-Transfer-Encoding: 8bit\r\n\r\nSubject: \xc3\xbc\r\n");
	host_close(&host);
}

static void
eight_bit_content_is_declared_at_every_level(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	host.job.envelope.flags = ENVELOPE_8BIT;
	host.job.envelope.dsn_ret = DSN_RET_HDRS;
	host.job.message.content = SLICE("Subject: gr\xc3\xbc\xc3\x9f\r\n\r\nbody\r\n");
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Content-Transfer-Encoding: 8bit\r\n\r\nThis is a MIME");
	assert_has(&host, "Content-Type: text/rfc822-headers\r\n"
	                  "Content-Transfer-Encoding: 8bit\r\n\r\nSubject: gr\xc3\xbc\xc3\x9f\r\n");
	assert_int_equal(host.queue.envelope.flags, ENVELOPE_IS_NOTICE | ENVELOPE_8BIT);
	host_close(&host);
}

static void
threads_are_kept_when_asked_for(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "enable_threaded_bounces = yes\n");
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "References: <1@far.example>\r\nIn-Reply-To: <1@far.example>\r\n");
	host.job.envelope.message_id = SLICE("<1@far.example>\r\nBcc: x>");
	tell(&host, NOTICE_DONE);
	assert_has_not(&host, "In-Reply-To:");
	host_close(&host);
}

/* ---- the postmaster's copies ---- */

static void
the_postmaster_gets_copies_of_what_he_asked_for(void **state)
{
	static const struct {
		const char *settings;
		uint32_t    kind;
		const char *sender;
		unsigned    notify;
		unsigned    commits;
		const char *to, *subject, *not_in;
	} cases[] = {
		{ "notify_classes = bounce\n", JOB_NOTICE_FAILURE, "s@far.example", 0, 2,
		  "postmaster@example.org", "Postmaster Copy: Undelivered Mail", "The body." },
		{ "notify_classes = bounce\nbounce_notice_recipient = b@x.example\n",
		  JOB_NOTICE_FAILURE, "s@far.example", DSN_NOTIFY_NEVER, 1, "b@x.example",
		  "Postmaster Copy: Undelivered Mail", "The body." },
		{ "notify_classes = 2bounce, delay\n", JOB_NOTICE_FAILURE, "s@far.example", 0, 1,
		  "s@far.example", "Undelivered Mail Returned to Sender", "notify_classes" },
		{ "notify_classes = bounce\n2bounce_notice_recipient = 2@x.example\n",
		  JOB_NOTICE_FAILURE, "", DSN_NOTIFY_NEVER, 1, "2@x.example",
		  "Postmaster Copy: Undelivered Mail", "went to the sender" },
		{ "notify_classes = delay\ndelay_notice_recipient = d@x.example\n",
		  JOB_NOTICE_DELAY, "s@far.example", DSN_NOTIFY_FAILURE, 1, "d@x.example",
		  "Postmaster Warning: Delayed Mail", "The body." },
		/* Of a notice that waits Postfix tells the postmaster only when it fails. */
		{ "notify_classes = delay\n", JOB_NOTICE_DELAY, "", 0, 0, NULL, NULL, NULL },
		{ "notify_classes = delay\n", JOB_NOTICE_DELAY, "s@far.example", 0, 2,
		  "postmaster@example.org", "Postmaster Warning: Delayed Mail", "The body." },
		{ "notify_classes = bounce, delay, 2bounce\n", JOB_NOTICE_SUCCESS, "s@far.example",
		  DSN_NOTIFY_SUCCESS, 1, "s@far.example", "Successful Mail Delivery Report",
		  "notify_classes" },
		{ "notify_classes = bounce, delay\n", JOB_NOTICE_DELAY,
		  "double-bounce@mx.example.org", 0, 0, NULL, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct host host;
		char        line[200];

		host_open(&host, cases[i].settings);
		host.queue.keeps_first = true; /* the copy: the notice itself comes last */
		host.job.envelope.sender = slice_from(cases[i].sender);
		host.job.message.kind = cases[i].kind;
		add_simple(&host, "r@far.example", cases[i].notify);
		tell(&host, NOTICE_DONE);
		if (host.queue.commits != cases[i].commits)
			fail_msg("case %zu: %u commits", i, host.queue.commits);
		if (cases[i].to != NULL) {
			snprintf(line, sizeof(line), "Subject: %s\r\nTo: %s\r\n", cases[i].subject,
			         cases[i].to);
			assert_has(&host, line);
			assert_has(&host, "Final-Recipient: rfc822; r@far.example\r\n");
			assert_has_not(&host, cases[i].not_in);
			bool is_copy = strncmp(cases[i].subject, "Postmaster", 10) == 0;
			assert_int_equal((host.queue.envelope.flags & ENVELOPE_DOUBLE_BOUNCE) != 0,
			                 is_copy);
			if (is_copy)
				assert_has(&host, "notify_classes lists");
		}
		host_close(&host);
	}
}

static void
the_end_of_a_delay_is_told_when_it_was_asked_for(void **state)
{
	static const struct msg_outcome sent = { .action = OUTCOME_RELAYED,
		                                 .status = SLICE("2.0.0"),
		                                 .reason = SLICE("250 ok") };
	static const struct {
		const char *setting;
		unsigned    notify, commits;
	} cases[] = {
		{ "confirm_delay_cleared = yes\n", 0, 1 },
		{ "confirm_delay_cleared = yes\n", DSN_NOTIFY_DELAY, 1 },
		{ "confirm_delay_cleared = yes\n", DSN_NOTIFY_FAILURE, 0 },
		{ "confirm_delay_cleared = yes\n", DSN_NOTIFY_NEVER, 0 },
		{ "", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct msg_job_recipient recipient = { .address = SLICE("r@far.example"),
			                               .dsn_notify = cases[i].notify };
		struct host              host;

		host_open(&host, cases[i].setting);
		host.job.message.kind = JOB_NOTICE_SUCCESS;
		add(&host, &recipient, &sent);
		tell(&host, NOTICE_DONE);
		assert_int_equal(host.queue.commits, cases[i].commits);
		if (cases[i].commits > 0)
			assert_has(&host, "Action: relayed\r\n");
		host_close(&host);
	}
}

/* ---- other hosts' wishes ---- */

static void
an_expanded_alias_is_reported_as_such(void **state)
{
	static const struct msg_outcome expanded = { .action = OUTCOME_EXPANDED,
		                                     .status = SLICE("2.0.0"),
		                                     .reason = SLICE("alias expanded") };
	struct msg_job_recipient        recipient = { .address = SLICE("list@example.org"),
		                                      .dsn_notify = DSN_NOTIFY_SUCCESS };
	struct host                     host;

	(void)state;
	host_open(&host, "");
	host.job.message.kind = JOB_NOTICE_SUCCESS;
	add(&host, &recipient, &expanded);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Final-Recipient: rfc822; list@example.org\r\n"
	                  "Action: expanded\r\nStatus: 2.0.0\r\n");
	host_close(&host);
}

static void
wishes_about_tls_hold_for_the_notice(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has_not(&host, "TLS-Required");
	host.job.message.content = SLICE("Subject: x\r\ntls-required:  No\r\n\r\nThe body.\r\n");
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Auto-Submitted: auto-replied\r\nTLS-Required: no\r\nMIME-Version:");
	host.job.message.content = SLICE("Subject: x\r\n\r\nTLS-Required: no\r\n");
	tell(&host, NOTICE_DONE);
	assert_has_not(&host, "auto-replied\r\nTLS-Required: no");
	/* What may only travel where REQUIRETLS is known is not sent back in the clear. */
	host.job.envelope.flags = ENVELOPE_REQUIRETLS;
	host.job.message.content = SLICE(ORIGINAL);
	tell(&host, NOTICE_DONE);
	assert_has_not(&host, "The body.");
	host_close(&host);
}

/* ---- templates ---- */

/* A host whose bounce_template_file holds text; the path of the file. */
static void
host_open_with_template(struct host *host, const char *text, char path[64])
{
	char settings[400];

	snprintf(path, 64, "/tmp/dakiya-template-%d", (int)getpid());
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0 && fclose(file) == 0);
	snprintf(
		settings, sizeof(settings),
		"bounce_template_file = %s\nmaximal_queue_lifetime = 3d\nmail_name = Gr\xc3\xbcn\n",
		path);
	host_open(host, settings);
	unlink(path);
}

static void
a_template_gives_words_and_character_set(void **state)
{
	struct host host;
	char        path[64];

	(void)state;
	host_open_with_template(&host,
	                        "failure_template = <<EOF\nCharset: utf-8\n"
	                        "From: Post (the box)\nSubject: Leider nicht\n\n"
	                        "Gr\xc3\xbc\xc3\x9f"
	                        "e von $myhostname, $$3, ${maximal_queue_lifetime_days} Tage.\n"
	                        "\n  Eingerueckt\nEOF\n",
	                        path);
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "From: Post@example.org (the box)\r\nSubject: Leider nicht\r\n");
	assert_has(&host, "Content-Transfer-Encoding: 8bit\r\n\r\nThis is a MIME");
	assert_has(&host, "Content-Type: text/plain; charset=utf-8\r\n"
	                  "Content-Transfer-Encoding: 8bit\r\n\r\n"
	                  "Gr\xc3\xbc\xc3\x9f"
	                  "e von mx.example.org, $3, 3 Tage.\r\n\r\n  Eingerueckt\r\n\r\n"
	                  "<r@far.example>: host");
	assert_true((host.queue.envelope.flags & ENVELOPE_8BIT) != 0);
	/* The others are as they were. */
	host.job.message.kind = JOB_NOTICE_DELAY;
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Subject: Delayed Mail (still being retried)\r\n");
	host_close(&host);
}

static void
names_bring_nothing_that_the_template_cannot_hold(void **state)
{
	struct host host;
	char        path[64];

	(void)state;
	host_open_with_template(&host, "failure_template = <<EOF\n\n[$mail_name]\nEOF\n", path);
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "charset=us-ascii\r\n\r\n[Gr??n]\r\n");
	/* Mail in UTF-8 brings its addresses into a text that has another character set. */
	host_close(&host);
	host_open_with_template(
		&host, "failure_template = <<EOF\nCharset: iso-8859-1\n\n\xfc\nEOF\n", path);
	host.job.envelope.flags = ENVELOPE_SMTPUTF8;
	add_simple(&host, "r\xc3\xbc@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "charset=iso-8859-1\r\n");
	assert_has(&host, "quoted-printable\r\n\r\n=FC\r\n\r\n<r??@far.example>:");
	assert_has(&host, "Final-Recipient: utf-8; r\\x{FC}@far.example\r\n");
	host_close(&host);
}

static void
a_broken_template_keeps_no_notice_back(void **state)
{
	struct host host;
	char        path[64];

	(void)state;
	host_open_with_template(&host, "failure_template = <<EOF\nNonsense\nEOF\n", path);
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Subject: Undelivered Mail Returned to Sender\r\n");
	host_close(&host);
	host_open(&host, "bounce_template_file = /nonexistent/bounce.cf\n");
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "This is the mail system at host mx.example.org.\r\n");
	host_close(&host);
}

/* ---- trouble ---- */

/* The copy is extra: the sender is not told twice because of it. */
static void
a_copy_that_cannot_be_made_does_not_repeat_the_notice(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "notify_classes = bounce\nbounce_notice_recipient = postmaster\n");
	add_simple(&host, "r@far.example", DSN_NOTIFY_NEVER);
	host.queue.commit_status = INTAKE_NO_SPACE;
	tell(&host, NOTICE_DONE);
	assert_int_equal(host.queue.commits, 1);
	host_close(&host);
}

static void
the_job_waits_until_the_notice_is_committed(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	add_simple(&host, "r@far.example", 0);
	host.queue.commit_status = INTAKE_NO_SPACE;
	tell(&host, NOTICE_LATER);
	assert_non_null(strstr(host.error.text, "452"));
	host.queue.commit_status = INTAKE_OK;
	tell(&host, NOTICE_DONE);
	host_close(&host);
}

static void
a_notice_above_the_size_limit_returns_less(void **state)
{
	char       *text = malloc(40001);
	struct host host;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', 40000);
	memcpy(text, "Subject: big\r\n\r\n", 16);
	host_open(&host, "message_size_limit = 20000\n");
	host.job.message.content = slice_of(text, 40000);
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_has(&host, "Content-Type: text/rfc822-headers\r\n\r\nSubject: big\r\n");
	memset(text + 9, 'y', 30000); /* even the header is too much */
	tell(&host, NOTICE_DONE);
	assert_has_not(&host, "Subject: yy");
	assert_has(&host, "Action: failed");
	host_close(&host);
	free(text);
}

/* Each of them is told of once, in as few notices as it takes. */
static void
recipients_that_fit_no_single_notice_get_several(void **state)
{
	struct host host;
	char        address[40];

	(void)state;
	host_open(&host, "message_size_limit = 8000\n");
	for (int i = 0; i < 50; i++) {
		snprintf(address, sizeof(address), "r%02d@far.example", i);
		add_simple(&host, address, 0);
	}
	tell(&host, NOTICE_DONE);
	assert_in_range(host.queue.commits, 3, 5);
	assert_has(&host, "Final-Recipient: rfc822; r49@far.example\r\n");
	assert_has(&host, "<r49@far.example>: ");
	assert_has_not(&host, "r00@far.example");
	host_close(&host);
	/* One alone that fits nowhere waits. */
	host_open(&host, "message_size_limit = 800\n");
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_LATER);
	assert_int_equal(host.queue.commits, 0);
	host_close(&host);
}

static void
a_message_in_a_file_comes_back_whole(void **state)
{
	size_t      length = 350000;
	char       *text = malloc(length);
	struct host host;

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < length; i++)
		text[i] = i % 70 == 68 ? '\r' : i % 70 == 69 ? '\n' : (char)('a' + i % 23);
	memcpy(text, "Subject: file\r\n\r\n", 17);
	memcpy(text + length - 2, "\r\n", 2);
	host_open(&host, "bounce_size_limit = 400000\n");
	int fd = memfd_create("queue", MFD_CLOEXEC);
	assert_true(fd >= 0 && pwrite(fd, text, length, 1000) == (ssize_t)length);
	host.job.message.content = SLICE("");
	host.job.message.file = fd;
	host.job.message.file_offset = 1000;
	host.job.message.file_length = length;
	add_simple(&host, "r@far.example", 0);
	tell(&host, NOTICE_DONE);
	assert_true(host.queue.was_spooled);
	assert_int_equal(host.queue.envelope.size, host.queue.content.length);
	size_t at = slice_find(buf_slice(&host.queue.content), SLICE("Subject: file\r\n"));
	assert_true(at != SLICE_NOT_FOUND && at + length < host.queue.content.length);
	assert_memory_equal(host.queue.content.data + at, text, length);
	assert_memory_equal(host.queue.content.data + at + length, "\r\n--=_", 6);

	close(fd); /* what cannot be read is not returned in part */
	tell(&host, NOTICE_LATER);
	host_close(&host);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_notice_has_every_part_and_field),
		cmocka_unit_test(a_delay_notice_says_until_when_and_returns_the_header),
		cmocka_unit_test(a_success_notice_goes_out_only_when_asked_for),
		cmocka_unit_test(notify_decides_where_it_was_given),
		cmocka_unit_test(nobody_is_told_of_a_notice_unless_the_postmaster_wants_it),
		cmocka_unit_test(a_double_bounce_and_the_delay_of_a_notice_end_here),
		cmocka_unit_test(ret_and_size_decide_what_comes_back),
		cmocka_unit_test(utf8_mail_gets_the_global_forms),
		cmocka_unit_test(an_ascii_sender_elsewhere_gets_the_forms_in_ascii),
		cmocka_unit_test(an_ascii_sender_of_ours_gets_the_global_forms),
		cmocka_unit_test(eight_bit_content_is_declared_at_every_level),
		cmocka_unit_test(threads_are_kept_when_asked_for),
		cmocka_unit_test(the_postmaster_gets_copies_of_what_he_asked_for),
		cmocka_unit_test(the_end_of_a_delay_is_told_when_it_was_asked_for),
		cmocka_unit_test(an_expanded_alias_is_reported_as_such),
		cmocka_unit_test(wishes_about_tls_hold_for_the_notice),
		cmocka_unit_test(a_template_gives_words_and_character_set),
		cmocka_unit_test(names_bring_nothing_that_the_template_cannot_hold),
		cmocka_unit_test(a_broken_template_keeps_no_notice_back),
		cmocka_unit_test(a_copy_that_cannot_be_made_does_not_repeat_the_notice),
		cmocka_unit_test(the_job_waits_until_the_notice_is_committed),
		cmocka_unit_test(a_notice_above_the_size_limit_returns_less),
		cmocka_unit_test(recipients_that_fit_no_single_notice_get_several),
		cmocka_unit_test(a_message_in_a_file_comes_back_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
