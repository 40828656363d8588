/*
 * session.c - the life of a session: greeting, lines, states, end.
 */
#include "smtpd/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/smtp/extensions.h"

/* What a stranger can make a session hold beside its content. */
#define SESSION_ARENA_MOST (32u * 1024)
#define HELD_MOST          (64u * 1024)
#define LINE_FILTERED_MOST 8192 /* of a line as smtpd_command_filter has it */
/* How long a goodbye may take. */
#define GOODBYE_MS 1000

static const struct parameters *
choose_parameters(const struct room *room)
{
	size_t sessions = limits_sessions(room->limits);

	/* Near the limit the values for stress make room for others. */
	if (room->session_limit > 0 && sessions >= room->session_limit - room->session_limit / 5)
		return snapshot_stress_parameters(room->snapshot);
	return room->parameters;
}

static void
session_free(struct session *session)
{
	transaction_reset(session);
	milters_end(session);
	login_turn_end(session);
	if (session->exchange != NULL)
		auth_end(&session->exchange);
	limits_disconnect(session->room->limits, &session->limit, clock_monotonic_ms());
	arena_reset(&session->mail.arena);
	arena_reset(&session->forwarded.arena);
	arena_reset(&session->arena);
	buf_free(&session->held);
	buf_free(&session->helo_text);
	transcript_free(&session->transcript);
	free(session);
}

/* Counts and limits of the client; false: refused, and told so. */
static bool
session_admit(struct session *session, const struct session_peer *peer)
{
	const struct parameters *parameters = session->parameters;
	size_t                   simultaneous = 0;
	int64_t                  most = parameters->smtpd_client_connection_count_limit;

	session->limit = limits_connect(session->room->limits, &peer->client, clock_monotonic_ms(),
	                                &simultaneous);
	if (session->limit == NULL)
		return false;
	bool is_good = most == 0 || simultaneous <= (size_t)most ||
	               client_is_in(session, session->room->event_exceptions);
	if (!is_good)
		log_warning("Connection concurrency limit exceeded: %zu from %s for service %s",
		            simultaneous, client_label(session), session->room->service);
	is_good = is_good &&
	          client_may(session, LIMIT_CONNECTIONS,
	                     parameters->smtpd_client_connection_rate_limit, "Connection rate");
	if (!is_good) {
		answer(session, 421, "4.7.0", "%s Error: too many connections from %.*s",
		       parameters->myhostname, SLICE_ARGS(session->client.address));
		stream_set_timeout(session->stream, GOODBYE_MS);
		stream_flush(session->stream);
	}
	return is_good;
}

void
session_greet(struct session *session)
{
	struct restriction_question question = { .stage = STAGE_CLIENT };
	struct smtp_reply           refusal;

	if ((!session->parameters->smtpd_delay_reject &&
	     !restrictions_evaluate(session, &question, &refusal)) ||
	    !milters_connect(session, &refusal)) {
		session->is_denied = true;
		answer_reply(session, &refusal);
		return;
	}
	answer(session, 220, "", "%s", session->parameters->smtpd_banner);
}

void *
session_begin(struct daemon_context *context, struct stream *stream,
              const struct session_peer *peer)
{
	struct room    *room = context->room;
	struct session *session = calloc(1, sizeof(*session));

	if (session == NULL)
		return NULL;
	session->room = room;
	session->parameters = choose_parameters(room);
	session->stream = stream;
	session->number = peer->number;
	session->arena = ARENA(SESSION_ARENA_MOST);
	session->held = BUF(HELD_MOST);
	session->helo_text = BUF(HELO_MOST);
	transcript_init(&session->transcript);
	session->helo = SLICE_EMPTY;
	session->sasl_method = session->sasl_user = session->sasl_sender = SLICE_EMPTY;
	session->verb = SMTP_VERB_UNKNOWN;
	transaction_init(&session->mail);
	log_set_session(session->number);
	stream_set_timeout(stream, session->parameters->smtpd_timeout * 1000);
	if (!client_from_peer(session, peer) || !session_admit(session, peer)) {
		session_free(session);
		return NULL;
	}
	if (session->parameters->smtpd_tls_wrappermode) {
		session->state = STATE_HANDSHAKE;
		session_start_tls(session, stream, room->tls);
	} else {
		session_greet(session);
	}
	if (session->has_ended_badly) { /* no memory for the greeting: nobody is to wait for it */
		session_free(session);
		return NULL;
	}
	return session;
}

/* The longest line taken now. */
static size_t
line_limit(const struct session *session, struct slice input)
{
	size_t limit = (size_t)session->parameters->line_length_limit;
	size_t response = (size_t)session->parameters->smtpd_sasl_response_limit + 64;

	if (limit < 2048)
		limit = 2048;
	if ((session->state == STATE_AUTH || slice_starts_with_fold(input, SLICE("AUTH "))) &&
	    response > limit)
		limit = response;
	return limit;
}

/*
 * smtpd_command_filter: the line as the administrator has it. BDAT is left alone: where its chunk
 * ends must not be lost. False: answered; nothing of the session can be trusted then.
 */
