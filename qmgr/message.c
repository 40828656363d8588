/* message.c - a message in memory: its payload, its recipients, what is stored of them. */
#include "qmgr/qmgr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/queue/stored.h"

#define ARENA_MOST     (64u << 20)
#define RECIPIENT_MOST 4096u /* bytes of the arena for each recipient */
#define RESULT_MOST    (16u << 20)
#define RESULT_ENOUGH  (8u << 20) /* a record takes twice as much; the rest goes into the next */
#define CONTENT_PART   16         /* of all memory: never more of it than that for content */

/* ---- the payload ---- */

/* Decodes what lies in message->payload; false when it is not the message that it was. */
static bool
payload_open(struct message *message, uint32_t *count)
{
	return stored_message_decode(message->payload, &message->commit, &message->envelope, count);
}

static bool
recipients_open(struct message *message)
{
	struct slice         list = message->commit.recipients;
	struct msg_recipient decoded;

	message->recipients = calloc(message->count, sizeof(struct recipient));
	if (message->recipients == NULL)
		return false;
	for (uint32_t i = 0; i < message->count; i++) {
		message->recipients[i].offset =
			(uint32_t)(message->commit.recipients.length - list.length);
		message->recipients[i].next = LANE_END;
		msg_recipient_next(&list, &decoded);
	}
	return true;
}

struct message *
message_create(struct qmgr *qmgr, char *block, struct slice payload)
{
	struct message *message = calloc(1, sizeof(*message));

	if (message == NULL)
		return NULL;
	message->payload = payload;
	message->payload_length = payload.length;
	list_init(&message->in_touched);
	list_init(&message->in_segment);
	list_init(&message->lanes);
	message->news = LANE_END;
	bool is_open = payload_open(message, &message->count) && recipients_open(message);
	message->arena = ARENA(ARENA_MOST + (size_t)message->count * RECIPIENT_MOST);
	if (is_open)
		message->sender = arena_copy(&message->arena, message->envelope.sender);
	/* Without memory for it the sender would look like the null sender. */
	if (!is_open || message->sender.data == NULL ||
	    !hash_put(&qmgr->messages, message->commit.queue_id, message, NULL)) {
		arena_reset(&message->arena);
		free(message->recipients);
		free(message);
		return NULL;
	}
	/* Ids are at most 31 bytes: checked when the payload was decoded. */
	memcpy(message->id, message->commit.queue_id.data, message->commit.queue_id.length);
	message->size = message->envelope.size;
	message->is_spooled = message->commit.is_spooled;
	message->is_verify = (message->envelope.flags & ENVELOPE_VERIFY) != 0;
	message->block = block;
	qmgr->content_bytes += payload.length;
	qmgr->recipients += message->count;
	return message;
}

static void
payload_drop(struct qmgr *qmgr, struct message *message)
{
	if (message->block == NULL)
		return;
	qmgr->content_bytes -= message->payload.length;
	free(message->block);
	message->block = NULL;
	message->payload = SLICE_EMPTY;
}

void
message_free(struct qmgr *qmgr, struct message *message)
{
	hash_remove(&qmgr->messages, slice_from(message->id));
	if (heap_contains(&message->alarm))
		heap_remove(&qmgr->alarms, &message->alarm);
	list_remove(&message->in_touched);
	list_remove(&message->in_segment);
	if (message->is_retried)
		qmgr->retried--;
	qmgr->recipients -= message->count;
	settlement_end(qmgr, message, false);
	payload_drop(qmgr, message);
	resolve_forget(message);
	arena_reset(&message->arena);
	free(message->recipients);
	free(message);
}

/* LIMIT: read in the scheduler's thread; it matters when the disk is slow and the content no
 * longer in the page cache, which needs a backlog above qmgr_content_cache_size. */
