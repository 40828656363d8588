/* test_intake_checks.c - header_checks and body_checks: what is committed for what came in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/intake/intake.h"
#include "lib/mail/mime.h"
#include "tests/unit/fake_queue.h"

struct host {
	struct fake_queue     queue;
	struct snapshot      *snapshot;
	struct intake_context context;
	struct msg_envelope   envelope;
	struct intake        *intake;
	struct arena          arena;
};

/* Rules stand without the slashes' blanks: "pcre:{ { /^Subject: x/ REJECT } }". */
static void
host_open(struct host *host, const char *settings)
{
	char         text[4000];
	struct error error = ERROR_NONE;

	memset(host, 0, sizeof(*host));
	assert_true(snprintf(text, sizeof(text),
	                     "myhostname = mx.example.org\nmydestination =\n"
	                     "inet_interfaces = 192.0.2.1\n%s",
	                     settings) < (int)sizeof(text));
	assert_true(fake_queue_start(&host->queue));
	host->snapshot = snapshot_from_text(text, &error);
	if (host->snapshot == NULL)
		fail_msg("%s", error.text);
	host->context.snapshot = host->snapshot;
	host->context.parameters = snapshot_parameters(host->snapshot);
	host->context.router = router_create(host->snapshot, &error);
	host->context.checks = checks_create(host->snapshot, &error);
	if (host->context.router == NULL || host->context.checks == NULL)
		fail_msg("%s", error.text);
	host->context.queue = intake_client_create(host->queue.path, "test");
	host->envelope = (struct msg_envelope){ .sender = SLICE("s@far.example"),
		                                .client_address = SLICE("198.51.100.7"),
		                                .client_name = SLICE("unknown"),
		                                .client_protocol = SLICE("ESMTP") };
}

static void
host_close(struct host *host)
{
	intake_end(&host->intake);
	router_destroy(&host->context.router);
	rules_close(&host->context.checks);
	intake_client_destroy(&host->context.queue);
	snapshot_destroy(&host->snapshot);
	fake_queue_stop(&host->queue);
	arena_reset(&host->arena);
}

/* One message in pieces of step bytes; the reply as "250 2.0.0 text". */
static const char *
send_message(struct host *host, const char *trace, struct slice content, size_t step)
{
	struct msg_recipient recipient = { .address = SLICE("r@far.example") };
	struct error         error = ERROR_NONE;

	intake_end(&host->intake);
	buf_clear(&host->queue.content);
	host->intake = intake_begin(&host->context, &host->envelope, &error);
	if (host->intake == NULL)
		fail_msg("%s", error.text);
	assert_true(intake_set_trace(host->intake, slice_from(trace)));
	assert_true(intake_add_recipient(host->intake, &recipient));
	while (content.length > 0) {
		intake_write(host->intake, slice_first(content, step));
		content = slice_from_offset(content, step);
	}
	struct smtp_reply reply = intake_finish(host->intake, &host->arena);
	return arena_format(&host->arena, "%d %u.%u.%u %.*s", reply.code,
	                    (unsigned)reply.status.class, (unsigned)reply.status.subject,
	                    (unsigned)reply.status.detail, SLICE_ARGS(reply.text));
}

static void
check_content(struct host *host, const char *trace, const char *content, const char *expected)
{
	static const size_t steps[] = { 1, 2, 7, 100000 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const char *reply = send_message(host, trace, slice_from(content), steps[i]);

		if (strncmp(reply, "250 2.0.0 Ok: queued as ", 24) != 0)
			fail_msg("%s", reply);
		assert_string_equal(buf_text(&host->queue.content), expected);
		assert_int_equal(host->queue.envelope.size, strlen(expected));
	}
}

