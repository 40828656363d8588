/* notify.c - tells systemd that we are up, reload, stop and live (sd_notify(3)); no library. */
#include "master/master.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"

static void
read_watchdog(struct master *master)
{
	const char *interval = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	int64_t     us, wanted;

	if (interval == NULL || !number_parse(slice_from(interval), 2000, INT64_MAX / 2, &us))
		return;
	if (pid != NULL &&
	    (!number_parse(slice_from(pid), 1, INT32_MAX, &wanted) || wanted != getpid()))
		return;
	master->notify_interval_ms = us / 1000 / 2;
	master->notify_next_ms = clock_monotonic_ms();
}

void
notify_open(struct master *master)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char        *path = getenv("NOTIFY_SOCKET");
	size_t             length = path == NULL ? 0 : strlen(path);
	int                fd;

	master->notify_fd = -1;
	if (length == 0 || length >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* an abstract address */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address,
	                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0) {
		close(fd);
		fd = -1;
	}
	master->notify_fd = fd;
	if (fd >= 0)
		read_watchdog(master);
}

void
notify_state(struct master *master, const char *state)
{
	if (master->notify_fd >= 0 &&
	    send(master->notify_fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("systemd does not listen");
}

void
notify_due(struct master *master)
{
	if (master->notify_next_ms == 0 || clock_monotonic_ms() < master->notify_next_ms)
		return;
	notify_state(master, "WATCHDOG=1");
	master->notify_next_ms = clock_monotonic_ms() + master->notify_interval_ms;
}
