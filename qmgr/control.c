/*
 * control.c - the administrators' socket, public/queue: a few threads, one client each at a time.
 *
 * Listing reads the queue files here, so that a long list holds up nobody; what is in memory is
 * asked of the scheduler in small portions. Listing is for authorized_mailq_users, flushing for
 * authorized_flush_users, the rest for root and the queue's owner.
 */
#include "qmgr/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/queue/entry.h"
#include "lib/table/userlist.h"

#define THREADS      4
#define CLIENT_MS    60000 /* how long a client may take to ask or to read */
#define PORTION      100   /* messages in one question to the scheduler */
#define OUT_MOST     (256u << 20)
#define PAYLOAD_MOST (20u << 20)

struct control {
	struct qmgr *qmgr;
	int          listener;
	int          stop_fd;
	pthread_t    threads[THREADS];
	size_t       count;

	struct mutex     lock; /* guards everything below, and ask.is_done */
	struct condition answered;
	size_t           running;
	bool             is_over;
	int              clients[THREADS]; /* their descriptors; 0 = free */
};

struct client {
	struct control    *control;
	struct ipc_channel channel;
	uint32_t           uid;
	bool               is_owner; /* root or the queue's owner: may do everything */
};

/* ---- asking the scheduler ---- */

void
ask_done(struct control *control, struct ask *ask)
{
	mutex_lock(&control->lock);
	ask->is_done = true;
	mutex_unlock(&control->lock);
	condition_broadcast(&control->answered);
}

/* The scheduler answers until the last of these threads has ended. */
static void
ask_wait(struct control *control, struct ask *ask)
{
	ask->task.done = ask_answer;
	handoff_give_one(&control->qmgr->inbox, &ask->task);
	mutex_lock(&control->lock);
	while (!ask->is_done)
		condition_wait(&control->answered, &control->lock);
	mutex_unlock(&control->lock);
}

/* ---- listing ---- */

struct listing {
	struct client *client;
	struct slice   site;
	struct slice   only; /* this id; empty = all */
	bool           want_recipients;
	struct hash    in_memory;
	uint64_t       count;
	struct buf     ids;       /* a line for each listed, when not sent */
	bool           is_silent; /* collects ids instead of sending */
	bool           has_failed;
};

static bool
listing_entry(struct listing *listing, const struct msg_queue_entry *entry)
{
	struct ipc_channel *channel = &listing->client->channel;

	listing->count++;
	if (listing->is_silent) {
		buf_append(&listing->ids, entry->queue_id);
		return buf_append_byte(&listing->ids, '\n');
	}
	/* Queued up to a socket's worth, so that a short entry costs no system call. */
	if (!ipc_queue(channel, queue_entry, entry))
		return false;
	while (channel->out.length > 64u * 1024) {
		struct pollfd one = { .fd = channel->fd, .events = POLLOUT };

		if (ipc_flush(channel) != IPC_OK ||
		    (channel->out.length > 64u * 1024 && poll(&one, 1, CLIENT_MS) <= 0))
			return false;
	}
	return true;
}

static bool
listing_file(void *context, const char *path, const char *id, enum queue_state state)
{
	struct listing           *listing = context;
	struct stored_file        file;
	struct queue_file_listing how = { .state = state,
		                          .want_recipients = listing->want_recipients,
		                          .site = listing->site };
	struct buf                list = BUF(PAYLOAD_MOST);
	struct msg_queue_entry    entry;
	size_t                    length;

	if ((listing->only.length > 0 && !slice_equal(listing->only, slice_from(id))) ||
	    hash_get(&listing->in_memory, slice_from(id)) != NULL)
		return true;
	char *bytes = queue_file_map(listing->client->control->qmgr->queue_fd, path, &length,
	                             &how.mtime_us);
	if (bytes == NULL) /* delivered or moved meanwhile */
		return true;
	if (stored_file_parse(slice_of(bytes, length), &file) &&
	    queue_entry_from_file(&file, &how, &list, &entry) && !listing_entry(listing, &entry))
		listing->has_failed = true;
	buf_free(&list);
	free(bytes);
	return !listing->has_failed;
}

