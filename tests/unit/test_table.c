/* Lookup tables: every type, their corners, and the search order of addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mutex.h"
#include "lib/table/database.h"
#include "lib/table/table.h"

#define DIRECTORY "/tmp/dakiya-test-table"

static const char *
path_of(const char *name)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s-%d/%s", DIRECTORY, (int)getpid(), name);
	return path;
}

static int
directory_make(void **state)
{
	(void)state;
	return mkdir(path_of(""), 0700);
}

static int
directory_remove(void **state)
{
	char              command[300];
	const char *const names[] = { "t", "u.db", "v.db", "w.db" };

	(void)state;
	(void)command;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(path_of(names[i]));
	return rmdir(path_of(""));
}

static void
file_write(const char *name, const char *text)
{
	char  path[200], aside[210];
	FILE *file;

	snprintf(path, sizeof(path), "%s", path_of(name));
	snprintf(aside, sizeof(aside), "%s.new", path);
	file = fopen(aside, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(aside, path), 0);
}

static struct table *
open_or_fail(const char *spec)
{
	struct error  error = ERROR_NONE;
	struct table *table = table_open(spec, false, &error);

	if (table == NULL)
		fail_msg("%s: %s", spec, error.text);
	return table;
}

static struct table *
open_file(const char *type, const char *text)
{
	char spec[250];

	file_write("t", text);
	snprintf(spec, sizeof(spec), "%s:%s", type, path_of("t"));
	return open_or_fail(spec);
}

/* The error text of opening type:file with this content. */
static const char *
open_error(const char *type, const char *text)
{
	static struct error error;
	char                spec[250];

	error = ERROR_NONE;
	file_write("t", text);
	snprintf(spec, sizeof(spec), "%s:%s", type, path_of("t"));
	assert_null(table_open(spec, false, &error));
	return error.text;
}

/* The value, "-" for not found, "!" for try later. */
static const char *
get(struct table *table, const char *key)
{
	static char  answer[300];
	struct buf   value = BUF(1000);
	struct error error = ERROR_NONE;

	switch (table_lookup(table, slice_from(key), &value, &error)) {
	case LOOKUP_FOUND: snprintf(answer, sizeof(answer), "%s", buf_text(&value)); break;
	case LOOKUP_NOT_FOUND: snprintf(answer, sizeof(answer), "-"); break;
	case LOOKUP_TRY_LATER:
		assert_true(error.text[0] != '\0');
		snprintf(answer, sizeof(answer), "!");
		break;
	}
	buf_free(&value);
	return answer;
}

static void
inline_table_takes_both_forms_and_folds_keys(void **state)
{
	struct table *table = open_or_fail("inline:{ a=b, { C = d e }  x=y=z }");

	(void)state;
	assert_string_equal(get(table, "A"), "b");
	assert_string_equal(get(table, "c"), "d e");
	assert_string_equal(get(table, "x"), "y=z");
	assert_string_equal(get(table, "y"), "-");
	table_close(&table);
	assert_null(table_open("inline:{ a }", false, NULL));
	assert_null(table_open("inline:{ }", false, NULL));
	assert_null(table_open("inline:a=b", false, NULL));
}

static void
static_answers_every_key(void **state)
{
	struct table *table = open_or_fail("static:{ hello world }");

	(void)state;
	assert_string_equal(get(table, "anything"), "hello world");
	table_close(&table);
}

static void
fail_never_says_not_found(void **state)
{
	struct table *table = open_or_fail("fail:x");

	(void)state;
	assert_string_equal(get(table, "a"), "!");
	table_close(&table);
}

static void
texthash_joins_continued_lines_and_keeps_the_first(void **state)
{
	struct table *table = open_file("texthash", "# comment\n\nKey  one\n  # inside\n two\n"
	                                            "key three\nlast four");

	(void)state;
	assert_string_equal(get(table, "KEY"), "one two");
	assert_string_equal(get(table, "last"), "four");
	table_close(&table);
	assert_non_null(strstr(open_error("texthash", "a b\nlonely\n"), "t:2:"));
}

