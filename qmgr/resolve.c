/*
 * resolve.c - where recipients go: lookups may wait for a table, so a few threads do them.
 *
 * While a request is under way the message's payload is not moved or freed (is_resolving); the
 * threads read it and the request, nothing else.
 */
#include "qmgr/qmgr.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/queue/filter.h"

#define ARENA_MOST     (64u << 20)
#define RECIPIENT_MOST 4096u /* bytes of the arena for each recipient */
#define KEY_MOST       (128u << 10)
#define THREADS_MOST   64

struct resolved {
	uint32_t     index;
	enum lookup  answer;
	struct route route;
	const char  *reason; /* LOOKUP_TRY_LATER */
};

struct resolve_task {
	struct task     task;
	struct message *message;
	struct arena    arena;
	uint32_t        count;
	struct resolved items[];
};

struct resolvers {
	struct qmgr   *qmgr;
	struct handoff requests;
	pthread_t      threads[THREADS_MOST];
	size_t         count;
};

/* ---- in the threads ---- */

/* FILTER and content_filter name transport:nexthop; without a nexthop the recipient's domain. */
static void
route_override(struct slice filter, struct route *route)
{
	size_t       colon = slice_find_byte(filter, ':');
	size_t       at = slice_find_last_byte(route->recipient, '@');
	struct slice nexthop =
		colon == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(filter, colon + 1);

	route->transport = slice_first(filter, colon);
	if (nexthop.length == 0 && at != SLICE_NOT_FOUND)
		nexthop = slice_from_offset(route->recipient, at + 1);
	*route = (struct route){ .transport = route->transport,
		                 .nexthop = nexthop,
		                 .recipient = route->recipient };
}

static void
resolve_one(struct resolvers *resolvers, struct resolve_task *request, struct resolved *item)
{
	struct router       *router = resolvers->qmgr->router;
	struct message      *message = request->message;
	struct msg_recipient recipient;
	struct error         error = ERROR_NONE;

	item->answer = LOOKUP_TRY_LATER;
	item->reason = "out of memory";
	if (!message_recipient(message, item->index, &recipient))
		return;
	if (message->prober != NULL)
		router = resolvers->qmgr->probe_router;
	item->answer = route_resolve(router, message->envelope.sender, recipient.address,
	                             &request->arena, &item->route, &error);
	if (item->answer != LOOKUP_FOUND) {
		char *text = arena_text(&request->arena, slice_from(error.text));

		item->reason = text == NULL || *text == '\0' ? "address resolution failed" : text;
		return;
	}
	if (message->envelope.filter.length > 0)
		route_override(message->envelope.filter, &item->route);
}

static void *
resolver_run(void *argument)
{
	struct resolvers *resolvers = argument;
	struct task      *task;

	while ((task = handoff_wait_one(&resolvers->requests)) != NULL) {
		struct resolve_task *request = (struct resolve_task *)(void *)task;

		for (uint32_t i = 0; i < request->count; i++)
			resolve_one(resolvers, request, &request->items[i]);
		handoff_give_one(&resolvers->qmgr->inbox, task);
	}
	return NULL;
}

/* ---- in the scheduler ---- */

static void
resolved_done(struct qmgr *qmgr, struct task *task)
{
	struct resolve_task *request = (struct resolve_task *)(void *)task;
	struct message      *message = request->message;

	message->is_resolving = false;
	message->routes = request;
	if (message->is_refused) {
		message_free(qmgr, message);
		return;
	}
	round_schedule(qmgr, message);
}

bool
resolve_request(struct qmgr *qmgr, struct message *message)
{
	struct resolve_task *request =
		calloc(1, sizeof(*request) + message->count * sizeof(struct resolved));
	struct error error = ERROR_NONE;

	if (request == NULL)
		return false;
	if (!message_load(qmgr, message, &error)) {
		log_trouble("%s: %s", message->id, error.text);
		free(request);
		return false;
	}
	request->arena = ARENA(ARENA_MOST + (size_t)message->count * RECIPIENT_MOST);
	request->task.done = resolved_done;
	request->message = message;
	for (uint32_t i = 0; i < message->count; i++)
		if (!message->recipients[i].is_settled)
			request->items[request->count++].index = i;
	message->is_resolving = true;
	task_list_append(&qmgr->to_resolve, &request->task);
	return true;
}

void
resolve_forget(struct message *message)
{
	if (message->routes == NULL)
		return;
	arena_reset(&message->routes->arena);
	free(message->routes);
	message->routes = NULL;
}

