/* test_intake.c - lib/intake: what is committed for what came in, against a queue of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "lib/intake/intake.h"
#include "tests/unit/fake_queue.h"

static const char *const base = "myhostname = mx.example.org\n"
				"mydestination =\n"
				"inet_interfaces = 192.0.2.1\n"
				"virtual_alias_maps = inline:{ "
				"{ two@here.example = a@here.example, b@here.example },"
				"{ one@here.example = a@here.example },"
				"{ utf8@here.example = m\xc3\xbc@here.example },"
				"{ loop@here.example = loop2@here.example },"
				"{ loop2@here.example = loop@here.example } }\n";

struct host {
	struct fake_queue     queue;
	struct snapshot      *snapshot;
	struct intake_context context;
	struct msg_envelope   envelope;
	struct intake        *intake;
	struct arena          arena;
	struct smtp_reply     reply;
};

static void
host_open(struct host *host, const char *more)
{
	char         text[2000];
	struct error error = ERROR_NONE;

	memset(host, 0, sizeof(*host));
	assert_true(snprintf(text, sizeof(text), "%s%s", base, more) < (int)sizeof(text));
	assert_true(fake_queue_start(&host->queue));
	host->snapshot = snapshot_from_text(text, &error);
	if (host->snapshot == NULL)
		fail_msg("%s", error.text);
	host->context.snapshot = host->snapshot;
	host->context.parameters = snapshot_parameters(host->snapshot);
	host->context.router = router_create(host->snapshot, &error);
	if (host->context.router == NULL)
		fail_msg("%s", error.text);
	host->context.queue = intake_client_create(host->queue.path, "test");
	host->envelope = (struct msg_envelope){ .sender = SLICE("s@far.example"),
		                                .arrival_us = INT64_C(1795511702000000),
		                                .client_address = SLICE("198.51.100.7"),
		                                .client_name = SLICE("unknown"),
		                                .client_protocol = SLICE("ESMTP") };
}

static void
host_close(struct host *host)
{
	intake_end(&host->intake);
	router_destroy(&host->context.router);
	intake_client_destroy(&host->context.queue);
	snapshot_destroy(&host->snapshot);
	fake_queue_stop(&host->queue);
	arena_reset(&host->arena);
}

static void
begin(struct host *host, const char *trace)
{
	struct error error = ERROR_NONE;

	intake_end(&host->intake);
	host->intake = intake_begin(&host->context, &host->envelope, &error);
	if (host->intake == NULL)
		fail_msg("%s", error.text);
	assert_true(intake_set_trace(host->intake, slice_from(trace)));
}

static void
add(struct host *host, const char *address)
{
	struct msg_recipient recipient = { .address = slice_from(address) };

	assert_true(intake_add_recipient(host->intake, &recipient));
}

/* Gives content in pieces of step bytes, finishes, and checks the reply "250 2.0.0 text". */
static void
finish(struct host *host, struct slice content, size_t step, const char *expected)
{
	char got[200];

	while (content.length > 0) {
		intake_write(host->intake, slice_first(content, step));
		content = slice_from_offset(content, step);
	}
	host->reply = intake_finish(host->intake, &host->arena);
	snprintf(got, sizeof(got), "%d %u.%u.%u %.*s", host->reply.code,
	         (unsigned)host->reply.status.class, (unsigned)host->reply.status.subject,
	         (unsigned)host->reply.status.detail, SLICE_ARGS(host->reply.text));
	if (strncmp(got, expected, strlen(expected)) != 0)
		fail_msg("%s", got);
}

#define QUEUED "250 2.0.0 Ok: queued as "

/* One message through; what was committed is compared with expected. */
static void
check_content(struct host *host, const char *trace, const char *content, const char *expected)
{
	static const size_t steps[] = { 1, 2, 7, 100000 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		begin(host, trace);
		add(host, "r@far.example");
		finish(host, slice_from(content), steps[i], QUEUED);
		assert_string_equal(buf_text(&host->queue.content), expected);
		assert_int_equal(host->queue.envelope.size, strlen(expected));
		assert_string_equal(host->queue.id, intake_id(host->intake));
	}
}

