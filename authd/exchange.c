/* exchange.c - see exchange.h: libsasl2's server side, and the callbacks that it asks. */
#include "authd/exchange.h"

#include <openssl/crypto.h>
#include <sasl/prop.h>
#include <sasl/sasl.h>
#include <sasl/saslplug.h>
#include <stdlib.h>

#include "authd/scram.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/sasl/library.h"

#define MECHANISM_MOST  32
#define STEPS_MOST      10
#define SCRAM_TEXT_MOST 4096

struct exchange {
	struct authd   *authd;
	sasl_conn_t    *connection;
	sasl_callback_t callbacks[4];
	char            mechanism[MECHANISM_MOST];
	char            service[MECHANISM_MOST];
	char            credential[USER_APP_ID_BYTES + 1]; /* what the last answer was about */
	char            user[USER_NAME_MOST + 1];          /* as the client meant it, for the log */
	char            canonical[USER_NAME_MOST + 1];     /* "" when it can be nobody's */
	const char     *reason;
	bool            is_trouble; /* what was asked of us could not be answered */
	bool            is_scram;
	bool            is_app_proven; /* SCRAM: the client is to acknowledge our last message */
	unsigned        steps;
	struct buf      client_first, server_first; /* SCRAM's messages, for app passwords */
	struct buf      server_final;
};

/* ---- mechanisms ---- */

static const struct {
	const char *name;
	bool        is_plaintext;
} mechanisms[] = {
	{ "SCRAM-SHA-256", false },
	{ "PLAIN", true },
	{ "LOGIN", true },
};
#define MECHANISM_COUNT (sizeof(mechanisms) / sizeof(mechanisms[0]))

static const char *
service_mechanisms(const struct authd *authd, struct slice service)
{
	if (slice_equal(service, SLICE("smtp")))
		return authd->parameters->auth_smtp_mechanisms;
	if (slice_equal(service, SLICE("pop3")))
		return authd->parameters->auth_pop3_mechanisms;
	return authd->parameters->auth_mechanisms;
}

/* The row's index; MECHANISM_COUNT when it is none of ours. */
static size_t
mechanism_find(struct slice name)
{
	size_t i = 0;

	while (i < MECHANISM_COUNT && !slice_equal_fold(name, slice_from(mechanisms[i].name)))
		i++;
	return i;
}

static bool
mechanism_is_offered(const struct authd *authd, size_t index, bool has_tls)
{
	return index < MECHANISM_COUNT && (!mechanisms[index].is_plaintext || has_tls ||
	                                   authd->parameters->auth_allow_cleartext);
}

bool
exchange_mechanisms(const struct authd *authd, struct slice service, bool has_tls,
                    struct buf *names)
{
	struct slice rest = slice_from(service_mechanisms(authd, service)), word;

	while (slice_next_word(&rest, ", \t\r\n", &word)) {
		size_t index = mechanism_find(word);

		if (!mechanism_is_offered(authd, index, has_tls))
			continue;
		if (names->length > 0)
			buf_append_byte(names, ' ');
		buf_append_text(names, mechanisms[index].name);
	}
	return !names->has_failed;
}

bool
exchange_is_plaintext(struct slice mechanism)
{
	size_t index = mechanism_find(mechanism);

	return index < MECHANISM_COUNT && mechanisms[index].is_plaintext;
}

bool
exchange_has_plaintext(const struct exchange *exchange)
{
	return !exchange->is_scram;
}

static bool
mechanism_may_be_used(const struct authd *authd, const struct msg_auth_start *start, size_t *index)
{
	struct slice rest = slice_from(service_mechanisms(authd, start->service)), word;

	*index = mechanism_find(start->mechanism);
	if (!mechanism_is_offered(authd, *index, start->has_tls))
		return false;
	while (slice_next_word(&rest, ", \t\r\n", &word))
		if (mechanism_find(word) == *index)
			return true;
	return false;
}

/* ---- what libsasl2 asks of one exchange ---- */

/* Callbacks of every form travel as this one; libsasl2 knows the real form by the number. */
typedef int (*callback_function)(void);
#define PROCEDURE(function) ((callback_function)(void *)(function))