/* error:, retry: and discard: are answered here. "5.1.1 text": the status may stand in front. */
static bool
settle_by_transport(struct qmgr *qmgr, struct message *message, uint32_t index,
                    const struct route *route)
{
	static const struct {
		const char         *transport;
		enum outcome_action action;
		const char         *status;
		const char         *text;
	} rows[] = {
		{ "error", OUTCOME_FAILED, "5.0.0", "undeliverable" },
		{ "retry", OUTCOME_DEFERRED, "4.0.0", "retry later" },
		{ "discard", OUTCOME_DELIVERED, "2.0.0", "discarded" },
	};
	struct slice text = slice_trim(route->nexthop);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!slice_equal(route->transport, slice_from(rows[i].transport)))
			continue;
		struct slice status = slice_from(rows[i].status), word = text;
		size_t       blank = slice_find_byte(text, ' ');

		word = slice_first(text, blank);
		if (word.length >= 5 && ascii_is_digit(word.data[0]) && word.data[1] == '.') {
			status = word;
			text = slice_trim(slice_from_offset(text, word.length));
		}
		if (text.length == 0)
			text = slice_from(rows[i].text);
		struct msg_outcome outcome = { .action = rows[i].action,
			                       .status = status,
			                       .reason = text,
			                       .transport = route->transport };
		settle_here(qmgr, message, index, &outcome, NULL);
		return true;
	}
	return false;
}

static void
destination_serve_worker(struct qmgr *qmgr, struct destination *destination,
                         const struct route *route)
{
	bool is_users = route->local.length > 0 && !route->is_shared && !route->is_spool;

	destination->is_worker = true;
	destination->is_spool = route->is_spool;
	destination->worker_limit =
		is_users || (route->mailbox.length > 0 && destination->transport->is_limited)
			? destination->transport->feedback.limit
			: 0;
	destination->uid = route->uid;
	destination->gid = route->gid;
	/* Without root there is one user: all mail is the caller's. */
	if (qmgr->context->is_unprivileged && route->local.length > 0) {
		destination->uid = (uint32_t)getuid();
		destination->gid = (uint32_t)getgid();
	}
}

static struct destination *
destination_away(struct transport *transport, const struct route *route)
{
	struct buf          key = BUF(KEY_MOST);
	struct destination *destination = NULL;

	if (schedule_key(transport, route->nexthop, route->recipient, &key))
		destination = schedule_destination(transport, buf_slice(&key));
	buf_free(&key);
	return destination;
}

/* The destination's key: the worker's uid for mailboxes, otherwise the next hop. */
static struct destination *
destination_of(struct qmgr *qmgr, const struct route *route)
{
	struct transport   *transport = schedule_transport(&qmgr->schedule, route->transport);
	struct destination *destination;
	char                key[64];

	if (transport == NULL)
		return NULL;
	if (route->mailbox.length == 0 && route->local.length == 0)
		return destination_away(transport, route);
	/* A slow command of an alias must not hold up a user who has the same uid. */
	snprintf(key, sizeof(key), "%u:%u%s", route->uid, route->gid,
	         route->is_spool    ? ":spool"
	         : route->is_shared ? ":aliases"
	                            : "");
	destination = schedule_destination(transport, slice_from(key));
	if (destination != NULL)
		destination_serve_worker(qmgr, destination, route);
	return destination;
}

static void
route_defer(struct qmgr *qmgr, struct message *message, uint32_t index, const struct route *route,
            struct slice status, const char *reason)
{
	struct msg_outcome outcome = { .action = OUTCOME_DEFERRED,
		                       .status = status,
		                       .reason = slice_from(reason),
		                       .transport = route->transport,
		                       .nexthop = route->nexthop };

	settle_here(qmgr, message, index, &outcome, NULL);
}

/* By hand: until it is resumed, or its time is over. */
static bool
is_suspended(struct qmgr *qmgr, struct message *message, uint32_t index, const struct route *route)
{
	const struct suspension *suspension =
		suspensions_find(&qmgr->suspensions, route->transport, route->nexthop,
	                         address_domain(route->recipient), qmgr->now_us);
	struct buf text = BUF(1024);

	if (suspension == NULL)
		return false;
	suspension_reason(suspension, &text);
	suspension_wait(qmgr, message, suspension);
	route_defer(qmgr, message, index, route, SLICE("4.3.2"), buf_text(&text));
	buf_free(&text);
	return true;
}

/* Whether nobody answered there when it was tried last; after a restart that is all we know. */
static bool
was_unanswered(const struct recipient *recipient, const struct destination *destination)
{
	struct slice       list = recipient->outcome;
	struct msg_outcome last;

	return list.length > 0 && msg_outcome_next(&list, &last) &&
	       slice_starts_with(last.status, SLICE("4.4.")) &&
	       slice_equal(last.transport, slice_from(destination->transport->name)) &&
	       slice_equal(last.nexthop, destination->nexthop);
}

/* Back to where it was, as if it had not been read yet: nothing was tried. */
static void
recipient_put_back(struct qmgr *qmgr, struct message *message, struct recipient *recipient)
{
	recipient->is_settled = true;
	message->unsettled--;
	message->is_put_back = true;
	message_touch(qmgr, message);
}

/*
 * A mailbox or an alias is there, since a route leads to it: no worker needs to be started to say
 * so. False: another host or a command has to be asked.
 */
