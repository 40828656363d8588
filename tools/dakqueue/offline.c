/* offline.c - lists the queue as it lies on disk, for root while qmgr is down. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/number.h"
#include "lib/queue/dropped.h"
#include "lib/queue/entry.h"
#include "lib/queue/filter.h"
#include "lib/queue/id.h"
#include "tools/dakqueue/offline.h"

#define LIST_MOST (16u << 20)
#define FILE_MOST (1024u << 20)

/* ---- the journal ---- */

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
	if (!segment_open(slice_of(segment.bytes, length), NULL, &segment.walk, &is_damaged) ||
	    !ARRAY_PUSH(&journal->segments, segment)) {
		free(segment.bytes);
		return;
	}
	snprintf(journal->segments.items[journal->segments.count - 1].name, sizeof(segment.name),
	         "%.23s", name);
	if (segment.walk.tail > journal->tail)
		journal->tail = segment.walk.tail;
}

static void *
place_value(size_t place)
{
	return (void *)(uintptr_t)place;
}

static void
result_add(struct journal *journal, struct slice payload)
{
	struct msg_stored_result result;

	if (!stored_result_decode(payload, &result))
		return;
	size_t previous = (size_t)(uintptr_t)hash_get(&journal->known, result.queue_id);
	struct journal_result one = { .payload = payload, .previous = previous };
	if (ARRAY_PUSH(&journal->results, one))
		hash_put(&journal->known, result.queue_id, place_value(journal->results.count),
		         NULL);
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
	struct slice             result, message;
	uint32_t                 count;
	enum segment_step        step;

	while ((step = segment_next(&segment->walk, &record, &offset, &damage)) != SEGMENT_END) {
		if (step != SEGMENT_RECORD)
			continue;
		message = record.payload;
		bool is_notice = record.type == RECORD_NOTICE &&
		                 stored_notice_decode(record.payload, &result, &message);
		if (is_notice)
			result_add(journal, result);
		if (record.type == RECORD_DONE && stored_done_decode(record.payload, &done)) {
			hash_remove(&journal->live, done.queue_id);
			hash_remove(&journal->known, done.queue_id);
		} else if (record.type == RECORD_RESULT) {
			result_add(journal, record.payload);
		} else if ((record.type == RECORD_MESSAGE || is_notice) &&
		           stored_message_decode(message, &commit, &envelope, &count) &&
		           ARRAY_PUSH(&journal->payloads, message)) {
			hash_put(&journal->live, commit.queue_id,
			         place_value(journal->payloads.count), NULL);
		}
	}
}

struct slice
journal_message(const struct journal *journal, struct slice id)
{
	size_t place = (size_t)(uintptr_t)hash_get(&journal->live, id);

	return place == 0 ? SLICE_EMPTY : journal->payloads.items[place - 1];
}

/* They are chained from the last one to the first. */
bool
journal_results(const struct journal *journal, struct slice id, struct buf *records)
{
	size_t last = (size_t)(uintptr_t)hash_get(&journal->known, id), count = 0;
	bool   is_good = true;

	for (size_t at = last; at != 0; at = journal->results.items[at - 1].previous)
		count++;
	for (size_t wanted = count; wanted > 0 && is_good; wanted--) {
		size_t at = last;

		for (size_t i = 1; i < wanted; i++)
			at = journal->results.items[at - 1].previous;
		is_good = record_append(records, RECORD_RESULT, 0,
		                        journal->results.items[at - 1].payload);
	}
	return is_good;
}

bool
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

void
journal_free(struct journal *journal)
{
	for (size_t i = 0; i < journal->segments.count; i++)
		free(journal->segments.items[i].bytes);
	ARRAY_FREE(&journal->segments);
	ARRAY_FREE(&journal->payloads);
	ARRAY_FREE(&journal->results);
	hash_free(&journal->live, NULL);
	hash_free(&journal->known, NULL);
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

/* Moved to a file, and the journal was not told any more: the file is the message. */
static bool
has_file(struct slice id)
{
	char path[64];

	snprintf(path, sizeof(path), "deferred/%c/%.*s", queue_id_subdirectory(id), SLICE_ARGS(id));
	if (access(path, F_OK) == 0)
		return true;
	snprintf(path, sizeof(path), "hold/%.*s", SLICE_ARGS(id));
	return access(path, F_OK) == 0;
}

/* One message of the journal; false ends the walk. */
static bool
journal_take(struct offline *offline, struct journal *journal, struct slice payload)
{
	struct stored_file file = { .message = payload };
	bool               goes_on = true;

	if (!stored_message_decode(file.message, &file.commit, &file.envelope,
	                           &file.recipient_count) ||
	    hash_remove(&journal->live, file.commit.queue_id) == NULL ||
	    has_file(file.commit.queue_id) ||
	    (offline->only.length > 0 && !slice_equal(offline->only, file.commit.queue_id)))
		return true;
	buf_clear(&offline->bytes);
	if (journal_results(journal, file.commit.queue_id, &offline->bytes)) {
		file.results = buf_slice(&offline->bytes);
		goes_on = file_take(offline, &file);
	}
	return goes_on;
}

static void
journal_visit(struct offline *offline, struct journal *journal)
{
	offline->how.state = QUEUE_ACTIVE;
	offline->how.mtime_us = 0;
	for (size_t i = 0; i < journal->payloads.count; i++)
		if (!journal_take(offline, journal, journal->payloads.items[i]))
			return;
}

int
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
	return print_entry(context, entry);
}

int
offline_list(struct tool *tool, const struct arguments *arguments)
{
	struct printer printer = PRINTER(arguments->form);
	int            code = offline_entries(tool, arguments, visit_print, &printer);

	if (code == EX_OK)
		return print_end(&printer) ? EX_OK : EX_IOERR;
	print_drop(&printer);
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
