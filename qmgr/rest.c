/* rest.c - a message goes to rest in a file: from the journal, or back to the file it came from. */
#include "qmgr/store.h"

#include <stdlib.h>

#include "lib/base/log.h"

#define EVICT_PAUSE_MS 10000
#define EVICT_AT_ONCE  200
#define RESULT_MOST    (16u << 20) /* in one record */
#define REWRITE_LEAST  (64u * 1024)
#define RESULT_BYTES   12 /* numbers and lengths of a msg_stored_recipient */

/* ---- kept in memory, until it can be written ---- */

void
message_wake_at(struct qmgr *qmgr, struct message *message, int64_t when_us)
{
	if (heap_contains(&message->alarm) || heap_insert(&qmgr->alarms, &message->alarm, when_us))
		return;
	message->wants_flush |= !message->is_held;
	message->wants_hold |= message->is_held;
	message_touch_later(qmgr, message);
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

/* ---- out of memory ---- */

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

/* ---- to a file ---- */

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

/* Records of those recipients, for a file. */
static bool
results_append(const struct message *message, enum result_part part, struct buf *records)
{
	uint32_t next = message_result_first(message, part);
	bool     is_good;

	do {
		struct buf payload = BUF(RESULT_MOST);

		is_good = message_result(message, part, &next, &payload) &&
		          record_append(records, RECORD_RESULT, 0, buf_slice(&payload));
		buf_free(&payload);
	} while (is_good && next != LANE_END);
	return is_good;
}

/* Journal to file; is_round tells whether it goes on in memory. */
static bool
move_begin(struct qmgr *qmgr, struct message *message, enum place place)
{
	struct file_task *file = file_task_new(qmgr, FILE_STORE, message->id, stored_done);
	struct error      error = ERROR_NONE;

	if (file == NULL || !message_load(qmgr, message, &error) ||
	    !results_append(message, RESULT_ALL, &file->result)) {
		log_trouble("%s: cannot be moved to a file: %s", message->id,
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
	bool              is_move = file->verb == FILE_MOVE;

	if (!is_move && (file->error.errno_value == 0 || file->verb == FILE_REWRITE))
		message->valid_bytes = file->valid_bytes;
	if (file->error.errno_value != 0) {
		if (may_complain(qmgr))
			log_warning("%s: %s", message->id, file->error.text);
		/* Out of memory what this round delivered would be delivered once more. */
		if (!is_move) {
			message->is_unsaved = true;
			message_mark_changes(message);
			qmgr->evict_after_ms = qmgr->now_ms + EVICT_PAUSE_MS;
		}
	} else if (!is_move) {
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
	/* Out of memory before it is on hold it would be tried. */
	else if (message->is_unsaved || (message->is_held && message->place != PLACE_HOLD))
		message_keep(qmgr, message);
	else
		message_unload(qmgr, message);
}

/*
 * Each attempt leaves a result for every recipient in the file. When more than half of it is out of
 * date, it is written anew: what is written in all stays within three times what there was to say.
 */
static enum file_verb
update_verb(struct qmgr *qmgr, struct message *message)
{
	uint64_t     needed = message->payload_length;
	struct error error = ERROR_NONE;

	for (uint32_t i = 0; i < message->count; i++)
		needed += message->recipients[i].outcome.length + RESULT_BYTES;
	return message->valid_bytes > 2 * needed + REWRITE_LEAST &&
	                       message_load(qmgr, message, &error)
	               ? FILE_REWRITE
	               : FILE_UPDATE;
}

static bool
update_begin(struct qmgr *qmgr, struct message *message, enum file_verb verb)
{
	struct file_task *file = file_task_new(qmgr, verb, message->id, updated_done);

	if (file == NULL)
		return false;
	if (verb != FILE_MOVE) {
		enum result_part part = verb == FILE_REWRITE ? RESULT_ALL : RESULT_CHANGED;

		if (!results_append(message, part, &file->result)) {
			buf_free(&file->result);
			free(file);
			return false;
		}
		message_clear_changes(message);
	}
	if (verb == FILE_REWRITE)
		file->message = message->payload;
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
		bool is_move = message->place != place;

		/* A move would take the file that is about to be replaced. */
		is_begun = update_begin(qmgr, message,
		                        is_move ? FILE_UPDATE : update_verb(qmgr, message));
		/* Without memory for it the end of the update sees that it is not there yet. */
		if (is_begun && is_move)
			(void)update_begin(qmgr, message, FILE_MOVE);
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
	if (!update_begin(qmgr, message, update_verb(qmgr, message)))
		message_keep(qmgr, message);
}

/* ---- when there is too much of it ---- */

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
