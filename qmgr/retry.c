/* retry.c - see retry.h. */
#include "qmgr/retry.h"

#define SECOND_US     INT64_C(1000000)
#define FETCH_AT_ONCE 500
#define LARGE_AT_ONCE 200 /* messages, when recipients are too many */
/* A list of fresh mail that goes out is not disturbed for a few more of its kind. */
#define OVERFULL_TIMES 10
#define ACTIVE_USUAL   20000 /* qmgr_message_active_limit by default */
#define FULL_FACTOR    10

int64_t
retry_next_us(const struct parameters *p, int64_t arrival_us, int64_t now_us)
{
	int64_t least = p->minimal_backoff_time * SECOND_US;
	int64_t most = p->maximal_backoff_time * SECOND_US;
	int64_t pause = now_us - arrival_us;

	if (pause > most)
		pause = most;
	if (pause < least)
		pause = least;
	return now_us + pause;
}

int64_t
retry_until_us(const struct parameters *p, bool is_null_sender, int64_t arrival_us)
{
	int64_t lifetime_s = is_null_sender ? p->bounce_queue_lifetime : p->maximal_queue_lifetime;

	return arrival_us + lifetime_s * SECOND_US;
}

bool
retry_is_over(const struct parameters *p, bool is_null_sender, int64_t arrival_us, int64_t now_us)
{
	return now_us >= retry_until_us(p, is_null_sender, arrival_us);
}

bool
retry_is_late(const struct parameters *p, int64_t arrival_us, int64_t now_us)
{
	return p->delay_warning_time > 0 &&
	       now_us - arrival_us >= p->delay_warning_time * SECOND_US;
}

bool
retry_has_room(const struct parameters *p, const struct active_count *active)
{
	size_t most = (size_t)p->qmgr_message_active_limit;

	if (active->recipients >= (size_t)p->qmgr_message_recipient_limit &&
	    active->retried + active->fetching >= LARGE_AT_ONCE)
		return false;
	return active->messages + active->fetching < most &&
	       active->retried + active->fetching < (most * 3 + 3) / 4 &&
	       active->fetching < FETCH_AT_ONCE;
}

bool
retry_has_too_many_recipients(const struct parameters *p, const struct active_count *active)
{
	return active->recipients > (size_t)p->qmgr_message_recipient_limit * OVERFULL_TIMES;
}

size_t
retry_memory_most(const struct parameters *p)
{
	size_t most = (size_t)p->qmgr_message_active_limit;

	return (most < ACTIVE_USUAL ? ACTIVE_USUAL : most) * FULL_FACTOR;
}

bool
retry_is_overfull(const struct parameters *p, const struct active_count *active)
{
	return active->messages > (size_t)p->qmgr_message_active_limit ||
	       retry_has_too_many_recipients(p, active);
}
