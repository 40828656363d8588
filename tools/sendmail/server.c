/*
 * server.c - sendmail -bs: SMTP on standard input and output, for programs that speak nothing else.
 *
 * What is accepted goes the way of all mail of this user. There are no restrictions and no relaying
 * to ask about: it is the user who sends.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/smtp/command.h"
#include "lib/smtp/data.h"
#include "lib/smtp/extensions.h"
#include "tools/sendmail/sendmail.h"

#define LINE_MOST       4096
#define READ_MOST       (64u * 1024)
#define RECIPIENTS_MOST 10000
#define EXTENSIONS                                                                                 \
	(SMTP_PIPELINING | SMTP_SIZE | SMTP_ENHANCEDSTATUSCODES | SMTP_8BITMIME | SMTP_DSN |       \
	 SMTP_SMTPUTF8)

struct server {
	struct tool  *tool;
	struct buf    in;
	struct buf    out;
	struct arena  arena; /* of the transaction */
	struct letter letter;
	bool          has_sender;
	bool          is_over;
	const char   *myhostname;
};

/* ---- bytes ---- */

static bool reply(struct server *server, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static bool
reply(struct server *server, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	buf_append_vformat(&server->out, format, arguments);
	va_end(arguments);
	return buf_append_text(&server->out, "\r\n");
}

static bool
replies_send(struct server *server)
{
	bool is_sent = message_write(1, buf_slice(&server->out));

	buf_clear(&server->out);
	return is_sent;
}

/* False at the end of input, or when nobody reads. What was answered goes out first. */
static bool
more(struct server *server)
{
	if (!replies_send(server) || !buf_reserve(&server->in, READ_MOST))
		return false;
	for (;;) {
		ssize_t got = read(0, server->in.data + server->in.length, READ_MOST);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		server->in.length += (size_t)got;
		return true;
	}
}

/* ---- the transaction ---- */

static void
transaction_reset(struct server *server)
{
	if (server->letter.fd >= 0)
		close(server->letter.fd);
	ARRAY_FREE(&server->letter.recipients);
	server->letter = (struct letter){ .fd = -1 };
	arena_reset(&server->arena);
	server->has_sender = false;
}

static bool
refuse(struct server *server, const struct smtp_reply *refusal)
{
	return smtp_reply_append(&server->out, refusal);
}

static bool
command_mail(struct server *server, const struct smtp_command *command)
{
	struct smtp_grammar grammar = { .extensions = EXTENSIONS };
	struct smtp_mail    mail;
	struct smtp_reply   refusal;
	int64_t             limit = server->tool->message_size_limit;

	if (server->has_sender)
		return reply(server, "503 5.5.1 Error: nested MAIL command");
	if (!smtp_mail_parse(command->arguments, &grammar, &server->arena, &mail, &refusal))
		return refuse(server, &refusal);
	if (limit > 0 && mail.size > limit)
		return reply(server, "552 5.3.4 Message size exceeds fixed limit");
	server->has_sender = true;
	server->letter.sender = mail.sender;
	server->letter.flags = (mail.is_smtputf8 ? ENVELOPE_SMTPUTF8 : 0) |
	                       (mail.body == SMTP_BODY_8BITMIME ? ENVELOPE_8BIT : 0);
	server->letter.dsn_ret = mail.ret;
	server->letter.dsn_envid = mail.envid;
	return reply(server, "250 2.1.0 Ok");
}

static bool
command_rcpt(struct server *server, const struct smtp_command *command)
{
	struct smtp_grammar grammar = { .extensions = EXTENSIONS };
	struct smtp_rcpt    rcpt;
	struct smtp_reply   refusal;

	if (!server->has_sender)
		return reply(server, "503 5.5.1 Error: need MAIL command");
	if (server->letter.recipients.count >= RECIPIENTS_MOST)
		return reply(server, "452 4.5.3 Error: too many recipients");
	if (!smtp_rcpt_parse(command->arguments, &grammar, &server->arena, &rcpt, &refusal))
		return refuse(server, &refusal);
	struct msg_recipient recipient = { .address = rcpt.recipient,
		                           .dsn_orcpt = rcpt.orcpt,
		                           .dsn_notify = rcpt.notify };
	if (!ARRAY_PUSH(&server->letter.recipients, recipient))
		return reply(server, "452 4.3.1 Insufficient system storage");
	return reply(server, "250 2.1.5 Ok");
}

static bool
letter_answer(struct server *server, const struct answer *answer)
{
	switch (answer->code) {
	case EX_OK:
		return reply(server, "250 2.0.0 Ok: queued%s%s",
		             answer->queue_id[0] == '\0' ? "" : " as ", answer->queue_id);
	case EX_NOPERM: return reply(server, "550 5.7.1 %s", answer->reason);
	case EX_DATAERR: return reply(server, "554 5.6.0 %s", answer->reason);
	case EX_UNAVAILABLE: return reply(server, "554 5.7.1 %s", answer->reason);
	default: return reply(server, "451 4.3.0 %s", answer->reason);
	}
}

/* Content up to its end; false when input ended before. */
static bool
content_read(struct server *server, bool *is_too_large, bool *is_stored)
{
	struct data_decoder decoder;
	struct buf          text = BUF(3 * (size_t)READ_MOST);
	int64_t             limit = server->tool->message_size_limit;
	enum data_result    result = DATA_MORE;
	bool                has_input = true;

	data_decoder_init(&decoder, BARE_NEWLINE_NORMALIZE, false);
	while (has_input && result == DATA_MORE) {
		size_t consumed = 0;
		bool   is_good = true;

		buf_clear(&text);
		result = data_decode(&decoder, slice_first(buf_slice(&server->in), READ_MOST),
		                     &consumed, &text, &is_good);
		buf_consume(&server->in, consumed);
		server->letter.size += text.length;
		*is_too_large |= limit > 0 && server->letter.size > (uint64_t)limit;
		*is_stored = *is_stored && is_good &&
		             (*is_too_large || message_write(server->letter.fd, buf_slice(&text)));
		if (result == DATA_MORE && consumed == 0)
			has_input = more(server);
	}
	buf_free(&text);
	return has_input;
}

static bool
command_data(struct server *server, const struct smtp_command *command)
{
	struct answer answer;
	bool          is_too_large = false, is_stored;

	if (command->arguments.length > 0)
		return reply(server, "501 5.5.4 Syntax: DATA");
	if (!server->has_sender)
		return reply(server, "503 5.5.1 Error: need MAIL command");
	if (server->letter.recipients.count == 0)
		return reply(server, "554 5.5.1 Error: no valid recipients");
	server->letter.fd = message_file(server->tool);
	if (server->letter.fd < 0)
		return reply(server, "452 4.3.1 Insufficient system storage");
	reply(server, "354 End data with <CR><LF>.<CR><LF>");
	is_stored = true;
	if (!content_read(server, &is_too_large, &is_stored)) {
		server->is_over = true;
		return true;
	}
	if (is_too_large) {
		reply(server, "552 5.3.4 Message size exceeds fixed limit");
	} else if (!is_stored) {
		reply(server, "452 4.3.1 Insufficient system storage");
	} else {
		letter_submit(server->tool, &server->letter, &answer);
		letter_answer(server, &answer);
	}
	transaction_reset(server);
	return true;
}

/* ---- the other commands ---- */

static bool
command_helo(struct server *server, const struct smtp_command *command)
{
	if (command->arguments.length == 0)
		return reply(server, "501 Syntax: %s hostname", smtp_verb_name(command->verb));
	transaction_reset(server);
	return reply(server, "250 %s", server->myhostname);
}

static bool
command_ehlo(struct server *server, const struct smtp_command *command)
{
	if (command->arguments.length == 0)
		return reply(server, "501 Syntax: EHLO hostname");
	transaction_reset(server);
	reply(server, "250-%s", server->myhostname);
	reply(server, "250-PIPELINING");
	reply(server, "250-SIZE %lld", (long long)server->tool->message_size_limit);
	reply(server, "250-ENHANCEDSTATUSCODES");
	reply(server, "250-8BITMIME");
	reply(server, "250-DSN");
	return reply(server, "250 SMTPUTF8");
}

static bool
command_rset(struct server *server, const struct smtp_command *command)
{
	(void)command;
	transaction_reset(server);
	return reply(server, "250 2.0.0 Ok");
}

static bool
command_noop(struct server *server, const struct smtp_command *command)
{
	(void)command;
	return reply(server, "250 2.0.0 Ok");
}

static bool
command_vrfy(struct server *server, const struct smtp_command *command)
{
	(void)command;
	return reply(server, "252 2.0.0 The address is not looked up here");
}

static bool
command_quit(struct server *server, const struct smtp_command *command)
{
	(void)command;
	server->is_over = true;
	return reply(server, "221 2.0.0 Bye");
}

static const struct {
	enum smtp_verb verb;
	bool (*handle)(struct server *server, const struct smtp_command *command);
} commands[] = {
	{ SMTP_VERB_HELO, command_helo }, { SMTP_VERB_EHLO, command_ehlo },
	{ SMTP_VERB_MAIL, command_mail }, { SMTP_VERB_RCPT, command_rcpt },
	{ SMTP_VERB_DATA, command_data }, { SMTP_VERB_RSET, command_rset },
	{ SMTP_VERB_NOOP, command_noop }, { SMTP_VERB_VRFY, command_vrfy },
	{ SMTP_VERB_QUIT, command_quit },
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void
line_handle(struct server *server, struct slice line)
{
	struct smtp_command command;
	size_t              row = 0;

	if (line.length > LINE_MOST || !smtp_command_parse(line, &command)) {
		reply(server, "500 5.5.2 Error: bad syntax");
		return;
	}
	while (row < COMMAND_COUNT && commands[row].verb != command.verb)
		row++;
	if (row == COMMAND_COUNT)
		reply(server, "502 5.5.2 Error: command not recognized");
	else
		commands[row].handle(server, &command);
}

/* A command was read whole; its line is copied, since reading on moves what is read. */
static bool
command_next(struct server *server)
{
	struct slice line;
	size_t       length;
	bool         is_bare;

	while (!smtp_line_take(buf_slice(&server->in), &line, &length, &is_bare)) {
		if (server->in.length > LINE_MOST) {
			reply(server, "500 5.5.2 Error: line too long");
			replies_send(server);
			return false;
		}
		if (!more(server))
			return false;
	}
	struct buf copy = BUF(READ_MOST * 2);
	bool       is_good = buf_append(&copy, line);
	buf_consume(&server->in, length);
	if (is_good)
		line_handle(server, buf_slice(&copy));
	buf_free(&copy);
	return is_good && !server->is_over;
}

int
server_run(struct tool *tool)
{
	struct server server = { .tool = tool,
		                 .in = BUF(4 * (size_t)READ_MOST),
		                 .out = BUF(1u << 20),
		                 .letter.fd = -1,
		                 .myhostname = tool->myhostname };

	reply(&server, "220 %s ESMTP %s", tool->myhostname, tool->mail_name);
	while (command_next(&server))
		;
	bool is_sent = replies_send(&server);
	transaction_reset(&server);
	buf_free(&server.in);
	buf_free(&server.out);
	return is_sent ? EX_OK : EX_IOERR;
}
