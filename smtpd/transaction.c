/*
 * transaction.c - one mail transaction: its memory, its id, its way to intake, its one reset.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "lib/base/array.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/mail/header.h"
#include "lib/queue/verp.h"
#include "lib/tls/tls.h"
#include "smtpd/session.h"

/* Memory for a sender and the texts of refusals, and for each recipient. */
#define BASE_MOST      (64u * 1024)
#define RECIPIENT_MOST 1024u

void
transaction_init(struct transaction *mail)
{
	*mail = (struct transaction){
		.arena = ARENA(BASE_MOST),
		.sender = SLICE_EMPTY,
		.filter = SLICE_EMPTY,
		.redirect = SLICE_EMPTY,
		.prepend = SLICE_EMPTY,
	};
}

void
transaction_reset(struct session *session)
{
	struct transaction *mail = &session->mail;

	if (mail->intake != NULL)
		intake_end(&mail->intake);
	proxy_close(session);
	milters_message_end(session);
	/* Before MAIL it is about the message that is to come. */
	if (mail->has_begun) {
		arena_reset(&session->forwarded.arena);
		session->forwarded = (struct forwarded){ 0 };
	}
	if (mail->is_counted)
		atomic_fetch_sub(&session->room->messages, 1);
	free(mail->recipients);
	arena_reset(&mail->arena);
	transaction_init(mail);
	session->transactions++;
	mail->arena.limit =
		BASE_MOST + RECIPIENT_MOST * (size_t)session->parameters->smtpd_recipient_limit;
	if (session->phase > PHASE_GREETED)
		session->phase = PHASE_GREETED;
}

const char *
transaction_id(const struct session *session)
{
	return session->mail.intake != NULL ? intake_id(session->mail.intake) : "NOQUEUE";
}

const char *
session_protocol(const struct session *session)
{
	/* [is SMTPUTF8][has TLS][has AUTH] */
	static const char *const words[2][2][2] = {
		{ { "ESMTP", "ESMTPA" }, { "ESMTPS", "ESMTPSA" } },
		{ { "UTF8SMTP", "UTF8SMTPA" }, { "UTF8SMTPS", "UTF8SMTPSA" } },
	};

	if (!session->is_esmtp)
		return "SMTP";
	return words[session->mail.mail.is_smtputf8][tls_is_active(session->stream)]
		    [session->sasl_user.length > 0];
}

/* The client of the host in front of the filter, as far as it was told. */
static void
forward_envelope(const struct forwarded *forwarded, struct msg_envelope *envelope)
{
	const struct slice unknown = SLICE("unknown");

	envelope->client_name = forwarded->name.length > 0 ? forwarded->name : unknown;
	envelope->client_address = forwarded->address.length > 0 ? forwarded->address : unknown;
	envelope->client_port = forwarded->port.length > 0 ? forwarded->port : unknown;
	envelope->client_helo = forwarded->helo;
	if (forwarded->protocol.length > 0)
		envelope->client_protocol = forwarded->protocol;
}

static struct msg_envelope
make_envelope(const struct session *session)
{
	const struct transaction *mail = &session->mail;
	struct msg_envelope       envelope = {
		      .sender = mail->sender,
		      .arrival_us = mail->arrival_us,
		      .size = (uint64_t)mail->mail.size,
		      .dsn_ret = mail->mail.ret,
		      .dsn_envid = mail->mail.envid,
		      .message_id = SLICE_EMPTY,
		      .client_name = session->client.name,
		      .client_address = session->client.address,
		      .client_port = session->client.port,
		      .client_helo = session->helo,
		      .client_protocol = slice_from(session_protocol(session)),
		      .sasl_method = session->sasl_method,
		      .sasl_username = session->sasl_user,
		      .sasl_sender = session->sasl_sender,
		      .filter = mail->filter,
		      .service = slice_from(session->room->service),
	};

	if (session->forwarded.is_set)
		forward_envelope(&session->forwarded, &envelope);
	if (mail->filter.length == 0)
		envelope.filter = slice_trim(slice_from(session->parameters->content_filter));
	if (mail->mail.body == SMTP_BODY_8BITMIME)
		envelope.flags |= ENVELOPE_8BIT;
	if (mail->mail.is_smtputf8)
		envelope.flags |= ENVELOPE_SMTPUTF8;
	if (mail->mail.has_verp)
		envelope.flags |=
			verp_complete(verp_flags(mail->mail.verp),
		                      slice_from(session->parameters->default_verp_delimiters));
	return envelope;
}

