/* parent.c - see parent.h. */
#include "local/parent.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/list.h"
#include "lib/base/log.h"
#include "lib/ipc/channel.h"
#include "lib/mailbox/client.h"

#define CLIENTS_MOST 250 /* further ones wait in the listener's queue */
#define TICK_MS      1000
#define RESPAWN_MS   1000 /* least time between two starts for one uid */

/* A child, from its start until its end was seen. It takes nothing more once attach is broken. */
struct worker {
	struct list_node   node;
	uid_t              uid;
	gid_t              gid;
	bool               is_spool; /* with the group of mail_spool_directory, too */
	pid_t              pid;
	int64_t            started_ms;
	struct ipc_channel control; /* we are its master, but never read what it says */
	struct ipc_channel attach;  /* mailbox_attach messages */
};

struct parent {
	struct daemon_context *context;
	char                  *service;
	bool                   is_local; /* other users than virtual's, and only qmgr may ask */
	struct ipc_channel     clients[CLIENTS_MOST]; /* from qmgr and authd */
	size_t                 client_count;
	struct list_node       workers;
	size_t                 worker_count;
};

/* ---- workers ---- */

static void
worker_free(struct parent *parent, struct worker *worker)
{
	list_remove(&worker->node);
	parent->worker_count--;
	ipc_channel_close(&worker->control);
	ipc_channel_close(&worker->attach);
	free(worker);
}

