/*
 * health.c - what `dakiya check` sees beyond main.cf and master.cf: certificates, whether somebody
 * reads mail for postmaster, and what a repair of the file system took from the queue. Asks the
 * libraries that the daemons ask.
 */
#include "tools/dakiya/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/conf/check.h"
#include "lib/conf/snapshot.h"
#include "lib/route/route.h"
#include "lib/tls/tls_health.h"

/* ---- certificates ---- */

static const char *const certificate_names[] = { "smtpd_tls_chain_files", "smtpd_tls_cert_file",
	                                         "smtpd_tls_eccert_file", "smtpd_tls_key_file",
	                                         "smtpd_tls_eckey_file" };
#define CERTIFICATE_NAME_COUNT (sizeof(certificate_names) / sizeof(certificate_names[0]))

/* Where the certificates are set: in the service, or in main.cf. NULL = nowhere. */
static const struct conf_value *
certificate_place(const struct configuration *configuration, const struct service *service)
{
	const struct conf_value *value = NULL;

	for (size_t i = 0; value == NULL && i < CERTIFICATE_NAME_COUNT; i++)
		value = values_get(&service->overrides, slice_from(certificate_names[i]));
	for (size_t i = 0; value == NULL && i < CERTIFICATE_NAME_COUNT; i++)
		value = values_get(&configuration->values, slice_from(certificate_names[i]));
	return value;
}

/* A place is examined once, however many services see it. */
static void
check_certificates(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;
	const struct conf_value  *done = NULL;

	for (size_t i = 0; i < master->services.count; i++) {
		const struct service    *service = &master->services.items[i];
		const struct conf_value *place = certificate_place(configuration, service);

		if (!service->is_run || !service->program->is_inet || place == NULL ||
		    place == done)
			continue;
		struct snapshot *snapshot = check_snapshot(configuration, service);
		if (snapshot == NULL)
			continue;
		tls_health_check(snapshot_parameters(snapshot), place->file, place->line, report);
		snapshot_destroy(&snapshot);
		if (values_get(&service->overrides, slice_from(place->name)) == NULL)
			done = place;
	}
}

/* ---- postmaster ---- */

/* Whether one of the addresses behind postmaster is delivered somewhere. */
static enum lookup
reaches_somebody(struct router *router, struct arena *arena, struct error *error)
{
	struct route_addresses addresses = { 0 };
	enum lookup found = route_expand(router, SLICE("postmaster"), arena, &addresses, error);

	for (size_t i = 0; found == LOOKUP_FOUND && i < addresses.count; i++) {
		struct slice address = addresses.items[i];
		size_t       at = slice_find_last_byte(address, '@');
		struct slice local = slice_first(address, at);
		struct route route = { 0 };
		enum route_class class = ROUTE_DEFAULT;

		found = route_classify(router,
		                       at == SLICE_NOT_FOUND ? SLICE_EMPTY
		                                             : slice_from_offset(address, at + 1),
		                       &class, error);
		/* Left as it was, in a domain that is nobody's here: that is this host itself. */
		if (found == LOOKUP_FOUND && class == ROUTE_DEFAULT &&
		    slice_equal_fold(local, SLICE("postmaster")))
			continue;
		if (found == LOOKUP_FOUND)
			found = route_resolve(router, SLICE_EMPTY, address, arena, &route, error);
		if (found != LOOKUP_FOUND || !slice_equal(route.transport, SLICE("error")))
			return found;
	}
	return found == LOOKUP_FOUND ? LOOKUP_NOT_FOUND : found;
}

static bool
has_domains(const struct parameters *parameters)
{
	const char *const lists[] = { parameters->mydestination, parameters->relay_domains,
		                      parameters->virtual_mailbox_domains,
		                      parameters->virtual_alias_domains };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (lists[i] != NULL && !slice_is_empty(slice_trim(slice_from(lists[i]))))
			return true;
	}
	return false;
}

/* RFC 5321 4.5.1: a host that takes mail must have a postmaster. */
static void
check_postmaster(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;
	const struct service     *entrance = NULL;
	struct error              error = ERROR_NONE;
	struct arena              arena = ARENA(1024u * 1024);

	for (size_t i = 0; entrance == NULL && i < master->services.count; i++) {
		if (master->services.items[i].is_run &&
		    strcmp(master->services.items[i].program->name, "smtpd") == 0)
			entrance = &master->services.items[i];
	}
	/* A host that takes mail for no domain sends only. */
	struct snapshot *snapshot = entrance == NULL || !has_domains(&configuration->parameters)
	                                    ? NULL
	                                    : check_snapshot(configuration, entrance);
	struct router   *router = snapshot == NULL ? NULL : router_create(snapshot, &error);

	/* A table that is not there is a finding of its own. */
	if (router != NULL && reaches_somebody(router, &arena, &error) == LOOKUP_NOT_FOUND)
		report_add(report, PROBLEM_WARNING, configuration->main.path, 0,
		           "mail for postmaster reaches nobody, though RFC 5321 wants somebody "
		           "to read it: dakconf -c %s -e postmaster_recipient=YOU@%s, or dakuser "
		           "-c %s add postmaster@%s",
		           configuration->directory, snapshot_parameters(snapshot)->mydomain,
		           configuration->directory, snapshot_parameters(snapshot)->mydomain);
	router_destroy(&router);
	snapshot_destroy(&snapshot);
	arena_reset(&arena);
}

void
tool_check_health(const struct configuration *configuration, struct report *report)
{
	check_certificates(configuration, report);
	check_postmaster(configuration, report);
	check_lost(configuration, report);
}
