/* send.c - long replies, a piece at a time, so that a client that reads slowly holds no thread. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/io/file.h"
#include "pop3d/pop3d.h"

/* Dots and line ends at most double a piece, and 32 KB is what a stream holds without waiting. */
#define PIECE_BYTES 6144
#define HELD_ENOUGH (16u * 1024)

size_t
pop3_top_take(struct pop3_top *top, struct slice piece, bool *is_over)
{
	*is_over = false;
	if (!top->is_limited)
		return piece.length;
	for (size_t i = 0; i < piece.length; i++) {
		char c = piece.data[i];

		if (c != '\n') {
			top->is_line_empty = top->is_line_empty && c == '\r';
			continue;
		}
		if (top->is_in_body)
			top->lines_left--;
		else
			top->is_in_body = top->is_line_empty;
		top->is_line_empty = true;
		if (top->is_in_body && top->lines_left == 0) {
			*is_over = true;
			return i + 1;
		}
	}
	return piece.length;
}

void
pop3_send_stop(struct pop3_session *session)
{
	if (session->sender.what == SENDING_MESSAGE)
		close(session->sender.fd);
	session->sender = (struct pop3_sender){ .fd = -1 };
}

/* Not even a "." may follow: the client must see that the message is not whole. */
static enum session_next
message_broken(struct pop3_session *session, const char *why)
{
	log_error("%s: message cut short for %s: %s", session->client, session->user, why);
	pop3_send_stop(session);
	session->end_words = "Internal error";
	return SESSION_CLOSE;
}

static uint64_t *
bytes_counter(struct pop3_session *session)
{
	return session->sender.top.is_limited ? &session->done.top_bytes
	                                      : &session->done.retr_bytes;
}

static enum session_next
message_piece(struct pop3_session *session, char *raw, struct buf *out)
{
	struct pop3_sender *sender = &session->sender;
	uint64_t            left = sender->length - sender->offset;
	size_t              want = left > PIECE_BYTES ? PIECE_BYTES : (size_t)left;
	ssize_t             got = file_read_at(sender->fd, raw, want, (int64_t)sender->offset);
	bool                is_over;

	if (got < 0 || (size_t)got < want)
		return message_broken(session, got < 0 ? "read error" : "shorter than it was");
	struct slice piece = slice_of(raw, (size_t)got);
	piece = slice_first(piece, pop3_top_take(&sender->top, piece, &is_over));
	sender->offset += piece.length;
	is_over = is_over || sender->offset == sender->length;
	bool ok = data_encode(&sender->encoder, piece, out) &&
	          (!is_over || data_encode_end(&sender->encoder, out));
	if (!ok)
		return message_broken(session, "out of memory");
	*bytes_counter(session) += out->length;
	stream_write(session->stream, buf_slice(out));
	if (is_over) {
		pop3_send_stop(session);
		return SESSION_AGAIN;
	}
	return SESSION_CONTINUE;
}

static enum session_next
send_message(struct pop3_session *session)
{
	char             *raw = malloc(PIECE_BYTES);
	struct buf        out = BUF(2 * PIECE_BYTES + 16);
	enum session_next next = SESSION_CONTINUE;

	if (raw == NULL)
		return message_broken(session, "out of memory");
	while (next == SESSION_CONTINUE && stream_output_held(session->stream) < HELD_ENOUGH) {
		buf_clear(&out);
		next = message_piece(session, raw, &out);
	}
	buf_free(&out);
	free(raw);
	return next;
}

/* LIST and UIDL: one line an entry that is not deleted. */
static enum session_next
send_listing(struct pop3_session *session)
{
	struct pop3_sender        *sender = &session->sender;
	const struct pop3_mailbox *mailbox = session->mailbox;
	char                       line[200]; /* a failed allocation would leave an entry out */

	while (sender->index < mailbox->count) {
		const struct pop3_entry *entry = &mailbox->entries[sender->index++];

		if (entry->is_deleted)
			continue;
		if (sender->what == SENDING_LIST)
			snprintf(line, sizeof(line), "%u %llu\r\n", sender->index,
			         (unsigned long long)entry->size);
		else
			snprintf(line, sizeof(line), "%u %s\r\n", sender->index,
			         pop3_mailbox_uid(mailbox, sender->index - 1));
		stream_write_text(session->stream, line);
		if (stream_output_held(session->stream) >= HELD_ENOUGH)
			break;
	}
	if (sender->index < mailbox->count)
		return SESSION_CONTINUE;
	pop3_send_stop(session);
	stream_write_text(session->stream, ".\r\n");
	return SESSION_AGAIN;
}

enum session_next
pop3_send_more(struct pop3_session *session)
{
	switch (session->sender.what) {
	case SENDING_NOTHING: return SESSION_AGAIN;
	case SENDING_MESSAGE: return send_message(session);
	case SENDING_LIST:
	case SENDING_UIDL: return send_listing(session);
	}
	return SESSION_AGAIN;
}
