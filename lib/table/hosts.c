/* hosts.c - see hosts.h. */
#include "lib/table/hosts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mutex.h"
#include "lib/base/number.h"
#include "lib/base/random.h"

#define HOSTS_MOST     32
#define FIRST_PAUSE_MS 1000

struct server {
	struct driver_host host;
	int64_t            retry_at_ms;
	int64_t            pause_ms; /* 0: the last attempt was good */
};

struct kept {
	void   *connection;
	size_t  server;
	int64_t since_ms;
};

struct host_pool {
	struct host_pool_settings settings;
	struct arena              arena;
	size_t                    server_count;
	struct mutex              lock; /* guards everything below */
	struct condition          left;
	struct server             servers[HOSTS_MOST];
	ARRAY(struct kept) kept; /* the last is the one used last */
	size_t       users;
	struct error failure; /* the last of any server */
};

/* ---- the list ---- */

#define LIST_SEPARATORS ", \t\r\n"

/* "host:port", "[v6]:port", "host" taken apart; *port stays when there is none. */
static void
port_split(struct slice *text, struct slice *port)
{
	size_t colon = slice_find_last_byte(*text, ':');
	size_t bracket = slice_find_byte(*text, ']');
	bool   is_bare_v6 = bracket == SLICE_NOT_FOUND && colon != SLICE_NOT_FOUND &&
	                  slice_find_byte(*text, ':') != colon;

	if (colon != SLICE_NOT_FOUND && !is_bare_v6 &&
	    (bracket == SLICE_NOT_FOUND || colon > bracket)) {
		*port = slice_from_offset(*text, colon + 1);
		*text = slice_first(*text, colon);
	}
	if (text->length > 2 && text->data[0] == '[' && text->data[text->length - 1] == ']')
		*text = slice_of(text->data + 1, text->length - 2);
}

/* Takes "ldap://" and the like off; what follows the host and port goes, too. */
static struct slice
scheme_split(struct slice *text)
{
	size_t       mark = slice_find(*text, SLICE("://"));
	struct slice scheme = SLICE_EMPTY;

	if (mark == SLICE_NOT_FOUND)
		return scheme;
	scheme = slice_first(*text, mark);
	*text = slice_from_offset(*text, mark + 3);
	*text = slice_first(*text, slice_find_byte(*text, '/'));
	return scheme;
}

static bool
server_add(struct host_pool *pool, const struct driver_host *host, const char *address,
           struct error *error)
{
	if (pool->server_count == HOSTS_MOST)
		return error_set(error, "more than %d hosts", HOSTS_MOST);
	pool->servers[pool->server_count].host = *host;
	pool->servers[pool->server_count++].host.address = address;
	return true;
}

static const char *
address_text(struct host_pool *pool, const struct sockaddr *address)
{
	char        text[INET6_ADDRSTRLEN];
	const void *bytes =
		address->sa_family == AF_INET
			? (const void *)&((const struct sockaddr_in *)(const void *)address)
				  ->sin_addr
			: (const void *)&((const struct sockaddr_in6 *)(const void *)address)
				  ->sin6_addr;

	if (inet_ntop(address->sa_family, bytes, text, sizeof(text)) == NULL)
		return NULL;
	return arena_text(&pool->arena, slice_from(text));
}

/*
 * Each address of the name is a server of its own. LIMIT: done once, when the table is opened,
 * before the daemon's doors close. A server that moves is found again at the next reload.
 */
static bool
servers_resolve(struct host_pool *pool, const struct driver_host *host, struct error *error)
{
	unsigned char   bytes[16];
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	bool            is_good = true;

	if (inet_pton(AF_INET, host->name, bytes) == 1 ||
	    inet_pton(AF_INET6, host->name, bytes) == 1)
		return server_add(pool, host, host->name, error);
	/* RFC 6761 6.3: this name needs nobody's help. */
	if (strcmp(host->name, "localhost") == 0)
		return server_add(pool, host, "127.0.0.1", error) &&
		       server_add(pool, host, "::1", error);
	int number = getaddrinfo(host->name, NULL, &hints, &found);
	if (number != 0) {
		error_set(error,
		          "host %s: %s (names are resolved when a daemon starts; an address or "
		          "unix:/path needs no resolving)",
		          host->name, gai_strerror(number));
		if (error != NULL)
			error->errno_value = EHOSTUNREACH;
		return false;
	}
	for (struct addrinfo *one = found; one != NULL && is_good; one = one->ai_next) {
		const char *address = address_text(pool, one->ai_addr);

		is_good = address == NULL ? error_set(error, "out of memory")
		                          : server_add(pool, host, address, error);
	}
	freeaddrinfo(found);
	return is_good;
}

