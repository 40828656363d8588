/*
 * sandbox_seccomp.c - which system calls a daemon may make.
 *
 * Three classes. What a role needs is allowed, with arguments checked where they matter. What only
 * an intruder wants (exec, ptrace, mount ...) ends the process at once, and master logs the signal.
 * Everything else, also what a library may try in a corner of its own, fails with ENOSYS (EACCES
 * for files), which every caller has to expect; the kernel's audit log names the call. Killing on
 * the unknown would turn the next libc update into an outage.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/daemon/daemon.h"
#include "lib/daemon/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(memory_sanitizer)
#define IS_SANITIZER 1
#endif
#endif
#ifndef IS_SANITIZER
#define IS_SANITIZER 0
#endif

#define CALL(name) SCMP_SYS(name)

/* Reading, writing and waiting on what is open, memory, time, threads. */
static const int calls_always[] = {
	CALL(read),
	CALL(write),
	CALL(readv),
	CALL(writev),
	CALL(pread64),
	CALL(pwrite64),
	CALL(preadv),
	CALL(pwritev),
	CALL(preadv2),
	CALL(pwritev2),
	CALL(recvfrom),
	CALL(recvmsg),
	CALL(recvmmsg),
	CALL(sendto),
	CALL(sendmsg),
	CALL(sendmmsg),
	CALL(close),
	CALL(close_range),
	CALL(shutdown),
	CALL(poll),
	CALL(ppoll),
	CALL(select),
	CALL(pselect6),
	CALL(epoll_create1),
	CALL(epoll_ctl),
	CALL(epoll_wait),
	CALL(epoll_pwait),
	CALL(epoll_pwait2),
	CALL(eventfd2),
	CALL(timerfd_create),
	CALL(timerfd_settime),
	CALL(timerfd_gettime),
	CALL(signalfd4),
	CALL(futex),
	CALL(futex_waitv),
	CALL(clock_gettime),
	CALL(clock_getres),
	CALL(clock_nanosleep),
	CALL(nanosleep),
	CALL(gettimeofday),
	CALL(time),
	CALL(times),
	CALL(getrandom),
	CALL(getpid),
	CALL(gettid),
	CALL(getppid),
	CALL(getuid),
	CALL(geteuid),
	CALL(getgid),
	CALL(getegid),
	CALL(getresuid),
	CALL(getresgid),
	CALL(getgroups),
	CALL(getpgrp),
	CALL(brk),
	CALL(munmap),
	CALL(mremap),
	CALL(madvise),
	CALL(mlock),
	CALL(munlock),
	CALL(mincore),
	CALL(rt_sigaction),
	CALL(rt_sigprocmask),
	CALL(rt_sigreturn),
	CALL(rt_sigtimedwait),
	CALL(rt_sigpending),
	CALL(sigaltstack),
	CALL(restart_syscall),
	CALL(exit),
	CALL(exit_group),
	CALL(set_robust_list),
	CALL(get_robust_list),
	CALL(rseq),
	CALL(set_tid_address),
	CALL(sched_yield),
	CALL(sched_getaffinity),
	CALL(membarrier),
	CALL(getcpu),
	CALL(fstat),
	CALL(lseek),
	CALL(fcntl),
	CALL(dup),
	CALL(dup2),
	CALL(dup3),
	CALL(pipe2),
	CALL(getsockname),
	CALL(getpeername),
	CALL(getsockopt),
	CALL(setsockopt),
	CALL(uname),
	CALL(sysinfo),
	CALL(getrlimit),
	CALL(getrusage),
	CALL(fsync),
	CALL(fdatasync),
	CALL(sync_file_range),
	CALL(ftruncate),
	CALL(fallocate),
	CALL(fadvise64),
	CALL(sendfile),
	CALL(splice),
	CALL(copy_file_range),
	CALL(arch_prctl),
	CALL(alarm),
	CALL(setitimer),
};

