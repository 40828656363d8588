/*
 * pipe_arguments.h - what stands behind the program pipe in master.cf: flags=, user=, argv= ...
 *
 * The same reader for `dakiya check` and for the daemon, so that what is checked is what runs.
 */
#ifndef DAKIYA_CONF_PIPE_ARGUMENTS_H
#define DAKIYA_CONF_PIPE_ARGUMENTS_H

#include <stdint.h>

#include "lib/conf/owner.h"
#include "lib/conf/parameters.h"
#include "lib/conf/report.h"

#define PIPE_ARGUMENTS_MOST (64u * 1024) /* bytes behind the program's name */

enum pipe_flag {
	PIPE_BLANK_LINE = 1 << 0,  /* B: an empty line at the end */
	PIPE_DELIVERED = 1 << 1,   /* D: Delivered-To, and a loop is recognised by it */
	PIPE_FROM_LINE = 1 << 2,   /* F: "From sender date" in front */
	PIPE_ORIGINAL = 1 << 3,    /* O: X-Original-To */
	PIPE_RETURN_PATH = 1 << 4, /* R */
	PIPE_FINAL = 1 << 5,       /* X: this is the final delivery */
	PIPE_FOLD_DOMAIN = 1 << 6, /* h: lower case in domains */
	PIPE_QUOTE = 1 << 7,       /* q: local parts quoted as in RFC 822 */
	PIPE_FOLD_LOCAL = 1 << 8,  /* u: lower case in local parts */
	PIPE_DOTS = 1 << 9,        /* .: one more in front of a line that begins with one */
	PIPE_FROM_QUOTE = 1 << 10, /* >: in front of lines that begin with "From " */
};

struct pipe_arguments {
	unsigned           flags;
	const char        *user;        /* as written; NULL = not given */
	const char        *directory;   /* NULL = / */
	const char        *root;        /* chroot=; NULL = none */
	const char        *null_sender; /* MAILER-DAEMON unless given */
	struct slice       eol;         /* "\n" unless given */
	int64_t            size_limit;  /* 0 = none */
	const char *const *argv;        /* NULL-terminated templates with macros */
	size_t             argc;
};

/* Reads text into *arguments, whose memory is arena's. What is wrong goes to the report; false
 * when there is an error. */
bool pipe_arguments_parse(struct slice text, const char *file, unsigned line, struct arena *arena,
                          struct pipe_arguments *arguments, struct report *report);

enum pipe_user {
	PIPE_USER_FOUND,
	PIPE_USER_MISSING, /* or it cannot be looked up */
	PIPE_USER_REFUSED, /* root, or with rights of the mail system */
};

/* Whom user= means: "name", "name:group", "uid:gid"; *error unless found. parameters: the owners.
 */
enum pipe_user pipe_user_find(const char *text, const struct parameters *parameters,
                              struct owner *owner, struct error *error);

/* ---- macros in argv= ---- */

enum pipe_macro {
	PIPE_MACRO_NONE, /* the end of the text */
	/* of a recipient: a word with one of them is repeated for each */
	PIPE_MACRO_RECIPIENT,
	PIPE_MACRO_ORIGINAL_RECIPIENT,
	PIPE_MACRO_USER,
	PIPE_MACRO_EXTENSION,
	PIPE_MACRO_DOMAIN,
	PIPE_MACRO_MAILBOX,
	/* of the message */
	PIPE_MACRO_NEXTHOP,
	PIPE_MACRO_SENDER,
	PIPE_MACRO_SIZE,
	PIPE_MACRO_QUEUE_ID,
	PIPE_MACRO_ENVID,
	PIPE_MACRO_CLIENT_ADDRESS,
	PIPE_MACRO_CLIENT_HELO,
	PIPE_MACRO_CLIENT_HOSTNAME,
	PIPE_MACRO_CLIENT_PORT,
	PIPE_MACRO_CLIENT_PROTOCOL,
	PIPE_MACRO_SASL_METHOD,
	PIPE_MACRO_SASL_SENDER,
	PIPE_MACRO_SASL_USERNAME,
};

/*
 * Cuts literal text and the macro behind it off *rest: $name, ${name}, $(name), and $$ for one
 * dollar (in *literal). False when what stands there is no macro; *literal is then its name.
 */
bool pipe_macro_next(struct slice *rest, struct slice *literal, enum pipe_macro *macro);
/* Whether a word is repeated for each recipient. */
bool pipe_word_is_per_recipient(const char *word);

#endif
