/*
 * tls_served.h - the certificates that a server serves, found by the name that a client asks for.
 *
 * One whole is made of a bundle of files, never changed, and replaced by the next; who uses it
 * holds a reference. Clients that name nothing, or a name that is in no certificate, get the first.
 */
#ifndef DAKIYA_TLS_TLS_SERVED_H
#define DAKIYA_TLS_TLS_SERVED_H

#include "lib/base/hash.h"
#include "lib/tls/tls_chain.h"

#define TLS_KINDS_MOST 6 /* of keys: RSA, RSA-PSS, EC, Ed25519, Ed448, and one to come */

/* What one client may get: for each kind of key one chain; OpenSSL takes what both can. */
struct tls_choice {
	const struct tls_chain *chains[TLS_KINDS_MOST];
	size_t                  count;
};

struct tls_served {
	_Atomic unsigned  references;
	struct tls_chains chains;
	struct hash       names;  /* "mx.example.org", "*.example.org" -> struct tls_choice */
	struct hash       mapped; /* the same by tls_server_sni_maps: names, and ".example.org" */
	struct tls_choice first;
};

/* From a bundle; older (may be NULL) is what is served now: see tls_chains_read. One reference. */
struct tls_served *tls_served_create(struct slice bundle, const struct tls_served *older,
                                     struct error *error);
struct tls_served *tls_served_hold(struct tls_served *served);
void               tls_served_release(struct tls_served *served);
/* name may be NULL. */
const struct tls_choice *tls_served_choose(const struct tls_served *served, const char *name);
/* Appends a served_certificate record (lib/ipc) for each chain. */
bool tls_served_describe(const struct tls_served *served, struct buf *list);

#endif
