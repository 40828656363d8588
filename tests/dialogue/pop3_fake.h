/*
 * pop3_fake.h - what a POP3 session talks to in tests: logins and a mailbox without processes.
 *
 * Defines the functions of lib/sasl/auth.h (so that the library's are not linked) and serves the
 * mailbox messages on a socket pair in a thread. Included by one .c file of a program.
 */
#ifndef DAKIYA_TESTS_POP3_FAKE_H
#define DAKIYA_TESTS_POP3_FAKE_H

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/mailbox/client.h"
#include "pop3d/pop3d.h"

/* What the mailbox holds: LF and CRLF files, a dot line, no last line end, nothing at all. */
static const char *const fake_messages[] = {
	"Subject: one\n\nFirst line\n.dot line\n..\n\nlast line\n",
	"Subject: two\r\nX: y\r\n\r\nbody\r\n",
	"Subject: three\n\nno line end",
	"",
	"Subject: only a header\n",
};
#define FAKE_COUNT (sizeof(fake_messages) / sizeof(fake_messages[0]))

/* Octets as sent, counted here without the encoder: that is what the tests compare. */
static uint64_t
fake_size(const char *text)
{
	uint64_t size = 0;
	char     before = '\n';

	for (; *text != '\0'; before = *text++)
		size += *text == '\n' && before != '\r' ? 2 : 1;
	return size + (before == '\n' ? 0 : 2);
}

/* What goes wrong, by user name: see fake_login. */
enum fake_mood { MOOD_GOOD, MOOD_LOCKED, MOOD_BROKEN, MOOD_READ_ONLY, MOOD_GONE, MOOD_DIES };

struct fake_server {
	int            fd;
	enum fake_mood mood;
};

static void
fake_list(struct ipc_channel *channel, enum fake_mood mood)
{
	struct msg_mailbox_listing listing = msg_mailbox_listing_clear();
	struct buf                 entries = BUF(10000);

	listing.status = mood == MOOD_LOCKED ? MAILBOX_IN_USE : MAILBOX_OK;
	for (size_t i = 0; i < FAKE_COUNT; i++) {
		char                     uid[20];
		struct msg_mailbox_entry entry = { .size = fake_size(fake_messages[i]) };

		snprintf(uid, sizeof(uid), mood == MOOD_BROKEN ? "uid %zu" : "uid-%zu", i + 1);
		entry.uid = slice_from(uid);
		msg_mailbox_entry_append(&entries, &entry);
	}
	listing.entries = buf_slice(&entries);
	ipc_send(channel, mailbox_listing, &listing, clock_monotonic_ms() + 5000);
	buf_free(&entries);
}

static void
fake_fetch(struct ipc_channel *channel, struct ipc_frame *frame, enum fake_mood mood)
{
	struct msg_mailbox_fetch   fetch;
	struct msg_mailbox_message message = msg_mailbox_message_clear();

	if (!msg_mailbox_fetch_decode(frame, &fetch))
		return;
	if (mood == MOOD_GONE) {
		message.status = MAILBOX_GONE;
		message.reason = SLICE("expunged");
	} else {
		const char *text = fake_messages[fetch.index % FAKE_COUNT];
		int         fd = memfd_create("message", MFD_CLOEXEC);
		ssize_t     written = write(fd, text, strlen(text));

		message.file_length = written > 0 ? (uint64_t)written : 0;
		message.file = fd;
	}
	ipc_send(channel, mailbox_message, &message, clock_monotonic_ms() + 5000);
	if (message.file >= 0)
		close(message.file);
}

static void
fake_remove(struct ipc_channel *channel, struct ipc_frame *frame, enum fake_mood mood)
{
	struct msg_mailbox_remove  question;
	struct msg_mailbox_removed answer = msg_mailbox_removed_clear();

	if (!msg_mailbox_remove_decode(frame, &question))
		return;
	for (size_t i = 0; i < question.marks.length; i++)
		answer.removed += question.marks.data[i] == 1;
	if (mood == MOOD_READ_ONLY) {
		answer.status = MAILBOX_TRY_LATER;
		answer.reason = SLICE("Read-only file system");
	}
	ipc_send(channel, mailbox_removed, &answer, clock_monotonic_ms() + 5000);
}

static void *
fake_serve(void *argument)
{
	struct fake_server *server = argument;
	struct ipc_channel  channel;
	struct ipc_frame    frame;

	ipc_channel_init(&channel, server->fd);
	while (ipc_receive(&channel, clock_monotonic_ms() + 60000, &frame) == IPC_OK) {
		if (frame.type == MSG_mailbox_list)
			fake_list(&channel, server->mood);
		else if (server->mood == MOOD_DIES)
			break;
		else if (frame.type == MSG_mailbox_fetch)
			fake_fetch(&channel, &frame, server->mood);
		else
			fake_remove(&channel, &frame, server->mood);
		ipc_frame_close(&frame);
	}
	ipc_channel_close(&channel);
	free(server);
	return NULL;
}

