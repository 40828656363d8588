/* service.c - see service.h. */
#include "verify/service.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/ipc/channel.h"
#include "lib/queue/job.h"
#include "verify/prober.h"

#define EVENTS_MOST      64
#define CLIENTS_MOST     1000
#define CLIENT_QUESTIONS 1000 /* under way on one channel; then it is not read */
#define WAIT_MOST_MS     (3600 * 1000)
#define TICK_MS          1000

enum source_kind { SOURCE_LISTENER, SOURCE_STOP, SOURCE_PROBER, SOURCE_CLIENT };

/* What an epoll event points to. */
struct source {
	enum source_kind kind;
	int              fd;
};

struct service {
	struct daemon_context *context;
	struct cache          *cache;
	struct store          *store;
	struct prober          prober;
	int                    epoll_fd;
	struct source          stop, prober_source;
	struct source         *listeners;
	struct list_node       clients;
	struct list_node       gone; /* to be freed at the end of a round */
	size_t                 client_count;
	struct heap            deadlines;
	int64_t                clean_ms; /* when the cache is cleaned next */
	int64_t                store_ms; /* when the store wants to be asked next */
	bool                   is_stopping;
};

struct client {
	struct source      source;
	struct list_node   node;
	struct service    *service;
	struct ipc_channel channel;
	struct list_node   questions;
	size_t             question_count;
	uint32_t           events;
	bool               is_gone;
};

/* One that waits for a probe. */
struct question {
	struct heap_node deadline;
	struct list_node in_client;
	struct list_node in_known;
	struct client   *client;
	uint64_t         id;
};

static int64_t
now_s(void)
{
	return clock_wall_us() / 1000000;
}

/* ---- answers ---- */

static void
client_watch(struct client *client)
{
	uint32_t events = client->question_count < CLIENT_QUESTIONS ? EPOLLIN : 0;

	if (ipc_has_output(&client->channel))
		events |= EPOLLOUT;
	if (events == client->events)
		return;
	struct epoll_event event = { .events = events, .data.ptr = &client->source };
	if (epoll_ctl(client->service->epoll_fd, EPOLL_CTL_MOD, client->channel.fd, &event) == 0)
		client->events = events;
}

static void
answer(struct client *client, uint64_t id, enum verify_status status, const char *text)
{
	struct msg_verify_answer message = { .id = id,
		                             .status = status,
		                             .reason = slice_from(text == NULL ? "" : text) };

	if (!ipc_queue(&client->channel, verify_answer, &message) ||
	    ipc_flush(&client->channel) != IPC_OK) {
		client->channel.is_broken = true; /* its event sees it */
		shutdown(client->channel.fd, SHUT_RDWR);
		return;
	}
	client_watch(client);
}

static void
question_end(struct question *question)
{
	struct service *service = question->client->service;

	if (heap_contains(&question->deadline))
		heap_remove(&service->deadlines, &question->deadline);
	list_remove(&question->in_known);
	list_remove(&question->in_client);
	question->client->question_count--;
	free(question);
}

static void
answer_unknown(struct client *client, uint64_t id)
{
	answer(client, id, VERIFY_UNKNOWN, "Address verification in progress");
}

/* All that wait for an address. */
static void
answer_waiting(struct list_node *questions, enum verify_status status, const char *text)
{
	LIST_EACH (node, questions) {
		struct question *question = CONTAINER_OF(node, struct question, in_known);
		struct client   *client = question->client;
		uint64_t         id = question->id;

		question_end(question);
		answer(client, id, status, text);
	}
}

/* ---- what probes say ---- */

static void
probe_answered(void *context, struct known *known, enum verify_status status, struct slice reason)
{
	struct service  *service = context;
	struct buf       text = BUF(2000);
	struct list_node questions;

	buf_append_printable(&text, slice_first(reason, VERIFY_TEXT_MOST));
	/* The address may be gone when the cache has learnt. */
	list_init(&questions);
	LIST_EACH (node, &known->questions) {
		list_remove(node);
		list_append(&questions, node);
	}
	if (cache_learn(service->cache, known, status, buf_slice(&text), now_s()))
		answer_waiting(&questions, status, buf_text(&text));
	else
		answer_waiting(&questions, known->status, known->text);
	buf_free(&text);
}

