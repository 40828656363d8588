/* drop.c - a letter left in maildrop/, for pickup to find when it is up. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/io/file.h"
#include "lib/ipc/frame.h"
#include "lib/queue/id.h"
#include "tools/sendmail/sendmail.h"

#define WRITE_MOST     (256u * 1024)
#define DROP_NAME_MOST (1 + QUEUE_ID_MOST)

struct writer {
	int           fd;
	struct buf    bytes;
	struct error *error;
};

static bool
writer_flush(struct writer *writer)
{
	bool is_good = file_write_all(writer->fd, buf_slice(&writer->bytes), SUBMIT_DIRECTORY,
	                              writer->error);

	buf_clear(&writer->bytes);
	return is_good;
}

static bool
frame_write(void *context, uint32_t type, struct ipc_encoding *encoding)
{
	struct writer *writer = context;

	if (!ipc_frame_append(&writer->bytes, type, encoding))
		return error_set(writer->error, "the message does not fit");
	return writer->bytes.length < WRITE_MOST / 2 || writer_flush(writer);
}

/* A dot in front while it is written; nobody else can guess it. What is behind it looks like a
 * queue id: listings show it. */
static void
name_make(char name[DROP_NAME_MOST])
{
	uint32_t number;

	random_bytes(&number, sizeof(number));
	name[0] = '.';
	queue_id_format(name + 1, clock_wall_us(), number);
}

/* Written, synced, renamed. The directory cannot be opened by who may not list it: its file system
 * is synced instead. */
static bool
letter_write(struct writer *writer, const struct letter *letter, int directory, const char *name)
{
	/* For pickup, by the group that the directory gives; whatever the umask says. */
	if (fchmod(writer->fd, 0640) != 0)
		return error_set_errno(writer->error, "mode of a file in " SUBMIT_DIRECTORY);
	if (!letter_encode(letter, frame_write, writer))
		return writer->error->text[0] != '\0'
		               ? false
		               : error_set(writer->error, "the message cannot be read again");
	if (!writer_flush(writer) || !file_sync(writer->fd, SUBMIT_DIRECTORY, writer->error))
		return false;
	if (renameat(directory, name, directory, name + 1) != 0)
		return error_set_errno(writer->error, "rename a file in " SUBMIT_DIRECTORY);
	if (syncfs(writer->fd) != 0) {
		unlinkat(directory, name + 1, 0);
		return error_set_errno(writer->error, "sync " SUBMIT_DIRECTORY);
	}
	return true;
}

bool
letter_drop(struct tool *tool, const struct letter *letter, struct error *error)
{
	struct writer writer = { .fd = -1, .bytes = BUF(WRITE_MOST), .error = error };
	char          name[DROP_NAME_MOST];
	bool          is_good = false;

	int directory = open(SUBMIT_DIRECTORY, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (directory < 0)
		return error_set_errno(error, "open %s/" SUBMIT_DIRECTORY, tool->queue_directory);
	name_make(name);
	writer.fd =
		openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (writer.fd < 0)
		error_set_errno(error, "create a file in %s/" SUBMIT_DIRECTORY,
		                tool->queue_directory);
	else
		is_good = letter_write(&writer, letter, directory, name);
	if (writer.fd >= 0 && !is_good)
		unlinkat(directory, name, 0);
	if (writer.fd >= 0)
		close(writer.fd);
	close(directory);
	buf_free(&writer.bytes);
	return is_good;
}
