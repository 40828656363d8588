/*
 * local.h - one recipient of the service local, in the worker that runs as the user.
 *
 * First everything that the alias or .forward says is collected (expand.c), then it is carried
 * out in order (program.c, files.c), and at last qmgr is told what is left to do: addresses to
 * send on, the mailbox stage. So a text with a mistake in it has no effect at all.
 */
#ifndef DAKIYA_LOCAL_LOCAL_H
#define DAKIYA_LOCAL_LOCAL_H

#include <stdio.h>

#include "lib/base/array.h"
#include "lib/mail/address.h"
#include "lib/mail/aliases.h"
#include "lib/queue/job.h"
#include "lib/route/route.h"
#include "local/worker.h"

/* Where a destination was written; bits of what allow_mail_to_* name. */
enum local_origin {
	ORIGIN_ALIAS = 1 << 0,
	ORIGIN_FORWARD = 1 << 1,
	ORIGIN_INCLUDE = 1 << 2,
};

struct local_delivery {
	struct worker           *worker;
	const struct parameters *parameters;
	struct job_task         *task;
	struct msg_job_recipient recipient;
	struct msg_local         record;
	struct slice             sender; /* reverse-path: the owner's, or the message's own */
	struct address           address;
	struct slice             user; /* the local part without its extension, as written */
	struct arena             arena;

	/* collected */
	ARRAY(struct alias_destination) places; /* commands and files */
	ARRAY(struct slice) addresses;
	bool wants_mailbox; /* its own name was among them, or nothing else */

	/* the worst so far: OUTCOME_DELIVERED, then FAILED, then DEFERRED */
	uint32_t     action;
	char         status[12];
	struct error reason;
	bool         is_logged; /* that one has been */
};

/* One destination's outcome: logged, and kept when it is the worst. */
void local_outcome(struct local_delivery *delivery, uint32_t action, const char *status,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- expand.c ---- */

/* What the alias, or the user's .forward, says. False: the outcome is set. */
bool local_collect(struct local_delivery *delivery);

/* ---- program.c ---- */

/* $name for parameters that are filled in for each delivery; false with *error. */
bool local_expand(const struct local_delivery *delivery, const char *text, const char *filter,
                  struct buf *out, struct error *error);
/* Runs the command with the message; the outcome is set. */
void local_run(struct local_delivery *delivery, struct slice command);
/* The environment that a command gets, "NAME=value" each; for tests. False: out of memory. */
bool local_environment(const struct local_delivery *delivery, struct arena *arena,
                       const char *const **environment);
/* Whether the command needs a shell: it holds more than plain words, or a shell's own command. */
bool local_needs_shell(struct slice command);

/* ---- files.c ---- */

/* Appends the message to the file, or puts it into the Maildir, at an absolute path. */
void local_file(struct local_delivery *delivery, struct slice path);
/* The mailbox below the user's home. */
void local_home_mailbox(struct local_delivery *delivery);

#endif
