/*
 * check_restrictions.c - restriction lists: names, arguments, classes, and that a stranger cannot
 * relay (FACTS: restriction names, C3); see check.h.
 */
#include "lib/conf/check.h"
#include "lib/conf/restrictions.h"

#include "lib/base/number.h"

#define CLASS_DEPTH_MOST 20

static const char *const list_names[] = {
	"smtpd_client_restrictions", "smtpd_helo_restrictions",        "smtpd_sender_restrictions",
	"smtpd_relay_restrictions",  "smtpd_recipient_restrictions",   "smtpd_data_restrictions",
	"smtpd_etrn_restrictions",   "smtpd_end_of_data_restrictions",
};

/* A list being checked. */
struct list_check {
	const struct settings *settings;
	struct report         *report;
	const char            *name; /* of the list or class */
	const char            *file;
	unsigned               line;
};

/* The next word of a list; { text } is one word, with its braces. */
static bool
take_word(struct slice *rest, struct slice *word)
{
	size_t level = 0, length = 0;

	while (rest->length > 0 && (ascii_is_space(rest->data[0]) || rest->data[0] == ','))
		*rest = slice_from_offset(*rest, 1);
	for (; length < rest->length; length++) {
		char c = rest->data[length];

		if (c == '{')
			level++;
		else if (c == '}' && level > 0)
			level--;
		else if (level == 0 && (ascii_is_space(c) || c == ','))
			break;
	}
	*word = slice_first(*rest, length);
	*rest = slice_from_offset(*rest, length);
	return length > 0;
}

static bool
is_table(struct slice word)
{
	return slice_find_byte(word, ':') != SLICE_NOT_FOUND;
}

static bool
is_class(const struct settings *settings, struct slice word)
{
	struct buf   classes = BUF(SETTINGS_TEXT_MOST);
	struct slice rest, one;
	bool         is_found = false;

	if (check_expanded(settings, "smtpd_restriction_classes", &classes)) {
		rest = buf_slice(&classes);
		while (!is_found && slice_next_word(&rest, ", \t\r\n", &one))
			is_found = slice_equal(one, word);
	}
	buf_free(&classes);
	return is_found;
}

static void
complain(const struct list_check *check, struct slice word, const char *what)
{
	report_add(check->report, PROBLEM_ERROR, check->file, check->line, "%s: %.*s %s",
	           check->name, SLICE_ARGS(slice_first(word, 200)), what);
}

static void
complain_unknown(const struct list_check *check, struct slice word)
{
	struct suggestion suggestion = { .name = word };

	restriction_suggest(&suggestion);
	if (suggestion.best == NULL) {
		complain(check, word, "is no restriction, restriction class or type:table");
		return;
	}
	report_add(check->report, PROBLEM_ERROR, check->file, check->line,
	           "%s: %.*s is no restriction; did you mean %s?", check->name,
	           SLICE_ARGS(slice_first(word, 200)), suggestion.best);
}

static void
check_argument(const struct list_check *check, const struct restriction_name *row,
               struct slice *rest)
{
	struct slice word = SLICE_EMPTY;
	int64_t      seconds;

	switch (row->argument) {
	case RESTRICTION_TAKES_NONE: return;
	case RESTRICTION_TAKES_RESTRICTION: {
		struct slice ahead = *rest;
		if (!take_word(&ahead, &word))
			complain(check, slice_from(row->name), "stands before nothing");
		return;
	}
	case RESTRICTION_TAKES_TABLE:
		if (!take_word(rest, &word) || !is_table(word))
			complain(check, slice_from(row->name), "needs a type:table behind it");
		return;
	case RESTRICTION_TAKES_ZONE:
		if (!take_word(rest, &word) || restriction_find(word) != NULL)
			complain(check, slice_from(row->name), "needs a domain behind it");
		return;
	case RESTRICTION_TAKES_NUMBER:
		if (!take_word(rest, &word) || !number_parse_seconds(word, 's', &seconds))
			complain(check, slice_from(row->name), "needs a number behind it");
		return;
	case RESTRICTION_TAKES_SERVICE:
		if (!take_word(rest, &word))
			complain(check, slice_from(row->name), "needs a service behind it");
		return;
	}
}

static void
check_list(const struct list_check *check, struct slice text)
{
	struct slice rest = text, word;

	while (take_word(&rest, &word)) {
		const struct restriction_name *row = restriction_find(word);

		if (row == NULL) {
			if (!is_table(word) && !is_class(check->settings, word))
				complain_unknown(check, word);
			continue;
		}
		if (row->is_missing)
			complain(check, word,
			         "is not there yet: without it the list would let "
			         "through what you want to stop; take it out to do without");
		else if (row->gone != NULL)
			report_add(check->report, PROBLEM_ERROR, check->file, check->line,
			           "%s: there is no %s any more: write %s", check->name, row->name,
			           row->gone);
		else if (row->instead != NULL)
			report_add(check->report, PROBLEM_WARNING, check->file, check->line,
			           "%s: %s is called %s now", check->name, row->name, row->instead);
		check_argument(check, row, &rest);
	}
}

/* ---- can a stranger relay? ---- */

enum walk {
	WALK_ON,
	WALK_STOPS, /* an unauthorised recipient is refused here */
	WALK_PASSES /* "permit": nothing behind it is reached */
};

static enum walk walk_list(const struct settings *settings, struct slice text, unsigned depth);

