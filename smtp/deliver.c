/* deliver.c - one job: over next hops, hosts and sessions until every recipient has its verdict. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "smtp/smtp.h"

#define WORDS_MOST (4u * 1024 * 1024) /* verdicts and routes of one job */
#define SEPARATORS " \t\r\n,"

/* ---- the job ---- */

bool
delivery_begin(struct delivery *delivery, const struct smtp_agent *agent,
               const struct agent_job *job)
{
	struct msg_job_recipient row;
	struct slice             list = job->message.recipients;
	size_t                   count = 0;

	*delivery = (struct delivery){ .agent = agent, .job = job, .sender = job->envelope.sender };
	silence_begin(&delivery->silence, agent, job->message.patience_ms);
	while (msg_job_recipient_next(&list, &row))
		count++;
	if (list.data == NULL)
		return false;
	delivery->arena = ARENA(WORDS_MOST + count * (sizeof(struct delivery_recipient) + 8192));
	delivery->queue_id = arena_text(&delivery->arena, job->message.queue_id);
	delivery->recipients =
		arena_alloc_array(&delivery->arena, count + 1, sizeof(*delivery->recipients));
	if (job->message.file >= 0)
		delivery->scratch = arena_alloc(&delivery->arena, DELIVERY_PIECE);
	if (delivery->queue_id == NULL || delivery->recipients == NULL ||
	    (job->message.file >= 0 && delivery->scratch == NULL))
		return false;
	list = job->message.recipients;
	while (delivery->count < count && msg_job_recipient_next(&list, &row)) {
		struct delivery_recipient *recipient = &delivery->recipients[delivery->count++];

		recipient->row = row;
		recipient->address = row.address;
		recipient->verdict.diagnostic = "";
	}
	return true;
}

void
delivery_end(struct delivery *delivery)
{
	notify_send(NULL, &delivery->notes);
	buf_free(&delivery->header);
	buf_free(&delivery->content_types);
	arena_reset(&delivery->arena);
}

bool
delivery_is_verify(const struct delivery *delivery)
{
	return delivery->job->message.kind == JOB_VERIFY;
}

bool
delivery_is_notice(const struct delivery *delivery)
{
	const struct msg_envelope *envelope = &delivery->job->envelope;

	return envelope->sender.length == 0 ||
	       (envelope->flags & (ENVELOPE_IS_NOTICE | ENVELOPE_DOUBLE_BOUNCE)) != 0;
}

size_t
delivery_todo(const struct delivery *delivery)
{
	size_t todo = 0;

	for (size_t i = 0; i < delivery->count; i++)
		todo += delivery->recipients[i].state == RECIPIENT_TODO;
	return todo;
}

void
delivery_all(struct delivery *delivery, const struct session *session, struct verdict verdict)
{
	const char *relay = session != NULL ? session->host.relay : "none";
	const char *name = session != NULL ? session->host.name : "";

	relay = arena_text(&delivery->arena, slice_from(relay));
	name = arena_text(&delivery->arena, slice_from(name));
	for (size_t i = 0; i < delivery->count; i++) {
		struct delivery_recipient *recipient = &delivery->recipients[i];

		if (recipient->state != RECIPIENT_TODO)
			continue;
		recipient->verdict = verdict;
		recipient->relay = relay;
		recipient->remote_mta = name;
		recipient->connected_us = session != NULL ? delivery->connected_us : 0;
		recipient->connection_use = session != NULL ? session->uses : 0;
	}
}

/* ---- one host ---- */

/* Where a delivery is: what it tries, and how often it has tried. */
struct attempt {
	struct delivery         *delivery;
	const struct nexthop    *nexthop;
	const struct tls_choice *tls;
	struct session         **kept;
	size_t                   sessions; /* that got as far as a greeting */
};

