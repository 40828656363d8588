/*
 * inside.h - inside lib/milter: the wire's letters and bits, a filter, a connection to it.
 *
 * A packet is a length of 32 bits (big-endian; of what follows), a letter, and data. Texts end in
 * NUL. Source: Sendmail's libmilter/docs and include/libmilter/mfdef.h describe them.
 */
#ifndef DAKIYA_MILTER_INSIDE_H
#define DAKIYA_MILTER_INSIDE_H

#include "lib/base/arena.h"
#include "lib/io/endpoint.h"
#include "lib/io/stream.h"
#include "lib/milter/milter.h"

/* What the mail server says. */
enum milter_command {
	SAYS_ABORT = 'A',
	SAYS_BODY = 'B',
	SAYS_CONNECT = 'C',
	SAYS_MACROS = 'D',
	SAYS_END_OF_CONTENT = 'E',
	SAYS_HELO = 'H',
	SAYS_HEADER = 'L',
	SAYS_MAIL = 'M',
	SAYS_END_OF_HEADER = 'N',
	SAYS_OPTIONS = 'O',
	SAYS_QUIT = 'Q',
	SAYS_RCPT = 'R',
	SAYS_DATA = 'T',
	SAYS_UNKNOWN = 'U',
};

/* What a filter answers. */
enum milter_answer {
	ANSWERS_ADD_RECIPIENT = '+',
	ANSWERS_REMOVE_RECIPIENT = '-',
	ANSWERS_ADD_RECIPIENT_WITH = '2',
	ANSWERS_SHUTDOWN = '4',
	ANSWERS_ACCEPT = 'a',
	ANSWERS_NEW_BODY = 'b',
	ANSWERS_CONTINUE = 'c',
	ANSWERS_DISCARD = 'd',
	ANSWERS_CHANGE_SENDER = 'e',
	ANSWERS_CONNECTION_FAILS = 'f',
	ANSWERS_ADD_FIELD = 'h',
	ANSWERS_INSERT_FIELD = 'i',
	ANSWERS_CHANGE_FIELD = 'm',
	ANSWERS_PROGRESS = 'p',
	ANSWERS_QUARANTINE = 'q',
	ANSWERS_REJECT = 'r',
	ANSWERS_SKIP = 's',
	ANSWERS_TEMPFAIL = 't',
	ANSWERS_REPLY = 'y',
};

/* What a filter may change (first word of the options). */
enum {
	MAY_ADD_FIELDS = 0x1,
	MAY_CHANGE_BODY = 0x2,
	MAY_ADD_RECIPIENTS = 0x4,
	MAY_REMOVE_RECIPIENTS = 0x8,
	MAY_CHANGE_FIELDS = 0x10,
	MAY_QUARANTINE = 0x20,
	MAY_CHANGE_SENDER = 0x40,
	MAY_ADD_RECIPIENTS_WITH = 0x80,
	MAY_NAME_MACROS = 0x100,
};

/* What a filter does not want, or does not answer (second word). */
enum {
	NO_CONNECT = 0x1,
	NO_HELO = 0x2,
	NO_MAIL = 0x4,
	NO_RCPT = 0x8,
	NO_BODY = 0x10,
	NO_HEADERS = 0x20,
	NO_END_OF_HEADER = 0x40,
	QUIET_HEADERS = 0x80,
	NO_UNKNOWN = 0x100,
	NO_DATA = 0x200,
	KNOWS_SKIP = 0x400,
	QUIET_CONNECT = 0x1000,
	QUIET_HELO = 0x2000,
	QUIET_MAIL = 0x4000,
	QUIET_RCPT = 0x8000,
	QUIET_DATA = 0x10000,
	QUIET_UNKNOWN = 0x20000,
	QUIET_END_OF_HEADER = 0x40000,
	QUIET_BODY = 0x80000,
	KEEPS_SPACE = 0x100000, /* blanks behind a field's colon are part of its value */
};

#define BODY_PIECE_MOST 65535u             /* bytes of body in a packet */
#define ANSWER_MOST     (2u * 1024 * 1024) /* longest packet that is taken */

struct milter {
	struct endpoint        endpoint;
	struct milter_settings settings;
	char                  *default_action, *names[MILTER_STAGES], *macro_defaults;
};

struct milter_list {
	struct milter *milters;
	size_t         count;
};

enum channel_state {
	CHANNEL_NEW,    /* not connected yet */
	CHANNEL_OPEN,   /* takes part */
	CHANNEL_DONE,   /* has accepted the connection, or failed and was answered for: no events */
	CHANNEL_PASSES, /* has accepted this message */
};

/* One filter in one session. */
struct channel {
	const struct milter *milter;
	enum channel_state   state;
	struct stream       *stream; /* NULL: none */
	uint32_t             version, may, wants;
	char *names[MILTER_STAGES]; /* macros that it asked for; NULL: as configured */
	bool  is_in_message;
	bool  has_failed;
	struct milter_verdict failure; /* what default_action has made of it */
};

struct milter_session {
	milter_macro   *macro;
	void           *context;
	struct arena    arena; /* texts of replies */
	size_t          count;
	struct channel *channels;
};

/* A packet that came: data is valid until the next one. */
struct packet {
	char         letter;
	struct slice data;
};

/* ---- wire.c ---- */
/* Connects and agrees on options. False and *error. */
bool channel_open(struct channel *channel, struct error *error);
void channel_close(struct channel *channel);
/* Buffers a packet: letter, then data. */
bool channel_say(struct channel *channel, enum milter_command letter, struct slice data,
                 struct error *error);
bool channel_hear(struct channel *channel, int64_t timeout_ms, struct packet *packet,
                  struct error *error);
/* Texts and numbers inside a packet. */
void packet_add_u32(struct buf *data, uint32_t number);
void packet_add_text(struct buf *data, struct slice text); /* and its NUL */
bool packet_take_u32(struct slice *data, uint32_t *number);
bool packet_take_text(struct slice *data, struct slice *text);

/* ---- session.c ---- */
/* Macros (MILTER_STAGES: none), then the command; with an answer unless the filter gives none. */
struct milter_verdict channel_event(struct milter_session *session, struct channel *channel,
                                    enum milter_stage stage, enum milter_command letter,
                                    struct slice data, uint32_t no_event, uint32_t no_answer);
bool                  channel_say_macros(struct milter_session *session, struct channel *channel,
                                         enum milter_stage stage, enum milter_command letter, struct error *error);
/* The connection is of no use any more: default_action from now on. */
struct milter_verdict channel_failed(struct milter_session *session, struct channel *channel,
                                     const struct error *error);
/* A final answer; false when it is none of those. */
bool channel_verdict(struct milter_session *session, struct channel *channel,
                     const struct packet *packet, struct milter_verdict *verdict);

#endif
