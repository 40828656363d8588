/* select.c - the long options of dakqueue's own commands: which messages are meant. */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "tools/dakqueue/dakqueue.h"

#define SECOND_US INT64_C(1000000)

/* ---- values ---- */

/* "2h": messages that came before or after that time. */
static bool
age_parse(const char *text, int64_t *when_us)
{
	int64_t seconds;

	if (!number_parse_seconds(slice_from(text), 's', &seconds) || seconds < 0)
		return false;
	*when_us = clock_wall_us() - seconds * SECOND_US;
	return true;
}

/* Bytes, with k, M or G behind them. */
static bool
size_parse(const char *text, uint64_t *bytes)
{
	static const char units[] = "kmg";
	struct slice      digits = slice_from(text);
	int64_t           number, unit = 1;

	for (size_t i = 0; digits.length > 1 && i < 3; i++)
		if (ascii_lower(digits.data[digits.length - 1]) == units[i]) {
			unit = INT64_C(1) << (10 * (i + 1));
			digits = slice_first(digits, digits.length - 1);
			break;
		}
	if (!number_parse(digits, 0, INT64_MAX >> 31, &number))
		return false;
	*bytes = (uint64_t)(number * unit);
	return true;
}

bool
states_parse(struct slice names, unsigned *states)
{
	struct slice name;

	while (slice_next_word(&names, ", ", &name))
		if (!state_parse(name, states))
			return false;
	return *states != 0;
}

/* ---- the options ---- */

enum option {
	OPTION_SENDER,
	OPTION_RECIPIENT,
	OPTION_DOMAIN,
	OPTION_REASON,
	OPTION_TRANSPORT,
	OPTION_NEXTHOP,
	OPTION_OLDER,
	OPTION_NEWER,
	OPTION_LARGER,
	OPTION_SMALLER,
	OPTION_STATE,
	OPTION_FOR,
	OPTION_DRY_RUN,
	OPTION_JSON,
};
static const struct {
	const char *name;
	enum option option;
	bool        has_value;
} rows[] = {
	{ "sender", OPTION_SENDER, true },       { "recipient", OPTION_RECIPIENT, true },
	{ "domain", OPTION_DOMAIN, true },       { "reason", OPTION_REASON, true },
	{ "transport", OPTION_TRANSPORT, true }, { "nexthop", OPTION_NEXTHOP, true },
	{ "older", OPTION_OLDER, true },         { "newer", OPTION_NEWER, true },
	{ "larger", OPTION_LARGER, true },       { "smaller", OPTION_SMALLER, true },
	{ "state", OPTION_STATE, true },         { "for", OPTION_FOR, true },
	{ "dry-run", OPTION_DRY_RUN, false },    { "json", OPTION_JSON, false },
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

void
select_words(FILE *to)
{
	for (size_t i = 0; i < ROW_COUNT; i++)
		fprintf(to, "--%s\n", rows[i].name);
}

static bool
option_set(struct arguments *arguments, enum option option, const char *value)
{
	struct msg_queue_filter *filter = &arguments->filter;

	/* An empty pattern would mean everything. */
	if (value != NULL && *value == '\0')
		return false;
	arguments->is_selected |= option < OPTION_FOR;
	switch (option) {
	case OPTION_SENDER: filter->sender = slice_from(value); return true;
	case OPTION_RECIPIENT: filter->recipient = slice_from(value); return true;
	case OPTION_DOMAIN: filter->domain = slice_from(value); return true;
	case OPTION_REASON: filter->reason = slice_from(value); return true;
	case OPTION_TRANSPORT: filter->transport = slice_from(value); return true;
	case OPTION_NEXTHOP: filter->nexthop = slice_from(value); return true;
	case OPTION_OLDER: return age_parse(value, &filter->arrived_until_us);
	case OPTION_NEWER: return age_parse(value, &filter->arrived_from_us);
	case OPTION_LARGER:
		return size_parse(value, &filter->size_least) && ++filter->size_least > 0;
	case OPTION_SMALLER:
		return size_parse(value, &filter->size_most) && filter->size_most-- > 1;
	case OPTION_STATE: return states_parse(slice_from(value), &filter->states);
	case OPTION_FOR:
		return number_parse_seconds(slice_from(value), 's', &arguments->for_s) &&
		       arguments->for_s > 0;
	case OPTION_DRY_RUN: arguments->is_dry_run = true; return true;
	case OPTION_JSON: arguments->form = LIST_JSON; return true;
	}
	return false;
}

/* "--name value" or "--name=value"; *used: arguments. */
static bool
option_read(struct arguments *arguments, char **argv, int left, int *used)
{
	const char *name = argv[0] + 2, *equals = strchr(name, '=');
	size_t      length = equals == NULL ? strlen(name) : (size_t)(equals - name);
	size_t      row = 0;

	while (row < ROW_COUNT &&
	       (strlen(rows[row].name) != length || strncmp(rows[row].name, name, length) != 0))
		row++;
	if (row == ROW_COUNT || (equals != NULL && !rows[row].has_value))
		return false;
	*used = rows[row].has_value && equals == NULL ? 2 : 1;
	if (*used > left)
		return false;
	const char *value = equals != NULL ? equals + 1 : argv[1];
	return option_set(arguments, rows[row].option, rows[row].has_value ? value : NULL);
}

bool
select_read(struct arguments *arguments, int *argc, char **argv)
{
	int kept = 1, used;

	for (int i = 1; i < *argc; i += used) {
		used = 1;
		if (strcmp(argv[i], "--") == 0 || strncmp(argv[i], "--", 2) != 0)
			argv[kept++] = argv[i];
		else if (!option_read(arguments, argv + i, *argc - i, &used))
			return false;
	}
	argv[kept] = NULL;
	*argc = kept;
	return true;
}
