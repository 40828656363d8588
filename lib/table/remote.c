/*
 * remote.c - the table types that are modules: sqlite, pgsql, mysql, ldap, redis.
 *
 * What they share stands here: the cf file, templates, the connections. The module only speaks to
 * its server (driver.h). It is loaded when such a table is opened, and stays.
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/conf/places.h"
#include "lib/table/hosts.h"
#include "lib/table/query.h"
#include "lib/table/type.h"

#define QUERY_MOST ((size_t)64 * 1024)

struct remote {
	const struct table_driver *driver;
	struct cf                 *cf;
	struct arena               arena;
	struct driver_config       config;
	const char                *query;
	const char                *base; /* NULL: none */
	struct query_rules         rules;
	struct host_pool          *pool;
};

static const char *const common_parameters[] = {
	"query",          "result_format", "result_filter", "domain",           "expansion_limit",
	"retry_interval", "idle_interval", "timeout",       "connection_limit", NULL,
};

/* What a type's rows say before its module is loaded. */
struct remote_type {
	const char *type;
	const char *hosts_parameter; /* NULL: no servers, a file */
	const char *hosts_default;
	const char *packages;
};
static const struct remote_type remote_types[] = {
	{ "ldap", "server_host", "localhost", "dakiya-ldap (with libldap-2.5-0)" },
	{ "mysql", "hosts", "localhost", "dakiya-mysql (with libmariadb3)" },
	{ "pgsql", "hosts", "localhost", "dakiya-pgsql (with libpq5)" },
	{ "redis", "hosts", "127.0.0.1", "dakiya-redis (with libhiredis0.14)" },
	{ "sqlite", NULL, NULL, "dakiya-sqlite (with libsqlite3-0)" },
};

static const struct remote_type *
remote_type_of(const char *type)
{
	for (size_t i = 0; i < sizeof(remote_types) / sizeof(remote_types[0]); i++)
		if (strcmp(remote_types[i].type, type) == 0)
			return &remote_types[i];
	return NULL;
}

/* ---- modules ---- */

static const char *
value_get(const void *cf, const char *name, const char *otherwise)
{
	return cf_get(cf, name, otherwise);
}

/*
 * Beside the program that runs (in build/ and wherever it was installed), then where packages put
 * it: as trustworthy as the program itself. Nothing in the environment or main.cf has a say.
 */
static void *
module_open(const char *type, struct error *error)
{
	static const char *const places[] = { "%.*s/../lib/dakiya/table_%s.so",
		                              "%.*s/../../lib/dakiya/table_%s.so",
		                              "%.*s/table_%s.so" };
	char                     self[PATH_MAX];
	ssize_t                  length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct slice             program = slice_of(self, length < 0 ? 0 : (size_t)length);
	struct slice directory = slice_first(program, slice_find_last_byte(program, '/'));
	struct buf   path = BUF(2 * PATH_MAX);
	void        *module = NULL;
	bool         is_there = false;

	for (size_t i = 0; i <= sizeof(places) / sizeof(places[0]) && !is_there; i++) {
		buf_clear(&path);
		if (i == sizeof(places) / sizeof(places[0]))
			buf_append_format(&path, "%s/table_%s.so", PLACE_DAEMONS, type);
		else if (!slice_is_empty(directory))
			buf_append_format(&path, places[i], SLICE_ARGS(directory), type);
		is_there = path.length > 0 && access(buf_text(&path), F_OK) == 0;
	}
	if (!is_there)
		error_set(error, "table_%s.so is not installed", type);
	else if ((module = dlopen(buf_text(&path), RTLD_NOW | RTLD_LOCAL)) == NULL)
		error_set(error, "%s", dlerror());
	buf_free(&path);
	return module;
}

/*
 * The module is never closed: client libraries do not survive that. Each open of a table counts it
 * once more, which costs nothing.
 */
static const struct table_driver *
driver_load(const char *type, struct error *error)
{
	void                      *module = module_open(type, error);
	const struct table_driver *driver = NULL;

	if (module != NULL)
		driver = dlsym(module, TABLE_DRIVER_SYMBOL);
	if (driver != NULL && driver->abi == TABLE_DRIVER_ABI)
		return driver;
	if (module != NULL)
		error_set(error, "table_%s.so is of another version of this program", type);
	error_prefix(error, "tables of type %s need the package %s", type,
	             remote_type_of(type)->packages);
	return NULL;
}

/* ---- opening ---- */

static void *
driver_connect(void *context, const struct driver_host *host, struct error *error)
{
	const struct remote *remote = context;

	return remote->driver->connect(&remote->config, host, error);
}

static void
driver_close(void *context, void *connection)
{
	const struct remote *remote = context;

	remote->driver->close(connection);
}