static void
texthash_notices_a_change_and_keeps_the_old_when_malformed(void **state)
{
	struct table *table = open_file("texthash", "a 1\n");

	(void)state;
	assert_string_equal(get(table, "a"), "1");
	file_write("t", "a 22\n");
	usleep(150 * 1000);
	assert_string_equal(get(table, "a"), "22");
	file_write("t", "broken\n");
	usleep(150 * 1000);
	assert_string_equal(get(table, "a"), "22");
	unlink(path_of("t"));
	usleep(150 * 1000);
	assert_string_equal(get(table, "a"), "!");
	file_write("t", "a 4\n");
	usleep(150 * 1000);
	assert_string_equal(get(table, "a"), "4");
	table_close(&table);
}

static void
cidr_gives_the_first_match(void **state)
{
	struct table *table = open_file("cidr", "192.0.2.1 host\n192.0.2.0/24 net\n"
	                                        "2001:db8::/32 six\n[::1]/128 loop\n"
	                                        "if 10.0.0.0/8\n!10.1.0.0/16 not-one\n"
	                                        "0.0.0.0/0 inside\nendif\n");

	(void)state;
	assert_string_equal(get(table, "192.0.2.1"), "host");
	assert_string_equal(get(table, "192.0.2.2"), "net");
	assert_string_equal(get(table, "::ffff:192.0.2.2"), "net");
	assert_string_equal(get(table, "2001:db8:1::1"), "six");
	assert_string_equal(get(table, "::1"), "loop");
	assert_string_equal(get(table, "10.2.0.1"), "not-one");
	assert_string_equal(get(table, "10.1.0.1"), "inside");
	assert_string_equal(get(table, "11.1.0.1"), "-");
	assert_string_equal(get(table, "example.org"), "-");
	assert_true(table_has_patterns(table));
	table_close(&table);
}

static void
cidr_errors_name_file_and_line(void **state)
{
	(void)state;
	assert_non_null(strstr(open_error("cidr", "10.0.0.0/8 a\n10.0.0.1/8 b\n"), "t:2:"));
	assert_non_null(strstr(open_error("cidr", "10.0.0.1/8 b\n"), "10.0.0.0/8"));
	assert_non_null(strstr(open_error("cidr", "10.0.0.0/33 b\n"), "prefix length"));
	assert_non_null(strstr(open_error("cidr", "10.0.0.0/8\n"), "no result"));
	assert_non_null(strstr(open_error("cidr", "\nif 10.0.0.0/8\n"), "t:2:"));
	assert_non_null(strstr(open_error("cidr", "endif\n"), "t:1:"));
}

static void
pcre_substitutes_groups(void **state)
{
	struct table *table = open_file("pcre", "/^(.*)-(.*)@example\\.org$/ $2+${1}$$\n"
	                                        "!/@/ no-at\n"
	                                        "if /@a\\./\n/^x/i exact\n/./ any\nendif\n"
	                                        "/(a)|(b)/ <$2>\n");

	(void)state;
	assert_string_equal(get(table, "One-Two@EXAMPLE.org"), "Two+One$");
	assert_string_equal(get(table, "bare"), "no-at");
	assert_string_equal(get(table, "x@a.b"), "exact");
	assert_string_equal(get(table, "X@a.b"), "any");
	assert_string_equal(get(table, "q@A.b"), "any");
	assert_string_equal(get(table, "a@"), "<>");
	assert_string_equal(get(table, "z@z"), "-");
	table_close(&table);
}

static void
pattern_errors_name_file_and_line(void **state)
{
	(void)state;
	assert_non_null(strstr(open_error("pcre", "/ok/ a\n/(/ b\n"), "t:2:"));
	assert_non_null(strstr(open_error("pcre", "/a/ $1\n"), "$1"));
	assert_non_null(strstr(open_error("pcre", "!/(a)/ $1\n"), "negated"));
	assert_non_null(strstr(open_error("pcre", "/a/q b\n"), "flag"));
	assert_non_null(strstr(open_error("regexp", "/a b\n"), "delimiter"));
	assert_non_null(strstr(open_error("regexp", "/a/ ${1\n"), "$1"));
	assert_non_null(strstr(open_error("regexp", "key value\n"), "delimiters"));
}

static void
pattern_that_explodes_is_cut_short(void **state)
{
	struct table *table = open_file("pcre", "/^(a+)+$/ yes\n");
	char          key[60];

	(void)state;
	memset(key, 'a', sizeof(key) - 2);
	key[sizeof(key) - 2] = '!';
	key[sizeof(key) - 1] = '\0';
	assert_string_equal(get(table, key), "!");
	assert_string_equal(get(table, "aaa"), "yes");
	table_close(&table);
}

