/*
 * outlook.c - answers administrators about destinations: why a message waits, and what they
 * suspend and resume. In the scheduler.
 */
#include "qmgr/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/io/file.h"
#include "lib/queue/filter.h"

#define WAYS_MOST  100
#define AHEAD_MOST 100000
#define LIST_MOST  (900u * 1024)
#define FILE_MOST  (2u << 20)

/* ---- why a message waits ---- */

struct ways {
	struct qmgr    *qmgr;
	struct message *message; /* NULL: in a file */
	struct buf      list;
	size_t          count;
	struct {
		struct slice transport, nexthop;
	} seen[WAYS_MOST];
};

static struct lane *
lane_at(struct ways *ways, const struct destination *destination)
{
	if (ways->message == NULL)
		return NULL;
	LIST_EACH (node, &ways->message->lanes) {
		struct lane *lane = CONTAINER_OF(node, struct lane, in_message);

		if (lane->destination == destination)
			return lane;
	}
	return NULL;
}

/* How many lanes stand before it. */
static uint64_t
lanes_ahead(struct lane *lane)
{
	struct destination *destination = lane->destination;
	struct list_node   *line = lane->is_fresh ? &destination->fresh : &destination->retried;
	uint64_t            ahead = 0;

	for (struct list_node *node = line->next;
	     node != line && node != &lane->in_destination && ahead < AHEAD_MOST; node = node->next)
		ahead++;
	return ahead;
}

static void
way_describe(struct ways *ways, struct msg_queue_way *way, struct transport *transport,
             struct destination *destination)
{
	struct lane *lane = destination == NULL ? NULL : lane_at(ways, destination);

	way->is_transport_deferred = transport->is_deferred;
	way->agents = destination != NULL && destination->is_worker ? destination->agents
	                                                            : transport->agents;
	way->delay_ms = transport->destination_delay_ms > transport->transport_delay_ms
	                        ? transport->destination_delay_ms
	                        : transport->transport_delay_ms;
	LIST_EACH (node, destination != NULL && destination->is_worker ? &destination->idle
	                                                               : &transport->idle)
		way->idle++;
	way->window = (uint32_t)transport->feedback.initial;
	if (destination == NULL)
		return;
	way->is_known = true;
	way->waiting = destination->lanes;
	way->running = (uint32_t)destination->busy;
	way->window = (uint32_t)destination->feedback.window;
	way->ahead = lane == NULL ? 0 : lanes_ahead(lane);
	if ((destination->is_pausing || destination_is_dead(destination)) &&
	    heap_contains(&destination->wake) && destination->wake.when > ways->qmgr->now_ms)
		way->pause_ms = destination->wake.when - ways->qmgr->now_ms;
	else if (heap_contains(&transport->wake) && transport->wake.when > ways->qmgr->now_ms)
		way->pause_ms = transport->wake.when - ways->qmgr->now_ms;
	if (destination_is_dead(destination))
		way->dead_reason = slice_from(destination->dead_reason);
}

static void
way_add(struct ways *ways, struct slice name, struct slice nexthop, struct slice recipient)
{
	struct slice         domain = address_domain(recipient);
	struct schedule     *schedule = &ways->qmgr->schedule;
	struct transport    *transport = hash_get(&schedule->transports, name);
	struct msg_queue_way way = { .transport = name, .nexthop = nexthop, .domain = domain };
	struct buf           list = BUF(8192), key = BUF(128u << 10);

	for (size_t i = 0; i < ways->count; i++)
		if (slice_equal(ways->seen[i].transport, name) &&
		    slice_equal(ways->seen[i].nexthop, nexthop))
			return;
	if (ways->count == WAYS_MOST)
		return;
	ways->seen[ways->count].transport = name;
	ways->seen[ways->count++].nexthop = nexthop;
	if (transport != NULL && schedule_key(transport, nexthop, recipient, &key))
		way_describe(ways, &way, transport,
		             hash_get(&transport->destinations, buf_slice(&key)));
	buf_free(&key);
	const struct suspension *suspension = suspensions_find(&ways->qmgr->suspensions, name,
	                                                       nexthop, domain, ways->qmgr->now_us);
	if (suspension != NULL)
		suspension_append(&list, suspension);
	way.suspension = buf_slice(&list);
	msg_queue_way_append(&ways->list, &way);
	buf_free(&list);
}

