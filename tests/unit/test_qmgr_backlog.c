/* test_qmgr_backlog.c - walks over what waits in files, and the cards that listings show. */
/* links: qmgr/backlog.c qmgr/cards.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/queue/control.h"
#include "lib/queue/id.h"
#include "qmgr/backlog.h"
#include "qmgr/cards.h"

static struct waiting *
put(struct backlog *backlog, const char *id)
{
	struct waiting *waiting = backlog_put(backlog, id, 1, false);

	assert_non_null(waiting);
	return waiting;
}

static void
expect_next(struct backlog *backlog, struct waiting *mark, const char *id)
{
	struct waiting *found = backlog_walk_next(backlog, mark);

	if (id == NULL) {
		assert_null(found);
		return;
	}
	assert_non_null(found);
	assert_string_equal(found->id, id);
}

static void
a_walk_meets_each_once_while_others_come_and_go(void **state)
{
	struct backlog  backlog;
	struct waiting *mark, *other;

	(void)state;
	backlog_init(&backlog);
	put(&backlog, "first1");
	struct waiting *second = put(&backlog, "second");
	put(&backlog, "third3");
	mark = backlog_walk(&backlog);
	expect_next(&backlog, mark, "first1");
	other = backlog_walk(&backlog); /* two marks do not meet each other */
	backlog_remove(&backlog, second);
	backlog_put(&backlog, "first1", 5, true); /* known, only placed elsewhere */
	expect_next(&backlog, mark, "third3");
	expect_next(&backlog, mark, NULL);
	put(&backlog, "fourth"); /* came meanwhile: at the end */
	expect_next(&backlog, mark, "fourth");
	expect_next(&backlog, mark, NULL);
	expect_next(&backlog, other, "first1");
	expect_next(&backlog, other, "third3");
	backlog_walk_end(&other);
	backlog_walk_end(&mark);
	assert_null(mark);
	backlog_free(&backlog);
}

static void
a_walk_survives_a_table_that_grows(void **state)
{
	struct backlog  backlog;
	struct waiting *mark;
	char            id[QUEUE_ID_MOST];
	size_t          met = 0;

	(void)state;
	backlog_init(&backlog);
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "early%d", i);
		put(&backlog, id);
	}
	mark = backlog_walk(&backlog);
	for (struct waiting *one; (one = backlog_walk_next(&backlog, mark)) != NULL; met++) {
		if (met >= 2000)
			continue;
		snprintf(id, sizeof(id), "later%zu", met);
		put(&backlog, id);
	}
	assert_int_equal(met, 2100);
	backlog_walk_end(&mark);
	backlog_free(&backlog);
}

/* The limit is 200; the active window is not part of it. */
static void
a_message_takes_less_than_150_bytes(void **state)
{
	enum { COUNT = 100000 };
	struct backlog backlog;
	char           id[QUEUE_ID_MOST];

	(void)state;
	backlog_init(&backlog);
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (int i = 0; i < COUNT; i++) {
		queue_id_format(id, 1700000000 * INT64_C(1000000) + i, 1234);
		put(&backlog, id);
	}
	size_t bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before;
	assert_true(bytes / COUNT < 150);
	backlog_free(&backlog);
}

/* ---- cards ---- */

struct place {
	char         path[32];
	int          fd;
	struct cards cards;
};

static int
place_make(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	strcpy(place->path, "/tmp/test-cards-XXXXXX");
	assert_non_null(mkdtemp(place->path));
	place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(place->fd, "tmp", 0700), 0);
	cards_open(&place->cards, place->fd);
	*state = place;
	return place->fd < 0;
}

static int
place_remove(void **state)
{
	struct place *place = *state;

	cards_close(&place->cards);
	unlinkat(place->fd, "tmp", AT_REMOVEDIR); /* fails when a card's file had a name */
	close(place->fd);
	int result = rmdir(place->path);
	free(place);
	return result;
}

static struct msg_queue_entry
entry_of(const char *id, const char *sender)
{
	return (struct msg_queue_entry){ .queue_id = slice_from(id),
		                         .state = QUEUE_DEFERRED,
		                         .arrival_us = 12,
		                         .size = 345,
		                         .sender = slice_from(sender),
		                         .attempts = 6 };
}

