/* test_file.c - file operations that stay where they were told to stay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/file.h"

struct place {
	char path[64];
	int  fd;
};

static int
setup(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	umask(0);
	snprintf(place->path, sizeof(place->path), "/tmp/dakiya-test-file-XXXXXX");
	assert_non_null(mkdtemp(place->path));
	place->fd = file_open_directory(place->path, NULL);
	assert_true(place->fd >= 0);
	*state = place;
	return 0;
}

static int
teardown(void **state)
{
	static const char *const names[] = { "x/y/z", "file", "link", "x/link", "big" };
	static const char *const directories[] = { "x/y", "x" };
	struct place            *place = *state;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(place->fd, names[i], 0);
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
		unlinkat(place->fd, directories[i], AT_REMOVEDIR);
	close(place->fd);
	assert_int_equal(rmdir(place->path), 0);
	free(place);
	return 0;
}

static void
assert_file_holds(int directory, const char *name, const char *expected)
{
	struct buf   text = BUF(1000);
	struct error error = ERROR_NONE;
	int          fd = file_open_beneath(directory, name, O_RDONLY, 0, &error);

	assert_true(fd >= 0);
	assert_true(file_read_all(fd, &text, name, &error));
	assert_string_equal(buf_text(&text), expected);
	buf_free(&text);
	close(fd);
}

static void
no_path_leaves_the_directory(void **state)
{
	struct place *place = *state;
	struct error  error = ERROR_NONE;

	assert_int_equal(symlinkat("/etc", place->fd, "link"), 0);
	const char *bad[] = { "../passwd", "/etc/passwd", "link/passwd", "link", "x/../../etc" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		error = ERROR_NONE;
		assert_int_equal(file_open_beneath(place->fd, bad[i], O_RDONLY, 0, &error), -1);
		assert_non_null(strstr(error.text, bad[i]));
	}
	assert_false(file_make_directories(place->fd, "link/dakiya-must-not-exist", 0700, &error));
	assert_int_equal(access("/etc/dakiya-must-not-exist", F_OK), -1);
}

static void
directories_are_made_one_below_the_other(void **state)
{
	struct place *place = *state;
	struct error  error = ERROR_NONE;
	struct stat   status;

	assert_true(file_make_directories(place->fd, "x/y", 0750, &error));
	assert_true(file_make_directories(place->fd, "x/y/", 0750, &error));
	assert_int_equal(fstatat(place->fd, "x/y", &status, 0), 0);
	assert_int_equal(status.st_mode & 07777, 0750);
	int fd = file_open_beneath(place->fd, "x/y/z", O_WRONLY | O_CREAT | O_EXCL, 0640, &error);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close(fd);
}

static void
replacing_keeps_the_name_and_sets_the_mode(void **state)
{
	struct place *place = *state;
	struct error  error = ERROR_NONE;
	struct stat   status;

	assert_true(file_replace(place->fd, "file", SLICE("old"), 0600, &error));
	assert_true(file_replace(place->fd, "file", SLICE("newer"), 0640, &error));
	assert_file_holds(place->fd, "file", "newer");
	assert_int_equal(fstatat(place->fd, "file", &status, 0), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	assert_int_equal(status.st_nlink, 1);
	assert_false(file_replace(place->fd, "no/such", SLICE("x"), 0600, &error));
}

static void
replacing_a_link_replaces_the_link_and_not_its_target(void **state)
{
	struct place *place = *state;
	struct error  error = ERROR_NONE;

	assert_true(file_replace(place->fd, "file", SLICE("untouched"), 0600, &error));
	assert_int_equal(symlinkat("file", place->fd, "link"), 0);
	assert_true(file_replace(place->fd, "link", SLICE("mine"), 0600, &error));
	assert_file_holds(place->fd, "file", "untouched");
	assert_file_holds(place->fd, "link", "mine");
}

static void
a_file_longer_than_the_limit_is_refused(void **state)
{
	struct place *place = *state;
	struct error  error = ERROR_NONE;
	struct buf    four = BUF(4), five = BUF(5);

	assert_true(file_replace(place->fd, "file", SLICE("12345"), 0600, &error));
	int fd = file_open_beneath(place->fd, "file", O_RDONLY, 0, &error);
	assert_false(file_read_all(fd, &four, "file", &error));
	assert_non_null(strstr(error.text, "longer than 4"));
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_true(file_read_all(fd, &five, "file", &error));
	assert_int_equal(five.length, 5);
	char data[10];
	assert_int_equal(file_read_at(fd, data, sizeof(data), 3), 2);
	assert_memory_equal(data, "45", 2);
	close(fd);
	buf_free(&four);
	buf_free(&five);
}

static void
a_lock_excludes_another_open_of_the_same_process(void **state)
{
	struct place *place = *state;
	struct error  error = ERROR_NONE;

	assert_true(file_replace(place->fd, "file", SLICE(""), 0600, &error));
	int first = file_open_beneath(place->fd, "file", O_RDWR, 0, &error);
	int second = file_open_beneath(place->fd, "file", O_RDWR, 0, &error);
	assert_true(file_lock(first, FILE_LOCK_EXCLUSIVE, false, "file", &error));
	assert_false(file_lock(second, FILE_LOCK_SHARED, false, "file", &error));
	assert_int_equal(error.errno_value, EAGAIN);
	close(first);
	assert_true(file_lock(second, FILE_LOCK_EXCLUSIVE, true, "file", &error));
	close(second);
}

static void
writing_to_a_full_device_is_worded(void **unused)
{
	struct error error = ERROR_NONE;
	int          fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)unused;
	assert_false(file_write_all(fd, SLICE("x"), "queue/3F", &error));
	assert_string_equal(error.text, "write queue/3F: No space left on device");
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
		IN_PLACE(no_path_leaves_the_directory),
		IN_PLACE(directories_are_made_one_below_the_other),
		IN_PLACE(replacing_keeps_the_name_and_sets_the_mode),
		IN_PLACE(replacing_a_link_replaces_the_link_and_not_its_target),
		IN_PLACE(a_file_longer_than_the_limit_is_refused),
		IN_PLACE(a_lock_excludes_another_open_of_the_same_process),
		cmocka_unit_test(writing_to_a_full_device_is_worded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
