/*
 * mysql.c - the module for MariaDB and MySQL: mysql_table(5), by libmariadb.
 *
 * No option file is read unless the cf file names one. "localhost" is the server's socket, as
 * everywhere with these servers.
 */
#include <mysql.h>
#include <mysqld_error.h>
#include <errmsg.h>
#include <stdlib.h>

#include "lib/base/number.h"
#include "lib/table/driver.h"

/* Of mysql/client_plugin.h, which cannot be included as it is packaged. */
#define AUTHENTICATION_PLUGIN 2

#define LOCAL_SOCKET "/run/mysqld/mysqld.sock"

struct session {
	MYSQL *connection;
	bool   needs_rows; /* require_result_set */
};

static const char *const parameters[] = {
	"hosts",
	"user",
	"password",
	"dbname",
	"select_field",
	"table",
	"where_field",
	"additional_conditions",
	"option_file",
	"option_group",
	"charset",
	"require_result_set",
	"tls_cert_file",
	"tls_key_file",
	"tls_CAfile",
	"tls_CApath",
	"tls_ciphers",
	"tls_verify_cert",
	NULL,
};

static bool
is_yes(const struct driver_config *config, const char *name, const char *otherwise)
{
	return strcmp(config->get(config->cf, name, otherwise), "yes") == 0;
}

/* The library loads how passwords are checked when a server asks for it: then it is too late. */
static bool
start(const struct driver_config *config, struct error *error)
{
	static const char *const plugins[] = { "caching_sha2_password", "client_ed25519",
		                               "sha256_password" };

	if (config->get(config->cf, "dbname", "")[0] == '\0')
		return error_set(error, "dbname is not set");
	if (mysql_library_init(0, NULL, NULL) != 0)
		return error_set(error, "MySQL: the library does not start");
	MYSQL *connection = mysql_init(NULL);
	if (connection == NULL)
		return error_set(error, "out of memory");
	/* Those that are not installed are none that can be used. */
	for (size_t i = 0; i < sizeof(plugins) / sizeof(plugins[0]); i++)
		mysql_client_find_plugin(connection, plugins[i], AUTHENTICATION_PLUGIN);
	mysql_close(connection);
	return true;
}

