/* service.c - see service.h. */
#include "resolver/service.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/list.h"
#include "lib/base/log.h"
#include "lib/dns/name.h"
#include "lib/ipc/channel.h"
#include "lib/dns/unbound_answer.h"

#define EVENTS_MOST        64
#define CLIENT_QUESTIONS   1000           /* under way for one channel; then it is not read */
#define CLIENT_OUTPUT      (1024u * 1024) /* bytes not taken by a client; the same */
#define RECORDS_BYTES_MOST (120u * 1024)
#define ARENA_BYTES_MOST   (512u * 1024)
#define STOP_MS            5000
#define WATCH_MS           1000
#define SPINNING_MOST      30 /* seconds of full CPU without one answer */
#define DNS_CLASS_IN       1

enum source_kind { SOURCE_LISTENER, SOURCE_STOP, SOURCE_UNBOUND, SOURCE_CLIENT };

/* What an epoll event points to. */
struct source {
	enum source_kind kind;
	int              fd;
};

struct service {
	const struct service_settings *settings;
	int                            epoll_fd;
	struct source                  stop, unbound;
	struct source                 *listeners;
	struct list_node               clients;
	struct list_node               gone; /* clients to be freed at the end of a round */
	size_t                         client_count;
	struct list_node               waiting; /* questions for which there is no place yet */
	size_t                         asked;   /* questions that libunbound works on */
	struct heap                    deadlines;
	struct buf                     records;
	bool                           is_stopping;
	int64_t                        stop_deadline_ms;
	/* the CPU watch */
	int64_t  next_watch_ms;
	int64_t  cpu_ms;
	unsigned spinning_s;
	uint64_t answers, answers_seen;
};

struct client {
	struct source      source;
	struct list_node   node; /* in service.clients or .gone */
	struct service    *service;
	struct ipc_channel channel;
	struct list_node   questions;
	size_t             question_count;
	uint32_t           events;
	bool               is_gone;
};

struct question {
	struct heap_node deadline;
	struct list_node node;  /* in client.questions */
	struct list_node queue; /* in service.waiting, or alone */
	struct client   *client;
	uint64_t         id;
	uint32_t         type;
	bool             is_asked;
	int              async_id;
	char             name[DNS_NAME_MOST + 2];
};

/* ---- clients ---- */

static void
client_watch(struct client *client)
{
	uint32_t events = 0;

	if (!client->service->is_stopping && client->question_count < CLIENT_QUESTIONS &&
	    client->channel.out.length < CLIENT_OUTPUT)
		events |= EPOLLIN;
	if (ipc_has_output(&client->channel))
		events |= EPOLLOUT;
	if (events == client->events)
		return;
	struct epoll_event event = { .events = events, .data.ptr = &client->source };
	if (epoll_ctl(client->service->epoll_fd, EPOLL_CTL_MOD, client->channel.fd, &event) == 0)
		client->events = events;
}

static void question_end(struct question *question);

