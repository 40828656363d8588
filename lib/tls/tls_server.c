/* tls_server.c - the server's settings: certificates, versions, ciphers, client certificates. */
#include <openssl/err.h>

#include "lib/base/mutex.h"
#include "lib/tls/tls_files.h"
#include "lib/tls/tls_internal.h"
#include "lib/tls/tls_served.h"

#define WORDS            " \t\r\n,"
#define CIPHER_LIST_MOST 4096

struct tls_server {
	SSL_CTX     *context; /* settings only: the certificates come with each handshake */
	BIO_METHOD  *bio_method;
	struct mutex lock;
	/* guarded: */
	struct tls_served *served;
};

/* ---- certificates ---- */

static struct tls_served *
served_hold(struct tls_server *server)
{
	struct tls_served *served;

	mutex_lock(&server->lock);
	served = tls_served_hold(server->served);
	mutex_unlock(&server->lock);
	return served;
}

/* OpenSSL asks in each handshake that is no resumption, when the client's hello was read. */
static int
choose_certificates(SSL *ssl, void *argument)
{
	struct tls_server       *server = argument;
	struct tls_served       *served = served_hold(server);
	const struct tls_choice *choice =
		tls_served_choose(served, SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
	int is_ok = 1;

	SSL_certs_clear(ssl);
	for (size_t i = 0; is_ok == 1 && i < choice->count; i++)
		is_ok = SSL_use_cert_and_key(ssl, choice->chains[i]->certificate,
		                             choice->chains[i]->key, choice->chains[i]->issuers, 1);
	tls_served_release(served);
	return is_ok;
}

void
tls_server_replace(struct tls_server *server, struct slice bundle, struct error *problem)
{
	struct tls_served *old = served_hold(server);
	struct tls_served *new = tls_served_create(bundle, old, problem);

	if (new != NULL) {
		error_set(problem, "%s", buf_text(&new->chains.problems));
		mutex_lock(&server->lock);
		server->served = new;
		mutex_unlock(&server->lock);
		tls_served_release(old);
	}
	tls_served_release(old);
	tls_errors_clear();
}

void
tls_server_problem(struct tls_server *server, struct error *problem)
{
	struct tls_served *served = served_hold(server);

	error_set(problem, "%.*s", SLICE_ARGS(buf_slice(&served->chains.problems)));
	tls_served_release(served);
}

bool
tls_server_describe(struct tls_server *server, struct buf *list)
{
	struct tls_served *served = served_hold(server);
	bool               is_ok = tls_served_describe(served, list);

	tls_served_release(served);
	tls_errors_clear();
	return is_ok;
}

/*
 * Tries the certificates as a handshake would, so that a key too weak for the security level is
 * named at the start.
 */
static bool
try_certificates(struct tls_server *server, struct error *error)
{
	SSL *ssl = SSL_new(server->context);
	bool is_ok = ssl != NULL && choose_certificates(ssl, server) == 1;

	if (!is_ok)
		tls_error_take(error, "cannot use key and certificate");
	SSL_free(ssl);
	return is_ok;
}

/* ---- settings ---- */

/* Asks for a client's certificate without demanding that it verify: policy decides. */
static int
verify_anything(int is_ok, X509_STORE_CTX *store)
{
	(void)is_ok;
	(void)store;
	return 1;
}

static bool
set_versions_and_ciphers(SSL_CTX *context, const struct parameters *parameters, bool is_mandatory,
                         struct error *error)
{
	struct tls_versions versions;
	struct buf          list = BUF(CIPHER_LIST_MOST);
	bool                ok;

	if (!tls_versions_parse(is_mandatory ? parameters->smtpd_tls_mandatory_protocols
	                                     : parameters->smtpd_tls_protocols,
	                        is_mandatory ? "smtpd_tls_mandatory_protocols"
	                                     : "smtpd_tls_protocols",
	                        &versions, error))
		return false;
	SSL_CTX_set_min_proto_version(context, versions.least);
	SSL_CTX_set_max_proto_version(context, versions.most);
	SSL_CTX_set_options(context, versions.excluded);
	/* Opportunistic TLS competes with clear text: what is weak is better than nothing. */
	SSL_CTX_set_security_level(context, is_mandatory ? 1 : 0);
	ok = tls_cipher_list(parameters,
	                     is_mandatory ? parameters->smtpd_tls_mandatory_ciphers
	                                  : parameters->smtpd_tls_ciphers,
	                     parameters->smtpd_tls_exclude_ciphers,
	                     is_mandatory ? parameters->smtpd_tls_mandatory_exclude_ciphers : "",
	                     &list, error);
	tls_errors_clear();
	if (ok && SSL_CTX_set_cipher_list(context, buf_text(&list)) != 1)
		ok = tls_error_take(error, "no cipher matches \"%s\"", buf_text(&list));
	buf_free(&list);
	return ok;
}

static bool
set_client_certificates(SSL_CTX *context, const struct parameters *parameters, bool is_mandatory,
                        struct error *error)
{
	static const unsigned char session_context[] = "dakiya";
	bool                       is_required = parameters->smtpd_tls_req_ccert && is_mandatory;

	SSL_CTX_set_session_id_context(context, session_context, sizeof(session_context) - 1);
	if (!parameters->smtpd_tls_ask_ccert && !parameters->smtpd_tls_req_ccert)
		return true;
	if (!tls_load_authorities(context, parameters->smtpd_tls_CAfile,
	                          parameters->smtpd_tls_CApath, error))
		return false;
	SSL_CTX_set_verify_depth(context, (int)parameters->smtpd_tls_ccert_verifydepth);
	if (is_required)
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
		                   NULL);
	else
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE,
		                   verify_anything);
	return true;
}

