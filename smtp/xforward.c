/*
 * xforward.c - tells a content filter whose message comes next (Postfix XFORWARD_README).
 */
#include "lib/base/log.h"
#include "lib/smtp/compose.h"
#include "smtp/smtp.h"

#define COMMAND_MOST 2048

/* A server that says no goes without. False (is_dead): *verdict. */
static bool
send_attributes(struct session *session, struct slice command, struct verdict *verdict)
{
	struct smtp_reply reply;

	if (!session_command(session, STEP_XFORWARD, command, verdict) ||
	    !session_reply(session, STEP_XFORWARD, &reply, verdict))
		return false;
	if (reply.code / 100 != 2)
		log_warning("host %s said: %d (in reply to XFORWARD command)", session->host.place,
		            reply.code);
	return true;
}

bool
session_forward(struct session *session, const struct agent_job *job, struct verdict *verdict)
{
	const struct parameters        *parameters = session->agent->parameters;
	const struct msg_envelope      *envelope = &job->envelope;
	bool                            is_local = slice_is_empty(envelope->client_address);
	const struct xforward_attribute attributes[] = {
		{ "NAME", envelope->client_name },
		{ "ADDR", envelope->client_address },
		{ "PORT", envelope->client_port },
		{ "PROTO", envelope->client_protocol },
		{ "HELO", envelope->client_helo },
		{ "IDENT", job->message.queue_id },
		{ "SOURCE", is_local ? SLICE("LOCAL") : SLICE("REMOTE") },
	};
	size_t     count = sizeof(attributes) / sizeof(attributes[0]), at = 0;
	struct buf line = BUF(COMMAND_MOST);
	bool       ok = true;

	if ((session->offers & OFFER_XFORWARD) == 0 ||
	    !(session->agent->is_lmtp ? parameters->lmtp_send_xforward_command
	                              : parameters->smtp_send_xforward_command))
		return true;
	while (ok && compose_xforward(&line, slice_from(session->forwards), attributes, count, &at))
		ok = send_attributes(session, buf_slice(&line), verdict);
	buf_free(&line);
	return ok;
}
