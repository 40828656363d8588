/*
 * sqlite.c - the module for SQLite files: sqlite_table(5), by libsqlite3.
 *
 * Files are opened for reading only. A change by another process is seen at once.
 */
#include <sqlite3.h>
#include <stdlib.h>

#include "lib/table/driver.h"

static const char *const parameters[] = {
	"dbpath", "select_field", "table", "where_field", "additional_conditions", NULL,
};

static bool
start(const struct driver_config *config, struct error *error)
{
	const char *path = config->get(config->cf, "dbpath", "");

	if (path[0] != '/')
		return error_set(error, "dbpath must be set to an absolute path");
	return true;
}

static void *
open_connection(const struct driver_config *config, const struct driver_host *host,
                struct error *error)
{
	const char *path = config->get(config->cf, "dbpath", "");
	sqlite3    *database = NULL;
	int         flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;

	(void)host;
	if (sqlite3_open_v2(path, &database, flags, NULL) == SQLITE_OK) {
		sqlite3_busy_timeout(database, (int)config->timeout_ms);
		sqlite3_limit(database, SQLITE_LIMIT_ATTACHED, 0);
		return database;
	}
	error_set(error, "open %s: %s", path,
	          database == NULL ? "out of memory" : sqlite3_errmsg(database));
	sqlite3_close(database);
	return NULL;
}

static void
close_connection(void *connection)
{
	sqlite3_close(connection);
}

/* Inside '...' only the quote itself is special. */
static bool
quote(void *connection, struct slice text, struct buf *out)
{
	(void)connection;
	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] == '\'')
			buf_append_byte(out, '\'');
		buf_append_byte(out, text.data[i]);
	}
	return !out->has_failed;
}

static bool
give_row(sqlite3_stmt *statement, const struct driver_query *query)
{
	for (int column = 0; column < sqlite3_column_count(statement); column++) {
		const void *bytes = sqlite3_column_text(statement, column);
		int         length = sqlite3_column_bytes(statement, column);

		if (bytes != NULL && !query->give(query->context, slice_of(bytes, (size_t)length)))
			return false;
	}
	return true;
}

static enum driver_result
run_query(void *connection, const struct driver_query *query, struct error *error)
{
	sqlite3_stmt      *statement = NULL;
	enum driver_result outcome = DRIVER_DONE;
	int number = sqlite3_prepare_v2(connection, query->text.data, (int)query->text.length,
	                                &statement, NULL);

	if (number == SQLITE_OK && statement == NULL) {
		error_set(error, "SQLite: the query is empty");
		return DRIVER_REFUSED;
	}
	while (number == SQLITE_OK || number == SQLITE_ROW) {
		number = sqlite3_step(statement);
		if (number == SQLITE_ROW && !give_row(statement, query)) {
			outcome = DRIVER_STOPPED;
			break;
		}
	}
	if (outcome == DRIVER_DONE && number != SQLITE_DONE) {
		error_set(error, "SQLite: %s", sqlite3_errmsg(connection));
		/* A file that was replaced or is not one is opened anew. */
		outcome = number == SQLITE_ERROR || number == SQLITE_BUSY ? DRIVER_REFUSED
		                                                          : DRIVER_LOST;
	}
	sqlite3_finalize(statement);
	return outcome;
}

__attribute__((visibility("default"))) extern const struct table_driver table_driver;
const struct table_driver                                               table_driver = {
						      .abi = TABLE_DRIVER_ABI,
						      .type = "sqlite",
						      .parameters = parameters,
						      .query_parameter = "query",
						      .start = start,
						      .connect = open_connection,
						      .close = close_connection,
						      .quote = quote,
						      .query = run_query,
};
