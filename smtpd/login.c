/*
 * login.c - AUTH (RFC 4954): base64 in and out; authd decides. Nothing of it reaches a log.
 */
#include <openssl/crypto.h>
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/encode.h"
#include "lib/base/log.h"
#include "lib/smtp/extensions.h"
#include "smtpd/session.h"

static bool
is_word_in(const char *words, const char *word)
{
	struct slice rest = slice_from(words), one;

	while (slice_next_word(&rest, " \t,", &one))
		if (slice_equal_fold(one, slice_from(word)))
			return true;
	return false;
}

/* smtpd_sasl_security_options and smtpd_sasl_mechanism_filter. FOUND: yes. */
static enum lookup
mechanism_is_offered(struct session *session, struct slice mechanism)
{
	const struct parameters *parameters = session->parameters;
	const char              *options = tls_is_active(session->stream)
	                                           ? parameters->smtpd_sasl_tls_security_options
	                                           : parameters->smtpd_sasl_security_options;
	struct error             error = ERROR_NONE;

	if (is_word_in(options, "noplaintext") &&
	    (slice_equal_fold(mechanism, SLICE("PLAIN")) ||
	     slice_equal_fold(mechanism, SLICE("LOGIN")) ||
	     slice_equal_fold(mechanism, SLICE("XOAUTH2")) ||
	     slice_equal_fold(mechanism, SLICE("OAUTHBEARER"))))
		return LOOKUP_NOT_FOUND;
	if (is_word_in(options, "noanonymous") && slice_equal_fold(mechanism, SLICE("ANONYMOUS")))
		return LOOKUP_NOT_FOUND;
	return session->room->sasl_filter == NULL
	               ? LOOKUP_FOUND
	               : match_list_name(session->room->sasl_filter, mechanism, &error);
}

bool
login_mechanisms(struct session *session, struct buf *names)
{
	struct buf   all = BUF(1000);
	struct slice rest, name;

	if (auth_mechanisms(session->room->auth, "smtp", tls_is_active(session->stream), &all)) {
		rest = buf_slice(&all);
		while (slice_next_word(&rest, " ", &name)) {
			/* What is not known now is asked again when it is used. */
			if (mechanism_is_offered(session, name) == LOOKUP_NOT_FOUND)
				continue;
			if (names->length > 0)
				buf_append_byte(names, ' ');
			buf_append_printable(names, name);
		}
	}
	buf_free(&all);
	return names->length > 0 && !names->has_failed;
}

static bool
may_log_in(struct session *session)
{
	const struct parameters *parameters = session->parameters;

	return session->room->is_auth_enabled &&
	       (!parameters->smtpd_tls_auth_only || tls_is_active(session->stream)) &&
	       !client_is_in(session, session->room->sasl_exceptions);
}

bool
login_is_offered(struct session *session)
{
	struct buf names = BUF(1000);
	bool       is_offered = may_log_in(session) && login_mechanisms(session, &names);

	buf_free(&names);
	return is_offered;
}

/* fail2ban's patterns know LOGIN and PLAIN: other mechanisms are named behind. */
static void
log_failure(struct session *session, const struct auth_outcome *outcome, const char *why)
{
	const char *mechanism = session->sasl_attempt;
	bool        is_known = slice_equal(slice_from(mechanism), SLICE("LOGIN")) ||
	                slice_equal(slice_from(mechanism), SLICE("PLAIN"));

	log_warning("%s: SASL %s authentication failed: %s%s%s%s, sasl_username=%s",
	            client_label(session), is_known ? mechanism : "PLAIN", why,
	            is_known ? "" : " (", is_known ? "" : mechanism, is_known ? "" : ")",
	            outcome->user[0] != '\0' ? outcome->user : "(unavailable)");
}

static void
login_granted(struct session *session, struct auth_outcome *outcome)
{
	struct slice user = arena_copy(&session->arena, slice_from(outcome->user));
	struct slice method = arena_copy(&session->arena, slice_from(session->sasl_attempt));

	if (user.data == NULL || method.data == NULL || user.length == 0) {
		answer(session, 454, "4.7.0", "Temporary authentication failure: no memory");
		return;
	}
	session->sasl_user = user;
	session->sasl_method = method;
	answer(session, 235, "2.7.0", "Authentication successful");
}

static void
send_challenge(struct session *session, const struct auth_outcome *outcome)
{
	struct buf text = BUF(32u * 1024);

	/* Not through answer(): a challenge is one line of any length, and no text. */
	buf_append_text(&text, "334 ");
	base64_encode(buf_slice(&outcome->challenge), &text);
	buf_append_text(&text, "\r\n");
	if (text.has_failed) {
		auth_end(&session->exchange);
		session->state = STATE_COMMAND;
		answer(session, 454, "4.7.0", "Temporary authentication failure: out of memory");
	} else {
		stream_write(session->stream, buf_slice(&text));
		session->state = STATE_AUTH;
	}
	buf_free(&text);
}

