/*
 * notes.c - what the journal says of messages that lie in files.
 *
 * A file is brought up to date when a round ends, and a removed name stays on the disk until its
 * directory is synced. Until then records in the journal say what has become of the message: RESULT
 * and NOTICE of its recipients, GONE of the whole. Their segment is held (pinned) as long as they
 * are needed; a start gives them to the files (notes_give).
 */
#include "qmgr/replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/queue/stored.h"

/* ---- removals ---- */

static void
held_add(struct qmgr *qmgr, struct held *held, uint64_t epoch)
{
	if (held->is_any && held->epoch <= epoch) {
		segment_let_go(qmgr,
		               epoch); /* segments are released in order: the oldest will do */
		return;
	}
	if (held->is_any)
		segment_let_go(qmgr, held->epoch);
	*held = (struct held){ .is_any = true, .epoch = epoch };
}

void
note_removed(struct qmgr *qmgr, uint64_t held_epoch)
{
	held_add(qmgr, &qmgr->removed, held_epoch);
}

static void
removals_synced(struct qmgr *qmgr, struct task *task)
{
	struct file_task *file = (struct file_task *)(void *)task;
	struct held       held = qmgr->syncing;

	qmgr->syncing = (struct held){ 0 };
	if (file->error.text[0] == '\0')
		segment_let_go(qmgr, held.epoch);
	else /* the file thread tells of what it cannot remove */
		held_add(qmgr, &qmgr->removed, held.epoch);
	buf_free(&file->result);
	free(file);
}

void
notes_tick(struct qmgr *qmgr)
{
	if (!qmgr->removed.is_any || qmgr->syncing.is_any)
		return;
	struct file_task *file = file_task_new(qmgr, FILE_BARRIER, "", removals_synced);
	if (file == NULL)
		return;
	qmgr->syncing = qmgr->removed;
	qmgr->removed = (struct held){ 0 };
	files_give(qmgr->files, file);
}

/* ---- at the start ---- */

/* Removes the file of a message that is gone; true when it was there. */
static bool
gone_remove(struct qmgr *qmgr, struct slice payload)
{
	struct msg_stored_done done;
	char                   id[QUEUE_ID_MOST], path[64];
	bool                   was_there = false;

	if (!stored_done_decode(payload, &done))
		return false;
	snprintf(id, sizeof(id), "%.*s", SLICE_ARGS(done.queue_id));
	for (enum place place = PLACE_DEFERRED; place <= PLACE_HOLD; place++) {
		queue_file_path(path, place, id);
		int result = unlinkat(qmgr->queue_fd, path, 0);
		if (result != 0 && errno != ENOENT) /* it would be delivered once more */
			result = unlinkat(qmgr->queue_fd, path, 0);
		if (result == 0)
			was_there = true;
		else if (errno != ENOENT)
			log_warning("remove %s: %m", path);
	}
	return was_there;
}

/* The message of a file; NULL when there is no such file, or none that can be read now. */
static struct message *
file_message(struct qmgr *qmgr, const char *id)
{
	struct stored_file       stored;
	struct msg_stored_result result;
	struct error             error = ERROR_NONE;
	char                     path[64], *bytes = NULL;
	size_t                   length = 0;
	enum place               place = PLACE_DEFERRED;

	for (;; place = PLACE_HOLD) {
		queue_file_path(path, place, id);
		if (queue_file_read(qmgr->queue_fd, path, &bytes, &length, &error))
			break;
		if (error.errno_value != ENOENT)
			log_warning("%s", error.text);
		if (error.errno_value != ENOENT || place == PLACE_HOLD)
			return NULL;
	}
	struct message *message = NULL;
	if (stored_file_parse(slice_of(bytes, length), &stored) &&
	    slice_equal(stored.commit.queue_id, slice_from(id)))
		message = message_create(qmgr, bytes, stored.message);
	if (message == NULL) { /* one that is damaged is set aside when it is its turn */
		free(bytes);
		return NULL;
	}
	struct slice results = stored.results;
	while (stored_result_next(&results, &result))
		message_apply(message, &result);
	message->backing = BACKED_FILE;
	message->place = place;
	message->valid_bytes = stored.valid_bytes;
	message->is_retried = true;
	qmgr->retried++;
	return message;
}