static bool
host_read(struct host_pool *pool, struct slice word, struct error *error)
{
	struct driver_host host = { .port = pool->settings.port_default };
	struct slice       scheme, port = slice_from(host.port);
	int64_t            number;

	if (slice_starts_with(word, SLICE("unix:")) || word.data[0] == '/') {
		host.is_unix = true;
		if (word.data[0] != '/')
			word = slice_from_offset(word, 5);
		host.name = arena_text(&pool->arena, word);
		if (host.name == NULL)
			return error_set(error, "out of memory");
		return server_add(pool, &host, NULL, error);
	}
	if (slice_starts_with(word, SLICE("inet:")))
		word = slice_from_offset(word, 5);
	scheme = scheme_split(&word);
	if (slice_equal(scheme, SLICE("ldapi")))
		return error_set(error, "write unix:/path instead of ldapi://");
	bool is_ldaps = slice_equal(scheme, SLICE("ldaps"));
	if (!slice_is_empty(scheme) && !is_ldaps && !slice_equal(scheme, SLICE("ldap")))
		return error_set(error,
		                 "%.*s:// is not understood: write host:port here, and the rest "
		                 "as parameters of its own",
		                 SLICE_ARGS(slice_first(scheme, 40)));
	if (is_ldaps)
		port = SLICE("636");
	port_split(&word, &port);
	if (slice_is_empty(word) || !number_parse(port, 1, 65535, &number))
		return error_set(error, "want a host with or without a port, not \"%.*s\"",
		                 SLICE_ARGS(word));
	host.name = arena_text(&pool->arena, word);
	host.port = arena_text(&pool->arena, port);
	host.scheme = slice_is_empty(scheme) ? NULL : arena_text(&pool->arena, scheme);
	if (host.name == NULL || host.port == NULL)
		return error_set(error, "out of memory");
	return servers_resolve(pool, &host, error);
}

/* A name that cannot be resolved is left out while others can. */
static bool
hosts_read(struct host_pool *pool, struct error *error)
{
	struct slice rest = slice_from(pool->settings.hosts), word;
	struct error trouble = ERROR_NONE;

	while (slice_next_word(&rest, LIST_SEPARATORS, &word)) {
		if (host_read(pool, word, &trouble) || trouble.errno_value != 0)
			continue;
		if (error != NULL)
			*error = trouble;
		return false;
	}
	if (pool->server_count > 0) {
		if (trouble.text[0] != '\0')
			log_warning("%s", trouble.text);
		return true;
	}
	if (trouble.text[0] == '\0')
		return error_set(error, "no hosts");
	if (error != NULL)
		*error = trouble;
	return false;
}

unsigned
host_list_needs(const char *hosts)
{
	struct slice rest = slice_from(hosts), word;
	unsigned     needs = 0;

	while (slice_next_word(&rest, LIST_SEPARATORS, &word))
		needs |= slice_starts_with(word, SLICE("unix:")) || word.data[0] == '/'
		                 ? TABLE_NEEDS_UNIX
		                 : TABLE_NEEDS_INET;
	return needs;
}

/* ---- connections ---- */