static void
check_reply(struct host *host, const char *content, const char *expected)
{
	static const size_t steps[] = { 1, 7, 100000 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		assert_string_equal(send_message(host, "", slice_from(content), steps[i]),
		                    expected);
}

/* ---- header ---- */

static void
fields_are_kept_dropped_replaced_and_prepended(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "header_checks = pcre:{ { /^X-Gone:/ IGNORE }, { /^X-Strip:/ STRIP why },"
	                 "{ /^Subject: (.*) spam/ REPLACE Subject: [$$1] },"
	                 "{ /^X-Mark:/ PREPEND X-Before: here },"
	                 "{ /^X-Note:/ WARN seen }, { /^X-Info:/ INFO }, { /^X-Ok:/ DUNNO } }\n");
	check_content(&host, "Received: by mx\r\n",
	              "X-Gone: a\r\n b\r\nFrom: f\r\nSubject: much spam\r\nX-Strip: s\r\n"
	              "X-Mark: m\r\nX-Note: n\r\nX-Info: i\r\nX-Ok: o\r\n\r\nX-Gone: body\r\n",
	              "Received: by mx\r\nFrom: f\r\nSubject: [much]\r\nX-Before: here\r\n"
	              "X-Mark: m\r\nX-Note: n\r\nX-Info: i\r\nX-Ok: o\r\n\r\nX-Gone: body\r\n");
	check_content(&host, "", "From: f\r\n\r\nx\r\n", "From: f\r\n\r\nx\r\n");
	check_content(&host, "", "X-Gone: only\r\n\r\n", "\r\n");
	check_content(&host, "", "X-Gone: only", "\r\n");
	host_close(&host);
}

/* Submission servers hide their clients like this; what follows must not count as trace. */
static void
our_own_trace_fields_are_looked_at_too(void **state)
{
	struct host host;

	(void)state;
	host_open(&host,
	          "header_checks = pcre:{ { /^Received: from secret/ IGNORE },"
	          "{ /^Received: by/ PREPEND X-Trace: t } }\n"
	          "message_drop_headers = x-dropped\nremote_header_rewrite_domain = inv.example"
	          "\n");
	check_content(&host, "Received: from secret\r\n\tby mx\r\n",
	              "X-Dropped: a\r\nFrom: f\r\n\r\n", "From: f@inv.example\r\n\r\n");
	check_content(&host, "Received: by mx\r\nX-Dropped: ours\r\n",
	              "X-Dropped: a\r\nFrom: f\r\n\r\n",
	              "X-Trace: t\r\nReceived: by mx\r\nX-Dropped: ours\r\nFrom: f@inv.example\r\n"
	              "\r\n");
	host_close(&host);
}

static void
a_field_is_looked_at_as_one_with_its_folding(void **state)
{
	struct host host;

	(void)state;
	host_open(&host,
	          "header_checks = pcre:{ { /^Subject: one\\n\\ttwo\\n three$$/ IGNORE } }\n");
	check_content(&host, "", "Subject: one\r\n\ttwo\r\n three\r\nA: b\r\n\r\n", "A: b\r\n\r\n");
	check_content(&host, "", "Subject: one\r\n\ttwo\r\n\r\n", "Subject: one\r\n\ttwo\r\n\r\n");
	host_close(&host);
}

static void
a_refusal_has_the_text_and_status_of_the_table(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "header_checks = pcre:{ { /^A:/ REJECT }, { /^B:/ REJECT no thanks },"
	                 "{ /^C:/ REJECT 5.6.1 odd type }, { /^D:/ reject 4.7.1 later },"
	                 "{ /^E:/ NONSENSE }, { /^F:/ PREPEND no field }, { /^G:/ FILTER smtp } }\n"
	                 "body_checks = pcre:{ { /virus (.*)/ REJECT found $$1 } }\n");
	check_reply(&host, "A: x\r\n\r\n", "550 5.7.1 message content rejected");
	check_reply(&host, "Z: x\r\nB: x\r\n\r\nbody\r\n", "550 5.7.1 no thanks");
	check_reply(&host, "C: x\r\n\r\n", "550 5.6.1 odd type");
	check_reply(&host, "D: x\r\n\r\n", "451 4.7.1 later");
	check_reply(&host, "E: x\r\n\r\n", "451 4.3.5 Server configuration error");
	check_reply(&host, "F: x\r\n\r\n", "451 4.3.5 Server configuration error");
	check_reply(&host, "G: x\r\n\r\n", "451 4.3.5 Server configuration error");
	check_reply(&host, "Z: x\r\n\r\na\r\na virus here\r\nmore\r\n", "550 5.7.1 found here");
	check_reply(&host, "Z: x\r\n\r\nvirus at the end", "550 5.7.1 found at the end");
	assert_int_equal(host.queue.content.length, 0);
	host_close(&host);
	host_open(&host, "header_checks = hash:/nonexistent/table\n");
	check_reply(&host, "A: x\r\n\r\n", "451 4.3.0 Temporary lookup failure");
	host_close(&host);
}

