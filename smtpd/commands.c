/*
 * commands.c - greeting, envelope and small commands (RFC 5321 4.1.1).
 */
#include <stdatomic.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/smtp/extensions.h"
#include "lib/queue/verp.h"
#include "smtpd/session.h"

#define MEMORY_SAID_MS 60000
/* What a message may take until it is delivered, in all daemons: it is in several buffers at a
 * time. */
#define MESSAGE_BYTES INT64_C(200000)
#define MESSAGES_MOST 64

/* ---- HELO and EHLO ---- */

/* Checks the name and keeps it; false when answered. A greeting ends what came before. */
static bool
take_helo(struct session *session, struct slice name)
{
	struct restriction_question question = { .stage = STAGE_HELO, .helo = name };
	struct smtp_reply           refusal;

	if (name.length == 0 || name.length > HELO_MOST) {
		answer(session, 501, "", "Syntax: %s hostname", smtp_verb_name(session->verb));
		return false;
	}
	transaction_reset(session);
	if ((!session->parameters->smtpd_delay_reject &&
	     !restrictions_evaluate(session, &question, &refusal)) ||
	    !milters_helo(session, name, &refusal)) {
		answer_reply(session, &refusal);
		return false;
	}
	buf_clear(&session->helo_text);
	buf_append_printable(&session->helo_text, name);
	session->helo = buf_slice(&session->helo_text);
	session->phase = PHASE_GREETED;
	return true;
}

void
command_helo(struct session *session, const struct smtp_command *command)
{
	if (!take_helo(session, command->arguments))
		return;
	session->is_esmtp = false;
	session->extensions = session->room->extensions & (SMTP_SIZE | SMTP_8BITMIME);
	answer(session, 250, "", "%s", session->parameters->myhostname);
}

/* smtpd_discard_ehlo_keyword_address_maps for this client. */
static unsigned
discarded_for_client(struct session *session)
{
	struct buf   value = BUF(1000);
	struct error error = ERROR_NONE;
	unsigned     bits = 0;

	if (table_list_is_empty(session->room->discard_maps))
		return 0;
	switch (table_list_lookup(session->room->discard_maps, session->client.address, &value,
	                          &error)) {
	case LOOKUP_FOUND: bits = smtp_extension_list(buf_slice(&value)); break;
	case LOOKUP_NOT_FOUND: break;
	case LOOKUP_TRY_LATER: log_warning("%s", error.text); break;
	}
	buf_free(&value);
	return bits;
}

static unsigned
offered_extensions(struct session *session)
{
	unsigned bits = session->room->extensions & ~discarded_for_client(session);

	if (session->room->tls == NULL || tls_is_active(session->stream))
		bits &= ~(unsigned)SMTP_STARTTLS;
	if (!login_is_offered(session))
		bits &= ~(unsigned)SMTP_AUTH;
	if (!client_is_in(session, session->room->xclient_hosts))
		bits &= ~(unsigned)SMTP_XCLIENT;
	if (!client_is_in(session, session->room->xforward_hosts))
		bits &= ~(unsigned)SMTP_XFORWARD;
	if (!client_is_in(session, session->room->verp_hosts))
		bits &= ~(unsigned)SMTP_XVERP;
	return bits;
}

static void
append_keyword(struct session *session, struct buf *text, unsigned bit, const char *keyword)
{
	struct buf names = BUF(1000);

	buf_append_byte(text, '\n');
	buf_append_text(text, keyword);
	if (bit == SMTP_SIZE && session->parameters->message_size_limit > 0)
		buf_append_format(text, " %lld",
		                  (long long)session->parameters->message_size_limit);
	if (bit == SMTP_XCLIENT)
		buf_append_text(text, " NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT "
		                      "REVERSE_NAME");
	if (bit == SMTP_XFORWARD)
		buf_append_text(text, " NAME ADDR PROTO HELO SOURCE PORT IDENT");
	if (bit == SMTP_AUTH && login_mechanisms(session, &names)) {
		buf_append_format(text, " %s", buf_text(&names));
		if (session->parameters->broken_sasl_auth_clients)
			buf_append_format(text, "\nAUTH=%s", buf_text(&names));
	}
	buf_free(&names);
}