/* Looking at files; open is added with its flags checked. */
static const int calls_file_read[] = {
	CALL(stat),
	CALL(lstat),
	CALL(newfstatat),
	CALL(statx),
	CALL(access),
	CALL(faccessat),
	CALL(faccessat2),
	CALL(readlink),
	CALL(readlinkat),
	CALL(getdents64),
	CALL(getcwd),
	CALL(statfs),
	CALL(fstatfs),
	CALL(flock),
	CALL(readahead),
	CALL(fgetxattr),
	CALL(inotify_init1),
	CALL(inotify_add_watch),
	CALL(inotify_rm_watch),
};

static const int calls_file_write[] = {
	CALL(open),      CALL(openat),    CALL(openat2),  CALL(creat),        CALL(mkdir),
	CALL(mkdirat),   CALL(rmdir),     CALL(unlink),   CALL(unlinkat),     CALL(rename),
	CALL(renameat),  CALL(renameat2), CALL(link),     CALL(linkat),       CALL(symlink),
	CALL(symlinkat), CALL(chmod),     CALL(fchmod),   CALL(fchmodat),     CALL(fchown),
	CALL(fchownat),  CALL(utimensat), CALL(truncate), CALL(umask),        CALL(fsetxattr),
	CALL(syncfs),    CALL(chdir),     CALL(fchdir),   CALL(memfd_create),
};

/* What no role needs and an intruder wants first: the process ends. */
static const int calls_never[] = {
	CALL(ptrace),
	CALL(process_vm_readv),
	CALL(process_vm_writev),
	CALL(kcmp),
	CALL(bpf),
	CALL(perf_event_open),
	CALL(userfaultfd),
	CALL(mount),
	CALL(umount2),
	CALL(pivot_root),
	CALL(chroot),
	CALL(setns),
	CALL(unshare),
	CALL(kexec_load),
	CALL(kexec_file_load),
	CALL(init_module),
	CALL(finit_module),
	CALL(delete_module),
	CALL(reboot),
	CALL(swapon),
	CALL(swapoff),
	CALL(acct),
	CALL(add_key),
	CALL(keyctl),
	CALL(request_key),
	CALL(mknod),
	CALL(mknodat),
	CALL(settimeofday),
	CALL(clock_settime),
	CALL(sethostname),
	CALL(setdomainname),
	CALL(iopl),
	CALL(ioperm),
	CALL(quotactl),
	CALL(io_uring_setup),
	CALL(open_by_handle_at),
	CALL(name_to_handle_at),
	CALL(fsopen),
	CALL(fsmount),
	CALL(move_mount),
	CALL(open_tree),
	CALL(pidfd_getfd),
	CALL(personality),
	CALL(modify_ldt),
	CALL(vmsplice),
	CALL(lookup_dcookie),
	CALL(move_pages),
	CALL(migrate_pages),
	CALL(mbind),
};
/* The same for roles that start no programs. */
static const int calls_exec[] = { CALL(execve), CALL(execveat), CALL(fork), CALL(vfork) };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A call that this architecture does not have is no failure. */
static bool
rules(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int result = seccomp_rule_add(filter, action, calls[i], 0);

		if (result != 0 && result != -EDOM && result != -EEXIST && result != -EACCES)
			return false;
	}
	return true;
}

/* One rule for a call whose argument must be value under mask. */
static bool
rule_masked(scmp_filter_ctx filter, uint32_t action, int call, unsigned argument, uint64_t mask,
            uint64_t value)
{
	struct scmp_arg_cmp compare = SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, mask, value);
	int                 result = seccomp_rule_add_array(filter, action, call, 1, &compare);

	return result == 0 || result == -EACCES;
}

#define WHOLE 0xffffffffull /* an int argument; the upper half is the caller's rubbish */

