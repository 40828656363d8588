/* store.c - what the journal is told of a message: results, that it is done, that it is gone. */
#include "qmgr/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/log.h"

#define RESULT_MOST  (16u << 20)   /* in one record */
#define RECORDS_MOST (1000u << 20) /* in one file */

/* ---- tasks of the file thread, and records ---- */

static void
file_task_ended(struct qmgr *qmgr, struct task *task)
{
	struct file_task *file = (struct file_task *)(void *)task;

	(void)qmgr;
	if (file->error.errno_value != 0)
		log_trouble("%s: %s", file->id, file->error.text);
	buf_free(&file->result);
	free(file);
}

struct file_task *
file_task_new(struct qmgr *qmgr, enum file_verb verb, const char *id,
              void (*done)(struct qmgr *, struct task *))
{
	struct file_task *file = calloc(1, sizeof(*file));

	(void)qmgr;
	if (file == NULL)
		return NULL;
	file->task.done = done == NULL ? file_task_ended : done;
	file->verb = verb;
	file->fd = file->work_fd = -1;
	file->result = BUF(RECORDS_MOST);
	memcpy(file->id, id, strlen(id) + 1);
	return file;
}

void
store_forget_spool(struct qmgr *qmgr, const char *id)
{
	struct file_task *file = file_task_new(qmgr, FILE_SPOOL_REMOVE, id, NULL);
	char              path[64];

	if (file != NULL) {
		files_give(qmgr->bodies, file);
		return;
	}
	/* No memory for the file thread: here, then. What fails the next start removes. */
	snprintf(path, sizeof(path), "spool/%s", id);
	(void)unlinkat(qmgr->queue_fd, path, 0);
}

static void
owned_write_ended(struct qmgr *qmgr, struct task *task)
{
	struct owned_write *owned = (struct owned_write *)(void *)task;

	if (owned->spool_id[0] != '\0')
		store_forget_spool(qmgr, owned->spool_id);
	buf_free(&owned->payload);
	free(owned);
}

static struct owned_write *
owned_write_new(enum record_type type)
{
	struct owned_write *owned = calloc(1, sizeof(*owned));

	if (owned == NULL)
		return NULL;
	owned->payload = BUF(RESULT_MOST);
	owned->write.type = type;
	owned->write.task.done = owned_write_ended;
	return owned;
}

void
owned_write_give(struct qmgr *qmgr, struct owned_write *owned)
{
	owned->write.payload = buf_slice(&owned->payload);
	task_list_append(&qmgr->to_journal, &owned->write.task);
}

struct owned_write *
done_write_new(const char *id, enum record_type type)
{
	struct owned_write    *owned = owned_write_new(type);
	struct ipc_encoding    encoding = { .fields = BUF(4096) };
	struct msg_stored_done done = { .queue_id = slice_from(id) };

	if (owned != NULL && (!msg_stored_done_encode(&encoding, &done) ||
	                      !buf_append(&owned->payload, buf_slice(&encoding.fields)))) {
		buf_free(&owned->payload);
		free(owned);
		owned = NULL;
	}
	buf_free(&encoding.fields);
	return owned;
}

/* A RESULT is in the journal: of a message in a file it lives until the file knows it, too. */
static void
result_written(struct qmgr *qmgr, struct task *task)
{
	struct owned_write *owned = (struct owned_write *)(void *)task;
	struct message     *message = message_find(qmgr, slice_from(owned->id));

	if (message != NULL && message->backing == BACKED_FILE)
		segment_pin(qmgr, message, owned->write.epoch);
	owned_write_ended(qmgr, task);
}

void
store_result(struct qmgr *qmgr, struct message *message)
{
	uint32_t next = message_result_first(message, RESULT_NEWS);

	do {
		struct owned_write *owned = owned_write_new(RECORD_RESULT);

		if (owned == NULL ||
		    !message_result(message, RESULT_NEWS, &next, &owned->payload)) {
			/* A crash would deliver once more; the next result may succeed. */
			if (owned != NULL)
				owned_write_ended(qmgr, &owned->write.task);
			message->has_news = false;
			return;
		}
		owned->write.is_hurried = message->is_outside;
		owned->write.task.done = result_written;
		memcpy(owned->id, message->id, sizeof(owned->id));
		owned_write_give(qmgr, owned);
	} while (next != LANE_END);
	/* While it moves to a file these results must be told to the file as well. */
	message_clear_news(message, message->backing == BACKED_JOURNAL && !message->is_moving);
}

void
store_supersede(struct qmgr *qmgr, struct message *message)
{
	struct owned_write *owned = done_write_new(message->id, RECORD_DONE);

	if (owned != NULL)
		owned_write_give(qmgr, owned);
	message_free(qmgr, message);
}

