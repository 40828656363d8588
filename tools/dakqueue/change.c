/*
 * change.c - changes the queue as it lies on disk while qmgr is down, for root and its owner.
 *
 * What is in the journal is changed as qmgr would do it: by records behind the last one of the
 * newest segment, or by a file of its own, which is safe before the journal is told that it is
 * done.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "lib/io/file.h"
#include "lib/queue/dropped.h"
#include "lib/queue/entry.h"
#include "lib/queue/id.h"
#include "tools/dakqueue/offline.h"

#define FILE_MOST   (1024u << 20)
#define RESULT_MOST 4096 /* without recipients */
#define LOCK_TRIES  20   /* of 0.1 s */
#define PATH_SIZE   64

struct change {
	struct tool          *tool;
	const struct command *command;
	struct journal        journal;
	struct hash    ids; /* that are meant, if has_ids; otherwise what the filter lets through */
	struct hash    moved; /* out of hold/: they come by once more */
	struct printer printer;
	bool           has_ids, is_dry_run, has_failed;
	uint64_t       count, released;
};

/* ---- files ---- */

static void
file_path(char path[PATH_SIZE], enum queue_state state, struct slice id)
{
	if (state == QUEUE_HOLD)
		snprintf(path, PATH_SIZE, "hold/%.*s", SLICE_ARGS(id));
	else
		snprintf(path, PATH_SIZE, "deferred/%c/%.*s", queue_id_subdirectory(id),
		         SLICE_ARGS(id));
}

