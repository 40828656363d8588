/*
 * fake_queue.h - a queue's intake socket for tests: answers as told and keeps what was committed.
 *
 * One thread, one connection at a time after another; what arrived is read after the client has
 * got its answer, so tests need no lock of their own.
 */
#ifndef DAKIYA_TESTS_FAKE_QUEUE_H
#define DAKIYA_TESTS_FAKE_QUEUE_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/ipc/channel.h"
#include "lib/queue/intake.h"

struct fake_queue {
	char      path[64];
	int       listener;
	pthread_t thread;

	uint32_t spool_status, commit_status; /* what to answer */
	bool     keeps_first;                 /* below stands the first commit, not the last */

	struct buf           fields; /* of the last commit: envelope and recipients point into it */
	struct buf           content; /* of the last commit, inline or spooled */
	char                 id[QUEUE_ID_MOST];
	struct msg_envelope  envelope;
	struct msg_recipient recipients[16];
	size_t               recipient_count;
	bool                 was_spooled;
	unsigned             commits, spools, abandons;
	size_t               settles;  /* notices that said what they are about */
	int                  spool_fd; /* ours; the client has a duplicate */
};

static inline struct slice
fake_keep(struct buf *fields, struct slice bytes)
{
	size_t at = fields->length;

	buf_append(fields, bytes);
	return slice_of(fields->data + at, bytes.length);
}

static inline void
fake_take_recipient(struct fake_queue *queue, const struct msg_recipient *from)
{
	struct msg_recipient copy = *from;

	copy.address = fake_keep(&queue->fields, from->address);
	copy.original = fake_keep(&queue->fields, from->original);
	copy.dsn_orcpt = fake_keep(&queue->fields, from->dsn_orcpt);
	if (queue->recipient_count < 16)
		queue->recipients[queue->recipient_count++] = copy;
}

static inline void
fake_take_content(struct fake_queue *queue, const struct msg_intake_commit *commit)
{
	buf_clear(&queue->content);
	queue->was_spooled = commit->is_spooled;
	if (!commit->is_spooled) {
		buf_append(&queue->content, commit->content);
		return;
	}
	off_t length = lseek(queue->spool_fd, 0, SEEK_END);
	if (length > 0 && buf_reserve(&queue->content, (size_t)length)) {
		ssize_t got = pread(queue->spool_fd, queue->content.data, (size_t)length, 0);

		queue->content.length = got > 0 ? (size_t)got : 0;
	}
}

static inline void
fake_commit(struct fake_queue *queue, struct ipc_channel *channel, struct ipc_frame *frame)
{
	struct msg_intake_commit commit;
	struct msg_envelope      envelope;
	struct msg_recipient     recipient;
	struct msg_intake_result result = { .status = queue->commit_status,
		                            .reason = SLICE("as told") };

	if (!msg_intake_commit_decode(frame, &commit))
		abort();
	if (queue->commits++ > 0 && queue->keeps_first) {
		result.queue_id = commit.queue_id;
		ipc_send(channel, intake_result, &result, clock_monotonic_ms() + 5000);
		return;
	}
	snprintf(queue->id, sizeof(queue->id), "%.*s", SLICE_ARGS(commit.queue_id));
	buf_clear(&queue->fields);
	buf_reserve(&queue->fields, 65536); /* so that nothing moves */
	struct slice list = commit.envelope;
	if (!msg_envelope_next(&list, &envelope))
		abort();
	queue->envelope = envelope;
	queue->envelope.sender = fake_keep(&queue->fields, envelope.sender);
	queue->envelope.message_id = fake_keep(&queue->fields, envelope.message_id);
	queue->envelope.filter = fake_keep(&queue->fields, envelope.filter);
	queue->recipient_count = 0;
	list = commit.recipients;
	while (msg_recipient_next(&list, &recipient))
		fake_take_recipient(queue, &recipient);
	fake_take_content(queue, &commit);
	result.queue_id = slice_from(queue->id);
	ipc_send(channel, intake_result, &result, clock_monotonic_ms() + 5000);
}

static inline void
fake_spool(struct fake_queue *queue, struct ipc_channel *channel, struct ipc_frame *frame)
{
	struct msg_intake_spool   spool;
	struct msg_intake_spooled spooled = msg_intake_spooled_clear();
	char                      id[QUEUE_ID_MOST];

	if (!msg_intake_spool_decode(frame, &spool))
		abort();
	queue->spools++;
	snprintf(id, sizeof(id), "%.*s", SLICE_ARGS(spool.queue_id));
	spooled.queue_id = slice_from(id);
	spooled.status = queue->spool_status;
	spooled.reason = SLICE("as told");
	if (queue->spool_status == INTAKE_OK) {
		if (queue->spool_fd >= 0)
			close(queue->spool_fd);
		queue->spool_fd = memfd_create("spool", MFD_CLOEXEC);
		spooled.file = queue->spool_fd;
	}
	ipc_send(channel, intake_spooled, &spooled, clock_monotonic_ms() + 5000);
}

static inline void
fake_settles(struct fake_queue *queue, struct ipc_frame *frame)
{
	struct msg_intake_settles settles;

	if (!msg_intake_settles_decode(frame, &settles))
		abort();
	queue->settles++;
}

static inline void
fake_serve(struct fake_queue *queue, struct ipc_channel *channel)
{
	struct ipc_frame frame;

	while (ipc_receive(channel, clock_monotonic_ms() + 60000, &frame) == IPC_OK) {
		struct msg_intake_welcome welcome = { .instance = 7 };

		switch (frame.type) {
		case MSG_intake_hello:
			ipc_send(channel, intake_welcome, &welcome, clock_monotonic_ms() + 5000);
			break;
		case MSG_intake_spool: fake_spool(queue, channel, &frame); break;
		case MSG_intake_commit: fake_commit(queue, channel, &frame); break;
		case MSG_intake_abandon: queue->abandons++; break;
		case MSG_intake_settles: fake_settles(queue, &frame); break;
		default: abort();
		}
		ipc_frame_close(&frame);
	}
}

static inline void *
fake_run(void *argument)
{
	struct fake_queue *queue = argument;

	for (;;) {
		struct ipc_channel channel;
		int                fd = accept(queue->listener, NULL, NULL);

		if (fd < 0)
			return NULL;
		memset(&channel, 0, sizeof(channel));
		ipc_channel_init(&channel, fd);
		fake_serve(queue, &channel);
		ipc_channel_close(&channel);
	}
}

static inline bool
fake_queue_start(struct fake_queue *queue)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memset(queue, 0, sizeof(*queue));
	queue->fields = BUF(1u << 20);
	queue->content = BUF(64u << 20);
	queue->spool_fd = -1;
	snprintf(queue->path, sizeof(queue->path), "/tmp/dakiya-fake-queue-%d", (int)getpid());
	memcpy(address.sun_path, queue->path, strlen(queue->path) + 1);
	unlink(queue->path);
	queue->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return queue->listener >= 0 &&
	       bind(queue->listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	       listen(queue->listener, 5) == 0 &&
	       pthread_create(&queue->thread, NULL, fake_run, queue) == 0;
}

/* After the clients are gone. */
static inline void
fake_queue_stop(struct fake_queue *queue)
{
	shutdown(queue->listener, SHUT_RDWR);
	pthread_join(queue->thread, NULL);
	close(queue->listener);
	unlink(queue->path);
	if (queue->spool_fd >= 0)
		close(queue->spool_fd);
	buf_free(&queue->fields);
	buf_free(&queue->content);
}

#endif
