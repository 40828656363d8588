/* test_mailbox.c - deliver, list, fetch, remove, quota, in a directory of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/io/file.h"
#include "lib/mailbox/content.h"
#include "lib/mailbox/deliver.h"
#include "lib/mailbox/mailbox.h"
#include "lib/mailbox/quota.h"

struct place {
	char                 path[64];
	int                  base;
	struct mailbox_store store;
};

static int
set_up(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	snprintf(place->path, sizeof(place->path), "/tmp/dakiya-test-mailbox-XXXXXX");
	assert_non_null(mkdtemp(place->path));
	place->base = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mailbox_store_init(&place->store, place->base, "mx.test");
	*state = place;
	return 0;
}

static void
remove_tree(int parent, const char *name)
{
	int  fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);

	if (directory == NULL) {
		unlinkat(parent, name, 0);
		return;
	}
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			remove_tree(dirfd(directory), entry->d_name);
	closedir(directory);
	unlinkat(parent, name, AT_REMOVEDIR);
}

static int
tear_down(void **state)
{
	struct place *place = *state;

	close(place->base);
	remove_tree(AT_FDCWD, place->path);
	free(place);
	return 0;
}

static size_t
count_files(const struct place *place, const char *path)
{
	int    fd = openat(place->base, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR   *directory = fd < 0 ? NULL : fdopendir(fd);
	size_t count = 0;

	if (directory == NULL)
		return 0;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

static void
put_file(const struct place *place, const char *path, const char *text)
{
	int fd = openat(place->base, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static struct mailbox_message
message_of(const char *queue_id, const char *content)
{
	return (struct mailbox_message){ .queue_id = slice_from(queue_id),
		                         .sender = SLICE("s@y.test"),
		                         .arrival_us = 1700000000000001,
		                         .content = slice_from(content),
		                         .file = -1 };
}

static struct mailbox_delivery
delivery_to(const struct mailbox_message *message, const char *mailbox)
{
	return (struct mailbox_delivery){ .message = message,
		                          .recipient = SLICE("a@x.test"),
		                          .original = SLICE_EMPTY,
		                          .mailbox = slice_from(mailbox) };
}

static void
deliver_one(struct place *place, const char *queue_id, const char *content)
{
	struct mailbox_message  message = message_of(queue_id, content);
	struct mailbox_delivery delivery = delivery_to(&message, "x.test/a/");

	mailbox_deliver(&place->store, &delivery, 1);
	if (delivery.outcome != MAILBOX_DELIVERED)
		fail_msg("%s", delivery.reason.text);
}

/* ---- content ---- */

