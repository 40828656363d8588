/* Match lists: names, parents, networks, tables, files, negation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "lib/table/match.h"

/* "yes", "no", "later", or the error of opening. */
static const char *
word(struct match_list **list, enum lookup answer)
{
	match_list_close(list);
	switch (answer) {
	case LOOKUP_FOUND: return "yes";
	case LOOKUP_NOT_FOUND: return "no";
	case LOOKUP_TRY_LATER: return "later";
	}
	return "?";
}

static const char *
name(const char *items, enum match_kind kind, const char *text)
{
	static struct error error;
	struct match_list  *list = match_list_open(items, kind, &error);

	if (list == NULL)
		return error.text;
	return word(&list, match_list_name(list, slice_from(text), &error));
}

static const char *
client(const char *items, const char *text, const char *address)
{
	static struct error error;
	struct match_list  *list = match_list_open(items, MATCH_HOSTS, &error);

	if (list == NULL)
		return error.text;
	return word(&list, match_list_client(list, slice_from(text), slice_from(address), &error));
}

static void
domains_match_themselves_only(void **state)
{
	(void)state;
	assert_string_equal(name("a.test, b.test", MATCH_DOMAINS, "B.TEST"), "yes");
	assert_string_equal(name("a.test", MATCH_DOMAINS, "x.a.test"), "no");
	assert_string_equal(name(".a.test", MATCH_DOMAINS, "x.y.a.test"), "yes");
	assert_string_equal(name(".a.test", MATCH_DOMAINS, "a.test"), "no");
	assert_string_equal(name("", MATCH_DOMAINS, "a.test"), "no");
}

static void
parents_match_where_asked(void **state)
{
	(void)state;
	assert_string_equal(name("a.test", MATCH_DOMAINS_AND_PARENTS, "x.a.test"), "yes");
	assert_string_equal(name("a.test", MATCH_DOMAINS_AND_PARENTS, "xa.test"), "no");
	assert_string_equal(name("a.test", MATCH_STRINGS, "x.a.test"), "no");
}

static void
first_match_decides_and_negation_says_no(void **state)
{
	(void)state;
	assert_string_equal(name("!x.a.test, .a.test", MATCH_DOMAINS, "x.a.test"), "no");
	assert_string_equal(name("!x.a.test, .a.test", MATCH_DOMAINS, "y.a.test"), "yes");
	assert_string_equal(name("!!a.test", MATCH_DOMAINS, "a.test"), "yes");
	assert_non_null(strstr(name("a, !", MATCH_DOMAINS, "a"), "!"));
}

static void
networks_of_both_families(void **state)
{
	const char *items = "127.0.0.0/8 [::1]/128 [2001:db8::]/32 192.0.2.7";

	(void)state;
	assert_string_equal(client(items, "unknown", "127.1.2.3"), "yes");
	assert_string_equal(client(items, "unknown", "::1"), "yes");
	assert_string_equal(client(items, "unknown", "::2"), "no");
	assert_string_equal(client(items, "unknown", "2001:db8:ffff::1"), "yes");
	assert_string_equal(client(items, "unknown", "2001:db9::1"), "no");
	assert_string_equal(client(items, "unknown", "192.0.2.7"), "yes");
	assert_string_equal(client(items, "unknown", "::ffff:192.0.2.7"), "yes");
	assert_string_equal(client(items, "unknown", "192.0.2.8"), "no");
	assert_string_equal(client(items, "unknown", "unknown"), "no");
	assert_string_equal(client(items, "unknown", ""), "no");
	assert_string_equal(client("!192.0.2.1, 192.0.2.0/24", "", "192.0.2.1"), "no");
	assert_string_equal(client("!192.0.2.1, 192.0.2.0/24", "", "192.0.2.2"), "yes");
	assert_string_equal(client("0.0.0.0/0", "", "192.0.2.2"), "yes");
	assert_string_equal(client("0.0.0.0/0", "", "::1"), "no");
	assert_string_equal(client("::/0", "", "::1"), "yes");
}