static void
actions_on_the_message_reach_its_envelope(void **state)
{
	struct host host;

	(void)state;
	host_open(&host,
	          "header_checks = pcre:{ { /^Hold:/ HOLD }, { /^Filter: (.)/ FILTER f:$$1 },"
	          "{ /^Redirect:/ REDIRECT other@far.example }, { /^Bcc-To:/ BCC b@far.example },"
	          "{ /^Discard:/ DISCARD }, { /^Pass:/ PASS }, { /^Bad:/ REJECT } }\n"
	          "body_checks = pcre:{ { /bad/ REJECT } }\n");
	check_content(&host, "", "Hold: x\r\n\r\n", "Hold: x\r\n\r\n");
	assert_true((host.queue.envelope.flags & ENVELOPE_HOLD) != 0);
	check_content(&host, "", "Filter: 1\r\nFilter: 2\r\n\r\n",
	              "Filter: 1\r\nFilter: 2\r\n\r\n");
	assert_true(slice_equal(host.queue.envelope.filter, SLICE("f:2")));
	check_content(&host, "", "Bcc-To: x\r\n\r\n", "Bcc-To: x\r\n\r\n");
	assert_int_equal(host.queue.recipient_count, 2);
	assert_true(slice_equal(host.queue.recipients[1].address, SLICE("b@far.example")));
	assert_int_equal(host.queue.recipients[1].dsn_notify, DSN_NOTIFY_NEVER);
	check_content(&host, "", "Filter: 1\r\nRedirect: x\r\n\r\n",
	              "Filter: 1\r\nRedirect: x\r\n\r\n");
	assert_int_equal(host.queue.recipient_count, 1);
	assert_true(slice_equal(host.queue.recipients[0].address, SLICE("other@far.example")));
	assert_int_equal(host.queue.envelope.filter.length, 0);
	/* Nothing behind these is looked at. */
	check_content(&host, "", "Pass: x\r\nBad: y\r\n\r\nbad\r\n",
	              "Pass: x\r\nBad: y\r\n\r\nbad\r\n");
	assert_true(
		strncmp(send_message(&host, "", SLICE("Discard: x\r\nBad: y\r\n\r\nbad\r\n"), 9),
	                "250 2.0.0 Ok: queued as ", 24) == 0);
	assert_int_equal(host.queue.content.length, 0);
	host_close(&host);
}

/* ---- body ---- */

static void
body_lines_are_kept_dropped_replaced_and_prepended(void **state)
{
	struct host host;

	(void)state;
	host_open(&host,
	          "body_checks = pcre:{ { /^gone/ IGNORE }, { /^old (.*)$$/ REPLACE new $$1 },"
	          "{ /^mark$$/ PREPEND before }, { /^$$/ PREPEND empty } }\n");
	check_content(&host, "", "gone: x\r\n\r\ngone\r\nold text\r\n.dot\r\nmark\r\ngone",
	              "gone: x\r\n\r\nnew text\r\n.dot\r\nbefore\r\nmark\r\n");
	check_content(&host, "", "A: b\r\n\r\n\r\nold x", "A: b\r\n\r\nempty\r\n\r\nnew x\r\n");
	check_content(&host, "", "no field\r\ngone\r\n", "\r\nno field\r\n");
	host_close(&host);
}

