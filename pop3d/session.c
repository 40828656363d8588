/* session.c - a POP3 conversation as lib/daemon runs it: lines in, replies out. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "pop3d/pop3d.h"

#define INPUT_MOST (16u * 1024)

static void
address_text(const struct sockaddr_storage *address, char *text, size_t size)
{
	const struct sockaddr_in  *v4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

	text[0] = '\0';
	if (address->ss_family == AF_INET)
		inet_ntop(AF_INET, &v4->sin_addr, text, (socklen_t)size);
	else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], text, (socklen_t)size);
	else if (address->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &v6->sin6_addr, text, (socklen_t)size);
	if (text[0] == '\0')
		memcpy(text, "unknown", sizeof("unknown"));
}

static void
greet(struct pop3_session *session)
{
	session->is_greeted = true;
	pop3_ok(session, session->room->parameters->pop3_banner);
}

void *
pop3_session_begin(struct daemon_context *context, struct stream *stream,
                   const struct session_peer *peer)
{
	struct pop3_session *session = calloc(1, sizeof(*session));

	if (session == NULL) {
		stream_write_text(stream, "-ERR [SYS/TEMP] Out of memory.\r\n");
		return NULL;
	}
	session->room = context->room;
	session->stream = stream;
	session->number = peer->number;
	session->sender.fd = -1;
	session->began_ms = clock_monotonic_ms();
	address_text(&peer->client, session->client, sizeof(session->client));
	address_text(&peer->server, session->server, sizeof(session->server));
	stream_set_input_limit(stream, INPUT_MOST);
	if (session->room->parameters->pop3_tls_wrappermode)
		session_start_tls(session, stream, session->room->tls);
	else
		greet(session);
	return session;
}

/* RFC 2595 section 4: what was said in clear counts no more. */
static enum session_next
tls_begun(struct pop3_session *session)
{
	session->is_tls = true;
	free(session->name);
	session->name = NULL;
	if (!session->is_greeted)
		greet(session);
	return SESSION_AGAIN;
}

static enum session_next
line_too_long(struct pop3_session *session)
{
	session->errors++;
	pop3_login_forget(session);
	pop3_error(session, NULL, "Line too long.");
	return pop3_after_error(session);
}

static enum session_next
take_line(struct pop3_session *session, struct slice line)
{
	if (session->state == POP3_SASL)
		return pop3_sasl_response(session, line);
	if (slice_contains_byte(line, '\0')) {
		session->errors++;
		pop3_error(session, NULL, "NUL is not allowed.");
		return pop3_after_error(session);
	}
	return pop3_command(session, line);
}

enum session_next
pop3_session_input(void *pointer)
{
	struct pop3_session *session = pointer;
	struct slice         input = stream_input(session->stream);
	size_t most = session->state == POP3_SASL ? POP3_RESPONSE_MOST : POP3_LINE_MOST;

	if (!session->is_tls && tls_is_active(session->stream))
		return tls_begun(session);
	if (session->sender.what != SENDING_NOTHING)
		return pop3_send_more(session);
	if (session->pause.text != NULL)
		return pop3_pause_end(session);
	session->pause.until_ms = 0;
	size_t end = slice_find_byte(input, '\n');
	if (end == SLICE_NOT_FOUND && (session->is_skipping || input.length >= most)) {
		stream_consume(session->stream, input.length);
		if (session->is_skipping)
			return SESSION_WAIT;
		session->is_skipping = true;
		return line_too_long(session);
	}
	if (end == SLICE_NOT_FOUND)
		return SESSION_WAIT;
	if (!session->is_skipping && end < most &&
	    !pop3_login_may_proceed(session, slice_first(input, end)))
		return SESSION_PAUSE;
	stream_consume(session->stream, end + 1);
	if (session->is_skipping) {
		session->is_skipping = false;
		return SESSION_AGAIN;
	}
	if (end >= most)
		return line_too_long(session);
	if (end > 0 && input.data[end - 1] == '\r')
		end--;
	enum session_next next = take_line(session, slice_first(input, end));
	pop3_login_turn_end(session);
	return next;
}

