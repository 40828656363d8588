/*
 * pipe.h - pipe: the agent that hands mail to a command, which runs as the user of user=. pipe(8).
 *
 * Started as root it connects to qmgr, one channel a thread, becomes the user for good, forks the
 * helper that runs commands (lib/daemon/command.h) and closes its doors. What it cannot get again
 * - its channels, its helper - ends it, and master starts the next.
 */
#ifndef DAKIYA_PIPE_PIPE_H
#define DAKIYA_PIPE_PIPE_H

#include <stdatomic.h>

#include "lib/conf/environment.h"
#include "lib/conf/pipe_arguments.h"
#include "lib/daemon/command.h"
#include "lib/daemon/daemon.h"
#include "lib/mailbox/content.h"
#include "lib/queue/statusfilter.h"

#define ARGUMENTS_MOST (16u << 20) /* of all recipients, before they are given out in parts */

struct pipe_room {
	struct arena           arena;
	struct pipe_arguments  arguments;
	struct environment     environment;
	const char            *delimiters; /* recipient_delimiter */
	const char            *service;
	struct daemon_context *daemon;
	int64_t                time_limit_ms;
	struct command_runner *runner;
	struct status_filter  *statuses; /* pipe_delivery_status_filter */
	struct agent          *agents;   /* one a thread */
	size_t                 agent_count;
	_Atomic bool           is_over; /* a channel or the helper is gone */
};

/* A recipient of a job and what became of it. */
struct pipe_recipient {
	struct msg_job_recipient message;
	bool                     is_done;
	uint32_t                 action;
	char                     status[12];
	const char              *reason; /* in the delivery's arena */
};

/* What a job is while it is delivered; dies with it. */
struct pipe_delivery {
	struct pipe_room      *room;
	struct agent_job      *job;
	struct arena           arena;
	struct pipe_recipient *recipients;
	size_t                 count;
};

/* ---- expand.c: argv= with its macros filled in ---- */

/*
 * The arguments for recipients[0 .. count - 1], NULL-terminated; NULL when memory is out. Pure but
 * for the arena.
 */
const char *const *expand_argv(const struct pipe_delivery   *delivery,
                               struct pipe_recipient *const *recipients, size_t count,
                               struct arena *arena);
/*
 * Whether an address of this recipient (or, for NULL, of the message) would make an option of a
 * word that is none in argv=.
 */
bool expand_makes_option(const struct pipe_delivery *delivery, struct pipe_recipient *recipient,
                         struct arena *arena);

/* ---- content.c: what the command reads ---- */

struct pipe_content {
	const struct pipe_delivery  *delivery;
	const struct pipe_recipient *first; /* for D and O */
	uint64_t                     offset;
	bool                         has_begun, has_ended;
	struct content_count         count;
	struct content_quoting       quoting;
	bool                         in_line; /* for dots and eol= */
	char                        *piece;
	struct buf                   converted, quoted, out;
};

bool pipe_content_init(struct pipe_content *content, const struct pipe_delivery *delivery,
                       const struct pipe_recipient *first);
void pipe_content_free(struct pipe_content *content);
/* struct command's input; the context is the struct pipe_content. */
bool pipe_content_next(void *context, struct slice *piece, struct error *error);
/* Whether the header has a Delivered-To with this address; false and *error when it is unread. */
bool pipe_was_delivered_to(const struct pipe_delivery *delivery, struct slice recipient, bool *was,
                           struct error *error);

/* ---- deliver.c ---- */

/*
 * A channel or the helper is gone: no more jobs are taken, by no thread; what runs is finished and
 * reported.
 */
void pipe_end(struct pipe_room *room);
/* Delivers the job and fills outcomes with one msg_outcome a recipient, each logged. */
void pipe_deliver(struct pipe_room *room, struct agent_job *job, struct buf *outcomes);

#endif
