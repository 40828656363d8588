/* test_master_shelf.c - files kept without descriptors: there, in their order, and gone in time. */
/* links: master/shelf.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "master/shelf.h"

#define FILES 60

static ino_t
number_of(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	return status.st_ino;
}

static size_t
open_count(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* A pipe's reading end goes to the shelf; the writing end tells whether it is still open. */
static unsigned
put_pipe(struct shelf *shelf, int *writing, ino_t *number)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	*writing = ends[1];
	*number = number_of(ends[0]);
	unsigned ticket = shelf_put(shelf, ends[0]);
	close(ends[0]);
	return ticket;
}

static void
assert_there(const struct shelf *shelf, unsigned ticket, ino_t number)
{
	int fd = shelf_get(shelf, ticket);

	assert_true(fd >= 0);
	assert_int_equal(number_of(fd), number);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	close(fd);
}

static void
what_is_put_there_costs_no_descriptor_and_is_found_again(void **state)
{
	(void)state;
	struct shelf shelf;
	unsigned     tickets[FILES];
	int          writing[FILES];
	ino_t        numbers[FILES];

	assert_true(shelf_open(&shelf));
	size_t before = open_count();
	for (size_t i = 0; i < FILES; i++)
		tickets[i] = put_pipe(&shelf, &writing[i], &numbers[i]);
	assert_int_equal(open_count(), before + FILES); /* the writing ends */
	for (size_t round = 0; round < 3; round++)
		for (size_t i = FILES; i-- > 0;)
			assert_there(&shelf, tickets[i], numbers[i]);
	assert_int_equal(shelf_get(&shelf, 12345), -1);
	for (size_t i = 0; i < FILES; i++)
		close(writing[i]);
	shelf_close(&shelf);
}

static void
what_is_taken_away_is_closed_and_the_others_stay(void **state)
{
	(void)state;
	struct shelf shelf;
	unsigned     tickets[FILES];
	int          writing[FILES];
	ino_t        numbers[FILES];

	assert_true(shelf_open(&shelf));
	for (size_t i = 0; i < FILES; i++)
		tickets[i] = put_pipe(&shelf, &writing[i], &numbers[i]);
	for (size_t i = 0; i < FILES; i += 3)
		assert_true(shelf_remove(&shelf, tickets[i]));
	assert_false(shelf_remove(&shelf, tickets[0]));
	for (size_t i = 0; i < FILES; i++) {
		assert_int_equal(write(writing[i], "x", 1), i % 3 == 0 ? -1 : 1);
		if (i % 3 != 0)
			assert_there(&shelf, tickets[i], numbers[i]);
		close(writing[i]);
	}
	shelf_close(&shelf);
}

static void
without_a_free_descriptor_nothing_is_lost(void **state)
{
	(void)state;
	struct shelf  shelf;
	unsigned      tickets[3];
	int           writing[3];
	ino_t         numbers[3];
	struct rlimit files, none;

	assert_true(shelf_open(&shelf));
	for (size_t i = 0; i < 3; i++)
		tickets[i] = put_pipe(&shelf, &writing[i], &numbers[i]);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = files.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(shelf_get(&shelf, tickets[2]), -1);
	assert_false(shelf_remove(&shelf, tickets[2]));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (size_t i = 0; i < 3; i++)
		assert_there(&shelf, tickets[i], numbers[i]);
	for (size_t i = 0; i < 3; i++)
		close(writing[i]);
	shelf_close(&shelf);
}

static void
whoever_connects_to_a_socket_there_waits(void **state)
{
	(void)state;
	struct shelf       shelf;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t          length = sizeof(address.sun_family); /* the kernel gives it a name */
	int                listener = socket(AF_UNIX, SOCK_STREAM, 0);
	int                client = socket(AF_UNIX, SOCK_STREAM, 0);
	char               byte = 0;

	assert_true(shelf_open(&shelf));
	assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listener, 5), 0);
	length = sizeof(address);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	unsigned ticket = shelf_put(&shelf, listener);
	close(listener);
	assert_int_equal(connect(client, (struct sockaddr *)&address, length), 0);
	assert_int_equal(write(client, "a", 1), 1);
	listener = shelf_get(&shelf, ticket);
	int server = accept(listener, NULL, NULL);
	assert_true(server >= 0);
	assert_int_equal(read(server, &byte, 1), 1);
	assert_int_equal(byte, 'a');
	close(server);
	close(listener);
	close(client);
	shelf_close(&shelf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_there_costs_no_descriptor_and_is_found_again),
		cmocka_unit_test(what_is_taken_away_is_closed_and_the_others_stay),
		cmocka_unit_test(without_a_free_descriptor_nothing_is_lost),
		cmocka_unit_test(whoever_connects_to_a_socket_there_waits),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
