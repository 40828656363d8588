/* setup_certificate.c - a certificate that nobody has signed, until there is a real one. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/io/file.h"
#include "tools/dakiya/setup.h"

#define VALID_S       (365L * 86400)
#define COMMON_MOST   64 /* RFC 5280, ub-common-name-length */
#define PEM_TEXT_MOST 16384

static bool
add_extension(X509 *certificate, int kind, const char *value)
{
	X509V3_CTX      context;
	X509_EXTENSION *extension;
	bool            is_ok;

	X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
	is_ok = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return is_ok;
}

/* Random, positive, 127 bits. */
static bool
set_serial(X509 *certificate)
{
	unsigned char bytes[16];
	BIGNUM       *number;
	bool          is_ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] &= 0x7f;
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	is_ok = number != NULL &&
	        BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
	BN_free(number);
	return is_ok;
}

static bool
set_name(X509 *certificate, const char *hostname)
{
	X509_NAME *subject = X509_get_subject_name(certificate);

	/* The name that counts is the alternative one. */
	if (strlen(hostname) <= COMMON_MOST &&
	    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)hostname,
	                               -1, -1, 0) != 1)
		return false;
	return X509_set_issuer_name(certificate, subject) == 1;
}

static bool
fill(X509 *certificate, EVP_PKEY *key, const char *hostname)
{
	char names[SETUP_NAME_MOST + 10];

	snprintf(names, sizeof(names), "DNS:%s", hostname);
	return X509_set_version(certificate, 2) == 1 && set_serial(certificate) &&
	       X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) != NULL &&
	       X509_gmtime_adj(X509_getm_notAfter(certificate), VALID_S) != NULL &&
	       set_name(certificate, hostname) && X509_set_pubkey(certificate, key) == 1 &&
	       add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(certificate, NID_ext_key_usage, "serverAuth") &&
	       add_extension(certificate, NID_subject_alt_name, names) &&
	       X509_sign(certificate, key, EVP_sha256()) > 0;
}

/* Key and certificate in one text, as smtpd_tls_chain_files wants it. */
static bool
make_text(const char *hostname, struct buf *text)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509     *certificate = X509_new();
	BIO      *bio = BIO_new(BIO_s_secmem());
	char     *data = NULL;
	bool      is_ok;

	is_ok = key != NULL && certificate != NULL && bio != NULL &&
	        fill(certificate, key, hostname) &&
	        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	        PEM_write_bio_X509(bio, certificate) == 1;
	if (is_ok) {
		long length = BIO_get_mem_data(bio, &data);
		is_ok = buf_append(text, slice_of(data, (size_t)length));
	}
	BIO_free(bio);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return is_ok || setup_fail("a certificate cannot be made");
}

bool
setup_certificate(struct setup *setup)
{
	char         path[SETUP_PATH_MOST + 20];
	struct buf   text = BUF(PEM_TEXT_MOST), files = BUF(SETUP_PATH_MOST * 2);
	struct error error = ERROR_NONE;
	bool         is_ok = true;

	snprintf(path, sizeof(path), "%s/host.pem", setup->config);
	/* Only for what main.cf names: a real certificate needs no other beside it. */
	bool is_wanted = !setup_value(setup, "smtpd_tls_chain_files", &files) ||
	                 slice_equal(buf_slice(&files), slice_from(path));
	buf_free(&files);
	if (setup->chain_files != NULL || !is_wanted || access(path, F_OK) == 0)
		return true;
	if (!setup_change(setup, "%s: key and certificate for %s, signed by nobody, for a year",
	                  path, setup->hostname))
		return true;
	int fd = file_open_directory(setup->config, &error);
	is_ok = fd >= 0 && make_text(setup->hostname, &text);
	if (is_ok && !file_replace(fd, "host.pem", buf_slice(&text), 0600, &error))
		is_ok = false;
	if (!is_ok && error.text[0] != '\0')
		setup_fail("%s", error.text);
	if (fd >= 0)
		close(fd);
	if (text.data != NULL)
		explicit_bzero(text.data, text.capacity);
	buf_free(&text);
	return is_ok;
}