/* ---- the end ---- */

static void
log_login_end(const struct pop3_session *session, const char *words)
{
	long long seconds = (clock_monotonic_ms() - session->began_ms) / 1000;
	char      attempts[80], method[60] = "";

	if (session->failed_logins > 0)
		snprintf(attempts, sizeof(attempts), "auth failed, %u attempts in %lld secs",
		         session->failed_logins, seconds);
	else
		snprintf(attempts, sizeof(attempts), "no auth attempts in %lld secs", seconds);
	if (session->method != NULL)
		snprintf(method, sizeof(method), " method=%s,", session->method);
	/* Read by fail2ban's dovecot filter: no bracket before "(auth failed". */
	log_info("pop3-login: Disconnected: %s (%s): user=<%s>,%s rip=%s, lip=%s%s, "
	         "session=<%llu>",
	         words, attempts, session->user != NULL ? session->user : "", method,
	         session->client, session->server, session->is_tls ? ", TLS" : "",
	         (unsigned long long)session->number);
}

static void
log_end(const struct pop3_session *session, const char *words)
{
	const struct pop3_mailbox *mailbox = session->mailbox;

	if (mailbox == NULL) {
		log_login_end(session, words);
		return;
	}
	log_info("pop3(%s): Disconnected: %s top=%u/%llu, retr=%u/%llu, del=%llu/%u, size=%llu",
	         session->user, words, session->done.tops,
	         (unsigned long long)session->done.top_bytes, session->done.retrs,
	         (unsigned long long)session->done.retr_bytes,
	         (unsigned long long)session->done.removed, mailbox->count,
	         (unsigned long long)mailbox->size);
}

void
pop3_session_end(void *pointer, enum session_end why)
{
	static const char *const words[] = {
		[SESSION_END_CLOSED] = "Disconnected",
		[SESSION_END_LOST] = "Connection closed",
		[SESSION_END_TIMEOUT] = "Inactivity",
		[SESSION_END_DRAIN] = "Server shutting down",
		[SESSION_END_REFUSED] = "Too many sessions",
	};
	struct pop3_session *session = pointer;

	if (session->is_greeted && session->sender.what == SENDING_NOTHING) {
		if (why == SESSION_END_TIMEOUT)
			pop3_error(session, NULL, "Disconnected for inactivity.");
		else if (why == SESSION_END_DRAIN)
			pop3_error(session, "SYS/TEMP", "The server is shutting down.");
	}
	if (!session->is_greeted && stream_error(session->stream)[0] != '\0')
		log_info("pop3-login: TLS handshake with %s failed: %s", session->client,
		         stream_error(session->stream));
	log_end(session, session->end_words != NULL ? session->end_words : words[why]);
	/* Marks are forgotten with the session: only QUIT deletes (RFC 1939 section 6). */
	pop3_send_stop(session);
	pop3_login_turn_end(session);
	pop3_login_forget(session);
	pop3_mailbox_close(&session->mailbox);
	if (session->count_key != NULL)
		pop3_counts_leave(&session->room->counts, session->count_key);
	free(session->count_key);
	free(session->user);
	free(session->name);
	free(session);
}

int64_t
pop3_session_timeout(void *pointer)
{
	const struct pop3_session *session = pointer;
	const struct parameters   *parameters = session->room->parameters;
	int64_t                    left_ms = session->pause.until_ms - clock_monotonic_ms();

	if (session->pause.until_ms != 0)
		return left_ms > 0 ? left_ms : 0;
	return 1000 * (session->state == POP3_TRANSACTION ? parameters->pop3_idle_timeout
	                                                  : parameters->pop3_login_timeout);
}

bool
pop3_session_is_idle(void *pointer)
{
	const struct pop3_session *session = pointer;

	return session->sender.what == SENDING_NOTHING && session->state != POP3_SASL &&
	       (session->mailbox == NULL || session->mailbox->deleted == 0);
}
