/* login.c - USER and PASS, AUTH (RFC 5034), and what a login that worked yields. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/encode.h"
#include "lib/base/log.h"
#include "pop3d/pop3d.h"

#define USER_MOST 255

bool
pop3_may_send_password(const struct pop3_session *session)
{
	return session->is_tls || session->room->parameters->auth_allow_cleartext;
}

static enum session_next
refuse_cleartext(struct pop3_session *session)
{
	session->errors++;
	pop3_error(session, "AUTH",
	           "Cleartext authentication disallowed on non-secure (SSL/TLS) "
	           "connections.");
	return SESSION_AGAIN;
}

void
pop3_login_forget(struct pop3_session *session)
{
	auth_end(&session->exchange);
	if (session->granted != NULL)
		auth_outcome_free(session->granted);
	free(session->granted);
	session->granted = NULL;
	if (session->state == POP3_SASL)
		session->state = POP3_AUTHORIZATION;
}

/* For the log only: brackets would let a name pass for another field (fail2ban reads it). */
static bool
set_user(struct pop3_session *session, struct slice name)
{
	char *copy = malloc(name.length + 1);

	if (copy == NULL)
		return false;
	for (size_t i = 0; i < name.length; i++) {
		char c = name.data[i];
		copy[i] = ascii_is_control(c) || c == '<' || c == '>' ? '?' : c;
	}
	copy[name.length] = '\0';
	free(session->user);
	session->user = copy;
	return true;
}

/* ---- after the credentials were right ---- */

static enum session_next
no_mailbox(struct pop3_session *session, const char *code, const char *text, const char *why)
{
	log_warning("pop3(%s): %s", session->user, why);
	pop3_error(session, code, text);
	return SESSION_AGAIN;
}

static bool
count_session(struct pop3_session *session)
{
	struct buf key = BUF(1000);

	buf_append_format(&key, "%s %s", session->user, session->client);
	bool is_counted = pop3_counts_enter(&session->room->counts, buf_text(&key),
	                                    session->room->parameters->mail_max_userip_connections);
	session->count_key = is_counted ? strdup(buf_text(&key)) : NULL;
	if (is_counted && session->count_key == NULL)
		pop3_counts_leave(&session->room->counts, buf_text(&key));
	buf_free(&key);
	return session->count_key != NULL;
}

static void
uncount_session(struct pop3_session *session)
{
	pop3_counts_leave(&session->room->counts, session->count_key);
	free(session->count_key);
	session->count_key = NULL;
}

/* Takes outcome's mailbox descriptor. */
static enum session_next
enter_mailbox(struct pop3_session *session, struct auth_outcome *outcome)
{
	struct error reason = ERROR_NONE;
	int          fd = outcome->mailbox_fd;

	if (!set_user(session, slice_from(outcome->user)) || fd < 0)
		return no_mailbox(session, "SYS/TEMP", "Temporary failure.", "no mailbox");
	if (!count_session(session))
		return no_mailbox(session, "IN-USE", "Too many connections of this user.",
		                  "more than mail_max_userip_connections sessions");
	outcome->mailbox_fd = -1;
	switch (pop3_mailbox_open(fd, session->room->parameters->pop3_lock_session,
	                          &session->mailbox, &reason)) {
	case OPEN_IN_USE:
		uncount_session(session);
		return no_mailbox(session, "IN-USE", "The mailbox is in use by another session.",
		                  "mailbox in use");
	case OPEN_FAILED:
		uncount_session(session);
		return no_mailbox(session, "SYS/TEMP", "The mailbox cannot be opened now.",
		                  reason.text);
	case OPENED: break;
	}
	log_info("pop3-login: Login: user=<%s>, method=%s, rip=%s, lip=%s%s, session=<%llu>",
	         session->user, session->method, session->client, session->server,
	         session->is_tls ? ", TLS" : "", (unsigned long long)session->number);
	session->state = POP3_TRANSACTION;
	session->errors = 0;
	pop3_ok(session, "Logged in.");
	return SESSION_AGAIN;
}

/* ---- what authd said ---- */

