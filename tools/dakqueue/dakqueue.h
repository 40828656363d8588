/*
 * dakqueue.h - the parts of dakqueue(1): asking qmgr, reading the queue while it is down, printing.
 */
#ifndef DAKIYA_DAKQUEUE_H
#define DAKIYA_DAKQUEUE_H

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
/* Envelope and content, as postcat -q prints them. False when the content cannot be read. */
bool print_message(const struct msg_queue_message *message, struct error *error);

struct tool {
	const char        *name;
	const char        *config_directory;
	struct ipc_channel channel; /* to qmgr */
};

/* Each returns a sysexits code and prints what went wrong. */
int tool_enter(struct tool *tool); /* into queue_directory */
int remote_list(struct tool *tool, const char *id, const char *site, enum list_form form);
int remote_show(struct tool *tool, const char *id);
/* ids: as given, "ALL", or "-" for lines of standard input. done: "Deleted", for the message. */
int remote_act(struct tool *tool, enum queue_action action, const char *site, char **ids,
               size_t count, const char *done);
/* While qmgr is down. */
int offline_list(struct tool *tool, const char *id, const char *site, enum list_form form);
int offline_show(struct tool *tool, const char *id);
/* EX_OK when connected; EX_UNAVAILABLE when nobody answers, without a word. */
int remote_connect(struct tool *tool);

#endif