static void
hosts_match_by_name_or_address(void **state)
{
	(void)state;
	assert_string_equal(client("mail.test", "mail.test", "192.0.2.1"), "yes");
	assert_string_equal(client(".test 192.0.2.1", "mail.other", "192.0.2.1"), "yes");
	assert_string_equal(client("mail.test", "", "192.0.2.1"), "no");
}

static void
wrong_networks_are_refused_with_the_right_one(void **state)
{
	(void)state;
	assert_non_null(strstr(client("192.0.2.1/24", "", "192.0.2.1"), "192.0.2.0/24"));
	assert_non_null(strstr(client("192.0.2.0/33", "", "192.0.2.1"), "prefix"));
	assert_non_null(strstr(client("[::1", "", "192.0.2.1"), "[::1"));
	assert_non_null(strstr(name("example.org", MATCH_ADDRESSES, ""), "no IP address"));
}

static void
tables_are_asked_with_parents(void **state)
{
	(void)state;
	assert_string_equal(name("inline:{a.test=1}", MATCH_DOMAINS, "a.test"), "yes");
	assert_string_equal(name("inline:{a.test=1}", MATCH_DOMAINS, "x.a.test"), "no");
	assert_string_equal(name("inline:{.a.test=1}", MATCH_DOMAINS, "x.a.test"), "yes");
	assert_string_equal(name("inline:{a.test=1}", MATCH_DOMAINS_AND_PARENTS, "x.a.test"),
	                    "yes");
	assert_string_equal(client("cidr:{{192.0.2.0/24 x}}", "n.test", "192.0.2.9"), "yes");
	assert_string_equal(client("!inline:{192.0.2.9=x}, 192.0.2.0/24", "n", "192.0.2.9"), "no");
	assert_string_equal(name("GET POST regexp:{{/^[^A-Z]/ Bogus}}", MATCH_STRINGS, "get"),
	                    "yes");
	assert_string_equal(name("GET POST regexp:{{/^[0-9]/ Bogus}}", MATCH_STRINGS, "1"), "yes");
}

static void
trouble_is_never_a_no(void **state)
{
	(void)state;
	assert_string_equal(name("fail:x, a.test", MATCH_DOMAINS, "a.test"), "later");
	assert_string_equal(name("!fail:x, a.test", MATCH_DOMAINS, "a.test"), "later");
	assert_string_equal(name("a.test, fail:x", MATCH_DOMAINS, "a.test"), "yes");
	assert_string_equal(name("hash:/nonexistent/x", MATCH_DOMAINS, "a.test"), "later");
}

static void
files_hold_items(void **state)
{
	char  path[100], items[120];
	FILE *file;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/dakiya-test-match-%d", (int)getpid());
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("# ours\na.test\n!b.test, .test\n", file);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(name(path, MATCH_DOMAINS, "a.test"), "yes");
	assert_string_equal(name(path, MATCH_DOMAINS, "b.test"), "no");
	assert_string_equal(name(path, MATCH_DOMAINS, "c.test"), "yes");
	snprintf(items, sizeof(items), "!%s, a.test, x.org", path);
	assert_string_equal(name(items, MATCH_DOMAINS, "a.test"), "no");
	assert_string_equal(name(items, MATCH_DOMAINS, "x.org"), "yes");
	/* A file that names itself. */
	file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file, "%s\n", path);
	assert_int_equal(fclose(file), 0);
	assert_non_null(strstr(name(path, MATCH_DOMAINS, "a.test"), "too deeply"));
	unlink(path);
	assert_non_null(strstr(name(path, MATCH_DOMAINS, "a.test"), "No such file"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(domains_match_themselves_only),
		cmocka_unit_test(parents_match_where_asked),
		cmocka_unit_test(first_match_decides_and_negation_says_no),
		cmocka_unit_test(networks_of_both_families),
		cmocka_unit_test(hosts_match_by_name_or_address),
		cmocka_unit_test(wrong_networks_are_refused_with_the_right_one),
		cmocka_unit_test(tables_are_asked_with_parents),
		cmocka_unit_test(trouble_is_never_a_no),
		cmocka_unit_test(files_hold_items),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
