/* offline.c - the queue as it lies on disk, for root while qmgr is down. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/array.h"
#include "lib/base/hash.h"
#include "lib/base/number.h"
#include "lib/queue/entry.h"
#include "lib/queue/id.h"
#include "tools/dakqueue/dakqueue.h"

#define LIST_MOST (16u << 20)

/* ---- the journal: which of its messages are not done ---- */

struct segment {
	char               *bytes;
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
	struct printer            printer;
	struct slice              only;
	struct queue_file_listing how;
};

static void
file_print(struct offline *offline, const struct stored_file *file)
{
	struct buf             list = BUF(LIST_MOST);
	struct msg_queue_entry entry;

	if (queue_entry_from_file(file, &offline->how, &list, &entry))
		print_entry(&offline->printer, &entry);
	buf_free(&list);
}

static bool
visit_file(void *context, const char *path, const char *id, enum queue_state state)
{
	struct offline    *offline = context;
	struct stored_file file;
	size_t             length;

	if (offline->only.length > 0 && !slice_equal(offline->only, slice_from(id)))
		return true;
	char *bytes = queue_file_map(AT_FDCWD, path, &length, &offline->how.mtime_us);
	offline->how.state = state;
	if (bytes != NULL && stored_file_parse(slice_of(bytes, length), &file))
		file_print(offline, &file);
	free(bytes);
	return true;
}

static void
journal_print(struct offline *offline, struct journal *journal)
{
	offline->how.state = QUEUE_ACTIVE;
	offline->how.mtime_us = 0;
	for (size_t i = 0; i < journal->payloads.count; i++) {
		struct stored_file file = { .message = journal->payloads.items[i] };

		if (stored_message_decode(file.message, &file.commit, &file.envelope,
		                          &file.recipient_count) &&
		    hash_remove(&journal->live, file.commit.queue_id) != NULL &&
		    (offline->only.length == 0 || slice_equal(offline->only, file.commit.queue_id)))
			file_print(offline, &file);
	}
}

static int
not_readable(const struct tool *tool)
{
	bool is_denied = errno == EACCES || errno == EPERM;

	fprintf(stderr, "%s: the mail system is down%s\n", tool->name,
	        is_denied ? ", and only root may read the queue itself" : "");
	return EX_UNAVAILABLE;
}

int
offline_list(struct tool *tool, const struct arguments *arguments)
{
	struct journal journal = { 0 };
	struct offline offline = { .printer = { .form = arguments->form },
		                   .only = slice_from(arguments->list_id),
		                   .how = { .want_recipients = true,
		                            .site = slice_from(arguments->site) } };

	if (!journal_read(&journal))
		return not_readable(tool);
	fprintf(stderr, "%s: warning: the mail system is down, the queue is read from disk\n",
	        tool->name);
	journal_print(&offline, &journal);
	journal_free(&journal);
	if (!queue_files_visit(AT_FDCWD, visit_file, &offline))
		return not_readable(tool);
	print_end(&offline.printer);
	return EX_OK;
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
		fprintf(stderr, "%s: %s is no queue id\n", tool->name, id);
		return EX_USAGE;
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
		fprintf(stderr, "%s: %s: no such message\n", tool->name, id);
	return code;
}
