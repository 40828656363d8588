/* check_strangers.c - C3 with the tables read: could a stranger relay? See check.h. */
#include <string.h>

#include "tools/dakiya/check.h"

struct strangers {
	struct router *router; /* NULL when the tables cannot be opened */
	void (*visit)(void *visitor, struct slice key, struct slice value);
	void *visitor;
};

static void
visit_entry(void *context, const struct check_entry *entry)
{
	struct strangers *strangers = context;

	strangers->visit(strangers->visitor, entry->key, entry->value);
}

static bool
each_entry(void *context, struct slice                                               spec,
           void (*visit)(void *visitor, struct slice key, struct slice value), void *visitor)
{
	struct strangers *strangers = context;
	struct check_wish wish = { .spec = spec };

	strangers->visit = visit;
	strangers->visitor = visitor;
	return check_read_table(&wish, visit_entry, strangers) == CHECK_READ;
}

static enum relay_domain
look_up_domain(void *context, struct slice domain)
{
	struct strangers *strangers = context;
	struct error      error = ERROR_NONE;
	enum route_class class = ROUTE_DEFAULT;

	if (strangers->router == NULL ||
	    route_classify(strangers->router, domain, &class, &error) != LOOKUP_FOUND)
		return RELAY_DOMAIN_FOREIGN;
	return class == ROUTE_RELAY     ? RELAY_DOMAIN_RELAYED
	       : class == ROUTE_DEFAULT ? RELAY_DOMAIN_FOREIGN
	                                : RELAY_DOMAIN_HOSTED;
}

enum relay_verdict
check_strangers(const struct configuration *configuration, const struct service *service,
                struct buf *how)
{
	struct service_view       view;
	struct strangers          strangers = { 0 };
	const struct relay_reader reader = { each_entry, look_up_domain, &strangers };
	struct error              error = ERROR_NONE;
	struct snapshot          *snapshot = check_snapshot(configuration, service);
	enum relay_verdict        verdict = RELAY_NONE;

	if (snapshot != NULL)
		strangers.router = router_create(snapshot, &error);
	if (service_view_init(&view, configuration, service)) {
		verdict = relay_evaluate(&view.settings, &reader, how);
		service_view_free(&view);
	}
	router_destroy(&strangers.router);
	snapshot_destroy(&snapshot);
	return verdict;
}

void
check_all_strangers(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;

	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];
		struct buf            how = BUF(SETTINGS_TEXT_MOST);
		enum relay_verdict    verdict = RELAY_NONE;

		if (service->is_run && strcmp(service->program->name, "smtpd") == 0)
			verdict = check_strangers(configuration, service, &how);
		if (verdict == RELAY_ALL)
			report_add(report, PROBLEM_ERROR, service->file, service->line,
			           "service %s would relay for strangers: %s", service->name,
			           buf_text(&how));
		else if (verdict == RELAY_SOME)
			report_add(report, PROBLEM_WARNING, service->file, service->line,
			           "service %s relays for some strangers: %s", service->name,
			           buf_text(&how));
		buf_free(&how);
	}
}