enum session_next
pop3_pause_end(struct pop3_session *session)
{
	struct pop3_pause over = session->pause;

	session->pause = (struct pop3_pause){ 0 };
	pop3_error(session, over.code, over.text);
	if (!over.is_failed_login ||
	    session->failed_logins < session->room->parameters->pop3_login_attempt_limit)
		return SESSION_AGAIN;
	session->end_words = "Too many failed logins";
	return SESSION_CLOSE;
}

/* The failure counts at once, also when the client does not wait for the answer. */
static enum session_next
refuse_login(struct pop3_session *session, const struct pop3_pause *refusal, int64_t delay_ms)
{
	session->pause = *refusal;
	session->failed_logins += refusal->is_failed_login;
	if (delay_ms <= 0)
		return pop3_pause_end(session);
	session->pause.until_ms = clock_monotonic_ms() + delay_ms;
	return SESSION_PAUSE;
}

static enum session_next
login_failed(struct pop3_session *session, const char *code, const char *text, int64_t delay_ms)
{
	return refuse_login(session, &(struct pop3_pause){ 0, true, code, text }, delay_ms);
}

static enum session_next
login_try_later(struct pop3_session *session, const struct auth_outcome *outcome)
{
	static const struct pop3_pause refusal = { .code = "SYS/TEMP",
		                                   .text = "Temporary authentication failure." };

	log_warning("login of %s cannot be checked: %s", session->client, outcome->reason);
	return refuse_login(session, &refusal, outcome->delay_ms);
}

static enum session_next
send_challenge(struct pop3_session *session, struct slice challenge)
{
	struct buf text = BUF(128 * 1024);

	if (!base64_encode(challenge, &text)) {
		pop3_login_forget(session);
		return login_failed(session, "SYS/TEMP", "Out of memory.", 0);
	}
	stream_write_text(session->stream, "+ ");
	stream_write(session->stream, buf_slice(&text));
	stream_write_text(session->stream, "\r\n");
	buf_free(&text);
	session->state = POP3_SASL;
	return SESSION_AGAIN;
}

/* POP3 has no place for data that goes with success: it is one more challenge (RFC 5034 4). */
static enum session_next
grant_later(struct pop3_session *session, struct auth_outcome *outcome)
{
	session->granted = malloc(sizeof(*session->granted));
	if (session->granted == NULL) {
		pop3_error(session, "SYS/TEMP", "Out of memory.");
		return SESSION_AGAIN;
	}
	*session->granted = *outcome;
	auth_outcome_init(outcome);
	return send_challenge(session, buf_slice(&session->granted->challenge));
}

static enum session_next
take_outcome(struct pop3_session *session, struct auth_outcome *outcome)
{
	if (outcome->status == AUTH_CONTINUE)
		return send_challenge(session, buf_slice(&outcome->challenge));
	auth_end(&session->exchange);
	session->state = POP3_AUTHORIZATION;
	if (outcome->user[0] != '\0')
		set_user(session, slice_from(outcome->user));
	switch (outcome->status) {
	case AUTH_OK:
		return outcome->challenge.length > 0 ? grant_later(session, outcome)
		                                     : enter_mailbox(session, outcome);
	case AUTH_FAILED:
		return login_failed(session, "AUTH", "Authentication failed.", outcome->delay_ms);
	case AUTH_MALFORMED:
		return login_failed(session, NULL, "Malformed authentication response.", 0);
	case AUTH_BAD_MECHANISM:
		return login_failed(session, NULL, "Unsupported authentication mechanism.", 0);
	case AUTH_CANCELLED: return login_failed(session, NULL, "Authentication cancelled.", 0);
	case AUTH_NO_MAILBOX:
		return no_mailbox(session, "SYS/TEMP", "The mailbox cannot be opened now.",
		                  outcome->reason);
	case AUTH_CONTINUE:
	case AUTH_TRY_LATER: break;
	}
	return login_try_later(session, outcome);
}

/* ---- turns ---- */

