/*
 * etrn.c - ETRN (RFC 1985): a client that was away asks for what waits for it.
 *
 * The mail goes where it is routed to, as any, and not to who asks. Which domains there is an
 * answer for says fast_flush_domains; who may ask, smtpd_etrn_restrictions.
 */
#include "lib/base/log.h"
#include "lib/queue/flush.h"
#include "smtpd/session.h"

#define QUEUE_SOCKET "public/queue"
#define TIMEOUT_MS   10000

static bool
is_allowed(struct session *session, struct slice domain)
{
	struct restriction_question question = { .stage = STAGE_ETRN,
		                                 .helo = session->helo,
		                                 .etrn = domain };
	struct smtp_reply           refusal;

	if (restrictions_evaluate(session, &question, &refusal))
		return true;
	answer_reply(session, &refusal);
	return false;
}

/* Whether such mail is looked for at all; false when answered. */
static bool
is_served(struct session *session, struct slice domain)
{
	struct error error = ERROR_NONE;

	switch (match_list_name(session->room->flush_domains, domain, &error)) {
	case LOOKUP_FOUND: return true;
	case LOOKUP_NOT_FOUND:
		log_warning("reject: ETRN %.*s from %s: not in fast_flush_domains",
		            SLICE_ARGS(slice_first(domain, 100)), client_label(session));
		answer(session, 459, "4.7.1", "<%.*s>: service unavailable", SLICE_ARGS(domain));
		return false;
	case LOOKUP_TRY_LATER: break;
	}
	log_warning("fast_flush_domains: %s", error.text);
	answer(session, 458, "4.3.0", "Unable to queue messages");
	return false;
}

void
command_etrn(struct session *session, const struct smtp_command *command)
{
	struct slice domain, rest = command->arguments;
	struct error error = ERROR_NONE;

	if (!slice_next_word(&rest, " \t", &domain) || slice_trim(rest).length > 0) {
		answer(session, 500, "5.5.2", "Syntax: ETRN domain");
		return;
	}
	/* "@domain" asks for the subdomains as well, "#queue" for a queue: to us both are domains.
	 */
	if (domain.data[0] == '@' || domain.data[0] == '#')
		domain = slice_from_offset(domain, 1);
	if (!hostname_is_valid(domain, false) && !address_literal_is_valid(domain)) {
		answer(session, 501, "5.5.4", "Error: invalid parameter syntax");
		return;
	}
	if (!is_allowed(session, domain) || !is_served(session, domain))
		return;
	if (!queue_flush_site(QUEUE_SOCKET, domain, TIMEOUT_MS, &error)) {
		log_warning("ETRN %.*s from %s: %s", SLICE_ARGS(slice_first(domain, 100)),
		            client_label(session), error.text);
		answer(session, 458, "4.3.0", "Unable to queue messages");
		return;
	}
	log_info("ETRN %.*s from %s", SLICE_ARGS(slice_first(domain, 100)), client_label(session));
	answer(session, 250, "2.0.0", "Queuing started");
}
