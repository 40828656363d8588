/* start.c - opens and closes the queue: its lock, its directories, its threads, its numbers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/number.h"
#include "lib/io/file.h"
#include "qmgr/replay.h"

#define INSTANCE_BLOCK 1000 /* intake channels for each write of the number's file */
#define LOCK_PAUSE_MS  20

/* ---- the numbers of intake channels: never the same twice ---- */

static bool
instance_reserve(struct qmgr *qmgr, struct error *error)
{
	struct buf text = BUF(64);
	int64_t    number = 1;
	int        fd = openat(qmgr->state_fd, "instance", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 && errno != ENOENT)
		return error_set_errno(error, "open state/instance");
	if (fd >= 0) {
		bool is_read = file_read_all(fd, &text, "instance", error);

		close(fd);
		if (!is_read || !number_parse(slice_trim(buf_slice(&text)), 1,
		                              INT64_MAX - INSTANCE_BLOCK, &number)) {
			buf_free(&text);
			return is_read ? error_set(error, "the file state/instance holds no number")
			               : false;
		}
		buf_clear(&text);
	}
	buf_append_format(&text, "%lld\n", (long long)number + INSTANCE_BLOCK);
	bool is_kept = file_replace(qmgr->state_fd, "instance", buf_slice(&text), 0600, error);
	buf_free(&text);
	if (!is_kept)
		return false;
	qmgr->next_instance = (uint64_t)number;
	qmgr->reserved_instance = (uint64_t)number + INSTANCE_BLOCK;
	return true;
}

bool
instance_take(struct qmgr *qmgr, uint64_t *instance, struct error *error)
{
	if (qmgr->next_instance == qmgr->reserved_instance && !instance_reserve(qmgr, error))
		return false;
	*instance = qmgr->next_instance++;
	return true;
}

/* ---- opening ---- */

/* The last generation may still be finishing its deliveries: the lock is free when it is done. */
static bool
queue_lock(struct qmgr *qmgr, struct error *error)
{
	struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };

	qmgr->lock_fd = openat(qmgr->state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (qmgr->lock_fd < 0)
		return error_set_errno(error, "open state/lock");
	while (!file_lock(qmgr->lock_fd, FILE_LOCK_EXCLUSIVE, false, "state/lock", error)) {
		if (error->errno_value != EAGAIN && error->errno_value != EACCES)
			return false;
		if (daemon_is_draining(qmgr->context))
			return error_set(error, "asked to stop before the queue was free");
		nanosleep(&pause, NULL);
	}
	*error = ERROR_NONE;
	return true;
}

