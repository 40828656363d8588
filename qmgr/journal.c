/* journal.c - see journal.h. */
#include "qmgr/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/array.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"

#define LAZY_MS    50
#define HURRY_MS   10   /* the next commit's sync comes sooner, where there is one: no extra sync */
#define RETRY_MS   1000 /* when results cannot be written: disk full, I/O error */
#define BATCH_MOST 256  /* records in one pwritev: three parts each, below IOV_MAX */
#define ZERO_STEP  (1u << 20)

struct segment_file {
	uint64_t number; /* its name */
	uint64_t epoch;  /* of its last use */
};

struct batch {
	struct journal_write *writes[BATCH_MOST];
	size_t                count;
	size_t                bytes;
	bool                  is_urgent, is_hurried;
};

struct journal {
	struct journal_config config;
	struct handoff        requests;
	pthread_t             thread;

	/* the thread's own */
	int                fd; /* the segment that is written to; -1 = none yet */
	uint64_t           epoch;
	struct segment_key key;
	uint64_t           at; /* offset behind the last record */
	bool               is_unsynced;
	int64_t            sync_by_ms; /* while it is */
	struct batch       batch;
	struct task_list   retry;    /* results that could not be written */
	int64_t            retry_ms; /* when to try them again */

	struct mutex lock; /* guards everything below */
	uint64_t     tail; /* smaller epochs are free */
	uint64_t     next_number;
	ARRAY(struct segment_file) files; /* in the order of their epochs; the last is in use */
};

void
segment_file_name(char name[24], uint64_t number)
{
	snprintf(name, 24, "%08llu", (unsigned long long)number);
}

/* ---- segments ---- */

