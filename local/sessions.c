/* sessions.c - one POP3 login's mailbox, served over its channel. */
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "local/worker.h"

#define SEND_TIMEOUT_MS 60000
#define LISTING_MOST    (63u << 20)

void
session_free(struct session *session)
{
	mailbox_close(&session->mailbox);
	ipc_channel_close(&session->channel);
	free((char *)(uintptr_t)session->path.data);
	free(session);
}

static int64_t
send_deadline(void)
{
	return clock_monotonic_ms() + SEND_TIMEOUT_MS;
}

static bool
entries_append(const struct mailbox *mailbox, struct buf *entries)
{
	struct mailbox_item item;

	for (size_t i = 0; i < mailbox_count(mailbox); i++) {
		mailbox_item(mailbox, i, &item);
		struct msg_mailbox_entry entry = { slice_from(item.uidl), item.size };
		if (!msg_mailbox_entry_append(entries, &entry))
			return false;
	}
	return true;
}

static bool
answer_list(struct session *session, struct ipc_frame *frame)
{
	struct msg_mailbox_list    request;
	struct msg_mailbox_listing listing = msg_mailbox_listing_clear();
	struct buf                 entries = BUF(LISTING_MOST);
	struct error               error = ERROR_NONE;

	if (!msg_mailbox_list_decode(frame, &request))
		return false;
	mailbox_close(&session->mailbox); /* a second listing is a fresh look */
	listing.status = (uint32_t)mailbox_open(session->worker->base, session->path,
	                                        request.want_lock, &session->mailbox, &error);
	if (listing.status == MAILBOX_OK && !entries_append(session->mailbox, &entries)) {
		error_set(&error, "too many messages in the mailbox");
		listing.status = MAILBOX_TRY_LATER;
		mailbox_close(&session->mailbox);
	}
	if (listing.status == MAILBOX_TRY_LATER)
		log_trouble("mailbox %.*s: %s", SLICE_ARGS(session->path), error.text);
	listing.entries = listing.status == MAILBOX_OK ? buf_slice(&entries) : SLICE_EMPTY;
	listing.reason = slice_from(error.text);
	bool is_sent =
		ipc_send(&session->channel, mailbox_listing, &listing, send_deadline()) == IPC_OK;
	buf_free(&entries);
	return is_sent;
}

static bool
answer_fetch(struct session *session, struct ipc_frame *frame)
{
	struct msg_mailbox_fetch   request;
	struct msg_mailbox_message message = msg_mailbox_message_clear();
	struct error               error = ERROR_NONE;

	if (!msg_mailbox_fetch_decode(frame, &request) || session->mailbox == NULL ||
	    request.index >= mailbox_count(session->mailbox))
		return false;
	message.status = (uint32_t)mailbox_fetch(session->mailbox, request.index, &message.file,
	                                         &message.file_length, &error);
	if (message.status == MAILBOX_TRY_LATER)
		log_trouble("mailbox %.*s: %s", SLICE_ARGS(session->path), error.text);
	message.reason = slice_from(error.text);
	bool is_sent =
		ipc_send(&session->channel, mailbox_message, &message, send_deadline()) == IPC_OK;
	if (message.file >= 0)
		close(message.file);
	return is_sent;
}

static bool
answer_remove(struct session *session, struct ipc_frame *frame)
{
	struct msg_mailbox_remove  request;
	struct msg_mailbox_removed removed = msg_mailbox_removed_clear();
	struct error               error = ERROR_NONE;

	if (!msg_mailbox_remove_decode(frame, &request) || session->mailbox == NULL)
		return false;
	removed.status =
		(uint32_t)mailbox_remove(session->mailbox, request.marks, &removed.removed, &error);
	if (removed.status != MAILBOX_OK)
		log_trouble("mailbox %.*s: %s", SLICE_ARGS(session->path), error.text);
	removed.reason = slice_from(error.text);
	return ipc_send(&session->channel, mailbox_removed, &removed, send_deadline()) == IPC_OK;
}

static const struct {
	uint32_t type;
	bool (*answer)(struct session *session, struct ipc_frame *frame);
} requests[] = {
	{ MSG_mailbox_list, answer_list },
	{ MSG_mailbox_fetch, answer_fetch },
	{ MSG_mailbox_remove, answer_remove },
};

static bool
request_answer(struct session *session, struct ipc_frame *frame)
{
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		if (requests[i].type == frame->type)
			return requests[i].answer(session, frame);
	log_warning("unexpected %s on a mailbox channel", msg_name(frame->type));
	return false;
}

bool
session_work(struct session *session)
{
	struct ipc_frame frame;

	if (ipc_fill(&session->channel) != IPC_OK)
		return false;
	while (ipc_next(&session->channel, &frame)) {
		bool is_good = request_answer(session, &frame);

		ipc_frame_close(&frame);
		if (!is_good)
			return false;
	}
	if (session->channel.is_broken)
		return false;
	ipc_channel_trim(&session->channel);
	return true;
}
