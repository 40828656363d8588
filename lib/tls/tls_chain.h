/*
 * tls_chain.h - private keys with their certificates, made of a bundle of files (tls_files.h).
 *
 * A replaced file may be half written, or the wrong one. So a bundle is read beside the chains
 * that are served: where a file is no good, what it gave before stays, and the rest is taken.
 */
#ifndef DAKIYA_TLS_TLS_CHAIN_H
#define DAKIYA_TLS_TLS_CHAIN_H

#include <openssl/ssl.h>

#include "lib/base/array.h"
#include "lib/base/buf.h"
#include "lib/base/error.h"

#define TLS_PROBLEMS_MOST 4000

struct tls_chain {
	EVP_PKEY *key;
	X509     *certificate;
	STACK_OF(X509) * issuers; /* may be NULL */
	char *key_file, *certificate_file;
	char *server_name; /* of tls_server_sni_maps: for this name only; NULL = for its own */
};

struct tls_chains {
	ARRAY(struct tls_chain) list;
	struct buf problems; /* what was refused, "; " between; empty = nothing */
};
#define TLS_CHAINS_NONE ((struct tls_chains){ .problems = BUF(TLS_PROBLEMS_MOST) })

/*
 * Reads the bundle into *chains, which is empty. Without older ones the first bad file fails it,
 * but in a directory, where it is left out. With older ones, what they have of a bad file is taken
 * over. False and *error also when no chain comes out; the bundle's order is kept.
 */
bool tls_chains_read(struct slice bundle, const struct tls_chains *older, struct tls_chains *chains,
                     struct error *error);
void tls_chains_free(struct tls_chains *chains);

/* RSA, EC, ED25519 ... */
const char *tls_chain_kind(const struct tls_chain *chain);
/* Between its two dates, now. */
bool tls_chain_is_current(const struct tls_chain *chain);
/*
 * The host names that clients compare (RFC 9525: those among the alternatives, or the common name
 * when there are none), in lower case, one space between.
 */
bool tls_chain_names(const struct tls_chain *chain, struct buf *out);

#endif
