/*
 * milters.c - filters of others (lib/milter) beside the session: when they are asked, and what
 * they are told.
 *
 * LIMIT: a worker thread waits for their answers, as with policy servers.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/base/number.h"
#include "lib/mail/address.h"
#include "smtpd/session.h"

#define MACRO_MOST 2048 /* bytes of a macro's value */

/* One session's talk with them. */
struct milter_talk {
	struct milter_list     *own; /* of this client, by smtpd_milter_maps; NULL: the room's */
	struct milter_session  *session;
	struct buf              value;     /* of the macro that was asked for last */
	const struct recipient *recipient; /* at RCPT */
	struct tls_info         tls;
	struct tls_peer         peer;
};

static bool
are_off(const struct room *room)
{
	return slice_list_has(slice_from(room->parameters->receive_override_options),
	                      SLICE("no_milters"));
}

bool
milters_open(struct room *room, struct error *error)
{
	struct milter_settings settings = intake_milter_settings(room->parameters);

	room->milter_maps =
		table_list_open(are_off(room) ? "" : room->parameters->smtpd_milter_maps, error);
	if (room->milter_maps == NULL)
		return error_prefix(error, "smtpd_milter_maps");
	if (are_off(room))
		return true;
	room->milters =
		milter_list_create(slice_from(room->parameters->smtpd_milters), &settings, error);
	return room->milters != NULL || error_prefix(error, "smtpd_milters");
}

bool
milters_need_network(const struct room *room)
{
	return !table_list_is_empty(room->milter_maps) || milter_list_needs_network(room->milters);
}

/* ---- macros ---- */

typedef struct slice macro_function(struct session *session, struct milter_talk *talk);
#define NONE ((struct slice){ NULL, 0 })

static struct slice
known(struct slice value)
{
	return value.length > 0 ? value : NONE;
}

static struct slice
printed(struct milter_talk *talk, const char *format, ...)
{
	va_list arguments;

	buf_clear(&talk->value);
	va_start(arguments, format);
	buf_append_vformat(&talk->value, format, arguments);
	va_end(arguments);
	return slice_from(buf_text(&talk->value));
}

static struct slice
macro_id(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return session->mail.intake != NULL ? slice_from(intake_id(session->mail.intake)) : NONE;
}

static struct slice
macro_client(struct session *session, struct milter_talk *talk)
{
	return printed(talk, "%.*s [%.*s]", SLICE_ARGS(session->client.reverse_name),
	               SLICE_ARGS(session->client.address));
}

static struct slice
macro_client_addr(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return session->client.address;
}

static struct slice
macro_client_name(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return session->client.name;
}

static struct slice
macro_client_ptr(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return session->client.reverse_name;
}

static struct slice
macro_client_port(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return session->client.port;
}

static struct slice
macro_daemon_addr(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return session->server_address;
}

static struct slice
macro_daemon_port(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return session->server_port;
}

static struct slice
macro_tls_version(struct session *session, struct milter_talk *talk)
{
	return tls_info_get(session->stream, &talk->tls) ? slice_from(talk->tls.protocol) : NONE;
}

static struct slice
macro_cipher(struct session *session, struct milter_talk *talk)
{
	return tls_info_get(session->stream, &talk->tls) ? slice_from(talk->tls.cipher) : NONE;
}

static struct slice
macro_cipher_bits(struct session *session, struct milter_talk *talk)
{
	return tls_info_get(session->stream, &talk->tls) ? printed(talk, "%d", talk->tls.bits)
	                                                 : NONE;
}

static struct slice
macro_cert_subject(struct session *session, struct milter_talk *talk)
{
	return tls_peer_get(session->stream, session->parameters->smtpd_tls_fingerprint_digest,
	                    &talk->peer)
	               ? slice_from(talk->peer.subject)
	               : NONE;
}

