/* file.c - a configuration file open for a change: locked, and replaced in one step. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/conf/lines.h"
#include "lib/io/file.h"
#include "tools/dakconf/dakconf.h"

#define FILE_MOST  ((size_t)8 * 1024 * 1024)
#define TRIES_MOST 100

/* Whether the path still leads to the open file: whoever held the lock before replaced it. */
static bool
is_current(const struct edited_file *file)
{
	struct stat open_file, named;

	return fstat(file->fd, &open_file) == 0 && stat(file->path, &named) == 0 &&
	       open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

static bool
open_locked(struct edited_file *file, struct error *error)
{
	for (int i = 0; i < TRIES_MOST; i++) {
		file->fd = open(file->path, O_RDWR | O_CLOEXEC | O_NOCTTY);
		if (file->fd < 0)
			return error_set_errno(error, "open %s", file->path);
		if (!file_lock(file->fd, FILE_LOCK_EXCLUSIVE, true, file->path, error))
			return false;
		if (is_current(file))
			return true;
		close(file->fd);
	}
	file->fd = -1;
	return error_set(error, "%s: changes all the time", file->path);
}

bool
edited_file_open(struct edited_file *file, const char *directory, const char *name,
                 struct error *error)
{
	char path[PATH_MAX];

	*file = (struct edited_file){ .fd = -1, .text = BUF(FILE_MOST) };
	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return error_set(error, "%s: the path is too long", directory);
	file->path = realpath(path, NULL);
	if (file->path == NULL)
		return error_set_errno(error, "open %s", path);
	if (!open_locked(file, error) || !file_read_all(file->fd, &file->text, file->path, error))
		return false;
	return !slice_contains_byte(buf_slice(&file->text), '\0') ||
	       error_set(error, "%s: has a NUL byte; is it a text file?", file->path);
}

static bool
write_aside(const struct edited_file *file, int fd, struct slice text, struct error *error)
{
	struct stat status;

	if (fstat(file->fd, &status) != 0)
		return error_set_errno(error, "stat %s", file->path);
	/* Whoever may write the file but is not its owner can only keep the group, or nothing. */
	if (fchown(fd, status.st_uid, status.st_gid) != 0 &&
	    fchown(fd, (uid_t)-1, status.st_gid) != 0 && errno != EPERM)
		return error_set_errno(error, "chown of the new %s", file->path);
	if (fchmod(fd, status.st_mode & 07777) != 0)
		return error_set_errno(error, "chmod of the new %s", file->path);
	return file_write_all(fd, text, file->path, error) && file_sync(fd, file->path, error);
}

static bool
rename_durably(const char *from, const struct edited_file *file, struct error *error)
{
	struct buf directory = BUF(PATH_MAX);
	size_t     slash = slice_find_last_byte(slice_from(file->path), '/');
	int        fd;

	if (rename(from, file->path) != 0)
		return error_set_errno(error, "rename %s to %s", from, file->path);
	buf_append(&directory, slice_first(slice_from(file->path), slash == 0 ? 1 : slash));
	fd = file_open_directory(buf_text(&directory), error);
	bool is_good = fd >= 0 && file_sync_directory(fd, buf_text(&directory), error);
	buf_free(&directory);
	if (fd >= 0)
		close(fd);
	return is_good;
}

bool
edited_file_replace(const struct edited_file *file, struct slice text, struct error *error)
{
	char aside[PATH_MAX];

	if (slice_equal(text, buf_slice(&file->text)))
		return true;
	if (snprintf(aside, sizeof(aside), "%s.XXXXXX", file->path) >= (int)sizeof(aside))
		return error_set(error, "%s: the path is too long", file->path);
	int fd = mkostemp(aside, O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(error, "create %s", aside);
	bool is_good = write_aside(file, fd, text, error) && rename_durably(aside, file, error);
	if (!is_good)
		unlink(aside);
	close(fd);
	return is_good;
}

void
edited_file_close(struct edited_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	buf_free(&file->text);
	free(file->path);
	file->path = NULL;
}

void
edit_append_old_lines(struct slice text, size_t begin, size_t end, bool as_comments,
                      struct buf *out)
{
	struct slice rest = slice_first(slice_from_offset(text, begin), end - begin), line;

	while (rest.length > 0) {
		size_t length = slice_find_byte(rest, '\n');

		line = length == SLICE_NOT_FOUND ? rest : slice_first(rest, length + 1);
		rest = slice_from_offset(rest, line.length);
		struct slice trimmed = slice_trim(line);
		bool         is_own = trimmed.length > 0 && trimmed.data[0] != '#';
		if (is_own && !as_comments)
			continue;
		if (is_own)
			buf_append_byte(out, '#');
		buf_append(out, line);
	}
}
