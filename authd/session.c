/* session.c - a channel from smtpd or pop3d: messages in, one exchange at a time, answers out. */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <unistd.h>

#include "authd/exchange.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/ipc/channel.h"

#define INPUT_MOST       (64 * 1024 + IPC_HEADER_BYTES)
#define SEND_TIMEOUT_MS  5000
#define IDLE_TIMEOUT_MS  (24 * 3600 * 1000)
#define CROWDED_PAUSE_MS 50
#define CROWDED_MOST_MS  30000

enum session_state {
	SESSION_READY,   /* for a message */
	SESSION_CROWDED, /* the message at the front waits for its turn to be hashed */
};

/* The answer at the end, and what the log says of the exchange. */
struct login {
	enum auth_status status;
	int64_t          delay_ms; /* for the client: smtpd and pop3d wait, nobody here */
	char             user[USER_NAME_MOST + 1];
	char             reason[200];
	char             service[32];
	char             mechanism[32];
	char             client_name[256];
	char             client_address[64];
	bool             want_mailbox;
	bool             is_counted; /* client_begin, and no end of it yet */
};

struct session {
	struct authd      *authd;
	struct stream     *stream;
	uint64_t           number;
	struct ipc_channel out; /* borrows the stream's descriptor: only answers go this way */
	enum session_state state;
	int64_t            pause_ms;
	int64_t            crowded_since_ms; /* 0: it is not */
	struct exchange   *exchange;
	struct login       login;
};

void *
session_begin(struct daemon_context *context, struct stream *stream,
              const struct session_peer *peer)
{
	struct session *session = calloc(1, sizeof(*session));

	if (session == NULL)
		return NULL;
	session->authd = context->room;
	session->stream = stream;
	session->number = peer->number;
	stream_set_input_limit(stream, INPUT_MOST);
	ipc_channel_init(&session->out, stream_fd(stream));
	return session;
}

static void
login_uncount(struct session *session)
{
	if (session->login.is_counted)
		client_ended(session->authd->clients, slice_from(session->login.client_address));
	session->login.is_counted = false;
}

/* The exchange is over, or never mind. */
static void
exchange_drop(struct session *session)
{
	login_uncount(session);
	exchange_end(&session->exchange);
}

void
session_end(void *argument, enum session_end why)
{
	struct session *session = argument;

	(void)why;
	exchange_drop(session);
	session->out.fd = -1; /* the stream's */
	ipc_channel_close(&session->out);
	free(session);
}

int64_t
session_timeout(void *argument)
{
	const struct session *session = argument;

	if (session->state != SESSION_READY)
		return session->pause_ms;
	return session->exchange == NULL ? IDLE_TIMEOUT_MS
	                                 : session->authd->parameters->auth_exchange_timeout * 1000;
}

bool
session_is_idle(void *argument)
{
	const struct session *session = argument;

	return session->state == SESSION_READY && session->exchange == NULL;
}

/* ---- answers ---- */

static enum session_next
after_send(const struct session *session, enum ipc_result result)
{
	if (result == IPC_OK)
		return SESSION_AGAIN;
	log_set_session(session->number);
	log_warning("answer to the client: %s", ipc_result_text(result));
	log_set_session(0);
	return SESSION_CLOSE;
}

static enum session_next
send_done(struct session *session, int mailbox)
{
	struct msg_auth_done done = msg_auth_done_clear();

	done.status = session->login.status;
	done.user = slice_from(session->login.user);
	done.reason = slice_from(session->login.reason);
	done.delay_ms = (uint32_t)session->login.delay_ms;
	done.mailbox = mailbox;
	enum ipc_result result =
		ipc_send(&session->out, auth_done, &done, clock_monotonic_ms() + SEND_TIMEOUT_MS);
	if (mailbox >= 0)
		close(mailbox);
	return after_send(session, result);
}

static void
text_keep(char *to, size_t size, struct slice text)
{
	struct buf printable = BUF(size - 1);

	buf_append_printable(&printable, slice_first(text, size - 2));
	memcpy(to, buf_text(&printable), printable.length);
	to[printable.length] = '\0';
	buf_free(&printable);
}

static void
login_log(const struct session *session, bool is_good)
{
	const struct login *login = &session->login;

	log_set_session(session->number);
	log_info("%s: client=%s[%s], service=%s, sasl_method=%s, sasl_username=%s%s%s",
	         is_good ? "login" : "login failed", login->client_name, login->client_address,
	         login->service, login->mechanism, login->user,
	         is_good ? "" : ", reason=", is_good ? "" : login->reason);
	log_set_session(0);
}

