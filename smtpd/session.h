/*
 * session.h - one SMTP session: a function that carries out what has come and returns.
 *
 * RFC 5321. The session never waits for input: command lines, AUTH responses, DATA and BDAT
 * content are states in which session_input takes what stream_input holds. It runs over any
 * struct stream, so dialogue tests and fuzzers run it over memory.
 */
#ifndef DAKIYA_SMTPD_SESSION_H
#define DAKIYA_SMTPD_SESSION_H

#include "lib/smtp/command.h"
#include "lib/smtp/data.h"
#include "smtpd/room.h"

/* Longest name in HELO and EHLO that is taken. */
#define HELO_MOST 512

/* What the next input is. */
enum session_state {
	STATE_COMMAND,
	STATE_AUTH,      /* an AUTH response */
	STATE_DATA,      /* content up to CRLF.CRLF */
	STATE_BDAT,      /* content of a chunk */
	STATE_HANDSHAKE, /* TLS, done by the daemon */
	STATE_ENDED,
};

/* How far the mail transaction is: the column of the command table. */
enum session_phase {
	PHASE_NEW, /* no HELO or EHLO yet */
	PHASE_GREETED,
	PHASE_MAIL, /* a sender */
	PHASE_RCPT, /* and at least one recipient */
	PHASE_BDAT, /* and at least one chunk */
	PHASE_COUNT,
};

/* Who speaks to us; replaced as a whole by XCLIENT. Text lives in the session's arena. */
struct client {
	struct slice name;         /* confirmed, or "unknown" */
	struct slice reverse_name; /* as the PTR says, or "unknown" */
	struct slice address;      /* presentation form, IPv6 without "IPv6:" */
	struct slice port;
	bool         is_name_known;   /* looked up, or said by XCLIENT */
	bool         is_name_trouble; /* the lookup failed for now: not a verdict on the name */
	bool         is_reverse_trouble;
	const char  *label; /* "name[address]"; NULL until it is needed */
};

struct recipient {
	struct slice address; /* internal form, with a domain */
	struct slice original;
	struct slice orcpt;
	uint32_t     notify;
	bool         is_bcc; /* added by an access table: no notices */
};

/*
 * What XFORWARD told of the next message's client, for log and envelope alone: it decides nothing.
 * Gone with the transaction.
 */
struct forwarded {
	struct arena arena;
	bool         is_set;
	struct slice name, address, port, helo, protocol, ident; /* empty = not told */
};

/*
 * Everything that MAIL begins and that must be gone afterwards: one struct, one reset
 * (transaction_reset), so that nothing of one message can leak into the next.
 */
struct transaction {
	struct arena      arena;
	struct smtp_mail  mail;
	struct slice      sender; /* mail.sender with a domain */
	bool              has_begun;
	bool              is_counted; /* in room->messages */
	struct recipient *recipients;
	size_t            recipient_count;
	size_t            recipient_capacity;
	size_t            refused_count; /* recipients refused */
	size_t            overshoot;     /* recipients beyond the limit */
	struct intake    *intake;
	struct proxy     *proxy; /* in its place with smtpd_proxy_filter */
	int64_t           arrival_us;
	/* what access tables asked for */
	bool         is_held, is_discarded;
	struct slice filter, redirect, prepend;
	/* content */
	bool                is_content_begun; /* recipients and trace field were given to intake */
	struct data_decoder decoder;
	uint64_t            content_bytes;
	bool                is_too_large;
	bool                is_out_of_memory; /* content is not whole */
	bool                has_bare_newline;
	uint64_t            chunk_left;
	uint64_t            chunk_size;
	bool                is_last_chunk;
	bool                is_chunk_skipped; /* its content is read and thrown away */
	struct smtp_reply   chunk_refusal;
};

struct verb_count {
	uint32_t good, all;
};

