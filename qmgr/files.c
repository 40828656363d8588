/* files.c - see files.h. */
#include "qmgr/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/queue/stored.h"

#define DIRECTORY_COUNT   19 /* 16 of deferred/, hold/, spool/, corrupt/ */
#define HEAVY_MOST        256
#define PART_MOST         1000
#define AGAIN_MS          1000
#define EXPIRE_MOST       4096 /* of a result without recipients */
#define DIRECTORY_HOLD    16
#define DIRECTORY_SPOOL   17
#define DIRECTORY_CORRUPT 18

struct files {
	struct files_config config;
	struct handoff      requests;
	pthread_t           thread;
	atomic_size_t       pending;
	/* The thread's own: directories that got a name, or lost one to another directory, and are
	 * not synced yet. A name must be safe where it came before it is gone where it was. */
	bool has_gained[DIRECTORY_COUNT], has_lost[DIRECTORY_COUNT];
	/* Names removed, which nobody waits for until there is a barrier. */
	bool has_removed[DIRECTORY_COUNT];
	/* Removals that failed: what they left would be delivered again after a restart. */
	struct task_list again;
	int64_t          again_ms;
};

static const char *const directories[] = { "active",  "deferred", "hold", "spool",
	                                   "corrupt", "tmp",      "state" };

static void
directory_path(char path[16], size_t index)
{
	if (index == DIRECTORY_HOLD)
		snprintf(path, 16, "hold");
	else if (index == DIRECTORY_SPOOL)
		snprintf(path, 16, "spool");
	else if (index == DIRECTORY_CORRUPT)
		snprintf(path, 16, "corrupt");
	else
		snprintf(path, 16, "deferred/%X", (unsigned)index);
}

static bool
directory_make(int queue_fd, const char *path, struct error *error)
{
	return mkdirat(queue_fd, path, 0700) == 0 || errno == EEXIST ||
	       error_set_errno(error, "make directory %s", path);
}

static bool
directory_sync(int queue_fd, const char *path, struct error *error)
{
	int  fd = openat(queue_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is_good = fd >= 0 && fsync(fd) == 0;

	if (!is_good)
		error_set_errno(error, "sync directory %s", path);
	if (fd >= 0)
		close(fd);
	return is_good;
}

/*
 * All are synced: a qmgr that was killed may have left a file whose name is not safe yet, and the
 * journal is about to forget the message because of it (store_supersede).
 */
bool
files_prepare(int queue_fd, struct error *error)
{
	char path[16];

	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
		if (!directory_make(queue_fd, directories[i], error))
			return false;
	for (size_t i = 0; i < 16; i++) {
		directory_path(path, i);
		if (!directory_make(queue_fd, path, error))
			return false;
	}
	return files_sync(queue_fd, error) && directory_sync(queue_fd, "deferred", error) &&
	       directory_sync(queue_fd, ".", error);
}

bool
files_sync(int queue_fd, struct error *error)
{
	char path[16];

	for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
		directory_path(path, i);
		if (!directory_sync(queue_fd, path, error))
			return false;
	}
	return true;
}

/* ---- paths ---- */

static size_t
directory_of(enum place place, const char *id)
{
	char x = queue_id_subdirectory(slice_from(id));

	if (place == PLACE_HOLD)
		return DIRECTORY_HOLD;
	return (size_t)(x <= '9' ? x - '0' : x - 'A' + 10);
}

void
queue_file_path(char path[64], enum place place, const char *id)
{
	char directory[16];

	directory_path(directory, directory_of(place, id));
	snprintf(path, 64, "%s/%s", directory, id);
}

static void
spool_path(char path[64], const char *id)
{
	snprintf(path, 64, "spool/%s", id);
}

static void
tmp_path(char path[64], const char *id)
{
	snprintf(path, 64, "tmp/%s", id);
}

/* ---- reading and writing ---- */

bool
queue_file_read(int queue_fd, const char *path, char **bytes, size_t *length, struct error *error)
{
	struct stat info;
	char       *data = NULL;
	size_t      used = 0;
	int         fd = openat(queue_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return error_set_errno(error, "open %s", path);
	if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
	    info.st_size > 2 * (off_t)RECORD_PAYLOAD_MOST) {
		errno = errno == 0 ? EFBIG : errno;
		error_set_errno(error, "read %s", path);
		goto out;
	}
	data = malloc((size_t)info.st_size + 1);
	if (data == NULL) {
		error_set_errno(error, "read %s", path);
		goto out;
	}
	while (used < (size_t)info.st_size) {
		ssize_t got = read(fd, data + used, (size_t)info.st_size - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			error_set_errno(error, "read %s", path);
			free(data);
			data = NULL;
			goto out;
		}
		if (got == 0)
			break;
		used += (size_t)got;
	}
	*bytes = data;
	*length = used;
out:
	close(fd);
	return data != NULL;
}