static struct slice
macro_cert_issuer(struct session *session, struct milter_talk *talk)
{
	return tls_peer_get(session->stream, session->parameters->smtpd_tls_fingerprint_digest,
	                    &talk->peer)
	               ? slice_from(talk->peer.issuer)
	               : NONE;
}

static struct slice
macro_auth_type(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return known(session->sasl_method);
}

static struct slice
macro_auth_authen(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return known(session->sasl_user);
}

static struct slice
macro_auth_author(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return known(session->sasl_sender);
}

static struct slice
macro_mail_addr(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return session->mail.has_begun ? session->mail.sender : NONE;
}

static struct slice
domain_part(struct slice address)
{
	size_t at = slice_find_last_byte(address, '@');

	return at == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(address, at + 1);
}

static struct slice
macro_mail_host(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return session->mail.has_begun ? domain_part(session->mail.sender) : NONE;
}

static struct slice
macro_mail_mailer(struct session *session, struct milter_talk *talk)
{
	(void)talk;
	return session->mail.has_begun ? SLICE("smtp") : NONE;
}

static struct slice
macro_rcpt_addr(struct session *session, struct milter_talk *talk)
{
	(void)session;
	return talk->recipient != NULL ? talk->recipient->address : NONE;
}

static struct slice
macro_rcpt_host(struct session *session, struct milter_talk *talk)
{
	(void)session;
	return talk->recipient != NULL ? domain_part(talk->recipient->address) : NONE;
}

/* The class of the domain as a mailer's name, as far as it is known before routing. */
static struct slice
macro_rcpt_mailer(struct session *session, struct milter_talk *talk)
{
	enum route_class class = ROUTE_DEFAULT;
	struct error error = ERROR_NONE;

	if (talk->recipient == NULL ||
	    route_classify(session->room->intake.router, domain_part(talk->recipient->address),
	                   &class, &error) != LOOKUP_FOUND)
		return NONE;
	switch (class) {
	case ROUTE_LOCAL:
	case ROUTE_VIRTUAL_ALIAS: return SLICE("local");
	case ROUTE_VIRTUAL_MAILBOX: return SLICE("virtual");
	case ROUTE_RELAY: return SLICE("relay");
	case ROUTE_DEFAULT: break;
	}
	return SLICE("smtp");
}

static const struct {
	struct slice    name;
	macro_function *value;
} macros[] = {
	{ SLICE("i"), macro_id },
	{ SLICE("_"), macro_client },
	{ SLICE("client_addr"), macro_client_addr },
	{ SLICE("client_name"), macro_client_name },
	{ SLICE("client_ptr"), macro_client_ptr },
	{ SLICE("client_port"), macro_client_port },
	{ SLICE("daemon_addr"), macro_daemon_addr },
	{ SLICE("daemon_port"), macro_daemon_port },
	{ SLICE("tls_version"), macro_tls_version },
	{ SLICE("cipher"), macro_cipher },
	{ SLICE("cipher_bits"), macro_cipher_bits },
	{ SLICE("cert_subject"), macro_cert_subject },
	{ SLICE("cert_issuer"), macro_cert_issuer },
	{ SLICE("auth_type"), macro_auth_type },
	{ SLICE("auth_authen"), macro_auth_authen },
	{ SLICE("auth_author"), macro_auth_author },
	{ SLICE("mail_addr"), macro_mail_addr },
	{ SLICE("mail_host"), macro_mail_host },
	{ SLICE("mail_mailer"), macro_mail_mailer },
	{ SLICE("rcpt_addr"), macro_rcpt_addr },
	{ SLICE("rcpt_host"), macro_rcpt_host },
	{ SLICE("rcpt_mailer"), macro_rcpt_mailer },
};

static struct slice
macro_value(void *context, struct slice name)
{
	struct session *session = context;

	for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++)
		if (slice_equal(name, macros[i].name))
			return macros[i].value(session, session->milters);
	return intake_milter_macro(session->parameters, name);
}

/* ---- verdicts ---- */

