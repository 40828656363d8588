/*
 * transaction.c - MAIL, RCPT, DATA and what the server makes of it, recipient by recipient.
 *
 * RFC 2920: with PIPELINING a window of commands goes out in one write and the replies come in the
 * same order; without it the window is one command. Either way the same code reads the replies.
 */
#include <stdio.h>

#include "lib/base/encode.h"
#include "lib/base/log.h"
#include "lib/mail/address.h"
#include "lib/mail/dsn.h"
#include "lib/smtp/compose.h"
#include "smtp/smtp.h"

#define COMMAND_MOST 4096
/* So many replies of ordinary length fit into a socket's buffer while nobody reads them. */
#define WINDOW_MOST 100

struct transaction {
	struct session  *session;
	struct delivery *delivery;
	size_t          *order; /* indexes of the recipients in this transaction */
	size_t           count;
	size_t           accepted;
	bool             mail_refused;
	bool             is_over; /* DATA makes no sense any more */
	bool             has_go;  /* 354 */
};

/* Recipients are asked for, and smtp_address_verify_target has the answer at RCPT. */
static bool
is_over_at_rcpt(const struct transaction *transaction)
{
	const char *target = transaction->session->agent->parameters->smtp_address_verify_target;

	return delivery_is_verify(transaction->delivery) &&
	       slice_equal(slice_from(target), SLICE("rcpt"));
}

/* ---- commands ---- */

static bool
append_mail(struct buf *line, const struct transaction *transaction)
{
	const struct msg_envelope *envelope = &transaction->delivery->job->envelope;
	unsigned                   offers = transaction->session->offers;

	if (!compose_path(line, "MAIL FROM:", transaction->delivery->sender))
		return false;
	if ((offers & OFFER_SIZE) != 0 && !delivery_is_verify(transaction->delivery)) {
		buf_append_text(line, " SIZE=");
		buf_append_u64(line, delivery_size(transaction->delivery));
	}
	if ((offers & OFFER_8BITMIME) != 0 && (envelope->flags & ENVELOPE_8BIT) != 0)
		buf_append_text(line, " BODY=8BITMIME");
	if ((offers & OFFER_SMTPUTF8) != 0 && (envelope->flags & ENVELOPE_SMTPUTF8) != 0)
		buf_append_text(line, " SMTPUTF8");
	if ((offers & OFFER_REQUIRETLS) != 0 && (envelope->flags & ENVELOPE_REQUIRETLS) != 0)
		buf_append_text(line, " REQUIRETLS");
	if ((offers & OFFER_DSN) != 0 && envelope->dsn_ret != DSN_RET_NONE)
		buf_append_text(line,
		                envelope->dsn_ret == DSN_RET_FULL ? " RET=FULL" : " RET=HDRS");
	if ((offers & OFFER_DSN) != 0 && !slice_is_empty(envelope->dsn_envid)) {
		buf_append_text(line, " ENVID=");
		xtext_encode(envelope->dsn_envid, line);
	}
	return !line->has_failed;
}

static bool
append_original(struct buf *line, struct slice original)
{
	struct buf external = BUF(COMMAND_MOST);
	bool       ok = address_append_external(&external, original);

	buf_append_text(line, slice_is_ascii(original) ? " ORCPT=rfc822;" : " ORCPT=utf-8;");
	if (slice_is_ascii(original))
		xtext_encode(buf_slice(&external), line);
	else
		ok = slice_is_utf8(original) &&
		     dsn_append_utf8_original(line, buf_slice(&external)) && ok;
	buf_free(&external);
	return ok && !line->has_failed;
}

static bool
append_rcpt(struct buf *line, const struct session *session,
            const struct delivery_recipient *recipient)
{
	const struct msg_job_recipient *row = &recipient->row;
	size_t                          semicolon = slice_find_byte(row->dsn_orcpt, ';');

	if (!compose_path(line, "RCPT TO:", recipient->address))
		return false;
	if ((session->offers & OFFER_DSN) == 0)
		return true;
	compose_notify(line, row->dsn_notify);
	/* RFC 3461 5.2.1: who asked for no other is known by the address that came in. */
	if (semicolon == SLICE_NOT_FOUND && row->original.length > 0)
		return append_original(line, row->original);
	compose_orcpt(line, row->dsn_orcpt);
	return !line->has_failed;
}

/* ---- verdicts of this transaction ---- */

static struct delivery_recipient *
member(const struct transaction *transaction, size_t i)
{
	return &transaction->delivery->recipients[transaction->order[i]];
}

/* A refusal of one recipient: for good, or another host is asked. */
static void
refuse(struct transaction *transaction, struct delivery_recipient *recipient,
       struct verdict verdict)
{
	const struct session *session = transaction->session;