void
command_ehlo(struct session *session, const struct smtp_command *command)
{
	struct buf  text = BUF(3000);
	size_t      at = 0;
	unsigned    bit = 0;
	const char *keyword;

	if (!take_helo(session, command->arguments))
		return;
	session->is_esmtp = true;
	session->extensions = offered_extensions(session);
	buf_append_text(&text, session->parameters->myhostname);
	while ((keyword = smtp_extension_next(session->extensions, &at, &bit)) != NULL)
		append_keyword(session, &text, bit, keyword);
	struct smtp_reply reply = { 250, { 0, 0, 0 }, buf_slice(&text) };
	if (text.has_failed)
		answer(session, 451, "4.3.0", "Insufficient system memory");
	else
		answer_reply(session, &reply);
	buf_free(&text);
}

/* ---- MAIL ---- */

/* The standard form of an address (lib/route). data is NULL when there is no room. */
static struct slice
complete_address(struct session *session, struct slice address)
{
	return route_standard_form(session->room->intake.router, address, &session->mail.arena);
}

static struct smtp_grammar
grammar_for(const struct session *session)
{
	return (struct smtp_grammar){
		.extensions = session->extensions,
		.is_strict = session->parameters->strict_rfc821_envelopes,
	};
}

static bool
is_above_size_limit(const struct session *session, uint64_t size)
{
	int64_t most = session->parameters->message_size_limit;

	return most > 0 && size > (uint64_t)most;
}

/* XVERP: delimiters that may be, and a sender to put them into; false when answered. */
static bool
verp_is_good(struct session *session)
{
	const struct smtp_mail *mail = &session->mail.mail;
	const char             *filter = session->parameters->verp_delimiter_filter;

	if (!mail->has_verp)
		return true;
	if (mail->verp.length > 0 && !verp_delimiters_are_good(mail->verp, filter)) {
		answer(session, 501, "5.5.4", "Error: XVERP needs two characters from %s", filter);
		return false;
	}
	if (mail->sender.length == 0) {
		answer(session, 503, "5.5.4", "Error: XVERP requires non-null sender");
		return false;
	}
	if (session->room->proxy_filter != NULL) {
		answer(session, 555, "5.5.4", "Unsupported option: XVERP");
		return false;
	}
	return true;
}

/*
 * Whether there is memory for one more message, beside what those need that have begun; false when
 * answered. Logged at most once a minute.
 */
static bool
has_memory(struct session *session)
{
	struct room *room = session->room;
	int64_t      now_ms = clock_monotonic_ms(), said_ms = atomic_load(&room->memory_said_ms);
	unsigned     trouble = session->trouble;
	int32_t      begun = atomic_load(&room->messages);
	int64_t      needed = (begun < MESSAGES_MOST ? begun + 1 : MESSAGES_MOST) * MESSAGE_BYTES;

	if (memory_allows(room->memory, needed)) {
		session->mail.is_counted = true;
		atomic_fetch_add(&room->messages, 1);
		return true;
	}
	if ((said_ms == 0 || now_ms - said_ms > MEMORY_SAID_MS) &&
	    atomic_compare_exchange_strong(&room->memory_said_ms, &said_ms, now_ms))
		log_warning("memory is short: refusing new mail for now");
	answer(session, 452, "4.3.1", "Insufficient system storage");
	/* A notice of it to the postmaster would be one more message. */
	session->trouble = trouble;
	return false;
}