static bool
is_stopper(struct slice word)
{
	static const char *const stoppers[] = { "reject", "defer", "defer_if_permit",
		                                "reject_unauth_destination",
		                                "defer_unauth_destination" };

	for (size_t i = 0; i < sizeof(stoppers) / sizeof(stoppers[0]); i++) {
		if (slice_equal_fold(word, slice_from(stoppers[i])))
			return true;
	}
	return false;
}

static enum walk
walk_class(const struct settings *settings, struct slice name, unsigned depth)
{
	struct buf text = BUF(SETTINGS_TEXT_MOST);
	enum walk  result = WALK_ON;
	struct buf name_buf = BUF(256);

	if (depth < CLASS_DEPTH_MOST && buf_append(&name_buf, name) &&
	    check_expanded(settings, buf_text(&name_buf), &text))
		result = walk_list(settings, buf_slice(&text), depth + 1);
	buf_free(&name_buf);
	buf_free(&text);
	return result;
}

static enum walk
walk_list(const struct settings *settings, struct slice text, unsigned depth)
{
	struct slice rest = text, word;
	enum walk    result = WALK_ON;

	while (result == WALK_ON && take_word(&rest, &word)) {
		const struct restriction_name *row = restriction_find(word);

		if (slice_equal_fold(word, SLICE("warn_if_reject"))) {
			(void)take_word(&rest, &word); /* does not refuse anything */
			continue;
		}
		if (is_stopper(word))
			result = WALK_STOPS;
		else if (slice_equal_fold(word, SLICE("permit")))
			result = WALK_PASSES;
		else if (row != NULL && row->argument != RESTRICTION_TAKES_NONE)
			(void)take_word(&rest, &word);
		else if (row == NULL && is_class(settings, word))
			result = walk_class(settings, word, depth);
	}
	return result;
}

/* At least one of both lists must refuse unauthorised destinations: permit ends only its list. */
static void
check_relaying(const struct settings *settings, const struct service *service,
               struct report *report)
{
	struct buf relay = BUF(SETTINGS_TEXT_MOST), recipient = BUF(SETTINGS_TEXT_MOST);
	bool       is_known = check_expanded(settings, "smtpd_relay_restrictions", &relay) &&
	                check_expanded(settings, "smtpd_recipient_restrictions", &recipient);

	if (is_known && walk_list(settings, buf_slice(&relay), 0) != WALK_STOPS &&
	    walk_list(settings, buf_slice(&recipient), 0) != WALK_STOPS)
		report_add(report, PROBLEM_ERROR, service->file, service->line,
		           "service %s would relay for strangers: in smtpd_relay_restrictions (%s) "
		           "or smtpd_recipient_restrictions (%s), before any permit, specify at "
		           "least one working instance of: reject_unauth_destination, "
		           "defer_unauth_destination, reject, defer, defer_if_permit",
		           service->name, relay.length > 0 ? buf_text(&relay) : "empty",
		           recipient.length > 0 ? buf_text(&recipient) : "empty");
	buf_free(&relay);
	buf_free(&recipient);
}

/* ---- all lists ---- */

static void
check_named_list(const struct settings *settings, const char *name, const struct service *service,
                 struct report *report)
{
	struct list_check check = { .settings = settings, .report = report, .name = name };
	struct buf        text = BUF(SETTINGS_TEXT_MOST);

	check_place(settings, name, &check.file, &check.line);
	if (service != NULL) {
		check.file = service->file;
		check.line = service->line;
	}
	if (check_expanded(settings, name, &text))
		check_list(&check, buf_slice(&text));
	buf_free(&text);
}

static void
check_classes(const struct settings *settings, struct report *report)
{
	struct buf   classes = BUF(SETTINGS_TEXT_MOST), name = BUF(256);
	struct slice rest, word;
	const char  *file;
	unsigned     line;

	check_place(settings, "smtpd_restriction_classes", &file, &line);
	if (check_expanded(settings, "smtpd_restriction_classes", &classes)) {
		rest = buf_slice(&classes);
		while (slice_next_word(&rest, ", \t\r\n", &word)) {
			buf_clear(&name);
			if (buf_append(&name, word) && values_get(settings->values, word) != NULL)
				check_named_list(settings, buf_text(&name), NULL, report);
			else
				report_add(report, PROBLEM_ERROR, file, line,
				           "restriction class %.*s is not defined: %.*s = ...",
				           SLICE_ARGS(slice_first(word, 100)),
				           SLICE_ARGS(slice_first(word, 100)));
		}
	}
	buf_free(&classes);
	buf_free(&name);
}

static void
check_service(const struct configuration *configuration, const struct service *service,
              struct report *report)
{
	struct service_view view;

	if (!service_view_init(&view, configuration, service)) {
		report_add(report, PROBLEM_ERROR, service->file, service->line, "out of memory");
		return;
	}
	for (size_t i = 0; i < sizeof(list_names) / sizeof(list_names[0]); i++) {
		if (values_get(&service->overrides, slice_from(list_names[i])) != NULL)
			check_named_list(&view.settings, list_names[i], service, report);
	}
	check_relaying(&view.settings, service, report);
	service_view_free(&view);
}

void
check_restrictions(const struct configuration *configuration, struct report *report)
{
	for (size_t i = 0; i < sizeof(list_names) / sizeof(list_names[0]); i++)
		check_named_list(&configuration->settings, list_names[i], NULL, report);
	check_classes(&configuration->settings, report);
	for (size_t i = 0; i < configuration->master.services.count; i++) {
		const struct service *service = &configuration->master.services.items[i];

		if (service->is_run && strcmp(service->program->name, "smtpd") == 0)
			check_service(configuration, service, report);
	}
}
