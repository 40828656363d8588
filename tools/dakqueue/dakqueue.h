/*
 * dakqueue.h - the parts of dakqueue(1): its names and options, asking qmgr, reading the queue
 * while it is down, printing.
 */
#ifndef DAKIYA_DAKQUEUE_H
#define DAKIYA_DAKQUEUE_H

#include <stdio.h>
#include <time.h>

#include "lib/conf/configuration.h"
#include "lib/ipc/channel.h"
#include "lib/queue/control.h"

enum list_form { LIST_TEXT, LIST_JSON };

#define ENTRY_MOST (256u << 20) /* of an entry, printed: 16 MB that are all escaped */
struct printer {
	enum list_form form;
	uint64_t       count;
	uint64_t       bytes;
	struct buf     out, word; /* with ENTRY_MOST; print_end or print_drop frees */
	/* print.c's own: the date of the quarter of an hour that the last message came in */
	time_t quarter;
	int    quarter_minute;
	char   arrival[32];
};
#define PRINTER(how)                                                                               \
	{                                                                                          \
		.form = (how), .out = BUF(ENTRY_MOST), .word = BUF(ENTRY_MOST)                     \
	}
/* False, as of print_flush and print_end: nobody reads what is printed any more, or no memory. */
bool print_entry(struct printer *printer, const struct msg_queue_entry *entry);
/* What waits to be printed. */
bool print_flush(struct printer *printer);
void print_drop(struct printer *printer);
/* The same as JSON, without the end of the line. */
void print_json(const struct msg_queue_entry *entry);
/* "deferred" */
const char *state_name(uint32_t state);
/* Its bit of enum queue_state, added to *states; false: there is no such queue. */
bool state_parse(struct slice name, unsigned *states);
/* What stands behind the last entry. */
bool print_end(struct printer *printer);

enum show_part {
	SHOW_ENVELOPE = 1,
	SHOW_HEADER = 2,
	SHOW_BODY = 4,
	SHOW_ALL = 7,
	SHOW_EMPTY_LINE = 8, /* the one before the body, also without the header (postcat) */
};
/*
 * The parts of a message (SHOW_* bits) as postcat -q prints them; lines with *** between them only
 * when the envelope is asked for. False when the content cannot be read.
 */
bool print_message(const struct msg_queue_message *message, unsigned parts, struct error *error);

/* ---- arguments.c ---- */

enum verb {
	VERB_LIST,
	VERB_SHOW,
	VERB_ACT,
	VERB_WHY,
	VERB_SUSPEND,
	VERB_RESUME,
	VERB_SUSPENDED,
	VERB_SUMMARY,
	VERB_NOTHING
};

struct command {
	const char       *name;
	enum verb         verb;
	enum queue_action action;
	bool              needs_id;
	const char       *done;      /* "Deleted: 3 messages" */
	const char       *done_each; /* "removed" */
	const char       *help;
	bool              is_release_too; /* also what is on hold, which it leaves */
};

/* Of a summary, as qshape's. */
struct summary_options {
	bool     by_sender, has_parents, is_linear;
	uint64_t least_subdomains; /* of a parent that has a line of its own */
	size_t   buckets;
	int64_t  first_minutes;
	int      width;
	size_t   top_domains; /* on a terminal */
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
	bool           is_postfix; /* called by one of Postfix's names: its words */
	bool           tells_each; /* a line for each message (postsuper) */
	struct step    steps[STEPS_MOST];
	size_t         step_count;

	struct msg_queue_filter filter; /* the long options */
	bool                    is_selected;
	bool                    is_dry_run;
	int64_t                 for_s; /* suspend: 0 = until it is resumed */
	struct summary_options  summary;
};
/* Reads them in the way of the name that the program was called by; false: print the usage. */
bool arguments_read(struct arguments *arguments, const char *name, int argc, char **argv);
void arguments_free(struct arguments *arguments);
void arguments_usage(FILE *to, const char *name);
/* One word a line, for a shell's completion. */
void arguments_words(FILE *to, const char *name);

/* ---- select.c ---- */

/* Takes the long options out of argv; false: one is unknown or its value wrong. */
bool select_read(struct arguments *arguments, int *argc, char **argv);
void select_words(FILE *to);
/* "deferred, hold": bits of enum queue_state, added to *states. */
bool states_parse(struct slice names, unsigned *states);

/* ---- summary.c ---- */

struct tool;
/* What to do with each entry that the filter lets through; false ends it. */
typedef bool entry_visit(void *context, const struct msg_queue_entry *entry);
typedef int  entries_run(struct tool *tool, const struct arguments *arguments, entry_visit *visit,
                         void *context);
int summary_run(struct tool *tool, const struct arguments *arguments, entries_run *entries);
#define SUMMARY_OPTIONS "+c:jsplm:b:t:w:N:n:v"
/* The options of qshape; states when it names no queues. */
bool summary_read(struct arguments *arguments, int argc, char **argv, unsigned states);

/* ---- why.c, suspend.c ---- */

/* Text that may hold anything, and a time: for people, at a terminal. */
void text_print(struct slice bytes);
void time_print(int64_t when_us);
void print_outlook(enum list_form form, const struct msg_queue_entry *entry,
                   const struct msg_queue_outlook *outlook);
void print_suspended(enum list_form form, const struct msg_queue_totals *totals);

/* ---- the work; each returns a sysexits code and prints what went wrong ---- */

struct tool {
	const char        *name;
	const char        *voice; /* what stands in front of an error: "postqueue: fatal" */
	const char        *config_directory;
	struct ipc_channel channel;        /* to qmgr */
	bool               is_postfix;     /* as in struct arguments */
	bool               tells_each;     /* likewise */
	bool               is_release_too; /* these two of the command that is carried out */
	const char        *done_each;
};

/* "no such message", in the words of who asked. */
void message_missing(const struct tool *tool, const char *id);
/* The same of what cannot be one; only postsuper has words for it. */
void id_invalid(const struct tool *tool, struct slice id);
int  remote_list(struct tool *tool, const struct arguments *arguments);
int  remote_show(struct tool *tool, const char *id, unsigned parts);
/* ids: as given, "ALL", or "-" for lines of standard input; none: all, or the site's. */
int remote_act(struct tool *tool, const struct arguments *arguments, const struct step *step);
/* What the filter lets through. */
int remote_entries(struct tool *tool, const struct arguments *arguments, entry_visit *visit,
                   void *context);
int remote_select(struct tool *tool, const struct arguments *arguments, const struct step *step);
int remote_why(struct tool *tool, const char *id, enum list_form form);
/* One destination as the command line has it. */
int remote_suspend(struct tool *tool, const struct arguments *arguments, const char *destination,
                   bool is_resumed);
int remote_suspend_ask(struct tool *tool, const struct msg_queue_suspend *question,
                       uint64_t *count);
int remote_suspended(struct tool *tool, enum list_form form);
/* While qmgr is down. */
int offline_entries(struct tool *tool, const struct arguments *arguments, entry_visit *visit,
                    void *context);
/* All but a flush. */
int offline_act(struct tool *tool, const struct arguments *arguments, const struct step *step);
int offline_list(struct tool *tool, const struct arguments *arguments);
int offline_show(struct tool *tool, const char *id, unsigned parts);
/* EX_OK when connected; EX_UNAVAILABLE when nobody answers, without a word. */
int remote_connect(struct tool *tool);

#endif