/*
 * Of the two names that a client may give, the one whose password it knows (authentication) and the
 * one it wants to be (authorization), only the first is looked up; answer_success wants them equal.
 * A name that can be nobody's goes on as it is: it is refused late and at the same cost.
 */
static int
callback_canonical(sasl_conn_t *connection, void *context, const char *in, unsigned length,
                   unsigned flags, const char *realm, char *out, unsigned out_most,
                   unsigned *out_length)
{
	struct exchange *exchange = context;
	struct slice     name = slice_of(in, length);
	char             canonical[USER_NAME_MOST + 1];
	struct buf       printable = BUF(USER_NAME_MOST);

	(void)connection;
	(void)realm;
	if (!user_name_canonical(name, exchange->authd->parameters->auth_default_domain, canonical,
	                         NULL))
		canonical[0] = '\0';
	buf_append_printable(&printable, slice_first(name, USER_NAME_MOST - 1));
	const char *result = canonical[0] != '\0' ? canonical : buf_text(&printable);
	size_t      size = strlen(result);
	bool        is_good = size > 0 && size < out_most;
	if (is_good) {
		memcpy(out, result, size + 1);
		*out_length = (unsigned)size;
	}
	if ((flags & SASL_CU_AUTHID) != 0) {
		memcpy(exchange->canonical, canonical, sizeof(canonical));
		memcpy(exchange->user, buf_text(&printable), printable.length + 1);
	}
	buf_free(&printable);
	return is_good ? SASL_OK : SASL_BADAUTH;
}

static int
callback_check_password(sasl_conn_t *connection, void *context, const char *user,
                        const char *password, unsigned length, struct propctx *properties)
{
	struct exchange *exchange = context;

	(void)connection;
	(void)user;
	(void)properties;
	struct login_name login = { exchange->canonical, exchange->service, "" };
	enum verdict verdict = password_check(exchange->authd, &login, slice_of(password, length),
	                                      &exchange->reason);
	memcpy(exchange->credential, login.credential, sizeof(login.credential));
	switch (verdict) {
	case VERDICT_RIGHT: return SASL_OK;
	case VERDICT_WRONG: return SASL_BADAUTH;
	case VERDICT_TRY_LATER: exchange->is_trouble = true; return SASL_UNAVAIL;
	}
	return SASL_FAIL;
}

/* The way from an object of libsasl2's back to its exchange: the context of a callback of ours. */
static struct exchange *
exchange_of(sasl_server_params_t *parameters)
{
	sasl_callback_ft function = NULL;
	void            *context = NULL;

	if (parameters->utils->getcallback(parameters->utils->conn, SASL_CB_SERVER_USERDB_CHECKPASS,
	                                   &function, &context) != SASL_OK ||
	    function != (sasl_callback_ft)PROCEDURE(callback_check_password))
		return NULL;
	return context;
}

/* Gives SCRAM the stored keys, as the property that its plugin looks for (RFC 5803 form). */
static int
auxiliary_lookup(void *global, sasl_server_params_t *parameters, unsigned flags, const char *user,
                 unsigned length)
{
	struct exchange   *exchange = exchange_of(parameters);
	struct credentials credentials;
	struct error       error = ERROR_NONE;
	struct buf         keys = BUF(1024);
	int                result = SASL_OK;

	(void)global;
	(void)user;
	(void)length;
	if (exchange == NULL)
		return SASL_FAIL;
	if (!exchange->is_scram || (flags & SASL_AUXPROP_AUTHZID) != 0)
		return SASL_OK;
	struct login_name login = { exchange->canonical, exchange->service, "" };
	table_refresh(exchange->authd->users);
	enum lookup answer =
		credentials_find(exchange->authd, &login, slice_of(NULL, 0), &credentials, &error);
	memcpy(exchange->credential, login.credential, sizeof(login.credential));
	if (answer == LOOKUP_TRY_LATER) {
		log_warning("%s", error.text);
		exchange->is_trouble = true;
		exchange->reason = "the user database cannot be read";
		return SASL_UNAVAIL;
	}
	if (!scram_append(&credentials.scram, &keys) ||
	    parameters->utils->prop_set(parameters->propctx, "*authPassword", buf_text(&keys),
	                                (int)keys.length) != SASL_OK)
		result = SASL_NOMEM;
	if (keys.data != NULL)
		OPENSSL_cleanse(keys.data, keys.capacity);
	buf_free(&keys);
	OPENSSL_cleanse(&credentials, sizeof(credentials));
	return result;
}