bool
transaction_open(struct session *session, struct smtp_reply *reply)
{
	struct transaction *mail = &session->mail;
	struct error        error = ERROR_NONE;
	struct buf          login = BUF(4096);

	if (mail->intake != NULL || mail->proxy != NULL)
		return true;
	client_know_name(session);
	struct msg_envelope envelope = make_envelope(session);
	if (session->room->proxy_filter == NULL)
		mail->intake = intake_begin(&session->room->intake, &envelope, &error);
	else if (!proxy_open(session))
		error_set(&error, "out of memory");
	if (mail->intake == NULL && mail->proxy == NULL) {
		log_warning("%s: %s", client_label(session), error.text);
		*reply = (struct smtp_reply){ 451, status_from("4.3.0"),
			                      SLICE("Error: queue file write error") };
		return false;
	}
	if (session->sasl_user.length > 0) {
		buf_append_text(&login, ", sasl_method=");
		buf_append_printable(&login, session->sasl_method);
		buf_append_text(&login, ", sasl_username=");
		buf_append_printable(&login, session->sasl_user);
	}
	if (session->forwarded.ident.length > 0) {
		buf_append_text(&login, ", orig_queue_id=");
		buf_append_printable(&login, session->forwarded.ident);
	}
	if (session->forwarded.is_set) {
		buf_append_text(&login, ", orig_client=");
		buf_append_printable(&login, envelope.client_name);
		buf_append_byte(&login, '[');
		buf_append_printable(&login, envelope.client_address);
		buf_append_byte(&login, ']');
	}
	log_info("%s: client=%s%s", transaction_id(session), client_label(session),
	         buf_text(&login));
	buf_free(&login);
	return true;
}

bool
transaction_add_recipient(struct session *session, const struct recipient *recipient)
{
	struct transaction *mail = &session->mail;

	if (!array_grow((void **)&mail->recipients, mail->recipient_count,
	                &mail->recipient_capacity, sizeof(*mail->recipients)))
		return false;
	mail->recipients[mail->recipient_count++] = *recipient;
	return true;
}

/* ---- the Received field (RFC 5321 4.4) ---- */

/* Text from the client inside the field: nothing that ends a comment or a line. */
static void
append_harmless(struct buf *out, struct slice text)
{
	size_t start = out->length;

	buf_append_printable(out, text);
	for (size_t i = start; i < out->length; i++)
		if (out->data[i] == '(' || out->data[i] == ')' || out->data[i] == ';')
			out->data[i] = '?';
}

static void
append_from(struct session *session, struct buf *out)
{
	const struct client *client = &session->client;
	bool                 is_ipv6 = slice_contains_byte(client->address, ':');

	buf_append_text(out, "from ");
	append_harmless(out, session->helo.length > 0 ? session->helo : client->name);
	buf_append_text(out, " (");
	append_harmless(out, client->name);
	buf_append_format(out, " [%s%.*s])\r\n\t", is_ipv6 ? "IPv6:" : "",
	                  SLICE_ARGS(client->address));
}

static void
append_certificate(struct session *session, const struct tls_info *info, struct buf *out)
{
	struct tls_peer peer;

	if (!tls_peer_get(session->stream, session->parameters->smtpd_tls_fingerprint_digest,
	                  &peer))
		return;
	buf_append_text(out, "(Client CN \"");
	append_harmless(out, slice_from(peer.subject));
	buf_append_text(out, "\", Issuer \"");
	append_harmless(out, slice_from(peer.issuer));
	buf_append_format(out, "\" (%s))\r\n\t", info->is_trusted ? "verified OK" : "not verified");
}

