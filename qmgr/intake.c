/*
 * intake.c - takes messages in: from smtpd, pickup, bounce over private/intake.
 *
 * A commit becomes a message and a journal record; it is answered when the record would survive a
 * power cut. Where its recipients go is looked up meanwhile. What a peer sends malformed ends its
 * channel and nothing else.
 */
#include "qmgr/qmgr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/queue/intake.h"
#include "qmgr/retry.h"

#define SETTLES_MOST (16u << 20)

static const struct slice no_space = SLICE("Insufficient system storage");

/* A body that is being written, or waits for its commit. */
struct spool {
	struct intake_link *owner;
	char                id[QUEUE_ID_MOST];
};

/* ---- the end of a channel ---- */

struct spool_sweep {
	struct qmgr        *qmgr;
	struct intake_link *link;
	ARRAY(struct spool *) found;
};

static void
sweep_visit(struct slice key, void *value, void *context)
{
	struct spool_sweep *sweep = context;
	struct spool       *spool = value;

	(void)key;
	if (spool->owner == sweep->link && !ARRAY_PUSH(&sweep->found, spool))
		spool->owner = NULL; /* the next start removes the file */
}

static void
spool_forget(struct qmgr *qmgr, struct spool *spool)
{
	hash_remove(&qmgr->spools, slice_from(spool->id));
	store_forget_spool(qmgr, spool->id);
	free(spool);
}

/* The body of a message that is not taken: it would take the room of others. */
static void
spool_abandon(struct qmgr *qmgr, struct slice id)
{
	struct spool *spool = hash_get(&qmgr->spools, id);

	if (spool != NULL)
		spool_forget(qmgr, spool);
}

void
intake_release(struct intake_link *link)
{
	if (!link->link.is_closed || link->pending > 0 || link->probes > 0)
		return;
	buf_free(&link->settles);
	free(link);
}

void
intake_close(struct qmgr *qmgr, struct intake_link *link)
{
	struct spool_sweep sweep = { .qmgr = qmgr, .link = link };

	if (link->link.is_closed)
		return;
	link_shut(qmgr, &link->link);
	if (qmgr->spools.count > 0)
		hash_each(&qmgr->spools, sweep_visit, &sweep);
	for (size_t i = 0; i < sweep.found.count; i++)
		spool_forget(qmgr, sweep.found.items[i]);
	ARRAY_FREE(&sweep.found);
	intake_release(link);
}

/* ---- answers ---- */

static void
answer(struct qmgr *qmgr, struct intake_link *link, struct slice id, enum intake_status status,
       struct slice reason)
{
	struct msg_intake_result result = { .queue_id = id, .status = status, .reason = reason };

	if (link->link.is_closed)
		return;
	if (ipc_queue(&link->link.channel, intake_result, &result))
		link_dirty(qmgr, &link->link);
	else
		shutdown(link->link.channel.fd, SHUT_RDWR);
}

static void
answer_errno(struct qmgr *qmgr, struct intake_link *link, struct slice id, int errno_value)
{
	switch (errno_value) {
	case ENOSPC:
	case EDQUOT: answer(qmgr, link, id, INTAKE_NO_SPACE, no_space); return;
	case EFBIG:
		answer(qmgr, link, id, INTAKE_REFUSED, SLICE("the envelope is too large"));
		return;
	default: answer(qmgr, link, id, INTAKE_TRY_LATER, SLICE("queue file write error")); return;
	}
}

/* Of the payload in its record: what a notice settles lies in front of it. */
static size_t
payload_offset(const struct message *message)
{
	return (size_t)(message->payload.data - message->block);
}

