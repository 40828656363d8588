/*
 * control.c - the administrators' socket, public/queue: a few threads, one client each at a time.
 *
 * Listing reads cards and queue files here, so that a long list holds up nobody; what is in memory
 * is asked of the scheduler in small portions. Listing is for authorized_mailq_users, flushing for
 * authorized_flush_users, the rest for root and the queue's owner.
 */
#include "qmgr/clients.h"

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
#include "lib/mail/address.h"
#include "lib/queue/entry.h"
#include "lib/table/userlist.h"

#define THREADS      4
#define PAYLOAD_MOST (20u << 20)
#define OTHERS_MOST  (96u * 1024) /* more than a queue_act holds */

struct control {
	struct qmgr *qmgr;
	int          listener;
	int          stop_fd;
	pthread_t    threads[THREADS + 1]; /* the last one is the clerk */
	size_t       count;

	struct mutex     lock; /* guards everything below, and ask.is_done */
	struct condition answered;
	size_t           running;
	bool             is_over;
	int              clients[THREADS];  /* their descriptors; 0 = free */
	char             flushed_site[300]; /* that a client of smtpd has asked for; empty = none */
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

void
ask_wait(struct control *control, struct ask *ask)
{
	ask->task.done = ask_answer;
	handoff_give_one(&control->qmgr->inbox, &ask->task);
	mutex_lock(&control->lock);
	while (!ask->is_done)
		condition_wait(&control->answered, &control->lock);
	mutex_unlock(&control->lock);
}

bool
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

bool
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
	if (!client_may(client, client->qmgr->mailq_users, "view", &is_good))
		return is_good;
	struct listing listing = { .client = client,
		                   .filter = { .domain = ask.site },
		                   .only = ask.queue_id,
		                   .want_recipients = ask.want_recipients };
	listing_run(&listing);
	return !listing.has_failed && end_send(client, CONTROL_OK, listing.count, "");
}

/* ---- one message whole ---- */

char *
client_file(struct client *client, struct slice id, struct stored_file *file,
            enum queue_state *state, int64_t *mtime_us)
{
	static const struct {
		enum place       place;
		enum queue_state state;
	} places[] = { { PLACE_DEFERRED, QUEUE_DEFERRED }, { PLACE_HOLD, QUEUE_HOLD } };
	char   path[64], name[QUEUE_ID_MOST] = { 0 };
	size_t length;

	memcpy(name, id.data, id.length);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		queue_file_path(path, places[i].place, name);
		char *bytes = queue_file_map(client->qmgr->queue_fd, path, &length, mtime_us);
		if (bytes != NULL && stored_file_parse(slice_of(bytes, length), file)) {
			*state = places[i].state;
			return bytes;
		}
		free(bytes);
	}
	return NULL;
}

/* The payload of a message wherever it lies: malloc'ed or in out. */
static char *
payload_find(struct client *client, struct slice id, struct ask *ask, struct slice *payload,
             enum queue_state *state)
{
	struct stored_file file;
	int64_t            mtime_us;

