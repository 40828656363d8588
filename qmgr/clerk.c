/*
 * clerk.c - a thread that makes the cards of messages that wait, so that whoever lists them first
 * does not have to open their files.
 */
#include "qmgr/clients.h"

#include "lib/base/clock.h"

#define FIRST_MS 200 /* new mail comes first */
#define PAUSE_MS 5000
#define REST     20 /* a walk over all of them costs the scheduler time, too */

void
clerk_work(struct control *control, struct qmgr *qmgr)
{
	struct client client = { .control = control, .qmgr = qmgr };
	int64_t       pause_ms = FIRST_MS;

	while (qmgr->cards.fd >= 0 && control_pause(control, pause_ms)) {
		struct listing listing = { .client = &client, .is_silent = true };
		int64_t        begin_ms = clock_monotonic_ms();

		listing_run(&listing);
		pause_ms = PAUSE_MS + REST * (clock_monotonic_ms() - begin_ms);
	}
}
