/* test_policy.c - policy servers: their settings, requests, answers, and what goes wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/io/endpoint.h"
#include "lib/policy/policy.h"

static const struct policy_settings defaults = {
	.timeout_ms = 2000,
	.max_idle_ms = 60000,
	.max_ttl_ms = 60000,
	.try_limit = 2,
	.retry_delay_ms = 10,
	.default_action = "451 4.3.5 Server configuration problem",
	.context = "",
};

/* A server that answers each request with the next of its answers; "" hangs up instead. */
struct server {
	char               directory[32], path[64];
	int                listener;
	const char *const *answers;
	unsigned           connections;
	char               last[4096]; /* the last request */
	pthread_t          thread;
};

static size_t
read_request(int fd, char *into, size_t size)
{
	size_t length = 0;

	while (length < size - 1 && read(fd, into + length, 1) == 1) {
		length++;
		if (length >= 2 && memcmp(into + length - 2, "\n\n", 2) == 0)
			break;
	}
	into[length] = '\0';
	return length;
}

static void *
server_run(void *argument)
{
	struct server     *server = argument;
	const char *const *answer = server->answers;

	while (*answer != NULL) {
		int fd = accept(server->listener, NULL, NULL);

		server->connections++;
		while (*answer != NULL &&
		       read_request(fd, server->last, sizeof(server->last)) > 0) {
			const char *text = *answer++;

			if (*text == '\0')
				break;
			if (write(fd, text, strlen(text)) < 0)
				break;
		}
		close(fd);
	}
	return NULL;
}

static struct policy_service *
serve(struct server *server, const char *const *answers, const char *more)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct error       error = ERROR_NONE;
	char               spec[300];

	*server = (struct server){ .answers = answers };
	strcpy(server->directory, "/tmp/test-policy-XXXXXX");
	assert_non_null(mkdtemp(server->directory));
	snprintf(server->path, sizeof(server->path), "%s/s", server->directory);
	strcpy(address.sun_path, server->path);
	server->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(server->listener, (void *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server->listener, 5), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
	snprintf(spec, sizeof(spec), "unix:%s%s", server->path, more);
	struct policy_service *service = policy_service_create(slice_from(spec), &defaults, &error);
	assert_string_equal(error.text, "");
	return service;
}

static void
serve_end(struct server *server, struct policy_service **service)
{
	policy_service_destroy(service);
	pthread_join(server->thread, NULL);
	close(server->listener);
	unlink(server->path);
	rmdir(server->directory);
}

static bool
ask(struct policy_service *service, struct buf *action, struct error *error)
{
	*error = (struct error)ERROR_NONE;
	return policy_ask(service, SLICE("request=smtpd_access_policy\nsender=a@b.test\n"), action,
	                  error);
}

static void
one_connection_serves_many_requests(void **state)
{
	static const char *const answers[] = { "action=DUNNO\n\n", "action=REJECT no\n\n", NULL };
	struct server            server;
	struct policy_service   *service = serve(&server, answers, ", policy_context = here");
	struct buf               action = BUF(1000);
	struct error             error;

	(void)state;
	assert_true(ask(service, &action, &error));
	assert_string_equal(buf_text(&action), "DUNNO");
	assert_true(ask(service, &action, &error));
	assert_string_equal(buf_text(&action), "REJECT no");
	serve_end(&server, &service);
	assert_int_equal(server.connections, 1);
	assert_string_equal(server.last, "request=smtpd_access_policy\nsender=a@b.test\n"
	                                 "policy_context=here\n\n");
	buf_free(&action);
}

static void
unknown_lines_are_ignored_and_the_line_end_may_be_crlf(void **state)
{
	static const char *const answers[] = { "note=x\r\naction=defer_if_permit wait \r\n\r\n",
		                               NULL };
	struct server            server;
	struct policy_service   *service = serve(&server, answers, "");
	struct buf               action = BUF(1000);
	struct error             error;

	(void)state;
	assert_true(ask(service, &action, &error));
	assert_string_equal(buf_text(&action), "defer_if_permit wait");
	serve_end(&server, &service);
	buf_free(&action);
}

static void
a_server_that_hangs_up_is_asked_again(void **state)
{
	static const char *const answers[] = { "", "action=OK\n\n", NULL };
	struct server            server;
	struct policy_service   *service = serve(&server, answers, "");
	struct buf               action = BUF(1000);
	struct error             error;

	(void)state;
	assert_true(ask(service, &action, &error));
	assert_string_equal(buf_text(&action), "OK");
	serve_end(&server, &service);
	assert_int_equal(server.connections, 2);
	buf_free(&action);
}

