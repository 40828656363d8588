/* test_dns.c - the resolver's client against a scripted resolver: cache, retries, bad answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/mutex.h"
#include "lib/dns/dns.h"
#include "lib/dns/name.h"
#include "lib/ipc/channel.h"

/* What the scripted resolver does is in the name that is asked for. */
struct fixture {
	char               path[64];
	int                listener;
	_Atomic int        asked;
	_Atomic int        connections;
	pthread_t          thread;
	struct dns_client *client;
	struct arena       arena;
};

static void
add(struct buf *list, uint32_t preference, struct slice target, struct slice data)
{
	struct msg_dns_record record = { preference, target, data };

	assert_true(msg_dns_record_append(list, &record));
}

/* False: close the channel without an answer. */
static bool
script(const struct msg_dns_query *query, struct buf *list, struct msg_dns_answer *answer)
{
	answer->id = query->id;
	answer->ttl_s = 100;
	answer->canonical = query->name;
	answer->status = DNS_FOUND;
	if (slice_equal(query->name, SLICE("die.test")))
		return false;
	if (slice_starts_with(query->name, SLICE("once")))
		answer->ttl_s = 0;
	if (slice_starts_with(query->name, SLICE("none")))
		answer->status = DNS_NO_NAME;
	if (slice_starts_with(query->name, SLICE("bogus"))) {
		answer->status = DNS_BOGUS;
		answer->reason = SLICE("signature expired");
	}
	if (slice_starts_with(query->name, SLICE("wrongid")))
		answer->id++;
	if (slice_starts_with(query->name, SLICE("badstatus")))
		answer->status = 77;
	if (slice_starts_with(query->name, SLICE("empty")) || answer->status != DNS_FOUND)
		return true;
	if (slice_starts_with(query->name, SLICE("short")))
		add(list, 0, SLICE(""), SLICE("abc"));
	else if (query->type == DNS_A)
		add(list, 0, SLICE(""), SLICE("\x7f\x00\x00\x01"));
	else if (slice_starts_with(query->name, SLICE("evil")))
		add(list, 1, SLICE("a\nb"), SLICE(""));
	else
		add(list, 20, SLICE("b.test"), SLICE("")),
			add(list, 10, SLICE("a.test"), SLICE(""));
	answer->records = buf_slice(list);
	return true;
}

static void
serve_one(struct fixture *f, int fd)
{
	struct ipc_channel   channel;
	struct ipc_frame     frame;
	struct msg_dns_query query;
	bool                 is_good = true;

	ipc_channel_init(&channel, fd);
	while (is_good && ipc_receive(&channel, INT64_MAX / 2, &frame) == IPC_OK &&
	       msg_dns_query_decode(&frame, &query)) {
		struct msg_dns_answer answer = msg_dns_answer_clear();
		struct buf            list = BUF(1000);

		atomic_fetch_add(&f->asked, 1);
		is_good = script(&query, &list, &answer) &&
		          ipc_send(&channel, dns_answer, &answer, INT64_MAX / 2) == IPC_OK;
		buf_free(&list);
	}
	ipc_channel_close(&channel);
}

static void *
serve(void *argument)
{
	struct fixture *f = argument;
	int             fd;

	while ((fd = accept(f->listener, NULL, NULL)) >= 0) {
		atomic_fetch_add(&f->connections, 1);
		serve_one(f, fd);
	}
	return NULL;
}

static int
set_up(void **state)
{
	struct fixture    *f = calloc(1, sizeof(*f));
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	f->arena = ARENA(0);
	snprintf(f->path, sizeof(f->path), "/tmp/dakiya-test-dns-%d", (int)getpid());
	memcpy(address.sun_path, f->path, strlen(f->path));
	unlink(f->path);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(f->listener, 10), 0);
	assert_int_equal(thread_start(&f->thread, serve, f), 0);
	f->client = dns_client_create(f->path);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	dns_client_destroy(&f->client);
	shutdown(f->listener, SHUT_RDWR);
	pthread_join(f->thread, NULL);
	close(f->listener);
	unlink(f->path);
	arena_reset(&f->arena);
	free(f);
	return 0;
}

static enum dns_status
ask(struct fixture *f, const char *name, enum dns_type type, struct error *error)
{
	struct dns_answer answer;

	return dns_query(f->client, slice_from(name), type, 2000, &f->arena, &answer, error);
}

