/* schedule.c - see schedule.h. */
#include "qmgr/schedule.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/base/number.h"

#define PROVEN_MS   60000
#define FRESH_TURNS 4 /* of five turns, when both kinds wait */

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

static void
feedback_setting(const struct transport *transport, const char *suffix, const char *standard,
                 struct feedback_rule *rule)
{
	char name[200];

	snprintf(name, sizeof(name), "%s%s", transport->name, suffix);
	const char *text = snapshot_value(transport->schedule->snapshot, name);
	if (text == NULL || *text == '\0')
		text = standard;
	if (!feedback_parse(slice_from(text), rule)) {
		log_warning("%s: \"%s\" is no feedback rule, 1 is used", name, text);
		*rule = (struct feedback_rule){ 1, FEEDBACK_FIXED };
	}
}

static int
number_setting(const struct transport *transport, const char *suffix)
{
	int64_t number =
		snapshot_transport_number(transport->schedule->snapshot, transport->name, suffix);

	return number < 0 ? 0 : number > 1000000 ? 1000000 : (int)number;
}

static bool
is_in_words(struct slice word, const char *words)
{
	struct slice rest = slice_from(words), one;

	while (slice_next_word(&rest, ", \t\r\n", &one))
		if (slice_equal(one, word))
			return true;
	return false;
}

static void
transport_configure(struct transport *transport)
{
	const struct parameters *p = transport->schedule->parameters;
	char                     name[200];
	int64_t                  number;

	feedback_setting(transport, "_destination_concurrency_positive_feedback",
	                 p->default_destination_concurrency_positive_feedback,
	                 &transport->feedback.positive);
	feedback_setting(transport, "_destination_concurrency_negative_feedback",
	                 p->default_destination_concurrency_negative_feedback,
	                 &transport->feedback.negative);
	transport->feedback.limit = number_setting(transport, "_destination_concurrency_limit");
	transport->feedback.failed_cohort_limit =
		number_setting(transport, "_destination_concurrency_failed_cohort_limit");
	transport->recipient_limit =
		(uint32_t)number_setting(transport, "_destination_recipient_limit");
	transport->destination_delay_ms =
		(int64_t)number_setting(transport, "_destination_rate_delay") * 1000;
	transport->transport_delay_ms =
		(int64_t)number_setting(transport, "_transport_rate_delay") * 1000;
	snprintf(name, sizeof(name), "%s_initial_destination_concurrency", transport->name);
	const char *initial = snapshot_value(transport->schedule->snapshot, name);
	transport->feedback.initial =
		initial != NULL && number_parse(slice_from(initial), 1, 100000, &number)
			? (int)number
			: (int)p->initial_destination_concurrency;
	if (transport->destination_delay_ms > 0)
		transport->feedback.limit = transport->feedback.initial = 1;
	transport->is_deferred = is_in_words(slice_from(transport->name), p->defer_transports);
}

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
	for (size_t i = 0; i < READY_LINES; i++)
		list_init(&transport->ready[i]);
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

void
destination_rest(struct destination *destination)
{
	if (destination->lanes > 0 || destination->busy > 0 || destination->agents > 0 ||
	    destination->is_pausing || destination_is_dead(destination))
		return;
	/* That it answers is remembered for a while: its next mail is no probe. */
	if (destination->is_proven && !destination->is_worker &&
	    (heap_contains(&destination->wake) ||
	     heap_insert(&destination->transport->schedule->wakes, &destination->wake,
	                 destination->proven_ms + PROVEN_MS)))
		return;
	if (heap_contains(&destination->wake))
		heap_remove(&destination->transport->schedule->wakes, &destination->wake);
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
	/* One probe at a time: the first answer of the living is not to wait for a second try at
	 * the dead. */
	if (!destination->is_proven && list_is_empty(&destination->fresh) &&
	    destination->probes > 0)
		return false;
	return destination->busy < destination->feedback.window;
}

