/* offline.c - the queue as it lies on disk, for root while qmgr is down. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/array.h"
#include "lib/base/hash.h"
#include "lib/base/number.h"
#include "lib/io/file.h"
#include "lib/queue/dropped.h"
#include "lib/queue/entry.h"
#include "lib/queue/filter.h"
#include "lib/queue/id.h"
#include "tools/dakqueue/dakqueue.h"

#define LIST_MOST  (16u << 20)
#define FILE_MOST  (64u << 20)
#define LOCK_TRIES 20 /* of 0.1 s */

/* ---- the journal: which of its messages are not done ---- */

struct segment {
	char               *bytes;
	char                name[24];
	struct segment_walk walk;
};

struct journal {
	ARRAY(struct segment) segments;
	ARRAY(struct slice) payloads; /* of messages, in order */
	struct hash live;             /* id -> something */
	uint64_t    tail;
};

static int
segment_compare(const void *left, const void *right)
{
	const struct segment *a = left, *b = right;

	return a->walk.epoch < b->walk.epoch ? -1 : a->walk.epoch > b->walk.epoch;
}

static void
segment_add(struct journal *journal, int active_fd, const char *name)
{
	struct segment segment = { 0 };
	size_t         length;
	int64_t        mtime_us;
	bool           is_damaged;

	segment.bytes = queue_file_map(active_fd, name, &length, &mtime_us);
	if (segment.bytes == NULL)
		return;
	if (!segment_open(slice_of(segment.bytes, length), &segment.walk, &is_damaged) ||
	    !ARRAY_PUSH(&journal->segments, segment)) {
		free(segment.bytes);
		return;
	}
	snprintf(journal->segments.items[journal->segments.count - 1].name, sizeof(segment.name),
	         "%.23s", name);
	if (segment.walk.tail > journal->tail)
		journal->tail = segment.walk.tail;
}

static void
segment_read(struct journal *journal, struct segment *segment)
{
	struct record            record;
	struct slice             damage;
	size_t                   offset;
	struct msg_intake_commit commit;
	struct msg_envelope      envelope;
	struct msg_stored_done   done;
	uint32_t                 count;
	enum segment_step        step;

	while ((step = segment_next(&segment->walk, &record, &offset, &damage)) != SEGMENT_END) {
		if (step != SEGMENT_RECORD)
			continue;
		if (record.type == RECORD_DONE && stored_done_decode(record.payload, &done))
			hash_remove(&journal->live, done.queue_id);
		else if (record.type == RECORD_MESSAGE &&
		         stored_message_decode(record.payload, &commit, &envelope, &count) &&
		         ARRAY_PUSH(&journal->payloads, record.payload))
			hash_put(&journal->live, commit.queue_id, journal, NULL);
	}
}

