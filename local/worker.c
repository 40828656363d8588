/* worker.c - the worker's loop and threads. See worker.h. */
#include "local/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/io/file.h"
#include "lib/mailbox/mailfile_lock.h"
#include "lib/queue/envelope.h"

#define EVENTS_MOST 64
#define TICK_MS     1000
#define FILES_FEW   1024
#define FILES_PART  48

/* ---- threads ---- */

static void
wake(struct worker *worker)
{
	uint64_t one = 1;
	ssize_t  written = write(worker->wake_fd, &one, sizeof(one));

	(void)written; /* an eventfd takes it, or is ready anyway */
}

/* Moves jobs over until they have as many recipients as a batch may have; at least one. */
static void
jobs_take_locked(struct worker *worker, struct list_node *taken)
{
	size_t most = worker->kind == WORKER_USER
	                      ? 1
	                      : (size_t)worker->context->parameters->virtual_delivery_batch;
	size_t files = file_descriptors_most(), count = 0;

	/* Three are open for each recipient until the sync, in each thread. */
	if (files < FILES_FEW && most > files / FILES_PART)
		most = files / FILES_PART;

	while (!list_is_empty(&worker->ready_jobs)) {
		struct job_task *task =
			CONTAINER_OF(worker->ready_jobs.next, struct job_task, node);

		if (count > 0 && count + task->recipients > most)
			break;
		count += task->recipients;
		list_remove(&task->node);
		list_append(taken, &task->node);
		worker->waiting_jobs--;
	}
}

static void
deliver_ready(struct worker *worker, struct list_node *taken)
{
	daemon_count(worker->context, 0, 1);
	if (worker->kind == WORKER_USER)
		local_deliver(worker, CONTAINER_OF(taken->next, struct job_task, node));
	else
		jobs_deliver(worker, taken);
	daemon_count(worker->context, 0, -1);
	mutex_lock(&worker->lock);
	LIST_EACH (node, taken) {
		list_remove(node);
		list_append(&worker->done_jobs, node);
	}
	mutex_unlock(&worker->lock);
	wake(worker);
}

static void
serve_ready(struct worker *worker, struct session *session)
{
	daemon_count(worker->context, 0, 1);
	session->is_ended = !session_work(session);
	daemon_count(worker->context, 0, -1);
	mutex_lock(&worker->lock);
	list_append(&worker->done_sessions, &session->ready);
	mutex_unlock(&worker->lock);
	wake(worker);
}

static void *
thread_run(void *argument)
{
	struct worker   *worker = argument;
	struct list_node taken;

	for (;;) {
		struct session *session = NULL;

		list_init(&taken);
		mutex_lock(&worker->lock);
		worker->idle_threads++;
		while (list_is_empty(&worker->ready_jobs) &&
		       list_is_empty(&worker->ready_sessions) && !worker->is_stopping)
			condition_wait(&worker->has_work, &worker->lock);
		worker->idle_threads--;
		if (!list_is_empty(&worker->ready_sessions)) { /* somebody looks at it */
			session = CONTAINER_OF(worker->ready_sessions.next, struct session, ready);
			list_remove(&session->ready);
		} else {
			jobs_take_locked(worker, &taken);
		}
		bool is_done = worker->is_stopping && session == NULL && list_is_empty(&taken);
		mutex_unlock(&worker->lock);
		if (is_done)
			return NULL;
		if (session != NULL)
			serve_ready(worker, session);
		else if (!list_is_empty(&taken))
			deliver_ready(worker, &taken);
	}
}

/* Commands take as long as they like: more jobs than idle threads, and one more is started. */
static void
threads_suffice(struct worker *worker)
{
	mutex_lock(&worker->lock);
	bool is_enough = worker->waiting_jobs <= worker->idle_threads && worker->thread_count > 0;
	mutex_unlock(&worker->lock);
	if (!is_enough && worker->thread_count < worker->thread_most &&
	    thread_start(&worker->threads[worker->thread_count], thread_run, worker) == 0)
		worker->thread_count++;
}

/* ---- channels from qmgr ---- */

static bool
watch(struct worker *worker, int operation, int fd, struct source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(worker->epoll_fd, operation, fd, &event) == 0;
}

