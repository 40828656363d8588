/* check_pipe.c - services that deliver to commands: their arguments, users, programs; check.h. */
#include "lib/conf/check.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/conf/pipe_arguments.h"

/* The owners, which are needed before the types of all parameters are checked. */
struct owners {
	struct parameters parameters;
	struct buf        text[4];
};

static void
owners_find(struct owners *owners, const struct settings *settings)
{
	struct parameters *parameters = &owners->parameters;
	const struct {
		const char  *name;
		const char **value;
	} rows[] = {
		{ "mail_owner", &parameters->mail_owner },
		{ "net_owner", &parameters->net_owner },
		{ "auth_owner", &parameters->auth_owner },
		{ "dns_owner", &parameters->dns_owner },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		owners->text[i] = BUF(SETTINGS_TEXT_MOST);
		if (check_expanded(settings, rows[i].name, &owners->text[i]))
			*rows[i].value = buf_text(&owners->text[i]);
	}
}

/*
 * Distributions ship services for programs that are mostly not installed, nor are their users: that
 * must not keep the others from starting. Mail for such a transport waits.
 */
static void
check_user(const struct owners *owners, struct service *service, const char *user,
           struct report *report)
{
	struct owner owner;
	struct error error = ERROR_NONE;

	if (geteuid() != 0)
		return; /* everything runs as the caller */
	switch (pipe_user_find(user, &owners->parameters, &owner, &error)) {
	case PIPE_USER_FOUND: return;
	case PIPE_USER_MISSING:
		service->is_run = false;
		report_add(report, PROBLEM_WARNING, service->file, service->line,
		           "%s: user=%.100s: %s: service %s is not run", service->program->name,
		           user, error.text, service->name);
		return;
	case PIPE_USER_REFUSED:
		report_add(report, PROBLEM_ERROR, service->file, service->line,
		           "%s: user=%.100s: %s", service->program->name, user, error.text);
		return;
	}
}

static void
check_program(const struct pipe_arguments *arguments, const struct service *service,
              struct report *report)
{
	struct error error = ERROR_NONE;

	if (arguments->root != NULL && geteuid() != 0)
		report_add(report, PROBLEM_ERROR, service->file, service->line,
		           "pipe: chroot= needs root");
	if (arguments->root != NULL || arguments->argv[0][0] != '/' ||
	    access(arguments->argv[0], F_OK) == 0)
		return;
	error_set_errno(&error, "%s: argv=%.300s", service->program->name, arguments->argv[0]);
	report_add(report, PROBLEM_WARNING, service->file, service->line,
	           strcmp(service->program->name, "pipe") == 0
	                   ? "%s: mail for %s will wait"
	                   : "%s: service %s will answer nobody",
	           error.text, service->name);
}

void
check_pipe(struct configuration *configuration, struct report *report)
{
	struct master_file *master = &configuration->master;
	struct owners       owners = { 0 };

	owners_find(&owners, &configuration->settings);
	for (size_t i = 0; i < master->services.count; i++) {
		struct service       *service = &master->services.items[i];
		struct arena          arena = ARENA(512u * 1024);
		struct pipe_arguments arguments;

		if (!service->is_run || !service->program->takes_arguments)
			continue;
		bool is_good =
			pipe_arguments_parse(slice_from(service->own_arguments), service->file,
		                             service->line, &arena, &arguments, report);
		if (arguments.user != NULL)
			check_user(&owners, service, arguments.user, report);
		if (is_good && service->is_run)
			check_program(&arguments, service, report);
		arena_reset(&arena);
	}
	for (size_t i = 0; i < sizeof(owners.text) / sizeof(owners.text[0]); i++)
		buf_free(&owners.text[i]);
}
