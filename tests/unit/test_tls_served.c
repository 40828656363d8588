/* test_tls_served.c - which certificates a client gets by its name, and what a bad file changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/conf/snapshot.h"
#include "lib/ipc/messages.h"
#include "lib/tls/tls_files.h"
#include "lib/tls/tls_served.h"
#include "tests/unit/tls_files.h"

struct pair {
	EVP_PKEY *key;
	X509     *certificate;
};

static struct pair
pair_make(EVP_PKEY *key, const char *common, const char *alternatives)
{
	return (struct pair){ key, tls_files_certificate(key, common, alternatives, NULL, key) };
}

static void
pair_free(struct pair *pair)
{
	EVP_PKEY_free(pair->key);
	X509_free(pair->certificate);
}

/* Adds a file of these PEM blocks to a bundle; either may be NULL. */
static void
add(struct buf *bundle, enum tls_file_role role, const char *path, const struct pair *key,
    const struct pair *certificate)
{
	BIO        *bio = BIO_new(BIO_s_mem());
	char       *data = NULL;
	const char *slash = strrchr(path, '/');

	if (key != NULL)
		PEM_write_bio_PrivateKey(bio, key->key, NULL, NULL, 0, NULL, NULL);
	if (certificate != NULL)
		PEM_write_bio_X509(bio, certificate->certificate);
	long                length = BIO_get_mem_data(bio, &data);
	struct msg_tls_file file = {
		.role = role,
		.parameter = SLICE("smtpd_tls_chain_files"),
		.path = slice_from(path),
		.content = slice_of(data, (size_t)length),
	};
	if (role == TLS_FILE_MEMBER)
		file.directory = slice_of(path, (size_t)(slash - path));
	assert_true(msg_tls_file_append(bundle, &file));
	BIO_free(bio);
}

static struct tls_served *
serve(struct buf *bundle, const struct tls_served *older)
{
	struct error       error = ERROR_NONE;
	struct tls_served *served = tls_served_create(buf_slice(bundle), older, &error);

	if (served == NULL)
		fail_msg("%s", error.text);
	buf_free(bundle);
	return served;
}

static void
expect(const struct tls_served *served, const char *name, const struct pair *first,
       const struct pair *second)
{
	const struct tls_choice *choice = tls_served_choose(served, name);
	size_t                   count = second == NULL ? 1 : 2;

	if (choice->count != count ||
	    X509_cmp(choice->chains[0]->certificate, first->certificate) ||
	    (second != NULL && X509_cmp(choice->chains[1]->certificate, second->certificate)))
		fail_msg("another certificate for %s", name == NULL ? "no name" : name);
}

