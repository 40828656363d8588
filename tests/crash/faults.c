/*
 * faults.c - a library linked into daemons for tests: calls that fail when they are told to.
 *
 * All daemons of a host map one page, faults.ctl beside the program: there a test says which
 * call (a class, and the name of a program) fails, at its how-manieth time, and how. The count
 * runs over all processes of that name. Nothing is allocated or written here.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The bits in control.calls; tests/crash/faults.py has the same list. */
enum call_class {
	CALL_WRITE = 1,
	CALL_SYNC = 2,
	CALL_OPEN = 4,
	CALL_RENAME = 8,
	CALL_LINK = 16,
	CALL_MEMORY = 32,
	CALL_MKDIR = 64,
	CALL_TRUNCATE = 128,
	CALL_READ = 256,
	CALL_STAT = 512,
	CALL_LIST = 1024,   /* a directory */
	CALL_THREAD = 2048, /* or process */
	CALL_SOCKET = 4096, /* and what else makes a descriptor of no file */
	CALL_CHANGE = 8192, /* of a file's mode, owner, times */
};

struct control {
	_Atomic int32_t ignores_syncs;
	_Atomic int32_t calls;       /* classes that fail; 0 = none */
	_Atomic int32_t error;       /* errno; 0 = half of a write is written, a read gives half */
	_Atomic int32_t counted;     /* calls so far */
	_Atomic int32_t first;       /* the first that fails, from 1 */
	_Atomic int32_t last;        /* and the last */
	_Atomic int32_t hits;        /* that failed */
	char            program[32]; /* "" = all */
	_Atomic int32_t descriptors; /* those from here on are refused with EMFILE; 0 = no limit */
	char            crash[2000]; /* where the last one was */
};

static struct control *control;

/* The C library's own, of what is more than a system call. */
static struct {
	long (*syscall)(long number, ...);
	DIR *(*fdopendir)(int fd);
	struct dirent *(*readdir)(DIR *directory);
	pid_t (*fork)(void);
	int (*pthread_create)(pthread_t *thread, const pthread_attr_t *attributes,
	                      void *(*run)(void *), void              *argument);
	int (*pthread_sigmask)(int how, const sigset_t *set, sigset_t *old);
} real;

/* glibc's own, which need no look-up that would allocate. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

/* Where it was: daemons leave no core, and may write nowhere. */
static void
crashed(int number)
{
	void   *frames[24];
	int     count = backtrace(frames, 24);
	size_t  used = 0;
	Dl_info info;

	for (int i = 2; control != NULL && i < count && used + 100 < sizeof(control->crash); i++) {
		if (dladdr(frames[i], &info) == 0)
			continue;
		const char *slash = strrchr(info.dli_fname, '/');
		int         length = snprintf(control->crash + used, 100, "%s+%zx %s\n",
                                      slash == NULL ? info.dli_fname : slash + 1,
		                              (size_t)((char *)frames[i] - (char *)info.dli_fbase),
                                      info.dli_sname == NULL ? "" : info.dli_sname);
		used += length > 99 ? 99 : (size_t)length;
	}
	signal(number, SIG_DFL);
	raise(number);
}

static void __attribute__((constructor)) faults_open(void)
{
	void *frame;

	backtrace(&frame, 1); /* loads what it needs while there is memory */
	signal(SIGSEGV, crashed);
	signal(SIGABRT, crashed);
	*(void **)&real.syscall = dlsym(RTLD_NEXT, "syscall");
	*(void **)&real.fdopendir = dlsym(RTLD_NEXT, "fdopendir");
	*(void **)&real.readdir = dlsym(RTLD_NEXT, "readdir");
	*(void **)&real.fork = dlsym(RTLD_NEXT, "fork");
	*(void **)&real.pthread_sigmask = dlsym(RTLD_NEXT, "pthread_sigmask");
	*(void **)&real.pthread_create = dlsym(RTLD_NEXT, "pthread_create");
	char    path[512];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 16);

	if (length <= 0)
		return;
	path[length] = '\0';
	char *end = strrchr(path, '/');
	memcpy(end + 1, "faults.ctl", sizeof("faults.ctl"));
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (page != MAP_FAILED)
		control = page;
}

