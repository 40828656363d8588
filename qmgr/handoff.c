/* handoff.c - see handoff.h. */
#include "qmgr/handoff.h"

#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

void
task_list_init(struct task_list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

void
task_list_append(struct task_list *list, struct task *task)
{
	task->next = NULL;
	*list->end = task;
	list->end = &task->next;
}

struct task *
task_list_take(struct task_list *list)
{
	struct task *task = list->first;

	if (task == NULL)
		return NULL;
	list->first = task->next;
	if (list->first == NULL)
		list->end = &list->first;
	return task;
}

/* Puts all of from behind to and empties from. */
static void
list_move(struct task_list *to, struct task_list *from)
{
	if (from->first == NULL)
		return;
	*to->end = from->first;
	to->end = from->end;
	task_list_init(from);
}

bool
handoff_init(struct handoff *handoff, bool has_event, struct error *error)
{
	mutex_init(&handoff->lock);
	condition_init(&handoff->filled);
	task_list_init(&handoff->tasks);
	handoff->is_closed = false;
	handoff->event_fd = -1;
	if (!has_event)
		return true;
	handoff->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return handoff->event_fd >= 0 || error_set_errno(error, "eventfd");
}

void
handoff_destroy(struct handoff *handoff)
{
	if (handoff->event_fd >= 0)
		close(handoff->event_fd);
	handoff->event_fd = -1;
	condition_destroy(&handoff->filled);
	mutex_destroy(&handoff->lock);
}

void
handoff_give(struct handoff *handoff, struct task_list *list)
{
	uint64_t one = 1;

	if (list->first == NULL)
		return;
	mutex_lock(&handoff->lock);
	bool was_empty = handoff->tasks.first == NULL;
	list_move(&handoff->tasks, list);
	mutex_unlock(&handoff->lock);
	if (!was_empty)
		return; /* the taker has been woken and will see these, too */
	if (handoff->event_fd >= 0) {
		/* Cannot fail: the counter is far from its maximum. */
		ssize_t written = write(handoff->event_fd, &one, sizeof(one));
		(void)written;
	} else {
		condition_broadcast(&handoff->filled);
	}
}

void
handoff_give_one(struct handoff *handoff, struct task *task)
{
	struct task_list list;

	task_list_init(&list);
	task_list_append(&list, task);
	handoff_give(handoff, &list);
}

void
handoff_take(struct handoff *handoff, struct task_list *list)
{
	uint64_t count;

	if (handoff->event_fd >= 0) {
		ssize_t got = read(handoff->event_fd, &count, sizeof(count));
		(void)got; /* EAGAIN when nothing was there */
	}
	mutex_lock(&handoff->lock);
	list_move(list, &handoff->tasks);
	mutex_unlock(&handoff->lock);
}

bool
handoff_wait(struct handoff *handoff, struct task_list *list, int64_t deadline_ms)
{
	mutex_lock(&handoff->lock);
	while (handoff->tasks.first == NULL && !handoff->is_closed) {
		if (deadline_ms == 0)
			condition_wait(&handoff->filled, &handoff->lock);
		else if (!condition_wait_until(&handoff->filled, &handoff->lock, deadline_ms))
			break;
	}
	bool is_over = handoff->tasks.first == NULL && handoff->is_closed;
	list_move(list, &handoff->tasks);
	mutex_unlock(&handoff->lock);
	return !is_over;
}

struct task *
handoff_wait_one(struct handoff *handoff)
{
	mutex_lock(&handoff->lock);
	while (handoff->tasks.first == NULL && !handoff->is_closed)
		condition_wait(&handoff->filled, &handoff->lock);
	struct task *task = task_list_take(&handoff->tasks);
	mutex_unlock(&handoff->lock);
	return task;
}

void
handoff_close(struct handoff *handoff)
{
	mutex_lock(&handoff->lock);
	handoff->is_closed = true;
	mutex_unlock(&handoff->lock);
	condition_broadcast(&handoff->filled);
}
