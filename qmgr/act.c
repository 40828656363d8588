/* act.c - what administrators do to messages, carried out in the scheduler. */
#include "qmgr/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/base/log.h"
#include "lib/queue/entry.h"

#define LIST_MOST     (16u << 20)
#define ENTRIES_MOST  (256u << 10) /* bytes of entries in one answer */
#define FLUSH_AT_ONCE 20000
#define NOT_MOVED_US  (30 * INT64_C(1000000)) /* until an attempt at what could not be held */

/* ---- one message ---- */

/* A file that was to go to hold/ is not due from then on; one that comes from there is when it is
 * where it will be looked for. */
static void
moved_done(struct qmgr *qmgr, const struct file_task *file, struct waiting *waiting)
{
	bool is_moved = file->error.errno_value == 0;

	if (waiting == NULL || message_find(qmgr, slice_from(file->id)) != NULL)
		return;
	if (is_moved && file->place == PLACE_HOLD)
		(void)backlog_put(&qmgr->backlog, file->id, qmgr->now_us, false);
	/* No such file: it had been moved before this. */
	else if (!is_moved && file->place == PLACE_DEFERRED && file->error.errno_value != ENOENT)
		(void)backlog_put(&qmgr->backlog, file->id, qmgr->now_us + NOT_MOVED_US, false);
}

/* What could not be done to a file is told to who asked for it (barrier_done). */
static void
acted_done(struct qmgr *qmgr, struct task *task)
{
	struct file_task *file = (struct file_task *)(void *)task;

	if (file->verb == FILE_MOVE)
		moved_done(qmgr, file, backlog_find(&qmgr->backlog, slice_from(file->id)));
	if (file->error.errno_value != 0)
		log_trouble("%s: %s", file->id, file->error.text);
	if (file->error.errno_value != 0 && file->error.errno_value != ENOENT)
		qmgr->act_error = file->error;
	buf_free(&file->result);
	free(file);
}

/* False: out of memory. */
static bool
file_act(struct qmgr *qmgr, const struct waiting *waiting, enum file_verb verb, int64_t mtime_us)
{
	/* The file thread tries removals until they succeed. */
	struct file_task *file =
		file_task_new(qmgr, verb, waiting->id, verb == FILE_REMOVE ? NULL : acted_done);

	if (file == NULL)
		return false;
	file->place = waiting->is_on_hold ? PLACE_HOLD : PLACE_DEFERRED;
	file->mtime_us = mtime_us;
	file->has_spool = true; /* harmless when there is none */
	files_give(qmgr->files, file);
	return true;
}

/* In the log it is postsuper's doing, as log readers know it; a removal is told when it is done. */
static void
act_log(const char *id, enum queue_action action)
{
	static const char *const done[] = { [QUEUE_ACT_HOLD] = "placed on hold",
		                            [QUEUE_ACT_RELEASE] = "released from hold",
		                            [QUEUE_ACT_REQUEUE] = "requeued",
		                            [QUEUE_ACT_EXPIRE] = "expired",
		                            [QUEUE_ACT_REROUTE] = NULL };

	if (done[action] != NULL)
		log_info_as("postsuper", "%s: %s", id, done[action]);
}

/*
 * From now on nothing of it is tried, and it is returned to its sender: what waits in line at once,
 * what is on hold when it is released.
 */
static bool
message_expire(struct qmgr *qmgr, struct message *message, bool is_held)
{
	if (message->is_expired)
		return false;
	message->is_expired = true;
	message->wants_mark = is_held;
	message->wants_flush |= !is_held;
	if (!is_held && message->is_round && !message->is_resolving &&
	    message->notice == JOB_DELIVER)
		message_withdraw(qmgr, message);
	return true;
}

