/*
 * command.h - runs the programs that mail is delivered to, outside the sandbox of who asks.
 *
 * A delivery room is closed in (no_new_privs, landlock, seccomp); a user's program may do what the
 * user may. So a small helper of the same identity, started before the doors close, does nothing
 * but fork and exec what it is told, and says how each ended. It parses no mail. FACTS 2.11.
 */
#ifndef DAKIYA_DAEMON_COMMAND_H
#define DAKIYA_DAEMON_COMMAND_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"

struct command_runner;

/*
 * Forks the helper; for a room's prepare, while it has one thread. NULL and *error when it cannot
 * be. The helper ends when the room does.
 */
struct command_runner *command_runner_start(struct error *error);
/* The same with a helper that somebody else started; takes over the descriptor to it. */
struct command_runner *command_runner_attach(int fd, struct error *error);
void                   command_runner_close(struct command_runner **runner);
/* The helper has ended: no command can be run any more, and the room should start anew. */
bool command_runner_is_gone(const struct command_runner *runner);
/* What the helper does, until its descriptor closes: for a process started for it alone. */
int command_runner_serve(int fd);

struct command {
	const char *const *arguments; /* NULL-terminated; [0] is an absolute path, or looked up */
	const char *const
		   *environment; /* NULL-terminated "NAME=value", complete: nothing is added */
	const char *directory;   /* where it runs; NULL = / */
	int64_t     time_limit_ms;
	/*
	 * Called for pieces of its standard input until an empty one; false with *error when it
	 * cannot be read: the program is killed. A program that does not read all is no failure.
	 */
	bool (*input)(void *context, struct slice *piece, struct error *error);
	void *input_context;
	/*
	 * Asked about once a second while it runs; true ends it like a timeout, COMMAND_NOT_RUN
	 * (a daemon whose drain is over). NULL: never.
	 */
	bool (*must_end)(void *context);
	void *must_end_context;
};

enum command_end {
	COMMAND_EXITED,    /* status is its exit status */
	COMMAND_KILLED,    /* status is the signal */
	COMMAND_TIMED_OUT, /* and was killed, with its process group */
	COMMAND_NOT_RUN,   /* it, or the helper, could not be started; error says why */
};

struct command_result {
	enum command_end end;
	int              status;
	struct buf       output; /* stdout and stderr, the first COMMAND_OUTPUT_MOST bytes */
	struct error     error;
};
#define COMMAND_OUTPUT_MOST 4096

/*
 * How many bytes may be added to its arguments and environment (each text has one byte more); 0
 * also when they are too long already, and then it is COMMAND_NOT_RUN.
 */
size_t command_room_left(const struct command *command);

/*
 * Runs one command and waits for it. Any thread; many may run at once. It has a session and a
 * process group of its own, umask 077, default signals and limits, and nothing open but its
 * standard streams. SIGPIPE must be ignored by the caller, as in every daemon.
 */
void command_run(struct command_runner *runner, const struct command *command,
                 struct command_result *result);
/*
 * The same for a program that talks to a client, as inetd runs it: its input, output and error
 * output are all the socket, which stays the caller's. command->input is not used.
 */
void command_serve(struct command_runner *runner, const struct command *command, int socket,
                   struct command_result *result);
void command_result_free(struct command_result *result);

/*
 * The delivery status of a result by sysexits (FACTS 2.11): *status such as "5.1.1", and text for
 * the log and the sender ("unknown user", "Command died with status 67: ..."). True when it is a
 * success; text is then what it wrote, in one line. When it failed, output that begins with an
 * enhanced status code overrides both.
 */
bool command_result_status(const struct command_result *result, const char *command,
                           char status[12], struct buf *text);

#endif
