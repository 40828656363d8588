/* schedule.c - see schedule.h. */
#include "qmgr/schedule.h"

#include <stdlib.h>

#define PROVEN_MS 60000

/* What the nodes in the heap of wakes belong to. */
static struct destination *
destination_of_wake(struct heap_node *node)
{
	return CONTAINER_OF(node, struct destination, wake);
}

void
schedule_init(struct schedule *schedule, const struct snapshot *snapshot)
{
	*schedule = (struct schedule){ .snapshot = snapshot,
		                       .parameters = snapshot_parameters(snapshot) };
	list_init(&schedule->all_transports);
}

static void
destination_free(void *value)
{
	struct destination *destination = value;

	if (destination == NULL)
		return;
	free(destination->key);
	free(destination);
}

static void
transport_free(void *value)
{
	struct transport *transport = value;

	if (transport == NULL)
		return;
	hash_free(&transport->destinations, destination_free);
	free(transport->name);
	free(transport);
}

void
schedule_free(struct schedule *schedule)
{
	heap_free(&schedule->wakes);
	hash_free(&schedule->transports, transport_free);
}

/* ---- transports ---- */

struct transport *
schedule_transport(struct schedule *schedule, struct slice name)
{
	struct transport *transport = hash_get(&schedule->transports, name);

	if (transport != NULL)
		return transport;
	transport = calloc(1, sizeof(*transport));
	if (transport == NULL)
		return NULL;
	transport->schedule = schedule;
	transport->name = strndup(name.data, name.length);
	for (size_t i = 0; i < READY_LINES; i++) {
		list_init(&transport->ready[i][false]);
		list_init(&transport->ready[i][true]);
	}
	list_init(&transport->waiting);
	list_init(&transport->idle);
	list_init(&transport->in_all);
	if (transport->name == NULL || !hash_put(&schedule->transports, name, transport, NULL)) {
		transport_free(transport);
		return NULL;
	}
	list_append(&schedule->all_transports, &transport->in_all);
	transport_configure(transport);
	return transport;
}

/* ---- destinations ---- */

bool
schedule_key(const struct transport *transport, struct slice nexthop, struct slice recipient,
             struct buf *key)
{
	buf_clear(key);
	buf_append(key, nexthop);
	if (transport->recipient_limit == 1) {
		buf_append_byte(key, '\n');
		buf_append(key, recipient);
	}
	return !key->has_failed;
}

struct destination *
schedule_destination(struct transport *transport, struct slice key)
{
	struct destination *destination = hash_get(&transport->destinations, key);

	if (destination != NULL)
		return destination;
	destination = calloc(1, sizeof(*destination));
	if (destination == NULL)
		return NULL;
	destination->transport = transport;
	destination->key = strndup(key.data, key.length);
	destination->nexthop =
		slice_first(slice_from(destination->key), slice_find_byte(key, '\n'));
	list_init(&destination->fresh);
	list_init(&destination->retried);
	list_init(&destination->in_ready);
	list_init(&destination->in_waiting);
	list_init(&destination->idle);
	feedback_init(&destination->feedback, &transport->feedback);
	if (destination->key == NULL ||
	    !hash_put(&transport->destinations, key, destination, NULL)) {
		destination_free(destination);
		return NULL;
	}
	return destination;
}

/*
 * Until when it is remembered: that it answers, so that its next mail is no probe; that it did
 * not, so that its next mail lets others pass.
 */
static int64_t
memory_end(const struct destination *destination)
{
	const struct parameters *p = destination->transport->schedule->parameters;

	if (destination->is_worker)
		return 0;
	if (destination->is_proven)
		return destination->learnt_ms + PROVEN_MS;
	return destination->is_suspect ? destination->learnt_ms + p->maximal_backoff_time * 1000
	                               : 0;
}

void
destination_rest(struct destination *destination)
{
	struct schedule *schedule = destination->transport->schedule;

	if (destination->lanes > 0 || destination->busy > 0 || destination->agents > 0 ||
	    destination->is_pausing || destination_is_dead(destination))
		return;
	if (memory_end(destination) > schedule->now_ms &&
	    (heap_contains(&destination->wake) ||
	     heap_insert(&schedule->wakes, &destination->wake, memory_end(destination))))
		return;
	if (heap_contains(&destination->wake))
		heap_remove(&schedule->wakes, &destination->wake);
	list_remove(&destination->in_ready);
	list_remove(&destination->in_waiting);
	hash_remove(&destination->transport->destinations, slice_from(destination->key));
	destination_free(destination);
}

bool
destination_is_dead(const struct destination *destination)
{
	return destination->feedback.window == 0;
}

/* ---- time ---- */

int64_t
schedule_next_wake(const struct schedule *schedule)
{
	const struct heap_node *node = heap_first(&schedule->wakes);

	return node == NULL ? INT64_MAX : node->when;
}

/* Dead: it may be tried again, with one job. Idle: it may have been remembered long enough. */
static void
destination_wake(struct destination *destination, int64_t now_ms)
{
	destination->is_pausing = false;
	if (destination_is_dead(destination)) {
		feedback_init(&destination->feedback, &destination->transport->feedback);
		destination_suspect(destination, destination->learnt_ms);
	}
	if (destination->lanes == 0 && destination->busy == 0 &&
	    now_ms >= memory_end(destination)) {
		destination->is_proven = false;
		destination_set_suspect(destination, false);
	}
	destination_review(destination);
	destination_rest(destination);
}

/* Whether the node is a transport's: those are few, so they are looked through. */
static struct transport *
transport_of_wake(struct schedule *schedule, struct heap_node *node)
{
	LIST_EACH (each, &schedule->all_transports) {
		struct transport *transport = CONTAINER_OF(each, struct transport, in_all);

		if (&transport->wake == node)
			return transport;
	}
	return NULL;
}

static void
wake_one(struct schedule *schedule, struct heap_node *node)
{
	struct transport *transport = transport_of_wake(schedule, node);

	if (transport != NULL)
		transport->is_pausing = false;
	else
		destination_wake(destination_of_wake(node), schedule->now_ms);
}

void
schedule_wake(struct schedule *schedule, int64_t now_ms)
{
	struct heap_node *node;

	schedule->now_ms = now_ms;
	while ((node = heap_first(&schedule->wakes)) != NULL && node->when <= now_ms) {
		heap_remove(&schedule->wakes, node);
		wake_one(schedule, node);
	}
}

void
schedule_revive(struct schedule *schedule)
{
	struct heap all = schedule->wakes;

	/* What is only remembered goes back in. */
	schedule->wakes = (struct heap){ 0 };
	for (size_t i = 0; i < all.count; i++)
		all.nodes[i]->index = 0;
	for (size_t i = 0; i < all.count; i++)
		wake_one(schedule, all.nodes[i]);
	heap_free(&all);
}
