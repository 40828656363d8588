/* Tests of lib/base/sha256: the examples of FIPS 180-4, and every length beside OpenSSL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "lib/base/sha256.h"

static void
assert_digest(struct slice bytes, const char *expected)
{
	unsigned char digest[SHA256_BYTES];
	char          text[2 * SHA256_BYTES + 1];

	sha256(bytes, digest);
	for (size_t i = 0; i < SHA256_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	assert_string_equal(text, expected);
}

static void
the_standards_examples(void **state)
{
	(void)state;
	assert_digest(SLICE("abc"),
	              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_digest(SLICE("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
	              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	assert_digest(SLICE_EMPTY,
	              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* The padding takes one block or two: every place of the end within a block. */
static void
every_length_is_as_openssl_has_it(void **state)
{
	char          bytes[300];
	unsigned char ours[SHA256_BYTES], theirs[EVP_MAX_MD_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 37 + 11);
	for (size_t length = 0; length <= sizeof(bytes); length++) {
		sha256(slice_of(bytes, length), ours);
		assert_int_equal(EVP_Digest(bytes, length, theirs, NULL, EVP_sha256(), NULL), 1);
		assert_memory_equal(ours, theirs, SHA256_BYTES);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_standards_examples),
		cmocka_unit_test(every_length_is_as_openssl_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