/* Where it waits now, then where it went last. */
static void
ways_collect(struct ways *ways, struct slice recipients)
{
	struct msg_queue_recipient one;

	if (ways->message != NULL)
		LIST_EACH (node, &ways->message->lanes) {
			const struct lane   *lane = CONTAINER_OF(node, struct lane, in_message);
			struct msg_recipient first = { 0 };

			message_recipient(ways->message, lane->first, &first);
			way_add(ways, slice_from(lane->destination->transport->name),
			        lane->destination->nexthop, first.address);
		}
	while (msg_queue_recipient_next(&recipients, &one))
		if (one.transport.length > 0)
			way_add(ways, one.transport, one.nexthop, one.address);
}

static void
outlook_memory(const struct qmgr *qmgr, struct msg_queue_outlook *outlook,
               const struct message *message)
{
	(void)qmgr;
	outlook->is_in_memory = true;
	outlook->is_resolving = message->is_resolving;
	outlook->is_flushed = message->is_flushed || message->wants_flush;
	outlook->is_unsaved = message->is_unsaved;
	outlook->jobs = message->jobs;
	outlook->next_us = message->is_round ? 0 : message->next_attempt_us;
}

void
ask_why(struct qmgr *qmgr, struct ask *ask)
{
	const struct parameters *p = qmgr->parameters;
	struct msg_queue_outlook outlook = msg_queue_outlook_clear();
	const struct waiting    *waiting = backlog_find(&qmgr->backlog, ask->ids);
	struct ipc_encoding      encoding = { .fields = BUF(LIST_MOST + 4096) };
	struct ways             *ways = calloc(1, sizeof(*ways));
	struct error             error = ERROR_NONE;

	if (ways == NULL)
		return;
	*ways = (struct ways){ .qmgr = qmgr,
		               .message = message_find(qmgr, ask->ids),
		               .list = BUF(LIST_MOST) };
	if (ways->message != NULL &&
	    (ways->message->backing == BACKED_NOT || !message_load(qmgr, ways->message, &error)))
		ways->message = NULL;
	outlook.now_us = qmgr->now_us;
	outlook.least_s = p->minimal_backoff_time;
	outlook.most_s = p->maximal_backoff_time;
	outlook.lifetime_s = p->maximal_queue_lifetime;
	if (ways->message != NULL && ways->message->sender.length == 0)
		outlook.lifetime_s = p->bounce_queue_lifetime;
	outlook.active = qmgr->messages.count;
	outlook.active_limit = (uint64_t)p->qmgr_message_active_limit;
	if (ways->message != NULL) {
		outlook_memory(qmgr, &outlook, ways->message);
	} else if (waiting != NULL) {
		outlook.is_flushed = waiting->is_flushed;
		outlook.next_us = heap_contains(&waiting->due) ? waiting->due.when : 0;
	}
	ways_collect(ways, ask->recipients);
	outlook.ways = buf_slice(&ways->list);
	ask->count = msg_queue_outlook_encode(&encoding, &outlook) &&
	             buf_append(&ask->out, buf_slice(&encoding.fields));
	if (ways->message != NULL)
		message_trim(qmgr, ways->message);
	buf_free(&ways->list);
	free(ways);
	buf_free(&encoding.fields);
}

/* ---- suspending ---- */

/* Written by the scheduler itself. LIMIT: mail waits for that sync; it is asked for by hand. */
static bool
suspensions_save(struct qmgr *qmgr, struct error *error)
{
	struct buf text = BUF(FILE_MOST);

	if (qmgr->wants_suspensions)
		return error_set(error, "state/suspended could not be read yet");
	bool is_saved = suspensions_write(&qmgr->suspensions, &text);
	if (!is_saved)
		error_set(error, "out of memory");
	else
		is_saved = file_replace(qmgr->state_fd, "suspended", buf_slice(&text), 0600, error);
	buf_free(&text);
	return is_saved;
}