static bool
rules_memory_and_threads(scmp_filter_ctx filter)
{
	return rule_masked(filter, SCMP_ACT_ALLOW, CALL(mmap), 2, PROT_EXEC, 0) &&
	       rule_masked(filter, SCMP_ACT_ALLOW, CALL(mprotect), 2, PROT_EXEC, 0) &&
	       rule_masked(filter, SCMP_ACT_ALLOW, CALL(clone), 0, CLONE_THREAD | CLONE_VM,
	                   CLONE_THREAD | CLONE_VM) &&
	       rule_masked(filter, SCMP_ACT_ALLOW, CALL(tgkill), 0, WHOLE, (uint64_t)getpid()) &&
	       /* Reading limits only: the process itself, nothing to set. */
	       seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(prlimit64), 1,
	                        SCMP_A2_64(SCMP_CMP_EQ, 0, 0)) == 0 &&
	       /* What is allowed of newfstatat without a file: fstat of a descriptor. */
	       rule_masked(filter, SCMP_ACT_ALLOW, CALL(newfstatat), 3, AT_EMPTY_PATH,
	                   AT_EMPTY_PATH) &&
	       rule_masked(filter, SCMP_ACT_ALLOW, CALL(prctl), 0, WHOLE, PR_SET_NAME) &&
	       rule_masked(filter, SCMP_ACT_ALLOW, CALL(prctl), 0, WHOLE, PR_GET_NAME) &&
	       rule_masked(filter, SCMP_ACT_ALLOW, CALL(ioctl), 1, WHOLE, FIONREAD) &&
	       rule_masked(filter, SCMP_ACT_ALLOW, CALL(ioctl), 1, WHOLE, FIONBIO) &&
	       rule_masked(filter, SCMP_ACT_ERRNO(ENOTTY), CALL(ioctl), 1, WHOLE, TCGETS) &&
	       rule_masked(filter, SCMP_ACT_ERRNO(ENOTTY), CALL(ioctl), 1, WHOLE, TIOCGWINSZ);
}

static bool
rule_socket(scmp_filter_ctx filter, int family, int type)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(socket), 2,
	                        SCMP_A0_64(SCMP_CMP_MASKED_EQ, WHOLE, (uint64_t)family),
	                        SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xf, (uint64_t)type)) == 0;
}

static bool
rules_sockets(scmp_filter_ctx filter, unsigned doors)
{
	static const int accepting[] = { CALL(accept), CALL(accept4) };
	static const int connecting[] = { CALL(connect) };
	static const int datagrams[] = { CALL(bind), CALL(connect) };
	bool             ok = true;

	if ((doors & DOOR_ACCEPT) != 0)
		ok = ok && rules(filter, SCMP_ACT_ALLOW, accepting, COUNT(accepting));
	if ((doors & (DOOR_UNIX_CONNECT | DOOR_INET_CONNECT)) != 0)
		ok = ok && rules(filter, SCMP_ACT_ALLOW, connecting, COUNT(connecting));
	if ((doors & DOOR_UNIX_CONNECT) != 0)
		ok = ok && rule_socket(filter, AF_UNIX, SOCK_STREAM);
	if ((doors & DOOR_INET_CONNECT) != 0)
		/* bind: smtp_bind_address chooses the source address. */
		ok = ok && rule_socket(filter, AF_INET, SOCK_STREAM) &&
		     rule_socket(filter, AF_INET6, SOCK_STREAM) &&
		     rules(filter, SCMP_ACT_ALLOW, datagrams, COUNT(datagrams));
	if ((doors & DOOR_INET_DATAGRAM) != 0)
		ok = ok && rule_socket(filter, AF_INET, SOCK_DGRAM) &&
		     rule_socket(filter, AF_INET6, SOCK_DGRAM) &&
		     rules(filter, SCMP_ACT_ALLOW, datagrams, COUNT(datagrams));
	if ((doors & DOOR_SOCKETPAIR) != 0)
		ok = ok && rule_masked(filter, SCMP_ACT_ALLOW, CALL(socketpair), 0, WHOLE, AF_UNIX);
	return ok;
}

