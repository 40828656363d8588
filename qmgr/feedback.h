/*
 * feedback.h - how many deliveries a destination gets at a time, learnt from how they end.
 *
 * The window starts at initial_destination_concurrency. Each success adds positive feedback, each
 * failed connection or handshake takes negative feedback away; whole steps move the window. A
 * cohort is a window full of failures in a row; after failed_cohort_limit of them the destination
 * is dead. Pure arithmetic, no clock. (Postfix's SCHEDULER_README describes the parameters.)
 */
#ifndef DAKIYA_QMGR_FEEDBACK_H
#define DAKIYA_QMGR_FEEDBACK_H

#include <stdbool.h>

#include "lib/base/slice.h"

enum feedback_by { FEEDBACK_FIXED, FEEDBACK_BY_WINDOW, FEEDBACK_BY_ROOT };
struct feedback_rule {
	double           number; /* 0..1 */
	enum feedback_by by;
};
/* "1", "0.5", "1/5", "1/concurrency", "1/sqrt_concurrency"; false when it is none of these. */
bool feedback_parse(struct slice text, struct feedback_rule *rule);

struct feedback_config {
	struct feedback_rule positive, negative;
	int                  initial;
	int                  limit;               /* 0 = none */
	int                  failed_cohort_limit; /* 0 = never dead */
};
struct feedback {
	int    window; /* 0 = dead */
	double success, failure;
	double failed_cohorts;
};
void feedback_init(struct feedback *feedback, const struct feedback_config *config);
/* busy: deliveries under way, the one that ended included. */
void feedback_success(struct feedback *feedback, const struct feedback_config *config, int busy);
/* True when the destination is dead now and was not before. */
bool feedback_failure(struct feedback *feedback, const struct feedback_config *config);

#endif
