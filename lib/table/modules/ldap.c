/*
 * ldap.c - the module for LDAP directories: ldap_table(5), by libldap.
 *
 * The socket is ours, so that it has timeouts and needs no name service; libldap gets the server's
 * name for its certificate only. Referrals are not followed.
 */
#include <lber.h>
#include <ldap.h>
#include <openldap.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/base/number.h"
#include "lib/table/connect.h"

#define ATTRIBUTES_MOST 64

struct names {
	char  *list[ATTRIBUTES_MOST + 1]; /* NULL-terminated */
	size_t count;
};

struct session {
	LDAP          *ldap;
	struct arena   arena;
	struct timeval timeout;
	int            scope;
	int            size_limit;
	int64_t        recursion_limit;
	struct names   all, results, specials, terminals, leaves;
};

static const char *const parameters[] = {
	"server_host",
	"server_port",
	"search_base",
	"query_filter",
	"result_attribute",
	"special_result_attribute",
	"terminal_result_attribute",
	"leaf_result_attribute",
	"scope",
	"bind",
	"bind_dn",
	"bind_pw",
	"recursion_limit",
	"size_limit",
	"dereference",
	"chase_referrals",
	"version",
	"start_tls",
	"tls_ca_cert_dir",
	"tls_ca_cert_file",
	"tls_cert",
	"tls_key",
	"tls_require_cert",
	"tls_cipher_suite",
	"tls_random_file",
	"debuglevel",
	/* Of long ago, without meaning today. */
	"cache",
	"cache_expiry",
	"cache_size",
	NULL,
};

static const char *
get(const struct driver_config *config, const char *name, const char *otherwise)
{
	return config->get(config->cf, name, otherwise);
}

static bool
is_yes(const struct driver_config *config, const char *name)
{
	return strcmp(get(config, name, "no"), "yes") == 0;
}

static bool
number_get(const struct driver_config *config, const char *name, int64_t most, int64_t *value,
           struct error *error)
{
	const char *text = get(config, name, NULL);

	return text == NULL || number_parse(slice_from(text), 0, most, value) ||
	       error_set(error, "%s: want a number from 0 to %lld", name, (long long)most);
}

static const struct {
	const char *word;
	int         scope;
} scopes[] = { { "sub", LDAP_SCOPE_SUBTREE },
	       { "base", LDAP_SCOPE_BASE },
	       { "one", LDAP_SCOPE_ONELEVEL } };
#define SCOPE_COUNT (sizeof(scopes) / sizeof(scopes[0]))

static size_t
scope_row(const struct driver_config *config)
{
	size_t row = 0;

	while (row < SCOPE_COUNT && strcmp(get(config, "scope", "sub"), scopes[row].word) != 0)
		row++;
	return row;
}

/* Also makes the library read its ldap.conf now, before the sandbox. */
static bool
start(const struct driver_config *config, struct error *error)
{
	const char *bind = get(config, "bind", "yes");
	int64_t     number;
	int         version = 0;

	if (scope_row(config) == SCOPE_COUNT)
		return error_set(error, "scope: want sub, one or base");
	if (strcmp(bind, "sasl") == 0)
		return error_set(error, "bind = sasl is not supported: use yes (simple) or no");
	if (is_yes(config, "chase_referrals"))
		return error_set(error, "chase_referrals = yes is not supported: name the server "
		                        "that knows in server_host");
	if (strcmp(get(config, "version", "3"), "3") != 0)
		return error_set(error, "version: only 3 is supported");
	if (!number_get(config, "recursion_limit", 1000000, &number, error) ||
	    !number_get(config, "size_limit", 1000000, &number, error) ||
	    !number_get(config, "expansion_limit", INT32_MAX, &number, error) ||
	    !number_get(config, "dereference", 3, &number, error))
		return false;
	ldap_get_option(NULL, LDAP_OPT_PROTOCOL_VERSION, &version);
	return true;
}

/* ---- connecting ---- */

static bool
names_read(struct session *session, const char *text, struct names *names, struct error *error)
{
	struct slice rest = slice_from(text), word;

	while (slice_next_word(&rest, ", \t\r\n", &word)) {
		char *name = arena_text(&session->arena, word);

		if (name == NULL || names->count == ATTRIBUTES_MOST ||
		    session->all.count == ATTRIBUTES_MOST)
			return error_set(error, "LDAP: too many attributes");
		names->list[names->count++] = name;
		session->all.list[session->all.count++] = name;
	}
	return true;
}