/* ---- questions ---- */

static bool
question_wait(struct client *client, struct known *known, const struct msg_verify_query *query)
{
	struct question *question = calloc(1, sizeof(*question));
	int64_t wait_ms = query->wait_ms < WAIT_MOST_MS ? (int64_t)query->wait_ms : WAIT_MOST_MS;

	if (question == NULL)
		return false;
	list_init(&question->in_client);
	list_init(&question->in_known);
	if (!heap_insert(&client->service->deadlines, &question->deadline,
	                 clock_monotonic_ms() + wait_ms)) {
		free(question);
		return false;
	}
	question->client = client;
	question->id = query->id;
	list_append(&client->questions, &question->in_client);
	list_append(&known->questions, &question->in_known);
	client->question_count++;
	return true;
}

static void
client_ask(struct client *client, const struct msg_verify_query *query)
{
	struct service *service = client->service;
	bool            wants_probe;
	struct known   *known = cache_ask(service->cache, query->address, now_s(), &wants_probe);

	if (known == NULL) {
		answer(client, query->id, VERIFY_LATER, "too many addresses are being verified");
		return;
	}
	/* Told of before the probe is sent: that may fail, and answer at once. */
	bool waits = known->status == VERIFY_UNKNOWN && query->wait_ms > 0 &&
	             question_wait(client, known, query);
	if (!waits && known->status == VERIFY_UNKNOWN)
		answer_unknown(client, query->id);
	else if (!waits)
		answer(client, query->id, known->status, known->text);
	if (wants_probe)
		prober_send(&service->prober, known);
}

static void
questions_expire(struct service *service)
{
	struct heap_node *first;

	while ((first = heap_first(&service->deadlines)) != NULL &&
	       first->when <= clock_monotonic_ms()) {
		struct question *question = CONTAINER_OF(first, struct question, deadline);
		struct client   *client = question->client;
		uint64_t         id = question->id;

		question_end(question);
		answer_unknown(client, id);
	}
}

/* ---- clients ---- */

static void
client_leave(struct client *client)
{
	if (client->is_gone)
		return;
	client->is_gone = true;
	while (!list_is_empty(&client->questions))
		question_end(CONTAINER_OF(client->questions.next, struct question, in_client));
	ipc_channel_close(&client->channel);
	list_remove(&client->node);
	list_append(&client->service->gone, &client->node);
	client->service->client_count--;
}

static void
clients_free(struct service *service)
{
	LIST_EACH (node, &service->gone) {
		list_remove(node);
		free(CONTAINER_OF(node, struct client, node));
	}
}

static void
client_input(struct client *client)
{
	struct ipc_frame        frame;
	struct msg_verify_query query;

	if (ipc_fill(&client->channel) != IPC_OK) {
		client_leave(client);
		return;
	}
	while (ipc_next(&client->channel, &frame)) {
		bool is_query = msg_verify_query_decode(&frame, &query);

		if (is_query)
			client_ask(client, &query);
		else
			log_warning("malformed message (%s) from a client", msg_name(frame.type));
		ipc_frame_close(&frame);
		if (!is_query)
			client->channel.is_broken = true;
		if (!is_query)
			break;
	}
	if (client->channel.is_broken)
		client_leave(client);
}

static void
client_event(struct client *client, uint32_t events)
{
	if (client->is_gone)
		return;
	if ((events & EPOLLOUT) != 0 && ipc_flush(&client->channel) != IPC_OK) {
		client_leave(client);
		return;
	}
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		client_input(client);
	if (!client->is_gone)
		client_watch(client);
}

static void
client_add(struct service *service, int fd)
{
	bool           may = daemon_peer_is_allowed(service->context, fd, PEER_NET | PEER_ROOT);
	struct client *client =
		may && service->client_count < CLIENTS_MOST ? calloc(1, sizeof(*client)) : NULL;

	if (client == NULL) {
		log_warning("%s", may ? "too many clients: one was sent away"
		                      : "connection by a user that may not");
		close(fd);
		return;
	}
	client->source = (struct source){ SOURCE_CLIENT, fd };
	client->service = service;
	client->events = EPOLLIN;
	list_init(&client->questions);
	ipc_channel_init(&client->channel, fd);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &client->source };
	if (epoll_ctl(service->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
		ipc_channel_close(&client->channel);
		free(client);
		return;
	}
	list_append(&service->clients, &client->node);
	service->client_count++;
}

