/* fetch.c - messages that wait in files come back into memory when they are due. */
#include "qmgr/store.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/queue/stored.h"

static void
fetch_failed(struct qmgr *qmgr, struct waiting *waiting, struct file_task *file)
{
	if (file->error.errno_value == ENOENT) {
		log_warning("%s: its queue file has vanished", file->id);
		backlog_remove(&qmgr->backlog, waiting);
		return;
	}
	log_trouble("%s: %s", file->id, file->error.text);
	backlog_requeue(&qmgr->backlog, waiting, qmgr->now_us + STORE_RETRY_US);
}

static void
fetch_corrupt(struct qmgr *qmgr, struct waiting *waiting, const struct file_task *file)
{
	struct file_task *move = file_task_new(qmgr, FILE_CORRUPT, file->id, NULL);

	log_error("%s: its queue file is damaged: set aside in corrupt/", file->id);
	backlog_remove(&qmgr->backlog, waiting);
	if (move == NULL)
		return;
	move->place = file->place;
	files_give(qmgr->files, move);
}

static void
fetched(struct qmgr *qmgr, struct task *task)
{
	struct file_task        *file = (struct file_task *)(void *)task;
	struct waiting          *waiting = backlog_find(&qmgr->backlog, slice_from(file->id));
	struct stored_file       stored;
	struct msg_stored_result result;
	struct message          *message = NULL;

	qmgr->fetching--;
	/* Deleted or held meanwhile; or held, released and read twice. */
	if (waiting == NULL || !waiting->is_fetched ||
	    message_find(qmgr, slice_from(file->id)) != NULL) {
		free(file->bytes);
		free(file);
		return;
	}
	if (file->error.errno_value != 0) {
		fetch_failed(qmgr, waiting, file);
	} else if (!stored_file_parse(slice_of(file->bytes, file->length), &stored) ||
	           !slice_equal(stored.commit.queue_id, slice_from(file->id))) {
		fetch_corrupt(qmgr, waiting, file);
	} else {
		message = message_create(qmgr, file->bytes, stored.message);
		if (message == NULL)
			backlog_requeue(&qmgr->backlog, waiting, qmgr->now_us + STORE_RETRY_US);
	}
	if (message == NULL) {
		free(file->bytes);
		free(file);
		return;
	}
	struct slice results = stored.results;
	while (stored_result_next(&results, &result))
		message_apply(message, &result);
	message->backing = BACKED_FILE;
	message->place = file->place;
	message->valid_bytes = stored.valid_bytes;
	message->is_retried = true;
	qmgr->retried++;
	message->is_flushed = waiting->is_flushed;
	message->is_expired |= waiting->is_expired;
	waiting->is_flushed = waiting->is_expired = false;
	free(file);
	message_log_active(message);
	round_begin(qmgr, message);
}

/* Reads a message that is due back into memory. */
static void
store_fetch(struct qmgr *qmgr, struct waiting *waiting)
{
	struct file_task *file = file_task_new(qmgr, FILE_LOAD, waiting->id, fetched);

	if (file == NULL) {
		backlog_requeue(&qmgr->backlog, waiting, qmgr->now_us + STORE_RETRY_US);
		return;
	}
	file->place = waiting->is_on_hold ? PLACE_HOLD : PLACE_DEFERRED;
	backlog_fetched(&qmgr->backlog, waiting);
	qmgr->fetching++;
	files_give(qmgr->loads, file);
}

struct active_count
active_count_now(const struct qmgr *qmgr)
{
	return (struct active_count){ .messages = qmgr->messages.count,
		                      .retried = qmgr->retried,
		                      .fetching = qmgr->fetching,
		                      .recipients = qmgr->recipients };
}

void
store_fetch_due(struct qmgr *qmgr)
{
	struct active_count active = active_count_now(qmgr);
	struct waiting     *waiting;

	while (!qmgr->is_draining && retry_has_room(qmgr->parameters, &active) &&
	       (waiting = backlog_due(&qmgr->backlog, qmgr->now_us)) != NULL) {
		store_fetch(qmgr, waiting);
		active.fetching = qmgr->fetching;
	}
}
