/* main.c - local: the parent, or (argument "worker") one of its children. See local(8). */
#include <string.h>

#include "local/parent.h"
#include "local/worker.h"

int
main(int argc, char **argv)
{
	static const char *const   mailboxes[] = { "$virtual_mailbox_base", NULL };
	static const struct daemon parent = {
		.name = "virtual",
		.identity = RUNS_AS_ROOT,
		.doors = DOOR_ACCEPT | DOOR_FORK_EXEC | DOOR_SOCKETPAIR,
		.run = parent_run,
		.is_single_threaded = true,
	};
	static const struct daemon worker = {
		.name = "virtual",
		.identity = RUNS_AS_IS,
		.doors = DOOR_FILE_READ | DOOR_FILE_WRITE,
		.writable = mailboxes,
		.prepare = worker_prepare,
		.run = worker_run,
	};

	return daemon_main(argc > 1 && strcmp(argv[1], "worker") == 0 ? &worker : &parent, argc,
	                   argv);
}
