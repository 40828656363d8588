/* mbox.c - see mbox.h. */
#include "lib/mailbox/mbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/io/file.h"
#include "lib/mailbox/content.h"
#include "lib/mailbox/mailfile_lock.h"
#include "lib/mailbox/mbox_note.h"
#include "lib/mailbox/name.h"

#define FILE_MODE      0600
#define DIRECTORY_MODE 0700
#define PIECE_BYTES    (64u * 1024)
#define OUT_MOST       (40u << 20) /* an inline message with `>` in front of many lines */
#define RETRY_MS       50
#define OPENS_MOST     10 /* others may replace the file while we wait for its lock */

struct mbox {
	const char                      *path;
	const struct mailbox_lock_rules *rules;
	char                             directory_path[MAILBOX_PATH_MOST + 1];
	const char                      *name; /* in path */
	int                              base;
	int                              directory; /* base itself when path has no '/' */
	int                              fd;        /* locked */
	bool                             is_new;
	bool                             is_broken; /* ends with half a message */
	struct mailfile_lock             lock;
	uint64_t                         size;
	struct buf                       converted, out;
};

/* ---- the file ---- */

static bool
directory_open(struct mbox *mbox, struct error *error)
{
	const char *slash = strrchr(mbox->path, '/');

	mbox->name = slash == NULL ? mbox->path : slash + 1;
	mbox->directory = mbox->base;
	if (slash == NULL)
		return true;
	struct slice path = slice_of(mbox->path, (size_t)(slash - mbox->path));
	if (path.length >= sizeof(mbox->directory_path))
		return error_set(error, "the path is too long");
	memcpy(mbox->directory_path, path.data, path.length);
	mbox->directory_path[path.length] = '\0';
	const int flags = O_RDONLY | O_DIRECTORY;
	mbox->directory = file_open_beneath(mbox->base, mbox->directory_path, flags, 0, error);
	if (mbox->directory < 0 && error->errno_value == ENOENT &&
	    file_make_directories(mbox->base, mbox->directory_path, DIRECTORY_MODE, error))
		mbox->directory =
			file_open_beneath(mbox->base, mbox->directory_path, flags, 0, error);
	return mbox->directory >= 0;
}

static bool
file_is_fit(const struct mbox *mbox, struct error *error)
{
	struct stat status;

	if (fstat(mbox->fd, &status) != 0)
		return error_set_errno(error, "stat %.300s", mbox->path);
	if (!S_ISREG(status.st_mode))
		return error_set(error, "%.300s is no regular file", mbox->path);
	if (status.st_nlink > 1)
		return error_set(error, "%.300s has more than one name (hard links)", mbox->path);
	if (status.st_uid != geteuid())
		return error_set(error, "%.300s belongs to uid %u, not to %u", mbox->path,
		                 (unsigned)status.st_uid, (unsigned)geteuid());
	return true;
}

static bool
file_open(struct mbox *mbox, struct error *error)
{
	const int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

	mbox->fd = openat(mbox->directory, mbox->name, flags);
	if (mbox->fd < 0 && errno == ENOENT) {
		mbox->fd = openat(mbox->directory, mbox->name, flags | O_CREAT | O_EXCL, FILE_MODE);
		mbox->is_new = mbox->is_new || mbox->fd >= 0;
		if (mbox->fd < 0 && errno == EEXIST)
			mbox->fd = openat(mbox->directory, mbox->name, flags);
	}
	if (mbox->fd < 0 && errno == EISDIR)
		return error_set(error, "%.300s is a directory; a Maildir's path ends with /",
		                 mbox->path);
	if (mbox->fd < 0)
		return error_set_errno(error, "open %.300s", mbox->path);
	return file_is_fit(mbox, error);
}

static void
file_close(struct mbox *mbox)
{
	mailfile_unlock(&mbox->lock);
	if (mbox->fd >= 0)
		close(mbox->fd);
	mbox->fd = -1;
}

/* The name still leads to the file that was opened and is now locked. */
static bool
file_is_current(struct mbox *mbox)
{
	struct stat ours, named;

	if (fstat(mbox->fd, &ours) != 0 ||
	    fstatat(mbox->directory, mbox->name, &named, AT_SYMLINK_NOFOLLOW) != 0 ||
	    ours.st_ino != named.st_ino || ours.st_dev != named.st_dev)
		return false;
	mbox->size = (uint64_t)ours.st_size;
	return true;
}

