/* parent.c - see parent.h. */
#include "local/parent.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/list.h"
#include "lib/base/log.h"
#include "lib/ipc/channel.h"

#define CLIENTS_MOST     250 /* further ones wait in the listener's queue */
#define TICK_MS          1000
#define FLUSH_MS         20
#define RESPAWN_LEAST_MS 100  /* a child that dies early is started again after this, */
#define RESPAWN_MOST_MS  5000 /* doubled each time up to this */
#define STABLE_MS        10000

struct worker {
	struct list_node   node;
	uid_t              uid;
	gid_t              gid;
	pid_t              pid;        /* 0 = not running; kept for a while to slow restarts */
	bool               is_leaving; /* takes nothing new */
	struct ipc_channel control;    /* we are its master, but never read what it says */
	struct ipc_channel attach;     /* mailbox_attach messages */
	int64_t            started_ms, next_start_ms, delay_ms;
};

struct parent {
	struct daemon_context *context;
	struct ipc_channel     clients[CLIENTS_MOST]; /* from qmgr and authd */
	size_t                 client_count;
	struct list_node       workers;
	size_t                 running;
	int                    wait_ms;
};

/* ---- workers ---- */

static void
worker_close(struct worker *worker)
{
	ipc_channel_close(&worker->control);
	ipc_channel_close(&worker->attach);
}

static void
worker_ended(struct parent *parent, struct worker *worker, int status)
{
	int64_t now_ms = clock_monotonic_ms();
	bool    is_killed = WIFSIGNALED(status), is_good = !is_killed && WEXITSTATUS(status) == 0;

	if (!is_good)
		log_warning("mailbox worker of uid %u, process %d: %s %d", (unsigned)worker->uid,
		            (int)worker->pid, is_killed ? "killed by signal" : "exit status",
		            is_killed ? WTERMSIG(status) : WEXITSTATUS(status));
	worker_close(worker);
	worker->pid = 0;
	parent->running--;
	if (is_good || now_ms - worker->started_ms > STABLE_MS)
		worker->delay_ms = 0;
	worker->next_start_ms = now_ms + worker->delay_ms;
	worker->delay_ms = worker->delay_ms == 0 ? RESPAWN_LEAST_MS : worker->delay_ms * 2;
	if (worker->delay_ms > RESPAWN_MOST_MS)
		worker->delay_ms = RESPAWN_MOST_MS;
}

static void
workers_reap(struct parent *parent)
{
	int64_t now_ms = clock_monotonic_ms();
	int     status;
	pid_t   pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		LIST_EACH (node, &parent->workers) {
			struct worker *worker = CONTAINER_OF(node, struct worker, node);

			if (worker->pid == pid)
				worker_ended(parent, worker, status);
		}
	LIST_EACH (node, &parent->workers) {
		struct worker *worker = CONTAINER_OF(node, struct worker, node);

		if (worker->pid == 0 && now_ms >= worker->next_start_ms + RESPAWN_MOST_MS) {
			list_remove(node);
			free(worker);
		}
	}
}

static struct worker *
worker_get(struct parent *parent, uid_t uid, gid_t gid)
{
	LIST_EACH (node, &parent->workers) {
		struct worker *worker = CONTAINER_OF(node, struct worker, node);

		if (worker->uid == uid && worker->gid == gid && !worker->is_leaving)
			return worker;
	}
	struct worker *worker = calloc(1, sizeof(*worker));
	if (worker == NULL)
		return NULL;
	worker->uid = uid;
	worker->gid = gid;
	worker->control.fd = worker->attach.fd = -1;
	list_append(&parent->workers, &worker->node);
	return worker;
}

/* Starts the child and tells it what master told us; without that it would end by itself. */
static bool
worker_start(struct parent *parent, struct worker *worker, struct error *error)
{
	struct msg_daemon_listener listener = msg_daemon_listener_clear();
	int                        control[2], attach[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) != 0)
		return error_set_errno(error, "socketpair");
	ipc_channel_init(&worker->control, control[0]);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, attach) != 0) {
		close(control[1]);
		return error_set_errno(error, "socketpair");
	}
	ipc_channel_init(&worker->attach, attach[0]);
	pid_t pid = spawn_worker(parent->context, worker->uid, worker->gid, control[1], error);
	listener.address = SLICE("attach");
	listener.socket = attach[1];
	bool is_told = ipc_queue(&worker->control, daemon_listener, &listener) &&
	               daemon_pass_start(parent->context, &worker->control) &&
	               ipc_flush(&worker->control) == IPC_OK;
	close(control[1]);
	close(attach[1]);
	if (pid < 0)
		return false;
	worker->pid = pid;
	worker->started_ms = clock_monotonic_ms();
	parent->running++;
	return is_told || error_set(error, "its start message cannot be sent");
}

/* A worker that is running, or a new one; NULL and the reason when there can be none now. */
static struct worker *
worker_ready(struct parent *parent, uid_t uid, gid_t gid, struct error *error)
{
	workers_reap(parent);
	struct worker *worker = worker_get(parent, uid, gid);
	if (worker == NULL)
		error_set(error, "out of memory");
	else if (worker->pid != 0)
		return worker;
	else if (clock_monotonic_ms() < worker->next_start_ms)
		error_set(error, "it ended too early, waiting a little");
	else if (parent->running >= (size_t)parent->context->parameters->virtual_worker_limit)
		error_set(error, "virtual_worker_limit is reached");
	else if (worker_start(parent, worker, error))
		return worker;
	if (worker != NULL && worker->pid == 0)
		worker_close(worker);
	return NULL;
}