static void
names_choose_and_all_others_get_the_first(void **state)
{
	struct pair a = pair_make(EVP_EC_gen("P-256"), "a.test", "DNS:A.test,DNS:mx.a.test");
	struct pair b = pair_make(EVP_EC_gen("P-256"), "ignored.test", "DNS:*.b.test,IP:127.0.0.1");
	struct pair c = pair_make(EVP_EC_gen("P-256"), "c.test", NULL);
	struct buf  bundle = BUF(TLS_BUNDLE_MOST);

	(void)state;
	add(&bundle, TLS_FILE_CHAIN, "a", &a, &a);
	add(&bundle, TLS_FILE_CHAIN, "b", &b, &b);
	add(&bundle, TLS_FILE_CHAIN, "c", &c, &c);
	struct tls_served *served = serve(&bundle, NULL);
	const struct {
		const char  *name;
		struct pair *expected;
	} rows[] = { { NULL, &a },         { "", &a },
		     { "a.test", &a },     { "A.TEST.", &a },
		     { "mx.a.test", &a },  { "x.b.test", &b },
		     { "x.y.b.test", &a }, { "b.test", &a },
		     { ".b.test", &a },    { "ignored.test", &a },
		     { "c.test", &c },     { "*.b.test", &b },
		     { "127.0.0.1", &a },  { "nobody.test", &a },
		     { "no-dot", &a } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect(served, rows[i].name, rows[i].expected, NULL);
	char longest[400];
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	expect(served, longest, &a, NULL);
	tls_served_release(served);
	pair_free(&a);
	pair_free(&b);
	pair_free(&c);
}

static void
kinds_of_keys_go_together_under_a_name(void **state)
{
	struct pair ec = pair_make(EVP_EC_gen("P-256"), "a.test", "DNS:a.test");
	struct pair rsa = pair_make(EVP_RSA_gen(2048), "a.test", "DNS:a.test,DNS:b.test");
	struct pair late = pair_make(EVP_EC_gen("P-256"), "a.test", "DNS:a.test");
	struct buf  bundle = BUF(TLS_BUNDLE_MOST);

	(void)state;
	add(&bundle, TLS_FILE_CHAIN, "ec", &ec, &ec);
	add(&bundle, TLS_FILE_CHAIN, "rsa.key", &rsa, NULL);
	add(&bundle, TLS_FILE_CHAIN, "rsa.pem", NULL, &rsa);
	add(&bundle, TLS_FILE_CHAIN, "late", &late, &late);
	struct tls_served *served = serve(&bundle, NULL);
	expect(served, "a.test", &ec, &rsa);
	expect(served, "b.test", &rsa, NULL);
	expect(served, NULL, &ec, &rsa);
	tls_served_release(served);
	pair_free(&ec);
	pair_free(&rsa);
	pair_free(&late);
}

static void
one_that_is_over_gives_way_to_one_that_is_not(void **state)
{
	struct pair over = pair_make(EVP_EC_gen("P-256"), "a.test", "DNS:a.test");
	struct pair fresh = pair_make(EVP_EC_gen("P-256"), "a.test", "DNS:a.test");
	struct buf  bundle = BUF(TLS_BUNDLE_MOST);

	(void)state;
	X509_gmtime_adj(X509_getm_notAfter(over.certificate), -60);
	X509_sign(over.certificate, over.key, EVP_sha256());
	add(&bundle, TLS_FILE_CHAIN, "over", &over, &over);
	add(&bundle, TLS_FILE_CHAIN, "fresh", &fresh, &fresh);
	struct tls_served *served = serve(&bundle, NULL);
	expect(served, "a.test", &fresh, NULL);
	tls_served_release(served);

	/* The same file: an end that is over replaces nothing. */
	bundle = BUF(TLS_BUNDLE_MOST);
	add(&bundle, TLS_FILE_CHAIN, "file", &fresh, &fresh);
	served = serve(&bundle, NULL);
	bundle = BUF(TLS_BUNDLE_MOST);
	add(&bundle, TLS_FILE_CHAIN, "file", &over, &over);
	struct tls_served *later = serve(&bundle, served);
	expect(later, "a.test", &fresh, NULL);
	assert_string_equal(buf_text(&later->chains.problems),
	                    "file: the new certificate has expired, or is not valid yet");
	tls_served_release(served);
	tls_served_release(later);
	pair_free(&over);
	pair_free(&fresh);
}

static void
a_bad_file_keeps_what_it_gave_and_its_place(void **state)
{
	struct pair a = pair_make(EVP_EC_gen("P-256"), "a.test", NULL);
	struct pair b = pair_make(EVP_EC_gen("P-256"), "b.test", NULL);
	struct pair newer = pair_make(EVP_EC_gen("P-256"), "b.test", NULL);
	struct buf  bundle = BUF(TLS_BUNDLE_MOST);

	(void)state;
	add(&bundle, TLS_FILE_CHAIN, "a.key", &a, NULL);
	add(&bundle, TLS_FILE_CHAIN, "a.pem", NULL, &a);
	add(&bundle, TLS_FILE_CHAIN, "b", &b, &b);
	struct tls_served *served = serve(&bundle, NULL);
	bundle = BUF(TLS_BUNDLE_MOST);
	add(&bundle, TLS_FILE_CHAIN, "a.key", &newer, NULL);
	add(&bundle, TLS_FILE_CHAIN, "a.pem", NULL, &a);
	add(&bundle, TLS_FILE_CHAIN, "b", &newer, &newer);
	struct tls_served *later = serve(&bundle, served);
	tls_served_release(served);
	expect(later, "a.test", &a, NULL);
	expect(later, NULL, &a, NULL);
	expect(later, "b.test", &newer, NULL);
	assert_string_equal(buf_text(&later->chains.problems),
	                    "a.pem: the private key does not belong to the certificate");

	/* Nothing but bad files: all stays. */
	bundle = BUF(TLS_BUNDLE_MOST);
	add(&bundle, TLS_FILE_CHAIN, "a.key", NULL, NULL);
	add(&bundle, TLS_FILE_CHAIN, "a.pem", NULL, NULL);
	add(&bundle, TLS_FILE_CHAIN, "b", &newer, NULL);
	struct tls_served *last = serve(&bundle, later);
	expect(last, "a.test", &a, NULL);
	expect(last, "b.test", &newer, NULL);
	assert_int_equal(last->chains.list.count, 2);
	tls_served_release(later);
	tls_served_release(last);
	pair_free(&a);
	pair_free(&b);
	pair_free(&newer);
}

static void
in_a_directory_keys_find_their_certificates(void **state)
{
	struct pair a = pair_make(EVP_EC_gen("P-256"), "a.test", NULL);
	struct pair b = pair_make(EVP_EC_gen("P-256"), "b.test", NULL);
	struct pair lone = pair_make(EVP_EC_gen("P-256"), "lone.test", NULL);
	struct buf  bundle = BUF(TLS_BUNDLE_MOST);

	(void)state;
	add(&bundle, TLS_FILE_MEMBER, "d/a-certificate", NULL, &a);
	add(&bundle, TLS_FILE_MEMBER, "d/b", &b, &b);
	add(&bundle, TLS_FILE_MEMBER, "d/ca", NULL, &lone);
	add(&bundle, TLS_FILE_MEMBER, "d/key", &a, NULL);
	add(&bundle, TLS_FILE_MEMBER, "d/key-again", &a, NULL);
	add(&bundle, TLS_FILE_MEMBER, "e/lone", &lone, NULL);
	struct tls_served *served = serve(&bundle, NULL);
	assert_int_equal(served->chains.list.count, 2);
	expect(served, "a.test", &a, NULL);
	expect(served, "b.test", &b, NULL);
	assert_string_equal(buf_text(&served->chains.problems),
	                    "e/lone: no certificate beside it belongs to this private key");
	tls_served_release(served);
	pair_free(&a);
	pair_free(&b);
	pair_free(&lone);
}

/* A file for one name of tls_server_sni_maps. */
static void
add_for(struct buf *bundle, const char *name, const char *path, const struct pair *key,
        const struct pair *certificate)
{
	struct buf          plain = BUF(TLS_BUNDLE_MOST);
	struct msg_tls_file file;
	struct slice        rest;

	add(&plain, TLS_FILE_CHAIN, path, key, certificate);
	rest = buf_slice(&plain);
	assert_true(msg_tls_file_next(&rest, &file));
	file.server_name = slice_from(name);
	assert_true(msg_tls_file_append(bundle, &file));
	buf_free(&plain);
}

static void
tables_come_before_the_names_inside(void **state)
{
	struct pair a = pair_make(EVP_EC_gen("P-256"), "a.test", "DNS:a.test,DNS:b.test");
	struct pair b = pair_make(EVP_EC_gen("P-256"), "b.test", NULL);
	struct pair rsa = pair_make(EVP_RSA_gen(2048), "b.test", NULL);
	struct buf  bundle = BUF(TLS_BUNDLE_MOST);

	(void)state;
	add_for(&bundle, "b.test", "b.key", &b, NULL);
	add_for(&bundle, "b.test", "b.pem", NULL, &b);
	add_for(&bundle, "b.test", "rsa", &rsa, &rsa);
	add_for(&bundle, ".Sub.test", "b", &b, &b);
	add(&bundle, TLS_FILE_CHAIN, "a", &a, &a);
	struct tls_served *served = serve(&bundle, NULL);
	expect(served, "b.test", &b, &rsa);
	expect(served, "a.test", &a, NULL);
	expect(served, NULL, &a, NULL);
	expect(served, "x.sub.test", &b, NULL);
	expect(served, "y.x.sub.test", &b, NULL);
	expect(served, "sub.test", &a, NULL);

	/* A key of one name never goes with a certificate of another. */
	bundle = BUF(TLS_BUNDLE_MOST);
	add_for(&bundle, "b.test", "b.key", &b, NULL);
	add_for(&bundle, "c.test", "b.pem", NULL, &b);
	struct tls_served *later = serve(&bundle, served);
	expect(later, "b.test", &b, NULL);
	expect(later, "c.test", &b, NULL); /* the first there is */
	assert_string_equal(buf_text(&later->chains.problems),
	                    "b.key: a private key without a certificate behind it; b.pem: a "
	                    "certificate without its private key");
	tls_served_release(served);
	tls_served_release(later);
	pair_free(&a);
	pair_free(&b);
	pair_free(&rsa);
}

static void
garbage_is_refused_with_words(void **state)
{
	static const char *const contents[] = {
		"",
		"\0\0\0",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
		"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE "
		"KEY-----\n",
		"-----BEGIN CERTIFICATE-----\nMIIB",
		"no PEM at all\n"
	};

	(void)state;
	for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++)
		for (uint32_t role = TLS_FILE_CHAIN; role <= TLS_FILE_KEY; role++) {
			struct buf          bundle = BUF(TLS_BUNDLE_MOST);
			struct error        error = ERROR_NONE;
			struct msg_tls_file file = { .role = role,
				                     .parameter = SLICE("p"),
				                     .path = SLICE("d/file"),
				                     .content = slice_from(contents[i]) };

			assert_true(msg_tls_file_append(&bundle, &file));
			assert_null(tls_served_create(buf_slice(&bundle), NULL, &error));
			assert_true(error.text[0] != '\0');
			/* Cut anywhere, the bundle itself is no danger. */
			for (size_t cut = 0; cut < bundle.length; cut++)
				assert_null(tls_served_create(slice_first(buf_slice(&bundle), cut),
				                              NULL, &error));
			buf_free(&bundle);
		}
}