static enum session_next
login_succeeded(struct session *session)
{
	struct login *login = &session->login;
	struct error  error = ERROR_NONE;
	int           mailbox = -1;

	login_log(session, true);
	if (login->want_mailbox) {
		mailbox = mailbox_attach(session->authd, login->user, &error);
		if (mailbox < 0) {
			log_warning("mailbox of %s: %s", login->user, error.text);
			login->status = AUTH_NO_MAILBOX;
			text_keep(login->reason, sizeof(login->reason), slice_from(error.text));
		}
	}
	return send_done(session, mailbox);
}

/* Wrong credentials take longer and longer to be answered; everything else is answered at once. */
static enum session_next
login_failed(struct session *session)
{
	struct login *login = &session->login;

	login_log(session, false);
	if (login->status == AUTH_FAILED && login->is_counted) {
		login->is_counted = false;
		login->delay_ms =
			client_failed(session->authd->clients, slice_from(login->client_address),
		                      clock_monotonic_ms());
	}
	exchange_drop(session);
	return send_done(session, -1);
}

static enum session_next
answer(struct session *session, const struct exchange_answer *answer)
{
	struct msg_auth_challenge challenge = msg_auth_challenge_clear();

	if (answer->status == AUTH_CONTINUE) {
		/* How long the client takes for its response is no matter of ours. */
		login_uncount(session);
		challenge.challenge = answer->challenge;
		return after_send(session, ipc_send(&session->out, auth_challenge, &challenge,
		                                    clock_monotonic_ms() + SEND_TIMEOUT_MS));
	}
	session->login.status = answer->status;
	text_keep(session->login.user, sizeof(session->login.user), slice_from(answer->user));
	text_keep(session->login.reason, sizeof(session->login.reason), slice_from(answer->reason));
	exchange_end(&session->exchange);
	if (answer->status != AUTH_OK)
		return login_failed(session);
	exchange_drop(session);
	return login_succeeded(session);
}

/* ---- messages ---- */

static enum session_next
on_mechanisms(struct session *session, struct ipc_frame *frame)
{
	struct msg_auth_mechanisms     question;
	struct msg_auth_mechanism_list list = msg_auth_mechanism_list_clear();
	struct buf                     names = BUF(1024);

	if (!msg_auth_mechanisms_decode(frame, &question))
		return SESSION_CLOSE;
	if (!exchange_mechanisms(session->authd, question.service, question.has_tls, &names))
		buf_clear(&names);
	list.names = buf_slice(&names);
	enum ipc_result result = ipc_send(&session->out, auth_mechanism_list, &list,
	                                  clock_monotonic_ms() + SEND_TIMEOUT_MS);
	buf_free(&names);
	return after_send(session, result);
}

static void
login_begin(struct session *session, const struct msg_auth_start *start)
{
	struct login *login = &session->login;

	*login = (struct login){ .want_mailbox = start->want_mailbox };
	text_keep(login->service, sizeof(login->service), start->service);
	text_keep(login->mechanism, sizeof(login->mechanism), start->mechanism);
	text_keep(login->client_name, sizeof(login->client_name),
	          slice_is_empty(start->client_name) ? SLICE("unknown") : start->client_name);
	text_keep(login->client_address, sizeof(login->client_address), start->client_address);
}

/*
 * The message stays at the front of the input and is looked at again after a pause. False; true
 * once it has waited long enough.
 */
static bool
crowd_wait(struct session *session)
{
	int64_t now_ms = clock_monotonic_ms();

	if (session->crowded_since_ms == 0)
		session->crowded_since_ms = now_ms;
	if (now_ms - session->crowded_since_ms > CROWDED_MOST_MS)
		return true;
	session->state = SESSION_CROWDED;
	session->pause_ms = CROWDED_PAUSE_MS;
	return false;
}

/* Counts the login among those of its address being checked; false: *next says what instead. */
static bool
login_count(struct session *session, enum session_next *next)
{
	struct login      *login = &session->login;
	enum client_answer answer = client_begin(
		session->authd->clients, slice_from(login->client_address), clock_monotonic_ms());

	login->is_counted = answer == CLIENT_MAY;
	if (login->is_counted)
		return true;
	if (answer == CLIENT_WAITS && !crowd_wait(session)) {
		*next = SESSION_PAUSE;
		return false;
	}
	/* Nothing was tried, so nothing can be learnt; asking again is slowed, too. */
	login->status = AUTH_TRY_LATER;
	login->delay_ms = session->authd->parameters->auth_failure_delay * 1000;
	text_keep(login->reason, sizeof(login->reason),
	          SLICE("too many failed logins from this address"));
	*next = login_failed(session);
	return false;
}

