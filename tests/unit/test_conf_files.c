/* test_conf_files.c - the readers of main.cf and master.cf, nearest names, environments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/conf/computed.h"
#include "lib/conf/environment.h"
#include "lib/conf/mainfile.h"
#include "lib/conf/masterfile.h"
#include "lib/conf/names.h"
#include "lib/conf/owner.h"

#include <netinet/in.h>

static const char main_text[] = "# a comment\n"
				"first = one\n"
				"   # a comment in a continued line\n"
				"\n"
				"  two,\n"
				"\tthree\n"
				"second=  spaced  \n"
				"empty =\n"
				"with_equals = a = b\n"
				"first = again\n"
				"crlf = yes\r\n"
				"last = no line end";

static void
main_cf_is_read_with_places_and_comments_kept(void **state)
{
	(void)state;
	struct main_file file;
	struct report    report = REPORT_NONE;
	struct values    values = VALUES_NONE;

	main_file_parse(&file, "main.cf", slice_from(main_text), &report);
	assert_int_equal(report.list.count, 0);
	assert_int_equal(file.entries.count, 7);
	const struct main_entry *first = &file.entries.items[0];
	assert_string_equal(first->text.data, "one  two,\tthree");
	assert_int_equal(first->line, 2);
	/* Its bytes: from its name to the end of its last continuation line. */
	assert_memory_equal(file.text.data + first->first_byte, "first = one\n", 12);
	assert_memory_equal(file.text.data + first->end_byte - 7, "\tthree\n", 7);
	assert_memory_equal(file.text.data, main_text, sizeof(main_text) - 1);

	assert_true(main_file_values(&file, &values, &report));
	assert_string_equal(values_get(&values, SLICE("first"))->text, "again");
	assert_int_equal(values_get(&values, SLICE("first"))->line, 10);
	assert_string_equal(values_get(&values, SLICE("second"))->text, "spaced");
	assert_string_equal(values_get(&values, SLICE("empty"))->text, "");
	assert_string_equal(values_get(&values, SLICE("with_equals"))->text, "a = b");
	assert_string_equal(values_get(&values, SLICE("crlf"))->text, "yes");
	assert_string_equal(values_get(&values, SLICE("last"))->text, "no line end");
	assert_int_equal(report.list.count, 1);
	assert_string_equal(report.list.items[0].text,
	                    "overriding earlier entry: first = one  two,\tthree (line 2)");
	assert_int_equal(report.error_count, 0);
	values_free(&values);
	report_free(&report);
	main_file_free(&file);
}

static void
bad_lines_of_main_cf_are_reported_with_their_line(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned    line;
		const char *message;
	} cases[] = {
		{ "\n  indented = first", 2,
		  "begins with white space, but there is no line to continue" },
		{ "a = b\nno equals", 2, "\"no equals\" is not \"name = value\"" },
		{ "= value", 1, "\"\" is no parameter name" },
		{ "two words = x", 1, "\"two words\" is no parameter name" },
		{ "$x = y", 1, "\"$x\" is no parameter name" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct main_file file;
		struct report    report = REPORT_NONE;

		main_file_parse(&file, "main.cf", slice_from(cases[i].text), &report);
		assert_int_equal(report.error_count, 1);
		assert_int_equal(report.list.items[0].line, cases[i].line);
		assert_string_equal(report.list.items[0].text, cases[i].message);
		main_file_free(&file);
		report_free(&report);
	}
}

static const char master_text[] = "# service type private unpriv chroot wakeup maxproc command\n"
				  "smtp      inet  n - n - - smtpd\n"
				  "127.0.0.1:2525 inet n - - - 10 smtpd -v\n"
				  "  -o syslog_name=mine -o { smtpd_banner = two words }\n"
				  "  # a comment\n"
				  "  -o smtpd_tls_wrappermode=yes\n"
				  "[::1]:submissions inet n - n - - smtpd\n"
				  "qmgr unix n - n 300? 1 qmgr\n"
				  "rewrite unix - - - - - trivial-rewrite\n"
				  "slow unix - - n - 0 smtp\n"
				  "virtual unix - n n - - local\n"
				  "trace unix - - n - 0 bounce\n"
				  "postlog unix-dgram n - n - 1 postlogd\n"
				  "mailman unix - n n - - pipe\n"
				  "  -o syslog_name=x flags=FRX user=list\n"
				  "  argv=/bin/x -o a=b ${nexthop} { with blanks }\n";