/* A channel to a mailbox in this mood. */
static int
fake_mailbox(enum fake_mood mood)
{
	struct fake_server *server = malloc(sizeof(*server));
	pthread_t           thread;
	int                 pair[2];

	if (server == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		abort();
	*server = (struct fake_server){ pair[1], mood };
	if (pthread_create(&thread, NULL, fake_serve, server) != 0)
		abort();
	pthread_detach(thread);
	return pair[0];
}

/* ---- logins: the password is "secret"; the user's name says what then happens ---- */

struct auth_exchange {
	int step;
};

static void
fake_login(struct slice user, struct slice password, struct auth_outcome *outcome)
{
	static const struct {
		const char    *user;
		enum fake_mood mood;
	} rows[] = { { "alice", MOOD_GOOD },    { "locked", MOOD_LOCKED },
		     { "broken", MOOD_BROKEN }, { "readonly", MOOD_READ_ONLY },
		     { "gone", MOOD_GONE },     { "dies", MOOD_DIES } };

	snprintf(outcome->user, sizeof(outcome->user), "%.*s", SLICE_ARGS(slice_first(user, 200)));
	outcome->status = AUTH_FAILED;
	if (slice_equal(user, SLICE("later")))
		outcome->status = AUTH_TRY_LATER;
	if (slice_equal(user, SLICE("slow")))
		outcome->delay_ms = 20;
	if (!slice_equal(password, SLICE("secret")))
		return;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!slice_equal(user, slice_from(rows[i].user)))
			continue;
		outcome->status = AUTH_OK;
		outcome->mailbox_fd = fake_mailbox(rows[i].mood);
	}
}

static void
fake_plain(struct slice response, struct auth_outcome *outcome)
{
	struct slice rest = response, authorize, user, password;

	outcome->status = AUTH_MALFORMED;
	if (slice_next_part(&rest, '\0', &authorize) && slice_next_part(&rest, '\0', &user) &&
	    slice_next_part(&rest, '\0', &password) && rest.data == NULL)
		fake_login(user, password, outcome);
}

/* SCRAM's shape only: one challenge, then success with data. */
static void
fake_scram(struct auth_exchange *exchange, struct auth_outcome *outcome)
{
	if (exchange->step++ == 0) {
		outcome->status = AUTH_CONTINUE;
		buf_append_text(&outcome->challenge, "r=nonce");
		return;
	}
	fake_login(SLICE("alice"), SLICE("secret"), outcome);
	buf_append_text(&outcome->challenge, "v=proof");
}

struct auth_exchange *
auth_start(struct auth_client *client, const struct auth_request *request,
           struct auth_outcome *outcome)
{
	struct auth_exchange *exchange = calloc(1, sizeof(*exchange));

	(void)client;
	if (exchange == NULL)
		abort();
	if (slice_equal_fold(request->mechanism, SLICE("SCRAM-SHA-256"))) {
		exchange->step = request->has_initial ? 0 : -1;
		if (request->has_initial)
			fake_scram(exchange, outcome);
		else
			outcome->status = AUTH_CONTINUE;
		exchange->step = exchange->step < 0 ? 0 : exchange->step;
	} else if (!slice_equal_fold(request->mechanism, SLICE("PLAIN"))) {
		outcome->status = AUTH_BAD_MECHANISM;
	} else if (request->has_initial) {
		fake_plain(request->initial, outcome);
	} else {
		exchange->step = 100;
		outcome->status = AUTH_CONTINUE;
	}
	return exchange;
}

void
auth_respond(struct auth_exchange *exchange, struct slice response, struct auth_outcome *outcome)
{
	if (exchange->step == 100)
		fake_plain(response, outcome);
	else
		fake_scram(exchange, outcome);
}

void
auth_end(struct auth_exchange **exchange)
{
	free(*exchange);
	*exchange = NULL;
}

void
auth_outcome_init(struct auth_outcome *outcome)
{
	*outcome = (struct auth_outcome){ .challenge = BUF(10000), .mailbox_fd = -1 };
}

void
auth_outcome_free(struct auth_outcome *outcome)
{
	buf_free(&outcome->challenge);
	if (outcome->mailbox_fd >= 0)
		close(outcome->mailbox_fd);
	outcome->mailbox_fd = -1;
}

bool
auth_mechanisms(struct auth_client *client, const char *service, bool has_tls, struct buf *names)
{
	(void)client;
	(void)service;
	(void)has_tls;
	return buf_append_text(names, "SCRAM-SHA-256 PLAIN");
}

/* ---- a session over memory, as lib/daemon would run it ---- */

static void
fake_session(struct pop3_room *room, struct slice input, size_t step, struct buf *output)
{
	struct daemon_context context = { .room = room };
	struct session_peer   peer = { .number = 4711 };
	struct stream        *stream = stream_from_memory(input, step, output);
	enum session_next     next = SESSION_WAIT;
	enum session_end      why = SESSION_END_LOST;
	bool                  has_paused = false;

	peer.client.ss_family = AF_INET;
	peer.server.ss_family = AF_INET;
	void *session = pop3_session_begin(&context, stream, &peer);
	for (;;) {
		size_t before = stream_input(stream).length;

		next = pop3_session_input(session);
		if (stream_flush(stream) != STREAM_OK)
			break;
		if (next == SESSION_CLOSE) {
			why = SESSION_END_CLOSED;
			break;
		}
		size_t left = stream_input(stream).length;
		if (next == SESSION_PAUSE) {
			usleep((useconds_t)(1000 * pop3_session_timeout(session) + 1000));
			has_paused = true;
			continue;
		}
		bool may_stall = has_paused; /* the answer that waited takes no input */
		has_paused = false;
		if (next == SESSION_CONTINUE ||
		    (next == SESSION_AGAIN && (left != before || may_stall)))
			continue;
		if (stream_fill(stream) != STREAM_OK)
			break;
	}
	pop3_session_end(session, why);
	stream_destroy(&stream);
}

#endif
