/* sandbox.c - see sandbox.h. */
#include "lib/daemon/sandbox.h"

#include <errno.h>
#include <sys/prctl.h>

#include "lib/base/log.h"
#include "lib/daemon/daemon.h"

/* Runs one half; false only when it failed for another reason than an old kernel. */
static bool
half_is_fine(bool is_done, const struct error *failure, struct error *error)
{
	if (is_done)
		return true;
	if (failure->errno_value == ENOSYS || failure->errno_value == EOPNOTSUPP) {
		log_debug("this kernel has no %s: going on without", failure->text);
		return true;
	}
	return error_set(error, "%s", failure->text);
}

bool
sandbox_enter(const struct sandbox *sandbox, struct error *error)
{
	struct error failure = ERROR_NONE;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return error_set_errno(error, "no_new_privs");
	/* No core files with other people's mail, no ptrace by the same uid. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return error_set_errno(error, "PR_SET_DUMPABLE");
	if (!half_is_fine(sandbox_landlock(sandbox, &failure), &failure, error))
		return false;
	failure = ERROR_NONE;
	return half_is_fine(sandbox_seccomp(sandbox->doors, &failure), &failure, error);
}
