/* verify.c - see verify.h. A channel carries one question at a time; idle ones are kept. */
#include "lib/queue/verify.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mutex.h"
#include "lib/queue/links.h"

#define GRACE_MS   5000 /* for an answer, beyond what the asker waits */
#define WAIT_MOST  (3600 * 1000)
#define TRIES_MOST 2 /* a kept channel may be of a verify that has ended */

struct verify_client {
	char              *path;
	size_t             waiting_most;
	struct queue_links links;

	struct mutex lock; /* guards everything below */
	size_t       waiting;
	uint64_t     last_id;
};

struct verify_client *
verify_client_create(const char *path, size_t waiting_most)
{
	struct verify_client *client = calloc(1, sizeof(*client));

	if (client == NULL || (client->path = strdup(path)) == NULL) {
		free(client);
		return NULL;
	}
	client->waiting_most = waiting_most;
	mutex_init(&client->lock);
	links_init(&client->links, client->path);
	return client;
}

void
verify_client_destroy(struct verify_client **client)
{
	struct verify_client *gone = *client;

	if (gone == NULL)
		return;
	links_free(&gone->links);
	mutex_destroy(&gone->lock);
	free(gone->path);
	free(gone);
	*client = NULL;
}

/* ---- one question ---- */

static bool
answer_take(struct ipc_frame *frame, uint64_t id, enum verify_status *status, struct buf *reason)
{
	struct msg_verify_answer answer;

	if (!msg_verify_answer_decode(frame, &answer) || answer.id != id ||
	    answer.status > VERIFY_UNKNOWN)
		return false;
	*status = (enum verify_status)answer.status;
	buf_append_printable(reason, answer.reason);
	return true;
}

static enum ipc_result
exchange(struct queue_link *link, const struct msg_verify_query *query, enum verify_status *status,
         struct buf *reason)
{
	int64_t          deadline_ms = clock_monotonic_ms() + query->wait_ms + GRACE_MS;
	struct ipc_frame frame;
	enum ipc_result  result = ipc_send(&link->channel, verify_query, query, deadline_ms);

	if (result == IPC_OK)
		result = ipc_receive(&link->channel, deadline_ms, &frame);
	if (result != IPC_OK)
		return result;
	if (!answer_take(&frame, query->id, status, reason)) {
		link->channel.is_broken = true;
		result = IPC_MALFORMED;
	}
	ipc_frame_close(&frame);
	return result;
}

static bool
ask(struct verify_client *client, const struct msg_verify_query *query, enum verify_status *status,
    struct buf *reason, struct error *error)
{
	enum ipc_result result = IPC_CLOSED;
	bool            is_kept = true;

	for (size_t i = 0; i < TRIES_MOST && is_kept && result == IPC_CLOSED; i++) {
		struct queue_link *link = links_take_idle(&client->links);

		is_kept = link != NULL;
		if (link == NULL && (link = links_open(&client->links, error)) == NULL)
			return false;
		result = exchange(link, query, status, reason);
		link->channel.is_broken |= result != IPC_OK;
		links_give_back(&client->links, link);
	}
	return result == IPC_OK ||
	       error_set(error, "%s: %s", client->path, ipc_result_text(result));
}

bool
verify_ask(struct verify_client *client, struct slice address, int64_t wait_ms,
           enum verify_status *status, struct buf *reason, struct error *error)
{
	struct msg_verify_query query = { .address = address };

	if (wait_ms > WAIT_MOST)
		wait_ms = WAIT_MOST;
	mutex_lock(&client->lock);
	query.id = ++client->last_id;
	bool waits = wait_ms > 0 && client->waiting < client->waiting_most;
	client->waiting += waits;
	mutex_unlock(&client->lock);
	query.wait_ms = waits ? (uint32_t)wait_ms : 0;
	bool is_answered = ask(client, &query, status, reason, error);
	mutex_lock(&client->lock);
	client->waiting -= waits;
	mutex_unlock(&client->lock);
	return is_answered;
}
