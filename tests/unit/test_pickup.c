/* test_pickup.c - what a user's frames become: against a queue of the test. */
/* links: pickup/submission.c pickup/users.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/queue/verp.h"
#include "pickup/submission.h"
#include "pickup/users.h"
#include "tests/unit/fake_queue.h"

static const char config[] = "myhostname = mail.example.org\n"
			     "mydomain = example.org\n"
			     "myorigin = example.org\n"
			     "mydestination =\n"
			     "append_dot_mydomain = yes\n"
			     "content_filter = scan:[127.0.0.1]:10025\n"
			     "inet_interfaces = 192.0.2.1\n";

struct host {
	struct fake_queue     queue;
	struct snapshot      *snapshot;
	struct intake_context context;
	struct submission     submission;
	struct buf            frames; /* what the user sent */
};

static struct host host;

static int
host_open(void **state)
{
	struct error error = ERROR_NONE;

	(void)state;
	memset(&host, 0, sizeof(host));
	host.frames = BUF(64u << 20);
	if (!fake_queue_start(&host.queue))
		return -1;
	host.snapshot = snapshot_from_text(config, &error);
	host.context.snapshot = host.snapshot;
	host.context.parameters = snapshot_parameters(host.snapshot);
	host.context.router = router_create(host.snapshot, &error);
	host.context.queue = intake_client_create(host.queue.path, "pickup");
	submission_init(&host.submission, &host.context, 1000);
	return host.context.router == NULL ? -1 : 0;
}

static int
host_close(void **state)
{
	(void)state;
	submission_reset(&host.submission);
	router_destroy(&host.context.router);
	intake_client_destroy(&host.context.queue);
	snapshot_destroy(&host.snapshot);
	fake_queue_stop(&host.queue);
	buf_free(&host.frames);
	return 0;
}

/* ---- frames ---- */

