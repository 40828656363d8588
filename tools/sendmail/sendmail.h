/*
 * sendmail.h - the parts of sendmail(1): its options, the message on standard input, handing it to
 * pickup or leaving it in maildrop/, SMTP on standard input.
 *
 * Nothing here has more rights than who calls it; pickup trusts nothing that comes from here.
 */
#ifndef DAKIYA_SENDMAIL_H
#define DAKIYA_SENDMAIL_H

#include <stdio.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/conf/configuration.h"
#include "lib/queue/id.h"
#include "lib/queue/submit.h"

/* What is done; each has its letter behind -b, or another option that means it. */
enum mode {
	MODE_MAIL,    /* -bm */
	MODE_SMTP,    /* -bs */
	MODE_QUEUE,   /* -bp: mailq */
	MODE_ALIASES, /* -bi, -I: newaliases */
	MODE_FLUSH,   /* -q */
	MODE_DAEMON,  /* -bd, -bl: dakiya start */
	MODE_NOTHING, /* -bh, -bH: there is no host status */
};

struct options {
	enum mode   mode;
	const char *config_directory; /* NULL = not given */
	const char *sender;           /* NULL = the caller's login name */
	const char *full_name;        /* NULL = from the environment or the password database */
	bool        reads_recipients; /* -t */
	bool        ignores_dots;     /* -i */
	bool        is_verify;        /* -bv: nothing is read, nothing is sent */
	unsigned    flags;            /* SUBMIT_FLAGS */
	uint32_t    dsn_notify, dsn_ret;
	const char *dsn_envid;
	const char *flush_id, *flush_site; /* -qI, -qR */
	char      **recipients;            /* what stands behind the options */
	size_t      recipient_count;
};

struct tool {
	const char           *name;      /* as called: sendmail */
	char                  user[256]; /* login name */
	unsigned              uid;
	bool                  has_user;
	struct arena          arena;
	struct options        options;
	char                 *config_directory;
	struct configuration *configuration;
	/* From main.cf. */
	const char *queue_directory, *command_directory, *myhostname, *mail_name, *submit_users;
	int64_t     message_size_limit;
};

/* One line on standard error, "sendmail: fatal: text"; returns code. */
int complain(const struct tool *tool, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void warn(const struct tool *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- options.c ---- */
/* EX_OK, or a sysexits code after a complaint. */
int options_read(struct tool *tool, int argc, char **argv);

/* ---- recipients.c ---- */

/* Addresses in internal form, in an arena. */
struct address_list {
	ARRAY(struct slice) items;
};
/*
 * Adds the addresses of an RFC 5322 address list, folded as it may be: display names, comments,
 * groups and routes are dropped. False: *bad is the part that is no address, or empty when memory
 * is out.
 */
bool address_list_read(struct slice text, struct arena *arena, struct address_list *list,
                       struct slice *bad);
/* The same for the To, Cc and Bcc fields of a header, or the Resent- ones when there are any. */
bool address_list_read_header(struct slice header, struct arena *arena, struct address_list *list,
                              struct slice *bad);

/* ---- message.c ---- */

struct letter { /* a message on its way to pickup */
	struct slice sender;
	struct slice full_name;
	unsigned     flags;
	uint32_t     dsn_ret;
	struct slice dsn_envid;
	ARRAY(struct msg_recipient) recipients;
	int      fd; /* the content, from offset 0; -1 = none yet */
	uint64_t size;
};
/* Reads standard input into letter->fd; *header is its header when wanted. A sysexits code. */
int message_read(struct tool *tool, struct letter *letter, bool wants_header, struct buf *header);
/* -bv: the message that stands for one, for the report's header. A sysexits code. */
int message_make_probe(struct tool *tool, struct letter *letter);
/* A file without a name for content; -1 after a complaint. */
int  message_file(struct tool *tool);
bool message_write(int fd, struct slice bytes);

/* ---- submit.c ---- */

struct answer {
	int  code; /* sysexits: EX_OK, it is in the queue or in maildrop/ */
	char queue_id[QUEUE_ID_MOST];
	char reason[500]; /* of any other code */
};
/* Hands the letter to pickup; when nobody answers, leaves it in maildrop/. */
void letter_submit(struct tool *tool, const struct letter *letter, struct answer *answer);

/* ---- drop.c ---- */
bool letter_drop(struct tool *tool, const struct letter *letter, struct error *error);

/* ---- frames.c: a letter as the frames of lib/ipc/messages.def ---- */

/* Sends or writes one frame that was encoded; false ends it. */
typedef bool frame_sink(void *context, uint32_t type, struct ipc_encoding *encoding);
bool         letter_encode(const struct letter *letter, frame_sink *sink, void *context);

/* ---- server.c ---- */
/* SMTP on standard input and output, up to QUIT or its end. */
int server_run(struct tool *tool);

#endif