/* Its next attempt is at the start. */
static bool
file_due(const char *path)
{
	return utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool
file_move(struct slice id, enum queue_state from, enum queue_state to)
{
	char source[PATH_SIZE], target[PATH_SIZE];

	file_path(source, from, id);
	file_path(target, to, id);
	return file_due(source) && rename(source, target) == 0;
}

/* The last result once more, with the mark that it is to be returned and without recipients. */
static bool
result_mark(struct slice records, struct slice id, struct buf *payload)
{
	struct ipc_encoding      encoding = { .fields = BUF(RESULT_MOST) };
	struct msg_stored_result last = { 0 };

	while (stored_result_next(&records, &last))
		;
	last.queue_id = id;
	last.flags |= STORED_FLAG_EXPIRED;
	last.recipients = SLICE_EMPTY;
	bool is_good = msg_stored_result_encode(&encoding, &last) &&
	               buf_append(payload, buf_slice(&encoding.fields));
	buf_free(&encoding.fields);
	return is_good;
}

static bool
file_append(const char *path, const struct stored_file *file, struct slice record)
{
	struct error error = ERROR_NONE;
	int          fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	bool         is_good = fd >= 0 &&
	               file_write_all_at(fd, record, (int64_t)file->valid_bytes, path, &error) &&
	               ftruncate(fd, (off_t)(file->valid_bytes + record.length)) == 0 &&
	               fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return is_good;
}

static bool
file_expire(struct slice id, enum queue_state state)
{
	char               path[PATH_SIZE];
	struct buf         bytes = BUF(FILE_MOST), payload = BUF(RESULT_MOST);
	struct buf         record = BUF(2 * RESULT_MOST);
	struct stored_file file;
	int64_t            mtime_us;

	file_path(path, state, id);
	bool is_good = queue_file_fetch(AT_FDCWD, path, &bytes, &mtime_us) &&
	               stored_file_parse(buf_slice(&bytes), &file) &&
	               result_mark(file.results, id, &payload) &&
	               record_append(&record, RECORD_RESULT, 0, buf_slice(&payload)) &&
	               file_append(path, &file, buf_slice(&record)) && file_due(path);
	buf_free(&bytes);
	buf_free(&payload);
	buf_free(&record);
	return is_good;
}

static bool
directory_safe(const char *path)
{
	int  fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is_good = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return is_good;
}

/* A name is safe in its new directory before it is gone from the old one. */
static bool
directories_sync(enum queue_action action)
{
	char path[16];
	bool is_good = action != QUEUE_ACT_HOLD || directory_safe("hold");

	for (unsigned i = 0; i < 16; i++) {
		snprintf(path, sizeof(path), "deferred/%X", i);
		is_good = directory_safe(path) && is_good;
	}
	return (action == QUEUE_ACT_HOLD || directory_safe("hold")) && is_good;
}

/* ---- the journal ---- */

/* Behind the last record of the newest segment, with zeros that end it, as qmgr writes them: what
 * an earlier use left there must not look like damage. */
static bool
journal_append(struct journal *journal, enum record_type type, struct slice payload)
{
	static const char zeros[RECORD_HEADER_BYTES] = { 0 };
	struct buf        bytes = BUF(2 * RESULT_MOST);
	struct segment   *newest = &journal->segments.items[journal->segments.count - 1];
	struct error      error = ERROR_NONE;
	char              path[40];

	snprintf(path, sizeof(path), "active/%s", newest->name);
	bool   is_good = segment_record_append(&bytes, type, &newest->walk, payload);
	size_t size = bytes.length;
	is_good = is_good && buf_append(&bytes, slice_of(zeros, sizeof(zeros))) &&
	          newest->walk.at + bytes.length <= newest->walk.bytes.length;
	int fd = is_good ? open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	is_good =
		fd >= 0 &&
		file_write_all_at(fd, buf_slice(&bytes), (int64_t)newest->walk.at, path, &error) &&
		fdatasync(fd) == 0;
	if (is_good)
		newest->walk.at += size;
	if (fd >= 0)
		close(fd);
	buf_free(&bytes);
	return is_good;
}

static bool
journal_done(struct journal *journal, struct slice id)
{
	struct ipc_encoding    encoding = { .fields = BUF(RESULT_MOST) };
	struct msg_stored_done done = { .queue_id = id };
	bool                   is_good = msg_stored_done_encode(&encoding, &done) &&
	               journal_append(journal, RECORD_DONE, buf_slice(&encoding.fields));

	buf_free(&encoding.fields);
	return is_good;
}

static bool
journal_expire(struct journal *journal, struct slice id)
{
	struct buf records = BUF(FILE_MOST), payload = BUF(RESULT_MOST);
	bool       is_good = journal_results(journal, id, &records) &&
	               result_mark(buf_slice(&records), id, &payload) &&
	               journal_append(journal, RECORD_RESULT, buf_slice(&payload));

	buf_free(&records);
	buf_free(&payload);
	return is_good;
}

/* Of the queue's owner, as qmgr writes it. */
static bool
hold_write(const char *tmp, struct slice bytes)
{
	struct stat  owner;
	struct error error = ERROR_NONE;
	int          fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool         is_good = fd >= 0 && stat("hold", &owner) == 0 &&
	               (geteuid() != 0 || fchown(fd, owner.st_uid, owner.st_gid) == 0) &&
	               file_write_all(fd, bytes, tmp, &error) && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return is_good;
}

/* From the journal to a file in hold/. */
static bool
journal_hold(struct journal *journal, struct slice id)
{
	char       tmp[PATH_SIZE], path[PATH_SIZE];
	struct buf bytes = BUF(FILE_MOST);

	file_path(path, QUEUE_HOLD, id);
	snprintf(tmp, sizeof(tmp), "tmp/%.*s", SLICE_ARGS(id));
	bool is_good = record_append(&bytes, RECORD_MESSAGE, 0, journal_message(journal, id)) &&
	               journal_results(journal, id, &bytes) && hold_write(tmp, buf_slice(&bytes)) &&
	               rename(tmp, path) == 0 && directory_safe("hold") &&
	               journal_done(journal, id);
	if (!is_good)
		(void)unlink(tmp);
	buf_free(&bytes);
	return is_good;
}

/* ---- one message ---- */

enum outcome { CHANGED, UNCHANGED, FAILED };

static enum outcome
outcome_of(bool is_good)
{
	return is_good ? CHANGED : FAILED;
}

static enum outcome
entry_delete(struct change *change, const struct msg_queue_entry *entry)
{
	char path[PATH_SIZE];
	bool is_gone;

	if (entry->state == QUEUE_MAILDROP)
		return outcome_of(queue_dropped_remove(AT_FDCWD, entry->queue_id));
	file_path(path, QUEUE_DEFERRED, entry->queue_id);
	is_gone = unlink(path) == 0;
	file_path(path, QUEUE_HOLD, entry->queue_id);
	is_gone |= unlink(path) == 0;
	if (hash_get(&change->journal.live, entry->queue_id) != NULL)
		is_gone = journal_done(&change->journal, entry->queue_id);
	if (is_gone) {
		snprintf(path, sizeof(path), "spool/%.*s", SLICE_ARGS(entry->queue_id));
		(void)unlink(path); /* if there is one; otherwise qmgr removes it at its start */
	}
	return outcome_of(is_gone);
}

static enum outcome
entry_release(struct change *change, const struct msg_queue_entry *entry)
{
	if (entry->state != QUEUE_HOLD)
		return UNCHANGED;
	hash_put(&change->moved, entry->queue_id, change, NULL);
	return outcome_of(file_move(entry->queue_id, QUEUE_HOLD, QUEUE_DEFERRED));
}

static enum outcome
entry_requeue(struct change *change, const struct msg_queue_entry *entry)
{
	char path[PATH_SIZE];

	if (entry->state == QUEUE_HOLD)
		return entry_release(change, entry);
	file_path(path, QUEUE_DEFERRED, entry->queue_id);
	return outcome_of(entry->state == QUEUE_ACTIVE || file_due(path));
}

static enum outcome
entry_expire(struct change *change, const struct msg_queue_entry *entry)
{
	if (entry->is_expired)
		return UNCHANGED;
	return outcome_of(entry->state == QUEUE_ACTIVE
	                          ? journal_expire(&change->journal, entry->queue_id)
	                          : file_expire(entry->queue_id, (enum queue_state)entry->state));
}

static enum outcome
entry_hold(struct change *change, const struct msg_queue_entry *entry)
{
	if (entry->state == QUEUE_ACTIVE)
		return outcome_of(journal_hold(&change->journal, entry->queue_id));
	return entry->state == QUEUE_HOLD
	               ? UNCHANGED
	               : outcome_of(file_move(entry->queue_id, QUEUE_DEFERRED, QUEUE_HOLD));
}

static enum outcome
entry_change(struct change *change, const struct msg_queue_entry *entry)
{
	enum queue_action action = change->command->action;

	/* What is not in the queue yet can only be removed. */
	if (entry->state == QUEUE_MAILDROP && action != QUEUE_ACT_DELETE)
		return UNCHANGED;
	switch (action) {
	case QUEUE_ACT_DELETE: return entry_delete(change, entry);
	case QUEUE_ACT_HOLD: return entry_hold(change, entry);
	case QUEUE_ACT_RELEASE: return entry_release(change, entry);
	case QUEUE_ACT_REQUEUE: return entry_requeue(change, entry);
	case QUEUE_ACT_EXPIRE: return entry_expire(change, entry);
	case QUEUE_ACT_FLUSH:
	case QUEUE_ACT_REROUTE: break;
	}
	return UNCHANGED;
}

static void
each_tell(const struct change *change, const struct msg_queue_entry *entry, const char *done)
{
	if (change->tool->tells_each && change->has_ids)
		fprintf(stderr, "%s: %.*s: %s\n", change->tool->name, SLICE_ARGS(entry->queue_id),
		        done);
}

/* "force": also what is on hold. */
static void
entry_release_too(struct change *change, const struct msg_queue_entry *entry)
{
	switch (entry_release(change, entry)) {
	case CHANGED:
		change->released++;
		each_tell(change, entry, "released from hold");
		break;
	case FAILED: change->has_failed = true; break;
	case UNCHANGED: break;
	}
}

static void
failure_tell(const struct change *change, const struct msg_queue_entry *entry)
{
	struct error error = ERROR_NONE;

	if (errno == 0)
		error_set(&error, "%.*s: no room behind the journal's last record: it needs qmgr",
		          SLICE_ARGS(entry->queue_id));
	else
		error_set_errno(&error, "%.*s: cannot be changed", SLICE_ARGS(entry->queue_id));
	fprintf(stderr, "%s: %s\n", change->tool->name, error.text);
}

static bool
visit_change(void *context, const struct msg_queue_entry *entry)
{
	struct change *change = context;
	enum outcome   outcome = CHANGED;

	if ((change->has_ids && hash_remove(&change->ids, entry->queue_id) == NULL) ||
	    hash_get(&change->moved, entry->queue_id) != NULL)
		return true;
	errno = 0;
	if (change->is_dry_run)
		change->has_failed |= !print_entry(&change->printer, entry);
	else
		outcome = entry_change(change, entry);
	switch (outcome) {
	case CHANGED:
		change->count++;
		if (!change->is_dry_run)
			each_tell(change, entry, change->command->done_each);
		break;
	case UNCHANGED:
		/* Not in that state: it is told at the end, as what is not there. */
		if (change->has_ids && !change->command->is_release_too)
			hash_put(&change->ids, entry->queue_id, change, NULL);
		break;
	case FAILED:
		change->has_failed = true;
		failure_tell(change, entry);
		return true;
	}
	if (change->command->is_release_too && !change->is_dry_run)
		entry_release_too(change, entry);
	return true;
}

/* ---- all that are meant ---- */

/* Ids as given, or lines of standard input; false: all are meant. */
static bool
ids_collect(struct change *change, const struct step *step)
{
	char line[256];

	for (size_t i = 0; i < step->id_count; i++) {
		if (strcmp(step->ids[i], "ALL") == 0)
			return false;
		if (strcmp(step->ids[i], "-") != 0) {
			hash_put(&change->ids, slice_from(step->ids[i]), change, NULL);
			continue;
		}
		while (fgets(line, sizeof(line), stdin) != NULL) {
			struct slice id = slice_trim(slice_from(line));

			if (id.length > 0)
				hash_put(&change->ids, id, change, NULL);
		}
	}
	return true;
}

static void
id_missing(struct slice id, void *value, void *context)
{
	const struct tool *tool = context;

	(void)value;
	if (!tool->is_postfix)
		fprintf(stderr, "%s: %.*s: no such message in the queue, or not in that state\n",
		        tool->name, SLICE_ARGS(id));
	else if (!queue_id_is_valid(id))
		id_invalid(tool, id);
}

/* The lock that a qmgr which is just starting, or ending, has: the latter lets go soon. */
static int
queue_lock(const struct tool *tool)
{
	struct error error = ERROR_NONE;
	int          fd = open("state/lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0) {
		not_readable(tool);
		return -1;
	}
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		struct timespec pause = { .tv_nsec = 100000000L };

		if (file_lock(fd, FILE_LOCK_EXCLUSIVE, false, "state/lock", &error))
			return fd;
		nanosleep(&pause, NULL);
	}
	fprintf(stderr, "%s: the queue manager has the queue, but does not answer: %s\n",
	        tool->name, error.text);
	close(fd);
	return -1;
}

