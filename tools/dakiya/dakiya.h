/*
 * dakiya.h - the parts of dakiya(8): start, and talking to a running master and qmgr.
 */
#ifndef DAKIYA_TOOL_H
#define DAKIYA_TOOL_H

#include <stdbool.h>

#include "lib/conf/configuration.h"
#include "lib/conf/places.h"

#define DEFAULT_CONFIG_DIRECTORY PLACE_CONFIG

struct tool {
	const char *name;                   /* as it was called, for messages */
	char        config_directory[4096]; /* absolute */
	bool        is_verbose;
	bool        wants_json;
	int         word_count; /* behind "setup", which has options of its own */
	char      **words;
	bool        is_postfix; /* called as postfix(1): its words, for what reads them */
	const char *argument;   /* of commands that take one; NULL = none was given */
	const char *logs[16];   /* --log, for trace */
	size_t      log_count;
	bool        wants_online; /* check: ask the network, too */
};

/* Each returns a sysexits code; what it has to say is printed. */
int tool_start(struct tool *tool, bool in_foreground);
int tool_check(struct tool *tool);
int tool_command(struct tool *tool, const char *verb); /* stop, abort, reload, logrotate */
int tool_status(struct tool *tool);
int tool_flush(struct tool *tool);
int tool_trace(struct tool *tool, const char *verb);

/* ---- postfix.c: called as postfix(1) ---- */

/* Runs the command with Postfix's words on standard error; exit status 0 or 1. */
int tool_postfix(struct tool *tool, const char *verb, int (*run)(struct tool *, const char *));
int tool_postfix_status(struct tool *tool);
/* set-permissions and upgrade-configuration: there is nothing to do. */
int tool_nothing(struct tool *tool, const char *verb);

/* ---- command.c: for those who ask the running system; words are printed on failure ---- */

struct ipc_channel;
#define TOOL_TEXT_MOST (4u << 20)
/* A setting of main.cf, expanded, appended to *text: EX_OK, or what to exit with. */
int tool_setting(const struct tool *tool, const char *name, struct buf *text);
/* Into queue_directory: EX_OK, or what to exit with. */
int tool_enter_queue(const struct tool *tool);
/* The same, and connects to a socket below it. */
int tool_connect(const struct tool *tool, const char *path, struct ipc_channel *channel);
/* Sends a verb to master; its answer's text is appended also when the status is another. */
int tool_ask_master(const struct tool *tool, const char *verb, int64_t most_ms, struct buf *text);

/* setup.c: the words behind "setup". */
int tool_setup(struct tool *tool, int argc, char **argv);

/* Prints all problems; info only with -v. To standard error. */
void tool_print(const struct tool *tool, const struct report *report);

/* check.c: reads the configuration and what it names; false when there are errors. */
bool tool_load_and_examine(const struct tool *tool, struct configuration *configuration,
                           struct report *report);
/* The second half: what a configuration without errors names. */
bool tool_examine(const struct configuration *configuration, struct report *report);

/* health.c: certificates, and a postmaster; for a configuration without errors. */
void tool_check_health(const struct configuration *configuration, struct report *report);

#endif
