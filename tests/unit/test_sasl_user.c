/* What is stored of a user: hashes, SCRAM keys, records, names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/base/encode.h"
#include "lib/sasl/user.h"

static void
hash_is_yescrypt_and_verifies(void **state)
{
	char hash[PASSWORD_HASH_SIZE], again[PASSWORD_HASH_SIZE];

	(void)state;
	assert_true(password_hash(SLICE("correct horse"), 1, hash, NULL));
	assert_memory_equal(hash, "$y$", 3);
	assert_int_equal(password_verify(SLICE("correct horse"), hash), PASSWORD_RIGHT);
	assert_int_equal(password_verify(SLICE("correct horsf"), hash), PASSWORD_WRONG);
	assert_int_equal(password_verify(SLICE(""), hash), PASSWORD_WRONG);
	assert_int_equal(password_verify(slice_of("correct horse\0x", 15), hash), PASSWORD_WRONG);
	assert_true(password_hash(SLICE("correct horse"), 1, again, NULL));
	assert_string_not_equal(hash, again);
}

static void
unknown_hash_is_no_answer(void **state)
{
	(void)state;
	assert_int_equal(password_verify(SLICE("x"), "$nonsense$"), PASSWORD_UNKNOWN);
}

static void
sound_passwords_are_told_from_others(void **state)
{
	char long_one[PASSWORD_MOST + 1];

	(void)state;
	memset(long_one, 'a', sizeof(long_one));
	assert_true(password_is_acceptable(SLICE("12345678"), 8, NULL));
	assert_true(password_is_acceptable(SLICE("p\xc3\xa4ssw\xc3\xb6rd"), 8, NULL));
	assert_false(password_is_acceptable(SLICE("p\xc3\xa4ssw\xc3\xb6r"), 8, NULL));
	assert_false(password_is_acceptable(SLICE("1234567"), 8, NULL));
	assert_false(password_is_acceptable(SLICE("12345678\n"), 8, NULL));
	assert_false(password_is_acceptable(SLICE("12345678\xff"), 8, NULL));
	assert_false(password_is_acceptable(slice_of(long_one, sizeof(long_one)), 8, NULL));
	assert_false(password_is_acceptable(SLICE(""), 0, NULL));
}

/* RFC 7677 section 3: user "user", password "pencil". The proof and the server's signature there
 * follow from these keys; both are checked. */
static void
scram_keys_reproduce_the_exchange_of_rfc_7677(void **state)
{
	struct scram_keys keys = { .iterations = 4096 };
	struct buf        salt = BUF(100), text = BUF(1000);
	struct scram_keys parsed;

	(void)state;
	assert_true(base64_decode(SLICE("W22ZaJ0SNY7soEsUEjb6gQ=="), &salt));
	assert_int_equal(salt.length, SCRAM_SALT_BYTES);
	memcpy(keys.salt, salt.data, salt.length);
	assert_true(scram_derive(SLICE("pencil"), &keys, NULL));
	assert_true(scram_append(&keys, &text));
	assert_string_equal(buf_text(&text), "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
	                                     "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
	                                     "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
	assert_true(scram_parse(buf_slice(&text), &parsed));
	assert_memory_equal(&parsed, &keys, sizeof(keys));
	buf_free(&salt);
	buf_free(&text);
}

static void
malformed_scram_text_is_refused(void **state)
{
	const char *const bad[] = {
		"",
		"SCRAM-SHA-256$",
		"SCRAM-SHA-1$4096:W22ZaJ0SNY7soEsUEjb6gQ==$a:b",
		"SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
		"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcX:x",
	};
	struct scram_keys keys;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(scram_parse(slice_from(bad[i]), &keys));
}

static void
record_survives_the_round_trip(void **state)
{
	struct user_record record = { .is_enabled = true }, read;
	struct buf         text = BUF(USER_RECORD_MOST);

	(void)state;
	assert_true(user_record_set_password(&record, SLICE("secret password"), 1, 4096, NULL));
	assert_true(user_record_encode(&record, &text));
	assert_true(user_record_decode(buf_slice(&text), &read, NULL));
	assert_true(read.is_enabled);
	assert_true(read.has_scram);
	assert_string_equal(read.password, record.password);
	assert_memory_equal(&read.scram, &record.scram, sizeof(record.scram));
	assert_int_equal(read.changed_s, record.changed_s);
	buf_free(&text);
}

static void
unknown_fields_are_passed_over_and_versions_are_not(void **state)
{
	struct user_record read;

	(void)state;
	assert_true(user_record_decode(SLICE("dakiya-user 1\nenabled yes\napp phone $y$x\nnew\n"),
	                               &read, NULL));
	assert_true(read.is_enabled);
	assert_false(read.has_scram);
	assert_string_equal(read.password, "");
	assert_false(user_record_decode(SLICE("dakiya-user 2\nenabled yes\n"), &read, NULL));
	assert_false(user_record_decode(SLICE("dakiya-user 1\nenabled maybe\n"), &read, NULL));
	assert_false(user_record_decode(SLICE("dakiya-user 1\nscram x\n"), &read, NULL));
	assert_false(user_record_decode(SLICE(""), &read, NULL));
}

static void
user_names_are_folded_and_checked(void **state)
{
	char name[USER_NAME_MOST + 1];

	(void)state;
	assert_true(user_name_canonical(SLICE("Alice@Example.ORG"), "", name, NULL));
	assert_string_equal(name, "alice@example.org");
	assert_true(user_name_canonical(SLICE("bob"), "example.org", name, NULL));
	assert_string_equal(name, "bob@example.org");
	assert_false(user_name_canonical(SLICE("bob"), "", name, NULL));
	const char *const bad[] = { "@example.org",       "a@",
		                    "a b@example.org",    "a@b@example.org",
		                    "a/../b@example.org", "..@example.org",
		                    "a..b@example.org",   "a@example..org",
		                    "a@-x.org",           "a\n@example.org",
		                    "a@[1.2.3.4]",        "\xff@example.org" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (user_name_canonical(slice_from(bad[i]), "", name, NULL))
			fail_msg("accepted: %s", bad[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hash_is_yescrypt_and_verifies),
		cmocka_unit_test(unknown_hash_is_no_answer),
		cmocka_unit_test(sound_passwords_are_told_from_others),
		cmocka_unit_test(scram_keys_reproduce_the_exchange_of_rfc_7677),
		cmocka_unit_test(malformed_scram_text_is_refused),
		cmocka_unit_test(record_survives_the_round_trip),
		cmocka_unit_test(unknown_fields_are_passed_over_and_versions_are_not),
		cmocka_unit_test(user_names_are_folded_and_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
