/* maildir.c - see maildir.h. */
#include "lib/mailbox/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/io/file.h"
#include "lib/mailbox/name.h"

#define PATH_BYTES     (MAILBOX_PATH_MOST + 8)
#define DIRECTORY_MODE 0700
#define TMP_AGE_MOST_S (36 * 3600)

static int
part_open(int base, const char *path, const char *part, struct error *error)
{
	char whole[PATH_BYTES];

	snprintf(whole, sizeof(whole), "%s%s", path, part);
	return file_open_beneath(base, whole, O_RDONLY | O_DIRECTORY, 0, error);
}

static bool
make_parts(int base, const char *path, struct error *error)
{
	static const char *const parts[] = { "tmp", "cur", "new" };
	char                     whole[PATH_BYTES];

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		snprintf(whole, sizeof(whole), "%s%s", path, parts[i]);
		if (!file_make_directories(base, whole, DIRECTORY_MODE, error))
			return false;
	}
	return true;
}

static bool
open_parts(int base, const char *path, bool want_root, struct maildir *maildir, struct error *error)
{
	*maildir = MAILDIR_CLOSED;
	maildir->new = part_open(base, path, "new", error);
	if (maildir->new >= 0)
		maildir->tmp = part_open(base, path, "tmp", error);
	if (maildir->tmp >= 0 && want_root)
		maildir->root = part_open(base, path, "", error);
	if (maildir->tmp >= 0 && (!want_root || maildir->root >= 0))
		return true;
	maildir_close(maildir);
	return false;
}

bool
maildir_open(int base, const char *path, bool want_root, struct maildir *maildir,
             struct error *error)
{
	struct error  why = ERROR_NONE;
	struct error *words = error != NULL ? error : &why;

	*words = ERROR_NONE;
	if (open_parts(base, path, want_root, maildir, words))
		return true;
	return words->errno_value == ENOENT && make_parts(base, path, words) &&
	       open_parts(base, path, want_root, maildir, words);
}

void
maildir_close(struct maildir *maildir)
{
	int fds[] = { maildir->root, maildir->new, maildir->tmp };

	for (size_t i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	*maildir = MAILDIR_CLOSED;
}

bool
maildir_each(int root, const char *name, bool (*visit)(struct slice name, void *context),
             void *context, struct error *error)
{
	struct error why = ERROR_NONE;
	int          fd = file_open_beneath(root, name, O_RDONLY | O_DIRECTORY, 0, &why);
	bool         is_good = true;

	if (fd < 0 && why.errno_value == ENOENT)
		return true;
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	if (directory == NULL) {
		if (fd >= 0)
			close(fd);
		return error_set(error, "%s", why.text[0] != '\0' ? why.text : "out of memory");
	}
	for (;;) {
		errno = 0;
		struct dirent *entry = readdir(directory);

		if (entry == NULL) {
			if (errno != 0)
				is_good = error_set_errno(error, "read directory %s", name);
			break;
		}
		if (entry->d_name[0] == '.')
			continue;
		if (!visit(slice_from(entry->d_name), context)) {
			is_good = error_set(error, "read directory %s: out of memory", name);
			break;
		}
	}
	closedir(directory);
	return is_good;
}

struct cleaning {
	int     tmp;
	int64_t oldest_s;
};

static bool
clean_one(struct slice name, void *context)
{
	const struct cleaning *cleaning = context;
	struct stat            status;

	/* readdir's names end with a NUL. */
	if (fstatat(cleaning->tmp, name.data, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(status.st_mode) && status.st_mtime < cleaning->oldest_s &&
	    status.st_ctime < cleaning->oldest_s)
		unlinkat(cleaning->tmp, name.data, 0);
	return true;
}

void
maildir_clean_tmp(int root)
{
	struct cleaning cleaning = { file_open_beneath(root, "tmp", O_RDONLY | O_DIRECTORY, 0,
		                                       NULL),
		                     clock_wall_s() - TMP_AGE_MOST_S };

	if (cleaning.tmp < 0)
		return;
	(void)maildir_each(root, "tmp", clean_one, &cleaning, NULL);
	close(cleaning.tmp);
}