/* The journal has it, or could not take it. */
void
intake_committed(struct qmgr *qmgr, struct message *message)
{
	struct intake_link *link = message->intake;
	int                 why = message->commit_write.errno_value;

	message->intake = NULL;
	link->pending--;
	settlement_end(qmgr, message, why == 0);
	if (why != 0) {
		answer_errno(qmgr, link, slice_from(message->id), why);
		if (message->is_spooled)
			store_forget_spool(qmgr, message->id);
		message->is_refused = true;
		if (!message->is_resolving)
			message_free(qmgr, message);
		intake_release(link);
		return;
	}
	message->offset = message->commit_write.offset + payload_offset(message);
	segment_enter(qmgr, message, message->commit_write.epoch);
	recent_note(&qmgr->recent, slice_from(link->service), message->id);
	answer(qmgr, link, slice_from(message->id), INTAKE_OK, SLICE_EMPTY);
	intake_release(link);
	message_log_active(message);
	if ((message->envelope.flags & ENVELOPE_HOLD) != 0)
		message->wants_hold = true;
	round_schedule(qmgr, message);
	message_touch(qmgr, message);
}

static void
commit_written(struct qmgr *qmgr, struct task *task)
{
	intake_committed(qmgr, CONTAINER_OF(task, struct message, commit_write.task));
}

/* ---- commit ---- */

static void
commit_to_journal(struct qmgr *qmgr, struct message *message)
{
	size_t length = payload_offset(message) + message->payload.length;

	message->commit_write =
		(struct journal_write){ .task.done = commit_written,
		                        .type = message->settlement == NULL ? RECORD_MESSAGE
		                                                            : RECORD_NOTICE,
		                        .is_urgent = true,
		                        .payload = slice_of(message->block, length) };
	task_list_append(&qmgr->to_journal, &message->commit_write.task);
}

/* The body's file is durable, or is not. */
static void
spool_synced(struct qmgr *qmgr, struct task *task)
{
	struct file_task *file = (struct file_task *)(void *)task;
	struct message   *message = file->context;

	if (file->error.errno_value == 0) {
		message->size = file->length;
		commit_to_journal(qmgr, message);
	} else {
		log_trouble("%s: %s", message->id, file->error.text);
		message->commit_write.errno_value = file->error.errno_value;
		intake_committed(qmgr, message);
	}
	free(file);
}

static bool
commit_spooled(struct qmgr *qmgr, struct intake_link *link, struct message *message)
{
	struct spool     *spool = hash_get(&qmgr->spools, slice_from(message->id));
	struct file_task *file = file_task_new(qmgr, FILE_SPOOL_SYNC, message->id, spool_synced);

	if (spool == NULL || file == NULL) {
		answer(qmgr, link, slice_from(message->id), INTAKE_TRY_LATER,
		       spool == NULL ? SLICE("the message body is gone") : SLICE("out of memory"));
		spool_abandon(qmgr, slice_from(message->id));
		free(file);
		return false;
	}
	hash_remove(&qmgr->spools, slice_from(message->id));
	free(spool);
	file->context = message;
	files_give(qmgr->bodies, file);
	return true;
}

static void
commit_begin(struct qmgr *qmgr, struct intake_link *link, struct message *message)
{
	message->intake = link;
	link->pending++;
	if (!message->is_spooled) {
		message->size = message->commit.content.length;
		commit_to_journal(qmgr, message);
	} else if (!commit_spooled(qmgr, link, message)) {
		link->pending--;
		message_free(qmgr, message);
		return;
	}
	if ((message->envelope.flags & ENVELOPE_HOLD) == 0)
		round_begin(qmgr, message);
}

/* A copy of the payload becomes the message; the journal writes it, jobs send it. */
static struct message *
message_take(struct qmgr *qmgr, struct slice prefix, struct slice payload)
{
	char *block = malloc(prefix.length + payload.length + 1);

	if (block == NULL)
		return NULL;
	if (prefix.length > 0)
		memcpy(block, prefix.data, prefix.length);
	memcpy(block + prefix.length, payload.data, payload.length);
	struct message *message =
		message_create(qmgr, block, slice_of(block + prefix.length, payload.length));
	if (message == NULL)
		free(block);
	else
		message->is_taken_here = true;
	return message;
}

