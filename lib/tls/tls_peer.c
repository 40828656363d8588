/* tls_peer.c - what a certificate says about who shows it. See tls.h. */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>

#include "lib/tls/tls_internal.h"

static void
print_digest(const unsigned char *bytes, unsigned length, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < length && at + 3 < size; i++)
		at += (size_t)snprintf(text + at, size - at, i == 0 ? "%02X" : ":%02X", bytes[i]);
}

/* The last value of that kind in a name; control characters and what is no UTF-8 become '?'. */
static void
print_part(const X509_NAME *name, int kind, char *text, size_t size)
{
	struct buf     printable = BUF(4096);
	unsigned char *utf8 = NULL;
	int            at = -1, last = -1;

	while ((at = X509_NAME_get_index_by_NID(name, kind, at)) >= 0)
		last = at;
	text[0] = '\0';
	if (last < 0)
		return;
	int length = ASN1_STRING_to_UTF8(&utf8,
	                                 X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, last)));
	if (length > 0) {
		buf_append_printable(&printable, slice_of((const char *)utf8, (size_t)length));
		snprintf(text, size, "%s", buf_text(&printable));
	}
	OPENSSL_free(utf8);
	buf_free(&printable);
}

bool
tls_peer_get(const struct stream *stream, const char *digest, struct tls_peer *peer)
{
	const struct tls_connection *tls = stream_transport_state(stream, &tls_transport);
	const EVP_MD                *method = EVP_get_digestbyname(digest);
	X509                        *certificate;
	unsigned char                bytes[EVP_MAX_MD_SIZE], *key = NULL;
	unsigned                     length = 0;

	if (tls == NULL || method == NULL || !SSL_is_init_finished(tls->ssl) ||
	    (certificate = SSL_get0_peer_certificate(tls->ssl)) == NULL)
		return false;
	*peer = (struct tls_peer){ .subject = "" };
	tls_errors_clear();
	print_part(X509_get_subject_name(certificate), NID_commonName, peer->subject,
	           sizeof(peer->subject));
	print_part(X509_get_issuer_name(certificate), NID_commonName, peer->issuer,
	           sizeof(peer->issuer));
	if (peer->issuer[0] == '\0')
		print_part(X509_get_issuer_name(certificate), NID_organizationName, peer->issuer,
		           sizeof(peer->issuer));
	if (X509_digest(certificate, method, bytes, &length) == 1)
		print_digest(bytes, length, peer->fingerprint, sizeof(peer->fingerprint));
	int key_length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);
	if (key_length > 0 &&
	    EVP_Digest(key, (size_t)key_length, bytes, &length, method, NULL) == 1)
		print_digest(bytes, length, peer->key_fingerprint, sizeof(peer->key_fingerprint));
	OPENSSL_free(key);
	tls_errors_clear();
	return true;
}
