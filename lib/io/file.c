/* file.c - see file.h. */
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/random.h"

#define PATH_MOST 4096
#define READ_STEP (64u * 1024)

/* ---- opening ---- */

static int
open_by_kernel(int directory, const char *path, int flags, mode_t mode)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		                .mode = (flags & O_CREAT) != 0 ? mode & 07777 : 0,
		                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
		                           RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
}

/* One component after the other; ".." and links are refused (kernels before 5.6, seccomp). */
static int
open_by_hand(int directory, const char *path, int flags, mode_t mode)
{
	struct slice rest = slice_from(path), part;
	char         name[NAME_MAX + 1];
	int          at = directory;

	if (rest.length == 0 || path[0] == '/') {
		errno = path[0] == '/' ? EXDEV : ENOENT;
		return -1;
	}
	while (slice_next_part(&rest, '/', &part)) {
		bool is_last = slice_is_empty(slice_trim(rest));

		if (part.length > NAME_MAX || slice_equal(part, SLICE(".."))) {
			errno = part.length > NAME_MAX ? ENAMETOOLONG : EXDEV;
			break;
		}
		snprintf(name, sizeof(name), "%.*s", SLICE_ARGS(part));
		if (part.length == 0)
			snprintf(name, sizeof(name), ".");
		int next = openat(at, name,
		                  (is_last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC,
		                  mode);
		int saved = errno;
		if (at != directory)
			close(at);
		errno = saved;
		if (next < 0 || is_last)
			return next;
		at = next;
	}
	if (at != directory)
		close(at);
	return -1;
}

int
file_open_beneath(int directory, const char *path, int flags, mode_t mode, struct error *error)
{
	int fd;

	do
		fd = open_by_kernel(directory, path, flags, mode);
	while (fd < 0 && errno == EAGAIN); /* a rename elsewhere was in the way */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = open_by_hand(directory, path, flags, mode);
	if (fd < 0)
		error_set_errno(error, "open %s", path);
	return fd;
}

int
file_open_directory(const char *path, struct error *error)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		error_set_errno(error, "open directory %s", path);
	return fd;
}

bool
file_make_directories(int directory, const char *path, mode_t mode, struct error *error)
{
	char   part[PATH_MOST];
	size_t length = strlen(path);

	if (length >= sizeof(part))
		return error_set(error, "make directory %s: the path is too long", path);
	for (size_t i = 1; i <= length; i++) {
		if (i < length && path[i] != '/')
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)i, path);
		/* The parent is opened safely, so a link put there by somebody is not followed. */
		char *slash = strrchr(part, '/');
		if (slash != NULL && slash[1] == '\0')
			continue;
		const char *name = slash == NULL ? part : slash + 1;
		int         parent = directory;
		if (slash != NULL) {
			*slash = '\0';
			parent = file_open_beneath(directory, part, O_RDONLY | O_DIRECTORY, 0,
			                           error);
			if (parent < 0)
				return false;
		}
		int result = mkdirat(parent, name, mode);
		/* exact, whatever the umask */
		if (result == 0 && (result = fchmodat(parent, name, mode, 0)) == 0)
			file_sync_directory(parent, path, NULL);
		int saved = errno;
		if (parent != directory)
			close(parent);
		errno = saved;
		if (result != 0 && errno != EEXIST)
			return error_set_errno(error, "make directory %.*s", (int)i, path);
	}
	return true;
}

/* ---- bytes ---- */

bool
file_open_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) != fd)
			return false;
	return true;
}

bool
file_write_all(int fd, struct slice bytes, const char *path, struct error *error)
{
	while (bytes.length > 0) {
		ssize_t count = write(fd, bytes.data, bytes.length);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return error_set_errno(error, "write %s", path);
		bytes = slice_from_offset(bytes, (size_t)count);
	}
	return true;
}

