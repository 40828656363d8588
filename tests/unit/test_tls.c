/* test_tls.c - handshakes over a socketpair, verification, what plain text before TLS is worth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/conf/snapshot.h"
#include "lib/tls/tls.h"
#include "tests/unit/tls_files.h"

static char directory[] = "/tmp/dakiya-tls-XXXXXX";

static struct snapshot *
settings(const char *format, ...)
{
	char            *text = NULL;
	struct error     error = ERROR_NONE;
	struct buf       parameters = BUF(10000), all = BUF(20000);
	struct slice     rest, part;
	va_list          arguments;
	struct snapshot *snapshot;

	va_start(arguments, format);
	buf_append_vformat(&parameters, format, arguments);
	va_end(arguments);
	rest = buf_slice(&parameters);
	while (slice_next_part(&rest, '@', &part)) { /* @ stands for the directory */
		buf_append(&all, part);
		if (rest.length > 0)
			buf_append_text(&all, directory);
	}
	text = strdup(buf_text(&all));
	snapshot = snapshot_from_text(text, &error);
	if (snapshot == NULL)
		fail_msg("%s: %s", text, error.text);
	free(text);
	buf_free(&parameters);
	buf_free(&all);
	return snapshot;
}

/* ---- a server that shakes hands and echoes a line ---- */

struct echo {
	struct tls_server *server;
	struct stream     *stream;
	struct tls_info    info;
	struct buf         binding;
	bool               ok;
	struct error       error;
	bool               closes_rudely;
};

static void *
echo_run(void *argument)
{
	struct echo       *echo = argument;
	enum stream_result result;
	struct slice       line;
	size_t             ending;
	short              wants = POLLIN;

	if (!tls_server_start(echo->server, echo->stream, &echo->error))
		return NULL;
	while ((result = tls_handshake(echo->stream, &wants, &echo->error)) == STREAM_AGAIN)
		if (stream_wait(echo->stream, wants) != STREAM_OK)
			return NULL;
	if (result != STREAM_OK)
		return NULL;
	echo->ok = tls_info_get(echo->stream, &echo->info);
	echo->binding = BUF(100);
	tls_channel_binding(echo->stream, &echo->binding);
	if (stream_read_line(echo->stream, &line, &ending) == STREAM_OK) {
		stream_write(echo->stream, line);
		stream_write(echo->stream, SLICE("\r\n"));
		stream_flush(echo->stream);
	}
	if (echo->closes_rudely)
		shutdown(stream_fd(echo->stream), SHUT_RDWR);
	return NULL;
}

struct meeting {
	struct snapshot   *server_settings, *client_settings;
	struct tls_server *server;
	struct tls_client *client;
	struct stream     *stream; /* the client's */
	struct echo        echo;
	pthread_t          thread;
	struct error       error;
	bool               ok, is_joined;
};

/* Both sides over a socketpair. before: what the server's stream has buffered in plain text. */
static void
meet(struct meeting *meeting, const char *server_text, const char *client_text,
     const struct tls_policy *policy, const char *before)
{
	int pair[2];

	*meeting = (struct meeting){ .ok = false };
	meeting->server_settings = settings("smtpd_tls_security_level = may\n%s\n", server_text);
	meeting->client_settings = settings("%s\n", client_text);
	meeting->server =
		tls_server_create(snapshot_parameters(meeting->server_settings), &meeting->error);
	if (meeting->server == NULL)
		fail_msg("%s", meeting->error.text);
	meeting->client =
		tls_client_create(snapshot_parameters(meeting->client_settings), &meeting->error);
	if (meeting->client == NULL)
		fail_msg("%s", meeting->error.text);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	meeting->echo.server = meeting->server;
	meeting->echo.stream = stream_from_socket(pair[0]);
	meeting->stream = stream_from_socket(pair[1]);
	stream_set_timeout(meeting->stream, 5000);
	stream_set_timeout(meeting->echo.stream, 5000);
	if (before != NULL) {
		assert_int_equal(write(pair[1], before, strlen(before)), (int)strlen(before));
		assert_int_equal(stream_fill(meeting->echo.stream), STREAM_OK);
	}
	assert_int_equal(pthread_create(&meeting->thread, NULL, echo_run, &meeting->echo), 0);
	meeting->ok = tls_client_start(meeting->client, meeting->stream, policy, &meeting->error);
}

static void
join(struct meeting *meeting)
{
	if (!meeting->is_joined)
		pthread_join(meeting->thread, NULL);
	meeting->is_joined = true;
}

static void
part(struct meeting *meeting)
{
	stream_destroy(&meeting->stream);
	join(meeting);
	stream_destroy(&meeting->echo.stream);
	buf_free(&meeting->echo.binding);
	tls_server_destroy(&meeting->server);
	tls_client_destroy(&meeting->client);
	snapshot_destroy(&meeting->server_settings);
	snapshot_destroy(&meeting->client_settings);
}