/* At the end of a round, when no event points to a channel any more. */
static void
jobs_channels_settle(struct worker *worker)
{
	LIST_EACH (node, &worker->channels) {
		struct jobs_channel *channel = CONTAINER_OF(node, struct jobs_channel, node);

		if (!channel->is_gone || channel->under_way > 0)
			continue;
		list_remove(node);
		free(channel);
	}
}

static void
jobs_channel_close(struct jobs_channel *channel)
{
	if (channel->is_gone)
		return;
	channel->is_gone = true;
	ipc_channel_close(&channel->channel);
}

static void
jobs_channel_flush(struct jobs_channel *channel)
{
	if (channel->is_gone)
		return;
	if (ipc_flush(&channel->channel) != IPC_OK) {
		jobs_channel_close(channel);
		return;
	}
	bool wants = ipc_has_output(&channel->channel);
	if (wants != channel->is_writing) {
		channel->is_writing = wants;
		watch(channel->worker, EPOLL_CTL_MOD, channel->channel.fd, &channel->source,
		      wants ? EPOLLIN | EPOLLOUT : EPOLLIN);
	}
}

static void
jobs_channel_event(struct worker *worker, struct jobs_channel *channel)
{
	struct ipc_frame frame;
	struct job_task *task;
	bool             is_good = !channel->is_gone && ipc_fill(&channel->channel) == IPC_OK;

	while (is_good && ipc_next(&channel->channel, &frame)) {
		is_good = job_task_make(channel, &frame, &task);
		ipc_frame_close(&frame);
		if (!is_good) {
			log_error("malformed job from qmgr, or out of memory");
			break;
		}
		channel->under_way++;
		mutex_lock(&worker->lock);
		list_append(&worker->ready_jobs, &task->node);
		worker->waiting_jobs++;
		condition_signal(&worker->has_work);
		mutex_unlock(&worker->lock);
		threads_suffice(worker);
	}
	if (!is_good || channel->channel.is_broken)
		jobs_channel_close(channel);
	jobs_channel_flush(channel);
}

static void
attach_jobs(struct worker *worker, const struct msg_mailbox_attach *attach)
{
	const struct parameters *parameters = worker->context->parameters;
	struct jobs_channel     *channel = calloc(1, sizeof(*channel));
	struct msg_agent_hello   hello = {
		  .transport = attach->transport,
		  .window = worker->kind == WORKER_USER
		                    ? (uint32_t)worker->thread_most
		                    : (uint32_t)(parameters->virtual_worker_threads *
                                               parameters->virtual_delivery_batch),
		  .uid = (uint32_t)getuid(),
		  .gid = (uint32_t)getgid(),
	};

	if (channel == NULL) {
		close(attach->channel);
		return;
	}
	*channel = (struct jobs_channel){ .source = { SOURCE_JOBS },
		                          .worker = worker,
		                          .attached_us = clock_wall_us() };
	list_append(&worker->channels, &channel->node);
	ipc_channel_init(&channel->channel, attach->channel);
	if (!watch(worker, EPOLL_CTL_ADD, attach->channel, &channel->source, EPOLLIN) ||
	    !ipc_queue(&channel->channel, agent_hello, &hello))
		jobs_channel_close(channel);
	jobs_channel_flush(channel);
}

static void
job_report(struct job_task *task)
{
	struct jobs_channel  *channel = task->from;
	struct msg_job_result result = { .job = task->message.job,
		                         .outcomes = buf_slice(&task->outcomes),
		                         .forwards = buf_slice(&task->forwards),
		                         .destination_reason = SLICE_EMPTY,
		                         .held_nexthop = SLICE_EMPTY };

	if (!channel->is_gone && !ipc_queue(&channel->channel, job_result, &result))
		jobs_channel_close(channel);
	channel->under_way--;
	job_task_free(task);
}

/* ---- logins ---- */

static void
attach_session(struct worker *worker, const struct msg_mailbox_attach *attach)
{
	struct session *session = NULL;
	char           *path = NULL;

	if (worker->session_count >= (size_t)worker->context->parameters->virtual_session_limit)
		log_warning("virtual_session_limit is reached: a login was sent away");
	else
		session = calloc(1, sizeof(*session));
	if (session != NULL)
		path = malloc(attach->mailbox.length + 1);
	if (path == NULL) {
		free(session);
		close(attach->channel);
		return;
	}
	if (attach->mailbox.length > 0)
		memcpy(path, attach->mailbox.data, attach->mailbox.length);
	session->source.kind = SOURCE_SESSION;
	session->worker = worker;
	session->path = slice_of(path, attach->mailbox.length);
	ipc_channel_init(&session->channel, attach->channel);
	if (!watch(worker, EPOLL_CTL_ADD, attach->channel, &session->source,
	           EPOLLIN | EPOLLONESHOT)) {
		session_free(session);
		return;
	}
	list_append(&worker->sessions, &session->node);
	worker->session_count++;
	daemon_count(worker->context, 1, 0);
}

