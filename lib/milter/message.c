/* message.c - a message shown to the filters, and what they change about it. See milter.h. */
#include <string.h>

#include "lib/base/log.h"
#include "lib/milter/inside.h"

#define FIELD_MOST (4u * 1024 * 1024) /* bytes of a field in a packet */

static const struct milter_verdict go_on = { .outcome = MILTER_GO_ON };

/* ---- out: header and body ---- */

/* On the wire the lines of a field are separated by LF. */
static void
add_value(struct buf *data, struct slice value, bool keeps_space)
{
	if (!keeps_space && value.length > 0 && ascii_is_blank(value.data[0]))
		value = slice_from_offset(value, 1);
	for (size_t i = 0; i < value.length; i++) {
		bool is_end =
			value.data[i] == '\r' && i + 1 < value.length && value.data[i + 1] == '\n';

		if (!is_end && value.data[i] != '\0')
			buf_append_byte(data, value.data[i]);
	}
	buf_append_byte(data, '\0');
}

/* The value as the sender wrote it, blanks behind the colon included. */
static struct slice
raw_value(const struct header_field *field)
{
	struct slice value =
		slice_from_offset(field->whole, slice_find_byte(field->whole, ':') + 1);

	if (value.length > 0 && value.data[value.length - 1] == '\n')
		value.length--;
	if (value.length > 0 && value.data[value.length - 1] == '\r')
		value.length--;
	return value;
}

static struct milter_verdict
say_header(struct milter_session *session, struct channel *channel,
           const struct milter_content *content)
{
	struct slice          block = content->header(content->context);
	struct header_field   field;
	struct milter_verdict verdict = go_on;
	struct buf            data = BUF(FIELD_MOST);
	struct error          error = ERROR_NONE;

	while (channel->state == CHANNEL_OPEN && verdict.outcome == MILTER_GO_ON &&
	       header_next(&block, &field)) {
		buf_clear(&data);
		packet_add_text(&data, field.name);
		add_value(&data, raw_value(&field), (channel->wants & KEEPS_SPACE) != 0);
		if (data.has_failed) {
			error_set(&error, "out of memory");
			verdict = channel_failed(session, channel, &error);
		} else {
			verdict = channel_event(session, channel, MILTER_STAGES, SAYS_HEADER,
			                        buf_slice(&data), NO_HEADERS, QUIET_HEADERS);
		}
	}
	buf_free(&data);
	return verdict;
}

/* The answer to a piece of the body. *is_enough: it wants no more. */
static struct milter_verdict
hear_body(struct milter_session *session, struct channel *channel, bool *is_enough)
{
	struct milter_verdict verdict;
	struct packet         packet;
	struct error          error = ERROR_NONE;

	do {
		if (!channel_hear(channel, channel->milter->settings.content_timeout_ms, &packet,
		                  &error))
			return channel_failed(session, channel, &error);
	} while (packet.letter == ANSWERS_PROGRESS);
	if (packet.letter == ANSWERS_SKIP && (channel->wants & KNOWS_SKIP) != 0) {
		*is_enough = true;
		return go_on;
	}
	if (channel_verdict(session, channel, &packet, &verdict))
		return verdict;
	error_set(&error, "an answer to the body that does not fit");
	return channel_failed(session, channel, &error);
}

static struct milter_verdict
say_body(struct milter_session *session, struct channel *channel,
         const struct milter_content *content)
{
	struct buf            piece = BUF(BODY_PIECE_MOST);
	struct milter_verdict verdict = go_on;
	struct error          error = ERROR_NONE;
	uint64_t              offset = 0;
	bool                  is_enough = !buf_reserve(&piece, BODY_PIECE_MOST);

	if (is_enough) {
		error_set(&error, "out of memory");
		return channel_failed(session, channel, &error);
	}
	while (!is_enough && channel->state == CHANNEL_OPEN && verdict.outcome == MILTER_GO_ON) {
		ssize_t got = content->body(content->context, offset, piece.data, BODY_PIECE_MOST,
		                            &error);

		if (got == 0)
			break;
		if (got < 0 ||
		    !channel_say(channel, SAYS_BODY, slice_of(piece.data, (size_t)got), &error))
			verdict = channel_failed(session, channel, &error);
		else if ((channel->wants & QUIET_BODY) == 0)
			verdict = hear_body(session, channel, &is_enough);
		offset += got > 0 ? (uint64_t)got : 0;
	}
	buf_free(&piece);
	return verdict;
}

/* ---- in: changes ---- */

static bool
parse_field(struct slice data, bool has_index, struct milter_edit *edit)
{
	return (!has_index || packet_take_u32(&data, &edit->index)) &&
	       packet_take_text(&data, &edit->name) && packet_take_text(&data, &edit->value);
}

