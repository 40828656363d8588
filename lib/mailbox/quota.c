/* quota.c - see quota.h. */
#include "lib/mailbox/quota.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "lib/io/file.h"
#include "lib/mailbox/maildir.h"
#include "lib/mailbox/name.h"

#define FILE_NAME     "maildirsize"
#define FILE_MOST     5120
#define RECOUNT_AGE_S (15 * 60)
#define FOLDERS_MOST  10000
#define NUMBER_MOST   ((int64_t)1 << 60)

/* "1000S,200C": the part with S, 0 without one. */
static bool
parse_limit(struct slice line, int64_t *limit)
{
	struct slice part;
	int64_t      bytes = 0, number;

	while (slice_next_part(&line, ',', &part)) {
		if (part.length < 2 ||
		    !number_parse(slice_first(part, part.length - 1), 0, NUMBER_MOST, &number))
			return false;
		char kind = part.data[part.length - 1];
		if (kind == 'S')
			bytes = number;
		else if (kind != 'C')
			return false;
	}
	*limit = bytes;
	return true;
}

static bool
parse_sum(struct slice line, struct quota_use *use)
{
	struct slice bytes_text, messages_text;
	int64_t      bytes, messages;

	return slice_next_word(&line, " \t\r", &bytes_text) &&
	       slice_next_word(&line, " \t\r", &messages_text) &&
	       number_parse(bytes_text, -NUMBER_MOST, NUMBER_MOST, &bytes) &&
	       number_parse(messages_text, -NUMBER_MOST, NUMBER_MOST, &messages) &&
	       !__builtin_add_overflow(use->bytes, bytes, &use->bytes) &&
	       !__builtin_add_overflow(use->messages, messages, &use->messages);
}

bool
quota_parse(struct slice text, int64_t *limit, struct quota_use *use)
{
	struct quota_use sum = { 0, 0 };
	struct slice     line;
	int64_t          made_for;

	if (!slice_next_part(&text, '\n', &line) || !parse_limit(slice_trim(line), &made_for))
		return false;
	while (slice_next_part(&text, '\n', &line))
		if (slice_trim(line).length > 0 && !parse_sum(line, &sum))
			return false;
	if (sum.bytes < 0 || sum.messages < 0)
		return false;
	*limit = made_for;
	*use = sum;
	return true;
}

/* ---- counting ---- */

struct counting {
	struct quota_use use;
	int              directory; /* of the names visited */
	size_t           folders;
};

static bool
count_message(struct slice name, void *context)
{
	struct counting    *counting = context;
	struct maildir_name parsed;
	struct stat         status;
	int64_t             size = 0;

	if (!maildir_name_parse(name, &parsed))
		return true;
	if (parsed.has_size)
		size = parsed.size > (uint64_t)NUMBER_MOST ? NUMBER_MOST : (int64_t)parsed.size;
	else if (fstatat(counting->directory, name.data, &status, AT_SYMLINK_NOFOLLOW) == 0)
		size = status.st_size;
	if (!__builtin_add_overflow(counting->use.bytes, size, &counting->use.bytes))
		counting->use.messages++;
	return true;
}

static bool
count_part(int root, const char *folder, const char *part, struct counting *counting,
           struct error *error)
{
	char         path[MAILDIR_NAME_MOST + 8];
	struct error why = ERROR_NONE;

	snprintf(path, sizeof(path), "%s%s%s", folder, folder[0] == '\0' ? "" : "/", part);
	counting->directory = file_open_beneath(root, path, O_RDONLY | O_DIRECTORY, 0, &why);
	if (counting->directory < 0)
		return why.errno_value == ENOENT || why.errno_value == ENOTDIR ||
		       error_set(error, "%s", why.text);
	bool is_good = maildir_each(root, path, count_message, counting, error);
	close(counting->directory);
	return is_good;
}

