/*
 * sasl.c - AUTH (RFC 4954) with libsasl2's client side, by smtp_sasl_password_maps.
 *
 * A new libsasl2 object for each attempt. Only mechanisms that are listed here are ever used: old
 * ones (NTLM, OTP) have had more flaws than users. A password that does not work defers the mail:
 * the configuration or the server is wrong, not the message.
 */
#include <sasl/sasl.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/encode.h"
#include "lib/base/log.h"
#include "lib/sasl/library.h"
#include "smtp/sasl.h"

#define SECRET_MOST     1024
#define LINE_MOST       12288 /* RFC 4954 4: base64 lines */
#define STEPS_MOST      10
#define SEPARATORS      " \t\r\n,"
#define PROCEDURE(call) ((int (*)(void))(uintptr_t)(call))

static const char *const mechanisms_known[] = {
	"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN",
};

/* What one attempt knows; libsasl2's callbacks get it as context. */
struct login {
	struct session *session;
	char            user[SECRET_MOST];
	sasl_secret_t  *secret;
	sasl_conn_t    *connection;
	sasl_callback_t callbacks[4];
};

/* ---- libsasl2's callbacks ---- */

static int
give_user(void *context, int id, const char **result, unsigned *length)
{
	const struct login *login = context;

	/* No authorisation identity: it is whoever logs in. */
	*result = id == SASL_CB_USER ? "" : login->user;
	if (length != NULL)
		*length = (unsigned)strlen(*result);
	return SASL_OK;
}

static int
give_secret(sasl_conn_t *connection, void *context, int id, sasl_secret_t **secret)
{
	const struct login *login = context;

	(void)connection;
	(void)id;
	*secret = login->secret;
	return SASL_OK;
}

static int
take_log(void *context, int level, const char *message)
{
	(void)context;
	if (level == SASL_LOG_ERR || level == SASL_LOG_FAIL)
		log_debug("libsasl2: %s", message);
	return SASL_OK;
}

static const sasl_callback_t library_callbacks[] = {
	{ SASL_CB_LOG, PROCEDURE(take_log), NULL },
	{ SASL_CB_LIST_END, NULL, NULL },
};

bool
sasl_library_start(struct error *error)
{
	sasl_conn_t *connection = NULL;
	int          result;

	sasl_library_use_mutexes();
	result = sasl_client_init(library_callbacks);
	if (result != SASL_OK)
		return error_set(error, "libsasl2: %s", sasl_errstring(result, NULL, NULL));
	/* The first object looks up the host's own name: let it load what that needs now. */
	if (sasl_client_new("smtp", "localhost", NULL, NULL, NULL, 0, &connection) == SASL_OK)
		sasl_dispose(&connection);
	return true;
}

/* ---- the password ---- */

/* FACTS 2.4: the sender (when asked for), the host, the next hop as written. */
static enum lookup
find_password(struct session *session, const struct session_plan *plan, struct buf *value,
              struct error *error)
{
	const struct smtp_agent *agent = session->agent;
	enum lookup              found = LOOKUP_NOT_FOUND;

	if (agent->parameters->smtp_sender_dependent_authentication &&
	    !slice_is_empty(plan->sender))
		found = table_list_lookup(agent->passwords, plan->sender, value, error);
	if (found == LOOKUP_NOT_FOUND)
		found = table_list_lookup(agent->passwords, slice_from(session->host.name), value,
		                          error);
	if (found == LOOKUP_NOT_FOUND)
		found = table_list_lookup(agent->passwords, slice_from(plan->nexthop->text), value,
		                          error);
	return found;
}