/* Opens and locks the file once. MAILFILE_LOCKED: it is open; otherwise it is not. */
static enum mailfile_lock_result
file_take(struct mbox *mbox, struct error *error)
{
	for (size_t i = 0; i < OPENS_MOST; i++) {
		if (!file_open(mbox, error)) {
			file_close(mbox);
			return MAILFILE_ERROR;
		}
		enum mailfile_lock_result result = mailfile_lock_try(
			&mbox->lock, mbox->directory, mbox->name, mbox->fd, mbox->rules, error);
		if (result == MAILFILE_LOCKED && file_is_current(mbox) && file_is_fit(mbox, error))
			return result;
		file_close(mbox);
		if (result != MAILFILE_LOCKED)
			return result;
	}
	error_set(error, "%.300s is being replaced again and again", mbox->path);
	return MAILFILE_ERROR;
}

static enum mailfile_lock_result
file_take_until(struct mbox *mbox, int64_t until_ms, struct error *error)
{
	for (;;) {
		enum mailfile_lock_result result = file_take(mbox, error);
		struct timespec           pause = { .tv_nsec = RETRY_MS * 1000000 };

		if (result != MAILFILE_BUSY || clock_monotonic_ms() >= until_ms)
			return result;
		nanosleep(&pause, NULL);
	}
}

/* ---- writing ---- */

static bool
out_write(struct mbox *mbox, struct error *error)
{
	if (mbox->out.has_failed || mbox->converted.has_failed)
		return error_set(error, "out of memory");
	bool is_written = file_write_all(mbox->fd, buf_slice(&mbox->out), mbox->path, error);
	if (is_written)
		mbox->size += mbox->out.length;
	buf_clear(&mbox->out);
	return is_written;
}

static bool
piece_write(struct mbox *mbox, struct content_count *count, struct content_quoting *quoting,
            struct slice piece, struct error *error)
{
	buf_clear(&mbox->converted);
	content_convert(count, piece, &mbox->converted);
	content_quote(quoting, buf_slice(&mbox->converted), &mbox->out);
	return out_write(mbox, error);
}

static bool
file_content_write(struct mbox *mbox, const struct mailbox_message *message,
                   struct content_count *count, struct content_quoting *quoting,
                   struct error *error)
{
	char    *piece = malloc(PIECE_BYTES);
	uint64_t done = 0;
	bool     is_good = piece != NULL || error_set(error, "out of memory");

	while (is_good && done < message->file_length) {
		uint64_t left = message->file_length - done;
		size_t   size = left > PIECE_BYTES ? PIECE_BYTES : (size_t)left;
		ssize_t  got = file_read_at(message->file, piece, size,
		                            (int64_t)(message->file_offset + done));

		if (got < 0)
			is_good = error_set_errno(error, "read the message from the queue");
		else if ((size_t)got < size)
			is_good = error_set(error, "the message in the queue ends too early");
		else
			is_good = piece_write(mbox, count, quoting, slice_of(piece, size), error);
		done += size;
	}
	free(piece);
	return is_good;
}

/* The whole message; a small one goes in one write. */
static bool
message_write(struct mbox *mbox, const struct mbox_entry *entry, struct error *error)
{
	const struct mailbox_message *message = entry->message;
	struct content_count          count = { 0 };
	struct content_quoting        quoting = { 0 };
	uint64_t                      start = mbox->size;

	buf_clear(&mbox->out);
	content_append_from_line(&mbox->out, message->sender, clock_wall_s());
	mbox_note_set(mbox->fd, start, 0, buf_slice(&mbox->out));
	size_t line = mbox->out.length;
	if (!content_append_fields(&mbox->out, message->sender, entry->original, entry->recipient))
		return error_set(error, "an address holds a control character");
	struct buf from_line = BUF(4096);
	buf_append(&from_line, slice_first(buf_slice(&mbox->out), line));
	bool is_good = true;
	if (message->file >= 0) {
		is_good = file_content_write(mbox, message, &count, &quoting, error);
		buf_clear(&mbox->converted);
	} else {
		buf_clear(&mbox->converted);
		content_convert(&count, message->content, &mbox->converted);
	}
	content_finish(&count, &mbox->converted);
	content_quote(&quoting, buf_slice(&mbox->converted), &mbox->out);
	buf_append_byte(&mbox->out, '\n');
	is_good = is_good && out_write(mbox, error);
	if (is_good)
		mbox_note_set(mbox->fd, start, mbox->size, buf_slice(&from_line));
	buf_free(&from_line);
	return is_good;
}

