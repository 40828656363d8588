/* test_master_demand.c - services that sleep until somebody asks, where memory is little. */
/* links: master/certificates.c master/sni.c */
/* links: master/supervise.c master/process.c master/listener.c master/generation.c */
/* links: master/prepare.c master/logfile.c master/control.c master/status.c */
/* links: master/notify.c master/loop.c master/shelf.c master/demand.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "master/master.h"

enum { SMTPD, QMGR, SMTP, PICKUP, COUNT };

/* A master with a service of each kind; smtpd listens on a port of its own. */
struct scene {
	struct master          master;
	struct generation      generation;
	struct service         services[COUNT];
	struct service_run     runs[COUNT];
	struct master_listener listener;
	struct sockaddr_in     address;
	struct process         process;
	struct ipc_channel     other; /* the process's end */
};

static void
listener_make(struct scene *scene)
{
	socklen_t length = sizeof(scene->address);

	scene->address.sin_family = AF_INET;
	scene->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	scene->listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	scene->listener.watch.fd = -1;
	assert_int_equal(bind(scene->listener.fd, (struct sockaddr *)&scene->address, length), 0);
	assert_int_equal(listen(scene->listener.fd, 5), 0);
	getsockname(scene->listener.fd, (struct sockaddr *)&scene->address, &length);
}

