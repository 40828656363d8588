/*
 * replay.c - the journal as the last run left it becomes messages again.
 *
 * All segments are read in the order of their epochs: a message is live unless a later record says
 * that it is done. What is damaged is copied to corrupt/ and logged; every sound record counts.
 * What it says of messages that lie in files is given to those (notes.c).
 */
#include "qmgr/replay.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/number.h"
#include "lib/io/file.h"

struct found_segment {
	uint64_t            number;
	struct slice        bytes; /* mapped */
	struct segment_walk walk;
	bool                is_used;
};

struct replay {
	struct qmgr *qmgr;
	ARRAY(struct found_segment) segments;
	struct notes       notes;
	uint64_t           tail;
	size_t             damaged;
	struct segment_key secret;
	bool               has_secret;
};

/* ---- finding the segments ---- */

static bool
segment_map(struct replay *replay, uint64_t number, const char *name, struct error *error)
{
	struct found_segment found = { .number = number };
	struct stat          info;
	bool                 is_damaged, is_good = false;
	int fd = openat(replay->qmgr->active_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &info) != 0) {
		error_set_errno(error, "open journal segment %s", name);
		goto out;
	}
	if (info.st_size > 0) {
		void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

		if (bytes == MAP_FAILED) {
			error_set_errno(error, "read journal segment %s", name);
			goto out;
		}
		found.bytes = slice_of(bytes, (size_t)info.st_size);
	}
	found.is_used = segment_open(found.bytes, replay->has_secret ? &replay->secret : NULL,
	                             &found.walk, &is_damaged);
	if (is_damaged) {
		log_error("journal segment %s: its header is damaged%s", name,
		          found.is_used ? ", the records are read nevertheless" : "");
		replay->damaged++;
		if (!found.is_used)
			corrupt_save(replay->qmgr, name, 0, slice_first(found.bytes, 1u << 20));
	}
	is_good = ARRAY_PUSH(&replay->segments, found) ||
	          error_set(error, "out of memory for journal segment %s", name);
out:
	if (fd >= 0)
		close(fd);
	return is_good;
}

static bool
segments_find(struct replay *replay, struct error *error)
{
	int            copy = fcntl(replay->qmgr->active_fd, F_DUPFD_CLOEXEC, 0);
	DIR           *directory = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int64_t        number;
	bool           is_good = true;

	if (directory == NULL)
		return error_set_errno(error, "list active/");
	while (errno = 0, is_good && (entry = readdir(directory)) != NULL)
		if (number_parse(slice_from(entry->d_name), 0, INT64_MAX, &number))
			is_good = segment_map(replay, (uint64_t)number, entry->d_name, error);
	/* A segment that is not seen would be a loss. */
	if (is_good && errno != 0)
		is_good = error_set_errno(error, "list active/");
	closedir(directory);
	return is_good;
}

static int
segment_compare(const void *left, const void *right)
{
	const struct found_segment *a = left, *b = right;

	if (a->is_used != b->is_used)
		return a->is_used ? 1 : -1;
	return a->walk.epoch < b->walk.epoch ? -1 : a->walk.epoch > b->walk.epoch;
}

/* ---- reading them ---- */

static void
note_add(struct replay *replay, enum record_type type, uint64_t epoch, struct slice payload)
{
	struct note note = { .type = type, .epoch = epoch, .payload = payload };

	if (!ARRAY_PUSH(&replay->notes.all, note))
		log_fatal("out of memory for the records of the journal");
}

/* payload: of the record, or of the message in it. */
static void
replay_message(struct replay *replay, const struct record *record, struct slice payload,
               size_t offset)
{
	struct qmgr             *qmgr = replay->qmgr;
	struct msg_intake_commit commit;
	struct msg_envelope      envelope;
	uint32_t                 count;
	char                     id[QUEUE_ID_MOST];

	if (!stored_message_decode(payload, &commit, &envelope, &count)) {
		log_error("journal: a message that cannot be understood: set aside in corrupt/");
		corrupt_save(qmgr, "message", offset, record->payload);
		return;
	}
	if (message_find(qmgr, commit.queue_id) != NULL)
		return;
	/* Also when the journal says further on that it is done. */
	snprintf(id, sizeof(id), "%.*s", SLICE_ARGS(commit.queue_id));
	recent_note(&qmgr->recent, envelope.service, id);
	char *block = malloc(payload.length + 1);
	if (block != NULL)
		memcpy(block, payload.data, payload.length);
	struct message *message =
		block == NULL ? NULL : message_create(qmgr, block, slice_of(block, payload.length));
	/* Going on without it would lose it when its segment is written over. */
	if (message == NULL)
		log_fatal("out of memory for the messages in the journal");
	message->epoch = record->epoch;
	message->offset =
		offset + RECORD_HEADER_BYTES + (size_t)(payload.data - record->payload.data);
	message->backing = BACKED_JOURNAL;
	message_trim(qmgr, message);
}