	recipient->verdict = verdict;
	recipient->is_answered = true;
	recipient->state = verdict.action == OUTCOME_FAILED ? RECIPIENT_DONE : RECIPIENT_TODO;
	recipient->relay =
		arena_text(&transaction->delivery->arena, slice_from(session->host.relay));
	recipient->remote_mta =
		arena_text(&transaction->delivery->arena, slice_from(session->host.name));
	recipient->connected_us = transaction->delivery->connected_us;
	recipient->connection_use = session->uses;
}

/* The same for all recipients in the given state. */
static void
refuse_all(struct transaction *transaction, enum recipient_state state, struct verdict verdict)
{
	for (size_t i = 0; i < transaction->count; i++)
		if (member(transaction, i)->state == state)
			refuse(transaction, member(transaction, i), verdict);
}

/* The session broke: nobody has got the message as far as we know. */
static void
lose_all(struct transaction *transaction, struct verdict verdict)
{
	refuse_all(transaction, RECIPIENT_ACCEPTED, verdict);
	for (size_t i = 0; i < transaction->count; i++)
		if (member(transaction, i)->state == RECIPIENT_TODO &&
		    !member(transaction, i)->is_answered)
			refuse(transaction, member(transaction, i), verdict);
}

static void
settle(struct transaction *transaction, struct delivery_recipient *recipient,
       const struct smtp_reply *reply)
{
	struct session *session = transaction->session;
	struct verdict  verdict = { .status = "2.0.0", .diagnostic = "" };
	char            status[24];

	if (reply->code / 100 != 2) {
		verdict = verdict_of_reply(session, STEP_DOT, reply);
	} else {
		/* Who was handed NOTIFY reports, a mailbox server, too. */
		verdict.action = (session->offers & OFFER_DSN) != 0 ? OUTCOME_RELAYED_DSN
		                 : session->agent->is_lmtp          ? OUTCOME_DELIVERED
		                                                    : OUTCOME_RELAYED;
		verdict.reason = reply_text(session->words, reply);
		verdict.diagnostic = verdict.reason;
		if (reply->status.class == 2) {
			snprintf(status, sizeof(status), "2.%d.%d", reply->status.subject,
			         reply->status.detail);
			verdict.status = arena_text(session->words, slice_from(status));
		}
		if (verdict.status == NULL)
			verdict.status = "2.0.0";
	}
	if (reply->code / 100 < 4 && reply->code / 100 != 2)
		session->is_tainted = true;
	refuse(transaction, recipient, verdict);
	if (reply->code / 100 == 2)
		recipient->state = RECIPIENT_DONE;
}

/* ---- before the first command ---- */

/* What this host cannot take whatever we say. True: go on. */
static bool
is_possible(struct transaction *transaction)
{
	struct session            *session = transaction->session;
	const struct msg_envelope *envelope = &transaction->delivery->job->envelope;
	uint64_t                   size = delivery_size(transaction->delivery);
	struct verdict             verdict;

	if (session->size_limit > 0 && size > session->size_limit) {
		refuse_all(transaction, RECIPIENT_TODO,
		           verdict_make(session->words, OUTCOME_FAILED, "5.3.4",
		                        "message size %llu exceeds size limit %llu of server %s",
		                        (unsigned long long)size,
		                        (unsigned long long)session->size_limit,
		                        session->host.place));
		return false;
	}
	if ((envelope->flags & ENVELOPE_SMTPUTF8) != 0 && (session->offers & OFFER_SMTPUTF8) == 0)
		verdict = verdict_make(session->words, OUTCOME_FAILED, "5.6.7",
		                       "SMTPUTF8 is required, but was not offered by host %s",
		                       session->host.place);
	else if ((envelope->flags & ENVELOPE_REQUIRETLS) != 0 &&
	         ((session->offers & OFFER_REQUIRETLS) == 0 || !tls_is_active(session->stream)))
		verdict = verdict_make(session->words, OUTCOME_FAILED, "5.7.30",
		                       "REQUIRETLS is required, but was not offered by host %s",
		                       session->host.place);
	else
		return true;
	/* Another host of the destination may offer it: still to do, with a final last word. */
	refuse_all(transaction, RECIPIENT_TODO, verdict);
	for (size_t i = 0; i < transaction->count; i++)
		member(transaction, i)->state = RECIPIENT_TODO;
	return false;
}

