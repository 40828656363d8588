/* mailbox.c - the channel to one mailbox, served by a process that runs as its owner. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/array.h"
#include "lib/base/clock.h"
#include "lib/mailbox/client.h"
#include "pop3d/pop3d.h"

#define ENTRIES_MOST     1000000u
#define UID_MOST         70
#define LOCK_PAUSE_MS    10
#define LOCK_PATIENCE_MS 400

static int64_t
deadline(void)
{
	return clock_monotonic_ms() + POP3_MAILBOX_WAIT_MS;
}

/* A channel that answered wrongly or not at all is of no more use. */
static bool
receive(struct pop3_mailbox *mailbox, enum ipc_result sent, struct ipc_frame *frame,
        struct error *reason)
{
	enum ipc_result result = sent;

	if (result == IPC_OK)
		result = ipc_receive(&mailbox->channel, deadline(), frame);
	return result == IPC_OK || error_set(reason, "mailbox: %s", ipc_result_text(result));
}

static bool
malformed(struct pop3_mailbox *mailbox, struct error *reason)
{
	mailbox->channel.is_broken = true;
	return error_set(reason, "mailbox: malformed answer");
}

/* RFC 1939 section 7: 1 to 70 characters 0x21 to 0x7E. */
static bool
uid_is_good(struct slice uid)
{
	if (uid.length == 0 || uid.length > UID_MOST)
		return false;
	for (size_t i = 0; i < uid.length; i++)
		if (uid.data[i] < 0x21 || uid.data[i] > 0x7e)
			return false;
	return true;
}

static bool
entry_add(struct pop3_mailbox *mailbox, size_t *capacity, const struct msg_mailbox_entry *entry)
{
	struct pop3_entry one = { .size = entry->size, .uid = (uint32_t)mailbox->uids.length };

	if (mailbox->count >= ENTRIES_MOST ||
	    __builtin_add_overflow(mailbox->size, entry->size, &mailbox->size) ||
	    !array_grow((void **)&mailbox->entries, mailbox->count, capacity, sizeof(one)) ||
	    !buf_append(&mailbox->uids, entry->uid) || !buf_append_byte(&mailbox->uids, '\0'))
		return false;
	mailbox->entries[mailbox->count++] = one;
	return true;
}

static bool
take_entries(struct pop3_mailbox *mailbox, struct slice list, struct error *reason)
{
	struct msg_mailbox_entry entry;
	size_t                   capacity = 0;

	while (msg_mailbox_entry_next(&list, &entry)) {
		if (!uid_is_good(entry.uid))
			return malformed(mailbox, reason);
		if (!entry_add(mailbox, &capacity, &entry))
			return error_set(reason, "mailbox: too many messages, or out of memory");
	}
	return list.data != NULL || malformed(mailbox, reason);
}

static enum pop3_opened
take_listing(struct pop3_mailbox *mailbox, struct ipc_frame *frame, struct error *reason)
{
	struct msg_mailbox_listing listing = msg_mailbox_listing_clear();

	if (!msg_mailbox_listing_decode(frame, &listing)) {
		malformed(mailbox, reason);
		return OPEN_FAILED;
	}
	if (listing.status == MAILBOX_OK)
		return take_entries(mailbox, listing.entries, reason) ? OPENED : OPEN_FAILED;
	error_set(reason, "%.*s", SLICE_ARGS(slice_first(listing.reason, 400)));
	return listing.status == MAILBOX_IN_USE ? OPEN_IN_USE : OPEN_FAILED;
}

static enum pop3_opened
ask_listing(struct pop3_mailbox *mailbox, bool want_lock, struct error *reason)
{
	struct msg_mailbox_list question = { .want_lock = want_lock };
	enum pop3_opened        opened;
	struct ipc_frame        frame;

	if (!receive(mailbox, ipc_send(&mailbox->channel, mailbox_list, &question, deadline()),
	             &frame, reason))
		return OPEN_FAILED;
	opened = take_listing(mailbox, &frame, reason);
	ipc_frame_close(&frame);
	return opened;
}

/*
 * A client that comes back right after QUIT, or after its connection broke, may be faster than the
 * end of its last session is noticed: a locked mailbox is asked for again for a moment.
 */
