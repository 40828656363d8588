/*
 * private.c - a client with libunbound in its own process; see dns.h.
 *
 * Only for tools: a daemon that speaks DNS would parse what strangers send beside other secrets.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/dns/client.h"
#include "lib/dns/unbound.h"
#include "lib/dns/unbound_answer.h"

#define RECORDS_MOST_BYTES (64u * 1024)

struct recursion {
	struct dns_private private;
	struct ub_ctx *context;
};

struct question {
	bool              is_over;
	int               problem; /* 0 or libunbound's number */
	struct ub_result *result;
};

static void
question_over(void *context, int problem, struct ub_result *result)
{
	struct question *question = context;

	question->is_over = true;
	question->problem = problem;
	question->result = result;
}

/* Waits for the answer; false when the time is over. */
static bool
await(struct ub_ctx *context, struct question *question, int64_t deadline_ms)
{
	while (!question->is_over) {
		struct pollfd ready = { .fd = ub_fd(context), .events = POLLIN };
		int64_t       left_ms = deadline_ms - clock_monotonic_ms();

		if (left_ms <= 0)
			return false;
		int count = poll(&ready, 1, (int)left_ms);
		if (count < 0 && errno != EINTR)
			return false;
		if (count > 0 && ub_process(context) != 0)
			return false;
	}
	return true;
}

static bool
keep(struct arena *arena, struct msg_dns_answer *message)
{
	message->canonical = arena_copy(arena, message->canonical);
	message->records = arena_copy(arena, message->records);
	message->reason = arena_copy(arena, message->reason);
	return message->canonical.data != NULL && message->records.data != NULL &&
	       message->reason.data != NULL;
}

static bool
ask(const struct dns_private *private, const struct msg_dns_query *query, struct arena *arena,
    struct msg_dns_answer *message, struct error *error)
{
	const struct recursion *recursion = (const struct recursion *)private;
	struct question         question = { 0 };
	struct buf              records = BUF(RECORDS_MOST_BYTES);
	char                   *name = arena_format(arena, "%.*s.", SLICE_ARGS(query->name));
	int                     id = 0;
	bool                    is_ok = false;

	if (name == NULL)
		return error_set(error, "out of memory");
	int problem = ub_resolve_async(recursion->context, name, (int)query->type, 1, &question,
	                               question_over, &id);
	if (problem != 0)
		return error_set(error, "%s", ub_strerror(problem));
	if (!await(recursion->context, &question, clock_monotonic_ms() + query->timeout_ms)) {
		ub_cancel(recursion->context, id);
		error_set(error, "no answer in time");
	} else if (question.problem != 0 || question.result == NULL) {
		error_set(error, "%s", ub_strerror(question.problem));
	} else {
		unbound_answer(question.result, arena, &records, message);
		is_ok = keep(arena, message) || error_set(error, "no memory for the answer");
	}
	if (question.result != NULL)
		ub_resolve_free(question.result);
	buf_free(&records);
	return is_ok;
}

static void
close_recursion(const struct dns_private *private)
{
	struct recursion *recursion = (struct recursion *)(uintptr_t) private;

	ub_ctx_delete(recursion->context);
	free(recursion);
}

struct dns_client *
dns_client_create_private(const struct parameters *parameters, struct error *error)
{
	struct recursion  *recursion = calloc(1, sizeof(*recursion));
	struct dns_client *client = NULL;

	if (recursion == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	recursion->private = (struct dns_private){ ask, close_recursion };
	recursion->context = unbound_create(parameters, error);
	if (recursion->context != NULL)
		client = dns_client_create_from(&recursion->private);
	if (client == NULL) {
		if (recursion->context != NULL)
			ub_ctx_delete(recursion->context);
		free(recursion);
	}
	return client;
}