static bool
take_commit(struct qmgr *qmgr, struct intake_link *link, struct ipc_frame *frame)
{
	struct msg_intake_commit commit;
	struct msg_envelope      envelope;
	struct settlement       *settlement = NULL;
	struct message          *message = NULL;
	struct buf               prefix = BUF(SETTLES_MOST);
	uint32_t                 count;
	size_t                   most = retry_memory_most(qmgr->parameters);

	if (!stored_message_decode(frame->payload, &commit, &envelope, &count))
		return false;
	if (message_find(qmgr, commit.queue_id) != NULL ||
	    backlog_find(&qmgr->backlog, commit.queue_id) != NULL) {
		log_warning("intake from %s: id %.*s is in use", link->service,
		            SLICE_ARGS(commit.queue_id));
		answer(qmgr, link, commit.queue_id, INTAKE_REFUSED, SLICE("queue id in use"));
		return true;
	}
	if (!qmgr->has_space) {
		answer(qmgr, link, commit.queue_id, INTAKE_NO_SPACE, no_space);
		spool_abandon(qmgr, commit.queue_id);
		return true;
	}
	if (link->settles.length > 0) {
		settlement = settlement_new(qmgr, link, commit.queue_id, &prefix);
		if (settlement == NULL) {
			buf_free(&prefix);
			answer(qmgr, link, commit.queue_id, INTAKE_TRY_LATER,
			       SLICE("this notice is not asked for any more"));
			spool_abandon(qmgr, commit.queue_id);
			return true;
		}
	}
	if (qmgr->messages.count < most)
		message = message_take(qmgr, buf_slice(&prefix), frame->payload);
	buf_free(&prefix);
	if (message == NULL) {
		free(settlement);
		answer(qmgr, link, commit.queue_id, INTAKE_TRY_LATER,
		       SLICE("the mail system is short of memory"));
		spool_abandon(qmgr, commit.queue_id);
		return true;
	}
	settlement_begin(message, settlement);
	commit_begin(qmgr, link, message);
	return true;
}

/* ---- large bodies ---- */

static void
spool_answer(struct qmgr *qmgr, struct intake_link *link, struct slice id,
             enum intake_status status, struct slice reason, int fd)
{
	struct msg_intake_spooled spooled = {
		.queue_id = id, .status = status, .reason = reason, .file = fd
	};

	if (link->link.is_closed)
		return;
	if (ipc_queue(&link->link.channel, intake_spooled, &spooled))
		link_dirty(qmgr, &link->link);
	else
		shutdown(link->link.channel.fd, SHUT_RDWR);
}

static void
spool_created(struct qmgr *qmgr, struct task *task)
{
	struct file_task   *file = (struct file_task *)(void *)task;
	struct intake_link *link = file->context;
	struct spool       *spool = calloc(1, sizeof(*spool));
	struct slice        id = slice_from(file->id);
	bool is_full = file->error.errno_value == ENOSPC || file->error.errno_value == EDQUOT;

	link->pending--;
	if (file->error.errno_value != 0) {
		log_trouble("%s: %s", file->id, file->error.text);
		spool_answer(qmgr, link, id, is_full ? INTAKE_NO_SPACE : INTAKE_TRY_LATER,
		             is_full ? no_space : SLICE("queue file write error"), -1);
	} else if (spool == NULL || !hash_put(&qmgr->spools, id, spool, NULL)) {
		spool_answer(qmgr, link, id, INTAKE_TRY_LATER, SLICE("out of memory"), -1);
		store_forget_spool(qmgr, file->id);
	} else {
		memcpy(spool->id, file->id, sizeof(spool->id));
		spool->owner = link;
		spool_answer(qmgr, link, id, INTAKE_OK, SLICE_EMPTY, file->fd);
		if (link->link.is_closed)
			spool_forget(qmgr, spool);
		spool = NULL;
	}
	free(spool);
	if (file->fd >= 0)
		close(file->fd); /* the answer holds a copy */
	free(file);
	intake_release(link);
}

