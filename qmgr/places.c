/* places.c - see places.h. */
#include "qmgr/places.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/queue/record.h"

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
path_sync(int queue_fd, const char *path, struct error *error)
{
	int  fd = openat(queue_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is_good = fd >= 0 && fsync(fd) == 0;

	if (!is_good)
		error_set_errno(error, "sync directory %s", path);
	if (fd >= 0)
		close(fd);
	return is_good;
}

bool
directory_sync(int queue_fd, size_t directory, struct error *error)
{
	char path[16];

	directory_path(path, directory);
	return path_sync(queue_fd, path, error);
}

/*
 * All are synced: a qmgr that was killed may have left a file whose name is not safe yet, and the
 * journal is about to forget the message because of it (store_supersede).
 */
bool
places_prepare(int queue_fd, struct error *error)
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
	return places_sync(queue_fd, error) && path_sync(queue_fd, "deferred", error) &&
	       path_sync(queue_fd, ".", error);
}

bool
places_sync(int queue_fd, struct error *error)
{
	for (size_t i = 0; i < DIRECTORY_COUNT; i++)
		if (!directory_sync(queue_fd, i, error))
			return false;
	return true;
}

/* ---- paths ---- */

enum place
other_place(enum place place)
{
	return place == PLACE_HOLD ? PLACE_DEFERRED : PLACE_HOLD;
}

size_t
directory_of(enum place place, const char *id)
{
	char x = queue_id_subdirectory(slice_from(id));

	if (place == PLACE_HOLD)
		return DIRECTORY_HOLD;
	return (size_t)(x <= '9' ? x - '0' : x - 'A' + 10);
}

void
queue_file_path(char path[PLACE_PATH_MOST], enum place place, const char *id)
{
	char directory[16];

	directory_path(directory, directory_of(place, id));
	snprintf(path, PLACE_PATH_MOST, "%s/%s", directory, id);
}

void
spool_path(char path[PLACE_PATH_MOST], const char *id)
{
	snprintf(path, PLACE_PATH_MOST, "spool/%s", id);
}

void
tmp_path(char path[PLACE_PATH_MOST], const char *id)
{
	snprintf(path, PLACE_PATH_MOST, "tmp/%s", id);
}

/* ---- reading ---- */

bool
queue_file_read(int queue_fd, const char *path, char **bytes, size_t *length, struct error *error)
{
	struct stat info;
	char       *data = NULL;
	size_t      used = 0;
	int         fd = openat(queue_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return error_set_errno(error, "open %s", path);
	if (fstat(fd, &info) != 0) {
		error_set_errno(error, "read %s", path);
		goto out;
	}
	if (!S_ISREG(info.st_mode) || info.st_size > (off_t)QUEUE_FILE_MOST) {
		errno = EFBIG; /* no ENOENT of an earlier call: it has not vanished */
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