static void
append_tls(struct session *session, struct buf *out)
{
	struct tls_info info;

	if (!session->parameters->smtpd_tls_received_header ||
	    !tls_info_get(session->stream, &info))
		return;
	buf_append_format(out, "(using %s with cipher %s (%d/%d bits)", info.protocol, info.cipher,
	                  info.bits, info.algorithm_bits);
	if (info.details[0] != '\0')
		buf_append_format(out, "\r\n\t%s", info.details);
	buf_append_text(out, ")\r\n\t");
	if (!info.has_peer_certificate)
		buf_append_format(out, "(%s)\r\n\t",
		                  session->parameters->smtpd_tls_ask_ccert
		                          ? "Client did not present a certificate"
		                          : "No client certificate requested");
	else
		append_certificate(session, &info, out);
}

static void
append_trace(struct session *session, struct buf *out)
{
	const struct transaction *mail = &session->mail;

	buf_append(out, mail->prepend);
	/* Between two smtpds of ours that both say it, behind a filter and in front of one. */
	if (mail->proxy != NULL && session->forwarded.is_set)
		return;
	buf_append_text(out, "Received: ");
	if (!session->parameters->smtpd_hide_client_session) {
		append_from(session, out);
		append_tls(session, out);
		if (session->parameters->smtpd_sasl_authenticated_header &&
		    session->sasl_user.length > 0) {
			buf_append_text(out, "(Authenticated sender: ");
			append_harmless(out, session->sasl_user);
			buf_append_text(out, ")\r\n\t");
		}
	}
	buf_append_format(out, "by %s (%s) with %s", session->parameters->myhostname,
	                  session->parameters->mail_name, session_protocol(session));
	if (mail->proxy == NULL) /* the filter's message will get an id of its own */
		buf_append_format(out, " id %s", transaction_id(session));
	if (mail->recipient_count == 1) {
		buf_append_text(out, "\r\n\tfor <");
		address_append_external(out, mail->recipients[0].address);
		buf_append_text(out, ">");
	}
	buf_append_text(out, "; ");
	date_append(out, mail->arrival_us / 1000000);
	buf_append_text(out, "\r\n");
}

static bool
give_recipient(struct transaction *mail, const struct recipient *recipient)
{
	struct msg_recipient record = {
		.address = recipient->address,
		.original = recipient->original,
		.dsn_orcpt = recipient->orcpt,
		.dsn_notify = recipient->is_bcc ? DSN_NOTIFY_NEVER : recipient->notify,
	};

	return intake_add_recipient(mail->intake, &record);
}

static bool
give_recipients(struct transaction *mail)
{
	/* REDIRECT sends the message there and nowhere else. */
	if (mail->redirect.length > 0) {
		struct recipient only = { .address = mail->redirect,
			                  .original = SLICE_EMPTY,
			                  .orcpt = SLICE_EMPTY };
		return give_recipient(mail, &only);
	}
	for (size_t i = 0; i < mail->recipient_count; i++)
		if (!give_recipient(mail, &mail->recipients[i]))
			return false;
	return true;
}

bool
transaction_begin_content(struct session *session, struct smtp_reply *reply)
{
	struct transaction *mail = &session->mail;
	struct buf          trace = BUF(64u * 1024);

	if (mail->is_content_begun)
		return true;
	mail->is_content_begun = true;
	append_trace(session, &trace);
	if (mail->proxy != NULL && !trace.has_failed) {
		bool is_taken = proxy_begin_content(session, buf_slice(&trace), reply);

		buf_free(&trace);
		return is_taken;
	}
	intake_set_milters(mail->intake, milters_for_content(session));
	bool is_good = mail->proxy == NULL && !trace.has_failed && give_recipients(mail) &&
	               intake_set_trace(mail->intake, buf_slice(&trace));
	buf_free(&trace);
	if (!is_good)
		*reply = (struct smtp_reply){ 452, status_from("4.3.1"),
			                      SLICE("Error: insufficient system storage") };
	return is_good;
}