static bool
session_read(struct session *session, const struct driver_config *config, struct error *error)
{
	int64_t size_limit = 0;

	session->arena = ARENA((size_t)256 * 1024);
	session->timeout = (struct timeval){ .tv_sec = config->timeout_ms / 1000 };
	session->scope = scopes[scope_row(config)].scope;
	session->recursion_limit = 1000;
	return number_get(config, "recursion_limit", 1000000, &session->recursion_limit, error) &&
	       number_get(config,
	                  get(config, "size_limit", NULL) != NULL ? "size_limit"
	                                                          : "expansion_limit",
	                  INT32_MAX, &size_limit, error) &&
	       ((session->size_limit = (int)size_limit) >= 0) &&
	       names_read(session, get(config, "result_attribute", "maildrop"), &session->results,
	                  error) &&
	       names_read(session, get(config, "special_result_attribute", ""), &session->specials,
	                  error) &&
	       names_read(session, get(config, "terminal_result_attribute", ""),
	                  &session->terminals, error) &&
	       names_read(session, get(config, "leaf_result_attribute", ""), &session->leaves,
	                  error);
}

static bool
say(struct error *error, const char *what, int number)
{
	return error_set(error, "LDAP: %s: %s", what, ldap_err2string(number));
}

static void
tls_set(LDAP *ldap, const struct driver_config *config)
{
	static const struct {
		const char *name;
		int         option;
	} texts[] = {
		{ "tls_ca_cert_dir", LDAP_OPT_X_TLS_CACERTDIR },
		{ "tls_ca_cert_file", LDAP_OPT_X_TLS_CACERTFILE },
		{ "tls_cert", LDAP_OPT_X_TLS_CERTFILE },
		{ "tls_key", LDAP_OPT_X_TLS_KEYFILE },
		{ "tls_cipher_suite", LDAP_OPT_X_TLS_CIPHER_SUITE },
	};
	int require =
		is_yes(config, "tls_require_cert") ? LDAP_OPT_X_TLS_DEMAND : LDAP_OPT_X_TLS_NEVER;
	int is_server = 0;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *value = get(config, texts[i].name, "");

		if (value[0] != '\0')
			ldap_set_option(ldap, texts[i].option, value);
	}
	ldap_set_option(ldap, LDAP_OPT_X_TLS_REQUIRE_CERT, &require);
	ldap_set_option(ldap, LDAP_OPT_X_TLS_NEWCTX, &is_server);
}

static void
options_set(struct session *session, const struct driver_config *config)
{
	int     version = LDAP_VERSION3;
	int64_t dereference = 0;

	number_get(config, "dereference", 3, &dereference, NULL);
	int deref = (int)dereference;
	ldap_set_option(session->ldap, LDAP_OPT_PROTOCOL_VERSION, &version);
	ldap_set_option(session->ldap, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
	ldap_set_option(session->ldap, LDAP_OPT_RESTART, LDAP_OPT_ON);
	ldap_set_option(session->ldap, LDAP_OPT_DEREF, &deref);
	ldap_set_option(session->ldap, LDAP_OPT_TIMEOUT, &session->timeout);
	ldap_set_option(session->ldap, LDAP_OPT_NETWORK_TIMEOUT, &session->timeout);
}

static bool
session_log_in(struct session *session, const struct driver_config *config,
               const struct driver_host *host, struct error *error)
{
	const char   *password = get(config, "bind_pw", "");
	const char   *bind = get(config, "bind", "yes");
	struct berval secret = { .bv_val = (char *)(uintptr_t)password,
		                 .bv_len = strlen(password) };
	int           number = LDAP_SUCCESS;

	if (host->scheme != NULL && strcmp(host->scheme, "ldaps") == 0)
		number = ldap_install_tls(session->ldap);
	else if (is_yes(config, "start_tls"))
		number = ldap_start_tls_s(session->ldap, NULL, NULL);
	if (number != LDAP_SUCCESS)
		return say(error, "TLS", number);
	if (strcmp(bind, "no") == 0 || strcmp(bind, "none") == 0)
		return true;
	number = ldap_sasl_bind_s(session->ldap, get(config, "bind_dn", ""), LDAP_SASL_SIMPLE,
	                          &secret, NULL, NULL, NULL);
	return number == LDAP_SUCCESS || say(error, "bind", number);
}

static bool
session_connect(struct session *session, const struct driver_config *config,
                const struct driver_host *host, struct error *error)
{
	bool        is_tls = host->scheme != NULL && strcmp(host->scheme, "ldaps") == 0;
	bool        is_v6 = !host->is_unix && strchr(host->name, ':') != NULL;
	const char *url = host->is_unix ? "ldapi:///"
	                                : arena_format(&session->arena, "%s://%s%s%s:%s",
	                                               is_tls ? "ldaps" : "ldap", is_v6 ? "[" : "",
	                                               host->name, is_v6 ? "]" : "", host->port);
	int         fd = table_connect(host, config->timeout_ms, error);

	if (fd < 0)
		return false;
	/* A server that stops in the middle of an answer must not hold a thread. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &session->timeout, sizeof(session->timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &session->timeout, sizeof(session->timeout));
	int number = url == NULL ? LDAP_NO_MEMORY
	                         : ldap_init_fd(fd, host->is_unix ? LDAP_PROTO_IPC : LDAP_PROTO_TCP,
	                                        url, &session->ldap);
	if (number != LDAP_SUCCESS) {
		close(fd);
		session->ldap = NULL;
		return say(error, "connect", number);
	}
	options_set(session, config);
	tls_set(session->ldap, config);
	return session_log_in(session, config, host, error);
}

static void
close_connection(void *connection)
{
	struct session *session = connection;

	if (session->ldap != NULL)
		ldap_unbind_ext(session->ldap, NULL, NULL);
	arena_reset(&session->arena);
	free(session);
}

static void *
open_connection(const struct driver_config *config, const struct driver_host *host,
                struct error *error)
{
	struct session *session = calloc(1, sizeof(*session));

	if (session == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	if (session_read(session, config, error) && session_connect(session, config, host, error))
		return session;
	error_prefix(error, "%s", host->name);
	close_connection(session);
	return NULL;
}

/* ---- quoting ---- */

/* RFC 4515: in a filter. */
static bool
quote(void *connection, struct slice text, struct buf *out)
{
	(void)connection;
	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] == '\0' || strchr("*()\\", text.data[i]) != NULL)
			buf_append_format(out, "\\%02x", (unsigned char)text.data[i]);
		else
			buf_append_byte(out, text.data[i]);
	}
	return !out->has_failed;
}

