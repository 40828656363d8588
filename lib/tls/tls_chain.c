/* tls_chain.c - private keys and certificate chains from PEM files, with errors that name them. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "lib/tls/tls_internal.h"

/* What was read of one chain so far. */
struct chain {
	EVP_PKEY *key;
	X509     *certificate;
	STACK_OF(X509) * issuers;
};

static void
chain_clear(struct chain *chain)
{
	EVP_PKEY_free(chain->key);
	X509_free(chain->certificate);
	sk_X509_pop_free(chain->issuers, X509_free);
	*chain = (struct chain){ NULL, NULL, NULL };
}

static BIO *
file_open(const char *file, struct error *error)
{
	FILE *stream = fopen(file, "re");
	BIO  *bio;

	if (stream == NULL) {
		error_set_errno(error, "cannot open %s", file);
		return NULL;
	}
	bio = BIO_new_fp(stream, BIO_CLOSE);
	if (bio == NULL) {
		fclose(stream);
		error_set(error, "out of memory");
	}
	return bio;
}

static bool
chain_install(SSL_CTX *context, struct chain *chain, const char *file, struct error *error)
{
	if (chain->key == NULL && chain->certificate == NULL)
		return true;
	if (chain->certificate == NULL)
		return error_set(error, "%s: a private key without a certificate behind it", file);
	if (chain->key == NULL)
		return error_set(error, "%s: a certificate without its private key", file);
	tls_errors_clear();
	if (X509_check_private_key(chain->certificate, chain->key) != 1) {
		tls_errors_clear();
		return error_set(error, "%s: the private key does not belong to the certificate",
		                 file);
	}
	if (SSL_CTX_use_cert_and_key(context, chain->certificate, chain->key, chain->issuers, 1) !=
	    1)
		return tls_error_take(error, "%s: cannot use key and certificate", file);
	return true;
}

/* One PEM block of type name into the chain. Blocks of other types are left out. */
static bool
take_block(const char *name, const unsigned char *data, long length, struct chain *chain,
           const char *file, struct error *error)
{
	const unsigned char *at = data;
	X509                *certificate;

	if (strstr(name, "PRIVATE KEY") != NULL) {
		chain->key = d2i_AutoPrivateKey(NULL, &at, length);
		return chain->key != NULL || tls_error_take(error, "%s: bad private key", file);
	}
	if (strcmp(name, PEM_STRING_X509) != 0 && strcmp(name, PEM_STRING_X509_OLD) != 0)
		return true;
	certificate = d2i_X509(NULL, &at, length);
	if (certificate == NULL)
		return tls_error_take(error, "%s: bad certificate", file);
	if (chain->certificate == NULL) {
		chain->certificate = certificate;
		return true;
	}
	if (chain->issuers == NULL)
		chain->issuers = sk_X509_new_null();
	if (chain->issuers == NULL || sk_X509_push(chain->issuers, certificate) == 0) {
		X509_free(certificate);
		return error_set(error, "out of memory");
	}
	return true;
}

/*
 * Reads all blocks of a file. Keys are taken when wants_keys, certificates when wants_certificates.
 * A key that follows a certificate begins the next chain: what was read is then installed.
 */
static bool
read_blocks(BIO *bio, const char *file, SSL_CTX *context, bool wants_keys, bool wants_certificates,
            struct chain *chain, struct error *error)
{
	char          *name = NULL, *header = NULL;
	unsigned char *data = NULL;
	long           length = 0;
	bool           ok = true;

	tls_errors_clear();
	while (ok && PEM_read_bio(bio, &name, &header, &data, &length) == 1) {
		bool is_key = strstr(name, "PRIVATE KEY") != NULL;

		if (is_key && wants_keys && chain->key != NULL && context != NULL) {
			ok = chain_install(context, chain, file, error);
			chain_clear(chain);
		}
		/* A daemon has nobody to ask for it. */
		if (ok && is_key && (strstr(name, "ENCRYPTED") || strstr(header, "ENCRYPTED")))
			ok = error_set(error, "%s: the private key is protected by a passphrase",
			               file);
		if (ok && (is_key ? wants_keys && chain->key == NULL : wants_certificates))
			ok = take_block(name, data, length, chain, file, error);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_clear_free(data, length > 0 ? (size_t)length : 0);
		name = header = NULL;
		data = NULL;
	}
	if (!ok)
		return false;
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return tls_error_take(error, "%s: damaged PEM block", file);
	tls_errors_clear();
	return true;
}

/* A key that ends one file goes with the certificate that begins the next. */
static bool
load_file(SSL_CTX *context, const char *file, struct chain *chain, struct error *error)
{
	BIO *bio = file_open(file, error);
	bool ok;

	if (bio == NULL)
		return false;
	EVP_PKEY *key_before = chain->key;
	ok = read_blocks(bio, file, context, true, true, chain, error);
	if (ok && chain->key == key_before && chain->certificate == NULL)
		ok = error_set(error, "%s: no private key and certificate in it", file);
	if (ok && chain->certificate != NULL) {
		ok = chain_install(context, chain, file, error);
		chain_clear(chain);
	}
	BIO_free(bio);
	return ok;
}

bool
tls_chains_load(SSL_CTX *context, const char *files, struct error *error)
{
	struct slice rest = slice_from(files), word;
	struct chain chain = { NULL, NULL, NULL };
	char         file[4096] = "";
	bool         ok = true;

	while (ok && slice_next_word(&rest, ", \t\r\n", &word)) {
		if (word.length >= sizeof(file)) {
			ok = error_set(error, "file name too long");
			break;
		}
		memcpy(file, word.data, word.length);
		file[word.length] = '\0';
		ok = load_file(context, file, &chain, error);
	}
	ok = ok && chain_install(context, &chain, file, error);
	chain_clear(&chain);
	return ok;
}

bool
tls_pair_load(SSL_CTX *context, const char *certificate_file, const char *key_file,
              struct error *error)
{
	struct chain chain = { NULL, NULL, NULL };
	BIO         *certificates = file_open(certificate_file, error);
	BIO         *keys = certificates != NULL ? file_open(key_file, error) : NULL;
	bool         ok;

	ok = keys != NULL &&
	     read_blocks(certificates, certificate_file, NULL, false, true, &chain, error) &&
	     read_blocks(keys, key_file, NULL, true, false, &chain, error);
	if (ok && chain.certificate == NULL)
		ok = error_set(error, "%s: no certificate in it", certificate_file);
	if (ok && chain.key == NULL)
		ok = error_set(error, "%s: no private key in it", key_file);
	ok = ok && chain_install(context, &chain, certificate_file, error);
	chain_clear(&chain);
	BIO_free(certificates);
	BIO_free(keys);
	return ok;
}