static void
nonsense_and_silence_end_in_the_default_action(void **state)
{
	static const char *const answers[] = { "nonsense\n\n", "\n", NULL };
	struct server            server;
	struct policy_service   *service =
		serve(&server, answers, ", timeout = 1, default_action = DUNNO");
	struct buf   action = BUF(1000);
	struct error error;

	(void)state;
	assert_false(ask(service, &action, &error));
	assert_string_equal(buf_text(&action), "DUNNO");
	assert_non_null(strstr(error.text, "an answer without action="));
	serve_end(&server, &service);
	buf_free(&action);
}

static void
a_server_that_is_not_there_ends_in_the_default_action_soon(void **state)
{
	struct error           error = ERROR_NONE;
	struct policy_service *service =
		policy_service_create(SLICE("unix:/nonexistent/socket"), &defaults, &error);
	struct buf action = BUF(1000);
	int64_t    begin_ms = clock_monotonic_ms();

	(void)state;
	assert_non_null(service);
	assert_false(ask(service, &action, &error));
	assert_string_equal(buf_text(&action), "451 4.3.5 Server configuration problem");
	assert_non_null(strstr(error.text, "/nonexistent/socket"));
	assert_in_range(clock_monotonic_ms() - begin_ms, 0, 1000);
	policy_service_destroy(&service);
	buf_free(&action);
}

static void
request_limit_and_try_limit_are_kept(void **state)
{
	static const char *const answers[] = { "action=A\n\n", "action=B\n\n", "", NULL };
	struct server            server;
	struct policy_service   *service =
		serve(&server, answers, ", request_limit = 1, try_limit = 1");
	struct buf   action = BUF(1000);
	struct error error;

	(void)state;
	assert_true(ask(service, &action, &error));
	assert_true(ask(service, &action, &error));
	assert_false(ask(service, &action, &error));
	serve_end(&server, &service);
	assert_int_equal(server.connections, 3);
	buf_free(&action);
}

static void
a_value_cannot_bring_an_attribute_of_its_own(void **state)
{
	struct buf request = BUF(1000);

	(void)state;
	assert_true(policy_append(&request, "helo_name", SLICE("a\naction=OK")));
	assert_string_equal(buf_text(&request), "helo_name=a\n");
	buf_free(&request);
}

static void
places_of_servers_are_read(void **state)
{
	static const struct {
		const char *text;
		bool        is_good, is_unix;
	} cases[] = {
		{ "unix:private/policy", true, true },
		{ "inet:127.0.0.1:10023", true, false },
		{ "inet:[::1]:10023", true, false },
		{ "inet:localhost:10023", true, false },
		{ "inet:10023", true, false },
		{ "127.0.0.1:10023", true, false },
		{ "inet:127.0.0.1:", false, false },
		{ "inet:127.0.0.1:99999", false, false },
		{ "inet:127.0.0.1", false, false },
		{ "unix:", false, false },
		{ "", false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct endpoint endpoint = { 0 };
		struct error    error = ERROR_NONE;

		assert_int_equal(endpoint_parse(&endpoint, slice_from(cases[i].text), &error),
		                 cases[i].is_good);
		if (cases[i].is_good)
			assert_int_equal(endpoint.is_unix, cases[i].is_unix);
		else
			assert_true(error.text[0] != '\0');
	}
}

static void
settings_that_are_wrong_are_named(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
		{ "inet:127.0.0.1:1, timeot = 3", "timeot" },
		{ "inet:127.0.0.1:1, timeout = soon", "timeout" },
		{ "inet:127.0.0.1:1, timeout", "name = value" },
		{ "{ inet:127.0.0.1:1, { default_action = DUNNO }, bad }", "bad" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error error = ERROR_NONE;

		assert_null(policy_service_create(slice_from(cases[i].text), &defaults, &error));
		assert_non_null(strstr(error.text, cases[i].said));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_connection_serves_many_requests),
		cmocka_unit_test(unknown_lines_are_ignored_and_the_line_end_may_be_crlf),
		cmocka_unit_test(a_server_that_hangs_up_is_asked_again),
		cmocka_unit_test(nonsense_and_silence_end_in_the_default_action),
		cmocka_unit_test(a_server_that_is_not_there_ends_in_the_default_action_soon),
		cmocka_unit_test(request_limit_and_try_limit_are_kept),
		cmocka_unit_test(a_value_cannot_bring_an_attribute_of_its_own),
		cmocka_unit_test(places_of_servers_are_read),
		cmocka_unit_test(settings_that_are_wrong_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
