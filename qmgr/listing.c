/*
 * listing.c - goes through the queue for an administrator: what is in memory and what waits in
 * files is asked of the scheduler in small portions; cards and files are read here, so that a long
 * list holds up nobody.
 *
 * Nothing is collected but the ids of what is in memory, and those of one portion to act upon.
 */
#include "qmgr/clients.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/queue/dropped.h"
#include "lib/queue/entry.h"
#include "lib/queue/filter.h"

#define PORTION        100 /* messages in one question to the scheduler */
#define LIST_MOST      (20u << 20)
#define FILE_MOST      (1024u << 20)
#define WINDOW_MOST    (1u << 20)
#define CLERK_YIELD_MS 100
#define TASKS_MOST     500 /* of the file thread: it has messages of its own to write, behind them */

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
listing_act(struct client *client, const struct msg_queue_act *act, struct buf *others)
{
	struct slice ids = act->queue_id;
	uint64_t     count = 0;

	while (ids.length > 0) {
		struct ask ask = { .kind = ASK_ACT,
			           .action = (enum queue_action)act->action,
			           .states = act->states,
			           .ids = portion_take(&ids),
			           .out = BUF(PORTION * QUEUE_ID_MOST) };

		files_await(client->qmgr->files);
		ask_wait(client->control, &ask);
		count += ask.count;
		client->has_changed_memory |= ask.is_in_memory;
		if (others != NULL)
			buf_append(others, buf_slice(&ask.out));
		buf_free(&ask.out);
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

bool
listing_settle(struct client *client, enum queue_action action, struct error *error)
{
	struct ask ask = { .kind = ASK_BARRIER, .is_in_memory = client->has_changed_memory };

	client->has_changed_memory = false;
	/* These change only when the next attempt comes. */
	if (action == QUEUE_ACT_FLUSH || action == QUEUE_ACT_REROUTE)
		return true;
	ask_wait(client->control, &ask);
	*error = ask.error;
	return error->text[0] == '\0';
}

static void
portion_act(struct listing *listing)
{
	struct msg_queue_act act = { .action = listing->action,
		                     .queue_id = buf_slice(&listing->ids) };

	listing->count += listing_act(listing->client, &act, NULL);
	act.action = QUEUE_ACT_RELEASE;
	if (listing->is_forced)
		listing_act(listing->client, &act, NULL);
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

/* What is used again for each portion and each file. */
struct files_visit {
	struct listing     *listing;
	struct rows         rows;
	struct cards_window window;
	struct buf          bytes, list;
	struct buf          made; /* cards of this portion that are to be written */
	struct ipc_encoding encoding;
};

static bool
row_is_meant(struct listing *listing, const struct row *row)
{
	return queue_filter_has_state(&listing->filter,
	                              row->is_on_hold ? QUEUE_HOLD : QUEUE_DEFERRED) &&
	       hash_get(&listing->in_memory, slice_from(row->id)) == NULL;
}

/* The backlog knows of a move before it is made: where it is not, it is in the other place. */
static bool
file_read(struct files_visit *visit, const struct row *row)
{
	const enum place places[] = { row->is_on_hold ? PLACE_HOLD : PLACE_DEFERRED,
		                      row->is_on_hold ? PLACE_DEFERRED : PLACE_HOLD };
	char path[64];
	bool is_read = false;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !is_read; i++) {
		queue_file_path(path, places[i], row->id);
		is_read = queue_file_fetch(visit->listing->client->qmgr->queue_fd, path,
		                           &visit->bytes, NULL);
	}
	return is_read;
}

/* From its file, and onto a card; false: delivered meanwhile, or damaged. */
static bool
row_read(struct files_visit *visit, struct row *row, struct msg_queue_entry *entry)
{
	struct queue_file_listing how = { .want_recipients = true };
	struct stored_file        file;
	size_t                    before = visit->made.length;

	if (!file_read(visit, row) || !stored_file_parse(buf_slice(&visit->bytes), &file) ||
	    !queue_entry_from_file(&file, &how, &visit->list, entry))
		return false;
	row->has_new_card = card_append(&visit->made, &visit->encoding, entry);
	if (row->has_new_card) {
		row->card = before; /* its place is known when they are written */
		row->card_bytes = (uint32_t)(visit->made.length - before);
	} else {
		row->has_new_card = row->is_too_long = true;
		visit->made.has_failed = false;
	}
	return true;
}

static void
row_take(struct files_visit *visit, struct row *row)
{
	struct listing        *listing = visit->listing;
	struct slice           id = slice_from(row->id);
	struct msg_queue_entry entry;

	if (!row_is_meant(listing, row))
		return;
	if (listing->action != 0 && !queue_filter_needs_entry(&listing->filter)) {
		listing->has_failed |= !id_chosen(listing, id);
		return;
	}
	if ((row->card == 0 ||
	     !cards_read(&listing->client->qmgr->cards, &visit->window, row->card, id, &entry)) &&
	    !row_read(visit, row, &entry))
		return;
	if (listing->is_silent)
		return;
	entry.state = row->is_on_hold ? QUEUE_HOLD : QUEUE_DEFERRED;
	entry.next_attempt_us = row->due_us;
	entry.is_expired |= row->is_expired;
	listing->has_failed |= !entry_take(listing, &entry);
}

/* The scheduler hears of them with the next question. */
static void
cards_keep(struct files_visit *visit)
{
	struct cards *cards = &visit->listing->client->qmgr->cards;
	uint64_t      first = cards_write(cards, buf_slice(&visit->made));

	for (size_t i = 0; i < visit->rows.count; i++) {
		struct row *row = &visit->rows.items[i];

		if (row->is_too_long)
			row->card = CARD_TOO_LONG;
		else if (row->has_new_card)
			row->card = first == 0 ? 0 : first + row->card;
	}
	buf_clear(&visit->made);
	cards_trim(cards, visit->rows.card_bytes);
}

/* The clerk works half of the time, and not at all while others read the same files. */
static bool
clerk_is_over(const struct listing *listing)
{
	int64_t pause_ms = listing->pause_ms;

	do {
		if (!control_pause(listing->client->control, pause_ms))
			return true;
		pause_ms = CLERK_YIELD_MS;
	} while (atomic_load(&listing->client->qmgr->listings) > 0);
	return false;
}

/* An administrator who has gone away wants no more done. */
static bool
client_is_gone(const struct listing *listing)
{
	struct pollfd one = { .fd = listing->client->channel.fd, .events = POLLRDHUP };

	if (listing->is_silent)
		return clerk_is_over(listing);
	return poll(&one, 1, 0) > 0 && (one.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void
rows_ask(struct files_visit *visit)
{
	struct ask      ask = { .kind = ASK_ROWS, .rows = &visit->rows };
	struct timespec pause = { .tv_nsec = 1000000L };

	ask_wait(visit->listing->client->control, &ask);
	if (visit->rows.count == 0 && !visit->rows.is_over)
		nanosleep(&pause, NULL);
}

static void
portion_visit(struct files_visit *visit)
{
	struct listing *listing = visit->listing;
	int64_t         begin_ms = clock_monotonic_ms();

	rows_ask(visit);
	for (size_t i = 0; i < visit->rows.count && !listing->has_failed; i++)
		row_take(visit, &visit->rows.items[i]);
	cards_keep(visit);
	listing->pause_ms = clock_monotonic_ms() - begin_ms;
	listing->has_failed |= client_is_gone(listing);
}

static void
listing_files(struct listing *listing)
{
	struct files_visit *visit = calloc(1, sizeof(*visit));

	if (visit == NULL) {
		listing->has_failed = true;
		return;
	}
	*visit = (struct files_visit){ .listing = listing,
		                       .rows = { .only = listing->only,
		                                 .wants_cardless = listing->is_silent },
		                       .window = { .bytes = BUF(WINDOW_MOST) },
		                       .bytes = BUF(FILE_MOST),
		                       .list = BUF(LIST_MOST),
		                       .made = BUF(ROWS_AT_ONCE * (CARD_MOST + 64)),
		                       .encoding = { .fields = BUF(CARD_MOST) } };
	while (!visit->rows.is_over && !listing->has_failed)
		portion_visit(visit);
	visit->rows.is_given_up = true;
	rows_ask(visit);
	buf_free(&visit->window.bytes);
	buf_free(&visit->bytes);
	buf_free(&visit->list);
	buf_free(&visit->made);
	buf_free(&visit->encoding.fields);
	free(visit);
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

static void
listing_all(struct listing *listing)
{
	const struct msg_queue_filter *filter = &listing->filter;

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
}

void
listing_run(struct listing *listing)
{
	if (listing->is_silent) {
		listing_files(listing);
		return;
	}
	atomic_fetch_add(&listing->client->qmgr->listings, 1);
	listing->ids = BUF(OUT_MOST);
	listing_all(listing);
	buf_free(&listing->ids);
	hash_free(&listing->in_memory, NULL);
	atomic_fetch_sub(&listing->client->qmgr->listings, 1);
}
