/*
 * test_memory.c - lookups and parsers whose n-th allocation fails, for every n: they give the right
 * answer or say "later"; never "not found", never "malformed".
 *
 * This program has its own malloc, so it is empty where a sanitizer has one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/stream.h"
#include "lib/mail/aliases.h"
#include "lib/route/route.h"
#include "lib/smtp/command.h"
#include "lib/smtp/extensions.h"
#include "lib/table/match.h"
#include "lib/table/build.h"
#include "lib/table/table.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

int
main(void)
{
	return 0;
}

#else

/* ---- the allocator ---- */

static size_t left; /* allocations until the one that fails; 0 = none does */
static bool   has_failed;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static bool
fails(void)
{
	if (left == 0 || --left > 0)
		return false;
	has_failed = true;
	errno = ENOMEM;
	return true;
}

void *
malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
	return fails() ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *old, size_t size)
{
	return fails() ? NULL : __libc_realloc(old, size);
}

#define EVERY 400 /* allocations that may fail in one call; more is a failure of the test */

/* Calls once(context) with the first allocation failing, the second, until none fails. */
static void
for_every_allocation(void (*once)(void *context), void *context)
{
	size_t n = 0;

	do {
		assert_true(++n < EVERY);
		has_failed = false;
		left = n;
		once(context);
		left = 0;
	} while (has_failed);
}

/* ---- MAIL and RCPT ---- */

struct command_case {
	const char *arguments;
	bool        is_rcpt;
};

static void
command_once(void *context)
{
	const struct command_case *one = context;
	struct arena               arena = ARENA(64u * 1024);
	struct smtp_grammar        grammar = { .extensions = ~0u };
	struct smtp_reply          refusal = { .code = 0 };
	struct smtp_mail           mail;
	struct smtp_rcpt           rcpt;

	bool is_good = one->is_rcpt ? smtp_rcpt_parse(slice_from(one->arguments), &grammar, &arena,
	                                              &rcpt, &refusal)
	                            : smtp_mail_parse(slice_from(one->arguments), &grammar, &arena,
	                                              &mail, &refusal);
	left = 0;
	if (!has_failed)
		assert_true(is_good);
	else if (!is_good && refusal.code != 452)
		fail_msg("%s: %d", one->arguments, refusal.code);
	arena_reset(&arena);
}

