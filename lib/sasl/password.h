/*
 * password.h - passwords to what is stored of them: yescrypt hashes and SCRAM keys.
 *
 * crypt(5), RFC 5802 3 and 7677 (SCRAM-SHA-256). What was computed on the way is wiped; wiping
 * the password itself is the caller's. Hashing costs tens of milliseconds and some megabytes on
 * purpose: callers bound how many run at once. No state: safe to call from any thread.
 */
#ifndef DAKIYA_SASL_PASSWORD_H
#define DAKIYA_SASL_PASSWORD_H

#include "lib/base/buf.h"
#include "lib/base/error.h"

#define PASSWORD_MOST      256 /* bytes of a password */
#define PASSWORD_HASH_SIZE 200 /* room for a hash with its NUL */

/*
 * Whether it may become somebody's password: well-formed UTF-8, no control characters, at least
 * least characters, at most PASSWORD_MOST bytes.
 * LIMIT: no SASLprep (RFC 4013): a password beyond ASCII must come from every client in the same
 * Unicode form. It matters where one client composes accents and another does not.
 */
bool password_is_acceptable(struct slice password, unsigned least, struct error *error);

/* cost is yescrypt's, 1 to 11, each step twice the work; 5 is the library's usual. */
bool password_hash(struct slice password, unsigned cost, char hash[PASSWORD_HASH_SIZE],
                   struct error *error);
/* A hash that no password has, without the 16 MB and the time that making one takes: to be verified
 * against, at the same cost, when there is no such user. */
bool password_hash_of_nobody(unsigned cost, char hash[PASSWORD_HASH_SIZE], struct error *error);
enum password_answer {
	PASSWORD_RIGHT,
	PASSWORD_WRONG,
	PASSWORD_UNKNOWN, /* memory is out, or the hash is of no kind that is known */
};
/* Bytes that password_verify takes for this hash while it computes: yescrypt and scrypt are made to
 * take many. */
int64_t password_verify_bytes(const char *hash);
/*
 * hash is crypt(5) text, or of an import "{SCHEME}base64" with SHA, SHA256, SHA512 and their salted
 * forms SSHA, SSHA256, SSHA512. Compares in constant time.
 */
enum password_answer password_verify(struct slice password, const char *hash);
/* Whether password_verify knows how to compare with this. */
bool password_hash_is_known(const char *hash);

#define SCRAM_KEY_BYTES  32
#define SCRAM_SALT_BYTES 16

struct scram_keys {
	uint32_t      iterations;
	unsigned char salt[SCRAM_SALT_BYTES];
	unsigned char stored[SCRAM_KEY_BYTES]; /* H(ClientKey) */
	unsigned char server[SCRAM_KEY_BYTES];
};

/* The keys of a password under the salt and iterations that *keys holds. */
bool scram_derive(struct slice password, struct scram_keys *keys, struct error *error);
/* Whether a client that sent this proof of an exchange (RFC 5802 3: AuthMessage) has the keys. */
bool scram_proof_is_right(const struct scram_keys *keys, struct slice auth_message,
                          const unsigned char proof[SCRAM_KEY_BYTES]);
/* What shows the client that the server has them, too. */
bool scram_server_signature(const struct scram_keys *keys, struct slice auth_message,
                            unsigned char signature[SCRAM_KEY_BYTES]);

/* "SCRAM-SHA-256$4096:SALT$STORED:SERVER" (RFC 5803), as libsasl2's scram plugin wants it. */
bool scram_append(const struct scram_keys *keys, struct buf *out);
bool scram_parse(struct slice text, struct scram_keys *keys);

#endif