static int
scene_make(void **state)
{
	static const char *const names[] = { "smtpd", "qmgr", "smtp", "pickup" };
	struct scene            *scene = calloc(1, sizeof(*scene));
	int                      pair[2];

	if (scene == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		return -1;
	scene->master.generation = &scene->generation;
	scene->master.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	scene->master.is_memory_little = true;
	list_init(&scene->master.processes);
	listener_make(scene);
	for (size_t i = 0; i < COUNT; i++) {
		scene->services[i].program = program_find(slice_from(names[i]));
		scene->services[i].name = names[i];
		scene->runs[i].service = &scene->services[i];
		if (!ARRAY_PUSH(&scene->generation.runs, &scene->runs[i]))
			return -1;
	}
	if (!ARRAY_PUSH(&scene->runs[SMTPD].listeners, &scene->listener))
		return -1;
	ipc_channel_init(&scene->process.channel, pair[0]);
	ipc_channel_init(&scene->other, pair[1]);
	*state = scene;
	return 0;
}

static int
scene_free(void **state)
{
	struct scene *scene = *state;

	ipc_channel_close(&scene->process.channel);
	ipc_channel_close(&scene->other);
	close(scene->listener.fd);
	close(scene->master.epoll_fd);
	ARRAY_FREE(&scene->runs[SMTPD].listeners);
	ARRAY_FREE(&scene->generation.runs);
	free(scene);
	return 0;
}

/* The process that serves it is ready, and was last used so long ago. */
static struct process *
process_of(struct scene *scene, size_t which, int64_t idle_ms)
{
	struct process *process = &scene->process;

	process->run = &scene->runs[which];
	process->program = scene->services[which].program;
	process->name = (char *)(uintptr_t)scene->services[which].name;
	process->state = PROCESS_READY;
	process->used_ms = clock_monotonic_ms() - idle_ms;
	scene->runs[which].process = process;
	scene->runs[which].is_asleep = false;
	return process;
}

static bool
has_event(struct scene *scene, struct watch **watch)
{
	struct epoll_event event;

	if (epoll_wait(scene->master.epoll_fd, &event, 1, 0) != 1)
		return false;
	*watch = event.data.ptr;
	return true;
}

static void
a_connection_starts_a_service_that_sleeps(void **state)
{
	struct scene *scene = *state;
	struct watch *watch = NULL;
	int           client = socket(AF_INET, SOCK_STREAM, 0);

	demand_begin(&scene->master);
	assert_true(scene->runs[SMTPD].is_asleep);
	assert_int_equal(scene->runs[SMTPD].start_ms, 0);
	assert_false(has_event(scene, &watch));
	assert_int_equal(
		connect(client, (struct sockaddr *)&scene->address, sizeof(scene->address)), 0);
	assert_true(has_event(scene, &watch));
	assert_int_equal(watch->kind, WATCH_LISTENER);
	demand_input(&scene->master, watch);
	assert_false(scene->runs[SMTPD].is_asleep);
	assert_int_not_equal(scene->runs[SMTPD].start_ms, 0);
	assert_false(has_event(scene, &watch)); /* from now on it is the daemon's */
	close(client);
}

static void
what_has_work_starts_at_once(void **state)
{
	struct scene *scene = *state;

	demand_begin(&scene->master);
	assert_int_not_equal(scene->runs[QMGR].start_ms, 0);
	assert_int_not_equal(scene->runs[PICKUP].start_ms, 0);
	assert_int_equal(scene->runs[SMTP].start_ms, 0);
	demand_end(&scene->master);
	assert_int_equal(scene->listener.watch.fd, -1);
}

static void
with_memory_everything_starts(void **state)
{
	struct scene *scene = *state;

	scene->master.is_memory_little = false;
	demand_begin(&scene->master);
	for (size_t i = 0; i < COUNT; i++) {
		assert_false(scene->runs[i].is_asleep);
		assert_int_not_equal(scene->runs[i].start_ms, 0);
	}
	struct process *process = process_of(scene, SMTP, 3600000);
	demand_look(&scene->master, process);
	assert_int_equal(process->state, PROCESS_READY);
}

static void
say_wanted(struct scene *scene, const char *name, const struct process *by)
{
	struct msg_daemon_wants wants = { .service = slice_from(name) };
	struct ipc_frame        frame;

	assert_true(ipc_queue(&scene->other, daemon_wants, &wants));
	assert_int_equal(ipc_flush(&scene->other), IPC_OK);
	assert_int_equal(ipc_fill(&scene->process.channel), IPC_OK);
	assert_true(ipc_next(&scene->process.channel, &frame));
	demand_wanted(&scene->master, by, &frame);
	ipc_frame_close(&frame);
}

static void
only_qmgr_wakes_agents_and_nothing_else(void **state)
{
	struct scene *scene = *state;

	demand_begin(&scene->master);
	say_wanted(scene, "smtp", process_of(scene, PICKUP, 0));
	assert_true(scene->runs[SMTP].is_asleep);
	say_wanted(scene, "smtpd", process_of(scene, QMGR, 0));
	assert_true(scene->runs[SMTPD].is_asleep);
	say_wanted(scene, "nobody", process_of(scene, QMGR, 0));
	say_wanted(scene, "smtp", process_of(scene, QMGR, 0));
	assert_false(scene->runs[SMTP].is_asleep);
	assert_int_not_equal(scene->runs[SMTP].start_ms, 0);
}

static void
one_that_nobody_uses_finishes_and_sleeps(void **state)
{
	struct scene   *scene = *state;
	struct process *process = process_of(scene, SMTPD, 9000);

	demand_look(&scene->master, process);
	assert_int_equal(process->state, PROCESS_READY);
	process->used_ms -= 2000;
	process->sessions = 1; /* somebody is there */
	demand_look(&scene->master, process);
	process->sessions = 0;
	process->sessions_total = 5; /* somebody was */
	process->used_ms -= 20000;
	demand_look(&scene->master, process);
	assert_int_equal(process->state, PROCESS_READY);
	process->used_ms -= 20000;
	demand_look(&scene->master, process);
	assert_int_equal(process->state, PROCESS_DRAINING);
	assert_true(demand_ended(&scene->master, process->run, process));
	assert_true(scene->runs[SMTPD].is_asleep);
	demand_end(&scene->master);
}

static void
qmgr_never_sleeps_and_a_crash_is_no_sleep(void **state)
{
	struct scene   *scene = *state;
	struct process *process = process_of(scene, QMGR, 3600000);

	demand_look(&scene->master, process);
	assert_int_equal(process->state, PROCESS_READY);
	process = process_of(scene, SMTPD, 0);
	assert_false(demand_ended(&scene->master, process->run, process));
	assert_false(scene->runs[SMTPD].is_asleep);
}

int
main(void)
{
#define IN_SCENE(test) cmocka_unit_test_setup_teardown(test, scene_make, scene_free)
	const struct CMUnitTest tests[] = {
		IN_SCENE(a_connection_starts_a_service_that_sleeps),
		IN_SCENE(what_has_work_starts_at_once),
		IN_SCENE(with_memory_everything_starts),
		IN_SCENE(only_qmgr_wakes_agents_and_nothing_else),
		IN_SCENE(one_that_nobody_uses_finishes_and_sleeps),
		IN_SCENE(qmgr_never_sleeps_and_a_crash_is_no_sleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