static void
client_leave(struct client *client)
{
	if (client->is_gone)
		return;
	client->is_gone = true;
	while (!list_is_empty(&client->questions))
		question_end(CONTAINER_OF(client->questions.next, struct question, node));
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
answer_send(struct client *client, struct msg_dns_answer *answer, uint64_t id)
{
	answer->id = id;
	if (!ipc_queue(&client->channel, dns_answer, answer) ||
	    ipc_flush(&client->channel) != IPC_OK) {
		client->channel.is_broken = true; /* its event, or the end of the round, sees it */
		shutdown(client->channel.fd, SHUT_RDWR);
		return;
	}
	client_watch(client);
}

static void
answer_failure(struct client *client, uint64_t id, enum dns_status status, const char *reason)
{
	struct msg_dns_answer answer = msg_dns_answer_clear();

	answer.status = (uint32_t)status;
	answer.reason = slice_from(reason);
	answer.canonical = answer.records = SLICE_EMPTY;
	answer_send(client, &answer, id);
}

/* ---- questions ---- */

static void questions_start(struct service *service);

/* Takes the question out of everything and frees it; libunbound forgets it, too. */
static void
question_end(struct question *question)
{
	struct service *service = question->client->service;

	if (question->is_asked) {
		service->asked--;
		if (question->async_id >= 0)
			ub_cancel(service->settings->unbound, question->async_id);
	}
	if (heap_contains(&question->deadline))
		heap_remove(&service->deadlines, &question->deadline);
	list_remove(&question->queue);
	list_remove(&question->node);
	question->client->question_count--;
	free(question);
}

/* libunbound's callback, called from ub_process in this thread. */
static void
question_answered(void *argument, int failure, struct ub_result *result)
{
	struct question      *question = argument;
	struct client        *client = question->client;
	struct service       *service = client->service;
	struct arena          arena = ARENA(ARENA_BYTES_MOST);
	struct msg_dns_answer answer;
	uint64_t              id = question->id;

	question->async_id = -1; /* nothing left to cancel */
	question_end(question);
	service->answers++;
	if (failure != 0 || result == NULL) {
		answer_failure(client, id, DNS_TRY_LATER, ub_strerror(failure));
	} else {
		unbound_answer(result, &arena, &service->records, &answer);
		answer_send(client, &answer, id);
	}
	ub_resolve_free(result);
	arena_reset(&arena);
}

static void
question_start(struct service *service, struct question *question)
{
	list_remove(&question->queue);
	question->is_asked = true;
	service->asked++;
	int failure =
		ub_resolve_async(service->settings->unbound, question->name, (int)question->type,
	                         DNS_CLASS_IN, question, question_answered, &question->async_id);
	if (failure != 0) {
		struct client *client = question->client;
		uint64_t       id = question->id;

		question->async_id = -1;
		question_end(question);
		answer_failure(client, id, DNS_TRY_LATER, ub_strerror(failure));
	}
}

static void
questions_start(struct service *service)
{
	while (service->asked < service->settings->queries_limit &&
	       !list_is_empty(&service->waiting))
		question_start(service,
		               CONTAINER_OF(service->waiting.next, struct question, queue));
}

/* How long it may take: what the asker waits, within our own bounds. */
static int64_t
question_deadline(const struct service *service, uint32_t timeout_ms)
{
	int64_t most_ms = service->settings->timeout_ms;

	return clock_monotonic_ms() + (timeout_ms > most_ms ? most_ms : (int64_t)timeout_ms);
}

static void
client_ask(struct client *client, const struct msg_dns_query *query)
{
	struct service *service = client->service;

	if (!unbound_type_is_known(query->type)) {
		answer_failure(client, query->id, DNS_TRY_LATER, "the type is not supported");
		return;
	}
	if (!dns_name_is_normal(query->name)) {
		answer_failure(client, query->id, DNS_NO_NAME, "not a domain name");
		return;
	}
	struct question *question = calloc(1, sizeof(*question));
	if (question == NULL) {
		answer_failure(client, query->id, DNS_TRY_LATER, "the resolver is out of memory");
		return;
	}
	question->client = client;
	question->id = query->id;
	question->type = query->type;
	question->async_id = -1;
	memcpy(question->name, query->name.data, query->name.length);
	if (query->name.length == 0)
		question->name[0] = '.';
	list_append(&client->questions, &question->node);
	list_append(&service->waiting, &question->queue);
	client->question_count++;
	if (!heap_insert(&service->deadlines, &question->deadline,
	                 question_deadline(service, query->timeout_ms))) {
		question_end(question);
		answer_failure(client, query->id, DNS_TRY_LATER, "the resolver is out of memory");
	}
}

static void
questions_expire(struct service *service)
{
	int64_t now_ms = clock_monotonic_ms();

	for (;;) {
		struct heap_node *first = heap_first(&service->deadlines);

		if (first == NULL || first->when > now_ms)
			return;
		struct question *question = CONTAINER_OF(first, struct question, deadline);
		struct client   *client = question->client;
		uint64_t         id = question->id;
		bool             was_asked = question->is_asked;

		question_end(question);
		answer_failure(client, id, DNS_TRY_LATER,
		               was_asked ? "no answer from the name servers in time"
		                         : "too many questions at a time");
	}
}

/* ---- events ---- */

static void
client_input(struct client *client)
{
	struct ipc_frame     frame;
	struct msg_dns_query query;

	if (ipc_fill(&client->channel) != IPC_OK) {
		client_leave(client);
		return;
	}
	while (ipc_next(&client->channel, &frame)) {
		bool is_query = msg_dns_query_decode(&frame, &query);

		ipc_frame_close(&frame);
		if (!is_query) {
			client->channel.is_broken = true;
			log_warning("resolver: malformed message (%s) from a client",
			            msg_name(frame.type));
			break;
		}
		client_ask(client, &query);
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
listener_event(struct service *service, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		/* Without descriptors the listener stays ready: do not spin on it. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			poll(NULL, 0, 50);
		return;
	}
	struct client *client = service->client_count < service->settings->client_limit
	                                ? calloc(1, sizeof(*client))
	                                : NULL;
	if (client == NULL) {
		log_warning("resolver: too many clients: one was sent away");
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

/* Takes nothing new; what is under way may still finish. */
static void
service_stop(struct service *service)
{
	service->is_stopping = true;
	service->stop_deadline_ms = clock_monotonic_ms() + STOP_MS;
	for (size_t i = 0; i < service->settings->listener_count; i++)
		epoll_ctl(service->epoll_fd, EPOLL_CTL_DEL, service->listeners[i].fd, NULL);
	epoll_ctl(service->epoll_fd, EPOLL_CTL_DEL, service->stop.fd, NULL);
	LIST_EACH (node, &service->clients)
		client_watch(CONTAINER_OF(node, struct client, node));
}

static void
source_event(struct service *service, struct source *source, uint32_t events)
{
	switch (source->kind) {
	case SOURCE_LISTENER: listener_event(service, source->fd); break;
	case SOURCE_STOP: service_stop(service); break;
	case SOURCE_UNBOUND: ub_process(service->settings->unbound); break;
	case SOURCE_CLIENT: client_event((struct client *)(void *)source, events); break;
	}
}

/*
 * A defect in libunbound that one answer can trigger costs CPU for ever (KeyTrap and its like).
 * When a core was busy for long and no question got its answer, a new process is better.
 */
static bool
watch_is_good(struct service *service)
{
	struct timespec spent;
	int64_t         now_ms = clock_monotonic_ms();

	if (now_ms < service->next_watch_ms)
		return true;
	int64_t since_ms = now_ms - service->next_watch_ms + WATCH_MS;
	service->next_watch_ms = now_ms + WATCH_MS;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
	int64_t cpu_ms = (int64_t)spent.tv_sec * 1000 + spent.tv_nsec / 1000000;
	bool    is_busy = (cpu_ms - service->cpu_ms) * 10 > since_ms * 9;
	service->cpu_ms = cpu_ms;
	if (!is_busy || service->answers != service->answers_seen)
		service->spinning_s = 0;
	else
		service->spinning_s++;
	service->answers_seen = service->answers;
	return service->spinning_s < SPINNING_MOST;
}

static int
wait_ms(const struct service *service)
{
	struct heap_node *first = heap_first(&service->deadlines);
	int64_t           now_ms = clock_monotonic_ms();
	int64_t until_ms = service->is_stopping ? service->stop_deadline_ms : now_ms + 60000;

	if (first != NULL && first->when < until_ms)
		until_ms = first->when;
	if (first != NULL && service->next_watch_ms < until_ms)
		until_ms = service->next_watch_ms;
	return until_ms <= now_ms ? 0 : (int)(until_ms - now_ms);
}

static bool
is_finished(const struct service *service)
{
	return service->is_stopping && (heap_first(&service->deadlines) == NULL ||
	                                clock_monotonic_ms() >= service->stop_deadline_ms);
}

static int
service_loop(struct service *service)
{
	struct epoll_event events[EVENTS_MOST];

	while (!is_finished(service)) {
		int count = epoll_wait(service->epoll_fd, events, EVENTS_MOST, wait_ms(service));

		if (count < 0 && errno != EINTR) {
			log_error("resolver: cannot wait for events");
			return 1;
		}
		for (int i = 0; i < count; i++)
			source_event(service, events[i].data.ptr, events[i].events);
		questions_expire(service);
		questions_start(service);
		clients_free(service);
		if (!watch_is_good(service)) {
			log_error("resolver: %d s of CPU and no answer: giving up this process",
			          SPINNING_MOST);
			return 1;
		}
	}
	return 0;
}

/* ---- beginning and end ---- */

static bool
source_add(struct service *service, struct source *source, enum source_kind kind, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = source };

	*source = (struct source){ kind, fd };
	return epoll_ctl(service->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool
service_open(struct service *service)
{
	const struct service_settings *settings = service->settings;

	service->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	service->listeners = calloc(settings->listener_count + 1, sizeof(*service->listeners));
	if (service->epoll_fd < 0 || service->listeners == NULL ||
	    !source_add(service, &service->unbound, SOURCE_UNBOUND, ub_fd(settings->unbound)) ||
	    !source_add(service, &service->stop, SOURCE_STOP, settings->stop_fd))
		return false;
	for (size_t i = 0; i < settings->listener_count; i++)
		if (!source_add(service, &service->listeners[i], SOURCE_LISTENER,
		                settings->listeners[i]))
			return false;
	return true;
}

int
service_run(const struct service_settings *settings)
{
	struct service service = { .settings = settings,
		                   .epoll_fd = -1,
		                   .records = BUF(RECORDS_BYTES_MOST),
		                   .next_watch_ms = clock_monotonic_ms() + WATCH_MS };
	int            status = 1;

	list_init(&service.clients);
	list_init(&service.gone);
	list_init(&service.waiting);
	if (service_open(&service))
		status = service_loop(&service);
	else
		log_error("resolver: cannot set up its event loop");
	LIST_EACH (node, &service.clients)
		client_leave(CONTAINER_OF(node, struct client, node));
	clients_free(&service);
	heap_free(&service.deadlines);
	buf_free(&service.records);
	free(service.listeners);
	if (service.epoll_fd >= 0)
		close(service.epoll_fd);
	return status;
}