bool
pop3_login_may_proceed(struct pop3_session *session, struct slice line)
{
	int64_t now_ms = clock_monotonic_ms(), pause_ms = 0;

	if (session->state == POP3_SASL ? session->granted != NULL
	                                : session->state != POP3_AUTHORIZATION ||
	                                          (!slice_starts_with_fold(line, SLICE("PASS")) &&
	                                           !slice_starts_with_fold(line, SLICE("AUTH"))))
		return true;
	if (auth_turn_take(&session->room->turns, &session->turn, now_ms, &pause_ms) !=
	    AUTH_TURN_WAIT)
		return true;
	session->pause = (struct pop3_pause){ .until_ms = now_ms + pause_ms };
	return false;
}

void
pop3_login_turn_end(struct pop3_session *session)
{
	auth_turn_end(&session->room->turns, &session->turn);
}

/* False: there was no turn to ask authd. */
static bool
may_ask(const struct pop3_session *session, struct auth_outcome *outcome)
{
	if (session->turn.is_taken)
		return true;
	outcome->status = AUTH_TRY_LATER;
	snprintf(outcome->reason, sizeof(outcome->reason), "too many logins at a time");
	return false;
}

static enum session_next
start_exchange(struct pop3_session *session, struct slice mechanism, bool has_initial,
               struct slice initial)
{
	struct buf          binding = BUF(100);
	struct auth_outcome outcome;
	struct auth_request request = { .service = "pop3",
		                        .mechanism = mechanism,
		                        .has_initial = has_initial,
		                        .initial = initial,
		                        .client_address = slice_from(session->client),
		                        .client_name = SLICE("unknown"),
		                        .server_address = slice_from(session->server),
		                        .has_tls = session->is_tls,
		                        .want_mailbox = true };

	if (session->is_tls && tls_channel_binding(session->stream, &binding))
		request.channel_binding = buf_slice(&binding);
	pop3_login_forget(session);
	auth_outcome_init(&outcome);
	if (may_ask(session, &outcome))
		session->exchange = auth_start(session->room->auth, &request, &outcome);
	pop3_login_turn_end(session);
	enum session_next next = session->exchange != NULL ? take_outcome(session, &outcome)
	                                                   : login_try_later(session, &outcome);
	auth_outcome_free(&outcome);
	buf_free(&binding);
	return next;
}

/* ---- USER, PASS ---- */

enum session_next
pop3_command_user(struct pop3_session *session, struct slice argument)
{
	if (!pop3_may_send_password(session))
		return refuse_cleartext(session);
	if (argument.length > USER_MOST || slice_has_control(argument)) {
		session->errors++;
		pop3_error(session, NULL, "That is not a user name.");
		return SESSION_AGAIN;
	}
	char *name = malloc(argument.length + 1);
	if (name == NULL) {
		pop3_error(session, "SYS/TEMP", "Out of memory.");
		return SESSION_AGAIN;
	}
	memcpy(name, argument.data, argument.length);
	name[argument.length] = '\0';
	free(session->name);
	session->name = name;
	pop3_ok(session, NULL);
	return SESSION_AGAIN;
}

/* The same as AUTH PLAIN for authd: one way to check a password. */
enum session_next
pop3_command_pass(struct pop3_session *session, struct slice argument)
{
	struct buf response = BUF(2 * POP3_LINE_MOST);

	if (session->name == NULL) {
		session->errors++;
		pop3_error(session, NULL, "Name the user first.");
		return SESSION_AGAIN;
	}
	buf_append_byte(&response, '\0');
	buf_append_text(&response, session->name);
	buf_append_byte(&response, '\0');
	buf_append(&response, argument);
	set_user(session, slice_from(session->name));
	session->method = "PLAIN";
	enum session_next next =
		start_exchange(session, SLICE("PLAIN"), true, buf_slice(&response));
	explicit_bzero(response.data, response.length);
	buf_free(&response);
	free(session->name);
	session->name = NULL;
	return next;
}

/* ---- AUTH ---- */

/* Old clients ask so for the list (it was in a draft of RFC 1734). */
static enum session_next
list_mechanisms(struct pop3_session *session)
{
	struct buf   names = BUF(1000);
	struct slice rest, name;

	pop3_ok(session, NULL);
	if (auth_mechanisms(session->room->auth, "pop3", session->is_tls, &names)) {
		rest = buf_slice(&names);
		while (slice_next_word(&rest, " ", &name)) {
			stream_write(session->stream, name);
			stream_write_text(session->stream, "\r\n");
		}
	}
	stream_write_text(session->stream, ".\r\n");
	buf_free(&names);
	return SESSION_AGAIN;
}

