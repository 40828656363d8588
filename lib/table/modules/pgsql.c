/*
 * pgsql.c - the module for PostgreSQL: pgsql_table(5), by libpq.
 *
 * Everything waits with a deadline of its own, since libpq's calls that wait have none. Nothing
 * outside the cf file has a say: no service file, no password file, no Kerberos.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/table/driver.h"

struct session {
	PGconn *connection;
	int64_t timeout_ms;
};

static const char *const parameters[] = {
	"hosts",           "user",         "password",
	"dbname",          "encoding",     "select_field",
	"table",           "where_field",  "additional_conditions",
	"select_function", "tls_mode",     "tls_CAfile",
	"tls_cert_file",   "tls_key_file", NULL,
};

/* libpq's words end in a line end, and may be several lines. */
static bool
say(struct error *error, const char *what, const char *words)
{
	struct slice text = slice_trim(slice_from(words));
	char         line[400];
	size_t       used = 0;

	for (size_t i = 0; i < text.length && used < sizeof(line) - 1; i++)
		line[used++] = ascii_is_control(text.data[i]) ? ' ' : text.data[i];
	line[used] = '\0';
	return error_set(error, "PostgreSQL: %s: %s", what, line);
}

static bool
wait_for(PGconn *connection, short events, int64_t deadline_ms)
{
	struct pollfd wait = { .fd = PQsocket(connection), .events = events };
	int64_t       left_ms = deadline_ms - clock_monotonic_ms();

	return left_ms > 0 && poll(&wait, 1, (int)left_ms) > 0;
}

static bool
start(const struct driver_config *config, struct error *error)
{
	if (config->get(config->cf, "dbname", "")[0] == '\0')
		return error_set(error, "dbname is not set");
	return true;
}

static bool
wait_connected(PGconn *connection, int64_t deadline_ms, struct error *error)
{
	for (;;) {
		switch (PQconnectPoll(connection)) {
		case PGRES_POLLING_OK: return true;
		case PGRES_POLLING_READING:
			if (!wait_for(connection, POLLIN, deadline_ms))
				return error_set(error, "PostgreSQL: connect: timeout");
			break;
		case PGRES_POLLING_WRITING:
			if (!wait_for(connection, POLLOUT, deadline_ms))
				return error_set(error, "PostgreSQL: connect: timeout");
			break;
		case PGRES_POLLING_ACTIVE: break;
		case PGRES_POLLING_FAILED: return say(error, "connect", PQerrorMessage(connection));
		}
	}
}

static PGconn *
connect_start(const struct driver_config *config, const struct driver_host *host)
{
#define SET(name, otherwise) config->get(config->cf, name, otherwise)
	const char *const pairs[][2] = {
		{ "host", host->name },
		{ "hostaddr", host->address },
		{ "port", host->port },
		{ "dbname", SET("dbname", NULL) },
		{ "user", SET("user", NULL) },
		{ "password", SET("password", NULL) },
		{ "client_encoding", SET("encoding", "UTF8") },
		{ "sslmode", SET("tls_mode", "prefer") },
		{ "sslrootcert", SET("tls_CAfile", "/nonexistent") },
		{ "sslcert", SET("tls_cert_file", "/nonexistent") },
		{ "sslkey", SET("tls_key_file", "/nonexistent") },
		{ "sslcrl", "/nonexistent" },
		{ "passfile", "/nonexistent" },
		{ "gssencmode", "disable" },
		{ "application_name", "dakiya" },
	};
#undef SET
	const char *names[sizeof(pairs) / sizeof(pairs[0]) + 1] = { NULL };
	const char *values[sizeof(pairs) / sizeof(pairs[0]) + 1] = { NULL };
	size_t      count = 0;

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (pairs[i][1] == NULL)
			continue;
		names[count] = pairs[i][0];
		values[count++] = pairs[i][1];
	}
	return PQconnectStartParams(names, values, 0);
}

/* unix:/run/postgresql/.s.PGSQL.5433 is that directory and that port. */
static struct driver_host
socket_split(const struct driver_host *host, char *directory, size_t size)
{
	struct driver_host split = *host;
	const char        *mark = strstr(host->name, "/.s.PGSQL.");

	if (host->is_unix && mark != NULL && (size_t)(mark - host->name) < size) {
		memcpy(directory, host->name, (size_t)(mark - host->name));
		directory[mark - host->name] = '\0';
		split.name = directory;
		split.port = mark + sizeof("/.s.PGSQL.") - 1;
	}
	return split;
}

static void *
open_connection(const struct driver_config *config, const struct driver_host *host,
                struct error *error)
{
	struct session    *session = calloc(1, sizeof(*session));
	char               directory[200];
	struct driver_host where = socket_split(host, directory, sizeof(directory));