/* A message in memory: a flag, acted upon when nothing else is under way. */
static bool
act_on_message(struct qmgr *qmgr, struct message *message, enum queue_action action)
{
	bool is_held = message->is_held || message->wants_hold;

	/* It is as good as gone: whoever deletes it again has found nothing. */
	if (message->wants_delete)
		return false;
	if (is_held && (action == QUEUE_ACT_FLUSH || action == QUEUE_ACT_HOLD))
		return false;
	switch (action) {
	case QUEUE_ACT_REQUEUE: message->wants_hold = false; /* FALLTHROUGH */
	case QUEUE_ACT_FLUSH:
		message->is_flushed = true;
		/* During a round: once more when it ends, for what it had tried already. */
		message->wants_flush = true;
		break;
	case QUEUE_ACT_DELETE: message->wants_delete = true; break;
	case QUEUE_ACT_HOLD: message->wants_hold = true; break;
	case QUEUE_ACT_RELEASE:
		/* Not on hold yet, or on its way there: what was taken out of line goes on. */
		if (!is_held)
			return false;
		message->wants_hold = false;
		message->wants_flush = true;
		break;
	case QUEUE_ACT_EXPIRE:
		if (!message_expire(qmgr, message, is_held))
			return false;
		break;
	case QUEUE_ACT_REROUTE:
		if (!message->is_round || message->is_resolving || message->notice != JOB_DELIVER)
			return false;
		message_withdraw(qmgr, message);
		message->wants_flush = true;
		break;
	}
	if ((message->wants_delete || message->wants_hold) && !message->is_resolving)
		message_withdraw(qmgr, message);
	act_log(message->id, action);
	message_touch(qmgr, message);
	return true;
}

/* A file: the mark goes into it, so that it is known after a restart, too. */
static bool
waiting_expire(struct qmgr *qmgr, struct waiting *waiting)
{
	if (waiting->is_expired)
		return false;
	waiting->is_expired = true;
	if (!waiting->is_fetched)
		(void)file_act(qmgr, waiting, FILE_EXPIRE, qmgr->now_us);
	act_log(waiting->id, QUEUE_ACT_EXPIRE);
	if (waiting->is_on_hold)
		return true;
	waiting->is_flushed = true;
	return waiting->is_fetched || backlog_requeue(&qmgr->backlog, waiting, qmgr->now_us);
}

static bool
act_on_waiting(struct qmgr *qmgr, struct waiting *waiting, enum queue_action action)
{
	switch (action) {
	case QUEUE_ACT_EXPIRE: return waiting_expire(qmgr, waiting);
	case QUEUE_ACT_FLUSH:
		if (waiting->is_on_hold)
			return false;
		waiting->is_flushed = true;
		return waiting->is_fetched ||
		       backlog_requeue(&qmgr->backlog, waiting, qmgr->now_us);
	case QUEUE_ACT_DELETE:
		if (!scan_note_gone(qmgr, waiting->id) || !file_act(qmgr, waiting, FILE_REMOVE, 0))
			return false;
		log_info_as("postsuper", "%s: removed", waiting->id);
		backlog_remove(&qmgr->backlog, waiting);
		return true;
	case QUEUE_ACT_HOLD:
		if (waiting->is_on_hold || !file_act(qmgr, waiting, FILE_MOVE, qmgr->now_us))
			return false;
		act_log(waiting->id, QUEUE_ACT_HOLD);
		return backlog_put(&qmgr->backlog, waiting->id, qmgr->now_us, true) != NULL;
	case QUEUE_ACT_RELEASE:
		if (!waiting->is_on_hold || !file_act(qmgr, waiting, FILE_MOVE, qmgr->now_us))
			return false;
		act_log(waiting->id, QUEUE_ACT_RELEASE);
		return true;
	case QUEUE_ACT_REQUEUE:
		if (waiting->is_on_hold && !file_act(qmgr, waiting, FILE_MOVE, qmgr->now_us))
			return false;
		waiting->is_flushed = true;
		act_log(waiting->id, QUEUE_ACT_REQUEUE);
		return waiting->is_fetched || waiting->is_on_hold ||
		       backlog_put(&qmgr->backlog, waiting->id, qmgr->now_us, false) != NULL;
	case QUEUE_ACT_REROUTE: break;
	}
	return false;
}

/* While the directories are still being read after a start, a file is looked for where it would be.
 */
