/* names.c - see names.h. */
#include "lib/conf/names.h"

/* A row without a name says why those behind it are not used. */
static const struct {
	const char *name, *why;
} postfix_names[] = {
#define WHY(text)  { NULL, text },
#define NAME(text) { text, NULL },
#include "lib/conf/postfix_names.def"
#undef NAME
#undef WHY
};
#define POSTFIX_NAME_COUNT (sizeof(postfix_names) / sizeof(postfix_names[0]))

const char *
name_postfix_why(struct slice name)
{
	const char *why = "";

	for (size_t i = 0; i < POSTFIX_NAME_COUNT; i++) {
		if (postfix_names[i].name == NULL)
			why = postfix_names[i].why;
		else if (slice_equal(name, slice_from(postfix_names[i].name)))
			return why;
	}
	return NULL;
}

bool
name_is_postfix(struct slice name)
{
	return name_postfix_why(name) != NULL;
}

void
name_each_postfix(void (*visit)(void *context, const char *name, const char *why), void *context)
{
	const char *why = "";

	for (size_t i = 0; i < POSTFIX_NAME_COUNT; i++) {
		if (postfix_names[i].name == NULL)
			why = postfix_names[i].why;
		else
			visit(context, postfix_names[i].name, why);
	}
}

void
name_suggest_postfix(struct suggestion *suggestion)
{
	for (size_t i = 0; i < POSTFIX_NAME_COUNT; i++) {
		if (postfix_names[i].name != NULL)
			suggest_offer(suggestion, postfix_names[i].name);
	}
}

#define SCHEDULED "qmgr serves the messages for a destination in turn, and bounds its memory itself"

/* Longer ones before those that they end in. */
static const struct {
	const char *suffix;
	const char *why_unused; /* NULL when it is used */
} transport_suffixes[] = {
	{ "_destination_concurrency_failed_cohort_limit", NULL },
	{ "_destination_concurrency_positive_feedback", NULL },
	{ "_destination_concurrency_negative_feedback", NULL },
	{ "_destination_concurrency_limit", NULL },
	{ "_destination_recipient_limit", NULL },
	{ "_destination_rate_delay", NULL },
	{ "_initial_destination_concurrency", NULL },
	{ "_transport_rate_delay", NULL },
	{ "_extra_recipient_limit", SCHEDULED },
	{ "_recipient_refill_limit", SCHEDULED },
	{ "_recipient_refill_delay", SCHEDULED },
	{ "_recipient_limit", SCHEDULED },
	{ "_delivery_slot_cost", SCHEDULED },
	{ "_delivery_slot_discount", SCHEDULED },
	{ "_delivery_slot_loan", SCHEDULED },
	{ "_minimum_delivery_slots", SCHEDULED },
	{ "_time_limit", NULL },
};

bool
name_is_per_transport(struct slice name, struct per_transport *found)
{
	for (size_t i = 0; i < sizeof(transport_suffixes) / sizeof(transport_suffixes[0]); i++) {
		struct slice end = slice_from(transport_suffixes[i].suffix);

		if (name.length > end.length && slice_ends_with(name, end)) {
			*found = (struct per_transport){
				slice_first(name, name.length - end.length),
				transport_suffixes[i].suffix,
				transport_suffixes[i].why_unused,
			};
			return true;
		}
	}
	return false;
}

bool
name_is_suggested(struct slice name)
{
	return slice_starts_with(name, SLICE("mua_")) &&
	       slice_ends_with(name, SLICE("_restrictions"));
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
