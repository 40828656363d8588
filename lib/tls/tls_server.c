/* tls_server.c - the server's settings: certificates, versions, ciphers, client certificates. */
#include <openssl/err.h>

#include "lib/tls/tls_internal.h"

#define WORDS            " \t\r\n,"
#define CIPHER_LIST_MOST 4096

struct tls_server {
	SSL_CTX    *context;
	BIO_METHOD *bio_method;
};

/* Asks for a client's certificate without demanding that it verify: policy decides. */
static int
verify_anything(int is_ok, X509_STORE_CTX *store)
{
	(void)is_ok;
	(void)store;
	return 1;
}

static bool
is_named(const char *file)
{
	return file[0] != '\0' && strcmp(file, "none") != 0;
}

bool
tls_server_load_certificates(SSL_CTX *context, const struct parameters *parameters,
                             struct error *error)
{
	if (parameters->smtpd_tls_chain_files[0] != '\0')
		return tls_chains_load(context, parameters->smtpd_tls_chain_files, error) ||
		       error_prefix(error, "smtpd_tls_chain_files");
	if (!is_named(parameters->smtpd_tls_cert_file) &&
	    !is_named(parameters->smtpd_tls_eccert_file))
		return error_set(error, "TLS is switched on (smtpd_tls_security_level or "
		                        "smtpd_tls_wrappermode) but there is no certificate: set "
		                        "smtpd_tls_chain_files");
	if (is_named(parameters->smtpd_tls_cert_file) &&
	    !tls_pair_load(context, parameters->smtpd_tls_cert_file, parameters->smtpd_tls_key_file,
	                   error))
		return error_prefix(error, "smtpd_tls_cert_file");
	if (is_named(parameters->smtpd_tls_eccert_file) &&
	    !tls_pair_load(context, parameters->smtpd_tls_eccert_file,
	                   parameters->smtpd_tls_eckey_file, error))
		return error_prefix(error, "smtpd_tls_eccert_file");
	return true;
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
	       tls_server_load_certificates(context, parameters, error) &&
	       set_client_certificates(context, parameters, is_mandatory, error);
}

struct tls_server *
tls_server_create(const struct parameters *parameters, struct error *error)
{
	const char        *level = parameters->smtpd_tls_security_level;
	bool               is_mandatory = strcmp(level, "encrypt") == 0;
	struct tls_server *server;

	*error = ERROR_NONE;
	if (parameters->smtpd_tls_wrappermode)
		is_mandatory = true;
	else if (level[0] == '\0' || strcmp(level, "none") == 0)
		return NULL;
	server = calloc(1, sizeof(*server));
	if (server == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	tls_errors_clear();
	server->context = SSL_CTX_new(TLS_server_method());
	server->bio_method = tls_bio_method_create();
	if (server->context == NULL || server->bio_method == NULL)
		tls_error_take(error, "cannot set up TLS");
	else if (configure(server, parameters, is_mandatory, error))
		return server;
	tls_server_destroy(&server);
	return NULL;
}

void
tls_server_destroy(struct tls_server **server)
{
	if (*server == NULL)
		return;
	SSL_CTX_free((*server)->context);
	BIO_meth_free((*server)->bio_method);
	free(*server);
	*server = NULL;
}

bool
tls_server_start(struct tls_server *server, struct stream *stream, struct error *error)
{
	return tls_connection_start(server->context, server->bio_method, stream, true, error) !=
	       NULL;
}
