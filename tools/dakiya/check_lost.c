/*
 * check_lost.c - queue files that lost their names: e2fsck puts them into lost+found.
 *
 * A file system without a journal that is cut off while it splits a directory loses names that were
 * synced long before (docs/durability.md). The files are whole and say which message they hold.
 */
#include "tools/dakiya/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/file.h"
#include "lib/queue/id.h"
#include "lib/queue/stored.h"

#define NAMES_MOST 100000 /* looked at */
#define TOLD_MOST  20     /* files named; more are counted */
#define FILE_MOST  (2u * RECORD_PAYLOAD_MOST)
#define MAGIC      "DkR1"

struct lost {
	struct report *report;
	const char    *queue_directory;
	uid_t          owner; /* of the queue: what others own is none of its files */
	int            queue_fd;
	char           path[4096]; /* of lost+found */
	size_t         count;
};

/* The directory where the file system begins that fd lies on; takes fd. -1 on failure. */
static int
top_open(int fd)
{
	struct stat here, above;

	while (fd >= 0 && fstat(fd, &here) == 0) {
		int parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (parent < 0 || fstat(parent, &above) != 0 || above.st_dev != here.st_dev ||
		    above.st_ino == here.st_ino) {
			if (parent >= 0)
				close(parent);
			return fd;
		}
		close(fd);
		fd = parent;
	}
	return fd;
}

/* Most of what lies there is no queue file: the first bytes tell. */
static bool
lost_read(const struct lost *lost, int directory, const char *name, struct buf *bytes)
{
	struct error error;
	struct stat  info;
	char         magic[sizeof(MAGIC) - 1];
	int          fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool         is_read = false;

	if (fd < 0)
		return false;
	if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == lost->owner &&
	    info.st_size <= (off_t)FILE_MOST &&
	    pread(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
	    memcmp(magic, MAGIC, sizeof(magic)) == 0)
		is_read = file_read_all(fd, bytes, name, &error);
	close(fd);
	return is_read;
}

static void
lost_tell(struct lost *lost, const char *name, struct slice id)
{
	char deferred[100], hold[100];

	snprintf(deferred, sizeof(deferred), "deferred/%c/%.*s", queue_id_subdirectory(id),
	         SLICE_ARGS(id));
	snprintf(hold, sizeof(hold), "hold/%.*s", SLICE_ARGS(id));
	if (faccessat(lost->queue_fd, deferred, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	    faccessat(lost->queue_fd, hold, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	    ++lost->count > TOLD_MOST)
		return;
	report_add(lost->report, PROBLEM_WARNING, lost->path, 0,
	           "%s is the queue file of %.*s, which lost its name when the file system was "
	           "repaired; to deliver it: mv '%s/%s' '%s/%s', then dakiya start or reload",
	           name, SLICE_ARGS(id), lost->path, name, lost->queue_directory, deferred);
}

static void
lost_visit(struct lost *lost, DIR *directory)
{
	struct dirent *entry;

	for (size_t i = 0; i < NAMES_MOST && (entry = readdir(directory)) != NULL; i++) {
		struct buf         bytes = BUF(FILE_MOST);
		struct stored_file stored;

		/* e2fsck names them after their inode; a name for a shell to take has no quotes. */
		if (entry->d_name[0] == '#' && strchr(entry->d_name, '\'') == NULL &&
		    lost_read(lost, dirfd(directory), entry->d_name, &bytes) &&
		    stored_file_parse(buf_slice(&bytes), &stored) &&
		    queue_id_is_valid(stored.commit.queue_id))
			lost_tell(lost, entry->d_name, stored.commit.queue_id);
		buf_free(&bytes);
	}
	if (lost->count > TOLD_MOST)
		report_add(lost->report, PROBLEM_WARNING, lost->path, 0,
		           "%zu more queue files lie there: they are named when these are moved",
		           lost->count - TOLD_MOST);
}

/* "/var/lost+found"; false when it cannot be known. */
static bool
lost_path(struct lost *lost, int top)
{
	char link[64], path[sizeof(lost->path) - 16];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", top);
	ssize_t length = readlink(link, path, sizeof(path) - 1);
	if (length <= 0)
		return false;
	path[length] = '\0';
	snprintf(lost->path, sizeof(lost->path), "%s/lost+found", length == 1 ? "" : path);
	return true;
}

void
check_lost(const struct configuration *configuration, struct report *report)
{
	const char  *queue = configuration->parameters.queue_directory;
	struct lost *lost = calloc(1, sizeof(*lost));
	struct stat  info;
	DIR         *directory = NULL;

	if (lost == NULL)
		return;
	lost->report = report;
	lost->queue_directory = queue;
	lost->queue_fd = open(queue, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Who is not root sees nothing there; a queue that was never used has lost nothing. */
	if (lost->queue_fd >= 0 && fstatat(lost->queue_fd, "deferred", &info, 0) == 0) {
		lost->owner = info.st_uid;
		int top = top_open(fcntl(lost->queue_fd, F_DUPFD_CLOEXEC, 0));
		int fd = -1;

		if (top >= 0 && lost_path(lost, top))
			fd = openat(top, "lost+found",
			            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		directory = fd < 0 ? NULL : fdopendir(fd);
		if (fd >= 0 && directory == NULL)
			close(fd);
		if (top >= 0)
			close(top);
	}
	if (directory != NULL) {
		lost_visit(lost, directory);
		closedir(directory);
	}
	if (lost->queue_fd >= 0)
		close(lost->queue_fd);
	free(lost);
}
