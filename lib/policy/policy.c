/* policy.c - see policy.h. */
#include "lib/policy/policy.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/list.h"
#include "lib/base/mutex.h"
#include "lib/base/number.h"
#include "lib/io/endpoint.h"
#include "lib/io/stream.h"

#define ANSWER_MOST  8192 /* bytes in the whole answer */
#define IDLE_MOST    100  /* connections kept */
#define SETTING_MOST 2000

struct connection {
	struct list_node node;
	struct stream   *stream;
	int64_t          born_ms, used_ms;
	int64_t          requests;
};

struct policy_service {
	struct endpoint        endpoint;
	struct policy_settings settings;
	char                  *default_action, *context;

	struct mutex     lock; /* guards everything below */
	struct list_node idle; /* the most recently used first */
	size_t           idle_count;
};

/* ---- making one ---- */

static bool
set_text(char **kept, const char **setting, struct slice value, struct error *error)
{
	free(*kept);
	*kept = strndup(value.data == NULL ? "" : value.data, value.length);
	*setting = *kept;
	return *kept != NULL || error_set(error, "out of memory");
}

static bool
apply(struct policy_service *service, struct slice name, struct slice value, struct error *error)
{
	struct policy_settings *settings = &service->settings;
	const struct {
		const char *name;
		int64_t    *value;
		bool        is_time;
	} rows[] = {
		{ "timeout", &settings->timeout_ms, true },
		{ "max_idle", &settings->max_idle_ms, true },
		{ "max_ttl", &settings->max_ttl_ms, true },
		{ "retry_delay", &settings->retry_delay_ms, true },
		{ "request_limit", &settings->request_limit, false },
		{ "try_limit", &settings->try_limit, false },
	};

	if (slice_equal(name, SLICE("default_action")))
		return set_text(&service->default_action, &settings->default_action, value, error);
	if (slice_equal(name, SLICE("policy_context")))
		return set_text(&service->context, &settings->context, value, error);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t number = 0;

		if (!slice_equal(name, slice_from(rows[i].name)))
			continue;
		if (rows[i].is_time ? !number_parse_seconds(value, 's', &number)
		                    : !number_parse(value, 0, 1000000, &number))
			return error_set(error, "%s: bad value of %s", service->endpoint.name,
			                 rows[i].name);
		*rows[i].value = rows[i].is_time ? number * 1000 : number;
		return true;
	}
	return error_set(error, "%s: there is no setting %.*s", service->endpoint.name,
	                 SLICE_ARGS(slice_first(name, 40)));
}

static bool
parse(struct policy_service *service, struct slice text, struct error *error)
{
	struct slice item;

	text = slice_trim(text);
	if (text.length > 1 && text.data[0] == '{' && text.data[text.length - 1] == '}')
		text = slice_of(text.data + 1, text.length - 2);
	if (text.length > SETTING_MOST || !slice_next_item(&text, ",", &item))
		return error_set(error, "which policy server?");
	if (!endpoint_parse(&service->endpoint, item, error))
		return false;
	while (slice_next_item(&text, ",", &item)) {
		size_t equals = slice_find_byte(item, '=');

		if (equals == SLICE_NOT_FOUND)
			return error_set(error, "%s: %.*s: not name = value",
			                 service->endpoint.name, SLICE_ARGS(slice_first(item, 40)));
		if (!apply(service, slice_trim(slice_first(item, equals)),
		           slice_trim(slice_from_offset(item, equals + 1)), error))
			return false;
	}
	return true;
}

struct policy_service *
policy_service_create(struct slice text, const struct policy_settings *settings,
                      struct error *error)
{
	struct policy_service *service = calloc(1, sizeof(*service));

	if (service == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	service->settings = *settings;
	list_init(&service->idle);
	mutex_init(&service->lock);
	if (!parse(service, text, error))
		policy_service_destroy(&service);
	return service;
}

static void
connection_free(struct connection **connection)
{
	if (*connection == NULL)
		return;
	stream_destroy(&(*connection)->stream);
	free(*connection);
	*connection = NULL;
}

void
policy_service_destroy(struct policy_service **service)
{
	struct policy_service *gone = *service;

	if (gone == NULL)
		return;
	*service = NULL;
	LIST_EACH (node, &gone->idle) {
		struct connection *connection = CONTAINER_OF(node, struct connection, node);

		list_remove(node);
		connection_free(&connection);
	}
	mutex_destroy(&gone->lock);
	free(gone->default_action);
	free(gone->context);
	free(gone);
}

const char *
policy_service_name(const struct policy_service *service)
{
	return service->endpoint.name;
}

bool
policy_service_is_unix(const struct policy_service *service)
{
	return service->endpoint.is_unix;
}

/* ---- connections ---- */

static bool
is_fresh(const struct policy_service *service, const struct connection *connection, int64_t now_ms)
{
	return now_ms - connection->used_ms < service->settings.max_idle_ms &&
	       now_ms - connection->born_ms < service->settings.max_ttl_ms &&
	       (service->settings.request_limit == 0 ||
	        connection->requests < service->settings.request_limit);
}

/* A kept connection that the server has not closed meanwhile; NULL when there is none. */
static struct connection *
take_idle(struct policy_service *service)
{
	int64_t now_ms = clock_monotonic_ms();

	for (;;) {
		struct connection *connection = NULL;

		mutex_lock(&service->lock);
		if (!list_is_empty(&service->idle)) {
			connection = CONTAINER_OF(service->idle.next, struct connection, node);
			list_remove(&connection->node);
			service->idle_count--;
		}
		mutex_unlock(&service->lock);
		if (connection == NULL)
			return NULL;
		struct pollfd one = { .fd = stream_fd(connection->stream), .events = POLLIN };
		if (is_fresh(service, connection, now_ms) && poll(&one, 1, 0) == 0)
			return connection;
		connection_free(&connection);
	}
}

static void
give_back(struct policy_service *service, struct connection *connection)
{
	connection->used_ms = clock_monotonic_ms();
	connection->requests++;
	bool is_kept = is_fresh(service, connection, connection->used_ms);
	mutex_lock(&service->lock);
	is_kept = is_kept && service->idle_count < IDLE_MOST;
	if (is_kept) {
		list_prepend(&service->idle, &connection->node);
		service->idle_count++;
	}
	mutex_unlock(&service->lock);
	if (!is_kept)
		connection_free(&connection);
}

static struct connection *
connect_new(struct policy_service *service, int64_t deadline_ms, struct error *error)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int                fd = endpoint_connect(&service->endpoint, deadline_ms, error);