/* open and openat are denied unless the flags ask for nothing but reading. */
static bool
rules_files(scmp_filter_ctx filter, unsigned doors)
{
	static const int denied[] = { CALL(open),   CALL(openat),   CALL(creat),
		                      CALL(stat),   CALL(lstat),    CALL(statx),
		                      CALL(access), CALL(readlink), CALL(faccessat) };
	uint64_t writing = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY);

	if ((doors & DOOR_FILE_WRITE) != 0)
		return rules(filter, SCMP_ACT_ALLOW, calls_file_read, COUNT(calls_file_read)) &&
		       rules(filter, SCMP_ACT_ALLOW, calls_file_write, COUNT(calls_file_write));
	if ((doors & DOOR_FILE_READ) != 0)
		/* openat2 keeps its flags in memory where a filter cannot look: ENOSYS, and
		 * file_open_beneath walks by hand. */
		return rules(filter, SCMP_ACT_ALLOW, calls_file_read, COUNT(calls_file_read)) &&
		       rule_masked(filter, SCMP_ACT_ALLOW, CALL(open), 1, writing, O_RDONLY) &&
		       rule_masked(filter, SCMP_ACT_ALLOW, CALL(openat), 2, writing, O_RDONLY);
	return rules(filter, SCMP_ACT_ERRNO(EACCES), denied, COUNT(denied));
}

static bool
rules_of_role(scmp_filter_ctx filter, unsigned doors)
{
	static const int others[] = { CALL(kill), CALL(tkill), CALL(rt_sigqueueinfo),
		                      CALL(rt_tgsigqueueinfo), CALL(pidfd_send_signal) };

	if (IS_SANITIZER)
		return rules(filter, SCMP_ACT_ERRNO(EPERM), others, COUNT(others));
	return rules(filter, SCMP_ACT_ALLOW, calls_always, COUNT(calls_always)) &&
	       rules(filter, SCMP_ACT_ERRNO(EPERM), others, COUNT(others)) &&
	       rules(filter, SCMP_ACT_KILL_PROCESS, calls_exec, COUNT(calls_exec)) &&
	       rules_memory_and_threads(filter) && rules_sockets(filter, doors) &&
	       rules_files(filter, doors);
}

/* A sanitizer's runtime makes calls of its own (ptrace for leaks): only exec and sockets there. */
static bool
rules_of_sanitizer(scmp_filter_ctx filter, unsigned doors)
{
	bool ok = rules(filter, SCMP_ACT_KILL_PROCESS, calls_exec, 2);

	if ((doors & (DOOR_INET_CONNECT | DOOR_INET_DATAGRAM)) == 0)
		ok = ok &&
		     rule_masked(filter, SCMP_ACT_ERRNO(EACCES), CALL(socket), 0, WHOLE, AF_INET) &&
		     rule_masked(filter, SCMP_ACT_ERRNO(EACCES), CALL(socket), 0, WHOLE, AF_INET6);
	return ok;
}

bool
sandbox_seccomp(unsigned doors, struct error *error)
{
	/* LIMIT: local's parent starts programs, and a filter is inherited: for it only the calls
	 * of calls_never are closed, with an error, since a user's command may probe them. */
	bool            may_exec = (doors & DOOR_FORK_EXEC) != 0;
	bool            is_open = may_exec || IS_SANITIZER;
	scmp_filter_ctx filter = seccomp_init(is_open ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS));

	if (filter == NULL)
		return error_set(error, "seccomp: out of memory");
	uint32_t never = is_open ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS;
	size_t   first = IS_SANITIZER ? 3 : 0; /* ptrace and process_vm_* stay for the runtime */
	bool     ok = rules(filter, never, calls_never + first, COUNT(calls_never) - first);
	if (!may_exec)
		ok = ok && rules_of_role(filter, doors);
	if (IS_SANITIZER && !may_exec)
		ok = ok && rules_of_sanitizer(filter, doors);
	if (!ok) {
		seccomp_release(filter);
		return error_set(error, "seccomp: the rules could not be made");
	}
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree instead of a long list */
	int result = seccomp_load(filter);
	seccomp_release(filter);
	if (result == 0)
		return true;
	errno = -result;
	error_set_errno(error, "seccomp");
	if (error != NULL && (result == -ENOSYS || result == -EINVAL))
		error->errno_value = ENOSYS;
	return false;
}
