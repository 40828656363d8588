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

struct client {
	struct list_node recent; /* in client_table.recent, the one quiet longest first */
	unsigned char    key[KEY_BYTES];
	unsigned         failures;
	size_t           running; /* logins under way */
	size_t           held;    /* answers held back */
	int64_t          last_ms;
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

void
client_table_destroy(struct client_table **table)
{
	if (*table == NULL)
		return;
	hash_free(&(*table)->by_key, free);
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
	free(client);
}

/* The client, its failures forgotten when they are old; NULL when it has none. */
static struct client *
client_find_locked(struct client_table *table, const unsigned char key[KEY_BYTES], int64_t now_ms)
{
	struct client *client = hash_get(&table->by_key, key_slice(key));

	if (client != NULL && now_ms - client->last_ms > table->rules.forget_ms)
		client->failures = 0;
	return client;
}

static void
make_room_locked(struct client_table *table)
{
	LIST_EACH (node, &table->recent) {
		struct client *client = CONTAINER_OF(node, struct client, recent);

		if (table->by_key.count < table->rules.entry_limit)
			return;
		if (client->held + client->running == 0)
			client_remove_locked(table, client);
	}
}

static struct client *
client_make_locked(struct client_table *table, const unsigned char key[KEY_BYTES])
{
	struct client *client;

	make_room_locked(table);
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

bool
client_begin(struct client_table *table, struct slice address, int64_t now_ms)
{
	unsigned char key[KEY_BYTES];
	bool          may_try = true;

	key_make(address, key);
	mutex_lock(&table->lock);
	struct client *client = client_find_locked(table, key, now_ms);
	if (client == NULL)
		client = client_make_locked(table, key);
	if (client != NULL) {
		may_try = client->failures == 0 ||
		          client->held + client->running < table->rules.held_limit;
		client->running += may_try;
		client_touch_locked(table, client);
	}
	mutex_unlock(&table->lock);
	return may_try;
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

int64_t
client_failed(struct client_table *table, struct slice address, int64_t now_ms)
{
	unsigned char key[KEY_BYTES];
	int64_t       delay_ms = table->rules.delay_ms;

	key_make(address, key);
	mutex_lock(&table->lock);
	struct client *client = client_find_locked(table, key, now_ms);
	if (client == NULL)
		client = client_make_locked(table, key);
	if (client != NULL) {
		client->failures++;
		client->held++;
		client->running -= client->running > 0;
		client->last_ms = now_ms;
		client_touch_locked(table, client);
		delay_ms = delay_of(&table->rules, client->failures);
	}
	mutex_unlock(&table->lock);
	return delay_ms;
}

void
client_released(struct client_table *table, struct slice address)
{
	unsigned char key[KEY_BYTES];

	key_make(address, key);
	mutex_lock(&table->lock);
	struct client *client = hash_get(&table->by_key, key_slice(key));
	if (client != NULL && client->held > 0)
		client->held--;
	mutex_unlock(&table->lock);
}