static bool
take_password(struct login *login, struct slice value)
{
	size_t       colon = slice_find_byte(value, ':');
	struct slice user = slice_first(value, colon == SLICE_NOT_FOUND ? value.length : colon);
	struct slice password =
		colon == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(value, colon + 1);

	if (slice_is_empty(user) || user.length >= sizeof(login->user) ||
	    password.length >= SECRET_MOST || memchr(user.data, '\0', user.length) != NULL)
		return false;
	memcpy(login->user, user.data, user.length);
	login->secret = calloc(1, sizeof(*login->secret) + password.length + 1);
	if (login->secret == NULL)
		return false;
	login->secret->len = password.length;
	memcpy(login->secret->data, password.data, password.length);
	return true;
}

/* ---- what may be used ---- */

static unsigned
security_flags(const char *options)
{
	static const struct {
		const char *name;
		unsigned    flag;
	} flags[] = {
		{ "noplaintext", SASL_SEC_NOPLAINTEXT },
		{ "noanonymous", SASL_SEC_NOANONYMOUS },
		{ "noactive", SASL_SEC_NOACTIVE },
		{ "nodictionary", SASL_SEC_NODICTIONARY },
		{ "mutual_auth", SASL_SEC_MUTUAL_AUTH },
		{ "forward_secrecy", SASL_SEC_FORWARD_SECRECY },
	};
	struct slice rest = slice_from(options), word;
	unsigned     result = 0;

	while (slice_next_word(&rest, SEPARATORS, &word))
		for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
			if (slice_equal_fold(word, slice_from(flags[i].name)))
				result |= flags[i].flag;
	return result;
}

static bool
has_word(const char *list, const char *wanted)
{
	struct slice rest = slice_from(list), word;

	while (slice_next_word(&rest, SEPARATORS, &word))
		if (slice_equal_fold(word, slice_from(wanted)))
			return true;
	return false;
}

/* What the server offers, we know, and the filter allows. */
static void
choose_mechanisms(const struct session *session, char *out, size_t size)
{
	const char *filter = session->agent->parameters->smtp_sasl_mechanism_filter;
	size_t      used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(mechanisms_known) / sizeof(mechanisms_known[0]); i++) {
		const char *name = mechanisms_known[i];

		if (has_word(session->mechanisms, name) &&
		    (filter[0] == '\0' || has_word(filter, name)) && used + 32 < size)
			used += (size_t)snprintf(out + used, size - used, "%s%s",
			                         used > 0 ? " " : "", name);
	}
}

/* ---- the exchange ---- */

static bool
failed(struct session *session, struct verdict *verdict, const char *why)
{
	*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.7.0",
	                        "SASL authentication failed; cannot authenticate to server %s: %s",
	                        session->host.place, why);
	return false;
}

static bool
send_response(struct session *session, const char *prefix, const char *response, unsigned length,
              bool is_initial, struct verdict *verdict)
{
	struct buf line = BUF(LINE_MOST);
	bool       ok = buf_append_text(&line, prefix);

	if (is_initial)
		ok = buf_append_byte(&line, ' ') && ok;
	if (length > 0)
		ok = base64_encode(slice_of(response, length), &line) && ok;
	else if (is_initial)
		ok = buf_append_byte(&line, '=') && ok;
	ok = ok ? session_command(session, STEP_AUTH, buf_slice(&line), verdict)
	        : failed(session, verdict, "response too long");
	if (line.data != NULL)
		explicit_bzero(line.data, line.capacity);
	buf_free(&line);
	return ok;
}

static bool
answer_challenge(struct login *login, const struct smtp_reply *reply, struct verdict *verdict)
{
	struct buf  challenge = BUF(LINE_MOST);
	const char *response = NULL;
	unsigned    length = 0;
	bool        ok = base64_decode(slice_trim(reply->text), &challenge);
	int         result = SASL_BADPROT;

	if (ok)
		result = sasl_client_step(login->connection, challenge.data,
		                          (unsigned)challenge.length, NULL, &response, &length);
	buf_free(&challenge);
	if (result != SASL_OK && result != SASL_CONTINUE)
		return failed(login->session, verdict,
		              ok ? sasl_errdetail(login->connection) : "malformed challenge");
	return send_response(login->session, "", response, length, false, verdict);
}

