/*
 * dns.c - see dns.h. Channels to the resolver wait in a small pool; each question borrows one.
 *
 * The resolver multiplexes by id, but a thread that waits anyway is best served by a channel of
 * its own: no reader has to hand answers around.
 */
#include "lib/dns/dns.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mutex.h"
#include "lib/dns/cache.h"
#include "lib/dns/client.h"
#include "lib/dns/name.h"
#include "lib/ipc/channel.h"

#define IDLE_CHANNELS_MOST 16
#define CACHE_ENTRIES      4096
#define CACHE_BYTES        (2u << 20)
#define RECORDS_MOST       1000
#define TIMEOUT_LEAST_MS   50
#define TIMEOUT_MOST_MS    120000
#define ANSWER_GRACE_MS    500 /* the resolver's own "too late" is better than ours */

struct dns_client {
	char *path;
	/* Instead of a resolver behind path: asks, and leaves the answer in the arena. */
	const struct dns_private *private;
	struct dns_cache  *cache; /* locks itself */
	struct mutex       lock;  /* guards everything below */
	struct ipc_channel idle[IDLE_CHANNELS_MOST];
	size_t             idle_count;
	uint64_t           last_id;
};

struct dns_client *
dns_client_create(const char *path)
{
	struct dns_client *client = calloc(1, sizeof(*client));

	if (client == NULL)
		return NULL;
	mutex_init(&client->lock);
	client->path = strdup(path);
	client->cache = dns_cache_create(CACHE_ENTRIES, CACHE_BYTES);
	if (client->path == NULL || client->cache == NULL)
		dns_client_destroy(&client);
	return client;
}

struct dns_client *
dns_client_create_from(const struct dns_private *private)
{
	struct dns_client *client = dns_client_create("");

	if (client != NULL)
		client->private = private;
	return client;
}

void
dns_client_destroy(struct dns_client **client)
{
	struct dns_client *gone = *client;

	if (gone == NULL)
		return;
	*client = NULL;
	while (gone->idle_count > 0)
		ipc_channel_close(&gone->idle[--gone->idle_count]);
	dns_cache_destroy(&gone->cache);
	if (gone->private != NULL)
		gone->private->close(gone->private);
	mutex_destroy(&gone->lock);
	free(gone->path);
	free(gone);
}

/* ---- channels ---- */

static uint64_t
id_next(struct dns_client *client)
{
	mutex_lock(&client->lock);
	uint64_t id = ++client->last_id;
	mutex_unlock(&client->lock);
	return id;
}

static bool
channel_take(struct dns_client *client, struct ipc_channel *channel)
{
	bool is_there;

	mutex_lock(&client->lock);
	is_there = client->idle_count > 0;
	if (is_there)
		*channel = client->idle[--client->idle_count];
	mutex_unlock(&client->lock);
	return is_there;
}

static void
channel_give_back(struct dns_client *client, struct ipc_channel *channel)
{
	bool is_kept;

	ipc_channel_trim(channel);
	mutex_lock(&client->lock);
	is_kept = !channel->is_broken && client->idle_count < IDLE_CHANNELS_MOST;
	if (is_kept)
		client->idle[client->idle_count++] = *channel;
	mutex_unlock(&client->lock);
	if (!is_kept)
		ipc_channel_close(channel);
}

/* Sends the question and waits for its answer; *answer borrows the channel's memory. */
static enum ipc_result
channel_ask(struct ipc_channel *channel, const struct msg_dns_query *query, int64_t deadline_ms,
            struct msg_dns_answer *answer)
{
	struct ipc_frame frame;

	enum ipc_result result = ipc_send(channel, dns_query, query, deadline_ms);
	if (result != IPC_OK)
		return result;
	result = ipc_receive(channel, deadline_ms, &frame);
	if (result != IPC_OK)
		return result;
	if (!msg_dns_answer_decode(&frame, answer) || answer->id != query->id) {
		ipc_frame_close(&frame);
		channel->is_broken = true;
		return IPC_MALFORMED;
	}
	return IPC_OK;
}

/*
 * A channel from the pool may have died with the resolver that it led to: then the next one is
 * tried, the last time a fresh one.
 */
static enum ipc_result
resolver_ask(struct dns_client *client, const struct msg_dns_query *query, int64_t deadline_ms,
             struct ipc_channel *channel, struct msg_dns_answer *answer, struct error *error)
{
	enum ipc_result result;

	while (channel_take(client, channel)) {
		result = channel_ask(channel, query, deadline_ms, answer);
		if (result == IPC_OK)
			return result;
		ipc_channel_close(channel);
		if (result != IPC_CLOSED) {
			error_set(error, "%s", ipc_result_text(result));
			return result;
		}
	}
	if (!ipc_channel_connect(channel, client->path, error))
		return IPC_CLOSED;
	result = channel_ask(channel, query, deadline_ms, answer);
	if (result != IPC_OK) {
		ipc_channel_close(channel);
		error_set(error, "%s", ipc_result_text(result));
	}
	return result;
}

/* ---- answers ---- */

