/* password.c - see password.h. */
#include "lib/sasl/password.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/encode.h"
#include "lib/base/number.h"
#include "lib/base/random.h"

#define SCRAM_PREFIX          "SCRAM-SHA-256$"
#define SCRAM_ITERATIONS_MOST 10000000
#define YESCRYPT_DIGEST       43 /* letters behind the salt */

static size_t
character_count(struct slice text)
{
	size_t count = 0;

	for (size_t i = 0; i < text.length; i++)
		count += ((unsigned char)text.data[i] & 0xc0) != 0x80;
	return count;
}

bool
password_is_acceptable(struct slice password, unsigned least, struct error *error)
{
	if (password.length > PASSWORD_MOST)
		return error_set(error, "the password is longer than %d bytes", PASSWORD_MOST);
	if (!slice_is_utf8(password))
		return error_set(error, "the password is not UTF-8");
	if (slice_has_control(password))
		return error_set(error, "the password has control characters");
	if (character_count(password) < least || slice_is_empty(password))
		return error_set(error, "the password must have at least %u characters", least);
	return true;
}

/* crypt wants text with a NUL, and 32 KB of scratch that no thread's stack should hold. */
struct scratch {
	struct crypt_data data;
	char              phrase[PASSWORD_MOST + 1];
};

static const char *
crypt_run(struct scratch *scratch, struct slice password, const char *setting)
{
	if (password.length > PASSWORD_MOST || memchr(password.data, 0, password.length) != NULL)
		return NULL;
	memcpy(scratch->phrase, password.data, password.length);
	scratch->phrase[password.length] = '\0';
	const char *hash =
		crypt_rn(scratch->phrase, setting, &scratch->data, sizeof(scratch->data));
	return hash == NULL || hash[0] == '*' ? NULL : hash;
}

static void
scratch_free(struct scratch *scratch)
{
	if (scratch == NULL)
		return;
	OPENSSL_cleanse(scratch, sizeof(*scratch));
	free(scratch);
}

bool
password_hash(struct slice password, unsigned cost, char hash[PASSWORD_HASH_SIZE],
              struct error *error)
{
	struct scratch *scratch = calloc(1, sizeof(*scratch));
	char            setting[CRYPT_GENSALT_OUTPUT_SIZE];
	const char     *made = NULL;

	errno = ENOMEM;
	if (scratch != NULL &&
	    crypt_gensalt_rn("$y$", cost, NULL, 0, setting, sizeof(setting)) != NULL)
		made = crypt_run(scratch, password, setting);
	bool is_good = made != NULL && strlen(made) < PASSWORD_HASH_SIZE;
	if (is_good)
		memcpy(hash, made, strlen(made) + 1);
	else
		error_set_errno(error, "hash the password");
	scratch_free(scratch);
	return is_good;
}

bool
password_hash_of_nobody(unsigned cost, char hash[PASSWORD_HASH_SIZE], struct error *error)
{
	static const char letters[] =
		"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	char          setting[CRYPT_GENSALT_OUTPUT_SIZE], digest[YESCRYPT_DIGEST + 1];
	unsigned char random[YESCRYPT_DIGEST];

	if (crypt_gensalt_rn("$y$", cost, NULL, 0, setting, sizeof(setting)) == NULL)
		return error_set_errno(error, "make a salt");
	random_bytes(random, sizeof(random));
	for (size_t i = 0; i < YESCRYPT_DIGEST; i++)
		digest[i] = letters[random[i] % 64];
	/* The last letter stands for 4 bits. */
	digest[YESCRYPT_DIGEST - 1] = letters[random[YESCRYPT_DIGEST - 1] % 16];
	digest[YESCRYPT_DIGEST] = '\0';
	int length = snprintf(hash, PASSWORD_HASH_SIZE, "%s$%s", setting, digest);
	return (length > 0 && length < PASSWORD_HASH_SIZE) ||
	       error_set(error, "the salt is too long");
}

/* ---- digests of directories and other mail servers ---- */

static const struct digest_scheme {
	const char *prefix;
	const EVP_MD *(*digest)(void);
	bool is_salted;
} digest_schemes[] = {
	{ "{SHA}", EVP_sha1, false },      { "{SSHA}", EVP_sha1, true },
	{ "{SHA256}", EVP_sha256, false }, { "{SSHA256}", EVP_sha256, true },
	{ "{SHA512}", EVP_sha512, false }, { "{SSHA512}", EVP_sha512, true },
};
#define DIGEST_SCHEME_COUNT (sizeof(digest_schemes) / sizeof(digest_schemes[0]))