static void
inline_patterns_work(void **state)
{
	struct table *table = open_or_fail("regexp:{{/^[^A-Z]/ Bogus}, { /^GET (.*)/ <$1> }}");

	(void)state;
	assert_string_equal(get(table, "1x"), "Bogus");
	assert_string_equal(get(table, "get a"), "<a>");
	table_close(&table);
}

static void
database_make(const char *name, enum database_kind kind, bool has_nul)
{
	struct error     error = ERROR_NONE;
	struct database *database;

	unlink(path_of(name));
	database = database_create(path_of(name), kind, 0600, &error);
	if (database == NULL)
		fail_msg("%s", error.text);
	database_set_nul(database, has_nul);
	assert_int_equal(database_add(database, SLICE("key"), SLICE("value"), &error),
	                 LOOKUP_NOT_FOUND);
	assert_int_equal(database_add(database, SLICE("key"), SLICE("other"), &error),
	                 LOOKUP_FOUND);
	assert_int_equal(database_add(database, SLICE("empty"), SLICE(""), &error),
	                 LOOKUP_NOT_FOUND);
	assert_true(database_close(&database, &error));
}

static void
databases_are_read_with_and_without_nul(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		char spec[250];

		database_make("u.db", i & 1 ? DATABASE_HASH : DATABASE_BTREE, i & 2);
		snprintf(spec, sizeof(spec), "%s:%s", i & 1 ? "hash" : "btree", path_of("u"));
		struct table *table = open_or_fail(spec);
		assert_string_equal(get(table, "KEY"), "value");
		assert_string_equal(get(table, "empty"), "");
		assert_string_equal(get(table, "ke"), "-");
		assert_string_equal(get(table, ""), "-");
		table_close(&table);
	}
}

static void
missing_database_is_try_later_until_it_is_there(void **state)
{
	char         spec[250];
	struct error error = ERROR_NONE;

	(void)state;
	snprintf(spec, sizeof(spec), "hash:%s", path_of("v"));
	assert_null(table_open(spec, false, &error));
	assert_non_null(strstr(error.text, "v.db: No such file"));
	struct table *table = table_open(spec, true, &error);
	assert_non_null(table);
	assert_string_equal(get(table, "key"), "!");
	database_make("v.db", DATABASE_HASH, true);
	usleep(150 * 1000);
	assert_string_equal(get(table, "key"), "value");
	/* Replaced by rename, as dakmap does. */
	database_make("w.db", DATABASE_BTREE, false);
	char from[200], to[200];
	snprintf(from, sizeof(from), "%s", path_of("w.db"));
	snprintf(to, sizeof(to), "%s", path_of("v.db"));
	assert_int_equal(rename(from, to), 0);
	usleep(150 * 1000);
	assert_string_equal(get(table, "key"), "value");
	file_write("v.db", "this is no database, but long enough to be looked at, and more");
	usleep(150 * 1000);
	assert_string_equal(get(table, "key"), "!");
	table_close(&table);
}

/* Four threads look up while the file is replaced; each must always find one of the versions. */
struct reader {
	struct table *table;
	_Atomic bool *is_over;
	size_t        lookups;
	size_t        wrong;
};

static void *
read_on(void *argument)
{
	struct reader *reader = argument;
	struct buf     value = BUF(1000);

	while (!atomic_load(reader->is_over)) {
		struct error error = ERROR_NONE;
		enum lookup  answer = table_lookup(reader->table, SLICE("key"), &value, &error);

		reader->wrong += answer != LOOKUP_FOUND || value.length != 5;
		reader->lookups++;
	}
	buf_free(&value);
	return NULL;
}

static void
lookups_go_on_while_the_file_is_replaced(void **state)
{
	char          spec[250], from[200], to[200];
	struct reader readers[4];
	pthread_t     threads[4];
	_Atomic bool  is_over = false;

	(void)state;
	database_make("v.db", DATABASE_HASH, true);
	snprintf(spec, sizeof(spec), "hash:%s", path_of("v"));
	struct table *table = open_or_fail(spec);
	for (size_t i = 0; i < 4; i++) {
		readers[i] = (struct reader){ .table = table, .is_over = &is_over };
		assert_int_equal(thread_start(&threads[i], read_on, &readers[i]), 0);
	}
	uint64_t before = table_refresh(table);
	for (int i = 0; i < 10; i++) {
		database_make("w.db", i % 2 == 0 ? DATABASE_BTREE : DATABASE_HASH, i % 3 == 0);
		snprintf(from, sizeof(from), "%s", path_of("w.db"));
		snprintf(to, sizeof(to), "%s", path_of("v.db"));
		assert_int_equal(rename(from, to), 0);
		usleep(60 * 1000);
	}
	atomic_store(&is_over, true);
	for (size_t i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_true(readers[i].lookups > 100);
		assert_int_equal(readers[i].wrong, 0);
	}
	assert_true(table_refresh(table) > before);
	table_close(&table);
}