static int
progress(enum stored_state state)
{
	return state == STORED_DONE ? 2 : state == STORED_WAITING ? 0 : 1;
}

/* The file may know better by now: a recipient only goes forward. True when there was news. */
static bool
message_merge(struct message *message, const struct msg_stored_result *result)
{
	struct slice                list = result->recipients;
	struct msg_stored_recipient one;
	bool                        was_warned = message->is_warned, has_news = false;

	message->is_warned |= (result->flags & STORED_FLAG_WARNED) != 0;
	message->is_expired |= (result->flags & STORED_FLAG_EXPIRED) != 0;
	while (msg_stored_recipient_next(&list, &one)) {
		if (one.recipient >= message->count || one.state > STORED_DELIVERED)
			continue;
		struct recipient *recipient = &message->recipients[one.recipient];
		if (progress((enum stored_state)one.state) <= progress(recipient->state))
			continue;
		recipient->state = (enum stored_state)one.state;
		struct slice copy = arena_copy(&message->arena, one.outcome);
		recipient->outcome = copy.data == NULL ? SLICE_EMPTY : copy;
		recipient->is_changed = true;
		has_news = true;
	}
	return has_news || was_warned != message->is_warned;
}

/* The file of one that had news is brought up to date when its round ends; until then the notes
 * stay. */
static void
note_apply(struct qmgr *qmgr, const struct note *note)
{
	struct msg_stored_result result;
	char                     id[QUEUE_ID_MOST];

	if (!stored_result_decode(note->payload, &result))
		return;
	struct message *message = message_find(qmgr, result.queue_id);
	if (message == NULL) {
		snprintf(id, sizeof(id), "%.*s", SLICE_ARGS(result.queue_id));
		message = file_message(qmgr, id);
	}
	if (message == NULL || message->backing != BACKED_FILE)
		return;
	if (message_merge(message, &result))
		segment_pin(qmgr, message, note->epoch);
	message_trim(qmgr, message);
}

static void
file_resume(struct qmgr *qmgr, struct message *message)
{
	if (list_is_empty(&message->in_segment)) {
		message_free(qmgr, message); /* nothing new: it waits for its time */
		return;
	}
	message_log_active(message);
	message->next_attempt_us = qmgr->now_us;
	if (message->place == PLACE_HOLD)
		store_rest(qmgr, message, PLACE_HOLD);
	else
		round_begin(qmgr, message);
}

struct file_visit {
	ARRAY(struct message *) messages;
	bool has_failed;
};

static void
visit_file(struct slice key, void *value, void *context)
{
	struct file_visit *visit = context;
	struct message    *message = value;

	(void)key;
	if (message->backing == BACKED_FILE)
		visit->has_failed |= !ARRAY_PUSH(&visit->messages, message);
}

bool
notes_give(struct qmgr *qmgr, const struct notes *notes, struct error *error)
{
	struct file_visit visit = { 0 };
	struct error      unsynced = ERROR_NONE;
	bool              has_removed = false;

	for (size_t i = 0; i < notes->all.count; i++)
		if (notes->all.items[i].type == RECORD_GONE)
			has_removed |= gone_remove(qmgr, notes->all.items[i].payload);
	/* Before their records may be written over. */
	if (has_removed && !places_sync(qmgr->queue_fd, &unsynced))
		log_warning("removed queue files: %s", unsynced.text);
	for (size_t i = 0; i < notes->all.count; i++)
		if (notes->all.items[i].type == RECORD_RESULT)
			note_apply(qmgr, &notes->all.items[i]);
	hash_each(&qmgr->messages, visit_file, &visit);
	for (size_t i = 0; i < visit.messages.count; i++)
		file_resume(qmgr, visit.messages.items[i]);
	ARRAY_FREE(&visit.messages);
	return !visit.has_failed || error_set(error, "out of memory for the journal");
}
