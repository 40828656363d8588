/* entry.c - see entry.h. */
#include "lib/queue/entry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/queue/id.h"

#define FILE_MOST   ((off_t)2 << 30) /* the largest segment that may be set, and more */
#define FETCH_LEAST 8192

/* Of a list in an entry, which has 16 MB: addresses alone may take 12 (lib/intake). */
#define REASONS_MOST (1u << 20)
#define WAYS_MOST    (3u << 20)

bool
queue_recipient_append(struct buf *list, const struct msg_recipient *recipient,
                       struct slice outcome)
{
	struct msg_outcome         last = { 0 };
	struct msg_queue_recipient one = { .address = recipient->address,
		                           .original = recipient->original };

	if (list->length < WAYS_MOST && msg_outcome_next(&outcome, &last)) {
		if (list->length < REASONS_MOST)
			one.reason = last.reason;
		one.transport = last.transport;
		one.nexthop = last.nexthop;
	}
	return msg_queue_recipient_append(list, &one);
}

/* ---- a file as an entry ---- */

struct known {
	uint32_t     state;
	struct slice outcome;
};

static struct known *
known_read(const struct stored_file *file, struct msg_queue_entry *entry)
{
	struct known               *known = calloc(file->recipient_count, sizeof(*known));
	struct slice                results = file->results;
	struct msg_stored_result    result;
	struct msg_stored_recipient one;

	if (known == NULL)
		return NULL;
	while (stored_result_next(&results, &result)) {
		struct slice list = result.recipients;

		entry->attempts = result.attempts;
		entry->is_expired = (result.flags & STORED_FLAG_EXPIRED) != 0;
		while (msg_stored_recipient_next(&list, &one))
			if (one.recipient < file->recipient_count)
				known[one.recipient] = (struct known){ one.state, one.outcome };
	}
	return known;
}

bool
queue_entry_from_file(const struct stored_file *file, const struct queue_file_listing *how,
                      struct buf *list, struct msg_queue_entry *entry)
{
	struct msg_queue_entry made = { .queue_id = file->commit.queue_id,
		                        .state = how->state,
		                        .arrival_us = file->envelope.arrival_us,
		                        .size = file->commit.is_spooled
		                                        ? file->envelope.size
		                                        : file->commit.content.length,
		                        .sender = file->envelope.sender,
		                        .next_attempt_us = how->mtime_us };
	struct known          *known = known_read(file, &made);
	struct slice           rest = file->commit.recipients;
	struct msg_recipient   recipient;
	bool                   is_wanted = false;

	if (known == NULL)
		return false;
	buf_clear(list);
	for (uint32_t i = 0; msg_recipient_next(&rest, &recipient); i++) {
		if (known[i].state == STORED_DONE)
			continue;
		is_wanted = true;
		if (how->want_recipients)
			queue_recipient_append(list, &recipient, known[i].outcome);
	}
	free(known);
	made.recipients = buf_slice(list);
	if (is_wanted && !list->has_failed)
		*entry = made;
	return is_wanted && !list->has_failed;
}

/* ---- walking the files ---- */

static bool
directory_visit(int queue_fd, const char *path, enum queue_state state, queue_visit *visit,
                void *context, bool *is_over)
{
	int            fd = openat(queue_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR           *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (directory == NULL) {
		if (fd >= 0)
			close(fd);
		return errno == ENOENT;
	}
	while (!*is_over && (entry = readdir(directory)) != NULL) {
		if (!queue_id_is_valid(slice_from(entry->d_name)))
			continue;
		*is_over = !visit(context, dirfd(directory), entry->d_name, state);
	}
	closedir(directory);
	return true;
}

bool
queue_files_visit(int queue_fd, queue_visit *visit, void *context)
{
	bool is_over = false;
	bool is_good = directory_visit(queue_fd, "hold", QUEUE_HOLD, visit, context, &is_over);
	char path[16];

	for (unsigned i = 0; i < 16 && is_good && !is_over; i++) {
		snprintf(path, sizeof(path), "deferred/%X", i);
		is_good = directory_visit(queue_fd, path, QUEUE_DEFERRED, visit, context, &is_over);
	}
	return is_good;
}

/* Up to its end, which is where a read gives less than there was room for. */
static bool
rest_read(int fd, struct buf *bytes)
{
	size_t room = FETCH_LEAST;

	while (buf_reserve(bytes, room)) {
		ssize_t got = read(fd, bytes->data + bytes->length, room);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return false;
		bytes->length += (size_t)got;
		if ((size_t)got < room)
			return true;
		room = bytes->length;
	}
	errno = bytes->length + room > bytes->limit ? EFBIG : ENOMEM;
	return false;
}

bool
queue_file_fetch(int directory, const char *path, struct buf *bytes, int64_t *mtime_us)
{
	int         flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	struct stat info;
	/* Noting the access would cost as much as reading. Only the owner may do without. */
	int fd = openat(directory, path, flags | O_NOATIME);

	if (fd < 0 && errno == EPERM)
		fd = openat(directory, path, flags);
	if (fd < 0)
		return false;
	buf_clear(bytes);
	bool is_good = rest_read(fd, bytes) && (mtime_us == NULL || fstat(fd, &info) == 0);
	close(fd);
	if (is_good && mtime_us != NULL)
		*mtime_us = (int64_t)info.st_mtim.tv_sec * 1000000 + info.st_mtim.tv_nsec / 1000;
	return is_good;
}

char *
queue_file_map(int queue_fd, const char *path, size_t *length, int64_t *mtime_us)
{
	struct stat info;
	char       *bytes = NULL;
	size_t      used = 0;
	int         fd = openat(queue_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return NULL;
	if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size <= FILE_MOST)
		bytes = malloc((size_t)info.st_size + 1);
	while (bytes != NULL && used < (size_t)info.st_size) {
		ssize_t got = read(fd, bytes + used, (size_t)info.st_size - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	close(fd);
	if (bytes == NULL)
		return NULL;
	*length = used;
	*mtime_us = (int64_t)info.st_mtim.tv_sec * 1000000 + info.st_mtim.tv_nsec / 1000;
	return bytes;
}