static enum session_next
on_start(struct session *session, struct ipc_frame *frame)
{
	struct msg_auth_start  start;
	struct exchange_answer first;
	enum session_next      next;

	exchange_drop(session);
	if (!msg_auth_start_decode(frame, &start))
		return SESSION_CLOSE;
	login_begin(session, &start);
	if (!login_count(session, &next))
		return next;
	session->exchange = exchange_start(session->authd, &start, &first);
	return answer(session, &first);
}

static enum session_next
on_response(struct session *session, struct ipc_frame *frame)
{
	struct msg_auth_response response;
	struct exchange_answer   answered;
	enum session_next        next;

	if (session->exchange == NULL || !msg_auth_response_decode(frame, &response))
		return SESSION_CLOSE;
	if (!login_count(session, &next))
		return next;
	exchange_step(session->exchange, response.response, &answered);
	return answer(session, &answered);
}

static enum session_next
on_cancel(struct session *session, struct ipc_frame *frame)
{
	struct msg_auth_cancel cancel;

	if (!msg_auth_cancel_decode(frame, &cancel))
		return SESSION_CLOSE;
	exchange_drop(session);
	return SESSION_AGAIN;
}

/* Whether a hash may have to be computed for the message: then it waits its turn in a crowd. */
static bool
start_may_hash(const struct session *session, struct ipc_frame *frame)
{
	struct msg_auth_start start;

	(void)session;
	return msg_auth_start_decode(frame, &start) && exchange_is_plaintext(start.mechanism);
}

static bool
response_may_hash(const struct session *session, struct ipc_frame *frame)
{
	(void)frame;
	return session->exchange != NULL && exchange_has_plaintext(session->exchange);
}

static const struct {
	uint32_t type;
	bool (*may_hash)(const struct session *session, struct ipc_frame *frame);
	enum session_next (*handle)(struct session *session, struct ipc_frame *frame);
} messages[] = {
	{ MSG_auth_mechanisms, NULL, on_mechanisms },
	{ MSG_auth_start, start_may_hash, on_start },
	{ MSG_auth_response, response_may_hash, on_response },
	{ MSG_auth_cancel, NULL, on_cancel },
};
#define MESSAGE_COUNT (sizeof(messages) / sizeof(messages[0]))

enum frame_read { FRAME_WHOLE, FRAME_MORE, FRAME_MALFORMED };

/* The frame at the front of the input, and its length with its header. */
static enum frame_read
frame_read(struct slice input, struct ipc_frame *frame, size_t *whole)
{
	uint32_t length;
	uint16_t type, descriptors;

	if (input.length < IPC_HEADER_BYTES)
		return FRAME_MORE;
	memcpy(&length, input.data, 4);
	memcpy(&type, input.data + 4, 2);
	memcpy(&descriptors, input.data + 6, 2);
	if (length > msg_most_bytes(type) || descriptors != 0)
		return FRAME_MALFORMED;
	*whole = (size_t)length + IPC_HEADER_BYTES;
	if (input.length < *whole)
		return FRAME_MORE;
	*frame = (struct ipc_frame){ .type = type,
		                     .payload = slice_of(input.data + IPC_HEADER_BYTES, length) };
	return FRAME_WHOLE;
}

static enum session_next
malformed(const struct session *session, uint32_t type)
{
	log_set_session(session->number);
	log_warning("malformed or unexpected message %s from a client; channel closed",
	            msg_name(type));
	log_set_session(0);
	return SESSION_CLOSE;
}

static enum session_next
frame_handle(struct session *session, struct ipc_frame *frame, size_t whole)
{
	size_t i = 0;

	while (i < MESSAGE_COUNT && messages[i].type != frame->type)
		i++;
	if (i == MESSAGE_COUNT)
		return malformed(session, frame->type);
	if (messages[i].may_hash != NULL && hash_is_crowded(session->authd) &&
	    messages[i].may_hash(session, frame) && !crowd_wait(session))
		return SESSION_PAUSE;
	enum session_next next = messages[i].handle(session, frame);
	if (session->state == SESSION_CROWDED)
		return next;
	session->crowded_since_ms = 0;
	if (next == SESSION_CLOSE)
		malformed(session, frame->type);
	/* Passwords lie in the stream's buffer, which is kept: nothing of them may stay. */
	OPENSSL_cleanse((char *)(uintptr_t)frame->payload.data, frame->payload.length);
	stream_consume(session->stream, whole);
	return next;
}

enum session_next
session_input(void *argument)
{
	struct session   *session = argument;
	struct ipc_frame  frame;
	size_t            whole;
	enum session_next next = SESSION_AGAIN;

	session->state = SESSION_READY;
	switch (frame_read(stream_input(session->stream), &frame, &whole)) {
	case FRAME_MORE: return SESSION_WAIT;
	case FRAME_MALFORMED: return malformed(session, 0);
	case FRAME_WHOLE: next = frame_handle(session, &frame, whole); break;
	}
	return next;
}