/* ---- content ---- */

static void
content_passes_unchanged_behind_the_trace_field(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	check_content(&host, "Received: by mx\r\n",
	              "From: a\r\nTo: b\r\n c\r\nSubject: x\r\n\r\nbody\r\n.dot\r\n\r\n",
	              "Received: by mx\r\nFrom: a\r\nTo: b\r\n c\r\nSubject: x\r\n\r\n"
	              "body\r\n.dot\r\n\r\n");
	host_close(&host);
}

static void
what_is_no_header_begins_the_body(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	check_content(&host, "R: x\r\n", "From: a\r\nnot a field\r\nTo: b\r\n",
	              "R: x\r\nFrom: a\r\n\r\nnot a field\r\nTo: b\r\n");
	check_content(&host, "R: x\r\n", " folded from nowhere\r\n",
	              "R: x\r\n\r\n folded from nowhere\r\n");
	check_content(&host, "R: x\r\n", "", "R: x\r\n\r\n");
	check_content(&host, "R: x\r\n", "\r\nbody\r\n", "R: x\r\n\r\nbody\r\n");
	check_content(&host, "", "From: a\r\n", "From: a\r\n\r\n");
	host_close(&host);
}

static void
the_last_line_is_completed(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	check_content(&host, "", "A: b\r\n\r\nbody", "A: b\r\n\r\nbody\r\n");
	check_content(&host, "", "A: b\r\n\r\nbody\r", "A: b\r\n\r\nbody\r\n");
	check_content(&host, "", "A: b", "A: b\r\n\r\n");
	check_content(&host, "", "text", "\r\ntext\r\n");
	host_close(&host);
}

static void
fields_of_message_drop_headers_are_dropped(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	check_content(&host, "T: x\r\n",
	              "Bcc: secret@far.example,\r\n other@far.example\r\nFrom: a\r\n"
	              "RETURN-PATH: <x>\r\nTo: b\r\nContent-Length: 5\r\n\r\nBcc: body\r\n",
	              "T: x\r\nFrom: a\r\nTo: b\r\n\r\nBcc: body\r\n");
	host_close(&host);
	host_open(&host, "message_drop_headers =\n");
	check_content(&host, "", "Bcc: x\r\n\r\n", "Bcc: x\r\n\r\n");
	host_close(&host);
}

static void
missing_fields_are_added_for_our_own_clients_only(void **state)
{
	struct host host;
	char        expected[300];

	(void)state;
	setenv("TZ", "UTC0", 1);
	tzset();
	host_open(&host, "");
	check_content(&host, "", "Subject: x\r\n\r\nb\r\n", "Subject: x\r\n\r\nb\r\n");

	host.envelope.client_address = SLICE("192.0.2.1");
	begin(&host, "");
	add(&host, "r@far.example");
	finish(&host, SLICE("Subject: x\r\n\r\nb\r\n"), 5, QUEUED);
	snprintf(expected, sizeof(expected),
	         "Subject: x\r\nMessage-Id: <20261124091502.%s@mx.example.org>\r\n"
	         "Date: Tue, 24 Nov 2026 09:15:02 +0000\r\nFrom: s@far.example\r\n\r\nb\r\n",
	         intake_id(host.intake));
	assert_string_equal(buf_text(&host.queue.content), expected);
	check_content(&host, "", "From: a\r\nDate: d\r\nMessage-ID: <1@x>\r\n\r\n",
	              "From: a@mx.example.org\r\nDate: d\r\nMessage-ID: <1@x>\r\n\r\n");
	assert_true(slice_equal(host.queue.envelope.message_id, SLICE("<1@x>")));
	host_close(&host);
}

static void
undisclosed_recipients_header_fills_a_missing_destination(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "undisclosed_recipients_header = To: undisclosed-recipients:;\n");
	check_content(&host, "", "A: b\r\n\r\n", "A: b\r\nTo: undisclosed-recipients:;\r\n\r\n");
	check_content(&host, "", "CC: b\r\n\r\n", "CC: b\r\n\r\n");
	host_close(&host);
}