bool
file_write_all_at(int fd, struct slice bytes, int64_t offset, const char *path, struct error *error)
{
	while (bytes.length > 0) {
		ssize_t count = pwrite(fd, bytes.data, bytes.length, offset);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return error_set_errno(error, "write %s", path);
		bytes = slice_from_offset(bytes, (size_t)count);
		offset += count;
	}
	return true;
}

bool
file_read_all(int fd, struct buf *out, const char *path, struct error *error)
{
	for (;;) {
		size_t room = out->limit - out->length;

		if (room > READ_STEP)
			room = READ_STEP;
		/* A full buffer needs one more look: is the file at its end? */
		char    beyond;
		char   *to = &beyond;
		ssize_t count;
		if (room > 0) {
			if (!buf_reserve(out, room)) {
				errno = ENOMEM; /* callers ask whether it is no file, or not now */
				return error_set_errno(error, "read %s", path);
			}
			to = out->data + out->length;
		}
		count = read(fd, to, room > 0 ? room : 1);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return error_set_errno(error, "read %s", path);
		if (count == 0)
			return true;
		if (room == 0)
			return error_set(error, "read %s: longer than %zu bytes", path, out->limit);
		out->length += (size_t)count;
	}
}

ssize_t
file_read_at(int fd, char *data, size_t size, int64_t offset)
{
	size_t total = 0;

	while (total < size) {
		ssize_t count = pread(fd, data + total, size - total, offset + (int64_t)total);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -1;
		if (count == 0)
			break;
		total += (size_t)count;
	}
	return (ssize_t)total;
}

/* ---- durability ---- */

bool
file_sync(int fd, const char *path, struct error *error)
{
	int result;

	do
		result = fsync(fd);
	while (result != 0 && errno == EINTR);
	return result == 0 || error_set_errno(error, "sync %s", path);
}

bool
file_sync_directory(int directory, const char *path, struct error *error)
{
	int result;

	do
		result = fsync(directory);
	while (result != 0 && errno == EINTR);
	/* Some file systems have nothing to sync for a directory and say so. */
	if (result == 0 || errno == EINVAL || errno == ENOTSUP)
		return true;
	return error_set_errno(error, "sync directory of %s", path);
}

bool
file_replace(int directory, const char *name, struct slice bytes, mode_t mode, struct error *error)
{
	char     aside[NAME_MAX + 1];
	uint64_t number;

	random_bytes(&number, sizeof(number));
	int length =
		snprintf(aside, sizeof(aside), ".%s.%016llx", name, (unsigned long long)number);
	if (length < 0 || (size_t)length >= sizeof(aside) || strchr(name, '/') != NULL)
		return error_set(error, "replace %s: not a usable file name", name);
	int fd = file_open_beneath(directory, aside, O_WRONLY | O_CREAT | O_EXCL, mode, error);
	if (fd < 0)
		return false;
	bool is_written = fchmod(fd, mode) == 0 || error_set_errno(error, "chmod %s", name);
	is_written =
		is_written && file_write_all(fd, bytes, name, error) && file_sync(fd, name, error);
	if (close(fd) != 0 && is_written)
		is_written = error_set_errno(error, "close %s", name);
	if (is_written && renameat(directory, aside, directory, name) != 0)
		is_written = error_set_errno(error, "rename to %s", name);
	if (!is_written) {
		unlinkat(directory, aside, 0);
		return false;
	}
	return file_sync_directory(directory, name, error);
}

size_t
file_descriptors_most(void)
{
	struct rlimit files;

	return getrlimit(RLIMIT_NOFILE, &files) == 0 ? (size_t)files.rlim_cur : 1024;
}

bool
file_lock(int fd, enum file_lock kind, bool wait, const char *path, struct error *error)
{
	struct flock lock = { .l_type = kind == FILE_LOCK_EXCLUSIVE ? F_WRLCK : F_RDLCK,
		              .l_whence = SEEK_SET };
	int          result;

	do
		result = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
	while (result != 0 && errno == EINTR);
	return result == 0 || error_set_errno(error, "lock %s", path);
}