static void
master_cf_is_read_with_all_columns(void **state)
{
	(void)state;
	struct master_file file;
	struct report      report = REPORT_NONE;

	master_file_parse(&file, "master.cf", slice_from(master_text), &report);
	if (report.error_count > 0)
		fail_msg("line %u: %s", report.list.items[0].line, report.list.items[0].text);
	assert_int_equal(file.services.count, 10);
	const struct service *s = file.services.items;

	assert_string_equal(s[0].name, "smtp");
	assert_int_equal(s[0].port, 25);
	assert_string_equal(s[0].host, "");
	assert_int_equal(s[0].process_limit, -1);
	assert_true(s[0].is_run && !s[0].is_private && !s[0].is_verbose);

	assert_int_equal(s[1].line, 3);
	assert_string_equal(s[1].host, "127.0.0.1");
	assert_int_equal(s[1].port, 2525);
	assert_int_equal(s[1].process_limit, 10);
	assert_true(s[1].is_verbose);
	assert_string_equal(values_get(&s[1].overrides, SLICE("smtpd_banner"))->text, "two words");
	assert_string_equal(values_get(&s[1].overrides, SLICE("smtpd_tls_wrappermode"))->text,
	                    "yes");
	assert_true(values_get(&s[1].overrides, SLICE("syslog_name"))->is_override);

	assert_string_equal(s[2].host, "::1");
	assert_int_equal(s[2].port, 465);
	assert_true(s[3].is_run && s[3].program->is_singleton);
	assert_int_equal(s[5].process_limit, 0);
	assert_string_equal(s[5].program->executable, "smtp");
	assert_true(s[6].is_run);
	/* Known and not run: rewrite, trace (one bounce serves all), postlog. */
	assert_false(s[4].is_run || s[7].is_run || s[8].is_run);
	/* What is behind its own arguments is theirs, also -o. */
	assert_true(s[9].is_run);
	assert_string_equal(s[9].own_arguments,
	                    "flags=FRX user=list  argv=/bin/x -o a=b ${nexthop} { with blanks }");
	assert_non_null(values_get(&s[9].overrides, SLICE("syslog_name")));
	assert_null(values_get(&s[9].overrides, SLICE("a")));
	assert_string_equal(s[0].own_arguments, "");
	master_file_free(&file);
	report_free(&report);
}

/* The options of the smtpd behind postscreen are those of the smtpd in its place; its own win. */
static void
postscreen_is_replaced_by_the_smtpd_behind_it(void **state)
{
	struct master_file file;
	struct report      report = REPORT_NONE;

	(void)state;
	master_file_parse(&file, "master.cf",
	                  SLICE("25 inet n - n - 1 postscreen -o a=own\n"
	                        "smtpd pass - - n - - smtpd -o a=x -o b=y\n"
	                        "587 inet n - n - - smtpd\n"),
	                  &report);
	assert_int_equal(report.error_count, 0);
	assert_int_equal(file.services.count, 3);
	const struct service *screened = &file.services.items[0];
	assert_true(screened->is_run);
	assert_string_equal(screened->program->name, "smtpd");
	assert_string_equal(values_get(&screened->overrides, SLICE("a"))->text, "own");
	assert_string_equal(values_get(&screened->overrides, SLICE("b"))->text, "y");
	assert_false(file.services.items[1].is_run);
	assert_null(values_get(&file.services.items[2].overrides, SLICE("b")));
	master_file_free(&file);
	report_free(&report);
}