static void
done_print(const struct change *change, const char *done, uint64_t count)
{
	fprintf(stderr, "%s: %s%s: %" PRIu64 " message%s\n", change->tool->name,
	        change->is_dry_run ? "Dry run, nothing is done: " : "", done, count,
	        count == 1 ? "" : "s");
}

static int
change_run(struct change *change, const struct arguments *arguments, const struct step *step)
{
	struct arguments which = *arguments;
	int              code = EX_OK;

	change->has_ids = !arguments->is_selected && ids_collect(change, step);
	which.filter.states |= arguments->states;
	which.list_id = which.site = NULL;
	if (!journal_read(&change->journal))
		return not_readable(change->tool);
	code = offline_entries(change->tool, &which, visit_change, change);
	if (code != EX_OK)
		return code;
	if (change->is_dry_run)
		change->has_failed |= !print_end(&change->printer);
	else if (!directories_sync(change->command->action))
		change->has_failed = true;
	hash_each(&change->ids, id_missing, change->tool);
	done_print(change, change->command->done, change->count);
	if (change->tool->is_postfix && change->command->is_release_too)
		done_print(change, "Released from hold", change->released);
	if (change->has_failed)
		return EX_IOERR;
	return change->ids.count > 0 && !arguments->is_postfix ? EX_DATAERR : EX_OK;
}

int
offline_act(struct tool *tool, const struct arguments *arguments, const struct step *step)
{
	struct change change = { .tool = tool,
		                 .command = step->command,
		                 .printer = PRINTER(arguments->form),
		                 .is_dry_run = arguments->is_dry_run };
	int           lock = queue_lock(tool);

	if (lock < 0)
		return EX_UNAVAILABLE;
	int code = change_run(&change, arguments, step);
	print_drop(&change.printer);
	hash_free(&change.ids, NULL);
	hash_free(&change.moved, NULL);
	journal_free(&change.journal);
	close(lock);
	return code;
}
