/* turns.c - whose turn it is: a transport's lines of destinations, a destination's lines of lanes.
 */
#include "qmgr/schedule.h"

#define FRESH_TURNS  4  /* of five turns, when both kinds wait */
#define RESERVE_MOST 50 /* agents that have no probes; see schedule.h */

/* ---- which line a destination is in ---- */

bool
destination_is_ready(const struct destination *destination)
{
	if (destination->lanes == 0 || destination->is_pausing || destination_is_dead(destination))
		return false;
	/* The pause is between deliveries: there is one at a time, a worker's, too. */
	if (destination->transport->destination_delay_ms > 0 && destination->busy > 0)
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

bool
destination_is_unproven(const struct destination *destination)
{
	return !destination->is_proven && !destination->is_worker;
}

static enum ready_line
line_of(const struct destination *destination)
{
	if (destination_is_unproven(destination) && destination->is_suspect)
		return READY_SUSPECT;
	if (destination_is_unproven(destination) && destination->probes > 0)
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
		&destination->transport
			 ->ready[line_of(destination)][destination_is_unproven(destination)];
	if (is_in && destination->line == line)
		return;
	list_remove(&destination->in_ready);
	destination->line = line;
	list_append(line, &destination->in_ready);
}

/* ---- probes ---- */

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

/* ---- a transport's turns ---- */

/*
 * Which line comes first at a turn. Letters have six turns of ten, lists two, what is tried
 * again and suspects one each; a turn that nobody wants there goes to the next kind.
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

/* As many jobs are under way there as the process limit says: lent agents are no reason for more
 * connections to one destination. */
static bool
is_full(const struct destination *destination)
{
	size_t own = destination->transport->room - destination->transport->lent;

	return own > 0 && destination->busy > 0 && (size_t)destination->busy >= own;
}

static struct destination *
line_first(struct transport *transport, enum ready_line line, bool is_new)
{
	if (is_new && !may_probe(transport, line))
		return NULL;
	LIST_EACH (node, &transport->ready[line][is_new]) {
		struct destination *destination = CONTAINER_OF(node, struct destination, in_ready);

		if (destination->is_worker || !is_full(destination))
			return destination;
	}
	return NULL;
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

/* So long an agent may take to come when the suite has just been started, or reloaded. */
#define NEVER_SERVED_MS 10000

bool
transport_is_given_up(struct transport *transport, int64_t now_ms)
{
	if (transport->agents > 0 || list_is_empty(&transport->waiting))
		return false;
	if (transport->unserved_since_ms == 0)
		transport->unserved_since_ms = now_ms;
	int64_t wait_ms = transport->schedule->parameters->transport_retry_time * 1000;
	if (!transport->was_served && wait_ms > NEVER_SERVED_MS)
		wait_ms = NEVER_SERVED_MS;
	if (now_ms - transport->unserved_since_ms < wait_ms)
		return false;
	transport->unserved_since_ms = now_ms;
	return true;
}

/* ---- a destination's turns ---- */

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