static bool
record_is_sane(enum dns_type type, const struct msg_dns_record *record)
{
	if (!dns_name_is_normal(record->target))
		return false;
	switch (type) {
	case DNS_A: return record->data.length == 4;
	case DNS_AAAA: return record->data.length == 16;
	case DNS_SRV: return record->data.length == 4;
	case DNS_TLSA: return record->data.length > 3;
	case DNS_CAA: return record->data.length > 2;
	case DNS_PTR:
	case DNS_CNAME: return record->target.length > 0;
	case DNS_MX:
	case DNS_NS:
	case DNS_SOA:
	case DNS_TXT: return true;
	}
	return true;
}

static int
record_compare(const void *left, const void *right)
{
	const struct dns_record *a = left, *b = right;

	return (a->preference > b->preference) - (a->preference < b->preference);
}

/* The message's slices must lie in the arena already. False: malformed, or no room. */
static bool
answer_decode(enum dns_type type, const struct msg_dns_answer *message, struct arena *arena,
              struct dns_answer *answer)
{
	struct msg_dns_record record;
	struct slice          list = message->records;
	size_t                count = 0;

	while (count < RECORDS_MOST && msg_dns_record_next(&list, &record)) {
		if (!record_is_sane(type, &record))
			return false;
		count++;
	}
	if (list.data == NULL || (message->status == DNS_FOUND && count == 0))
		return false;
	struct dns_record *records = arena_alloc_array(arena, count, sizeof(*records));
	if (records == NULL)
		return false;
	list = message->records;
	for (size_t i = 0; i < count && msg_dns_record_next(&list, &record); i++)
		records[i] = (struct dns_record){ record.preference, record.target, record.data };
	if (type == DNS_MX || type == DNS_SRV)
		qsort(records, count, sizeof(*records), record_compare);
	*answer = (struct dns_answer){ .is_secure = message->is_secure,
		                       .ttl_s = message->ttl_s,
		                       .canonical = message->canonical,
		                       .records = records,
		                       .count = count };
	return true;
}

/* Words of a negative answer as Postfix's log readers know them. */
static enum dns_status
say(struct error *error, enum dns_status status, struct slice name, enum dns_type type,
    const char *reason)
{
	static const char *const words[] = {
		[DNS_NO_DATA] = "Host found but no data record of requested type",
		[DNS_NO_NAME] = "Host not found",
		[DNS_TRY_LATER] = "Host not found, try again",
		[DNS_BOGUS] = "DNSSEC validation failed, try again",
	};
	char unknown[16];

	if (status == DNS_FOUND)
		return status;
	error_set(
		error,
		"Host or domain name not found. Name service error for name=%.*s type=%s: %s%s%s%s",
		SLICE_ARGS(slice_first(name, DNS_NAME_MOST)), dns_type_name(type, unknown),
		words[status], reason[0] == '\0' ? "" : " (", reason, reason[0] == '\0' ? "" : ")");
	return status;
}

/* Asks the resolver, keeps what it says, and leaves a copy in the arena. */
static bool
message_fetch(struct dns_client *client, struct slice name, enum dns_type type, int64_t timeout_ms,
              struct arena *arena, struct msg_dns_answer *message, struct error *error)
{
	struct msg_dns_query query = { .id = id_next(client),
		                       .name = name,
		                       .type = (uint32_t)type,
		                       .timeout_ms = (uint32_t)timeout_ms };
	int64_t              deadline_ms = clock_monotonic_ms() + timeout_ms + ANSWER_GRACE_MS;
	struct ipc_channel   channel;

	if (client->private != NULL)
		return client->private->ask(client->private, &query, arena, message, error);
	if (resolver_ask(client, &query, deadline_ms, &channel, message, error) != IPC_OK)
		return error_prefix(error, "resolver");
	if (message->status <= DNS_NO_NAME)
		dns_cache_put(client->cache, name, type, clock_monotonic_ms(), message);
	message->canonical = arena_copy(arena, message->canonical);
	message->records = arena_copy(arena, message->records);
	message->reason = arena_copy(arena, message->reason);
	channel_give_back(client, &channel);
	if (message->canonical.data == NULL || message->records.data == NULL ||
	    message->reason.data == NULL)
		return error_set(error, "no memory for the answer");
	return true;
}

enum dns_status
dns_query(struct dns_client *client, struct slice name, enum dns_type type, int64_t timeout_ms,
          struct arena *arena, struct dns_answer *answer, struct error *error)
{
	struct msg_dns_answer message;
	struct error          why = ERROR_NONE;
	struct slice          normal;

	if (!dns_name_normalise(name, arena, &normal))
		return say(error, DNS_NO_NAME, SLICE("(malformed)"), type, "not a domain name");
	if (timeout_ms < TIMEOUT_LEAST_MS)
		timeout_ms = TIMEOUT_LEAST_MS;
	if (timeout_ms > TIMEOUT_MOST_MS)
		timeout_ms = TIMEOUT_MOST_MS;
	if (!dns_cache_get(client->cache, normal, type, clock_monotonic_ms(), arena, &message) &&
	    !message_fetch(client, normal, type, timeout_ms, arena, &message, &why))
		return say(error, DNS_TRY_LATER, normal, type, why.text);
	if (message.status > DNS_BOGUS || !answer_decode(type, &message, arena, answer))
		return say(error, DNS_TRY_LATER, normal, type, "malformed answer");
	char *reason = arena_text(arena, message.reason);
	return say(error, (enum dns_status)message.status, normal, type,
	           reason == NULL ? "" : reason);
}
