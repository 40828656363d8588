/* files.c - see files.h. */
#include "qmgr/file_verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/io/file.h"
#include "lib/mailbox/sync.h"

#define HEAVY_MOST 256
#define HEAVY_PART 16 /* of all descriptors, where they are few */
#define PART_MOST  1000
#define AGAIN_MS   1000

struct files {
	struct files_config config;
	struct handoff      requests;
	pthread_t           thread;
	size_t              heavy_most; /* tasks of one part that are heavy */
	atomic_size_t       pending;
	atomic_bool         is_stopping;
	struct mailbox_sync sync;
	bool                owes_sync; /* before the thread ends; its own, as what follows */
	struct directories  directories;
	/* Removals that failed: what they left would be delivered again after a restart. */
	struct task_list again;
	int64_t          again_ms;
};

static size_t
changed_count(const bool changed[DIRECTORY_COUNT])
{
	size_t count = 0;

	for (size_t i = 0; i < DIRECTORY_COUNT; i++)
		count += changed[i];
	return count;
}

/*
 * Whether the whole file system may be synced at once. Not while a name is to be safe in one
 * directory before it is gone from another: without a journal they are written in any order.
 */
static bool
may_sync_whole(const struct files *files)
{
	return changed_count(files->directories.has_lost) == 0;
}

/* What failed is tried again with the next tasks. */
static bool
directories_sync(struct files *files, bool changed[DIRECTORY_COUNT], struct error *error)
{
	bool   is_good = true;
	size_t count = changed_count(changed);

	if ((may_sync_whole(files) || changed == files->directories.has_lost) &&
	    mailbox_sync_whole(&files->sync, files->config.queue_fd, count)) {
		memset(changed, 0, DIRECTORY_COUNT * sizeof(changed[0]));
		return true;
	}
	for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
		if (!changed[i])
			continue;
		changed[i] = !directory_sync(files->config.queue_fd, i, error);
		is_good = is_good && !changed[i];
	}
	return is_good;
}

/* A move that is not synced has happened all the same: the file is in one of the two places. */
static bool
needs_directory(const struct file_task *task)
{
	return task->verb == FILE_STORE || task->verb == FILE_REWRITE ||
	       task->verb == FILE_SPOOL_SYNC || task->verb == FILE_BARRIER;
}

/* Keeps a removal that failed, to try it again; the first failure is logged. */
static bool
removal_keep(struct files *files, struct file_task *task)
{
	if (task->error.errno_value == 0 ||
	    (task->verb != FILE_REMOVE && task->verb != FILE_SPOOL_REMOVE))
		return false;
	if (!task->is_second)
		log_trouble("%s: %s: will be tried again", task->id, task->error.text);
	task->is_second = true;
	task_list_append(&files->again, &task->task);
	files->again_ms = clock_monotonic_ms() + AGAIN_MS;
	return true;
}

/* Behind all that was given before. */
static void
barrier_end(struct files *files, struct file_task *task)
{
	if (files->again.first != NULL) {
		error_set(&task->error, "some files could not be removed yet and are tried again");
		task->error.errno_value = EAGAIN;
	} else if (!directories_sync(files, files->directories.has_removed, &task->error) &&
	           task->error.errno_value == 0) {
		task->error.errno_value = EIO;
	}
}

/* What needs no sync does not wait for others': clients send their bodies meanwhile. */
static void
ready_give(struct files *files, struct task_list *list)
{
	struct task_list all = *list, ready;
	struct task     *task;

	if (all.first == NULL)
		return;
	task_list_init(list);
	task_list_init(&ready);
	while ((task = task_list_take(&all)) != NULL) {
		enum file_verb verb = ((struct file_task *)(void *)task)->verb;
		bool           is_ready = verb == FILE_SPOOL || verb == FILE_LOAD;

		if (is_ready)
			atomic_fetch_sub(&files->pending, 1);
		task_list_append(is_ready ? &ready : list, task);
	}
	handoff_give(files->config.inbox, &ready);
}

static bool
is_small_write(const struct file_task *task)
{
	return task->work_fd >= 0 && task->verb != FILE_SPOOL_SYNC;
}

/*
 * Thousands of results may wait to be written when the system stops. Nobody goes on upon these, and
 * what must not be repeated is in the journal, too: one sync at the end is enough.
 */
static bool
may_sync_later(const struct files *files)
{
	return atomic_load(&files->is_stopping) && files->sync.may_syncfs;
}

/*
 * Many small files at once, where that is as good; otherwise writing begins for all, so that the
 * first sync does not wait for its file alone. The syncs of each tell of what failed.
 */
