/* file_verbs.c - see file_verbs.h. */
#include "qmgr/file_verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/queue/stored.h"

#define EXPIRE_MOST 4096 /* of a result without recipients */

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

/* ---- up to where a sync is needed ---- */

static void
do_spool(struct directories *directories, struct file_task *task)
{
	char path[PLACE_PATH_MOST];

	spool_path(path, task->id);
	task->fd = openat(directories->queue_fd, path,
	                  O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (task->fd < 0)
		task_fail(task, "create", path);
}

static void
do_spool_sync(struct directories *directories, struct file_task *task)
{
	char        path[PLACE_PATH_MOST];
	struct stat info;

	spool_path(path, task->id);
	task->work_fd = openat(directories->queue_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (task->work_fd < 0 || fstat(task->work_fd, &info) != 0) {
		task_fail(task, "open", path);
		return;
	}
	task->length = (size_t)info.st_size;
	directories->has_gained[DIRECTORY_SPOOL] = true;
}

static void
do_spool_remove(struct directories *directories, struct file_task *task)
{
	char path[PLACE_PATH_MOST];

	spool_path(path, task->id);
	if (unlinkat(directories->queue_fd, path, 0) != 0 && errno != ENOENT)
		task_fail(task, "remove", path);
}

static void
do_store(struct directories *directories, struct file_task *task)
{
	char       path[PLACE_PATH_MOST];
	struct buf bytes = BUF(QUEUE_FILE_MOST);

	tmp_path(path, task->id);
	task->work_fd = openat(directories->queue_fd, path,
	                       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool is_good = task->work_fd >= 0 &&
	               record_append(&bytes, RECORD_MESSAGE, 0, task->message) &&
	               buf_append(&bytes, buf_slice(&task->result));
	if (is_good && bytes.has_failed)
		errno = ENOMEM;
	if (!is_good || !write_at(task->work_fd, buf_slice(&bytes), 0)) {
		task_fail(task, "write", path);
		unlinkat(directories->queue_fd, path, 0);
	} else {
		set_mtime(task->work_fd, task->mtime_us);
		task->new_bytes = bytes.length;
	}
	buf_free(&bytes);
}

static void
do_update(struct directories *directories, struct file_task *task)
{
	char path[PLACE_PATH_MOST];

	queue_file_path(path, task->place, task->id);
	int fd = openat(directories->queue_fd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		task_fail(task, "open", path);
		return;
	}
	if (task->result.length > 0) {
		if (!write_at(fd, buf_slice(&task->result), task->valid_bytes) ||
		    ftruncate(fd, (off_t)(task->valid_bytes + task->result.length)) != 0) {
			task_fail(task, "write", path);
			close(fd);
			return;
		}
		task->valid_bytes += task->result.length;
		task->work_fd = fd; /* to be synced */
	}
	set_mtime(fd, task->mtime_us);
	if (task->work_fd < 0)
		close(fd);
}

/* Another thread may move it from one place to the other meanwhile: looking thrice finds it. */
static void
do_load(struct directories *directories, struct file_task *task)
{
	const enum place places[] = { task->place, other_place(task->place), task->place };
	char             path[PLACE_PATH_MOST];

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		task->error = ERROR_NONE;
		queue_file_path(path, places[i], task->id);
		if (queue_file_read(directories->queue_fd, path, &task->bytes, &task->length,
		                    &task->error))
			return;
		if (task->error.errno_value != ENOENT)
			break;
	}
	if (task->error.errno_value == 0)
		task->error.errno_value = EIO;
}

static bool
name_remove(struct directories *directories, const char *id, enum place place)
{
	char path[PLACE_PATH_MOST];

	queue_file_path(path, place, id);
	if (unlinkat(directories->queue_fd, path, 0) != 0 && errno != ENOENT)
		return false;
	directories->has_removed[directory_of(place, id)] = true;
	return true;
}

/* In its place, and where a STORE that failed may have left it. */
static bool
names_remove(struct directories *directories, const struct file_task *task)
{
	return name_remove(directories, task->id, task->place) &&
	       (!task->has_stray || name_remove(directories, task->id, other_place(task->place)));
}

static void
do_remove(struct directories *directories, struct file_task *task)
{
	if (!names_remove(directories, task)) {
		task_fail(task, "remove the file of", task->id);
		return;
	}
	if (task->has_spool)
		do_spool_remove(directories, task);
}

static void
do_move(struct directories *directories, struct file_task *task)
{
	enum place other = other_place(task->place);
	char       from[PLACE_PATH_MOST], to[PLACE_PATH_MOST];

	queue_file_path(from, task->place, task->id);
	queue_file_path(to, other, task->id);
	int fd = openat(directories->queue_fd, from, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		task_fail(task, "open", from);
		return;
	}
	set_mtime(fd, task->mtime_us);
	close(fd);
	if (renameat(directories->queue_fd, from, directories->queue_fd, to) != 0) {
		task_fail(task, "rename", from);
		return;
	}
	directories->has_gained[directory_of(other, task->id)] = true;
	directories->has_lost[directory_of(task->place, task->id)] = true;
}

static void
do_corrupt(struct directories *directories, struct file_task *task)
{
	char from[PLACE_PATH_MOST], to[PLACE_PATH_MOST];

	queue_file_path(from, task->place, task->id);
	snprintf(to, sizeof(to), "corrupt/%s", task->id);
	if (renameat(directories->queue_fd, from, directories->queue_fd, to) != 0) {
		task_fail(task, "rename", from);
		return;
	}
	directories->has_gained[DIRECTORY_CORRUPT] = true;
	directories->has_lost[directory_of(task->place, task->id)] = true;
}

/* The last result once more, with the mark and without recipients. */
static void
do_expire(struct directories *directories, struct file_task *task)
{
	struct ipc_encoding      encoding = { .fields = BUF(EXPIRE_MOST) };
	struct msg_stored_result last = { 0 };
	struct stored_file       file;

	do_load(directories, task);
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
		    record_append(&task->result, RECORD_RESULT, 0, buf_slice(&encoding.fields)))
			do_update(directories, task);
	}
	free(task->bytes);
	task->bytes = NULL;
	buf_free(&encoding.fields);
}