static const char multipart[] =
	"Content-Type: multipart/mixed; boundary=\"a b\" ; x=y\r\nSubject: s\r\n\r\n"
	"preamble\r\n"
	"--a b\r\nContent-Type: text/plain\r\nX-Part: 1\r\n folded\r\n\r\ntext\r\nX-Part: text\r\n"
	"--a b\r\nContent-Type: message/rfc822\r\n\r\n"
	"Subject: inner\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n"
	"--in\r\nX-Part: 2\r\n\r\ninner text\r\n--in--\r\nepilogue\r\n"
	"--a b--\r\nX-Part: end\r\n";

static void
headers_of_parts_are_told_from_their_text(void **state)
{
	struct host host;

	(void)state;
	host_open(&host,
	          "header_checks = pcre:{ { /^(Subject|Content-Type): (.*)/ "
	          "REPLACE $$1: H-$$2 } }\n"
	          "mime_header_checks = pcre:{ { /^X-Part: (.)(.*)/ REPLACE X-Part: M-$$1 },"
	          "{ /^Content-Type: text/ IGNORE } }\n"
	          "nested_header_checks = pcre:{ { /^Subject: (.*)/ REPLACE Subject: N-$$1 } }"
	          "\n"
	          "body_checks = pcre:{ { /^(text|X-Part: .*|preamble|inner text|epilogue)$$/ "
	          "REPLACE B-$$1 } }\n");
	check_content(
		&host, "", multipart,
		"Content-Type: multipart/mixed; boundary=\"a b\" ; x=y\r\nSubject: H-s\r\n\r\n"
		"B-preamble\r\n"
		"--a b\r\nX-Part: M-1\r\n\r\nB-text\r\nB-X-Part: text\r\n"
		"--a b\r\nContent-Type: message/rfc822\r\n\r\n"
		"Subject: N-inner\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n"
		"--in\r\nX-Part: M-2\r\n\r\nB-inner text\r\n--in--\r\nB-epilogue\r\n"
		"--a b--\r\nB-X-Part: end\r\n");
	host_close(&host);
}

static void
mime_and_nested_checks_are_those_of_the_header_when_not_set(void **state)
{
	struct host host;

	(void)state;
	host_open(&host,
	          "header_checks = pcre:{ { /^(X-Part|Subject|Content-Type: text)/ IGNORE } }\n");
	check_content(&host, "", multipart,
	              "Content-Type: multipart/mixed; boundary=\"a b\" ; x=y\r\n\r\n"
	              "preamble\r\n"
	              "--a b\r\n\r\ntext\r\nX-Part: text\r\n"
	              "--a b\r\nContent-Type: message/rfc822\r\n\r\n"
	              "Content-Type: multipart/alternative; boundary=in\r\n\r\n"
	              "--in\r\n\r\ninner text\r\n--in--\r\nepilogue\r\n"
	              "--a b--\r\nX-Part: end\r\n");
	host_close(&host);
}

static void
odd_structures_lose_nothing(void **state)
{
	static const char *const messages[] = {
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x",
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nA: b",
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nno field\r\nA: b\r\n",
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n folded\r\nA: b\r\n",
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nA: b\r\n--x\r\nC: "
		"d\r\n--x--",
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n--xjunk\r\nA: "
		"b\r\n\r\n--x--junk\r\n",
		"Content-Type: multipart/mixed\r\n\r\n--\r\nA: b\r\n",
		"Content-Type: multipart/mixed; boundary=\"\r\n\r\n--\r\nA: b\r\n",
		"Content-Type: multipart/digest; boundary=x\r\n\r\n--x\r\n\r\nS: "
		"t\r\n\r\n--x--\r\n",
		"Content-Type: message/rfc822\r\n\r\nno header\r\n",
		"Content-Type: message/rfc822\r\n\r\n\r\n",
		"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: "
		"base64\r\n\r\nQTogYg==\r\n",
		"Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nA: "
		"b\r\n\r\n",
		"Content-Type: multipart/x; boundary=1\r\n\r\n--1\r\nContent-Type: multipart/x; "
		"boundary=12\r\n\r\n--12\r\n\r\n--1\r\n\r\n--12--\r\n",
		"A: b\r\n\r\n\r\n\r\n--x\r\n",
	};
	struct host host;

	(void)state;
	host_open(&host, "body_checks = pcre:{ { /never matches/ REJECT } }\n");
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		size_t length = strlen(messages[i]);
		bool   has_end = messages[i][length - 1] == '\n';
		char   expected[1000];

		snprintf(expected, sizeof(expected), "%s%s", messages[i], has_end ? "" : "\r\n");
		check_content(&host, "", messages[i], expected);
	}
	host_close(&host);
}

