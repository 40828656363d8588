/*
 * check_missing.c - what Postfix does for a parameter and this suite does not yet, where ignoring
 * it would let mail pass unseen, lose a copy or leave mail waiting for ever; see check.h.
 */
#include "lib/conf/check.h"

#include <string.h>

static const struct {
	const char           *name;
	enum problem_severity severity;
	const char           *what; /* would happen if it were ignored */
} missing[] = {
	{ "content_filter", PROBLEM_ERROR, "mail would pass by the filter" },
	{ "smtpd_upstream_proxy_protocol", PROBLEM_ERROR,
	  "every client would look like the proxy, and be trusted like it" },
	{ "smtpd_sasl_type", PROBLEM_WARNING,
	  "authd checks all passwords; dakuser makes the users" },
	{ "smtpd_sasl_path", PROBLEM_WARNING,
	  "authd checks all passwords; dakuser makes the users" },
};
#define MISSING_COUNT (sizeof(missing) / sizeof(missing[0]))

bool
check_is_missing(struct slice name)
{
	for (size_t i = 0; i < MISSING_COUNT; i++) {
		if (slice_equal(name, slice_from(missing[i].name)))
			return true;
	}
	return false;
}

static void
check_parameters(const struct settings *settings, const struct values *values,
                 struct report *report)
{
	struct buf text = BUF(SETTINGS_TEXT_MOST);

	for (size_t i = 0; i < MISSING_COUNT; i++) {
		const struct conf_value *value = values_get(values, slice_from(missing[i].name));

		/* A row in the table of parameters means that it has come. */
		if (value == NULL || settings_row(settings, slice_from(missing[i].name)) != NULL ||
		    !check_expanded(settings, value->name, &text) ||
		    slice_is_empty(slice_trim(buf_slice(&text))))
			continue;
		if (missing[i].severity == PROBLEM_ERROR)
			report_add(report, PROBLEM_ERROR, value->file, value->line,
			           "%s is not there yet: %s; take it out to do without",
			           value->name, missing[i].what);
		else
			report_add(report, missing[i].severity, value->file, value->line,
			           "%s is not used here: %s", value->name, missing[i].what);
	}
	buf_free(&text);
}

/* ---- transports ---- */

static const struct service *
find_service(const struct configuration *configuration, struct slice name)
{
	const struct master_file *master = &configuration->master;

	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];

		if (service->type == SERVICE_UNIX && slice_equal(name, slice_from(service->name)))
			return service;
	}
	return NULL;
}

/* Mail for a transport that nobody serves would wait until it is returned. */
static void
check_transport(const struct configuration *configuration, const char *name, struct report *report)
{
	static const char *const built_in[] = { "error", "retry", "discard" };
	const struct conf_value *value = values_get(&configuration->values, slice_from(name));
	struct buf               text = BUF(SETTINGS_TEXT_MOST);

	if (value == NULL || !check_expanded(&configuration->settings, name, &text)) {
		buf_free(&text);
		return;
	}
	struct slice          whole = slice_trim(buf_slice(&text));
	struct slice          transport = slice_first(whole, slice_find_byte(whole, ':'));
	const struct service *service = find_service(configuration, transport);
	bool                  is_served = transport.length == 0 ||
	                 (service != NULL && service->is_run && !service->program->is_inet);

	for (size_t i = 0; i < sizeof(built_in) / sizeof(built_in[0]); i++)
		is_served |= slice_equal(transport, slice_from(built_in[i]));
	if (!is_served && service != NULL && service->program != NULL)
		report_add(report, PROBLEM_ERROR, value->file, value->line,
		           "%s: service %s (line %u of master.cf) is not run: %s", name,
		           service->name, service->line, service->program->remark);
	else if (!is_served)
		report_add(report, PROBLEM_ERROR, value->file, value->line,
		           "%s: there is no service \"%.*s\" in master.cf", name,
		           SLICE_ARGS(slice_first(transport, 100)));
	buf_free(&text);
}

/* The default local_transport needs its service as soon as a domain is local. */
static void
check_local(const struct configuration *configuration, struct report *report)
{
	const struct settings *settings = &configuration->settings;
	const struct service  *service = find_service(configuration, SLICE("local"));
	struct buf             domains = BUF(SETTINGS_TEXT_MOST), way = BUF(SETTINGS_TEXT_MOST);
	const char            *file;
	unsigned               line;

	bool waits = (service == NULL || !service->is_run) &&
	             find_service(configuration, SLICE("qmgr")) != NULL &&
	             check_expanded(settings, "mydestination", &domains) &&
	             check_expanded(settings, "local_transport", &way) &&
	             slice_trim(buf_slice(&domains)).length > 0 &&
	             slice_starts_with(slice_trim(buf_slice(&way)), SLICE("local:"));
	buf_free(&domains);
	buf_free(&way);
	if (!waits)
		return;
	check_place(settings, "mydestination", &file, &line);
	report_add(report, PROBLEM_WARNING, file, line,
	           "mydestination: mail for these domains waits, since master.cf has no service "
	           "local: add \"local unix - n n - - local\", or leave mydestination empty");
}

void
check_missing(const struct configuration *configuration, struct report *report)
{
	static const char *const  transports[] = { "default_transport", "relay_transport",
		                                   "virtual_transport", "local_transport" };
	const struct master_file *master = &configuration->master;

	check_parameters(&configuration->settings, &configuration->values, report);
	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];
		struct service_view   view;

		if (!service->is_run || service->overrides.list.count == 0 ||
		    !service_view_init(&view, configuration, service))
			continue;
		check_parameters(&view.settings, &service->overrides, report);
		service_view_free(&view);
	}
	for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++)
		check_transport(configuration, transports[i], report);
	check_local(configuration, report);
}
