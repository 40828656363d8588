/*
 * setup.h - dakiya setup: from nothing to a mail host for one domain.
 *
 * Each step looks what is there, makes what is missing, and leaves what a person made or changed:
 * it says what it would have set. So it may be run again at any time. Nothing is undone.
 */
#ifndef DAKIYA_TOOL_SETUP_H
#define DAKIYA_TOOL_SETUP_H

#include <sys/types.h>

#include "lib/base/array.h"
#include "lib/base/buf.h"
#include "lib/conf/owner.h"
#include "tools/dakiya/dakiya.h"

#define SETUP_PATH_MOST 3000
#define SETUP_NAME_MOST 253

struct setup_texts {
	ARRAY(const char *) list;
};

struct setup {
	const struct tool *tool;
	/* as told or asked */
	char        domain[SETUP_NAME_MOST + 1];
	char        hostname[SETUP_NAME_MOST + 1];
	char        user[SETUP_NAME_MOST + 70]; /* the first user's address; "" = none is made */
	char        password[256];
	const char *directory;   /* --directory: a tree of its own; NULL = the system's */
	const char *listen;      /* --listen; NULL = as it is */
	const char *log;         /* --log; NULL = as it is */
	const char *chain_files; /* --chain-files; NULL = a certificate is made */
	const char *name_server; /* --name-server, for the probes; NULL = as the system does */
	bool        is_yes, is_dry, wants_password, from_stdin, without_probes;
	struct setup_texts addresses; /* --address: the host's public ones */
	struct setup_texts probes;    /* --probe */
	/* found out */
	bool         is_root;
	bool         has_accounts; /* the roles have names on this system */
	bool         is_password_made;
	struct owner mail_files; /* who owns the mailboxes */
	char         config[SETUP_PATH_MOST];
	char         queue[SETUP_PATH_MOST];
	char         data[SETUP_PATH_MOST];
	unsigned     changes, kept;
};

/* ---- what every step says ---- */

/* Counts a change and prints it; false in a dry run, when it must not be made. */
bool setup_change(struct setup *setup, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* What is left as a person made it. */
void setup_keep(struct setup *setup, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Words on standard error; always false. */
bool setup_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- the steps: false when setup cannot go on; worded ---- */

/* setup_ask.c: what was not told is asked for, or has its default with --yes. */
bool setup_ask(struct setup *setup);
bool setup_name_is_sound(const char *name);
/* setup_accounts.c: the roles' accounts, the directories. */
bool setup_accounts(struct setup *setup);
bool setup_directories(struct setup *setup);
/* setup_config.c: main.cf, master.cf, the aliases. */
bool setup_config(struct setup *setup);
/* What main.cf sets; "" when it does not, or is not there. False when memory is out. */
bool setup_value(const struct setup *setup, const char *name, struct buf *value);
/* setup_certificate.c */
bool setup_certificate(struct setup *setup);
/* setup_user.c */
bool setup_user(struct setup *setup);
/* The addresses in the domain that are there, one a line. */
bool setup_users(const struct setup *setup, struct buf *out);
/* setup_probe.c: what the network says; nothing is changed. */
void setup_probe(struct setup *setup);
/* setup_records.c: what to publish. */
void setup_records(struct setup *setup);

/* The public addresses of this host: those told, or those on its interfaces. */
struct setup_addresses {
	char   text[8][64];
	size_t count;
	bool   is_guess; /* none was found: an example stands there */
};
void setup_public_addresses(const struct setup *setup, struct setup_addresses *addresses);

/* ---- helpers ---- */

/* Runs one of our tools (found beside this one) or a program of the system with input on its
 * standard input (may be NULL) and its output in *output (NULL = shown). The exit status, or -1. */
int setup_run(const char *const arguments[], const char *input, struct buf *output);
/* The path of one of our tools. */
bool setup_tool_path(const char *name, char *path, size_t size);

/* setup_templates.c: the shipped files. */
struct slice setup_template(const char *name);

#endif
