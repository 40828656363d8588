/* control.c - what passes between a daemon and master after the start: drain, log, alive. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/daemon/core.h"

#define TRIM_INTERVAL_MS 1000

void
control_begin_drain(struct daemon_core *core, int64_t within_ms, bool keeps_idle)
{
	int64_t deadline = clock_monotonic_ms() + within_ms;

	/* A second, more urgent word shortens the time; a less urgent one changes nothing. */
	if (!atomic_load(&core->is_draining) || deadline < atomic_load(&core->drain_deadline_ms))
		atomic_store(&core->drain_deadline_ms, deadline);
	if (!atomic_load(&core->is_draining) || !keeps_idle)
		atomic_store(&core->drain_keeps_idle, keeps_idle);
	if (atomic_exchange(&core->is_draining, true))
		return;
	uint64_t one = 1;
	ssize_t  written = write(core->drain_event, &one, sizeof(one));
	(void)written; /* an eventfd takes it */
}

static void
take_signals(struct daemon_core *core)
{
	struct signalfd_siginfo one;

	while (read(core->signal_fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
		if (one.ssi_signo == SIGTERM || one.ssi_signo == SIGINT)
			control_begin_drain(core, DRAIN_QUICK_MS, false);
}

/* The number of the log's descriptor stays, so that threads that are writing need no lock. */
static void
change_log(struct daemon_core *core, struct ipc_frame *frame)
{
	struct msg_daemon_log message = msg_daemon_log_clear();

	if (!msg_daemon_log_decode(frame, &message) || message.log < 0)
		return;
	if (message.log_target == (uint32_t)core->log_target)
		core->is_log_changed = dup3(message.log, core->log_fd,
		                            core->log_fd == STDERR_FILENO ? 0 : O_CLOEXEC) >= 0;
	close(message.log);
}

static void
take_message(struct daemon_core *core, struct ipc_frame *frame)
{
	struct msg_daemon_drain drain = msg_daemon_drain_clear();

	if (frame->type == MSG_daemon_drain && msg_daemon_drain_decode(frame, &drain))
		control_begin_drain(core, drain.deadline_ms, drain.keeps_idle);
	else if (frame->type == MSG_daemon_log)
		change_log(core, frame);
	else if (frame->type == MSG_daemon_certificates && core->certificates != NULL)
		core->certificates->replace(core, frame);
	ipc_frame_close(frame);
}

/* Whichever of reading and writing meets the end of master first: without master, no work. */
static void
control_lost(struct daemon_core *core)
{
	core->control.is_broken = true;
	control_begin_drain(core, DRAIN_ORPHAN_MS, false);
}

void
control_read(struct daemon_core *core)
{
	struct ipc_frame frame;

	take_signals(core);
	if (core->control.is_broken)
		return;
	enum ipc_result result = ipc_fill(&core->control);
	while (ipc_next(&core->control, &frame))
		take_message(core, &frame);
	if (result != IPC_OK || core->control.is_broken)
		control_lost(core);
}

/* What bursts have left free in our heap may be what another daemon lacks. */
static void
return_memory(struct daemon_core *core, int64_t now_ms)
{
	if (now_ms < core->trim_ms)
		return;
	core->trim_ms = now_ms + TRIM_INTERVAL_MS;
	if (memory_is_short(core->memory))
		malloc_trim(0);
}

void
control_tell_alive(struct daemon_core *core, int64_t now_ms)
{
	struct msg_daemon_alive alive = msg_daemon_alive_clear();
	int32_t                 sessions = atomic_load(&core->sessions);
	int32_t                 busy = atomic_load(&core->busy);
	char                    problem[200];

	if (core->control.is_broken)
		control_lost(core);
	return_memory(core, now_ms);
	if (now_ms < core->next_alive_ms || core->control.is_broken)
		return;
	core->next_alive_ms = now_ms + ALIVE_INTERVAL_MS;
	alive.sessions = (uint32_t)(sessions > 0 ? sessions : 0);
	alive.busy_threads = (uint32_t)(busy > 0 ? busy : 0);
	alive.sessions_total = atomic_load(&core->sessions_total);
	log_last_problem(problem, sizeof(problem));
	alive.last_error = slice_from(problem);
	/* Master that does not read for so long that the socket is full is waited for by nobody. */
	if (!ipc_has_output(&core->control))
		(void)ipc_queue(&core->control, daemon_alive, &alive);
	ipc_flush(&core->control);
	if (core->control.is_broken)
		control_lost(core);
}

/* What other threads ask master for. */
static void
tell_wanted(struct daemon_core *core)
{
	struct msg_daemon_wants wants = msg_daemon_wants_clear();

	mutex_lock(&core->wanted_lock);
	struct slice rest = buf_slice(&core->wanted);
	while (rest.length > 0 && slice_next_part(&rest, '\0', &wants.service))
		if (wants.service.length > 0 && !core->control.is_broken)
			(void)ipc_queue(&core->control, daemon_wants, &wants);
	buf_truncate(&core->wanted, 0);
	mutex_unlock(&core->wanted_lock);
	if (!core->control.is_broken)
		ipc_flush(&core->control);
}

void
control_wait(struct daemon_core *core, int64_t timeout_ms)
{
	struct pollfd all[] = { { .fd = core->signal_fd, .events = POLLIN },
		                { .fd = core->control.is_broken ? -1 : core->control.fd,
		                  .events = POLLIN },
		                { .fd = core->wake_event, .events = POLLIN } };
	uint64_t      woken;
	int64_t       until_alive = core->next_alive_ms - clock_monotonic_ms();

	if (timeout_ms > until_alive && !core->control.is_broken)
		timeout_ms = until_alive;
	if (memory_is_little(core->memory) && timeout_ms > TRIM_INTERVAL_MS)
		timeout_ms = TRIM_INTERVAL_MS;
	if (timeout_ms < 0)
		timeout_ms = 0;
	int ready = poll(all, 3, timeout_ms > 60000 ? 60000 : (int)timeout_ms);
	if (ready > 0 && all[2].revents != 0 &&
	    read(core->wake_event, &woken, sizeof(woken)) != (ssize_t)sizeof(woken))
		core->wake_event = -1; /* cannot be; not to spin on it */
	if (ready > 0 && all[2].revents != 0)
		tell_wanted(core);
	if (ready > 0)
		control_read(core);
	control_tell_alive(core, clock_monotonic_ms());
}