/* ---- limits ---- */

static void
limits_are_answered_clearly_and_nothing_is_committed(void **state)
{
	struct host host;
	char        hops[1000] = "";
	char        field[1500] = "X: ";

	(void)state;
	host_open(&host, "message_size_limit = 100\n");
	begin(&host, "");
	add(&host, "r@far.example");
	memset(field + 3, 'y', sizeof(field) - 4);
	finish(&host, slice_from(field), 50, "552 5.3.4 Message size exceeds fixed limit");
	host_close(&host);

	host_open(&host, "header_size_limit = 1000\n");
	begin(&host, "");
	add(&host, "r@far.example");
	finish(&host, slice_from(field), 100000, "552 5.3.4 Message header field exceeds");
	host_close(&host);

	host_open(&host, "header_block_size_limit = 4096\n");
	begin(&host, "");
	add(&host, "r@far.example");
	for (size_t i = 0; i < 3; i++)
		intake_write(host.intake, SLICE("A: b\r\n"));
	for (size_t i = 0; i < 1000; i++)
		intake_write(host.intake, SLICE("Abcdef: b\r\n"));
	finish(&host, SLICE("\r\n"), 10, "552 5.3.4 Message header exceeds");
	assert_int_equal(host.queue.commits, 0);
	host_close(&host);

	for (size_t i = 0; i < 51; i++)
		memcpy(hops + i * 13, "Received: x\r\n", 14);
	host_open(&host, "");
	begin(&host, "Received: ours\r\n");
	add(&host, "r@far.example");
	finish(&host, slice_from(hops), 100, "554 5.4.0 Error: too many hops");
	assert_int_equal(host.queue.commits, 0);
	begin(&host, "Received: ours\r\n");
	add(&host, "r@far.example");
	finish(&host, slice_from(hops + 13), 100, QUEUED);
	host_close(&host);
}

static void
a_message_without_recipients_is_refused(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	begin(&host, "");
	finish(&host, SLICE("A: b\r\n\r\n"), 10, "554 5.5.1 Error: no valid recipients");
	host_close(&host);
}

/* ---- large content ---- */

static void
large_content_is_spooled_whole(void **state)
{
	static const size_t steps[] = { 4096, 32768, 1000000 };
	size_t              length = 900000;
	char               *text = malloc(length);
	struct host         host;

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < length; i++)
		text[i] = (char)('a' + i % 26);
	memcpy(text, "A: b\r\n\r\n", 8);
	memcpy(text + length - 2, "\r\n", 2);
	host_open(&host, "");
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		begin(&host, "R: x\r\n");
		add(&host, "r@far.example");
		finish(&host, slice_of(text, length), steps[i], QUEUED);
		assert_true(host.queue.was_spooled);
		assert_int_equal(host.queue.content.length, length + 6);
		assert_memory_equal(host.queue.content.data, "R: x\r\n", 6);
		assert_memory_equal(host.queue.content.data + 6, text, length);
		assert_int_equal(host.queue.envelope.size, length + 6);
	}
	assert_int_equal(host.queue.spools, 3);
	intake_end(&host.intake);
	assert_int_equal(host.queue.abandons, 0);
	host_close(&host);
	free(text);
}

static void
content_up_to_the_limit_is_held_and_not_spooled(void **state)
{
	char       *text = malloc(HELD_CONTENT_MOST + 1);
	struct host host;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', HELD_CONTENT_MOST + 1);
	memcpy(text, "A: b\r\n\r\n", 8);
	memcpy(text + HELD_CONTENT_MOST - 2, "\r\n", 2);
	host_open(&host, "");
	begin(&host, "");
	add(&host, "r@far.example");
	finish(&host, slice_of(text, HELD_CONTENT_MOST), 5000, QUEUED);
	assert_false(host.queue.was_spooled);
	begin(&host, "");
	add(&host, "r@far.example");
	memcpy(text + HELD_CONTENT_MOST - 1, "\r\n", 2);
	finish(&host, slice_of(text, HELD_CONTENT_MOST + 1), 5000, QUEUED);
	assert_true(host.queue.was_spooled);
	host_close(&host);
	free(text);
}