/* Sends what the scheduler encoded. */
static void
listing_answer(struct listing *listing, struct slice rest)
{
	uint32_t length;

	while (rest.length >= sizeof(length) && !listing->has_failed) {
		memcpy(&length, rest.data, sizeof(length));
		struct ipc_frame       frame = { .type = MSG_queue_entry,
			                         .payload =
			                                 slice_of(rest.data + sizeof(length), length) };
		struct msg_queue_entry entry;
		/* Only what is listed here is passed over among the files: a message that went
		 * to its file since the ids were asked for must not be missed. */
		if (msg_queue_entry_decode(&frame, &entry) &&
		    (!hash_put(&listing->in_memory, entry.queue_id, listing, NULL) ||
		     !listing_entry(listing, &entry)))
			listing->has_failed = true;
		rest = slice_from_offset(rest, sizeof(length) + length);
	}
}

/* Cuts the first PORTION lines off *rest. */
static struct slice
portion_take(struct slice *rest)
{
	size_t lines = 0, at = 0;

	while (at < rest->length && lines < PORTION)
		lines += rest->data[at++] == '\n';
	struct slice part = slice_first(*rest, at);
	*rest = slice_from_offset(*rest, at);
	return part;
}

static void
listing_memory(struct listing *listing)
{
	struct control *control = listing->client->control;
	struct ask      ids = { .kind = ASK_IDS, .out = BUF(OUT_MOST) };
	struct slice    rest;

	ask_wait(control, &ids);
	rest = listing->only.length > 0 ? listing->only : buf_slice(&ids.out);
	while (rest.length > 0 && !listing->has_failed) {
		struct ask entries = { .kind = ASK_ENTRIES,
			               .ids = portion_take(&rest),
			               .site = listing->site,
			               .want_recipients = listing->want_recipients,
			               .out = BUF(OUT_MOST) };

		ask_wait(control, &entries);
		listing_answer(listing, buf_slice(&entries.out));
		buf_free(&entries.out);
	}
	buf_free(&ids.out);
}

static void
listing_run(struct listing *listing)
{
	listing_memory(listing);
	if (!listing->has_failed)
		queue_files_visit(listing->client->control->qmgr->queue_fd, listing_file, listing);
	hash_free(&listing->in_memory, NULL);
}

static bool
end_send(struct client *client, enum control_status status, uint64_t count, const char *reason)
{
	struct msg_queue_end end = { .status = status,
		                     .count = count,
		                     .reason = slice_from(reason) };
	int64_t              deadline_ms = clock_monotonic_ms() + CLIENT_MS;

	if (!ipc_queue(&client->channel, queue_end, &end))
		return false;
	while (ipc_has_output(&client->channel) && clock_monotonic_ms() < deadline_ms) {
		struct pollfd one = { .fd = client->channel.fd, .events = POLLOUT };

		if (ipc_flush(&client->channel) != IPC_OK)
			return false;
		if (ipc_has_output(&client->channel))
			poll(&one, 1, 1000);
	}
	return !ipc_has_output(&client->channel);
}

/* Whether the list has this user; otherwise *is_good is what became of the answer. */
static bool
client_may(struct client *client, struct match_list *list, const char *what, bool *is_good)
{
	struct error error = ERROR_NONE;
	enum lookup  found = LOOKUP_FOUND;
	char         name[USER_TEXT_MOST], reason[USER_TEXT_MOST + 100];

	if (!client->is_owner)
		found = user_list_has(list, client->uid, &error);
	if (found == LOOKUP_FOUND)
		return true;
	if (found == LOOKUP_TRY_LATER) {
		log_warning("who may %s the mail queue: %s", what, error.text);
		*is_good = end_send(client, CONTROL_FAILED, 0, "a lookup failed");
		return false;
	}
	user_name_find(client->uid, name, NULL);
	snprintf(reason, sizeof(reason), "User %s(%u) is not allowed to %s the mail queue", name,
	         (unsigned)client->uid, what);
	*is_good = end_send(client, CONTROL_NOT_ALLOWED, 0, reason);
	return false;
}

