/* schedule.c - see schedule.h. */
#include "qmgr/schedule.h"

#include <stdio.h>
#include <stdlib.h>

#define PROVEN_MS   60000
#define FRESH_TURNS 4 /* of five turns, when both kinds wait */

/* Probes; see schedule.h. */
#define RESERVE_MOST      50   /* agents */
#define PATIENCE_MS       2000 /* doubled with each silence */
#define PATIENCE_DOUBLING 16

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

bool
destination_is_ready(const struct destination *destination)
{
	if (destination->lanes == 0 || destination->is_pausing || destination_is_dead(destination))
		return false;
	/* A worker writes to local files: its channel's window is the only limit, unless it runs
	 * a user's commands. */
	if (destination->is_worker && destination->worker_limit > 0 &&
	    destination->busy >= destination->worker_limit)
		return false;
	if (destination->is_worker)
		return !list_is_empty(&destination->idle) ||
		       destination->agents < (size_t)destination->transport->schedule->parameters
		                                     ->qmgr_worker_channel_limit;
	if (destination->is_suspect && destination->probes > 0)
		return false;
	return destination->busy < destination->feedback.window;
}

static bool
is_unproven(const struct destination *destination)
{
	return !destination->is_proven && !destination->is_worker;
}

static enum ready_line
line_of(const struct destination *destination)
{
	if (is_unproven(destination) && destination->is_suspect)
		return READY_SUSPECT;
	if (is_unproven(destination) && destination->probes > 0)
		return READY_MORE;
	if (destination->letters > 0)
		return READY_LETTER;
	return list_is_empty(&destination->fresh) ? READY_AGAIN : READY_LIST;
}

/* Puts it in its transport's line, or takes it out. */
void
destination_review(struct destination *destination)
{
	bool is_in = !list_is_empty(&destination->in_ready);

	if (destination->lanes > 0 && list_is_empty(&destination->in_waiting))
		list_append(&destination->transport->waiting, &destination->in_waiting);
	if (destination->lanes == 0)
		list_remove(&destination->in_waiting);
	if (!destination_is_ready(destination)) {
		if (is_in)
			list_remove(&destination->in_ready);
		return;
	}
	struct list_node *line =
		&destination->transport->ready[line_of(destination)][is_unproven(destination)];
	if (is_in && destination->line == line)
		return;
	list_remove(&destination->in_ready);
	destination->line = line;
	list_append(line, &destination->in_ready);
}

/* How many of its agents may be at probes: all but half of its own less one, 50 at most. */
static size_t
probes_most(const struct transport *transport)
{
	size_t own = transport->room - transport->lent;
	size_t reserve = own < 4 ? 0 : own / 2 - 1;

	return transport->room - (reserve < RESERVE_MOST ? reserve : RESERVE_MOST);
}

/* Whether a destination that nothing is known of waits. */
static bool
has_unknown(const struct transport *transport)
{
	return !list_is_empty(&transport->ready[READY_LETTER][true]) ||
	       !list_is_empty(&transport->ready[READY_LIST][true]) ||
	       !list_is_empty(&transport->ready[READY_AGAIN][true]);
}

/* Whether one more job may go where nobody has answered yet; one always may. */
static bool
may_probe(const struct transport *transport, enum ready_line line)
{
	size_t most = probes_most(transport);
	size_t suspect_most = has_unknown(transport) ? most / 4 : most * 3 / 4;

	if (transport->probes == 0)
		return true;
	if (line == READY_SUSPECT && transport->suspect_probes > 0 &&
	    transport->suspect_probes >= suspect_most)
		return false;
	return transport->probes < most;
}

int64_t
destination_patience(const struct destination *destination)
{
	const struct transport *transport = destination->transport;
	unsigned                doublings = destination->silences;

	if (!is_unproven(destination) || transport->probes * 4 < transport->room ||
	    doublings >= PATIENCE_DOUBLING)
		return 0;
	return (int64_t)PATIENCE_MS << doublings;
}

/*
 * Which line comes first at a turn. Letters have three turns of five, lists one, what is tried
 * again one; a turn that nobody wants there goes to the next kind.
 */