static const struct tls_policy may = { .level = TLS_MAY };

static void
expect_echo(struct meeting *meeting)
{
	struct slice line;
	size_t       ending;

	assert_int_equal(stream_write_text(meeting->stream, "hello\r\n"), STREAM_OK);
	assert_int_equal(stream_flush(meeting->stream), STREAM_OK);
	assert_int_equal(stream_read_line(meeting->stream, &line, &ending), STREAM_OK);
	assert_true(slice_equal(line, SLICE("hello")));
}

static void
opportunistic_handshake_carries_lines(void **state)
{
	struct meeting  meeting;
	struct tls_info info;

	(void)state;
	meet(&meeting, "smtpd_tls_chain_files = @/rsa.pem", "", &may, NULL);
	if (!meeting.ok)
		fail_msg("%s", meeting.error.text);
	expect_echo(&meeting);
	assert_true(tls_is_active(meeting.stream));
	assert_true(tls_info_get(meeting.stream, &info));
	assert_string_equal(info.protocol, "TLSv1.3");
	assert_string_equal(info.cipher, "TLS_AES_256_GCM_SHA384");
	assert_int_equal(info.bits, 256);
	assert_true(info.has_peer_certificate);
	assert_false(info.is_trusted);
	assert_false(info.is_verified);
	assert_string_equal(info.details, " key-exchange X25519 server-signature RSA-PSS (2048 "
	                                  "bits) server-digest SHA256");
	part(&meeting);
	assert_true(meeting.echo.ok);
	assert_string_equal(meeting.echo.info.details, info.details);
	assert_false(meeting.echo.info.has_peer_certificate);
}

static void
both_key_types_are_served(void **state)
{
	struct meeting    meeting;
	struct tls_info   info;
	struct tls_policy tls12_rsa = { .level = TLS_MAY,
		                        .protocols = "TLSv1.2",
		                        .ciphers = "high" };

	(void)state;
	meet(&meeting, "smtpd_tls_chain_files = @/rsa.pem, @/ec.pem", "", &may, NULL);
	assert_true(meeting.ok);
	assert_true(tls_info_get(meeting.stream, &info));
	assert_non_null(strstr(info.details, "server-signature ECDSA"));
	part(&meeting);
	meet(&meeting, "smtpd_tls_chain_files = @/rsa.pem, @/ec.pem",
	     "smtp_tls_exclude_ciphers = aECDSA", &tls12_rsa, NULL);
	assert_true(meeting.ok);
	assert_true(tls_info_get(meeting.stream, &info));
	assert_string_equal(info.protocol, "TLSv1.2");
	assert_non_null(strstr(info.details, "server-signature RSA"));
	part(&meeting);
}