static void
syncs_begin(struct files *files, struct task_list *list)
{
	size_t count = 0;

	for (struct task *task = list->first; task != NULL; task = task->next)
		count += is_small_write((struct file_task *)(void *)task);
	bool is_synced = !may_sync_later(files) && may_sync_whole(files) &&
	                 mailbox_sync_whole(&files->sync, files->config.queue_fd, count);
	for (struct task *task = list->first; task != NULL; task = task->next) {
		struct file_task *one = (struct file_task *)(void *)task;

		one->is_synced = is_synced && is_small_write(one);
		if (one->verb == FILE_UPDATE && one->work_fd >= 0 && !one->is_synced)
			one->is_synced = may_sync_later(files);
		files->owes_sync |= one->is_synced && !is_synced;
		if (!one->is_synced && one->work_fd >= 0 && list->first->next != NULL)
			(void)sync_file_range(one->work_fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	}
}

/* Thousands may wait to be read when the system stops, which needs none of them. */
static void
task_begin(struct files *files, struct file_task *task)
{
	if (task->verb != FILE_LOAD || !atomic_load(&files->is_stopping)) {
		file_verb_begin(&files->directories, task);
		return;
	}
	error_set(&task->error, "given up: the mail system stops");
	task->error.errno_value = ECANCELED;
	task->work_fd = -1;
}

/* In the order given, so that two tasks for one file do not overtake each other. */
static void
files_work(struct files *files, struct task_list *list)
{
	struct task_list done;
	struct task     *task;
	struct error     error = ERROR_NONE;

	for (task = list->first; task != NULL; task = task->next)
		task_begin(files, (struct file_task *)(void *)task);
	ready_give(files, list);
	syncs_begin(files, list);
	for (task = list->first; task != NULL; task = task->next)
		file_verb_sync(&files->directories, (struct file_task *)(void *)task);
	bool is_synced = directories_sync(files, files->directories.has_gained, &error);
	if (is_synced)
		is_synced = directories_sync(files, files->directories.has_lost, &error);
	task_list_init(&done);
	while ((task = task_list_take(list)) != NULL) {
		struct file_task *one = (struct file_task *)(void *)task;

		if (!is_synced && one->error.errno_value == 0 && needs_directory(one)) {
			one->error = error;
			one->error.errno_value = error.errno_value == 0 ? EIO : error.errno_value;
		}
		if (one->verb == FILE_STORE)
			file_verb_store_end(&files->directories, one);
		if (one->verb == FILE_BARRIER && one->error.errno_value == 0)
			barrier_end(files, one);
		/* One that is kept is no reason for others to wait. */
		if (!one->is_second)
			atomic_fetch_sub(&files->pending, 1);
		if (!removal_keep(files, one))
			task_list_append(&done, task);
	}
	handoff_give(files->config.inbox, &done);
}

/* Holds a descriptor until the syncs, or a message: thousands at once would use them all up. */
static bool
is_heavy(const struct file_task *task)
{
	return task->verb == FILE_STORE || task->verb == FILE_REWRITE ||
	       task->verb == FILE_UPDATE || task->verb == FILE_EXPIRE ||
	       task->verb == FILE_SPOOL_SYNC || task->verb == FILE_LOAD;
}

/* Removals and moves, which are light, share the syncs of their directories with more others. */
static struct task_list
part_take(const struct files *files, struct task_list *list)
{
	struct task_list part;
	size_t           heavy = 0;

	task_list_init(&part);
	for (size_t i = 0; i < PART_MOST && heavy < files->heavy_most && list->first != NULL; i++) {
		struct task *task = task_list_take(list);

		heavy += is_heavy((struct file_task *)(void *)task);
		task_list_append(&part, task);
	}
	return part;
}

/* Those that are due go behind what was given meanwhile. */
static void
removals_take(struct files *files, struct task_list *list)
{
	struct task_list due = files->again;
	struct task     *task;

	if (due.first == NULL || clock_monotonic_ms() < files->again_ms)
		return;
	task_list_init(&files->again);
	while ((task = task_list_take(&due)) != NULL)
		task_list_append(list, task);
}

static void *
files_run(void *argument)
{
	struct files    *files = argument;
	struct task_list list;

	task_list_init(&list);
	while (handoff_wait(&files->requests, &list,
	                    files->again.first == NULL ? 0 : files->again_ms)) {
		removals_take(files, &list);
		while (list.first != NULL) {
			struct task_list part = part_take(files, &list);

			files_work(files, &part);
		}
	}
	files->again_ms = 0; /* there is no later */
	removals_take(files, &list);
	files_work(files, &list);
	if (files->owes_sync && syncfs(files->config.queue_fd) != 0)
		log_warning("sync the results of deferred messages: %m");
	return NULL;
}

struct files *
files_start(const struct files_config *config, struct error *error)
{
	struct files *files = calloc(1, sizeof(*files));

	if (files == NULL) {
		error_set(error, "out of memory for the file thread");
		return NULL;
	}
	files->config = *config;
	files->directories.queue_fd = config->queue_fd;
	mailbox_sync_init(&files->sync, config->queue_fd);
	files->heavy_most = file_descriptors_most() / HEAVY_PART;
	if (files->heavy_most > HEAVY_MOST)
		files->heavy_most = HEAVY_MOST;
	if (files->heavy_most == 0)
		files->heavy_most = 1;
	task_list_init(&files->again);
	handoff_init(&files->requests, false, NULL);
	int why = thread_start(&files->thread, files_run, files);
	if (why != 0) {
		errno = why;
		error_set_errno(error, "start the file thread");
		handoff_destroy(&files->requests);
		free(files);
		return NULL;
	}
	return files;
}

void
files_give(struct files *files, struct file_task *task)
{
	atomic_fetch_add(&files->pending, 1);
	handoff_give_one(&files->requests, &task->task);
}

size_t
files_pending(const struct files *files)
{
	return atomic_load(&files->pending);
}

void
files_stop(struct files **files)
{
	struct files *gone = *files;

	if (gone == NULL)
		return;
	atomic_store(&gone->is_stopping, true);
	handoff_close(&gone->requests);
	pthread_join(gone->thread, NULL);
	handoff_destroy(&gone->requests);
	free(gone);
	*files = NULL;
}