static void
replay_result(struct replay *replay, const struct record *record, struct slice payload)
{
	struct msg_stored_result result;
	struct message          *message;

	if (!stored_result_decode(payload, &result))
		return;
	message = message_find(replay->qmgr, result.queue_id);
	if (message != NULL)
		message_apply(message, &result);
	/* Also then: it may have been on its way to a file. */
	note_add(replay, RECORD_RESULT, record->epoch, payload);
}

/* Both halves count, or the record is none. */
static void
replay_notice(struct replay *replay, const struct record *record, size_t offset)
{
	struct slice result, message;

	if (!stored_notice_decode(record->payload, &result, &message)) {
		log_error("journal: a notice that cannot be understood: set aside in corrupt/");
		corrupt_save(replay->qmgr, "notice", offset, record->payload);
		return;
	}
	replay_message(replay, record, message, offset);
	replay_result(replay, record, result);
}

static void
replay_record(struct replay *replay, const struct record *record, size_t offset)
{
	struct msg_stored_done done;
	struct message        *message;

	switch (record->type) {
	case RECORD_MESSAGE: replay_message(replay, record, record->payload, offset); break;
	case RECORD_RESULT: replay_result(replay, record, record->payload); break;
	case RECORD_NOTICE: replay_notice(replay, record, offset); break;
	case RECORD_GONE:
		if (stored_done_decode(record->payload, &done))
			note_add(replay, RECORD_GONE, record->epoch, record->payload);
		break;
	case RECORD_DONE:
		if (stored_done_decode(record->payload, &done) &&
		    (message = message_find(replay->qmgr, done.queue_id)) != NULL)
			message_free(replay->qmgr, message);
		break;
	}
}

static void
replay_segment(struct replay *replay, struct found_segment *segment)
{
	struct record     record;
	struct slice      damage;
	size_t            offset;
	enum segment_step step;
	char              name[24];

	segment_file_name(name, segment->number);
	while ((step = segment_next(&segment->walk, &record, &offset, &damage)) != SEGMENT_END) {
		if (step == SEGMENT_RECORD) {
			replay_record(replay, &record, offset);
			continue;
		}
		if (damage.length == 0)
			continue;
		replay->damaged++;
		log_error("journal segment %s: damaged or torn at %zu: set aside in corrupt/", name,
		          offset);
		corrupt_save(replay->qmgr, name, offset, damage);
	}
}

void
corrupt_save(struct qmgr *qmgr, const char *what, size_t offset, struct slice bytes)
{
	struct error error = ERROR_NONE;
	char         name[100];

	snprintf(name, sizeof(name), "segment-%s-%zu-%lld", what, offset,
	         (long long)(qmgr->now_us / 1000000));
	int directory = openat(qmgr->queue_fd, "corrupt", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0 || !file_replace(directory, name, bytes, 0600, &error))
		log_error("cannot keep what was damaged: %s",
		          directory < 0 ? "no directory corrupt/" : error.text);
	if (directory >= 0)
		close(directory);
}

/* ---- what is left ---- */

/* Whether a name is there; one that cannot be looked at may be. */
enum presence { PRESENT, ABSENT, UNKNOWN };

static enum presence
presence_of(const struct qmgr *qmgr, const char *path)
{
	struct stat info;

	if (fstatat(qmgr->queue_fd, path, &info, AT_SYMLINK_NOFOLLOW) == 0)
		return PRESENT;
	if (errno == ENOENT)
		return ABSENT;
	log_trouble("look for %s: %m", path);
	return UNKNOWN;
}

static enum presence
presence_of_file(const struct qmgr *qmgr, const char *id)
{
	char          path[64];
	enum presence answer = ABSENT;

	for (enum place place = PLACE_DEFERRED; place <= PLACE_HOLD; place++) {
		queue_file_path(path, place, id);
		enum presence here = presence_of(qmgr, path);
		if (here == PRESENT)
			return PRESENT;
		if (here == UNKNOWN)
			answer = UNKNOWN;
	}
	return answer;
}

struct visit {
	struct qmgr *qmgr;
	ARRAY(struct message *) messages;
	bool has_failed;
};

static void
visit_message(struct slice key, void *value, void *context)
{
	struct visit *visit = context;

	(void)key;
	visit->has_failed |= !ARRAY_PUSH(&visit->messages, (struct message *)value);
}