static void
names_decide_at_level_secure(void **state)
{
	static const struct {
		const char *name;
		bool        is_match;
	} cases[] = {
		{ "mx.example.org", true },   { "MX.Example.ORG", true },
		{ ".example.org", true },     { "example.org", false },
		{ "a.wild.test", true },      { "a.b.wild.test", false },
		{ "wild.test", false },       { "127.0.0.1", true },
		{ "[127.0.0.1]", true },      { "127.0.0.2", false },
		{ "xmx.example.org", false }, { "mx.example.org.evil.test", false },
		{ ".mx.example.org", false }, { "", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct slice      name = slice_from(cases[i].name);
		struct tls_policy policy = { .level = TLS_SECURE, .names = &name, .name_count = 1 };
		struct meeting    meeting;
		struct tls_info   info;

		meet(&meeting, "smtpd_tls_chain_files = @/ec.pem", "smtp_tls_CAfile = @/ca.pem",
		     &policy, NULL);
		if (meeting.ok != cases[i].is_match)
			fail_msg("%s: %s", cases[i].name, meeting.error.text);
		if (meeting.ok) {
			assert_true(tls_info_get(meeting.stream, &info));
			assert_true(info.is_trusted);
			assert_true(info.is_verified);
		} else {
			assert_string_equal(meeting.error.text, "Server certificate not verified: "
			                                        "it bears none of the names "
			                                        "expected");
		}
		part(&meeting);
	}
}

static void
strangers_are_not_trusted(void **state)
{
	struct slice      name = SLICE("mx.example.org");
	struct tls_policy policy = { .level = TLS_VERIFY, .names = &name, .name_count = 1 };
	struct meeting    meeting;

	(void)state;
	meet(&meeting, "smtpd_tls_chain_files = @/stranger.pem", "smtp_tls_CAfile = @/ca.pem",
	     &policy, NULL);
	assert_false(meeting.ok);
	assert_string_equal(meeting.error.text,
	                    "Server certificate not trusted: self-signed certificate");
	part(&meeting);
	/* without any authority nobody is trusted */
	meet(&meeting, "smtpd_tls_chain_files = @/ec.pem", "", &policy, NULL);
	assert_false(meeting.ok);
	part(&meeting);
}

static void
authorities_come_from_a_directory(void **state)
{
	struct slice      name = SLICE("mx.example.org");
	struct tls_policy policy = { .level = TLS_VERIFY, .names = &name, .name_count = 1 };
	struct meeting    meeting;

	(void)state;
	meet(&meeting, "smtpd_tls_chain_files = @/ec.pem", "smtp_tls_CApath = @", &policy, NULL);
	if (!meeting.ok)
		fail_msg("%s", meeting.error.text);
	part(&meeting);
}

static void
fingerprint_of_the_certificate_is_enough(void **state)
{
	struct slice      wrong = SLICE("00:11"), name;
	struct tls_policy policy = { .level = TLS_FINGERPRINT, .names = &wrong, .name_count = 1 };
	struct meeting    meeting;
	char              path[200], hex[3 * 32 + 1];
	unsigned char     digest[32];
	unsigned          length;
	FILE             *file;
	X509             *certificate;

	(void)state;
	meet(&meeting, "smtpd_tls_chain_files = @/ec.pem", "", &policy, NULL);
	assert_false(meeting.ok);
	part(&meeting);
	snprintf(path, sizeof(path), "%s/ec.pem", directory);
	file = fopen(path, "re");
	certificate = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	X509_digest(certificate, EVP_sha256(), digest, &length);
	X509_free(certificate);
	for (unsigned i = 0; i < length; i++)
		snprintf(hex + 3 * i, 4, "%02X:", digest[i]);
	name = slice_of(hex, 3 * 32 - 1);
	policy.names = &name;
	meet(&meeting, "smtpd_tls_chain_files = @/ec.pem", "", &policy, NULL);
	if (!meeting.ok)
		fail_msg("%s", meeting.error.text);
	part(&meeting);
}

static void
plain_text_before_the_handshake_is_dropped(void **state)
{
	struct meeting meeting;

	(void)state;
	meet(&meeting, "smtpd_tls_chain_files = @/ec.pem", "", &may, "MAIL FROM:<evil@test>\r\n");
	if (!meeting.ok)
		fail_msg("%s", meeting.error.text);
	expect_echo(&meeting); /* not the injected line */
	part(&meeting);
}

static void
plain_text_in_the_handshake_breaks_it(void **state)
{
	struct snapshot   *snapshot = settings("smtpd_tls_security_level = may\n"
	                                         "smtpd_tls_chain_files = @/ec.pem\n");
	struct error       error = ERROR_NONE;
	struct tls_server *server = tls_server_create(snapshot_parameters(snapshot), &error);
	struct stream     *stream;
	short              wants;
	int                pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	stream = stream_from_socket(pair[0]);
	assert_int_equal(write(pair[1], "EHLO injected\r\n", 15), 15);
	assert_true(tls_server_start(server, stream, &error));
	assert_false(tls_is_active(stream));
	assert_int_equal(tls_handshake(stream, &wants, &error), STREAM_ERROR);
	assert_string_equal(error.text, "TLS handshake: wrong version number");
	assert_int_equal(tls_handshake(stream, &wants, &error), STREAM_ERROR);
	assert_int_equal(stream_fill_now(stream), STREAM_ERROR);
	stream_destroy(&stream);
	close(pair[1]);
	tls_server_destroy(&server);
	snapshot_destroy(&snapshot);
}

static void
truncation_is_an_end(void **state)
{
	struct meeting meeting;
	struct slice   line;
	size_t         ending;

	(void)state;
	meet(&meeting, "smtpd_tls_chain_files = @/ec.pem", "", &may, NULL);
	meeting.echo.closes_rudely = true;
	assert_true(meeting.ok);
	expect_echo(&meeting);
	if (stream_read_line(meeting.stream, &line, &ending) != STREAM_EOF)
		fail_msg("%s", stream_error(meeting.stream));
	part(&meeting);
}

static void
old_protocols_are_refused_when_excluded(void **state)
{
	struct tls_policy tls12 = { .level = TLS_MAY, .protocols = "<=TLSv1.2" };
	struct meeting    meeting;

	(void)state;
	meet(&meeting, "smtpd_tls_chain_files = @/ec.pem\nsmtpd_tls_protocols = >=TLSv1.3", "",
	     &tls12, NULL);
	assert_false(meeting.ok);
	part(&meeting);
	assert_false(meeting.echo.ok);
	assert_string_equal(meeting.echo.error.text, "TLS handshake: unsupported protocol");
}

static void
channel_binding_is_equal_on_both_sides(void **state)
{
	struct meeting meeting;
	struct buf     binding = BUF(100);

	(void)state;
	meet(&meeting, "smtpd_tls_chain_files = @/ec.pem", "", &may, NULL);
	assert_true(meeting.ok);
	expect_echo(&meeting);
	assert_true(tls_channel_binding(meeting.stream, &binding));
	assert_int_equal(binding.length, 32);
	join(&meeting);
	assert_true(slice_equal(buf_slice(&binding), buf_slice(&meeting.echo.binding)));

	part(&meeting);
	buf_free(&binding);
}

static void
dane_is_never_downgraded(void **state)
{
	struct tls_policy dane = { .level = TLS_DANE };
	struct meeting    meeting;

	(void)state;
	meet(&meeting, "smtpd_tls_chain_files = @/ec.pem", "", &dane, NULL);
	assert_false(meeting.ok);
	part(&meeting);
}

static void
configuration_errors_name_file_and_reason(void **state)
{
	static const struct {
		const char *settings;
		const char *error; /* @ = the directory; a prefix of the message */
	} cases[] = {
		{ "", "TLS is switched on" },
		{ "smtpd_tls_chain_files = @/none.pem",
		  "smtpd_tls_chain_files: cannot open @/none.pem: No such file or directory" },
		{ "smtpd_tls_chain_files = @/ca.pem",
		  "smtpd_tls_chain_files: @/ca.pem: a certificate without its private key" },
		{ "smtpd_tls_chain_files = @/other.key",
		  "smtpd_tls_chain_files: @/other.key: a private key without a certificate" },
		{ "smtpd_tls_cert_file = @/rsa.crt\nsmtpd_tls_key_file = @/other.key",
		  "smtpd_tls_cert_file: @/rsa.crt: the private key does not belong to the" },
		{ "smtpd_tls_cert_file = @/rsa.crt",
		  "smtpd_tls_cert_file: @/rsa.crt: no private key in it" },
		{ "smtpd_tls_chain_files = @/ec.pem\nsmtpd_tls_protocols = TLSv9",
		  "smtpd_tls_protocols: unknown TLS protocol \"TLSv9\"" },
		{ "smtpd_tls_chain_files = @/ec.pem\nsmtpd_tls_exclude_ciphers = HIGH, MEDIUM",
		  "no cipher matches" },
		{ "smtpd_tls_chain_files = @/ec.pem\ntls_ssl_options = NO_SUCH",
		  "tls_ssl_options: unknown option \"NO_SUCH\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct snapshot *snapshot =
			settings("smtpd_tls_security_level = may\n%s\n", cases[i].settings);
		struct error       error = ERROR_NONE;
		struct tls_server *server =
			tls_server_create(snapshot_parameters(snapshot), &error);
		char         expected[500] = "";
		struct slice rest = slice_from(cases[i].error), piece;

		while (slice_next_part(&rest, '@', &piece)) {
			snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected),
			         "%.*s", SLICE_ARGS(piece));
			if (rest.length > 0)
				snprintf(expected + strlen(expected),
				         sizeof(expected) - strlen(expected), "%s", directory);
		}
		assert_null(server);
		if (!slice_starts_with(slice_from(error.text), slice_from(expected)))
			fail_msg("expected: %s\ngot: %s", expected, error.text);
		snapshot_destroy(&snapshot);
	}
}