/* ---- requests ---- */

static bool
identity_is_allowed(const struct parent *parent, const struct msg_mailbox_attach *attach)
{
	if (parent->context->is_unprivileged)
		return attach->uid == geteuid();
	return attach->uid >= (uint32_t)parent->context->parameters->virtual_minimum_uid &&
	       attach->uid != 0 && attach->uid != UINT32_MAX && attach->gid != 0 &&
	       attach->gid != UINT32_MAX;
}

static bool
attach_pass_on(struct worker *worker, const struct msg_mailbox_attach *attach)
{
	return ipc_queue(&worker->attach, mailbox_attach, attach) &&
	       ipc_flush(&worker->attach) == IPC_OK;
}

static void
attach_take(struct parent *parent, const struct msg_mailbox_attach *attach)
{
	struct error error = ERROR_NONE;

	if (!identity_is_allowed(parent, attach)) {
		log_warning("no mailbox worker for uid %u gid %u: not allowed", attach->uid,
		            attach->gid);
		return;
	}
	struct worker *worker = worker_ready(parent, attach->uid, attach->gid, &error);
	if (worker != NULL && attach_pass_on(worker, attach))
		return;
	/* A worker that is about to end has shut its side: its successor takes over. */
	if (worker != NULL) {
		worker->is_leaving = true;
		worker = worker_ready(parent, attach->uid, attach->gid, &error);
	}
	if (worker == NULL || !attach_pass_on(worker, attach))
		log_warning("no mailbox worker for uid %u: %s", attach->uid, error.text);
}

/* False when the client is gone or sent nonsense. */
static bool
client_read(struct parent *parent, struct ipc_channel *client)
{
	struct msg_mailbox_attach attach;
	struct ipc_frame          frame;

	if (ipc_fill(client) != IPC_OK)
		return false;
	while (ipc_next(client, &frame)) {
		bool is_good = msg_mailbox_attach_decode(&frame, &attach) && attach.channel >= 0;

		ipc_frame_close(&frame);
		if (!is_good) {
			log_warning("malformed message (%s)", msg_name(frame.type));
			return false;
		}
		attach_take(parent, &attach);
		close(attach.channel);
	}
	return !client->is_broken;
}

static void
client_accept(struct parent *parent, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (daemon_peer_is_allowed(parent->context, fd, PEER_MAIL | PEER_AUTH)) {
		ipc_channel_init(&parent->clients[parent->client_count++], fd);
		return;
	}
	log_warning("a client that is neither qmgr nor authd was sent away");
	close(fd);
}

static void
parent_tick(struct parent *parent)
{
	bool is_log_changed = daemon_log_changed(parent->context);

	workers_reap(parent);
	parent->wait_ms = TICK_MS;
	LIST_EACH (node, &parent->workers) {
		struct worker *worker = CONTAINER_OF(node, struct worker, node);

		if (worker->pid != 0 && is_log_changed)
			(void)daemon_pass_log(parent->context, &worker->control);
		/* Full sockets of a child that is slow to start; a broken one shows in reaping. */
		(void)ipc_flush(&worker->control);
		(void)ipc_flush(&worker->attach);
		if (ipc_has_output(&worker->control) || ipc_has_output(&worker->attach))
			parent->wait_ms = FLUSH_MS;
	}
	daemon_tell_alive(parent->context);
}

/* Children whose master is gone finish what they are at, and end. */
static int
parent_drain(struct parent *parent)
{
	LIST_EACH (node, &parent->workers)
		ipc_channel_close(&CONTAINER_OF(node, struct worker, node)->control);
	while (parent->running > 0 &&
	       clock_monotonic_ms() < daemon_drain_deadline_ms(parent->context)) {
		poll(NULL, 0, 20);
		daemon_control(parent->context); /* master may become more urgent */
		workers_reap(parent);
	}
	return 0;
}

/* Waits for one thing to happen, at most a tick. */
static void
parent_wait(struct parent *parent)
{
	struct pollfd fds[CLIENTS_MOST + 2] = { { parent->context->drain_fd, POLLIN, 0 },
		                                { -1, POLLIN, 0 } };

	if (parent->client_count < CLIENTS_MOST)
		fds[1].fd = parent->context->listeners[0].fd;
	for (size_t i = 0; i < parent->client_count; i++)
		fds[i + 2] = (struct pollfd){ parent->clients[i].fd, POLLIN, 0 };
	if (poll(fds, parent->client_count + 2, parent->wait_ms) <= 0)
		return;
	if (fds[0].revents != 0)
		daemon_control(parent->context);
	for (size_t i = parent->client_count; i-- > 0;)
		if (fds[i + 2].revents != 0 && !client_read(parent, &parent->clients[i])) {
			ipc_channel_close(&parent->clients[i]);
			parent->clients[i] = parent->clients[--parent->client_count];
		}
	if (fds[1].revents != 0)
		client_accept(parent, fds[1].fd);
}

int
parent_run(struct daemon_context *context)
{
	struct parent *parent = calloc(1, sizeof(*parent));

	if (parent == NULL || context->listener_count != 1)
		return 1;
	parent->context = context;
	list_init(&parent->workers);
	while (!daemon_is_draining(context)) {
		parent_wait(parent);
		parent_tick(parent);
	}
	return parent_drain(parent);
}