/* The mechanism's name for the log, from a list of our own: never the client's bytes. */
static const char *
method_name(struct slice mechanism)
{
	static const char *const names[] = { "PLAIN",         "LOGIN",
		                             "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS",
		                             "SCRAM-SHA-1",   "EXTERNAL",
		                             "XOAUTH2",       "OAUTHBEARER",
		                             "CRAM-MD5" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (slice_equal_fold(mechanism, slice_from(names[i])))
			return names[i];
	return "OTHER";
}

static bool
sends_password(struct slice mechanism)
{
	return slice_equal_fold(mechanism, SLICE("PLAIN")) ||
	       slice_equal_fold(mechanism, SLICE("LOGIN"));
}

enum session_next
pop3_command_auth(struct pop3_session *session, struct slice argument)
{
	struct slice rest = argument, mechanism, initial = SLICE_EMPTY;
	struct buf   decoded = BUF(POP3_RESPONSE_MOST);

	if (!slice_next_word(&rest, " ", &mechanism))
		return list_mechanisms(session);
	bool has_initial = slice_next_word(&rest, " ", &initial);
	if (!slice_is_empty(slice_trim(rest))) {
		session->errors++;
		pop3_error(session, NULL, "Syntax: AUTH mechanism [initial-response]");
		return SESSION_AGAIN;
	}
	if (sends_password(mechanism) && !pop3_may_send_password(session))
		return refuse_cleartext(session);
	/* "=" is an empty response (RFC 5034 section 4). */
	if (!buf_reserve_some(&decoded, initial.length)) {
		pop3_error(session, "SYS/TEMP", "Out of memory.");
		return SESSION_AGAIN;
	}
	if (has_initial && !slice_equal(initial, SLICE("=")) && !base64_decode(initial, &decoded)) {
		session->errors++;
		buf_free(&decoded);
		pop3_error(session, NULL, "That is not base64.");
		return SESSION_AGAIN;
	}
	session->method = method_name(mechanism);
	enum session_next next =
		start_exchange(session, mechanism, has_initial, buf_slice(&decoded));
	if (decoded.data != NULL)
		explicit_bzero(decoded.data, decoded.length);
	buf_free(&decoded);
	return next;
}

static enum session_next
grant(struct pop3_session *session, struct slice line)
{
	struct auth_outcome *outcome = session->granted;

	session->granted = NULL;
	session->state = POP3_AUTHORIZATION;
	enum session_next next = SESSION_AGAIN;
	if (slice_is_empty(line))
		next = enter_mailbox(session, outcome);
	else
		next = login_failed(session, NULL, "Authentication cancelled.", 0);
	auth_outcome_free(outcome);
	free(outcome);
	return next;
}

enum session_next
pop3_sasl_response(struct pop3_session *session, struct slice line)
{
	struct buf          decoded = BUF(POP3_RESPONSE_MOST);
	struct auth_outcome outcome;

	if (session->granted != NULL)
		return grant(session, line);
	if (!buf_reserve_some(&decoded, line.length)) {
		pop3_login_forget(session);
		return login_failed(session, "SYS/TEMP", "Out of memory.", 0);
	}
	if (slice_equal(line, SLICE("*")) || !base64_decode(line, &decoded)) {
		pop3_login_forget(session);
		buf_free(&decoded);
		return login_failed(session, NULL,
		                    slice_equal(line, SLICE("*")) ? "Authentication cancelled."
		                                                  : "That is not base64.",
		                    0);
	}
	auth_outcome_init(&outcome);
	if (may_ask(session, &outcome))
		auth_respond(session->exchange, buf_slice(&decoded), &outcome);
	pop3_login_turn_end(session);
	enum session_next next = take_outcome(session, &outcome);
	auth_outcome_free(&outcome);
	if (decoded.data != NULL)
		explicit_bzero(decoded.data, decoded.length);
	buf_free(&decoded);
	return next;
}