static void
options_set(MYSQL *connection, const struct driver_config *config)
{
	const char   *file = config->get(config->cf, "option_file", NULL);
	const char   *ca = config->get(config->cf, "tls_CAfile", NULL);
	const char   *ca_path = config->get(config->cf, "tls_CApath", NULL);
	const char   *certificate = config->get(config->cf, "tls_cert_file", NULL);
	const char   *key = config->get(config->cf, "tls_key_file", NULL);
	const char   *ciphers = config->get(config->cf, "tls_ciphers", NULL);
	unsigned      seconds = (unsigned)(config->timeout_ms / 1000);
	const my_bool verify = is_yes(config, "tls_verify_cert", "no");

	if (file != NULL) {
		mysql_options(connection, MYSQL_READ_DEFAULT_FILE, file);
		mysql_options(connection, MYSQL_READ_DEFAULT_GROUP,
		              config->get(config->cf, "option_group", "client"));
	}
	mysql_options(connection, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
	mysql_options(connection, MYSQL_OPT_READ_TIMEOUT, &seconds);
	mysql_options(connection, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
	mysql_options(connection, MYSQL_SET_CHARSET_NAME,
	              config->get(config->cf, "charset", "utf8mb4"));
	if (ca != NULL || ca_path != NULL || certificate != NULL || key != NULL) {
		mysql_ssl_set(connection, key, certificate, ca, ca_path, ciphers);
		mysql_options(connection, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
	}
}

static void *
open_connection(const struct driver_config *config, const struct driver_host *host,
                struct error *error)
{
	struct session *session = calloc(1, sizeof(*session));
	bool            is_local = !host->is_unix && strcmp(host->name, "localhost") == 0;
	const char     *socket = host->is_unix ? host->name : is_local ? LOCAL_SOCKET : NULL;
	int64_t         port = 0;

	if (session == NULL || (session->connection = mysql_init(NULL)) == NULL) {
		error_set(error, "out of memory");
		free(session);
		return NULL;
	}
	if (socket == NULL)
		number_parse(slice_from(host->port), 1, 65535, &port);
	session->needs_rows = is_yes(config, "require_result_set", "yes");
	options_set(session->connection, config);
	/* Several statements in one query: never, so that no quoting error could add one. */
	if (mysql_real_connect(session->connection, socket != NULL ? "localhost" : host->address,
	                       config->get(config->cf, "user", NULL),
	                       config->get(config->cf, "password", NULL),
	                       config->get(config->cf, "dbname", NULL), (unsigned)port, socket,
	                       CLIENT_MULTI_RESULTS) != NULL)
		return session;
	error_set(error, "%s: MySQL: connect: %s", socket != NULL ? socket : host->name,
	          mysql_error(session->connection));
	mysql_close(session->connection);
	free(session);
	return NULL;
}

static void
close_connection(void *connection)
{
	struct session *session = connection;

	mysql_close(session->connection);
	free(session);
}

static bool
quote(void *connection, struct slice text, struct buf *out)
{
	struct session *session = connection;

	if (text.length > out->limit / 2 || !buf_reserve(out, 2 * text.length + 1))
		return false;
	unsigned long length = mysql_real_escape_string(
		session->connection, out->data + out->length, text.data, text.length);
	if (length == (unsigned long)-1)
		return false;
	out->length += length;
	return true;
}

static enum driver_result
failure(struct session *session, struct error *error)
{
	unsigned number = mysql_errno(session->connection);

	error_set(error, "MySQL: query: %s", mysql_error(session->connection));
	/* The client's own errors are of the connection; the server's are its answer. */
	return (number >= CR_MIN_ERROR && number <= CR_MAX_ERROR) || number == ER_SERVER_SHUTDOWN ||
	                       number == ER_CONNECTION_KILLED
	               ? DRIVER_LOST
	               : DRIVER_REFUSED;
}

static bool
give_rows(MYSQL_RES *rows, const struct driver_query *query)
{
	unsigned  columns = mysql_num_fields(rows);
	MYSQL_ROW row;

	while ((row = mysql_fetch_row(rows)) != NULL) {
		const unsigned long *lengths = mysql_fetch_lengths(rows);

		for (unsigned i = 0; i < columns; i++)
			if (row[i] != NULL &&
			    !query->give(query->context, slice_of(row[i], lengths[i])))
				return false;
	}
	return true;
}

/* A stored procedure gives its rows and then its status: all results must be fetched. */
static enum driver_result
run_query(void *connection, const struct driver_query *query, struct error *error)
{
	struct session    *session = connection;
	enum driver_result outcome = DRIVER_DONE;
	bool               has_rows = false;
	int                more;

	if (mysql_real_query(session->connection, query->text.data, query->text.length) != 0)
		return failure(session, error);
	do {
		MYSQL_RES *rows = mysql_store_result(session->connection);

		if (rows == NULL && mysql_field_count(session->connection) != 0)
			return failure(session, error);
		if (rows != NULL && outcome == DRIVER_DONE && !give_rows(rows, query))
			outcome = DRIVER_STOPPED;
		has_rows = has_rows || rows != NULL;
		mysql_free_result(rows);
		more = mysql_next_result(session->connection);
	} while (more == 0);
	if (more > 0)
		return failure(session, error);
	if (!has_rows && session->needs_rows) {
		error_set(error, "MySQL: the query gave no result set (require_result_set)");
		return DRIVER_REFUSED;
	}
	return outcome;
}

__attribute__((visibility("default"))) extern const struct table_driver table_driver;
const struct table_driver                                               table_driver = {
						      .abi = TABLE_DRIVER_ABI,
						      .type = "mysql",
						      .parameters = parameters,
						      .hosts_parameter = "hosts",
						      .hosts_default = "localhost",
						      .port_default = "3306",
						      .query_parameter = "query",
						      .start = start,
						      .connect = open_connection,
						      .close = close_connection,
						      .quote = quote,
						      .query = run_query,
};