static void
session_event(struct worker *worker, struct session *session)
{
	mutex_lock(&worker->lock);
	list_append(&worker->ready_sessions, &session->ready);
	condition_signal(&worker->has_work);
	mutex_unlock(&worker->lock);
}

static void
session_settle(struct worker *worker, struct session *session)
{
	if (!session->is_ended && watch(worker, EPOLL_CTL_MOD, session->channel.fd,
	                                &session->source, EPOLLIN | EPOLLONESHOT))
		return;
	list_remove(&session->node);
	session_free(session);
	worker->session_count--;
	daemon_count(worker->context, -1, 0);
}

/* ---- the loop ---- */

/* What threads have finished. */
static void
take_done(struct worker *worker)
{
	struct list_node jobs, sessions;
	uint64_t         count;
	ssize_t          got = read(worker->wake_fd, &count, sizeof(count));

	(void)got;
	list_init(&jobs);
	list_init(&sessions);
	mutex_lock(&worker->lock);
	LIST_EACH (node, &worker->done_jobs) {
		list_remove(node);
		list_append(&jobs, node);
	}
	LIST_EACH (node, &worker->done_sessions) {
		list_remove(node);
		list_append(&sessions, node);
	}
	mutex_unlock(&worker->lock);
	LIST_EACH (node, &jobs)
		job_report(CONTAINER_OF(node, struct job_task, node));
	LIST_EACH (node, &worker->channels) {
		struct jobs_channel *channel = CONTAINER_OF(node, struct jobs_channel, node);

		jobs_channel_flush(channel);
		if (!channel->is_gone && channel->under_way == 0)
			ipc_channel_trim(&channel->channel);
	}
	LIST_EACH (node, &sessions) {
		struct session *session = CONTAINER_OF(node, struct session, ready);

		list_remove(node);
		session_settle(worker, session);
	}
}

static void
attach_take(struct worker *worker, const struct msg_mailbox_attach *attach)
{
	switch ((enum attach_kind)attach->kind) {
	case ATTACH_JOBS:
	case ATTACH_SPOOL: attach_jobs(worker, attach); return;
	case ATTACH_MAILBOX:
		if (worker->kind != WORKER_VIRTUAL)
			break;
		attach_session(worker, attach);
		return;
	}
	log_warning("mailbox_attach of unknown kind %u", attach->kind);
	close(attach->channel);
}

/* False when the parent is gone. */
static bool
attach_event(struct worker *worker)
{
	struct msg_mailbox_attach attach;
	struct ipc_frame          frame;
	bool                      is_good = ipc_fill(&worker->attach) == IPC_OK;

	while (ipc_next(&worker->attach, &frame)) {
		if (msg_mailbox_attach_decode(&frame, &attach) && attach.channel >= 0)
			attach_take(worker, &attach);
		ipc_frame_close(&frame);
	}
	return is_good && !worker->attach.is_broken;
}

static bool
is_idle(const struct worker *worker)
{
	return list_is_empty((struct list_node *)(uintptr_t)&worker->channels) &&
	       worker->session_count == 0;
}

/*
 * Nothing to do for long: takes what the parent may have sent at the last moment, behind which it
 * cannot send more (it gets an error and starts another). True when there really was nothing.
 */
static bool
may_leave(struct worker *worker)
{
	int64_t now_ms = clock_monotonic_ms();

	if (!is_idle(worker)) {
		worker->idle_since_ms = now_ms;
		return false;
	}
	if (now_ms - worker->idle_since_ms <
	    worker->context->parameters->virtual_worker_idle_limit * 1000)
		return false;
	shutdown(worker->attach.fd, SHUT_RD);
	while (attach_event(worker))
		continue;
	return is_idle(worker);
}

static size_t
under_way(const struct worker *worker)
{
	size_t count = 0;

	for (struct list_node *node = worker->channels.next; node != &worker->channels;
	     node = node->next)
		count += CONTAINER_OF(node, struct jobs_channel, node)->under_way;
	return count;
}

