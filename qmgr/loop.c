/*
 * loop.c - the scheduler's event loop. Each turn: input, finished tasks, timers, messages that
 * changed, jobs, and last all output at once.
 */
#include "qmgr/qmgr.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

#define EVENTS_MOST  256
#define TICK_MS      1000
#define FULL_TICK_MS 200 /* while there is no room */
#define COMPLAIN_MS  1000
#define INODES_LEAST 100

void
clock_update(struct qmgr *qmgr)
{
	qmgr->now_ms = clock_monotonic_ms();
	qmgr->now_us = clock_wall_us();
}

bool
may_complain(struct qmgr *qmgr)
{
	if (qmgr->now_ms < qmgr->complain_after_ms)
		return false;
	qmgr->complain_after_ms = qmgr->now_ms + COMPLAIN_MS;
	return true;
}

bool
watch(struct qmgr *qmgr, struct source *source, uint32_t events, bool is_new)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(qmgr->epoll_fd, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, source->fd,
	                 &event) == 0;
}

/* ---- once a second ---- */

/* Postfix's rule: room for one and a half messages of the largest size, at least. */
static void
check_space(struct qmgr *qmgr)
{
	const struct parameters *p = qmgr->parameters;
	uint64_t                 least = (uint64_t)p->queue_minfree, most = 0;
	struct statvfs           info;

	if (fstatvfs(qmgr->queue_fd, &info) != 0) {
		qmgr->has_space = true; /* a write will tell */
		return;
	}
	if (p->message_size_limit > 0 &&
	    !__builtin_mul_overflow((uint64_t)p->message_size_limit, 3u, &most))
		most /= 2;
	if (least < most)
		least = most;
	bool has_space = (uint64_t)info.f_bavail * info.f_frsize >= least &&
	                 (info.f_files == 0 || info.f_favail >= INODES_LEAST);
	if (has_space != qmgr->has_space)
		log_warning("queue file system: %s",
		            has_space ? "there is room again" : "not enough free space or inodes");
	qmgr->has_space = has_space;
}

static void
tick(struct qmgr *qmgr)
{
	if (qmgr->now_ms < qmgr->next_tick_ms)
		return;
	check_space(qmgr);
	qmgr->next_tick_ms = qmgr->now_ms + (qmgr->has_space ? TICK_MS : FULL_TICK_MS);
	agents_tick(qmgr);
	suspensions_tick(qmgr);
	messages_touch_late(qmgr);
	scan_again(qmgr);
	notes_tick(qmgr);
	if (memory_is_short(daemon_memory(qmgr->context)))
		links_trim(qmgr);
}

/* Messages that could not be written to a file: that is due again, or their next attempt is. */
static void
alarms_ring(struct qmgr *qmgr)
{
	struct heap_node *node;

	while ((node = heap_first(&qmgr->alarms)) != NULL && node->when <= qmgr->now_us) {
		struct message *message = CONTAINER_OF(node, struct message, alarm);

		heap_remove(&qmgr->alarms, node);
		if (message->io > 0 || message->is_round)
			continue;
		if (message->is_held)
			store_rest(qmgr, message, PLACE_HOLD);
		else if (message->is_unsaved && message->next_attempt_us > qmgr->now_us)
			store_again(qmgr, message);
		else
			round_begin(qmgr, message);
	}
}

/* ---- a turn ---- */

static int64_t
least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int
turn_timeout(const struct qmgr *qmgr)
{
	int64_t wait_ms = qmgr->next_tick_ms - qmgr->now_ms, due_us = INT64_MAX;
	int64_t wake_ms = schedule_next_wake(&qmgr->schedule);

	if (wake_ms != INT64_MAX)
		wait_ms = least(wait_ms, wake_ms - qmgr->now_ms);
	/* What is due already waits for room, which an event brings. */
	if (!qmgr->is_draining)
		due_us = backlog_next_us(&qmgr->backlog);
	if (due_us != INT64_MAX && due_us > qmgr->now_us)
		wait_ms = least(wait_ms, (due_us - qmgr->now_us) / 1000 + 1);
	return wait_ms < 0 ? 0 : (int)wait_ms;
}

static void
take_inbox(struct qmgr *qmgr)
{
	struct task_list list;
	struct task     *task;

	task_list_init(&list);
	handoff_take(&qmgr->inbox, &list);
	while ((task = task_list_take(&list)) != NULL)
		task->done(qmgr, task);
}

void
inbox_ready(struct qmgr *qmgr, struct source *source, uint32_t events)
{
	(void)source;
	(void)events;
	take_inbox(qmgr);
}

/* Everything that the turn's events brought about. */
static void
turn_finish(struct qmgr *qmgr)
{
	schedule_wake(&qmgr->schedule, qmgr->now_ms);
	alarms_ring(qmgr);
	store_fetch_due(qmgr);
	messages_advance(qmgr);
	agents_dispatch(qmgr);
	/* Jobs that could not be given changed messages once more. */
	messages_advance(qmgr);
	store_evict(qmgr);
	journal_give(qmgr->journal, &qmgr->to_journal);
	resolvers_give(qmgr->resolvers, &qmgr->to_resolve);
	links_flush(qmgr);
}

static void
turn(struct qmgr *qmgr)
{
	struct epoll_event events[EVENTS_MOST];
	int count = epoll_wait(qmgr->epoll_fd, events, EVENTS_MOST, turn_timeout(qmgr));

	clock_update(qmgr);
	for (int i = 0; i < count; i++) {
		struct source *source = events[i].data.ptr;

		source->ready(qmgr, source, events[i].events);
	}
	tick(qmgr);
	turn_finish(qmgr);
}

/* ---- the end ---- */

/* Takes nothing new; what lies on disk is safe there, what runs may end. */
static void
drain_begin(struct qmgr *qmgr)
{
	log_info("stopping: %zu deliveries under way", qmgr->jobs);
	qmgr->is_draining = true;
	for (size_t i = 0; i < qmgr->listeners.count; i++)
		epoll_ctl(qmgr->epoll_fd, EPOLL_CTL_DEL, qmgr->listeners.items[i]->fd, NULL);
}

static bool
has_pending_commits(struct qmgr *qmgr)
{
	LIST_EACH (node, &qmgr->all_links) {
		struct link *link = CONTAINER_OF(node, struct link, in_links);

		if (link->kind == LINK_INTAKE &&
		    CONTAINER_OF(link, struct intake_link, link)->pending > 0)
			return true;
	}
	return false;
}

static bool
is_finished(struct qmgr *qmgr)
{
	int64_t deadline_ms = daemon_drain_deadline_ms(qmgr->context);

	if (!qmgr->is_draining)
		return false;
	if (deadline_ms != INT64_MAX && qmgr->now_ms >= deadline_ms)
		return true;
	return qmgr->jobs == 0 && !has_pending_commits(qmgr);
}

void
drain_ready(struct qmgr *qmgr, struct source *source, uint32_t events)
{
	(void)events;
	epoll_ctl(qmgr->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	drain_begin(qmgr);
}

static void
finish_intake(struct qmgr *qmgr)
{
	LIST_EACH (node, &qmgr->all_links) {
		struct link *link = CONTAINER_OF(node, struct link, in_links);

		if (link->kind == LINK_INTAKE)
			intake_finish(qmgr, CONTAINER_OF(link, struct intake_link, link));
	}
}

int
qmgr_loop(struct qmgr *qmgr)
{
	while (!is_finished(qmgr))
		turn(qmgr);
	finish_intake(qmgr);
	while (!is_finished(qmgr)) /* what that brought */
		turn(qmgr);
	links_flush(qmgr);
	return 0;
}