static void
unknown_types_and_relative_names_are_refused(void **state)
{
	struct error error = ERROR_NONE;

	(void)state;
	assert_null(table_open("hsh:/etc/x", true, &error));
	assert_non_null(strstr(error.text, "hsh:/etc/x"));
	assert_null(table_open("hash:etc/x", true, &error));
	assert_non_null(strstr(error.text, "absolute"));
	assert_null(table_open("hash:", true, &error));
	assert_null(table_open("nothing", true, &error));
}

static void
combined_tables_join_chain_and_choose(void **state)
{
	struct table *table = open_or_fail("unionmap:{inline:{a=1}, inline:{a=2, b=3}}");

	(void)state;
	assert_string_equal(get(table, "a"), "1,2");
	assert_string_equal(get(table, "b"), "3");
	assert_string_equal(get(table, "c"), "-");
	table_close(&table);
	table = open_or_fail("pipemap:{inline:{a=b}, inline:{b=c}}");
	assert_string_equal(get(table, "a"), "c");
	assert_string_equal(get(table, "b"), "-");
	table_close(&table);
	table = open_or_fail("randmap:{x}");
	assert_string_equal(get(table, "a"), "x");
	table_close(&table);
	table = open_or_fail("unionmap:{inline:{a=1}, fail:x}");
	assert_string_equal(get(table, "a"), "!");
	table_close(&table);
	table = open_or_fail("proxy:unix:passwd.byname");
	assert_memory_equal(get(table, "root"), "root:", 5);
	table_close(&table);
}

/* What the list answers for an address, and the extension left over, as "value|ext". */
static const char *
find(const char *specs, struct address_lookup what)
{
	static char        answer[300];
	struct error       error = ERROR_NONE;
	struct table_list *list = table_list_open(specs, &error);
	struct buf         value = BUF(1000);
	struct slice       extension;

	assert_non_null(list);
	what.delimiters = "+";
	switch (table_list_lookup_address(list, &what, &value, &extension, &error)) {
	case LOOKUP_FOUND:
		snprintf(answer, sizeof(answer), "%s|%.*s", buf_text(&value),
		         SLICE_ARGS(extension));
		break;
	case LOOKUP_NOT_FOUND: snprintf(answer, sizeof(answer), "-"); break;
	case LOOKUP_TRY_LATER: snprintf(answer, sizeof(answer), "!"); break;
	}
	buf_free(&value);
	table_list_close(&list);
	return answer;
}

static void
addresses_are_searched_from_the_whole_to_the_domain(void **state)
{
	struct address_lookup what = { .address = SLICE("user+ext@dom") };

	(void)state;
	assert_string_equal(find("inline:{user+ext@dom=1, user@dom=2, @dom=5}", what), "1|");
	assert_string_equal(find("inline:{user@dom=2, @dom=5, user+ext=3}", what), "2|+ext");
	assert_string_equal(find("inline:{user+ext=3, user=4, @dom=5}", what), "5|");
	what.is_own_domain = true;
	assert_string_equal(find("inline:{user+ext=3, user=4, @dom=5}", what), "3|");
	assert_string_equal(find("inline:{user=4, @dom=5}", what), "4|+ext");
	what.without_catch_all = true;
	assert_string_equal(find("inline:{@dom=5}", what), "-");
	assert_string_equal(find("", what), "-");
}

static void
pattern_tables_see_only_the_whole_address(void **state)
{
	struct address_lookup what = { .address = SLICE("user+ext@dom") };

	(void)state;
	assert_string_equal(find("regexp:{{/^user@dom$/ bad}}", what), "-");
	assert_string_equal(find("regexp:{{/^@dom$/ bad}}, inline:{@dom=5}", what), "5|");
	assert_string_equal(find("inline:{@dom=5}, regexp:{{/ext@dom$/ good}}", what), "good|");
}