	ask->ids = id;
	ask_wait(client->control, ask);
	if (ask->count > 0) {
		*payload = buf_slice(&ask->out);
		*state = ask->state;
		return NULL;
	}
	char *bytes = client_file(client, id, &file, state, &mtime_us);
	if (bytes != NULL)
		*payload = file.message;
	return bytes;
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
		message.file =
			openat(client->qmgr->queue_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
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

/* All of them, a part of the backlog at a time. */
static bool
flush_all(struct client *client)
{
	struct ask ask = { .kind = ASK_FLUSH_ALL, .out = BUF(16) };

	do {
		ask.is_done = false;
		ask_wait(client->control, &ask);
	} while (!ask.is_over);
	return end_send(client, ask.error.text[0] == '\0' ? CONTROL_OK : CONTROL_FAILED, ask.count,
	                ask.error.text);
}

/* Nothing is said to be done that a power cut could undo. */
static bool
acted_send(struct listing *listing)
{
	struct error error = ERROR_NONE;

	if (listing->has_failed)
		error_set(&error, "out of memory");
	else
		listing_settle(listing->client, listing->action, &error);
	return end_send(listing->client, error.text[0] == '\0' ? CONTROL_OK : CONTROL_FAILED,
	                listing->count, error.text);
}

/* Some of the others are mail that pickup has not taken in. How many that were; *others shrinks. */
static uint64_t
others_remove(const struct qmgr *qmgr, struct buf *others)
{
	struct buf   left = BUF(OTHERS_MOST);
	struct slice rest = buf_slice(others), id;
	uint64_t     count = 0;

	while (slice_next_part(&rest, '\n', &id)) {
		if (id.length == 0)
			continue;
		if (dropped_remove(qmgr, id) > 0) {
			count++;
		} else {
			buf_append(&left, id);
			buf_append_byte(&left, '\n');
		}
	}
	buf_free(others);
	*others = left;
	return count;
}

/* Of several ids those that were not there are in the answer, a line each. */
static bool
ids_act(struct client *client, const struct msg_queue_act *act)
{
	enum queue_action action = (enum queue_action)act->action;
	struct buf        others = BUF(OTHERS_MOST);
	struct error      error = ERROR_NONE;
	bool              is_one = slice_find_byte(act->queue_id, '\n') == SLICE_NOT_FOUND;
	uint64_t          count = listing_act(client, act, &others);
	bool              is_good = false;

	if (action == QUEUE_ACT_DELETE && queue_state_is_among(QUEUE_MAILDROP, act->states))
		count += others_remove(client->qmgr, &others);
	if (count > 0 && !listing_settle(client, action, &error))
		is_good = end_send(client, CONTROL_FAILED, count, error.text);
	else if (is_one)
		is_good = end_send(client, count > 0 ? CONTROL_OK : CONTROL_NOT_FOUND, count, "");
	else
		is_good = end_send(client, CONTROL_OK, count, buf_text(&others));
	buf_free(&others);
	return is_good;
}

static bool
serve_act(struct client *client, struct ipc_frame *frame)
{
	struct msg_queue_act act;
	bool                 is_good;

	if (!msg_queue_act_decode(frame, &act) || act.action < QUEUE_ACT_FLUSH ||
	    act.action > QUEUE_ACT_EXPIRE)
		return false;
	if (!client->is_owner && act.action != QUEUE_ACT_FLUSH)
		return end_send(client, CONTROL_NOT_ALLOWED, 0, "only root may change the queue");
	if (!client_may(client, client->qmgr->flush_users, "flush", &is_good))
		return is_good;
	bool is_all = act.queue_id.length == 0 || slice_equal(act.queue_id, SLICE("ALL"));
	if (is_all && act.site.length == 0 && act.action == QUEUE_ACT_FLUSH)
		return flush_all(client);
	if (!is_all)
		return ids_act(client, &act);
	struct listing listing = { .client = client,
		                   .filter = { .domain = act.site },
		                   .action = (enum queue_action)act.action };
	listing_run(&listing);
	return acted_send(&listing);
}

/* Whether the site is to be flushed by who asks; *is_done: somebody else does it already. */
static bool
site_begin(struct control *control, struct slice site, bool *is_done)
{
	mutex_lock(&control->lock);
	bool is_free = control->flushed_site[0] == '\0';
	*is_done = slice_equal_fold(slice_from(control->flushed_site), site);
	if (is_free)
		snprintf(control->flushed_site, sizeof(control->flushed_site), "%.*s",
		         SLICE_ARGS(site));
	mutex_unlock(&control->lock);
	return is_free;
}

static void
site_end(struct control *control)
{
	mutex_lock(&control->lock);
	control->flushed_site[0] = '\0';
	mutex_unlock(&control->lock);
}

/*
 * ETRN. Strangers may be allowed to say it: one site at a time, so that they take one thread at
 * most from administrators, and a second one who asks for the same gets what is under way.
 */
static bool
serve_flush_site(struct client *client, struct ipc_frame *frame)
{
	struct msg_queue_flush_site ask;
	bool                        is_done;

	if (!msg_queue_flush_site_decode(frame, &ask) ||
	    ask.site.length >= sizeof(client->control->flushed_site) ||
	    (!hostname_is_valid(ask.site, false) && !address_literal_is_valid(ask.site)))
		return false;
	if (!daemon_peer_is_allowed(client->qmgr->context, client->channel.fd,
	                            PEER_NET | PEER_MAIL | PEER_ROOT))
		return end_send(client, CONTROL_NOT_ALLOWED, 0, "that is for smtpd");
	if (!site_begin(client->control, ask.site, &is_done))
		return is_done ? end_send(client, CONTROL_OK, 0, "")
		               : end_send(client, CONTROL_FAILED, 0,
		                          "another destination is being flushed");
	bool           is_good = end_send(client, CONTROL_OK, 0, "");
	struct listing listing = { .client = client,
		                   .filter = { .domain = ask.site },
		                   .action = QUEUE_ACT_FLUSH };
	listing_run(&listing);
	if (listing.has_failed)
		log_warning("ETRN %.*s: not all of the queue could be gone through",
		            SLICE_ARGS(ask.site));
	site_end(client->control);
	return is_good;
}

static bool
serve_select(struct client *client, struct ipc_frame *frame)
{
	struct msg_queue_select select;
	struct listing          listing = { .client = client };
	bool                    is_good;

	if (!msg_queue_select_decode(frame, &select) || select.action > QUEUE_ACT_EXPIRE ||
	    !msg_queue_filter_next(&select.filter, &listing.filter))
		return false;
	listing.action = (enum queue_action)select.action;
	listing.is_forced = select.is_forced;
	listing.want_recipients = select.want_recipients;
	bool is_list = select.action == 0, is_flush = listing.action == QUEUE_ACT_FLUSH;
	if (!client->is_owner && !is_list && !is_flush)
		return end_send(client, CONTROL_NOT_ALLOWED, 0, "only root may change the queue");
	if (!client_may(client, is_flush ? client->qmgr->flush_users : client->qmgr->mailq_users,
	                is_flush ? "flush" : "view", &is_good))
		return is_good;
	listing_run(&listing);
	if (!is_list)
		return acted_send(&listing);
	return !listing.has_failed && end_send(client, CONTROL_OK, listing.count, "");
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
	if (!client_may(client, client->qmgr->mailq_users, "view", &is_good)) {
		buf_free(&ask.out);
		return is_good;
	}
	ask_wait(client->control, &ask);
	struct ipc_frame answer = { .type = MSG_queue_totals, .payload = buf_slice(&ask.out) };
	is_good = msg_queue_totals_decode(&answer, &totals);
	if (is_good) {
		totals.corrupt = corrupt_count(client->qmgr->queue_fd);
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
	case MSG_queue_flush_site: return serve_flush_site(client, frame);
	case MSG_queue_count: return serve_count(client, frame);
	case MSG_queue_select: return serve_select(client, frame);
	case MSG_queue_why: return serve_why(client, frame);
	case MSG_queue_suspend: return serve_suspend(client, frame);
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
	struct client    client = { .control = control, .qmgr = control->qmgr };
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

bool
control_pause(struct control *control, int64_t pause_ms)
{
	struct pollfd stop = { .fd = control->stop_fd, .events = POLLIN };

	return poll(&stop, 1, (int)pause_ms) == 0;
}

static void *
clerk_run(void *argument)
{
	struct control *control = argument;

	clerk_work(control, control->qmgr);
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
	control->running = THREADS + 1;
	cards_open(&qmgr->cards, qmgr->queue_fd);
	for (; control->count <= THREADS; control->count++)
		if (thread_start(&control->threads[control->count],
		                 control->count < THREADS ? control_run : clerk_run, control) != 0)
			break;
	mutex_lock(&control->lock);
	control->running -= THREADS + 1 - control->count;
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
		journal_give(gone->qmgr->journal, &gone->qmgr->to_journal);
		nanosleep(&pause, NULL);
	}
	for (size_t i = 0; i < gone->count; i++)
		pthread_join(gone->threads[i], NULL);
	cards_close(&gone->qmgr->cards);
	close(gone->stop_fd);
	condition_destroy(&gone->answered);
	mutex_destroy(&gone->lock);
	free(gone);
	*control = NULL;
}
