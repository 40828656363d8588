/* test_mailbox_name.c - names of messages and mailboxes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/mailbox/name.h"
#include "lib/mailbox/uidlist.h"

static void
own_name_is_made_of_message_and_recipient_only(void **state)
{
	struct buf one = BUF(255), two = BUF(255), other = BUF(255);

	(void)state;
	assert_true(maildir_name_append_unique(&one, 1700000000123456, SLICE("4Tabc"),
	                                       SLICE("a@x.test"), SLICE(""), SLICE("mx/1:2.test")));
	assert_true(maildir_name_append_unique(&two, 1700000000123456, SLICE("4Tabc"),
	                                       SLICE("a@x.test"), SLICE(""), SLICE("mx/1:2.test")));
	assert_true(maildir_name_append_unique(&other, 1700000000123456, SLICE("4Tabc"),
	                                       SLICE("b@x.test"), SLICE(""), SLICE("mx/1:2.test")));
	assert_string_equal(buf_text(&one), buf_text(&two));
	assert_string_not_equal(buf_text(&one), buf_text(&other));
	assert_memory_equal(one.data, "1700000000.M123456Q4TabcR", 25);
	assert_true(slice_ends_with(buf_slice(&one), SLICE(".mx_1_2.test")));
	buf_free(&one);
	buf_free(&two);
	buf_free(&other);
}

static void
foreign_names_give_up_what_is_in_them(void **state)
{
	static const struct {
		const char *name, *unique, *flags;
		uint64_t    arrival_us;
		int64_t     size, virtual_size; /* -1 = not there */
	} rows[] = {
		{ "1276528487.M364837P9451.kurkku,S=1355,W=1394:2,RS",
		  "1276528487.M364837P9451.kurkku", "RS", 1276528487364837, 1355, 1394 },
		{ "1276528487.9451.host", "1276528487.9451.host", "", 1276528487000000, -1, -1 },
		{ "1276528487.R1.host:2,", "1276528487.R1.host", "", 1276528487000000, -1, -1 },
		{ "msg.1,S=12", "msg.1", "", 0, 12, -1 },
		{ "x,S=-1,W=9223372036854775808", "x", "", 0, -1, -1 },
		{ "x,S=,W=7", "x", "", 0, -1, 7 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct maildir_name name;

		assert_true(maildir_name_parse(slice_from(rows[i].name), &name));
		assert_true(slice_equal(name.unique, slice_from(rows[i].unique)));
		assert_true(slice_equal(name.flags, slice_from(rows[i].flags)));
		assert_int_equal(name.arrival_us, rows[i].arrival_us);
		assert_int_equal(name.has_size, rows[i].size >= 0);
		if (name.has_size)
			assert_int_equal(name.size, rows[i].size);
		assert_int_equal(name.has_virtual_size, rows[i].virtual_size >= 0);
		if (name.has_virtual_size)
			assert_int_equal(name.virtual_size, rows[i].virtual_size);
	}
}

static void
what_is_no_message_is_refused(void **state)
{
	struct maildir_name name;

	(void)state;
	assert_false(maildir_name_parse(SLICE(""), &name));
	assert_false(maildir_name_parse(SLICE(".hidden"), &name));
	assert_false(maildir_name_parse(SLICE(",S=1"), &name));
	assert_false(maildir_name_parse(SLICE(":2,S"), &name));
}

static void
uidl_outlives_flags_and_sizes(void **state)
{
	struct maildir_name fresh, seen;
	char                one[33], two[33];

	(void)state;
	assert_true(maildir_name_parse(SLICE("1.M2Q3.h,S=1,W=2"), &fresh));
	assert_true(maildir_name_parse(SLICE("1.M2Q3.h,S=1,W=2:2,FRS"), &seen));
	maildir_name_uidl(fresh.unique, one);
	maildir_name_uidl(seen.unique, two);
	assert_string_equal(one, two);
	assert_int_equal(strlen(one), 32);
}

static void
hostile_mailbox_paths_are_refused(void **state)
{
	static const char *const bad[] = { "",     "/",     "/etc/", "../a/", "a/../b/",
		                           "a/..", "a//b/", "./a/",  "a/./",  "a\nb/",
		                           "a//",  ".",     "..",    "a\x7f/" };
	static const char *const good[] = { "a", "a/", "example.org/alice/", "a/b/Maildir/",
		                            "..a/" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (mailbox_path_is_valid(slice_from(bad[i])))
			fail_msg("accepted: %s", bad[i]);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(mailbox_path_is_valid(slice_from(good[i])));
	assert_false(mailbox_path_is_valid(slice_of("a\0b/", 4)));
	assert_true(mailbox_path_is_maildir(SLICE("a/")));
	assert_false(mailbox_path_is_maildir(SLICE("a")));
}

static void
uidlist_of_both_versions_is_read(void **state)
{
	struct uidlist list;

	(void)state;
	assert_true(uidlist_parse(SLICE("3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n"
	                                "25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,\n"
	                                "25017 W2481 :1276533073.M242911P3632.kurkku,S=12\n"
	                                "x :broken\n0 :zero\n"),
	                          &list));
	assert_int_equal(list.validity, 1275660208);
	assert_int_equal(uidlist_get(&list, SLICE("1276528487.M364837P9451.kurkku")), 25006);
	assert_int_equal(uidlist_get(&list, SLICE("1276533073.M242911P3632.kurkku")), 25017);
	assert_int_equal(uidlist_get(&list, SLICE("zero")), 0);
	uidlist_free(&list);
	assert_true(uidlist_parse(SLICE("1 1275660208 25022\n7 1.M2.h:2,S\n"), &list));
	assert_int_equal(uidlist_get(&list, SLICE("1.M2.h")), 7);
	uidlist_free(&list);
	assert_false(uidlist_parse(SLICE("2 V1 N1\n"), &list));
	uidlist_free(&list);
	assert_false(uidlist_parse(SLICE(""), &list));
	uidlist_free(&list);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_name_is_made_of_message_and_recipient_only),
		cmocka_unit_test(foreign_names_give_up_what_is_in_them),
		cmocka_unit_test(what_is_no_message_is_refused),
		cmocka_unit_test(uidl_outlives_flags_and_sizes),
		cmocka_unit_test(hostile_mailbox_paths_are_refused),
		cmocka_unit_test(uidlist_of_both_versions_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