static void
no_level_means_no_server_and_no_error(void **state)
{
	struct snapshot *snapshot = settings("smtpd_tls_chain_files = @/none.pem\n");
	struct error     error = { .text = "left over" };

	(void)state;
	assert_null(tls_server_create(snapshot_parameters(snapshot), &error));
	assert_string_equal(error.text, "");
	snapshot_destroy(&snapshot);
}

static int
set_up(void **state)
{
	(void)state;
	tls_files_make(directory);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	tls_files_remove(directory);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opportunistic_handshake_carries_lines),
		cmocka_unit_test(both_key_types_are_served),
		cmocka_unit_test(names_decide_at_level_secure),
		cmocka_unit_test(strangers_are_not_trusted),
		cmocka_unit_test(authorities_come_from_a_directory),
		cmocka_unit_test(fingerprint_of_the_certificate_is_enough),
		cmocka_unit_test(plain_text_before_the_handshake_is_dropped),
		cmocka_unit_test(plain_text_in_the_handshake_breaks_it),
		cmocka_unit_test(truncation_is_an_end),
		cmocka_unit_test(old_protocols_are_refused_when_excluded),
		cmocka_unit_test(channel_binding_is_equal_on_both_sides),
		cmocka_unit_test(dane_is_never_downgraded),
		cmocka_unit_test(configuration_errors_name_file_and_reason),
		cmocka_unit_test(no_level_means_no_server_and_no_error),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
