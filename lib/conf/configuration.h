/*
 * configuration.h - main.cf and master.cf together, loaded and checked as one.
 *
 * configuration_load reads both files and reports everything that is wrong with them: syntax,
 * names, types, bounds, restriction lists. Only a configuration whose report has no error may be
 * used to start or reload.
 */
#ifndef DAKIYA_CONF_CONFIGURATION_H
#define DAKIYA_CONF_CONFIGURATION_H

#include "lib/conf/mainfile.h"
#include "lib/conf/masterfile.h"
#include "lib/conf/settings.h"

struct configuration {
	struct arena       arena;
	const char        *directory;
	struct main_file   main;
	struct master_file master;
	struct values      values;   /* main.cf */
	struct values      computed; /* this host's defaults */
	struct settings    settings; /* both, without overrides */
	/* What could be expanded and is of the right type; the rest is zero. */
	struct parameters parameters;
};

/* On the heap, since it is large; an empty one, or NULL when memory is out. */
struct configuration *configuration_create(void);
/* Frees what was read, and itself; clears the pointer. */
void configuration_destroy(struct configuration **configuration);
/* Reads main.cf only: for dakconf, which shows also what is wrong. */
bool configuration_read_main(struct configuration *configuration, const char *directory,
                             struct report *report);
/* Reads and checks everything; true when there is no error. Free it in any case. */
bool configuration_load(struct configuration *configuration, const char *directory,
                        struct report *report);
void configuration_free(struct configuration *configuration);

/* What is set for one service: main.cf, this host's defaults, the service's -o overrides. */
bool configuration_service_values(const struct configuration *configuration,
                                  const struct service *service, struct values *values);

#endif
