/* session.c - the events of one SMTP session, for each filter in turn. See milter.h. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/number.h"
#include "lib/milter/inside.h"

#define REPLIES_MOST (64u * 1024) /* texts of replies in one message */

static const struct milter_verdict go_on = { .outcome = MILTER_GO_ON };

/* ---- verdicts ---- */

static struct milter_verdict
refused(int code, struct enhanced_status status, struct slice text)
{
	return (struct milter_verdict){ MILTER_REFUSED, code, status, text };
}

static struct milter_verdict
rejected(void)
{
	return refused(550, (struct enhanced_status){ 5, 7, 1 }, SLICE("Command rejected"));
}

static struct milter_verdict
deferred(void)
{
	return refused(451, (struct enhanced_status){ 4, 7, 1 },
	               SLICE("Service unavailable - try again later"));
}

static struct milter_verdict
shut_down(void)
{
	return refused(421, (struct enhanced_status){ 4, 7, 0 },
	               SLICE("Server closing connection"));
}

/* One line of a reply, in libmilter's writing: "%%" stands for "%". */
static void
append_line(struct buf *text, struct slice line)
{
	for (size_t i = 0; i < line.length; i++) {
		if (ascii_is_control(line.data[i]))
			continue;
		buf_append_byte(text, line.data[i]);
		if (line.data[i] == '%' && i + 1 < line.length && line.data[i + 1] == '%')
			i++;
	}
}

/* "550 5.7.1 text", or lines "550-5.7.1 text". False: it is no refusal. */
static bool
parse_reply(struct milter_session *session, struct slice given, struct milter_verdict *verdict)
{
	struct enhanced_status status = { 0, 0, 0 };
	struct buf             text = BUF(16384);
	struct slice           line;
	int64_t                code = 0, again;
	size_t                 length;

	while (slice_next_part(&given, '\n', &line)) {
		if (code != 0 && slice_trim(line).length == 0)
			continue;
		if (!number_parse(slice_first(line, 3), 400, 599, &again) ||
		    (code != 0 && again != code))
			break;
		line = slice_from_offset(line, line.length > 3 ? 4 : 3);
		if (enhanced_status_parse(line, &status, &length))
			line = slice_from_offset(line, length + (line.length > length));
		if (code != 0)
			buf_append_byte(&text, '\n');
		code = again;
		append_line(&text, line);
	}
	if (status.class != code / 100)
		status = (struct enhanced_status){ (unsigned char)(code / 100), 7, 1 };
	*verdict = refused((int)code, status, arena_copy(&session->arena, buf_slice(&text)));
	bool is_good = code != 0 && !text.has_failed && verdict->text.data != NULL;
	buf_free(&text);
	return is_good;
}

static struct milter_verdict
default_verdict(struct milter_session *session, struct slice action)
{
	struct milter_verdict verdict;

	if (slice_equal(action, SLICE("accept")))
		return go_on;
	if (slice_equal(action, SLICE("quarantine")))
		return (struct milter_verdict){ .outcome = MILTER_HOLD };
	if (slice_equal(action, SLICE("shutdown")))
		return shut_down();
	if (slice_equal(action, SLICE("reject")))
		return rejected();
	return parse_reply(session, action, &verdict) ? verdict : deferred();
}

struct milter_verdict
channel_failed(struct milter_session *session, struct channel *channel, const struct error *error)
{
	log_warning("milter %s: %s", channel->milter->endpoint.name, error->text);
	channel_close(channel);
	channel->state = CHANNEL_DONE;
	channel->has_failed = true;
	channel->failure =
		default_verdict(session, slice_from(channel->milter->settings.default_action));
	return channel->failure;
}

bool
channel_verdict(struct milter_session *session, struct channel *channel,
                const struct packet *packet, struct milter_verdict *verdict)
{
	*verdict = go_on;
	switch (packet->letter) {
	case ANSWERS_CONTINUE: return true;
	case ANSWERS_ACCEPT:
		channel->state = channel->is_in_message ? CHANNEL_PASSES : CHANNEL_DONE;
		return true;
	case ANSWERS_DISCARD: verdict->outcome = MILTER_DISCARD; return true;
	case ANSWERS_REJECT: *verdict = rejected(); return true;
	case ANSWERS_TEMPFAIL:
	case ANSWERS_CONNECTION_FAILS: *verdict = deferred(); return true;
	case ANSWERS_SHUTDOWN: *verdict = shut_down(); return true;
	case ANSWERS_REPLY:
		return parse_reply(session,
		                   slice_first(packet->data, slice_find_byte(packet->data, '\0')),
		                   verdict);
	default: return false;
	}
}

/* ---- macros ---- */

