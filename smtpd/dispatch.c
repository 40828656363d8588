/*
 * dispatch.c - the command table: every (command, phase) pair, and the rules around a command.
 */
#include "lib/base/log.h"
#include "lib/smtp/extensions.h"
#include "smtpd/session.h"

/* What a command meets in a phase. */
enum cell {
	RUN,
	IF_HELO_OPTIONAL, /* RUN unless smtpd_helo_required */
	NEED_HELO,
	NEED_MAIL,
	NEED_RCPT,
	NESTED_MAIL,
	AFTER_BDAT,
	IN_TRANSACTION,
	CELLS,
};

struct cell_refusal {
	int         code;
	const char *status;
	const char *text; /* %s is the command */
};

static const struct cell_refusal cell_refusals[CELLS] = {
	[IF_HELO_OPTIONAL] = { 503, "5.5.1", "Error: send HELO/EHLO first" },
	[NEED_HELO] = { 503, "5.5.1", "Error: send HELO/EHLO first" },
	[NEED_MAIL] = { 503, "5.5.1", "Error: need MAIL command" },
	[NEED_RCPT] = { 503, "5.5.1", "Error: need RCPT command" },
	[NESTED_MAIL] = { 503, "5.5.1", "Error: nested MAIL command" },
	[AFTER_BDAT] = { 503, "5.5.1", "Error: command after BDAT" },
	[IN_TRANSACTION] = { 503, "5.5.1", "Error: MAIL transaction in progress" },
};

enum command_flag {
	IS_LAST = 1 << 0,    /* of a pipelined group (RFC 2920 3.1): nothing may follow before the
	                        answer */
	IS_JUNK = 1 << 1,    /* counts towards smtpd_junk_command_limit */
	IS_PRE_TLS = 1 << 2, /* allowed before TLS where TLS is required (RFC 3207 4) */
};

struct command_row {
	command_handler *handler;
	unsigned char    cells[PHASE_COUNT];
	unsigned         flags;
};

/* clang-format off */
static const struct command_row command_rows[SMTP_VERB_UNKNOWN] = {
/*	                     handler             new               greeted    MAIL            RCPT            BDAT */
[SMTP_VERB_HELO]     = { command_helo,     { RUN,              RUN,       RUN,            RUN,            RUN            }, IS_LAST | IS_JUNK },
[SMTP_VERB_EHLO]     = { command_ehlo,     { RUN,              RUN,       RUN,            RUN,            RUN            }, IS_LAST | IS_JUNK | IS_PRE_TLS },
[SMTP_VERB_XCLIENT]  = { command_xclient,  { RUN,              RUN,       IN_TRANSACTION, IN_TRANSACTION, IN_TRANSACTION }, IS_LAST },
[SMTP_VERB_XFORWARD] = { command_xforward, { RUN,              RUN,       IN_TRANSACTION, IN_TRANSACTION, IN_TRANSACTION }, 0 },
[SMTP_VERB_STARTTLS] = { command_starttls, { RUN,              RUN,       IN_TRANSACTION, IN_TRANSACTION, IN_TRANSACTION }, IS_PRE_TLS },
[SMTP_VERB_AUTH]     = { command_auth,     { NEED_HELO,        RUN,       IN_TRANSACTION, IN_TRANSACTION, IN_TRANSACTION }, 0 },
[SMTP_VERB_MAIL]     = { command_mail,     { IF_HELO_OPTIONAL, RUN,       NESTED_MAIL,    NESTED_MAIL,    NESTED_MAIL    }, 0 },
[SMTP_VERB_BDAT]     = { command_bdat,     { NEED_RCPT,        NEED_RCPT, NEED_RCPT,      RUN,            RUN            }, 0 },
[SMTP_VERB_RCPT]     = { command_rcpt,     { NEED_MAIL,        NEED_MAIL, RUN,            RUN,            AFTER_BDAT     }, 0 },
[SMTP_VERB_DATA]     = { command_data,     { NEED_RCPT,        NEED_RCPT, NEED_RCPT,      RUN,            AFTER_BDAT     }, IS_LAST },
[SMTP_VERB_RSET]     = { command_rset,     { RUN,              RUN,       RUN,            RUN,            RUN            }, IS_JUNK },
[SMTP_VERB_NOOP]     = { command_noop,     { RUN,              RUN,       RUN,            RUN,            RUN            }, IS_JUNK | IS_PRE_TLS },
[SMTP_VERB_VRFY]     = { command_vrfy,     { RUN,              RUN,       RUN,            RUN,            RUN            }, IS_LAST | IS_JUNK },
[SMTP_VERB_ETRN]     = { command_etrn,     { NEED_HELO,        RUN,       IN_TRANSACTION, IN_TRANSACTION, IN_TRANSACTION }, IS_LAST | IS_JUNK },
[SMTP_VERB_HELP]     = { command_help,     { RUN,              RUN,       RUN,            RUN,            RUN            }, IS_JUNK | IS_PRE_TLS },
[SMTP_VERB_QUIT]     = { command_quit,     { RUN,              RUN,       RUN,            RUN,            RUN            }, IS_PRE_TLS },
};
/* clang-format on */