static void
log_action(struct session *session, const char *action, const char *where, struct slice text)
{
	const struct transaction *mail = &session->mail;
	struct buf                line = BUF(8192);

	buf_append_format(&line, "%s: %s: %s from %s: ", transaction_id(session), action, where,
	                  client_label(session));
	buf_append_printable(&line, text);
	buf_append_byte(&line, ';');
	if (mail->has_begun) {
		buf_append_text(&line, " from=<");
		address_append_external(&line, mail->sender);
		buf_append_byte(&line, '>');
	}
	if (session->milters->recipient != NULL) {
		buf_append_text(&line, " to=<");
		address_append_external(&line, session->milters->recipient->address);
		buf_append_byte(&line, '>');
	}
	buf_append_format(&line, " proto=%s", session_protocol(session));
	if (session->helo.length > 0) {
		buf_append_text(&line, " helo=<");
		buf_append_printable(&line, session->helo);
		buf_append_byte(&line, '>');
	}
	log_info("%s", buf_text(&line));
	buf_free(&line);
}

/* False when the milters refuse. A message to be held is seen to at its end, by lib/intake. */
static bool
follow(struct session *session, const char *where, struct milter_verdict verdict,
       struct smtp_reply *reply)
{
	struct buf text = BUF(4096);

	if (verdict.outcome == MILTER_DISCARD && session->mail.has_begun &&
	    !session->mail.is_discarded) {
		log_action(session, "milter-discard", where,
		           SLICE("milter triggers DISCARD action"));
		session->mail.is_discarded = true;
	}
	if (verdict.outcome != MILTER_REFUSED)
		return true;
	buf_append_format(&text, "%d ", verdict.code);
	enhanced_status_append(&text, verdict.status);
	buf_append_byte(&text, ' ');
	buf_append(&text, verdict.text);
	log_action(session, "milter-reject", where, buf_slice(&text));
	buf_free(&text);
	*reply = (struct smtp_reply){ verdict.code, verdict.status, verdict.text };
	return false;
}

/* ---- events ---- */

/* The client's own milters; *is_off: it has none. False: *reply says why. */
static bool
own_milters(struct session *session, struct milter_list **own, bool *is_off,
            struct smtp_reply *reply)
{
	struct milter_settings settings = intake_milter_settings(session->parameters);
	struct buf             value = BUF(8192);
	struct error           error = ERROR_NONE;
	bool                   ok = true;

	switch (table_list_lookup(session->room->milter_maps, session->client.address, &value,
	                          &error)) {
	case LOOKUP_NOT_FOUND: break;
	case LOOKUP_FOUND:
		*is_off = slice_equal_fold(slice_trim(buf_slice(&value)), SLICE("DISABLE"));
		if (!*is_off)
			*own = milter_list_create(buf_slice(&value), &settings, &error);
		ok = *is_off || *own != NULL;
		break;
	case LOOKUP_TRY_LATER: ok = false; break;
	}
	buf_free(&value);
	if (ok)
		return true;
	log_warning("smtpd_milter_maps: %.*s: %s", SLICE_ARGS(session->client.address), error.text);
	*reply = (struct smtp_reply){ 421, status_from("4.3.0"),
		                      SLICE("Error: temporary lookup failure") };
	return false;
}

static bool
talk_begin(struct session *session, struct smtp_reply *reply)
{
	struct milter_list *own = NULL;
	bool                is_off = false;

	if (!own_milters(session, &own, &is_off, reply))
		return false;
	const struct milter_list *list = own != NULL ? own : session->room->milters;
	if (is_off || milter_list_is_empty(list)) {
		milter_list_destroy(&own);
		return true;
	}
	session->milters = calloc(1, sizeof(*session->milters));
	if (session->milters != NULL) {
		session->milters->own = own;
		session->milters->value = BUF(MACRO_MOST);
		session->milters->session = milter_session_create(list, macro_value, session);
		if (session->milters->session != NULL)
			return true;
	} else {
		milter_list_destroy(&own);
	}
	milters_end(session);
	*reply = (struct smtp_reply){ 421, status_from("4.3.0"),
		                      SLICE("Error: insufficient system resources") };
	return false;
}

