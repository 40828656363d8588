/* auth.c - see auth.h. */
#include "lib/sasl/auth.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mutex.h"
#include "lib/ipc/channel.h"

#define ANSWER_TIMEOUT_MS 70000 /* under a flood of logins a hash waits its turn in authd */
#define DELAY_MOST_MS     600000
#define LIST_TIMEOUT_MS   5000
#define LIST_KEPT_MS      10000
#define IDLE_MOST         16
#define NAMES_MOST        1024
#define LISTS_MOST        8

struct auth_exchange {
	struct auth_exchange *next; /* while idle */
	struct auth_client   *client;
	struct ipc_channel    channel;
	bool                  is_open; /* channel is connected */
	bool                  is_running;
};

/* What auth_mechanisms found out. */
struct mechanism_list {
	char    service[32];
	bool    has_tls;
	int64_t until_ms;
	char    names[NAMES_MOST];
};

struct auth_client {
	char                 *path;
	struct mutex          lock; /* guards everything below */
	struct auth_exchange *idle; /* connected, no exchange running */
	size_t                idle_count;
	struct mechanism_list lists[LISTS_MOST];
	size_t                list_next; /* the slot to overwrite */
};

struct auth_client *
auth_client_create(const char *path)
{
	struct auth_client *client = calloc(1, sizeof(*client));

	if (client == NULL || (client->path = strdup(path)) == NULL) {
		free(client);
		return NULL;
	}
	mutex_init(&client->lock);
	return client;
}

static void
exchange_free(struct auth_exchange *exchange)
{
	if (exchange->is_open)
		ipc_channel_close(&exchange->channel);
	free(exchange);
}

void
auth_client_destroy(struct auth_client **client)
{
	struct auth_client *gone = *client;

	if (gone == NULL)
		return;
	while (gone->idle != NULL) {
		struct auth_exchange *exchange = gone->idle;

		gone->idle = exchange->next;
		exchange_free(exchange);
	}
	mutex_destroy(&gone->lock);
	free(gone->path);
	free(gone);
	*client = NULL;
}

/* ---- channels ---- */

static struct auth_exchange *
exchange_take(struct auth_client *client, bool *is_used)
{
	struct auth_exchange *exchange;

	mutex_lock(&client->lock);
	exchange = client->idle;
	if (exchange != NULL) {
		client->idle = exchange->next;
		client->idle_count--;
	}
	mutex_unlock(&client->lock);
	*is_used = exchange != NULL;
	if (exchange == NULL)
		exchange = calloc(1, sizeof(*exchange));
	if (exchange != NULL)
		exchange->client = client;
	return exchange;
}

static void
exchange_give_back(struct auth_exchange *exchange)
{
	struct auth_client *client = exchange->client;
	bool                is_kept = false;

	if (exchange->is_open && !exchange->channel.is_broken) {
		ipc_channel_trim(&exchange->channel);
		mutex_lock(&client->lock);
		is_kept = client->idle_count < IDLE_MOST;
		if (is_kept) {
			exchange->next = client->idle;
			client->idle = exchange;
			client->idle_count++;
		}
		mutex_unlock(&client->lock);
	}
	if (!is_kept)
		exchange_free(exchange);
}

static bool
exchange_connect(struct auth_exchange *exchange, struct error *error)
{
	if (exchange->is_open && !exchange->channel.is_broken)
		return true;
	if (exchange->is_open)
		ipc_channel_close(&exchange->channel);
	exchange->is_open = ipc_channel_connect(&exchange->channel, exchange->client->path, error);
	return exchange->is_open;
}

/* ---- outcomes ---- */

void
auth_outcome_init(struct auth_outcome *outcome)
{
	*outcome = (struct auth_outcome){ .status = AUTH_TRY_LATER,
		                          .challenge = BUF((size_t)64 * 1024),
		                          .mailbox_fd = -1 };
}

void
auth_outcome_free(struct auth_outcome *outcome)
{
	if (outcome->mailbox_fd >= 0)
		close(outcome->mailbox_fd);
	outcome->mailbox_fd = -1;
	buf_free(&outcome->challenge);
}

static void
outcome_clear(struct auth_outcome *outcome)
{
	outcome->status = AUTH_TRY_LATER;
	outcome->delay_ms = 0;
	buf_clear(&outcome->challenge);
	outcome->user[0] = outcome->reason[0] = '\0';
}

static void
text_copy(char *to, size_t size, struct slice text)
{
	struct slice fitting = slice_first(text, size - 1);

	for (size_t i = 0; i < fitting.length; i++)
		to[i] = ascii_is_control(fitting.data[i]) ? '?' : fitting.data[i];
	to[fitting.length] = '\0';
}

static void
outcome_try_later(struct auth_outcome *outcome, const char *reason)
{
	outcome->status = AUTH_TRY_LATER;
	text_copy(outcome->reason, sizeof(outcome->reason), slice_from(reason));
}

