/* check_names.c - unknown, undefined and unused names in main.cf and master.cf; see check.h. */
#include "lib/conf/check.h"
#include "lib/conf/names.h"
#include "lib/conf/old_names.h"
#include "lib/conf/suggest.h"

#include <string.h>

struct names {
	const struct configuration *configuration;
	struct report              *report;
	struct hash                 used;    /* every name that some text refers to */
	struct hash                 told;    /* of what the report has something already */
	const struct conf_value    *value;   /* whose text is being looked at */
	const struct service       *service; /* whose overrides these are, or NULL */
};

static bool
is_defined(const struct names *names, struct slice name)
{
	const struct settings *settings = &names->configuration->settings;

	return values_get(settings->values, name) != NULL || settings_row(settings, name) != NULL ||
	       values_get(settings->computed, name) != NULL || name_is_service_word(name);
}

static void
suggest_known(const struct names *names, struct suggestion *suggestion)
{
	const struct values *values = &names->configuration->values;

	for (size_t i = 0; i < parameter_row_count; i++)
		suggest_offer(suggestion, parameter_rows[i].name);
	/* Only the admin's own names that something uses: another unknown name is no help. */
	for (size_t i = 0; i < values->list.count; i++) {
		if (hash_get(&names->used, slice_from(values->list.items[i]->name)) != NULL)
			suggest_offer(suggestion, values->list.items[i]->name);
	}
	if (suggestion->best == NULL)
		name_suggest_postfix(suggestion);
}

/* What is said of a name once, however many services set it. */
static bool
is_told(struct names *names, struct slice name)
{
	if (hash_get(&names->told, name) != NULL)
		return true;
	if (!hash_put(&names->told, name, names, NULL))
		report_add(names->report, PROBLEM_ERROR, "", 0, "out of memory");
	return false;
}

/* ---- names that are used ---- */

static void
note_reference(void *context, const struct name_reference *reference)
{
	struct names *names = context;

	if (!hash_put(&names->used, reference->name, names, NULL))
		report_add(names->report, PROBLEM_ERROR, "", 0, "out of memory");
}

static void
check_reference(void *context, const struct name_reference *reference)
{
	struct names     *names = context;
	struct suggestion suggestion = { .name = reference->name };

	if (reference->is_tested || is_defined(names, reference->name) ||
	    (names->service != NULL && values_get(&names->service->overrides, reference->name)))
		return;
	if (name_is_postfix(reference->name) || name_is_suggested(reference->name)) {
		if (is_told(names, reference->name))
			return;
		report_add(names->report, PROBLEM_WARNING, names->value->file, names->value->line,
		           "%s uses $%.*s, which is not used here: it is empty", names->value->name,
		           SLICE_ARGS(slice_first(reference->name, 200)));
		return;
	}
	suggest_known(names, &suggestion);
	report_add(names->report, PROBLEM_ERROR, names->value->file, names->value->line,
	           "%s uses $%.*s, which is defined nowhere%s%s%s", names->value->name,
	           SLICE_ARGS(slice_first(reference->name, 200)),
	           suggestion.best == NULL ? "" : "; did you mean ",
	           suggestion.best == NULL ? "" : suggestion.best,
	           suggestion.best == NULL ? "" : "?");
}

static bool
is_raw(const struct names *names, const struct conf_value *value)
{
	const struct parameter_row *row =
		settings_row(&names->configuration->settings, slice_from(value->name));

	return row != NULL && row->type == PARAMETER_RAW;
}

/* What a parameter that is not used here says may use names that only Postfix has. */
static bool
is_ignored(const struct names *names, const struct conf_value *value)
{
	struct slice name = slice_from(value->name);

	return settings_row(&names->configuration->settings, name) == NULL &&
	       hash_get(&names->used, name) == NULL &&
	       (name_is_postfix(name) || check_is_missing(name));
}

static void
each_value(struct names *names, const struct values *values, bool is_check)
{
	for (size_t i = 0; i < values->list.count; i++) {
		names->value = values->list.items[i];
		if (!is_check || (!is_raw(names, names->value) && !is_ignored(names, names->value)))
			name_each_reference(slice_from(names->value->text),
			                    is_check ? check_reference : note_reference, names);
	}
}

static void
each_set(struct names *names, bool is_check)
{
	const struct master_file *master = &names->configuration->master;

	names->service = NULL;
	each_value(names, &names->configuration->values, is_check);
	for (size_t i = 0; i < master->services.count; i++) {
		names->service = &master->services.items[i];
		if (!is_check || names->service->is_run)
			each_value(names, &names->service->overrides, is_check);
	}
}