static void
removed_done(struct qmgr *qmgr, struct task *task)
{
	note_removed(qmgr, ((struct file_task *)(void *)task)->held_epoch);
	file_task_ended(qmgr, task);
}

/* The name may come back with a power cut until its directory is synced; GONE says so meanwhile. */
static void
file_finish(struct qmgr *qmgr, struct message *message, struct file_task *file,
            struct owned_write *gone)
{
	file->place = message->place;
	file->has_stray = message->has_stray;
	/* A body that the journal's message has goes when that is known to be done. */
	file->has_spool = message->is_spooled && message->backing == BACKED_FILE;
	file->held_epoch = segment_hold(qmgr);
	files_give(qmgr->files, file);
	gone->write.is_hurried = message->is_outside;
	owned_write_give(qmgr, gone);
}

static void
journal_finish(struct qmgr *qmgr, struct message *message, struct owned_write *done)
{
	done->write.is_urgent = message->is_spooled;
	done->write.is_hurried = message->is_outside;
	if (message->is_spooled)
		memcpy(done->spool_id, message->id, sizeof(done->spool_id));
	owned_write_give(qmgr, done);
}

static void
finish_later(struct qmgr *qmgr, struct message *message)
{
	if (may_complain(qmgr))
		log_warning("%s: out of memory for its removal", message->id);
	message->is_round = false;
	message_wake_at(qmgr, message, qmgr->now_us + STORE_LEAST_US);
}

void
store_finish(struct qmgr *qmgr, struct message *message, const char *program)
{
	struct waiting     *waiting = backlog_find(&qmgr->backlog, slice_from(message->id));
	bool                in_journal = message->backing == BACKED_JOURNAL;
	bool                in_file = !in_journal || message->has_stray;
	struct file_task   *file = NULL;
	struct owned_write *gone = NULL, *done = NULL;

	if (in_file) {
		file = file_task_new(qmgr, FILE_REMOVE, message->id, removed_done);
		gone = scan_note_gone(qmgr, message->id) ? done_write_new(message->id, RECORD_GONE)
		                                         : NULL;
	}
	if (in_journal)
		done = done_write_new(message->id, RECORD_DONE);
	if ((in_file && (file == NULL || gone == NULL)) || (in_journal && done == NULL)) {
		free(file);
		if (gone != NULL)
			owned_write_ended(qmgr, &gone->write.task);
		if (done != NULL)
			owned_write_ended(qmgr, &done->write.task);
		finish_later(qmgr, message);
		return;
	}
	log_info_as(program, "%s: removed", message->id);
	if (in_file)
		file_finish(qmgr, message, file, gone);
	if (in_journal)
		journal_finish(qmgr, message, done);
	segment_leave(qmgr, message);
	if (waiting != NULL)
		backlog_remove(&qmgr->backlog, waiting);
	message_free(qmgr, message);
}

/* ---- barriers ---- */

/* No message has it: a record of it is there to be synced behind others. */
#define NO_ID "barrier"

static void
barrier_step(struct qmgr *qmgr, struct barrier *barrier, const struct error *error)
{
	if (error->text[0] != '\0')
		*barrier->error = *error;
	if (--barrier->pending == 0)
		barrier->done(qmgr, barrier);
}

static void
file_barrier_ended(struct qmgr *qmgr, struct task *task)
{
	struct file_task *file = (struct file_task *)(void *)task;

	barrier_step(qmgr, file->context, &file->error);
	free(file);
}

static void
journal_barrier_ended(struct qmgr *qmgr, struct task *task)
{
	struct owned_write *owned = (struct owned_write *)(void *)task;
	struct error        error = ERROR_NONE;

	errno = owned->write.errno_value;
	if (errno != 0)
		error_set_errno(&error, "write to the journal");
	barrier_step(qmgr, owned->barrier, &error);
	buf_free(&owned->payload);
	free(owned);
}

void
store_barrier(struct qmgr *qmgr, struct barrier *barrier, bool with_journal)
{
	struct file_task   *file = file_task_new(qmgr, FILE_BARRIER, NO_ID, file_barrier_ended);
	struct owned_write *owned = with_journal ? done_write_new(NO_ID, RECORD_DONE) : NULL;
	struct error        error = ERROR_NONE;

	if (file == NULL || (with_journal && owned == NULL))
		error_set(&error, "out of memory");
	barrier->pending = 1u + (file != NULL) + (owned != NULL);
	if (file != NULL) {
		file->context = barrier;
		files_give(qmgr->files, file);
	}
	if (owned != NULL) {
		owned->barrier = barrier;
		owned->write.is_urgent = true;
		owned->write.task.done = journal_barrier_ended;
		owned_write_give(qmgr, owned);
	}
	barrier_step(qmgr, barrier, &error);
}
