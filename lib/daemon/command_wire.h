/*
 * command_wire.h - what a room and its command helper say to each other; for command*.c only.
 *
 * A request is one message on a SOCK_SEQPACKET pair: the header, then texts that each end with a
 * NUL (the directory, the arguments, the environment), and four descriptors. It is answered with
 * one report on a pipe of its own; while the room holds the other end of `hold`, the command may
 * run. Both sides are of one program, so that the structs are the format.
 */
#ifndef DAKIYA_DAEMON_COMMAND_WIRE_H
#define DAKIYA_DAEMON_COMMAND_WIRE_H

#include <stdint.h>

#define COMMAND_REQUEST_MOST (128u * 1024) /* header and texts; below every kernel's ARG_MAX */
#define COMMAND_GRACE_MS     2000          /* from SIGTERM to SIGKILL */

enum command_descriptor {
	COMMAND_STDIN,  /* read end */
	COMMAND_OUTPUT, /* write end, for stdout and stderr */
	COMMAND_REPORT, /* write end */
	COMMAND_HOLD,   /* read end: its hang-up kills the command */
	COMMAND_DESCRIPTORS,
};

struct command_request {
	uint32_t argument_count;
	uint32_t environment_count;
};

enum command_step {
	COMMAND_STEP_EXITED,  /* value is the exit status */
	COMMAND_STEP_KILLED,  /* value is the signal */
	COMMAND_STEP_REQUEST, /* not started, value is the errno of the step */
	COMMAND_STEP_FORK,
	COMMAND_STEP_PREPARE,
	COMMAND_STEP_DIRECTORY,
	COMMAND_STEP_EXECUTE,
};

/* Written in one piece, which a pipe keeps whole; the first one counts. */
struct command_report {
	uint32_t step;
	int32_t  value;
};

#endif