/* RFC 4514: in a distinguished name. */
static bool
quote_base(void *connection, struct slice text, struct buf *out)
{
	(void)connection;
	for (size_t i = 0; i < text.length; i++) {
		char c = text.data[i];
		bool is_edge = i == 0 || i + 1 == text.length;

		if (strchr(",+\"\\<>;=", c) != NULL || (is_edge && c == ' ') ||
		    (i == 0 && c == '#'))
			buf_append_byte(out, '\\');
		buf_append_byte(out, c);
	}
	return !out->has_failed;
}

/* ---- searching ---- */

/* Entries that special attributes name, still to be read. */
struct search {
	struct session            *session;
	const struct driver_query *query;
	struct arena               arena;
	ARRAY(char *) names; /* DNs and ldap URLs */
	size_t next;
};

static enum driver_result
give_values(const struct search *search, LDAPMessage *entry, const struct names *names)
{
	for (size_t i = 0; i < names->count; i++) {
		struct berval **values =
			ldap_get_values_len(search->session->ldap, entry, names->list[i]);
		bool goes_on = true;

		for (size_t j = 0; values != NULL && values[j] != NULL && goes_on; j++)
			goes_on =
				search->query->give(search->query->context,
			                            slice_of(values[j]->bv_val, values[j]->bv_len));
		ldap_value_free_len(values);
		if (!goes_on)
			return DRIVER_STOPPED;
	}
	return DRIVER_DONE;
}

static bool
has_values(const struct search *search, LDAPMessage *entry, const struct names *names)
{
	bool found = false;

	for (size_t i = 0; i < names->count && !found; i++) {
		struct berval **values =
			ldap_get_values_len(search->session->ldap, entry, names->list[i]);

		found = values != NULL && values[0] != NULL && values[0]->bv_len > 0;
		ldap_value_free_len(values);
	}
	return found;
}

/* Puts what the special attributes name on the list. */
static bool
specials_add(struct search *search, LDAPMessage *entry, struct error *error)
{
	const struct names *specials = &search->session->specials;
	bool                is_good = true;

	for (size_t i = 0; i < specials->count && is_good; i++) {
		struct berval **values =
			ldap_get_values_len(search->session->ldap, entry, specials->list[i]);

		for (size_t j = 0; values != NULL && values[j] != NULL && is_good; j++) {
			char *name = arena_text(&search->arena,
			                        slice_of(values[j]->bv_val, values[j]->bv_len));

			if ((int64_t)search->names.count >= search->session->recursion_limit)
				is_good = error_set(error,
				                    "LDAP: more than recursion_limit = %lld "
				                    "entries",
				                    (long long)search->session->recursion_limit);
			else if (name == NULL || !ARRAY_PUSH(&search->names, name))
				is_good = error_set(error, "LDAP: out of memory");
		}
		ldap_value_free_len(values);
	}
	return is_good;
}