/* The digest and, behind it, the salt; false when the text is none of the schemes'. */
static bool
digest_parse(const char *hash, const struct digest_scheme **scheme, struct buf *bytes)
{
	struct slice text = slice_from(hash);

	for (size_t i = 0; i < DIGEST_SCHEME_COUNT; i++) {
		struct slice prefix = slice_from(digest_schemes[i].prefix);

		if (!slice_starts_with(text, prefix))
			continue;
		size_t size = (size_t)EVP_MD_get_size(digest_schemes[i].digest());

		*scheme = &digest_schemes[i];
		return base64_decode(slice_from_offset(text, prefix.length), bytes) &&
		       (digest_schemes[i].is_salted ? bytes->length > size : bytes->length == size);
	}
	return false;
}

static enum password_answer
digest_verify(struct slice password, const char *hash)
{
	const struct digest_scheme *scheme = NULL;
	struct buf                  bytes = BUF(PASSWORD_HASH_SIZE), input = BUF(1024);
	unsigned char               made[EVP_MAX_MD_SIZE];
	unsigned                    length = sizeof(made);
	enum password_answer        answer = PASSWORD_UNKNOWN;

	if (password.length <= PASSWORD_MOST && digest_parse(hash, &scheme, &bytes)) {
		size_t size = (size_t)EVP_MD_get_size(scheme->digest());

		buf_append(&input, password);
		buf_append(&input, slice_from_offset(buf_slice(&bytes), size));
		if (!input.has_failed && EVP_Digest(buf_text(&input), input.length, made, &length,
		                                    scheme->digest(), NULL) == 1)
			answer = CRYPTO_memcmp(made, bytes.data, size) == 0 ? PASSWORD_RIGHT
			                                                    : PASSWORD_WRONG;
	}
	if (input.data != NULL)
		OPENSSL_cleanse(input.data, input.capacity);
	buf_free(&input);
	buf_free(&bytes);
	return answer;
}

bool
password_hash_is_known(const char *hash)
{
	const struct digest_scheme *scheme;
	struct buf                  bytes = BUF(PASSWORD_HASH_SIZE);
	bool                        is_known;

	if (strlen(hash) >= PASSWORD_HASH_SIZE)
		return false;
	if (hash[0] == '{') {
		is_known = digest_parse(hash, &scheme, &bytes);
		buf_free(&bytes);
		return is_known;
	}
	return password_verify(SLICE("x"), hash) != PASSWORD_UNKNOWN;
}

/* crypt(3)'s letters for numbers; -1 = none of them. */
static int
letter_value(char letter)
{
	static const char letters[] =
		"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	const char *found = letter == '\0' ? NULL : strchr(letters, letter);

	return found == NULL ? -1 : (int)(found - letters);
}

/*
 * "$y$" and "$gy$": a letter for the flavour, one for the cost, one for the size of a block, as
 * crypt makes them; "$7$" has no flavour. The memory is their product (RFC 7914, section 5).
 */
int64_t
password_verify_bytes(const char *hash)
{
	struct slice text = slice_from(hash);
	size_t       at = 0;

	if (slice_starts_with(text, SLICE("$y$")))
		at = 4;
	else if (slice_starts_with(text, SLICE("$gy$")))
		at = 5;
	else if (slice_starts_with(text, SLICE("$7$")))
		at = 3;
	if (at == 0 || text.length < at + 2)
		return (int64_t)sizeof(struct scratch);
	bool is_scrypt = at == 3;
	int  cost = letter_value(text.data[at]), block = letter_value(text.data[at + 1]);
	if (cost < 0 || cost > 30 || block < 0)
		return (int64_t)sizeof(struct scratch);
	int64_t passes = INT64_C(1) << (is_scrypt ? cost : cost + 1);
	return (int64_t)sizeof(struct scratch) + 128 * passes * (is_scrypt ? block : block + 1);
}

enum password_answer
password_verify(struct slice password, const char *hash)
{
	if (hash[0] == '{')
		return digest_verify(password, hash);

	struct scratch *scratch = calloc(1, sizeof(*scratch));
	const char     *made;
	size_t          length = strlen(hash);

	if (scratch == NULL)
		return PASSWORD_UNKNOWN;
	errno = 0;
	made = crypt_run(scratch, password, hash);
	enum password_answer answer = PASSWORD_WRONG;
	if (made == NULL && errno != 0)
		answer = PASSWORD_UNKNOWN;
	else if (made != NULL && strlen(made) == length && CRYPTO_memcmp(made, hash, length) == 0)
		answer = PASSWORD_RIGHT;
	scratch_free(scratch);
	return answer;
}

/* ---- SCRAM ---- */