static int
message_compare(const void *left, const void *right)
{
	const struct message *a = *(struct message *const *)left;
	const struct message *b = *(struct message *const *)right;

	if (a->epoch != b->epoch)
		return a->epoch < b->epoch ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/*
 * A message that also lies in a file was being moved there: the file is as new or newer. A spooled
 * one whose body is gone was finished, and the note of that got lost.
 */
static void
message_resume(struct qmgr *qmgr, struct message *message)
{
	char          spool[64];
	enum presence file = presence_of_file(qmgr, message->id);

	snprintf(spool, sizeof(spool), "spool/%s", message->id);
	if (file == PRESENT) {
		store_supersede(qmgr, message);
		return;
	}
	if (message->is_spooled && presence_of(qmgr, spool) == ABSENT) {
		log_warning("%s: its body is gone: it was done with before the stop", message->id);
		message_free(qmgr, message);
		return;
	}
	/* The scan passes over files of what is in memory; this one goes with the message. */
	message->has_stray = file == UNKNOWN;
	segment_enter(qmgr, message, message->epoch);
	message_log_active(message);
	round_begin(qmgr, message);
}

static bool
messages_resume(struct qmgr *qmgr, struct error *error)
{
	struct visit visit = { .qmgr = qmgr };

	hash_each(&qmgr->messages, visit_message, &visit);
	if (visit.has_failed) {
		ARRAY_FREE(&visit.messages);
		return error_set(error, "out of memory for the messages in the journal");
	}
	if (visit.messages.count > 0)
		qsort(visit.messages.items, visit.messages.count, sizeof(struct message *),
		      message_compare);
	for (size_t i = 0; i < visit.messages.count; i++)
		message_resume(qmgr, visit.messages.items[i]);
	ARRAY_FREE(&visit.messages);
	return true;
}

/* Tells the journal of its files, oldest first; the rest is free. */
static bool
segments_hand_over(struct replay *replay, struct error *error)
{
	bool is_good = true;

	for (size_t i = 0; i < replay->segments.count && is_good; i++)
		is_good = journal_add_file(replay->qmgr->journal, replay->segments.items[i].number,
		                           replay->segments.items[i].is_used
		                                   ? replay->segments.items[i].walk.epoch
		                                   : 0);
	return is_good || error_set(error, "out of memory for the journal's segments");
}

static void
segments_unmap(struct replay *replay)
{
	for (size_t i = 0; i < replay->segments.count; i++)
		if (replay->segments.items[i].bytes.length > 0)
			munmap((void *)(uintptr_t)replay->segments.items[i].bytes.data,
			       replay->segments.items[i].bytes.length);
	ARRAY_FREE(&replay->segments);
	ARRAY_FREE(&replay->notes.all);
}

bool
replay_journal(struct qmgr *qmgr, struct error *error)
{
	struct replay replay = { .qmgr = qmgr };
	uint64_t      newest = 0;

	replay.has_secret = secret_open(qmgr, &replay.secret);
	if (!segments_find(&replay, error)) {
		segments_unmap(&replay);
		return false;
	}
	if (replay.segments.count > 0)
		qsort(replay.segments.items, replay.segments.count, sizeof(struct found_segment),
		      segment_compare);
	for (size_t i = 0; i < replay.segments.count; i++) {
		struct found_segment *segment = &replay.segments.items[i];

		if (!segment->is_used)
			continue;
		if (segment->walk.epoch > newest)
			newest = segment->walk.epoch;
		if (segment->walk.tail > replay.tail)
			replay.tail = segment->walk.tail;
	}
	for (size_t i = 0; i < replay.segments.count; i++)
		if (replay.segments.items[i].is_used &&
		    replay.segments.items[i].walk.epoch >= replay.tail)
			replay_segment(&replay, &replay.segments.items[i]);
	struct journal_config config = { .directory_fd = qmgr->active_fd,
		                         .segment_bytes =
		                                 (uint64_t)qmgr->parameters->qmgr_segment_size,
		                         .next_epoch = newest + 1,
		                         .secret = replay.secret,
		                         .inbox = &qmgr->inbox };
	qmgr->journal = journal_start(&config, error);
	bool is_good = qmgr->journal != NULL && segments_hand_over(&replay, error) &&
	               messages_resume(qmgr, error) && notes_give(qmgr, &replay.notes, error);
	segments_unmap(&replay);
	if (!is_good)
		return false;
	segments_begin(qmgr, newest + 1);
	if (qmgr->messages.count > 0 || replay.damaged > 0)
		log_info("journal: %zu messages to go on with, %zu damaged places",
		         qmgr->messages.count, replay.damaged);
	return true;
}

/* Bodies that nobody refers to: their commit never came, or their message is done. */
void
spools_sweep(struct qmgr *qmgr)
{
	int            fd = openat(qmgr->queue_fd, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR           *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (directory == NULL) { /* the next start will */
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(directory)) != NULL) {
		struct slice id = slice_from(entry->d_name);

		if (queue_id_is_valid(id) && message_find(qmgr, id) == NULL &&
		    presence_of_file(qmgr, entry->d_name) == ABSENT)
			unlinkat(dirfd(directory), entry->d_name, 0);
	}
	closedir(directory);
}
