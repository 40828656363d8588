/*
 * command.h - SMTP commands as values: a line to verb and arguments, MAIL and RCPT to their parts.
 *
 * RFC 5321 4.1 (grammar), 1870 (SIZE), 6152 (BODY), 3461 (RET, ENVID, NOTIFY, ORCPT), 4954 (AUTH=),
 * 6531 (SMTPUTF8), 3030 (BDAT). No I/O; whatever stays is copied into the arena given.
 */
#ifndef DAKIYA_SMTP_COMMAND_H
#define DAKIYA_SMTP_COMMAND_H

#include <stdint.h>

#include "lib/mail/address.h"
#include "lib/smtp/reply.h"

/* VERB(identifier, spelling): the commands of the server, in the order of its "disconnect" line. */
#define SMTP_VERBS(VERB)                                                                           \
	VERB(HELO, "HELO")                                                                         \
	VERB(EHLO, "EHLO")                                                                         \
	VERB(XCLIENT, "XCLIENT")                                                                   \
	VERB(XFORWARD, "XFORWARD")                                                                 \
	VERB(STARTTLS, "STARTTLS")                                                                 \
	VERB(AUTH, "AUTH")                                                                         \
	VERB(MAIL, "MAIL")                                                                         \
	VERB(BDAT, "BDAT")                                                                         \
	VERB(RCPT, "RCPT")                                                                         \
	VERB(DATA, "DATA")                                                                         \
	VERB(RSET, "RSET")                                                                         \
	VERB(NOOP, "NOOP")                                                                         \
	VERB(VRFY, "VRFY")                                                                         \
	VERB(ETRN, "ETRN")                                                                         \
	VERB(HELP, "HELP")                                                                         \
	VERB(QUIT, "QUIT")

enum smtp_verb {
#define VERB(identifier, spelling) SMTP_VERB_##identifier,
	SMTP_VERBS(VERB)
#undef VERB
		SMTP_VERB_UNKNOWN, /* also the number of verbs */
};

struct smtp_command {
	enum smtp_verb verb;
	struct slice   word;      /* the verb as sent */
	struct slice   arguments; /* behind it, outer blanks trimmed */
};

/*
 * Takes the line that begins input: *line without its line end, *length with it. A line ends at LF;
 * *is_bare tells that no CR stood before it. False when no LF is there yet. A CR elsewhere stays in
 * the line, where it makes the command malformed.
 */
bool smtp_line_take(struct slice input, struct slice *line, size_t *length, bool *is_bare);

/* False (malformed) when the line is empty or holds a control byte other than TAB. */
bool        smtp_command_parse(struct slice line, struct smtp_command *command);
const char *smtp_verb_name(enum smtp_verb verb); /* "MAIL"; "UNKNOWN" */

enum smtp_body { SMTP_BODY_UNSAID, SMTP_BODY_7BIT, SMTP_BODY_8BITMIME };

struct smtp_mail {
	struct slice   sender; /* internal form local@domain; empty = null sender */
	int64_t        size;   /* 0 = not given */
	enum smtp_body body;
	bool           is_smtputf8;
	uint32_t       ret; /* 0 not given, 1 FULL, 2 HDRS, as in envelope.h */
	struct slice   envid;
	bool           has_auth;
	struct slice   auth; /* AUTH=, decoded; empty for <> */
	bool           has_verp;
	struct slice   verp; /* XVERP=, two characters; empty: the default ones */
};

struct smtp_rcpt {
	struct slice recipient; /* internal form */
	uint32_t     notify;    /* DSN_NOTIFY_* bits of envelope.h, 0 not given */
	struct slice orcpt;     /* "type;address", decoded */
};

struct smtp_grammar {
	unsigned extensions; /* SMTP_*: parameters of others are refused with 555 */
	bool     is_strict;  /* strict_rfc821_envelopes */
};

/* The arguments of MAIL and RCPT. False: *refusal is what to answer; its text is in the arena. */
bool smtp_mail_parse(struct slice arguments, const struct smtp_grammar *grammar,
                     struct arena *arena, struct smtp_mail *mail, struct smtp_reply *refusal);
bool smtp_rcpt_parse(struct slice arguments, const struct smtp_grammar *grammar,
                     struct arena *arena, struct smtp_rcpt *rcpt, struct smtp_reply *refusal);
/* "BDAT size [LAST]": false when malformed. */
bool smtp_bdat_parse(struct slice arguments, uint64_t *size, bool *is_last);

/* Most bytes of ENVID and of ORCPT's address (RFC 3461 4.4, 4.2). */
#define SMTP_ENVID_MOST 100
#define SMTP_ORCPT_MOST 500

#endif