/* Everything that may refuse MAIL; false when answered. */
static bool
take_mail(struct session *session, const struct smtp_command *command)
{
	struct transaction *mail = &session->mail;
	struct smtp_grammar grammar = grammar_for(session);
	struct smtp_reply   refusal;

	if (!smtp_mail_parse(command->arguments, &grammar, &mail->arena, &mail->mail, &refusal)) {
		answer_reply(session, &refusal);
		return false;
	}
	if (!verp_is_good(session))
		return false;
	mail->sender = complete_address(session, mail->mail.sender);
	if (!has_memory(session))
		return false;
	if (mail->sender.data == NULL) {
		answer(session, 452, "4.3.1", "Insufficient system storage");
		return false;
	}
	if (is_above_size_limit(session, (uint64_t)mail->mail.size)) {
		answer(session, 552, "5.3.4", "Message size exceeds fixed limit");
		return false;
	}
	if (!client_may(session, LIMIT_MESSAGES,
	                session->parameters->smtpd_client_message_rate_limit,
	                "Message delivery request rate")) {
		answer(session, 450, "4.7.1", "Error: too much mail from %.*s",
		       SLICE_ARGS(session->client.address));
		return false;
	}
	mail->has_begun = true;
	struct restriction_question question = { .stage = STAGE_SENDER,
		                                 .helo = session->helo,
		                                 .has_sender = true,
		                                 .sender = mail->sender,
		                                 .sender_as_given = mail->mail.sender };
	if ((!session->parameters->smtpd_delay_reject &&
	     !restrictions_evaluate(session, &question, &refusal)) ||
	    !milters_mail(session, command, &refusal)) {
		answer_reply(session, &refusal);
		return false;
	}
	return true;
}

void
command_mail(struct session *session, const struct smtp_command *command)
{
	transaction_reset(session);
	session->mail.arrival_us = clock_wall_us();
	if (!take_mail(session, command)) {
		transaction_reset(session);
		return;
	}
	session->phase = PHASE_MAIL;
	answer(session, 250, "2.1.0", "Ok");
}

/* ---- RCPT ---- */

/* Limits on the number of recipients; false when answered. */
static bool
may_add_recipient(struct session *session)
{
	size_t most = (size_t)session->parameters->smtpd_recipient_limit;
	size_t over = (size_t)session->parameters->smtpd_recipient_overshoot_limit;

	if (session->mail.recipient_count >= most) {
		bool is_error = ++session->mail.overshoot > over;
		answer(session, 452, "4.5.3", "Error: too many recipients");
		/* Up to the overshoot limit it is no error of the client (RFC 5321 4.5.3.1.10). */
		if (!is_error && session->error_count > 0)
			session->error_count--;
		return false;
	}
	if (!client_may(session, LIMIT_RECIPIENTS,
	                session->parameters->smtpd_client_recipient_rate_limit,
	                "Recipient address rate")) {
		answer(session, 450, "4.7.1", "Error: too many recipients from %.*s",
		       SLICE_ARGS(session->client.address));
		return false;
	}
	return true;
}

static bool
check_recipient(struct session *session, enum restriction_stage stage,
                const struct recipient *recipient, struct slice as_given,
                struct smtp_reply *refusal)
{
	const struct transaction   *mail = &session->mail;
	struct restriction_question question = {
		.stage = stage,
		.helo = session->helo,
		.has_sender = mail->has_begun,
		.sender = mail->sender,
		.sender_as_given = mail->mail.sender,
		.recipient = recipient,
		.recipient_as_given = as_given,
	};

	return restrictions_evaluate(session, &question, refusal);
}

/* The filter in front of the queue may refuse it. */
static bool
take_recipient(struct session *session, const struct recipient *recipient,
               struct smtp_reply *refusal)
{
	if (!transaction_add_recipient(session, recipient))
		return false;
	if (session->mail.proxy == NULL || proxy_recipient(session, refusal))
		return true;
	session->mail.recipient_count--;
	return false;
}

void
command_rcpt(struct session *session, const struct smtp_command *command)
{
	struct smtp_grammar grammar = grammar_for(session);
	struct smtp_reply   refusal = { 452, { 4, 3, 1 }, SLICE("Insufficient system storage") };
	struct smtp_rcpt    rcpt;

	if (!may_add_recipient(session))
		return;
	if (!smtp_rcpt_parse(command->arguments, &grammar, &session->mail.arena, &rcpt, &refusal)) {
		session->mail.refused_count++;
		answer_reply(session, &refusal);
		return;
	}
	struct recipient recipient = {
		.address = complete_address(session, rcpt.recipient),
		.original = rcpt.recipient,
		.orcpt = rcpt.orcpt,
		.notify = rcpt.notify,
	};
	if (!slice_is_ascii(rcpt.recipient) && !session->mail.mail.is_smtputf8) {
		refusal = (struct smtp_reply){ 553, status_from("5.6.7"),
			                       SLICE("Must declare SMTPUTF8 to send unicode "
			                             "address") };
	} else if (recipient.address.data != NULL &&
	           check_recipient(session, STAGE_RECIPIENT, &recipient, rcpt.recipient,
	                           &refusal) &&
	           milters_rcpt(session, command, &recipient, &refusal) &&
	           transaction_open(session, &refusal) &&
	           take_recipient(session, &recipient, &refusal)) {
		session->phase = PHASE_RCPT;
		answer(session, 250, "2.1.5", "Ok");
		return;
	}
	session->mail.refused_count++;
	answer_reply(session, &refusal);
}

