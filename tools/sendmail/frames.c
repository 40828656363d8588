/* frames.c - a letter as the frames of lib/ipc/messages.def, for the socket and for a file. */
#include <errno.h>
#include <unistd.h>

#include "lib/ipc/channel.h"
#include "tools/sendmail/sendmail.h"

#define RECIPIENTS_PIECE (32u * 1024) /* bytes of recipients in one frame, about */
#define FRAME_MOST       (80u * 1024)

struct encoder {
	const struct letter *letter;
	frame_sink          *sink;
	void                *context;
	struct ipc_encoding  encoding;
};

static bool
begin_encode(struct encoder *encoder)
{
	const struct letter    *letter = encoder->letter;
	struct msg_submit_begin message = { .sender = letter->sender,
		                            .full_name = letter->full_name,
		                            .flags = letter->flags,
		                            .dsn_ret = letter->dsn_ret,
		                            .dsn_envid = letter->dsn_envid };

	return msg_submit_begin_encode(&encoder->encoding, &message) &&
	       encoder->sink(encoder->context, MSG_submit_begin, &encoder->encoding);
}

static bool
recipients_give(struct encoder *encoder, struct buf *list)
{
	struct msg_submit_recipients message = { .recipients = buf_slice(list) };
	bool is_given = msg_submit_recipients_encode(&encoder->encoding, &message) &&
	                encoder->sink(encoder->context, MSG_submit_recipients, &encoder->encoding);

	buf_clear(list);
	return is_given;
}

static bool
recipients_encode(struct encoder *encoder)
{
	const struct letter *letter = encoder->letter;
	struct buf           list = BUF(FRAME_MOST);
	bool                 is_good = true;

	for (size_t i = 0; is_good && i < letter->recipients.count; i++) {
		is_good = msg_recipient_append(&list, &letter->recipients.items[i]);
		if (is_good && list.length > RECIPIENTS_PIECE)
			is_good = recipients_give(encoder, &list);
	}
	is_good = is_good && (list.length == 0 || recipients_give(encoder, &list));
	buf_free(&list);
	return is_good;
}

static bool
content_encode(struct encoder *encoder)
{
	struct buf piece = BUF(SUBMIT_CONTENT_MOST + 1024);
	uint64_t   at = 0;
	bool       is_good = buf_reserve(&piece, SUBMIT_CONTENT_MOST);

	while (is_good && at < encoder->letter->size) {
		ssize_t got =
			pread(encoder->letter->fd, piece.data, SUBMIT_CONTENT_MOST, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		struct msg_submit_content message = {
			.content = slice_of(piece.data, got > 0 ? (size_t)got : 0)
		};
		is_good = got > 0 && msg_submit_content_encode(&encoder->encoding, &message) &&
		          encoder->sink(encoder->context, MSG_submit_content, &encoder->encoding);
		at += got > 0 ? (uint64_t)got : 0;
	}
	buf_free(&piece);
	return is_good;
}

static bool
end_encode(struct encoder *encoder)
{
	struct msg_submit_end message = { .content_bytes = encoder->letter->size };

	return msg_submit_end_encode(&encoder->encoding, &message) &&
	       encoder->sink(encoder->context, MSG_submit_end, &encoder->encoding);
}

bool
letter_encode(const struct letter *letter, frame_sink *sink, void *context)
{
	struct encoder encoder = { .letter = letter,
		                   .sink = sink,
		                   .context = context,
		                   .encoding.fields = BUF(FRAME_MOST) };
	bool           is_good = begin_encode(&encoder) && recipients_encode(&encoder) &&
	               content_encode(&encoder) && end_encode(&encoder);

	buf_free(&encoder.encoding.fields);
	return is_good;
}
