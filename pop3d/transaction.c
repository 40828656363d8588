/* transaction.c - the commands of a logged-in session (RFC 1939 sections 5 to 7). */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/base/number.h"
#include "pop3d/pop3d.h"

static enum session_next
reply_format(struct pop3_session *session, const char *format, uint64_t a, uint64_t b)
{
	char text[100];

	snprintf(text, sizeof(text), format, (unsigned long long)a, (unsigned long long)b);
	pop3_ok(session, text);
	return SESSION_AGAIN;
}

/* The entry that a message number names; NULL after the reply that says what is wrong. */
static struct pop3_entry *
entry_named(struct pop3_session *session, struct slice number, uint32_t *index)
{
	struct pop3_mailbox *mailbox = session->mailbox;
	int64_t              value;

	if (!number_parse(number, 1, mailbox->count, &value)) {
		session->errors++;
		pop3_error(session, NULL, "There is no such message.");
		return NULL;
	}
	struct pop3_entry *entry = &mailbox->entries[value - 1];
	if (entry->is_deleted) {
		pop3_error(session, NULL, "That message is deleted.");
		return NULL;
	}
	*index = (uint32_t)(value - 1);
	return entry;
}

static uint64_t
size_left(const struct pop3_mailbox *mailbox)
{
	uint64_t size = mailbox->size;

	for (uint32_t i = 0; i < mailbox->count; i++)
		if (mailbox->entries[i].is_deleted)
			size -= mailbox->entries[i].size;
	return size;
}

enum session_next
pop3_command_stat(struct pop3_session *session, struct slice argument)
{
	const struct pop3_mailbox *mailbox = session->mailbox;

	(void)argument;
	return reply_format(session, "%llu %llu", mailbox->count - mailbox->deleted,
	                    size_left(mailbox));
}

enum session_next
pop3_command_list(struct pop3_session *session, struct slice argument)
{
	const struct pop3_mailbox *mailbox = session->mailbox;
	uint32_t                   index;

	if (!slice_is_empty(argument)) {
		const struct pop3_entry *entry = entry_named(session, argument, &index);
		return entry == NULL ? SESSION_AGAIN
		                     : reply_format(session, "%llu %llu", index + 1u, entry->size);
	}
	reply_format(session, "%llu messages (%llu octets)", mailbox->count - mailbox->deleted,
	             size_left(mailbox));
	session->sender = (struct pop3_sender){ .what = SENDING_LIST, .fd = -1 };
	return pop3_send_more(session);
}

enum session_next
pop3_command_uidl(struct pop3_session *session, struct slice argument)
{
	uint32_t index;

	if (!slice_is_empty(argument)) {
		char text[200];

		if (entry_named(session, argument, &index) == NULL)
			return SESSION_AGAIN;
		snprintf(text, sizeof(text), "%u %s", index + 1,
		         pop3_mailbox_uid(session->mailbox, index));
		pop3_ok(session, text);
		return SESSION_AGAIN;
	}
	pop3_ok(session, NULL);
	session->sender = (struct pop3_sender){ .what = SENDING_UIDL, .fd = -1 };
	return pop3_send_more(session);
}

enum session_next
pop3_command_dele(struct pop3_session *session, struct slice argument)
{
	uint32_t           index;
	struct pop3_entry *entry = entry_named(session, argument, &index);

	if (entry == NULL)
		return SESSION_AGAIN;
	entry->is_deleted = true;
	session->mailbox->deleted++;
	pop3_ok(session, "Marked to be deleted.");
	return SESSION_AGAIN;
}

enum session_next
pop3_command_rset(struct pop3_session *session, struct slice argument)
{
	struct pop3_mailbox *mailbox = session->mailbox;

	(void)argument;
	for (uint32_t i = 0; i < mailbox->count; i++)
		mailbox->entries[i].is_deleted = false;
	mailbox->deleted = 0;
	pop3_ok(session, NULL);
	return SESSION_AGAIN;
}

/* The mailbox's worker is gone, or said no: the session cannot go on without it. */
static enum session_next
mailbox_failed(struct pop3_session *session, const struct error *reason)
{
	log_warning("pop3(%s): %s", session->user, reason->text);
	pop3_error(session, "SYS/TEMP", "The mailbox cannot be read now.");
	if (!session->mailbox->channel.is_broken)
		return SESSION_AGAIN;
	session->end_words = "Mailbox not available";
	return SESSION_CLOSE;
}

static enum session_next
message_begin(struct pop3_session *session, struct slice number, struct pop3_top top)
{
	struct error             reason = ERROR_NONE;
	uint64_t                 length = 0;
	uint32_t                 index;
	bool                     is_gone;
	const struct pop3_entry *entry = entry_named(session, number, &index);

	if (entry == NULL)
		return SESSION_AGAIN;
	int fd = pop3_mailbox_fetch(session->mailbox, index, &length, &is_gone, &reason);
	if (fd < 0 && is_gone) {
		pop3_error(session, NULL, "That message is no longer there.");
		return SESSION_AGAIN;
	}
	if (fd < 0)
		return mailbox_failed(session, &reason);
	if (top.is_limited) {
		session->done.tops++;
		pop3_ok(session, NULL);
	} else {
		session->done.retrs++;
		reply_format(session, "%llu octets", entry->size, 0);
	}
	session->sender = (struct pop3_sender){
		.what = SENDING_MESSAGE, .fd = fd, .length = length, .top = top
	};
	data_encoder_init(&session->sender.encoder, true);
	return pop3_send_more(session);
}

enum session_next
pop3_command_retr(struct pop3_session *session, struct slice argument)
{
	return message_begin(session, argument, (struct pop3_top){ 0 });
}

enum session_next
pop3_command_top(struct pop3_session *session, struct slice argument)
{
	struct slice rest = argument, number, lines;
	int64_t      count;

	if (!slice_next_word(&rest, " ", &number) || !slice_next_word(&rest, " ", &lines) ||
	    !slice_is_empty(slice_trim(rest)) || !number_parse(lines, 0, INT64_MAX, &count)) {
		session->errors++;
		pop3_error(session, NULL, "Syntax: TOP message lines");
		return SESSION_AGAIN;
	}
	return message_begin(session, number,
	                     (struct pop3_top){ .is_limited = true,
	                                        .is_line_empty = true,
	                                        .lines_left = (uint64_t)count });
}

/* RFC 1939 section 6: whether deletions worked is answered here, and then it is over. */
enum session_next
pop3_update(struct pop3_session *session)
{
	struct error reason = ERROR_NONE;

	session->end_words = "Logged out";
	if (session->mailbox->deleted == 0 ||
	    pop3_mailbox_remove(session->mailbox, &session->done.removed, &reason)) {
		pop3_ok(session, "Logging out.");
		return SESSION_CLOSE;
	}
	log_warning("pop3(%s): deleting messages: %s", session->user, reason.text);
	pop3_error(session, "SYS/TEMP", "Some deleted messages were not removed.");
	return SESSION_CLOSE;
}