static bool
is_mine(void)
{
	return control->program[0] == '\0' ||
	       strcmp(control->program, program_invocation_short_name) == 0;
}

/* Whether this call is one that fails; sets errno when it has a number. */
static bool fails(enum call_class class)
{
	if (control == NULL || (control->calls & (int)class) == 0 || !is_mine())
		return false;
	int32_t number = atomic_fetch_add(&control->counted, 1) + 1;
	if (number < control->first || number > control->last)
		return false;
	atomic_fetch_add(&control->hits, 1);
	if (control->error != 0)
		errno = control->error;
	return true;
}

static bool
is_short(void)
{
	return control->error == 0;
}

/* For calls that cannot be done by half. */
static bool fails_whole(enum call_class class)
{
	return control != NULL && control->error != 0 && fails(class);
}

/* ---- memory ---- */

void *
malloc(size_t size)
{
	return fails_whole(CALL_MEMORY) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
	return fails_whole(CALL_MEMORY) ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *old, size_t size)
{
	return fails_whole(CALL_MEMORY) ? NULL : __libc_realloc(old, size);
}

void *
reallocarray(void *old, size_t count, size_t size)
{
	size_t whole;

	if (__builtin_mul_overflow(count, size, &whole)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(old, whole);
}

/* ---- writing, reading: files only, the channels between daemons are not what this is about ----
 */

static bool
is_file(int fd)
{
	struct stat info;
	int         saved = errno;
	bool        is_regular = syscall(SYS_fstat, fd, &info) == 0 && S_ISREG(info.st_mode);

	errno = saved;
	/* A log is appended to; there is no queue file or mailbox that is. */
	return is_regular && ((int)syscall(SYS_fcntl, fd, F_GETFL, 0) & O_APPEND) == 0;
}

ssize_t
write(int fd, const void *data, size_t length)
{
	if (length > 0 && is_file(fd) && fails(CALL_WRITE)) {
		if (!is_short())
			return -1;
		length = (length + 1) / 2;
	}
	return syscall(SYS_write, fd, data, length);
}

ssize_t
pwrite(int fd, const void *data, size_t length, off_t at)
{
	if (length > 0 && is_file(fd) && fails(CALL_WRITE)) {
		if (!is_short())
			return -1;
		length = (length + 1) / 2;
	}
	return syscall(SYS_pwrite64, fd, data, length, at);
}

ssize_t
pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
	if (fails(CALL_WRITE)) {
		if (!is_short())
			return -1;
		if (count > 1) /* a record's header alone, or more */
			count /= 2;
		else
			return pwrite(fd, parts->iov_base, (parts->iov_len + 1) / 2, at);
	}
	return syscall(SYS_pwritev, fd, parts, (long)count, at, 0L);
}

ssize_t
writev(int fd, const struct iovec *parts, int count)
{
	if (is_file(fd) && fails(CALL_WRITE)) {
		if (!is_short())
			return -1;
		return write(fd, parts->iov_base, (parts->iov_len + 1) / 2);
	}
	return syscall(SYS_writev, fd, parts, (long)count);
}

ssize_t
read(int fd, void *data, size_t length)
{
	if (length > 1 && is_file(fd) && fails(CALL_READ)) {
		if (!is_short())
			return -1;
		length = (length + 1) / 2;
	}
	return syscall(SYS_read, fd, data, length);
}

ssize_t
pread(int fd, void *data, size_t length, off_t at)
{
	if (length > 1 && is_file(fd) && fails(CALL_READ)) {
		if (!is_short())
			return -1;
		length = (length + 1) / 2;
	}
	return syscall(SYS_pread64, fd, data, length, at);
}