/* ---- what libsasl2 asks of the process ---- */

static const struct {
	const char *name, *value;
} library_options[] = {
	{ "auxprop_plugin", "dakiya" },
	{ "pwcheck_method", "auxprop" }, /* asked only when our callback were missing */
	{ "auto_transition", "no" },
	{ "log_level", "1" },
};

static int
callback_option(void *context, const char *plugin, const char *option, const char **result,
                unsigned *length)
{
	(void)context;
	(void)plugin;
	for (size_t i = 0; i < sizeof(library_options) / sizeof(library_options[0]); i++)
		if (strcmp(option, library_options[i].name) == 0) {
			*result = library_options[i].value;
			if (length != NULL)
				*length = (unsigned)strlen(*result);
			return SASL_OK;
		}
	return SASL_FAIL;
}

/* Its debug levels would show passwords: errors only. */
static int
callback_log(void *context, int level, const char *message)
{
	(void)context;
	if (level == SASL_LOG_ERR && message != NULL)
		log_warning("libsasl2: %s", message);
	return SASL_OK;
}

/* Of the modules on the disk only those of our mechanisms; no configuration files. */
static int
callback_verify(void *context, const char *file, sasl_verify_type_t type)
{
	static const char *const wanted[] = { "libscram.so", "libplain.so", "liblogin.so" };
	const char              *slash = strrchr(file, '/');
	struct slice             name = slice_from(slash == NULL ? file : slash + 1);

	(void)context;
	if (type != SASL_VRFY_PLUGIN)
		return SASL_CONTINUE;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (slice_starts_with(name, slice_from(wanted[i])))
			return SASL_OK;
	return SASL_CONTINUE;
}

static const sasl_callback_t library_callbacks[] = {
	{ SASL_CB_GETOPT, PROCEDURE(callback_option), NULL },
	{ SASL_CB_LOG, PROCEDURE(callback_log), NULL },
	{ SASL_CB_VERIFYFILE, PROCEDURE(callback_verify), NULL },
	{ SASL_CB_LIST_END, NULL, NULL },
};

static sasl_auxprop_plug_t auxiliary_plugin = {
	.auxprop_lookup = auxiliary_lookup,
	.name = (char *)(uintptr_t) "dakiya",
};

static int
auxiliary_start(const sasl_utils_t *utils, int most_version, int *version,
                sasl_auxprop_plug_t **plugin, const char *name)
{
	(void)utils;
	(void)name;
	if (most_version < SASL_AUXPROP_PLUG_VERSION)
		return SASL_BADVERS;
	*version = SASL_AUXPROP_PLUG_VERSION;
	*plugin = &auxiliary_plugin;
	return SASL_OK;
}

bool
exchange_library_start(struct error *error)
{
	sasl_library_use_mutexes();
	int result = sasl_server_init(library_callbacks, NULL);
	if (result == SASL_OK)
		result = sasl_auxprop_add_plugin("dakiya", auxiliary_start);
	return result == SASL_OK ||
	       error_set(error, "libsasl2: %s", sasl_errstring(result, NULL, NULL));
}

/* ---- exchanges ---- */

static void
answer_set(const struct exchange *exchange, enum auth_status status, const char *reason,
           struct exchange_answer *answer)
{
	*answer = (struct exchange_answer){ .status = status, .user = "", .reason = reason };
	if (exchange != NULL)
		answer->user =
			exchange->canonical[0] != '\0' ? exchange->canonical : exchange->user;
}

static void
note_use(const struct exchange *exchange)
{
	last_use_note(exchange->authd->last_use, exchange->canonical, exchange->credential,
	              clock_wall_s());
}

/* Success counts only for the name whose credentials were looked up. */
static void
answer_success(struct exchange *exchange, struct exchange_answer *answer)
{
	const void *user = NULL;

	if (sasl_getprop(exchange->connection, SASL_USERNAME, &user) != SASL_OK || user == NULL ||
	    exchange->canonical[0] == '\0' || strcmp(user, exchange->canonical) != 0)
		answer_set(exchange, AUTH_FAILED, "authentication failure", answer);
	else
		answer_set(exchange, AUTH_OK, "", answer);
	if (answer->status == AUTH_OK)
		note_use(exchange);
}

