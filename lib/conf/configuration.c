/* configuration.c - see configuration.h. */
#include "lib/conf/configuration.h"

#include <stdlib.h>

#include "lib/conf/check.h"
#include "lib/conf/computed.h"

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

bool
configuration_load(struct configuration *configuration, const char *directory,
                   struct report *report)
{
	bool is_read = configuration_read_main(configuration, directory, report);

	is_read &= master_file_read(&configuration->master, path_of(configuration, "master.cf"),
	                            report);
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
	if (!values_copy(values, &configuration->computed) ||
	    !values_copy(values, &configuration->values))
		return false;
	return service == NULL ||
	       (values_set(values, SLICE("service_name"), slice_from(service->name), NULL, 0,
	                   false) &&
	        values_set(values, SLICE("process_name"),
	                   slice_from(service->program == NULL ? "" : service->program->name), NULL,
	                   0, false) &&
	        values_copy(values, &service->overrides));
}
