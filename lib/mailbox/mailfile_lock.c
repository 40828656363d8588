/* mailfile_lock.c - see mailfile_lock.h. */
#include "lib/mailbox/mailfile_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/io/file.h"

#define LOCK_MODE 0644       /* liblockfile of others reads who holds it */
#define MARK      "dakiya\n" /* second line of a dotlock that is locked by who made it */

static bool
methods_parse(struct slice text, unsigned *methods)
{
	static const struct {
		const char *word;
		unsigned    method;
	} rows[] = { { "fcntl", MAILFILE_FCNTL },
		     { "flock", MAILFILE_FLOCK },
		     { "dotlock", MAILFILE_DOTLOCK } };
	struct slice word;

	*methods = 0;
	while (slice_next_word(&text, " \t\r\n,", &word)) {
		unsigned method = 0;

		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
			if (slice_equal(word, slice_from(rows[i].word)))
				method = rows[i].method;
		if (method == 0)
			return false;
		*methods |= method;
	}
	return *methods != 0;
}

bool
mailfile_lock_rules(struct mailbox_lock_rules *rules, const char *methods,
                    const struct parameters *parameters)
{
	rules->wait_ms = parameters->deliver_lock_attempts * parameters->deliver_lock_delay * 1000;
	rules->stale_ms = parameters->stale_lock_time * 1000;
	return methods_parse(slice_from(methods), &rules->methods);
}

/* ---- the dotlock ---- */

