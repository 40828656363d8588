/* children.c - for a daemon that is master to children of its own: local's parent. */
#include "lib/base/log.h"
#include "lib/daemon/core.h"

bool
daemon_pass_start(const struct daemon_context *context, struct ipc_channel *control)
{
	const struct daemon_core *core = context->core;
	struct msg_daemon_start   start = msg_daemon_start_clear();

	start.service = slice_from(context->service);
	start.process_limit = (uint32_t)context->thread_limit;
	start.is_unprivileged = context->is_unprivileged;
	start.is_verbose = log_is_verbose();
	start.log_target = (uint32_t)core->log_target;
	start.log = core->log_fd;
	start.snapshot = core->snapshot_fd;
	return ipc_queue(control, daemon_start, &start);
}

bool
daemon_log_changed(struct daemon_context *context)
{
	bool is_changed = context->core->is_log_changed;

	context->core->is_log_changed = false;
	return is_changed;
}

bool
daemon_pass_log(const struct daemon_context *context, struct ipc_channel *control)
{
	struct msg_daemon_log message = msg_daemon_log_clear();

	message.log_target = (uint32_t)context->core->log_target;
	message.log = context->core->log_fd;
	return ipc_queue(control, daemon_log, &message);
}
