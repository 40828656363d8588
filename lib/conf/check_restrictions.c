/*
 * check_restrictions.c - restriction lists: names, arguments, classes, and that a stranger cannot
 * relay (FACTS: restriction names, C3); see check.h.
 */
#include "lib/conf/check.h"
#include "lib/conf/check_relay.h"
#include "lib/conf/restrictions.h"

#include "lib/base/number.h"

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

static bool
is_table(struct slice word)
{
	return slice_find_byte(word, ':') != SLICE_NOT_FOUND;
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
		if (!restriction_next_word(&ahead, &word))
			complain(check, slice_from(row->name), "stands before nothing");
		return;
	}
	case RESTRICTION_TAKES_TABLE:
		if (!restriction_next_word(rest, &word) || !is_table(word))
			complain(check, slice_from(row->name), "needs a type:table behind it");
		return;
	case RESTRICTION_TAKES_ZONE:
		if (!restriction_next_word(rest, &word) || restriction_find(word) != NULL)
			complain(check, slice_from(row->name), "needs a domain behind it");
		return;
	case RESTRICTION_TAKES_NUMBER:
		if (!restriction_next_word(rest, &word) ||
		    !number_parse_seconds(word, 's', &seconds))
			complain(check, slice_from(row->name), "needs a number behind it");
		return;
	case RESTRICTION_TAKES_SERVICE:
		if (!restriction_next_word(rest, &word))
			complain(check, slice_from(row->name), "needs a service behind it");
		return;
	}
}

static void
check_list(const struct list_check *check, struct slice text)
{
	struct slice rest = text, word;

	while (restriction_next_word(&rest, &word)) {
		const struct restriction_name *row = restriction_find(word);

		if (row == NULL) {
			if (!is_table(word) && !restriction_is_class(check->settings, word))
				complain_unknown(check, word);
			continue;
		}
		if (row->gone != NULL)
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

/* C3, as far as it can be told without reading files; `dakiya check' reads them, too. */
static void
check_relaying(const struct settings *settings, const struct service *service,
               struct report *report)
{
	struct buf how = BUF(SETTINGS_TEXT_MOST);

	if (relay_evaluate(settings, NULL, &how) == RELAY_ALL)
		report_add(report, PROBLEM_ERROR, service->file, service->line,
		           "service %s would relay for strangers: %s; in one of these lists, in "
		           "front of what permits, must stand reject_unauth_destination, "
		           "defer_unauth_destination, reject or defer",
		           service->name, buf_text(&how));
	buf_free(&how);
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