static void
remote_unload(void *content)
{
	struct remote *remote = content;

	if (remote == NULL)
		return;
	host_pool_destroy(&remote->pool);
	query_rules_free(&remote->rules);
	cf_free(remote->cf);
	arena_reset(&remote->arena);
	free(remote);
}

/* Before there was `query`: SELECT select_field FROM table WHERE where_field = '%s' conditions. */
static bool
remote_legacy_query(struct remote *remote, struct error *error)
{
	static const char *const names[] = { "select_field", "table", "where_field" };
	const char              *values[3];

	if (cf_get(remote->cf, "select_function", NULL) != NULL) {
		remote->query = arena_format(&remote->arena, "SELECT %s('%%s')",
		                             cf_get(remote->cf, "select_function", NULL));
		return remote->query != NULL || error_set(error, "out of memory");
	}
	for (size_t i = 0; i < 3; i++) {
		values[i] = cf_get(remote->cf, names[i], "");
		if (values[i][0] == '\0')
			return error_set(error, "%s: \"query\" is not set", cf_name(remote->cf));
	}
	remote->query =
		arena_format(&remote->arena, "SELECT %s FROM %s WHERE %s = '%%s' %s", values[0],
	                     values[1], values[2], cf_get(remote->cf, "additional_conditions", ""));
	return remote->query != NULL || error_set(error, "out of memory");
}

static bool
remote_read_templates(struct remote *remote, struct error *error)
{
	const struct table_driver *driver = remote->driver;

	remote->query = cf_get(remote->cf, driver->query_parameter, driver->query_default);
	if ((remote->query == NULL || remote->query[0] == '\0') &&
	    !remote_legacy_query(remote, error))
		return false;
	if (driver->base_parameter != NULL)
		remote->base = cf_get(remote->cf, driver->base_parameter, NULL);
	return query_check(driver->query_parameter, remote->query, error) &&
	       (remote->base == NULL || query_check(driver->base_parameter, remote->base, error)) &&
	       query_rules_read(remote->cf, &remote->rules, error);
}

static bool
remote_open_pool(struct remote *remote, struct error *error)
{
	const struct table_driver *driver = remote->driver;
	int64_t                    idle = 60, retry = 60, timeout = 10, most = 4;
	struct host_pool_settings  settings = { .context = remote,
		                                .connect = driver_connect,
		                                .close = driver_close,
		                                .port_default = driver->port_default };

	if (!cf_get_number(remote->cf, "idle_interval", 1, 86400, &idle, error) ||
	    !cf_get_number(remote->cf, "retry_interval", 1, 86400, &retry, error) ||
	    !cf_get_number(remote->cf, "timeout", 1, 600, &timeout, error) ||
	    !cf_get_number(remote->cf, "connection_limit", 1, 1000, &most, error))
		return false;
	if (driver->hosts_parameter != NULL)
		settings.hosts = cf_get(remote->cf, driver->hosts_parameter, driver->hosts_default);
	if (driver->port_parameter != NULL)
		settings.port_default =
			cf_get(remote->cf, driver->port_parameter, driver->port_default);
	settings.idle_ms = idle * 1000;
	settings.retry_ms = retry * 1000;
	settings.timeout_ms = timeout * 1000;
	settings.connections_most = (size_t)most;
	remote->config.timeout_ms = timeout * 1000;
	if (driver->start != NULL && !driver->start(&remote->config, error))
		return false;
	remote->pool = host_pool_create(&settings, error);
	return remote->pool != NULL ||
	       error_prefix(error, "%s",
	                    driver->hosts_parameter == NULL ? driver->type
	                                                    : driver->hosts_parameter);
}

