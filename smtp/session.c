/* session.c - a session from its greeting to the first MAIL, and its end. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/number.h"
#include "smtp/smtp.h"

#define REPLY_MEMORY_MOST (256u * 1024)
#define COMMAND_MOST      1024

static const struct offer_row {
	const char *keyword;
	unsigned    offer;
} offer_rows[] = {
	{ "PIPELINING", OFFER_PIPELINING },
	{ "8BITMIME", OFFER_8BITMIME },
	{ "SIZE", OFFER_SIZE },
	{ "STARTTLS", OFFER_STARTTLS },
	{ "AUTH", OFFER_AUTH },
	{ "DSN", OFFER_DSN },
	{ "SMTPUTF8", OFFER_SMTPUTF8 },
	{ "CHUNKING", OFFER_CHUNKING },
	{ "REQUIRETLS", OFFER_REQUIRETLS },
	{ "ENHANCEDSTATUSCODES", OFFER_ENHANCEDSTATUSCODES },
	{ "XFORWARD", OFFER_XFORWARD },
};

struct session *
session_create(const struct smtp_agent *agent, struct stream *stream, const struct host *host)
{
	struct session *session = calloc(1, sizeof(*session));

	if (session == NULL) {
		stream_destroy(&stream);
		return NULL;
	}
	session->agent = agent;
	session->stream = stream;
	session->host = *host;
	session->replies = ARENA(REPLY_MEMORY_MOST);
	transcript_init(&session->transcript);
	session->opened_ms = clock_monotonic_ms();
	return session;
}

void
session_destroy(struct session **session)
{
	if (*session == NULL)
		return;
	stream_destroy(&(*session)->stream);
	notify_keep(*session);
	arena_reset(&(*session)->replies);
	free(*session);
	*session = NULL;
}

void
session_quit(struct session **pointer)
{
	struct session   *session = *pointer;
	struct arena      words = ARENA(8192);
	struct smtp_reply reply;
	struct verdict    verdict;

	if (session == NULL)
		return;
	session->words = &words;
	if (!session->is_dead && session_command(session, STEP_QUIT, SLICE("QUIT"), &verdict)) {
		if (session->agent->parameters->smtp_skip_quit_response)
			stream_flush(session->stream);
		else
			session_reply(session, STEP_QUIT, &reply, &verdict);
	}
	session_destroy(pointer);
	arena_reset(&words);
}

bool
session_reset(struct session *session)
{
	struct arena      words = ARENA(8192), *before = session->words;
	struct smtp_reply reply;
	struct verdict    verdict;
	bool              ok;

	if (session->is_dead || session->is_tainted)
		return false;
	if (!session->needs_reset)
		return true;
	session->words = &words;
	ok = session_command(session, STEP_RSET, SLICE("RSET"), &verdict) &&
	     session_reply(session, STEP_RSET, &reply, &verdict) && reply.code / 100 == 2;
	session->words = before;
	arena_reset(&words);
	session->needs_reset = !ok;
	return ok;
}

bool
session_is_reusable(struct session *session)
{
	const struct parameters *parameters = session->agent->parameters;
	int64_t                  age_ms = clock_monotonic_ms() - session->opened_ms;

	if (session->is_dead || session->is_tainted || session->needs_reset)
		return false;
	if (age_ms > parameters->smtp_connection_reuse_time_limit * 1000)
		return false;
	if (parameters->smtp_connection_reuse_count_limit > 0 &&
	    (int64_t)session->uses >= parameters->smtp_connection_reuse_count_limit)
		return false;
	/* A word that nobody asked for ("421 idle too long"), or the end. */
	return !stream_has_pending(session->stream) &&
	       stream_fill_now(session->stream) == STREAM_AGAIN;
}

/* ---- EHLO ---- */

static bool
is_discarded(const struct smtp_agent *agent, struct slice keyword)
{
	struct slice rest = slice_from(agent->parameters->smtp_discard_ehlo_keywords), word;

	while (slice_next_word(&rest, " \t\r\n,", &word))
		if (slice_equal_fold(word, keyword))
			return true;
	return false;
}

static void
take_offer(struct session *session, unsigned offer, struct slice arguments)
{
	int64_t size;

	session->offers |= offer;
	if (offer == OFFER_SIZE && number_parse(slice_trim(arguments), 0, INT64_MAX, &size))
		session->size_limit = (uint64_t)size;
	if (offer == OFFER_XFORWARD)
		snprintf(session->forwards, sizeof(session->forwards), "%.*s",
		         SLICE_ARGS(slice_first(arguments, sizeof(session->forwards) - 1)));
	if (offer == OFFER_AUTH)
		snprintf(session->mechanisms, sizeof(session->mechanisms), "%.*s",
		         SLICE_ARGS(slice_first(arguments, sizeof(session->mechanisms) - 1)));
}

