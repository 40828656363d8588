/*
 * intake.c - see intake.h.
 *
 * A channel carries one question at a time; threads that commit at the same moment use several,
 * and idle ones are kept. The lock guards the list and the clock of ids, never a wait.
 */
#include "lib/queue/intake.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mutex.h"
#include "lib/queue/links.h"

#define HELLO_TIMEOUT_MS 5000
#define HELLO_AGAIN_MS   200   /* the same, while qmgr is known to be silent */
#define SILENT_MS        10000 /* for so long after a hello in vain */
#define ASK_TIMEOUT_MS   30000
#define SPOOL_TIMEOUT_MS 60000
#define HELD_MOST        16 /* messages of HELD_CONTENT_MOST in memory: 4 MB */

struct intake_client {
	char *path;
	char *service;

	struct queue_links links;

	struct mutex lock;            /* guards everything below */
	size_t       held_count;      /* see intake_hold_content */
	int64_t      silent_until_ms; /* qmgr did not answer a hello; 0 = it did */
	bool         has_instance;
	uint64_t     instance;
	int64_t      last_us; /* of the newest id: never twice the same */
};

struct intake_client *
intake_client_create(const char *path, const char *service)
{
	struct intake_client *client = calloc(1, sizeof(*client));

	if (client == NULL)
		return NULL;
	mutex_init(&client->lock);
	client->path = strdup(path);
	client->service = strdup(service);
	links_init(&client->links, client->path);
	if (client->path == NULL || client->service == NULL)
		intake_client_destroy(&client);
	return client;
}

bool
intake_hold_content(struct intake_client *client)
{
	mutex_lock(&client->lock);
	bool may = client->held_count < HELD_MOST;
	client->held_count += may;
	mutex_unlock(&client->lock);
	return may;
}

void
intake_release_content(struct intake_client *client)
{
	mutex_lock(&client->lock);
	client->held_count--;
	mutex_unlock(&client->lock);
}

void
intake_client_destroy(struct intake_client **client)
{
	struct intake_client *gone = *client;

	if (gone == NULL)
		return;
	links_free(&gone->links);
	mutex_destroy(&gone->lock);
	free(gone->path);
	free(gone->service);
	free(gone);
	*client = NULL;
}

/* ---- channels ---- */

/*
 * How long qmgr may take to answer a hello. When it cannot be started (no process, say) connections
 * wait in its backlog: one waits a while, then the others hardly do for some time, or a daemon with
 * a single thread would let its clients wait one behind the other.
 */
static int64_t
hello_timeout(struct intake_client *client)
{
	mutex_lock(&client->lock);
	int64_t timeout_ms =
		clock_monotonic_ms() < client->silent_until_ms ? HELLO_AGAIN_MS : HELLO_TIMEOUT_MS;
	mutex_unlock(&client->lock);
	return timeout_ms;
}

static void
hello_ended(struct intake_client *client, enum ipc_result result)
{
	int64_t now_ms = clock_monotonic_ms();

	mutex_lock(&client->lock);
	if (result != IPC_TIMEOUT)
		client->silent_until_ms = 0;
	else if (now_ms >= client->silent_until_ms)
		client->silent_until_ms = now_ms + SILENT_MS;
	mutex_unlock(&client->lock);
}

/* Says hello on a fresh connection; the first instance number is kept for all ids. */
static bool
link_greet(struct intake_client *client, struct queue_link *link, struct error *error)
{
	struct msg_intake_hello   hello = { .service = slice_from(client->service) };
	struct msg_intake_welcome welcome;
	struct ipc_frame          frame;
	int64_t                   deadline_ms = clock_monotonic_ms() + hello_timeout(client);

	enum ipc_result result = ipc_send(&link->channel, intake_hello, &hello, deadline_ms);
	if (result == IPC_OK)
		result = ipc_receive(&link->channel, deadline_ms, &frame);
	hello_ended(client, result);
	if (result != IPC_OK)
		return error_set(error, "%s: %s", client->path, ipc_result_text(result));
	bool is_welcome = msg_intake_welcome_decode(&frame, &welcome);
	ipc_frame_close(&frame);
	if (!is_welcome)
		return error_set(error, "%s: unexpected answer %s", client->path,
		                 msg_name(frame.type));
	mutex_lock(&client->lock);
	if (!client->has_instance) {
		client->has_instance = true;
		client->instance = welcome.instance;
	}
	mutex_unlock(&client->lock);
	return true;
}

