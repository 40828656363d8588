/* main.c - local: the parent, or (with an argument) one of its children. See local(8). */
#include "local/parent.h"
#include "local/worker.h"

int
main(int argc, char **argv)
{
	bool is_virtual = argc > 0 && slice_ends_with(slice_from(argv[0]), SLICE("virtual"));
	struct daemon parent = {
		.name = is_virtual ? "virtual" : "local",
		.identity = RUNS_AS_ROOT,
		.doors = DOOR_ACCEPT | DOOR_FORK_EXEC | DOOR_SOCKETPAIR,
		.run = parent_run,
		.is_single_threaded = true,
	};

	bool is_worker = argc > 1 && strncmp(argv[1], "--", 2) != 0; /* no --help */
	return is_worker ? worker_main(argc, argv) : daemon_main(&parent, argc, argv);
}