/* One line behind the first: "SIZE 10240000", "AUTH PLAIN LOGIN", "AUTH=PLAIN LOGIN". */
static void
take_offer_line(struct session *session, struct slice line)
{
	size_t       length = 0;
	struct slice keyword;

	while (length < line.length && line.data[length] != ' ' && line.data[length] != '=')
		length++;
	keyword = slice_first(line, length);
	if (is_discarded(session->agent, keyword))
		return;
	for (size_t i = 0; i < sizeof(offer_rows) / sizeof(offer_rows[0]); i++)
		if (slice_equal_fold(keyword, slice_from(offer_rows[i].keyword)))
			take_offer(session, offer_rows[i].offer,
			           slice_from_offset(line, length + 1));
}

static void
take_offers(struct session *session, struct slice text)
{
	struct slice rest = text, line;
	bool         is_first = true;

	session->offers = 0;
	session->size_limit = 0;
	session->mechanisms[0] = '\0';
	while (slice_next_part(&rest, '\n', &line)) {
		if (!is_first)
			take_offer_line(session, line);
		is_first = false;
	}
}

/* The host's own name in the first line of the greeting or of EHLO's reply. */
static bool
is_my_name(const struct session *session, struct slice text)
{
	struct slice rest = text, word;

	return slice_next_word(&rest, " \t\n", &word) &&
	       slice_equal_fold(word, slice_from(session->agent->parameters->myhostname));
}

static enum session_start
hello(struct session *session, const struct session_plan *plan, struct verdict *verdict)
{
	const struct parameters *parameters = session->agent->parameters;
	enum step                step = session->agent->is_lmtp            ? STEP_LHLO
	                                : parameters->smtp_never_send_ehlo ? STEP_HELO
	                                                                   : STEP_EHLO;
	static const char *const verbs[] = {
		[STEP_EHLO] = "EHLO", [STEP_HELO] = "HELO", [STEP_LHLO] = "LHLO"
	};
	char              line[COMMAND_MOST];
	struct smtp_reply reply;

	for (;;) {
		snprintf(line, sizeof(line), "%s %s", verbs[step], session->agent->helo_name);
		if (!session_command(session, step, slice_from(line), verdict) ||
		    !session_reply(session, step, &reply, verdict))
			return SESSION_FAILED;
		if (reply.code / 100 == 2)
			break;
		if (step == STEP_EHLO && reply.code / 100 == 5) {
			step = STEP_HELO; /* RFC 5321 3.2: a server without extensions */
			continue;
		}
		*verdict = verdict_of_refusal(session, &reply);
		return SESSION_FAILED;
	}
	if (session->host.detects_loops && is_my_name(session, reply.text)) {
		*verdict = verdict_make(session->words, OUTCOME_FAILED, "5.4.6",
		                        "mail for %s loops back to myself", plan->nexthop->domain);
		return SESSION_FAILED;
	}
	take_offers(session, step == STEP_HELO ? SLICE_EMPTY : reply.text);
	return SESSION_READY;
}

static enum session_start
greeting(struct session *session, struct verdict *verdict)
{
	struct smtp_reply reply;

	if (!session_reply(session, STEP_GREETING, &reply, verdict))
		return SESSION_FAILED;
	if (reply.code / 100 == 2)
		return SESSION_READY;
	*verdict = verdict_of_refusal(session, &reply);
	if (session->agent->parameters->smtp_skip_5xx_greeting &&
	    verdict->action == OUTCOME_FAILED) {
		/* Another host, or this one later, may be in a better mood. */
		char *status = arena_text(session->words, slice_from(verdict->status));

		verdict->action = OUTCOME_DEFERRED;
		if (status != NULL)
			status[0] = '4';
		verdict->status = status != NULL ? status : "4.0.0";
	}
	return SESSION_FAILED;
}

/* ---- STARTTLS ---- */

static void
log_tls(const struct session *session)
{
	struct tls_info info;

	if (session->agent->parameters->smtp_tls_loglevel < 1 ||
	    !tls_info_get(session->stream, &info))
		return;
	log_info("%s TLS connection established to %s: %s with cipher %s (%d/%d bits)%s",
	         info.is_verified            ? "Verified"
	         : info.is_trusted           ? "Trusted"
	         : info.has_peer_certificate ? "Untrusted"
	                                     : "Anonymous",
	         session->host.relay, info.protocol, info.cipher, info.bits, info.algorithm_bits,
	         info.details);
}