#define GIVE(name, ...)                                                                            \
	do {                                                                                       \
		struct msg_##name   message = { __VA_ARGS__ };                                     \
		struct ipc_encoding encoding = { .fields = BUF(1u << 20) };                        \
		assert_true(msg_##name##_encode(&encoding, &message));                             \
		assert_true(ipc_frame_append(&host.frames, MSG_##name, &encoding));                \
		buf_free(&encoding.fields);                                                        \
	} while (0)

static void
give_begin(const char *sender)
{
	GIVE(submit_begin, .sender = slice_from(sender));
}

static void
give_recipient(const char *address)
{
	struct buf           list = BUF(4096);
	struct msg_recipient recipient = { .address = slice_from(address) };

	assert_true(msg_recipient_append(&list, &recipient));
	GIVE(submit_recipients, .recipients = buf_slice(&list));
	buf_free(&list);
}

static void
give_content(const char *text)
{
	GIVE(submit_content, .content = slice_from(text));
}

static void
give_end(uint64_t size)
{
	GIVE(submit_end, .content_bytes = size);
}

/* Gives what was collected to the submission. */
static enum submission_step
take_all(void)
{
	enum submission_step step = SUBMISSION_GOES_ON;
	struct slice         rest = buf_slice(&host.frames);

	while (step == SUBMISSION_GOES_ON && rest.length > 0) {
		struct ipc_frame frame;
		size_t           whole;

		if (ipc_frame_read(rest, &frame, &whole) != IPC_FRAME_WHOLE)
			fail_msg("a frame of the test is not whole");
		step = submission_take(&host.submission, &frame);
		rest = slice_from_offset(rest, whole);
	}
	buf_clear(&host.frames);
	return step;
}

static void
check_result(enum submit_status status, const char *reason)
{
	assert_int_equal(take_all(), SUBMISSION_ENDED);
	struct submission_result result = submission_commit(&host.submission);
	if (result.status != status || strcmp(result.reason, reason) != 0)
		fail_msg("status %d: %s", (int)result.status, result.reason);
	submission_reset(&host.submission);
}

/* ---- messages that are taken ---- */

static void
a_message_is_committed_with_its_trace_and_what_it_lacks(void **state)
{
	(void)state;
	GIVE(submit_begin, .sender = SLICE("alice"), .full_name = SLICE("Alice O'Hara"));
	give_recipient("bob@example.net");
	give_content("Subject: x\nDate: d\r\nMessage-Id: <i>\n\none\ntwo\r\nthr");
	give_content("ee\rfour");
	give_end(56);
	check_result(SUBMIT_OK, "");
	const char *got = buf_text(&host.queue.content);
	assert_true(slice_starts_with(
		slice_from(got),
		SLICE("Received: by mail.example.org (Dakiya, from userid 1000)\r\n\tid ")));
	assert_non_null(strstr(got, "\r\nSubject: x\r\nDate: d\r\nMessage-Id: <i>\r\n"
	                            "From: Alice O'Hara <alice@example.org>\r\n"
	                            "\r\none\r\ntwo\r\nthree four\r\n"));
	assert_true(slice_equal(host.queue.envelope.sender, SLICE("alice@example.org")));
	assert_true(slice_equal(host.queue.envelope.filter, SLICE("scan:[127.0.0.1]:10025")));
	assert_int_equal(host.queue.recipient_count, 1);
	assert_true(slice_equal(host.queue.recipients[0].address, SLICE("bob@example.net")));
}

static void
check_from(const char *name, const char *expected)
{
	GIVE(submit_begin, .sender = SLICE("a@x.org"), .full_name = slice_from(name));
	give_recipient("b@x.org");
	give_content("\n");
	give_end(1);
	check_result(SUBMIT_OK, "");
	if (strstr(buf_text(&host.queue.content), expected) == NULL)
		fail_msg("%s: %s", name, buf_text(&host.queue.content));
}

static void
a_full_name_is_quoted_or_encoded_where_it_must_be(void **state)
{
	(void)state;
	check_from("", "\r\nFrom: a@x.org\r\n");
	check_from("Jane Doe", "\r\nFrom: Jane Doe <a@x.org>\r\n");
	check_from("Doe, Jane \"J\"", "\r\nFrom: \"Doe, Jane \\\"J\\\"\" <a@x.org>\r\n");
	check_from("Ren\xc3\xa9", "\r\nFrom: =?utf-8?B?UmVuw6k=?= <a@x.org>\r\n");
}

static void
check_sender(const char *given, const char *expected)
{
	give_begin(given);
	give_recipient("b@x.org");
	give_end(0);
	check_result(SUBMIT_OK, "");
	assert_true(slice_equal(host.queue.envelope.sender, slice_from(expected)));
}

static void
a_sender_is_completed(void **state)
{
	(void)state;
	check_sender("", "");
	check_sender("root", "root@example.org");
	check_sender("a@host", "a@host.example.org");
	check_sender("a@x.net", "a@x.net");
	check_sender("a@[192.0.2.1]", "a@[192.0.2.1]");
}

static void
several_messages_come_on_one_channel(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		give_begin("a@x.org");
		give_recipient("b@x.org");
		give_recipient("c@x.org");
		give_content("x\n");
		give_end(2);
		check_result(SUBMIT_OK, "");
		assert_int_equal(host.queue.commits, i);
		assert_int_equal(host.queue.recipient_count, 2);
	}
}

static void
the_envelopes_dsn_parameters_are_kept(void **state)
{
	(void)state;
	GIVE(submit_begin, .sender = SLICE("a@x.org"), .dsn_ret = DSN_RET_HDRS,
	     .dsn_envid = SLICE("job7"), .flags = ENVELOPE_REQUIRETLS);
	struct buf           list = BUF(4096);
	struct msg_recipient recipient = { .address = SLICE("b@x.org"),
		                           .dsn_notify = DSN_NOTIFY_SUCCESS,
		                           .dsn_orcpt = SLICE("rfc822;c@x.org") };
	msg_recipient_append(&list, &recipient);
	GIVE(submit_recipients, .recipients = buf_slice(&list));
	buf_free(&list);
	give_end(0);
	check_result(SUBMIT_OK, "");
	assert_int_equal(host.queue.envelope.dsn_ret, DSN_RET_HDRS);
	assert_int_equal(host.queue.envelope.flags & ENVELOPE_REQUIRETLS, ENVELOPE_REQUIRETLS);
	assert_int_equal(host.queue.recipients[0].dsn_notify, DSN_NOTIFY_SUCCESS);
	assert_true(slice_equal(host.queue.recipients[0].dsn_orcpt, SLICE("rfc822;c@x.org")));
}

static void
verp_without_delimiters_gets_the_default_ones(void **state)
{
	(void)state;
	GIVE(submit_begin, .sender = SLICE("a@x.org"), .flags = ENVELOPE_VERP);
	give_recipient("b@x.org");
	give_end(0);
	check_result(SUBMIT_OK, "");
	assert_int_equal(host.queue.envelope.flags, verp_flags(SLICE("+=")));
}

/* ---- messages that are not ---- */

static void
malformed_addresses_are_refused_and_commit_nothing(void **state)
{
	static const char *const recipients[] = { "",          "user@",      "@x.org",
		                                  "-f@x.org",  "a\nb@x.org", "a@x y.org",
		                                  "\xff@x.org" };
	static const char *const senders[] = { "user@", "a\r\nb", "-x@x.org" };

	(void)state;
	for (size_t i = 0; i < sizeof(recipients) / sizeof(recipients[0]); i++) {
		give_begin("a@x.org");
		give_recipient("good@x.org");
		give_recipient(recipients[i]);
		give_content("x\n");
		give_end(2);
		check_result(SUBMIT_BAD_DATA, "malformed recipient address");
	}
	for (size_t i = 0; i < sizeof(senders) / sizeof(senders[0]); i++) {
		give_begin(senders[i]);
		give_recipient("good@x.org");
		give_end(0);
		check_result(SUBMIT_BAD_DATA, "malformed sender address");
	}
	assert_int_equal(host.queue.commits, 0);
}

static void
what_a_user_may_not_set_is_refused(void **state)
{
	struct slice name = slice_of("a\r\nX: y", 7);

	(void)state;
	GIVE(submit_begin, .sender = SLICE("a@x.org"), .flags = ENVELOPE_IS_NOTICE);
	give_recipient("b@x.org");
	give_end(0);
	check_result(SUBMIT_BAD_DATA, "malformed envelope");
	GIVE(submit_begin, .sender = SLICE("a@x.org"), .full_name = name);
	give_recipient("b@x.org");
	give_end(0);
	check_result(SUBMIT_BAD_DATA, "malformed envelope");
	GIVE(submit_begin, .sender = SLICE("a@x.org"), .dsn_ret = 3);
	give_recipient("b@x.org");
	give_end(0);
	check_result(SUBMIT_BAD_DATA, "malformed envelope");
	/* VERP: characters that are not allowed, some without the wish, and no sender for them. */
	const struct msg_submit_begin personal[] = {
		{ .sender = SLICE("a@x.org"), .flags = verp_flags(SLICE("@=")) },
		{ .sender = SLICE("a@x.org"),
		  .flags = verp_flags(SLICE("+=")) & ~(uint32_t)ENVELOPE_VERP },
		{ .sender = SLICE_EMPTY, .flags = verp_flags(SLICE("+=")) },
	};
	for (size_t i = 0; i < 3; i++) {
		GIVE(submit_begin, .sender = personal[i].sender, .flags = personal[i].flags);
		give_recipient("b@x.org");
		give_end(0);
		check_result(SUBMIT_BAD_DATA,
		             "VERP (-XV) needs a sender, and two of the characters in "
		             "verp_delimiter_filter");
	}
	give_begin("a@x.org");
	give_end(0);
	check_result(SUBMIT_BAD_DATA, "no recipients");
	assert_int_equal(host.queue.commits, 0);
}

static void
too_many_recipients_are_refused(void **state)
{
	struct buf           list = BUF(1u << 20);
	struct msg_recipient recipient = { .address = SLICE("b@x.org") };

	(void)state;
	for (int i = 0; i < 2000; i++)
		msg_recipient_append(&list, &recipient);
	give_begin("a@x.org");
	for (int i = 0; i < 250; i++)
		GIVE(submit_recipients, .recipients = buf_slice(&list));
	give_end(0);
	check_result(SUBMIT_BAD_DATA, "too many recipients");
	buf_free(&list);
}

static void
the_order_of_frames_is_kept(void **state)
{
	(void)state;
	give_recipient("b@x.org");
	assert_int_equal(take_all(), SUBMISSION_MALFORMED);
	give_content("x");
	assert_int_equal(take_all(), SUBMISSION_MALFORMED);
	give_end(0);
	assert_int_equal(take_all(), SUBMISSION_MALFORMED);
	give_begin("a@x.org");
	give_begin("a@x.org");
	assert_int_equal(take_all(), SUBMISSION_MALFORMED);
	submission_reset(&host.submission);
	give_begin("a@x.org");
	give_content("x");
	give_recipient("b@x.org");
	assert_int_equal(take_all(), SUBMISSION_MALFORMED);
	submission_reset(&host.submission);
	GIVE(submit_done, .status = SUBMIT_OK);
	assert_int_equal(take_all(), SUBMISSION_MALFORMED);
	assert_int_equal(host.queue.commits, 0);
}

static void
content_that_was_cut_is_no_message(void **state)
{
	(void)state;
	give_begin("a@x.org");
	give_recipient("b@x.org");
	give_content("x\n");
	give_end(3);
	assert_int_equal(take_all(), SUBMISSION_MALFORMED);
	submission_reset(&host.submission);
	assert_int_equal(host.queue.commits, 0);
}

static void
the_queues_answers_are_told_apart(void **state)
{
	static const struct {
		uint32_t           answer;
		enum submit_status status;
	} rows[] = { { INTAKE_NO_SPACE, SUBMIT_NO_SPACE }, { INTAKE_TRY_LATER, SUBMIT_TRY_LATER } };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		host.queue.commit_status = rows[i].answer;
		give_begin("a@x.org");
		give_recipient("b@x.org");
		give_end(0);
		assert_int_equal(take_all(), SUBMISSION_ENDED);
		assert_int_equal(submission_commit(&host.submission).status, rows[i].status);
		submission_reset(&host.submission);
	}
}

static void
what_the_content_steps_refuse_is_refused(void **state)
{
	struct buf text = BUF(20000);

	(void)state;
	for (int i = 0; i < 60; i++)
		buf_append_text(&text, "Received: x\n");
	give_begin("a@x.org");
	give_recipient("b@x.org");
	give_content(buf_text(&text));
	give_end(text.length);
	check_result(SUBMIT_REFUSED, "Error: too many hops");
	buf_free(&text);
}

static void
a_refused_message_goes_back_without_its_content(void **state)
{
	(void)state;
	submission_return(&host.submission, "Error: too\nmany hops");
	give_begin("alice");
	give_recipient("bob@example.net");
	give_content("Received: x\nX-Bad: y\n\nsecret\n");
	give_end(29);
	check_result(SUBMIT_OK, "");
	assert_true(
		slice_equal(host.queue.envelope.filter, SLICE("error:5.7.1 Error: too?many hops")));
	assert_true(slice_equal(host.queue.envelope.sender, SLICE("alice@example.org")));
	const char *got = buf_text(&host.queue.content);
	assert_null(strstr(got, "secret"));
	assert_null(strstr(got, "X-Bad"));
	assert_non_null(
		strstr(got, "\r\nSubject: A message that was left for the mail system\r\n"));
	assert_int_equal(host.queue.recipient_count, 1);
}

/* ---- users ---- */

static void
one_user_may_have_so_many_at_a_time(void **state)
{
	struct users *users = users_create(2);

	(void)state;
	assert_true(users_enter(users, 1000) && users_enter(users, 1000));
	assert_false(users_enter(users, 1000));
	assert_true(users_enter(users, 1001));
	users_leave(users, 1000);
	assert_true(users_enter(users, 1000));
	assert_false(users_enter(users, 1000));
	users_leave(users, 1001);
	users_leave(users, 1001); /* once too often is no harm */
	assert_true(users_enter(users, 1001));
	users_destroy(&users);
	assert_null(users);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, host_open, host_close)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_message_is_committed_with_its_trace_and_what_it_lacks),
		TEST(a_full_name_is_quoted_or_encoded_where_it_must_be),
		TEST(a_sender_is_completed),
		TEST(several_messages_come_on_one_channel),
		TEST(the_envelopes_dsn_parameters_are_kept),
		TEST(malformed_addresses_are_refused_and_commit_nothing),
		TEST(verp_without_delimiters_gets_the_default_ones),
		TEST(what_a_user_may_not_set_is_refused),
		TEST(too_many_recipients_are_refused),
		TEST(the_order_of_frames_is_kept),
		TEST(content_that_was_cut_is_no_message),
		TEST(the_queues_answers_are_told_apart),
		TEST(what_the_content_steps_refuse_is_refused),
		TEST(a_refused_message_goes_back_without_its_content),
		cmocka_unit_test(one_user_may_have_so_many_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
