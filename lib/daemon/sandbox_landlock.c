/* sandbox_landlock.c - which files, ports and neighbours the kernel lets a daemon reach. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/daemon/daemon.h"
#include "lib/daemon/sandbox.h"

/* Of newer kernels than Debian 12's headers: linux/landlock.h, ABI 3 to 6. */
#define FS_TRUNCATE     (1ull << 14) /* ABI 3 */
#define FS_IOCTL_DEV    (1ull << 15) /* ABI 5 */
#define NET_BIND_TCP    (1ull << 0)  /* ABI 4 */
#define NET_CONNECT_TCP (1ull << 1)
#define SCOPE_ABSTRACT  (1ull << 0) /* ABI 6 */
#define SCOPE_SIGNAL    (1ull << 1)

struct ruleset {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                                   \
	(FS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                 \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |                            \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER |    \
	 FS_TRUNCATE)
/* What makes sense on a file that is not a directory. */
#define FS_OF_FILE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)

/* What an ABI version knows: asking for more is refused by the kernel. */
static struct ruleset
ruleset_of_abi(long abi, unsigned doors)
{
	struct ruleset rules = { .fs = (1ull << 13) - 1 };

	if (abi >= 2)
		rules.fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		rules.fs |= FS_TRUNCATE;
	if (abi >= 5)
		rules.fs |= FS_IOCTL_DEV;
	/* Who may connect may choose its source address; seccomp has no listen() for it. */
	if (abi >= 4 && (doors & DOOR_INET_CONNECT) == 0)
		rules.net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (abi >= 6)
		rules.scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL;
	return rules;
}

static bool
rule_add(int ruleset, const char *path, uint64_t access, uint64_t handled, struct error *error)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access & handled };
	struct stat                       status;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0 && (errno == ENOENT || errno == EACCES))
		return true; /* what is not there cannot be opened later either */
	if (rule.parent_fd < 0)
		return error_set_errno(error, "open %s", path);
	if (fstat(rule.parent_fd, &status) == 0 && !S_ISDIR(status.st_mode))
		rule.allowed_access &= FS_OF_FILE;
	long result = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	int  saved = errno;
	close(rule.parent_fd);
	errno = saved;
	return result == 0 || error_set_errno(error, "landlock rule for %s", path);
}

static bool
rules_add(const struct sandbox *sandbox, int ruleset, uint64_t handled, struct error *error)
{
	if ((sandbox->doors & (DOOR_FILE_READ | DOOR_FILE_WRITE)) != 0)
		for (size_t i = 0; i < sandbox->readable_count; i++)
			if (!rule_add(ruleset, sandbox->readable[i], FS_READ, handled, error))
				return false;
	if ((sandbox->doors & DOOR_FILE_WRITE) != 0)
		for (size_t i = 0; i < sandbox->writable_count; i++)
			if (!rule_add(ruleset, sandbox->writable[i], FS_WRITE, handled, error))
				return false;
	return true;
}

bool
sandbox_landlock(const struct sandbox *sandbox, struct error *error)
{
	/* LIMIT: what local's parent starts (a user's command) must see the user's world. */
	if ((sandbox->doors & DOOR_FORK_EXEC) != 0)
		return true;
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 1) {
		error_set_errno(error, "landlock");
		if (error != NULL)
			error->errno_value = ENOSYS;
		return false;
	}
	struct ruleset rules = ruleset_of_abi(abi, sandbox->doors);
	size_t         size = abi >= 6 ? sizeof(rules) : abi >= 4 ? 16 : 8;
	int            fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
	if (fd < 0)
		return error_set_errno(error, "landlock ruleset");
	bool is_done = rules_add(sandbox, fd, rules.fs, error);
	if (is_done && syscall(SYS_landlock_restrict_self, fd, 0) != 0)
		is_done = error_set_errno(error, "landlock");
	close(fd);
	return is_done;
}
