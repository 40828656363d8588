/* tls_client.c - the client's settings, its handshake, and whether the server is who it should be.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>

#include "lib/tls/tls_chain.h"
#include "lib/tls/tls_files.h"
#include "lib/tls/tls_internal.h"

#define WORDS            " \t\r\n,"
#define CIPHER_LIST_MOST 4096

struct tls_client {
	SSL_CTX                 *context;
	BIO_METHOD              *bio_method;
	const struct parameters *parameters;
	const EVP_MD            *fingerprint_digest;
};

/* ---- settings ---- */

static bool
use_chains(SSL_CTX *context, struct slice bundle, struct error *error)
{
	struct tls_chains chains = TLS_CHAINS_NONE;
	bool              is_ok = tls_chains_read(bundle, NULL, &chains, error);

	for (size_t i = 0; is_ok && i < chains.list.count; i++) {
		const struct tls_chain *chain = &chains.list.items[i];

		tls_errors_clear();
		if (SSL_CTX_use_cert_and_key(context, chain->certificate, chain->key,
		                             chain->issuers, 1) != 1)
			is_ok = tls_error_take(error, "%s: cannot use key and certificate",
			                       chain->certificate_file);
	}
	tls_chains_free(&chains);
	return is_ok;
}

static bool
load_certificates(SSL_CTX *context, const struct parameters *parameters, struct error *error)
{
	struct buf named = BUF(TLS_NAMED_MOST), bundle = BUF(TLS_BUNDLE_MOST);
	bool       is_ok = true;

	if (!tls_client_files_named(parameters, &named))
		is_ok = error_set(error, "too many files with keys and certificates");
	else if (!tls_files_read(buf_slice(&named), NULL, &bundle, error))
		is_ok = false;
	else if (named.length > 0)
		is_ok = use_chains(context, buf_slice(&bundle), error);
	buf_free(&named);
	tls_bundle_free(&bundle);
	return is_ok;
}

static bool
configure(struct tls_client *client, const struct parameters *parameters, struct error *error)
{
	SSL_CTX            *context = client->context;
	struct tls_versions unused;

	/*
	 * LIMIT: connections are kept and used again, TLS sessions are not resumed. That would
	 * matter for many short connections to one host that closes after each message.
	 */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
	/* What is unacceptable is decided after the handshake, with words for the log. */
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_verify_depth(context, (int)parameters->smtp_tls_scert_verifydepth);
	client->fingerprint_digest = EVP_get_digestbyname(parameters->smtp_tls_fingerprint_digest);
	if (client->fingerprint_digest == NULL)
		return error_set(error, "smtp_tls_fingerprint_digest: unknown digest %s",
		                 parameters->smtp_tls_fingerprint_digest);
	if (SSL_CTX_dane_enable(context) != 1)
		return tls_error_take(error, "cannot set up DANE");
	if (parameters->tls_append_default_CA && SSL_CTX_set_default_verify_paths(context) != 1)
		return tls_error_take(error, "cannot load the system's authorities");
	return tls_context_common(context, parameters, error) &&
	       tls_versions_parse(parameters->smtp_tls_protocols, "smtp_tls_protocols", &unused,
	                          error) &&
	       tls_versions_parse(parameters->smtp_tls_mandatory_protocols,
	                          "smtp_tls_mandatory_protocols", &unused, error) &&
	       tls_load_authorities(context, parameters->smtp_tls_CAfile,
	                            parameters->smtp_tls_CApath, error) &&
	       load_certificates(context, parameters, error);
}

