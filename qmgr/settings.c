/* settings.c - a transport's parameters: NAME_... where it is set, otherwise default_... */
#include "qmgr/schedule.h"

#include <stdio.h>

#include "lib/base/log.h"
#include "lib/base/number.h"

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

static int64_t
delay_setting_ms(const struct transport *transport, const char *suffix)
{
	int64_t seconds =
		snapshot_transport_number(transport->schedule->snapshot, transport->name, suffix);

	return seconds < 0 ? 0 : seconds * 1000;
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

void
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
	snprintf(name, sizeof(name), "%s_destination_concurrency_limit", transport->name);
	transport->is_limited = snapshot_value(transport->schedule->snapshot, name) != NULL;
	transport->feedback.failed_cohort_limit =
		number_setting(transport, "_destination_concurrency_failed_cohort_limit");
	transport->recipient_limit =
		(uint32_t)number_setting(transport, "_destination_recipient_limit");
	transport->destination_delay_ms = delay_setting_ms(transport, "_destination_rate_delay");
	transport->transport_delay_ms = delay_setting_ms(transport, "_transport_rate_delay");
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