/* Restriction classes are used by their name in the list of classes. */
static void
note_classes(struct names *names)
{
	struct buf   classes = BUF(SETTINGS_TEXT_MOST);
	struct slice rest, word;

	if (check_expanded(&names->configuration->settings, "smtpd_restriction_classes",
	                   &classes)) {
		rest = buf_slice(&classes);
		while (slice_next_word(&rest, ", \t\r\n", &word))
			(void)hash_put(&names->used, word, names, NULL);
	}
	buf_free(&classes);
}

/* ---- names that are defined ---- */

static bool
is_service(const struct names *names, struct slice transport)
{
	const struct master_file *master = &names->configuration->master;

	for (size_t i = 0; i < master->services.count; i++) {
		if (slice_equal(transport, slice_from(master->services.items[i].name)))
			return true;
	}
	return slice_equal(transport, SLICE("default"));
}

/* A slip is near to a service's name; a service that was taken out of master.cf is not. */
static void
check_per_transport(struct names *names, const struct conf_value *value,
                    const struct per_transport *name)
{
	const struct master_file *master = &names->configuration->master;
	struct suggestion         suggestion = { .name = name->transport };

	for (size_t i = 0; i < master->services.count; i++)
		suggest_offer(&suggestion, master->services.items[i].name);
	if (is_service(names, name->transport)) {
		if (name->why_unused != NULL && !is_told(names, slice_from(value->name)))
			report_add(names->report, PROBLEM_WARNING, value->file, value->line,
			           "%s is not used here: %s", value->name, name->why_unused);
	} else if (suggestion.best != NULL)
		report_add(names->report, PROBLEM_ERROR, value->file, value->line,
		           "%s: master.cf has no service \"%.*s\"; did you mean %s%s?", value->name,
		           SLICE_ARGS(name->transport), suggestion.best, name->suffix);
	else if (!is_told(names, slice_from(value->name)))
		report_add(names->report, PROBLEM_WARNING, value->file, value->line,
		           "%s has no effect: master.cf has no service \"%.*s\"", value->name,
		           SLICE_ARGS(name->transport));
}

static bool
runs_lmtp(const struct names *names)
{
	const struct master_file *master = &names->configuration->master;

	for (size_t i = 0; i < master->services.count; i++) {
		if (master->services.items[i].is_run &&
		    strcmp(master->services.items[i].program->name, "lmtp") == 0)
			return true;
	}
	return false;
}

/* Something of Postfix's, or of older days; false when the name is unknown. */
static bool
check_known(struct names *names, const struct conf_value *value)
{
	struct slice name = slice_from(value->name);
	const char  *why = name_postfix_why(name);
	struct buf   twin = BUF(1000);
	bool         is_read =
		old_name_is_known(name) || (runs_lmtp(names) && old_name_lmtp_twin(name, &twin));

	buf_free(&twin);
	if (!is_read && why != NULL && !is_told(names, name))
		report_add(names->report, PROBLEM_WARNING, value->file, value->line,
		           "%s is a parameter of Postfix that is not used here: %s", value->name,
		           why[0] == '\0' ? "ignored" : why);
	return is_read || why != NULL;
}

static void
check_defined(struct names *names, const struct conf_value *value)
{
	struct slice         name = slice_from(value->name);
	struct suggestion    suggestion = { .name = name };
	struct per_transport per_transport;

	if (settings_row(&names->configuration->settings, name) != NULL || check_is_missing(name) ||
	    hash_get(&names->used, name) != NULL || name_is_suggested(name) ||
	    check_known(names, value))
		return;
	if (name_is_per_transport(name, &per_transport)) {
		check_per_transport(names, value, &per_transport);
		return;
	}
	suggest_known(names, &suggestion);
	if (suggestion.best != NULL)
		report_add(names->report, PROBLEM_ERROR, value->file, value->line,
		           "%s is no parameter; did you mean %s?", value->name, suggestion.best);
	else
		report_add(names->report, PROBLEM_ERROR, value->file, value->line,
		           "%s is no parameter, and nothing uses $%s", value->name, value->name);
}

void
check_names(const struct configuration *configuration, struct report *report)
{
	struct names              names = { .configuration = configuration, .report = report };
	const struct master_file *master = &configuration->master;

	each_set(&names, false);
	note_classes(&names);
	each_set(&names, true);
	for (size_t i = 0; i < configuration->values.list.count; i++)
		check_defined(&names, configuration->values.list.items[i]);
	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];

		for (size_t j = 0; service->is_run && j < service->overrides.list.count; j++)
			check_defined(&names, service->overrides.list.items[j]);
	}
	hash_free(&names.used, NULL);
	hash_free(&names.told, NULL);
}