static bool
suspensions_open(struct qmgr *qmgr, struct error *error)
{
	struct buf text = BUF(FILE_MOST);
	int        fd = openat(qmgr->state_fd, "suspended", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return errno == ENOENT || error_set_errno(error, "open state/suspended");
	bool is_read = file_read_all(fd, &text, "state/suspended", error);
	if (is_read && !suspensions_read(&qmgr->suspensions, buf_slice(&text)))
		is_read = error_set(error, "read state/suspended: out of memory");
	close(fd);
	buf_free(&text);
	return is_read;
}

void
suspensions_load(struct qmgr *qmgr)
{
	struct error error = ERROR_NONE;
	bool         is_read = false;

	/* Twice, since mail for what is suspended goes out when it is not known. */
	for (int i = 0; i < 2 && !is_read; i++)
		is_read = suspensions_open(qmgr, &error);
	if (!is_read && !qmgr->wants_suspensions)
		log_error("%s: tried again, suspensions by hand do not hold until then",
		          error.text);
	qmgr->wants_suspensions = !is_read;
	suspensions_expire(&qmgr->suspensions, qmgr->now_us);
	if (is_read && qmgr->suspensions.count > 0)
		log_info("%zu destinations are suspended by hand", qmgr->suspensions.count);
}

void
suspensions_tick(struct qmgr *qmgr)
{
	struct error error = ERROR_NONE;

	if (qmgr->wants_suspensions)
		suspensions_load(qmgr);
	if (!suspensions_expire(&qmgr->suspensions, qmgr->now_us))
		return;
	log_info("a suspension is over, %zu are left", qmgr->suspensions.count);
	(void)suspensions_save(qmgr, &error); /* the next start forgets it anyway */
}

struct found {
	const struct suspension *suspension;
	ARRAY(struct destination *) items;
};

static void
destination_visit(struct slice key, void *value, void *context)
{
	struct destination *destination = value;
	struct found       *found = context;
	struct slice        nexthop = slice_from(found->suspension->nexthop);

	if (destination->lanes > 0 && (nexthop.length == 0 || slice_equal_fold(nexthop, key)))
		(void)ARRAY_PUSH(&found->items, destination);
}

void
suspension_reason(const struct suspension *suspension, struct buf *text)
{
	buf_append_text(text, "delivery temporarily suspended: ");
	buf_append_text(text,
	                suspension->reason[0] == '\0' ? "by an administrator" : suspension->reason);
}

/* What is in line there already. */
static void
destinations_defer(struct qmgr *qmgr, const struct suspension *suspension)
{
	struct transport *transport =
		hash_get(&qmgr->schedule.transports, slice_from(suspension->transport));
	struct found found = { .suspension = suspension };
	struct buf   text = BUF(1024);

	if (transport == NULL)
		return;
	suspension_reason(suspension, &text);
	hash_each(&transport->destinations, destination_visit, &found);
	for (size_t i = 0; i < found.items.count; i++) {
		LIST_EACH (node, &found.items.items[i]->fresh)
			suspension_wait(qmgr,
			                CONTAINER_OF(node, struct lane, in_destination)->message,
			                suspension);
		LIST_EACH (node, &found.items.items[i]->retried)
			suspension_wait(qmgr,
			                CONTAINER_OF(node, struct lane, in_destination)->message,
			                suspension);
		destination_defer_all(qmgr, found.items.items[i], SLICE("4.3.2"), buf_slice(&text));
	}
	ARRAY_FREE(&found.items);
	buf_free(&text);
}

void
suspension_wait(struct qmgr *qmgr, struct message *message, const struct suspension *suspension)
{
	(void)qmgr;
	if (suspension->until_us != 0 &&
	    (message->resume_us == 0 || suspension->until_us < message->resume_us))
		message->resume_us = suspension->until_us;
}

void
ask_suspend(struct qmgr *qmgr, struct ask *ask)
{
	const struct msg_queue_suspension *asked = ask->suspension;
	struct msg_queue_suspension        wanted = *asked;
	enum suspend_change                change;

	wanted.since_us = qmgr->now_us;
	change = ask->is_resumed
	                 ? suspensions_remove(&qmgr->suspensions, asked->transport, asked->nexthop)
	                 : suspensions_add(&qmgr->suspensions, &wanted);
	if (change == SUSPEND_FAILED || change == SUSPEND_NO_MEMORY) {
		error_set(&ask->error, "%s",
		          change == SUSPEND_FAILED
		                  ? "too many suspensions, or text that is too long"
		                  : "out of memory");
		return;
	}
	if (change == SUSPEND_UNCHANGED)
		return;
	ask->count = 1;
	log_info("%.*s%s%.*s: %s by hand", SLICE_ARGS(asked->transport),
	         asked->transport.length == 0 ? "" : ":", SLICE_ARGS(asked->nexthop),
	         ask->is_resumed ? "resumed" : "suspended");
	(void)suspensions_save(qmgr, &ask->error);
	if (!ask->is_resumed && asked->transport.length > 0)
		destinations_defer(qmgr, CONTAINER_OF(qmgr->suspensions.all.previous,
		                                      struct suspension, in_all));
}
