/*
 * tls_files.h - throw-away keys and certificates for tests, in a directory of their own.
 *
 * tls_files_make gives DIR/ca.pem, rsa.pem and ec.pem (key, certificate), other.key (belongs to
 * nothing), stranger.pem (key and certificate, signed by nobody that ca.pem knows).
 */
#ifndef DAKIYA_TESTS_TLS_FILES_H
#define DAKIYA_TESTS_TLS_FILES_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

static X509 *
tls_files_certificate(EVP_PKEY *key, const char *name, const char *alternatives, X509 *issuer,
                      EVP_PKEY *issuer_key)
{
	X509           *certificate = X509_new();
	X509_NAME      *subject = X509_get_subject_name(certificate);
	X509_EXTENSION *extension;
	X509V3_CTX      context;
	static long     serial = 1;

	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
	                           0);
	X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject);
	X509_set_pubkey(certificate, key);
	X509V3_set_ctx(&context, issuer ? issuer : certificate, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, NID_basic_constraints,
	                                issuer ? "CA:FALSE" : "critical,CA:TRUE");
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
	if (alternatives != NULL) {
		extension = X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, alternatives);
		X509_add_ext(certificate, extension, -1);
		X509_EXTENSION_free(extension);
	}
	X509_sign(certificate, issuer_key, EVP_sha256());
	return certificate;
}

static void __attribute__((unused))
tls_files_write(const char *directory, const char *name, EVP_PKEY *key, X509 *certificate)
{
	char  path[300];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "we");
	if (file == NULL)
		abort();
	if (key != NULL)
		PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
	if (certificate != NULL)
		PEM_write_X509(file, certificate);
	fclose(file);
}

/* directory must hold "XXXXXX" at its end, as for mkdtemp. */
static void __attribute__((unused)) tls_files_make(char *directory)
{
	static const char names[] = "DNS:mx.example.org,DNS:*.wild.test,IP:127.0.0.1";
	EVP_PKEY         *ca_key = EVP_EC_gen("P-256"), *rsa = EVP_RSA_gen(2048);
	EVP_PKEY         *ec = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	X509             *ca, *with_rsa, *with_ec, *stranger;

	if (mkdtemp(directory) == NULL)
		abort();
	ca = tls_files_certificate(ca_key, "Test CA", NULL, NULL, ca_key);
	with_rsa = tls_files_certificate(rsa, "mx.example.org", names, ca, ca_key);
	with_ec = tls_files_certificate(ec, "mx.example.org", names, ca, ca_key);
	stranger = tls_files_certificate(other, "mx.example.org", names, NULL, other);
	tls_files_write(directory, "ca.pem", NULL, ca);
	tls_files_write(directory, "rsa.pem", rsa, with_rsa);
	tls_files_write(directory, "ec.pem", ec, with_ec);
	tls_files_write(directory, "rsa.crt", NULL, with_rsa);
	tls_files_write(directory, "other.key", other, NULL);
	tls_files_write(directory, "stranger.pem", other, stranger);
	X509_free(ca);
	X509_free(with_rsa);
	X509_free(with_ec);
	X509_free(stranger);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(other);
}

static void __attribute__((unused)) tls_files_remove(const char *directory)
{
	static const char *const names[] = { "ca.pem",  "rsa.pem",   "ec.pem",
		                             "rsa.crt", "other.key", "stranger.pem" };
	char                     path[300];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		remove(path);
	}
	remove(directory);
}

#endif
