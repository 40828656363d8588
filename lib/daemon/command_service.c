/* command_service.c - see command_service.h. */
#include "lib/daemon/command_service.h"

#include <stdio.h>

#include "lib/base/log.h"
#include "lib/base/number.h"

bool
command_service_arguments(const struct daemon_context *context, struct arena *arena,
                          struct pipe_arguments *arguments, struct error *error)
{
	struct report report = REPORT_NONE;
	bool is_good = pipe_arguments_parse(slice_from(context->arguments), "master.cf", 0, arena,
	                                    arguments, &report);

	if (!is_good)
		error_set(error, "service %s: %s", context->service,
		          report.list.count > 0 ? report.list.items[0].text : "out of memory");
	report_free(&report);
	return is_good;
}

bool
command_service_user(struct daemon_context *context, const struct pipe_arguments *arguments,
                     struct error *error)
{
	struct owner owner;

	if (pipe_user_find(arguments->user, context->parameters, &owner, error) != PIPE_USER_FOUND)
		return error_prefix(error, "service %s: user=%s", context->service,
		                    arguments->user);
	daemon_run_as(context, owner.uid, owner.gid);
	return true;
}

int64_t
command_service_time_limit_ms(const struct daemon_context *context)
{
	char    name[200];
	int64_t seconds = context->parameters->command_time_limit;

	snprintf(name, sizeof(name), "%.100s_time_limit", context->service);
	const char *text = snapshot_value(context->snapshot, name);
	if (text != NULL && text[0] != '\0' &&
	    !number_parse_seconds(slice_from(text), 's', &seconds))
		log_warning("%s = %.100s is no time: command_time_limit is used", name, text);
	return (seconds > 0 ? seconds : 1) * 1000;
}
