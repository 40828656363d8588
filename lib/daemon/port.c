/* port.c - listeners and new sessions. See sessions.h. */
#include "lib/daemon/sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/memory.h"

/* ---- new sessions ---- */

static uint64_t
number_next(struct pool *pool)
{
	uint32_t span = NUMBER_MOST - NUMBER_LEAST;

	return NUMBER_LEAST + atomic_fetch_add(&pool->next_number, 1) % span;
}

void
port_arm(struct pool *pool, struct port *port, int operation)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = port };

	epoll_ctl(pool->epoll_fd, operation, port->listener->fd, &event);
}

static void
refuse(const struct pool *pool, int fd)
{
	const char *text = pool->daemon->session_refusal;

	if (text != NULL)
		send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	close(fd);
}

/* At most one line a minute about what would otherwise be said for every connection. */
static bool
may_warn(struct pool *pool)
{
	int64_t now = clock_monotonic_ms();
	int64_t last = atomic_load(&pool->warned_ms);

	return (last == 0 || now - last > 60000) &&
	       atomic_compare_exchange_strong(&pool->warned_ms, &last, now);
}

/* Without a descriptor: the first one that waits gets the spare one, and hears that it has to come
 * again. False: nobody was told. */
static bool
port_refuse(struct pool *pool, const struct port *port)
{
	mutex_lock(&pool->lock);
	if (pool->spare_fd >= 0)
		close(pool->spare_fd);
	int fd = accept4(port->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		refuse(pool, fd);
	pool->spare_fd = fcntl(pool->stop_fd, F_DUPFD_CLOEXEC, 0);
	mutex_unlock(&pool->lock);
	return fd >= 0;
}

/* -1 when nobody is there (any more) or nothing can be accepted now. */
static int
port_accept(struct pool *pool, struct port *port, struct sockaddr_storage *client)
{
	socklen_t length = sizeof(*client);
	int       fd = accept4(port->listener->fd, (struct sockaddr *)client, &length,
	                       SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0 || errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) {
		port_arm(pool, port, EPOLL_CTL_MOD);
		return fd;
	}
	if (daemon_is_draining(&pool->core->context))
		return -1; /* the listener is gone */
	bool is_short = errno == EMFILE || errno == ENFILE;
	if (may_warn(pool))
		log_warning("accept on %s: %s; trying again until it works",
		            port->listener->address,
		            is_short ? "no more descriptors" : "the system refuses");
	if (is_short && port_refuse(pool, port)) {
		port_arm(pool, port, EPOLL_CTL_MOD);
		return -1;
	}
	/* Armed again by the main thread: until then connections wait in the kernel. */
	mutex_lock(&pool->lock);
	port->is_paused = true;
	mutex_unlock(&pool->lock);
	atomic_store(&pool->is_port_paused, true);
	return -1;
}

static bool
may_serve(struct pool *pool, const struct port *port, int fd)
{
	unsigned roles = pool->daemon->session_peers;

	if (port->listener->is_unix && roles != 0 &&
	    !daemon_peer_is_allowed(&pool->core->context, fd, roles)) {
		if (may_warn(pool))
			log_warning("%s: a process connects that may not", port->listener->address);
		close(fd);
		return false;
	}
	bool is_full = (size_t)atomic_load(&pool->core->sessions) >= pool->session_limit;
	/* What other daemons ask is part of something that was begun. */
	bool is_short = !port->listener->is_unix && !memory_allows(pool->core->memory, 0);
	if (!is_full && !is_short)
		return true;
	if (is_full && may_warn(pool))
		log_warning("all %zu sessions are in use: refusing more", pool->session_limit);
	else if (is_short && may_warn(pool))
		log_warning("memory is short: refusing new sessions for now");
	refuse(pool, fd);
	return false;
}

static struct seat *
seat_create(struct pool *pool, int fd)
{
	struct seat *seat = calloc(1, sizeof(*seat));

	if (seat != NULL)
		seat->stream = stream_from_socket(fd);
	if (seat == NULL || seat->stream == NULL) {
		free(seat);
		refuse(pool, fd);
		return NULL;
	}
	seat->item.kind = ITEM_SESSION;
	seat->number = number_next(pool);
	seat->is_quick = true;
	list_init(&seat->link);
	stream_set_owner(seat->stream, seat);
	mutex_lock(&pool->lock);
	list_append(&pool->seats, &seat->link);
	pool->seat_count++;
	mutex_unlock(&pool->lock);
	atomic_fetch_add(&pool->core->sessions, 1);
	atomic_fetch_add(&pool->core->sessions_total, 1);
	return seat;
}

void
port_serve(struct pool *pool, struct port *port)
{
	struct session_peer peer = { .listener = port->listener };
	int                 fd = port_accept(pool, port, &peer.client);
	socklen_t           length = sizeof(peer.server);

	if (fd < 0 || !may_serve(pool, port, fd))
		return;
	struct seat *seat = seat_create(pool, fd);
	if (seat == NULL)
		return;
	getsockname(fd, (struct sockaddr *)&peer.server, &length);
	peer.number = seat->number;
	log_set_session(seat->number);
	seat->session = pool->daemon->session_begin(&pool->core->context, seat->stream, &peer);
	if (seat->session == NULL) {
		seat_end(pool, seat, SESSION_END_CLOSED);
		return;
	}
	seat_renew(pool, seat);
	seat_flush_then(seat, seat->tls != NULL ? PHASE_TLS_START : PHASE_READ);
	seat_run(pool, seat);
}
