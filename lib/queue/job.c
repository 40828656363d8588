/* job.c - the agent's channel to qmgr. See job.h. */
#include "lib/queue/job.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "lib/base/clock.h"

#define SEND_TIMEOUT_MS 60000

static bool
agent_greet(struct agent *agent, const char *transport, uint32_t window, uint32_t uid, uint32_t gid,
            struct error *error)
{
	struct msg_agent_hello hello = {
		.transport = slice_from(transport),
		.window = window,
		.uid = uid,
		.gid = gid,
		.is_lent = agent->is_lent,
	};
	enum ipc_result result = ipc_send(&agent->channel, agent_hello, &hello,
	                                  clock_monotonic_ms() + SEND_TIMEOUT_MS);

	if (result == IPC_OK)
		return true;
	error_set(error, "job channel of %s: %s", transport, ipc_result_text(result));
	agent_close(agent);
	return false;
}

bool
agent_connect(struct agent *agent, const char *path, const char *transport, uint32_t window,
              struct error *error)
{
	return ipc_channel_connect(&agent->channel, path, error) &&
	       agent_greet(agent, transport, window, 0, 0, error);
}

bool
agent_attach(struct agent *agent, int fd, const char *transport, uint32_t window, uint32_t uid,
             uint32_t gid, struct error *error)
{
	ipc_channel_init(&agent->channel, fd);
	return agent_greet(agent, transport, window, uid, gid, error);
}

void
agent_close(struct agent *agent)
{
	ipc_channel_close(&agent->channel);
}

/* Whether the buffer holds a whole frame; ipc_next would take it. */
static bool
has_whole_frame(const struct ipc_channel *channel)
{
	size_t   there = channel->in.length - channel->in_used;
	uint32_t length;

	if (there < IPC_HEADER_BYTES)
		return false;
	memcpy(&length, channel->in.data + channel->in_used, sizeof(length));
	return there - IPC_HEADER_BYTES >= length;
}

enum agent_result
agent_wait(struct agent *agent, int64_t deadline_ms)
{
	struct ipc_channel *channel = &agent->channel;

	for (;;) {
		if (channel->is_broken)
			return AGENT_CLOSED;
		if (has_whole_frame(channel))
			return AGENT_JOB;
		int64_t left_ms = deadline_ms - clock_monotonic_ms();
		if (left_ms <= 0)
			return AGENT_IDLE;
		struct pollfd one = { .fd = channel->fd, .events = POLLIN };
		int           ready = poll(&one, 1, left_ms > 60000 ? 60000 : (int)left_ms);
		if (ready < 0 && errno != EINTR)
			return AGENT_CLOSED;
		if (ready > 0 && ipc_fill(channel) != IPC_OK)
			return AGENT_CLOSED;
	}
}

bool
agent_take_job(struct agent *agent, struct agent_job *job)
{
	struct ipc_frame frame;
	struct agent_job taken = { .begin_us = clock_wall_us() };

	if (!ipc_next(&agent->channel, &frame))
		return false;
	bool is_job = msg_job_decode(&frame, &taken.message);
	ipc_frame_close(&frame);
	if (!is_job) {
		agent->channel.is_broken = true;
		return false;
	}
	struct slice envelope = taken.message.envelope;
	if (!msg_envelope_next(&envelope, &taken.envelope)) {
		agent_job_release(&taken);
		agent->channel.is_broken = true;
		return false;
	}
	*job = taken;
	return true;
}

enum agent_result
agent_next_job(struct agent *agent, int64_t deadline_ms, struct agent_job *job)
{
	enum agent_result result = agent_wait(agent, deadline_ms);

	if (result == AGENT_JOB && !agent_take_job(agent, job))
		return AGENT_CLOSED;
	return result;
}

void
agent_job_release(struct agent_job *job)
{
	if (job->message.file >= 0)
		close(job->message.file);
	job->message.file = -1;
}

uint64_t
agent_job_size(const struct agent_job *job)
{
	return job->message.file >= 0 ? job->message.file_length : job->message.content.length;
}

bool
agent_job_content(const struct agent_job *job, uint64_t offset, char *scratch, size_t size,
                  struct slice *piece, struct error *error)
{
	uint64_t length = agent_job_size(job);
	ssize_t  got;

	if (offset >= length) {
		*piece = SLICE_EMPTY;
		return true;
	}
	if (size > length - offset)
		size = (size_t)(length - offset);
	if (job->message.file < 0) {
		*piece = slice_of(job->message.content.data + offset, size);
		return true;
	}
	do
		got = pread(job->message.file, scratch, size,
		            (off_t)(job->message.file_offset + offset));
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return error_set_errno(error, "read the content of %.*s",
		                       SLICE_ARGS(job->message.queue_id));
	if (got == 0)
		return error_set(error, "the content of %.*s ends too early",
		                 SLICE_ARGS(job->message.queue_id));
	*piece = slice_of(scratch, (size_t)got);
	return true;
}

bool
agent_queue_report(struct agent *agent, const struct msg_job_result *result)
{
	return ipc_queue(&agent->channel, job_result, result);
}

bool
agent_flush(struct agent *agent)
{
	struct ipc_channel *channel = &agent->channel;
	int64_t             deadline_ms = clock_monotonic_ms() + SEND_TIMEOUT_MS;

	while (ipc_has_output(channel)) {
		if (ipc_flush(channel) != IPC_OK)
			return false;
		if (!ipc_has_output(channel))
			break;
		struct pollfd one = { .fd = channel->fd, .events = POLLOUT };
		int64_t       left_ms = deadline_ms - clock_monotonic_ms();
		if (left_ms <= 0 || (poll(&one, 1, (int)left_ms) < 0 && errno != EINTR)) {
			channel->is_broken = true;
			return false;
		}
	}
	return true;
}

bool
agent_report(struct agent *agent, const struct msg_job_result *result)
{
	return agent_queue_report(agent, result) && agent_flush(agent);
}
