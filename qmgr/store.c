/* store.c - where a message is safe: from the journal to a file, back into memory, gone. */
#include "qmgr/qmgr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/queue/stored.h"
#include "qmgr/retry.h"

#define STORE_RETRY_US (30 * INT64_C(1000000)) /* when a file cannot be written or read */
#define STORE_LEAST_US INT64_C(1000000)
#define EVICT_PAUSE_MS 10000
#define COMPLAIN_MS    1000
#define EVICT_AT_ONCE  200
#define RESULT_MOST    (16u << 20)

bool
may_complain(struct qmgr *qmgr)
{
	if (qmgr->now_ms < qmgr->complain_after_ms)
		return false;
	qmgr->complain_after_ms = qmgr->now_ms + COMPLAIN_MS;
	return true;
}

/* ---- segments ---- */

static struct segment *
segment_find(struct qmgr *qmgr, uint64_t epoch)
{
	for (size_t i = qmgr->segments.count; i > 0; i--)
		if (qmgr->segments.items[i - 1]->epoch == epoch)
			return qmgr->segments.items[i - 1];
	struct segment *segment = calloc(1, sizeof(*segment));
	/* Without the count the tail must not move: a message might be written over. */
	if (segment == NULL || !ARRAY_PUSH(&qmgr->segments, segment))
		log_fatal("out of memory for the journal's segments");
	segment->epoch = epoch;
	list_init(&segment->messages);
	for (size_t i = qmgr->segments.count - 1;
	     i > 0 && qmgr->segments.items[i - 1]->epoch > epoch; i--) {
		qmgr->segments.items[i] = qmgr->segments.items[i - 1];
		qmgr->segments.items[i - 1] = segment;
	}
	return segment;
}

/* Segments in front that hold nothing live may be written over, in their order. */
static void
segments_release(struct qmgr *qmgr)
{
	size_t gone = 0;

	while (gone + 1 < qmgr->segments.count && qmgr->segments.items[gone]->live == 0)
		free(qmgr->segments.items[gone++]);
	if (gone == 0)
		return;
	qmgr->segments.count -= gone;
	memmove(qmgr->segments.items, qmgr->segments.items + gone,
	        qmgr->segments.count * sizeof(struct segment *));
	journal_set_tail(qmgr->journal, qmgr->segments.items[0]->epoch);
}

void
segment_pin(struct qmgr *qmgr, struct message *message, uint64_t epoch)
{
	if (!list_is_empty(&message->in_segment))
		return; /* in an older one: later ones are not released before it */
	struct segment *segment = segment_find(qmgr, epoch);
	message->epoch = epoch;
	segment->live++;
	list_append(&segment->messages, &message->in_segment);
	segments_release(qmgr);
}

void
segment_enter(struct qmgr *qmgr, struct message *message, uint64_t epoch)
{
	message->backing = BACKED_JOURNAL;
	segment_pin(qmgr, message, epoch);
}

void
segment_leave(struct qmgr *qmgr, struct message *message)
{
	if (list_is_empty(&message->in_segment))
		return;
	list_remove(&message->in_segment);
	segment_let_go(qmgr, message->epoch);
}

uint64_t
segment_hold(struct qmgr *qmgr)
{
	struct segment *newest = qmgr->segments.items[qmgr->segments.count - 1];

	newest->live++;
	return newest->epoch;
}

void
segment_let_go(struct qmgr *qmgr, uint64_t epoch)
{
	struct segment *segment = segment_find(qmgr, epoch);

	if (segment->live > 0)
		segment->live--;
	segments_release(qmgr);
}

void
segments_begin(struct qmgr *qmgr, uint64_t epoch)
{
	segment_find(qmgr, epoch);
	segments_release(qmgr);
	journal_set_tail(qmgr->journal, qmgr->segments.items[0]->epoch);
}

/* ---- records that nobody waits for ---- */

struct owned_write {
	struct journal_write write;
	struct message      *message; /* waits for it, or NULL */
	struct barrier      *barrier; /* likewise */
	struct buf           payload;
	char                 id[QUEUE_ID_MOST];       /* RESULT: of the message */
	char                 spool_id[QUEUE_ID_MOST]; /* to be removed afterwards; "" = none */
};

