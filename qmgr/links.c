/* links.c - channels in the event loop: output is sent once a turn, for all messages of the turn.
 */
#include "qmgr/qmgr.h"

#include <time.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

bool
link_open(struct qmgr *qmgr, struct link *link, enum link_kind kind, int fd,
          void (*ready)(struct qmgr *, struct source *, uint32_t))
{
	ipc_channel_init(&link->channel, fd);
	link->kind = kind;
	link->source = (struct source){ .fd = fd, .ready = ready };
	list_init(&link->in_dirty);
	list_init(&link->in_links);
	if (!watch(qmgr, &link->source, EPOLLIN, true)) {
		ipc_channel_close(&link->channel);
		return false;
	}
	list_append(&qmgr->all_links, &link->in_links);
	qmgr->link_count++;
	return true;
}

void
link_dirty(struct qmgr *qmgr, struct link *link)
{
	if (list_is_empty(&link->in_dirty) && !link->is_closed)
		list_append(&qmgr->dirty, &link->in_dirty);
}

/* Closing the descriptor takes it out of epoll, too. */
void
link_shut(struct qmgr *qmgr, struct link *link)
{
	qmgr->link_count -= !link->is_closed;
	list_remove(&link->in_dirty);
	list_remove(&link->in_links);
	ipc_channel_close(&link->channel);
	link->source.fd = -1;
	link->is_closed = true;
}

static void
link_flush(struct qmgr *qmgr, struct link *link)
{
	if (ipc_flush(&link->channel) != IPC_OK) {
		/* The end of the peer is also seen as input, where it is dealt with. */
		shutdown(link->channel.fd, SHUT_RDWR);
		return;
	}
	bool wants_write = ipc_has_output(&link->channel);
	if (wants_write == link->wants_write)
		return;
	link->wants_write = wants_write;
	watch(qmgr, &link->source, wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN, false);
}

void
links_flush(struct qmgr *qmgr)
{
	struct list_node *node;

	while ((node = list_first(&qmgr->dirty)) != NULL) {
		list_remove(node);
		link_flush(qmgr, CONTAINER_OF(node, struct link, in_dirty));
	}
}

void
links_trim(struct qmgr *qmgr)
{
	LIST_EACH (node, &qmgr->all_links)
		ipc_channel_trim(&CONTAINER_OF(node, struct link, in_links)->channel);
}

void
accept_pause(void)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000000L };

	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
		nanosleep(&pause, NULL);
}

void
accept_refuse(struct qmgr *qmgr, int listener_fd)
{
	if ((errno != EMFILE && errno != ENFILE) || qmgr->spare_fd < 0) {
		accept_pause();
		return;
	}
	close(qmgr->spare_fd);
	int fd = accept4(listener_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	qmgr->spare_fd = fcntl(qmgr->queue_fd, F_DUPFD_CLOEXEC, 0);
}
