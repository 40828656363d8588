/*
 * queue-fill.c - writes deferred messages as qmgr would have left them, for tests of a backlog.
 *
 *   queue-fill QUEUE_DIRECTORY count domains due_in_seconds
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "lib/queue/id.h"
#include "lib/queue/record.h"

static bool
message_encode(struct buf *out, const char *id, int64_t arrival_us, int64_t domain)
{
	static const char    content[] = "Subject: waiting\r\n\r\nThis message waits.\r\n";
	struct buf           envelope = BUF(4096), recipients = BUF(4096);
	struct ipc_encoding  encoding = { .fields = BUF(65536) };
	char                 address[64];
	struct msg_envelope  from = { .sender = SLICE("alice@example.org"),
		                      .arrival_us = arrival_us,
		                      .size = sizeof(content) - 1 };
	struct msg_recipient to;

	snprintf(address, sizeof(address), "bob@d%lld.test", (long long)domain);
	to = (struct msg_recipient){ .address = slice_from(address) };
	msg_envelope_append(&envelope, &from);
	msg_recipient_append(&recipients, &to);
	struct msg_intake_commit commit = { .queue_id = slice_from(id),
		                            .envelope = buf_slice(&envelope),
		                            .recipients = buf_slice(&recipients),
		                            .content = slice_from(content) };
	bool                     is_good = msg_intake_commit_encode(&encoding, &commit) &&
	               buf_append(&encoding.fields, encoding.tail) &&
	               record_append(out, RECORD_MESSAGE, 0, buf_slice(&encoding.fields));
	buf_free(&envelope);
	buf_free(&recipients);
	buf_free(&encoding.fields);
	return is_good;
}

static bool
file_write(const char *id, struct slice bytes, int64_t due_s)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = (time_t)due_s } };
	char            path[64];

	snprintf(path, sizeof(path), "deferred/%c/%s", queue_id_subdirectory(slice_from(id)), id);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	bool is_good = write(fd, bytes.data, bytes.length) == (ssize_t)bytes.length &&
	               futimens(fd, times) == 0;
	close(fd);
	return is_good;
}

int
main(int argc, char **argv)
{
	struct buf bytes = BUF(65536);
	int64_t    count, domains, due_s, now_us = clock_wall_us();
	char       id[QUEUE_ID_MOST], path[32];

	if (argc != 5 || !number_parse(slice_from(argv[2]), 1, 100000000, &count) ||
	    !number_parse(slice_from(argv[3]), 1, 100000000, &domains) ||
	    !number_parse(slice_from(argv[4]), 0, 100000000, &due_s)) {
		fprintf(stderr, "usage: queue-fill queue_directory count domains due_in_seconds\n");
		return 64;
	}
	if (chdir(argv[1]) != 0 || (mkdir("deferred", 0700) != 0 && errno != EEXIST)) {
		perror(argv[1]);
		return 1;
	}
	for (unsigned i = 0; i < 16; i++) {
		snprintf(path, sizeof(path), "deferred/%X", i);
		if (mkdir(path, 0700) != 0 && errno != EEXIST)
			return 1;
	}
	for (int64_t i = 0; i < count; i++) {
		queue_id_format(id, now_us - count + i, 0);
		buf_clear(&bytes);
		if (!message_encode(&bytes, id, now_us - count + i, i % domains) ||
		    !file_write(id, buf_slice(&bytes), now_us / 1000000 + due_s)) {
			perror(id);
			return 1;
		}
	}
	buf_free(&bytes);
	return 0;
}
