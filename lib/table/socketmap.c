/*
 * socketmap.c - tables that are a server of somebody's own: socketmap (netstrings) and tcp (lines).
 *
 * Both see whole keys only, as they are. The parsers of replies are functions of their own, for
 * tests and fuzzers: see reply.h.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/table/connect.h"
#include "lib/table/hosts.h"
#include "lib/table/reply.h"
#include "lib/table/type.h"

#define TIMEOUT_MS       30000
#define CONNECTIONS_MOST 8
#define SOCKETMAP_QUERY  10000
#define TCP_LINE_MOST    4096

struct remote_map {
	struct host_pool *pool;
	char             *place; /* "inet:host:port" or "unix:/path" */
	char             *map;   /* socketmap: the name that the server knows */
	bool              is_tcp;
};

static void *
map_connect(void *context, const struct driver_host *host, struct error *error)
{
	int *fd = malloc(sizeof(*fd));

	(void)context;
	if (fd == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	*fd = table_connect(host, TIMEOUT_MS, error);
	if (*fd >= 0)
		return fd;
	free(fd);
	return NULL;
}

static void
map_close(void *context, void *connection)
{
	(void)context;
	close(*(int *)connection);
	free(connection);
}

/* ---- one question ---- */

struct question {
	const struct remote_map *map;
	struct slice             request;
	struct buf               input;
	struct buf              *value;
	enum lookup              answer;
};

static bool
wait_ready(int fd, short events, int64_t deadline_ms, struct error *error)
{
	struct pollfd wait = { .fd = fd, .events = events };
	int64_t       left_ms = deadline_ms - clock_monotonic_ms();

	if (left_ms > 0 && poll(&wait, 1, (int)left_ms) > 0)
		return true;
	return error_set(error, "the server does not answer within %d s", TIMEOUT_MS / 1000);
}

static bool
request_send(int fd, struct slice rest, int64_t deadline_ms, struct error *error)
{
	while (!slice_is_empty(rest)) {
		ssize_t sent = send(fd, rest.data, rest.length, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent >= 0) {
			rest = slice_from_offset(rest, (size_t)sent);
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return error_set_errno(error, "send");
		if (!wait_ready(fd, POLLOUT, deadline_ms, error))
			return false;
	}
	return true;
}

static bool
input_read(int fd, struct buf *input, int64_t deadline_ms, struct error *error)
{
	if (!wait_ready(fd, POLLIN, deadline_ms, error))
		return false;
	if (!buf_reserve(input, 4096))
		return error_set(error, "the reply is too long");
	ssize_t got = recv(fd, input->data + input->length, 4096, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (got < 0)
		return error_set_errno(error, "receive");
	if (got == 0)
		return error_set(error, "the server closed the connection");
	input->length += (size_t)got;
	return true;
}

static enum driver_result
question_ask(void *context, void *connection, struct error *error)
{
	struct question *question = context;
	int64_t          deadline_ms = clock_monotonic_ms() + TIMEOUT_MS;
	int              fd = *(int *)connection;
	size_t           used = 0;
	enum reply_parse parse = REPLY_MORE;

	buf_clear(&question->input);
	buf_clear(question->value);
	if (!request_send(fd, question->request, deadline_ms, error))
		return DRIVER_LOST;
	while (parse == REPLY_MORE) {
		if (!input_read(fd, &question->input, deadline_ms, error))
			return DRIVER_LOST;
		parse = (question->map->is_tcp ? reply_parse_tcp : reply_parse_socketmap)(
			buf_slice(&question->input), &used, &question->answer, question->value,
			error);
	}
	if (parse == REPLY_MALFORMED)
		return DRIVER_LOST;
	/* What was not asked for belongs to no question: the next one would take it for its own. */
	if (used != question->input.length) {
		error_set(error, "the server sent more than one reply");
		return DRIVER_LOST;
	}
	return question->answer == LOOKUP_TRY_LATER ? DRIVER_REFUSED : DRIVER_DONE;
}

static bool
request_make(const struct remote_map *map, struct slice key, struct buf *request)
{
	size_t length = strlen(map->map == NULL ? "" : map->map) + 1 + key.length;

	if (map->is_tcp) {
		buf_append_text(request, "get ");
		reply_quote_tcp(key, request);
		return buf_append_byte(request, '\n') && request->length <= TCP_LINE_MOST;
	}
	if (length > SOCKETMAP_QUERY)
		return false;
	buf_append_u64(request, length);
	buf_append_byte(request, ':');
	buf_append_text(request, map->map);
	buf_append_byte(request, ' ');
	buf_append(request, key);
	return buf_append_byte(request, ',');
}

static enum lookup
map_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	struct remote_map *map = content;
	struct buf         request = BUF(SOCKETMAP_QUERY * 4);
	struct question    question = { .map = map,
		                        .value = value,
		                        .answer = LOOKUP_TRY_LATER,
		                        .input = BUF(REPLY_MOST + 4096) };
	enum lookup        answer = LOOKUP_NOT_FOUND;

	/* A key that is longer than what may be asked is in no table. */
	if (request_make(map, key, &request)) {
		question.request = buf_slice(&request);
		enum driver_result result =
			host_pool_run(map->pool, question_ask, &question, error);
		answer = result == DRIVER_DONE ? question.answer : LOOKUP_TRY_LATER;
		if (answer != LOOKUP_FOUND)
			buf_clear(value);
	}
	buf_free(&request);
	buf_free(&question.input);
	return answer;
}

/* ---- opening ---- */

static void
map_unload(void *content)
{
	struct remote_map *map = content;

	if (map == NULL)
		return;
	host_pool_destroy(&map->pool);
	free(map->place);
	free(map->map);
	free(map);
}

static bool
map_open_pool(struct remote_map *map, struct error *error)
{
	struct host_pool_settings settings = { .hosts = map->place,
		                               .port_default = "",
		                               .timeout_ms = TIMEOUT_MS,
		                               .idle_ms = 10000,
		                               .retry_ms = 10000,
		                               .connections_most = CONNECTIONS_MOST,
		                               .connect = map_connect,
		                               .close = map_close };

	map->pool = host_pool_create(&settings, error);
	return map->pool != NULL;
}

static bool
map_fill(struct remote_map *map, const char *name, struct error *error)
{
	struct slice text = slice_from(name);
	size_t       colon = slice_find_last_byte(text, ':');

	if (map->is_tcp) {
		if (asprintf(&map->place, "inet:%s", name) < 0)
			map->place = NULL;
		return map->place != NULL || error_set(error, "out of memory");
	}
	if ((!slice_starts_with(text, SLICE("inet:")) &&
	     !slice_starts_with(text, SLICE("unix:/"))) ||
	    colon < 5 || colon + 1 == text.length)
		return error_set(error, "want socketmap:inet:host:port:name or "
		                        "socketmap:unix:/path:name");
	map->place = strndup(name, colon);
	map->map = strdup(name + colon + 1);
	return (map->place != NULL && map->map != NULL) || error_set(error, "out of memory");
}

static void *
map_load(const char *name, bool is_tcp, struct error *error)
{
	struct remote_map *map = calloc(1, sizeof(*map));

	if (map == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	map->is_tcp = is_tcp;
	if (map_fill(map, name, error) && map_open_pool(map, error))
		return map;
	map_unload(map);
	return NULL;
}

static void *
socketmap_load(const char *name, const char *path, struct error *error)
{
	(void)path;
	return map_load(name, false, error);
}

static void *
tcp_load(const char *name, const char *path, struct error *error)
{
	(void)path;
	return map_load(name, true, error);
}

static unsigned
socketmap_needs(struct slice name)
{
	return slice_starts_with(name, SLICE("unix:")) ? TABLE_NEEDS_UNIX : TABLE_NEEDS_INET;
}

static unsigned
tcp_needs(struct slice name)
{
	(void)name;
	return TABLE_NEEDS_INET;
}

const struct table_type table_type_socketmap = {
	.name = "socketmap",
	.has_patterns = true,
	.needs = socketmap_needs,
	.load = socketmap_load,
	.lookup = map_lookup,
	.unload = map_unload,
};

const struct table_type table_type_tcp = {
	.name = "tcp",
	.has_patterns = true,
	.needs = tcp_needs,
	.load = tcp_load,
	.lookup = map_lookup,
	.unload = map_unload,
};
