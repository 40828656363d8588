/* test_resolver_service.c - lib/dns asking the resolver's loop, which answers from local data. */
/* links: resolver/service.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/mutex.h"
#include "lib/conf/snapshot.h"
#include "lib/dns/dns.h"
#include "lib/ipc/channel.h"
#include "resolver/service.h"
#include "lib/dns/unbound.h"

static const char settings_text[] =
	"resolver_dnssec = no\n"
	"resolver_forwarders = 127.0.0.1@9\n"
	"resolver_timeout = 2s\n"
	"resolver_local_data = { example.test. 60 IN MX 20 b.example.test. },"
	" { example.test. 60 IN MX 10 A.Example.test. }, { a.example.test. A 192.0.2.1 },"
	" { a.example.test AAAA 2001:db8::1 }, { null.test. MX 0 . },"
	" { txt.example.test. TXT \"v=spf1 ip4:192.0.2.0/24,\" \" -all\" },"
	" { 1.2.0.192.in-addr.arpa. PTR a.example.test. },"
	" { 2.2.0.192.in-addr.arpa. PTR a.example.test. },"
	" { _25._tcp.a.example.test. TLSA 3 1 1 "
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef }\n";

struct fixture {
	char               path[64];
	int                stop[2];
	int                listener;
	struct snapshot   *snapshot;
	struct ub_ctx     *unbound;
	pthread_t          thread;
	struct dns_client *client;
	struct arena       arena;
};

static void *
serve(void *argument)
{
	struct fixture         *f = argument;
	struct service_settings settings = { .unbound = f->unbound,
		                             .listeners = &f->listener,
		                             .listener_count = 1,
		                             .stop_fd = f->stop[0],
		                             .timeout_ms = 2000,
		                             .queries_limit = 100,
		                             .client_limit = 10 };

	return service_run(&settings) == 0 ? NULL : f;
}

static int
set_up(void **state)
{
	static struct fixture f;
	struct sockaddr_un    address = { .sun_family = AF_UNIX };
	struct error          error = ERROR_NONE;

	f = (struct fixture){ .arena = ARENA(0) };
	snprintf(f.path, sizeof(f.path), "/tmp/dakiya-test-resolver-%d", (int)getpid());
	memcpy(address.sun_path, f.path, strlen(f.path));
	unlink(f.path);
	f.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(f.listener, 10), 0);
	assert_int_equal(pipe(f.stop), 0);
	f.snapshot = snapshot_from_text(settings_text, &error);
	if (f.snapshot == NULL)
		fail_msg("%s", error.text);
	f.unbound = unbound_create(snapshot_parameters(f.snapshot), &error);
	if (f.unbound == NULL)
		fail_msg("%s", error.text);
	assert_int_equal(thread_start(&f.thread, serve, &f), 0);
	f.client = dns_client_create(f.path);
	*state = &f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;
	void           *failed;

	close(f->stop[1]);
	pthread_join(f->thread, &failed);
	dns_client_destroy(&f->client);
	ub_ctx_delete(f->unbound);
	snapshot_destroy(&f->snapshot);
	arena_reset(&f->arena);
	close(f->listener);
	close(f->stop[0]);
	unlink(f->path);
	return failed == NULL ? 0 : -1;
}

static enum dns_status
ask(struct fixture *f, const char *name, enum dns_type type, struct dns_answer *answer)
{
	struct error error = ERROR_NONE;

	return dns_query(f->client, slice_from(name), type, 3000, &f->arena, answer, &error);
}

static void
assert_slice(struct slice got, struct slice wanted)
{
	assert_int_equal(got.length, wanted.length);
	assert_memory_equal(got.data, wanted.data, wanted.length);
}

static void
mx_hosts_come_sorted_and_in_lower_case(void **state)
{
	struct dns_answer answer;

	assert_int_equal(ask(*state, "Example.TEST.", DNS_MX, &answer), DNS_FOUND);
	assert_int_equal(answer.count, 2);
	assert_int_equal(answer.records[0].preference, 10);
	assert_slice(answer.records[0].target, SLICE("a.example.test"));
	assert_int_equal(answer.records[1].preference, 20);
	assert_slice(answer.records[1].target, SLICE("b.example.test"));
	assert_in_range(answer.ttl_s, 1, 60);
	assert_false(answer.is_secure);
	/* Again: from the process's own cache, equal. */
	assert_int_equal(ask(*state, "example.test", DNS_MX, &answer), DNS_FOUND);
	assert_int_equal(answer.count, 2);
	assert_slice(answer.records[0].target, SLICE("a.example.test"));
}

static void
null_mx_has_an_empty_target(void **state)
{
	struct dns_answer answer;

	assert_int_equal(ask(*state, "null.test", DNS_MX, &answer), DNS_FOUND);
	assert_int_equal(answer.count, 1);
	assert_slice(answer.records[0].target, SLICE(""));
}

static void
addresses_txt_and_tlsa_are_bytes(void **state)
{
	struct dns_answer answer;

	assert_int_equal(ask(*state, "a.example.test", DNS_A, &answer), DNS_FOUND);
	assert_slice(answer.records[0].data, SLICE("\xc0\x00\x02\x01"));
	assert_int_equal(ask(*state, "a.example.test", DNS_AAAA, &answer), DNS_FOUND);
	assert_int_equal(answer.records[0].data.length, 16);
	assert_int_equal(ask(*state, "txt.example.test", DNS_TXT, &answer), DNS_FOUND);
	assert_slice(answer.records[0].data, SLICE("v=spf1 ip4:192.0.2.0/24, -all"));
	assert_int_equal(ask(*state, "_25._tcp.a.example.test", DNS_TLSA, &answer), DNS_FOUND);
	assert_int_equal(answer.records[0].data.length, 35);
}

