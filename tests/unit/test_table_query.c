/* What tables with servers behind them share: cf files, templates, replies, connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mutex.h"
#include "lib/table/hosts.h"
#include "lib/table/posix.h"
#include "lib/table/query.h"
#include "lib/table/reply.h"
#include "lib/table/type.h"

/* ---- cf files ---- */

static void
cf_file_has_names_values_and_continued_lines(void **state)
{
	struct error error = ERROR_NONE;
	struct cf   *cf =
		cf_parse("x.cf",
	                 SLICE("# comment\nquery = SELECT a\n   FROM b # no comment\n"
	                       "user=u\nempty =\nuser = second = $x\nlimit = 7\nflag = Yes\n"),
	                 &error);
	int64_t number = 1;
	bool    flag = false;

	(void)state;
	assert_non_null(cf);
	assert_string_equal(cf_get(cf, "query", NULL), "SELECT a   FROM b # no comment");
	assert_string_equal(cf_get(cf, "user", NULL), "second = $x");
	assert_string_equal(cf_get(cf, "empty", "other"), "");
	assert_string_equal(cf_get(cf, "missing", "other"), "other");
	assert_true(cf_get_number(cf, "limit", 0, 10, &number, &error) && number == 7);
	assert_true(cf_get_number(cf, "missing", 0, 10, &number, &error) && number == 7);
	assert_false(cf_get_number(cf, "limit", 0, 6, &number, &error));
	assert_string_equal(error.text, "x.cf: limit = 7: want a number from 0 to 6");
	assert_true(cf_get_bool(cf, "flag", &flag, &error) && flag);
	assert_false(cf_get_bool(cf, "user", &flag, &error));
	cf_free(cf);
	assert_null(cf_parse("x.cf", SLICE("a = b\nno equals\n"), &error));
	assert_string_equal(error.text, "x.cf:2: want \"name = value\"");
	assert_null(cf_read("/nonexistent/x.cf", &error));
	assert_int_equal(error.errno_value, 2);
}

/* ---- templates ---- */

static bool
quote_twice(void *context, struct slice part, struct buf *out)
{
	(void)context;
	for (size_t i = 0; i < part.length; i++) {
		if (part.data[i] == '\'')
			buf_append_byte(out, '\'');
		buf_append_byte(out, part.data[i]);
	}
	return !out->has_failed;
}