static void *
remote_load(const char *type, const char *path, struct error *error)
{
	struct remote *remote = calloc(1, sizeof(*remote));

	if (remote == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	remote->arena = ARENA(4 * QUERY_MOST);
	remote->cf = cf_read(path, error);
	if (remote->cf != NULL)
		remote->driver = driver_load(type, error);
	if (remote->driver == NULL) {
		remote_unload(remote);
		return NULL;
	}
	const char *const *const lists[] = { common_parameters, remote->driver->parameters };
	cf_warn_unknown(remote->cf, lists, 2);
	remote->config = (struct driver_config){ .cf = remote->cf, .get = value_get };
	if (remote_read_templates(remote, error) && remote_open_pool(remote, error))
		return remote;
	if (error != NULL && strstr(error->text, path) == NULL)
		error_prefix(error, "%s", path);
	remote_unload(remote);
	return NULL;
}

/* ---- looking up ---- */

struct search {
	const struct remote      *remote;
	const struct query_parts *key;
	struct query_result       result;
	struct buf                query, base;
};

static bool
result_give(void *context, struct slice value)
{
	return query_result_add(context, value);
}

static bool
search_expand(struct search *search, void *connection)
{
	const struct remote *remote = search->remote;

	buf_clear(&search->query);
	buf_clear(&search->base);
	return query_expand(remote->query, search->key, remote->driver->quote, connection,
	                    &search->query) &&
	       (remote->base == NULL ||
	        query_expand(remote->base, search->key, remote->driver->quote_base, connection,
	                     &search->base));
}

/* Once for each connection that is tried: starts anew. */
static enum driver_result
search_work(void *context, void *connection, struct error *error)
{
	struct search      *search = context;
	struct driver_query query = { .give = result_give, .context = &search->result };

	buf_clear(search->result.value);
	search->result.count = 0;
	if (!search_expand(search, connection)) {
		error_set(error, "the key cannot be put into the query");
		return DRIVER_REFUSED;
	}
	query.text = slice_of(buf_text(&search->query), search->query.length);
	query.base = slice_of(buf_text(&search->base), search->base.length);
	return search->remote->driver->query(connection, &query, error);
}

static enum lookup
search_run(struct search *search, struct error *error)
{
	enum driver_result result = host_pool_run(search->remote->pool, search_work, search, error);

	switch (result) {
	case DRIVER_DONE: return search->result.count > 0 ? LOOKUP_FOUND : LOOKUP_NOT_FOUND;
	case DRIVER_STOPPED:
		if (error != NULL)
			*error = search->result.error;
		return LOOKUP_TRY_LATER;
	case DRIVER_REFUSED:
	case DRIVER_LOST: break;
	}
	return LOOKUP_TRY_LATER;
}

static enum lookup
remote_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	const struct remote *remote = content;
	struct query_parts   parts;
	struct search        search = {
		       .remote = remote, .key = &parts, .query = BUF(QUERY_MOST), .base = BUF(QUERY_MOST)
	};

	/* A NUL is in no key, and would end the query early. */
	if (slice_is_empty(key) || slice_contains_byte(key, '\0'))
		return LOOKUP_NOT_FOUND;
	query_parts_of(key, &parts);
	if (!query_suits(remote->query, &parts) ||
	    (remote->base != NULL && !query_suits(remote->base, &parts)))
		return LOOKUP_NOT_FOUND;
	enum lookup answer = query_rules_allow(&remote->rules, &parts, error);
	if (answer != LOOKUP_FOUND)
		return answer;
	search.result =
		(struct query_result){ .rules = &remote->rules, .key = &parts, .value = value };
	answer = search_run(&search, error);
	if (answer != LOOKUP_FOUND)
		buf_clear(value);
	buf_free(&search.query);
	buf_free(&search.base);
	return answer;
}

/* ---- the rows ---- */

static unsigned
remote_needs(const char *type, struct slice name)
{
	const struct remote_type *row = remote_type_of(type);
	char                      path[4096];
	struct error              error = ERROR_NONE;

	if (row->hosts_parameter == NULL || name.length >= sizeof(path))
		return 0;
	memcpy(path, name.data, name.length);
	path[name.length] = '\0';
	struct cf *cf = cf_read(path, &error);
	unsigned   needs =
                cf == NULL ? TABLE_NEEDS_UNIX | TABLE_NEEDS_INET
			     : host_list_needs(cf_get(cf, row->hosts_parameter, row->hosts_default));
	cf_free(cf);
	return needs;
}

#define REMOTE(type_)                                                                              \
	static void *type_##_load(const char *name, const char *path, struct error *error)         \
	{                                                                                          \
		(void)name;                                                                        \
		return remote_load(#type_, path, error);                                           \
	}                                                                                          \
	static bool type_##_prepare(struct error *error)                                           \
	{                                                                                          \
		return driver_load(#type_, error) != NULL;                                         \
	}                                                                                          \
	static unsigned type_##_needs(struct slice name)                                           \
	{                                                                                          \
		return remote_needs(#type_, name);                                                 \
	}                                                                                          \
	const struct table_type table_type_##type_ = {                                             \
		.name = #type_,                                                                    \
		.suffix = "",                                                                      \
		.folds_keys = true,                                                                \
		.has_settings = true,                                                              \
		.prepare = type_##_prepare,                                                        \
		.needs = type_##_needs,                                                            \
		.load = type_##_load,                                                              \
		.lookup = remote_lookup,                                                           \
		.unload = remote_unload,                                                           \
	}

REMOTE(ldap);
REMOTE(mysql);
REMOTE(pgsql);
REMOTE(redis);
REMOTE(sqlite);
