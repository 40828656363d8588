/* lastuse.c - see lastuse.h. */
#include "lib/sasl/lastuse.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mutex.h"

#define SET_SLOTS    8
#define SET_COUNT    8192
#define DIGEST_BYTES 16
#define NEWS_AFTER_S 60
#define NAME_MOST    300

struct slot {
	unsigned char digest[DIGEST_BYTES];
	int64_t       used_s; /* 0: free */
	int64_t       unused;
};

struct last_use {
	int          fd;
	struct mutex lock; /* guards the file: one thread reads and writes a set */
};

bool
last_use_create(const char *path, uid_t uid, gid_t gid, struct error *error)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return errno == EEXIST || error_set_errno(error, "create %s", path);
	bool is_good = fchown(fd, uid, gid) == 0 &&
	               ftruncate(fd, (off_t)(SET_COUNT * SET_SLOTS * sizeof(struct slot))) == 0;
	if (!is_good) {
		error_set_errno(error, "create %s", path);
		unlink(path);
	}
	close(fd);
	return is_good;
}

struct last_use *
last_use_open(const char *path, bool to_write, struct error *error)
{
	int fd = open(path, (to_write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat      status;
	struct last_use *last_use = NULL;

	if (fd < 0 || fstat(fd, &status) != 0)
		error_set_errno(error, "open %s", path);
	else if (!S_ISREG(status.st_mode))
		error_set(error, "%s: not a regular file", path);
	else if ((last_use = calloc(1, sizeof(*last_use))) == NULL)
		error_set(error, "out of memory");
	if (last_use == NULL) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	last_use->fd = fd;
	mutex_init(&last_use->lock);
	return last_use;
}

void
last_use_close(struct last_use **last_use)
{
	if (*last_use == NULL)
		return;
	close((*last_use)->fd);
	mutex_destroy(&(*last_use)->lock);
	free(*last_use);
	*last_use = NULL;
}

static bool
digest_make(const char *user, const char *credential, unsigned char digest[DIGEST_BYTES])
{
	unsigned char whole[EVP_MAX_MD_SIZE];
	unsigned      length = sizeof(whole);
	char          input[NAME_MOST];
	int           size = snprintf(input, sizeof(input), "%s\n%s", user, credential);

	if (size < 0 || (size_t)size >= sizeof(input) ||
	    EVP_Digest(input, (size_t)size, whole, &length, EVP_sha256(), NULL) != 1)
		return false;
	memcpy(digest, whole, DIGEST_BYTES);
	return true;
}

static off_t
set_offset(const unsigned char digest[DIGEST_BYTES])
{
	size_t set = ((size_t)digest[0] << 8 | digest[1]) % SET_COUNT;

	return (off_t)(set * SET_SLOTS * sizeof(struct slot));
}

/* What lies behind the end of a file that was cut reads as free. */
static void
set_read_locked(struct last_use *last_use, off_t offset, struct slot set[SET_SLOTS])
{
	memset(set, 0, SET_SLOTS * sizeof(*set));
	(void)!pread(last_use->fd, set, SET_SLOTS * sizeof(*set), offset);
}

/* The slot with this digest, or else the one to take for it. */
static size_t
slot_find(const struct slot set[SET_SLOTS], const unsigned char digest[DIGEST_BYTES])
{
	size_t oldest = 0;

	for (size_t i = 0; i < SET_SLOTS; i++) {
		if (memcmp(set[i].digest, digest, DIGEST_BYTES) == 0)
			return i;
		if (set[i].used_s < set[oldest].used_s)
			oldest = i;
	}
	return oldest;
}

void
last_use_note(struct last_use *last_use, const char *user, const char *credential, int64_t now_s)
{
	struct slot set[SET_SLOTS], fresh = { .used_s = now_s };

	if (last_use == NULL || !digest_make(user, credential, fresh.digest))
		return;
	off_t offset = set_offset(fresh.digest);
	mutex_lock(&last_use->lock);
	set_read_locked(last_use, offset, set);
	size_t place = slot_find(set, fresh.digest);
	bool   is_known = memcmp(set[place].digest, fresh.digest, DIGEST_BYTES) == 0;
	/* A clock that was set back must not keep an old future for ever. */
	if (!is_known || now_s - set[place].used_s >= NEWS_AFTER_S || set[place].used_s > now_s)
		(void)!pwrite(last_use->fd, &fresh, sizeof(fresh),
		              offset + (off_t)(place * sizeof(fresh)));
	mutex_unlock(&last_use->lock);
}

int64_t
last_use_get(struct last_use *last_use, const char *user, const char *credential)
{
	struct slot   set[SET_SLOTS];
	unsigned char digest[DIGEST_BYTES];

	if (last_use == NULL || !digest_make(user, credential, digest))
		return 0;
	mutex_lock(&last_use->lock);
	set_read_locked(last_use, set_offset(digest), set);
	mutex_unlock(&last_use->lock);
	size_t place = slot_find(set, digest);
	return memcmp(set[place].digest, digest, DIGEST_BYTES) == 0 ? set[place].used_s : 0;
}
