/* check.c - see check.h: types, and what the parts share. */
#include "lib/conf/check.h"
#include "lib/conf/old_names.h"

bool
service_view_init(struct service_view *view, const struct configuration *configuration,
                  const struct service *service)
{
	view->values = VALUES_NONE;
	view->settings = (struct settings){ 0 };
	return configuration_service_values(configuration, service, &view->values) &&
	       settings_init(&view->settings, &view->values, NULL);
}

void
service_view_free(struct service_view *view)
{
	settings_free(&view->settings);
	values_free(&view->values);
}

bool
check_expanded(const struct settings *settings, const char *name, struct buf *out)
{
	struct slice text;

	buf_clear(out);
	return settings_text(settings, slice_from(name), &text) &&
	       settings_expand(settings, NULL, slice_from(name), text, out, NULL);
}

void
check_place(const struct settings *settings, const char *name, const char **file, unsigned *line)
{
	const struct conf_value *value = values_get(settings->values, slice_from(name));

	*file = value == NULL ? "" : value->file;
	*line = value == NULL ? 0 : value->line;
}

/* lmtp_X is of the type of smtp_X. */
static void
check_twin(const struct settings *settings, const struct conf_value *value, struct buf *text,
           struct report *report)
{
	struct buf                  twin = BUF(1000);
	struct error                error = ERROR_NONE;
	struct parameters           scratch;
	const struct parameter_row *row = old_name_lmtp_twin(slice_from(value->name), &twin)
	                                          ? settings_row(settings, buf_slice(&twin))
	                                          : NULL;

	if (row != NULL && row->type != PARAMETER_RAW &&
	    !parameter_store(row, buf_text(text), &scratch, &error))
		report_add(report, PROBLEM_ERROR, value->file, value->line, "%s %s", value->name,
		           error.text);
	buf_free(&twin);
}

/* Checks what is set; a default is wrong only through something set, which says so itself. */
static void
check_value(const struct settings *settings, const struct conf_value *value, struct arena *arena,
            struct parameters *parameters, struct report *report)
{
	const struct parameter_row *row = settings_row(settings, slice_from(value->name));
	struct error                error = ERROR_NONE;
	struct buf                  text = BUF(SETTINGS_TEXT_MOST);

	if (row == NULL && !settings_expand(settings, NULL, slice_from(value->name),
	                                    slice_from(value->text), &text, &error))
		report_add(report, PROBLEM_ERROR, value->file, value->line, "%s: %s", value->name,
		           error.text);
	else if (row != NULL && !settings_store(settings, NULL, row, arena, parameters, &error))
		report_add(report, PROBLEM_ERROR, value->file, value->line, "%s %s%s", value->name,
		           row->type == PARAMETER_STRING ? "is wrong: " : "", error.text);
	else if (row == NULL)
		check_twin(settings, value, &text, report);
	buf_free(&text);
}

static void
check_service_types(struct configuration *configuration, const struct service *service,
                    struct report *report)
{
	struct service_view view;
	struct parameters  *scratch = arena_alloc(&configuration->arena, sizeof(*scratch));

	if (scratch == NULL || !service_view_init(&view, configuration, service)) {
		report_add(report, PROBLEM_ERROR, service->file, service->line, "out of memory");
		return;
	}
	for (size_t i = 0; i < service->overrides.list.count; i++)
		check_value(&view.settings, service->overrides.list.items[i], &configuration->arena,
		            scratch, report);
	service_view_free(&view);
}

void
check_types(struct configuration *configuration, struct report *report)
{
	struct settings *settings = &configuration->settings;

	for (size_t i = 0; i < configuration->values.list.count; i++)
		check_value(settings, configuration->values.list.items[i], &configuration->arena,
		            &configuration->parameters, report);
	for (size_t i = 0; i < configuration->master.services.count; i++) {
		if (configuration->master.services.items[i].overrides.list.count > 0)
			check_service_types(configuration, &configuration->master.services.items[i],
			                    report);
	}
	if (report->error_count > 0)
		return;
	/* Defaults, and values that are wrong only under stress. */
	for (int is_stress = 1; is_stress >= 0; is_stress--) {
		settings->is_stress = is_stress == 1;
		for (size_t i = 0; i < parameter_row_count; i++) {
			struct error error = ERROR_NONE;

			if (!settings_store(settings, NULL, &parameter_rows[i],
			                    &configuration->arena, &configuration->parameters,
			                    &error))
				report_add(report, PROBLEM_ERROR, configuration->main.path, 0,
				           "%s%s %s", parameter_rows[i].name,
				           is_stress ? " (under stress)" : "", error.text);
		}
	}
}

void
configuration_check(struct configuration *configuration, struct report *report)
{
	check_names(configuration, report);
	check_pipe(configuration, report); /* decides what is run */
	check_missing(configuration, report);
	check_types(configuration, report);
	check_words(configuration, report);
	check_restrictions(configuration, report);
	check_tables(configuration, report);
	check_rules(configuration, report);
	check_services(configuration, report);
	check_networks(configuration, report);
	check_lists(configuration, report);
	check_host(configuration, report);
	check_notices(configuration, report);
}