static bool
serve_list(struct client *client, struct ipc_frame *frame)
{
	struct msg_queue_list ask;
	bool                  is_good;

	if (!msg_queue_list_decode(frame, &ask))
		return false;
	if (!client_may(client, client->control->qmgr->mailq_users, "view", &is_good))
		return is_good;
	struct listing listing = { .client = client,
		                   .site = ask.site,
		                   .only = ask.queue_id,
		                   .want_recipients = ask.want_recipients };
	listing_run(&listing);
	return !listing.has_failed && end_send(client, CONTROL_OK, listing.count, "");
}

/* ---- one message whole ---- */

/* The payload of a message wherever it lies: malloc'ed or in out. */
static char *
payload_find(struct client *client, struct slice id, struct ask *ask, struct slice *payload,
             enum queue_state *state)
{
	static const struct {
		enum place       place;
		enum queue_state state;
	} places[] = { { PLACE_DEFERRED, QUEUE_DEFERRED }, { PLACE_HOLD, QUEUE_HOLD } };
	char               path[64], name[QUEUE_ID_MOST] = { 0 };
	struct stored_file file;
	size_t             length;
	int64_t            mtime_us;

	ask->ids = id;
	ask_wait(client->control, ask);
	if (ask->count > 0) {
		*payload = buf_slice(&ask->out);
		*state = ask->state;
		return NULL;
	}
	memcpy(name, id.data, id.length);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		queue_file_path(path, places[i].place, name);
		char *bytes =
			queue_file_map(client->control->qmgr->queue_fd, path, &length, &mtime_us);
		if (bytes == NULL)
			continue;
		if (stored_file_parse(slice_of(bytes, length), &file)) {
			*payload = file.message;
			*state = places[i].state;
			return bytes;
		}
		free(bytes);
	}
	return NULL;
}