static enum ready_line
line_of(const struct destination *destination)
{
	if (destination->letters > 0)
		return READY_LETTER;
	if (!list_is_empty(&destination->fresh))
		return READY_LIST;
	return destination->is_proven || destination->is_worker ? READY_PROVEN : READY_PROBE;
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
	enum ready_line line = line_of(destination);
	if (is_in && destination->line == line)
		return;
	list_remove(&destination->in_ready);
	destination->line = line;
	list_append(&destination->transport->ready[line], &destination->in_ready);
}

/* Three quarters of its agents may look whether what failed goes now; at least one job. */
static bool
may_probe(const struct transport *transport)
{
	return transport->probes == 0 || transport->probes < transport->room * 3 / 4;
}

/*
 * Which line comes first at a turn. Letters have three turns of five, lists one, what is tried
 * again one; a turn that nobody wants there goes to the next kind.
 */
#define TURNS 10
static const enum ready_line turn_order[TURNS][READY_LINES] = {
	{ READY_LETTER, READY_LIST, READY_PROVEN, READY_PROBE },
	{ READY_LETTER, READY_LIST, READY_PROBE, READY_PROVEN },
	{ READY_LIST, READY_LETTER, READY_PROVEN, READY_PROBE },
	{ READY_LETTER, READY_LIST, READY_PROBE, READY_PROVEN },
	{ READY_PROVEN, READY_PROBE, READY_LETTER, READY_LIST },
	{ READY_LETTER, READY_LIST, READY_PROVEN, READY_PROBE },
	{ READY_LETTER, READY_LIST, READY_PROBE, READY_PROVEN },
	{ READY_LIST, READY_LETTER, READY_PROVEN, READY_PROBE },
	{ READY_LETTER, READY_LIST, READY_PROBE, READY_PROVEN },
	{ READY_PROBE, READY_PROVEN, READY_LETTER, READY_LIST },
};

struct destination *
transport_next(struct transport *transport)
{
	const enum ready_line *order = turn_order[transport->turn % TURNS];

	if (transport->is_pausing)
		return NULL;
	for (size_t i = 0; i < READY_LINES; i++) {
		struct list_node *node = list_first(&transport->ready[order[i]]);

		if (node != NULL && (order[i] != READY_PROBE || may_probe(transport)))
			return CONTAINER_OF(node, struct destination, in_ready);
	}
	return NULL;
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

	destination->busy++;
	transport->turn++;
	if (destination->line == READY_PROBE) {
		destination->probes++;
		transport->probes++;
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
	destination->probes -= count;
	destination->transport->probes -= (size_t)count;
}

void
destination_job_ended(struct destination *destination, enum destination_report report,
                      struct slice reason, int64_t now_ms)
{
	struct transport *transport = destination->transport;

	switch (report) {
	case DESTINATION_OK:
		destination->is_proven = true;
		destination->proven_ms = now_ms;
		probes_end(destination, destination->probes);
		feedback_success(&destination->feedback, &transport->feedback, destination->busy);
		break;
	case DESTINATION_FAILED:
		if (!feedback_failure(&destination->feedback, &transport->feedback))
			break;
		destination->is_proven = false;
		snprintf(destination->dead_reason, sizeof(destination->dead_reason), "%.*s",
		         SLICE_ARGS(reason));
		destination_pause(destination,
		                  now_ms + transport->schedule->parameters->minimal_backoff_time *
		                                   1000);
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

static void
destination_wake(struct destination *destination)
{
	destination->is_pausing = false;
	if (destination->lanes == 0 && destination->busy == 0)
		destination->is_proven = false;
	if (destination_is_dead(destination))
		feedback_init(&destination->feedback, &destination->transport->feedback);
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

	heap_remove(&schedule->wakes, node);
	if (transport != NULL)
		transport->is_pausing = false;
	else
		destination_wake(destination_of_wake(node));
}

void
schedule_wake(struct schedule *schedule, int64_t now_ms)
{
	struct heap_node *node;

	while ((node = heap_first(&schedule->wakes)) != NULL && node->when <= now_ms)
		wake_one(schedule, node);
}

void
schedule_revive(struct schedule *schedule)
{
	struct heap_node *node;

	while ((node = heap_first(&schedule->wakes)) != NULL)
		wake_one(schedule, node);
}