/* Only so many at a time; all others go to the spool file from the lower limit on. */
static void
few_messages_are_held_at_a_time(void **state)
{
	enum { MANY = 100 };
	struct host    host;
	struct intake *messages[MANY] = { NULL };
	char          *text = malloc(INLINE_CONTENT_MOST + 100);
	size_t         spooled = 0;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', INLINE_CONTENT_MOST + 100);
	memcpy(text, "A: b\r\n\r\n", 8);
	host_open(&host, "");
	for (size_t i = 0; i < MANY; i++) {
		begin(&host, "");
		messages[i] = host.intake;
		host.intake = NULL;
		assert_true(intake_write(messages[i], slice_of(text, INLINE_CONTENT_MOST + 100)));
	}
	spooled = host.queue.spools;
	assert_in_range(spooled, MANY / 2, MANY - 1);
	for (size_t i = 0; i < MANY; i++)
		intake_end(&messages[i]);
	/* What was given back can be had again. */
	begin(&host, "");
	assert_true(intake_write(host.intake, slice_of(text, INLINE_CONTENT_MOST + 100)));
	intake_end(&host.intake);
	assert_int_equal(host.queue.spools, spooled);
	host_close(&host);
	free(text);
}

static void
queue_trouble_becomes_a_temporary_reply(void **state)
{
	static const struct {
		uint32_t    spool_status, commit_status;
		bool        is_large;
		const char *expected;
	} cases[] = {
		{ INTAKE_OK, INTAKE_NO_SPACE, false, "452 4.3.1 Insufficient system storage" },
		{ INTAKE_OK, INTAKE_TRY_LATER, false, "451 4.3.0 Error: queue file write error" },
		{ INTAKE_OK, INTAKE_REFUSED, false, "451 4.3.0 Error: queue file write error" },
		{ INTAKE_NO_SPACE, INTAKE_OK, true, "452 4.3.1 Insufficient system storage" },
		{ INTAKE_TRY_LATER, INTAKE_OK, true, "451 4.3.0 Error: queue file write error" },
	};
	char       *text = malloc(300000);
	struct host host;

	(void)state;
	assert_non_null(text);
	memset(text, '\n', 300000);
	host_open(&host, "");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		host.queue.spool_status = cases[i].spool_status;
		host.queue.commit_status = cases[i].commit_status;
		begin(&host, "");
		add(&host, "r@far.example");
		finish(&host, slice_of(text, cases[i].is_large ? 300000 : 10), 4096,
		       cases[i].expected);
	}
	host_close(&host);
	free(text);
}

static void
an_unfinished_spool_file_is_abandoned(void **state)
{
	char       *text = malloc(300000);
	struct host host;

	(void)state;
	assert_non_null(text);
	memset(text, '\n', 300000);
	host_open(&host, "");
	begin(&host, "");
	add(&host, "r@far.example");
	assert_true(intake_write(host.intake, slice_of(text, 300000)));
	assert_int_equal(host.queue.spools, 1);
	intake_end(&host.intake);
	begin(&host, ""); /* its commit is answered after the abandoning has been read */
	add(&host, "r@far.example");
	finish(&host, SLICE("A: b\r\n\r\n"), 10, QUEUED);
	assert_int_equal(host.queue.abandons, 1);
	host_close(&host);
	free(text);
}

/* ---- recipients and flags ---- */