/* Back to the length it had. When that fails the note stays, for the next to try. */
static void
undo(struct mbox *mbox, uint64_t size)
{
	mbox->is_broken = ftruncate(mbox->fd, (off_t)size) != 0;
	if (mbox->is_broken)
		log_error("mailbox %s: half a message cannot be taken out", mbox->path);
	else
		mbox->size = size;
}

static void
entry_append(struct mbox *mbox, struct mbox_entry *entry)
{
	const struct mailbox_message *message = entry->message;
	uint64_t bytes = message->file >= 0 ? message->file_length : message->content.length;
	uint64_t start = mbox->size;

	entry->result = MBOX_FULL;
	if (entry->limit > 0 && (bytes > entry->limit || start > entry->limit - bytes))
		return;
	if (message_write(mbox, entry, &entry->reason)) {
		entry->result = MBOX_APPENDED;
		return;
	}
	entry->result = MBOX_FAILED;
	undo(mbox, start);
}

/* What others, or a crash, left must not join the next message: an empty line stands before it. */
static bool
end_mend(struct mbox *mbox, struct error *error)
{
	char    end[2] = { '\n', '\n' };
	int64_t size = (int64_t)mbox->size;
	size_t  there = size > 1 ? 2 : (size_t)size;

	if (there == 0)
		return true;
	if (file_read_at(mbox->fd, end + 2 - there, there, size - (int64_t)there) != (ssize_t)there)
		return error_set_errno(error, "read %.300s", mbox->path);
	buf_clear(&mbox->out);
	if (end[1] != '\n')
		buf_append_text(&mbox->out, "\n\n");
	else if (end[0] != '\n')
		buf_append_byte(&mbox->out, '\n');
	return mbox->out.length == 0 || out_write(mbox, error);
}

static bool
make_durable(struct mbox *mbox, struct error *error)
{
	if (!file_sync(mbox->fd, mbox->path, error))
		return false;
	return !mbox->is_new || file_sync_directory(mbox->directory, mbox->path, error);
}

static void
entries_fail(struct mbox_entry *entries, size_t count, const struct error *why)
{
	for (size_t i = 0; i < count; i++) {
		entries[i].result = MBOX_FAILED;
		entries[i].reason = *why;
	}
}

static void
entries_append(struct mbox *mbox, struct mbox_entry *entries, size_t count)
{
	struct error why = ERROR_NONE;

	if (mbox_recover(mbox->fd, &mbox->size))
		log_warning("mailbox %s: half a message that a crash had left was taken out",
		            mbox->path);
	if (!end_mend(mbox, &why)) {
		entries_fail(entries, count, &why);
		return;
	}
	uint64_t start = mbox->size;
	size_t   done = 0;
	while (done < count && !mbox->is_broken)
		entry_append(mbox, &entries[done++]);
	if (done < count)
		entries_fail(entries + done, count - done, &entries[done - 1].reason);
	if (!make_durable(mbox, &why)) {
		undo(mbox, start);
		for (size_t i = 0; i < count; i++)
			if (entries[i].result == MBOX_APPENDED)
				entries_fail(&entries[i], 1, &why);
	}
	if (!mbox->is_broken)
		mbox_note_clear(mbox->fd);
}

bool
mbox_append(int base, const char *path, const struct mailbox_lock_rules *rules, int64_t until_ms,
            struct mbox_entry *entries, size_t count, struct error *error)
{
	struct mbox               mbox = { .path = path,
		                           .rules = rules,
		                           .base = base,
		                           .directory = -1,
		                           .fd = -1,
		                           .lock.dotlock = -1,
		                           .converted = BUF(OUT_MOST),
		                           .out = BUF(OUT_MOST) };
	enum mailfile_lock_result result = MAILFILE_ERROR;
	struct error              why = ERROR_NONE;

	if (directory_open(&mbox, &why))
		result = file_take_until(&mbox, until_ms, &why);
	if (result == MAILFILE_LOCKED)
		entries_append(&mbox, entries, count);
	else if (result == MAILFILE_ERROR)
		entries_fail(entries, count, &why);
	else if (error != NULL)
		*error = why;
	file_close(&mbox);
	if (mbox.directory >= 0 && mbox.directory != base)
		close(mbox.directory);
	buf_free(&mbox.converted);
	buf_free(&mbox.out);
	return result != MAILFILE_BUSY;
}
