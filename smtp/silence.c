/* silence.c - waiting for a host that has not answered yet: how long, and who takes over meanwhile.
 */
#include "lib/base/clock.h"
#include "smtp/smtp.h"

#define NOTICED_MS 200 /* a wait that is longer is told to the pool */

void
silence_begin(struct silence *silence, const struct smtp_agent *agent, int64_t patience_ms)
{
	*silence = (struct silence){ .agent = agent };
	if (patience_ms > 0)
		silence->until_ms = clock_monotonic_ms() + patience_ms;
}

void
silence_end(struct silence *silence)
{
	if (silence->is_told)
		silence->agent->tell_silence(silence->agent->pool, false);
	silence->is_told = false;
	silence->until_ms = 0;
}

int64_t
silence_deadline(const struct silence *silence, int64_t deadline_ms)
{
	int64_t next_ms = deadline_ms, noticed_ms = clock_monotonic_ms() + NOTICED_MS;

	if (silence->until_ms != 0 && silence->until_ms < next_ms)
		next_ms = silence->until_ms;
	if (!silence->is_told && silence->agent->tell_silence != NULL && noticed_ms < next_ms)
		next_ms = noticed_ms;
	return next_ms;
}

bool
silence_goes_on(struct silence *silence, int64_t deadline_ms)
{
	int64_t now_ms = clock_monotonic_ms();

	if (now_ms >= deadline_ms)
		return false;
	if (silence->until_ms != 0 && now_ms >= silence->until_ms) {
		silence->has_run_out = true;
		return false;
	}
	if (!silence->is_told && silence->agent->tell_silence != NULL) {
		silence->is_told = true;
		silence->agent->tell_silence(silence->agent->pool, true);
	}
	return true;
}
