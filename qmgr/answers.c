/* answers.c - what its jobs teach of a destination: whether it answers, and how long to wait for
 * that. */
#include "qmgr/schedule.h"

#include <stdio.h>

#define PATIENCE_MS       2000 /* of a probe; doubled with each silence, see schedule.h */
#define PATIENCE_DOUBLING 16

int64_t
destination_patience(const struct destination *destination)
{
	const struct transport *transport = destination->transport;
	unsigned                doublings = destination->silences;

	if (!destination_is_unproven(destination) || transport->probes * 4 < transport->room ||
	    doublings >= PATIENCE_DOUBLING)
		return 0;
	return (int64_t)PATIENCE_MS << doublings;
}

void
destination_pause(struct destination *destination, int64_t until_ms)
{
	struct heap *wakes = &destination->transport->schedule->wakes;

	destination->is_pausing = true;
	if (heap_contains(&destination->wake))
		heap_move(wakes, &destination->wake, until_ms);
	else if (!heap_insert(wakes, &destination->wake, until_ms)) {
		/* No memory: rather too soon than never. */
		destination->is_pausing = false;
		if (destination_is_dead(destination))
			feedback_init(&destination->feedback, &destination->transport->feedback);
	}
	destination_review(destination);
}

/* One delivery of the transport at a time, and a pause behind each, as postconf(5) has it. */
static void
transport_pause(struct transport *transport, int64_t until_ms)
{
	struct heap *wakes = &transport->schedule->wakes;

	if (heap_contains(&transport->wake))
		heap_move(wakes, &transport->wake, until_ms);
	else
		transport->is_pausing = heap_insert(wakes, &transport->wake, until_ms);
}

void
destination_job_begun(struct destination *destination, int64_t now_ms)
{
	struct transport *transport = destination->transport;

	transport->schedule->now_ms = now_ms;
	destination->busy++;
	transport->turn++;
	if (destination_is_unproven(destination)) {
		destination->probes++;
		transport->probes++;
		destination->suspect_probes += destination->is_suspect;
		transport->suspect_probes += destination->is_suspect;
	}
	transport->is_pausing |= transport->transport_delay_ms > 0;
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

void
destination_set_suspect(struct destination *destination, bool is_suspect)
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
	if (!destination_is_unproven(destination))
		return;
	destination_set_suspect(destination, true);
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

	return destination_is_unproven(destination) && destination->is_suspect &&
	       destination->lanes > 0 && schedule->suspect_lanes >= (most * 3 + 7) / 8;
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
	destination_set_suspect(destination, false);
}

void
destination_note_status(struct destination *destination, struct slice status)
{
	if (slice_starts_with(status, SLICE("4.")))
		snprintf(destination->dead_status, sizeof(destination->dead_status), "%.*s",
		         SLICE_ARGS(status));
}

struct slice
destination_dead_status(const struct destination *destination)
{
	return destination->dead_status[0] == '\0' ? SLICE("4.4.1")
	                                           : slice_from(destination->dead_status);
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
		if (destination_is_unproven(destination)) {
			destination_set_suspect(destination, true);
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
	if (transport->transport_delay_ms > 0)
		transport_pause(transport, now_ms + transport->transport_delay_ms);
	if (transport->destination_delay_ms > 0 && !destination_is_dead(destination))
		destination_pause(destination, now_ms + transport->destination_delay_ms);
	destination_review(destination);
}