struct tls_client *
tls_client_create(const struct parameters *parameters, struct error *error)
{
	struct tls_client *client = calloc(1, sizeof(*client));

	if (client == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	tls_errors_clear();
	client->parameters = parameters;
	client->context = SSL_CTX_new(TLS_client_method());
	client->bio_method = tls_bio_method_create();
	if (client->context == NULL || client->bio_method == NULL)
		tls_error_take(error, "cannot set up TLS");
	else if (configure(client, parameters, error))
		return client;
	tls_client_destroy(&client);
	return NULL;
}

void
tls_client_destroy(struct tls_client **client)
{
	if (*client == NULL)
		return;
	SSL_CTX_free((*client)->context);
	BIO_meth_free((*client)->bio_method);
	free(*client);
	*client = NULL;
}

/* ---- one connection's settings ---- */

static bool
apply_versions_and_ciphers(const struct tls_client *client, SSL *ssl,
                           const struct tls_policy *policy, struct error *error)
{
	const struct parameters *parameters = client->parameters;
	bool                     is_mandatory = policy->level > TLS_MAY;
	const char              *protocols = policy->protocols;
	const char              *grade = policy->ciphers;
	struct tls_versions      versions;
	struct buf               list = BUF(CIPHER_LIST_MOST);
	bool                     ok;

	if (protocols == NULL)
		protocols = is_mandatory ? parameters->smtp_tls_mandatory_protocols
		                         : parameters->smtp_tls_protocols;
	if (grade == NULL)
		grade = is_mandatory ? parameters->smtp_tls_mandatory_ciphers
		                     : parameters->smtp_tls_ciphers;
	if (!tls_versions_parse(protocols, "TLS protocols", &versions, error))
		return false;
	SSL_set_min_proto_version(ssl, versions.least);
	SSL_set_max_proto_version(ssl, versions.most);
	SSL_set_options(ssl, versions.excluded);
	/* Opportunistic TLS competes with clear text: what is weak is better than nothing. */
	SSL_set_security_level(ssl, is_mandatory ? 1 : 0);
	ok = tls_cipher_list(parameters, grade, parameters->smtp_tls_exclude_ciphers,
	                     is_mandatory ? parameters->smtp_tls_mandatory_exclude_ciphers : "",
	                     &list, error);
	if (ok && SSL_set_cipher_list(ssl, buf_text(&list)) != 1)
		ok = tls_error_take(error, "no cipher matches \"%s\"", buf_text(&list));
	buf_free(&list);
	return ok;
}

static bool
apply_server_name(SSL *ssl, struct slice name, struct error *error)
{
	char text[256];

	if (slice_is_empty(name))
		return true;
	if (name.length >= sizeof(text) || slice_has_control(name))
		return error_set(error, "bad TLS server name");
	memcpy(text, name.data, name.length);
	text[name.length] = '\0';
	if (SSL_set_tlsext_host_name(ssl, text) != 1)
		return tls_error_take(error, "cannot set the TLS server name");
	return true;
}

/* ---- DANE ---- */

bool
tls_tlsa_parse(struct slice rdata, struct tls_tlsa *record)
{
	if (rdata.length < 4)
		return false;
	*record = (struct tls_tlsa){ .usage = (unsigned char)rdata.data[0],
		                     .selector = (unsigned char)rdata.data[1],
		                     .matching = (unsigned char)rdata.data[2],
		                     .data = slice_from_offset(rdata, 3) };
	if ((record->usage != 2 && record->usage != 3) || record->selector > 1)
		return false;
	return record->matching == 0 || (record->matching == 1 && record->data.length == 32) ||
	       (record->matching == 2 && record->data.length == 64);
}

/* RFC 7672: the records say what certificate it must be; with DANE-EE names do not matter. */
static bool
apply_dane(SSL *ssl, const struct tls_policy *policy, struct error *error)
{
	char   name[256];
	size_t usable = 0;

	if (policy->level != TLS_DANE && policy->level != TLS_DANE_ONLY)
		return true;
	if (policy->server_name.length == 0 || policy->server_name.length >= sizeof(name))
		return error_set(error, "DANE without a name");
	memcpy(name, policy->server_name.data, policy->server_name.length);
	name[policy->server_name.length] = '\0';
	if (SSL_dane_enable(ssl, name) != 1)
		return tls_error_take(error, "cannot set up DANE for %s", name);
	SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	for (size_t i = 0; i < policy->name_count; i++) {
		struct slice other = policy->names[i];

		if (other.length == 0 || other.length >= sizeof(name))
			continue;
		memcpy(name, other.data, other.length);
		name[other.length] = '\0';
		if (SSL_add1_host(ssl, name) != 1)
			return tls_error_take(error, "cannot set up DANE for %s", name);
	}
	for (size_t i = 0; i < policy->tlsa_count; i++) {
		const struct tls_tlsa *record = &policy->tlsa[i];

		usable += SSL_dane_tlsa_add(ssl, record->usage, record->selector, record->matching,
		                            (const unsigned char *)record->data.data,
		                            record->data.length) > 0;
	}
	tls_errors_clear();
	/* Never less than what was asked for. */
	return usable > 0 || error_set(error, "no usable TLSA records");
}

/* ---- verification ---- */

/* An address as text in a name, "192.0.2.1" or "[IPv6:2001:db8::1]", is matched as an address. */
static bool
address_matches(X509 *certificate, struct slice name)
{
	char          text[64];
	unsigned char bytes[16];

	if (slice_starts_with(name, SLICE("[")) && slice_ends_with(name, SLICE("]")))
		name = slice_of(name.data + 1, name.length - 2);
	if (slice_starts_with_fold(name, SLICE("IPv6:")))
		name = slice_from_offset(name, 5);
	if (name.length >= sizeof(text))
		return false;
	memcpy(text, name.data, name.length);
	text[name.length] = '\0';
	if (inet_pton(AF_INET, text, bytes) == 1)
		return X509_check_ip(certificate, bytes, 4, 0) == 1;
	if (inet_pton(AF_INET6, text, bytes) == 1)
		return X509_check_ip(certificate, bytes, 16, 0) == 1;
	return false;
}

static bool
name_matches(X509 *certificate, const struct tls_policy *policy)
{
	for (size_t i = 0; i < policy->name_count; i++) {
		struct slice name = policy->names[i];

		if (slice_is_empty(name))
			continue;
		if (X509_check_host(certificate, name.data, name.length,
		                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1)
			return true;
		if (address_matches(certificate, name))
			return true;
	}
	return false;
}

/* Hexadecimal with or without colons, in either case. */
static bool
fingerprint_equals(struct slice text, const unsigned char *digest, unsigned length)
{
	static const char hex[] = "0123456789abcdef";
	size_t            at = 0;

	for (size_t i = 0; i < text.length; i++) {
		char c = ascii_lower(text.data[i]);

		if (c == ':')
			continue;
		if (at >= 2 * (size_t)length)
			return false;
		if (c != hex[at % 2 == 0 ? digest[at / 2] >> 4 : digest[at / 2] & 15])
			return false;
		at++;
	}
	return at == 2 * (size_t)length;
}

static bool
fingerprint_matches(const struct tls_client *client, X509 *certificate,
                    const struct tls_policy *policy)
{
	unsigned char digest[2][EVP_MAX_MD_SIZE], *key = NULL;
	unsigned      length[2] = { 0, 0 };
	int           key_length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);

	/* Of the certificate, and of its public key (SubjectPublicKeyInfo). */
	if (X509_digest(certificate, client->fingerprint_digest, digest[0], &length[0]) != 1)
		length[0] = 0;
	if (key_length <= 0 || EVP_Digest(key, (size_t)key_length, digest[1], &length[1],
	                                  client->fingerprint_digest, NULL) != 1)
		length[1] = 0;
	OPENSSL_free(key);
	for (size_t i = 0; i < policy->name_count; i++)
		for (size_t k = 0; k < 2; k++)
			if (length[k] > 0 &&
			    fingerprint_equals(policy->names[i], digest[k], length[k]))
				return true;
	return false;
}

static bool
verify_server(const struct tls_client *client, struct tls_connection *tls,
              const struct tls_policy *policy, struct error *error)
{
	X509 *certificate = SSL_get0_peer_certificate(tls->ssl);
	long  result = SSL_get_verify_result(tls->ssl);

	tls->is_trusted = certificate != NULL && result == X509_V_OK;
	if (policy->level <= TLS_ENCRYPT)
		return true;
	if (certificate == NULL)
		return error_set(error, "Server certificate not verified: it sent none");
	if (policy->level == TLS_FINGERPRINT) {
		tls->is_trusted = tls->is_verified =
			fingerprint_matches(client, certificate, policy);
		return tls->is_verified || error_set(error, "Server certificate not verified: "
		                                            "its fingerprint is not listed");
	}
	if (policy->level == TLS_DANE || policy->level == TLS_DANE_ONLY) {
		tls->is_trusted = tls->is_verified =
			tls->is_trusted && SSL_get0_dane_authority(tls->ssl, NULL, NULL) >= 0;
		return tls->is_verified || error_set(error, "Server certificate not verified: it "
		                                            "matches no TLSA record");
	}
	if (!tls->is_trusted)
		return error_set(error, "Server certificate not trusted: %s",
		                 X509_verify_cert_error_string(result));
	tls->is_verified = name_matches(certificate, policy);
	return tls->is_verified || error_set(error, "Server certificate not verified: it bears "
	                                            "none of the names expected");
}

bool
tls_client_start(struct tls_client *client, struct stream *stream, const struct tls_policy *policy,
                 struct error *error)
{
	struct tls_connection *tls;
	enum stream_result     result;
	short                  wants = POLLIN;

	tls = tls_connection_start(client->context, client->bio_method, stream, false, error);
	if (tls == NULL)
		return false;
	if (!apply_versions_and_ciphers(client, tls->ssl, policy, error) ||
	    !apply_dane(tls->ssl, policy, error) ||
	    !apply_server_name(tls->ssl, policy->server_name, error)) {
		tls->is_broken = true;
		return false;
	}
	while ((result = tls_handshake(stream, &wants, error)) == STREAM_AGAIN) {
		result = stream_wait(stream, wants);
		if (result != STREAM_OK) {
			tls->is_broken = true;
			return error_set(error, "TLS handshake: %s", stream_result_text(result));
		}
	}
	if (result != STREAM_OK)
		return false;
	tls_errors_clear();
	if (verify_server(client, tls, policy, error))
		return true;
	tls_errors_clear();
	return false;
}
