/*
 * trace.h - a message's story out of the log: lines found by address or id, joined by session.
 *
 * Lines of one message share its queue id, those of one conversation the number in brackets; a
 * forwarded message or a notice names the other's id. The log is read several times from start to
 * end, with memory for what was found only. Any text may stand in a log: nothing here trusts it.
 */
#ifndef DAKIYA_TRACE_H
#define DAKIYA_TRACE_H

#include <stdio.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/base/hash.h"

struct trace_line {
	uint64_t     at; /* place in the whole log */
	struct slice time;
	struct slice program; /* "postfix/smtpd" */
	struct slice text;
};

/* A message, or a session whose attempts were all refused. */
struct trace_story {
	struct slice id;      /* of the message; empty for a session */
	struct slice session; /* "postfix/smtpd[17]"; empty when it is not in the log */
	ARRAY(struct trace_line) lines;
};

struct trace {
	struct slice subject; /* user@example.org, @example.org, or a queue id */
	bool         is_id;
	struct arena arena;
	struct hash  ids;      /* struct trace_story, by queue id */
	struct hash  sessions; /* struct trace_story, by program and number */
	ARRAY(struct trace_story *) messages;
	ARRAY(struct trace_story *) conversations;
	uint64_t line_count; /* stored */
	bool     is_cut;     /* there was more than is kept */
	bool     has_no_memory;
};

void trace_init(struct trace *trace, struct slice subject);
void trace_free(struct trace *trace);
/* Whether a text names the subject's address. */
bool trace_mentions(const struct trace *trace, struct slice text);
/* A message that is known from elsewhere (the queue). */
bool trace_add_id(struct trace *trace, struct slice id);
/* Reads the logs, oldest first; each must be seekable. */
void trace_read(struct trace *trace, FILE *const *logs, size_t count);
/* A message's lines and those of its session, in the log's order. */
void trace_merge(struct trace *trace, struct trace_story *message);

#endif
