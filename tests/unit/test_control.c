/* test_control.c - a daemon's side of its channel to master. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/daemon/core.h"

/* Frees with core_close. *master is the other end of its channel. */
static struct daemon_core *
core_open(int *master)
{
	struct daemon_core *core = calloc(1, sizeof(*core));
	sigset_t            none;
	int                 pair[2];

	assert_non_null(core);
	sigemptyset(&none);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
	                 0);
	ipc_channel_init(&core->control, pair[0]);
	core->signal_fd = signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK);
	core->wake_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	core->drain_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	core->log_fd = core->certificates_fd = core->snapshot_fd = -1;
	*master = pair[1];
	return core;
}

static void
core_close(struct daemon_core *core)
{
	ipc_channel_close(&core->control);
	close(core->signal_fd);
	close(core->wake_event);
	close(core->drain_event);
	free(core);
}

static void
the_end_of_master_begins_the_drain_when_it_is_met_by_reading(void **state)
{
	int                 master;
	struct daemon_core *core = core_open(&master);

	(void)state;
	control_read(core);
	assert_false(core->is_draining);
	close(master);
	control_read(core);
	assert_true(core->is_draining);
	core_close(core);
}

static void
the_end_of_master_begins_the_drain_when_it_is_met_by_writing(void **state)
{
	int                 master;
	struct daemon_core *core = core_open(&master);

	(void)state;
	close(master);
	control_tell_alive(core, clock_monotonic_ms());
	assert_true(core->control.is_broken);
	assert_true(core->is_draining);
	core_close(core);
}

/* With nobody to tell, the time of the next word to master is no reason to look at once. */
static void
without_master_a_wait_lasts_as_long_as_asked(void **state)
{
	int                 master;
	struct daemon_core *core = core_open(&master);

	(void)state;
	close(master);
	control_tell_alive(core, clock_monotonic_ms());
	core->next_alive_ms = clock_monotonic_ms() - 1000;
	int64_t begin = clock_monotonic_ms();
	control_wait(core, 100);
	assert_true(clock_monotonic_ms() - begin >= 99);
	core_close(core);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_end_of_master_begins_the_drain_when_it_is_met_by_reading),
		cmocka_unit_test(the_end_of_master_begins_the_drain_when_it_is_met_by_writing),
		cmocka_unit_test(without_master_a_wait_lasts_as_long_as_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