#define TURNS 10
#define KINDS 4
static const enum ready_line turn_order[TURNS][KINDS] = {
	{ READY_LETTER, READY_LIST, READY_AGAIN, READY_SUSPECT },
	{ READY_LETTER, READY_LIST, READY_SUSPECT, READY_AGAIN },
	{ READY_LIST, READY_LETTER, READY_AGAIN, READY_SUSPECT },
	{ READY_LETTER, READY_LIST, READY_SUSPECT, READY_AGAIN },
	{ READY_AGAIN, READY_SUSPECT, READY_LETTER, READY_LIST },
	{ READY_LETTER, READY_LIST, READY_AGAIN, READY_SUSPECT },
	{ READY_LETTER, READY_LIST, READY_SUSPECT, READY_AGAIN },
	{ READY_LIST, READY_LETTER, READY_AGAIN, READY_SUSPECT },
	{ READY_LETTER, READY_LIST, READY_SUSPECT, READY_AGAIN },
	{ READY_SUSPECT, READY_AGAIN, READY_LETTER, READY_LIST },
};

static struct destination *
line_first(struct transport *transport, enum ready_line line, bool is_new)
{
	struct list_node *node = list_first(&transport->ready[line][is_new]);

	return node == NULL || (is_new && !may_probe(transport, line))
	               ? NULL
	               : CONTAINER_OF(node, struct destination, in_ready);
}

struct destination *
transport_next(struct transport *transport)
{
	unsigned               turn = transport->turn;
	const enum ready_line *order = turn_order[turn % TURNS];
	/* Each kind comes at odd and even turns alike. */
	bool                is_new = (turn + turn / TURNS) % 2 == 0;
	struct destination *next = NULL;

	if (transport->is_pausing)
		return NULL;
	for (size_t i = 0; i < KINDS && next == NULL; i++) {
		next = line_first(transport, order[i], is_new);
		if (next == NULL)
			next = line_first(transport, order[i], !is_new);
	}
	return next != NULL ? next : line_first(transport, READY_MORE, true);
}

bool
transport_is_given_up(struct transport *transport, int64_t now_ms)
{
	if (transport->agents > 0 || list_is_empty(&transport->waiting))
		return false;
	if (transport->unserved_since_ms == 0)
		transport->unserved_since_ms = now_ms;
	if (now_ms - transport->unserved_since_ms <
	    transport->schedule->parameters->transport_retry_time * 1000)
		return false;
	transport->unserved_since_ms = now_ms;
	return true;
}

/* ---- lanes ---- */

static bool
is_letter(const struct lane *lane)
{
	return lane->is_fresh && !lane->is_list;
}

void
lane_enter(struct lane *lane)
{
	struct destination *destination = lane->destination;
	struct list_node   *line = lane->is_fresh ? &destination->fresh : &destination->retried;

	if (!list_is_empty(&lane->in_destination))
		return;
	list_append(line, &lane->in_destination);
	destination->lanes++;
	destination->letters += is_letter(lane);
	destination->transport->schedule->suspect_lanes += destination->is_suspect;
	destination_review(destination);
}

void
lane_leave(struct lane *lane)
{
	if (list_is_empty(&lane->in_destination))
		return;
	list_remove(&lane->in_destination);
	lane->destination->lanes--;
	lane->destination->letters -= is_letter(lane);
	lane->destination->transport->schedule->suspect_lanes -= lane->destination->is_suspect;
	destination_review(lane->destination);
}

struct lane *
destination_next_lane(struct destination *destination)
{
	struct list_node *fresh = list_first(&destination->fresh);
	struct list_node *node = list_first(&destination->retried);

	if (fresh != NULL &&
	    (node == NULL || destination->turn++ % (FRESH_TURNS + 1) != FRESH_TURNS))
		node = fresh;
	if (node == NULL)
		return NULL;
	struct lane *lane = CONTAINER_OF(node, struct lane, in_destination);
	list_remove(node);
	list_append(lane->is_fresh ? &destination->fresh : &destination->retried, node);
	return lane;
}

/* ---- jobs ---- */

void
destination_pause(struct destination *destination, int64_t until_ms)
{
	struct heap *wakes = &destination->transport->schedule->wakes;

	destination->is_pausing = true;
	if (heap_contains(&destination->wake))
		heap_move(wakes, &destination->wake, until_ms);
	else if (!heap_insert(wakes, &destination->wake, until_ms))
		destination->is_pausing = false; /* no memory: rather too soon than never */
	destination_review(destination);
}