/* Fills a new file with zeros: a sync of blocks that were written before is far cheaper. */
static bool
segment_fill(int fd, uint64_t size)
{
	char    *zeros = calloc(1, ZERO_STEP);
	uint64_t at = 0;

	if (zeros == NULL) {
		errno = ENOMEM;
		return false;
	}
	while (at < size) {
		size_t  step = size - at < ZERO_STEP ? (size_t)(size - at) : ZERO_STEP;
		ssize_t put = pwrite(fd, zeros, step, (off_t)at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			break;
		at += (uint64_t)put;
	}
	int saved = errno;
	free(zeros);
	errno = saved;
	return at == size && fsync(fd) == 0;
}

static int
segment_create(struct journal *journal, uint64_t number)
{
	char name[24];

	segment_file_name(name, number);
	int fd = openat(journal->config.directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
	                0600);
	if (fd < 0)
		return -1;
	if (!segment_fill(fd, journal->config.segment_bytes) ||
	    fsync(journal->config.directory_fd) != 0) {
		int saved = errno;

		close(fd);
		unlinkat(journal->config.directory_fd, name, 0);
		errno = saved;
		return -1;
	}
	return fd;
}

/* Takes the oldest free file out of the list; always the oldest, so that no result outlives
 * the message that it belongs to the other way round. */
static bool
segment_take_free(struct journal *journal, struct segment_file *file)
{
	bool is_found = false;

	mutex_lock(&journal->lock);
	if (journal->files.count > 0 && journal->files.items[0].epoch < journal->tail &&
	    journal->files.items[0].epoch != journal->epoch) {
		*file = journal->files.items[0];
		journal->files.count--;
		memmove(journal->files.items, journal->files.items + 1,
		        journal->files.count * sizeof(*file));
		is_found = true;
	}
	mutex_unlock(&journal->lock);
	return is_found;
}

/* It could not be opened: first in line as before. There is room, since it was taken out. */
static void
segment_give_back(struct journal *journal, struct segment_file file)
{
	mutex_lock(&journal->lock);
	memmove(journal->files.items + 1, journal->files.items,
	        journal->files.count * sizeof(file));
	journal->files.items[0] = file;
	journal->files.count++;
	mutex_unlock(&journal->lock);
}

static bool
segment_append(struct journal *journal, struct segment_file file, uint64_t *tail)
{
	mutex_lock(&journal->lock);
	bool is_kept = ARRAY_PUSH(&journal->files, file);
	*tail = journal->tail;
	mutex_unlock(&journal->lock);
	if (!is_kept)
		errno = ENOMEM;
	return is_kept;
}

/* Opens the segment that is written next; errno tells why it could not. */
static bool
segment_begin(struct journal *journal)
{
	struct segment_file file;
	char                name[24], header[SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES] = { 0 };
	int                 fd;

	if (segment_take_free(journal, &file)) {
		segment_file_name(name, file.number);
		fd = openat(journal->config.directory_fd, name, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			segment_give_back(journal, file);
	} else {
		mutex_lock(&journal->lock);
		file.number = journal->next_number++;
		mutex_unlock(&journal->lock);
		fd = segment_create(journal, file.number);
	}
	if (fd < 0)
		return false;
	struct segment_head head = { .epoch = journal->config.next_epoch,
		                     .version = RECORD_VERSION_SEALED };
	head.key = segment_key_make(&journal->config.secret, head.epoch);
	file.epoch = head.epoch;
	if (!segment_append(journal, file, &head.tail)) {
		close(fd);
		return false;
	}
	segment_head_write(header, &head);
	/* Safe before a record lies over what an earlier use left: under the old header those would
	 * count again. */
	if (pwrite(fd, header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
	    fdatasync(fd) != 0) {
		close(fd); /* stays in the list as a used one; freed in its turn */
		return false;
	}
	if (journal->fd >= 0)
		close(journal->fd);
	journal->fd = fd;
	journal->epoch = head.epoch;
	journal->key = head.key;
	journal->at = SEGMENT_HEADER_BYTES;
	journal->config.next_epoch++;
	return true;
}

static bool
journal_sync(struct journal *journal)
{
	if (!journal->is_unsynced)
		return true;
	if (fdatasync(journal->fd) != 0) {
		log_trouble("sync of journal segment: %m");
		return false;
	}
	journal->is_unsynced = false;
	return true;
}

/* Room for a record and for the zeros behind it. */
static bool
segment_has_room(const struct journal *journal, size_t size)
{
	return journal->fd >= 0 &&
	       journal->at + size + RECORD_HEADER_BYTES <= journal->config.segment_bytes;
}

/* ---- a batch ---- */

static bool
write_all(int fd, struct iovec *parts, size_t count, uint64_t at)
{
	while (count > 0) {
		ssize_t put = pwritev(fd, parts, (int)count, (off_t)at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		at += (uint64_t)put;
		while (count > 0 && (size_t)put >= parts->iov_len) {
			put -= (ssize_t)parts->iov_len;
			parts++;
			count--;
		}
		if (count > 0 && put > 0) {
			parts->iov_base = (char *)parts->iov_base + put;
			parts->iov_len -= (size_t)put;
		}
	}
	return true;
}

/* Writes the batch behind what is there, with zeros behind it that end the segment for now. */
static bool
batch_write(struct journal *journal, struct batch *batch)
{
	static const char zeros[RECORD_HEADER_BYTES] = { 0 };
	struct iovec     *parts = calloc(batch->count * 3 + 1, sizeof(*parts));
	size_t            used = 0;
	uint64_t          at = journal->at;

	if (parts == NULL) {
		errno = ENOMEM;
		return false;
	}
	for (size_t i = 0; i < batch->count; i++) {
		struct journal_write *write = batch->writes[i];
		size_t                size = record_size(write->payload.length);
		struct record_place   place = { .key = journal->key,
			                        .epoch = journal->epoch,
			                        .offset = at };

		record_header_sealed(write->header, write->type, &place, write->payload);
		parts[used++] = (struct iovec){ write->header, RECORD_HEADER_BYTES };
		parts[used++] = (struct iovec){ (void *)(uintptr_t)write->payload.data,
			                        write->payload.length };
		parts[used++] =
			(struct iovec){ (void *)(uintptr_t)zeros,
			                size - RECORD_HEADER_BYTES - write->payload.length };
		write->epoch = journal->epoch;
		write->offset = at + RECORD_HEADER_BYTES;
		at += size;
	}
	parts[used++] = (struct iovec){ (void *)(uintptr_t)zeros, sizeof(zeros) };
	bool is_written = write_all(journal->fd, parts, used, journal->at);
	int  saved = errno;
	free(parts);
	errno = saved;
	if (!is_written)
		return false;
	journal->at = at;
	int64_t by_ms = clock_monotonic_ms() + (batch->is_hurried ? HURRY_MS : LAZY_MS);
	if (!journal->is_unsynced || by_ms < journal->sync_by_ms)
		journal->sync_by_ms = by_ms;
	journal->is_unsynced = true;
	return true;
}

/*
 * Answers for a batch. Messages are given back with the error; results are kept and tried again,
 * since what they tell has happened.
 */
static void
batch_answer(struct journal *journal, struct batch *batch, int errno_value)
{
	struct task_list done;

	task_list_init(&done);
	for (size_t i = 0; i < batch->count; i++) {
		struct journal_write *write = batch->writes[i];

		write->errno_value = errno_value;
		bool is_message = write->type == RECORD_MESSAGE || write->type == RECORD_NOTICE;
		if (errno_value != 0 && !is_message)
			task_list_append(&journal->retry, &write->task);
		else
			task_list_append(&done, &write->task);
	}
	if (errno_value != 0)
		journal->retry_ms = clock_monotonic_ms() + RETRY_MS;
	handoff_give(journal->config.inbox, &done);
	*batch = (struct batch){ 0 };
}

/* Writes, syncs and answers; a segment that failed is not written to again. */
static void
batch_finish(struct journal *journal, struct batch *batch)
{
	if (batch->count == 0)
		return;
	errno = 0;
	bool is_good = batch_write(journal, batch);
	if (is_good && batch->is_urgent)
		is_good = journal_sync(journal);
	if (is_good) {
		batch_answer(journal, batch, 0);
		return;
	}
	int why = errno == 0 ? EIO : errno;
	log_trouble("write to the journal: %m");
	close(journal->fd);
	journal->fd = -1;
	journal->is_unsynced = false;
	batch_answer(journal, batch, why);
}

static void
batch_fail_one(struct journal *journal, struct journal_write *write, int why)
{
	struct batch one = { .writes = { write }, .count = 1 };

	batch_answer(journal, &one, why);
}

/* Puts a record in the batch; goes on to a new segment when it does not fit. */
static void
batch_add(struct journal *journal, struct batch *batch, struct journal_write *write)
{
	size_t size = record_size(write->payload.length);

	if (size > journal->config.segment_bytes - SEGMENT_HEADER_BYTES - RECORD_HEADER_BYTES) {
		batch_fail_one(journal, write, EFBIG);
		return;
	}
	if (batch->count == BATCH_MOST)
		batch_finish(journal, batch);
	if (!segment_has_room(journal, batch->bytes + size)) {
		batch_finish(journal, batch);
		if (journal->fd >= 0 && !journal_sync(journal)) {
			close(journal->fd);
			journal->fd = -1;
		}
		if (!segment_has_room(journal, size) && !segment_begin(journal)) {
			batch_fail_one(journal, write, errno == 0 ? EIO : errno);
			return;
		}
	}
	batch->writes[batch->count++] = write;
	batch->bytes += size;
	batch->is_urgent |= write->is_urgent;
	batch->is_hurried |= write->is_hurried;
}

/* When to look again though nothing was handed in; 0 = never. */
static int64_t
journal_deadline(const struct journal *journal)
{
	if (journal->is_unsynced)
		return journal->sync_by_ms;
	return journal->retry.first != NULL ? journal->retry_ms : 0;
}

static void
journal_add_all(struct journal *journal, struct batch *batch, struct task_list *list)
{
	struct task *task;

	while ((task = task_list_take(list)) != NULL)
		batch_add(journal, batch, (struct journal_write *)(void *)task);
}

static void *
journal_run(void *argument)
{
	struct journal  *journal = argument;
	struct batch    *batch = &journal->batch;
	struct task_list list;
	bool             is_over = false;

	while (!is_over) {
		task_list_init(&list);
		is_over = !handoff_wait(&journal->requests, &list, journal_deadline(journal));
		/* Also while results keep coming: a power cut repeats little of what is delivered.
		 */
		bool is_due = list.first == NULL || clock_monotonic_ms() >= journal->sync_by_ms;
		if (is_due && !journal_sync(journal)) {
			close(journal->fd);
			journal->fd = -1;
			journal->is_unsynced = false;
		}
		if (journal->retry.first != NULL &&
		    (is_over || clock_monotonic_ms() >= journal->retry_ms)) {
			struct task_list again = journal->retry;

			task_list_init(&journal->retry);
			journal_add_all(journal, batch, &again);
		}
		journal_add_all(journal, batch, &list);
		batch_finish(journal, batch);
	}
	journal_sync(journal);
	return NULL;
}

/* ---- the scheduler's side ---- */

struct journal *
journal_start(const struct journal_config *config, struct error *error)
{
	struct journal *journal = calloc(1, sizeof(*journal));

	if (journal == NULL) {
		error_set(error, "out of memory for the journal");
		return NULL;
	}
	journal->config = *config;
	journal->fd = -1;
	journal->next_number = 1;
	task_list_init(&journal->retry);
	mutex_init(&journal->lock);
	handoff_init(&journal->requests, false, NULL);
	int why = thread_start(&journal->thread, journal_run, journal);
	if (why != 0) {
		errno = why;
		error_set_errno(error, "start the syncer");
		handoff_destroy(&journal->requests);
		mutex_destroy(&journal->lock);
		free(journal);
		return NULL;
	}
	return journal;
}

bool
journal_add_file(struct journal *journal, uint64_t number, uint64_t epoch)
{
	struct segment_file file = { number, epoch };

	mutex_lock(&journal->lock);
	if (number >= journal->next_number)
		journal->next_number = number + 1;
	bool is_kept = ARRAY_PUSH(&journal->files, file);
	mutex_unlock(&journal->lock);
	return is_kept;
}

void
journal_give(struct journal *journal, struct task_list *list)
{
	handoff_give(&journal->requests, list);
}

void
journal_set_tail(struct journal *journal, uint64_t epoch)
{
	mutex_lock(&journal->lock);
	journal->tail = epoch;
	mutex_unlock(&journal->lock);
}

int64_t
journal_file_number(struct journal *journal, uint64_t epoch)
{
	int64_t number = -1;

	mutex_lock(&journal->lock);
	for (size_t i = 0; i < journal->files.count; i++)
		if (journal->files.items[i].epoch == epoch)
			number = (int64_t)journal->files.items[i].number;
	mutex_unlock(&journal->lock);
	return number;
}

void
journal_stop(struct journal **journal)
{
	struct journal *gone = *journal;

	if (gone == NULL)
		return;
	handoff_close(&gone->requests);
	pthread_join(gone->thread, NULL);
	if (gone->fd >= 0)
		close(gone->fd);
	ARRAY_FREE(&gone->files);
	handoff_destroy(&gone->requests);
	mutex_destroy(&gone->lock);
	free(gone);
	*journal = NULL;
}
