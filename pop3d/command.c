/* command.c - which commands there are, and when each is legal. */
#include "pop3d/pop3d.h"

/* In which states a command is legal. */
#define BEFORE_LOGIN 1u
#define AFTER_LOGIN  2u
#define ANY_TIME     (BEFORE_LOGIN | AFTER_LOGIN)

enum argument { ARGUMENT_NONE, ARGUMENT_MAY, ARGUMENT_MUST };

struct pop3_verb {
	const char   *name;
	unsigned      legal;
	enum argument argument;
	enum session_next (*carry_out)(struct pop3_session *session, struct slice argument);
};

/* ---- the commands that belong nowhere else ---- */

static enum session_next
command_noop(struct pop3_session *session, struct slice argument)
{
	(void)argument;
	pop3_ok(session, NULL);
	return SESSION_AGAIN;
}

static enum session_next
command_quit(struct pop3_session *session, struct slice argument)
{
	(void)argument;
	if (session->state == POP3_TRANSACTION)
		return pop3_update(session);
	pop3_ok(session, "Logging out.");
	session->end_words = "Aborted login by logging out";
	return SESSION_CLOSE;
}

static bool
may_start_tls(const struct pop3_session *session)
{
	return session->room->tls != NULL && !session->is_tls;
}

/* RFC 2449 section 5: the same list in both states, but for what the state rules out. */
static enum session_next
command_capa(struct pop3_session *session, struct slice argument)
{
	struct buf names = BUF(1000);

	(void)argument;
	pop3_ok(session, NULL);
	stream_write_text(session->stream, "CAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\n"
	                                   "AUTH-RESP-CODE\r\n");
	if (may_start_tls(session) && session->state != POP3_TRANSACTION)
		stream_write_text(session->stream, "STLS\r\n");
	if (pop3_may_send_password(session))
		stream_write_text(session->stream, "USER\r\n");
	if (auth_mechanisms(session->room->auth, "pop3", session->is_tls, &names) &&
	    names.length > 0) {
		stream_write_text(session->stream, "SASL ");
		stream_write(session->stream, buf_slice(&names));
		stream_write_text(session->stream, "\r\n");
	}
	stream_write_text(session->stream, "EXPIRE NEVER\r\nIMPLEMENTATION Dakiya\r\n.\r\n");
	buf_free(&names);
	return SESSION_AGAIN;
}

/* RFC 2595 section 4. What was said before the handshake is forgotten, input included. */
static enum session_next
command_stls(struct pop3_session *session, struct slice argument)
{
	(void)argument;
	if (!may_start_tls(session)) {
		pop3_error(session, NULL,
		           session->is_tls ? "TLS is already active." : "TLS is not offered.");
		return SESSION_AGAIN;
	}
	pop3_ok(session, "Begin TLS negotiation now.");
	session_start_tls(session, session->stream, session->room->tls);
	return SESSION_AGAIN;
}

/* ---- the table ---- */

static const struct pop3_verb verbs[] = {
	/*	verb   when legal    argument        handler */
	{ "USER", BEFORE_LOGIN, ARGUMENT_MUST, pop3_command_user },
	{ "PASS", BEFORE_LOGIN, ARGUMENT_MAY, pop3_command_pass },
	{ "AUTH", BEFORE_LOGIN, ARGUMENT_MAY, pop3_command_auth },
	{ "STLS", BEFORE_LOGIN, ARGUMENT_NONE, command_stls },
	{ "CAPA", ANY_TIME, ARGUMENT_NONE, command_capa },
	{ "QUIT", ANY_TIME, ARGUMENT_NONE, command_quit },
	{ "STAT", AFTER_LOGIN, ARGUMENT_NONE, pop3_command_stat },
	{ "LIST", AFTER_LOGIN, ARGUMENT_MAY, pop3_command_list },
	{ "UIDL", AFTER_LOGIN, ARGUMENT_MAY, pop3_command_uidl },
	{ "RETR", AFTER_LOGIN, ARGUMENT_MUST, pop3_command_retr },
	{ "TOP", AFTER_LOGIN, ARGUMENT_MUST, pop3_command_top },
	{ "DELE", AFTER_LOGIN, ARGUMENT_MUST, pop3_command_dele },
	{ "RSET", AFTER_LOGIN, ARGUMENT_NONE, pop3_command_rset },
	{ "NOOP", AFTER_LOGIN, ARGUMENT_NONE, command_noop },
};

static const struct pop3_verb *
verb_find(struct slice name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (slice_equal_fold(name, slice_from(verbs[i].name)))
			return &verbs[i];
	return NULL;
}

enum session_next
pop3_after_error(struct pop3_session *session)
{
	if (session->errors < session->room->parameters->pop3_hard_error_limit)
		return SESSION_AGAIN;
	pop3_error(session, NULL, "Too many errors.");
	session->end_words = "Too many errors";
	return SESSION_CLOSE;
}

static enum session_next
refuse(struct pop3_session *session, const char *text)
{
	session->errors++;
	pop3_error(session, NULL, text);
	return pop3_after_error(session);
}

enum session_next
pop3_command(struct pop3_session *session, struct slice line)
{
	size_t       space = slice_find_byte(line, ' ');
	struct slice name = space == SLICE_NOT_FOUND ? line : slice_first(line, space);
	struct slice argument =
		space == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(line, space + 1);
	const struct pop3_verb *verb = verb_find(name);
	unsigned now = session->state == POP3_TRANSACTION ? AFTER_LOGIN : BEFORE_LOGIN;

	if (verb == NULL)
		return refuse(session, "Unknown command.");
	if ((verb->legal & now) == 0)
		return refuse(session,
		              now == BEFORE_LOGIN ? "Log in first." : "You are already logged in.");
	if (verb->argument == ARGUMENT_MUST && slice_is_empty(argument))
		return refuse(session, "An argument is missing.");
	if (verb->argument == ARGUMENT_NONE && !slice_is_empty(slice_trim(argument)))
		return refuse(session, "No argument is expected.");
	/* A password is taken to the letter; blanks around other arguments do no harm. */
	if (verb->carry_out != pop3_command_pass)
		argument = slice_trim(argument);
	enum session_next next = verb->carry_out(session, argument);
	return next == SESSION_AGAIN && session->sender.what == SENDING_NOTHING
	               ? pop3_after_error(session)
	               : next;
}
