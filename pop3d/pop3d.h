/*
 * pop3d.h - what the parts of pop3d share: the room, and one struct for all of a session's state.
 *
 * RFC 1939 (POP3), 2449 (CAPA, response codes, pipelining), 2595 and 8314 (STLS, TLS), 5034 (AUTH),
 * 3206 (AUTH and SYS response codes). Nothing here touches a mailbox by path: a login yields a
 * channel that speaks for one mailbox (lib/ipc, mailbox_* messages).
 */
#ifndef DAKIYA_POP3D_POP3D_H
#define DAKIYA_POP3D_POP3D_H

#include <time.h>

#include "lib/base/hash.h"
#include "lib/base/mutex.h"
#include "lib/daemon/daemon.h"
#include "lib/ipc/channel.h"
#include "lib/sasl/auth.h"
#include "lib/sasl/turns.h"
#include "lib/smtp/data.h"
#include "lib/tls/tls.h"

#define POP3_ADDRESS_MOST    46    /* INET6_ADDRSTRLEN */
#define POP3_LINE_MOST       512   /* a command with its line end; RFC 2449 asks for 255 */
#define POP3_RESPONSE_MOST   12288 /* a base64 line inside AUTH, RFC 4954's figure */
#define POP3_MAILBOX_WAIT_MS 60000

/* Counts sessions of one user from one address. */
struct pop3_counts {
	struct mutex lock; /* guards everything below */
	struct hash  by_key;
};

struct pop3_room {
	const struct parameters *parameters;
	struct auth_client      *auth;
	struct auth_turns        turns;
	struct tls_server       *tls; /* NULL: not configured */
	struct pop3_counts       counts;
};

enum pop3_state {
	POP3_AUTHORIZATION,
	POP3_SASL,        /* between AUTH and its end: lines are responses */
	POP3_TRANSACTION, /* UPDATE is inside QUIT */
};

/* The reply that is on its way in pieces. */
enum pop3_sending { SENDING_NOTHING, SENDING_MESSAGE, SENDING_LIST, SENDING_UIDL };

/* Where a TOP ends: after the header, its empty line and so many lines of the body. */
struct pop3_top {
	bool     is_limited;
	bool     is_in_body;
	bool     is_line_empty;
	uint64_t lines_left;
};

struct pop3_sender {
	enum pop3_sending   what;
	uint32_t            index; /* next entry of LIST and UIDL */
	int                 fd;    /* SENDING_MESSAGE */
	uint64_t            offset;
	uint64_t            length;
	struct pop3_top     top;
	struct data_encoder encoder;
};

struct pop3_entry {
	uint64_t size; /* octets as sent */
	uint32_t uid;  /* offset of the NUL-terminated UIDL in mailbox.uids */
	bool     is_deleted;
};

/* The mailbox as it was at login; all zero before. */
struct pop3_mailbox {
	struct ipc_channel channel;
	struct pop3_entry *entries;
	uint32_t           count;
	uint32_t           deleted;
	uint64_t           size; /* all octets, deleted ones too */
	struct buf         uids;
};

/* Nothing of the session is done meanwhile. */
struct pop3_pause {
	int64_t     until_ms; /* 0: none */
	bool        is_failed_login;
	const char *code, *text; /* the -ERR that is due then; text NULL: none */
};

struct pop3_session {
	struct pop3_room     *room;
	struct stream        *stream;
	uint64_t              number;
	char                  client[POP3_ADDRESS_MOST];
	char                  server[POP3_ADDRESS_MOST];
	enum pop3_state       state;
	bool                  is_tls; /* STLS or wrapper mode, handshake done */
	bool                  is_greeted;
	bool                  is_skipping; /* the rest of a line that was too long */
	unsigned              errors;
	unsigned              failed_logins;
	int64_t               began_ms;
	char                 *name;      /* given with USER, waiting for PASS */
	char                 *user;      /* of the last attempt, fit for the log */
	char                 *count_key; /* in room->counts while logged in */
	const char           *method;    /* of the last login attempt, for the log */
	struct auth_exchange *exchange;
	struct auth_turn      turn;  /* to ask authd */
	struct pop3_pause     pause; /* before the reply to a login, or for a turn */
	/* A login that worked, while the server's last word (SCRAM) waits for an empty line. */
	struct auth_outcome *granted;
	struct pop3_mailbox *mailbox; /* NULL before login */
	struct pop3_sender   sender;
	struct {
		unsigned tops, retrs;
		uint64_t top_bytes, retr_bytes;
		uint64_t removed;
	} done;
	const char *end_words; /* why the room closes it, for the log */
};

