/* configuration.c - see configuration.h. */
#include "lib/conf/configuration.h"

#include <stdlib.h>
#include <string.h>

#include "lib/conf/check.h"
#include "lib/conf/computed.h"
#include "lib/conf/old_names.h"

struct configuration *
configuration_create(void)
{
	return calloc(1, sizeof(struct configuration));
}

void
configuration_destroy(struct configuration **configuration)
{
	if (*configuration == NULL)
		return;
	configuration_free(*configuration);
	free(*configuration);
	*configuration = NULL;
}

static const char *
path_of(struct configuration *configuration, const char *name)
{
	const char *path =
		arena_format(&configuration->arena, "%s/%s", configuration->directory, name);

	return path == NULL ? name : path;
}

bool
configuration_read_main(struct configuration *configuration, const char *directory,
                        struct report *report)
{
	bool is_read;

	*configuration = (struct configuration){ .arena = ARENA(VALUES_BYTES_MOST),
		                                 .values = VALUES_NONE,
		                                 .computed = VALUES_NONE };
	configuration->directory = arena_text(&configuration->arena, slice_from(directory));
	if (configuration->directory == NULL)
		configuration->directory = ".";
	is_read = main_file_read(&configuration->main, path_of(configuration, "main.cf"), report);
	main_file_values(&configuration->main, &configuration->values, report);
	/* Whatever main.cf says, the directory that is used is the one that was read. */
	if (!values_set(&configuration->computed, SLICE("config_directory"),
	                slice_from(configuration->directory), NULL, 0, false) ||
	    !computed_defaults(&configuration->values, &configuration->computed) ||
	    !settings_init(&configuration->settings, &configuration->values,
	                   &configuration->computed))
		report_add(report, PROBLEM_ERROR, "", 0, "out of memory");
	return is_read;
}

/* ---- services that a master.cf written for Postfix does not have ---- */

static bool
has_program(const struct master_file *master, const char *name)
{
	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];

		if (service->program != NULL && strcmp(service->program->name, name) == 0)
			return true;
	}
	return false;
}

static bool
asks_for_logins(const struct values *values)
{
	const struct conf_value *value = values_get(values, SLICE("smtpd_sasl_auth_enable"));

	/* "$other" may be yes: an authd that nobody asks does no harm. */
	return value != NULL && !slice_equal(slice_trim(slice_from(value->text)), SLICE("no"));
}

/* Some list has reject_unverified_sender or reject_unverified_recipient, or a class has. */
static bool
verifies_addresses(const struct values *values)
{
	for (size_t i = 0; i < values->list.count; i++)
		if (slice_find(slice_from(values->list.items[i]->text),
		               SLICE("reject_unverified_")) != SLICE_NOT_FOUND)
			return true;
	return false;
}

/* Names come from the resolver and passwords from authd, whoever wrote master.cf; and who is to
 * verify addresses is there when that is wanted. */
static void
add_needed_services(struct configuration *configuration, struct report *report)
{
	struct master_file *master = &configuration->master;
	bool needs_authd = has_program(master, "pop3d") || asks_for_logins(&configuration->values);
	bool needs_verify = verifies_addresses(&configuration->values);

	for (size_t i = 0; i < master->services.count; i++) {
		needs_authd |= asks_for_logins(&master->services.items[i].overrides);
		needs_verify |= verifies_addresses(&master->services.items[i].overrides);
	}
	if (!has_program(master, "resolver") &&
	    (has_program(master, "smtpd") || has_program(master, "smtp")))
		master_file_add(master, "resolver unix - - n - 1 resolver", report);
	if (!has_program(master, "authd") && needs_authd)
		master_file_add(master, "authd unix - - n - 10 authd", report);
	if (!has_program(master, "verify") && needs_verify)
		master_file_add(master, "verify unix - - n - 1 verify", report);
}

bool
configuration_load(struct configuration *configuration, const char *directory,
                   struct report *report)
{
	bool is_read = configuration_read_main(configuration, directory, report);

	is_read &= master_file_read(&configuration->master, path_of(configuration, "master.cf"),
	                            report);
	if (is_read)
		add_needed_services(configuration, report);
	old_names_translate(&configuration->values, report);
	for (size_t i = 0; i < configuration->master.services.count; i++)
		old_names_translate(&configuration->master.services.items[i].overrides, report);
	/* Without one of the files every name would look unknown: say only that. */
	if (is_read)
		configuration_check(configuration, report);
	return report->error_count == 0;
}

void
configuration_free(struct configuration *configuration)
{
	settings_free(&configuration->settings);
	values_free(&configuration->values);
	values_free(&configuration->computed);
	main_file_free(&configuration->main);
	master_file_free(&configuration->master);
	arena_reset(&configuration->arena);
}

bool
configuration_service_values(const struct configuration *configuration,
                             const struct service *service, struct values *values)
{
	const char *program =
		service == NULL || service->program == NULL ? "" : service->program->name;
	bool is_lmtp = strcmp(program, "lmtp") == 0;

	if (!values_copy(values, &configuration->computed) ||
	    !values_copy(values, &configuration->values) ||
	    (is_lmtp && !old_names_for_lmtp(values, &configuration->values)))
		return false;
	return service == NULL ||
	       (values_set(values, SLICE("service_name"), slice_from(service->name), NULL, 0,
	                   false) &&
	        values_set(values, SLICE("process_name"), slice_from(program), NULL, 0, false) &&
	        values_copy(values, &service->overrides) &&
	        (!is_lmtp || old_names_for_lmtp(values, &service->overrides)));
}