static bool
is_same_file(int fd, int directory, const char *name)
{
	struct stat open_one, named;

	return fstat(fd, &open_one) == 0 &&
	       fstatat(directory, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       open_one.st_ino == named.st_ino && open_one.st_dev == named.st_dev;
}

static bool
is_ours(int fd)
{
	char    text[64];
	ssize_t got = file_read_at(fd, text, sizeof(text), 0);

	return got > 0 &&
	       slice_find(slice_of(text, (size_t)got), SLICE("\n" MARK)) != SLICE_NOT_FOUND;
}

/*
 * Removes the lock file that is there if it was left behind. While we hold its lock, or know its
 * age, and it still has its name, it is that very file; nobody else of ours removes it then.
 */
static bool
stale_remove(int directory, const char *name, int64_t stale_ms)
{
	int         fd = openat(directory, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat status;
	bool        is_stale = false;

	if (fd < 0 && errno == ENOENT)
		return true;
	if (fd < 0) { /* another user's: its age is known all the same */
		if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
			return errno == ENOENT;
		return clock_wall_s() * 1000 - (int64_t)status.st_mtime * 1000 > stale_ms &&
		       unlinkat(directory, name, 0) == 0;
	}
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
		is_stale = clock_wall_s() * 1000 - (int64_t)status.st_mtime * 1000 > stale_ms;
		is_stale = is_stale || is_ours(fd);
		is_stale = is_stale && file_lock(fd, FILE_LOCK_EXCLUSIVE, false, name, NULL);
	}
	bool is_gone = is_stale &&
	               (!is_same_file(fd, directory, name) || unlinkat(directory, name, 0) == 0);
	close(fd);
	return is_gone;
}

/* Gives the finished lock file its name, unless that is taken. */
static int
name_finally(int directory, const char *temporary, const char *name)
{
	if (renameat2(directory, temporary, directory, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (linkat(directory, temporary, directory, name, 0) != 0)
		return -1;
	unlinkat(directory, temporary, 0);
	return 0;
}

static bool
dotlock_write(int fd, const char *name)
{
	char text[64];
	/* Where files cannot be locked it must look like anybody's, which ages. */
	bool is_locked = file_lock(fd, FILE_LOCK_EXCLUSIVE, false, name, NULL);

	snprintf(text, sizeof(text), "%d\n%s", (int)getpid(), is_locked ? MARK : "");
	return fchmod(fd, LOCK_MODE) == 0 && file_write_all(fd, slice_from(text), name, NULL);
}

static enum mailfile_lock_result
dotlock_make(struct mailfile_lock *lock, const char *name, struct error *error)
{
	char     temporary[NAME_MAX + 1];
	uint64_t chance;

	random_bytes((char *)&chance, sizeof(chance));
	snprintf(temporary, sizeof(temporary), ".lock%016llx", (unsigned long long)chance);
	int fd = openat(lock->directory, temporary,
	                O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, LOCK_MODE);
	if (fd < 0) {
		error_set_errno(error, "create %s", name);
		return MAILFILE_ERROR;
	}
	bool is_written = dotlock_write(fd, name);
	if (is_written && name_finally(lock->directory, temporary, name) == 0) {
		lock->dotlock = fd;
		return MAILFILE_LOCKED;
	}
	bool is_there = is_written && errno == EEXIST;
	error_set_errno(error, "create %s", name);
	unlinkat(lock->directory, temporary, 0);
	close(fd);
	return is_there ? MAILFILE_BUSY : MAILFILE_ERROR;
}

static enum mailfile_lock_result
dotlock_take(struct mailfile_lock *lock, int64_t stale_ms, struct error *error)
{
	char        name[NAME_MAX + 1];
	struct stat status;
	int         length = snprintf(name, sizeof(name), "%s.lock", lock->name);

	if (length < 0 || (size_t)length >= sizeof(name)) {
		error_set(error, "lock %.200s: the name is too long", lock->name);
		return MAILFILE_ERROR;
	}
	/* Looked at first, so that waiting for another makes no files. */
	if (fstatat(lock->directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !stale_remove(lock->directory, name, stale_ms)) {
		error_set(error, "%s is held by another program", name);
		return MAILFILE_BUSY;
	}
	return dotlock_make(lock, name, error);
}

static void
dotlock_release(struct mailfile_lock *lock)
{
	char name[NAME_MAX + 1];

	if (lock->dotlock < 0)
		return;
	snprintf(name, sizeof(name), "%s.lock", lock->name);
	/* Somebody may have thought it stale, and have the name now. */
	if (is_same_file(lock->dotlock, lock->directory, name))
		unlinkat(lock->directory, name, 0);
	close(lock->dotlock);
	lock->dotlock = -1;
}

/* ---- the kernel's ---- */

static enum mailfile_lock_result
kernel_locks_take(int fd, const char *name, unsigned methods, struct error *error)
{
	struct error why = ERROR_NONE;

	if ((methods & MAILFILE_FLOCK) != 0 && flock(fd, LOCK_EX | LOCK_NB) != 0)
		error_set_errno(&why, "lock %s", name);
	else if ((methods & MAILFILE_FCNTL) == 0 ||
	         file_lock(fd, FILE_LOCK_EXCLUSIVE, false, name, &why))
		return MAILFILE_LOCKED;
	bool is_busy = why.errno_value == EAGAIN || why.errno_value == EACCES;
	if (is_busy)
		error_set(error, "%s is locked by another program", name);
	else if (error != NULL)
		*error = why;
	return is_busy ? MAILFILE_BUSY : MAILFILE_ERROR;
}

/* ---- public ---- */

enum mailfile_lock_result
mailfile_lock_try(struct mailfile_lock *lock, int directory, const char *name, int fd,
                  const struct mailbox_lock_rules *rules, struct error *error)
{
	enum mailfile_lock_result result = MAILFILE_LOCKED;
	struct error              why = ERROR_NONE;

	*lock = (struct mailfile_lock){ .directory = directory, .name = name, .dotlock = -1 };
	if ((rules->methods & MAILFILE_DOTLOCK) != 0)
		result = dotlock_take(lock, rules->stale_ms, &why);
	if (result == MAILFILE_ERROR && (rules->methods & MAILFILE_DOTLOCK_MAY_FAIL) != 0 &&
	    (why.errno_value == EACCES || why.errno_value == EPERM))
		result = MAILFILE_LOCKED;
	if (result == MAILFILE_LOCKED)
		result = kernel_locks_take(fd, name, rules->methods, &why);
	if (result == MAILFILE_LOCKED)
		return result;
	dotlock_release(lock);
	flock(fd, LOCK_UN);
	if (error != NULL)
		*error = why;
	return result;
}

void
mailfile_unlock(struct mailfile_lock *lock)
{
	dotlock_release(lock);
}
