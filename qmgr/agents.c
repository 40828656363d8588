/*
 * agents.c - the channels of delivery agents, and who gets the next job.
 *
 * Agents for a transport connect to private/jobs. A mailbox worker serves one uid only: its channel
 * is made here and handed to it through private/TRANSPORT when mail waits for that uid.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/mailbox/client.h"
#include "qmgr/jobs.h"

#define WINDOW_MOST     1000
#define STREAK_MOST     20 /* jobs in a row to an agent because it holds the connection */
#define ATTACH_SEND_MS  1000
#define ATTACH_FAILURES 3 /* then mail for that uid is deferred */
#define ATTACH_PAUSE_MS 1000
#define WORKER_BYTES    (INT64_C(1) << 20) /* a worker's process, at its start */
#define MEMORY_PAUSE_MS 200
#define WANT_AGAIN_MS   500
#define HELLO_MS        10000
#define WORKER_IDLE_MS  10000 /* then the worker may end; it stays a while, for a new channel */

/* ---- idle or not ---- */

static bool
has_room(const struct agent_link *agent)
{
	return agent->has_greeted && agent->busy < agent->window && !agent->link.is_closed;
}

/* In the idle list of its transport or destination while it has room. */
static void
agent_review(struct qmgr *qmgr, struct agent_link *agent)
{
	bool is_in = !list_is_empty(&agent->in_idle);

	if (has_room(agent) && !is_in && !qmgr->is_draining)
		list_append(agent->worker != NULL ? &agent->worker->idle : &agent->transport->idle,
		            &agent->in_idle);
	else if (!has_room(agent) && is_in)
		list_remove(&agent->in_idle);
	agent->used_ms = qmgr->now_ms;
	if (agent->worker != NULL)
		destination_review(agent->worker);
}

static void
agent_hold(struct agent_link *agent, struct slice nexthop, int64_t until_ms)
{
	if (agent->held != NULL && slice_equal(slice_from(agent->held), nexthop)) {
		agent->held_until_ms = until_ms;
		return;
	}
	free(agent->held);
	agent->held = nexthop.length == 0 ? NULL : strndup(nexthop.data, nexthop.length);
	agent->held_until_ms = until_ms;
	agent->streak = 0;
}

/* ---- the channel ---- */

void
agent_close_link(struct qmgr *qmgr, struct agent_link *agent, const char *why)
{
	struct destination *worker = agent->worker;
	struct list_node   *node;

	if (why != NULL)
		log_warning("agent %s: %s",
		            agent->transport == NULL ? "unknown" : agent->transport->name, why);
	list_remove(&agent->in_idle);
	list_remove(&agent->in_agents);
	link_shut(qmgr, &agent->link);
	while ((node = list_first(&agent->jobs)) != NULL)
		job_return(qmgr, agent, CONTAINER_OF(node, struct job, in_agent));
	if (agent->has_greeted && worker == NULL) {
		agent->transport->room -= agent->window;
		agent->transport->lent -= agent->is_lent ? agent->window : 0;
		if (--agent->transport->agents == 0)
			agent->transport->unserved_since_ms = qmgr->now_ms;
	}
	if (worker != NULL) {
		worker->agents--;
		if (!agent->has_greeted) {
			worker->attach_failures++;
			destination_pause(worker, qmgr->now_ms + ATTACH_PAUSE_MS);
			if (worker->attach_failures >= ATTACH_FAILURES)
				destination_defer_all(qmgr, worker, SLICE("4.3.0"),
				                      SLICE("mail transport unavailable"));
			else
				destination_review(worker);
		} else {
			destination_review(worker);
			destination_rest(worker);
		}
	}
	free(agent->held);
	free(agent);
}

static bool
take_hello(struct qmgr *qmgr, struct agent_link *agent, struct ipc_frame *frame)
{
	struct msg_agent_hello hello;

	if (!msg_agent_hello_decode(frame, &hello) || hello.window == 0 ||
	    hello.window > WINDOW_MOST || hello.transport.length == 0 ||
	    hello.transport.length > 100 || slice_has_control(hello.transport))
		return false;
	agent->window = hello.window;
	if (agent->worker != NULL) {
		if (hello.uid != agent->worker->uid)
			return false;
		agent->worker->attach_failures = 0;
	} else {
		agent->transport = schedule_transport(&qmgr->schedule, hello.transport);
		if (agent->transport == NULL)
			return false;
		agent->transport->agents++;
		agent->transport->room += agent->window;
		agent->is_lent = hello.is_lent;
		agent->transport->lent += agent->is_lent ? agent->window : 0;
		agent->transport->unserved_since_ms = agent->transport->wanted_ms = 0;
		agent->transport->was_served = true;
	}
	agent->has_greeted = true;
	agent_review(qmgr, agent);
	return true;
}