/* ---- session.c: what lib/daemon calls ---- */

void             *pop3_session_begin(struct daemon_context *context, struct stream *stream,
                                     const struct session_peer *peer);
enum session_next pop3_session_input(void *session);
void              pop3_session_end(void *session, enum session_end why);
int64_t           pop3_session_timeout(void *session);
bool              pop3_session_is_idle(void *session);

/* ---- reply.c ---- */

/* "+OK text" and "-ERR text"; a code such as "AUTH" goes in brackets, NULL for none. */
void pop3_ok(struct pop3_session *session, const char *text);
void pop3_error(struct pop3_session *session, const char *code, const char *text);

/* ---- commands: command.c dispatches, the others carry out ---- */

enum session_next pop3_command(struct pop3_session *session, struct slice line);
/* After a reply: SESSION_AGAIN, or a last word and SESSION_CLOSE when there were too many errors.
 */
enum session_next pop3_after_error(struct pop3_session *session);

enum session_next pop3_command_user(struct pop3_session *session, struct slice argument);
enum session_next pop3_command_pass(struct pop3_session *session, struct slice argument);
enum session_next pop3_command_auth(struct pop3_session *session, struct slice argument);
/* Before a line that may ask authd is taken: false when it has to wait (pause is set). */
bool pop3_login_may_proceed(struct pop3_session *session, struct slice line);
void pop3_login_turn_end(struct pop3_session *session);
/* The pause is over. */
enum session_next pop3_pause_end(struct pop3_session *session);
/* A line while in POP3_SASL. */
enum session_next pop3_sasl_response(struct pop3_session *session, struct slice line);
/* Whether a password may travel as things are. */
bool pop3_may_send_password(const struct pop3_session *session);
/* Forgets an exchange that runs. */
void pop3_login_forget(struct pop3_session *session);

enum session_next pop3_command_stat(struct pop3_session *session, struct slice argument);
enum session_next pop3_command_list(struct pop3_session *session, struct slice argument);
enum session_next pop3_command_uidl(struct pop3_session *session, struct slice argument);
enum session_next pop3_command_dele(struct pop3_session *session, struct slice argument);
enum session_next pop3_command_rset(struct pop3_session *session, struct slice argument);
enum session_next pop3_command_retr(struct pop3_session *session, struct slice argument);
enum session_next pop3_command_top(struct pop3_session *session, struct slice argument);
enum session_next pop3_update(struct pop3_session *session); /* QUIT after login */

/* ---- send.c ---- */

/* Writes the next pieces of a long reply; SESSION_CONTINUE until it is through. */
enum session_next pop3_send_more(struct pop3_session *session);
void              pop3_send_stop(struct pop3_session *session);
/* How many bytes of the piece belong to the TOP; *is_over when the last line is among them. */
size_t pop3_top_take(struct pop3_top *top, struct slice piece, bool *is_over);

/* ---- mailbox.c: the channel to the mailbox ---- */

enum pop3_opened { OPENED, OPEN_IN_USE, OPEN_FAILED };
/* Takes fd over. *mailbox is set on OPENED; reason is for the log. */
enum pop3_opened pop3_mailbox_open(int fd, bool want_lock, struct pop3_mailbox **mailbox,
                                   struct error *reason);
void             pop3_mailbox_close(struct pop3_mailbox **mailbox);
/* The message's file and length; -1 and *reason when it cannot be had (GONE: *is_gone). */
int pop3_mailbox_fetch(struct pop3_mailbox *mailbox, uint32_t index, uint64_t *length,
                       bool *is_gone, struct error *reason);
/* Removes what is marked; false when some may still be there. */
bool pop3_mailbox_remove(struct pop3_mailbox *mailbox, uint64_t *removed, struct error *reason);
const char *pop3_mailbox_uid(const struct pop3_mailbox *mailbox, uint32_t index);

/* ---- counts.c ---- */

void pop3_counts_init(struct pop3_counts *counts);
void pop3_counts_destroy(struct pop3_counts *counts);
/* Counts one more for key; false when limit (0 = none) is reached or memory is out. */
bool pop3_counts_enter(struct pop3_counts *counts, const char *key, int64_t limit);
void pop3_counts_leave(struct pop3_counts *counts, const char *key);

#endif