static void
found_and_absent_are_remembered_until_their_time(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(ask(f, "hot.test", DNS_MX, NULL), DNS_FOUND);
		assert_int_equal(ask(f, "HOT.test.", DNS_MX, NULL), DNS_FOUND);
		assert_int_equal(ask(f, "none.test", DNS_MX, NULL), DNS_NO_NAME);
	}
	assert_int_equal(f->asked, 2);
	assert_int_equal(ask(f, "hot.test", DNS_A, NULL), DNS_FOUND); /* another type */
	assert_int_equal(f->asked, 3);
	assert_int_equal(ask(f, "once.test", DNS_A, NULL), DNS_FOUND);
	assert_int_equal(ask(f, "once.test", DNS_A, NULL), DNS_FOUND);
	assert_int_equal(f->asked, 5);
	assert_int_equal(f->connections, 1);
}

static void
trouble_is_never_remembered_and_never_a_no(void **state)
{
	static const char *const names[] = { "empty.test", "short.test", "wrongid.test",
		                             "badstatus.test", "die.test" };
	struct fixture          *f = *state;
	struct error             error = ERROR_NONE;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(ask(f, names[i], DNS_A, &error), DNS_TRY_LATER);
	assert_int_equal(ask(f, "evil.test", DNS_MX, &error), DNS_TRY_LATER);
	assert_int_equal(ask(f, "bogus.test", DNS_A, &error), DNS_BOGUS);
	assert_string_equal(error.text, "Host or domain name not found. Name service error for "
	                                "name=bogus.test type=A: DNSSEC validation failed, try "
	                                "again (signature expired)");
	assert_int_equal(ask(f, "hot.test", DNS_A, &error), DNS_FOUND);
}

static void
what_is_no_name_is_not_asked_for(void **state)
{
	static const char *const names[] = { "a b.test", "a..b", ".a", "a\nb", "a@b.test", "<a>" };
	struct fixture          *f = *state;
	struct error             error;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(ask(f, names[i], DNS_A, &error), DNS_NO_NAME);
	assert_int_equal(f->asked, 0);
}

static void
absent_resolver_means_try_later(void **state)
{
	struct arena       arena = ARENA(0);
	struct dns_client *client = dns_client_create("/nonexistent/resolver");
	struct dns_answer  answer;
	struct error       error = ERROR_NONE;

	(void)state;
	assert_int_equal(dns_query(client, SLICE("x.test"), DNS_A, 1000, &arena, &answer, &error),
	                 DNS_TRY_LATER);
	assert_non_null(strstr(error.text, "connect to /nonexistent/resolver"));
	dns_client_destroy(&client);
	arena_reset(&arena);
}

static void
reverse_names_are_those_of_the_rfcs(void **state)
{
	struct arena arena = ARENA(0);
	struct slice name;

	(void)state;
	assert_true(dns_name_reverse(SLICE("192.0.2.1"), &arena, &name));
	assert_true(slice_equal(name, SLICE("1.2.0.192.in-addr.arpa")));
	assert_true(dns_name_reverse(SLICE("::ffff:192.0.2.1"), &arena, &name));
	assert_true(slice_equal(name, SLICE("1.2.0.192.in-addr.arpa")));
	assert_true(dns_name_reverse(SLICE("2001:db8::1"), &arena, &name));
	assert_true(slice_equal(name, SLICE("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d."
	                                    "0.1.0.0.2.ip6.arpa")));
	assert_false(dns_name_reverse(SLICE("192.0.2.256"), &arena, &name));
	assert_false(dns_name_reverse(SLICE("unknown"), &arena, &name));
	arena_reset(&arena);
}

static void
unicode_names_are_asked_as_a_labels(void **state)
{
	struct arena arena = ARENA(0);
	struct slice name;

	(void)state;
	assert_true(dns_name_normalise(SLICE("B\xc3\xbc"
	                                     "cher.Example."),
	                               &arena, &name));
	assert_true(slice_equal(name, SLICE("xn--bcher-kva.example")));
	assert_false(dns_name_normalise(SLICE("\xff\xfe.test"), &arena, &name));
	arena_reset(&arena);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(found_and_absent_are_remembered_until_their_time),
		TEST(trouble_is_never_remembered_and_never_a_no),
		TEST(what_is_no_name_is_not_asked_for),
		cmocka_unit_test(absent_resolver_means_try_later),
		cmocka_unit_test(reverse_names_are_those_of_the_rfcs),
		cmocka_unit_test(unicode_names_are_asked_as_a_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