/* The folders of Maildir++ are directories beside cur whose names begin with a dot. */
static bool
count_folders(int root, struct counting *counting, struct error *error)
{
	int  copy = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = copy < 0 ? NULL : fdopendir(copy);
	bool is_good = true;

	if (directory == NULL) {
		if (copy >= 0)
			close(copy);
		return error_set_errno(error, "read the Maildir");
	}
	for (struct dirent *entry; is_good && (entry = readdir(directory)) != NULL;) {
		const char *name = entry->d_name;

		if (name[0] != '.' || name[1] == '\0' || (name[1] == '.' && name[2] == '\0'))
			continue;
		if (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN)
			continue;
		if (++counting->folders > FOLDERS_MOST)
			break; /* LIMIT: what lies in further folders is not counted */
		is_good = count_part(root, name, "cur", counting, error) &&
		          count_part(root, name, "new", counting, error);
	}
	closedir(directory);
	return is_good;
}

static bool
count_all(int root, int64_t limit, struct quota_use *use, struct error *error)
{
	struct counting counting = { .directory = -1 };
	char            text[100];

	if (!count_part(root, "", "cur", &counting, error) ||
	    !count_part(root, "", "new", &counting, error) ||
	    !count_folders(root, &counting, error))
		return error_prefix(error, "count the mailbox");
	int length = snprintf(text, sizeof(text), "%lldS\n%lld %lld\n", (long long)limit,
	                      (long long)counting.use.bytes, (long long)counting.use.messages);
	/* When it cannot be kept, the next delivery counts again. */
	(void)file_replace(root, FILE_NAME, slice_of(text, (size_t)length), 0600, NULL);
	*use = counting.use;
	return true;
}

/*
 * Reads the file as it stands. False when it must be made anew. *is_fresh: it was counted less
 * than 15 minutes ago and nothing was noted since (one sum only).
 */
static bool
read_file(int root, int64_t limit, struct quota_use *use, bool *is_fresh)
{
	struct buf  text = BUF(FILE_MOST);
	struct stat status;
	int64_t     made_for;
	int         fd = file_open_beneath(root, FILE_NAME, O_RDONLY | O_NONBLOCK, 0, NULL);

	if (fd < 0)
		return false;
	bool is_good = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
	               status.st_size <= FILE_MOST && file_read_all(fd, &text, FILE_NAME, NULL) &&
	               quota_parse(buf_slice(&text), &made_for, use) && made_for == limit;
	if (is_good) {
		int64_t      age_s = clock_wall_s() - status.st_mtime;
		struct slice rest = slice_trim(buf_slice(&text)), line;
		size_t       lines = 0;

		while (slice_next_part(&rest, '\n', &line))
			lines++;
		*is_fresh = lines <= 2 && age_s >= 0 && age_s < RECOUNT_AGE_S;
	}
	close(fd);
	buf_free(&text);
	return is_good;
}

bool
quota_read(int root, int64_t limit, struct quota_use *use, struct error *error)
{
	bool is_fresh;

	return read_file(root, limit, use, &is_fresh) || count_all(root, limit, use, error);
}

bool
quota_recount(int root, int64_t limit, struct quota_use *use, struct error *error)
{
	bool is_fresh;

	if (read_file(root, limit, use, &is_fresh) && is_fresh)
		return true;
	return count_all(root, limit, use, error);
}

void
quota_note(int root, int64_t bytes, int64_t messages)
{
	char text[64];
	int  fd = file_open_beneath(root, FILE_NAME, O_WRONLY | O_APPEND | O_NONBLOCK, 0, NULL);

	if (fd < 0)
		return;
	int length =
		snprintf(text, sizeof(text), "%lld %lld\n", (long long)bytes, (long long)messages);
	/* A note that is lost (crash, full disk) is made good by the next count. */
	(void)file_write_all(fd, slice_of(text, (size_t)length), FILE_NAME, NULL);
	close(fd);
}
