/*
 * standin.c - a daemon that does nothing but what master expects, for tests of master alone.
 *
 * Speaks the messages of lib/ipc/messages.def on descriptor 3 without lib/daemon. On each
 * connection to its listeners it answers one line: "NAME PID GENERATION", then obeys one line:
 * "crash", "exit N", "mute" (say nothing to master any more), "hold" (keep this session until the
 * client closes: draining waits for it), "snapshot NAME", "fds", "env".
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <dirent.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "lib/conf/snapshot.h"
#include "lib/ipc/channel.h"

#define LISTENERS_MOST 300
#define HELD_MOST      10

struct standin {
	const char        *name;
	struct ipc_channel master;
	int                listeners[LISTENERS_MOST];
	size_t             listener_count;
	int                held[HELD_MOST];
	size_t             held_count;
	struct snapshot   *snapshot;
	unsigned           generation;
	bool               is_draining;
	bool               is_mute;
};

static void
take_start(struct standin *standin, struct ipc_frame *frame)
{
	struct msg_daemon_start start;
	struct error            error = ERROR_NONE;
	struct msg_daemon_ready ready = msg_daemon_ready_clear();

	if (!msg_daemon_start_decode(frame, &start))
		exit(3);
	standin->generation = start.generation;
	standin->snapshot = snapshot_open(start.snapshot, &error);
	if (standin->snapshot == NULL)
		exit(4);
	/* Nobody may change a snapshot. */
	if (write(start.snapshot, "x", 1) != -1 || ftruncate(start.snapshot, 0) != -1)
		exit(5);
	const char *fail = snapshot_value(standin->snapshot, "standin_fail");
	if (fail != NULL && strcmp(fail, standin->name) == 0)
		exit(9);
	(void)ipc_queue(&standin->master, daemon_ready, &ready);
	ipc_flush(&standin->master);
}

static void
take_message(struct standin *standin, struct ipc_frame *frame)
{
	struct msg_daemon_listener listener;

	if (frame->type == MSG_daemon_start)
		take_start(standin, frame);
	else if (frame->type == MSG_daemon_drain)
		standin->is_draining = true;
	else if (frame->type == MSG_daemon_listener &&
	         msg_daemon_listener_decode(frame, &listener) &&
	         standin->listener_count < LISTENERS_MOST)
		standin->listeners[standin->listener_count++] = listener.socket;
	ipc_frame_close(frame);
}

static void
show_descriptors(int fd)
{
	DIR           *directory = opendir("/proc/self/fd");
	struct dirent *entry;

	while (directory != NULL && (entry = readdir(directory)) != NULL)
		dprintf(fd, "%s ", entry->d_name);
	if (directory != NULL)
		closedir(directory);
}

static void
obey(struct standin *standin, int fd, char *line)
{
	int64_t status = 0;

	if (strncmp(line, "crash", 5) == 0) {
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
	} else if (strncmp(line, "exit ", 5) == 0) {
		(void)number_parse(slice_trim(slice_from(line + 5)), 0, 255, &status);
		exit((int)status);
	} else if (strncmp(line, "mute", 4) == 0) {
		standin->is_mute = true;
	} else if (strncmp(line, "fds", 3) == 0) {
		show_descriptors(fd);
	} else if (strncmp(line, "env", 3) == 0) {
		for (char **variable = environ; *variable != NULL; variable++)
			dprintf(fd, "%s\n", *variable);
	} else if (strncmp(line, "snapshot ", 9) == 0) {
		line[strcspn(line, "\n")] = '\0';
		const char *value = snapshot_value(standin->snapshot, line + 9);
		dprintf(fd, "%s\n", value == NULL ? "(unset)" : value);
	} else if (strncmp(line, "hold", 4) == 0 && standin->held_count < HELD_MOST) {
		standin->held[standin->held_count++] = dup(fd);
	}
}

static void
serve(struct standin *standin, int listener)
{
	char    line[200] = "";
	int     fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return;
	dprintf(fd, "%s %d %u\n", standin->name, (int)getpid(), standin->generation);
	got = read(fd, line, sizeof(line) - 1);
	if (got > 0)
		obey(standin, fd, line);
	close(fd);
}

static void
say_alive(struct standin *standin)
{
	struct msg_daemon_alive alive = { .sessions = (uint32_t)standin->held_count };

	if (standin->is_mute)
		return;
	(void)ipc_queue(&standin->master, daemon_alive, &alive);
	ipc_flush(&standin->master);
}

static void
drop_closed(struct standin *standin)
{
	char byte;

	for (size_t i = 0; i < standin->held_count;) {
		if (recv(standin->held[i], &byte, 1, MSG_DONTWAIT) == 0) {
			close(standin->held[i]);
			standin->held[i] = standin->held[--standin->held_count];
		} else {
			i++;
		}
	}
}

int
main(int argc, char **argv)
{
	struct standin   standin = { 0 };
	struct ipc_frame frame;

	(void)argc;
	signal(SIGPIPE, SIG_IGN); /* a client that did not wait for the greeting */
	standin.name = argv[0];
	ipc_channel_init(&standin.master, 3);
	for (;;) {
		struct pollfd watched[1 + LISTENERS_MOST] = { { 3, POLLIN, 0 } };
		bool          is_open = standin.snapshot != NULL && !standin.is_draining;
		size_t        count = is_open ? standin.listener_count : 0;

		for (size_t i = 0; i < count; i++)
			watched[i + 1] = (struct pollfd){ standin.listeners[i], POLLIN, 0 };
		poll(watched, count + 1, 100);
		if (watched[0].revents != 0) {
			if (ipc_fill(&standin.master) != IPC_OK)
				return 0; /* master is gone */
			while (ipc_next(&standin.master, &frame))
				take_message(&standin, &frame);
		}
		for (size_t i = 0; i < count; i++) {
			if (watched[i + 1].revents != 0)
				serve(&standin, standin.listeners[i]);
		}
		drop_closed(&standin);
		if (standin.is_draining && standin.held_count == 0)
			return 0;
		if (standin.snapshot != NULL)
			say_alive(&standin);
	}
}