static bool
write_at(int fd, struct slice bytes, uint64_t at)
{
	while (bytes.length > 0) {
		ssize_t put = pwrite(fd, bytes.data, bytes.length, (off_t)at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		at += (uint64_t)put;
		bytes = slice_from_offset(bytes, (size_t)put);
	}
	return true;
}

static void
set_mtime(int fd, int64_t mtime_us)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		                     { .tv_sec = (time_t)(mtime_us / 1000000),
		                       .tv_nsec = (long)(mtime_us % 1000000 * 1000) } };

	/* When it fails the message is tried too early after a restart, no more. */
	(void)futimens(fd, times);
}

static void
task_fail(struct file_task *task, const char *what, const char *path)
{
	error_set_errno(&task->error, "%s %s", what, path);
	if (task->error.errno_value == 0)
		task->error.errno_value = EIO;
	if (task->work_fd >= 0)
		close(task->work_fd);
	task->work_fd = -1;
}

/* ---- the verbs, first half: up to where a sync is needed ---- */

static void
do_spool(struct files *files, struct file_task *task)
{
	char path[64];

	spool_path(path, task->id);
	task->fd = openat(files->config.queue_fd, path,
	                  O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (task->fd < 0)
		task_fail(task, "create", path);
}

static void
do_spool_sync(struct files *files, struct file_task *task)
{
	char        path[64];
	struct stat info;

	spool_path(path, task->id);
	task->work_fd = openat(files->config.queue_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (task->work_fd < 0 || fstat(task->work_fd, &info) != 0) {
		task_fail(task, "open", path);
		return;
	}
	task->length = (size_t)info.st_size;
	files->has_gained[DIRECTORY_SPOOL] = true;
}

static void
do_spool_remove(struct files *files, struct file_task *task)
{
	char path[64];

	spool_path(path, task->id);
	if (unlinkat(files->config.queue_fd, path, 0) != 0 && errno != ENOENT)
		task_fail(task, "remove", path);
}

static void
do_store(struct files *files, struct file_task *task)
{
	char       path[64];
	struct buf bytes = BUF(2 * (size_t)RECORD_PAYLOAD_MOST);

	tmp_path(path, task->id);
	task->work_fd = openat(files->config.queue_fd, path,
	                       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool is_good = task->work_fd >= 0 &&
	               record_append(&bytes, RECORD_MESSAGE, 0, task->message) &&
	               (task->result.length == 0 ||
	                record_append(&bytes, RECORD_RESULT, 0, buf_slice(&task->result)));
	if (is_good && bytes.has_failed)
		errno = ENOMEM;
	if (!is_good || !write_at(task->work_fd, buf_slice(&bytes), 0)) {
		task_fail(task, "write", path);
		unlinkat(files->config.queue_fd, path, 0);
	} else {
		set_mtime(task->work_fd, task->mtime_us);
		task->valid_bytes = bytes.length;
	}
	buf_free(&bytes);
}

static void
do_update(struct files *files, struct file_task *task)
{
	char       path[64];
	struct buf bytes = BUF(RECORD_PAYLOAD_MOST + 64);

	queue_file_path(path, task->place, task->id);
	int fd = openat(files->config.queue_fd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		task_fail(task, "open", path);
		return;
	}
	if (task->result.length > 0) {
		if (!record_append(&bytes, RECORD_RESULT, 0, buf_slice(&task->result)) ||
		    !write_at(fd, buf_slice(&bytes), task->valid_bytes) ||
		    ftruncate(fd, (off_t)(task->valid_bytes + bytes.length)) != 0) {
			task_fail(task, "write", path);
			close(fd);
			buf_free(&bytes);
			return;
		}
		task->valid_bytes += bytes.length;
		task->work_fd = fd; /* to be synced */
	}
	set_mtime(fd, task->mtime_us);
	if (task->work_fd < 0)
		close(fd);
	buf_free(&bytes);
}

static void
do_load(struct files *files, struct file_task *task)
{
	char path[64];

	queue_file_path(path, task->place, task->id);
	if (!queue_file_read(files->config.queue_fd, path, &task->bytes, &task->length,
	                     &task->error) &&
	    task->error.errno_value == 0)
		task->error.errno_value = EIO;
}

static enum place
other_place(enum place place)
{
	return place == PLACE_HOLD ? PLACE_DEFERRED : PLACE_HOLD;
}

/* No name is no failure. */
static bool
name_remove(struct files *files, const char *id, enum place place)
{
	char path[64];

	queue_file_path(path, place, id);
	if (unlinkat(files->config.queue_fd, path, 0) != 0 && errno != ENOENT)
		return false;
	files->has_removed[directory_of(place, id)] = true;
	return true;
}

/* In its place, and where a STORE that failed may have left it. */
static bool
names_remove(struct files *files, const struct file_task *task)
{
	return name_remove(files, task->id, task->place) &&
	       (!task->has_stray || name_remove(files, task->id, other_place(task->place)));
}

static void
do_remove(struct files *files, struct file_task *task)
{
	if (!names_remove(files, task)) {
		task_fail(task, "remove the file of", task->id);
		return;
	}
	if (task->has_spool)
		do_spool_remove(files, task);
}

static void
do_move(struct files *files, struct file_task *task)
{
	enum place other = other_place(task->place);
	char       from[64], to[64];

	queue_file_path(from, task->place, task->id);
	queue_file_path(to, other, task->id);
	int fd = openat(files->config.queue_fd, from, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		task_fail(task, "open", from);
		return;
	}
	set_mtime(fd, task->mtime_us);
	close(fd);
	if (renameat(files->config.queue_fd, from, files->config.queue_fd, to) != 0) {
		task_fail(task, "rename", from);
		return;
	}
	files->has_gained[directory_of(other, task->id)] = true;
	files->has_lost[directory_of(task->place, task->id)] = true;
}

static void
do_corrupt(struct files *files, struct file_task *task)
{
	char from[64], to[64];

	queue_file_path(from, task->place, task->id);
	snprintf(to, sizeof(to), "corrupt/%s", task->id);
	if (renameat(files->config.queue_fd, from, files->config.queue_fd, to) != 0) {
		task_fail(task, "rename", from);
		return;
	}
	files->has_gained[DIRECTORY_CORRUPT] = true;
	files->has_lost[directory_of(task->place, task->id)] = true;
}

/* The last result once more, with the mark and without recipients. */
static void
do_expire(struct files *files, struct file_task *task)
{
	struct ipc_encoding      encoding = { .fields = BUF(EXPIRE_MOST) };
	struct msg_stored_result last = { 0 };
	struct stored_file       file;

	do_load(files, task);
	if (task->error.errno_value != 0)
		return;
	if (stored_file_parse(slice_of(task->bytes, task->length), &file)) {
		while (stored_result_next(&file.results, &last))
			;
		last.queue_id = slice_from(task->id);
		last.flags |= STORED_FLAG_EXPIRED;
		last.recipients = SLICE_EMPTY;
		task->valid_bytes = file.valid_bytes;
		if (msg_stored_result_encode(&encoding, &last) &&
		    buf_append(&task->result, buf_slice(&encoding.fields)))
			do_update(files, task);
	}
	free(task->bytes);
	task->bytes = NULL;
	buf_free(&encoding.fields);
}

static void
task_begin(struct files *files, struct file_task *task)
{
	task->error = ERROR_NONE;
	task->work_fd = -1;
	switch (task->verb) {
	case FILE_SPOOL: do_spool(files, task); break;
	case FILE_SPOOL_SYNC: do_spool_sync(files, task); break;
	case FILE_SPOOL_REMOVE: do_spool_remove(files, task); break;
	case FILE_STORE: do_store(files, task); break;
	case FILE_UPDATE: do_update(files, task); break;
	case FILE_LOAD: do_load(files, task); break;
	case FILE_REMOVE: do_remove(files, task); break;
	case FILE_MOVE: do_move(files, task); break;
	case FILE_CORRUPT: do_corrupt(files, task); break;
	case FILE_EXPIRE: do_expire(files, task); break;
	case FILE_BARRIER: break;
	}
}

/* ---- second half: sync, rename, sync the directories ---- */

/* What failed is tried again with the next tasks. */
static bool
directories_sync(struct files *files, bool changed[DIRECTORY_COUNT], struct error *error)
{
	bool is_good = true;
	char path[16];

	for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
		if (!changed[i])
			continue;
		directory_path(path, i);
		changed[i] = !directory_sync(files->config.queue_fd, path, error);
		is_good = is_good && !changed[i];
	}
	return is_good;
}

static void
task_sync(struct files *files, struct file_task *task)
{
	char from[64], to[64];

	if (task->work_fd < 0)
		return;
	tmp_path(from, task->id);
	queue_file_path(to, task->place, task->id);
	if (fsync(task->work_fd) != 0) {
		task_fail(task, "sync the file of", task->id);
		if (task->verb == FILE_STORE)
			unlinkat(files->config.queue_fd, from, 0);
		return;
	}
	close(task->work_fd);
	task->work_fd = -1;
	if (task->verb != FILE_STORE)
		return;
	if (renameat(files->config.queue_fd, from, files->config.queue_fd, to) != 0) {
		task_fail(task, "rename", from);
		return;
	}
	files->has_gained[directory_of(task->place, task->id)] = true;
	if (task->has_stray && !name_remove(files, task->id, other_place(task->place)))
		task_fail(task, "remove an older file of", task->id);
}

/*
 * The message stays in the journal, which tells what becomes of it: a file would be delivered by a
 * later start. Its name may be there already, when the sync of the directory failed.
 */
static void
store_undo(struct files *files, struct file_task *task)
{
	if (task->error.errno_value != 0)
		task->has_stray = !names_remove(files, task);
	else
		task->has_stray = false;
}

/* A move that is not synced has happened all the same: the file is in one of the two places. */
static bool
needs_directory(const struct file_task *task)
{
	return task->verb == FILE_STORE || task->verb == FILE_SPOOL_SYNC ||
	       task->verb == FILE_BARRIER;
}

/* Keeps a removal that failed, to try it again; the first failure is logged. */
static bool
removal_keep(struct files *files, struct file_task *task)
{
	if (task->error.errno_value == 0 ||
	    (task->verb != FILE_REMOVE && task->verb != FILE_SPOOL_REMOVE))
		return false;
	if (!task->is_second)
		log_warning("%s: %s: will be tried again", task->id, task->error.text);
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
	} else if (!directories_sync(files, files->has_removed, &task->error) &&
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

/* Writing begins for all, so that the first sync does not wait for its file alone. */
static void
syncs_begin(const struct task_list *list)
{
	for (const struct task *task = list->first; task != NULL; task = task->next) {
		int fd = ((const struct file_task *)(const void *)task)->work_fd;

		if (fd >= 0 && list->first->next != NULL)
			(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* fsync tells */
	}
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
	syncs_begin(list);
	for (task = list->first; task != NULL; task = task->next)
		task_sync(files, (struct file_task *)(void *)task);
	bool is_synced = directories_sync(files, files->has_gained, &error);
	if (is_synced)
		is_synced = directories_sync(files, files->has_lost, &error);
	task_list_init(&done);
	while ((task = task_list_take(list)) != NULL) {
		struct file_task *one = (struct file_task *)(void *)task;

		if (!is_synced && one->error.errno_value == 0 && needs_directory(one)) {
			one->error = error;
			one->error.errno_value = error.errno_value == 0 ? EIO : error.errno_value;
		}
		if (one->verb == FILE_STORE)
			store_undo(files, one);
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
	return task->verb == FILE_STORE || task->verb == FILE_UPDATE ||
	       task->verb == FILE_SPOOL_SYNC || task->verb == FILE_LOAD;
}

/* Removals and moves, which are light, share the syncs of their directories with more others. */
static struct task_list
part_take(struct task_list *list)
{
	struct task_list part;
	size_t           heavy = 0;

	task_list_init(&part);
	for (size_t i = 0; i < PART_MOST && heavy < HEAVY_MOST && list->first != NULL; i++) {
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
			struct task_list part = part_take(&list);

			files_work(files, &part);
		}
	}
	files->again_ms = 0; /* there is no later */
	removals_take(files, &list);
	files_work(files, &list);
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
	handoff_close(&gone->requests);
	pthread_join(gone->thread, NULL);
	handoff_destroy(&gone->requests);
	free(gone);
	*files = NULL;
}
