/*
 * redis.c - the module for Redis and its kin, by libhiredis.
 *
 * `query` is the key to read, `field` (if set) the field of a hash to read there. A string gives
 * its value, a set, list or sorted set all members, a hash without `field` all its values.
 */
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/table/connect.h"

static const char *const parameters[] = { "hosts", "user", "password", "dbname", "field", NULL };

static bool
start(const struct driver_config *config, struct error *error)
{
	for (const char *at = config->get(config->cf, "dbname", "0"); *at != '\0'; at++)
		if (!ascii_is_digit(*at))
			return error_set(error, "dbname must be the number of a database");
	return true;
}

/* False and *error when the server says no to what is needed before the first question. */
static bool
greet(redisContext *redis, int count, const char **words, struct error *error)
{
	redisReply *reply = redisCommandArgv(redis, count, words, NULL);
	bool        is_good = reply != NULL && reply->type != REDIS_REPLY_ERROR;

	if (!is_good)
		error_set(error, "Redis: %s: %s", words[0],
		          reply == NULL ? redis->errstr : reply->str);
	freeReplyObject(reply);
	return is_good;
}

static bool
log_in(redisContext *redis, const struct driver_config *config, struct error *error)
{
	const char *user = config->get(config->cf, "user", NULL);
	const char *password = config->get(config->cf, "password", NULL);
	const char *database = config->get(config->cf, "dbname", "0");
	const char *with_user[] = { "AUTH", user, password };
	const char *without_user[] = { "AUTH", password };
	const char *select[] = { "SELECT", database };

	if (password != NULL &&
	    !greet(redis, user == NULL ? 2 : 3, user == NULL ? without_user : with_user, error))
		return false;
	return strcmp(database, "0") == 0 || greet(redis, 2, select, error);
}

static void *
open_connection(const struct driver_config *config, const struct driver_host *host,
                struct error *error)
{
	struct timeval timeout = { .tv_sec = config->timeout_ms / 1000 };
	int            fd = table_connect(host, config->timeout_ms, error);

	if (fd < 0)
		return NULL;
	redisContext *redis = redisConnectFd(fd);
	if (redis == NULL)
		close(fd);
	else
		redisSetTimeout(redis, timeout);
	if (redis != NULL && redis->err == 0 && log_in(redis, config, error))
		return redis;
	if (error != NULL && error->text[0] == '\0')
		error_set(error, "Redis: connect: %s",
		          redis == NULL ? "out of memory" : redis->errstr);
	error_prefix(error, "%s", host->name);
	if (redis != NULL)
		redisFree(redis);
	return NULL;
}

static void
close_connection(void *connection)
{
	redisFree(connection);
}

/* Words are sent with their lengths: nothing in them is special. */
static bool
quote(void *connection, struct slice text, struct buf *out)
{
	(void)connection;
	return buf_append(out, text);
}

static enum driver_result
give_reply(const redisReply *reply, const struct driver_query *query, struct error *error)
{
	switch (reply->type) {
	case REDIS_REPLY_NIL: return DRIVER_DONE;
	case REDIS_REPLY_STRING:
	case REDIS_REPLY_STATUS:
		return query->give(query->context, slice_of(reply->str, reply->len))
		               ? DRIVER_DONE
		               : DRIVER_STOPPED;
	case REDIS_REPLY_ERROR:
		error_set(error, "Redis: %.*s", (int)reply->len, reply->str);
		return DRIVER_REFUSED;
	case REDIS_REPLY_ARRAY:
		for (size_t i = 0; i < reply->elements; i++) {
			const redisReply *element = reply->element[i];

			if (element->type == REDIS_REPLY_STRING &&
			    !query->give(query->context, slice_of(element->str, element->len)))
				return DRIVER_STOPPED;
		}
		return DRIVER_DONE;
	default:
		error_set(error, "Redis: an answer of type %d was not expected", reply->type);
		return DRIVER_REFUSED;
	}
}

/* The reply to a command of words; NULL and *error when the connection is lost. */
static redisReply *
ask(redisContext *redis, const char *command, struct slice key, const char *third,
    const char *fourth, struct error *error)
{
	const char *words[4] = { command, key.data, third, fourth };
	size_t      lengths[4] = { strlen(command), key.length, third == NULL ? 0 : strlen(third),
                              fourth == NULL ? 0 : strlen(fourth) };
	     int count = fourth != NULL ? 4 : third != NULL ? 3 : 2;
	redisReply *reply = redisCommandArgv(redis, count, words, lengths);

	if (reply == NULL)
		error_set(error, "Redis: %s", redis->errstr);
	return reply;
}

/* How what is no string is read. */
static const struct {
	const char *type, *command, *third, *fourth;
} readers[] = {
	{ "set", "SMEMBERS", NULL, NULL },
	{ "list", "LRANGE", "0", "-1" },
	{ "zset", "ZRANGE", "0", "-1" },
	{ "hash", "HVALS", NULL, NULL },
};

static redisReply *
ask_by_type(redisContext *redis, struct slice key, struct error *error)
{
	redisReply *type = ask(redis, "TYPE", key, NULL, NULL, error);
	size_t      row = 0;

	if (type == NULL)
		return NULL;
	while (row < sizeof(readers) / sizeof(readers[0]) &&
	       (type->type != REDIS_REPLY_STATUS || strcmp(type->str, readers[row].type) != 0))
		row++;
	/* "none": it went in between. */
	redisReply *reply = row == sizeof(readers) / sizeof(readers[0])
	                            ? ask(redis, "GET", key, NULL, NULL, error)
	                            : ask(redis, readers[row].command, key, readers[row].third,
	                                  readers[row].fourth, error);
	freeReplyObject(type);
	return reply;
}

static enum driver_result
run_query(void *connection, const struct driver_query *query, struct error *error)
{
	redisContext *redis = connection;
	bool          has_field = query->base.length > 0;
	redisReply   *reply = ask(redis, has_field ? "HGET" : "GET", query->text,
                                has_field ? query->base.data : NULL, NULL, error);

	if (reply != NULL && !has_field && reply->type == REDIS_REPLY_ERROR &&
	    strncmp(reply->str, "WRONGTYPE", 9) == 0) {
		freeReplyObject(reply);
		reply = ask_by_type(redis, query->text, error);
	}
	if (reply == NULL)
		return DRIVER_LOST;
	enum driver_result outcome = give_reply(reply, query, error);
	freeReplyObject(reply);
	return outcome;
}

__attribute__((visibility("default"))) extern const struct table_driver table_driver;
const struct table_driver                                               table_driver = {
						      .abi = TABLE_DRIVER_ABI,
						      .type = "redis",
						      .parameters = parameters,
						      .hosts_parameter = "hosts",
						      .hosts_default = "127.0.0.1",
						      .port_default = "6379",
						      .query_parameter = "query",
						      .query_default = "%s",
						      .base_parameter = "field",
						      .start = start,
						      .connect = open_connection,
						      .close = close_connection,
						      .quote = quote,
						      .quote_base = quote,
						      .query = run_query,
};
