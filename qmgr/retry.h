/*
 * retry.h - when a message is tried again, and when no more: arithmetic over times that are given,
 * so that tests run it on a simulated clock. All times are wall clock in microseconds.
 */
#ifndef DAKIYA_QMGR_RETRY_H
#define DAKIYA_QMGR_RETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/conf/parameters.h"

/* After as long again as it is old, between minimal_ and maximal_backoff_time. */
int64_t retry_next_us(const struct parameters *p, int64_t arrival_us, int64_t now_us);
/* maximal_queue_lifetime, or bounce_queue_lifetime for the null sender. */
int64_t retry_until_us(const struct parameters *p, bool is_null_sender, int64_t arrival_us);
bool    retry_is_over(const struct parameters *p, bool is_null_sender, int64_t arrival_us,
                      int64_t now_us);
/* Older than delay_warning_time. */
bool retry_is_late(const struct parameters *p, int64_t arrival_us, int64_t now_us);

struct active_count {
	size_t messages;   /* in memory */
	size_t retried;    /* of those, the ones that were tried before */
	size_t fetching;   /* being read */
	size_t recipients; /* of all in memory */
};
/* Whether one more that is due may be read: a quarter of the active queue is kept for fresh mail,
 * and recipients have a limit, too, but for a few messages, however large. */
bool retry_has_room(const struct parameters *p, const struct active_count *active);
/*
 * With so many messages in memory mail is asked to come later. A small active limit refuses
 * nothing: it slows mail down, it does not turn it away.
 */
size_t retry_memory_most(const struct parameters *p);
/* Whether there is more in memory than should be: what only waits leaves it. */
bool retry_is_overfull(const struct parameters *p, const struct active_count *active);
/* Whether that is so because of lists, which then wait in files. */
bool retry_has_too_many_recipients(const struct parameters *p, const struct active_count *active);

#endif