static bool
configure(struct tls_server *server, const struct parameters *parameters, bool is_mandatory,
          struct error *error)
{
	SSL_CTX *context = server->context;

	/* No table of sessions here: a client that wants to resume brings its ticket. */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(context, (long)parameters->smtpd_tls_session_cache_timeout);
	SSL_CTX_set_num_tickets(context, 1);
	SSL_CTX_set_dh_auto(context, 1);
	if (parameters->tls_preempt_cipherlist)
		SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
	return tls_context_common(context, parameters, error) &&
	       set_versions_and_ciphers(context, parameters, is_mandatory, error) &&
	       set_client_certificates(context, parameters, is_mandatory, error);
}

struct tls_server *
tls_server_create_from(const struct parameters *parameters, struct slice bundle,
                       struct error *error)
{
	bool is_mandatory = parameters->smtpd_tls_wrappermode ||
	                    strcmp(parameters->smtpd_tls_security_level, "encrypt") == 0;
	struct tls_server *server;

	*error = ERROR_NONE;
	if (!tls_server_is_wanted(parameters))
		return NULL;
	if (slice_is_empty(bundle)) {
		error_set(error, "TLS is switched on (smtpd_tls_security_level or "
		                 "smtpd_tls_wrappermode) but there is no certificate: set "
		                 "smtpd_tls_chain_files");
		return NULL;
	}
	server = calloc(1, sizeof(*server));
	if (server == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	mutex_init(&server->lock);
	tls_errors_clear();
	server->context = SSL_CTX_new(TLS_server_method());
	server->bio_method = tls_bio_method_create();
	if (server->context == NULL || server->bio_method == NULL) {
		tls_error_take(error, "cannot set up TLS");
	} else if (configure(server, parameters, is_mandatory, error)) {
		SSL_CTX_set_cert_cb(server->context, choose_certificates, server);
		server->served = tls_served_create(bundle, NULL, error);
		if (server->served != NULL && try_certificates(server, error))
			return server;
	}
	tls_server_destroy(&server);
	return NULL;
}

struct tls_server *
tls_server_create(const struct parameters *parameters, struct error *error)
{
	struct buf         named = BUF(TLS_NAMED_MOST), bundle = BUF(TLS_BUNDLE_MOST);
	struct tls_server *server = NULL;

	if (!tls_server_is_wanted(parameters))
		*error = ERROR_NONE;
	else if (!tls_files_named(parameters, &named))
		error_set(error, "too many files with keys and certificates");
	else if (tls_files_read(buf_slice(&named), NULL, &bundle, error))
		server = tls_server_create_from(parameters, buf_slice(&bundle), error);
	buf_free(&named);
	tls_bundle_free(&bundle);
	return server;
}

void
tls_server_destroy(struct tls_server **server)
{
	if (*server == NULL)
		return;
	SSL_CTX_free((*server)->context);
	BIO_meth_free((*server)->bio_method);
	tls_served_release((*server)->served);
	mutex_destroy(&(*server)->lock);
	free(*server);
	*server = NULL;
}

bool
tls_server_start(struct tls_server *server, struct stream *stream, struct error *error)
{
	return tls_connection_start(server->context, server->bio_method, stream, true, error) !=
	       NULL;
}
