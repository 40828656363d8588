/* clients.c - see clients.h. */
#include "authd/clients.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "lib/base/hash.h"
#include "lib/base/list.h"
#include "lib/base/mutex.h"
#include "lib/table/net.h"

#define KEY_BYTES      17
#define DOUBLINGS_MOST 20
#define EVICT_LOOKS    64 /* entries looked at to find one to forget */

struct client {
	struct list_node recent; /* in client_table.recent, the one quiet longest first */
	unsigned char    key[KEY_BYTES];
	unsigned         failures;
	size_t           running; /* logins being checked */
	int64_t          last_ms;
	int64_t          not_before_ms; /* an attempt that fails earlier waits for that, too */
	int64_t         *held_until_ms; /* answers that wait */
	size_t           held, held_capacity;
};

struct client_table {
	struct client_rules rules;
	struct mutex        lock; /* guards everything below */
	struct hash         by_key;
	struct list_node    recent;
};

struct client_table *
client_table_create(const struct client_rules *rules)
{
	struct client_table *table = calloc(1, sizeof(*table));

	if (table == NULL)
		return NULL;
	table->rules = *rules;
	mutex_init(&table->lock);
	list_init(&table->recent);
	return table;
}

static void
client_free(void *value)
{
	struct client *client = value;

	free(client->held_until_ms);
	free(client);
}

void
client_table_destroy(struct client_table **table)
{
	if (*table == NULL)
		return;
	hash_free(&(*table)->by_key, client_free);
	mutex_destroy(&(*table)->lock);
	free(*table);
	*table = NULL;
}

/* Text that is no address counts as one client: all that came without. */
static void
key_make(struct slice address, unsigned char key[KEY_BYTES])
{
	struct net net = { .family = 0 };

	memset(key, 0, KEY_BYTES);
	if (!net_parse_address(address, &net))
		return;
	key[0] = net.family == AF_INET ? 4 : 6;
	memcpy(key + 1, net.bytes, net.family == AF_INET ? 4 : 8);
}

static struct slice
key_slice(const unsigned char key[KEY_BYTES])
{
	return slice_of((const char *)key, KEY_BYTES);
}

static void
client_remove_locked(struct client_table *table, struct client *client)
{
	hash_remove(&table->by_key, key_slice(client->key));
	list_remove(&client->recent);
	client_free(client);
}

/* Answers whose time is over wait no more. */
static void
holds_expire_locked(struct client *client, int64_t now_ms)
{
	size_t kept = 0;

	for (size_t i = 0; i < client->held; i++)
		if (client->held_until_ms[i] > now_ms)
			client->held_until_ms[kept++] = client->held_until_ms[i];
	client->held = kept;
}

/* Without memory it is not counted: the answer waits all the same. */
static void
hold_add_locked(struct client *client, int64_t until_ms)
{
	if (client->held == client->held_capacity) {
		size_t   capacity = client->held_capacity * 2 + 4;
		int64_t *grown = realloc(client->held_until_ms, capacity * sizeof(*grown));

		if (grown == NULL)
			return;
		client->held_until_ms = grown;
		client->held_capacity = capacity;
	}
	client->held_until_ms[client->held++] = until_ms;
}

/* The client, its failures forgotten when they are old; NULL when it has none. */
static struct client *
client_find_locked(struct client_table *table, const unsigned char key[KEY_BYTES], int64_t now_ms)
{
	struct client *client = hash_get(&table->by_key, key_slice(key));

	if (client == NULL)
		return NULL;
	if (now_ms - client->last_ms > table->rules.forget_ms)
		client->failures = 0;
	holds_expire_locked(client, now_ms);
	return client;
}

/* Rather one with nothing under way; a flood from many networks may leave none. */
static void
make_room_locked(struct client_table *table, int64_t now_ms)
{
	struct client *busy = NULL;
	size_t         looks = 0;

	if (table->by_key.count < table->rules.entry_limit)
		return;
	LIST_EACH (node, &table->recent) {
		struct client *client = CONTAINER_OF(node, struct client, recent);

		if (looks++ >= EVICT_LOOKS)
			break;
		if (client->running > 0)
			continue;
		holds_expire_locked(client, now_ms);
		if (client->held == 0) {
			client_remove_locked(table, client);
			return;
		}
		if (busy == NULL)
			busy = client;
	}
	if (busy != NULL)
		client_remove_locked(table, busy);
}

