/*
 * command_service.h - what pipe and spawn read of their line in master.cf, before they give up
 * root.
 */
#ifndef DAKIYA_DAEMON_COMMAND_SERVICE_H
#define DAKIYA_DAEMON_COMMAND_SERVICE_H

#include "lib/conf/pipe_arguments.h"
#include "lib/daemon/daemon.h"

/* flags=, user=, argv= ... of this service, in the arena; false and *error as `dakiya check` says.
 */
bool command_service_arguments(const struct daemon_context *context, struct arena *arena,
                               struct pipe_arguments *arguments, struct error *error);
/* daemon_run_as the user of user=. Not for an unprivileged suite, where all is the caller. */
bool command_service_user(struct daemon_context *context, const struct pipe_arguments *arguments,
                          struct error *error);
/* SERVICE_time_limit, or command_time_limit; at least a second. */
int64_t command_service_time_limit_ms(const struct daemon_context *context);

#endif