static void
templates_expand_as_the_manual_says(void **state)
{
	const struct {
		const char *template, *key, *want; /* NULL: the query is not sent */
	} cases[] = {
		{ "a='%s'", "user@mail.example.com", "a='user@mail.example.com'" },
		{ "a='%s'", "o'x", "a='o''x'" },
		{ "%u at %d", "user@mail.example.com", "user at mail.example.com" },
		{ "%U at %D", "user@mail.example.com", "user at mail.example.com" },
		{ "%u", "a@b@c", "a@b" },
		{ "%u", "bare", "bare" },
		{ "%u", "@example.com", NULL },
		{ "%d", "bare", NULL },
		{ "%d", "user@", NULL },
		{ "%d", "@example.com", "example.com" },
		{ "%1.%2.%3", "user@mail.example.com", "com.example.mail" },
		{ "%4", "user@mail.example.com", NULL },
		{ "%1", "mail.example.com", NULL },
		{ "100%% %s", "k", "100% k" },
		{ "", "k", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct query_parts parts;
		struct buf         out = BUF(1000);

		query_parts_of(slice_from(cases[i].key), &parts);
		bool suits = query_suits(cases[i].template, &parts);
		assert_int_equal(suits, cases[i].want != NULL);
		if (suits) {
			assert_true(
				query_expand(cases[i].template, &parts, quote_twice, NULL, &out));
			assert_string_equal(buf_text(&out), cases[i].want);
		}
		buf_free(&out);
	}
	assert_true(query_check("query", "%s %u %d %S %U %D %1 %9 %%", NULL));
	struct error error = ERROR_NONE;
	assert_false(query_check("query", "a %x", &error));
	assert_true(strncmp(error.text, "query: \"%x\" means nothing", 25) == 0);
	assert_false(query_check("query", "a %", NULL));
	assert_false(query_check("query", "%0", NULL));
}

static struct cf *
cf_of(const char *text)
{
	struct cf *cf = cf_parse("x.cf", slice_from(text), NULL);

	assert_non_null(cf);
	return cf;
}

/* The joined results of values, or the error. */
static const char *
results_of(const char *settings, const char *key, const char *const *values)
{
	static char         answer[600];
	struct cf          *cf = cf_of(settings);
	struct query_rules  rules;
	struct query_parts  parts;
	struct buf          value = BUF(150);
	struct query_result result = { .rules = &rules, .key = &parts, .value = &value };
	bool                is_good = true;

	query_parts_of(slice_from(key), &parts);
	assert_true(query_rules_read(cf, &rules, NULL));
	for (; *values != NULL && is_good; values++)
		is_good = query_result_add(&result, slice_from(*values));
	snprintf(answer, sizeof(answer), "%s", is_good ? buf_text(&value) : result.error.text);
	query_rules_free(&rules);
	buf_free(&value);
	cf_free(cf);
	return answer;
}

static void
results_are_formatted_joined_and_limited(void **state)
{
	const char *const two[] = { "a@x", "", "b@y", NULL };
	const char *const bare[] = { "bare", "b@y", NULL };

	(void)state;
	assert_string_equal(results_of("", "k", two), "a@x,b@y");
	assert_string_equal(results_of("result_format = <%u|%d>", "k", two), "<a|x>,<b|y>");
	/* %d of a result without domain: that result is skipped; %u is then the whole. */
	assert_string_equal(results_of("result_format = %d", "k", bare), "y");
	assert_string_equal(results_of("result_format = %u", "k", bare), "bare,b");
	assert_string_equal(results_of("result_format = %s%%%U+%1", "me@ex.com", two),
	                    "a@x%me+com,b@y%me+com");
	assert_string_equal(results_of("expansion_limit = 2", "k", two), "a@x,b@y");
	assert_string_equal(results_of("expansion_limit = 1", "k", two),
	                    "more than expansion_limit = 1 results");
	assert_string_equal(results_of("result_filter = =%s", "k", two), "=a@x,=b@y");
}

static void
a_filter_that_comes_back_to_itself_is_refused(void **state)
{
	struct cf         *cf = cf_of("domain = a.test, pipemap:{pgsql:/x.cf}");
	struct query_rules rules;
	struct error       error = ERROR_NONE;

	(void)state;
	assert_false(query_rules_read(cf, &rules, &error));
	assert_string_equal(error.text, "domain: tables that have a cf file cannot stand here");
	query_rules_free(&rules);
	cf_free(cf);
}

static enum lookup
allowed(const char *settings, const char *key)
{
	struct cf         *cf = cf_of(settings);
	struct query_rules rules;
	struct query_parts parts;
	struct error       error = ERROR_NONE;

	query_parts_of(slice_from(key), &parts);
	assert_true(query_rules_read(cf, &rules, NULL));
	enum lookup answer = query_rules_allow(&rules, &parts, &error);
	assert_int_equal(answer == LOOKUP_TRY_LATER, error.text[0] != '\0');
	query_rules_free(&rules);
	cf_free(cf);
	return answer;
}

static void
domain_filter_lets_whole_addresses_of_its_domains_pass(void **state)
{
	(void)state;
	assert_int_equal(allowed("", "bare"), LOOKUP_FOUND);
	assert_int_equal(allowed("domain = a.test, b.test", "u@b.test"), LOOKUP_FOUND);
	assert_int_equal(allowed("domain = a.test, b.test", "u@c.test"), LOOKUP_NOT_FOUND);
	assert_int_equal(allowed("domain = a.test", "a.test"), LOOKUP_NOT_FOUND);
	assert_int_equal(allowed("domain = a.test", "@a.test"), LOOKUP_NOT_FOUND);
	assert_int_equal(allowed("domain = fail:x", "u@a.test"), LOOKUP_TRY_LATER);
	/* The format wants a part of the key that it does not have. */
	assert_int_equal(allowed("result_format = %s@%D", "bare"), LOOKUP_NOT_FOUND);
	assert_int_equal(allowed("result_format = %s@%d", "bare"), LOOKUP_FOUND);
}

/* ---- replies of socketmap and tcp ---- */

typedef enum reply_parse parse_function(struct slice input, size_t *used, enum lookup *answer,
                                        struct buf *value, struct error *error);

/* "value", "-" not found, "!reason", "..." more, "? why" malformed. */
static const char *
parsed(parse_function *parse, const char *input)
{
	static char  text[600];
	struct buf   value = BUF(200);
	struct error error = ERROR_NONE;
	enum lookup  answer = LOOKUP_TRY_LATER;
	size_t       used = 0;

	switch (parse(slice_from(input), &used, &answer, &value, &error)) {
	case REPLY_MORE: return "...";
	case REPLY_MALFORMED:
		snprintf(text, sizeof(text), "? %s", error.text);
		assert_true(error.text[0] != '\0');
		break;
	case REPLY_DONE:
		assert_true(used > 0 && used <= strlen(input));
		if (answer == LOOKUP_FOUND)
			snprintf(text, sizeof(text), "%s", buf_text(&value));
		else
			snprintf(text, sizeof(text), "%s",
			         answer == LOOKUP_NOT_FOUND ? "-" : error.text);
	}
	buf_free(&value);
	return text;
}

static void
socketmap_replies_have_three_answers(void **state)
{
	const struct {
		const char *input, *want;
	} cases[] = {
		{ "8:OK value,", "value" },
		{ "3:OK ,", "" },
		{ "2:OK,", "" },
		{ "9:NOTFOUND ,", "-" },
		{ "8:NOTFOUND,", "-" },
		{ "10:TEMP later,", "the server says: TEMP later" },
		{ "7:PERM no,", "the server says: PERM no" },
		{ "8:TIMEOUT ,", "the server says: TIMEOUT" },
		{ "", "..." },
		{ "8", "..." },
		{ "8:OK val", "..." },
		{ "8:OK value", "..." },
		{ "8:OK value;", "? malformed reply: no comma behind the netstring" },
		{ "x:OK,", "? malformed reply: want a netstring of at most 100000 bytes" },
		{ ":OK,", "? malformed reply: want a netstring of at most 100000 bytes" },
		{ "08:OK value,", "? malformed reply: want a netstring of at most 100000 bytes" },
		{ "100001:", "? malformed reply: want a netstring of at most 100000 bytes" },
		{ "99999999999999999999:", "? malformed reply: the length is too large" },
		{ "5:MAYBE,", "? malformed reply: want OK, NOTFOUND, TEMP, TIMEOUT or PERM" },
		{ "0:,", "? malformed reply: want OK, NOTFOUND, TEMP, TIMEOUT or PERM" },
		{ "4:OKAY,", "? malformed reply: want OK, NOTFOUND, TEMP, TIMEOUT or PERM" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(parsed(reply_parse_socketmap, cases[i].input), cases[i].want);
}

static void
tcp_replies_have_three_answers(void **state)
{
	const struct {
		const char *input, *want;
	} cases[] = {
		{ "200 value\n", "value" },
		{ "200 a%20b%25\r\n", "a b%" },
		{ "200 \n", "" },
		{ "500 no such thing\n", "-" },
		{ "400 try later\n", "the server says: 400 try later" },
		{ "200 valu", "..." },
		{ "200 a%2\n", "? malformed reply: bad %XX in the value" },
		{ "200 a%zz\n", "? malformed reply: bad %XX in the value" },
		{ "300 x\n", "? malformed reply: want the code 200, 400 or 500" },
		{ "200\n", "? malformed reply: want a code, a blank and a text" },
		{ "\n", "? malformed reply: want a code, a blank and a text" },
	};
	struct buf quoted = BUF(100);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(parsed(reply_parse_tcp, cases[i].input), cases[i].want);
	assert_true(reply_quote_tcp(SLICE("a b%c\n\xc3\xa9~"), &quoted));
	assert_string_equal(buf_text(&quoted), "a%20b%25c%0A%C3%A9~");
	buf_free(&quoted);
}

/* ---- connections ---- */

struct fake {
	struct mutex lock;
	unsigned     connects, closes, works;
	const char  *dead; /* hosts whose connects fail */
	unsigned     lose; /* works that find the connection lost */
	unsigned     together, most_together;
	const char  *last;
};

static void *
fake_connect(void *context, const struct driver_host *host, struct error *error)
{
	struct fake *fake = context;

	mutex_lock(&fake->lock);
	fake->connects++;
	fake->last = host->name;
	bool is_dead = fake->dead != NULL && strstr(fake->dead, host->name) != NULL;
	mutex_unlock(&fake->lock);
	if (!is_dead)
		return malloc(1);
	error_set(error, "%s is dead", host->name);
	return NULL;
}

static void
fake_close(void *context, void *connection)
{
	struct fake *fake = context;

	mutex_lock(&fake->lock);
	fake->closes++;
	mutex_unlock(&fake->lock);
	free(connection);
}

static enum driver_result
fake_work(void *context, void *connection, struct error *error)
{
	struct fake *fake = context;

	(void)connection;
	mutex_lock(&fake->lock);
	fake->works++;
	bool is_lost = fake->lose > 0;
	if (is_lost)
		fake->lose--;
	mutex_unlock(&fake->lock);
	if (!is_lost)
		return DRIVER_DONE;
	error_set(error, "lost");
	return DRIVER_LOST;
}

static struct host_pool *
pool_of(struct fake *fake, const char *hosts, size_t most)
{
	struct host_pool_settings settings = { .hosts = hosts,
		                               .port_default = "5432",
		                               .timeout_ms = 2000,
		                               .idle_ms = 60000,
		                               .retry_ms = 60000,
		                               .connections_most = most,
		                               .connect = fake_connect,
		                               .close = fake_close,
		                               .context = fake };
	struct error              error = ERROR_NONE;
	struct host_pool         *pool = host_pool_create(&settings, &error);

	if (pool == NULL)
		fail_msg("%s", error.text);
	return pool;
}

static void
connections_are_kept_and_a_stale_one_is_no_failure(void **state)
{
	struct fake       fake = { .lock = MUTEX_INIT };
	struct host_pool *pool = pool_of(&fake, "192.0.2.1", 4);
	struct error      error = ERROR_NONE;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(host_pool_run(pool, fake_work, &fake, &error), DRIVER_DONE);
	assert_int_equal(fake.connects, 1);
	/* The server was restarted: the kept connection is lost, a new one serves at once. */
	fake.lose = 1;
	assert_int_equal(host_pool_run(pool, fake_work, &fake, &error), DRIVER_DONE);
	assert_int_equal(fake.connects, 2);
	assert_int_equal(fake.closes, 1);
	host_pool_destroy(&pool);
	assert_int_equal(fake.closes, 2);
}

static void
a_dead_server_is_left_alone_while_another_serves(void **state)
{
	struct fake       fake = { .lock = MUTEX_INIT, .dead = "192.0.2.1" };
	struct host_pool *pool = pool_of(&fake, "192.0.2.1 192.0.2.2:99", 4);
	struct error      error = ERROR_NONE;
	unsigned          tries = 0;

	(void)state;
	/* Whichever comes first, the answer comes; the dead one is asked at most once. */
	for (unsigned i = 0; i < 20; i++) {
		fake.lose = i % 2; /* makes it connect anew */
		assert_int_equal(host_pool_run(pool, fake_work, &fake, &error), DRIVER_DONE);
	}
	host_pool_destroy(&pool);

	fake = (struct fake){ .lock = MUTEX_INIT, .dead = "192.0.2.1 192.0.2.2" };
	pool = pool_of(&fake, "192.0.2.1 192.0.2.2", 4);
	assert_int_equal(host_pool_run(pool, fake_work, &fake, &error), DRIVER_LOST);
	assert_int_equal(fake.connects, 2);
	for (; tries < 100; tries++)
		assert_int_equal(host_pool_run(pool, fake_work, &fake, &error), DRIVER_LOST);
	assert_int_equal(fake.connects, 2);
	assert_non_null(strstr(error.text, "no server answers"));
	assert_non_null(strstr(error.text, "is dead"));
	/* Back, and asked again after the first pause, which is a second. */
	fake.dead = NULL;
	int64_t start_ms = clock_monotonic_ms();
	while (host_pool_run(pool, fake_work, &fake, &error) == DRIVER_LOST)
		usleep(20000);
	assert_in_range(clock_monotonic_ms() - start_ms, 500, 10000);
	host_pool_destroy(&pool);
}

static void
sockets_are_tried_before_the_network(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		struct fake       fake = { .lock = MUTEX_INIT };
		struct host_pool *pool = pool_of(
			&fake, "192.0.2.1, [2001:db8::1]:77 unix:/run/x inet:192.0.2.3:5", 4);

		assert_int_equal(host_pool_run(pool, fake_work, &fake, NULL), DRIVER_DONE);
		assert_string_equal(fake.last, "/run/x");
		host_pool_destroy(&pool);
	}
}

static void
localhost_is_both_loopback_addresses(void **state)
{
	struct fake       fake = { .lock = MUTEX_INIT, .dead = "localhost" };
	struct host_pool *pool = pool_of(&fake, "localhost:99", 4);

	(void)state;
	assert_int_equal(host_pool_run(pool, fake_work, &fake, NULL), DRIVER_LOST);
	assert_int_equal(fake.connects, 2);
	host_pool_destroy(&pool);
}

static void
malformed_lists_of_hosts_are_refused(void **state)
{
	const char *const wrong[] = { "",      "host:0",  "host:99999",
		                      ":5432", "[::1]:x", "postgresql://u@127.0.0.1/db" };
	struct fake       fake = { .lock = MUTEX_INIT };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct host_pool_settings settings = { .hosts = wrong[i],
			                               .port_default = "1",
			                               .connect = fake_connect,
			                               .close = fake_close,
			                               .context = &fake };
		struct error              error = ERROR_NONE;

		assert_null(host_pool_create(&settings, &error));
		assert_true(error.text[0] != '\0');
	}
	assert_int_equal(host_list_needs("unix:/a /b"), TABLE_NEEDS_UNIX);
	assert_int_equal(host_list_needs("a, inet:b"), TABLE_NEEDS_INET);
	assert_int_equal(host_list_needs("unix:/a b"), TABLE_NEEDS_UNIX | TABLE_NEEDS_INET);
}

static enum driver_result
slow_work(void *context, void *connection, struct error *error)
{
	struct fake *fake = context;

	(void)connection;
	(void)error;
	mutex_lock(&fake->lock);
	if (++fake->together > fake->most_together)
		fake->most_together = fake->together;
	mutex_unlock(&fake->lock);
	usleep(2000);
	mutex_lock(&fake->lock);
	fake->together--;
	fake->works++;
	mutex_unlock(&fake->lock);
	return DRIVER_DONE;
}

struct crowd {
	struct host_pool *pool;
	struct fake      *fake;
};

static void *
ask_often(void *argument)
{
	struct crowd *crowd = argument;

	for (unsigned i = 0; i < 10; i++)
		if (host_pool_run(crowd->pool, slow_work, crowd->fake, NULL) != DRIVER_DONE)
			abort();
	return NULL;
}

static void
threads_share_no_more_connections_than_allowed(void **state)
{
	struct fake  fake = { .lock = MUTEX_INIT };
	struct crowd crowd = { pool_of(&fake, "192.0.2.1", 3), &fake };
	pthread_t    threads[12];

	(void)state;
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(thread_start(&threads[i], ask_often, &crowd), 0);
	for (size_t i = 0; i < 12; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(fake.works, 120);
	assert_in_range(fake.most_together, 1, 3);
	assert_in_range(fake.connects, 1, 3);
	host_pool_destroy(&crowd.pool);
	assert_int_equal(fake.closes, fake.connects);
}

static enum driver_result
stuck_work(void *context, void *connection, struct error *error)
{
	struct fake *fake = context;

	(void)connection;
	mutex_lock(&fake->lock);
	fake->works++;
	mutex_unlock(&fake->lock);
	usleep(300000);
	error_set(error, "timeout");
	return DRIVER_LOST;
}

static void *
ask_stuck(void *argument)
{
	struct crowd *crowd = argument;

	host_pool_run(crowd->pool, stuck_work, crowd->fake, NULL);
	return NULL;
}

static void
one_thread_finds_out_whether_a_dead_server_is_back(void **state)
{
	struct fake  fake = { .lock = MUTEX_INIT, .dead = "192.0.2.1" };
	struct crowd crowd = { pool_of(&fake, "192.0.2.1", 8), &fake };
	pthread_t    threads[6];

	(void)state;
	assert_int_equal(host_pool_run(crowd.pool, fake_work, &fake, NULL), DRIVER_LOST);
	usleep(1100000);
	fake.dead = NULL;
	int64_t start_ms = clock_monotonic_ms();
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(thread_start(&threads[i], ask_stuck, &crowd), 0);
	for (size_t i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(fake.works, 1);
	assert_in_range(clock_monotonic_ms() - start_ms, 250, 5000);
	host_pool_destroy(&crowd.pool);
}

/* ---- what texts say about tables ---- */

static void
needs_are_found_wherever_tables_stand(void **state)
{
	const struct {
		const char *text;
		unsigned    needs;
	} cases[] = {
		{ "hash:/x, regexp:/y static:z", 0 },
		{ "proxy:hash:/x", 0 },
		{ "socketmap:inet:127.0.0.1:99:m", TABLE_NEEDS_INET },
		{ "check_x proxy:socketmap:unix:/run/x:m, reject", TABLE_NEEDS_UNIX },
		{ "debug:tcp:127.0.0.1:9", TABLE_NEEDS_INET },
		{ "pipemap:{hash:/x,{tcp:127.0.0.1:9}}", TABLE_NEEDS_INET },
		/* A cf file that cannot be read may say anything. */
		{ "pgsql:/nonexistent", TABLE_NEEDS_INET | TABLE_NEEDS_UNIX },
		{ "sqlite:/nonexistent", 0 },
		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(table_text_needs(cases[i].text), cases[i].needs);
}

static void
directory_add(const char *name, void *context)
{
	buf_append_format(context, "%s ", name);
}

static void
cf_files_say_which_doors_and_directories(void **state)
{
	char       path[] = "/tmp/dakiya-test-cf-XXXXXX", text[100];
	struct buf found = BUF(1000);
	FILE      *file = fdopen(mkstemp(path), "w");

	(void)state;
	assert_non_null(file);
	fputs("hosts = unix:/run/postgresql\ntls_CAfile = /etc/ssl/certs/x.pem\n", file);
	fclose(file);
	snprintf(text, sizeof(text), "pgsql:%s", path);
	assert_int_equal(table_text_needs(text), TABLE_NEEDS_UNIX);
	snprintf(text, sizeof(text), "check_x proxy:pgsql:%s, debug:hash:/a/b/c", path);
	table_each_directory(text, directory_add, &found);
	assert_string_equal(buf_text(&found), "/tmp /etc/ssl/certs /a/b ");
	buf_free(&found);
	unlink(path);
}

/* ---- POSIX patterns ---- */

static void
posix_patterns_are_rewritten(void **state)
{
	const struct {
		const char *posix;
		bool        is_basic;
		const char *pcre;
	} cases[] = {
		{ "^a(b|c)+$", false, "^a(b|c)+$" },
		{ "[\\w]", false, "[\\\\w]" },
		{ "[]a[]x", false, "[]a\\[]x" },
		{ "[^]\\]y", false, "[^]\\\\]y" },
		{ "[[:alpha:][:digit:]_]z", false, "[[:alpha:][:digit:]_]z" },
		{ "\\<word\\>", false, "\\b(?=\\w)word\\b(?<=\\w)" },
		{ "a\\.b\\\\", false, "a\\.b\\\\" },
		{ "\\(a\\)\\{2\\}(b)+", true, "(a){2}\\(b\\)\\+" },
		{ "[(]a\\|b", true, "[(]a|b" },
		{ "[unclosed", false, "[unclosed" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF(200);

		assert_true(posix_rewrite(slice_from(cases[i].posix), cases[i].is_basic, &out));
		assert_string_equal(buf_text(&out), cases[i].pcre);
		buf_free(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cf_file_has_names_values_and_continued_lines),
		cmocka_unit_test(templates_expand_as_the_manual_says),
		cmocka_unit_test(results_are_formatted_joined_and_limited),
		cmocka_unit_test(a_filter_that_comes_back_to_itself_is_refused),
		cmocka_unit_test(domain_filter_lets_whole_addresses_of_its_domains_pass),
		cmocka_unit_test(socketmap_replies_have_three_answers),
		cmocka_unit_test(tcp_replies_have_three_answers),
		cmocka_unit_test(connections_are_kept_and_a_stale_one_is_no_failure),
		cmocka_unit_test(a_dead_server_is_left_alone_while_another_serves),
		cmocka_unit_test(sockets_are_tried_before_the_network),
		cmocka_unit_test(localhost_is_both_loopback_addresses),
		cmocka_unit_test(malformed_lists_of_hosts_are_refused),
		cmocka_unit_test(one_thread_finds_out_whether_a_dead_server_is_back),
		cmocka_unit_test(threads_share_no_more_connections_than_allowed),
		cmocka_unit_test(needs_are_found_wherever_tables_stand),
		cmocka_unit_test(cf_files_say_which_doors_and_directories),
		cmocka_unit_test(posix_patterns_are_rewritten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