static void
trouble_stops_the_search(void **state)
{
	struct address_lookup what = { .address = SLICE("user@dom") };

	(void)state;
	assert_string_equal(find("fail:x, inline:{user@dom=1}", what), "!");
	assert_string_equal(find("inline:{user@dom=1}, fail:x", what), "1|");
	assert_string_equal(find("inline:{@dom=1}, fail:x", what), "!");
}

static void
collect(const char *directory, void *context)
{
	struct buf *all = context;

	buf_append_text(all, directory);
	buf_append_byte(all, ' ');
}

static void
directories_are_found_wherever_tables_stand(void **state)
{
	struct buf all = BUF(1000);

	(void)state;
	table_each_directory("hash:/etc/a/b, !/srv/list check_x {cidr:/var/c} inline:{ x=y } "
	                     "proxy:btree:/q/r static:/no unionmap:{pcre:/m/n} unix:passwd.byname",
	                     collect, &all);
	assert_string_equal(buf_text(&all), "/etc/a /srv /var /q /m /etc ");
	buf_free(&all);
}

static void
lists_keep_braces_together(void **state)
{
	struct slice rest = SLICE(" a, inline:{ b=c, { d = e } },\tf "), item;

	(void)state;
	assert_true(table_next_item(&rest, &item));
	assert_true(slice_equal(item, SLICE("a")));
	assert_true(table_next_item(&rest, &item));
	assert_true(slice_equal(item, SLICE("inline:{ b=c, { d = e } }")));
	assert_true(table_next_item(&rest, &item));
	assert_true(slice_equal(item, SLICE("f")));
	assert_false(table_next_item(&rest, &item));
}

static void
prefixes_stand_before_any_type(void **state)
{
	struct table *table = open_or_fail("proxy:inline:{a=b}");

	(void)state;
	assert_string_equal(get(table, "A"), "b");
	table_close(&table);
	table = open_or_fail("debug:proxy:inline:{a=b}");
	assert_string_equal(get(table, "a"), "b");
	assert_string_equal(get(table, "c"), "-");
	assert_string_equal(table_spec(table), "debug:proxy:inline:{a=b}");
	table_close(&table);
	table = open_or_fail("unionmap:{proxy:inline:{a=b},debug:static:c}");
	assert_string_equal(get(table, "a"), "b,c");
	table_close(&table);
	assert_true(table_spec_is_known(SLICE("proxy:debug:cidr:/x")));
	assert_false(table_spec_is_known(SLICE("proxy:nis:x")));
	assert_false(table_spec_is_known(SLICE("proxy:/x")));
}