static bool
payload_read_journal(struct qmgr *qmgr, struct message *message, struct error *error)
{
	char    name[24];
	int64_t number = journal_file_number(qmgr->journal, message->epoch);
	size_t  used = 0;

	segment_file_name(name, (uint64_t)number);
	int   fd = number < 0 ? -1 : openat(qmgr->active_fd, name, O_RDONLY | O_CLOEXEC);
	char *block = malloc(message->payload_length + 1);
	if (fd < 0 || block == NULL) {
		error_set_errno(error, "read %s from journal segment %s", message->id, name);
		goto out;
	}
	while (used < message->payload_length) {
		ssize_t got = pread(fd, block + used, message->payload_length - used,
		                    (off_t)(message->offset + used));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			error_set_errno(error, "read %s from journal segment %s", message->id,
			                name);
			goto out;
		}
		used += (size_t)got;
	}
	close(fd);
	message->block = block;
	message->payload = slice_of(block, message->payload_length);
	return true;
out:
	if (fd >= 0)
		close(fd);
	free(block);
	return false;
}

static bool
payload_read_file(struct qmgr *qmgr, struct message *message, struct error *error)
{
	char               path[64], *bytes;
	size_t             length;
	struct stored_file file;

	queue_file_path(path, message->place, message->id);
	if (!queue_file_read(qmgr->queue_fd, path, &bytes, &length, error))
		return false;
	if (!stored_file_parse(slice_of(bytes, length), &file) ||
	    file.message.length != message->payload_length) {
		free(bytes);
		return error_set(error, "%s is damaged", path);
	}
	message->block = bytes;
	message->payload = file.message;
	return true;
}

bool
message_load(struct qmgr *qmgr, struct message *message, struct error *error)
{
	uint32_t count;

	if (message->block != NULL)
		return true;
	bool is_read = message->backing == BACKED_FILE ? payload_read_file(qmgr, message, error)
	                                               : payload_read_journal(qmgr, message, error);
	if (!is_read)
		return false;
	qmgr->content_bytes += message->payload.length;
	if (payload_open(message, &count) && count == message->count &&
	    slice_equal(message->commit.queue_id, slice_from(message->id)))
		return true;
	payload_drop(qmgr, message);
	return error_set(error, "%s: its content in the queue is damaged", message->id);
}

void
message_trim(struct qmgr *qmgr, struct message *message)
{
	uint64_t most = (uint64_t)qmgr->parameters->qmgr_content_cache_size;
	uint64_t part = (uint64_t)memory_limit(daemon_memory(qmgr->context)) / CONTENT_PART;

	if (most > part)
		most = part;
	if (message->block == NULL || qmgr->content_bytes <= most || message->io > 0 ||
	    message->is_resolving || message->backing == BACKED_NOT || message->jobs > 0)
		return;
	payload_drop(qmgr, message);
}

bool
message_recipient(const struct message *message, uint32_t index, struct msg_recipient *out)
{
	struct slice rest =
		slice_from_offset(message->commit.recipients, message->recipients[index].offset);

	return msg_recipient_next(&rest, out);
}

struct message *
message_find(struct qmgr *qmgr, struct slice id)
{
	return hash_get(&qmgr->messages, id);
}

/* ---- what is known of the recipients ---- */

struct slice
message_outcome(struct message *message, const struct msg_outcome *outcome)
{
	struct buf list = BUF(64u * 1024);

	msg_outcome_append(&list, outcome);
	/* Without memory the reason is forgotten, not the state. */
	struct slice copy = arena_copy(&message->arena, buf_slice(&list));
	buf_free(&list);
	return copy.data == NULL ? SLICE_EMPTY : copy;
}

void
message_apply(struct message *message, const struct msg_stored_result *result)
{
	struct slice                list = result->recipients;
	struct msg_stored_recipient one;

	message->attempts = result->attempts;
	message->is_warned = (result->flags & STORED_FLAG_WARNED) != 0;
	message->is_expired = (result->flags & STORED_FLAG_EXPIRED) != 0;
	message->is_reported = (result->flags & STORED_FLAG_REPORTED) != 0;
	while (msg_stored_recipient_next(&list, &one)) {
		if (one.recipient >= message->count || one.state > STORED_DELIVERED)
			continue;
		struct recipient *recipient = &message->recipients[one.recipient];
		recipient->state = (enum stored_state)one.state;
		struct slice copy = arena_copy(&message->arena, one.outcome);
		recipient->outcome = copy.data == NULL ? SLICE_EMPTY : copy;
	}
}