	if (session == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	session->timeout_ms = config->timeout_ms;
	session->connection = connect_start(config, &where);
	if (session->connection != NULL && PQstatus(session->connection) != CONNECTION_BAD &&
	    wait_connected(session->connection, clock_monotonic_ms() + config->timeout_ms, error)) {
		PQsetnonblocking(session->connection, 1);
		return session;
	}
	if (error != NULL && error->text[0] == '\0')
		say(error, "connect",
		    session->connection == NULL ? "out of memory"
		                                : PQerrorMessage(session->connection));
	error_prefix(error, "%s", host->name);
	PQfinish(session->connection);
	free(session);
	return NULL;
}

static void
close_connection(void *connection)
{
	struct session *session = connection;

	PQfinish(session->connection);
	free(session);
}

static bool
quote(void *connection, struct slice text, struct buf *out)
{
	struct session *session = connection;
	int             failed = 0;

	/* At most two bytes for each, and a NUL. */
	if (text.length > out->limit / 2 || !buf_reserve(out, 2 * text.length + 1))
		return false;
	size_t length = PQescapeStringConn(session->connection, out->data + out->length, text.data,
	                                   text.length, &failed);
	if (failed != 0)
		return false;
	out->length += length;
	return true;
}

/* ---- queries ---- */

static bool
send_all(struct session *session, int64_t deadline_ms)
{
	for (;;) {
		int left = PQflush(session->connection);

		if (left <= 0)
			return left == 0;
		if (!wait_for(session->connection, POLLIN | POLLOUT, deadline_ms) ||
		    PQconsumeInput(session->connection) == 0)
			return false;
	}
}

/* The next result; NULL with *is_lost false at the end. */
static PGresult *
next_result(struct session *session, int64_t deadline_ms, bool *is_lost)
{
	*is_lost = false;
	while (PQisBusy(session->connection)) {
		if (!wait_for(session->connection, POLLIN, deadline_ms) ||
		    PQconsumeInput(session->connection) == 0) {
			*is_lost = true;
			return NULL;
		}
	}
	return PQgetResult(session->connection);
}

static bool
give_rows(const PGresult *rows, const struct driver_query *query)
{
	for (int row = 0; row < PQntuples(rows); row++)
		for (int column = 0; column < PQnfields(rows); column++) {
			struct slice value = slice_of(PQgetvalue(rows, row, column),
			                              (size_t)PQgetlength(rows, row, column));

			if (!PQgetisnull(rows, row, column) && !query->give(query->context, value))
				return false;
		}
	return true;
}

static enum driver_result
take_result(struct session *session, const PGresult *result, const struct driver_query *query,
            struct error *error)
{
	switch (PQresultStatus(result)) {
	case PGRES_TUPLES_OK:
	case PGRES_SINGLE_TUPLE: return give_rows(result, query) ? DRIVER_DONE : DRIVER_STOPPED;
	case PGRES_COMMAND_OK: return DRIVER_DONE;
	default:
		say(error, "query", PQresultErrorMessage(result));
		/* A server that shuts down says so in a result. */
		return PQstatus(session->connection) == CONNECTION_OK ? DRIVER_REFUSED
		                                                      : DRIVER_LOST;
	}
}

static enum driver_result
run_query(void *connection, const struct driver_query *query, struct error *error)
{
	struct session    *session = connection;
	int64_t            deadline_ms = clock_monotonic_ms() + session->timeout_ms;
	enum driver_result outcome = DRIVER_DONE;
	bool               is_lost = false;
	PGresult          *result;

	if (PQsendQuery(session->connection, query->text.data) == 0 ||
	    !send_all(session, deadline_ms)) {
		say(error, "query", PQerrorMessage(session->connection));
		return DRIVER_LOST;
	}
	while ((result = next_result(session, deadline_ms, &is_lost)) != NULL) {
		if (outcome == DRIVER_DONE)
			outcome = take_result(session, result, query, error);
		PQclear(result);
		/* A failed connection would go on saying so. */
		if (outcome == DRIVER_LOST)
			return outcome;
	}
	if (is_lost) {
		const char *words = PQerrorMessage(session->connection);

		say(error, "query", words[0] == '\0' ? "timeout" : words);
		return DRIVER_LOST;
	}
	return outcome;
}

__attribute__((visibility("default"))) extern const struct table_driver table_driver;
const struct table_driver                                               table_driver = {
						      .abi = TABLE_DRIVER_ABI,
						      .type = "pgsql",
						      .parameters = parameters,
						      .hosts_parameter = "hosts",
						      .hosts_default = "localhost",
						      .port_default = "5432",
						      .query_parameter = "query",
						      .start = start,
						      .connect = open_connection,
						      .close = close_connection,
						      .quote = quote,
						      .query = run_query,
};