void
file_verb_begin(struct directories *directories, struct file_task *task)
{
	task->error = ERROR_NONE;
	task->work_fd = -1;
	switch (task->verb) {
	case FILE_SPOOL: do_spool(directories, task); break;
	case FILE_SPOOL_SYNC: do_spool_sync(directories, task); break;
	case FILE_SPOOL_REMOVE: do_spool_remove(directories, task); break;
	case FILE_STORE:
	case FILE_REWRITE: do_store(directories, task); break;
	case FILE_UPDATE: do_update(directories, task); break;
	case FILE_LOAD: do_load(directories, task); break;
	case FILE_REMOVE: do_remove(directories, task); break;
	case FILE_MOVE: do_move(directories, task); break;
	case FILE_CORRUPT: do_corrupt(directories, task); break;
	case FILE_EXPIRE: do_expire(directories, task); break;
	case FILE_BARRIER: break;
	}
}

/* ---- sync, rename ---- */

void
file_verb_sync(struct directories *directories, struct file_task *task)
{
	char from[PLACE_PATH_MOST], to[PLACE_PATH_MOST];

	if (task->work_fd < 0)
		return;
	tmp_path(from, task->id);
	queue_file_path(to, task->place, task->id);
	if (!task->is_synced && fsync(task->work_fd) != 0) {
		task_fail(task, "sync the file of", task->id);
		if (task->new_bytes > 0)
			unlinkat(directories->queue_fd, from, 0);
		return;
	}
	close(task->work_fd);
	task->work_fd = -1;
	if (task->new_bytes == 0)
		return;
	if (renameat(directories->queue_fd, from, directories->queue_fd, to) != 0) {
		task_fail(task, "rename", from);
		return;
	}
	task->valid_bytes = task->new_bytes;
	directories->has_gained[directory_of(task->place, task->id)] = true;
	if (task->has_stray && !name_remove(directories, task->id, other_place(task->place)))
		task_fail(task, "remove an older file of", task->id);
}

/*
 * The message stays in the journal, which tells what becomes of it: a file would be delivered by a
 * later start. Its name may be there already, when the sync of the directory failed.
 */
void
file_verb_store_end(struct directories *directories, struct file_task *task)
{
	if (task->error.errno_value != 0)
		task->has_stray = !names_remove(directories, task);
	else
		task->has_stray = false;
}
