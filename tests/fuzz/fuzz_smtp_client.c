/*
 * fuzz_smtp_client.c - the outbound engine against a server that says anything.
 *
 * The first byte chooses mode and message, the rest is what the server sends, in pieces. Held up:
 * nothing but CRLF ends a line that goes out, nobody is "sent" without a final dot, and nobody is
 * left between accepted and done.
 */
/* links: smtp/session.c smtp/command.c smtp/replyfilter.c smtp/transaction.c smtp/xforward.c */
/* links: smtp/content.c smtp/verdict.c smtp/generic.c smtp/checks.c smtp/notify.c */
/* links: smtp/silence.c smtp/policy.c smtp/route.c smtp/connect.c smtp/deliver.c smtp/sasl.c */
/* links: smtp/dane.c */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "smtp/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char parameters_text[] = "myhostname = me.test\n"
				      "smtp_helo_timeout = 1s\n"
				      "smtp_line_length_limit = 40\n"
				      "smtp_header_checks = pcre:{ {/^S/ PREPEND A: b} }\n"
				      "smtp_body_checks = pcre:{ {/^long/ REPLACE .l},"
				      " {/^\\./ PREPEND .} }\n"
				      "smtp_reply_filter = pcre:{ {/^250-P/ 250-PIPELINING},"
				      " {/^5(.*)/ 2$$1}, {/^x/ 421-} }\n";

static void
check_wire(struct slice wire)
{
	for (size_t i = 0; i < wire.length; i++) {
		if (wire.data[i] == '\n' && (i == 0 || wire.data[i - 1] != '\r'))
			abort();
		if (wire.data[i] == '\r' && (i + 1 == wire.length || wire.data[i + 1] != '\n'))
			abort();
	}
}

static void
check_recipients(const struct delivery *delivery, struct slice wire)
{
	bool has_dot = slice_find(wire, SLICE("\r\n.\r\n")) != SLICE_NOT_FOUND;

	for (size_t i = 0; i < delivery->count; i++) {
		const struct delivery_recipient *recipient = &delivery->recipients[i];
		enum outcome_action              action = recipient->verdict.action;

		if (recipient->state == RECIPIENT_ACCEPTED)
			abort();
		if (recipient->state == RECIPIENT_DONE && action != OUTCOME_FAILED &&
		    action != OUTCOME_DEFERRED && !has_dot)
			abort();
		if (recipient->state == RECIPIENT_DONE &&
		    slice_has_control(slice_from(recipient->verdict.reason)))
			abort();
	}
}

static void
fill_recipients(struct buf *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct msg_job_recipient row = { .address = i == 1 ? SLICE("b c\"\\@example.org")
			                                           : SLICE("b@example.org"),
			                         .dsn_orcpt = SLICE("rfc822;x y@z"),
			                         .dsn_notify = i };

		msg_job_recipient_append(list, &row);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct snapshot   *snapshot; /* made once: parsing it is not what is tested */
	static struct rules      *rules;
	static struct table_list *filter;
	struct smtp_agent         agent = { .service = "smtp", .helo_name = "me.test" };
	struct agent_job          job = { .message = msg_job_clear() };
	struct buf                wire = BUF(16u << 20), recipients = BUF(100000);
	struct nexthop            nexthop = { .text = "example.org", .domain = "example.org" };
	struct tls_choice         tls = { .level = TLS_NONE };
	struct session_plan       plan = { .nexthop = &nexthop, .tls = &tls };
	struct host               host = { .name = "mx", .address = "192.0.2.1", .place = "mx" };
	struct delivery           delivery;
	struct verdict            verdict;

	if (size < 2)
		return 0;
	if (snapshot == NULL) {
		log_open("fuzz", "", LOG_TO_STREAM, open("/dev/null", O_WRONLY | O_CLOEXEC), 0);
		snapshot = snapshot_from_text(parameters_text, NULL);
		rules = outgoing_rules_open(snapshot_parameters(snapshot), false, NULL);
		filter = table_list_open(snapshot_parameters(snapshot)->smtp_reply_filter, NULL);
	}
	agent.parameters = snapshot_parameters(snapshot);
	agent.is_lmtp = (data[0] & 1) != 0;
	agent.rules = (data[0] & 64) != 0 ? rules : NULL;
	agent.reply_filter = (data[0] & 128) != 0 ? filter : NULL;
	host.detects_loops = (data[0] & 2) != 0;
	job.envelope.flags = (data[0] & 4) != 0 ? ENVELOPE_SMTPUTF8 | ENVELOPE_8BIT : 0;
	job.envelope.sender = (data[0] & 8) != 0 ? SLICE("a@me.test") : SLICE_EMPTY;
	job.envelope.dsn_envid = SLICE("x=y");
	tls.level = (data[0] & 16) != 0 ? TLS_ENCRYPT : TLS_NONE;
	fill_recipients(&recipients, (data[0] & 32) != 0 ? 105 : 3);
	job.message.queue_id = SLICE("4TEST");
	job.message.recipients = buf_slice(&recipients);
	job.message.content = SLICE("Subject: x\r\n\r\n.\n\r.\r\n..\rlong long long long long long "
	                            "long long long\r\n.\r\nend");
	if (delivery_begin(&delivery, &agent, &job)) {
		struct stream *stream = stream_from_memory(
			slice_of((const char *)data + 2, size - 2), data[1], &wire);
		struct session *session = session_create(&agent, stream, &host);

		session->words = &delivery.arena;
		session->queue_id = "4TEST";
		if (session_begin(session, &plan, &verdict) == SESSION_READY) {
			transaction_run(session, &delivery);
			check_recipients(&delivery, buf_slice(&wire));
			if (session_reset(session))
				transaction_run(session, &delivery);
		}
		session_quit(&session);
		check_wire(buf_slice(&wire));
	}
	delivery_end(&delivery);
	buf_free(&recipients);
	buf_free(&wire);
	return 0;
}