static bool
key_make(const unsigned char *salted, const char *label, unsigned char *out)
{
	unsigned length = SCRAM_KEY_BYTES;

	return HMAC(EVP_sha256(), salted, SCRAM_KEY_BYTES, (const unsigned char *)label,
	            strlen(label), out, &length) != NULL;
}

bool
scram_derive(struct slice password, struct scram_keys *keys, struct error *error)
{
	unsigned char salted[SCRAM_KEY_BYTES], client[SCRAM_KEY_BYTES];
	unsigned      length = SCRAM_KEY_BYTES;

	bool is_good =
		PKCS5_PBKDF2_HMAC(password.data, (int)password.length, keys->salt, SCRAM_SALT_BYTES,
	                          (int)keys->iterations, EVP_sha256(), SCRAM_KEY_BYTES,
	                          salted) == 1 &&
		key_make(salted, "Client Key", client) &&
		key_make(salted, "Server Key", keys->server) &&
		EVP_Digest(client, sizeof(client), keys->stored, &length, EVP_sha256(), NULL) == 1;
	OPENSSL_cleanse(salted, sizeof(salted));
	OPENSSL_cleanse(client, sizeof(client));
	return is_good || error_set(error, "derive SCRAM keys: the cryptographic library failed");
}

static bool
hmac_make(const unsigned char *key, struct slice text, unsigned char out[SCRAM_KEY_BYTES])
{
	unsigned length = SCRAM_KEY_BYTES;

	return HMAC(EVP_sha256(), key, SCRAM_KEY_BYTES, (const unsigned char *)text.data,
	            text.length, out, &length) != NULL;
}

bool
scram_proof_is_right(const struct scram_keys *keys, struct slice auth_message,
                     const unsigned char proof[SCRAM_KEY_BYTES])
{
	unsigned char client[SCRAM_KEY_BYTES], stored[SCRAM_KEY_BYTES];
	unsigned      length = SCRAM_KEY_BYTES;

	if (!hmac_make(keys->stored, auth_message, client))
		return false;
	for (size_t i = 0; i < SCRAM_KEY_BYTES; i++)
		client[i] ^= proof[i];
	bool is_right =
		EVP_Digest(client, sizeof(client), stored, &length, EVP_sha256(), NULL) == 1 &&
		CRYPTO_memcmp(stored, keys->stored, SCRAM_KEY_BYTES) == 0;
	OPENSSL_cleanse(client, sizeof(client));
	return is_right;
}

bool
scram_server_signature(const struct scram_keys *keys, struct slice auth_message,
                       unsigned char signature[SCRAM_KEY_BYTES])
{
	return hmac_make(keys->server, auth_message, signature);
}

bool
scram_append(const struct scram_keys *keys, struct buf *out)
{
	buf_append_format(out, "%s%u:", SCRAM_PREFIX, keys->iterations);
	base64_encode(slice_of((const char *)keys->salt, sizeof(keys->salt)), out);
	buf_append_byte(out, '$');
	base64_encode(slice_of((const char *)keys->stored, sizeof(keys->stored)), out);
	buf_append_byte(out, ':');
	return base64_encode(slice_of((const char *)keys->server, sizeof(keys->server)), out);
}

/* Exactly size bytes of base64 text. */
static bool
bytes_parse(struct slice text, unsigned char *out, size_t size)
{
	struct buf bytes = BUF(SCRAM_KEY_BYTES);
	bool       is_good = base64_decode(text, &bytes) && bytes.length == size;

	if (is_good)
		memcpy(out, bytes.data, size);
	buf_free(&bytes);
	return is_good;
}

bool
scram_parse(struct slice text, struct scram_keys *keys)
{
	struct scram_keys parsed;
	struct slice      first, second, iterations, stored;
	int64_t           count;

	if (!slice_starts_with(text, SLICE(SCRAM_PREFIX)))
		return false;
	text = slice_from_offset(text, sizeof(SCRAM_PREFIX) - 1);
	if (!slice_next_part(&text, '$', &first) || !slice_next_part(&text, '$', &second) ||
	    text.data != NULL)
		return false;
	if (!slice_next_part(&first, ':', &iterations) || first.data == NULL ||
	    !slice_next_part(&second, ':', &stored) || second.data == NULL)
		return false;
	if (!number_parse(iterations, 1, SCRAM_ITERATIONS_MOST, &count) ||
	    !bytes_parse(first, parsed.salt, sizeof(parsed.salt)) ||
	    !bytes_parse(stored, parsed.stored, sizeof(parsed.stored)) ||
	    !bytes_parse(second, parsed.server, sizeof(parsed.server)))
		return false;
	parsed.iterations = (uint32_t)count;
	*keys = parsed;
	return true;
}