bool
milters_connect(struct session *session, struct smtp_reply *reply)
{
	struct slice address = session->client.address;
	int64_t      port = 0;

	milters_end(session); /* XCLIENT: it is another client now */
	if (milter_list_is_empty(session->room->milters) &&
	    table_list_is_empty(session->room->milter_maps))
		return true;
	if (!talk_begin(session, reply))
		return false;
	if (session->milters == NULL)
		return true;
	client_know_name(session);
	number_parse(session->client.port, 0, 65535, &port);
	char family = slice_contains_byte(address, ':')   ? '6'
	              : slice_contains_byte(address, '.') ? '4'
	                                                  : 'U';
	return follow(session, "CONNECT",
	              milter_connect(session->milters->session, session->client.name, family,
	                             (uint16_t)port, address),
	              reply);
}

bool
milters_helo(struct session *session, struct slice name, struct smtp_reply *reply)
{
	return session->milters == NULL ||
	       follow(session, smtp_verb_name(session->verb),
	              milter_helo(session->milters->session, name), reply);
}

/* What stands behind the path in "FROM:<a@b> SIZE=10": a '>' in quotes does not end it. */
static struct slice
arguments_behind_path(struct slice text)
{
	bool is_quoted = false;

	for (size_t i = slice_find_byte(text, ':'); i < text.length; i++) {
		if (text.data[i] == '\\')
			i++;
		else if (text.data[i] == '"')
			is_quoted = !is_quoted;
		else if (text.data[i] == '>' && !is_quoted)
			return slice_from_offset(text, i + 1);
	}
	return SLICE_EMPTY;
}

static struct milter_verdict
tell_address(struct session *session, struct slice address, const struct smtp_command *command,
             struct milter_verdict (*tell)(struct milter_session *, struct slice, struct slice))
{
	struct buf path = BUF(2048);

	buf_append_byte(&path, '<');
	address_append_external(&path, address);
	buf_append_byte(&path, '>');
	struct milter_verdict verdict = tell(session->milters->session, buf_slice(&path),
	                                     arguments_behind_path(command->arguments));
	buf_free(&path);
	return verdict;
}

bool
milters_mail(struct session *session, const struct smtp_command *command, struct smtp_reply *reply)
{
	return session->milters == NULL ||
	       follow(session, "MAIL",
	              tell_address(session, session->mail.sender, command, milter_mail), reply);
}

bool
milters_rcpt(struct session *session, const struct smtp_command *command,
             const struct recipient *recipient, struct smtp_reply *reply)
{
	if (session->milters == NULL)
		return true;
	session->milters->recipient = recipient;
	bool is_good =
		follow(session, "RCPT",
	               tell_address(session, recipient->address, command, milter_rcpt), reply);
	session->milters->recipient = NULL;
	return is_good;
}

bool
milters_data(struct session *session, struct smtp_reply *reply)
{
	return session->milters == NULL || session->mail.is_content_begun ||
	       follow(session, "DATA", milter_data(session->milters->session), reply);
}

bool
milters_unknown(struct session *session, struct slice word, struct smtp_reply *reply)
{
	return session->milters == NULL ||
	       follow(session, "UNKNOWN", milter_unknown(session->milters->session, word), reply);
}

struct milter_session *
milters_for_content(struct session *session)
{
	return session->milters == NULL ? NULL : session->milters->session;
}

void
milters_message_end(struct session *session)
{
	if (session->milters != NULL)
		milter_message_end(session->milters->session);
}

void
milters_end(struct session *session)
{
	struct milter_talk *gone = session->milters;

	if (gone == NULL)
		return;
	session->milters = NULL;
	milter_session_destroy(&gone->session);
	milter_list_destroy(&gone->own);
	buf_free(&gone->value);
	free(gone);
}