struct session {
	struct room             *room;
	const struct parameters *parameters; /* those for stress when there was stress */
	struct stream           *stream;
	struct arena             arena; /* the client and its greeting */
	uint64_t                 number;
	enum session_state       state;
	enum session_phase       phase;
	struct client            client;
	struct forwarded         forwarded;
	struct slice             server_address;
	struct slice             server_port;
	struct limit_client     *limit;
	bool                     has_logged_connect;
	bool                     is_mynetworks, is_mynetworks_known;
	/* greeting */
	struct buf   helo_text;
	struct slice helo; /* what is in helo_text; empty before HELO or EHLO */
	bool         is_esmtp;
	unsigned     extensions; /* what EHLO offered */
	bool         was_tls_logged;
	/* login */
	struct auth_exchange *exchange;
	struct auth_turn      turn; /* to ask authd */
	struct slice          sasl_method, sasl_user, sasl_sender;
	char                  sasl_attempt[32]; /* the mechanism of the exchange */
	/* errors and counters */
	size_t            error_count;
	size_t            junk_count;
	struct verb_count counts[SMTP_VERB_UNKNOWN + 1];
	enum smtp_verb    verb;        /* the command being carried out */
	bool              has_command; /* at least one has come */
	bool              has_noted_bare_newline;
	int64_t           deadline_ms;      /* of the command or content; 0 = none */
	int64_t           pause_until_ms;   /* an answer is held back until then; 0 = none */
	struct buf        held;             /* that answer */
	bool              is_ending;        /* close after what is to be sent */
	bool              has_ended_badly;  /* the reason is in the log already */
	bool              is_denied;        /* refused at the greeting: only QUIT is left */
	bool              is_skipping_line; /* the rest of a line that was too long */
	uint32_t          transactions;     /* so far */
	/* for the postmaster */
	unsigned            trouble;    /* classes of errors that he wants to hear of */
	struct transcript   transcript; /* since the last message that went well */
	struct milter_talk *milters;    /* NULL: none, or not yet; see milters.c */
	struct transaction  mail;
};

/* The functions of struct daemon. */
void             *session_begin(struct daemon_context *context, struct stream *stream,
                                const struct session_peer *peer);
enum session_next session_input(void *session);
void              session_end(void *session, enum session_end why);
int64_t           session_timeout(void *session);
bool              session_is_idle(void *session); /* no transaction is under way */

/* The next answer waits that long (at most an hour). */
void session_delay(struct session *session, int64_t delay_ms);

/* ---- answering (answer.c) ---- */