static bool
take_frame(struct qmgr *qmgr, struct agent_link *agent, struct ipc_frame *frame)
{
	struct msg_job_result result;

	if (!agent->has_greeted)
		return take_hello(qmgr, agent, frame);
	if (!msg_job_result_decode(frame, &result) || !job_result(qmgr, agent, &result))
		return false;
	agent_hold(agent, result.held_nexthop, result.held_until_ms);
	agent_review(qmgr, agent);
	return true;
}

static void
agent_ready(struct qmgr *qmgr, struct source *source, uint32_t events)
{
	struct agent_link *agent =
		CONTAINER_OF(CONTAINER_OF(source, struct link, source), struct agent_link, link);
	struct ipc_frame frame;

	if (events & EPOLLOUT)
		link_dirty(qmgr, &agent->link);
	if ((events & ~(uint32_t)EPOLLOUT) == 0)
		return;
	enum ipc_result result = ipc_fill(&agent->link.channel);
	while (result == IPC_OK && ipc_next(&agent->link.channel, &frame)) {
		if (!take_frame(qmgr, agent, &frame))
			result = IPC_MALFORMED;
		ipc_frame_close(&frame);
	}
	if (result == IPC_OK && !agent->link.channel.is_broken)
		return;
	bool is_malformed = result != IPC_CLOSED;
	agent_close_link(qmgr, agent,
	                 is_malformed ? "malformed message, channel closed"
	                 : agent->worker != NULL && !agent->has_greeted
	                         ? "the mailbox worker could not be started"
	                         : NULL);
}

static struct agent_link *
agent_new(struct qmgr *qmgr, int fd)
{
	struct agent_link *agent = calloc(1, sizeof(*agent));

	if (agent == NULL) {
		close(fd);
		return NULL;
	}
	list_init(&agent->jobs);
	list_init(&agent->in_idle);
	agent->attached_ms = qmgr->now_ms;
	if (!ipc_peer_pid(fd, &agent->pid))
		agent->pid = 0;
	if (!link_open(qmgr, &agent->link, LINK_AGENT, fd, agent_ready)) {
		free(agent);
		return NULL;
	}
	list_append(&qmgr->agents, &agent->in_agents);
	return agent;
}

void
agent_accept(struct qmgr *qmgr, struct source *source, uint32_t events)
{
	(void)events;
	while (place_for_agent(qmgr, source)) {
		int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			accept_refuse(qmgr, source->fd);
			return;
		}
		if (!daemon_peer_is_allowed(qmgr->context, fd, PEER_NET | PEER_MAIL | PEER_ROOT)) {
			log_warning("jobs: connection by a user that may not");
			close(fd);
			continue;
		}
		agent_new(qmgr, fd);
	}
}

/* ---- mailbox workers ---- */

static bool
attach_send(struct destination *destination, int channel_fd, struct error *error)
{
	struct ipc_channel        parent = { .fd = -1 };
	struct msg_mailbox_attach attach = msg_mailbox_attach_clear();
	char                      path[120];

	snprintf(path, sizeof(path), "private/%s", destination->transport->name);
	attach.kind = destination->is_spool ? ATTACH_SPOOL : ATTACH_JOBS;
	attach.uid = destination->uid;
	attach.gid = destination->gid;
	attach.transport = slice_from(destination->transport->name);
	attach.channel = channel_fd;
	if (!ipc_channel_connect(&parent, path, error))
		return false;
	enum ipc_result result =
		ipc_send(&parent, mailbox_attach, &attach, clock_monotonic_ms() + ATTACH_SEND_MS);
	ipc_channel_close(&parent);
	return result == IPC_OK || error_set(error, "%s: %s", path, ipc_result_text(result));
}

/* Makes a channel to a worker for that uid; on failure the destination pauses. */
static void
worker_attach(struct qmgr *qmgr, struct destination *destination)
{
	struct error       error = ERROR_NONE;
	struct agent_link *agent = NULL;
	int                pair[2];

	/* One more process might be what the kernel kills another for. */
	if (!memory_allows(daemon_memory(qmgr->context), WORKER_BYTES)) {
		destination_pause(destination, qmgr->now_ms + MEMORY_PAUSE_MS);
		return;
	}
	if (!place_make(qmgr)) {
		destination_pause(destination, qmgr->now_ms + ATTACH_PAUSE_MS);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		error_set_errno(&error, "socketpair");
	} else {
		bool is_sent = attach_send(destination, pair[1], &error);

		close(pair[1]);
		if (is_sent)
			agent = agent_new(qmgr, pair[0]);
		else
			close(pair[0]);
	}
	if (agent != NULL) {
		agent->worker = destination;
		agent->transport = destination->transport;
		destination->agents++;
		destination_review(destination);
		return;
	}
	destination->attach_failures++;
	log_trouble("mailbox worker for uid %u: %s", destination->uid, error.text);
	destination_pause(destination, qmgr->now_ms + ATTACH_PAUSE_MS);
	if (destination->attach_failures >= ATTACH_FAILURES)
		destination_defer_all(qmgr, destination, SLICE("4.3.0"),
		                      SLICE("mail transport unavailable"));
}