static struct worker *
worker_start(struct parent *parent, const struct msg_mailbox_attach *whom, struct error *error)
{
	bool           is_spool = whom->kind == ATTACH_SPOOL;
	char           name[] = "local", kind[] = "worker", spool[] = "spool-worker";
	char          *arguments[] = { name, is_spool ? spool : kind, parent->service, NULL };
	gid_t          groups[2] = { whom->gid, whom->gid };
	struct worker *worker = calloc(1, sizeof(*worker));
	struct stat    status;

	if (worker == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	*worker = (struct worker){ .uid = whom->uid, .gid = whom->gid, .is_spool = is_spool };
	worker->started_ms = clock_monotonic_ms();
	if (is_spool && stat(parent->context->parameters->mail_spool_directory, &status) == 0 &&
	    status.st_gid != 0)
		groups[1] = status.st_gid;
	list_append(&parent->workers, &worker->node);
	parent->worker_count++;
	worker->pid = daemon_child_start(parent->context, arguments, worker->uid, groups,
	                                 &worker->control, &worker->attach, error);
	if (worker->pid > 0)
		return worker;
	worker_free(parent, worker);
	return NULL;
}

/* A worker that takes requests, or a new one; NULL and the reason when there can be none now. */
static struct worker *
worker_get(struct parent *parent, const struct msg_mailbox_attach *whom, struct error *error)
{
	int64_t now_ms = clock_monotonic_ms();

	LIST_EACH (node, &parent->workers) {
		struct worker *worker = CONTAINER_OF(node, struct worker, node);

		if (worker->uid != whom->uid || worker->gid != whom->gid ||
		    worker->is_spool != (whom->kind == ATTACH_SPOOL))
			continue;
		if (!worker->attach.is_broken)
			return worker;
		if (now_ms - worker->started_ms < RESPAWN_MS) {
			error_set(error, "it ended too early, waiting a little");
			return NULL;
		}
	}
	if (parent->worker_count < (size_t)parent->context->parameters->virtual_worker_limit)
		return worker_start(parent, whom, error);
	error_set(error, "virtual_worker_limit is reached");
	return NULL;
}

/* Sends what found a full socket, and forgets those that have ended and began before since_ms. */
static void
workers_review(struct parent *parent, int64_t since_ms)
{
	LIST_EACH (node, &parent->workers) {
		struct worker *worker = CONTAINER_OF(node, struct worker, node);
		int            status;

		if (ipc_flush(&worker->attach) != IPC_OK)
			ipc_channel_close(&worker->attach);
		if (worker->started_ms >= since_ms ||
		    waitpid(worker->pid, &status, WNOHANG) != worker->pid)
			continue;
		if (status != 0)
			log_warning("mailbox worker of uid %u, process %d: %s %d",
			            (unsigned)worker->uid, (int)worker->pid,
			            WIFSIGNALED(status) ? "killed by signal" : "exit status",
			            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		worker_free(parent, worker);
	}
}

/* ---- requests ---- */

static bool
identity_is_allowed(const struct parent *parent, const struct msg_mailbox_attach *attach)
{
	int64_t least = parent->is_local ? 1 : parent->context->parameters->virtual_minimum_uid;

	if (parent->context->is_unprivileged)
		return attach->uid == geteuid();
	return attach->uid >= least && attach->uid != 0 && attach->uid != UINT32_MAX &&
	       attach->gid != 0 && attach->gid != UINT32_MAX;
}

static void
attach_take(struct parent *parent, const struct msg_mailbox_attach *attach)
{
	struct error   error = ERROR_NONE;
	struct worker *worker;

	if (!identity_is_allowed(parent, attach))
		error_set(&error, "gid %u: not allowed", attach->gid);
	/* A worker that is about to end has shut its side: its successor takes over. */
	else
		while ((worker = worker_get(parent, attach, &error)) != NULL) {
			if (ipc_queue(&worker->attach, mailbox_attach, attach) &&
			    ipc_flush(&worker->attach) == IPC_OK)
				return;
			ipc_channel_close(&worker->attach);
		}
	log_trouble("no mailbox worker for uid %u: %s", attach->uid, error.text);
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
	int fd = daemon_accept(listener, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 && poll(NULL, 0, 50) <= 0) /* without descriptors it stays ready: do not spin */
		return;
	unsigned peers = parent->is_local ? PEER_MAIL : PEER_MAIL | PEER_AUTH;
	if (daemon_peer_is_allowed(parent->context, fd, peers)) {
		ipc_channel_init(&parent->clients[parent->client_count++], fd);
		return;
	}
	log_warning("a client that may not ask was sent away");
	close(fd);
}

/* ---- the loop ---- */

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
	if (poll(fds, parent->client_count + 2, TICK_MS) <= 0)
		return;
	if (fds[0].revents != 0)
		daemon_control(parent->context);
	bool is_new_log = daemon_log_changed(parent->context);
	LIST_EACH (node, &parent->workers)
		if (is_new_log)
			daemon_child_log(parent->context,
			                 &CONTAINER_OF(node, struct worker, node)->control);
	for (size_t i = parent->client_count; i-- > 0;)
		if (fds[i + 2].revents != 0 && !client_read(parent, &parent->clients[i])) {
			ipc_channel_close(&parent->clients[i]);
			parent->clients[i] = parent->clients[--parent->client_count];
		}
	if (fds[1].revents != 0)
		client_accept(parent, fds[1].fd);
}

/* Children whose master is gone finish what they are at, and end. */
static int
parent_drain(struct parent *parent)
{
	LIST_EACH (node, &parent->workers)
		ipc_channel_close(&CONTAINER_OF(node, struct worker, node)->control);
	while (parent->worker_count > 0 &&
	       clock_monotonic_ms() < daemon_drain_deadline_ms(parent->context)) {
		poll(NULL, 0, 20);
		daemon_control(parent->context); /* master may become more urgent */
		workers_review(parent, INT64_MAX);
	}
	return 0;
}

int
parent_run(struct daemon_context *context)
{
	struct parent *parent = calloc(1, sizeof(*parent));

	if (parent == NULL || context->listener_count != 1)
		return 1;
	parent->context = context;
	parent->service = (char *)(uintptr_t)context->service; /* argv wants it so */
	parent->is_local = strcmp(parent->service, "local") == 0;
	list_init(&parent->workers);
	while (!daemon_is_draining(context)) {
		parent_wait(parent);
		/* Sooner, one that ends at once would be started again and again. */
		workers_review(parent, clock_monotonic_ms() - RESPAWN_MS);
		daemon_tell_alive(context);
	}
	return parent_drain(parent);
}
