/*
 * dakqueue.h - the parts of dakqueue(1): its names and options, asking qmgr, reading the queue
 * while it is down, printing.
 */
#ifndef DAKIYA_DAKQUEUE_H
#define DAKIYA_DAKQUEUE_H

#include <stdio.h>

#include "lib/conf/configuration.h"
#include "lib/ipc/channel.h"
#include "lib/queue/control.h"

enum list_form { LIST_TEXT, LIST_JSON };

struct printer {
	enum list_form form;
	uint64_t       count;
	uint64_t       bytes;
};
void print_entry(struct printer *printer, const struct msg_queue_entry *entry);
/* What stands behind the last entry. */
void print_end(const struct printer *printer);

enum show_part { SHOW_ENVELOPE = 1, SHOW_HEADER = 2, SHOW_BODY = 4, SHOW_ALL = 7 };
/*
 * The parts of a message (SHOW_* bits) as postcat -q prints them; lines with *** between them only
 * when the envelope is asked for. False when the content cannot be read.
 */
bool print_message(const struct msg_queue_message *message, unsigned parts, struct error *error);

/* ---- arguments.c ---- */

enum verb { VERB_LIST, VERB_SHOW, VERB_ACT, VERB_NOTHING };

struct command {
	const char       *name;
	enum verb         verb;
	enum queue_action action;
	bool              needs_id;
	const char       *done; /* "Deleted: 3 messages" */
	const char       *help;
	bool              is_release_first; /* also what is on hold */
};

#define STEPS_MOST 8
struct step {
	const struct command *command;
	char                **ids; /* room for every argument */
	size_t                id_count;
};
struct arguments {
	const char    *config_directory; /* NULL = not given */
	const char    *site;
	const char    *list_id;
	enum list_form form;
	unsigned       parts;      /* SHOW_* */
	unsigned       states;     /* bits of enum queue_state that ALL means; 0 = every one */
	bool           is_lenient; /* an id that is not there is no failure (postsuper) */
	struct step    steps[STEPS_MOST];
	size_t         step_count;
};
/* Reads them in the way of the name that the program was called by; false: print the usage. */
bool arguments_read(struct arguments *arguments, const char *name, int argc, char **argv);
void arguments_free(struct arguments *arguments);
void arguments_usage(FILE *to, const char *name);

/* ---- the work; each returns a sysexits code and prints what went wrong ---- */

struct tool {
	const char        *name;
	const char        *config_directory;
	struct ipc_channel channel;          /* to qmgr */
	bool               is_release_first; /* of the command that is carried out */
};

int remote_list(struct tool *tool, const struct arguments *arguments);
int remote_show(struct tool *tool, const char *id, unsigned parts);
/* ids: as given, "ALL", or "-" for lines of standard input; none: all, or the site's. */
int remote_act(struct tool *tool, const struct arguments *arguments, const struct step *step);
/* While qmgr is down. */
int offline_list(struct tool *tool, const struct arguments *arguments);
int offline_show(struct tool *tool, const char *id, unsigned parts);
/* EX_OK when connected; EX_UNAVAILABLE when nobody answers, without a word. */
int remote_connect(struct tool *tool);

#endif