static void
listener_event(struct service *service, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		client_add(service, fd);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
		poll(NULL, 0, 50); /* the listener stays ready: do not spin on it */
}

/* ---- the loop ---- */

static bool
source_add(struct service *service, struct source *source, enum source_kind kind, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = source };

	*source = (struct source){ kind, fd };
	return epoll_ctl(service->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* The channel to qmgr is another after each connect; a closed one has left the set by itself. */
static void
prober_watch(struct service *service)
{
	int fd = prober_fd(&service->prober);

	if (fd >= 0 && prober_is_new(&service->prober) &&
	    !source_add(service, &service->prober_source, SOURCE_PROBER, fd))
		prober_close(&service->prober);
}

static void
source_event(struct service *service, struct source *source, uint32_t events)
{
	switch (source->kind) {
	case SOURCE_LISTENER: listener_event(service, source->fd); break;
	case SOURCE_STOP: service->is_stopping = true; break;
	case SOURCE_PROBER: prober_read(&service->prober); break;
	case SOURCE_CLIENT:
		client_event(CONTAINER_OF(source, struct client, source), events);
		break;
	}
}

/* Once in a while; how long until the next time, in ms. */
static int64_t
tick(struct service *service)
{
	int64_t now_ms = clock_monotonic_ms();
	int64_t interval_ms =
		service->context->parameters->address_verify_cache_cleanup_interval * 1000;
	struct heap_node *first;
	int64_t           wait_ms = TICK_MS;

	questions_expire(service);
	prober_tick(&service->prober, now_ms);
	prober_watch(service);
	if (interval_ms > 0 && now_ms >= service->clean_ms) {
		if (service->clean_ms != 0)
			cache_clean(service->cache, now_s());
		service->clean_ms = now_ms + interval_ms;
	}
	if (service->store != NULL && now_ms >= service->store_ms)
		service->store_ms = now_ms + store_tick(service->store, service->cache, now_ms);
	first = heap_first(&service->deadlines);
	if (first != NULL && first->when - now_ms < wait_ms)
		wait_ms = first->when - now_ms;
	return wait_ms < 0 ? 0 : wait_ms;
}

static void
loop(struct service *service)
{
	struct epoll_event events[EVENTS_MOST];

	while (!service->is_stopping) {
		int count = epoll_wait(service->epoll_fd, events, EVENTS_MOST, (int)tick(service));

		for (int i = 0; i < count; i++)
			source_event(service, events[i].data.ptr, events[i].events);
		clients_free(service);
	}
}

static bool
service_open(struct service *service)
{
	struct daemon_context *context = service->context;

	service->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	service->listeners = calloc(context->listener_count + 1, sizeof(*service->listeners));
	if (service->epoll_fd < 0 || service->listeners == NULL ||
	    !source_add(service, &service->stop, SOURCE_STOP, context->drain_fd))
		return false;
	for (size_t i = 0; i < context->listener_count; i++)
		if (!source_add(service, &service->listeners[i], SOURCE_LISTENER,
		                context->listeners[i].fd))
			return false;
	return true;
}

int
service_run(struct daemon_context *context, struct cache *cache, struct store *store)
{
	struct service service = {
		.context = context, .cache = cache, .store = store, .epoll_fd = -1
	};
	int status = 1;

	list_init(&service.clients);
	list_init(&service.gone);
	prober_init(&service.prober, context->parameters, cache, probe_answered, &service);
	if (service_open(&service)) {
		loop(&service);
		status = 0;
	} else {
		log_error("cannot set up the event loop");
	}
	LIST_EACH (node, &service.clients)
		client_leave(CONTAINER_OF(node, struct client, node));
	clients_free(&service);
	prober_close(&service.prober);
	heap_free(&service.deadlines);
	free(service.listeners);
	if (service.epoll_fd >= 0)
		close(service.epoll_fd);
	return status;
}