static struct client *
client_make_locked(struct client_table *table, const unsigned char key[KEY_BYTES], int64_t now_ms)
{
	struct client *client;

	make_room_locked(table, now_ms);
	client = calloc(1, sizeof(*client));
	if (client == NULL)
		return NULL;
	memcpy(client->key, key, KEY_BYTES);
	list_append(&table->recent, &client->recent);
	if (hash_put(&table->by_key, key_slice(key), client, NULL))
		return client;
	list_remove(&client->recent);
	free(client);
	return NULL;
}

static void
client_touch_locked(struct client_table *table, struct client *client)
{
	list_remove(&client->recent);
	list_append(&table->recent, &client->recent);
}

static enum client_answer
may_begin_locked(const struct client_rules *rules, const struct client *client)
{
	if (client->failures == 0 || client->held + client->running < rules->held_limit)
		return CLIENT_MAY;
	return client->held < rules->held_limit ? CLIENT_WAITS : CLIENT_REFUSED;
}

enum client_answer
client_begin(struct client_table *table, struct slice address, int64_t now_ms)
{
	enum client_answer answer = CLIENT_MAY;
	unsigned char      key[KEY_BYTES];

	key_make(address, key);
	mutex_lock(&table->lock);
	struct client *client = client_find_locked(table, key, now_ms);
	if (client == NULL)
		client = client_make_locked(table, key, now_ms);
	if (client != NULL) {
		answer = may_begin_locked(&table->rules, client);
		client->running += answer == CLIENT_MAY;
		client_touch_locked(table, client);
	}
	mutex_unlock(&table->lock);
	return answer;
}

void
client_ended(struct client_table *table, struct slice address)
{
	unsigned char key[KEY_BYTES];

	key_make(address, key);
	mutex_lock(&table->lock);
	struct client *client = hash_get(&table->by_key, key_slice(key));
	if (client != NULL && client->running > 0)
		client->running--;
	mutex_unlock(&table->lock);
}

static int64_t
delay_of(const struct client_rules *rules, unsigned failures)
{
	int64_t delay_ms = rules->delay_ms;

	for (unsigned i = 1; i < failures && i < DOUBLINGS_MOST; i++) {
		if (delay_ms >= rules->delay_limit_ms)
			break;
		delay_ms *= 2;
	}
	return delay_ms < rules->delay_limit_ms ? delay_ms : rules->delay_limit_ms;
}

/* What the failure just counted costs. */
static int64_t
penalty_locked(const struct client_rules *rules, struct client *client, int64_t now_ms)
{
	int64_t own_ms = delay_of(rules, client->failures);
	int64_t left_ms = client->not_before_ms > now_ms ? client->not_before_ms - now_ms : 0;

	/* Only its own delay is handed on. What is left is so never above the limit of one delay:
	 * sums would lock out who shares an address with somebody that guesses. */
	if (now_ms + own_ms > client->not_before_ms)
		client->not_before_ms = now_ms + own_ms;
	return own_ms + left_ms;
}

int64_t
client_failed(struct client_table *table, struct slice address, int64_t now_ms)
{
	unsigned char key[KEY_BYTES];
	int64_t       delay_ms = table->rules.delay_ms;

	key_make(address, key);
	mutex_lock(&table->lock);
	struct client *client = client_find_locked(table, key, now_ms);
	if (client == NULL)
		client = client_make_locked(table, key, now_ms);
	if (client != NULL) {
		client->failures++;
		client->running -= client->running > 0;
		client->last_ms = now_ms;
		client_touch_locked(table, client);
		delay_ms = penalty_locked(&table->rules, client, now_ms);
		if (delay_ms > 0)
			hold_add_locked(client, now_ms + delay_ms);
	}
	mutex_unlock(&table->lock);
	return delay_ms;
}