static bool
directories_open(struct qmgr *qmgr, struct error *error)
{
	qmgr->queue_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (qmgr->queue_fd < 0)
		return error_set_errno(error, "open the queue directory");
	if (!places_prepare(qmgr->queue_fd, error))
		return false;
	qmgr->state_fd = openat(qmgr->queue_fd, "state", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (qmgr->state_fd < 0)
		return error_set_errno(error, "open state/");
	if (!queue_lock(qmgr, error))
		return false;
	qmgr->spare_fd = fcntl(qmgr->queue_fd, F_DUPFD_CLOEXEC, 0);
	qmgr->active_fd = openat(qmgr->queue_fd, "active", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return qmgr->active_fd >= 0 || error_set_errno(error, "open active/");
}

static void
state_init(struct qmgr *qmgr)
{
	list_init(&qmgr->touched);
	list_init(&qmgr->later);
	list_init(&qmgr->all_links);
	list_init(&qmgr->dirty);
	list_init(&qmgr->agents);
	suspensions_init(&qmgr->suspensions);
	backlog_init(&qmgr->backlog);
	task_list_init(&qmgr->to_journal);
	task_list_init(&qmgr->to_resolve);
	qmgr->has_space = true;
	schedule_init(&qmgr->schedule, qmgr->context->snapshot);
	places_init(qmgr);
	clock_update(qmgr);
}

static bool
inbox_open(struct qmgr *qmgr, struct error *error)
{
	qmgr->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (qmgr->epoll_fd < 0)
		return error_set_errno(error, "epoll");
	if (!handoff_init(&qmgr->inbox, true, error))
		return false;
	qmgr->inbox_source = (struct source){ qmgr->inbox.event_fd, inbox_ready };
	qmgr->drain_source = (struct source){ qmgr->context->drain_fd, drain_ready };
	return (watch(qmgr, &qmgr->inbox_source, EPOLLIN, true) &&
	        (qmgr->context->drain_fd < 0 || watch(qmgr, &qmgr->drain_source, EPOLLIN, true))) ||
	       error_set_errno(error, "epoll");
}

static bool
threads_start(struct qmgr *qmgr, struct error *error)
{
	struct files_config config = { .queue_fd = qmgr->queue_fd, .inbox = &qmgr->inbox };

	struct files **threads[] = { &qmgr->files, &qmgr->loads, &qmgr->bodies };

	for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
		*threads[i] = files_start(&config, error);
		if (*threads[i] == NULL)
			return false;
	}
	qmgr->resolvers =
		resolvers_start(qmgr, (size_t)qmgr->parameters->qmgr_resolver_threads, error);
	return qmgr->resolvers != NULL;
}

/* Which function serves which of master's sockets. */
static const struct {
	const char *address;
	void (*ready)(struct qmgr *, struct source *, uint32_t);
} listener_rows[] = {
	{ "private/intake", intake_accept },
	{ "private/jobs", agent_accept },
};

static bool
listeners_watch(struct qmgr *qmgr, struct error *error)
{
	for (size_t i = 0; i < qmgr->context->listener_count; i++) {
		const struct listener *listener = &qmgr->context->listeners[i];

		if (slice_equal(slice_from(listener->address), SLICE("public/queue"))) {
			qmgr->control = control_start(qmgr, listener->fd, error);
			if (qmgr->control == NULL)
				return false;
			continue;
		}
		for (size_t row = 0; row < sizeof(listener_rows) / sizeof(listener_rows[0]);
		     row++) {
			if (!slice_equal(slice_from(listener->address),
			                 slice_from(listener_rows[row].address)))
				continue;
			struct source *source = calloc(1, sizeof(*source));
			if (source == NULL || !ARRAY_PUSH(&qmgr->listeners, source)) {
				free(source);
				return error_set(error, "out of memory");
			}
			*source = (struct source){ listener->fd, listener_rows[row].ready };
			if (!watch(qmgr, source, EPOLLIN, true))
				return error_set_errno(error, "epoll");
		}
	}
	return true;
}

bool
qmgr_open(struct qmgr *qmgr, struct error *error)
{
	struct error kept = ERROR_NONE;

	qmgr->queue_fd = qmgr->active_fd = qmgr->lock_fd = qmgr->epoll_fd = -1;
	qmgr->spare_fd = -1;
	state_init(qmgr);
	/* Numbers for intake are reserved when the first one is needed: a full disk keeps no queue
	 * from being delivered. */
	if (!directories_open(qmgr, error) || !inbox_open(qmgr, error) ||
	    !threads_start(qmgr, error))
		return false;
	recent_load(&qmgr->recent, qmgr->state_fd);
	if (!replay_journal(qmgr, error))
		return false;
	if (!recent_save(&qmgr->recent, qmgr->state_fd, &kept))
		log_warning("%s", kept.text);
	suspensions_load(qmgr);
	spools_sweep(qmgr);
	return scan_start(qmgr, error) && listeners_watch(qmgr, error);
}

/* ---- closing ---- */

static void
links_close(struct qmgr *qmgr)
{
	struct list_node *node;

	while ((node = list_first(&qmgr->all_links)) != NULL) {
		struct link *link = CONTAINER_OF(node, struct link, in_links);

		link_shut(qmgr, link);
	}
}

/* Everything that is promised is on disk; memory goes with the process. */
void
qmgr_close(struct qmgr *qmgr)
{
	links_close(qmgr);
	control_stop(&qmgr->control);
	scan_stop(qmgr);
	resolvers_stop(&qmgr->resolvers);
	journal_give(qmgr->journal, &qmgr->to_journal);
	files_stop(&qmgr->loads);
	files_stop(&qmgr->bodies);
	files_stop(&qmgr->files);
	journal_stop(&qmgr->journal);
	recent_free(&qmgr->recent);
	hash_free(&qmgr->gone, NULL);
	suspensions_free(&qmgr->suspensions);
	close(qmgr->lock_fd);
}