/* A web client, a header or a raw dump, not a mail client: smtpd_forbidden_commands, "Name:". */
static bool
is_forbidden(const struct session *session, struct slice word)
{
	struct slice rest = slice_from(session->parameters->smtpd_forbidden_commands);
	struct slice one;
	bool         has_pattern = slice_find(rest, SLICE("regexp:")) != SLICE_NOT_FOUND;

	if (word.length == 0)
		return false;
	if (slice_contains_byte(slice_from_offset(word, 1), ':'))
		return true;
	while (slice_next_word(&rest, " \t,", &one))
		if (slice_equal_fold(one, word))
			return true;
	/* LIMIT: of tables in the list only the default's pattern, "starts with no letter". */
	return has_pattern && !ascii_is_alpha(word.data[0]);
}

static bool
is_in_list(struct slice list, struct slice word)
{
	struct slice one;

	while (slice_next_word(&list, " \t,", &one))
		if (slice_equal_fold(one, word))
			return true;
	return false;
}

static void
send_away(struct session *session, struct slice word)
{
	log_warning("non-SMTP command from %s: %.*s", client_label(session),
	            (int)(word.length > 100 ? 100 : word.length), word.data);
	session->has_ended_badly = true;
	answer_and_end(session, 221, "2.7.0", "Error: I can break rules, too. Goodbye.");
}

static void
unknown_command(struct session *session, const struct smtp_command *command)
{
	struct smtp_reply refusal;

	if (is_in_list(slice_from(session->parameters->smtpd_noop_commands), command->word)) {
		answer(session, 250, "2.0.0", "Ok");
		return;
	}
	if (is_forbidden(session, command->word)) {
		send_away(session, command->word);
		return;
	}
	if (milters_unknown(session, command->word, &refusal))
		answer(session, 500, "5.5.2", "Error: command not recognized");
	else
		answer_reply(session, &refusal);
}

void
command_refuse_malformed(struct session *session, struct slice line)
{
	session->verb = SMTP_VERB_UNKNOWN;
	session->counts[SMTP_VERB_UNKNOWN].all++;
	line = slice_trim(line);
	if (line.length > 0 && is_forbidden(session, slice_first(line, 1)))
		send_away(session, line);
	else
		answer(session, 500, "5.5.2", "Error: bad syntax");
}

/*
 * Input behind a command that must be the last of its group, or behind any when EHLO has not
 * allowed groups (RFC 2920 3.1): the client does not listen.
 */
static bool
is_out_of_step(struct session *session, const struct command_row *row)
{
	bool may_be_followed = (row->flags & IS_LAST) == 0 &&
	                       (session->is_esmtp || session->verb == SMTP_VERB_BDAT);

	if (may_be_followed || stream_input(session->stream).length == 0)
		return false;
	log_info("improper command pipelining after %s from %s", smtp_verb_name(session->verb),
	         client_label(session));
	if (!session->parameters->smtpd_forbid_unauth_pipelining)
		return false;
	session->has_ended_badly = true;
	answer_and_end(session, 554, "5.5.0", "Error: SMTP protocol synchronization");
	return true;
}

/* Also a refused BDAT is followed by its chunk, which must not be taken for commands. */
static void
refuse(struct session *session, const struct smtp_command *command, const struct smtp_reply *reply)
{
	if (session->verb == SMTP_VERB_BDAT)
		content_skip_chunk(session, command, reply);
	else
		answer_reply(session, reply);
}

/* What stands against a command whatever the phase. True: answered. */
static bool
is_refused_outright(struct session *session, const struct smtp_command *command,
                    const struct command_row *row)
{
	struct smtp_reply reply = { 530, status_from("5.7.0"),
		                    SLICE("Must issue a STARTTLS command first") };

	if (session->is_denied && session->verb != SMTP_VERB_QUIT) {
		reply.code = 503;
		reply.text =
			slice_from(arena_format(&session->mail.arena, "Error: access denied for %s",
		                                client_label(session)));
		refuse(session, command, &reply);
		return true;
	}
	if (session->room->is_tls_required && (row->flags & IS_PRE_TLS) == 0 &&
	    !tls_is_active(session->stream)) {
		refuse(session, command, &reply);
		return true;
	}
	return is_out_of_step(session, row);
}

static void
refuse_by_cell(struct session *session, const struct smtp_command *command, enum cell cell)
{
	const struct cell_refusal *refusal = &cell_refusals[cell];
	struct smtp_reply          reply = { refusal->code, status_from(refusal->status),
		                             slice_from(refusal->text) };

	if (cell == NEED_RCPT && session->phase == PHASE_MAIL && session->mail.refused_count > 0)
		reply = (struct smtp_reply){ 554, status_from("5.5.1"),
			                     SLICE("Error: no valid recipients") };
	refuse(session, command, &reply);
}

void
command_execute(struct session *session, const struct smtp_command *command)
{
	session->verb = command->verb;
	session->counts[command->verb].all++;
	if (command->verb == SMTP_VERB_UNKNOWN) {
		unknown_command(session, command);
		return;
	}
	const struct command_row *row = &command_rows[command->verb];
	enum cell                 cell = (enum cell)row->cells[session->phase];
	if ((row->flags & IS_JUNK) != 0 &&
	    ++session->junk_count > (size_t)session->parameters->smtpd_junk_command_limit)
		session->error_count++;
	if (is_refused_outright(session, command, row))
		return;
	if (cell == IF_HELO_OPTIONAL && !session->parameters->smtpd_helo_required)
		cell = RUN;
	if (cell != RUN)
		refuse_by_cell(session, command, cell);
	else
		row->handler(session, command);
}
