/* wire.c - packets to a filter and back, and what both agree on when they meet. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/milter/inside.h"

#define ALL_EDITS                                                                                  \
	(MAY_ADD_FIELDS | MAY_CHANGE_BODY | MAY_ADD_RECIPIENTS | MAY_REMOVE_RECIPIENTS |           \
	 MAY_CHANGE_FIELDS | MAY_QUARANTINE)

/* What each version of the protocol knows. */
static const struct {
	uint32_t version, may, wants;
} versions[] = {
	{ 2, ALL_EDITS,
	  NO_CONNECT | NO_HELO | NO_MAIL | NO_RCPT | NO_BODY | NO_HEADERS | NO_END_OF_HEADER },
	{ 3, ALL_EDITS,
	  NO_CONNECT | NO_HELO | NO_MAIL | NO_RCPT | NO_BODY | NO_HEADERS | NO_END_OF_HEADER |
	          NO_UNKNOWN },
	{ 4, ALL_EDITS,
	  NO_CONNECT | NO_HELO | NO_MAIL | NO_RCPT | NO_BODY | NO_HEADERS | NO_END_OF_HEADER |
	          NO_UNKNOWN | NO_DATA },
	{ 6, ALL_EDITS | MAY_CHANGE_SENDER | MAY_ADD_RECIPIENTS_WITH | MAY_NAME_MACROS,
	  NO_CONNECT | NO_HELO | NO_MAIL | NO_RCPT | NO_BODY | NO_HEADERS | NO_END_OF_HEADER |
	          NO_UNKNOWN | NO_DATA | KNOWS_SKIP | QUIET_HEADERS | QUIET_CONNECT | QUIET_HELO |
	          QUIET_MAIL | QUIET_RCPT | QUIET_DATA | QUIET_UNKNOWN | QUIET_END_OF_HEADER |
	          QUIET_BODY | KEEPS_SPACE },
};

/* ---- packets ---- */

void
packet_add_u32(struct buf *data, uint32_t number)
{
	const char bytes[4] = { (char)(number >> 24), (char)(number >> 16), (char)(number >> 8),
		                (char)number };

	buf_append(data, slice_of(bytes, sizeof(bytes)));
}

void
packet_add_text(struct buf *data, struct slice text)
{
	/* What follows a NUL would be taken for the next text. */
	buf_append(data, slice_first(text, slice_find_byte(text, '\0')));
	buf_append_byte(data, '\0');
}

bool
packet_take_u32(struct slice *data, uint32_t *number)
{
	const unsigned char *bytes = (const unsigned char *)data->data;

	if (data->length < 4)
		return false;
	*number = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	          bytes[3];
	*data = slice_from_offset(*data, 4);
	return true;
}

bool
packet_take_text(struct slice *data, struct slice *text)
{
	size_t end = slice_find_byte(*data, '\0');

	if (end == SLICE_NOT_FOUND)
		return false;
	*text = slice_first(*data, end);
	*data = slice_from_offset(*data, end + 1);
	return true;
}

bool
channel_say(struct channel *channel, enum milter_command letter, struct slice data,
            struct error *error)
{
	struct buf head = BUF(8);

	packet_add_u32(&head, (uint32_t)data.length + 1);
	buf_append_byte(&head, (char)letter);
	bool is_said = !head.has_failed &&
	               stream_write(channel->stream, buf_slice(&head)) == STREAM_OK &&
	               stream_write(channel->stream, data) == STREAM_OK;
	buf_free(&head);
	return is_said || error_set(error, "it does not take what it is sent");
}

bool
channel_hear(struct channel *channel, int64_t timeout_ms, struct packet *packet,
             struct error *error)
{
	struct stream     *stream = channel->stream;
	enum stream_result result = stream_flush(stream);
	uint32_t           length = 0;

	stream_set_deadline(stream, clock_monotonic_ms() + timeout_ms);
	stream_set_timeout(stream, timeout_ms);
	while (result == STREAM_OK) {
		struct slice input = stream_input(stream);

		if (packet_take_u32(&input, &length)) {
			if (length == 0 || length > ANSWER_MOST)
				return error_set(error, "an answer of %u bytes", length);
			if (input.length >= length) {
				packet->letter = input.data[0];
				packet->data = slice_of(input.data + 1, length - 1);
				stream_consume(stream, length + 4u);
				return true;
			}
		}
		result = stream_fill(stream);
	}
	return error_set(error, "%s", stream_result_text(result));
}

/* ---- meeting ---- */

static bool
is_listed(uint32_t stage, char **names, struct slice text)
{
	if (stage >= MILTER_STAGES)
		return true; /* of an event that we do not have */
	free(names[stage]);
	names[stage] = strndup(text.data, text.length);
	return names[stage] != NULL;
}

/* Its version and wishes, which must be among what was offered; then macros that it names. */
static bool
take_options(struct channel *channel, size_t offered, struct slice data, struct error *error)
{
	uint32_t     stage;
	struct slice text;

	if (!packet_take_u32(&data, &channel->version) || !packet_take_u32(&data, &channel->may) ||
	    !packet_take_u32(&data, &channel->wants))
		return error_set(error, "options cut short");
	if (channel->version < 2 || channel->version > versions[offered].version)
		return error_set(error, "it speaks version %u of the protocol, not %u",
		                 channel->version, versions[offered].version);
	if ((channel->may & ~versions[offered].may) != 0 ||
	    (channel->wants & ~versions[offered].wants) != 0)
		return error_set(error,
		                 "it wants what version %u does not have (%#x, %#x); see protocol",
		                 versions[offered].version, channel->may, channel->wants);
	while (data.length > 0) {
		if (!packet_take_u32(&data, &stage) || !packet_take_text(&data, &text))
			return error_set(error, "options cut short");
		if (!is_listed(stage, channel->names, text))
			return error_set(error, "out of memory");
	}
	return true;
}

static bool
agree(struct channel *channel, struct error *error)
{
	struct buf    data = BUF(16);
	struct packet packet;
	size_t        offered = sizeof(versions) / sizeof(versions[0]) - 1;

	while (offered > 0 && versions[offered].version > channel->milter->settings.protocol)
		offered--;
	packet_add_u32(&data, versions[offered].version);
	packet_add_u32(&data, versions[offered].may);
	packet_add_u32(&data, versions[offered].wants);
	bool is_good =
		channel_say(channel, SAYS_OPTIONS, buf_slice(&data), error) &&
		channel_hear(channel, channel->milter->settings.connect_timeout_ms, &packet, error);
	buf_free(&data);
	if (!is_good)
		return false;
	if (packet.letter != SAYS_OPTIONS)
		return error_set(error, "it does not answer with its options");
	return take_options(channel, offered, packet.data, error);
}

bool
channel_open(struct channel *channel, struct error *error)
{
	int64_t timeout_ms = channel->milter->settings.connect_timeout_ms;
	int     fd = endpoint_connect(&channel->milter->endpoint, clock_monotonic_ms() + timeout_ms,
	                              error);

	if (fd < 0)
		return false;
	channel->stream = stream_from_socket(fd);
	if (channel->stream == NULL) {
		close(fd);
		return error_set(error, "out of memory");
	}
	stream_set_input_limit(channel->stream, ANSWER_MOST + 8);
	stream_set_timeout(channel->stream, timeout_ms);
	if (agree(channel, error))
		return true;
	channel_close(channel);
	return false;
}

void
channel_close(struct channel *channel)
{
	stream_destroy(&channel->stream);
	for (size_t i = 0; i < MILTER_STAGES; i++) {
		free(channel->names[i]);
		channel->names[i] = NULL;
	}
}