static void
aliases_keep_the_original_and_lose_duplicates(void **state)
{
	struct msg_recipient recipient = { .address = SLICE("one@here.example"),
		                           .dsn_orcpt = SLICE("rfc822;One@here.example"),
		                           .dsn_notify = DSN_NOTIFY_FAILURE };
	struct host          host;

	(void)state;
	host_open(&host, "");
	begin(&host, "");
	assert_true(intake_add_recipient(host.intake, &recipient));
	add(&host, "two@here.example");
	add(&host, "C@Here.example");
	add(&host, "c@here.example");
	finish(&host, SLICE("A: b\r\n\r\n"), 10, QUEUED);
	assert_int_equal(host.queue.recipient_count, 4);
	assert_true(slice_equal(host.queue.recipients[0].address, SLICE("a@here.example")));
	assert_true(slice_equal(host.queue.recipients[0].original, SLICE("one@here.example")));
	assert_true(
		slice_equal(host.queue.recipients[0].dsn_orcpt, SLICE("rfc822;One@here.example")));
	assert_int_equal(host.queue.recipients[0].dsn_notify, DSN_NOTIFY_FAILURE);
	/* Two ways to one mailbox are two copies, each with the address it was sent to ... */
	assert_true(slice_equal(host.queue.recipients[1].address, SLICE("a@here.example")));
	assert_true(slice_equal(host.queue.recipients[1].original, SLICE("two@here.example")));
	assert_true(slice_equal(host.queue.recipients[2].address, SLICE("b@here.example")));
	assert_true(slice_equal(host.queue.recipients[2].original, SLICE("two@here.example")));
	assert_true(slice_equal(host.queue.recipients[3].address, SLICE("C@here.example")));
	host_close(&host);

	/* ... unless nobody is to know the original. */
	host_open(&host, "enable_original_recipient = no\n");
	begin(&host, "");
	add(&host, "one@here.example");
	add(&host, "two@here.example");
	finish(&host, SLICE("A: b\r\n\r\n"), 10, QUEUED);
	assert_int_equal(host.queue.recipient_count, 2);
	assert_true(slice_equal(host.queue.recipients[0].address, SLICE("a@here.example")));
	assert_int_equal(host.queue.recipients[0].original.length, 0);
	assert_true(slice_equal(host.queue.recipients[1].address, SLICE("b@here.example")));
	host_close(&host);
}

/* RFC 3461 5.2.7.3 */
static void
an_alias_of_several_is_reported_as_expanded_to_who_asked_for_success(void **state)
{
	static const struct {
		unsigned asked, children;
		size_t   count; /* of rows: the alias has one of its own when it is reported */
	} cases[] = {
		{ 0, 0, 2 },
		{ DSN_NOTIFY_FAILURE, DSN_NOTIFY_FAILURE, 2 },
		{ DSN_NOTIFY_SUCCESS, DSN_NOTIFY_NEVER, 3 },
		{ DSN_NOTIFY_SUCCESS | DSN_NOTIFY_DELAY, DSN_NOTIFY_DELAY, 3 },
		{ DSN_NOTIFY_NEVER, DSN_NOTIFY_NEVER, 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct msg_recipient recipient = { .address = SLICE("list@far.example"),
			                           .dsn_notify = cases[i].asked };
		struct host          host;

		host_open(&host, "virtual_alias_maps = inline:{ { list@far.example = "
		                 "x@far.example, y@far.example } }\n");
		begin(&host, "");
		assert_true(intake_add_recipient(host.intake, &recipient));
		finish(&host, SLICE("A: b\r\n\r\n"), 10, QUEUED);
		assert_int_equal(host.queue.recipient_count, cases[i].count);
		const struct msg_recipient *row = host.queue.recipients;
		if (cases[i].count == 3) {
			assert_true(slice_equal(row->address, SLICE("list@far.example")));
			assert_int_equal(row->dsn_notify, cases[i].asked | DSN_NOTIFY_EXPANDED);
			row++;
		}
		assert_true(slice_equal(row->address, SLICE("x@far.example")));
		assert_int_equal(row->dsn_notify, cases[i].children);
		assert_true(slice_equal(row[1].address, SLICE("y@far.example")));
		assert_int_equal(row[1].dsn_notify, cases[i].children);
		host_close(&host);
	}
}

static void
always_bcc_gets_a_copy_without_notices(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "always_bcc = archive@far.example\n");
	begin(&host, "");
	add(&host, "r@far.example");
	finish(&host, SLICE("A: b\r\n\r\n"), 10, QUEUED);
	assert_int_equal(host.queue.recipient_count, 2);
	assert_true(slice_equal(host.queue.recipients[1].address, SLICE("archive@far.example")));
	assert_int_equal(host.queue.recipients[1].dsn_notify, DSN_NOTIFY_NEVER);
	host.envelope.flags = ENVELOPE_IS_NOTICE;
	begin(&host, "");
	add(&host, "r@far.example");
	finish(&host, SLICE("A: b\r\n\r\n"), 10, QUEUED);
	assert_int_equal(host.queue.recipient_count, 1);
	host_close(&host);
}

