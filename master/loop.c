/* loop.c - master's only loop: signals, daemons, and those who give it commands. */
#include "master/master.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

bool
loop_watch(struct master *master, struct watch *watch)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = watch };

	return epoll_ctl(master->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) == 0;
}

void
loop_unwatch(struct master *master, struct watch *watch)
{
	if (watch->fd >= 0)
		epoll_ctl(master->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->fd = -1;
}

void
report_start(struct master *master, const char *problem)
{
	size_t length = strlen(problem);

	if (master->report_fd < 0)
		return;
	/* The tool reads to the end of file: "OK" alone, or what is wrong. */
	if (length == 0)
		(void)!write(master->report_fd, "OK", 2);
	else
		(void)!write(master->report_fd, problem, length);
	close(master->report_fd);
	master->report_fd = -1;
}

static void
reload_by_signal(struct master *master)
{
	struct report report = REPORT_NONE;
	struct buf    text = BUF(256u * 1024);
	struct slice  rest, line;

	notify_state(master, "RELOADING=1");
	if (!generation_reload(master, &report))
		log_error("reload refused: the running configuration stays");
	report_append(&report, false, &text);
	rest = buf_slice(&text);
	while (slice_next_part(&rest, '\n', &line))
		log_warning("%.*s", SLICE_ARGS(line));
	buf_free(&text);
	report_free(&report);
	notify_state(master, "READY=1");
}

static void
take_signals(struct master *master)
{
	struct signalfd_siginfo info;

	while (read(master->signals.fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD: supervise_reap(master); break;
		case SIGHUP: reload_by_signal(master); break;
		case SIGUSR1: /* logrotate's way */ control_rotate(master); break;
		case SIGTERM:
		case SIGINT:
			log_info("terminating on signal %u", info.ssi_signo);
			supervise_stop(master, false);
			break;
		}
	}
}

static void
dispatch(struct master *master, struct watch *watch)
{
	switch (watch->kind) {
	case WATCH_SIGNALS: take_signals(master); break;
	case WATCH_CONTROL_LISTENER: control_accept(master); break;
	case WATCH_CONTROL_CLIENT: control_input(master, watch); break;
	case WATCH_PROCESS:
		process_input(master, CONTAINER_OF(watch, struct process, watch));
		break;
	case WATCH_LISTENER: demand_input(master, watch); break;
	}
}

void
loop_run(struct master *master)
{
	struct epoll_event event;

	while (!supervise_is_stopped(master)) {
		int wait_ms = supervise_due(master);

		if (supervise_is_stopped(master))
			break;
		/* One event at a time: handling one may free what another would point to. */
		int count = epoll_wait(master->epoll_fd, &event, 1, wait_ms);
		if (count < 0 && errno != EINTR) {
			log_error("epoll_wait fails with %d: stopping", errno);
			supervise_stop(master, true);
			return;
		}
		if (count > 0)
			dispatch(master, event.data.ptr);
	}
}
