/*
 * probe.c - addresses that verify asks for: messages that are in no file and have no content.
 *
 * A probe is routed and scheduled like fresh mail, so that it waits where mail would wait, and its
 * jobs are JOB_VERIFY. It lives in memory only (BACKED_NOT, which also hides it from listings and
 * administrators); when this process ends it is not answered, and verify asks the next one.
 */
#include "qmgr/qmgr.h"

#include <stdlib.h>
#include <sys/socket.h>

#define REASON_MOST 1000

static void
answer(struct qmgr *qmgr, struct intake_link *link, const struct msg_intake_probed *probed)
{
	if (link->link.is_closed)
		return;
	if (ipc_queue(&link->link.channel, intake_probed, probed))
		link_dirty(qmgr, &link->link);
	else
		shutdown(link->link.channel.fd, SHUT_RDWR);
}

static void
answer_later(struct qmgr *qmgr, struct intake_link *link, struct slice id, const char *reason)
{
	struct msg_intake_probed later = { .queue_id = id,
		                           .action = OUTCOME_DEFERRED,
		                           .status = SLICE("4.3.0"),
		                           .reason = slice_from(reason) };

	answer(qmgr, link, &later);
}

/* ---- making one ---- */

/* The payload that a message with this envelope would have. */
static char *
payload_make(struct qmgr *qmgr, const struct msg_intake_probe *ask, struct slice *payload)
{
	struct ipc_encoding      encoding = { .fields = BUF(16u * 1024) };
	struct buf               envelopes = BUF(8u * 1024), recipients = BUF(8u * 1024);
	struct msg_envelope      envelope = { .sender = ask->sender,
		                              .arrival_us = qmgr->now_us,
		                              .flags = ENVELOPE_VERIFY };
	struct msg_recipient     recipient = { .address = ask->address };
	struct msg_intake_commit commit = { .queue_id = ask->queue_id };
	char                    *block = NULL;

	if (!slice_is_ascii(ask->address) || !slice_is_ascii(ask->sender))
		envelope.flags |= ENVELOPE_SMTPUTF8;
	msg_envelope_append(&envelopes, &envelope);
	msg_recipient_append(&recipients, &recipient);
	commit.envelope = buf_slice(&envelopes);
	commit.recipients = buf_slice(&recipients);
	if (!envelopes.has_failed && !recipients.has_failed &&
	    msg_intake_commit_encode(&encoding, &commit))
		block = malloc(encoding.fields.length + 1);
	if (block != NULL) {
		memcpy(block, encoding.fields.data, encoding.fields.length);
		*payload = slice_of(block, encoding.fields.length);
	}
	buf_free(&envelopes);
	buf_free(&recipients);
	buf_free(&encoding.fields);
	return block;
}

bool
probe_take(struct qmgr *qmgr, struct intake_link *link, struct ipc_frame *frame)
{
	struct msg_intake_probe ask;
	struct slice            payload;

	if (!msg_intake_probe_decode(frame, &ask) || !queue_id_is_valid(ask.queue_id) ||
	    ask.address.length == 0 || message_find(qmgr, ask.queue_id) != NULL ||
	    backlog_find(&qmgr->backlog, ask.queue_id) != NULL)
		return false;
	size_t most = (size_t)qmgr->parameters->address_verify_pending_request_limit;
	size_t share = (size_t)qmgr->parameters->qmgr_message_active_limit / 4;
	if (qmgr->is_draining || qmgr->probes >= (most < share ? most : share)) {
		answer_later(qmgr, link, ask.queue_id, "too many addresses are being verified");
		return true;
	}
	char           *block = payload_make(qmgr, &ask, &payload);
	struct message *probe = block == NULL ? NULL : message_create(qmgr, block, payload);
	if (probe == NULL) {
		free(block);
		answer_later(qmgr, link, ask.queue_id, "out of memory");
		return true;
	}
	probe->prober = link;
	link->probes++;
	qmgr->probes++;
	round_begin(qmgr, probe);
	return true;
}

/* ---- its end ---- */

void
probe_advance(struct qmgr *qmgr, struct message *probe)
{
	struct intake_link      *link = probe->prober;
	struct slice             list = probe->recipients[0].outcome;
	struct msg_outcome       outcome;
	struct msg_intake_probed probed = { .queue_id = slice_from(probe->id) };

	if (probe->is_resolving || probe->jobs > 0 || probe->unsettled > 0)
		return;
	if (msg_outcome_next(&list, &outcome)) {
		probed.action =
			outcome.action == OUTCOME_FAILED || outcome.action == OUTCOME_DEFERRED
				? outcome.action
				: OUTCOME_DELIVERED;
		probed.status = outcome.status;
		probed.reason = slice_first(outcome.reason, REASON_MOST);
		answer(qmgr, link, &probed);
	} else {
		answer_later(qmgr, link, probed.queue_id, "out of memory");
	}
	link->probes--;
	qmgr->probes--;
	message_free(qmgr, probe);
	intake_release(link);
}
