/*
 * tls_internal.h - what the files of lib/tls share; nobody else includes it.
 *
 * OpenSSL keeps one error queue a thread. Each call is preceded by tls_errors_clear and its
 * failure worded by tls_error_take at once, so that no error is ever taken for another's.
 */
#ifndef DAKIYA_TLS_TLS_INTERNAL_H
#define DAKIYA_TLS_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "lib/tls/tls.h"

/* One connection: the stream's transport state. */
struct tls_connection {
	SSL         *ssl;
	int          fd;             /* the stream's, for the BIO */
	bool         is_broken;      /* a fatal error happened: OpenSSL forbids a shutdown now */
	bool         is_established; /* the handshake was finished once */
	bool         is_trusted;     /* client: the chain was verified */
	bool         is_verified;    /* client: a required name matched, too */
	struct error error;          /* of the handshake, for tls_handshake's caller */
};

extern const struct stream_transport tls_transport;

/* Puts a new connection on the stream and drops what plain text was buffered. NULL and *error. */
struct tls_connection *tls_connection_start(SSL_CTX *context, BIO_METHOD *bio_method,
                                            struct stream *stream, bool is_server,
                                            struct error *error);
/* A BIO over tls_connection.fd: no buffer of its own, no SIGPIPE. NULL when memory is out. */
BIO_METHOD *tls_bio_method_create(void);

void tls_errors_clear(void);
/* Words the first queued error behind the given context and empties the queue; false. */
bool tls_error_take(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- settings from text ---- */

/* Protocol versions as in smtpd_tls_protocols; parameter names the setting in *error. */
struct tls_versions {
	int      least, most; /* TLS1_VERSION ...; 0 = no bound */
	uint64_t excluded;    /* SSL_OP_NO_* */
};
bool tls_versions_parse(const char *text, const char *parameter, struct tls_versions *versions,
                        struct error *error);
/* The cipher list of a grade, less the excluded ones, into *out. */
bool tls_cipher_list(const struct parameters *parameters, const char *grade, const char *excluded,
                     const char *also_excluded, struct buf *out, struct error *error);
/* What both roles set: modes, options, groups. */
bool tls_context_common(SSL_CTX *context, const struct parameters *parameters, struct error *error);
/* Loads authorities from a file and from every file of a directory (each may be empty). */
bool tls_load_authorities(SSL_CTX *context, const char *file, const char *directory,
                          struct error *error);

#endif