/* ---- the small ones ---- */

/* For commands without arguments; false when answered. */
static bool
has_no_arguments(struct session *session, const struct smtp_command *command)
{
	if (command->arguments.length == 0)
		return true;
	answer(session, 501, "5.5.4", "Syntax: %s", smtp_verb_name(command->verb));
	return false;
}

void
command_rset(struct session *session, const struct smtp_command *command)
{
	if (!has_no_arguments(session, command))
		return;
	transaction_reset(session);
	answer(session, 250, "2.0.0", "Ok");
}

void
command_noop(struct session *session, const struct smtp_command *command)
{
	(void)command;
	answer(session, 250, "2.0.0", "Ok");
}

void
command_help(struct session *session, const struct smtp_command *command)
{
	(void)command;
	answer(session, 214, "2.0.0",
	       "Commands: HELO EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY ETRN QUIT");
}

void
command_quit(struct session *session, const struct smtp_command *command)
{
	(void)command;
	answer_and_end(session, 221, "2.0.0", "Bye");
}

/* RFC 6531 3.7.4.2. */
static bool
is_vrfy_option(struct slice text, bool allow_utf8)
{
	return text.length == 0 || (allow_utf8 && slice_equal_fold(text, SLICE("SMTPUTF8")));
}

void
command_vrfy(struct session *session, const struct smtp_command *command)
{
	struct arena      arena = ARENA(16u * 1024);
	struct buf        text = BUF(1000);
	struct address    address;
	struct slice      rest;
	struct smtp_reply refusal;
	bool              allow_utf8 = (session->extensions & SMTP_SMTPUTF8) != 0;

	if (session->parameters->disable_vrfy_command) {
		answer(session, 502, "5.5.1", "VRFY command is disabled");
	} else if (command->arguments.length == 0) {
		answer(session, 501, "5.5.4", "Syntax: VRFY address%s",
		       allow_utf8 ? " [SMTPUTF8]" : "");
	} else if (!address_parse_path(command->arguments, allow_utf8, false, &arena, &address,
	                               &rest) ||
	           address.local.length == 0 || !is_vrfy_option(slice_trim(rest), allow_utf8)) {
		if (arena.has_failed)
			answer(session, 452, "4.3.1", "Insufficient system storage");
		else
			answer(session, 501, "5.1.3", "Bad recipient address syntax");
	} else {
		const char *given = arena_format(
			&session->mail.arena, "%.*s%s%.*s", SLICE_ARGS(address.local),
			address.domain.length > 0 ? "@" : "", SLICE_ARGS(address.domain));
		struct recipient recipient = {
			.address = given == NULL ? slice_of(NULL, 0)
			                         : complete_address(session, slice_from(given))
		};
		refusal = (struct smtp_reply){ 452,
			                       { 4, 3, 1 },
			                       SLICE("Insufficient system storage") };
		if (recipient.address.data != NULL &&
		    check_recipient(session, STAGE_VRFY, &recipient, slice_from(given), &refusal) &&
		    address_append_external(&text, recipient.address))
			refusal =
				(struct smtp_reply){ 252, status_from("2.0.0"), buf_slice(&text) };
		answer_reply(session, &refusal);
		/* Outside a transaction nobody else empties its arena. */
		if (session->phase <= PHASE_GREETED)
			transaction_reset(session);
	}
	buf_free(&text);
	arena_reset(&arena);
}
