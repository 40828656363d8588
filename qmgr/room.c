/*
 * room.c - channels where descriptors are few: how many there may be, and which has to go.
 *
 * qmgr's own files come first: without them no mail is taken. A quarter of the channels is for
 * those who hand mail in and for mailbox workers. Agents beyond the rest wait in the backlog; when
 * mail waits for one of them, another that has nothing to do makes room, and waits there in turn.
 */
#include "qmgr/qmgr.h"

#include <sys/epoll.h>

#include "lib/base/log.h"
#include "lib/io/file.h"

#define KEPT_LEAST   22 /* what it holds at rest, a segment */
#define KEPT_MOST    64
#define PLACES_LEAST 4

void
places_init(struct qmgr *qmgr)
{
	size_t most = file_descriptors_most(), kept = KEPT_LEAST + most / 16;

	if (kept > KEPT_MOST)
		kept = KEPT_MOST;
	qmgr->links_most = most > kept + PLACES_LEAST ? most - kept : PLACES_LEAST;
}

/* Mail waits for the transport's agents, other than mailbox workers. */
static bool
is_waited_for(const struct transport *transport)
{
	for (const struct list_node *node = transport->waiting.next; node != &transport->waiting;
	     node = node->next)
		if (!CONTAINER_OF(node, struct destination, in_waiting)->is_worker)
			return true;
	return false;
}

static bool
may_go(const struct agent_link *agent)
{
	if (!agent->has_greeted || agent->busy > 0)
		return false;
	return agent->worker != NULL ? agent->worker->lanes == 0 : !is_waited_for(agent->transport);
}

/* The agent goes that has had nothing to do for the longest time. */
static bool
agent_evict(struct qmgr *qmgr)
{
	struct agent_link *chosen = NULL;

	LIST_EACH (node, &qmgr->agents) {
		struct agent_link *agent = CONTAINER_OF(node, struct agent_link, in_agents);

		if (may_go(agent) && (chosen == NULL || agent->used_ms < chosen->used_ms))
			chosen = agent;
	}
	if (chosen == NULL)
		return false;
	log_debug("a channel of %s makes room for another", chosen->transport->name);
	agent_close_link(qmgr, chosen, NULL);
	return true;
}

bool
place_make(struct qmgr *qmgr)
{
	return qmgr->link_count < qmgr->links_most || agent_evict(qmgr);
}

static bool
has_agent_place(const struct qmgr *qmgr)
{
	return qmgr->link_count < qmgr->links_most - qmgr->links_most / 4;
}

bool
place_for_agent(struct qmgr *qmgr, struct source *listener)
{
	if (has_agent_place(qmgr))
		return true;
	if (watch(qmgr, listener, 0, false))
		qmgr->paused_jobs = listener;
	return false;
}

/* A transport has mail and no agent, which may be one of those that wait. */
static bool
is_any_unserved(const struct qmgr *qmgr)
{
	LIST_EACH (node, &qmgr->schedule.all_transports) {
		const struct transport *transport = CONTAINER_OF(node, struct transport, in_all);

		if (transport->agents == 0 && is_waited_for(transport))
			return true;
	}
	return false;
}

void
places_tick(struct qmgr *qmgr)
{
	if (qmgr->paused_jobs == NULL || qmgr->is_draining)
		return;
	if (!has_agent_place(qmgr) && is_any_unserved(qmgr))
		agent_evict(qmgr);
	if (has_agent_place(qmgr) && watch(qmgr, qmgr->paused_jobs, EPOLLIN, false))
		qmgr->paused_jobs = NULL;
}
