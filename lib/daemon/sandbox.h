/*
 * sandbox.h - closes the doors that a role does not need: no_new_privs, landlock, seccomp.
 *
 * What the running kernel lacks is logged once and left out; everything else that fails is an
 * error. There is no way back for the process and for what it executes.
 */
#ifndef DAKIYA_DAEMON_SANDBOX_H
#define DAKIYA_DAEMON_SANDBOX_H

#include <stddef.h>

#include "lib/base/error.h"

struct sandbox {
	unsigned           doors;    /* DOOR_* of daemon.h */
	const char *const *readable; /* existing directories or files */
	size_t             readable_count;
	const char *const *writable;
	size_t             writable_count;
};

bool sandbox_enter(const struct sandbox *sandbox, struct error *error);

/* The two halves, for sandbox_enter. False with errno_value ENOSYS when the kernel has it not. */
bool sandbox_landlock(const struct sandbox *sandbox, struct error *error);
bool sandbox_seccomp(unsigned doors, struct error *error);

#endif