static struct waiting *
waiting_find(struct qmgr *qmgr, struct slice id)
{
	static const enum place places[] = { PLACE_DEFERRED, PLACE_HOLD };
	struct waiting         *waiting = backlog_find(&qmgr->backlog, id);
	char                    path[64], name[QUEUE_ID_MOST] = { 0 };
	struct stat             info;

	if (waiting != NULL || qmgr->is_scanned || !queue_id_is_valid(id))
		return waiting;
	memcpy(name, id.data, id.length);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && waiting == NULL; i++) {
		queue_file_path(path, places[i], name);
		if (fstatat(qmgr->queue_fd, path, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(info.st_mode))
			waiting = backlog_put(&qmgr->backlog, name,
			                      (int64_t)info.st_mtim.tv_sec * 1000000,
			                      places[i] == PLACE_HOLD);
	}
	return waiting;
}

bool
queue_state_is_among(enum queue_state state, uint32_t states)
{
	return states == 0 || (states & (1u << state)) != 0;
}

static bool
act_on_id(struct qmgr *qmgr, struct slice id, enum queue_action action, uint32_t states)
{
	struct message *message = message_find(qmgr, id);

	if (message != NULL && message->backing != BACKED_NOT)
		return queue_state_is_among(message_queue_state(message), states) &&
		       act_on_message(qmgr, message, action);
	struct waiting *waiting = waiting_find(qmgr, id);
	return waiting != NULL &&
	       queue_state_is_among(waiting->is_on_hold ? QUEUE_HOLD : QUEUE_DEFERRED, states) &&
	       act_on_waiting(qmgr, waiting, action);
}

/* ---- all of them, for a flush ---- */

static void
flush_visit(struct slice key, void *value, void *context)
{
	(void)key;
	act_on_message(context, value, QUEUE_ACT_FLUSH);
}

/* FLUSH_AT_ONCE of the backlog at a time, so that nobody waits for the rest. */
static void
flush_some(struct qmgr *qmgr, struct ask *ask)
{
	struct waiting *waiting = NULL;

	if (ask->mark == NULL) {
		schedule_revive(&qmgr->schedule);
		qmgr->is_scan_flushed = !qmgr->is_scanned;
		hash_each(&qmgr->messages, flush_visit, qmgr);
		ask->mark = backlog_walk(&qmgr->backlog);
		if (ask->mark == NULL)
			error_set(&ask->error, "out of memory: only what is in memory was flushed");
	}
	for (size_t i = 0; ask->mark != NULL && i < FLUSH_AT_ONCE; i++) {
		waiting = backlog_walk_next(&qmgr->backlog, ask->mark);
		if (waiting == NULL)
			break;
		/* Those in memory have been visited. */
		if (message_find(qmgr, slice_from(waiting->id)) == NULL &&
		    act_on_waiting(qmgr, waiting, QUEUE_ACT_FLUSH))
			ask->count++;
	}
	ask->is_over = waiting == NULL;
	if (ask->is_over && ask->mark != NULL)
		backlog_walk_end(&ask->mark);
}

/* ---- listing what is in memory ---- */

static void
ids_visit(struct slice key, void *value, void *context)
{
	const struct message *message = value;
	struct buf           *out = context;

	if (message->backing == BACKED_NOT)
		return;
	buf_append(out, key);
	buf_append_byte(out, '\n');
}

enum queue_state
message_queue_state(const struct message *message)
{
	if (message->is_round)
		return QUEUE_ACTIVE;
	/* On its way there: "delete ALL deferred" must not reach it. */
	if (message->is_held || message->wants_hold)
		return QUEUE_HOLD;
	return message->place == PLACE_HOLD && message->backing == BACKED_FILE ? QUEUE_HOLD
	                                                                       : QUEUE_DEFERRED;
}

static void
recipients_list(const struct message *message, struct buf *list, bool *is_wanted)
{
	struct msg_recipient recipient;

	for (uint32_t i = 0; i < message->count; i++) {
		const struct recipient *known = &message->recipients[i];

		if (known->state == STORED_DONE || !message_recipient(message, i, &recipient))
			continue;
		*is_wanted = true;
		queue_recipient_append(list, &recipient, known->outcome);
	}
}

