/* main.c - master: reads the configuration, binds, starts the daemons and watches them. */
#include "master/master.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/number.h"
#include "lib/conf/version.h"

#define START_REPORT_MS 30000 /* how long `dakiya start` waits for all daemons */

static const char help[] = "usage: master -c config_directory [-f] [-r descriptor]\n"
			   "started by dakiya(8): -f in the foreground, -r where to report\n";

static void __attribute__((noreturn)) usage(void)
{
	fputs(help, stderr);
	exit(EX_USAGE);
}

/* What somebody at a terminal asks. */
static bool
is_question(int argc, char **argv)
{
	if (version_asked(argc, argv))
		return true;
	if (argc < 2 || strcmp(argv[1], "--help") != 0)
		return false;
	fputs(help, stdout);
	return true;
}

static void
parse_arguments(struct master *master, int argc, char **argv)
{
	int64_t descriptor;
	int     option;

	while ((option = getopt(argc, argv, "c:fr:")) != -1) {
		switch (option) {
		case 'c': master->config_directory = optarg; break;
		case 'f': master->is_foreground = true; break;
		case 'r':
			if (!number_parse(slice_from(optarg), 3, 1000, &descriptor))
				usage();
			master->report_fd = (int)descriptor;
			fcntl(master->report_fd, F_SETFD, FD_CLOEXEC);
			break;
		default: usage();
		}
	}
	if (optind != argc || master->config_directory == NULL)
		usage();
}

static bool
open_events(struct master *master, struct error *error)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < 5; i++)
		sigaddset(&set, (const int[]){ SIGCHLD, SIGHUP, SIGTERM, SIGINT, SIGUSR1 }[i]);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	master->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	master->signals.kind = WATCH_SIGNALS;
	master->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (master->epoll_fd < 0 || master->signals.fd < 0 || !loop_watch(master, &master->signals))
		return error_set_errno(error, "set up events");
	return true;
}

/* Everything up to the first daemon; what is wrong goes to the report. */
static bool
prepare(struct master *master, struct report *report)
{
	struct error error = ERROR_NONE;

	master->generation = generation_new(master, report);
	if (master->generation == NULL)
		return false;
	if (prepare_directories(master, &error) && prepare_lock(master, &error) &&
	    open_events(master, &error) && control_open(master, &error)) {
		if (!listeners_bind(master, master->generation, report))
			return false;
		if (prepare_limits_suffice(master, &error))
			return true;
	}
	report_add(report, PROBLEM_ERROR, "", 0, "%s", error.text);
	return false;
}

static int
refuse(struct master *master, const struct report *report)
{
	struct buf text = BUF(512u * 1024);

	report_append(report, false, &text);
	if (master->report_fd >= 0)
		report_start(master, buf_text(&text));
	else
		fprintf(stderr, "%s", buf_text(&text));
	buf_free(&text);
	return EX_CONFIG;
}

static void
begin(struct master *master)
{
	const struct parameters *parameters = &master->generation->configuration.parameters;

	logfile_open(master, parameters);
	prepare_limits_check();
	notify_open(master);
	log_info("daemon started -- version %s, configuration %s", parameters->mail_version,
	         master->config_directory);
	if (master->is_unprivileged)
		log_info("started without root: all daemons run as uid %u", (unsigned)geteuid());
	master->first_deadline_ms = clock_monotonic_ms() + START_REPORT_MS;
	demand_decide(master);
	demand_begin(master);
}

int
main(int argc, char **argv)
{
	struct master master = { .report_fd = -1,
		                 .log_fd = -1,
		                 .notify_fd = -1,
		                 .pid_file_fd = -1,
		                 .control.fd = -1,
		                 .is_unprivileged = geteuid() != 0,
		                 .started_ms = clock_monotonic_ms() };
	struct report report = REPORT_NONE;

	if (is_question(argc, argv))
		return EX_OK;
	master.shelf = SHELF_NONE;
	list_init(&master.listeners);
	list_init(&master.processes);
	list_init(&master.clients);
	list_init(&master.certificates);
	parse_arguments(&master, argc, argv);
	umask(022);
	prepare_limits();
	prepare_shelf(&master);
	if (prepare(&master, &report)) {
		begin(&master);
		loop_run(&master);
		log_info("the mail system has stopped");
	} else {
		master.exit_status = refuse(&master, &report);
	}
	report_start(&master, "stopped before everything was up\n");
	listeners_close_before(&master, master.generation_count + 1);
	shelf_close(&master.shelf);
	prepare_unlock(&master);
	control_close(&master);
	generation_free(&master.generation);
	report_free(&report);
	return master.exit_status;
}