void
destination_job_begun(struct destination *destination, int64_t now_ms)
{
	struct transport *transport = destination->transport;

	transport->schedule->now_ms = now_ms;
	destination->busy++;
	transport->turn++;
	if (is_unproven(destination)) {
		destination->probes++;
		transport->probes++;
		destination->suspect_probes += destination->is_suspect;
		transport->suspect_probes += destination->is_suspect;
	}
	if (transport->transport_delay_ms > 0 && !transport->is_pausing &&
	    heap_insert(&transport->schedule->wakes, &transport->wake,
	                now_ms + transport->transport_delay_ms))
		transport->is_pausing = true;
	/* Its turn is over: to the end of the line. */
	list_remove(&destination->in_ready);
	destination_review(destination);
}

static void
probes_end(struct destination *destination, int count)
{
	struct transport *transport = destination->transport;

	destination->probes -= count;
	transport->probes -= (size_t)count;
	if (destination->suspect_probes > destination->probes) {
		transport->suspect_probes -=
			(size_t)(destination->suspect_probes - destination->probes);
		destination->suspect_probes = destination->probes;
	}
}

static void
set_suspect(struct destination *destination, bool is_suspect)
{
	size_t *lanes = &destination->transport->schedule->suspect_lanes;

	if (is_suspect && !destination->is_suspect)
		*lanes += destination->lanes;
	else if (!is_suspect && destination->is_suspect)
		*lanes -= destination->lanes;
	destination->is_suspect = is_suspect;
}

void
destination_suspect(struct destination *destination, int64_t now_ms)
{
	if (!is_unproven(destination))
		return;
	set_suspect(destination, true);
	destination->learnt_ms = now_ms;
	/* It is tried with one job at a time, so a cohort is one job. */
	if (destination->feedback.window > 1)
		destination->feedback.window = 1;
	destination_review(destination);
}

bool
destination_is_crowded(const struct destination *destination)
{
	const struct schedule *schedule = destination->transport->schedule;
	size_t                 most = (size_t)schedule->parameters->qmgr_message_active_limit;

	return is_unproven(destination) && destination->is_suspect && destination->lanes > 0 &&
	       schedule->suspect_lanes >= (most * 3 + 7) / 8;
}

static void
destination_answered(struct destination *destination, int64_t now_ms)
{
	destination->is_proven = true;
	destination->learnt_ms = now_ms;
	destination->silences = 0;
	probes_end(destination, destination->probes);
	if (destination->is_suspect)
		feedback_init(&destination->feedback, &destination->transport->feedback);
	set_suspect(destination, false);
}

static void
destination_died(struct destination *destination, struct slice reason, int64_t now_ms)
{
	const struct parameters *p = destination->transport->schedule->parameters;

	destination->is_proven = false;
	destination->silences = 0;
	snprintf(destination->dead_reason, sizeof(destination->dead_reason), "%.*s",
	         SLICE_ARGS(reason));
	destination_pause(destination, now_ms + p->minimal_backoff_time * 1000);
}

void
destination_job_ended(struct destination *destination, enum destination_report report,
                      struct slice reason, int64_t now_ms)
{
	struct transport *transport = destination->transport;

	transport->schedule->now_ms = now_ms;
	switch (report) {
	case DESTINATION_OK:
		destination_answered(destination, now_ms);
		feedback_success(&destination->feedback, &transport->feedback, destination->busy);
		break;
	case DESTINATION_FAILED:
		if (feedback_failure(&destination->feedback, &transport->feedback))
			destination_died(destination, reason, now_ms);
		if (is_unproven(destination)) {
			set_suspect(destination, true);
			destination->learnt_ms = now_ms;
		}
		break;
	case DESTINATION_SILENT:
		destination->silences++;
		destination_suspect(destination, now_ms);
		break;
	case DESTINATION_NEUTRAL: break;
	}
	destination->busy--;
	if (destination->probes > destination->busy)
		probes_end(destination, 1);
	if (transport->destination_delay_ms > 0 && !destination_is_dead(destination))
		destination_pause(destination, now_ms + transport->destination_delay_ms);
	destination_review(destination);
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
		set_suspect(destination, false);
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