/* Writes a reply and books it: errors, counters. status "2.1.0" or "" for none. */
void answer(struct session *session, int code, const char *status, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void answer_reply(struct session *session, const struct smtp_reply *reply);
/* The same, and the session ends once it is sent. */
void answer_and_end(struct session *session, int code, const char *status, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
struct enhanced_status status_from(const char *text);

/* ---- notify.c: what the postmaster is told, with a transcript (notify_classes) ---- */

/* The classes of notify_classes that concern sessions, as bits. */
unsigned notify_classes(const struct parameters *parameters);
void     notify_note_command(struct session *session, struct slice line);
void     notify_note_answer(struct session *session, struct slice bytes);
/* An answer that refuses something. */
void notify_note_error(struct session *session, const struct smtp_reply *reply);
/* A message went well: what was said up to here interests only if something else did not. */
void notify_forget(struct session *session);
/* At the end of the session. */
void notify_postmaster(struct session *session);

/* ---- milters.c: filters of others ---- */

/* Opens what smtpd_milters and smtpd_milter_maps name. */
bool milters_open(struct room *room, struct error *error);
bool milters_need_network(const struct room *room);
/*
 * What the milters of this client think; false: refused, *reply says how, and the log knows. Each
 * stands where the command itself would have been carried out.
 */
bool milters_connect(struct session *session, struct smtp_reply *reply);
bool milters_helo(struct session *session, struct slice name, struct smtp_reply *reply);
bool milters_mail(struct session *session, const struct smtp_command *command,
                  struct smtp_reply *reply);
bool milters_rcpt(struct session *session, const struct smtp_command *command,
                  const struct recipient *recipient, struct smtp_reply *reply);
bool milters_data(struct session *session, struct smtp_reply *reply);
bool milters_unknown(struct session *session, struct slice word, struct smtp_reply *reply);
/* Those that content is shown to. NULL: none. */
struct milter_session *milters_for_content(struct session *session);
void                   milters_message_end(struct session *session);
void                   milters_end(struct session *session);

/* ---- proxy.c: a filter in front of the queue (smtpd_proxy_filter) ---- */

/* Parses the filter's place, with the name service, before the doors close. */
bool proxy_configure(struct room *room, struct error *error);
/* Instead of an intake, at the first good recipient; session->mail.proxy. False: no memory. */
bool proxy_open(struct session *session);
/* The recipient that was added last; false: *refusal, and it is to be taken off again. */
bool proxy_recipient(struct session *session, struct smtp_reply *refusal);
bool proxy_begin_content(struct session *session, struct slice trace, struct smtp_reply *refusal);
void proxy_write(struct session *session, struct slice content);
/* What the filter says to the whole; logged. */
struct smtp_reply proxy_finish(struct session *session);
void              proxy_close(struct session *session);

/* ---- transaction.c ---- */

void transaction_init(struct transaction *mail);
void transaction_reset(struct session *session);
/* Makes the queue id and says client= in the log. False: nothing can be taken in; *reply says. */
bool        transaction_open(struct session *session, struct smtp_reply *reply);
const char *transaction_id(const struct session *session); /* "NOQUEUE" before there is one */
bool        transaction_add_recipient(struct session *session, const struct recipient *recipient);
/* Gives recipients and trace field to intake; content may be written then. */
bool transaction_begin_content(struct session *session, struct smtp_reply *reply);
/* SMTP, ESMTPSA, UTF8SMTPS ... (RFC 3848, 6531). */
const char *session_protocol(const struct session *session);

/* ---- client.c ---- */

/* "name[address]" for logs; looks the name up the first time. Valid as long as the session. */
const char *client_label(struct session *session);
void        client_know_name(struct session *session);
/* False: out of memory; a client without its address would be nobody's neighbour. */
bool        client_from_peer(struct session *session, const struct session_peer *peer);
enum lookup client_find_in(struct session *session, struct match_list *list);
/* For exceptions: what cannot be looked up now is none. */
bool        client_is_in(struct session *session, struct match_list *list);
enum lookup client_find_in_mynetworks(struct session *session);
void        client_log_connect(struct session *session);
/* Under which limits an event stays: false when it is above `most` (0 = none). */
bool client_may(struct session *session, enum limit_event event, int64_t most, const char *what);

/* ---- commands.c, content.c, login.c, secure.c, xclient.c ---- */

typedef void command_handler(struct session *session, const struct smtp_command *command);
/* Refuses a BDAT whose chunk must be read nevertheless. */
void content_skip_chunk(struct session *session, const struct smtp_command *command,
                        const struct smtp_reply *refusal);

command_handler command_helo, command_ehlo, command_mail, command_rcpt, command_rset, command_noop,
	command_vrfy, command_help, command_quit, command_etrn, command_data, command_bdat,
	command_auth, command_starttls, command_xclient, command_xforward;
/*
 * A value of XCLIENT or XFORWARD: xtext without control bytes, in the arena; empty for
 * "[UNAVAILABLE]" and "[TEMPUNAVAIL]" (*is_trouble). False when it is none, or when the arena
 * has_failed.
 */
bool xattribute_decode(struct slice raw, struct arena *arena, struct slice *value,
                       bool *is_trouble);
/* Content that has come; what session_input returns. */
enum session_next content_input(struct session *session);
/*
 * Before a line that may ask authd is taken: false when it has to wait for that (session_delay was
 * called). login_turn_end after the line.
 */
bool login_may_proceed(struct session *session, struct slice line);
void login_turn_end(struct session *session);
/* An AUTH response line. */
void login_response(struct session *session, struct slice line);
bool login_is_offered(struct session *session);
/* The mechanisms that this client may use now, one blank between them; false when none. */
bool login_mechanisms(struct session *session, struct buf *names);
/* After the handshake. */
void secure_done(struct session *session);
/* Forgets all that was said (RFC 3207 4.2). */
void session_forget(struct session *session);
void session_greet(struct session *session);

/* Every (state, command) pair; pipelining rule and help stand in the same row. */
void command_execute(struct session *session, const struct smtp_command *command);
/* A line that is no command: control bytes, nothing. */
void command_refuse_malformed(struct session *session, struct slice line);

#endif
