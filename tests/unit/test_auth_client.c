/* The client of authd, against an authd that does what a script says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mutex.h"
#include "lib/ipc/channel.h"
#include "lib/sasl/auth.h"

/* What the scripted authd does with the messages that come, one letter each. */
struct server {
	char        path[100];
	int         listener;
	const char *script;
	pthread_t   thread;
	char        seen[400]; /* what came */
	unsigned    connections;
};

static void
note(struct server *server, const char *what, struct slice text)
{
	size_t used = strlen(server->seen);

	snprintf(server->seen + used, sizeof(server->seen) - used, "%s(%.*s) ", what,
	         SLICE_ARGS(text));
}

static void
note_frame(struct server *server, struct ipc_frame *frame)
{
	struct msg_auth_mechanisms mechanisms;
	struct msg_auth_start      start;
	struct msg_auth_response   response;

	if (msg_auth_mechanisms_decode(frame, &mechanisms))
		note(server, "list", mechanisms.service);
	else if (msg_auth_start_decode(frame, &start))
		note(server, "start", start.has_initial ? start.initial : start.mechanism);
	else if (msg_auth_response_decode(frame, &response))
		note(server, "response", response.response);
	else
		note(server, msg_name(frame->type), SLICE_EMPTY);
}

static void
answer(struct ipc_channel *channel, char what)
{
	struct msg_auth_done           done = msg_auth_done_clear();
	struct msg_auth_challenge      challenge = msg_auth_challenge_clear();
	struct msg_auth_mechanism_list list = msg_auth_mechanism_list_clear();
	int64_t                        deadline_ms = clock_monotonic_ms() + 2000;

	done.user = SLICE("alice@example.org");
	switch (what) {
	case 'c':
		challenge.challenge = SLICE("more");
		assert_int_equal(ipc_send(channel, auth_challenge, &challenge, deadline_ms), 0);
		break;
	case 'm': /* success with a mailbox */
		done.mailbox = open("/dev/null", O_RDONLY | O_CLOEXEC);
		/* fall through */
	case 'o': assert_int_equal(ipc_send(channel, auth_done, &done, deadline_ms), 0); break;
	case 'f':
		done.status = AUTH_FAILED;
		done.reason = SLICE("authentication\nfailure");
		done.delay_ms = 1500;
		assert_int_equal(ipc_send(channel, auth_done, &done, deadline_ms), 0);
		break;
	case '9': /* a status from another version */
		done.status = 99;
		assert_int_equal(ipc_send(channel, auth_done, &done, deadline_ms), 0);
		break;
	case 'l':
		list.names = SLICE("SCRAM-SHA-256 PLAIN");
		assert_int_equal(ipc_send(channel, auth_mechanism_list, &list, deadline_ms), 0);
		break;
	}
	if (done.mailbox >= 0)
		close(done.mailbox);
}

/* 'x' closes the channel instead of answering; '-' takes a message without an answer. */
static void *
serve(void *argument)
{
	struct server *server = argument;
	const char    *script = server->script;

	while (*script != '\0') {
		struct ipc_channel channel;
		struct ipc_frame   frame;
		int                fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);

		assert_true(fd >= 0);
		server->connections++;
		ipc_channel_init(&channel, fd);
		while (*script != '\0' &&
		       ipc_receive(&channel, clock_monotonic_ms() + 2000, &frame) == IPC_OK) {
			note_frame(server, &frame);
			if (*script == 'x') {
				script++;
				break;
			}
			answer(&channel, *script++);
		}
		ipc_channel_close(&channel);
	}
	return NULL;
}

static void
server_start(struct server *server, const char *script)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	*server = (struct server){ .script = script };
	snprintf(server->path, sizeof(server->path), "/tmp/dakiya-test-auth-%d", (int)getpid());
	unlink(server->path);
	memcpy(address.sun_path, server->path, strlen(server->path) + 1);
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server->listener, 10), 0);
	assert_int_equal(thread_start(&server->thread, serve, server), 0);
}

static void
server_stop(struct server *server)
{
	pthread_join(server->thread, NULL);
	close(server->listener);
	unlink(server->path);
}

static const struct auth_request plain = { .service = "smtp",
	                                   .mechanism = { "PLAIN", 5 },
	                                   .has_initial = true,
	                                   .initial = { "secret", 6 } };
static const struct auth_request login = { .service = "smtp", .mechanism = { "LOGIN", 5 } };

static void
one_step_login_succeeds(void **state)
{
	struct server       server;
	struct auth_outcome outcome;

	(void)state;
	server_start(&server, "o");
	struct auth_client *client = auth_client_create(server.path);
	auth_outcome_init(&outcome);
	struct auth_exchange *exchange = auth_start(client, &plain, &outcome);
	assert_int_equal(outcome.status, AUTH_OK);
	assert_string_equal(outcome.user, "alice@example.org");
	assert_int_equal(outcome.mailbox_fd, -1);
	auth_end(&exchange);
	auth_outcome_free(&outcome);
	auth_client_destroy(&client);
	server_stop(&server);
	assert_string_equal(server.seen, "start(secret) ");
}