static bool
settle_verified(struct qmgr *qmgr, struct message *message, uint32_t index,
                const struct route *route)
{
	struct msg_outcome outcome = { .action = OUTCOME_DELIVERED,
		                       .status = SLICE("2.0.0"),
		                       .reason = SLICE("delivers to mailbox"),
		                       .relay = route->transport };
	struct slice       list = route->local;
	struct msg_local   local;

	if (route->mailbox.length == 0 && list.length == 0)
		return false;
	if (list.length > 0 && msg_local_next(&list, &local) && local.kind == LOCAL_ALIAS)
		outcome.reason = SLICE("delivers to alias");
	settle_here(qmgr, message, index, &outcome, NULL);
	return true;
}

void
route_apply(struct qmgr *qmgr, struct message *message, uint32_t index, const struct route *route)
{
	struct recipient *recipient = &message->recipients[index];

	if (settle_by_transport(qmgr, message, index, route) ||
	    (message->is_verify && settle_verified(qmgr, message, index, route)) ||
	    is_suspended(qmgr, message, index, route))
		return;
	struct destination *destination = destination_of(qmgr, route);
	if (destination == NULL) {
		route_defer(qmgr, message, index, route, SLICE("4.3.0"), "out of memory");
		return;
	}
	if (destination->transport->is_deferred && !message->is_flushed) {
		route_defer(qmgr, message, index, route, SLICE("4.3.2"), "deferred transport");
		destination_rest(destination);
		return;
	}
	if (destination_is_dead(destination)) {
		char text[300];

		snprintf(text, sizeof(text), "delivery temporarily suspended: %s",
		         destination->dead_reason);
		route_defer(qmgr, message, index, route, destination_dead_status(destination),
		            text);
		return;
	}
	if (message->is_retried && was_unanswered(recipient, destination))
		destination_suspect(destination, qmgr->now_ms);
	if (message->is_retried && destination_is_crowded(destination)) {
		recipient_put_back(qmgr, message, recipient);
		return;
	}
	recipient->mailbox = arena_copy(&message->arena, route->mailbox);
	recipient->quota = route->quota;
	if ((recipient->mailbox.data == NULL && route->mailbox.length > 0) ||
	    !stages_set(message, index, route) ||
	    !lane_add(qmgr, message, index, destination, JOB_DELIVER)) {
		route_defer(qmgr, message, index, route, SLICE("4.3.0"), "out of memory");
		destination_rest(destination);
	}
}

/* An alias that intake has expanded: there is nothing to deliver. False: it is none. */
static bool
settle_expanded(struct qmgr *qmgr, struct message *message, uint32_t index)
{
	struct msg_outcome   outcome = { .action = OUTCOME_EXPANDED,
		                         .status = SLICE("2.0.0"),
		                         .reason = SLICE("alias expanded"),
		                         .relay = SLICE("none") };
	struct msg_recipient recipient;
	struct error         error;

	if (!message_load(qmgr, message, &error) ||
	    !message_recipient(message, index, &recipient) ||
	    (recipient.dsn_notify & DSN_NOTIFY_EXPANDED) == 0)
		return false;
	settle(qmgr, message, index, &outcome, NULL);
	return true;
}

static void
item_apply(struct qmgr *qmgr, struct message *message, const struct resolved *item)
{
	message->recipients[item->index].stages = NULL;
	if (settle_expanded(qmgr, message, item->index))
		return;
	if (item->answer != LOOKUP_FOUND)
		route_defer(qmgr, message, item->index, &item->route, SLICE("4.3.0"), item->reason);
	else
		route_apply(qmgr, message, item->index, &item->route);
}

void
resolve_apply(struct qmgr *qmgr, struct message *message)
{
	struct resolve_task *request = message->routes;

	for (uint32_t i = 0; i < request->count; i++)
		item_apply(qmgr, message, &request->items[i]);
	resolve_forget(message);
}

/* ---- the pool ---- */

struct resolvers *
resolvers_start(struct qmgr *qmgr, size_t threads, struct error *error)
{
	struct resolvers *resolvers = calloc(1, sizeof(*resolvers));

	if (resolvers == NULL) {
		error_set(error, "out of memory for resolver threads");
		return NULL;
	}
	resolvers->qmgr = qmgr;
	handoff_init(&resolvers->requests, false, NULL);
	for (; resolvers->count < threads && resolvers->count < THREADS_MOST; resolvers->count++) {
		int why = thread_start(&resolvers->threads[resolvers->count], resolver_run,
		                       resolvers);

		if (why != 0 && resolvers->count == 0) {
			errno = why;
			error_set_errno(error, "start a resolver thread");
			resolvers_stop(&resolvers);
			return NULL;
		}
		if (why != 0)
			break;
	}
	return resolvers;
}

void
resolvers_give(struct resolvers *resolvers, struct task_list *list)
{
	handoff_give(&resolvers->requests, list);
}

void
resolvers_stop(struct resolvers **resolvers)
{
	struct resolvers *gone = *resolvers;

	if (gone == NULL)
		return;
	handoff_close(&gone->requests);
	for (size_t i = 0; i < gone->count; i++)
		pthread_join(gone->threads[i], NULL);
	handoff_destroy(&gone->requests);
	free(gone);
	*resolvers = NULL;
}