/* fail2ban passes over who is not to blame by the words before the reason. */
static void
login_try_later(struct session *session, const struct auth_outcome *outcome)
{
	char why[sizeof(outcome->reason) + 60];

	snprintf(why, sizeof(why), "Connection lost to authentication server%s%s%s",
	         outcome->reason[0] != '\0' ? " (" : "", outcome->reason,
	         outcome->reason[0] != '\0' ? ")" : "");
	log_failure(session, outcome, why);
	answer(session, 454, "4.7.0",
	       "Temporary authentication failure: Connection lost to authentication server");
}

/* What authd said: a further challenge, or the end of the exchange. */
static void
login_step(struct session *session, struct auth_outcome *outcome)
{
	if (outcome->status == AUTH_CONTINUE) {
		send_challenge(session, outcome);
		return;
	}
	auth_end(&session->exchange);
	session->state = STATE_COMMAND;
	session_delay(session, outcome->delay_ms);
	switch (outcome->status) {
	case AUTH_OK: login_granted(session, outcome); break;
	case AUTH_CANCELLED: answer(session, 501, "5.7.0", "Authentication aborted"); break;
	case AUTH_TRY_LATER:
	case AUTH_NO_MAILBOX: login_try_later(session, outcome); break;
	case AUTH_MALFORMED:
		log_failure(session, outcome, "malformed response");
		answer(session, 501, "5.5.2", "Error: malformed authentication response");
		break;
	case AUTH_BAD_MECHANISM:
		log_failure(session, outcome, "Invalid authentication mechanism");
		answer(session, 504, "5.5.4",
		       "Error: authentication failed: Invalid authentication mechanism");
		break;
	case AUTH_FAILED:
	case AUTH_CONTINUE:
		log_failure(session, outcome, "authentication failure");
		answer(session, 535, "5.7.8",
		       "Error: authentication failed: authentication failure");
		break;
	}
}

static void
wipe(struct buf *secret)
{
	if (secret->data != NULL)
		OPENSSL_cleanse(secret->data, secret->capacity);
	buf_free(secret);
}

/* ---- turns ---- */

bool
login_may_proceed(struct session *session, struct slice line)
{
	int64_t pause_ms = 0;

	if (session->state != STATE_AUTH && !slice_starts_with_fold(line, SLICE("AUTH")))
		return true;
	if (auth_turn_take(&session->room->turns, &session->turn, clock_monotonic_ms(),
	                   &pause_ms) != AUTH_TURN_WAIT)
		return true;
	session_delay(session, pause_ms);
	return false;
}

void
login_turn_end(struct session *session)
{
	auth_turn_end(&session->room->turns, &session->turn);
}

/* False: there was no turn to ask authd. */
static bool
may_ask(const struct session *session, struct auth_outcome *outcome)
{
	if (session->turn.is_taken)
		return true;
	outcome->status = AUTH_TRY_LATER;
	snprintf(outcome->reason, sizeof(outcome->reason), "too many logins at a time");
	return false;
}

/* There is no memory to ask authd. */
static void
login_no_memory(struct auth_outcome *outcome)
{
	outcome->status = AUTH_TRY_LATER;
	snprintf(outcome->reason, sizeof(outcome->reason), "out of memory");
}

void
login_response(struct session *session, struct slice line)
{
	struct buf          response = BUF((size_t)session->parameters->smtpd_sasl_response_limit);
	struct auth_outcome outcome;

	auth_outcome_init(&outcome);
	if (slice_equal(line, SLICE("*"))) {
		outcome.status = AUTH_CANCELLED;
		login_step(session, &outcome);
	} else if (!buf_reserve_some(&response, line.length)) {
		login_no_memory(&outcome);
		login_turn_end(session);
		login_step(session, &outcome);
	} else if (!base64_decode(line, &response)) {
		auth_end(&session->exchange);
		session->state = STATE_COMMAND;
		answer(session, 501, "5.5.2", "Error: cannot decode authentication response");
	} else {
		if (may_ask(session, &outcome))
			auth_respond(session->exchange, buf_slice(&response), &outcome);
		login_turn_end(session);
		login_step(session, &outcome);
	}
	wipe(&response);
	auth_outcome_free(&outcome);
}