/* "{name}" or one letter; the braces are part of the name on the wire. */
static struct slice
bare_name(struct slice name)
{
	if (name.length > 2 && name.data[0] == '{' && name.data[name.length - 1] == '}')
		return slice_of(name.data + 1, name.length - 2);
	return name;
}

static struct slice
macro_default(const struct milter *milter, struct slice name)
{
	struct slice rest = slice_from(milter->settings.macro_defaults), item;

	while (slice_next_item(&rest, ",", &item)) {
		size_t equals = slice_find_byte(item, '=');

		if (equals != SLICE_NOT_FOUND &&
		    slice_equal(bare_name(slice_trim(slice_first(item, equals))), bare_name(name)))
			return slice_trim(slice_from_offset(item, equals + 1));
	}
	return (struct slice){ NULL, 0 };
}

/* As the filter has asked, else as configured; MILTER_STAGES: none. */
static struct slice
macro_names(const struct channel *channel, enum milter_stage stage)
{
	if (stage == MILTER_STAGES)
		return SLICE_EMPTY;
	if (channel->names[stage] != NULL)
		return slice_from(channel->names[stage]);
	const char *configured = channel->milter->settings.macros[stage];
	return slice_from(configured != NULL ? configured : "");
}

bool
channel_say_macros(struct milter_session *session, struct channel *channel, enum milter_stage stage,
                   enum milter_command letter, struct error *error)
{
	struct slice names = macro_names(channel, stage), name;
	struct buf   data = BUF(256u * 1024);
	bool         is_said = true;

	buf_append_byte(&data, (char)letter);
	while (slice_next_word(&names, ", \t\r\n", &name)) {
		struct slice value = session->macro(session->context, bare_name(name));

		if (value.data == NULL)
			value = macro_default(channel->milter, name);
		if (value.data == NULL)
			continue;
		packet_add_text(&data, name);
		packet_add_text(&data, value);
	}
	if (data.has_failed)
		is_said = error_set(error, "out of memory");
	else if (data.length > 1)
		is_said = channel_say(channel, SAYS_MACROS, buf_slice(&data), error);
	buf_free(&data);
	return is_said;
}

/* ---- events ---- */

struct milter_verdict
channel_event(struct milter_session *session, struct channel *channel, enum milter_stage stage,
              enum milter_command letter, struct slice data, uint32_t no_event, uint32_t no_answer)
{
	struct milter_verdict verdict = go_on;
	struct error          error = ERROR_NONE;
	struct packet         packet;

	if ((channel->wants & no_event) != 0)
		return go_on;
	if (!channel_say_macros(session, channel, stage, letter, &error) ||
	    !channel_say(channel, letter, data, &error))
		return channel_failed(session, channel, &error);
	if ((channel->wants & no_answer) != 0)
		return go_on;
	do {
		if (!channel_hear(channel, channel->milter->settings.command_timeout_ms, &packet,
		                  &error))
			return channel_failed(session, channel, &error);
	} while (packet.letter == ANSWERS_PROGRESS);
	if (channel_verdict(session, channel, &packet, &verdict))
		return verdict;
	error_set(&error, "an answer that does not fit: '%c'",
	          ascii_is_print(packet.letter) ? packet.letter : '?');
	return channel_failed(session, channel, &error);
}

/* To be held is for the end of the message; until then the others are heard. */
static bool
is_final(const struct milter_verdict *verdict)
{
	return verdict->outcome != MILTER_GO_ON && verdict->outcome != MILTER_HOLD;
}

/* Each that takes part, until one has an objection. */
static struct milter_verdict
all_event(struct milter_session *session, enum milter_stage stage, enum milter_command letter,
          struct slice data, uint32_t no_event, uint32_t no_answer)
{
	struct milter_verdict verdict = go_on;

	for (size_t i = 0; i < session->count && !is_final(&verdict); i++) {
		struct channel *channel = &session->channels[i];

		if (channel->has_failed)
			verdict = channel->failure;
		else if (channel->state == CHANNEL_OPEN)
			verdict = channel_event(session, channel, stage, letter, data, no_event,
			                        no_answer);
	}
	return verdict;
}

struct milter_verdict
milter_connect(struct milter_session *session, struct slice name, char family, uint16_t port,
               struct slice address)
{
	struct buf            data = BUF(2048);
	const char            number[2] = { (char)(port >> 8), (char)port };
	struct milter_verdict verdict = go_on;

	for (size_t i = 0; i < session->count && !is_final(&verdict); i++) {
		struct channel *channel = &session->channels[i];
		struct error    error = ERROR_NONE;

		if (channel->state != CHANNEL_NEW)
			continue;
		if (channel_open(channel, &error))
			channel->state = CHANNEL_OPEN;
		else
			verdict = channel_failed(session, channel, &error);
	}
	if (is_final(&verdict))
		return verdict;
	packet_add_text(&data, name);
	buf_append_byte(&data, family);
	if (family != 'U') {
		buf_append(&data, slice_of(number, sizeof(number)));
		if (family == '6')
			buf_append_text(&data, "IPv6:");
		packet_add_text(&data, address);
	}
	verdict = all_event(session, MILTER_CONNECT, SAYS_CONNECT, buf_slice(&data), NO_CONNECT,
	                    QUIET_CONNECT);
	buf_free(&data);
	return verdict;
}