static void
cards_come_back_as_they_were_written(void **state)
{
	struct place          *place = *state;
	struct buf             made = BUF(1u << 20);
	struct ipc_encoding    encoding = { .fields = BUF(CARD_MOST) };
	struct cards_window    window = { .bytes = BUF(1u << 20) };
	struct msg_queue_entry one = entry_of("first1", "alice@example.org"), found;
	struct msg_queue_entry two = entry_of("second", "bob@example.org");

	if (place->cards.fd < 0)
		skip(); /* no files without names here */
	assert_true(card_append(&made, &encoding, &one));
	size_t behind = made.length;
	assert_true(card_append(&made, &encoding, &two));
	uint64_t card = cards_write(&place->cards, buf_slice(&made));
	assert_int_not_equal(card, 0);
	assert_true(cards_read(&place->cards, &window, card + behind, SLICE("second"), &found));
	assert_true(slice_equal(found.sender, SLICE("bob@example.org")));
	assert_true(cards_read(&place->cards, &window, card, SLICE("first1"), &found));
	assert_true(slice_equal(found.sender, SLICE("alice@example.org")));
	assert_int_equal(found.size, 345);
	assert_int_equal(found.attempts, 6);
	/* Of another message, or where none begins. */
	assert_false(cards_read(&place->cards, &window, card, SLICE("second"), &found));
	assert_false(cards_read(&place->cards, &window, card + 1, SLICE("first1"), &found));
	assert_false(
		cards_read(&place->cards, &window, card + made.length, SLICE("third3"), &found));
	buf_free(&made);
	buf_free(&encoding.fields);
	buf_free(&window.bytes);
}

static void
old_cards_are_dropped_and_never_taken_for_new_ones(void **state)
{
	struct place          *place = *state;
	struct buf             made = BUF(1u << 20);
	struct ipc_encoding    encoding = { .fields = BUF(CARD_MOST) };
	struct cards_window    window = { .bytes = BUF(1u << 20) };
	struct msg_queue_entry entry = entry_of("first1", "alice@example.org"), found;
	struct stat            info;

	if (place->cards.fd < 0)
		skip();
	while (made.length < 512u * 1024)
		assert_true(card_append(&made, &encoding, &entry));
	uint64_t first = cards_write(&place->cards, buf_slice(&made)), last = first;
	for (int i = 0; i < 130; i++) /* 65 MB, nothing of it live */
		last = cards_write(&place->cards, buf_slice(&made));
	cards_trim(&place->cards, 65u << 20); /* if it were live, it would stay */
	assert_true(cards_read(&place->cards, &window, last, SLICE("first1"), &found));
	cards_trim(&place->cards, 0);
	assert_int_equal(fstat(place->cards.fd, &info), 0);
	assert_int_equal(info.st_size, 0);
	buf_clear(&window.bytes);
	assert_false(cards_read(&place->cards, &window, first, SLICE("first1"), &found));
	uint64_t again = cards_write(&place->cards, buf_slice(&made));
	assert_true(again > last);
	assert_false(cards_read(&place->cards, &window, first, SLICE("first1"), &found));
	assert_true(cards_read(&place->cards, &window, again, SLICE("first1"), &found));
	buf_free(&made);
	buf_free(&encoding.fields);
	buf_free(&window.bytes);
}

static void
a_card_of_what_the_file_held_before_is_none(void **state)
{
	struct backlog  backlog;
	struct waiting *waiting;

	(void)state;
	backlog_init(&backlog);
	waiting = put(&backlog, "first1");
	uint32_t version = waiting->version;
	backlog_card(&backlog, waiting, version, 77, 100);
	assert_int_equal(waiting->card, 77);
	assert_int_equal(backlog.card_bytes, 100);
	backlog_changed(&backlog, waiting);
	assert_int_equal(waiting->card, 0);
	backlog_card(&backlog, waiting, version, 99, 100); /* read before it changed */
	assert_int_equal(waiting->card, 0);
	assert_int_equal(backlog.carded, 0);
	backlog_card(&backlog, waiting, waiting->version, 99, 100);
	assert_int_equal(backlog.carded, 1);
	backlog_remove(&backlog, waiting);
	assert_int_equal(backlog.carded, 0);
	assert_int_equal(backlog.card_bytes, 0);
	backlog_free(&backlog);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_walk_meets_each_once_while_others_come_and_go),
		cmocka_unit_test(a_walk_survives_a_table_that_grows),
		cmocka_unit_test(a_message_takes_less_than_150_bytes),
		cmocka_unit_test_setup_teardown(cards_come_back_as_they_were_written, place_make,
		                                place_remove),
		cmocka_unit_test_setup_teardown(old_cards_are_dropped_and_never_taken_for_new_ones,
		                                place_make, place_remove),
		cmocka_unit_test(a_card_of_what_the_file_held_before_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
