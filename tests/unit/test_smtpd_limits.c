/* test_smtpd_limits.c - counts of clients: windows, prefixes, many clients, many threads. */
/* links: smtpd/limits.c */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "lib/base/mutex.h"
#include "smtpd/limits.h"

static const struct parameters standard = {
	.anvil_rate_time_unit = 60,
	.smtpd_client_ipv4_prefix_length = 32,
	.smtpd_client_ipv6_prefix_length = 84,
};

static struct sockaddr_storage
address(const char *text)
{
	struct sockaddr_storage made = { .ss_family = AF_INET };
	struct sockaddr_in     *in = (void *)&made;
	struct sockaddr_in6    *in6 = (void *)&made;

	if (inet_pton(AF_INET, text, &in->sin_addr) != 1) {
		made.ss_family = AF_INET6;
		assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
	}
	return made;
}

static size_t
connect_from(struct limits *limits, const char *text, struct limit_client **client)
{
	struct sockaddr_storage from = address(text);
	size_t                  count = 0;

	*client = limits_connect(limits, &from, 0, &count);
	assert_non_null(*client);
	return count;
}

static void
connections_are_counted_by_client(void **state)
{
	struct limits       *limits = limits_create(&standard);
	struct limit_client *a, *b, *c;
	(void)state;

	assert_int_equal(connect_from(limits, "192.0.2.1", &a), 1);
	assert_int_equal(connect_from(limits, "192.0.2.1", &b), 2);
	assert_int_equal(connect_from(limits, "192.0.2.2", &c), 1);
	assert_int_equal(limits_sessions(limits), 3);
	limits_disconnect(limits, &a, 0);
	assert_null(a);
	limits_disconnect(limits, &b, 0);
	limits_disconnect(limits, &c, 0);
	assert_int_equal(limits_sessions(limits), 0);
	assert_int_equal(connect_from(limits, "192.0.2.1", &a), 1);
	limits_disconnect(limits, &a, 0);
	limits_destroy(&limits);
}

static void
ipv6_clients_are_networks(void **state)
{
	struct limits       *limits = limits_create(&standard);
	struct limit_client *a, *b, *c, *d;
	(void)state;

	connect_from(limits, "2001:db8::1", &a);
	assert_int_equal(connect_from(limits, "2001:db8::fff:ffff:ffff", &b), 2);
	assert_int_equal(connect_from(limits, "2001:db8:0:0:0:1000::1", &c), 1);
	assert_int_equal(connect_from(limits, "::ffff:192.0.2.1", &d), 1);
	limits_disconnect(limits, &d, 0);
	assert_int_equal(connect_from(limits, "192.0.2.1", &d), 1);
	limits_disconnect(limits, &a, 0);
	limits_disconnect(limits, &b, 0);
	limits_disconnect(limits, &c, 0);
	limits_disconnect(limits, &d, 0);
	limits_destroy(&limits);
}

static void
rates_outlive_sessions_and_end_with_the_window(void **state)
{
	struct limits       *limits = limits_create(&standard);
	struct limit_client *a;
	(void)state;

	connect_from(limits, "192.0.2.1", &a);
	assert_int_equal(limits_count(limits, a, LIMIT_MESSAGES, 1000), 1);
	assert_int_equal(limits_count(limits, a, LIMIT_MESSAGES, 1000), 2);
	assert_int_equal(limits_count(limits, a, LIMIT_AUTH, 1000), 1);
	limits_disconnect(limits, &a, 1000);
	connect_from(limits, "192.0.2.1", &a);
	assert_int_equal(limits_count(limits, a, LIMIT_MESSAGES, 59999), 3);
	assert_int_equal(limits_count(limits, a, LIMIT_MESSAGES, 60000), 1);
	limits_disconnect(limits, &a, 0);
	limits_destroy(&limits);
}

static void
many_clients_are_forgotten_oldest_first(void **state)
{
	struct limits       *limits = limits_create(&standard);
	struct limit_client *a;
	char                 text[40];
	(void)state;

	connect_from(limits, "192.0.2.1", &a);
	limits_count(limits, a, LIMIT_MESSAGES, 0);
	limits_disconnect(limits, &a, 0);
	for (int i = 0; i < 10001; i++) {
		snprintf(text, sizeof(text), "10.0.%d.%d", i / 256, i % 256);
		connect_from(limits, text, &a);
		limits_disconnect(limits, &a, 0);
	}
	connect_from(limits, "192.0.2.1", &a);
	assert_int_equal(limits_count(limits, a, LIMIT_MESSAGES, 0), 1);
	limits_disconnect(limits, &a, 0);
	limits_destroy(&limits);
}

static void *
come_and_go(void *argument)
{
	struct limits *limits = argument;

	for (int i = 0; i < 2000; i++) {
		struct limit_client    *client;
		struct sockaddr_storage from = { .ss_family = AF_INET };
		size_t                  count;

		((struct sockaddr_in *)(void *)&from)->sin_addr.s_addr = htonl((uint32_t)(i % 7));
		client = limits_connect(limits, &from, 0, &count);
		limits_count(limits, client, LIMIT_RECIPIENTS, i);
		limits_disconnect(limits, &client, 0);
	}
	return NULL;
}

static void
threads_share_the_counts(void **state)
{
	struct limits *limits = limits_create(&standard);
	pthread_t      threads[4];
	(void)state;

	for (int i = 0; i < 4; i++)
		assert_int_equal(thread_start(&threads[i], come_and_go, limits), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(limits_sessions(limits), 0);
	limits_destroy(&limits);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections_are_counted_by_client),
		cmocka_unit_test(ipv6_clients_are_networks),
		cmocka_unit_test(rates_outlive_sessions_and_end_with_the_window),
		cmocka_unit_test(many_clients_are_forgotten_oldest_first),
		cmocka_unit_test(threads_share_the_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