static bool
outcome_from_done(struct ipc_frame *frame, struct auth_outcome *outcome)
{
	struct msg_auth_done done;

	if (!msg_auth_done_decode(frame, &done))
		return false;
	if (outcome->mailbox_fd >= 0)
		close(outcome->mailbox_fd);
	outcome->mailbox_fd = done.mailbox;
	/* Success must be said with this very number; a status from another version is none. */
	outcome->status = done.status <= AUTH_NO_MAILBOX && done.status != AUTH_CONTINUE
	                          ? (enum auth_status)done.status
	                          : AUTH_TRY_LATER;
	text_copy(outcome->user, sizeof(outcome->user), done.user);
	text_copy(outcome->reason, sizeof(outcome->reason), done.reason);
	if (outcome->status == AUTH_OK && done.user.length >= sizeof(outcome->user))
		outcome_try_later(outcome, "user name too long");
	if (outcome->status != AUTH_OK)
		outcome->delay_ms = done.delay_ms < DELAY_MOST_MS ? done.delay_ms : DELAY_MOST_MS;
	buf_append(&outcome->challenge, done.success_data);
	return true;
}

/* Waits for what authd says to the message just sent. */
static enum ipc_result
answer_receive(struct auth_exchange *exchange, struct auth_outcome *outcome)
{
	int64_t                   deadline_ms = clock_monotonic_ms() + ANSWER_TIMEOUT_MS;
	struct msg_auth_challenge challenge;
	struct ipc_frame          frame;
	enum ipc_result           result = ipc_receive(&exchange->channel, deadline_ms, &frame);
	bool                      is_good = false;

	if (result != IPC_OK)
		return result;
	if (frame.type == MSG_auth_challenge && msg_auth_challenge_decode(&frame, &challenge)) {
		is_good = buf_append(&outcome->challenge, challenge.challenge);
		outcome->status = AUTH_CONTINUE;
	} else if (frame.type == MSG_auth_done) {
		is_good = outcome_from_done(&frame, outcome);
		exchange->is_running = false;
	}
	ipc_frame_close(&frame);
	if (is_good)
		return IPC_OK;
	exchange->channel.is_broken = true;
	return IPC_MALFORMED;
}

static void
exchange_failed(struct auth_exchange *exchange, enum ipc_result result,
                struct auth_outcome *outcome)
{
	char reason[sizeof(outcome->reason)];

	exchange->is_running = false;
	exchange->channel.is_broken = true;
	snprintf(reason, sizeof(reason), "authd: %s", ipc_result_text(result));
	outcome_try_later(outcome, reason);
}

/* Responses hold passwords; what was sent of them does not stay in a kept channel. */
static void
sent_wipe(struct auth_exchange *exchange)
{
	struct buf *fields = &exchange->channel.encoding.fields;

	if (fields->data != NULL)
		OPENSSL_cleanse(fields->data, fields->capacity);
}

/* ---- exchanges ---- */

static struct msg_auth_start
start_message(const struct auth_request *request)
{
	struct msg_auth_start start = msg_auth_start_clear();

	start.service = slice_from(request->service);
	start.mechanism = request->mechanism;
	start.has_initial = request->has_initial;
	start.initial = request->initial;
	start.client_address = request->client_address;
	start.client_name = request->client_name;
	start.server_address = request->server_address;
	start.has_tls = request->has_tls;
	start.channel_binding = request->channel_binding;
	start.want_mailbox = request->want_mailbox;
	return start;
}

struct auth_exchange *
auth_start(struct auth_client *client, const struct auth_request *request,
           struct auth_outcome *outcome)
{
	struct msg_auth_start start = start_message(request);
	struct error          error = ERROR_NONE;
	bool                  is_used;
	struct auth_exchange *exchange = exchange_take(client, &is_used);
	enum ipc_result       result = IPC_CLOSED;

	outcome_clear(outcome);
	if (exchange == NULL) {
		outcome_try_later(outcome, "out of memory");
		return NULL;
	}
	/* A kept channel may lead to an authd that is gone: then once more on a new one. */
	for (int attempt = 0; attempt < (is_used ? 2 : 1); attempt++) {
		if (!exchange_connect(exchange, &error)) {
			outcome_try_later(outcome, error.text);
			return exchange;
		}
		exchange->is_running = true;
		result = ipc_send(&exchange->channel, auth_start, &start,
		                  clock_monotonic_ms() + LIST_TIMEOUT_MS);
		sent_wipe(exchange);
		if (result == IPC_OK)
			result = answer_receive(exchange, outcome);
		if (result != IPC_CLOSED)
			break;
		exchange->channel.is_broken = true;
	}
	if (result != IPC_OK)
		exchange_failed(exchange, result, outcome);
	return exchange;
}

