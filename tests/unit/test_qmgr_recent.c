/* test_qmgr_recent.c - ids that are known again after a crash, and after the next one. */
/* links: qmgr/recent.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "qmgr/recent.h"

struct place {
	char path[32];
	int  fd;
};

static int
place_make(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	strcpy(place->path, "/tmp/test-recent-XXXXXX");
	assert_non_null(mkdtemp(place->path));
	place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = place;
	return place->fd < 0;
}

static int
place_remove(void **state)
{
	struct place *place = *state;

	unlinkat(place->fd, "recent", 0);
	close(place->fd);
	rmdir(place->path);
	free(place);
	return 0;
}

static void
note(struct recent *recent, unsigned from, unsigned count)
{
	for (unsigned i = from; i < from + count; i++) {
		char id[QUEUE_ID_MOST];

		snprintf(id, sizeof(id), "ID%08uz1", i);
		recent_note(recent, SLICE("pickup"), id);
	}
}

static bool
has(const struct recent *recent, unsigned number)
{
	char id[QUEUE_ID_MOST];

	snprintf(id, sizeof(id), "ID%08uz1", number);
	return recent_has(recent, slice_from(id));
}

static void
ids_are_known_after_two_starts(void **state)
{
	const struct place *place = *state;
	struct error        error = ERROR_NONE;

	for (unsigned start = 0; start < 3; start++) {
		struct recent recent = { 0 };

		recent_load(&recent, place->fd);
		if (start == 0)
			note(&recent, 1, 3);
		assert_true(has(&recent, 1) && has(&recent, 2) && has(&recent, 3));
		assert_false(has(&recent, 4));
		assert_true(recent_save(&recent, place->fd, &error));
		recent_free(&recent);
	}
}

static void
the_oldest_make_room_also_across_a_start(void **state)
{
	const struct place *place = *state;
	struct recent       recent = { 0 };
	struct error        error = ERROR_NONE;

	note(&recent, 0, RECENT_MOST + 5);
	assert_true(recent_save(&recent, place->fd, &error));
	recent_free(&recent);
	recent_load(&recent, place->fd);
	assert_false(has(&recent, 4));
	assert_true(has(&recent, 5));
	note(&recent, RECENT_MOST + 5, 1);
	assert_false(has(&recent, 5));
	assert_true(has(&recent, 6) && has(&recent, RECENT_MOST + 5));
	recent_free(&recent);
}

static void
a_damaged_file_tells_what_it_can(void **state)
{
	const struct place *place = *state;
	struct recent       recent = { 0 };
	int fd = openat(place->fd, "recent", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	static const char text[] = "ID00000001z1\n\x01\xff../../etc\n\nID00000002z1\nID0000";

	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd);
	recent_load(&recent, place->fd);
	assert_true(has(&recent, 1) && has(&recent, 2));
	assert_false(has(&recent, 0));
	recent_free(&recent);
}

static void
nothing_known_leaves_no_file(void **state)
{
	const struct place *place = *state;
	struct recent       recent = { 0 };
	struct error        error = ERROR_NONE;

	recent_load(&recent, place->fd);
	recent_note(&recent, SLICE("smtp"), "ID00000001z1");
	assert_true(recent_save(&recent, place->fd, &error));
	assert_int_not_equal(faccessat(place->fd, "recent", F_OK, 0), 0);
	recent_free(&recent);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, place_make, place_remove)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ids_are_known_after_two_starts),
		TEST(the_oldest_make_room_also_across_a_start),
		TEST(a_damaged_file_tells_what_it_can),
		TEST(nothing_known_leaves_no_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
