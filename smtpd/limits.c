/* limits.c - see limits.h. */
#include "smtpd/limits.h"

#include <netinet/in.h>
#include <stdlib.h>

#include "lib/base/hash.h"
#include "lib/base/list.h"
#include "lib/base/mutex.h"

/* Clients without a session are remembered for their rates, the oldest forgotten first. */
#define IDLE_MOST 10000

struct limit_client {
	struct list_node idle; /* linked to itself while a session lives */
	unsigned char    key[17];
	size_t           sessions;
	int64_t          window_begin_ms;
	uint32_t         events[LIMIT_EVENTS];
};

struct limits {
	const struct parameters *parameters;
	struct mutex             lock; /* guards everything below */
	struct hash              clients;
	struct list_node         idle; /* oldest first */
	size_t                   idle_count;
	size_t                   sessions;
};

struct limits *
limits_create(const struct parameters *parameters)
{
	struct limits *limits = calloc(1, sizeof(*limits));

	if (limits == NULL)
		return NULL;
	limits->parameters = parameters;
	mutex_init(&limits->lock);
	list_init(&limits->idle);
	return limits;
}

void
limits_destroy(struct limits **limits)
{
	if (*limits == NULL)
		return;
	hash_free(&(*limits)->clients, free);
	mutex_destroy(&(*limits)->lock);
	free(*limits);
	*limits = NULL;
}

static void
cut_to_prefix(unsigned char *bytes, size_t length, int64_t prefix)
{
	for (size_t i = 0; i < length; i++) {
		int64_t bits = prefix - (int64_t)i * 8;

		if (bits <= 0)
			bytes[i] = 0;
		else if (bits < 8)
			bytes[i] &= (unsigned char)(0xff << (8 - bits));
	}
}

/* Family and the bytes that count; an IPv4 address in IPv6 form is IPv4. */
static void
make_key(const struct parameters *parameters, const struct sockaddr_storage *address,
         unsigned char key[17])
{
	memset(key, 0, 17);
	if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)address;

		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
			key[0] = 4;
			memcpy(key + 1, in6->sin6_addr.s6_addr + 12, 4);
		} else {
			key[0] = 6;
			memcpy(key + 1, &in6->sin6_addr, 16);
		}
	} else if (address->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)address;

		key[0] = 4;
		memcpy(key + 1, &in->sin_addr, 4);
	}
	if (key[0] == 4)
		cut_to_prefix(key + 1, 4, parameters->smtpd_client_ipv4_prefix_length);
	else
		cut_to_prefix(key + 1, 16, parameters->smtpd_client_ipv6_prefix_length);
}

static struct slice
key_slice(const struct limit_client *client)
{
	return slice_of((const char *)client->key, sizeof(client->key));
}

static void
forget_oldest_locked(struct limits *limits)
{
	struct list_node *node = list_first(&limits->idle);

	if (node == NULL)
		return;
	struct limit_client *client = CONTAINER_OF(node, struct limit_client, idle);
	list_remove(node);
	limits->idle_count--;
	hash_remove(&limits->clients, key_slice(client));
	free(client);
}

static struct limit_client *
find_or_make_locked(struct limits *limits, const unsigned char key[17], int64_t now_ms)
{
	struct limit_client *client = hash_get(&limits->clients, slice_of((const char *)key, 17));

	if (client != NULL) {
		if (client->sessions == 0) {
			list_remove(&client->idle);
			limits->idle_count--;
		}
		return client;
	}
	client = calloc(1, sizeof(*client));
	if (client == NULL)
		return NULL;
	memcpy(client->key, key, 17);
	list_init(&client->idle);
	client->window_begin_ms = now_ms;
	if (!hash_put(&limits->clients, key_slice(client), client, NULL)) {
		free(client);
		return NULL;
	}
	return client;
}

struct limit_client *
limits_connect(struct limits *limits, const struct sockaddr_storage *address, int64_t now_ms,
               size_t *simultaneous)
{
	unsigned char key[17];

	make_key(limits->parameters, address, key);
	mutex_lock(&limits->lock);
	struct limit_client *client = find_or_make_locked(limits, key, now_ms);
	if (client != NULL) {
		*simultaneous = ++client->sessions;
		limits->sessions++;
	}
	mutex_unlock(&limits->lock);
	return client;
}

void
limits_disconnect(struct limits *limits, struct limit_client **client, int64_t now_ms)
{
	struct limit_client *gone = *client;

	if (gone == NULL)
		return;
	(void)now_ms;
	*client = NULL;
	mutex_lock(&limits->lock);
	limits->sessions--;
	if (--gone->sessions == 0) {
		list_append(&limits->idle, &gone->idle);
		if (++limits->idle_count > IDLE_MOST)
			forget_oldest_locked(limits);
	}
	mutex_unlock(&limits->lock);
}

size_t
limits_count(struct limits *limits, struct limit_client *client, enum limit_event event,
             int64_t now_ms)
{
	mutex_lock(&limits->lock);
	if (now_ms - client->window_begin_ms >= limits->parameters->anvil_rate_time_unit * 1000) {
		memset(client->events, 0, sizeof(client->events));
		client->window_begin_ms = now_ms;
	}
	size_t count = ++client->events[event];
	mutex_unlock(&limits->lock);
	return count;
}

size_t
limits_sessions(struct limits *limits)
{
	mutex_lock(&limits->lock);
	size_t count = limits->sessions;
	mutex_unlock(&limits->lock);
	return count;
}