void
auth_respond(struct auth_exchange *exchange, struct slice response, struct auth_outcome *outcome)
{
	struct msg_auth_response message = msg_auth_response_clear();

	outcome_clear(outcome);
	if (!exchange->is_running) {
		outcome_try_later(outcome, "no exchange is running");
		return;
	}
	message.response = response;
	enum ipc_result result = ipc_send(&exchange->channel, auth_response, &message,
	                                  clock_monotonic_ms() + LIST_TIMEOUT_MS);
	sent_wipe(exchange);
	if (result == IPC_OK)
		result = answer_receive(exchange, outcome);
	if (result != IPC_OK)
		exchange_failed(exchange, result, outcome);
}

void
auth_end(struct auth_exchange **exchange)
{
	struct auth_exchange *gone = *exchange;

	if (gone == NULL)
		return;
	*exchange = NULL;
	if (gone->is_running) {
		struct msg_auth_cancel cancel = msg_auth_cancel_clear();

		if (ipc_send(&gone->channel, auth_cancel, &cancel,
		             clock_monotonic_ms() + LIST_TIMEOUT_MS) != IPC_OK)
			gone->channel.is_broken = true;
		gone->is_running = false;
	}
	exchange_give_back(gone);
}

/* ---- mechanisms ---- */

static bool
list_find(struct auth_client *client, const char *service, bool has_tls, struct buf *names)
{
	int64_t now_ms = clock_monotonic_ms();
	bool    is_found = false;

	mutex_lock(&client->lock);
	for (size_t i = 0; i < LISTS_MOST && !is_found; i++) {
		const struct mechanism_list *list = &client->lists[i];

		is_found = list->until_ms > now_ms && list->has_tls == has_tls &&
		           strcmp(list->service, service) == 0 &&
		           buf_append_text(names, list->names);
	}
	mutex_unlock(&client->lock);
	return is_found;
}

static void
list_keep(struct auth_client *client, const char *service, bool has_tls, struct slice names)
{
	if (names.length >= NAMES_MOST || strlen(service) >= sizeof(client->lists[0].service))
		return;
	mutex_lock(&client->lock);
	struct mechanism_list *list = NULL;
	for (size_t i = 0; i < LISTS_MOST && list == NULL; i++)
		if (client->lists[i].has_tls == has_tls &&
		    strcmp(client->lists[i].service, service) == 0)
			list = &client->lists[i];
	if (list == NULL)
		list = &client->lists[client->list_next++ % LISTS_MOST];
	list->has_tls = has_tls;
	list->until_ms = clock_monotonic_ms() + LIST_KEPT_MS;
	text_copy(list->service, sizeof(list->service), slice_from(service));
	text_copy(list->names, sizeof(list->names), names);
	mutex_unlock(&client->lock);
}

static enum ipc_result
list_ask(struct auth_exchange *exchange, const char *service, bool has_tls, struct buf *names)
{
	int64_t                        deadline_ms = clock_monotonic_ms() + LIST_TIMEOUT_MS;
	struct msg_auth_mechanisms     question = msg_auth_mechanisms_clear();
	struct msg_auth_mechanism_list list;
	struct ipc_frame               frame;

	question.service = slice_from(service);
	question.has_tls = has_tls;
	enum ipc_result result =
		ipc_send(&exchange->channel, auth_mechanisms, &question, deadline_ms);
	if (result == IPC_OK)
		result = ipc_receive(&exchange->channel, deadline_ms, &frame);
	if (result != IPC_OK)
		return result;
	bool is_good = frame.type == MSG_auth_mechanism_list &&
	               msg_auth_mechanism_list_decode(&frame, &list) &&
	               !slice_has_control(list.names) && buf_append(names, list.names);
	ipc_frame_close(&frame);
	if (is_good)
		return IPC_OK;
	exchange->channel.is_broken = true;
	return IPC_MALFORMED;
}

bool
auth_mechanisms(struct auth_client *client, const char *service, bool has_tls, struct buf *names)
{
	bool            is_used;
	enum ipc_result result = IPC_CLOSED;

	buf_clear(names);
	if (list_find(client, service, has_tls, names))
		return true;
	struct auth_exchange *exchange = exchange_take(client, &is_used);
	if (exchange == NULL)
		return false;
	for (int attempt = 0; attempt < 2 && result == IPC_CLOSED; attempt++) {
		if (!exchange_connect(exchange, NULL))
			break;
		result = list_ask(exchange, service, has_tls, names);
		if (result == IPC_CLOSED)
			exchange->channel.is_broken = true;
	}
	if (result == IPC_OK)
		list_keep(client, service, has_tls, buf_slice(names));
	else if (exchange->is_open)
		exchange->channel.is_broken = true;
	exchange_give_back(exchange);
	return result == IPC_OK;
}