static void
file_task_ended(struct qmgr *qmgr, struct task *task)
{
	struct file_task *file = (struct file_task *)(void *)task;

	(void)qmgr;
	if (file->error.errno_value != 0)
		log_warning("%s: %s", file->id, file->error.text);
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
	file->result = BUF(RESULT_MOST);
	memcpy(file->id, id, strlen(id) + 1);
	return file;
}

void
store_forget_spool(struct qmgr *qmgr, const char *id)
{
	struct file_task *file = file_task_new(qmgr, FILE_SPOOL_REMOVE, id, NULL);
	char              path[64];

	if (file != NULL) {
		files_give(qmgr->files, file);
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

static void
owned_write_give(struct qmgr *qmgr, struct owned_write *owned)
{
	owned->write.payload = buf_slice(&owned->payload);
	task_list_append(&qmgr->to_journal, &owned->write.task);
}

/* A DONE or GONE record for the id; NULL when memory is out. */
static struct owned_write *
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
	struct owned_write *owned = owned_write_new(RECORD_RESULT);

	if (owned == NULL || !message_result(message, RESULT_NEWS, &owned->payload)) {
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
	message_clear_news(message);
	/* While it moves to a file these results must be told to the file as well. */
	if (message->backing == BACKED_JOURNAL && !message->is_moving)
		message_clear_changes(message);
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

/* When it is looked at again; without memory for that, soon. */
static void
message_wake_at(struct qmgr *qmgr, struct message *message, int64_t when_us)
{
	if (heap_contains(&message->alarm) || heap_insert(&qmgr->alarms, &message->alarm, when_us))
		return;
	message->wants_flush |= !message->is_held;
	message->wants_hold |= message->is_held;
	message_touch_later(qmgr, message);
}

/* Its round is over; the next one finds nothing to do but this. */
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
		gone = done_write_new(message->id, RECORD_GONE);
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

/* ---- to rest in a file ---- */

static bool
message_has_changes(const struct message *message)
{
	for (uint32_t i = 0; i < message->count; i++)
		if (message->recipients[i].is_changed)
			return true;
	return false;
}

/* An update failed: what it held, and perhaps more, is written with the next. */
static void
message_mark_changes(struct message *message)
{
	for (uint32_t i = 0; i < message->count; i++)
		message->recipients[i].is_changed |=
			message->recipients[i].state != STORED_WAITING ||
			message->recipients[i].outcome.length > 0;
}

/* Could not be written: stays in memory and in the journal, tried again later. */
static void
message_park(struct qmgr *qmgr, struct message *message)
{
	int64_t when_us = message->next_attempt_us;

	if (when_us < qmgr->now_us + STORE_RETRY_US)
		when_us = qmgr->now_us + STORE_RETRY_US;
	message_wake_at(qmgr, message, when_us);
}

/* Its results could not be written: in memory until they are, or until its next attempt. */
static void
message_keep(struct qmgr *qmgr, struct message *message)
{
	int64_t when_us = qmgr->now_us + STORE_RETRY_US;

	message->is_unsaved = true;
	if (message->next_attempt_us < when_us)
		when_us = message->next_attempt_us;
	if (when_us < qmgr->now_us + STORE_LEAST_US)
		when_us = qmgr->now_us + STORE_LEAST_US;
	message_wake_at(qmgr, message, when_us);
}

/* It is in a file now; out of memory with it, unless there is none for its place in the backlog. */
static void
message_unload(struct qmgr *qmgr, struct message *message)
{
	bool            is_on_hold = message->place == PLACE_HOLD;
	struct waiting *waiting =
		backlog_put(&qmgr->backlog, message->id, message->next_attempt_us, is_on_hold);

	if (waiting == NULL) {
		if (may_complain(qmgr))
			log_warning("%s: out of memory for its place in the queue", message->id);
		message_keep(qmgr, message);
		return;
	}
	backlog_changed(&qmgr->backlog, waiting);
	waiting->is_flushed = false; /* that was this round */
	segment_leave(qmgr, message);
	message_free(qmgr, message);
}

/* What keeps it in memory: its round, or what an administrator asked for meanwhile. */
static bool
has_wish(const struct message *message)
{
	return message->is_round || message->wants_delete || message->wants_hold ||
	       message->wants_flush || message->wants_mark;
}

/* The DONE record in the journal is durable: the file is the message now. */
static void
moved_done(struct qmgr *qmgr, struct task *task)
{
	struct owned_write *owned = (struct owned_write *)(void *)task;
	struct message     *message = owned->message;

	buf_free(&owned->payload);
	free(owned);
	message->io--;
	message->is_moving = false;
	message->backing = BACKED_FILE;
	/* What came meanwhile is in the journal and not in the file. */
	if (!message_has_changes(message))
		segment_leave(qmgr, message);
	if (!message->is_retried) {
		message->is_retried = true;
		qmgr->retried++;
	}
	if (has_wish(message))
		message_touch(qmgr, message);
	else
		message_unload(qmgr, message);
}

static void
stored_done(struct qmgr *qmgr, struct task *task)
{
	struct file_task   *file = (struct file_task *)(void *)task;
	struct message     *message = file->context;
	struct owned_write *owned = NULL;

	message->has_stray = file->has_stray;
	if (file->error.errno_value == 0)
		owned = done_write_new(message->id, RECORD_DONE);
	if (owned == NULL) {
		message->has_stray |= file->error.errno_value == 0;
		if (may_complain(qmgr))
			log_warning("%s: cannot be moved to a file: %s", message->id,
			            file->error.errno_value == 0 ? "out of memory"
			                                         : file->error.text);
		qmgr->evict_after_ms = qmgr->now_ms + EVICT_PAUSE_MS;
		message->io--;
		message->is_moving = false;
		if (!message->is_round)
			message_park(qmgr, message);
		message_touch(qmgr, message);
	} else {
		message->place = file->place;
		message->valid_bytes = file->valid_bytes;
		owned->message = message;
		owned->write.is_urgent = true;
		owned->write.task.done = moved_done;
		owned_write_give(qmgr, owned);
	}
	buf_free(&file->result);
	free(file);
}

/* Journal to file; is_round tells whether it goes on in memory. */
static bool
move_begin(struct qmgr *qmgr, struct message *message, enum place place)
{
	struct file_task *file = file_task_new(qmgr, FILE_STORE, message->id, stored_done);
	struct error      error = ERROR_NONE;

	if (file == NULL || !message_load(qmgr, message, &error) ||
	    !message_result(message, RESULT_ALL, &file->result)) {
		log_warning("%s: cannot be moved to a file: %s", message->id,
		            error.text[0] == '\0' ? "out of memory" : error.text);
		if (file != NULL)
			buf_free(&file->result);
		free(file);
		return false;
	}
	message_clear_changes(message);
	file->place = place;
	file->has_stray = message->has_stray;
	file->message = message->payload;
	file->mtime_us = message->next_attempt_us == 0 ? qmgr->now_us : message->next_attempt_us;
	file->context = message;
	message->io++;
	message->is_moving = true;
	files_give(qmgr->files, file);
	return true;
}

static void
updated_done(struct qmgr *qmgr, struct task *task)
{
	struct file_task *file = (struct file_task *)(void *)task;
	struct message   *message = file->context;

	if (file->error.errno_value != 0) {
		if (may_complain(qmgr))
			log_warning("%s: %s", message->id, file->error.text);
		/* Out of memory what this round delivered would be delivered once more. */
		if (file->verb == FILE_UPDATE) {
			message->is_unsaved = true;
			message_mark_changes(message);
			qmgr->evict_after_ms = qmgr->now_ms + EVICT_PAUSE_MS;
		}
	} else if (file->verb == FILE_UPDATE) {
		message->valid_bytes = file->valid_bytes;
		message->is_unsaved = false;
		if (!message_has_changes(message))
			segment_leave(qmgr, message);
	} else {
		message->place = message->place == PLACE_HOLD ? PLACE_DEFERRED : PLACE_HOLD;
	}
	buf_free(&file->result);
	free(file);
	message->io--;
	if (message->io > 0)
		return;
	if (has_wish(message))
		message_touch(qmgr, message);
	else if (message->is_unsaved)
		message_keep(qmgr, message);
	else
		message_unload(qmgr, message);
}

static bool
update_begin(struct qmgr *qmgr, struct message *message, enum file_verb verb)
{
	struct file_task *file = file_task_new(qmgr, verb, message->id, updated_done);

	if (file == NULL)
		return false;
	if (verb == FILE_UPDATE) {
		if (!message_result(message, RESULT_CHANGED, &file->result)) {
			buf_free(&file->result);
			free(file);
			return false;
		}
		message_clear_changes(message);
	}
	file->place = message->place;
	file->valid_bytes = message->valid_bytes;
	file->mtime_us = message->next_attempt_us;
	file->context = message;
	message->io++;
	files_give(qmgr->files, file);
	return true;
}

void
store_rest(struct qmgr *qmgr, struct message *message, enum place place)
{
	bool is_begun;

	if (message->backing == BACKED_JOURNAL) {
		is_begun = move_begin(qmgr, message, place);
	} else {
		is_begun = update_begin(qmgr, message, FILE_UPDATE);
		if (is_begun && message->place != place)
			update_begin(qmgr, message, FILE_MOVE);
	}
	if (!is_begun)
		message_park(qmgr, message);
}

void
store_put_back(struct qmgr *qmgr, struct message *message)
{
	bool is_flushed = message->is_flushed, is_expired = message->is_expired;
	char id[QUEUE_ID_MOST];

	memcpy(id, message->id, sizeof(id));
	message_unload(qmgr, message);
	struct waiting *waiting = backlog_find(&qmgr->backlog, slice_from(id));
	if (waiting == NULL || message_find(qmgr, slice_from(id)) != NULL)
		return;
	waiting->is_flushed = is_flushed;
	waiting->is_expired = is_expired;
}

void
store_again(struct qmgr *qmgr, struct message *message)
{
	if (!update_begin(qmgr, message, FILE_UPDATE))
		message_keep(qmgr, message);
}

static struct active_count
active_count_now(const struct qmgr *qmgr)
{
	return (struct active_count){ .messages = qmgr->messages.count,
		                      .retried = qmgr->retried,
		                      .fetching = qmgr->fetching,
		                      .recipients = qmgr->recipients };
}

void
store_evict(struct qmgr *qmgr)
{
	struct active_count active = active_count_now(qmgr);
	bool   is_full = qmgr->segments.count > (size_t)qmgr->parameters->qmgr_segment_limit;
	size_t begun = 0;

	if (qmgr->segments.count == 0 || qmgr->now_ms < qmgr->evict_after_ms ||
	    (!is_full && !retry_has_too_many_recipients(qmgr->parameters, &active)))
		return;
	if (is_full)
		notes_tick(qmgr);
	LIST_EACH (node, &qmgr->segments.items[0]->messages) {
		struct message *message = CONTAINER_OF(node, struct message, in_segment);

		if (message->io > 0 || message->is_resolving ||
		    (!is_full && message->count < LIST_LEAST))
			continue;
		if (message->backing == BACKED_FILE) { /* pinned by results of a long round */
			if (!is_full)
				continue;
			if (!update_begin(qmgr, message, FILE_UPDATE))
				return;
			if (++begun >= EVICT_AT_ONCE)
				return;
			continue;
		}
		/* One that only waits leaves memory, too, when there are too many. */
		if (message->jobs == 0 && retry_is_overfull(qmgr->parameters, &active)) {
			active.messages--;
			active.recipients -= message->count;
			message_withdraw(qmgr, message);
			message->is_round = false;
			message->next_attempt_us = qmgr->now_us;
		}
		if (!move_begin(qmgr, message, PLACE_DEFERRED)) {
			qmgr->evict_after_ms = qmgr->now_ms + EVICT_PAUSE_MS;
			if (!message->is_round)
				message_park(qmgr, message);
			return;
		}
		if (++begun >= EVICT_AT_ONCE)
			return;
	}
}

/* ---- back into memory ---- */

static void
fetch_failed(struct qmgr *qmgr, struct waiting *waiting, struct file_task *file)
{
	if (file->error.errno_value == ENOENT) {
		log_warning("%s: its queue file has vanished", file->id);
		backlog_remove(&qmgr->backlog, waiting);
		return;
	}
	log_warning("%s: %s", file->id, file->error.text);
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

void
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
	files_give(qmgr->files, file);
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
