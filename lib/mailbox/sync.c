/* sync.c - see sync.h. */
#include "lib/mailbox/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/clock.h"

#define SYNCFS_LEAST    4     /* files; below that fsync is cheaper */
#define SYNCFS_SLOW_MS  1000  /* others wrote a lot: */
#define SYNCFS_PAUSE_MS 60000 /* leave it alone for so long */

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

void
mailbox_sync_init(struct mailbox_sync *sync, int directory)
{
	/* LIMIT: kernels before 5.8 do not report write errors through syncfs. */
	static const unsigned long good[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
		                              F2FS_SUPER_MAGIC, TMPFS_MAGIC };
	struct statfs              system;
	struct stat                status;

	sync->may_syncfs = false;
	atomic_init(&sync->slow_until_ms, 0);
	if (fstatfs(directory, &system) != 0 || fstat(directory, &status) != 0)
		return;
	sync->device = status.st_dev;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if ((unsigned long)system.f_type == good[i])
			sync->may_syncfs = true;
}

static bool
is_worth_syncfs(struct mailbox_sync *sync, size_t count)
{
	return count >= SYNCFS_LEAST && sync->may_syncfs &&
	       clock_monotonic_ms() >= atomic_load(&sync->slow_until_ms);
}

static bool
sync_whole(struct mailbox_sync *sync, int fd, struct error *error)
{
	int64_t begin_ms = clock_monotonic_ms();

	if (syncfs(fd) != 0)
		return error_set_errno(error, "sync the file system");
	int64_t end_ms = clock_monotonic_ms();
	if (end_ms - begin_ms > SYNCFS_SLOW_MS)
		atomic_store(&sync->slow_until_ms, end_ms + SYNCFS_PAUSE_MS);
	return true;
}

static bool
sync_each(const int *fds, size_t count, struct error *error)
{
	for (size_t i = 0; i < count && count > 1; i++)
		(void)sync_file_range(fds[i], 0, 0, SYNC_FILE_RANGE_WRITE); /* only a start */
	for (size_t i = 0; i < count; i++) {
		int result;

		do
			result = fsync(fds[i]);
		while (result != 0 && errno == EINTR);
		if (result != 0 && errno != EINVAL && errno != ENOTSUP)
			return error_set_errno(error, "sync");
	}
	return true;
}

bool
mailbox_sync_all(struct mailbox_sync *sync, const int *fds, size_t count, bool is_same_device,
                 struct error *error)
{
	if (is_same_device && is_worth_syncfs(sync, count))
		return sync_whole(sync, fds[0], error);
	return sync_each(fds, count, error);
}

bool
mailbox_sync_whole(struct mailbox_sync *sync, int fd, size_t count)
{
	struct error error;

	return is_worth_syncfs(sync, count) && sync_whole(sync, fd, &error);
}