struct milter_verdict
milter_helo(struct milter_session *session, struct slice name)
{
	struct buf data = BUF(2048);

	packet_add_text(&data, name);
	struct milter_verdict verdict =
		all_event(session, MILTER_HELO, SAYS_HELO, buf_slice(&data), NO_HELO, QUIET_HELO);
	buf_free(&data);
	return verdict;
}

static struct milter_verdict
envelope_event(struct milter_session *session, enum milter_stage stage, enum milter_command letter,
               struct slice address, struct slice arguments, uint32_t no_event, uint32_t no_answer)
{
	struct buf   data = BUF(16384);
	struct slice argument;

	packet_add_text(&data, address);
	while (slice_next_word(&arguments, " \t", &argument))
		packet_add_text(&data, argument);
	struct milter_verdict verdict =
		all_event(session, stage, letter, buf_slice(&data), no_event, no_answer);
	buf_free(&data);
	return verdict;
}

struct milter_verdict
milter_mail(struct milter_session *session, struct slice address, struct slice arguments)
{
	for (size_t i = 0; i < session->count; i++)
		session->channels[i].is_in_message = session->channels[i].state == CHANNEL_OPEN;
	return envelope_event(session, MILTER_MAIL, SAYS_MAIL, address, arguments, NO_MAIL,
	                      QUIET_MAIL);
}

struct milter_verdict
milter_rcpt(struct milter_session *session, struct slice address, struct slice arguments)
{
	return envelope_event(session, MILTER_RCPT, SAYS_RCPT, address, arguments, NO_RCPT,
	                      QUIET_RCPT);
}

struct milter_verdict
milter_data(struct milter_session *session)
{
	return all_event(session, MILTER_DATA, SAYS_DATA, SLICE_EMPTY, NO_DATA, QUIET_DATA);
}

struct milter_verdict
milter_unknown(struct milter_session *session, struct slice line)
{
	struct buf data = BUF(4096);

	packet_add_text(&data, line);
	struct milter_verdict verdict = all_event(session, MILTER_UNKNOWN, SAYS_UNKNOWN,
	                                          buf_slice(&data), NO_UNKNOWN, QUIET_UNKNOWN);
	buf_free(&data);
	return verdict;
}

void
milter_message_end(struct milter_session *session)
{
	for (size_t i = 0; i < session->count; i++) {
		struct channel *channel = &session->channels[i];
		struct error    error = ERROR_NONE;

		if (channel->is_in_message && channel->stream != NULL &&
		    (!channel_say(channel, SAYS_ABORT, SLICE_EMPTY, &error) ||
		     stream_flush(channel->stream) != STREAM_OK)) {
			error_set(&error, "it does not take what it is sent");
			channel_failed(session, channel, &error);
		}
		channel->is_in_message = false;
		if (channel->state == CHANNEL_PASSES)
			channel->state = CHANNEL_OPEN;
	}
	arena_reset(&session->arena);
	for (size_t i = 0; i < session->count; i++)
		if (session->channels[i].has_failed)
			session->channels[i].failure = default_verdict(
				session,
				slice_from(session->channels[i].milter->settings.default_action));
}

/* ---- life ---- */

struct milter_session *
milter_session_create(const struct milter_list *list, milter_macro *macro, void *context)
{
	struct milter_session *session = calloc(1, sizeof(*session));

	if (session == NULL)
		return NULL;
	session->macro = macro;
	session->context = context;
	session->arena = ARENA(REPLIES_MOST);
	session->channels = calloc(list->count, sizeof(*session->channels));
	if (session->channels == NULL) {
		free(session);
		return NULL;
	}
	session->count = list->count;
	for (size_t i = 0; i < list->count; i++)
		session->channels[i].milter = &list->milters[i];
	return session;
}

void
milter_session_destroy(struct milter_session **session)
{
	struct milter_session *gone = *session;

	if (gone == NULL)
		return;
	*session = NULL;
	for (size_t i = 0; i < gone->count; i++) {
		struct channel *channel = &gone->channels[i];
		struct error    error = ERROR_NONE;

		if (channel->stream == NULL)
			continue;
		if (channel_say(channel, SAYS_QUIT, SLICE_EMPTY, &error))
			stream_flush_now(channel->stream);
		channel_close(channel);
	}
	free(gone->channels);
	arena_reset(&gone->arena);
	free(gone);
}