static bool
take_spool(struct qmgr *qmgr, struct intake_link *link, struct ipc_frame *frame)
{
	struct msg_intake_spool ask;
	char                    id[QUEUE_ID_MOST] = { 0 };

	if (!msg_intake_spool_decode(frame, &ask) || !queue_id_is_valid(ask.queue_id))
		return false;
	if (!qmgr->has_space) {
		spool_answer(qmgr, link, ask.queue_id, INTAKE_NO_SPACE, no_space, -1);
		return true;
	}
	memcpy(id, ask.queue_id.data, ask.queue_id.length);
	struct file_task *file = file_task_new(qmgr, FILE_SPOOL, id, spool_created);
	if (file == NULL) {
		spool_answer(qmgr, link, ask.queue_id, INTAKE_TRY_LATER, SLICE("out of memory"),
		             -1);
		return true;
	}
	file->context = link;
	link->pending++;
	files_give(qmgr->bodies, file);
	return true;
}

static bool
take_abandon(struct qmgr *qmgr, struct ipc_frame *frame)
{
	struct msg_intake_abandon abandon;

	if (!msg_intake_abandon_decode(frame, &abandon) || !queue_id_is_valid(abandon.queue_id))
		return false;
	spool_abandon(qmgr, abandon.queue_id);
	return true;
}

/* ---- what a notice settles ---- */

/* Kept for the commit that follows. */
static bool
take_settles(struct intake_link *link, struct ipc_frame *frame)
{
	struct msg_intake_settles settles;

	buf_clear(&link->settles);
	return msg_intake_settles_decode(frame, &settles) &&
	       buf_append(&link->settles, frame->payload);
}

/* ---- was it taken? ---- */

static void intake_read(struct qmgr *qmgr, struct intake_link *link);