static bool
exchange(struct login *login, const char *mechanisms, struct verdict *verdict)
{
	struct session   *session = login->session;
	struct smtp_reply reply;
	const char       *response = NULL, *mechanism = NULL;
	unsigned          length = 0;
	char              command[64];
	int result = sasl_client_start(login->connection, mechanisms, NULL, &response, &length,
	                               &mechanism);

	if (result == SASL_NOMECH)
		return failed(session, verdict, "no mechanism available");
	if (result != SASL_OK && result != SASL_CONTINUE)
		return failed(session, verdict, sasl_errdetail(login->connection));
	snprintf(command, sizeof(command), "AUTH %s", mechanism);
	if (!send_response(session, command, response, length, response != NULL, verdict))
		return false;
	for (unsigned steps = 0; session_reply(session, STEP_AUTH, &reply, verdict); steps++) {
		if (reply.code / 100 == 2)
			return true;
		if (reply.code != 334 || steps >= STEPS_MOST) {
			*verdict = verdict_make(session->words, OUTCOME_DEFERRED, "4.7.0",
			                        "SASL authentication failed; server %s said: %s",
			                        session->host.place,
			                        reply_text(session->words, &reply));
			return false;
		}
		if (!answer_challenge(login, &reply, verdict)) {
			session->is_dead = true; /* in the middle of an exchange */
			return false;
		}
	}
	return false;
}

static bool
log_in(struct login *login, struct verdict *verdict)
{
	struct session            *session = login->session;
	const struct parameters   *parameters = session->agent->parameters;
	sasl_security_properties_t properties = { .maxbufsize = 0 };
	char                       mechanisms[256];

	choose_mechanisms(session, mechanisms, sizeof(mechanisms));
	login->callbacks[0] = (sasl_callback_t){ SASL_CB_USER, PROCEDURE(give_user), login };
	login->callbacks[1] = (sasl_callback_t){ SASL_CB_AUTHNAME, PROCEDURE(give_user), login };
	login->callbacks[2] = (sasl_callback_t){ SASL_CB_PASS, PROCEDURE(give_secret), login };
	login->callbacks[3] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	properties.security_flags = security_flags(
		tls_is_active(session->stream) ? parameters->smtp_sasl_tls_security_options
					       : parameters->smtp_sasl_security_options);
	if (mechanisms[0] == '\0')
		return failed(session, verdict, "no mechanism available");
	if (sasl_client_new("smtp", session->host.name, NULL, NULL, login->callbacks, 0,
	                    &login->connection) != SASL_OK ||
	    sasl_setprop(login->connection, SASL_SEC_PROPS, &properties) != SASL_OK)
		return failed(session, verdict, "libsasl2 does not start");
	return exchange(login, mechanisms, verdict);
}

bool
session_authenticate(struct session *session, const struct session_plan *plan,
                     struct verdict *verdict)
{
	struct login login = { .session = session };
	struct buf   value = BUF(2 * SECRET_MOST);
	struct error error = ERROR_NONE;
	enum lookup  found;
	bool         ok = true;

	if (session->agent->passwords == NULL || (session->offers & OFFER_AUTH) == 0)
		return true;
	found = find_password(session, plan, &value, &error);
	if (found == LOOKUP_TRY_LATER)
		ok = failed(session, verdict, error.text);
	else if (found == LOOKUP_FOUND && !take_password(&login, buf_slice(&value)))
		ok = failed(session, verdict, "malformed entry in smtp_sasl_password_maps");
	else if (found == LOOKUP_FOUND)
		ok = session->has_auth = log_in(&login, verdict);
	if (login.connection != NULL)
		sasl_dispose(&login.connection);
	if (login.secret != NULL) {
		explicit_bzero(login.secret->data, login.secret->len);
		free(login.secret);
	}
	if (value.data != NULL)
		explicit_bzero(value.data, value.capacity);
	buf_free(&value);
	return ok;
}