static void
only_the_beginning_of_each_part_is_looked_at(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "body_checks = pcre:{ { /^x/ IGNORE } }\nbody_checks_size_limit = 10\n");
	check_content(&host, "", "A: b\r\n\r\nx\r\n1234\r\nx\r\nx\r\n",
	              "A: b\r\n\r\n1234\r\nx\r\n");
	check_content(
		&host, "",
		"Content-Type: multipart/x; boundary=b\r\n\r\n12345678\r\nx\r\n--b\r\n\r\nx\r\n",
		"Content-Type: multipart/x; boundary=b\r\n\r\n12345678\r\nx\r\n--b\r\n\r\n");
	host_close(&host);
	host_open(&host, "body_checks = pcre:{ { /^x/ IGNORE } }\nbody_checks_size_limit = 0\n");
	check_content(&host, "", "A: b\r\n\r\nx\r\n", "A: b\r\n\r\nx\r\n");
	host_close(&host);
}

static void
long_lines_are_looked_at_in_pieces_and_large_bodies_in_memory_no_more(void **state)
{
	struct host host;
	struct buf  content = BUF(1u << 22), expected = BUF(1u << 22);

	(void)state;
	host_open(&host, "line_length_limit = 256\nbody_checks_size_limit = 100000000\n"
	                 "body_checks = pcre:{ { /^end$$/ IGNORE }, { /needle/ IGNORE } }\n");
	buf_append_text(&content, "A: b\r\n\r\n");
	buf_append_text(&expected, "A: b\r\n\r\n");
	for (int i = 0; i < 4000; i++) {
		for (int k = 0; k < 256; k++) {
			buf_append_byte(&content, k < 250 ? 'x' : "needle"[k - 250]);
			buf_append_byte(&expected, k < 250 ? 'x' : "needle"[k - 250]);
		}
		expected.length -= 256; /* the piece that holds it goes; the line end stays */
		buf_append_text(&content, "tail\r\nend\r\n");
		buf_append_text(&expected, "tail\r\n");
	}
	static const size_t steps[] = { 1000, 4096, 10000000 };
	for (size_t s = 0; s < 3; s++) {
		const char *reply = send_message(&host, "", buf_slice(&content), steps[s]);

		assert_true(strncmp(reply, "250", 3) == 0);
		assert_true(slice_equal(buf_slice(&host.queue.content), buf_slice(&expected)));
	}
	host_close(&host);
	buf_free(&content);
	buf_free(&expected);
}