/* What an answer changes; false: it is no change, or it is none that was agreed on. */
static bool
parse_edit(const struct channel *channel, const struct packet *packet, struct milter_edit *edit)
{
	static const struct {
		char                  letter;
		uint32_t              may;
		enum milter_edit_kind kind;
	} rows[] = {
		{ ANSWERS_ADD_FIELD, MAY_ADD_FIELDS, MILTER_ADD_FIELD },
		{ ANSWERS_INSERT_FIELD, MAY_ADD_FIELDS | MAY_CHANGE_FIELDS, MILTER_INSERT_FIELD },
		{ ANSWERS_CHANGE_FIELD, MAY_CHANGE_FIELDS, MILTER_CHANGE_FIELD },
		{ ANSWERS_NEW_BODY, MAY_CHANGE_BODY, MILTER_NEW_BODY },
		{ ANSWERS_ADD_RECIPIENT, MAY_ADD_RECIPIENTS, MILTER_ADD_RECIPIENT },
		{ ANSWERS_ADD_RECIPIENT_WITH, MAY_ADD_RECIPIENTS_WITH, MILTER_ADD_RECIPIENT },
		{ ANSWERS_REMOVE_RECIPIENT, MAY_REMOVE_RECIPIENTS, MILTER_REMOVE_RECIPIENT },
		{ ANSWERS_CHANGE_SENDER, MAY_CHANGE_SENDER, MILTER_CHANGE_SENDER },
		{ ANSWERS_QUARANTINE, MAY_QUARANTINE, MILTER_QUARANTINE },
	};
	struct slice data = packet->data;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].letter != packet->letter || (channel->may & rows[i].may) == 0)
			continue;
		*edit = (struct milter_edit){ .kind = rows[i].kind,
			                      .has_space = (channel->wants & KEEPS_SPACE) != 0 };
		if (edit->kind == MILTER_NEW_BODY) {
			edit->value = data;
			return true;
		}
		if (edit->kind <= MILTER_CHANGE_FIELD)
			return parse_field(data, edit->kind != MILTER_ADD_FIELD, edit);
		return packet_take_text(&data, &edit->value);
	}
	return false;
}

/* Up to the filter's last word about the message. */
static struct milter_verdict
hear_changes(struct milter_session *session, struct channel *channel,
             const struct milter_content *content)
{
	for (;;) {
		struct milter_verdict verdict;
		struct milter_edit    edit;
		struct packet         packet;
		struct error          error = ERROR_NONE;

		if (!channel_hear(channel, channel->milter->settings.content_timeout_ms, &packet,
		                  &error))
			return channel_failed(session, channel, &error);
		if (packet.letter == ANSWERS_PROGRESS)
			continue;
		if (parse_edit(channel, &packet, &edit)) {
			if (!content->edit(content->context, &edit, &error)) {
				log_warning("milter %s: %s", channel->milter->endpoint.name,
				            error.text);
				return (struct milter_verdict){
					MILTER_REFUSED,
					451,
					{ 4, 3, 0 },
					SLICE("Error: queue file write error")
				};
			}
			continue;
		}
		if (channel_verdict(session, channel, &packet, &verdict))
			return verdict;
		error_set(&error, "an answer that does not fit: '%c'",
		          ascii_is_print(packet.letter) ? packet.letter : '?');
		return channel_failed(session, channel, &error);
	}
}

/* ---- both ---- */

static struct milter_verdict
show(struct milter_session *session, struct channel *channel, const struct milter_content *content)
{
	struct milter_verdict verdict = go_on;
	struct error          error = ERROR_NONE;

	if ((channel->wants & NO_HEADERS) == 0)
		verdict = say_header(session, channel, content);
	if (channel->state == CHANNEL_OPEN && verdict.outcome == MILTER_GO_ON)
		verdict = channel_event(session, channel, MILTER_END_OF_HEADER, SAYS_END_OF_HEADER,
		                        SLICE_EMPTY, NO_END_OF_HEADER, QUIET_END_OF_HEADER);
	if (channel->state == CHANNEL_OPEN && verdict.outcome == MILTER_GO_ON &&
	    (channel->wants & NO_BODY) == 0)
		verdict = say_body(session, channel, content);
	if (channel->state != CHANNEL_OPEN || verdict.outcome != MILTER_GO_ON)
		return verdict;
	if (!channel_say_macros(session, channel, MILTER_END_OF_CONTENT, SAYS_END_OF_CONTENT,
	                        &error) ||
	    !channel_say(channel, SAYS_END_OF_CONTENT, SLICE_EMPTY, &error))
		return channel_failed(session, channel, &error);
	verdict = hear_changes(session, channel, content);
	/* It has said all about this message: nothing is left to be aborted. */
	channel->is_in_message = false;
	return verdict;
}

struct milter_verdict
milter_message(struct milter_session *session, const struct milter_content *content)
{
	struct milter_verdict verdict = go_on;
	bool                  is_held = false;

	for (size_t i = 0; i < session->count && verdict.outcome == MILTER_GO_ON; i++) {
		struct channel *channel = &session->channels[i];

		if (channel->has_failed)
			verdict = channel->failure;
		else if (channel->state == CHANNEL_OPEN)
			verdict = show(session, channel, content);
		if (verdict.outcome == MILTER_HOLD) {
			is_held = true;
			verdict = go_on;
		}
	}
	if (is_held && verdict.outcome == MILTER_GO_ON)
		verdict.outcome = MILTER_HOLD;
	return verdict;
}