/* Addresses that have no form on the wire fail here and are no part of the transaction. */
static bool
collect(struct transaction *transaction)
{
	struct delivery *delivery = transaction->delivery;
	struct buf       line = BUF(COMMAND_MOST);

	transaction->order = arena_alloc_array(&delivery->arena, delivery->count + 1,
	                                       sizeof(*transaction->order));
	/* With room for any command, what cannot be written has no form; that is no matter of
	 * memory. */
	if (transaction->order == NULL || !buf_reserve(&line, COMMAND_MOST - 1)) {
		buf_free(&line);
		for (size_t i = 0; i < delivery->count; i++)
			if (delivery->recipients[i].state == RECIPIENT_TODO)
				refuse(transaction, &delivery->recipients[i],
				       verdict_make(&delivery->arena, OUTCOME_DEFERRED, "4.3.0",
				                    "out of memory"));
		return false;
	}
	for (size_t i = 0; i < delivery->count; i++) {
		struct delivery_recipient *recipient = &delivery->recipients[i];

		if (recipient->state != RECIPIENT_TODO)
			continue;
		recipient->is_answered = false;
		buf_clear(&line);
		if (append_rcpt(&line, transaction->session, recipient) &&
		    !slice_has_control(buf_slice(&line))) {
			transaction->order[transaction->count++] = i;
			continue;
		}
		refuse(transaction, recipient,
		       verdict_make(&delivery->arena, OUTCOME_FAILED, "5.1.3",
		                    "bad recipient address syntax"));
	}
	buf_clear(&line);
	if (transaction->count > 0 && !append_mail(&line, transaction)) {
		refuse_all(transaction, RECIPIENT_TODO,
		           verdict_make(&delivery->arena, OUTCOME_FAILED, "5.1.7",
		                        "bad sender address syntax"));
		transaction->count = 0;
	}
	buf_free(&line);
	return transaction->count > 0;
}

/* ---- the envelope ---- */

/* Item 0 is MAIL, 1 .. count the recipients, count + 1 DATA, which is left out when an answer to
 * RCPT is all that is wanted. */
static enum step
step_of(const struct transaction *transaction, size_t item)
{
	return item == 0 ? STEP_MAIL : item <= transaction->count ? STEP_RCPT : STEP_DATA;
}

static bool
send_item(struct transaction *transaction, size_t item, struct verdict *verdict)
{
	struct session *session = transaction->session;
	struct buf      line = BUF(COMMAND_MOST);
	bool            ok = true;

	if (item == 0)
		ok = append_mail(&line, transaction);
	else if (item <= transaction->count)
		ok = append_rcpt(&line, session, member(transaction, item - 1));
	else
		buf_append_text(&line, "DATA");
	if (!ok || line.has_failed) {
		session->is_dead = true;
		*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.3.0", "out of memory");
		ok = false;
	} else {
		ok = session_command(session, step_of(transaction, item), buf_slice(&line),
		                     verdict);
	}
	buf_free(&line);
	return ok;
}

static void
take_rcpt_reply(struct transaction *transaction, struct delivery_recipient *recipient,
                struct smtp_reply *reply)
{
	if (reply->code / 100 == 2) {
		transaction->accepted++;
		if (!transaction->mail_refused)
			recipient->state = RECIPIENT_ACCEPTED;
		if (delivery_is_verify(transaction->delivery))
			recipient->reply = reply_text(transaction->session->words, reply);
		return;
	}
	if (transaction->mail_refused)
		return; /* MAIL's reply said why */
	if (reply->code == 552) {
		/* RFC 5321 4.5.3.1.10: too many recipients, an old way to say 452. */
		reply->code = 452;
		reply->status.class = 0;
	}
	refuse(transaction, recipient, verdict_of_reply(transaction->session, STEP_RCPT, reply));
}

static void
take_reply(struct transaction *transaction, size_t item, struct smtp_reply *reply)
{
	struct session *session = transaction->session;

	switch (step_of(transaction, item)) {
	case STEP_MAIL:
		if (reply->code / 100 == 2) {
			session->needs_reset = true;
			return;
		}
		transaction->mail_refused = true;
		transaction->is_over = true;
		/* What they think of the sender of probes says nothing of the recipient. */
		if (reply->code / 100 == 5 && delivery_is_verify(transaction->delivery)) {
			reply->code -= 100;
			reply->status.class = 0;
		}
		refuse_all(transaction, RECIPIENT_TODO,
		           verdict_of_reply(session, STEP_MAIL, reply));
		return;
	case STEP_RCPT:
		take_rcpt_reply(transaction, member(transaction, item - 1), reply);
		if (item == transaction->count && transaction->accepted == 0)
			transaction->is_over = true;
		return;
	default: /* of the steps, only DATA is left */
		transaction->has_go = reply->code == 354;
		if (transaction->has_go)
			return;
		if (reply->code / 100 < 4)
			session->is_tainted = true;
		refuse_all(transaction, RECIPIENT_ACCEPTED,
		           verdict_of_reply(session, STEP_DATA, reply));
		return;
	}
}

