/* test_tls_health.c - what an admin is told about keys and certificates before a client is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/conf/snapshot.h"
#include "lib/tls/tls_health.h"
#include "tests/unit/tls_files.h"

static char directory[] = "/tmp/dakiya-health-XXXXXX";

/* FILE.pem with a key and a certificate for mx.example.org that ends in so many seconds. */
static void
make(const char *name, long begin_s, long end_s)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509     *certificate = tls_files_certificate(key, "mx.example.org",
	                                              "DNS:mx.example.org,DNS:*.wild.test", NULL, key);
	char      path[300];

	X509_gmtime_adj(X509_getm_notBefore(certificate), begin_s);
	X509_gmtime_adj(X509_getm_notAfter(certificate), end_s);
	X509_sign(certificate, key, EVP_sha256());
	tls_files_write(directory, name, key, certificate);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	chmod(path, 0600);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

/* main.cf's lines, @ standing for the directory, and what is said. */
static void
expect(const char *host, const char *setting, const char *value, const char *expected)
{
	struct report    report = REPORT_NONE;
	struct error     error = ERROR_NONE;
	struct buf       out = BUF(10000);
	char             text[1000], path[500] = "", want[2000];
	struct snapshot *snapshot;

	snprintf(path, sizeof(path), "%s/%s", directory, value);
	snprintf(text, sizeof(text), "myhostname = %s\n%s = %s\n", host, setting, path);
	snapshot = snapshot_from_text(text, &error);
	assert_non_null(snapshot);
	tls_health_check(snapshot_parameters(snapshot), "main.cf", 7, &report);
	report_append(&report, true, &out);
	snprintf(want, sizeof(want), "%s", expected);
	for (char *at; (at = strstr(want, "@/")) != NULL;) {
		char rest[2000];

		snprintf(rest, sizeof(rest), "%s", at + 1);
		snprintf(at, sizeof(want) - (size_t)(at - want), "%s%s", directory, rest);
	}
	assert_string_equal(buf_text(&out), want);
	buf_free(&out);
	report_free(&report);
	snapshot_destroy(&snapshot);
}

static void
a_sound_certificate_is_passed_in_silence(void **state)
{
	(void)state;
	make("good.pem", -3600, 20 * 86400);
	expect("mx.example.org", "smtpd_tls_chain_files", "good.pem", "");
	expect("MX.Example.ORG", "smtpd_tls_cert_file", "good.pem", "");
	expect("a.wild.test", "smtpd_tls_eccert_file", "good.pem", "");
}

static void
an_end_that_is_near_or_past_is_told_with_its_days(void **state)
{
	(void)state;
	make("soon.pem", -3600, 5 * 86400 + 3600);
	make("past.pem", -30 * 86400, -3 * 86400 - 3600);
	make("later.pem", 86400, 90 * 86400);
	expect("mx.example.org", "smtpd_tls_chain_files", "soon.pem",
	       "main.cf:7: warning: the EC certificate expires in 5 days: get a new one\n");
	expect("mx.example.org", "smtpd_tls_chain_files", "past.pem",
	       "main.cf:7: warning: the EC certificate has expired 3 days ago: clients refuse it; "
	       "get a new one\n");
	expect("mx.example.org", "smtpd_tls_chain_files", "later.pem",
	       "main.cf:7: warning: the EC certificate is not valid yet: is this host's clock "
	       "right?\n");
}

static void
a_certificate_for_another_name_is_told_with_its_names(void **state)
{
	(void)state;
	make("good.pem", -3600, 20 * 86400);
	expect("mail.example.net", "smtpd_tls_chain_files", "good.pem",
	       "main.cf:7: warning: the EC certificate is for mx.example.org, *.wild.test, not for "
	       "myhostname (mail.example.net): clients that are told this name refuse it\n");
}

/* Issued by an authority that is not in the file, and that no system knows. */
static void
a_chain_that_lacks_its_issuer_is_told(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *issuer_key = EVP_EC_gen("P-256");
	X509     *issuer = tls_files_certificate(issuer_key, "Middle CA", NULL, NULL, issuer_key);
	X509     *certificate = tls_files_certificate(key, "mx.example.org", "DNS:mx.example.org",
	                                              issuer, issuer_key);
	char      path[300];
	FILE     *file;

	(void)state;
	X509_gmtime_adj(X509_getm_notAfter(certificate), 30 * 86400);
	X509_sign(certificate, issuer_key, EVP_sha256());
	tls_files_write(directory, "short.pem", key, certificate);
	snprintf(path, sizeof(path), "%s/short.pem", directory);
	chmod(path, 0600);
	expect("mx.example.org", "smtpd_tls_chain_files", "short.pem",
	       "main.cf:7: warning: the EC certificate's chain ends before an authority that this "
	       "system knows: append the certificate of /CN=Middle CA to the file\n");
	file = fopen(path, "a");
	assert_non_null(file);
	PEM_write_X509(file, issuer);
	fclose(file);
	expect("mx.example.org", "smtpd_tls_chain_files", "short.pem", "");
	X509_free(certificate);
	X509_free(issuer);
	EVP_PKEY_free(key);
	EVP_PKEY_free(issuer_key);
}

static void
a_key_that_everybody_may_read_is_told_with_the_command(void **state)
{
	char path[300];

	(void)state;
	make("open.pem", -3600, 20 * 86400);
	snprintf(path, sizeof(path), "%s/open.pem", directory);
	chmod(path, 0644);
	expect("mx.example.org", "smtpd_tls_chain_files", "open.pem",
	       "main.cf:7: warning: @/open.pem holds a private key, and everybody on this host may "
	       "read it: chmod 600 @/open.pem\n");
}

static void
a_key_that_does_not_belong_and_a_file_without_any_are_errors(void **state)
{
	EVP_PKEY *other = EVP_EC_gen("P-256");
	X509     *certificate = tls_files_certificate(other, "mx.example.org", NULL, NULL, other);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	char      path[300];

	(void)state;
	tls_files_write(directory, "mixed.pem", key, certificate);
	snprintf(path, sizeof(path), "%s/mixed.pem", directory);
	chmod(path, 0600);
	tls_files_write(directory, "empty.pem", NULL, NULL);
	expect("mx.example.org", "smtpd_tls_chain_files", "mixed.pem",
	       "main.cf:7: error: smtpd_tls_chain_files: @/mixed.pem: the private key does not "
	       "belong to the certificate\n");
	expect("mx.example.org", "smtpd_tls_chain_files", "empty.pem",
	       "main.cf:7: error: smtpd_tls_chain_files: @/empty.pem: no private key and "
	       "certificate in it\n");
	X509_free(certificate);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

static int
make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) == NULL;
}

static int
remove_files(void **state)
{
	static const char *const names[] = { "good.pem", "soon.pem",  "past.pem",  "later.pem",
		                             "open.pem", "mixed.pem", "empty.pem", "short.pem" };
	char                     path[300];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		remove(path);
	}
	return remove(directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sound_certificate_is_passed_in_silence),
		cmocka_unit_test(an_end_that_is_near_or_past_is_told_with_its_days),
		cmocka_unit_test(a_certificate_for_another_name_is_told_with_its_names),
		cmocka_unit_test(a_chain_that_lacks_its_issuer_is_told),
		cmocka_unit_test(a_key_that_everybody_may_read_is_told_with_the_command),
		cmocka_unit_test(a_key_that_does_not_belong_and_a_file_without_any_are_errors),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_files);
}