static void
challenges_are_passed_on_and_the_channel_is_kept(void **state)
{
	struct server       server;
	struct auth_outcome outcome;

	(void)state;
	server_start(&server, "ccfom");
	struct auth_client *client = auth_client_create(server.path);
	auth_outcome_init(&outcome);
	struct auth_exchange *exchange = auth_start(client, &login, &outcome);
	assert_int_equal(outcome.status, AUTH_CONTINUE);
	assert_string_equal(buf_text(&outcome.challenge), "more");
	auth_respond(exchange, SLICE("alice"), &outcome);
	assert_int_equal(outcome.status, AUTH_CONTINUE);
	auth_respond(exchange, SLICE("pw"), &outcome);
	assert_int_equal(outcome.status, AUTH_FAILED);
	assert_string_equal(outcome.reason, "authentication?failure");
	assert_int_equal(outcome.delay_ms, 1500);
	/* It is over: nothing more is sent. */
	auth_respond(exchange, SLICE("again"), &outcome);
	assert_int_equal(outcome.status, AUTH_TRY_LATER);
	auth_end(&exchange);
	exchange = auth_start(client, &plain, &outcome);
	assert_int_equal(outcome.status, AUTH_OK);
	auth_end(&exchange);
	exchange = auth_start(client, &plain, &outcome);
	assert_true(outcome.mailbox_fd >= 0);
	auth_end(&exchange);
	auth_outcome_free(&outcome);
	auth_client_destroy(&client);
	server_stop(&server);
	assert_string_equal(server.seen, "start(LOGIN) response(alice) response(pw) start(secret) "
	                                 "start(secret) ");
	assert_int_equal(server.connections, 1);
}

static void
restarted_authd_is_found_again(void **state)
{
	struct server       server;
	struct auth_outcome outcome;

	(void)state;
	server_start(&server, "oxo");
	struct auth_client *client = auth_client_create(server.path);
	auth_outcome_init(&outcome);
	for (int i = 0; i < 2; i++) {
		struct auth_exchange *exchange = auth_start(client, &plain, &outcome);

		assert_int_equal(outcome.status, AUTH_OK);
		auth_end(&exchange);
	}
	auth_outcome_free(&outcome);
	auth_client_destroy(&client);
	server_stop(&server);
	assert_int_equal(server.connections, 2);
}

static void
authd_that_dies_in_an_exchange_is_try_later(void **state)
{
	struct server       server;
	struct auth_outcome outcome;

	(void)state;
	server_start(&server, "cx");
	struct auth_client *client = auth_client_create(server.path);
	auth_outcome_init(&outcome);
	struct auth_exchange *exchange = auth_start(client, &login, &outcome);
	auth_respond(exchange, SLICE("alice"), &outcome);
	assert_int_equal(outcome.status, AUTH_TRY_LATER);
	auth_end(&exchange);
	server_stop(&server);
	/* Nobody listens at all. */
	exchange = auth_start(client, &login, &outcome);
	assert_int_equal(outcome.status, AUTH_TRY_LATER);
	assert_non_null(strstr(outcome.reason, server.path));
	auth_end(&exchange);
	auth_outcome_free(&outcome);
	auth_client_destroy(&client);
}

static void
status_of_another_version_is_no_success(void **state)
{
	struct server       server;
	struct auth_outcome outcome;

	(void)state;
	server_start(&server, "9");
	struct auth_client *client = auth_client_create(server.path);
	auth_outcome_init(&outcome);
	struct auth_exchange *exchange = auth_start(client, &plain, &outcome);
	assert_int_equal(outcome.status, AUTH_TRY_LATER);
	auth_end(&exchange);
	auth_outcome_free(&outcome);
	auth_client_destroy(&client);
	server_stop(&server);
}

static void
abandoned_exchange_is_cancelled(void **state)
{
	struct server       server;
	struct auth_outcome outcome;

	(void)state;
	server_start(&server, "c-o");
	struct auth_client *client = auth_client_create(server.path);
	auth_outcome_init(&outcome);
	struct auth_exchange *exchange = auth_start(client, &login, &outcome);
	auth_end(&exchange);
	exchange = auth_start(client, &plain, &outcome);
	assert_int_equal(outcome.status, AUTH_OK);
	auth_end(&exchange);
	auth_outcome_free(&outcome);
	auth_client_destroy(&client);
	server_stop(&server);
	assert_string_equal(server.seen, "start(LOGIN) auth_cancel() start(secret) ");
}

static void
mechanism_list_is_asked_once(void **state)
{
	struct server server;
	struct buf    names = BUF(1000);

	(void)state;
	server_start(&server, "l");
	struct auth_client *client = auth_client_create(server.path);
	for (int i = 0; i < 3; i++) {
		assert_true(auth_mechanisms(client, "pop3", true, &names));
		assert_string_equal(buf_text(&names), "SCRAM-SHA-256 PLAIN");
	}
	server_stop(&server);
	assert_string_equal(server.seen, "list(pop3) ");
	/* Another question cannot be answered by the first one's answer. */
	assert_false(auth_mechanisms(client, "pop3", false, &names));
	buf_free(&names);
	auth_client_destroy(&client);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_step_login_succeeds),
		cmocka_unit_test(challenges_are_passed_on_and_the_channel_is_kept),
		cmocka_unit_test(restarted_authd_is_found_again),
		cmocka_unit_test(authd_that_dies_in_an_exchange_is_try_later),
		cmocka_unit_test(status_of_another_version_is_no_success),
		cmocka_unit_test(abandoned_exchange_is_cancelled),
		cmocka_unit_test(mechanism_list_is_asked_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
