/*
 * listing.c - goes through the queue for an administrator: what is in memory is asked of the
 * scheduler in small portions, files are read here, so that a long list holds up nobody.
 *
 * Nothing is collected but the ids of what is in memory, and those of one portion to act upon.
 */
#include "qmgr/clients.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/queue/dropped.h"
#include "lib/queue/entry.h"
#include "lib/queue/filter.h"

#define PORTION    100 /* messages in one question to the scheduler */
#define LIST_MOST  (20u << 20)
#define FILE_MOST  (64u << 20)
#define TASKS_MOST 200 /* of the file thread: it has messages of its own to write, behind them */

/* ---- acting ---- */

/* What was asked for before is done by the file thread first. */
static void
files_await(const struct files *files)
{
	struct timespec pause = { .tv_nsec = 2000000L };

	while (files_pending(files) > TASKS_MOST)
		nanosleep(&pause, NULL);
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

uint64_t
listing_act(struct client *client, enum queue_action action, struct slice ids)
{
	uint64_t count = 0;

	while (ids.length > 0) {
		struct ask ask = {
			.kind = ASK_ACT, .action = action, .ids = portion_take(&ids), .out = BUF(16)
		};

		files_await(client->qmgr->files);
		ask_wait(client->control, &ask);
		count += ask.count;
	}
	return count;
}

uint64_t
dropped_remove(const struct qmgr *qmgr, struct slice id)
{
	if (!queue_dropped_remove(qmgr->queue_fd, id))
		return 0;
	log_info_as("postsuper", "%.*s: removed", SLICE_ARGS(id));
	return 1;
}

static void
portion_act(struct listing *listing)
{
	struct slice ids = buf_slice(&listing->ids);

	listing->count += listing_act(listing->client, listing->action, ids);
	if (listing->is_forced)
		listing_act(listing->client, QUEUE_ACT_RELEASE, ids);
	buf_clear(&listing->ids);
	listing->id_count = 0;
}

/* ---- one message ---- */

static bool
id_chosen(struct listing *listing, struct slice id)
{
	if (!buf_append(&listing->ids, id) || !buf_append_byte(&listing->ids, '\n'))
		return false;
	if (++listing->id_count == PORTION)
		portion_act(listing);
	return true;
}

static bool
entry_send(struct listing *listing, struct msg_queue_entry *entry)
{
	struct ipc_channel *channel = &listing->client->channel;

	listing->count++;
	if (!listing->want_recipients)
		entry->recipients = SLICE_EMPTY;
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
entry_take(struct listing *listing, struct msg_queue_entry *entry)
{
	if (!queue_filter_matches(&listing->filter, entry))
		return true;
	return listing->action != 0 ? id_chosen(listing, entry->queue_id)
	                            : entry_send(listing, entry);
}

/* ---- in memory ---- */

/* What the scheduler encoded. */
static void
entries_take(struct listing *listing, struct slice rest)
{
	uint32_t length;

	while (rest.length >= sizeof(length) && !listing->has_failed) {
		memcpy(&length, rest.data, sizeof(length));
		struct ipc_frame       frame = { .type = MSG_queue_entry,
			                         .payload =
			                                 slice_of(rest.data + sizeof(length), length) };
		struct msg_queue_entry entry;
		/* Only what is looked at here is passed over among the files: a message that went
		 * to its file since the ids were asked for must not be missed. */
		if (msg_queue_entry_decode(&frame, &entry) &&
		    (!hash_put(&listing->in_memory, entry.queue_id, listing, NULL) ||
		     !entry_take(listing, &entry)))
			listing->has_failed = true;
		rest = slice_from_offset(rest, sizeof(length) + length);
	}
}

/* All of them are acted upon, wherever they are by then. */
static void
ids_take(struct listing *listing, struct slice rest)
{
	struct slice id;

	while (!listing->has_failed && slice_next_part(&rest, '\n', &id))
		if (id.length > 0 &&
		    (!hash_put(&listing->in_memory, id, listing, NULL) || !id_chosen(listing, id)))
			listing->has_failed = true;
}

static void
listing_memory(struct listing *listing)
{
	struct control *control = listing->client->control;
	struct ask      ids = { .kind = ASK_IDS, .out = BUF(OUT_MOST) };
	bool is_plain = listing->action != 0 && !queue_filter_needs_entry(&listing->filter) &&
	                listing->filter.states == 0;
	struct slice rest;

	ask_wait(control, &ids);
	rest = listing->only.length > 0 ? listing->only : buf_slice(&ids.out);
	if (is_plain) {
		ids_take(listing, rest);
		rest = SLICE_EMPTY;
	}
	while (rest.length > 0 && !listing->has_failed) {
		struct ask entries = { .kind = ASK_ENTRIES,
			               .ids = slice_first(rest, PORTION * QUEUE_ID_MOST),
			               .out = BUF(OUT_MOST) };

		ask_wait(control, &entries);
		rest = slice_from_offset(rest, entries.at);
		entries_take(listing, buf_slice(&entries.out));
		buf_free(&entries.out);
	}
	buf_free(&ids.out);
}

/* ---- in files ---- */

struct files_visit {
	struct listing *listing;
	struct buf      bytes, list; /* used again for each file */
};

static void
file_take(struct files_visit *visit, int directory, const char *id, enum queue_state state)
{
	struct listing           *listing = visit->listing;
	struct queue_file_listing how = { .state = state, .want_recipients = true };
	struct msg_queue_entry    entry;
	struct stored_file        file;

	if (!queue_file_fetch(directory, id, &visit->bytes, &how.mtime_us))
		return; /* delivered or moved meanwhile */
	if (stored_file_parse(buf_slice(&visit->bytes), &file) &&
	    queue_entry_from_file(&file, &how, &visit->list, &entry) &&
	    !entry_take(listing, &entry))
		listing->has_failed = true;
}

static bool
visit_file(void *context, int directory, const char *id, enum queue_state state)
{
	struct files_visit *visit = context;
	struct listing     *listing = visit->listing;

	if ((listing->only.length > 0 && !slice_equal(listing->only, slice_from(id))) ||
	    !queue_filter_has_state(&listing->filter, state) ||
	    hash_get(&listing->in_memory, slice_from(id)) != NULL)
		return true;
	if (listing->action == 0 || queue_filter_needs_entry(&listing->filter))
		file_take(visit, directory, id, state);
	else if (!id_chosen(listing, slice_from(id)))
		listing->has_failed = true;
	return !listing->has_failed;
}

static void
listing_files(struct listing *listing)
{
	struct files_visit visit = { .listing = listing,
		                     .bytes = BUF(FILE_MOST),
		                     .list = BUF(LIST_MOST) };

	queue_files_visit(listing->client->qmgr->queue_fd, visit_file, &visit);
	buf_free(&visit.bytes);
	buf_free(&visit.list);
}

/* ---- not taken in yet ---- */

/* All that can be done to it is to remove it. */
static bool
visit_dropped(void *context, const struct msg_queue_entry *dropped)
{
	struct listing        *listing = context;
	struct msg_queue_entry entry = *dropped;

	if ((listing->only.length > 0 && !slice_equal(listing->only, entry.queue_id)) ||
	    !queue_filter_matches(&listing->filter, &entry))
		return true;
	if (listing->action == 0)
		listing->has_failed = !entry_send(listing, &entry);
	else
		listing->count += dropped_remove(listing->client->qmgr, entry.queue_id);
	return !listing->has_failed;
}

static void
listing_dropped(struct listing *listing)
{
	if (listing->action == 0 || listing->action == QUEUE_ACT_DELETE)
		(void)queue_dropped_each(listing->client->qmgr->queue_fd, visit_dropped, listing);
}

void
listing_run(struct listing *listing)
{
	const struct msg_queue_filter *filter = &listing->filter;

	listing->ids = BUF(OUT_MOST);
	listing_memory(listing);
	if (!listing->has_failed && !listing->is_memory_only &&
	    (queue_filter_has_state(filter, QUEUE_DEFERRED) ||
	     queue_filter_has_state(filter, QUEUE_HOLD)))
		listing_files(listing);
	if (listing->id_count > 0)
		portion_act(listing);
	if (!listing->has_failed && !listing->is_memory_only &&
	    queue_filter_has_state(filter, QUEUE_MAILDROP))
		listing_dropped(listing);
	buf_free(&listing->ids);
	hash_free(&listing->in_memory, NULL);
}