static void
absent_name_absent_type_and_dead_server_are_three_answers(void **state)
{
	struct dns_answer answer;
	struct error      error = ERROR_NONE;
	struct fixture   *f = *state;

	assert_int_equal(ask(f, "nobody.test", DNS_MX, &answer), DNS_NO_NAME);
	assert_int_equal(ask(f, "a.example.test", DNS_MX, &answer), DNS_NO_DATA);
	assert_int_equal(
		dns_query(f->client, SLICE("example.org"), DNS_MX, 500, &f->arena, &answer, &error),
		DNS_TRY_LATER);
	assert_non_null(strstr(error.text, "Name service error for name=example.org type=MX: Host "
	                                   "not found, try again"));
}

static void
client_name_is_confirmed_only_when_it_leads_back(void **state)
{
	struct fixture *f = *state;
	struct slice    name, unconfirmed;
	struct error    error = ERROR_NONE;

	assert_int_equal(dns_confirm_client(f->client, SLICE("192.0.2.1"), 3000, &f->arena, &name,
	                                    &unconfirmed, &error),
	                 DNS_FOUND);
	assert_slice(name, SLICE("a.example.test"));
	assert_int_equal(dns_confirm_client(f->client, SLICE("192.0.2.2"), 3000, &f->arena, &name,
	                                    &unconfirmed, &error),
	                 DNS_NO_NAME);
	assert_slice(unconfirmed, SLICE("a.example.test"));
	assert_string_equal(error.text,
	                    "hostname a.example.test does not resolve to address 192.0.2.2");
}

static void
nonsense_on_a_channel_ends_only_that_channel(void **state)
{
	struct fixture       *f = *state;
	struct ipc_channel    channel;
	struct ipc_frame      frame;
	struct dns_answer     answer;
	struct msg_dns_answer wrong = msg_dns_answer_clear();
	int64_t               deadline_ms = 0;

	assert_true(ipc_channel_connect(&channel, f->path, NULL));
	deadline_ms = INT64_MAX / 2;
	assert_int_equal(ipc_send(&channel, dns_answer, &wrong, deadline_ms), IPC_OK);
	assert_int_equal(ipc_receive(&channel, deadline_ms, &frame), IPC_CLOSED);
	ipc_channel_close(&channel);
	assert_int_equal(ask(f, "null.test", DNS_MX, &answer), DNS_FOUND);
}

static void
many_questions_share_one_channel_and_keep_their_ids(void **state)
{
	struct fixture    *f = *state;
	struct ipc_channel channel;
	struct ipc_frame   frame;
	bool               seen[500] = { false };
	int64_t            deadline_ms = INT64_MAX / 2;

	assert_true(ipc_channel_connect(&channel, f->path, NULL));
	for (uint64_t i = 0; i < 500; i++) {
		struct msg_dns_query query = { i, SLICE("a.example.test"), DNS_A, 2000 };

		assert_true(ipc_queue(&channel, dns_query, &query));
	}
	assert_int_equal(ipc_flush(&channel), IPC_OK);
	for (size_t i = 0; i < 500; i++) {
		struct msg_dns_answer answer;

		assert_int_equal(ipc_receive(&channel, deadline_ms, &frame), IPC_OK);
		assert_true(msg_dns_answer_decode(&frame, &answer));
		assert_int_equal(answer.status, DNS_FOUND);
		assert_true(answer.id < 500);
		assert_false(seen[answer.id]);
		seen[answer.id] = true;
	}
	ipc_channel_close(&channel);
}

static void
bad_settings_name_their_parameter(void **state)
{
	static const char *const rows[][2] = {
		{ "resolver_forwarders = dns.example.org\n", "resolver_forwarders: " },
		{ "resolver_stub_zones = { example.test }\n", "resolver_stub_zones: " },
		{ "resolver_local_data = { example.test. MX }\n",
		  "resolver_local_data: example.test. MX: not a DNS record" },
		{ "resolver_local_data = { example.test. A 192.0.2.1\n", "resolver_local_data: " },
		{ "resolver_root_hints = /nonexistent\n", "resolver_root_hints: " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error     error = ERROR_NONE;
		struct snapshot *snapshot = snapshot_from_text(rows[i][0], &error);

		assert_non_null(snapshot);
		assert_null(unbound_create(snapshot_parameters(snapshot), &error));
		assert_memory_equal(error.text, rows[i][1], strlen(rows[i][1]));
		snapshot_destroy(&snapshot);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mx_hosts_come_sorted_and_in_lower_case),
		cmocka_unit_test(null_mx_has_an_empty_target),
		cmocka_unit_test(addresses_txt_and_tlsa_are_bytes),
		cmocka_unit_test(absent_name_absent_type_and_dead_server_are_three_answers),
		cmocka_unit_test(client_name_is_confirmed_only_when_it_leads_back),
		cmocka_unit_test(nonsense_on_a_channel_ends_only_that_channel),
		cmocka_unit_test(many_questions_share_one_channel_and_keep_their_ids),
		cmocka_unit_test(bad_settings_name_their_parameter),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