static bool
journal_read(struct journal *journal)
{
	int            fd = open("active", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR           *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int64_t        number;

	if (directory == NULL)
		return false;
	while ((entry = readdir(directory)) != NULL)
		if (number_parse(slice_from(entry->d_name), 0, INT64_MAX, &number))
			segment_add(journal, dirfd(directory), entry->d_name);
	closedir(directory);
	if (journal->segments.count > 0)
		qsort(journal->segments.items, journal->segments.count, sizeof(struct segment),
		      segment_compare);
	for (size_t i = 0; i < journal->segments.count; i++)
		if (journal->segments.items[i].walk.epoch >= journal->tail)
			segment_read(journal, &journal->segments.items[i]);
	return true;
}

static void
journal_free(struct journal *journal)
{
	for (size_t i = 0; i < journal->segments.count; i++)
		free(journal->segments.items[i].bytes);
	ARRAY_FREE(&journal->segments);
	ARRAY_FREE(&journal->payloads);
	hash_free(&journal->live, NULL);
}

/* ---- listing ---- */

struct offline {
	struct msg_queue_filter   filter;
	struct slice              only;
	struct queue_file_listing how;
	entry_visit              *visit;
	void                     *context;
	struct buf                bytes, list; /* used again for each file */
};

static bool
file_take(struct offline *offline, const struct stored_file *file)
{
	struct msg_queue_entry entry;

	return !queue_entry_from_file(file, &offline->how, &offline->list, &entry) ||
	       !queue_filter_matches(&offline->filter, &entry) ||
	       offline->visit(offline->context, &entry);
}

static bool
visit_file(void *context, int directory, const char *id, enum queue_state state)
{
	struct offline    *offline = context;
	struct stored_file file;

	if ((offline->only.length > 0 && !slice_equal(offline->only, slice_from(id))) ||
	    !queue_filter_has_state(&offline->filter, state))
		return true;
	offline->how.state = state;
	return !queue_file_fetch(directory, id, &offline->bytes, &offline->how.mtime_us) ||
	       !stored_file_parse(buf_slice(&offline->bytes), &file) || file_take(offline, &file);
}

static bool
visit_dropped(void *context, const struct msg_queue_entry *entry)
{
	struct offline *offline = context;

	return (offline->only.length > 0 && !slice_equal(offline->only, entry->queue_id)) ||
	       !queue_filter_matches(&offline->filter, entry) ||
	       offline->visit(offline->context, entry);
}

static void
journal_visit(struct offline *offline, struct journal *journal)
{
	offline->how.state = QUEUE_ACTIVE;
	offline->how.mtime_us = 0;
	for (size_t i = 0; i < journal->payloads.count; i++) {
		struct stored_file file = { .message = journal->payloads.items[i] };

		if (stored_message_decode(file.message, &file.commit, &file.envelope,
		                          &file.recipient_count) &&
		    hash_remove(&journal->live, file.commit.queue_id) != NULL &&
		    (offline->only.length == 0 ||
		     slice_equal(offline->only, file.commit.queue_id)) &&
		    !file_take(offline, &file))
			return;
	}
}

static int
not_readable(const struct tool *tool)
{
	bool is_denied = errno == EACCES || errno == EPERM;

	if (tool->is_postfix)
		fprintf(stderr, "%s: Queue report unavailable - mail system is down\n",
		        tool->voice);
	else
		fprintf(stderr, "%s: the mail system is down%s\n", tool->name,
		        is_denied ? ", and only root may read the queue itself" : "");
	return EX_UNAVAILABLE;
}

int
offline_entries(struct tool *tool, const struct arguments *arguments, entry_visit *visit,
                void *context)
{
	struct journal journal = { 0 };
	struct offline offline = { .filter = arguments->filter,
		                   .only = slice_from(arguments->list_id),
		                   .how = { .want_recipients = true },
		                   .visit = visit,
		                   .context = context,
		                   .bytes = BUF(FILE_MOST),
		                   .list = BUF(LIST_MOST) };

	if (arguments->site != NULL)
		offline.filter.domain = slice_from(arguments->site);
	if (!journal_read(&journal))
		return not_readable(tool);
	fprintf(stderr,
	        tool->is_postfix
	                ? "%s: warning: Mail system is down -- accessing queue directly\n"
	                : "%s: warning: the mail system is down, the queue is read from disk\n",
	        tool->name);
	journal_visit(&offline, &journal);
	journal_free(&journal);
	bool is_read = queue_files_visit(AT_FDCWD, visit_file, &offline) &&
	               (!queue_filter_has_state(&offline.filter, QUEUE_MAILDROP) ||
	                queue_dropped_each(AT_FDCWD, visit_dropped, &offline));
	buf_free(&offline.bytes);
	buf_free(&offline.list);
	return is_read ? EX_OK : not_readable(tool);
}

static bool
visit_print(void *context, const struct msg_queue_entry *entry)
{
	print_entry(context, entry);
	return true;
}

int
offline_list(struct tool *tool, const struct arguments *arguments)
{
	struct printer printer = { .form = arguments->form };
	int            code = offline_entries(tool, arguments, visit_print, &printer);

	if (code == EX_OK)
		print_end(&printer);
	return code;
}

/* ---- deleting ---- */

struct removal {
	struct tool   *tool;
	struct journal journal;
	struct hash    ids; /* that are meant, if has_ids; otherwise what the filter lets through */
	struct printer printer;
	bool           has_ids, is_dry_run, has_failed;
	uint64_t       count;
};

/* A record "done" behind the last one of the newest segment, as qmgr would write it. */
static bool
journal_done(struct journal *journal, struct slice id)
{
	struct ipc_encoding    encoding = { .fields = BUF(4096) };
	struct buf             bytes = BUF(8192);
	struct msg_stored_done done = { .queue_id = id };
	struct segment        *newest = &journal->segments.items[journal->segments.count - 1];
	struct error           error = ERROR_NONE;
	char                   path[40];

	snprintf(path, sizeof(path), "active/%s", newest->name);
	bool is_good =
		msg_stored_done_encode(&encoding, &done) &&
		record_append(&bytes, RECORD_DONE, newest->walk.epoch,
	                      buf_slice(&encoding.fields)) &&
		newest->walk.at + bytes.length + RECORD_HEADER_BYTES <= newest->walk.bytes.length;
	int fd = is_good ? open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	is_good =
		fd >= 0 &&
		file_write_all_at(fd, buf_slice(&bytes), (int64_t)newest->walk.at, path, &error) &&
		fdatasync(fd) == 0;
	if (is_good)
		newest->walk.at += bytes.length;
	if (fd >= 0)
		close(fd);
	buf_free(&bytes);
	buf_free(&encoding.fields);
	return is_good;
}

static bool
files_remove(struct slice id)
{
	char path[64];
	bool is_gone;

	snprintf(path, sizeof(path), "deferred/%c/%.*s", queue_id_subdirectory(id), SLICE_ARGS(id));
	is_gone = unlink(path) == 0;
	snprintf(path, sizeof(path), "hold/%.*s", SLICE_ARGS(id));
	is_gone |= unlink(path) == 0;
	return is_gone;
}

static bool
visit_remove(void *context, const struct msg_queue_entry *entry)
{
	struct removal *removal = context;
	char            path[64];

	if (removal->has_ids && hash_remove(&removal->ids, entry->queue_id) == NULL)
		return true;
	removal->count++;
	if (removal->is_dry_run) {
		print_entry(&removal->printer, entry);
		return true;
	}
	bool is_gone = entry->state == QUEUE_MAILDROP
	                       ? queue_dropped_remove(AT_FDCWD, entry->queue_id)
	                       : files_remove(entry->queue_id);
	if (hash_get(&removal->journal.live, entry->queue_id) != NULL)
		is_gone = journal_done(&removal->journal, entry->queue_id);
	if (is_gone) {
		snprintf(path, sizeof(path), "spool/%.*s", SLICE_ARGS(entry->queue_id));
		(void)unlink(path); /* if there is one; otherwise qmgr removes it at its start */
		if (removal->tool->tells_each && removal->has_ids)
			fprintf(stderr, "%s: %.*s: removed\n", removal->tool->name,
			        SLICE_ARGS(entry->queue_id));
		return true;
	}
	removal->count--;
	removal->has_failed = true;
	fprintf(stderr, "%s: %.*s: cannot be removed\n", removal->tool->name,
	        SLICE_ARGS(entry->queue_id));
	return true;
}

/* Ids as given, or lines of standard input; false: all are meant. */
static bool
ids_collect(struct removal *removal, const struct step *step)
{
	char line[256];

	for (size_t i = 0; i < step->id_count; i++) {
		if (strcmp(step->ids[i], "ALL") == 0)
			return false;
		if (strcmp(step->ids[i], "-") != 0) {
			hash_put(&removal->ids, slice_from(step->ids[i]), removal, NULL);
			continue;
		}
		while (fgets(line, sizeof(line), stdin) != NULL) {
			struct slice id = slice_trim(slice_from(line));

			if (id.length > 0)
				hash_put(&removal->ids, id, removal, NULL);
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
		fprintf(stderr, "%s: warning: invalid mail queue id: %.*s\n", tool->name,
		        SLICE_ARGS(id));
}

static void
directories_sync(void)
{
	char path[16];

	for (unsigned i = 0; i < 17; i++) {
		if (i == 16)
			snprintf(path, sizeof(path), "hold");
		else
			snprintf(path, sizeof(path), "deferred/%X", i);
		int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0) {
			(void)fsync(fd);
			close(fd);
		}
	}
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

static int
removal_run(struct removal *removal, const struct arguments *arguments, const struct step *step)
{
	struct arguments which = *arguments;
	int              code = EX_OK;

	removal->has_ids = !arguments->is_selected && ids_collect(removal, step);
	which.filter.states |= arguments->states;
	which.list_id = which.site = NULL;
	if (!journal_read(&removal->journal))
		return not_readable(removal->tool);
	code = offline_entries(removal->tool, &which, visit_remove, removal);
	if (code != EX_OK)
		return code;
	if (removal->is_dry_run)
		print_end(&removal->printer);
	else
		directories_sync();
	hash_each(&removal->ids, id_missing, removal->tool);
	fprintf(stderr, "%s: %s%s: %llu message%s\n", removal->tool->name,
	        removal->is_dry_run ? "Dry run, nothing is done: " : "", step->command->done,
	        (unsigned long long)removal->count, removal->count == 1 ? "" : "s");
	if (removal->has_failed)
		return EX_IOERR;
	return removal->ids.count > 0 && !arguments->is_postfix ? EX_DATAERR : EX_OK;
}

int
offline_delete(struct tool *tool, const struct arguments *arguments, const struct step *step)
{
	struct removal removal = { .tool = tool,
		                   .printer = { .form = arguments->form },
		                   .is_dry_run = arguments->is_dry_run };
	int            lock = queue_lock(tool);

	if (lock < 0)
		return EX_UNAVAILABLE;
	int code = removal_run(&removal, arguments, step);
	hash_free(&removal.ids, NULL);
	journal_free(&removal.journal);
	close(lock);
	return code;
}

/* ---- one message ---- */

static int
payload_print(struct tool *tool, struct slice payload, enum queue_state state, unsigned parts)
{
	struct msg_intake_commit   commit;
	struct msg_envelope        envelope;
	struct msg_recipient       recipient;
	struct msg_queue_recipient shown;
	struct msg_queue_message   message = msg_queue_message_clear();
	struct buf                 list = BUF(LIST_MOST);
	struct error               error = ERROR_NONE;
	char                       path[64];
	uint32_t                   count;

	if (!stored_message_decode(payload, &commit, &envelope, &count))
		return EX_DATAERR;
	struct slice rest = commit.recipients;
	while (msg_recipient_next(&rest, &recipient)) {
		shown = (struct msg_queue_recipient){ .address = recipient.address,
			                              .original = recipient.original };
		msg_queue_recipient_append(&list, &shown);
	}
	message.queue_id = commit.queue_id;
	message.state = state;
	message.envelope = commit.envelope;
	message.recipients = buf_slice(&list);
	message.content = commit.content;
	if (commit.is_spooled) {
		snprintf(path, sizeof(path), "spool/%.*s", SLICE_ARGS(commit.queue_id));
		message.file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		message.file_length =
			message.file < 0 ? 0 : (uint64_t)lseek(message.file, 0, SEEK_END);
	}
	bool is_good = print_message(&message, parts, &error);
	if (!is_good)
		fprintf(stderr, "%s: %s\n", tool->name, error.text);
	if (message.file >= 0)
		close(message.file);
	buf_free(&list);
	return is_good ? EX_OK : EX_IOERR;
}

static bool
file_show(struct tool *tool, const char *id, enum queue_state state, unsigned parts, int *code)
{
	char               path[64];
	struct stored_file file;
	size_t             length;
	int64_t            mtime_us;

	if (state == QUEUE_HOLD)
		snprintf(path, sizeof(path), "hold/%.31s", id);
	else
		snprintf(path, sizeof(path), "deferred/%c/%.31s",
		         queue_id_subdirectory(slice_from(id)), id);
	char *bytes = queue_file_map(AT_FDCWD, path, &length, &mtime_us);
	bool  is_found = bytes != NULL && stored_file_parse(slice_of(bytes, length), &file);
	if (is_found)
		*code = payload_print(tool, file.message, state, parts);
	free(bytes);
	return is_found;
}

int
offline_show(struct tool *tool, const char *id, unsigned parts)
{
	struct journal           journal = { 0 };
	struct msg_intake_commit commit;
	struct msg_envelope      envelope;
	uint32_t                 count;
	int                      code = EX_DATAERR;

	if (!queue_id_is_valid(slice_from(id))) {
		message_missing(tool, id);
		return EX_DATAERR;
	}
	if (file_show(tool, id, QUEUE_DEFERRED, parts, &code) ||
	    file_show(tool, id, QUEUE_HOLD, parts, &code))
		return code;
	if (!journal_read(&journal))
		return not_readable(tool);
	for (size_t i = 0; i < journal.payloads.count && code == EX_DATAERR; i++)
		if (stored_message_decode(journal.payloads.items[i], &commit, &envelope, &count) &&
		    slice_equal(commit.queue_id, slice_from(id)) &&
		    hash_get(&journal.live, commit.queue_id) != NULL)
			code = payload_print(tool, journal.payloads.items[i], QUEUE_ACTIVE, parts);
	journal_free(&journal);
	if (code == EX_DATAERR)
		message_missing(tool, id);
	return code;
}