static void
types_of_others_are_refused_with_advice(void **state)
{
	const struct {
		const char *spec, *words;
	} cases[] = {
		{ "nis:mail.aliases", "tables of type nis are not supported: use texthash:" },
		{ "memcache:/x.cf", "use redis:" },
		{ "dbm:/x", "build it as hash: or lmdb:" },
		{ "hahs:/x", "unsupported table type \"hahs\"" },
		{ "socketmap:host:9:x", "want socketmap:inet:host:port:name" },
		{ "socketmap:inet:127.0.0.1:9:", "want socketmap:inet:host:port:name" },
		{ "tcp:127.0.0.1", "want a host with or without a port" },
		{ "pgsql:relative.cf", "must be named by its absolute path" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error error = ERROR_NONE;

		assert_null(table_open(cases[i].spec, false, &error));
		if (strstr(error.text, cases[i].words) == NULL)
			fail_msg("%s", error.text);
	}
}

/* A missing cf file, or a server that is not there, is trouble and nothing else. */
static void
servers_that_are_not_there_are_try_later(void **state)
{
	struct error  error = ERROR_NONE;
	struct table *table = table_open("pgsql:/nonexistent/x.cf", true, &error);

	(void)state;
	/* Where the library's development package is missing, the module is not built. */
	if (table == NULL)
		assert_non_null(strstr(error.text, "need the package dakiya-pgsql"));
	else
		assert_string_equal(get(table, "k"), "!");
	table_close(&table);
	table = open_or_fail("socketmap:unix:/nonexistent/socket:map");
	assert_string_equal(get(table, "k"), "!");
	assert_string_equal(get(table, "k"), "!");
	assert_true(table_has_patterns(table));
	table_close(&table);
}

static void
combined_tables_take_parts_of_keys_when_one_inside_does(void **state)
{
	const struct {
		const char *spec;
		bool        has_patterns;
	} cases[] = {
		{ "unionmap:{inline:{a=b},static:x}", false },
		{ "unionmap:{regexp:{{/a/ b}},inline:{a=b}}", false },
		{ "pipemap:{regexp:{{/a/ b}},pcre:{{/b/ c}}}", true },
		{ "pipemap:{unionmap:{pcre:{{/a/ b}}}}", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct table *table = open_or_fail(cases[i].spec);

		assert_int_equal(table_has_patterns(table), cases[i].has_patterns);
		table_close(&table);
	}
}

static void
braces_nest_in_combined_tables(void **state)
{
	struct table *table = open_or_fail(
		"pipemap:{ inline:{ { a = b c } }, {unionmap:{ inline:{ {b c=x} {d=y} }, "
		"pipemap:{static:q,inline:{q=r}} }} }");

	(void)state;
	assert_string_equal(get(table, "a"), "x,r");
	assert_string_equal(get(table, "d"), "-");
	table_close(&table);
	table = open_or_fail("randmap:{ { one two } }");
	assert_string_equal(get(table, "k"), "one two");
	table_close(&table);
}

static void
pattern_flags_are_those_of_the_manual(void **state)
{
	const struct {
		const char *spec, *key, *want;
	} cases[] = {
		{ "regexp:{{/ABC/ y}}", "xabcx", "y" },
		{ "regexp:{{/ABC/i y}}", "xabcx", "-" },
		{ "regexp:{{/^b$/ y}}", "a\nb", "-" },
		{ "regexp:{{/^b$/m y}}", "a\nb", "y" },
		{ "regexp:{{/a.b/ y}}", "a\nb", "y" },
		{ "regexp:{{/a.b/m y}}", "a\nb", "-" },
		{ "regexp:{{/b$/ y}}", "b\n", "-" },
		{ "regexp:{{/^\\(a\\)(b)$/x <$1>}}", "a(b)", "<a>" },
		{ "regexp:{{/[\\d]/ y}}", "7", "-" },
		{ "regexp:{{/\\<in\\>/ y}}", "is in it", "y" },
		{ "regexp:{{/\\<in\\>/ y}}", "inside", "-" },
		{ "regexp:{{|^(a)/(b)| $2$1$$}}", "a/b", "ba$" },
		{ "pcre:{{/ABC/ y}}", "xabcx", "y" },
		{ "pcre:{{/ABC/i y}}", "xabcx", "-" },
		{ "pcre:{{/a b/x y}}", "ab", "y" },
		{ "pcre:{{/b/A y}}", "ab", "-" },
		{ "pcre:{{/b$/ y}}", "b\n", "y" },
		{ "pcre:{{/b$/E y}}", "b\n", "-" },
		{ "pcre:{{/a.b/ y}}", "a\nb", "y" },
		{ "pcre:{{/a.b/s y}}", "a\nb", "-" },
		{ "pcre:{{/^b/m y}}", "a\nb", "y" },
		{ "pcre:{{/(a+)/U <$1>}}", "aaa", "<a>" },
		{ "pcre:{{/a/X y}}", "a", "y" },
		{ "pcre:{{/(a)(b)?c/ ${1}$(2)x}}", "ac", "ax" },
		{ "pcre:{{!/a/ none}}", "b", "none" },
		{ "pcre:{{if /a/} {if !/b/} {/c/ abc} {endif} {/./ a} {endif} {/./ other}}", "ac",
		  "abc" },
		{ "pcre:{{if /a/} {if !/b/} {/c/ abc} {endif} {/./ a} {endif} {/./ other}}", "abc",
		  "a" },
		{ "pcre:{{if /a/} {if !/b/} {/c/ abc} {endif} {/./ a} {endif} {/./ other}}", "c",
		  "other" },
		{ "cidr:{{if !10.0.0.0/8} {192.0.2.1 one} {endif} {!192.0.2.0/24 far} {0.0.0.0/0 "
		  "v4}}",
		  "192.0.2.1", "one" },
		{ "cidr:{{if !10.0.0.0/8} {192.0.2.1 one} {endif} {!192.0.2.0/24 far} {0.0.0.0/0 "
		  "v4}}",
		  "192.0.2.2", "v4" },
		{ "cidr:{{if !10.0.0.0/8} {192.0.2.1 one} {endif} {!192.0.2.0/24 far} {0.0.0.0/0 "
		  "v4}}",
		  "10.1.1.1", "far" },
		{ "cidr:{{::/0 v6}}", "2001:db8::1", "v6" },
		{ "cidr:{{::/0 v6}}", "192.0.2.1", "-" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct table *table = open_or_fail(cases[i].spec);

		if (strcmp(get(table, cases[i].key), cases[i].want) != 0)
			fail_msg("%s %s: %s", cases[i].spec, cases[i].key,
			         get(table, cases[i].key));
		table_close(&table);
	}
}

static void
users_and_groups_of_the_system_are_tables(void **state)
{
	struct table *users = open_or_fail("unix:passwd.byname");
	struct table *groups = open_or_fail("proxy:unix:group.byname");

	(void)state;
	assert_true(strncmp(get(users, "root"), "root:x:0:0:", 11) == 0);
	assert_string_equal(get(users, "no-such-user"), "-");
	assert_true(strncmp(get(groups, "root"), "root:x:0:", 9) == 0);
	table_close(&users);
	table_close(&groups);
	assert_null(table_open("unix:shadow.byname", false, NULL));
}

static void
keys_with_blanks_stand_in_quotes(void **state)
{
	struct table *table = open_file("texthash", "\"a b\"@x  y z\nc\\ d e\n");

	(void)state;
	assert_string_equal(get(table, "\"A b\"@x"), "y z");
	assert_string_equal(get(table, "c\\ d"), "e");
	table_close(&table);
}

static bool
append_entry(struct slice key, struct slice value, void *context)
{
	buf_append_format(context, "%.*s=%.*s ", SLICE_ARGS(key), SLICE_ARGS(value));
	return true;
}

static void
tables_with_fixed_keys_are_listed_others_not(void **state)
{
	struct table *table = open_or_fail("inline:{Aa=b}");
	struct buf    found = BUF(100);
	struct error  error = ERROR_NONE;

	(void)state;
	assert_true(table_each(table, append_entry, &found, &error));
	assert_string_equal(buf_text(&found), "aa=b ");
	table_close(&table);
	table = open_or_fail("static:x");
	assert_false(table_each(table, append_entry, &found, &error));
	assert_non_null(strstr(error.text, "cannot be listed"));
	table_close(&table);
	buf_free(&found);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inline_table_takes_both_forms_and_folds_keys),
		cmocka_unit_test(static_answers_every_key),
		cmocka_unit_test(fail_never_says_not_found),
		cmocka_unit_test(texthash_joins_continued_lines_and_keeps_the_first),
		cmocka_unit_test(texthash_notices_a_change_and_keeps_the_old_when_malformed),
		cmocka_unit_test(cidr_gives_the_first_match),
		cmocka_unit_test(cidr_errors_name_file_and_line),
		cmocka_unit_test(pcre_substitutes_groups),
		cmocka_unit_test(pattern_errors_name_file_and_line),
		cmocka_unit_test(pattern_that_explodes_is_cut_short),
		cmocka_unit_test(inline_patterns_work),
		cmocka_unit_test(databases_are_read_with_and_without_nul),
		cmocka_unit_test(missing_database_is_try_later_until_it_is_there),
		cmocka_unit_test(lookups_go_on_while_the_file_is_replaced),
		cmocka_unit_test(unknown_types_and_relative_names_are_refused),
		cmocka_unit_test(combined_tables_join_chain_and_choose),
		cmocka_unit_test(addresses_are_searched_from_the_whole_to_the_domain),
		cmocka_unit_test(pattern_tables_see_only_the_whole_address),
		cmocka_unit_test(trouble_stops_the_search),
		cmocka_unit_test(directories_are_found_wherever_tables_stand),
		cmocka_unit_test(prefixes_stand_before_any_type),
		cmocka_unit_test(types_of_others_are_refused_with_advice),
		cmocka_unit_test(servers_that_are_not_there_are_try_later),
		cmocka_unit_test(combined_tables_take_parts_of_keys_when_one_inside_does),
		cmocka_unit_test(braces_nest_in_combined_tables),
		cmocka_unit_test(pattern_flags_are_those_of_the_manual),
		cmocka_unit_test(users_and_groups_of_the_system_are_tables),
		cmocka_unit_test(keys_with_blanks_stand_in_quotes),
		cmocka_unit_test(tables_with_fixed_keys_are_listed_others_not),
		cmocka_unit_test(lists_keep_braces_together),
	};
	return cmocka_run_group_tests(tests, directory_make, directory_remove);
}