/* After a transaction: kept for the next message, or ended. */
static void
put_away(struct session **session, struct session **kept)
{
	const struct parameters *parameters = (*session)->agent->parameters;
	bool                     may_keep =
		parameters->smtp_connection_cache_on_demand &&
		parameters->smtp_connection_cache_time_limit > 0 &&
		!(tls_is_active((*session)->stream) && !parameters->smtp_tls_connection_reuse) &&
		!((*session)->has_auth && parameters->smtp_sender_dependent_authentication);

	notify_keep(*session);
	(*session)->notes = NULL;
	(*session)->words = NULL;
	(*session)->queue_id = "";
	if (may_keep && session_reset(*session)) {
		*kept = *session;
		*session = NULL;
	} else {
		session_quit(session);
	}
}

/* Connects and says hello. NULL: recipients have their verdict. */
static struct session *
open_session(struct attempt *attempt, const struct host *host, const struct tls_choice *tls,
             enum session_start *start)
{
	struct delivery    *delivery = attempt->delivery;
	struct session_plan plan = { .nexthop = attempt->nexthop,
		                     .tls = tls,
		                     .sender = delivery->job->envelope.sender };
	struct error        error = ERROR_NONE;
	struct verdict      verdict = { .reason = NULL };
	struct stream      *stream = host_connect(&delivery->silence, host, &error);
	struct session     *session;

	*start = SESSION_FAILED;
	if (stream == NULL) {
		log_info("%s", error.text);
		delivery_all(delivery, NULL,
		             verdict_make(&delivery->arena, OUTCOME_DEFERRED, "4.4.1", "%s",
		                          error.text));
		return NULL;
	}
	session = session_create(delivery->agent, stream, host);
	if (session == NULL) {
		delivery_all(
			delivery, NULL,
			verdict_make(&delivery->arena, OUTCOME_DEFERRED, "4.3.0", "out of memory"));
		return NULL;
	}
	session->words = &delivery->arena;
	session->silence = &delivery->silence;
	session->queue_id = delivery->queue_id;
	session->carries_notice = delivery_is_notice(delivery);
	session->notes = &delivery->notes;
	*start = session_begin(session, &plan, &verdict);
	session->silence = NULL;
	delivery->connected_us = clock_wall_us();
	if (*start == SESSION_READY)
		return session;
	if (*start == SESSION_FAILED)
		delivery_all(delivery, session, verdict);
	session_quit(&session);
	return NULL;
}

/* What was said at this host is logged when another one is tried; otherwise the result tells. */
static void
log_refusals(const struct delivery *delivery)
{
	for (size_t i = 0; i < delivery->count; i++)
		if (delivery->recipients[i].state == RECIPIENT_TODO &&
		    delivery->recipients[i].verdict.reason != NULL &&
		    strcmp(delivery->recipients[i].relay, "none") != 0) {
			log_info("%s: %s", delivery->queue_id,
			         delivery->recipients[i].verdict.reason);
			return;
		}
}

static void
transfer(struct session *session, struct delivery *delivery)
{
	const struct smtp_agent *agent = delivery->agent;

	if (agent->take_place != NULL)
		agent->take_place(agent->pool);
	transaction_run(session, delivery);
	if (agent->leave_place != NULL)
		agent->leave_place(agent->pool);
}

static void
try_host(struct attempt *attempt, const struct host *host)
{
	struct delivery   *delivery = attempt->delivery;
	struct tls_choice  tls;
	struct verdict     verdict;
	enum session_start start;
	struct session    *session;

	if (!dane_choose(delivery->agent, attempt->tls, attempt->nexthop, host, &delivery->arena,
	                 &tls, &verdict)) {
		delivery_all(delivery, NULL, verdict);
		return;
	}
	session_quit(attempt->kept); /* one connection a thread */
	session = open_session(attempt, host, &tls, &start);
	if (start == SESSION_RETRY_CLEAR) {
		tls.level = TLS_NONE;
		session = open_session(attempt, host, &tls, &start);
	}
	if (session == NULL)
		return;
	attempt->sessions++;
	silence_end(&delivery->silence);
	attempt->delivery->has_spoken = true;
	transfer(session, attempt->delivery);
	put_away(&session, attempt->kept);
}

/* ---- one next hop ---- */

/* Whether there is anything left to do, and time for it. */
static bool
may_go_on(const struct delivery *delivery)
{
	return delivery_todo(delivery) > 0 && !delivery->silence.has_run_out;
}