/*
 * The outcomes of libsasl2 that are not success. Its SCRAM says BADPROT for a wrong proof, so once
 * the first message was understood that is a failed login.
 */
static void
answer_failure(struct exchange *exchange, int result, struct exchange_answer *answer)
{
	enum auth_status status = AUTH_TRY_LATER;
	const char      *reason = "libsasl2 failed";

	switch (result) {
	case SASL_BADAUTH:
	case SASL_NOUSER:
	case SASL_NOAUTHZ:
	case SASL_NOVERIFY:
	case SASL_DISABLED:
	case SASL_EXPIRED:
		status = AUTH_FAILED;
		reason = exchange->reason;
		break;
	case SASL_BADPROT:
	case SASL_BUFOVER:
		status = exchange->is_scram && exchange->steps > 1 ? AUTH_FAILED : AUTH_MALFORMED;
		reason = status == AUTH_FAILED ? exchange->reason : "malformed response";
		break;
	case SASL_NOMECH:
		status = AUTH_BAD_MECHANISM;
		reason = "no mechanism available";
		break;
	}
	if (exchange->is_trouble) {
		status = AUTH_TRY_LATER;
		reason = exchange->reason;
	}
	answer_set(exchange, status, reason, answer);
}

static void
answer_result(struct exchange *exchange, int result, const char *out, unsigned length,
              struct exchange_answer *answer)
{
	exchange->steps++;
	if (result == SASL_CONTINUE) {
		answer_set(exchange, AUTH_CONTINUE, "", answer);
		answer->challenge = slice_of(out == NULL ? "" : out, out == NULL ? 0 : length);
		if (exchange->is_scram && exchange->client_first.length > 0 &&
		    exchange->server_first.length == 0)
			buf_append(&exchange->server_first, answer->challenge);
	} else if (result == SASL_OK) {
		answer_success(exchange, answer);
	} else {
		answer_failure(exchange, result, answer);
	}
}

static bool
connection_make(struct exchange *exchange, const struct msg_auth_start *start)
{
	sasl_security_properties_t properties = { .security_flags = SASL_SEC_NOANONYMOUS };
	struct slice name = slice_first(start->service, sizeof(exchange->service) - 1);

	memcpy(exchange->service, name.data, name.length);
	exchange->service[name.length] = '\0';
	exchange->callbacks[0] =
		(sasl_callback_t){ SASL_CB_CANON_USER, PROCEDURE(callback_canonical), exchange };
	exchange->callbacks[1] = (sasl_callback_t){ SASL_CB_SERVER_USERDB_CHECKPASS,
		                                    PROCEDURE(callback_check_password), exchange };
	exchange->callbacks[2] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	return sasl_server_new(exchange->service, exchange->authd->parameters->myhostname, NULL,
	                       NULL, NULL, exchange->callbacks, 0,
	                       &exchange->connection) == SASL_OK &&
	       sasl_setprop(exchange->connection, SASL_SEC_PROPS, &properties) == SASL_OK;
}

/*
 * LOGIN's first challenge asks for the name, so libsasl2 refuses an initial response. Clients send
 * one all the same (RFC 4954 lets them think so): it answers that challenge.
 */
static void
first_step(struct exchange *exchange, const struct msg_auth_start *start,
           struct exchange_answer *answer)
{
	bool        is_server_first = strcmp(exchange->mechanism, "LOGIN") == 0;
	const char *out = NULL;
	const char *initial = start->initial.length == 0 ? "" : start->initial.data;
	unsigned    length = 0;
	bool        is_sent = start->has_initial && !is_server_first;

	if (exchange->is_scram && is_sent)
		buf_append(&exchange->client_first, start->initial);
	int result = sasl_server_start(
		exchange->connection, exchange->mechanism, is_sent ? initial : NULL,
		is_sent ? (unsigned)start->initial.length : 0, &out, &length);

	if (result == SASL_CONTINUE && start->has_initial && is_server_first)
		result = sasl_server_step(exchange->connection, initial,
		                          (unsigned)start->initial.length, &out, &length);
	answer_result(exchange, result, out, length, answer);
}