/* Commands and replies up to DATA's. False: the session is lost. */
static bool
exchange_envelope(struct transaction *transaction)
{
	struct session   *session = transaction->session;
	bool              has_data = !is_over_at_rcpt(transaction);
	size_t            total = transaction->count + 1 + has_data, sent = 0;
	size_t            window = (session->offers & OFFER_PIPELINING) != 0 ? WINDOW_MOST : 1;
	struct smtp_reply reply;
	struct verdict    verdict;

	for (size_t item = 0; item < total; item++) {
		if (item == sent) { /* every reply is in: the next window */
			if (transaction->is_over || session->is_tainted)
				return true;
			do
				if (!send_item(transaction, sent, &verdict))
					goto out;
			while (++sent < total && sent - item < window);
		}
		if (!session_reply(session, step_of(transaction, item), &reply, &verdict))
			goto out;
		take_reply(transaction, item, &reply);
	}
	return true;
out:
	lose_all(transaction, verdict);
	return false;
}

/* ---- after DATA ---- */

/*
 * 354 although no recipient was accepted (RFC 2920 3.1): an empty message to nobody is the way
 * out. When MAIL was refused and a recipient accepted nonetheless, only hanging up is safe.
 */
static void
send_nothing(struct transaction *transaction)
{
	struct session   *session = transaction->session;
	struct smtp_reply reply;
	struct verdict    verdict;

	if (transaction->accepted > 0) {
		session->is_dead = true;
		return;
	}
	if (session_command(session, STEP_DOT, SLICE("."), &verdict) &&
	    session_reply(session, STEP_DOT, &reply, &verdict))
		session->needs_reset = reply.code / 100 != 2;
}

/* Replies to the final dot: one, or with LMTP one for each accepted recipient (RFC 2033 4.2). */
static void
take_results(struct transaction *transaction)
{
	struct session   *session = transaction->session;
	struct smtp_reply reply;
	struct verdict    verdict;
	bool              has_reply = false;

	for (size_t i = 0; i < transaction->count; i++) {
		if (member(transaction, i)->state != RECIPIENT_ACCEPTED)
			continue;
		if ((!has_reply || session->agent->is_lmtp) &&
		    !session_reply(session, STEP_DOT, &reply, &verdict)) {
			/* The message may have been taken: no other host gets it now. */
			for (; i < transaction->count; i++) {
				struct delivery_recipient *recipient = member(transaction, i);

				if (recipient->state != RECIPIENT_ACCEPTED)
					continue;
				refuse(transaction, recipient, verdict);
				recipient->state = RECIPIENT_DONE;
			}
			return;
		}
		has_reply = true;
		settle(transaction, member(transaction, i), &reply);
	}
	session->needs_reset = false;
}

/* Nothing is to be delivered: who was accepted is deliverable, and the transaction ends here. */
static void
end_verify(struct transaction *transaction)
{
	struct session *session = transaction->session;

	for (size_t i = 0; i < transaction->count; i++) {
		struct delivery_recipient *recipient = member(transaction, i);

		if (recipient->state != RECIPIENT_ACCEPTED)
			continue;
		refuse(transaction, recipient,
		       (struct verdict){ .action = OUTCOME_DELIVERED,
		                         .status = "2.1.5",
		                         .reason = recipient->reply,
		                         .diagnostic = recipient->reply });
		recipient->state = RECIPIENT_DONE;
	}
	/* After 354 whatever we say would be content; hanging up ends it. */
	if (transaction->has_go)
		session->is_dead = true;
}

void
transaction_run(struct session *session, struct delivery *delivery)
{
	struct transaction transaction = { .session = session, .delivery = delivery };
	struct verdict     verdict;

	session->words = &delivery->arena;
	session->queue_id = delivery->queue_id;
	session->carries_notice = delivery_is_notice(delivery);
	session->notes = &delivery->notes;
	session->has_reply = false;
	session->uses++;
	if (!collect(&transaction) || !is_possible(&transaction))
		return;
	if (!session_forward(session, delivery->job, &verdict)) {
		lose_all(&transaction, verdict);
		return;
	}
	if (!exchange_envelope(&transaction))
		return;
	if (session->is_tainted && !transaction.has_go) {
		/* 421: what was accepted so far comes to nothing. */
		lose_all(&transaction, verdict_make(session->words, OUTCOME_DEFERRED, "4.4.2",
		                                    "host %s closed the session in a transaction",
		                                    session->host.place));
		return;
	}
	if (is_over_at_rcpt(&transaction) || (delivery_is_verify(delivery) && transaction.has_go)) {
		end_verify(&transaction);
		return;
	}
	if (!transaction.has_go)
		return;
	if (transaction.mail_refused || transaction.accepted == 0) {
		send_nothing(&transaction);
		return;
	}
	if (content_send(session, delivery, &verdict))
		take_results(&transaction);
	else
		refuse_all(&transaction, RECIPIENT_ACCEPTED, verdict);
}