static enum pop3_opened
ask_listing_patiently(struct pop3_mailbox *mailbox, bool want_lock, struct error *reason)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };
	int64_t               until_ms = clock_monotonic_ms() + LOCK_PATIENCE_MS;

	for (;;) {
		enum pop3_opened opened = ask_listing(mailbox, want_lock, reason);

		if (opened != OPEN_IN_USE || clock_monotonic_ms() >= until_ms)
			return opened;
		nanosleep(&pause, NULL);
	}
}

enum pop3_opened
pop3_mailbox_open(int fd, bool want_lock, struct pop3_mailbox **out, struct error *reason)
{
	struct pop3_mailbox *mailbox = calloc(1, sizeof(*mailbox));

	if (mailbox == NULL) {
		close(fd);
		error_set(reason, "out of memory");
		return OPEN_FAILED;
	}
	ipc_channel_init(&mailbox->channel, fd);
	mailbox->uids = BUF(ENTRIES_MOST * (UID_MOST + 1u));
	enum pop3_opened opened = ask_listing_patiently(mailbox, want_lock, reason);
	if (opened != OPENED) {
		pop3_mailbox_close(&mailbox);
		return opened;
	}
	*out = mailbox;
	return OPENED;
}

void
pop3_mailbox_close(struct pop3_mailbox **pointer)
{
	struct pop3_mailbox *mailbox = *pointer;

	if (mailbox == NULL)
		return;
	*pointer = NULL;
	ipc_channel_close(&mailbox->channel);
	buf_free(&mailbox->uids);
	free(mailbox->entries);
	free(mailbox);
}

int
pop3_mailbox_fetch(struct pop3_mailbox *mailbox, uint32_t index, uint64_t *length, bool *is_gone,
                   struct error *reason)
{
	struct msg_mailbox_fetch   question = { .index = index };
	struct msg_mailbox_message message = msg_mailbox_message_clear();
	struct ipc_frame           frame;

	*is_gone = false;
	if (!receive(mailbox, ipc_send(&mailbox->channel, mailbox_fetch, &question, deadline()),
	             &frame, reason))
		return -1;
	bool is_good = msg_mailbox_message_decode(&frame, &message) &&
	               (message.status != MAILBOX_OK || message.file >= 0) &&
	               message.file_length <= INT64_MAX;
	if (!is_good) {
		if (message.file >= 0)
			close(message.file);
		malformed(mailbox, reason);
	} else if (message.status == MAILBOX_OK) {
		*length = message.file_length;
	} else {
		*is_gone = message.status == MAILBOX_GONE;
		error_set(reason, "%.*s", SLICE_ARGS(slice_first(message.reason, 400)));
		if (message.file >= 0)
			close(message.file);
		message.file = -1;
	}
	ipc_frame_close(&frame);
	return is_good ? message.file : -1;
}

bool
pop3_mailbox_remove(struct pop3_mailbox *mailbox, uint64_t *removed, struct error *reason)
{
	struct buf                 marks = BUF(ENTRIES_MOST);
	struct msg_mailbox_removed answer = msg_mailbox_removed_clear();
	struct ipc_frame           frame;

	for (uint32_t i = 0; i < mailbox->count; i++)
		buf_append_byte(&marks, mailbox->entries[i].is_deleted ? 1 : 0);
	struct msg_mailbox_remove question = { .marks = buf_slice(&marks) };
	enum ipc_result           sent = marks.has_failed ? IPC_MALFORMED
	                                                  : ipc_send(&mailbox->channel, mailbox_remove,
	                                                             &question, deadline());
	bool                      is_received = receive(mailbox, sent, &frame, reason);
	buf_free(&marks);
	if (!is_received)
		return false;
	bool is_good = msg_mailbox_removed_decode(&frame, &answer);
	if (!is_good) {
		malformed(mailbox, reason);
	} else {
		*removed = answer.removed;
		if (answer.status != MAILBOX_OK)
			is_good = error_set(reason, "%.*s",
			                    SLICE_ARGS(slice_first(answer.reason, 400)));
	}
	ipc_frame_close(&frame);
	return is_good;
}

const char *
pop3_mailbox_uid(const struct pop3_mailbox *mailbox, uint32_t index)
{
	return mailbox->uids.data + mailbox->entries[index].uid;
}