static bool
line_filter(struct session *session, struct slice *line, struct buf *value)
{
	struct error error = ERROR_NONE;

	if (table_list_is_empty(session->room->command_filter) || line->length == 0 ||
	    slice_starts_with_fold(*line, SLICE("BDAT")))
		return true;
	switch (table_list_lookup(session->room->command_filter, *line, value, &error)) {
	case LOOKUP_FOUND: break;
	case LOOKUP_NOT_FOUND: return true;
	case LOOKUP_TRY_LATER:
		log_warning("smtpd_command_filter: %s", error.text);
		answer_and_end(session, 421, "4.3.0", "%s Error: temporary lookup failure",
		               session->parameters->myhostname);
		return false;
	}
	/* Not what AUTH says: it may be a password. */
	if (!slice_starts_with_fold(*line, SLICE("AUTH"))) {
		struct buf text = BUF(1000);

		buf_append_printable(&text, slice_first(*line, 100));
		buf_append_text(&text, "\" with \"");
		buf_append_printable(&text, slice_first(buf_slice(value), 100));
		log_info("%s: replacing command \"%s\"", client_label(session), buf_text(&text));
		buf_free(&text);
	}
	*line = buf_slice(value);
	return true;
}

static void
line_execute(struct session *session, struct slice line)
{
	struct smtp_command command;
	struct buf          filtered = BUF(LINE_FILTERED_MOST);

	client_log_connect(session);
	session->has_command = true;
	notify_note_command(session, line);
	if (session->state == STATE_AUTH) {
		login_response(session, line);
		return;
	}
	session->deadline_ms = 0;
	if (line_filter(session, &line, &filtered)) {
		if (smtp_command_parse(line, &command))
			command_execute(session, &command);
		else
			command_refuse_malformed(session, line);
	}
	buf_free(&filtered);
}

/* A line above the limit: dropped up to its end, then answered. */
static enum session_next
line_too_long(struct session *session, size_t length, bool is_complete)
{
	stream_consume(session->stream, length);
	session->is_skipping_line = !is_complete;
	if (!is_complete)
		return SESSION_WAIT;
	client_log_connect(session);
	session->has_command = true;
	notify_note_command(session, SLICE("(a line that is too long)"));
	session->verb = SMTP_VERB_UNKNOWN;
	session->counts[SMTP_VERB_UNKNOWN].all++;
	if (session->state == STATE_AUTH) {
		auth_end(&session->exchange);
		session->state = STATE_COMMAND;
		answer(session, 500, "5.5.6", "Error: authentication response too long");
		return SESSION_AGAIN;
	}
	answer(session, 500, "5.5.2", "Error: line too long");
	return SESSION_AGAIN;
}

/* The line is copied: what carries out a command may read on, drop input, change transport. */
static enum session_next
line_input(struct session *session)
{
	struct slice input = stream_input(session->stream);
	size_t       limit = line_limit(session, input);
	struct slice line;
	size_t       length;
	bool         is_bare;

	if (!smtp_line_take(input, &line, &length, &is_bare)) {
		if (input.length > limit || session->is_skipping_line)
			return line_too_long(session, input.length, false);
		return SESSION_WAIT;
	}
	if (length > limit || session->is_skipping_line)
		return line_too_long(session, length, true);
	if (is_bare &&
	    slice_equal(slice_from(session->parameters->smtpd_forbid_bare_newline),
	                SLICE("reject")) &&
	    !client_is_in(session, session->room->bare_newline_exclusions)) {
		stream_consume(session->stream, length);
		client_log_connect(session);
		log_info("%s: reject: bare <LF> from %s", transaction_id(session),
		         client_label(session));
		answer_and_end(session, 521, "5.5.2", "%s Error: bare <LF> received",
		               session->parameters->myhostname);
		return SESSION_AGAIN;
	}
	if (!login_may_proceed(session, line))
		return SESSION_PAUSE;
	struct buf copy = BUF(limit);
	if (!buf_append(&copy, line))
		return SESSION_CLOSE;
	stream_consume(session->stream, length);
	line_execute(session, buf_slice(&copy));
	login_turn_end(session);
	buf_free(&copy);
	return SESSION_AGAIN;
}

/* What a pause held back goes out now. */
static void
pause_end(struct session *session)
{
	session->pause_until_ms = 0;
	stream_write(session->stream, buf_slice(&session->held));
	buf_free(&session->held);
	session->held = BUF(HELD_MOST);
}

enum session_next
session_input(void *given)
{
	struct session   *session = given;
	enum session_next next = SESSION_AGAIN;

	log_set_session(session->number);
	if (session->pause_until_ms != 0) {
		if (clock_monotonic_ms() < session->pause_until_ms)
			return SESSION_PAUSE;
		pause_end(session);
	}
	if (session->is_ending)
		return SESSION_CLOSE;
	switch (session->state) {
	case STATE_COMMAND:
	case STATE_AUTH: next = line_input(session); break;
	case STATE_DATA:
	case STATE_BDAT: next = content_input(session); break;
	case STATE_HANDSHAKE: secure_done(session); break;
	case STATE_ENDED: return SESSION_CLOSE;
	}
	if (session->pause_until_ms != 0)
		return SESSION_PAUSE;
	return session->is_ending ? SESSION_CLOSE : next;
}