/* False when the loop should end. */
static bool
source_event(struct worker *worker, struct source *source)
{
	switch (source->kind) {
	case SOURCE_ATTACH:
		/* The parent is gone, or a descriptor that it sent found no room: it hears of that
		 * and starts another worker. What it had sent meanwhile is closed, not forgotten.
		 */
		if (!attach_event(worker))
			ipc_channel_close(&worker->attach);
		return true;
	case SOURCE_DRAIN: return false;
	case SOURCE_WAKE: take_done(worker); return true;
	case SOURCE_JOBS: jobs_channel_event(worker, (void *)source); return true;
	case SOURCE_SESSION: session_event(worker, (void *)source); return true;
	}
	return true;
}

static void
worker_loop(struct worker *worker)
{
	struct epoll_event events[EVENTS_MOST];

	worker->idle_since_ms = clock_monotonic_ms();
	for (;;) {
		int count = epoll_wait(worker->epoll_fd, events, EVENTS_MOST, TICK_MS);

		for (int i = 0; i < count; i++)
			if (!source_event(worker, events[i].data.ptr))
				return;
		jobs_channels_settle(worker);
		if (may_leave(worker))
			return;
	}
}

/* Jobs in hand are finished and reported; a login ends with its process. */
static void
worker_finish(struct worker *worker)
{
	LIST_EACH (node, &worker->channels) {
		struct jobs_channel *channel = CONTAINER_OF(node, struct jobs_channel, node);

		if (!channel->is_gone)
			epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, channel->channel.fd, NULL);
	}
	while (under_way(worker) > 0 &&
	       clock_monotonic_ms() < daemon_drain_deadline_ms(worker->context)) {
		struct epoll_event event;

		if (epoll_wait(worker->epoll_fd, &event, 1, 100) > 0 &&
		    ((struct source *)event.data.ptr)->kind == SOURCE_SESSION)
			session_event(worker, event.data.ptr);
		take_done(worker);
	}
	mutex_lock(&worker->lock);
	worker->is_stopping = true;
	condition_broadcast(&worker->has_work);
	mutex_unlock(&worker->lock);
	for (size_t i = 0; i < worker->thread_count; i++)
		pthread_join(worker->threads[i], NULL);
	take_done(worker);
}

/* ---- beginning ---- */

static void
worker_init(struct worker *worker, struct daemon_context *context)
{
	worker->context = context;
	worker->base = -1;
	list_init(&worker->channels);
	list_init(&worker->sessions);
	list_init(&worker->ready_jobs);
	list_init(&worker->done_jobs);
	list_init(&worker->ready_sessions);
	list_init(&worker->done_sessions);
	mutex_init(&worker->lock);
	condition_init(&worker->has_work);
	ipc_channel_init(&worker->attach, context->listeners[0].fd);
	context->room = worker;
}

static struct worker *
prepare(struct daemon_context *context, enum worker_kind kind, size_t threads, struct error *error)
{
	struct worker *worker = calloc(1, sizeof(*worker));

	if (worker != NULL)
		worker->threads = calloc(threads, sizeof(*worker->threads));
	if (worker == NULL || worker->threads == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	if (context->listener_count != 1) {
		error_set(error, "started by local's parent only");
		return NULL;
	}
	worker_init(worker, context);
	worker->kind = kind;
	worker->thread_most = threads;
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->epoll_fd < 0 || worker->wake_fd < 0) {
		error_set_errno(error, "epoll");
		return NULL;
	}
	return worker;
}

static bool
prepare_virtual(struct daemon_context *context, struct error *error)
{
	const struct parameters *parameters = context->parameters;
	const char              *base = parameters->virtual_mailbox_base;
	struct worker           *worker =
		prepare(context, WORKER_VIRTUAL, (size_t)parameters->virtual_worker_threads, error);

	if (worker == NULL)
		return false;
	if (base[0] != '/')
		return error_set(error, "virtual_mailbox_base must be an absolute path");
	worker->base = file_open_directory(base, error);
	if (worker->base < 0)
		return error_prefix(error, "virtual_mailbox_base (mkdir, chown to uid %u)",
		                    (unsigned)getuid());
	mailbox_store_init(&worker->store, worker->base, parameters->myhostname);
	if (!mailfile_lock_rules(&worker->store.lock, parameters->virtual_mailbox_lock, parameters))
		return error_set(error, "virtual_mailbox_lock: fcntl, flock, dotlock");
	worker->store.message_limit = (uint64_t)parameters->virtual_mailbox_limit;
	worker->store.defer_over_quota =
		slice_equal(slice_from(parameters->virtual_quota_action), SLICE("defer"));
	return true;
}