static void
bad_lines_of_master_cf_are_reported(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "smtp inet n - n -",
		  "6 columns; needed are 8: service type private unpriv chroot "
		  "wakeup maxproc command" },
		{ "smtp tcp n - n - - smtpd",
		  "column \"type\" must be inet, unix, unix-dgram, fifo "
		  "or pass, not \"tcp\"" },
		{ "smtp inet y - n - - smtpd", "an inet service cannot be private" },
		{ "smtp inet x - n - - smtpd", "column \"private\" must be y, n or -, not \"x\"" },
		{ "smtp inet n - z - - smtpd", "column \"chroot\" must be y, n or -, not \"z\"" },
		{ "smtp inet n - n soon - smtpd",
		  "column \"wakeup\" must be seconds, seconds? or -, not \"soon\"" },
		{ "smtp inet n - n - many smtpd",
		  "column \"maxproc\" must be a number or -, not \"many\"" },
		{ "smtp inet n - n - - smptd", "there is no program \"smptd\"" },
		{ "70000 inet n - n - - smtpd", "\"70000\" is no port: neither a number up to "
		                                "65535 nor in /etc/services" },
		{ "::1:25 inet n - n - - smtpd", "\"::1:25\": an IPv6 address stands in [ ]" },
		{ "smtp unix - - n - - smtpd", "smtpd must be of type inet" },
		{ "25 inet n - n - - smtp", "smtp must be of type unix" },
		{ "smtp pass - - n - - pop3d",
		  "type pass is not used here; pop3d is of type inet" },
		{ "qmgr fifo n - n 300 1 qmgr",
		  "type fifo is not used here; qmgr is of type unix" },
		{ "../x unix - - n - - smtp",
		  "\"../x\" is no service name: letters, digits, . _ - +" },
		{ "smtp inet n - n - - smtpd -o", "-o without name=value" },
		{ "smtp inet n - n - - smtpd -o x", "-o \"x\": not name=value" },
		{ "smtp inet n - n - - smtpd -o { a = b", "a } is missing" },
		{ "smtp inet n - n - - smtpd -q",
		  "argument \"-q\" is not known; -o name=value and -v are" },
		{ "a unix - - n - - smtp\na unix - - n - - lmtp",
		  "service a unix stands already in line 1" },
		{ "  -o a=b", "begins with white space, but there is no line to continue" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct master_file file;
		struct report      report = REPORT_NONE;

		master_file_parse(&file, "master.cf", slice_from(cases[i].text), &report);
		if (report.error_count != 1)
			fail_msg("%s: %zu errors", cases[i].text, report.error_count);
		assert_string_equal(report.list.items[0].text, cases[i].message);
		master_file_free(&file);
		report_free(&report);
	}
}