int64_t
session_timeout(void *given)
{
	struct session *session = given;
	int64_t         now = clock_monotonic_ms();
	int64_t         timeout = session->parameters->smtpd_timeout * 1000;

	if (session->pause_until_ms != 0)
		return session->pause_until_ms > now ? session->pause_until_ms - now : 0;
	if (session->state == STATE_HANDSHAKE)
		return session->parameters->smtpd_starttls_timeout * 1000;
	if (session->deadline_ms != 0 && session->deadline_ms - now < timeout)
		timeout = session->deadline_ms > now ? session->deadline_ms - now : 0;
	return timeout;
}

bool
session_is_idle(void *given)
{
	const struct session *session = given;

	return session->state != STATE_DATA && session->state != STATE_BDAT &&
	       session->phase < PHASE_MAIL;
}

void
session_delay(struct session *session, int64_t delay_ms)
{
	int64_t until;

	if (delay_ms <= 0)
		return;
	until = clock_monotonic_ms() + (delay_ms > 3600000 ? 3600000 : delay_ms);
	if (until > session->pause_until_ms)
		session->pause_until_ms = until;
}

static void
log_bad_end(struct session *session, const char *what)
{
	char bytes[40] = "";

	if (session->has_ended_badly)
		return;
	if (session->state == STATE_DATA || session->state == STATE_BDAT)
		snprintf(bytes, sizeof(bytes), " (%llu bytes)",
		         (unsigned long long)session->mail.content_bytes);
	/* fail2ban's filter (1.0) knows no id in front: none where there is no message. */
	const char *id = session->mail.intake != NULL ? transaction_id(session) : NULL;
	log_info("%s%s%s after %s%s from %s", id != NULL ? id : "", id != NULL ? ": " : "", what,
	         session->has_command ? smtp_verb_name(session->verb) : "CONNECT", bytes,
	         client_label(session));
}

static void
log_disconnect(struct session *session)
{
	struct buf text = BUF(2000);
	uint32_t   good = 0, all = 0;

	for (unsigned verb = 0; verb <= SMTP_VERB_UNKNOWN; verb++) {
		struct verb_count *count = &session->counts[verb];

		if (count->all == 0)
			continue;
		good += count->good;
		all += count->all;
		buf_append_byte(&text, ' ');
		buf_append_lower(&text, slice_from(smtp_verb_name((enum smtp_verb)verb)));
		if (count->good == count->all)
			buf_append_format(&text, "=%u", count->all);
		else
			buf_append_format(&text, "=%u/%u", count->good, count->all);
	}
	buf_append_format(&text, good == all ? " commands=%u" : " commands=%u/%u", good, all);
	if (session->has_noted_bare_newline)
		buf_append_text(&text, " notes=bare_lf");
	log_info("disconnect from %s%s", client_label(session), buf_text(&text));
	buf_free(&text);
}

static void
say_goodbye(struct session *session, const char *status, const char *text)
{
	char line[512];

	if (session->state == STATE_HANDSHAKE)
		return;
	snprintf(line, sizeof(line), "421 %s %.400s Error: %s\r\n", status,
	         session->parameters->myhostname, text);
	stream_set_timeout(session->stream, GOODBYE_MS);
	if (stream_write_text(session->stream, line) == STREAM_OK)
		stream_flush(session->stream);
}

void
session_end(void *given, enum session_end why)
{
	struct session *session = given;

	log_set_session(session->number);
	if (!session->has_command) /* no DNS question for who never said anything */
		session->client.is_name_known = true;
	client_log_connect(session);
	switch (why) {
	case SESSION_END_CLOSED: break;
	case SESSION_END_LOST:
		if (session->state == STATE_HANDSHAKE)
			log_info("SSL_accept error from %s: %s", client_label(session),
			         stream_error(session->stream));
		if (!session->is_ending)
			log_bad_end(session, "lost connection");
		break;
	case SESSION_END_TIMEOUT:
		log_bad_end(session, "timeout");
		say_goodbye(session, "4.4.2", "timeout exceeded");
		break;
	case SESSION_END_DRAIN: say_goodbye(session, "4.3.2", "service is shutting down"); break;
	case SESSION_END_REFUSED: break;
	}
	notify_postmaster(session);
	log_disconnect(session);
	session_free(session);
}

void
session_forget(struct session *session)
{
	transaction_reset(session);
	session->phase = PHASE_NEW;
	session->helo = SLICE_EMPTY;
	session->is_esmtp = false;
	session->extensions = 0;
	session->sasl_method = session->sasl_user = session->sasl_sender = SLICE_EMPTY;
	if (session->exchange != NULL)
		auth_end(&session->exchange);
}
