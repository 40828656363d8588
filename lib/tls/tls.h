/*
 * tls.h - TLS over a stream, both roles. The only place that calls OpenSSL's SSL_ functions.
 *
 * RFC 3207 (STARTTLS), 8446, 6125/9525 (names), 5929/9266 (channel binding). Buffered plain-text
 * input is dropped when TLS starts; sessions forget what was said before. Verification failures
 * are values, so that policy is decided by the caller.
 */
#ifndef DAKIYA_TLS_TLS_H
#define DAKIYA_TLS_TLS_H

#include "lib/base/buf.h"
#include "lib/conf/parameters.h"
#include "lib/io/stream.h"

/* ---- server ---- */

struct tls_server; /* certificates and settings; shared by threads */

/*
 * From smtpd_tls_* parameters (chain files, cert and key, protocols, ciphers). A client gets the
 * certificates that bear the name it asks for (SNI), others the first. NULL and *error
 * when TLS is configured but cannot work (file and reason). Keys are read here, before the doors
 * close. smtpd_tls_security_level empty or none: NULL with error->text empty.
 */
struct tls_server *tls_server_create(const struct parameters *parameters, struct error *error);
/* The same with keys and certificates from a bundle (lib/tls/tls_files.h). */
struct tls_server *tls_server_create_from(const struct parameters *parameters, struct slice bundle,
                                          struct error *error);
void               tls_server_destroy(struct tls_server **server);
/*
 * Serves what is sound in the bundle from now on, at once for all new handshakes; what is not stays
 * as it was, and problem says why (empty: all was sound). Sessions that run keep what they have.
 * Any thread.
 */
void tls_server_replace(struct tls_server *server, struct slice bundle, struct error *problem);
/* What was left out at the start (in a directory); empty = nothing. */
void tls_server_problem(struct tls_server *server, struct error *problem);
/* What is served: appends served_certificate records (lib/ipc). Any thread. */
bool tls_server_describe(struct tls_server *server, struct buf *list);
/*
 * Puts TLS on the stream, server side. The handshake goes on inside later reads: call
 * tls_handshake until it is no longer STREAM_AGAIN (never waits; *wants as in transports).
 */
bool tls_server_start(struct tls_server *server, struct stream *stream, struct error *error);
enum stream_result tls_handshake(struct stream *stream, short *wants, struct error *error);

/* ---- client ---- */

struct tls_client; /* trust anchors, settings and session cache; shared by threads */

enum tls_level {
	TLS_NONE,
	TLS_MAY,
	TLS_ENCRYPT,
	TLS_DANE,
	TLS_DANE_ONLY,
	TLS_FINGERPRINT,
	TLS_VERIFY,
	TLS_SECURE,
};

/* One record of RFC 6698. Of its usages, mail knows DANE-TA (2) and DANE-EE (3), RFC 7672 3.1. */
struct tls_tlsa {
	unsigned char usage, selector, matching;
	struct slice  data;
};
/* From rdata. False: malformed, or of a kind that mail does not use. */
bool tls_tlsa_parse(struct slice rdata, struct tls_tlsa *record);

struct tls_policy {
	enum tls_level level;
	struct slice  *names; /* acceptable certificate names for verify and secure; ".x" too */
	size_t         name_count;
	struct slice   server_name; /* SNI; empty = none */
	const char    *protocols;   /* NULL = the parameter */
	const char    *ciphers;
	/* Levels dane and dane-only: usable records, one or more, from validated DNS. server_name
	 * is their base domain; names are what else a certificate may bear with DANE-TA. */
	const struct tls_tlsa *tlsa;
	size_t                 tlsa_count;
};

struct tls_client *tls_client_create(const struct parameters *parameters, struct error *error);
void               tls_client_destroy(struct tls_client **client);
/* Handshake, waiting up to the stream's timeout. False and *error when it or a required
 * verification failed. */
bool tls_client_start(struct tls_client *client, struct stream *stream,
                      const struct tls_policy *policy, struct error *error);

/* ---- both ---- */

struct tls_info {
	char protocol[16]; /* TLSv1.3 */
	char cipher[64];   /* TLS_AES_256_GCM_SHA384 */
	int  bits;
	int  algorithm_bits;
	char details[160]; /* " key-exchange X25519 server-signature RSA-PSS (2048 bits) ..." */
	bool is_trusted;   /* chain verified */
	bool is_verified;  /* name matched, too */
	bool has_peer_certificate;
	bool is_resumed;
};
/* False when the stream has no finished TLS. */
bool tls_info_get(const struct stream *stream, struct tls_info *info);
bool tls_is_active(const struct stream *stream);

/* Who the other side's certificate says it is; printable UTF-8, cut to fit, "" = it does not say.
 */
struct tls_peer {
	char subject[256]; /* CommonName */
	char issuer[256];  /* CommonName of its authority, else the organisation */
	/* "AB:CD:...", of the certificate and of its public key (SubjectPublicKeyInfo) */
	char fingerprint[200], key_fingerprint[200];
};
/*
 * digest is OpenSSL's name of one. False: there is no certificate, or no such digest. It says
 * nothing about trust: see tls_info.
 */
bool tls_peer_get(const struct stream *stream, const char *digest, struct tls_peer *peer);
/* tls-exporter channel binding (RFC 9266), 32 bytes; false under TLS 1.2 without EMS. */
bool tls_channel_binding(const struct stream *stream, struct buf *out);

#endif