	if (connection != NULL && fd >= 0)
		connection->stream = stream_from_socket(fd);
	if (connection != NULL && connection->stream != NULL) {
		connection->born_ms = connection->used_ms = clock_monotonic_ms();
		stream_set_input_limit(connection->stream, ANSWER_MOST);
		return connection;
	}
	if (fd >= 0) {
		close(fd);
		error_set(error, "out of memory");
	}
	free(connection);
	return NULL;
}

/* ---- one request ---- */

bool
policy_append(struct buf *request, const char *name, struct slice value)
{
	size_t length = 0;

	/* A line end in a value would be an attribute of the client's choice. */
	while (length < value.length && !ascii_is_control(value.data[length]))
		length++;
	buf_append_text(request, name);
	buf_append_byte(request, '=');
	buf_append(request, slice_first(value, length));
	return buf_append_byte(request, '\n');
}

/* Reads lines up to the empty one; the last "action=" counts. */
static bool
read_answer(struct connection *connection, struct buf *action, struct error *error)
{
	size_t total = 0, ending;
	bool   has_action = false;

	for (;;) {
		struct slice       line;
		enum stream_result result = stream_read_line(connection->stream, &line, &ending);

		if (result != STREAM_OK)
			return error_set(error, "%s", stream_result_text(result));
		total += line.length + 1;
		if (total > ANSWER_MOST)
			return error_set(error, "answer longer than %d bytes", ANSWER_MOST);
		if (line.length == 0)
			return has_action || error_set(error, "an answer without action=");
		if (!slice_starts_with(line, SLICE("action=")))
			continue;
		buf_clear(action);
		has_action = buf_append(action, slice_trim(slice_from_offset(line, 7)));
	}
}

static bool
talk(struct policy_service *service, struct connection *connection, struct slice request,
     struct buf *action, struct error *error)
{
	struct buf context = BUF(SETTING_MOST + 100);
	int64_t    deadline_ms = clock_monotonic_ms() + service->settings.timeout_ms;
	bool       is_sent;

	stream_set_timeout(connection->stream, service->settings.timeout_ms);
	stream_set_deadline(connection->stream, deadline_ms);
	policy_append(&context, "policy_context", slice_from(service->settings.context));
	buf_append_byte(&context, '\n');
	is_sent = stream_write(connection->stream, request) == STREAM_OK &&
	          stream_write(connection->stream, buf_slice(&context)) == STREAM_OK &&
	          stream_flush(connection->stream) == STREAM_OK;
	buf_free(&context);
	if (!is_sent)
		return error_set(error, "it does not take the request");
	return read_answer(connection, action, error);
}

bool
policy_ask(struct policy_service *service, struct slice request, struct buf *action,
           struct error *error)
{
	for (int64_t tries = 0; tries == 0 || tries < service->settings.try_limit; tries++) {
		struct connection *connection = take_idle(service);
		int64_t deadline_ms = clock_monotonic_ms() + service->settings.timeout_ms;

		/* A kept connection that fails says nothing about the server: at once anew. */
		if (connection != NULL) {
			if (talk(service, connection, request, action, error)) {
				give_back(service, connection);
				return true;
			}
			connection_free(&connection);
		} else if (tries > 0) {
			poll(NULL, 0, (int)service->settings.retry_delay_ms);
		}
		connection = connect_new(service, deadline_ms, error);
		if (connection == NULL)
			continue;
		if (talk(service, connection, request, action, error)) {
			give_back(service, connection);
			return true;
		}
		connection_free(&connection);
	}
	error_prefix(error, "policy server %s", service->endpoint.name);
	buf_clear(action);
	buf_append_text(action, service->settings.default_action);
	return false;
}