static void
try_route(struct attempt *attempt, const struct host_list *route)
{
	const struct parameters *parameters = attempt->delivery->agent->parameters;
	size_t                   session_most = (size_t)parameters->smtp_mx_session_limit;

	for (size_t i = 0; i < route->count && may_go_on(attempt->delivery); i++) {
		if (session_most > 0 && attempt->sessions >= session_most)
			return;
		if (attempt->delivery->spent != NULL &&
		    strcmp(attempt->delivery->spent, route->hosts[i].relay) == 0)
			continue;
		log_refusals(attempt->delivery);
		try_host(attempt, &route->hosts[i]);
	}
}

static void
try_nexthop(struct delivery *delivery, struct slice text, struct session **kept)
{
	struct nexthop    nexthop;
	struct tls_choice tls;
	struct host_list  route = { .count = 0 };
	struct attempt    attempt = {
		   .delivery = delivery, .nexthop = &nexthop, .tls = &tls, .kept = kept
	};
	struct verdict verdict;
	struct error   error = ERROR_NONE;

	if (!nexthop_parse(delivery->agent, text, &delivery->arena, &nexthop, &error)) {
		delivery_all(delivery, NULL,
		             verdict_make(&delivery->arena, OUTCOME_DEFERRED, "4.3.5", "%s",
		                          error.text));
		return;
	}
	if (!tls_choice_find(delivery->agent, &nexthop, &delivery->arena, &tls, &verdict) ||
	    !route_find(delivery->agent, &nexthop, &delivery->arena, &route, &verdict)) {
		delivery_all(delivery, NULL, verdict);
		return;
	}
	try_route(&attempt, &route);
}

/* ---- the whole ---- */

/* On a connection from before. Whatever happened to it in the meantime is no host's failure. */
static void
try_kept(struct delivery *delivery, struct session **kept)
{
	struct session *session = *kept;

	*kept = NULL;
	if (session == NULL)
		return;
	if (!slice_equal(slice_from(session->nexthop), delivery->job->message.nexthop) ||
	    !session_is_reusable(session)) {
		session_quit(&session);
		return;
	}
	delivery->connected_us = 0;
	transfer(session, delivery);
	delivery->has_spoken = session->has_reply;
	/* A host that has answered is not asked the same again on a new connection. */
	if (!session->is_dead && !session->is_tainted)
		delivery->spent = arena_text(&delivery->arena, slice_from(session->host.relay));
	put_away(&session, kept);
}

/* Recipients that nobody took keep their last verdict, which may be a final one. */
static void
close_verdicts(struct delivery *delivery)
{
	for (size_t i = 0; i < delivery->count; i++) {
		struct delivery_recipient *recipient = &delivery->recipients[i];

		if (recipient->verdict.reason == NULL)
			recipient->verdict = verdict_make(&delivery->arena, OUTCOME_DEFERRED,
			                                  "4.3.0", "no host was tried");
		if (recipient->relay == NULL)
			recipient->relay = "none";
		if (recipient->remote_mta == NULL)
			recipient->remote_mta = "";
		recipient->state = RECIPIENT_DONE;
	}
}

void
delivery_run(struct delivery *delivery, struct session **kept)
{
	struct slice   rest = delivery->job->message.nexthop, word;
	struct verdict verdict;

	if (!delivery_rewrite(delivery, &verdict)) {
		delivery_all(delivery, NULL, verdict);
		delivery->has_spoken = true; /* nothing that speaks against the destination */
		close_verdicts(delivery);
		return;
	}
	try_kept(delivery, kept);
	while (may_go_on(delivery) && slice_next_word(&rest, SEPARATORS, &word))
		try_nexthop(delivery, word, kept);
	rest = slice_from(delivery->agent->parameters->smtp_fallback_relay);
	while (!delivery->agent->is_lmtp && may_go_on(delivery) &&
	       slice_next_word(&rest, SEPARATORS, &word))
		try_nexthop(delivery, word, kept);
	silence_end(&delivery->silence);
	close_verdicts(delivery);
}