struct host_pool *
host_pool_create(const struct host_pool_settings *settings, struct error *error)
{
	struct host_pool *pool = calloc(1, sizeof(*pool));

	if (pool == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	mutex_init(&pool->lock);
	condition_init(&pool->left);
	pool->settings = *settings;
	pool->arena = ARENA((size_t)1 << 20);
	if (settings->hosts == NULL)
		pool->server_count = 1;
	else if (!hosts_read(pool, error))
		host_pool_destroy(&pool);
	return pool;
}

void
host_pool_destroy(struct host_pool **pointer)
{
	struct host_pool *pool = *pointer;

	if (pool == NULL)
		return;
	*pointer = NULL;
	for (size_t i = 0; i < pool->kept.count; i++)
		pool->settings.close(pool->settings.context, pool->kept.items[i].connection);
	ARRAY_FREE(&pool->kept);
	condition_destroy(&pool->left);
	mutex_destroy(&pool->lock);
	arena_reset(&pool->arena);
	free(pool);
}

/* Waits for one of the places. */
static bool
pool_enter(struct host_pool *pool, struct error *error)
{
	int64_t deadline_ms = clock_monotonic_ms() + pool->settings.timeout_ms;
	bool    is_free = true;

	mutex_lock(&pool->lock);
	while (is_free && pool->users >= pool->settings.connections_most)
		is_free = condition_wait_until(&pool->left, &pool->lock, deadline_ms);
	if (is_free)
		pool->users++;
	mutex_unlock(&pool->lock);
	return is_free ||
	       error_set(error, "all %zu connections are busy", pool->settings.connections_most);
}

static void
pool_leave(struct host_pool *pool)
{
	mutex_lock(&pool->lock);
	pool->users--;
	condition_signal(&pool->left);
	mutex_unlock(&pool->lock);
}

/* A kept connection that is not too old; those that are come back in *old one by one. */
static bool
kept_take(struct host_pool *pool, struct kept *kept)
{
	mutex_lock(&pool->lock);
	bool is_there = pool->kept.count > 0;
	if (is_there)
		*kept = pool->kept.items[--pool->kept.count];
	mutex_unlock(&pool->lock);
	return is_there;
}

static void
kept_put(struct host_pool *pool, void *connection, size_t server)
{
	struct kept kept = { connection, server, clock_monotonic_ms() };

	mutex_lock(&pool->lock);
	bool is_kept = ARRAY_PUSH(&pool->kept, kept);
	mutex_unlock(&pool->lock);
	if (!is_kept)
		pool->settings.close(pool->settings.context, connection);
}

/* Whether the pause after a failure is over, and nobody else is trying. */
static bool
server_may_be_tried(struct host_pool *pool, size_t index, bool *is_probe)
{
	struct server *server = &pool->servers[index];
	int64_t        now_ms = clock_monotonic_ms();

	mutex_lock(&pool->lock);
	bool may_be = server->retry_at_ms <= now_ms;
	*is_probe = server->pause_ms > 0;
	/* One thread finds out; the others do not wait for it. */
	if (may_be && *is_probe)
		server->retry_at_ms = now_ms + 2 * pool->settings.timeout_ms;
	mutex_unlock(&pool->lock);
	return may_be;
}

static void
server_failed(struct host_pool *pool, size_t index, bool is_probe, const struct error *why)
{
	struct server *server = &pool->servers[index];

	mutex_lock(&pool->lock);
	pool->failure = *why;
	/* First failures of several threads at a time are one. */
	if (is_probe || server->pause_ms == 0) {
		int64_t pause_ms = server->pause_ms == 0 ? FIRST_PAUSE_MS : 2 * server->pause_ms;

		server->pause_ms =
			pause_ms < pool->settings.retry_ms ? pause_ms : pool->settings.retry_ms;
		server->retry_at_ms = clock_monotonic_ms() + server->pause_ms;
	}
	mutex_unlock(&pool->lock);
}

static void
server_is_good(struct host_pool *pool, size_t index)
{
	mutex_lock(&pool->lock);
	pool->servers[index].pause_ms = 0;
	pool->servers[index].retry_at_ms = 0;
	mutex_unlock(&pool->lock);
}

/* Indexes of the servers in the order of asking. */
static size_t
servers_order(const struct host_pool *pool, size_t *order)
{
	size_t count = pool->server_count, sorted = 0;

	for (size_t i = 0; i < count; i++)
		order[i] = i;
	for (size_t i = count; i > 1; i--) {
		size_t other = random_below((uint32_t)i), kept = order[i - 1];

		order[i - 1] = order[other];
		order[other] = kept;
	}
	for (size_t i = 0; i < count; i++)
		if (pool->servers[order[i]].host.is_unix) {
			size_t kept = order[sorted];

			order[sorted++] = order[i];
			order[i] = kept;
		}
	return count;
}

struct task {
	enum driver_result (*work)(void *context, void *connection, struct error *error);
	void *context;
};

/* Kept connections first: one that the server closed meanwhile is no news about the server. */
static enum driver_result
run_on_kept(struct host_pool *pool, const struct task *task, struct error *error)
{
	struct kept        kept;
	enum driver_result result = DRIVER_LOST;

	while (result == DRIVER_LOST && kept_take(pool, &kept)) {
		bool is_old = clock_monotonic_ms() - kept.since_ms > pool->settings.idle_ms;

		if (!is_old)
			result = task->work(task->context, kept.connection, error);
		if (result == DRIVER_LOST)
			pool->settings.close(pool->settings.context, kept.connection);
		else
			kept_put(pool, kept.connection, kept.server);
	}
	return result;
}

static enum driver_result
run_on_new(struct host_pool *pool, size_t index, const struct task *task, bool *has_tried,
           struct error *error)
{
	struct driver_host *host = &pool->servers[index].host;
	struct error        failure = ERROR_NONE;
	enum driver_result  result = DRIVER_LOST;
	void               *connection;
	bool                is_probe;

	if (!server_may_be_tried(pool, index, &is_probe))
		return DRIVER_LOST;
	*has_tried = true;
	connection = pool->settings.connect(pool->settings.context,
	                                    host->name == NULL ? NULL : host, &failure);
	if (connection != NULL)
		result = task->work(task->context, connection, &failure);
	if (error != NULL && failure.text[0] != '\0')
		*error = failure;
	if (result == DRIVER_LOST) {
		if (connection != NULL)
			pool->settings.close(pool->settings.context, connection);
		server_failed(pool, index, is_probe, &failure);
		return result;
	}
	server_is_good(pool, index);
	kept_put(pool, connection, index);
	return result;
}

enum driver_result
host_pool_run(struct host_pool *pool,
              enum driver_result (*work)(void *context, void *connection, struct error *error),
              void *context, struct error *error)
{
	const struct task task = { work, context };
	size_t            order[HOSTS_MOST];

	if (!pool_enter(pool, error))
		return DRIVER_LOST;
	enum driver_result result = run_on_kept(pool, &task, error);
	size_t             count = result == DRIVER_LOST ? servers_order(pool, order) : 0;
	bool               has_tried = false;
	for (size_t i = 0; i < count && result == DRIVER_LOST; i++)
		result = run_on_new(pool, order[i], &task, &has_tried, error);
	if (result == DRIVER_LOST && !has_tried) {
		mutex_lock(&pool->lock);
		if (error != NULL)
			*error = pool->failure;
		mutex_unlock(&pool->lock);
		error_prefix(error, "no server answers, the next attempt comes later; the last");
	}
	pool_leave(pool);
	return result;
}
