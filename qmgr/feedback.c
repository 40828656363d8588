/* feedback.c - see feedback.h. */
#include "qmgr/feedback.h"

#include <math.h>

#include "lib/base/number.h"

static bool
decimal_parse(struct slice text, double *value)
{
	size_t  dot = slice_find_byte(text, '.');
	int64_t whole, part = 0;
	double  scale = 1;

	if (!number_parse(slice_first(text, dot), 0, 1000000, &whole))
		return false;
	if (dot != SLICE_NOT_FOUND) {
		struct slice digits = slice_from_offset(text, dot + 1);

		if (digits.length > 6 || !number_parse(digits, 0, 999999, &part))
			return false;
		for (size_t i = 0; i < digits.length; i++)
			scale *= 10;
	}
	*value = (double)whole + (double)part / scale;
	return true;
}

bool
feedback_parse(struct slice text, struct feedback_rule *rule)
{
	struct feedback_rule parsed = { .by = FEEDBACK_FIXED };
	struct slice         above, below;

	text = slice_trim(text);
	size_t stroke = slice_find_byte(text, '/');
	above = slice_trim(slice_first(text, stroke));
	if (!decimal_parse(above, &parsed.number))
		return false;
	if (stroke != SLICE_NOT_FOUND) {
		double divisor;

		below = slice_trim(slice_from_offset(text, stroke + 1));
		if (slice_equal(below, SLICE("concurrency")))
			parsed.by = FEEDBACK_BY_WINDOW;
		else if (slice_equal(below, SLICE("sqrt_concurrency")))
			parsed.by = FEEDBACK_BY_ROOT;
		else if (decimal_parse(below, &divisor) && divisor > 0)
			parsed.number /= divisor;
		else
			return false;
	}
	if (parsed.number > 1)
		return false;
	*rule = parsed;
	return true;
}

static double
rule_value(const struct feedback_rule *rule, int window)
{
	switch (rule->by) {
	case FEEDBACK_FIXED: return rule->number;
	case FEEDBACK_BY_WINDOW: return rule->number / window;
	case FEEDBACK_BY_ROOT: return rule->number / sqrt(window);
	}
	return rule->number;
}

void
feedback_init(struct feedback *feedback, const struct feedback_config *config)
{
	*feedback = (struct feedback){ .window = config->initial };
	if (config->limit > 0 && feedback->window > config->limit)
		feedback->window = config->limit;
}

void
feedback_success(struct feedback *feedback, const struct feedback_config *config, int busy)
{
	feedback->failed_cohorts = 0;
	if (feedback->window == 0) { /* it was dead, and a delivery from before ended well */
		feedback_init(feedback, config);
		return;
	}
	/* A window that is not used up tells nothing about a wider one. */
	if ((config->limit > 0 && feedback->window >= config->limit) ||
	    feedback->window >= busy + config->initial)
		return;
	double step = rule_value(&config->positive, feedback->window);
	feedback->success += step;
	feedback->failure = 0;
	/* Half a step is forgiven, so that 1/3 three times is one in floating point, too. */
	while (feedback->success + step / 2 >= 1) {
		feedback->window++;
		feedback->success -= 1;
	}
}

bool
feedback_failure(struct feedback *feedback, const struct feedback_config *config)
{
	if (feedback->window == 0)
		return false;
	feedback->failed_cohorts += 1.0 / feedback->window;
	/* The margin is for sums of thirds and sevenths. */
	if (config->failed_cohort_limit > 0 &&
	    feedback->failed_cohorts >= config->failed_cohort_limit - 1e-9) {
		feedback->window = 0;
		return true;
	}
	double step = rule_value(&config->negative, feedback->window);
	feedback->failure -= step;
	while (feedback->failure - step / 2 <= -1) {
		feedback->window--;
		feedback->success = 0;
		feedback->failure += 1;
	}
	if (feedback->window < 1)
		feedback->window = 1;
	return false;
}
