/*
 * driver.h - between lib/table and a module: a shared object that speaks to one kind of server.
 *
 * A module is loaded when a table of its type is opened, since its library is large and seldom
 * wanted. It has one symbol, table_driver, and calls nothing of the program that loads it. A
 * connection is used by one thread at a time; different ones by several at once.
 */
#ifndef DAKIYA_TABLE_DRIVER_H
#define DAKIYA_TABLE_DRIVER_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"

#define TABLE_DRIVER_ABI 1

/* One server to try. */
struct driver_host {
	bool        is_unix;
	const char *name;    /* as written, for certificates and words; the path of a socket */
	const char *address; /* of an inet host, numeric; NULL for Unix */
	const char *port;    /* decimal */
	const char *scheme;  /* "ldaps" of ldaps://host; NULL for none */
};

/* What the cf file says. */
struct driver_config {
	const void *cf;
	/* The value; otherwise when it is not set. */
	const char *(*get)(const void *cf, const char *name, const char *otherwise);
	int64_t timeout_ms; /* for connecting, and for a query */
};

enum driver_result {
	DRIVER_DONE,    /* all values were given; there may have been none */
	DRIVER_REFUSED, /* the server said no: *error; the connection is good */
	DRIVER_STOPPED, /* give was false */
	DRIVER_LOST,    /* the connection is bad or silent: *error */
};

struct driver_query {
	struct slice text; /* the query with the key in it; NUL-terminated */
	struct slice base; /* likewise of the second template; empty when there is none */
	/* Called for each value in order; false: no more of them. */
	bool (*give)(void *context, struct slice value);
	void *context;
};

struct table_driver {
	unsigned           abi; /* TABLE_DRIVER_ABI */
	const char        *type;
	const char *const *parameters; /* of its own, NULL-terminated */
	const char        *hosts_parameter;
	const char        *hosts_default; /* NULL: there are no hosts (a file) */
	const char        *port_default;
	const char        *port_parameter; /* NULL: the port stands in the list of hosts */
	/* Names of the templates: what is asked, and where ("search_base"); NULL for none. */
	const char *query_parameter, *query_default;
	const char *base_parameter;
	/*
	 * Once when a table is opened, before a sandbox closes: checks the settings, loads what the
	 * library loads late. May be NULL.
	 */
	bool (*start)(const struct driver_config *config, struct error *error);
	/* host is NULL when there are none. NULL and *error on failure. */
	void *(*connect)(const struct driver_config *config, const struct driver_host *host,
	                 struct error *error);
	void (*close)(void *connection);
	/* Appends text so that it stands for itself inside the query, or the base. */
	bool (*quote)(void *connection, struct slice text, struct buf *out);
	bool (*quote_base)(void *connection, struct slice text, struct buf *out);
	enum driver_result (*query)(void *connection, const struct driver_query *query,
	                            struct error *error);
};

#define TABLE_DRIVER_SYMBOL "table_driver"

#endif
