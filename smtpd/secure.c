/*
 * secure.c - STARTTLS (RFC 3207) and TLS from the first byte (RFC 8314 3).
 */
#include "lib/base/log.h"
#include "smtpd/session.h"

void
command_starttls(struct session *session, const struct smtp_command *command)
{
	if (command->arguments.length > 0) {
		answer(session, 501, "5.5.4", "Syntax: STARTTLS");
	} else if (tls_is_active(session->stream)) {
		answer(session, 554, "5.5.1", "Error: TLS already active");
	} else if (session->room->tls == NULL) {
		answer(session, 502, "5.5.1", "Error: command not implemented");
	} else {
		answer(session, 220, "2.0.0", "Ready to start TLS");
		/* What came in clear behind the command belongs to nobody (CVE-2011-0411). */
		if (stream_drop_input(session->stream))
			log_info("dropped what %s sent in clear after STARTTLS",
			         client_label(session));
		session_forget(session);
		session->state = STATE_HANDSHAKE;
		session_start_tls(session, session->stream, session->room->tls);
	}
}

/* What an administrator copies into a table for permit_tls_clientcerts. */
static void
log_certificate(struct session *session, const struct tls_info *info)
{
	struct tls_peer peer;

	if (session->parameters->smtpd_tls_loglevel < 1 || info->is_resumed ||
	    !tls_peer_get(session->stream, session->parameters->smtpd_tls_fingerprint_digest,
	                  &peer))
		return;
	log_info("%s: %s: subject_CN=%s, issuer=%s, fingerprint=%s, pkey_fingerprint=%s",
	         client_label(session), info->is_trusted ? "Trusted" : "Untrusted", peer.subject,
	         peer.issuer, peer.fingerprint, peer.key_fingerprint);
}

void
secure_done(struct session *session)
{
	struct tls_info info;

	session->state = STATE_COMMAND;
	if (!tls_info_get(session->stream, &info)) {
		session->is_ending = true;
		return;
	}
	client_log_connect(session);
	if (session->parameters->smtpd_tls_loglevel >= 1)
		log_info("%s TLS connection %s from %s: %s with cipher %s (%d/%d bits)%s%s",
		         info.is_trusted             ? "Trusted"
		         : info.has_peer_certificate ? "Untrusted"
		                                     : "Anonymous",
		         info.is_resumed ? "reused" : "established", client_label(session),
		         info.protocol, info.cipher, info.bits, info.algorithm_bits,
		         info.details[0] == '\0' || info.details[0] == ' ' ? "" : " ",
		         info.details);
	log_certificate(session, &info);
	if (!info.is_resumed &&
	    !client_may(session, LIMIT_TLS_SESSIONS,
	                session->parameters->smtpd_client_new_tls_session_rate_limit,
	                "New TLS session rate")) {
		answer_and_end(
			session, 421, "4.7.0", "%s Error: too many new TLS sessions from %.*s",
			session->parameters->myhostname, SLICE_ARGS(session->client.address));
		return;
	}
	if (session->parameters->smtpd_tls_wrappermode)
		session_greet(session);
}
