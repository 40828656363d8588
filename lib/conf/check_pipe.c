/* check_pipe.c - services that deliver to commands: their arguments, users, programs; check.h. */
#include "lib/conf/check.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/conf/pipe_arguments.h"

static void
check_service(const struct configuration *configuration, const struct service *service,
              struct report *report)
{
	struct arena          arena = ARENA(512u * 1024);
	struct pipe_arguments arguments;
	struct owner          owner;
	struct error          error = ERROR_NONE;

	bool is_good = pipe_arguments_parse(slice_from(service->own_arguments), service->file,
	                                    service->line, &arena, &arguments, report);
	/* Without root everything runs as the caller. */
	if (arguments.user != NULL && geteuid() == 0 &&
	    !pipe_user_find(arguments.user, &configuration->parameters, &owner, &error))
		report_add(report, PROBLEM_ERROR, service->file, service->line,
		           "pipe: user=%.100s: %s", arguments.user, error.text);
	if (is_good && arguments.root != NULL && geteuid() != 0)
		report_add(report, PROBLEM_WARNING, service->file, service->line,
		           "pipe: chroot= needs root: the service will not start");
	if (is_good && arguments.root == NULL && arguments.argv[0][0] == '/' &&
	    access(arguments.argv[0], F_OK) != 0) {
		error_set_errno(&error, "pipe: argv=%.300s", arguments.argv[0]);
		report_add(report, PROBLEM_WARNING, service->file, service->line,
		           "%s: mail for %s will wait", error.text, service->name);
	}
	arena_reset(&arena);
}

void
check_pipe(const struct configuration *configuration, struct report *report)
{
	const struct master_file *master = &configuration->master;

	for (size_t i = 0; i < master->services.count; i++) {
		const struct service *service = &master->services.items[i];

		if (service->is_run && strcmp(service->program->name, "pipe") == 0)
			check_service(configuration, service, report);
	}
}
