/*
 * dakiya.h - the parts of dakiya(8): start, and talking to a running master and qmgr.
 */
#ifndef DAKIYA_TOOL_H
#define DAKIYA_TOOL_H

#include <stdbool.h>

#include "lib/conf/configuration.h"

#define DEFAULT_CONFIG_DIRECTORY "/etc/dakiya"

struct tool {
	const char *name;                   /* as it was called, for messages */
	char        config_directory[4096]; /* absolute */
	bool        is_verbose;
	bool        wants_json;
	bool        is_postfix; /* called as postfix(1): its words, for what reads them */
};

/* Each returns a sysexits code; what it has to say is printed. */
int tool_start(struct tool *tool, bool in_foreground);
int tool_check(struct tool *tool);
int tool_command(struct tool *tool, const char *verb); /* stop, abort, reload, logrotate */
int tool_status(struct tool *tool);
int tool_flush(struct tool *tool);

/* Prints all problems; info only with -v. To standard error. */
void tool_print(const struct tool *tool, const struct report *report);

/* health.c: certificates, and a postmaster; for a configuration without errors. */
void tool_check_health(const struct configuration *configuration, struct report *report);

#endif
