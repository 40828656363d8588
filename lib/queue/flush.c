/* flush.c - see flush.h. */
#include "lib/queue/flush.h"

#include "lib/base/clock.h"
#include "lib/ipc/channel.h"
#include "lib/queue/control.h"

static bool
ask(struct ipc_channel *channel, struct slice site, int64_t deadline_ms, struct error *error)
{
	struct msg_queue_flush_site question = { .site = site };
	struct msg_queue_end        end;
	struct ipc_frame            frame;
	enum ipc_result result = ipc_send(channel, queue_flush_site, &question, deadline_ms);

	if (result == IPC_OK)
		result = ipc_receive(channel, deadline_ms, &frame);
	if (result != IPC_OK)
		return error_set(error, "queue manager: %s", ipc_result_text(result));
	bool is_good = msg_queue_end_decode(&frame, &end);
	if (!is_good)
		error_set(error, "queue manager: an answer that cannot be understood");
	else if (end.status != CONTROL_OK)
		is_good = error_set(error, "queue manager: %.*s",
		                    SLICE_ARGS(slice_first(end.reason, 200)));
	ipc_frame_close(&frame);
	return is_good;
}

bool
queue_flush_site(const char *socket_path, struct slice site, int64_t timeout_ms,
                 struct error *error)
{
	struct ipc_channel channel;

	if (!ipc_channel_connect(&channel, socket_path, error))
		return false;
	bool is_good = ask(&channel, site, clock_monotonic_ms() + timeout_ms, error);
	ipc_channel_close(&channel);
	return is_good;
}
