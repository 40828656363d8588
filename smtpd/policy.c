/*
 * policy.c - check_policy_service: what a policy server is told, and its answer as an access(5)
 * result.
 *
 * LIMIT: a worker thread waits for the answer, up to smtpd_policy_service_timeout: a slow server
 * with many sessions at once uses up the service's threads.
 */
#include <stdio.h>

#include "lib/base/log.h"
#include "lib/conf/version.h"
#include "lib/policy/policy.h"
#include "smtpd/checks.h"

#define REQUEST_MOST 32768
#define ACTION_MOST  8192

struct policy_service *
policy_open(const struct parameters *parameters, struct slice text, struct error *error)
{
	const struct policy_settings settings = {
		.timeout_ms = parameters->smtpd_policy_service_timeout * 1000,
		.max_idle_ms = parameters->smtpd_policy_service_max_idle * 1000,
		.max_ttl_ms = parameters->smtpd_policy_service_max_ttl * 1000,
		.request_limit = parameters->smtpd_policy_service_request_limit,
		.try_limit = parameters->smtpd_policy_service_try_limit,
		.retry_delay_ms = parameters->smtpd_policy_service_retry_delay * 1000,
		.default_action = parameters->smtpd_policy_service_default_action,
		.context = parameters->smtpd_policy_service_policy_context,
	};

	return policy_service_create(text, &settings, error);
}

static void
append_number(struct buf *request, const char *name, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	policy_append(request, name, slice_from(text));
}

/* Who it is and what was said so far. */
static void
append_client(struct buf *request, const struct check *check)
{
	const struct session *session = check->session;
	const struct client  *client = &session->client;
	const char           *place = check_place_word(check);

	policy_append(request, "request", SLICE("smtpd_access_policy"));
	policy_append(request, "protocol_state",
	              slice_from(strcmp(place, "BDAT") == 0 ? "DATA" : place));
	policy_append(request, "protocol_name", session->is_esmtp ? SLICE("ESMTP") : SLICE("SMTP"));
	policy_append(request, "client_address", client->address);
	policy_append(request, "client_name", client->name);
	policy_append(request, "client_port", client->port);
	policy_append(request, "reverse_client_name", client->reverse_name);
	policy_append(request, "server_address", session->server_address);
	policy_append(request, "server_port", session->server_port);
	policy_append(request, "helo_name", check->question->helo);
}

static void
append_message(struct buf *request, const struct check *check)
{
	const struct restriction_question *question = check->question;
	const struct transaction          *mail = &check->session->mail;
	bool has_data = question->stage == STAGE_DATA || question->stage == STAGE_END_OF_DATA;
	struct slice recipient = SLICE_EMPTY;
	char         instance[64];

	if (question->recipient != NULL)
		recipient = question->recipient->address;
	else if (has_data && mail->recipient_count == 1)
		recipient = mail->recipients[0].address;
	/* Session numbers are not used again for a long time. */
	snprintf(instance, sizeof(instance), "%llx.%x", (unsigned long long)check->session->number,
	         check->session->transactions);
	policy_append(request, "sender", question->has_sender ? question->sender : SLICE_EMPTY);
	policy_append(request, "recipient", recipient);
	append_number(request, "recipient_count", has_data ? mail->recipient_count : 0);
	policy_append(request, "queue_id",
	              mail->intake != NULL ? slice_from(intake_id(mail->intake)) : SLICE_EMPTY);
	policy_append(request, "instance", slice_from(instance));
	append_number(request, "size",
	              question->stage == STAGE_END_OF_DATA ? mail->content_bytes
	                                                   : (uint64_t)mail->mail.size);
	policy_append(request, "etrn_domain", question->etrn);
	policy_append(request, "stress", SLICE_EMPTY);
}

static void
append_security(struct buf *request, const struct session *session)
{
	struct tls_info info = { 0 };
	struct tls_peer peer = { .subject = "" };
	bool            has_tls = tls_info_get(session->stream, &info);

	if (!tls_peer_get(session->stream, session->parameters->smtpd_tls_fingerprint_digest,
	                  &peer))
		peer = (struct tls_peer){ .subject = "" };

	policy_append(request, "sasl_method", session->sasl_method);
	policy_append(request, "sasl_username", session->sasl_user);
	policy_append(request, "sasl_sender", session->sasl_sender);
	/* The fingerprints are anybody's; the names only those of whom an authority knows. */
	policy_append(request, "ccert_subject", slice_from(info.is_trusted ? peer.subject : ""));
	policy_append(request, "ccert_issuer", slice_from(info.is_trusted ? peer.issuer : ""));
	policy_append(request, "ccert_fingerprint", slice_from(peer.fingerprint));
	policy_append(request, "ccert_pubkey_fingerprint", slice_from(peer.key_fingerprint));
	policy_append(request, "encryption_protocol", slice_from(info.protocol));
	policy_append(request, "encryption_cipher", slice_from(info.cipher));
	append_number(request, "encryption_keysize", has_tls ? (uint64_t)info.bits : 0);
	policy_append(request, "compatibility_level", SLICE("3.11"));
	policy_append(request, "mail_version", slice_from(dakiya_version()));
}

enum verdict
check_check_policy_service(struct check *check, const struct entry *entry)
{
	struct buf   request = BUF(REQUEST_MOST), action = BUF(ACTION_MOST);
	struct error error = ERROR_NONE;

	client_know_name(check->session);
	append_client(&request, check);
	append_message(&request, check);
	append_security(&request, check->session);
	if (request.has_failed) {
		buf_free(&request);
		return refuse(check, 451, "4.3.0", "Insufficient system resources");
	}
	if (!policy_ask(entry->policy, buf_slice(&request), &action, &error))
		log_warning("%s", error.text);
	enum verdict verdict =
		access_result(check, policy_service_name(entry->policy),
	                      check_text(check, "%.*s", SLICE_ARGS(buf_slice(&action))),
	                      check->subject, check->class);
	buf_free(&request);
	buf_free(&action);
	return verdict;
}