/* What the compiler makes of these when it knows how large the buffer is. */
ssize_t __read_chk(int fd, void *data, size_t length, size_t room);
ssize_t __pread_chk(int fd, void *data, size_t length, off_t at, size_t room);

ssize_t
__read_chk(int fd, void *data, size_t length, size_t room)
{
	return length > room ? (abort(), -1) : read(fd, data, length);
}

ssize_t
__pread_chk(int fd, void *data, size_t length, off_t at, size_t room)
{
	return length > room ? (abort(), -1) : pread(fd, data, length, at);
}

int
ftruncate(int fd, off_t length)
{
	return fails_whole(CALL_TRUNCATE) ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}

int
fallocate(int fd, int mode, off_t at, off_t length)
{
	return fails_whole(CALL_TRUNCATE) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, length);
}

/* ---- few descriptors: as RLIMIT_NOFILE, which cannot be changed for others everywhere ---- */

static int
limited(long fd)
{
	if (fd < 0 || control == NULL || control->descriptors == 0 || fd < control->descriptors)
		return (int)fd;
	close((int)fd);
	errno = EMFILE;
	return -1;
}

int
accept4(int listener, struct sockaddr *address, socklen_t *length, int flags)
{
	if (fails_whole(CALL_SOCKET))
		return -1;
	if (control == NULL || control->descriptors == 0)
		return (int)syscall(SYS_accept4, listener, address, length, flags);
	/* A connection must stay in the backlog when there is no descriptor for it. */
	int spare = limited(syscall(SYS_fcntl, listener, F_DUPFD_CLOEXEC, 0));
	if (spare < 0)
		return -1;
	close(spare);
	return (int)syscall(SYS_accept4, listener, address, length, flags);
}

int
socket(int domain, int type, int protocol)
{
	return fails_whole(CALL_SOCKET) ? -1 : limited(syscall(SYS_socket, domain, type, protocol));
}

int
connect(int fd, const struct sockaddr *address, socklen_t length)
{
	return fails_whole(CALL_SOCKET) ? -1 : (int)syscall(SYS_connect, fd, address, length);
}

int
pipe2(int pair[2], int flags)
{
	return fails_whole(CALL_SOCKET) ? -1 : (int)syscall(SYS_pipe2, pair, flags);
}

int
eventfd(unsigned int count, int flags)
{
	return fails_whole(CALL_SOCKET) ? -1 : (int)syscall(SYS_eventfd2, count, flags);
}