static struct queue_link *
link_open(struct intake_client *client, struct error *error)
{
	struct queue_link *link = links_open(&client->links, error);

	if (link == NULL)
		return NULL;
	if (!link_greet(client, link, error)) {
		link_close(link);
		return NULL;
	}
	return link;
}

/* An idle link that is still alive, or a new one. */
static struct queue_link *
link_take(struct intake_client *client, struct error *error)
{
	struct queue_link *link = links_take_idle(&client->links);

	return link != NULL ? link : link_open(client, error);
}

/* ---- ids ---- */

bool
intake_make_id(struct intake_client *client, char id[QUEUE_ID_MOST], struct error *error)
{
	int64_t now_us = clock_wall_us();

	mutex_lock(&client->lock);
	bool has_instance = client->has_instance;
	mutex_unlock(&client->lock);
	if (!has_instance) {
		struct queue_link *link = link_take(client, error);

		if (link == NULL)
			return false;
		links_give_back(&client->links, link);
	}
	mutex_lock(&client->lock);
	if (now_us <= client->last_us)
		now_us = client->last_us + 1;
	client->last_us = now_us;
	uint64_t instance = client->instance;
	mutex_unlock(&client->lock);
	queue_id_format(id, now_us, instance);
	return true;
}

/* ---- large bodies ---- */

/* The answer to intake_spool; *fd is the caller's on INTAKE_OK. */
static enum intake_status
spool_answer(struct ipc_frame *frame, const char *id, int *fd, struct error *error)
{
	struct msg_intake_spooled spooled;

	if (!msg_intake_spooled_decode(frame, &spooled) ||
	    !slice_equal(spooled.queue_id, slice_from(id))) {
		error_set(error, "unexpected answer %s from the queue", msg_name(frame->type));
		return INTAKE_TRY_LATER;
	}
	if (spooled.status == INTAKE_OK && spooled.file >= 0) {
		*fd = spooled.file;
		return INTAKE_OK;
	}
	if (spooled.file >= 0)
		close(spooled.file);
	error_set(error, "%.*s", SLICE_ARGS(spooled.reason));
	return spooled.status == INTAKE_NO_SPACE || spooled.status == INTAKE_REFUSED
	               ? (enum intake_status)spooled.status
	               : INTAKE_TRY_LATER;
}

enum intake_status
intake_open_spool(struct intake_client *client, const char *id, uint64_t size, int *fd,
                  struct error *error)
{
	struct msg_intake_spool ask = { .queue_id = slice_from(id), .size = size };
	struct ipc_frame        frame;
	struct queue_link      *link = link_take(client, error);
	int64_t                 deadline_ms = clock_monotonic_ms() + SPOOL_TIMEOUT_MS;

	if (link == NULL)
		return INTAKE_TRY_LATER;
	enum ipc_result result = ipc_send(&link->channel, intake_spool, &ask, deadline_ms);
	if (result == IPC_OK)
		result = ipc_receive(&link->channel, deadline_ms, &frame);
	enum intake_status status = INTAKE_TRY_LATER;
	if (result == IPC_OK) {
		status = spool_answer(&frame, id, fd, error);
		ipc_frame_close(&frame);
	} else {
		error_set(error, "%s: %s", client->path, ipc_result_text(result));
	}
	links_give_back(&client->links, link);
	return status;
}

void
intake_abandon_spool(struct intake_client *client, const char *id)
{
	struct msg_intake_abandon abandon = { .queue_id = slice_from(id) };
	struct queue_link        *link = link_take(client, NULL);

	if (link == NULL)
		return; /* qmgr is gone and has forgotten it */
	if (ipc_send(&link->channel, intake_abandon, &abandon,
	             clock_monotonic_ms() + SPOOL_TIMEOUT_MS) != IPC_OK)
		link->channel.is_broken = true;
	links_give_back(&client->links, link);
}

/* ---- commit ---- */

static enum intake_status
commit_answer(struct ipc_frame *frame, const char *id, struct error *error)
{
	struct msg_intake_result result;

	if (!msg_intake_result_decode(frame, &result) ||
	    !slice_equal(result.queue_id, slice_from(id))) {
		error_set(error, "unexpected answer %s from the queue", msg_name(frame->type));
		return INTAKE_TRY_LATER;
	}
	if (result.status == INTAKE_OK)
		return INTAKE_OK;
	error_set(error, "%.*s", SLICE_ARGS(result.reason));
	return result.status == INTAKE_NO_SPACE || result.status == INTAKE_REFUSED
	               ? (enum intake_status)result.status
	               : INTAKE_TRY_LATER;
}