static void
aliases_that_fail_make_the_client_try_again(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, "");
	begin(&host, "");
	add(&host, "loop@here.example");
	finish(&host, SLICE("A: b\r\n\r\n"), 10, "451 4.3.0 Temporary lookup failure");
	assert_int_equal(host.queue.commits, 0);
	host_close(&host);
}

static void
flags_say_what_the_message_needs(void **state)
{
	static const struct {
		unsigned    given;
		const char *recipient, *content;
		unsigned    expected;
	} cases[] = {
		{ 0, "r@far.example", "A: b\r\n\r\nx\r\n", 0 },
		{ ENVELOPE_SMTPUTF8 | ENVELOPE_8BIT, "r@far.example", "A: b\r\n\r\nx\r\n", 0 },
		{ 0, "r@far.example", "A: b\r\n\r\nlong enough \xc3\xbc\r\n", ENVELOPE_8BIT },
		{ 0, "r@far.example", "A: \xc3\xbc\r\n\r\nx\r\n", ENVELOPE_8BIT },
		{ ENVELOPE_SMTPUTF8, "r@far.example", "A: \xc3\xbc\r\n\r\nx\r\n",
		  ENVELOPE_8BIT | ENVELOPE_SMTPUTF8 },
		{ ENVELOPE_SMTPUTF8, "\xc3\xbc@far.example", "A: b\r\n\r\nx\r\n",
		  ENVELOPE_SMTPUTF8 },
		{ 0, "utf8@here.example", "A: b\r\n\r\nx\r\n", ENVELOPE_SMTPUTF8 },
		{ ENVELOPE_REQUIRETLS, "r@far.example", "A: b\r\n\r\nx\r\n", ENVELOPE_REQUIRETLS },
	};
	struct host host;

	(void)state;
	host_open(&host, "");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		host.envelope.flags = cases[i].given;
		begin(&host, "");
		add(&host, cases[i].recipient);
		finish(&host, slice_from(cases[i].content), 3, QUEUED);
		if (host.queue.envelope.flags != cases[i].expected)
			fail_msg("case %zu: flags %u", i, host.queue.envelope.flags);
	}
	host_close(&host);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content_passes_unchanged_behind_the_trace_field),
		cmocka_unit_test(what_is_no_header_begins_the_body),
		cmocka_unit_test(the_last_line_is_completed),
		cmocka_unit_test(fields_of_message_drop_headers_are_dropped),
		cmocka_unit_test(missing_fields_are_added_for_our_own_clients_only),
		cmocka_unit_test(undisclosed_recipients_header_fills_a_missing_destination),
		cmocka_unit_test(limits_are_answered_clearly_and_nothing_is_committed),
		cmocka_unit_test(a_message_without_recipients_is_refused),
		cmocka_unit_test(large_content_is_spooled_whole),
		cmocka_unit_test(content_up_to_the_limit_is_held_and_not_spooled),
		cmocka_unit_test(few_messages_are_held_at_a_time),
		cmocka_unit_test(queue_trouble_becomes_a_temporary_reply),
		cmocka_unit_test(an_unfinished_spool_file_is_abandoned),
		cmocka_unit_test(aliases_keep_the_original_and_lose_duplicates),
		cmocka_unit_test(
			an_alias_of_several_is_reported_as_expanded_to_who_asked_for_success),
		cmocka_unit_test(always_bcc_gets_a_copy_without_notices),
		cmocka_unit_test(aliases_that_fail_make_the_client_try_again),
		cmocka_unit_test(flags_say_what_the_message_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
