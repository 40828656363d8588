/* explain.c - dakqueue why, suspend and resume: the part in the threads for administrators. */
#include "qmgr/clients.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/queue/entry.h"
#include "lib/queue/envelope.h"
#include "lib/queue/id.h"

#define LIST_MOST (20u << 20)

/* ---- why ---- */

/* What is sent, and the memory that it borrows. */
struct explanation {
	struct msg_queue_entry entry;
	bool                   is_held_by_rule;
	struct ask             entries; /* in memory */
	char                  *bytes;   /* in a file */
	struct buf             list;
};

static bool
entry_in_memory(struct client *client, struct slice id, struct explanation *found)
{
	struct slice out;
	uint32_t     length;

	found->entries = (struct ask){ .kind = ASK_ENTRIES, .ids = id, .out = BUF(OUT_MOST) };
	ask_wait(client->control, &found->entries);
	out = buf_slice(&found->entries.out);
	if (out.length < sizeof(length))
		return false;
	struct ipc_frame frame = { .type = MSG_queue_entry,
		                   .payload = slice_from_offset(out, sizeof(length)) };
	return msg_queue_entry_decode(&frame, &found->entry);
}

static bool
entry_in_file(struct client *client, struct slice id, struct explanation *found)
{
	struct queue_file_listing how = { .want_recipients = true };
	struct stored_file        file;

	found->list = BUF(LIST_MOST);
	found->bytes = client_file(client, id, &file, &how.state, &how.mtime_us);
	if (found->bytes == NULL ||
	    !queue_entry_from_file(&file, &how, &found->list, &found->entry))
		return false;
	found->is_held_by_rule = how.state == QUEUE_HOLD && found->entry.attempts == 0 &&
	                         (file.envelope.flags & ENVELOPE_HOLD) != 0;
	return true;
}

static bool
explanation_send(struct client *client, struct explanation *found)
{
	struct ask               ask = { .kind = ASK_WHY,
		                         .ids = found->entry.queue_id,
		                         .recipients = found->entry.recipients,
		                         .out = BUF(OUT_MOST) };
	struct msg_queue_outlook outlook;
	int64_t                  deadline_ms = clock_monotonic_ms() + CLIENT_MS;

	ask_wait(client->control, &ask);
	struct ipc_frame frame = { .type = MSG_queue_outlook, .payload = buf_slice(&ask.out) };
	bool             is_sent = false;
	if (ask.count == 0 || !msg_queue_outlook_decode(&frame, &outlook)) {
		is_sent = end_send(client, CONTROL_FAILED, 0, "out of memory");
	} else {
		outlook.is_held_by_rule = found->is_held_by_rule;
		is_sent =
			ipc_send(&client->channel, queue_entry, &found->entry, deadline_ms) ==
				IPC_OK &&
			ipc_send(&client->channel, queue_outlook, &outlook, deadline_ms) == IPC_OK;
	}
	buf_free(&ask.out);
	return is_sent;
}

bool
serve_why(struct client *client, struct ipc_frame *frame)
{
	struct msg_queue_why question;
	struct explanation   found = { 0 };
	bool                 is_good;

	if (!msg_queue_why_decode(frame, &question) || !queue_id_is_valid(question.queue_id))
		return false;
	if (!client_may(client, client->qmgr->mailq_users, "view", &is_good))
		return is_good;
	if (entry_in_memory(client, question.queue_id, &found) ||
	    entry_in_file(client, question.queue_id, &found))
		is_good = explanation_send(client, &found);
	else
		is_good = end_send(client, CONTROL_NOT_FOUND, 0, "no such message in the queue");
	buf_free(&found.entries.out);
	buf_free(&found.list);
	free(found.bytes);
	return is_good;
}

/* ---- suspend, resume ---- */

/*
 * By domain, what is in line already is found by its recipients, and routed anew; what is resumed
 * is tried at once. By transport and next hop the scheduler has deferred it.
 */
static uint64_t
suspension_follow(struct client *client, const struct msg_queue_suspension *suspension,
                  bool is_resumed)
{
	bool           by_domain = suspension->transport.length == 0;
	struct listing listing = { .client = client,
		                   .action = is_resumed ? QUEUE_ACT_FLUSH : QUEUE_ACT_REROUTE,
		                   .is_memory_only = !is_resumed };

	if (!is_resumed && !by_domain)
		return 0;
	listing.filter.domain = by_domain ? suspension->nexthop : SLICE_EMPTY;
	listing.filter.transport = suspension->transport;
	listing.filter.nexthop = by_domain ? SLICE_EMPTY : suspension->nexthop;
	if (is_resumed)
		listing.filter.reason = SLICE("delivery temporarily suspended: ");
	listing_run(&listing);
	return listing.count;
}

bool
serve_suspend(struct client *client, struct ipc_frame *frame)
{
	struct msg_queue_suspend    question;
	struct msg_queue_suspension suspension;
	struct ask                  ask = { .kind = ASK_SUSPEND, .out = BUF(16) };
	uint64_t                    count = 0;

	if (!msg_queue_suspend_decode(frame, &question) ||
	    !msg_queue_suspension_next(&question.suspension, &suspension))
		return false;
	if (!client->is_owner)
		return end_send(client, CONTROL_NOT_ALLOWED, 0, "only root may change the queue");
	ask.is_resumed = question.is_resumed;
	ask.suspension = &suspension;
	ask_wait(client->control, &ask);
	if (ask.count > 0)
		count = suspension_follow(client, &suspension, question.is_resumed);
	if (ask.error.text[0] != '\0')
		return end_send(client, CONTROL_FAILED, count, ask.error.text);
	return end_send(client, ask.count > 0 ? CONTROL_OK : CONTROL_NOT_FOUND, count, "");
}
