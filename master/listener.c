/* listener.c - binds the sockets of all services and keeps them over restarts and reloads. */
#include "master/master.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"

#define BACKLOG         1024
#define UNCLEAN_WAIT_MS 20000

/* What is being bound. */
struct binding {
	struct master      *master;
	struct generation  *generation;
	struct service_run *run;
	struct report      *report;
	bool is_generic; /* every address, or loopback: what is missing is left out */
};

static struct master_listener *
listener_find(struct master *master, const char *key)
{
	LIST_EACH (node, &master->listeners) {
		struct master_listener *listener = CONTAINER_OF(node, struct master_listener, node);
		if (strcmp(listener->key, key) == 0)
			return listener;
	}
	return NULL;
}

void
listener_close(struct master *master, struct master_listener *listener)
{
	list_remove(&listener->node);
	if (listener->fd >= 0)
		close(listener->fd);
	else if (!shelf_remove(&master->shelf, listener->ticket))
		log_warning("%s stays bound: no descriptor is free", listener->key);
	free(listener->key);
	free(listener);
}

void
listeners_close_before(struct master *master, unsigned generation)
{
	LIST_EACH (node, &master->listeners) {
		struct master_listener *listener = CONTAINER_OF(node, struct master_listener, node);
		if (listener->generation < generation)
			listener_close(master, listener);
	}
}

int
listener_borrow(const struct master *master, const struct master_listener *listener)
{
	return listener->fd >= 0 ? listener->fd : shelf_get(&master->shelf, listener->ticket);
}

void
listener_return(const struct master_listener *listener, int fd)
{
	if (fd >= 0 && fd != listener->fd)
		close(fd);
}

/* Takes fd over. */
static bool
listener_add(struct binding *binding, const char *key, int fd)
{
	struct master_listener *listener = calloc(1, sizeof(*listener));

	if (listener == NULL || (listener->key = strdup(key)) == NULL) {
		free(listener);
		close(fd);
		return false;
	}
	listener->ticket = shelf_put(&binding->master->shelf, fd);
	if (listener->ticket != 0)
		close(fd);
	listener->fd = listener->ticket != 0 ? -1 : fd;
	listener->watch.fd = -1;
	list_append(&binding->master->listeners, &listener->node);
	listener->generation = binding->generation->number;
	return ARRAY_PUSH(&binding->run->listeners, listener);
}

static void
complain(struct binding *binding, const struct error *error)
{
	report_add(binding->report, PROBLEM_ERROR, binding->run->service->file,
	           binding->run->service->line, "service %s: %s", binding->run->service->name,
	           error->text);
}

/* Uses the one that is bound already, or binds with `make`. */
static bool
reuse(struct binding *binding, const char *key, const char *address)
{
	struct master_listener *listener = listener_find(binding->master, key);

	if (!ARRAY_PUSH(&binding->run->addresses, address) || listener == NULL)
		return false;
	listener->generation = binding->generation->number;
	return ARRAY_PUSH(&binding->run->listeners, listener);
}

/* ---- the network ---- */

static int
bind_once(const struct sockaddr *address, socklen_t length, const char *text, struct error *error)
{
	int one = 1;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0) {
		error_set_errno(error, "socket for %s", text);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, address, length) < 0 || listen(fd, BACKLOG) < 0) {
		error_set_errno(error, "bind to %s", text);
		close(fd);
		return -1;
	}
	return fd;
}

/*
 * The daemons of a master that was killed finish their sessions and hold the port meanwhile: wait
 * for them. Nobody else is waited for.
 */
static int
bind_inet(const struct binding *binding, const struct sockaddr *address, socklen_t length,
          const char *text, struct error *error)
{
	int64_t         until = binding->master->started_ms + UNCLEAN_WAIT_MS;
	struct timespec pause = { .tv_nsec = 50 * 1000000L };

	for (;;) {
		int fd = bind_once(address, length, text, error);

		if (fd >= 0 || error->errno_value != EADDRINUSE || !binding->master->was_unclean ||
		    clock_monotonic_ms() >= until)
			return fd;
		nanosleep(&pause, NULL);
	}
}

/* False only for protocols that this host has not (no IPv6): such an address is left out. */
static bool
is_supported(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || errno != EAFNOSUPPORT;
}

static void
bind_address(struct binding *binding, const struct sockaddr *address, socklen_t length)
{
	struct error error = ERROR_NONE;
	char         host[INET6_ADDRSTRLEN + 20], key[INET6_ADDRSTRLEN + 40];
	const char  *text;
	int          fd;

	if (getnameinfo(address, length, host, sizeof(host), NULL, 0, NI_NUMERICHOST) != 0 ||
	    !is_supported(address->sa_family))
		return;
	snprintf(key, sizeof(key), address->sa_family == AF_INET6 ? "inet:[%s]:%u" : "inet:%s:%u",
	         host, (unsigned)binding->run->service->port);
	text = arena_text(&binding->generation->configuration.arena,
	                  slice_from(binding->run->service->name));
	if (text == NULL || reuse(binding, key, text))
		return;
	fd = bind_inet(binding, address, length, key + 5, &error);
	if (fd < 0 && binding->is_generic && error.errno_value == EADDRNOTAVAIL)
		return; /* IPv6 is switched off */
	if (fd < 0 || !listener_add(binding, key, fd))
		complain(binding, &error);
}

