/* dropped.c - see dropped.h. */
#include "lib/queue/dropped.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/ipc/frame.h"
#include "lib/queue/id.h"
#include "lib/queue/submit.h"

#define HEAD_MOST                                                                                  \
	(4u << 20) /* bytes of a file that are looked at: the envelope stands in front             \
	            */

struct dropped {
	struct buf           bytes, list; /* used again for each file */
	struct slice         sender;
	size_t               envelope_bytes;
	bool                 has_begin;
	queue_dropped_visit *visit;
	void                *context;
};

static bool
head_read(struct dropped *dropped, int fd, off_t size)
{
	size_t wanted = size > (off_t)HEAD_MOST ? HEAD_MOST : (size_t)size;

	buf_clear(&dropped->bytes);
	if (!buf_reserve(&dropped->bytes, wanted))
		return false;
	while (dropped->bytes.length < wanted) {
		ssize_t got = read(fd, dropped->bytes.data + dropped->bytes.length,
		                   wanted - dropped->bytes.length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		dropped->bytes.length += (size_t)got;
	}
	return dropped->bytes.length > 0;
}

static bool
recipients_take(struct dropped *dropped, struct ipc_frame *frame)
{
	struct msg_submit_recipients all;
	struct msg_recipient         recipient;

	if (!msg_submit_recipients_decode(frame, &all))
		return false;
	while (msg_recipient_next(&all.recipients, &recipient)) {
		struct msg_queue_recipient one = { .address = recipient.address };

		if (!msg_queue_recipient_append(&dropped->list, &one))
			return false;
	}
	return true;
}

/* The frames in front of the content; false: this is no submission of ours. */
static bool
envelope_take(struct dropped *dropped)
{
	struct slice            rest = buf_slice(&dropped->bytes);
	struct msg_submit_begin begin;
	struct ipc_frame        frame;
	size_t                  whole;

	buf_clear(&dropped->list);
	dropped->has_begin = false;
	while (ipc_frame_read(rest, &frame, &whole) == IPC_FRAME_WHOLE) {
		if (frame.type == MSG_submit_begin && !dropped->has_begin) {
			if (!msg_submit_begin_decode(&frame, &begin))
				return false;
			dropped->has_begin = true;
			dropped->sender = begin.sender;
		} else if (frame.type == MSG_submit_recipients) {
			if (!recipients_take(dropped, &frame))
				return false;
		} else {
			break;
		}
		rest = slice_from_offset(rest, whole);
	}
	dropped->envelope_bytes = dropped->bytes.length - rest.length;
	return dropped->has_begin && dropped->list.length > 0;
}

/* False ends the walk. */
static bool
file_visit(struct dropped *dropped, int directory, const char *name)
{
	struct stat info;
	bool        goes_on = true;
	int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return true; /* taken in meanwhile, or not ours to read */
	if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
	    head_read(dropped, fd, info.st_size) && envelope_take(dropped)) {
		struct msg_queue_entry entry = {
			.queue_id = slice_from(name),
			.state = QUEUE_MAILDROP,
			.arrival_us = (int64_t)info.st_mtim.tv_sec * 1000000,
			.size = (uint64_t)info.st_size - dropped->envelope_bytes,
			.sender = dropped->sender,
			.recipients = buf_slice(&dropped->list),
		};

		goes_on = dropped->visit(dropped->context, &entry);
	}
	close(fd);
	return goes_on;
}

bool
queue_dropped_each(int queue_fd, queue_dropped_visit *visit, void *context)
{
	struct dropped dropped = {
		.bytes = BUF(HEAD_MOST), .list = BUF(HEAD_MOST), .visit = visit, .context = context
	};
	int            fd = openat(queue_fd, SUBMIT_DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR           *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *one;

	if (directory == NULL) {
		if (fd >= 0)
			close(fd);
		return errno == ENOENT;
	}
	while ((one = readdir(directory)) != NULL)
		if (queue_id_is_valid(slice_from(one->d_name)) &&
		    !file_visit(&dropped, dirfd(directory), one->d_name))
			break;
	closedir(directory);
	buf_free(&dropped.bytes);
	buf_free(&dropped.list);
	return true;
}

bool
queue_dropped_remove(int queue_fd, struct slice id)
{
	char path[64];

	if (!queue_id_is_valid(id))
		return false;
	snprintf(path, sizeof(path), SUBMIT_DIRECTORY "/%.*s", SLICE_ARGS(id));
	return unlinkat(queue_fd, path, 0) == 0;
}