/* ---- who gets the next job ---- */

static struct destination *
held_destination(struct qmgr *qmgr, struct agent_link *agent)
{
	if (agent->held == NULL)
		return NULL;
	if (agent->held_until_ms <= qmgr->now_ms) {
		agent_hold(agent, SLICE_EMPTY, 0);
		return NULL;
	}
	struct destination *held =
		hash_get(&agent->transport->destinations, slice_from(agent->held));
	return held != NULL && destination_is_ready(held) ? held : NULL;
}

/* First those whose connection can be used again. */
static void
dispatch_held(struct qmgr *qmgr, struct transport *transport)
{
	LIST_EACH (node, &transport->idle) {
		struct agent_link  *agent = CONTAINER_OF(node, struct agent_link, in_idle);
		struct destination *held = held_destination(qmgr, agent);

		if (held == NULL || transport->is_pausing)
			continue;
		if (agent->streak++ >= STREAK_MOST) {
			agent->streak = 0;
			continue;
		}
		if (!job_give(qmgr, agent, held))
			return;
		agent_review(qmgr, agent);
	}
}

/* An agent without a connection, or the one that was idle longest. */
static struct agent_link *
agent_choose(struct list_node *idle)
{
	LIST_EACH (node, idle) {
		struct agent_link *agent = CONTAINER_OF(node, struct agent_link, in_idle);

		if (agent->held == NULL)
			return agent;
	}
	struct list_node *first = list_first(idle);
	return first == NULL ? NULL : CONTAINER_OF(first, struct agent_link, in_idle);
}

/* Nobody serves the transport: perhaps its service is asleep. From the first time on it has time to
 * start before its mail is deferred. */
static void
agent_want(struct qmgr *qmgr, struct transport *transport)
{
	if (transport->agents > 0 ||
	    (transport->wanted_ms != 0 && qmgr->now_ms - transport->wanted_ms < WANT_AGAIN_MS))
		return;
	if (transport->wanted_ms == 0)
		transport->unserved_since_ms = qmgr->now_ms;
	transport->wanted_ms = qmgr->now_ms;
	daemon_want(qmgr->context, transport->name);
}

static void
dispatch(struct qmgr *qmgr, struct transport *transport)
{
	struct destination *destination;

	dispatch_held(qmgr, transport);
	while ((destination = transport_next(transport)) != NULL) {
		struct agent_link *agent = agent_choose(destination->is_worker ? &destination->idle
		                                                               : &transport->idle);

		if (agent == NULL && !destination->is_worker) {
			agent_want(qmgr, transport);
			return;
		}
		if (agent == NULL)
			worker_attach(qmgr, destination);
		else if (!job_give(qmgr, agent, destination))
			return;
		else
			agent_review(qmgr, agent);
	}
}

void
agents_dispatch(struct qmgr *qmgr)
{
	if (qmgr->is_draining)
		return;
	LIST_EACH (node, &qmgr->schedule.all_transports)
		dispatch(qmgr, CONTAINER_OF(node, struct transport, in_all));
}

/* ---- once a second ---- */

/*
 * Mail for a transport that nobody serves waits for transport_retry_time, or less when it was never
 * served (a name that stands in a table and not in master.cf); then it is deferred.
 */
static void
transport_tick(struct qmgr *qmgr, struct transport *transport)
{
	struct list_node *node;
	bool              is_told = false;

	if (!transport_is_given_up(transport, qmgr->now_ms))
		return;
	/* Workers' destinations have agents of their own. */
	for (node = transport->waiting.next; node != &transport->waiting;) {
		struct destination *destination =
			CONTAINER_OF(node, struct destination, in_waiting);

		node = node->next;
		if (destination->is_worker)
			continue;
		if (!is_told)
			log_warning("transport %s: no delivery agent", transport->name);
		is_told = true;
		destination_defer_all(qmgr, destination, SLICE("4.3.0"),
		                      SLICE("mail transport unavailable"));
	}
}

void
agents_tick(struct qmgr *qmgr)
{
	places_tick(qmgr);
	/* While agents wait for a place they are not missing. */
	if (qmgr->paused_jobs == NULL) {
		LIST_EACH (node, &qmgr->schedule.all_transports)
			transport_tick(qmgr, CONTAINER_OF(node, struct transport, in_all));
	}
	LIST_EACH (node, &qmgr->agents) {
		struct agent_link *agent = CONTAINER_OF(node, struct agent_link, in_agents);

		if (!agent->has_greeted && qmgr->now_ms - agent->attached_ms > HELLO_MS)
			agent_close_link(qmgr, agent, "said nothing");
		else if (agent->worker != NULL && agent->has_greeted && agent->busy == 0 &&
		         agent->worker->lanes == 0 &&
		         qmgr->now_ms - agent->used_ms > WORKER_IDLE_MS)
			agent_close_link(qmgr, agent, NULL);
	}
}
