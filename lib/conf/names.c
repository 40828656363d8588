/* names.c - see names.h. */
#include "lib/conf/names.h"

static const char *const postfix_names[] = {
#define NAME(text) text,
#include "lib/conf/postfix_names.def"
#undef NAME
};
#define POSTFIX_NAME_COUNT (sizeof(postfix_names) / sizeof(postfix_names[0]))

bool
name_is_postfix(struct slice name)
{
	for (size_t i = 0; i < POSTFIX_NAME_COUNT; i++) {
		if (slice_equal(name, slice_from(postfix_names[i])))
			return true;
	}
	return false;
}

void
name_suggest_postfix(struct suggestion *suggestion)
{
	for (size_t i = 0; i < POSTFIX_NAME_COUNT; i++)
		suggest_offer(suggestion, postfix_names[i]);
}

/* Longer ones before those that they end in. */
static const char *const transport_suffixes[] = {
	"_destination_concurrency_failed_cohort_limit",
	"_destination_concurrency_positive_feedback",
	"_destination_concurrency_negative_feedback",
	"_destination_concurrency_limit",
	"_destination_recipient_limit",
	"_destination_rate_delay",
	"_initial_destination_concurrency",
	"_transport_rate_delay",
	"_extra_recipient_limit",
	"_recipient_refill_limit",
	"_recipient_refill_delay",
	"_recipient_limit",
	"_delivery_slot_cost",
	"_delivery_slot_discount",
	"_delivery_slot_loan",
	"_minimum_delivery_slots",
	"_time_limit",
};

bool
name_is_per_transport(struct slice name, struct slice *transport, const char **suffix)
{
	for (size_t i = 0; i < sizeof(transport_suffixes) / sizeof(transport_suffixes[0]); i++) {
		struct slice end = slice_from(transport_suffixes[i]);

		if (name.length > end.length && slice_ends_with(name, end)) {
			*transport = slice_first(name, name.length - end.length);
			*suffix = transport_suffixes[i];
			return true;
		}
	}
	return false;
}

bool
name_is_service_word(struct slice name)
{
	return slice_equal(name, SLICE("service_name")) ||
	       slice_equal(name, SLICE("process_name")) || slice_equal(name, SLICE("stress"));
}

void
name_each_reference(struct slice text,
                    void (*visit)(void *context, const struct name_reference *reference),
                    void *context)
{
	for (size_t i = 0; i + 1 < text.length; i++) {
		size_t at = i + 1, length = 0;
		bool   is_bracketed;

		if (text.data[i] != '$')
			continue;
		if (text.data[at] == '$') {
			i++; /* a literal dollar */
			continue;
		}
		is_bracketed = text.data[at] == '{' || text.data[at] == '(';
		if (is_bracketed)
			at++;
		while (at < text.length && ascii_is_space(text.data[at]) && is_bracketed)
			at++;
		while (at + length < text.length &&
		       (ascii_is_alnum(text.data[at + length]) || text.data[at + length] == '_'))
			length++;

		struct slice          behind = slice_trim(slice_from_offset(text, at + length));
		struct name_reference reference = {
			slice_first(slice_from_offset(text, at), length),
			is_bracketed && behind.length > 0 &&
				(behind.data[0] == '?' || behind.data[0] == ':')
		};
		if (length > 0)
			visit(context, &reference);
	}
}