static enum driver_result
entry_take(struct search *search, LDAPMessage *entry, struct error *error)
{
	const struct session *session = search->session;
	bool                  has_specials = has_values(search, entry, &session->specials);
	enum driver_result    outcome;

	if (has_values(search, entry, &session->terminals))
		return give_values(search, entry, &session->terminals);
	if (has_specials && !specials_add(search, entry, error))
		return DRIVER_REFUSED;
	outcome = give_values(search, entry, &session->results);
	if (outcome == DRIVER_DONE && !has_specials)
		outcome = give_values(search, entry, &session->leaves);
	return outcome;
}

static enum driver_result
failure(int number, struct error *error)
{
	say(error, "search", number);
	switch (number) {
	case LDAP_SERVER_DOWN:
	case LDAP_TIMEOUT:
	case LDAP_CONNECT_ERROR:
	case LDAP_LOCAL_ERROR:
	case LDAP_ENCODING_ERROR:
	case LDAP_DECODING_ERROR:
	case LDAP_BUSY:
	case LDAP_UNAVAILABLE: return DRIVER_LOST;
	default: return DRIVER_REFUSED;
	}
}

struct where {
	const char *base;
	int         scope;
	const char *filter;
	bool        may_be_missing; /* a member that went */
};

static enum driver_result
search_at(struct search *search, const struct where *where, struct error *error)
{
	struct session    *session = search->session;
	LDAPMessage       *answer = NULL;
	enum driver_result outcome = DRIVER_DONE;
	int number = ldap_search_ext_s(session->ldap, where->base, where->scope, where->filter,
	                               session->all.list, 0, NULL, NULL, &session->timeout,
	                               session->size_limit, &answer);

	if (number != LDAP_SUCCESS && !(number == LDAP_NO_SUCH_OBJECT && where->may_be_missing))
		outcome = failure(number, error);
	/* libldap asserts that there is an answer. */
	LDAPMessage *entry = answer == NULL || outcome != DRIVER_DONE
	                             ? NULL
	                             : ldap_first_entry(session->ldap, answer);
	for (; entry != NULL && outcome == DRIVER_DONE;
	     entry = ldap_next_entry(session->ldap, entry))
		outcome = entry_take(search, entry, error);
	ldap_msgfree(answer);
	return outcome;
}

/* A URL is followed on the same server: its base, scope and filter count, not its host. */
static enum driver_result
search_named(struct search *search, const char *name, struct error *error)
{
	struct where       where = { name, LDAP_SCOPE_BASE, "(objectclass=*)", true };
	LDAPURLDesc       *url = NULL;
	enum driver_result outcome;

	if (ldap_is_ldap_url(name)) {
		if (ldap_url_parse(name, &url) != LDAP_URL_SUCCESS) {
			error_set(error, "LDAP: malformed URL in an entry");
			return DRIVER_REFUSED;
		}
		where.base = url->lud_dn == NULL ? "" : url->lud_dn;
		where.scope = url->lud_scope < 0 ? LDAP_SCOPE_BASE : url->lud_scope;
		if (url->lud_filter != NULL)
			where.filter = url->lud_filter;
	}
	outcome = search_at(search, &where, error);
	ldap_free_urldesc(url);
	return outcome;
}

static enum driver_result
run_query(void *connection, const struct driver_query *query, struct error *error)
{
	struct session *session = connection;
	struct search   search = { .session = session, .query = query };
	/* A base that is not there may be one with the key in it, for a domain without mail. */
	struct where       where = { query->base.data, session->scope, query->text.data, true };
	enum driver_result outcome;

	search.arena = ARENA((size_t)4 << 20);
	outcome = search_at(&search, &where, error);
	/* Entries in a circle end at recursion_limit. */
	while (outcome == DRIVER_DONE && search.next < search.names.count)
		outcome = search_named(&search, search.names.items[search.next++], error);
	ARRAY_FREE(&search.names);
	arena_reset(&search.arena);
	return outcome;
}

__attribute__((visibility("default"))) extern const struct table_driver table_driver;
const struct table_driver                                               table_driver = {
						      .abi = TABLE_DRIVER_ABI,
						      .type = "ldap",
						      .parameters = parameters,
						      .hosts_parameter = "server_host",
						      .hosts_default = "localhost",
						      .port_default = "389",
						      .port_parameter = "server_port",
						      .query_parameter = "query_filter",
						      .query_default = "(mailacceptinggeneralid=%s)",
						      .base_parameter = "search_base",
						      .start = start,
						      .connect = open_connection,
						      .close = close_connection,
						      .quote = quote,
						      .quote_base = quote_base,
						      .query = run_query,
};