static bool
has_word(const char *list, const char *wanted)
{
	struct slice rest = slice_from(list), word;

	while (slice_next_word(&rest, ", \t\r\n", &word)) {
		if (slice_equal_fold(word, slice_from(wanted)))
			return true;
	}
	return false;
}

/* AF_UNSPEC for both. */
static int
wanted_family(const struct parameters *parameters)
{
	bool v4 = has_word(parameters->inet_protocols, "ipv4");
	bool v6 = has_word(parameters->inet_protocols, "ipv6");

	if (has_word(parameters->inet_protocols, "all") || v4 == v6)
		return AF_UNSPEC;
	return v4 ? AF_INET : AF_INET6;
}

/* All addresses of a name or a number, or the wildcard addresses for "". */
static void
bind_host(struct binding *binding, struct slice host, int family)
{
	struct addrinfo  hints = { .ai_family = family,
		                   .ai_socktype = SOCK_STREAM,
		                   .ai_flags = AI_PASSIVE };
	struct addrinfo *list = NULL;
	struct error     error = ERROR_NONE;
	char             name[256], port[8];

	if (host.length >= 2 && host.data[0] == '[' && host.data[host.length - 1] == ']')
		host = slice_of(host.data + 1, host.length - 2);
	snprintf(name, sizeof(name), "%.*s", SLICE_ARGS(host));
	snprintf(port, sizeof(port), "%u", (unsigned)binding->run->service->port);
	int result = getaddrinfo(name[0] == '\0' ? NULL : name, port, &hints, &list);
	if (result != 0) {
		error_set(&error, "look up \"%s\": %s", name, gai_strerror(result));
		complain(binding, &error);
		return;
	}
	for (const struct addrinfo *entry = list; entry != NULL; entry = entry->ai_next)
		bind_address(binding, entry->ai_addr, entry->ai_addrlen);
	freeaddrinfo(list);
}

static void
bind_inet_service(struct binding *binding)
{
	const struct parameters *parameters = &binding->generation->configuration.parameters;
	const char              *host = binding->run->service->host;
	struct slice             rest = slice_from(parameters->inet_interfaces), word;
	int                      family = wanted_family(parameters);
	size_t                   before = binding->report->error_count;
	struct error             error = ERROR_NONE;

	binding->is_generic = false;
	if (host[0] != '\0') {
		bind_host(binding, slice_from(host), family);
	} else {
		while (slice_next_word(&rest, ", \t\r\n", &word)) {
			binding->is_generic = true;
			if (slice_equal_fold(word, SLICE("all")))
				word = SLICE_EMPTY;
			else if (slice_equal_fold(word, SLICE("loopback-only")))
				word = SLICE("localhost");
			else
				binding->is_generic = false;
			bind_host(binding, word, family);
		}
	}
	if (binding->run->listeners.count == 0 && binding->report->error_count == before) {
		error_set(&error, "inet_interfaces and inet_protocols leave no address for it");
		complain(binding, &error);
	}
}

/* ---- Unix sockets ---- */

int
listener_bind_unix(const char *path, mode_t mode, uid_t uid, gid_t gid, struct error *error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int                fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		error_set(error, "socket %s: the path is too long", path);
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		error_set_errno(error, "socket for %s", path);
		return -1;
	}
	/* We hold the queue's lock, so whatever is there is left from a crash. */
	if (unlink(path) < 0 && errno != ENOENT) {
		error_set_errno(error, "remove stale socket %s", path);
	} else if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		error_set_errno(error, "bind to %s", path);
	} else if (chmod(path, mode) < 0 || (geteuid() == 0 && lchown(path, uid, gid) < 0) ||
	           listen(fd, BACKLOG) < 0) {
		error_set_errno(error, "set up socket %s", path);
	} else {
		return fd;
	}
	close(fd);
	return -1;
}

static void
bind_unix_service(struct binding *binding)
{
	const struct program *program = binding->run->service->program;
	struct error          error = ERROR_NONE;

	for (size_t i = 0; i < PROGRAM_SOCKETS_MOST && program->sockets[i] != NULL; i++) {
		struct slice pattern = slice_from(program->sockets[i]);
		size_t       percent = slice_find(pattern, SLICE("%s"));
		const char  *path = program->sockets[i];
		bool         is_public = slice_starts_with(pattern, SLICE("public/"));

		if (percent != SLICE_NOT_FOUND)
			path = arena_format(&binding->generation->configuration.arena, "%.*s%s",
			                    (int)percent, program->sockets[i],
			                    binding->run->service->name);
		if (path == NULL || reuse(binding, path, path))
			continue;
		int fd = listener_bind_unix(path, is_public ? 0666 : 0660,
		                            binding->master->mail_owner.uid,
		                            binding->master->mail_owner.gid, &error);
		if (fd < 0 || !listener_add(binding, path, fd))
			complain(binding, &error);
	}
}

bool
listeners_bind(struct master *master, struct generation *generation, struct report *report)
{
	struct binding binding = { .master = master, .generation = generation, .report = report };
	size_t         before = report->error_count;

	for (size_t i = 0; i < generation->runs.count; i++) {
		binding.run = generation->runs.items[i];
		if (binding.run->service->type == SERVICE_INET)
			bind_inet_service(&binding);
		else
			bind_unix_service(&binding);
	}
	return report->error_count == before;
}