static void
nesting_has_a_limit_and_boundaries_are_compared_up_to_theirs(void **state)
{
	struct host host;
	struct buf  content = BUF(1u << 22);

	(void)state;
	host_open(&host, "body_checks = pcre:{ { /never/ REJECT } }\nmime_nesting_limit = 20\n");
	for (int depth = 0; depth < 21; depth++) {
		if (depth == 20)
			assert_true(strncmp(send_message(&host, "", buf_slice(&content), 100),
			                    "250", 3) == 0);
		buf_append_format(&content,
		                  "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n",
		                  depth, depth);
	}
	assert_string_equal(send_message(&host, "", buf_slice(&content), 100),
	                    "550 5.6.0 MIME nesting exceeds safety limit");
	buf_clear(&content);
	for (int i = 0; i < 21; i++)
		buf_append_text(&content, "Content-Type: message/rfc822\r\n\r\n");
	assert_string_equal(send_message(&host, "", buf_slice(&content), 100),
	                    "550 5.6.0 MIME nesting exceeds safety limit");
	host_close(&host);
	host_open(&host, "header_checks = pcre:{ { /^X:/ IGNORE } }\n"
	                 "mime_boundary_length_limit = 70\n");
	buf_clear(&content);
	buf_append_text(&content, "Content-Type: multipart/mixed; boundary=\"");
	for (int i = 0; i < 100; i++)
		buf_append_byte(&content, 'b');
	buf_append_text(&content, "\"\r\n\r\n--");
	for (int i = 0; i < 70; i++)
		buf_append_byte(&content, 'b');
	size_t kept = content.length;
	buf_append_text(&content, "c\r\nX: y\r\n\r\n");
	assert_true(strncmp(send_message(&host, "", buf_slice(&content), 100), "250", 3) == 0);
	assert_int_equal(host.queue.content.length, kept + strlen("c\r\n\r\n"));
	host_close(&host);
	buf_free(&content);
}

static void
an_overlong_field_of_a_part_is_stored_whole(void **state)
{
	struct host host;
	struct buf  content = BUF(1u << 22);

	(void)state;
	host_open(&host, "header_checks = pcre:{ { /^Z:/ IGNORE } }\nheader_size_limit = 1000\n");
	buf_append_text(&content,
	                "Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\nLong: x\r\n");
	for (int i = 0; i < 1000; i++)
		buf_append_format(&content, "\tfolded line %d\r\n", i);
	buf_append_text(&content, "Next: y\r\n\r\ntext\r\n--b--\r\n");
	assert_true(strncmp(send_message(&host, "", buf_slice(&content), 333), "250", 3) == 0);
	assert_true(slice_equal(buf_slice(&host.queue.content), buf_slice(&content)));
	host_close(&host);
	buf_free(&content);
}

static void
a_service_can_do_without_checks(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "header_checks = static:REJECT\nbody_checks = static:REJECT\n"
	                 "receive_override_options = no_milters, no_header_body_checks\n");
	check_content(&host, "", "A: b\r\n\r\nc\r\n", "A: b\r\n\r\nc\r\n");
	host_close(&host);
}

static void
tables_that_do_not_open_are_named(void **state)
{
	struct error     error = ERROR_NONE;
	struct snapshot *snapshot = snapshot_from_text("body_checks = nosuch:x\n", &error);

	(void)state;
	assert_null(checks_create(snapshot, &error));
	assert_true(strncmp(error.text, "body_checks: ", 13) == 0);
	snapshot_destroy(&snapshot);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_kept_dropped_replaced_and_prepended),
		cmocka_unit_test(our_own_trace_fields_are_looked_at_too),
		cmocka_unit_test(a_field_is_looked_at_as_one_with_its_folding),
		cmocka_unit_test(a_refusal_has_the_text_and_status_of_the_table),
		cmocka_unit_test(actions_on_the_message_reach_its_envelope),
		cmocka_unit_test(body_lines_are_kept_dropped_replaced_and_prepended),
		cmocka_unit_test(headers_of_parts_are_told_from_their_text),
		cmocka_unit_test(mime_and_nested_checks_are_those_of_the_header_when_not_set),
		cmocka_unit_test(odd_structures_lose_nothing),
		cmocka_unit_test(only_the_beginning_of_each_part_is_looked_at),
		cmocka_unit_test(
			long_lines_are_looked_at_in_pieces_and_large_bodies_in_memory_no_more),
		cmocka_unit_test(nesting_has_a_limit_and_boundaries_are_compared_up_to_theirs),
		cmocka_unit_test(an_overlong_field_of_a_part_is_stored_whole),
		cmocka_unit_test(a_service_can_do_without_checks),
		cmocka_unit_test(tables_that_do_not_open_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