static void
login_start(struct session *session, struct slice mechanism, struct slice initial, bool has_initial)
{
	struct buf          binding = BUF(256);
	struct auth_outcome outcome;
	struct auth_request request = {
		.service = "smtp",
		.mechanism = mechanism,
		.has_initial = has_initial,
		.initial = initial,
		.client_address = session->client.address,
		.client_name = session->client.name,
		.server_address = session->server_address,
		.has_tls = tls_is_active(session->stream),
	};

	if (!request.has_tls || !tls_channel_binding(session->stream, &binding))
		buf_clear(&binding);
	request.channel_binding = buf_slice(&binding);
	auth_outcome_init(&outcome);
	outcome.status = AUTH_TRY_LATER;
	if (may_ask(session, &outcome))
		session->exchange = auth_start(session->room->auth, &request, &outcome);
	login_turn_end(session);
	if (session->exchange == NULL && outcome.status == AUTH_CONTINUE)
		outcome.status = AUTH_TRY_LATER;
	login_step(session, &outcome);
	auth_outcome_free(&outcome);
	buf_free(&binding);
}

/* What refuses AUTH before anything is tried; false when answered. */
static bool
login_is_possible(struct session *session, struct slice mechanism)
{
	if (!session->is_esmtp || !session->room->is_auth_enabled) {
		answer(session, 503, "5.5.1", "Error: authentication not enabled");
	} else if (session->parameters->smtpd_tls_auth_only && !tls_is_active(session->stream)) {
		answer(session, 538, "5.7.0",
		       "Encryption required for requested authentication mechanism");
	} else if (!may_log_in(session)) {
		answer(session, 503, "5.5.1", "Error: authentication not enabled");
	} else if (session->sasl_user.length > 0) {
		answer(session, 503, "5.5.1", "Error: already authenticated");
	} else if (mechanism.length == 0) {
		answer(session, 501, "5.5.4", "Syntax: AUTH mechanism");
	} else if (!client_may(session, LIMIT_AUTH,
	                       session->parameters->smtpd_client_auth_rate_limit,
	                       "AUTH command rate")) {
		answer(session, 450, "4.7.1", "Error: too many AUTH commands from %.*s",
		       SLICE_ARGS(session->client.address));
	} else {
		return true;
	}
	return false;
}

/* Whether the name is on the list that EHLO shows. */
static enum lookup
is_offered_now(struct session *session, struct slice mechanism)
{
	struct buf  names = BUF(1000);
	enum lookup is_offered = LOOKUP_NOT_FOUND;

	if (login_mechanisms(session, &names)) {
		struct slice rest = buf_slice(&names), one;
		while (slice_next_word(&rest, " ", &one))
			if (slice_equal_fold(one, mechanism))
				is_offered = LOOKUP_FOUND;
	} else {
		/* authd cannot be asked now: that is no verdict on the mechanism. */
		is_offered = LOOKUP_FOUND;
	}
	buf_free(&names);
	return is_offered == LOOKUP_FOUND ? mechanism_is_offered(session, mechanism)
	                                  : LOOKUP_NOT_FOUND;
}

void
command_auth(struct session *session, const struct smtp_command *command)
{
	struct slice rest = command->arguments;
	struct slice mechanism = SLICE_EMPTY, encoded = SLICE_EMPTY, extra;
	struct buf   initial = BUF((size_t)session->parameters->smtpd_sasl_response_limit);

	slice_next_word(&rest, " \t", &mechanism);
	bool has_initial = slice_next_word(&rest, " \t", &encoded);
	if (!login_is_possible(session, mechanism))
		return;
	if (slice_next_word(&rest, " \t", &extra)) {
		answer(session, 501, "5.5.4", "Syntax: AUTH mechanism");
		return;
	}
	enum lookup is_offered = mechanism.length < sizeof(session->sasl_attempt)
	                                 ? is_offered_now(session, mechanism)
	                                 : LOOKUP_NOT_FOUND;
	if (is_offered == LOOKUP_TRY_LATER) {
		answer(session, 454, "4.7.0", "Temporary authentication failure");
		return;
	}
	if (is_offered == LOOKUP_NOT_FOUND) {
		answer(session, 504, "5.5.4",
		       "Error: authentication failed: Invalid authentication mechanism");
		return;
	}
	for (size_t i = 0; i <= mechanism.length; i++)
		session->sasl_attempt[i] =
			i < mechanism.length ? ascii_upper(mechanism.data[i]) : '\0';
	/* "=" is an empty initial response (RFC 4954 4). */
	if (!buf_reserve_some(&initial, encoded.length))
		answer(session, 454, "4.7.0", "Temporary authentication failure: out of memory");
	else if (has_initial && !slice_equal(encoded, SLICE("=")) &&
	         !base64_decode(encoded, &initial))
		answer(session, 501, "5.5.2", "Error: cannot decode authentication response");
	else
		login_start(session, slice_from(session->sasl_attempt), buf_slice(&initial),
		            has_initial);
	wipe(&initial);
}