static void
distances_count_typing_errors(void **state)
{
	(void)state;
	static const struct {
		const char *a, *b;
		size_t      distance;
	} cases[] = {
		{ "", "", 0 },
		{ "relayhost", "relayhost", 0 },
		{ "relayhost", "RelayHost", 0 },
		{ "relay_host", "relayhost", 1 },
		{ "realyhost", "relayhost", 1 }, /* neighbours swapped */
		{ "relyhost", "relayhost", 1 },
		{ "relaxhost", "relayhost", 1 },
		{ "abc", "", 3 },
		{ "kitten", "sitting", 3 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(suggest_distance(slice_from(cases[i].a), slice_from(cases[i].b)),
		                 cases[i].distance);
		assert_int_equal(suggest_distance(slice_from(cases[i].b), slice_from(cases[i].a)),
		                 cases[i].distance);
	}
	struct suggestion far = { .name = SLICE("zzz") };
	suggest_offer(&far, "relayhost");
	assert_null(far.best);
}

static void
per_transport_names_are_split(void **state)
{
	(void)state;
	struct per_transport found;

	assert_true(name_is_per_transport(SLICE("slow-one_destination_rate_delay"), &found));
	assert_true(slice_equal(found.transport, SLICE("slow-one")));
	assert_string_equal(found.suffix, "_destination_rate_delay");
	assert_null(found.why_unused);
	assert_true(name_is_per_transport(SLICE("smtp_delivery_slot_cost"), &found));
	assert_non_null(found.why_unused);
	assert_false(name_is_per_transport(SLICE("_destination_rate_delay"), &found));
	assert_false(name_is_per_transport(SLICE("relayhost"), &found));
}

static void
check_has_row(void *context, const char *name, const char *why)
{
	const struct settings *settings = context;

	if (why[0] == '\0' && settings_row(settings, slice_from(name)) == NULL)
		fail_msg("%s is said to be used and is in no table", name);
	assert_int_not_equal(why[0], '.');
}

static void
a_name_of_postfix_is_in_the_table_or_has_a_reason(void **state)
{
	(void)state;
	struct values   values = VALUES_NONE;
	struct settings settings;

	assert_true(settings_init(&settings, &values, NULL));
	name_each_postfix(check_has_row, &settings);
	settings_free(&settings);
	values_free(&values);
	assert_string_equal(name_postfix_why(SLICE("relayhost")), "");
	assert_null(name_postfix_why(SLICE("relay_host")));
	assert_non_null(strstr(name_postfix_why(SLICE("postscreen_greet_wait")), "postscreen"));
}

static void
networks_follow_their_style(void **state)
{
	(void)state;
	static const struct {
		struct interface_address address;
		enum network_style       style;
		const char              *expected;
	} cases[] = {
		{ { AF_INET, { 192, 168, 7, 9 }, 24 }, NETWORK_HOST, "192.168.7.9/32" },
		{ { AF_INET, { 192, 168, 7, 9 }, 22 }, NETWORK_SUBNET, "192.168.4.0/22" },
		{ { AF_INET, { 10, 1, 2, 3 }, 24 }, NETWORK_CLASS, "10.0.0.0/8" },
		{ { AF_INET, { 172, 16, 2, 3 }, 24 }, NETWORK_CLASS, "172.16.0.0/16" },
		{ { AF_INET, { 192, 168, 7, 9 }, 28 }, NETWORK_CLASS, "192.168.7.0/24" },
		{ { AF_INET6, { 0xfd, 1, [15] = 7 }, 64 }, NETWORK_HOST, "[fd01::7]/128" },
		{ { AF_INET6, { 0xfd, 1, [15] = 7 }, 64 }, NETWORK_SUBNET, "[fd01::]/64" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF(100);

		assert_true(computed_network(&cases[i].address, cases[i].style, &out));
		assert_string_equal(buf_text(&out), cases[i].expected);
		buf_free(&out);
	}
}

static void
owners_are_names_or_numbers(void **state)
{
	(void)state;
	struct owner owner = { 9, 9 };
	struct error error = ERROR_NONE;

	assert_true(owner_parse("64300:64301", &owner, &error));
	assert_int_equal(owner.uid, 64300);
	assert_int_equal(owner.gid, 64301);
	assert_true(owner_parse("root", &owner, &error));
	assert_int_equal(owner.uid, 0);
	assert_false(owner_parse("no-such-user-here", &owner, &error));
	assert_string_equal(error.text, "there is no user \"no-such-user-here\"");
	assert_false(owner_parse("4294967295:1", &owner, &error));
}

static void
environments_hold_only_what_is_named(void **state)
{
	(void)state;
	struct environment environment;

	setenv("KEPT", "yes", 1);
	setenv("DROPPED", "yes", 1);
	assert_true(environment_make(&environment, "LANG=C KEPT, UNSET_HERE"));
	assert_int_equal(environment.count, 3);
	assert_string_equal(environment.list[0], "LANG=C");
	assert_string_equal(environment.list[1], "KEPT=yes");
	assert_string_equal(environment.list[2], "PATH=/usr/bin:/bin:/usr/sbin:/sbin");
	assert_null(environment.list[3]);
	environment_free(&environment);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(main_cf_is_read_with_places_and_comments_kept),
		cmocka_unit_test(bad_lines_of_main_cf_are_reported_with_their_line),
		cmocka_unit_test(master_cf_is_read_with_all_columns),
		cmocka_unit_test(bad_lines_of_master_cf_are_reported),
		cmocka_unit_test(postscreen_is_replaced_by_the_smtpd_behind_it),
		cmocka_unit_test(distances_count_typing_errors),
		cmocka_unit_test(per_transport_names_are_split),
		cmocka_unit_test(a_name_of_postfix_is_in_the_table_or_has_a_reason),
		cmocka_unit_test(networks_follow_their_style),
		cmocka_unit_test(owners_are_names_or_numbers),
		cmocka_unit_test(environments_hold_only_what_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