/* The first recipient from that one on with something to tell; LANE_END = none. */
static uint32_t
result_from(const struct message *message, enum result_part part, uint32_t index)
{
	for (; index < message->count; index++) {
		const struct recipient *recipient = &message->recipients[index];

		if (part == RESULT_CHANGED
		            ? recipient->is_changed
		            : recipient->state != STORED_WAITING || recipient->outcome.length > 0)
			return index;
	}
	return LANE_END;
}

uint32_t
message_result_first(const struct message *message, enum result_part part)
{
	return part == RESULT_NEWS ? message->news : result_from(message, part, 0);
}

bool
message_result(const struct message *message, enum result_part part, uint32_t *next,
               struct buf *out)
{
	struct buf          list = BUF(RESULT_MOST);
	struct ipc_encoding encoding = { .fields = BUF(RESULT_MOST) };
	uint32_t            flags = (message->is_warned ? STORED_FLAG_WARNED : 0) |
	                 (message->is_expired ? STORED_FLAG_EXPIRED : 0) |
	                 (message->is_reported ? STORED_FLAG_REPORTED : 0);

	while (*next != LANE_END && list.length < RESULT_ENOUGH) {
		const struct recipient     *recipient = &message->recipients[*next];
		struct msg_stored_recipient one = { .recipient = *next,
			                            .state = recipient->state,
			                            .outcome = recipient->outcome };

		msg_stored_recipient_append(&list, &one);
		*next = part == RESULT_NEWS ? recipient->next_news
		                            : result_from(message, part, *next + 1);
	}
	struct msg_stored_result result = { .queue_id = slice_from(message->id),
		                            .attempts = message->attempts,
		                            .flags = flags,
		                            .recipients = buf_slice(&list) };
	bool is_good = !list.has_failed && msg_stored_result_encode(&encoding, &result) &&
	               buf_append(out, buf_slice(&encoding.fields));
	buf_free(&list);
	buf_free(&encoding.fields);
	return is_good;
}

bool
message_has_changes(const struct message *message)
{
	for (uint32_t i = 0; i < message->count; i++)
		if (message->recipients[i].is_changed)
			return true;
	return false;
}

void
message_clear_changes(struct message *message)
{
	for (uint32_t i = 0; i < message->count; i++)
		message->recipients[i].is_changed = false;
}

void
message_add_news(struct message *message, uint32_t index)
{
	struct recipient *recipient = &message->recipients[index];

	recipient->is_changed = true;
	if (recipient->is_news)
		return;
	recipient->is_news = true;
	recipient->next_news = message->news;
	message->news = index;
}

void
message_clear_news(struct message *message, bool knows_all)
{
	while (message->news != LANE_END) {
		struct recipient *recipient = &message->recipients[message->news];

		recipient->is_news = false;
		if (knows_all)
			recipient->is_changed = false;
		message->news = recipient->next_news;
	}
	message->has_news = message->is_outside = false;
}

/* ---- the list of those to be looked at ---- */

void
message_touch(struct qmgr *qmgr, struct message *message)
{
	if (list_is_empty(&message->in_touched))
		list_append(&qmgr->touched, &message->in_touched);
}

void
message_touch_later(struct qmgr *qmgr, struct message *message)
{
	list_remove(&message->in_touched);
	list_append(&qmgr->later, &message->in_touched);
}

void
messages_touch_late(struct qmgr *qmgr)
{
	struct list_node *node;

	while ((node = list_first(&qmgr->later)) != NULL) {
		list_remove(node);
		list_append(&qmgr->touched, node);
	}
}

void
messages_advance(struct qmgr *qmgr)
{
	struct list_node *node;

	while ((node = list_first(&qmgr->touched)) != NULL) {
		struct message *message = CONTAINER_OF(node, struct message, in_touched);

		list_remove(node);
		message_advance(qmgr, message);
	}
}
