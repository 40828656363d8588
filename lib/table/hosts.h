/*
 * hosts.h - the servers of a table, and connections to them that are kept and shared.
 *
 * Servers on Unix sockets are tried first, then the others in random order. One that failed is left
 * alone for a while, which doubles from a second up to retry_interval. Names are resolved when the
 * table is opened, since a sandboxed daemon cannot: an address that changes needs a reload.
 */
#ifndef DAKIYA_TABLE_HOSTS_H
#define DAKIYA_TABLE_HOSTS_H

#include "lib/table/driver.h"
#include "lib/table/table.h"

struct host_pool;

struct host_pool_settings {
	const char *hosts; /* "unix:/path, inet:host:port, host"; NULL: one without a name */
	const char *port_default;
	int64_t     timeout_ms;       /* how long to wait for a free connection */
	int64_t     idle_ms;          /* a connection unused for so long is not used again */
	int64_t     retry_ms;         /* longest pause after a failure */
	size_t      connections_most; /* open at a time */
	void *(*connect)(void *context, const struct driver_host *host, struct error *error);
	void (*close)(void *context, void *connection);
	void *context;
};

/* NULL and *error when the list is malformed or a name is unknown. */
struct host_pool *host_pool_create(const struct host_pool_settings *settings, struct error *error);
void              host_pool_destroy(struct host_pool **pool);

/*
 * Calls work with a connection: a kept one if there is, otherwise new ones until one does not
 * answer DRIVER_LOST. work may be called several times, and starts anew each time. DRIVER_LOST: no
 * host could be asked, *error says why of the last.
 */
enum driver_result host_pool_run(struct host_pool *pool,
                                 enum driver_result (*work)(void *context, void *connection,
                                                            struct error *error),
                                 void *context, struct error *error);

/* TABLE_NEEDS_* of such a list. */
unsigned host_list_needs(const char *hosts);

#endif