static bool
prepare_spool(struct daemon_context *context, struct error *error)
{
	const struct parameters *parameters = context->parameters;
	const char              *base = parameters->mail_spool_directory;
	struct worker           *worker =
		prepare(context, WORKER_SPOOL, (size_t)parameters->virtual_worker_threads, error);

	if (worker == NULL)
		return false;
	if (base[0] != '/')
		return error_set(error, "mail_spool_directory must be an absolute path");
	worker->base = file_open_directory(base, error);
	if (worker->base < 0)
		return error_prefix(error, "mail_spool_directory");
	mailbox_store_init(&worker->store, worker->base, parameters->myhostname);
	if (!mailfile_lock_rules(&worker->store.lock, parameters->mailbox_delivery_lock,
	                         parameters))
		return error_set(error, "mailbox_delivery_lock: fcntl, flock, dotlock");
	worker->store.message_limit = (uint64_t)parameters->mailbox_size_limit;
	worker->store.limit_name = "mailbox_size_limit";
	worker->store.base_name = NULL;
	return true;
}

static bool
prepare_user(struct daemon_context *context, struct error *error)
{
	struct worker *worker = prepare(context, WORKER_USER, context->thread_limit, error);

	if (worker == NULL)
		return false;
	worker->runner = command_runner_start(error);
	return worker->runner != NULL;
}

static int
worker_run(struct daemon_context *context)
{
	struct worker *worker = context->room;
	size_t         at_first = worker->kind == WORKER_USER ? 1 : worker->thread_most;

	worker->drain.kind = SOURCE_DRAIN;
	worker->wake.kind = SOURCE_WAKE;
	worker->attach_source.kind = SOURCE_ATTACH;
	if (!watch(worker, EPOLL_CTL_ADD, context->drain_fd, &worker->drain, EPOLLIN) ||
	    !watch(worker, EPOLL_CTL_ADD, worker->wake_fd, &worker->wake, EPOLLIN) ||
	    !watch(worker, EPOLL_CTL_ADD, worker->attach.fd, &worker->attach_source, EPOLLIN))
		return 1;
	while (worker->thread_count < at_first &&
	       thread_start(&worker->threads[worker->thread_count], thread_run, worker) == 0)
		worker->thread_count++;
	if (worker->thread_count == 0) {
		log_error("no thread can be started");
		return 1;
	}
	worker_loop(worker);
	worker_finish(worker);
	command_runner_close(&worker->runner);
	return 0;
}

int
worker_main(int argc, char **argv)
{
	static const char *const mailboxes[] = { "$virtual_mailbox_base", NULL };
	static const char *const spool[] = { "$mail_spool_directory", NULL };
	/* A user's .forward may name any file that the user may write. */
	static const char *const   everything[] = { "/", NULL };
	static const struct daemon daemons[] = {
		[WORKER_VIRTUAL] = { .name = "virtual",
		                     .identity = RUNS_AS_IS,
		                     .doors = DOOR_FILE_READ | DOOR_FILE_WRITE,
		                     .writable = mailboxes,
		                     .prepare = prepare_virtual,
		                     .run = worker_run },
		[WORKER_USER] = { .name = "local",
		                  .identity = RUNS_AS_IS,
		                  .doors = DOOR_FILE_READ | DOOR_FILE_WRITE,
		                  .writable = everything,
		                  .prepare = prepare_user,
		                  .run = worker_run },
		[WORKER_SPOOL] = { .name = "local",
		                   .identity = RUNS_AS_IS,
		                   .doors = DOOR_FILE_READ | DOOR_FILE_WRITE,
		                   .writable = spool,
		                   .prepare = prepare_spool,
		                   .run = worker_run },
	};
	bool             is_local = argc > 2 && strcmp(argv[2], "local") == 0;
	enum worker_kind kind = strcmp(argv[1], "spool-worker") == 0 ? WORKER_SPOOL
	                        : is_local                           ? WORKER_USER
	                                                             : WORKER_VIRTUAL;

	return daemon_main(&daemons[kind], argc, argv);
}
