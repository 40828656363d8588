/* content.c - the message as the command reads it. See pipe.h. */
#include "pipe/pipe.h"

#include "lib/base/clock.h"
#include "lib/mail/address.h"

#define PIECE_BYTES (32u * 1024)
#define OUT_MOST    (32u << 20) /* a piece with eol= and quoting; the fields */
#define HEAD_MOST   (256u * 1024)

bool
pipe_content_init(struct pipe_content *content, const struct pipe_delivery *delivery,
                  const struct pipe_recipient *first)
{
	*content = (struct pipe_content){ .delivery = delivery,
		                          .first = first,
		                          .piece = malloc(PIECE_BYTES),
		                          .converted = BUF(OUT_MOST),
		                          .quoted = BUF(OUT_MOST),
		                          .out = BUF(OUT_MOST) };
	return content->piece != NULL;
}

void
pipe_content_free(struct pipe_content *content)
{
	free(content->piece);
	buf_free(&content->converted);
	buf_free(&content->quoted);
	buf_free(&content->out);
}

static void
append_field(struct buf *out, const char *name, struct slice address)
{
	buf_append_text(out, name);
	if (address.length > 0 && !address_append_external(out, address))
		buf_append(out, address);
	buf_append_byte(out, '\n');
}

/* What flags= puts in front. */
static bool
append_fields(const struct pipe_content *content, struct buf *out)
{
	unsigned                        flags = content->delivery->room->arguments.flags;
	struct slice                    sender = content->delivery->job->envelope.sender;
	const struct msg_job_recipient *recipient = &content->first->message;
	struct slice                    original =
                recipient->original.length > 0 ? recipient->original : recipient->address;

	if (slice_has_control(sender) || slice_has_control(original) ||
	    slice_has_control(recipient->address))
		return false;
	if ((flags & PIPE_FROM_LINE) != 0)
		content_append_from_line(out, sender, clock_wall_s());
	if ((flags & PIPE_RETURN_PATH) != 0) {
		buf_append_text(out, "Return-Path: <");
		if (sender.length > 0 && !address_append_external(out, sender))
			buf_append(out, sender);
		buf_append_text(out, ">\n");
	}
	if ((flags & PIPE_ORIGINAL) != 0)
		append_field(out, "X-Original-To: ", original);
	if ((flags & PIPE_DELIVERED) != 0)
		append_field(out, "Delivered-To: ", recipient->address);
	return true;
}

/* Lines with LF become lines as dots and eol= want them. */
static void
append_lines(struct pipe_content *content, struct slice text)
{
	const struct pipe_arguments *arguments = &content->delivery->room->arguments;

	while (text.length > 0) {
		size_t newline = slice_find_byte(text, '\n');

		if (!content->in_line && text.data[0] == '.' && (arguments->flags & PIPE_DOTS) != 0)
			buf_append_byte(&content->out, '.');
		buf_append(&content->out, slice_first(text, newline));
		content->in_line = newline == SLICE_NOT_FOUND;
		if (content->in_line)
			return;
		buf_append(&content->out, arguments->eol);
		text = slice_from_offset(text, newline + 1);
	}
}

/* Moves what was converted on, through the quoting of "From " when that is wanted. */
static void
pass_on(struct pipe_content *content, bool is_last)
{
	unsigned flags = content->delivery->room->arguments.flags;

	buf_clear(&content->quoted);
	if ((flags & PIPE_FROM_QUOTE) == 0) {
		append_lines(content, buf_slice(&content->converted));
	} else {
		content_quote(&content->quoting, buf_slice(&content->converted), &content->quoted);
		if (is_last)
			content_quote_finish(&content->quoting, &content->quoted);
		append_lines(content, buf_slice(&content->quoted));
	}
	if (is_last && (flags & PIPE_BLANK_LINE) != 0)
		append_lines(content, SLICE("\n"));
}

bool
pipe_content_next(void *context, struct slice *piece, struct error *error)
{
	struct pipe_content *content = context;

	buf_clear(&content->out);
	while (content->out.length == 0 && !content->has_ended) {
		struct slice raw;

		buf_clear(&content->converted);
		if (!content->has_begun) {
			content->has_begun = true;
			buf_clear(&content->quoted);
			if (!append_fields(content, &content->quoted))
				return error_set(error, "an address holds a control character");
			append_lines(content, buf_slice(&content->quoted));
			if (content->quoted.has_failed)
				return error_set(error, "out of memory");
		}
		if (!agent_job_content(content->delivery->job, content->offset, content->piece,
		                       PIECE_BYTES, &raw, error))
			return false;
		content->offset += raw.length;
		content->has_ended = raw.length == 0;
		if (content->has_ended)
			content_finish(&content->count, &content->converted);
		else
			content_convert(&content->count, raw, &content->converted);
		pass_on(content, content->has_ended);
		/* Before the next turn forgets it: the command would read less than there is. */
		if (content->converted.has_failed || content->quoted.has_failed ||
		    content->out.has_failed)
			return error_set(error, "out of memory");
	}
	*piece = buf_slice(&content->out);
	return true;
}

bool
pipe_was_delivered_to(const struct pipe_delivery *delivery, struct slice recipient, bool *was,
                      struct error *error)
{
	uint64_t     length = agent_job_size(delivery->job);
	size_t       size = length > HEAD_MOST ? HEAD_MOST : (size_t)length;
	char        *head = malloc(size + 1);
	struct slice piece = SLICE_EMPTY;
	size_t       have = 0;
	bool         is_read = head != NULL || error_set(error, "out of memory");

	while (is_read && have < size) {
		is_read = agent_job_content(delivery->job, have, head + have, size - have, &piece,
		                            error);
		/* Inline content is given where it lies. */
		if (is_read && piece.data != head + have)
			memcpy(head + have, piece.data, piece.length);
		have += is_read ? piece.length : 0;
	}
	if (is_read)
		*was = content_was_delivered_to(slice_of(head, have), recipient);
	free(head);
	return is_read;
}