/* What was sent whole is taken; false when that closed the channel. */
static bool
link_take_sent(struct qmgr *qmgr, struct intake_link *link)
{
	char byte;

	link->pending++; /* it is not freed under us */
	while (!link->link.is_closed &&
	       recv(link->link.channel.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		intake_read(qmgr, link);
	link->pending--;
	if (!link->link.is_closed)
		return true;
	intake_release(link);
	return false;
}

/* The commit may still lie in the channel of the process that was killed: that is read first. */
static bool
take_known(struct qmgr *qmgr, struct intake_link *link, struct ipc_frame *frame)
{
	struct msg_intake_known ask;
	char                    id[QUEUE_ID_MOST];

	if (!msg_intake_known_decode(frame, &ask) || !queue_id_is_valid(ask.queue_id))
		return false;
	snprintf(id, sizeof(id), "%.*s", SLICE_ARGS(ask.queue_id));
	if (qmgr->is_catching_up) { /* read for another who asks */
		answer(qmgr, link, slice_from(id), INTAKE_TRY_LATER, SLICE("the queue is busy"));
		return true;
	}
	qmgr->is_catching_up = true;
	LIST_EACH (node, &qmgr->all_links) {
		struct link *other = CONTAINER_OF(node, struct link, in_links);

		if (other->kind == LINK_INTAKE && other != &link->link)
			link_take_sent(qmgr, CONTAINER_OF(other, struct intake_link, link));
	}
	qmgr->is_catching_up = false;
	struct message *message = message_find(qmgr, slice_from(id));
	if (message != NULL && message->backing == BACKED_NOT)
		answer(qmgr, link, slice_from(id), INTAKE_TRY_LATER, SLICE("it is being written"));
	else if (message != NULL || backlog_find(&qmgr->backlog, slice_from(id)) != NULL ||
	         recent_has(&qmgr->recent, slice_from(id)))
		answer(qmgr, link, slice_from(id), INTAKE_OK, SLICE_EMPTY);
	else if (!qmgr->is_scanned)
		answer(qmgr, link, slice_from(id), INTAKE_TRY_LATER,
		       SLICE("the queue is being read"));
	else
		answer(qmgr, link, slice_from(id), INTAKE_REFUSED, SLICE("no such message"));
	return true;
}

/* ---- the channel ---- */

static bool
take_hello(struct qmgr *qmgr, struct intake_link *link, struct ipc_frame *frame)
{
	struct msg_intake_hello   hello;
	struct msg_intake_welcome welcome;
	struct error              error = ERROR_NONE;

	if (!msg_intake_hello_decode(frame, &hello) || link->has_greeted)
		return false;
	if (!instance_take(qmgr, &welcome.instance, &error)) {
		if (may_complain(qmgr))
			log_error("no number for an intake channel: %s", error.text);
		return false;
	}
	struct slice name = slice_first(hello.service, sizeof(link->service) - 1);
	memcpy(link->service, name.data, name.length);
	link->has_greeted = true;
	if (!ipc_queue(&link->link.channel, intake_welcome, &welcome))
		return false;
	link_dirty(qmgr, &link->link);
	return true;
}

static bool
take_frame(struct qmgr *qmgr, struct intake_link *link, struct ipc_frame *frame)
{
	bool is_good;

	if (!link->has_greeted)
		return take_hello(qmgr, link, frame);
	switch (frame->type) {
	case MSG_intake_commit:
		is_good = take_commit(qmgr, link, frame);
		buf_clear(&link->settles); /* it was said of this one */
		return is_good;
	case MSG_intake_spool: return take_spool(qmgr, link, frame);
	case MSG_intake_abandon: return take_abandon(qmgr, frame);
	case MSG_intake_settles: return take_settles(link, frame);
	case MSG_intake_known: return take_known(qmgr, link, frame);
	case MSG_intake_probe: return probe_take(qmgr, link, frame);
	default: return false;
	}
}

/* One piece of input and the frames that are whole with it; closes what is malformed or gone. */
static void
intake_read(struct qmgr *qmgr, struct intake_link *link)
{
	struct ipc_frame frame;
	enum ipc_result  result = ipc_fill(&link->link.channel);

	while (result == IPC_OK && ipc_next(&link->link.channel, &frame)) {
		if (!take_frame(qmgr, link, &frame))
			result = IPC_MALFORMED;
		ipc_frame_close(&frame);
	}
	if (result == IPC_MALFORMED || (result == IPC_OK && link->link.channel.is_broken))
		log_trouble("intake from %s: malformed message, channel closed",
		            link->service[0] == '\0' ? "unknown" : link->service);
	if (result != IPC_OK || link->link.channel.is_broken)
		intake_close(qmgr, link);
}

static void
intake_ready(struct qmgr *qmgr, struct source *source, uint32_t events)
{
	struct intake_link *link =
		CONTAINER_OF(CONTAINER_OF(source, struct link, source), struct intake_link, link);

	if (events & EPOLLOUT)
		link_dirty(qmgr, &link->link);
	if ((events & ~(uint32_t)EPOLLOUT) != 0)
		intake_read(qmgr, link);
}

void
intake_finish(struct qmgr *qmgr, struct intake_link *link)
{
	int fd = link->link.channel.fd;

	epoll_ctl(qmgr->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	shutdown(fd, SHUT_RD);
	link_take_sent(qmgr, link);
}

void
intake_accept(struct qmgr *qmgr, struct source *source, uint32_t events)
{
	(void)events;
	for (;;) {
		int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			accept_refuse(qmgr, source->fd);
			return;
		}
		if (!place_make(qmgr)) {
			close(fd); /* it hears at once that it has to come again */
			continue;
		}
		if (!daemon_peer_is_allowed(qmgr->context, fd, PEER_NET | PEER_MAIL | PEER_ROOT)) {
			log_warning("intake: connection by a user that may not");
			close(fd);
			continue;
		}
		struct intake_link *link = calloc(1, sizeof(*link));
		if (link == NULL) {
			close(fd);
			return;
		}
		link->settles = BUF(SETTLES_MOST);
		if (!ipc_peer_pid(fd, &link->pid))
			link->pid = 0;
		if (!link_open(qmgr, &link->link, LINK_INTAKE, fd, intake_ready))
			free(link);
	}
}
