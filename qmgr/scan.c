/*
 * scan.c - at the start the ids of deferred and held messages are read by a thread of its own,
 * while new mail flows.
 */
#include "qmgr/qmgr.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"

#define BATCH         512
#define SCAN_AGAIN_MS 5000 /* when something could not be read */

struct scanned {
	char    id[QUEUE_ID_MOST];
	int64_t due_us;
};

struct scan_task {
	struct task    task;
	bool           is_last;
	bool           has_failed; /* the last one: something could not be read */
	bool           is_on_hold;
	size_t         count;
	struct scanned items[BATCH];
};

/* ---- in the scheduler ---- */

bool
scan_note_gone(struct qmgr *qmgr, const char *id)
{
	return qmgr->is_scan_over || hash_put(&qmgr->gone, slice_from(id), qmgr, NULL);
}

static void
scanned_done(struct qmgr *qmgr, struct task *task)
{
	struct scan_task *scan = (struct scan_task *)(void *)task;

	for (size_t i = 0; i < scan->count; i++) {
		struct slice id = slice_from(scan->items[i].id);

		/* What came, moved there or ended meanwhile is known better. */
		if (message_find(qmgr, id) != NULL || backlog_find(&qmgr->backlog, id) != NULL ||
		    hash_get(&qmgr->gone, id) != NULL)
			continue;
		bool            is_flushed = qmgr->is_scan_flushed && !scan->is_on_hold;
		int64_t         due_us = is_flushed ? qmgr->now_us : scan->items[i].due_us;
		struct waiting *waiting =
			backlog_put(&qmgr->backlog, scan->items[i].id, due_us, scan->is_on_hold);
		if (waiting == NULL)
			qmgr->wants_scan = true;
		else
			waiting->is_flushed = is_flushed;
	}
	if (scan->is_last) {
		hash_free(&qmgr->gone, NULL);
		qmgr->is_scan_over = true;
		qmgr->wants_scan |= scan->has_failed;
		qmgr->is_scanned = true; /* as far as it can be: listings do not wait longer */
		qmgr->scan_again_ms = qmgr->now_ms + SCAN_AGAIN_MS;
		if (qmgr->wants_scan)
			log_warning("not all deferred messages could be read: once more");
		else if (qmgr->backlog.count > 0)
			log_info("%zu messages are deferred, %zu on hold",
			         qmgr->backlog.count - qmgr->backlog.held, qmgr->backlog.held);
	}
	free(scan);
}

/* ---- in the thread ---- */

struct scan {
	struct qmgr      *qmgr;
	struct scan_task *batch;
	bool              has_failed;
};

/* Who stops the mail system, or starts the next qmgr, waits for no scan. */
static bool
is_leaving(const struct scan *scan)
{
	return atomic_load(&scan->qmgr->is_scan_given_up);
}

static void
batch_send(struct scan *scan, bool is_last)
{
	struct scan_task *batch = scan->batch;

	if (batch == NULL)
		return;
	batch->task.done = scanned_done;
	batch->is_last = is_last;
	batch->has_failed = scan->has_failed;
	scan->batch = NULL;
	handoff_give_one(&scan->qmgr->inbox, &batch->task);
}

static void
entry_add(struct scan *scan, int directory, const char *name, bool is_on_hold)
{
	struct stat info;

	if (!queue_id_is_valid(slice_from(name)))
		return;
	if (fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
		scan->has_failed |= errno != ENOENT; /* it has left meanwhile */
		return;
	}
	if (!S_ISREG(info.st_mode))
		return;
	if (scan->batch == NULL)
		scan->batch = calloc(1, sizeof(*scan->batch));
	if (scan->batch == NULL) {
		scan->has_failed = true;
		return;
	}
	struct scanned *item = &scan->batch->items[scan->batch->count++];
	snprintf(item->id, sizeof(item->id), "%s", name);
	item->due_us = (int64_t)info.st_mtim.tv_sec * 1000000 + info.st_mtim.tv_nsec / 1000;
	scan->batch->is_on_hold = is_on_hold;
	if (scan->batch->count == BATCH)
		batch_send(scan, false);
}

static void
directory_scan(struct scan *scan, const char *path, bool is_on_hold)
{
	int            fd = openat(scan->qmgr->queue_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR           *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (directory == NULL) {
		log_error("list %s: %m", path);
		scan->has_failed = true;
		if (fd >= 0)
			close(fd);
		return;
	}
	while (errno = 0, !is_leaving(scan) && (entry = readdir(directory)) != NULL)
		entry_add(scan, dirfd(directory), entry->d_name, is_on_hold);
	scan->has_failed |= errno != 0;
	closedir(directory);
	batch_send(scan, false);
}

static void *
scan_run(void *argument)
{
	struct scan     scan = { .qmgr = argument };
	struct timespec pause = { .tv_nsec = 100 * 1000000L };
	char            path[32];

	for (unsigned i = 0; i < 16; i++) {
		snprintf(path, sizeof(path), "deferred/%X", i);
		directory_scan(&scan, path, false);
	}
	directory_scan(&scan, "hold", true);
	/* The last one has to come. */
	while ((scan.batch = calloc(1, sizeof(*scan.batch))) == NULL && !is_leaving(&scan))
		nanosleep(&pause, NULL);
	batch_send(&scan, true);
	return NULL;
}

bool
scan_start(struct qmgr *qmgr, struct error *error)
{
	int why = thread_start(&qmgr->scan_thread, scan_run, qmgr);

	if (why != 0) {
		errno = why;
		return error_set_errno(error, "start the scan of the deferred queue");
	}
	qmgr->is_scanning = true;
	qmgr->wants_scan = qmgr->is_scan_over = false;
	return true;
}

/* Its last word has come. */
static void
scan_wait(struct qmgr *qmgr)
{
	if (qmgr->is_scanning)
		pthread_join(qmgr->scan_thread, NULL);
	qmgr->is_scanning = false;
}

void
scan_stop(struct qmgr *qmgr)
{
	atomic_store(&qmgr->is_scan_given_up, true);
	scan_wait(qmgr);
}

void
scan_again(struct qmgr *qmgr)
{
	struct error error = ERROR_NONE;

	if (!qmgr->wants_scan || !qmgr->is_scan_over || qmgr->is_draining ||
	    qmgr->now_ms < qmgr->scan_again_ms)
		return;
	scan_wait(qmgr);
	if (!scan_start(qmgr, &error))
		log_warning("%s", error.text);
}
