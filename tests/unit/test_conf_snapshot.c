/* test_conf_snapshot.c - snapshots: bytes, defaults, types, stress values, transport numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/conf/settings.h"
#include "lib/conf/snapshot.h"

static struct snapshot *
from(const char *text)
{
	struct error     error = ERROR_NONE;
	struct snapshot *snapshot = snapshot_from_text(text, &error);

	assert_string_equal(error.text, "");
	assert_non_null(snapshot);
	return snapshot;
}

static void
defaults_are_expanded(void **state)
{
	(void)state;
	struct snapshot *snapshot = from("myhostname = mail.example.org\n");

	assert_string_equal(snapshot_parameters(snapshot)->mydestination,
	                    "mail.example.org, localhost.example.org, localhost");
	assert_string_equal(snapshot_parameters(snapshot)->mydomain, "example.org");
	assert_string_equal(snapshot_parameters(snapshot)->syslog_name, "postfix");
	assert_int_equal(snapshot_parameters(snapshot)->smtp_quit_timeout, 300);
	assert_true(snapshot_parameters(snapshot)->smtputf8_enable);
	snapshot_destroy(&snapshot);
	assert_null(snapshot);
}

static void
stress_values_differ(void **state)
{
	(void)state;
	struct snapshot *snapshot = from("hopcount_limit = ${stress?{7}:{70}}\n"
	                                 "smtp_quit_timeout = ${stress?{1}:{2}}m\n");

	assert_int_equal(snapshot_parameters(snapshot)->hopcount_limit, 70);
	assert_int_equal(snapshot_stress_parameters(snapshot)->hopcount_limit, 7);
	assert_int_equal(snapshot_parameters(snapshot)->smtp_quit_timeout, 120);
	assert_int_equal(snapshot_stress_parameters(snapshot)->smtp_quit_timeout, 60);
	snapshot_destroy(&snapshot);
}

static void
own_names_have_values(void **state)
{
	(void)state;
	struct snapshot *snapshot = from("base = /srv\nmua_x = $base/mail, reject\n"
	                                 "relayhost = $mua_x\n");

	assert_string_equal(snapshot_value(snapshot, "mua_x"), "/srv/mail, reject");
	assert_string_equal(snapshot_value(snapshot, "relayhost"), "/srv/mail, reject");
	assert_string_equal(snapshot_value(snapshot, "mail_name"), "Dakiya");
	assert_null(snapshot_value(snapshot, "no_such_name"));
	snapshot_destroy(&snapshot);
}

static void
transport_number_falls_back_to_default(void **state)
{
	(void)state;
	struct snapshot *snapshot = from("default_xtest_limit = 20\nslow_xtest_limit = 2\n"
	                                 "default_xtest_delay = 1m\n");

	assert_int_equal(snapshot_transport_number(snapshot, "slow", "_xtest_limit"), 2);
	assert_int_equal(snapshot_transport_number(snapshot, "smtp", "_xtest_limit"), 20);
	assert_int_equal(snapshot_transport_number(snapshot, "smtp", "_xtest_delay"), 60);
	snapshot_destroy(&snapshot);
}

static void
wrong_types_are_named(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "hopcount_limit = many", "hopcount_limit: must be a number, not \"many\"" },
		{ "hopcount_limit = 0", "hopcount_limit: must be at least 1, not \"0\"" },
		{ "hopcount_limit = 99999",
		  "hopcount_limit: must be at most 10000, not \"99999\"" },
		{ "soft_bounce = maybe", "soft_bounce: must be yes or no, not \"maybe\"" },
		{ "smtp_quit_timeout = 3x",
		  "smtp_quit_timeout: must be a time like 30s, 5m, 2h, 1d or 1w, not \"3x\"" },
		{ "smtp_quit_timeout = 2d", "smtp_quit_timeout: must be at most 1d, not \"2d\"" },
		{ "relayhost = $relayhost",
		  "relayhost: relayhost is defined by itself through $relayhost" },
		{ "no equals sign", "line 1: not \"name = value\"" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error error = ERROR_NONE;

		assert_null(snapshot_from_text(cases[i].text, &error));
		assert_string_equal(error.text, cases[i].message);
	}
}

static int
memfd_of(struct slice bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes.data, bytes.length), (ssize_t)bytes.length);
	return fd;
}

static void
bytes_written_are_read_back(void **state)
{
	(void)state;
	struct values values = VALUES_NONE;
	struct buf    bytes = BUF(100000);
	struct error  error = ERROR_NONE;

	assert_true(values_set(&values, SLICE("relayhost"), SLICE("[$x]"), "main.cf", 1, false));
	assert_true(values_set(&values, SLICE("x"), SLICE("mx.example.org"), "main.cf", 2, false));
	assert_true(values_encode(&values, &bytes));
	assert_memory_equal(bytes.data, "dakiya-snapshot 1\0relayhost\0[$x]\0x\0", 35);

	int              fd = memfd_of(buf_slice(&bytes));
	struct snapshot *snapshot = snapshot_open(fd, &error);
	assert_non_null(snapshot);
	assert_string_equal(snapshot_parameters(snapshot)->relayhost, "[mx.example.org]");
	snapshot_destroy(&snapshot);
	close(fd);
	buf_free(&bytes);
	values_free(&values);
}

static void
damaged_bytes_are_refused(void **state)
{
	(void)state;
	static const struct slice cases[] = {
		{ "", 0 },
		{ "dakiya-snapshot 2", 18 },
		{ "dakiya-snapshot 1", 17 },
		{ "dakiya-snapshot 1\0name", 23 },
		{ "dakiya-snapshot 1\0name\0value", 28 },
		{ "dakiya-snapshot 1\0\0value", 25 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error error = ERROR_NONE;
		int          fd = memfd_of(cases[i]);

		assert_null(snapshot_open(fd, &error));
		assert_string_not_equal(error.text, "");
		close(fd);
	}
}

static void
every_row_has_a_default_that_its_type_accepts(void **state)
{
	(void)state;
	struct snapshot *snapshot = from("");

	snapshot_destroy(&snapshot);
	for (size_t i = 0; i < parameter_row_count; i++) {
		for (size_t j = i + 1; j < parameter_row_count; j++)
			assert_string_not_equal(parameter_rows[i].name, parameter_rows[j].name);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_expanded),
		cmocka_unit_test(stress_values_differ),
		cmocka_unit_test(own_names_have_values),
		cmocka_unit_test(transport_number_falls_back_to_default),
		cmocka_unit_test(wrong_types_are_named),
		cmocka_unit_test(bytes_written_are_read_back),
		cmocka_unit_test(damaged_bytes_are_refused),
		cmocka_unit_test(every_row_has_a_default_that_its_type_accepts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