/* The handshake. When it fails, only opportunistic TLS may go on, on a new connection. */
static enum session_start
handshake(struct session *session, const struct session_plan *plan, struct verdict *verdict)
{
	struct tls_policy policy;
	struct error      error = ERROR_NONE;
	int64_t           timeout_ms = session->agent->parameters->smtp_starttls_timeout * 1000;

	if (!tls_choice_policy(session->agent, plan->tls, plan->nexthop->domain, &session->host,
	                       session->words, &policy)) {
		*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.3.0", "out of memory");
		return SESSION_FAILED;
	}
	stream_set_timeout(session->stream, timeout_ms);
	stream_set_deadline(session->stream, clock_monotonic_ms() + timeout_ms);
	if (tls_client_start(session->agent->tls, session->stream, &policy, &error)) {
		log_tls(session);
		/* RFC 3207 4.2: nothing that was said in clear counts. */
		take_offers(session, SLICE_EMPTY);
		return SESSION_READY;
	}
	session->is_dead = true;
	log_info("%s: TLS with %s failed: %s", session->queue_id, session->host.relay, error.text);
	if (plan->tls->level == TLS_MAY)
		return SESSION_RETRY_CLEAR;
	if (slice_starts_with(slice_from(error.text), SLICE("Server certificate")))
		*verdict =
			verdict_make(session->words, OUTCOME_DEFERRED, "4.7.5", "%s", error.text);
	else
		*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.7.5",
		                        "Cannot start TLS: handshake failure (%s)", error.text);
	return SESSION_FAILED;
}

static enum session_start
starttls(struct session *session, const struct session_plan *plan, struct verdict *verdict)
{
	struct smtp_reply reply;

	if ((session->offers & OFFER_STARTTLS) == 0 || session->agent->tls == NULL) {
		if (plan->tls->level <= TLS_MAY)
			return SESSION_READY;
		*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.7.4",
		                        "TLS is required, but was not offered by host %s",
		                        session->host.place);
		return SESSION_FAILED;
	}
	if (!session_command(session, STEP_STARTTLS, SLICE("STARTTLS"), verdict) ||
	    !session_reply(session, STEP_STARTTLS, &reply, verdict))
		return SESSION_FAILED;
	if (reply.code / 100 != 2) {
		if (plan->tls->level <= TLS_MAY)
			return session->is_tainted ? SESSION_RETRY_CLEAR : SESSION_READY;
		*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.7.4",
		                        "TLS is required, but host %s refused to start TLS: %s",
		                        session->host.place, reply_text(session->words, &reply));
		return SESSION_FAILED;
	}
	/* Whoever sits on the line could have put replies there for us to believe later. */
	if (stream_has_pending(session->stream)) {
		session->is_dead = true;
		notify_trouble(session, TROUBLE_PROTOCOL);
		*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.7.5",
		                        "host %s sent plain text before the TLS handshake",
		                        session->host.place);
		log_info("%s: %s", session->queue_id, verdict->reason);
		return plan->tls->level == TLS_MAY ? SESSION_RETRY_CLEAR : SESSION_FAILED;
	}
	return handshake(session, plan, verdict);
}

enum session_start
session_begin(struct session *session, const struct session_plan *plan, struct verdict *verdict)
{
	enum session_start start = SESSION_READY;

	snprintf(session->nexthop, sizeof(session->nexthop), "%s", plan->nexthop->text);
	if (session->agent->parameters->smtp_tls_wrappermode && !session->agent->is_lmtp &&
	    plan->tls->level > TLS_MAY)
		start = handshake(session, plan, verdict);
	if (start == SESSION_READY)
		start = greeting(session, verdict);
	if (start == SESSION_READY)
		start = hello(session, plan, verdict);
	if (start != SESSION_READY)
		return start;
	if (plan->tls->level != TLS_NONE && !tls_is_active(session->stream)) {
		start = starttls(session, plan, verdict);
		if (start == SESSION_READY && tls_is_active(session->stream))
			start = hello(session, plan, verdict);
	} else if ((session->offers & OFFER_STARTTLS) != 0 &&
	           session->agent->parameters->smtp_tls_note_starttls_offer) {
		log_info("%s: Host offered STARTTLS: [%s]", session->queue_id, session->host.name);
	}
	if (start != SESSION_READY)
		return start;
	return session_authenticate(session, plan, verdict) ? SESSION_READY : SESSION_FAILED;
}