/*
 * LIMIT: no channel binding yet. libsasl2's plugin would follow a null pointer when a client asks
 * for it without being offered it ("p=..."), so such a message never gets there.
 */
static bool
asks_for_channel_binding(const struct exchange *exchange, struct slice message)
{
	return exchange->is_scram && exchange->steps <= 1 && message.length > 0 &&
	       message.data[0] == 'p';
}

struct exchange *
exchange_start(struct authd *authd, const struct msg_auth_start *start,
               struct exchange_answer *answer)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));
	size_t           index;

	answer_set(NULL, AUTH_TRY_LATER, "out of memory", answer);
	if (exchange == NULL)
		return NULL;
	exchange->authd = authd;
	exchange->reason = "authentication failure";
	exchange->client_first = BUF(SCRAM_TEXT_MOST);
	exchange->server_first = BUF(SCRAM_TEXT_MOST);
	exchange->server_final = BUF(SCRAM_TEXT_MOST);
	if (!mechanism_may_be_used(authd, start, &index)) {
		answer_set(exchange, AUTH_BAD_MECHANISM, "no mechanism available", answer);
		return exchange;
	}
	memcpy(exchange->mechanism, mechanisms[index].name, strlen(mechanisms[index].name) + 1);
	exchange->is_scram = !mechanisms[index].is_plaintext;
	if (start->has_initial && asks_for_channel_binding(exchange, start->initial))
		answer_set(exchange, AUTH_MALFORMED, "channel binding is not offered", answer);
	else if (!connection_make(exchange, start))
		answer_set(exchange, AUTH_TRY_LATER, "libsasl2 failed", answer);
	else
		first_step(exchange, start, answer);
	return exchange;
}

/* The client's last message may prove an app password: true, and *answer is set. */
static bool
prove_app(struct exchange *exchange, struct slice response, struct exchange_answer *answer)
{
	struct login_name     login = { exchange->canonical, exchange->service, "" };
	struct scram_messages messages = { buf_slice(&exchange->client_first),
		                           buf_slice(&exchange->server_first), response };

	if (exchange->server_first.length == 0 || exchange->server_final.length > 0 ||
	    !scram_app_prove(exchange->authd, &login, &messages, &exchange->server_final))
		return false;
	memcpy(exchange->credential, login.credential, sizeof(login.credential));
	exchange->is_app_proven = true;
	answer_set(exchange, AUTH_CONTINUE, "", answer);
	answer->challenge = buf_slice(&exchange->server_final);
	return true;
}

/* RFC 4954 4: the client answers the server's last message with an empty one. */
static void
acknowledge_app(struct exchange *exchange, struct slice response, struct exchange_answer *answer)
{
	if (!slice_is_empty(response)) {
		answer_set(exchange, AUTH_MALFORMED, "malformed response", answer);
		return;
	}
	answer_set(exchange, AUTH_OK, "", answer);
	note_use(exchange);
}

void
exchange_step(struct exchange *exchange, struct slice response, struct exchange_answer *answer)
{
	const char *out = NULL;
	unsigned    length = 0;

	if (exchange->connection == NULL || exchange->steps > STEPS_MOST ||
	    asks_for_channel_binding(exchange, response)) {
		answer_set(exchange, AUTH_MALFORMED, "malformed response", answer);
		return;
	}
	if (exchange->is_app_proven) {
		acknowledge_app(exchange, response, answer);
		return;
	}
	if (exchange->is_scram && prove_app(exchange, response, answer))
		return;
	if (exchange->is_scram && exchange->client_first.length == 0)
		buf_append(&exchange->client_first, response);
	int result =
		sasl_server_step(exchange->connection, response.length == 0 ? "" : response.data,
	                         (unsigned)response.length, &out, &length);
	answer_result(exchange, result, out, length, answer);
}

void
exchange_end(struct exchange **exchange)
{
	struct exchange *gone = *exchange;

	if (gone == NULL)
		return;
	*exchange = NULL;
	if (gone->connection != NULL)
		sasl_dispose(&gone->connection);
	buf_free(&gone->client_first);
	buf_free(&gone->server_first);
	buf_free(&gone->server_final);
	OPENSSL_cleanse(gone, sizeof(*gone));
	free(gone);
}