static void
what_is_served_is_described(void **state)
{
	struct pair a = pair_make(EVP_EC_gen("P-256"), "x", "DNS:a.test,DNS:b.test");
	struct buf  bundle = BUF(TLS_BUNDLE_MOST), list = BUF(10000);
	struct msg_served_certificate told;

	(void)state;
	add(&bundle, TLS_FILE_CHAIN, "/etc/a", &a, &a);
	struct tls_served *served = serve(&bundle, NULL);
	assert_true(tls_served_describe(served, &list));
	struct slice rest = buf_slice(&list);
	assert_true(msg_served_certificate_next(&rest, &told));
	assert_true(slice_equal(told.file, SLICE("/etc/a")));
	assert_true(slice_equal(told.names, SLICE("a.test b.test")));
	assert_true(slice_equal(told.kind, SLICE("EC")));
	int64_t left = told.not_after_s - (int64_t)time(NULL);
	assert_true(left > 86000 && left <= 86400);
	assert_false(msg_served_certificate_next(&rest, &told));
	tls_served_release(served);
	buf_free(&list);
	pair_free(&a);
}

/* ---- files ---- */

static void
a_change_of_any_file_shows_and_nothing_else_does(void **state)
{
	char             directory[] = "/tmp/dakiya-files-XXXXXX", text[400], path[100];
	struct buf       named = BUF(TLS_NAMED_MOST), before = BUF(10000), after = BUF(10000);
	struct buf       bundle = BUF(TLS_BUNDLE_MOST);
	struct error     error = ERROR_NONE;
	struct snapshot *snapshot;

	(void)state;
	tls_files_make(directory);
	snprintf(text, sizeof(text), "smtpd_tls_chain_files = %s, %s/none.pem\n", directory,
	         directory);
	snapshot = snapshot_from_text(text, &error);
	assert_true(tls_files_named(snapshot_parameters(snapshot), &named));
	assert_true(tls_files_fingerprint(buf_slice(&named), NULL, &before, &error));
	assert_true(tls_files_fingerprint(buf_slice(&named), NULL, &after, &error));
	assert_string_equal(buf_text(&before), buf_text(&after));
	buf_clear(&after);
	snprintf(path, sizeof(path), "%s/ec.pem", directory);
	assert_int_equal(unlink(path), 0);
	assert_true(tls_files_fingerprint(buf_slice(&named), NULL, &after, &error));
	assert_string_not_equal(buf_text(&before), buf_text(&after));

	/* The directory's files by name, and the one that is not there with its problem. */
	struct msg_tls_file file;
	char                names[1000] = "";
	assert_true(tls_files_read(buf_slice(&named), NULL, &bundle, &error));
	for (struct slice rest = buf_slice(&bundle); msg_tls_file_next(&rest, &file);) {
		struct slice base = slice_from_offset(file.path, strlen(directory));
		size_t       used = strlen(names);

		snprintf(names + used, sizeof(names) - used, "%.*s%s ", SLICE_ARGS(base),
		         file.problem.length > 0 ? "!" : "");
	}
	assert_string_equal(names,
	                    "/ca.pem /other.key /rsa.crt /rsa.pem /stranger.pem /none.pem! ");
	tls_bundle_free(&bundle);
	buf_free(&named);
	buf_free(&before);
	buf_free(&after);
	snapshot_destroy(&snapshot);
	tls_files_remove(directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_choose_and_all_others_get_the_first),
		cmocka_unit_test(kinds_of_keys_go_together_under_a_name),
		cmocka_unit_test(one_that_is_over_gives_way_to_one_that_is_not),
		cmocka_unit_test(a_bad_file_keeps_what_it_gave_and_its_place),
		cmocka_unit_test(in_a_directory_keys_find_their_certificates),
		cmocka_unit_test(tables_come_before_the_names_inside),
		cmocka_unit_test(garbage_is_refused_with_words),
		cmocka_unit_test(what_is_served_is_described),
		cmocka_unit_test(a_change_of_any_file_shows_and_nothing_else_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