static bool
message_send(struct client *client, struct slice payload, enum queue_state state)
{
	struct msg_intake_commit commit;
	struct msg_envelope      envelope;
	struct msg_recipient     recipient;
	struct msg_queue_message message = msg_queue_message_clear();
	struct buf               list = BUF(PAYLOAD_MOST);
	char                     path[64];
	uint32_t                 count;

	if (!stored_message_decode(payload, &commit, &envelope, &count))
		return end_send(client, CONTROL_FAILED, 0, "the message is damaged");
	struct slice rest = commit.recipients;
	while (msg_recipient_next(&rest, &recipient))
		queue_recipient_append(&list, &recipient, SLICE_EMPTY);
	message.queue_id = commit.queue_id;
	message.state = state;
	message.envelope = commit.envelope;
	message.recipients = buf_slice(&list);
	message.content = commit.content;
	if (commit.is_spooled) {
		snprintf(path, sizeof(path), "spool/%.*s", SLICE_ARGS(commit.queue_id));
		message.file = openat(client->control->qmgr->queue_fd, path,
		                      O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		message.file_length =
			message.file < 0 ? 0 : (uint64_t)lseek(message.file, 0, SEEK_END);
	}
	bool is_sent = ipc_send(&client->channel, queue_message, &message,
	                        clock_monotonic_ms() + CLIENT_MS) == IPC_OK;
	if (message.file >= 0)
		close(message.file);
	buf_free(&list);
	return is_sent;
}

static bool
serve_show(struct client *client, struct ipc_frame *frame)
{
	struct msg_queue_show ask;
	struct ask            question = { .kind = ASK_PAYLOAD, .out = BUF(PAYLOAD_MOST) };
	struct slice          payload = SLICE_EMPTY;
	enum queue_state      state = QUEUE_ACTIVE;

	if (!msg_queue_show_decode(frame, &ask) || !queue_id_is_valid(ask.queue_id))
		return false;
	if (!client->is_owner)
		return end_send(client, CONTROL_NOT_ALLOWED, 0, "only root may read mail");
	char *bytes = payload_find(client, ask.queue_id, &question, &payload, &state);
	bool  is_good = payload.length == 0
	                        ? end_send(client, CONTROL_NOT_FOUND, 0, "no such message")
	                        : message_send(client, payload, state);
	buf_free(&question.out);
	free(bytes);
	return is_good;
}

/* ---- acting ---- */

/* On the ids, a line each, in portions. */
static uint64_t
act_each(struct client *client, enum queue_action action, struct slice ids)
{
	uint64_t count = 0;

	while (ids.length > 0) {
		struct ask ask = {
			.kind = ASK_ACT, .action = action, .ids = portion_take(&ids), .out = BUF(16)
		};

		ask_wait(client->control, &ask);
		count += ask.count;
	}
	return count;
}

static bool
serve_act(struct client *client, struct ipc_frame *frame)
{
	struct msg_queue_act act;
	uint64_t             count;
	bool                 is_good;

	if (!msg_queue_act_decode(frame, &act) || act.action < QUEUE_ACT_FLUSH ||
	    act.action > QUEUE_ACT_EXPIRE)
		return false;
	if (!client->is_owner && act.action != QUEUE_ACT_FLUSH)
		return end_send(client, CONTROL_NOT_ALLOWED, 0, "only root may change the queue");
	if (!client_may(client, client->control->qmgr->flush_users, "flush", &is_good))
		return is_good;
	bool is_all = act.queue_id.length == 0 || slice_equal(act.queue_id, SLICE("ALL"));
	if (is_all && act.site.length == 0 && act.action == QUEUE_ACT_FLUSH) {
		struct ask ask = { .kind = ASK_FLUSH_ALL, .out = BUF(16) };

		ask_wait(client->control, &ask);
		return end_send(client, CONTROL_OK, ask.count, "");
	}
	if (!is_all) {
		count = act_each(client, (enum queue_action)act.action, act.queue_id);
		return end_send(client, count > 0 ? CONTROL_OK : CONTROL_NOT_FOUND, count, "");
	}
	struct listing listing = {
		.client = client, .site = act.site, .is_silent = true, .ids = BUF(OUT_MOST)
	};
	listing_run(&listing);
	count = act_each(client, (enum queue_action)act.action, buf_slice(&listing.ids));
	buf_free(&listing.ids);
	return end_send(client, CONTROL_OK, count, "");
}

/* ---- totals ---- */

static uint64_t
corrupt_count(int queue_fd)
{
	int            fd = openat(queue_fd, "corrupt", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR           *directory = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	uint64_t       count = 0;

	if (directory == NULL) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while ((entry = readdir(directory)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

static bool
serve_count(struct client *client, struct ipc_frame *frame)
{
	struct msg_queue_count  question;
	struct msg_queue_totals totals;
	struct ask              ask = { .kind = ASK_TOTALS, .out = BUF(OUT_MOST) };
	bool                    is_good;

	if (!msg_queue_count_decode(frame, &question)) {
		buf_free(&ask.out);
		return false;
	}
	if (!client_may(client, client->control->qmgr->mailq_users, "view", &is_good)) {
		buf_free(&ask.out);
		return is_good;
	}
	ask_wait(client->control, &ask);
	struct ipc_frame answer = { .type = MSG_queue_totals, .payload = buf_slice(&ask.out) };
	is_good = msg_queue_totals_decode(&answer, &totals);
	if (is_good) {
		totals.corrupt = corrupt_count(client->control->qmgr->queue_fd);
		is_good = ipc_send(&client->channel, queue_totals, &totals,
		                   clock_monotonic_ms() + CLIENT_MS) == IPC_OK;
	} else {
		is_good = end_send(client, CONTROL_FAILED, 0, "out of memory");
	}
	buf_free(&ask.out);
	return is_good;
}

/* ---- clients ---- */

static bool
serve_frame(struct client *client, struct ipc_frame *frame)
{
	switch (frame->type) {
	case MSG_queue_list: return serve_list(client, frame);
	case MSG_queue_show: return serve_show(client, frame);
	case MSG_queue_act: return serve_act(client, frame);
	case MSG_queue_count: return serve_count(client, frame);
	default: return false;
	}
}

/* Notes the descriptor, so that a stop can end the conversation; false when stopping. */
static bool
client_note(struct control *control, int from, int to)
{
	bool is_noted = false;

	mutex_lock(&control->lock);
	for (size_t i = 0; i < THREADS && !is_noted; i++) {
		if (control->clients[i] != from || (control->is_over && to != 0))
			continue;
		control->clients[i] = to;
		is_noted = true;
	}
	mutex_unlock(&control->lock);
	return is_noted;
}

static void
client_serve(struct control *control, int fd)
{
	struct client    client = { .control = control };
	struct ipc_frame frame;
	bool             is_known = ipc_peer_uid(fd, &client.uid);

	client.is_owner = is_known && (client.uid == 0 || client.uid == geteuid());
	ipc_channel_init(&client.channel, fd);
	bool is_good = client_note(control, 0, fd) && is_known;
	while (is_good &&
	       ipc_receive(&client.channel, clock_monotonic_ms() + CLIENT_MS, &frame) == IPC_OK) {
		is_good = serve_frame(&client, &frame);
		ipc_frame_close(&frame);
	}
	client_note(control, fd, 0);
	ipc_channel_close(&client.channel);
}

static void *
control_run(void *argument)
{
	struct control *control = argument;
	struct pollfd   both[2] = { { .fd = control->stop_fd, .events = POLLIN },
		                    { .fd = control->listener, .events = POLLIN } };

	while ((both[0].revents & POLLIN) == 0) {
		both[0].revents = both[1].revents = 0;
		if (poll(both, 2, -1) < 0 && errno != EINTR)
			break;
		if ((both[1].revents & POLLIN) == 0 || (both[0].revents & POLLIN) != 0)
			continue;
		int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			client_serve(control, fd);
		else
			accept_pause();
	}
	mutex_lock(&control->lock);
	control->running--;
	mutex_unlock(&control->lock);
	return NULL;
}

struct control *
control_start(struct qmgr *qmgr, int listener, struct error *error)
{
	struct control *control = calloc(1, sizeof(*control));

	if (control == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	control->qmgr = qmgr;
	control->listener = listener;
	control->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	mutex_init(&control->lock);
	condition_init(&control->answered);
	control->running = THREADS;
	for (; control->count < THREADS; control->count++)
		if (thread_start(&control->threads[control->count], control_run, control) != 0)
			break;
	mutex_lock(&control->lock);
	control->running -= THREADS - control->count;
	mutex_unlock(&control->lock);
	if (control->count > 0 && control->stop_fd >= 0)
		return control;
	error_set(error, "start the threads for administrators");
	control_stop(&control);
	return NULL;
}

void
control_stop(struct control **control)
{
	struct control *gone = *control;
	struct timespec pause = { .tv_nsec = 2000000L };
	uint64_t        one = 1;

	if (gone == NULL)
		return;
	ssize_t written = write(gone->stop_fd, &one, sizeof(one));
	(void)written;
	mutex_lock(&gone->lock);
	gone->is_over = true;
	for (size_t i = 0; i < THREADS; i++)
		if (gone->clients[i] != 0)
			shutdown(gone->clients[i], SHUT_RDWR);
	mutex_unlock(&gone->lock);
	for (size_t running = 1; running > 0;) {
		mutex_lock(&gone->lock);
		running = gone->running;
		mutex_unlock(&gone->lock);
		inbox_ready(gone->qmgr, NULL, 0);
		nanosleep(&pause, NULL);
	}
	for (size_t i = 0; i < gone->count; i++)
		pthread_join(gone->threads[i], NULL);
	close(gone->stop_fd);
	condition_destroy(&gone->answered);
	mutex_destroy(&gone->lock);
	free(gone);
	*control = NULL;
}