/* Appends the entry as a u32 length and a queue_entry payload. */
static void
entry_append(struct qmgr *qmgr, struct message *message, struct ask *ask)
{
	struct ipc_encoding encoding = { .fields = BUF(LIST_MOST) };
	struct buf          list = BUF(LIST_MOST);
	struct error        error = ERROR_NONE;
	bool                is_wanted = false;
	uint32_t            length;

	if (!message_load(qmgr, message, &error))
		return;
	recipients_list(message, &list, &is_wanted);
	struct msg_queue_entry entry = { .queue_id = slice_from(message->id),
		                         .state = message_queue_state(message),
		                         .arrival_us = message->envelope.arrival_us,
		                         .size = message->size,
		                         .sender = message->sender,
		                         .is_expired = message->is_expired,
		                         .next_attempt_us =
		                                 message->is_round ? 0 : message->next_attempt_us,
		                         .attempts = message->attempts };
	entry.recipients = buf_slice(&list);
	if (is_wanted && !list.has_failed && msg_queue_entry_encode(&encoding, &entry)) {
		length = (uint32_t)encoding.fields.length;
		buf_append(&ask->out, slice_of((const char *)&length, sizeof(length)));
		buf_append(&ask->out, buf_slice(&encoding.fields));
	}
	message_trim(qmgr, message);
	buf_free(&list);
	buf_free(&encoding.fields);
}

/* ---- the questions ---- */

static void
ask_entries(struct qmgr *qmgr, struct ask *ask)
{
	struct slice rest = ask->ids, id;

	while (ask->out.length < ENTRIES_MOST && slice_next_part(&rest, '\n', &id)) {
		struct message *message = message_find(qmgr, id);

		/* The last line may be cut off: it comes again. */
		if (id.data + id.length == ask->ids.data + ask->ids.length && ask->at > 0)
			break;
		if (message != NULL && message->backing != BACKED_NOT)
			entry_append(qmgr, message, ask);
		ask->at = (size_t)(id.data - ask->ids.data) + id.length + 1;
	}
}

static void
ask_act(struct qmgr *qmgr, struct ask *ask)
{
	struct slice rest = ask->ids, id;

	while (slice_next_part(&rest, '\n', &id)) {
		if (id.length == 0)
			continue;
		if (act_on_id(qmgr, id, ask->action, ask->states)) {
			ask->count++;
			ask->is_in_memory |= message_find(qmgr, id) != NULL;
		} else {
			buf_append(&ask->out, id);
			buf_append_byte(&ask->out, '\n');
		}
	}
}

static void
barrier_done(struct qmgr *qmgr, struct barrier *barrier)
{
	struct ask *ask = CONTAINER_OF(barrier, struct ask, barrier);

	if (ask->error.text[0] == '\0')
		ask->error = qmgr->act_error;
	qmgr->act_error = ERROR_NONE;
	ask_done(qmgr->control, ask);
}

static void
ask_payload(struct qmgr *qmgr, struct ask *ask)
{
	struct message *message = message_find(qmgr, ask->ids);
	struct error    error = ERROR_NONE;

	if (message == NULL || message->backing == BACKED_NOT ||
	    !message_load(qmgr, message, &error))
		return;
	ask->count = 1;
	ask->state = message_queue_state(message);
	buf_append(&ask->out, message->payload);
	message_trim(qmgr, message);
}

void
ask_answer(struct qmgr *qmgr, struct task *task)
{
	struct ask *ask = (struct ask *)(void *)task;

	switch (ask->kind) {
	case ASK_IDS: hash_each(&qmgr->messages, ids_visit, &ask->out); break;
	case ASK_ENTRIES: ask_entries(qmgr, ask); break;
	case ASK_ROWS: ask_rows(qmgr, ask); break;
	case ASK_ACT: ask_act(qmgr, ask); break;
	case ASK_BARRIER:
		ask->barrier = (struct barrier){ .done = barrier_done, .error = &ask->error };
		store_barrier(qmgr, &ask->barrier, ask->is_in_memory);
		return; /* later */
	case ASK_PAYLOAD: ask_payload(qmgr, ask); break;
	case ASK_FLUSH_ALL: flush_some(qmgr, ask); break;
	case ASK_TOTALS: ask_totals(qmgr, ask); break;
	case ASK_WHY: ask_why(qmgr, ask); break;
	case ASK_SUSPEND: ask_suspend(qmgr, ask); break;
	}
	ask_done(qmgr->control, ask);
}