static void
without_memory_a_command_is_refused_for_now(void **state)
{
	static const struct command_case cases[] = {
		{ "FROM:<alice@example.org> SIZE=1 BODY=8BITMIME", false },
		{ "FROM:<\"a b\"@example.org> RET=FULL ENVID=abc+20def", false },
		{ "FROM:<a@example.org> AUTH=a+2Bb@example.org", false },
		{ "FROM:<\xc3\xa4@example.org> SMTPUTF8", false },
		{ "TO:<bob@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bob@example.org",
		  true },
		{ "TO:<@relay.example:bob@example.org> ORCPT=utf-8;b@example.org", true },
		{ "TO:<\"\\b\"@[192.0.2.1]>", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for_every_allocation(command_once, (void *)(uintptr_t)&cases[i]);
}

/* ---- tables ---- */

static char directory[100];

static const char *
path_of(const char *name)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void
text_write(const char *name, const char *text)
{
	FILE *file = fopen(path_of(name), "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

struct lookup_case {
	struct table_list *list;
	const char        *key;
	const char        *value;
};

static void
lookup_once(void *context)
{
	const struct lookup_case *one = context;
	struct buf                value = BUF(1000);
	struct error              error = ERROR_NONE;
	struct address_lookup     what = { .address = slice_from(one->key), .delimiters = "+" };

	enum lookup answer =
		strchr(one->key, '@') != NULL
			? table_list_lookup_address(one->list, &what, &value, NULL, &error)
			: table_list_lookup(one->list, slice_from(one->key), &value, &error);
	left = 0;
	if (answer == LOOKUP_TRY_LATER)
		assert_true(has_failed);
	else if (answer == LOOKUP_NOT_FOUND)
		fail_msg("%s is not found without memory", one->key);
	else
		assert_string_equal(buf_text(&value), one->value);
	buf_free(&value);
}

/* Opens the list anew for each n: what is read or cached at the first lookup counts, too. */
struct open_case {
	const char *specs;
	const char *key, *value;
};

static void
open_once(void *context)
{
	const struct open_case *one = context;
	struct error            error = ERROR_NONE;
	struct table_list      *list = table_list_open(one->specs, &error);

	if (list == NULL) {
		left = 0;
		if (!has_failed)
			fail_msg("%s: %s", one->specs, error.text);
		return;
	}
	struct lookup_case lookup = { .list = list, .key = one->key, .value = one->value };
	lookup_once(&lookup);
	table_list_close(&list);
}

static void
lookups_check(const char *specs, const char *key, const char *value)
{
	struct error       error = ERROR_NONE;
	struct lookup_case lookup = { .key = key, .value = value };

	lookup.list = table_list_open(specs, &error);
	if (lookup.list == NULL)
		fail_msg("%s: %s", specs, error.text);
	for_every_allocation(lookup_once, &lookup);
	table_list_close(&lookup.list);
}

static void
tables_check(const char *specs, const char *key, const char *value)
{
	struct open_case open = { .specs = specs, .key = key, .value = value };

	for_every_allocation(open_once, &open);
	lookups_check(specs, key, value);
}

static void
without_memory_a_table_answers_later(void **state)
{
	static const struct open_case fixed[] = {
		{ "inline:{ A=b, long@example.org=c }", "long+x@example.org", "c" },
		{ "static:x", "any", "x" },
		{ "unionmap:{inline:{a=1}, inline:{a=2}}", "a", "1,2" },
		{ "pipemap:{inline:{a=b}, inline:{b=c}}", "a", "c" },
		{ "randmap:{x}", "a", "x" },
		{ "inline:{z=1} inline:{example.org=1,@example.org=2}", "u+v@example.org", "2" },
	};
	static const struct {
		const char *type, *text, *key, *value;
	} files[] = {
		{ "texthash", "alice@example.org  b\nc d\n", "ALICE+x@example.org", "b" },
		{ "pcre", "/^(a+)b@/ x$1\n", "aab@example.org", "xaa" },
		{ "regexp", "/^(a+)b@/ x$1\n", "aab@example.org", "xaa" },
		{ "cidr", "192.0.2.0/24 x\n", "192.0.2.9", "x" },
	};
	char specs[300];

	(void)state;
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		tables_check(fixed[i].specs, fixed[i].key, fixed[i].value);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		text_write("t", files[i].text);
		snprintf(specs, sizeof(specs), "%s:%s", files[i].type, path_of("t"));
		tables_check(specs, files[i].key, files[i].value);
	}
}

static void
without_memory_a_database_answers_later(void **state)
{
	static const char *const types[] = { "hash", "btree", "lmdb", "cdb" };
	struct error             error = ERROR_NONE;
	char                     specs[300], path[300];

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct build_target target = {
			.path = path, .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1
		};
		const char *suffix;

		assert_true(table_build_kind(types[i], &target.kind, &suffix));
		snprintf(path, sizeof(path), "%s%s", path_of("b"), suffix);
		struct table_build *build = table_build_start(&target, &error);
		if (build == NULL)
			fail_msg("%s", error.text);
		assert_int_equal(table_build_add(build, SLICE("@example.org"), SLICE("v"), &error),
		                 LOOKUP_NOT_FOUND);
		assert_true(table_build_commit(&build, &error));
		snprintf(specs, sizeof(specs), "%s:%s", types[i], path_of("b"));
		/* Opening is Berkeley DB's own affair, see has_memory() in lib/table/database.c. */
		if (target.kind == DATABASE_LMDB || target.kind == DATABASE_CDB)
			tables_check(specs, "Any+one@example.org", "v");
		else
			lookups_check(specs, "Any+one@example.org", "v");
		unlink(path);
	}
}

/* ---- match lists ---- */

static struct match_list *networks, *names;

static void
match_once(void *context)
{
	struct error error = ERROR_NONE;

	(void)context;
	enum lookup net =
		match_list_client(networks, SLICE("mx.example.org"), SLICE("192.0.2.7"), &error);
	enum lookup name = match_list_name(names, SLICE("Deep.Example.ORG"), &error);
	left = 0;
	assert_int_not_equal(net, LOOKUP_NOT_FOUND);
	assert_int_not_equal(name, LOOKUP_NOT_FOUND);
	assert_true(has_failed || (net == LOOKUP_FOUND && name == LOOKUP_FOUND));
}

static void
without_memory_a_list_answers_later(void **state)
{
	struct error error = ERROR_NONE;

	(void)state;
	text_write("t", "192.0.2.0/24 x\n");
	char list[300];
	snprintf(list, sizeof(list), "198.51.100.0/24, cidr:%s", path_of("t"));
	networks = match_list_open(list, MATCH_ADDRESSES, &error);
	names = match_list_open("inline:{example.org=x}", MATCH_DOMAINS_AND_PARENTS, &error);
	assert_non_null(networks);
	assert_non_null(names);
	for_every_allocation(match_once, NULL);
	match_list_close(&networks);
	match_list_close(&names);
}

/* ---- routing ---- */

static const char host_text[] =
	"myhostname = mail.example.org\n"
	"mydestination = mail.example.org\n"
	"inet_interfaces = 192.0.2.1\n"
	"recipient_delimiter = +\n"
	"virtual_alias_domains = alias.example\n"
	"virtual_mailbox_domains = box.example\n"
	"relay_domains = relay.example\n"
	"virtual_mailbox_base = /mail\n"
	"virtual_mailbox_maps = inline:{ alice@box.example=box.example/alice/ }\n"
	"virtual_uid_maps = static:5000\n"
	"virtual_gid_maps = static:5001\n"
	"virtual_mailbox_quota_maps = inline:{ alice@box.example=1000000 }\n"
	"relay_recipient_maps = inline:{ known@relay.example=x }\n"
	"local_recipient_maps = inline:{ bob=x }\n"
	"default_privs = 65534:65534\n"
	"local_user_maps = inline:{ { bob = bob:x:1001:1002:Bob:/home/bob:/bin/bash } }\n"
	"alias_maps = inline:{ { list = bob, alice@far.example } }\n"
	"transport_maps = inline:{ .slow.example=slow:, { user@fixed.example = smtp:[mx.example] } "
	"}\n"
	"sender_canonical_maps = inline:{ old@box.example=new@box.example }\n"
	"masquerade_domains = box.example\n"
	"recipient_bcc_maps = inline:{ alice@box.example=copy@box.example }\n"
	"virtual_alias_maps = inline:{ { list@alias.example = alice@box.example, x@far.example },"
	"{ @whole.example = @box.example } }\n";

static struct router *router;

/* The routes that there are with memory. */
static const struct {
	const char *recipient, *transport, *nexthop;
} routes[] = {
	{ "alice+x@box.example", "virtual", "box.example" },
	{ "known@relay.example", "relay", "relay.example" },
	{ "x@deep.slow.example", "slow", "deep.slow.example" },
	{ "user@fixed.example", "smtp", "[mx.example]" },
	{ "bob@mail.example.org", "local", "mail.example.org" },
	{ "list@mail.example.org", "local", "mail.example.org" },
	{ "x@far.example", "smtp", "far.example" },
};

static void
route_once(void *context)
{
	size_t       i = *(const size_t *)context;
	struct arena arena = ARENA(0);
	struct error error = ERROR_NONE;
	struct route route;

	enum lookup answer = route_resolve(router, SLICE("s@box.example"),
	                                   slice_from(routes[i].recipient), &arena, &route, &error);
	left = 0;
	assert_int_not_equal(answer, LOOKUP_NOT_FOUND);
	if (answer == LOOKUP_TRY_LATER)
		assert_true(has_failed);
	else if (!slice_equal(route.transport, slice_from(routes[i].transport)) ||
	         !slice_equal(route.nexthop, slice_from(routes[i].nexthop)))
		fail_msg("%s goes to %.*s:%.*s", routes[i].recipient, SLICE_ARGS(route.transport),
		         SLICE_ARGS(route.nexthop));
	arena_reset(&arena);
}

static void
exists_once(void *context)
{
	const char  *address = context, *reason = NULL;
	struct arena arena = ARENA(0);
	struct error error = ERROR_NONE;

	enum lookup answer =
		route_recipient_exists(router, slice_from(address), &arena, &reason, &error);
	left = 0;
	if (answer == LOOKUP_NOT_FOUND)
		fail_msg("%s: %s", address, reason);
	assert_true(answer == LOOKUP_FOUND || has_failed);
	arena_reset(&arena);
}

static void
expand_once(void *context)
{
	struct arena           arena = ARENA(0);
	struct error           error = ERROR_NONE;
	struct route_addresses addresses;

	(void)context;
	enum lookup answer =
		route_expand(router, SLICE("list@alias.example"), &arena, &addresses, &error);
	left = 0;
	assert_int_not_equal(answer, LOOKUP_NOT_FOUND);
	if (answer == LOOKUP_TRY_LATER) {
		assert_true(has_failed);
	} else {
		assert_int_equal(addresses.count, 2);
		assert_true(slice_equal(addresses.items[0], SLICE("alice@box.example")));
		assert_true(slice_equal(addresses.items[1], SLICE("x@far.example")));
	}
	arena_reset(&arena);
}

static void
rewrite_once(void *context)
{
	struct route_rewriting how = { .role = ROUTE_HEADER_SENDER };
	struct arena           arena = ARENA(0);
	struct error           error = ERROR_NONE;
	struct slice           result = SLICE_EMPTY;

	(void)context;
	enum lookup answer =
		route_rewrite(router, &how, SLICE("old@box.example"), &arena, &result, &error);
	left = 0;
	assert_int_not_equal(answer, LOOKUP_NOT_FOUND);
	if (answer == LOOKUP_TRY_LATER)
		assert_true(has_failed);
	else
		assert_true(slice_equal(result, SLICE("new@box.example")));
	arena_reset(&arena);
}

static void
bcc_once(void *context)
{
	struct arena arena = ARENA(0);
	struct error error = ERROR_NONE;
	struct slice copy = SLICE_EMPTY;

	(void)context;
	enum lookup answer = route_bcc(router, ROUTE_ENVELOPE_RECIPIENT, SLICE("alice@box.example"),
	                               &arena, &copy, &error);
	left = 0;
	assert_int_not_equal(answer, LOOKUP_NOT_FOUND);
	if (answer == LOOKUP_FOUND)
		assert_true(slice_equal(copy, SLICE("copy@box.example")));
	else
		assert_true(has_failed);
	arena_reset(&arena);
}

static void
mailbox_once(void *context)
{
	struct arena arena = ARENA(0);
	struct error error = ERROR_NONE;
	struct route route;

	(void)context;
	enum lookup answer =
		route_mailbox(router, SLICE("alice@box.example"), &arena, &route, &error);
	left = 0;
	assert_int_not_equal(answer, LOOKUP_NOT_FOUND);
	if (answer == LOOKUP_FOUND) {
		assert_true(slice_equal(route.mailbox, SLICE("box.example/alice/")));
		assert_int_equal(route.quota, 1000000);
	} else {
		assert_true(has_failed);
	}
	arena_reset(&arena);
}

static void
without_memory_nobody_is_unknown(void **state)
{
	static const char *const addresses[] = { "alice+x@box.example",  "known@relay.example",
		                                 "bob@mail.example.org", "list@alias.example",
		                                 "alice@whole.example",  "x@far.example" };
	struct error             error = ERROR_NONE;
	struct snapshot         *snapshot = snapshot_from_text(host_text, &error);

	(void)state;
	if (snapshot == NULL)
		fail_msg("%s", error.text);
	router = router_create(snapshot, &error);
	if (router == NULL)
		fail_msg("%s", error.text);
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		for_every_allocation(route_once, &i);
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		for_every_allocation(exists_once, (void *)(uintptr_t)addresses[i]);
	for_every_allocation(expand_once, NULL);
	for_every_allocation(rewrite_once, NULL);
	for_every_allocation(bcc_once, NULL);
	for_every_allocation(mailbox_once, NULL);
	router_destroy(&router);
	snapshot_destroy(&snapshot);
}

/* ---- aliases ---- */

static void
alias_once(void *context)
{
	static const char text[] = "\"a b\"@example.org, |\"/bin/x y\", \\bob, :include:/etc/l";
	struct slice      rest = slice_from(text);
	struct arena      arena = ARENA(0);
	struct error      error = ERROR_NONE;
	size_t            count = 0;
	enum alias_result result;
	struct alias_destination one;

	(void)context;
	while ((result = alias_next(&rest, &arena, &one, &error)) == ALIAS_FOUND)
		count++;
	left = 0;
	/* A caller that meets a malformed item defers, too; none is lost silently. */
	assert_true(result == ALIAS_END ? count == 4 : has_failed);
	arena_reset(&arena);
}

static void
without_memory_no_destination_is_lost(void **state)
{
	(void)state;
	for_every_allocation(alias_once, NULL);
}

/* ---- streams ---- */

static void
answer_once(void *context)
{
	static const char whole[] = "+OK one\r\n+OK two\r\n";
	struct buf        sent = BUF(1000);
	struct stream    *stream;
	size_t            n = left;

	(void)context;
	left = 0;
	stream = stream_from_memory(SLICE_EMPTY, 0, &sent);
	assert_non_null(stream);
	assert_true(buf_reserve(&sent, 500)); /* the peer's memory is not what this is about */
	left = n;
	/* A caller that looks at no result. */
	stream_write_text(stream, "+OK ");
	stream_write_text(stream, "one\r\n");
	stream_write_text(stream, "+OK two\r\n");
	enum stream_result result = stream_flush(stream);
	left = 0;
	assert_true(sent.length <= sizeof(whole) - 1);
	assert_memory_equal(buf_text(&sent), whole, sent.length);
	assert_int_equal(result, has_failed ? STREAM_ERROR : STREAM_OK);
	assert_int_equal(stream_has_lost_output(stream), has_failed);
	stream_destroy(&stream);
	buf_free(&sent);
}

static void
without_memory_no_answer_has_a_hole(void **state)
{
	(void)state;
	for_every_allocation(answer_once, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_memory_a_command_is_refused_for_now),
		cmocka_unit_test(without_memory_a_table_answers_later),
		cmocka_unit_test(without_memory_a_database_answers_later),
		cmocka_unit_test(without_memory_a_list_answers_later),
		cmocka_unit_test(without_memory_nobody_is_unknown),
		cmocka_unit_test(without_memory_no_destination_is_lost),
		cmocka_unit_test(without_memory_no_answer_has_a_hole),
	};

	snprintf(directory, sizeof(directory), "/tmp/dakiya-test-memory-%d", (int)getpid());
	if (mkdir(directory, 0700) != 0)
		return 1;
	int status = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path_of("t"));
	rmdir(directory);
	return status;
}

#endif