enum intake_status
intake_ask_known(struct intake_client *client, const char *id, struct error *error)
{
	struct msg_intake_known ask = { .queue_id = slice_from(id) };
	struct ipc_frame        frame;
	struct queue_link      *link = link_take(client, error);
	int64_t                 deadline_ms = clock_monotonic_ms() + ASK_TIMEOUT_MS;

	if (link == NULL)
		return INTAKE_TRY_LATER;
	enum ipc_result result = ipc_send(&link->channel, intake_known, &ask, deadline_ms);
	if (result == IPC_OK)
		result = ipc_receive(&link->channel, deadline_ms, &frame);
	enum intake_status status = INTAKE_TRY_LATER;
	if (result == IPC_OK) {
		status = commit_answer(&frame, id, error);
		ipc_frame_close(&frame);
	} else {
		error_set(error, "%s: %s", client->path, ipc_result_text(result));
		link->channel.is_broken = true;
	}
	links_give_back(&client->links, link);
	return status;
}

static enum ipc_result
settles_send(struct queue_link *link, const struct msg_intake_commit *message,
             const struct intake_settles *settles, int64_t deadline_ms)
{
	struct msg_intake_settles frame = { .queue_id = message->queue_id,
		                            .job = settles->job,
		                            .about = settles->about,
		                            .recipients = settles->recipients };

	return ipc_send(&link->channel, intake_settles, &frame, deadline_ms);
}

/*
 * Sends on a link that works. A link that was idle may have been closed meanwhile; since qmgr acts
 * on whole frames only, a send that failed may be repeated on a new one. After a whole send it may
 * not: whether the message was taken is then not known, and TRY_LATER is the only safe answer.
 */
static struct queue_link *
commit_send(struct intake_client *client, const struct msg_intake_commit *message,
            const struct intake_settles *settles, int64_t deadline_ms, enum intake_status *status,
            struct error *error)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		struct queue_link *link =
			attempt == 0 ? link_take(client, error) : link_open(client, error);

		*status = INTAKE_TRY_LATER;
		if (link == NULL)
			return NULL;
		enum ipc_result result =
			settles == NULL ? IPC_OK
					: settles_send(link, message, settles, deadline_ms);
		if (result == IPC_OK)
			result = ipc_send(&link->channel, intake_commit, message, deadline_ms);
		if (result == IPC_OK)
			return link;
		error_set(error, "%s: %s", client->path, ipc_result_text(result));
		if (result == IPC_MALFORMED) {
			*status = INTAKE_REFUSED;
			error_set(error, "the envelope is too large for the queue");
		} else {
			link->channel.is_broken = true;
		}
		links_give_back(&client->links, link);
		if (result != IPC_CLOSED)
			return NULL;
	}
	return NULL;
}

enum intake_status
intake_commit(struct intake_client *client, const struct intake_submission *submission,
              int64_t timeout_ms, struct error *error)
{
	int64_t            deadline_ms = clock_monotonic_ms() + timeout_ms;
	struct buf         envelope = BUF(1u << 20);
	struct ipc_frame   frame;
	enum intake_status status = INTAKE_TRY_LATER;

	if (!msg_envelope_append(&envelope, submission->envelope)) {
		error_set(error, "out of memory for the envelope");
		goto out;
	}
	struct msg_intake_commit message = { .queue_id = slice_from(submission->id),
		                             .envelope = buf_slice(&envelope),
		                             .recipients = submission->recipients,
		                             .is_spooled = submission->is_spooled,
		                             .content = submission->is_spooled
		                                                ? SLICE_EMPTY
		                                                : submission->content };
	struct queue_link       *link =
		commit_send(client, &message, submission->settles, deadline_ms, &status, error);
	if (link == NULL)
		goto out;
	enum ipc_result result = ipc_receive(&link->channel, deadline_ms, &frame);
	if (result == IPC_OK) {
		status = commit_answer(&frame, submission->id, error);
		ipc_frame_close(&frame);
	} else {
		error_set(error, "%s: %s", client->path, ipc_result_text(result));
	}
	links_give_back(&client->links, link);
out:
	buf_free(&envelope);
	return status;
}