int
epoll_create1(int flags)
{
	return fails_whole(CALL_SOCKET) ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

int
socketpair(int domain, int type, int protocol, int pair[2])
{
	if (fails_whole(CALL_SOCKET))
		return -1;
	int result = (int)syscall(SYS_socketpair, domain, type, protocol, pair);
	if (result == 0 && limited(pair[1]) < 0) {
		close(pair[0]);
		errno = EMFILE;
		return -1;
	}
	return result;
}

/* ---- syncs ---- */

static int
sync_or_not(long call, int fd)
{
	if (control != NULL && control->ignores_syncs != 0)
		return 0;
	return fails_whole(CALL_SYNC) ? -1 : (int)syscall(call, fd);
}

int
fsync(int fd)
{
	return sync_or_not(SYS_fsync, fd);
}

int
fdatasync(int fd)
{
	return sync_or_not(SYS_fdatasync, fd);
}

int
syncfs(int fd)
{
	return sync_or_not(SYS_syncfs, fd);
}

int
sync_file_range(int fd, off_t from, off_t length, unsigned int flags)
{
	if (control != NULL && control->ignores_syncs != 0)
		return 0;
	return (int)syscall(SYS_sync_file_range, fd, from, length, flags);
}

/* ---- names ---- */

static mode_t
mode_of(int flags, va_list list)
{
	return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
}

int
open(const char *path, int flags, ...)
{
	va_list list;

	va_start(list, flags);
	mode_t mode = mode_of(flags, list);
	va_end(list);
	return fails_whole(CALL_OPEN) ? -1
	                              : limited(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

int
openat(int directory, const char *path, int flags, ...)
{
	va_list list;

	va_start(list, flags);
	mode_t mode = mode_of(flags, list);
	va_end(list);
	return fails_whole(CALL_OPEN) ? -1
	                              : limited(syscall(SYS_openat, directory, path, flags, mode));
}

int __open_2(const char *path, int flags);

int
__open_2(const char *path, int flags)
{
	return open(path, flags);
}

/* openat2 has no function of its own in glibc. */
long
syscall(long number, ...)
{
	long    arguments[6];
	va_list list;

	va_start(list, number);
	for (size_t i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_openat2 && fails_whole(CALL_OPEN))
		return -1;
	long result = real.syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
	                           arguments[4], arguments[5]);
	return number == SYS_openat2 ? limited(result) : result;
}

int
mkdirat(int directory, const char *path, mode_t mode)
{
	return fails_whole(CALL_MKDIR) ? -1 : (int)syscall(SYS_mkdirat, directory, path, mode);
}

int
renameat(int from, const char *old, int to, const char *new)
{
	return fails_whole(CALL_RENAME) ? -1 : (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int
renameat2(int from, const char *old, int to, const char *new, unsigned int flags)
{
	return fails_whole(CALL_RENAME) ? -1
	                                : (int)syscall(SYS_renameat2, from, old, to, new, flags);
}

int
linkat(int from, const char *old, int to, const char *new, int flags)
{
	return fails_whole(CALL_LINK) ? -1 : (int)syscall(SYS_linkat, from, old, to, new, flags);
}

int
unlinkat(int directory, const char *path, int flags)
{
	return fails_whole(CALL_LINK) ? -1 : (int)syscall(SYS_unlinkat, directory, path, flags);
}

int
mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

int
unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

/* ---- what is known of files, and changed ---- */

int
fstat(int fd, struct stat *info)
{
	return fails_whole(CALL_STAT) ? -1 : (int)syscall(SYS_fstat, fd, info);
}

int
fstatat(int directory, const char *path, struct stat *info, int flags)
{
	return fails_whole(CALL_STAT) ? -1
	                              : (int)syscall(SYS_newfstatat, directory, path, info, flags);
}

int
stat(const char *path, struct stat *info)
{
	return fstatat(AT_FDCWD, path, info, 0);
}

DIR *
fdopendir(int fd)
{
	return fails_whole(CALL_LIST) ? NULL : real.fdopendir(fd);
}

struct dirent *
readdir(DIR *directory)
{
	return fails_whole(CALL_LIST) ? NULL : real.readdir(directory);
}

int
futimens(int fd, const struct timespec times[2])
{
	return fails_whole(CALL_CHANGE) ? -1 : (int)syscall(SYS_utimensat, fd, NULL, times, 0);
}

int
fchmod(int fd, mode_t mode)
{
	return fails_whole(CALL_CHANGE) ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}

int
fchown(int fd, uid_t owner, gid_t group)
{
	return fails_whole(CALL_CHANGE) ? -1 : (int)syscall(SYS_fchown, fd, owner, group);
}

/* ---- threads and processes ---- */

pid_t
fork(void)
{
	return fails_whole(CALL_THREAD) ? -1 : real.fork();
}

int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
               void *argument)
{
	return fails_whole(CALL_THREAD) ? errno
	                                : real.pthread_create(thread, attributes, run, argument);
}

/* Threads block all signals: blocked, a crash would end the process before crashed(). */
int
pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t mine;

	if (set != NULL) {
		mine = *set;
		sigdelset(&mine, SIGSEGV);
		sigdelset(&mine, SIGABRT);
	}
	return real.pthread_sigmask(how, set == NULL ? NULL : &mine, old);
}