static void
line_ends_become_lf_whatever_the_pieces(void **state)
{
	static const struct {
		const char *in, *out;
		uint64_t    virtual_size;
	} rows[] = {
		{ "a\r\nb\r\n", "a\nb\n", 6 }, { "a\rb\r\n", "a\rb\n", 5 }, { "a\nb", "a\nb\n", 6 },
		{ "a\r", "a\r\n", 3 },         { "\r\r\n", "\r\n", 2 },     { "", "", 0 },
		{ "\r\n\r\n", "\n\n", 4 },     { "\n", "\n", 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t step = 1; step <= strlen(rows[i].in) + 1; step++) {
			struct content_count count = { 0 };
			struct buf           out = BUF(100);
			struct slice         rest = slice_from(rows[i].in);

			while (rest.length > 0) {
				assert_true(content_convert(&count, slice_first(rest, step), &out));
				rest = slice_from_offset(rest, step);
			}
			assert_true(content_finish(&count, &out));
			assert_string_equal(buf_text(&out), rows[i].out);
			assert_int_equal(count.size, strlen(rows[i].out));
			assert_int_equal(count.virtual_size, rows[i].virtual_size);
			buf_free(&out);
		}
}

static void
loop_is_found_in_the_header_only(void **state)
{
	(void)state;
	assert_true(content_was_delivered_to(
		SLICE("Received: x\r\ndelivered-TO:  A@X.test\r\n\r\n"), SLICE("a@x.test")));
	assert_false(content_was_delivered_to(SLICE("Subject: x\r\n\r\nDelivered-To: a@x.test\r\n"),
	                                      SLICE("a@x.test")));
	assert_false(content_was_delivered_to(SLICE("Delivered-To: aa@x.test\r\n\r\n"),
	                                      SLICE("a@x.test")));
}

static void
control_bytes_never_get_into_a_field(void **state)
{
	struct buf out = BUF(1000);

	(void)state;
	assert_false(content_append_fields(&out, SLICE("a@x\nBcc: y"), SLICE(""), SLICE("b@x")));
	assert_false(content_append_fields(&out, SLICE("a@x"), SLICE("c\rd"), SLICE("b@x")));
	assert_int_equal(out.length, 0);
	buf_free(&out);
}

/* ---- delivering ---- */

static void
delivering_twice_leaves_one_file(void **state)
{
	struct place           *place = *state;
	struct mailbox_message  message = message_of("4Tabcdef", "\r\nhi\r\n");
	struct mailbox_delivery pair[] = { delivery_to(&message, "x.test/a/"),
		                           delivery_to(&message, "x.test/a/") };

	mailbox_deliver(&place->store, pair, 2); /* even in one batch */
	assert_int_equal(pair[0].outcome, MAILBOX_DELIVERED);
	assert_int_equal(pair[1].outcome, MAILBOX_DELIVERED);
	assert_true(pair[1].was_there);
	mailbox_deliver(&place->store, pair, 1);
	assert_true(pair[0].was_there);
	assert_int_equal(count_files(place, "x.test/a/new"), 1);
	assert_int_equal(count_files(place, "x.test/a/tmp"), 0);
}

static void
repeat_is_recognised_after_a_client_moved_it(void **state)
{
	struct place           *place = *state;
	struct mailbox_message  message = message_of("4Tabcdef", "\r\nhi\r\n");
	struct mailbox_delivery delivery = delivery_to(&message, "x.test/a/");
	char                    command[200];

	mailbox_deliver(&place->store, &delivery, 1);
	/* as an IMAP server would: to cur/ with flags */
	snprintf(command, sizeof(command), "%s/x.test/a/new", place->path);
	DIR *directory = opendir(command);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
		if (entry->d_name[0] != '.') {
			char seen[300];

			snprintf(seen, sizeof(seen), "../cur/%s:2,S", entry->d_name);
			assert_int_equal(
				renameat(dirfd(directory), entry->d_name, dirfd(directory), seen),
				0);
		}
	closedir(directory);
	message.may_be_repeat = true;
	mailbox_deliver(&place->store, &delivery, 1);
	assert_int_equal(delivery.outcome, MAILBOX_DELIVERED);
	assert_true(delivery.was_there);
	assert_int_equal(count_files(place, "x.test/a/new"), 0);
	assert_int_equal(count_files(place, "x.test/a/cur"), 1);
}

static void
links_in_the_path_are_not_followed(void **state)
{
	struct place           *place = *state;
	struct mailbox_message  message = message_of("4Tabcdef", "\r\nhi\r\n");
	struct mailbox_delivery delivery = delivery_to(&message, "link/a/");

	assert_int_equal(mkdirat(place->base, "real", 0700), 0);
	assert_int_equal(symlinkat("real", place->base, "link"), 0);
	mailbox_deliver(&place->store, &delivery, 1);
	assert_int_equal(delivery.outcome, MAILBOX_DEFERRED);
	assert_int_equal(count_files(place, "real"), 0);
	/* new/ itself as a link out of the base */
	assert_int_equal(mkdirat(place->base, "b", 0700), 0);
	assert_int_equal(symlinkat("/tmp", place->base, "b/new"), 0);
	delivery.mailbox = SLICE("b/");
	mailbox_deliver(&place->store, &delivery, 1);
	assert_int_equal(delivery.outcome, MAILBOX_DEFERRED);
}

static void
one_bad_mailbox_in_a_batch_does_not_hurt_the_others(void **state)
{
	struct place            *place = *state;
	struct mailbox_message   message = message_of("4Tabcdef", "\r\nhi\r\n");
	struct mailbox_delivery *batch = calloc(20, sizeof(*batch));

	put_file(place, "file", "not a directory");
	for (size_t i = 0; i < 20; i++)
		batch[i] = delivery_to(&message, i % 2 == 0 ? "x.test/a/" : "file/a/");
	batch[4].mailbox = SLICE("../x/");
	batch[6].mailbox = SLICE("x.test"); /* a directory, no mbox */
	batch[8].mailbox = SLICE("x.test/b/");
	mailbox_deliver(&place->store, batch, 20);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(batch[i].outcome, i % 2 == 1 || i == 4 || i == 6
		                                           ? MAILBOX_DEFERRED
		                                           : MAILBOX_DELIVERED);
	assert_int_equal(count_files(place, "x.test/a/new"), 1);
	assert_int_equal(count_files(place, "x.test/b/new"), 1);
	free(batch);
}

static void
old_files_in_tmp_go_and_young_ones_stay(void **state)
{
	struct place           *place = *state;
	struct mailbox_message  message = message_of("4Tabcdeg", "\r\nhi\r\n");
	struct mailbox_delivery delivery = delivery_to(&message, "x.test/a/");

	deliver_one(place, "4Tabcdef", "\r\nhi\r\n");
	put_file(place, "x.test/a/tmp/young", "x");
	message.may_be_repeat = true;
	mailbox_deliver(&place->store, &delivery, 1);
	/* ctime cannot be set back, so only that nothing young is lost can be seen here. */
	assert_int_equal(count_files(place, "x.test/a/tmp"), 1);
}

/* ---- quota ---- */

static void
maildirsize_is_summed_and_nonsense_refused(void **state)
{
	static const char *const bad[] = { "",
		                           "x\n",
		                           "10\n",
		                           "10S\n1\n",
		                           "10S\nx 1\n",
		                           "10S\n-5 1\n",
		                           "10S\n1 9223372036854775807\n",
		                           "10S,20X\n1 1\n" };
	struct quota_use         use;
	int64_t                  limit;

	(void)state;
	assert_true(quota_parse(SLICE("1000S,20C\n100 2\n50 1\n-30 -1\n"), &limit, &use));
	assert_int_equal(limit, 1000);
	assert_int_equal(use.bytes, 120);
	assert_int_equal(use.messages, 2);
	assert_true(quota_parse(SLICE("1000S\n"), &limit, &use));
	assert_int_equal(use.bytes, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (quota_parse(slice_from(bad[i]), &limit, &use))
			fail_msg("accepted: %s", bad[i]);
}

static void
quota_counts_folders_and_is_kept_in_the_file(void **state)
{
	struct place    *place = *state;
	struct quota_use use;

	deliver_one(place, "4Tabcdef", "\r\nhi\r\n");
	file_make_directories(place->base, "x.test/a/.Sent/cur", 0700, NULL);
	put_file(place, "x.test/a/.Sent/cur/1.M2.h,S=5000:2,S", "short");
	put_file(place, "x.test/a/cur/1.M3.h", "seven..");
	int root = openat(place->base, "x.test/a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(quota_read(root, 9000, &use, NULL));
	assert_int_equal(use.messages, 3);
	assert_in_range(use.bytes, 5007, 5207);
	int64_t before = use.bytes;
	quota_note(root, 100, 1);
	assert_true(quota_read(root, 9000, &use, NULL));
	assert_int_equal(use.bytes, before + 100);
	assert_true(quota_recount(root, 9000, &use, NULL)); /* it was noted since: counted again */
	assert_int_equal(use.bytes, before);
	close(root);
}

/* ---- retrieval ---- */

static struct mailbox *
open_it(struct place *place, enum mailbox_status expected)
{
	struct mailbox *mailbox = NULL;
	struct error    error = ERROR_NONE;

	assert_int_equal(mailbox_open(place->base, SLICE("x.test/a/"), true, &mailbox, &error),
	                 expected);
	return mailbox;
}

static void
list_is_in_order_of_arrival_with_exact_sizes(void **state)
{
	struct place       *place = *state;
	struct mailbox_item first, second, third;

	deliver_one(place, "4Tabcdef", "\r\nhi\r\n");
	put_file(place, "x.test/a/cur/1600000000.M1.old:2,S", "Subject: x\n\none\ntwo\n");
	put_file(place, "x.test/a/new/1800000000.M1.late,W=77", "x");
	struct mailbox *mailbox = open_it(place, MAILBOX_OK);
	assert_int_equal(mailbox_count(mailbox), 3);
	mailbox_item(mailbox, 0, &first);
	mailbox_item(mailbox, 1, &second);
	mailbox_item(mailbox, 2, &third);
	assert_int_equal(first.size, 24); /* no W=: measured */
	assert_int_equal(third.size, 77);
	assert_string_not_equal(first.uidl, second.uidl);
	mailbox_close(&mailbox);
}

static void
second_pop3_session_is_kept_out_until_the_first_ends(void **state)
{
	struct place   *place = *state;
	struct mailbox *first = open_it(place, MAILBOX_OK);

	assert_null(open_it(place, MAILBOX_IN_USE));
	mailbox_close(&first);
	first = open_it(place, MAILBOX_OK);
	mailbox_close(&first);
}

static void
dovecots_uids_are_used_where_it_has_given_them(void **state)
{
	struct place       *place = *state;
	struct mailbox_item item;

	struct mailbox *mailbox = open_it(place, MAILBOX_OK);
	mailbox_close(&mailbox);
	put_file(place, "x.test/a/cur/2.M1.b,W=1:2,S", "x");
	put_file(place, "x.test/a/cur/3.M1.a,W=1:2,S", "x");
	put_file(place, "x.test/a/new/1.M1.c,W=1", "x");
	put_file(place, "x.test/a/dovecot-uidlist", "3 V1700000000 N9\n7 :3.M1.a,W=1\n8 :2.M1.b\n");
	mailbox = open_it(place, MAILBOX_OK);
	mailbox_item(mailbox, 0, &item);
	assert_string_equal(item.uidl, "000000076553f100");
	mailbox_item(mailbox, 1, &item);
	assert_string_equal(item.uidl, "000000086553f100");
	mailbox_item(mailbox, 2, &item);
	assert_int_equal(strlen(item.uidl), 32);
	mailbox_close(&mailbox);
}

static void
removal_takes_the_marked_and_only_them(void **state)
{
	struct place *place = *state;
	uint64_t      removed = 0, length = 0;
	int           fd = -1;

	for (char c = 'a'; c < 'e'; c++) {
		char id[] = "4Tabcde?";

		id[7] = c;
		deliver_one(place, id, "\r\nhi\r\n");
	}
	struct mailbox *mailbox = open_it(place, MAILBOX_OK);
	assert_int_equal(mailbox_count(mailbox), 4);
	assert_int_equal(mailbox_fetch(mailbox, 3, &fd, &length, NULL), MAILBOX_OK);
	close(fd);
	assert_int_equal(mailbox_remove(mailbox, slice_of("\1\0\1", 3), &removed, NULL),
	                 MAILBOX_OK);
	assert_int_equal(removed, 2);
	assert_int_equal(count_files(place, "x.test/a/new"), 2);
	assert_int_equal(mailbox_fetch(mailbox, 0, &fd, &length, NULL), MAILBOX_GONE);
	assert_int_equal(mailbox_fetch(mailbox, 1, &fd, &length, NULL), MAILBOX_OK);
	close(fd);
	mailbox_close(&mailbox);
}

static void
link_in_place_of_a_message_is_not_opened(void **state)
{
	struct place   *place = *state;
	uint64_t        length = 0;
	int             fd = -1;
	struct mailbox *mailbox = open_it(place, MAILBOX_OK);

	mailbox_close(&mailbox);
	assert_int_equal(symlinkat("/etc/passwd", place->base, "x.test/a/new/1.M1.h,W=5"), 0);
	mailbox = open_it(place, MAILBOX_OK);
	assert_int_equal(mailbox_count(mailbox), 1);
	assert_int_equal(mailbox_fetch(mailbox, 0, &fd, &length, NULL), MAILBOX_TRY_LATER);
	mailbox_close(&mailbox);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_ends_become_lf_whatever_the_pieces),
		cmocka_unit_test(loop_is_found_in_the_header_only),
		cmocka_unit_test(control_bytes_never_get_into_a_field),
		TEST(delivering_twice_leaves_one_file),
		TEST(repeat_is_recognised_after_a_client_moved_it),
		TEST(links_in_the_path_are_not_followed),
		TEST(one_bad_mailbox_in_a_batch_does_not_hurt_the_others),
		TEST(old_files_in_tmp_go_and_young_ones_stay),
		cmocka_unit_test(maildirsize_is_summed_and_nonsense_refused),
		TEST(quota_counts_folders_and_is_kept_in_the_file),
		TEST(list_is_in_order_of_arrival_with_exact_sizes),
		TEST(second_pop3_session_is_kept_out_until_the_first_ends),
		TEST(dovecots_uids_are_used_where_it_has_given_them),
		TEST(removal_takes_the_marked_and_only_them),
		TEST(link_in_place_of_a_message_is_not_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
