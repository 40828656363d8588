/* prepare.c - what must be there before the first daemon starts: directories, lock, limits. */
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/io/file.h"

#define LOCK_PAUSE_MS    20
#define LOCK_PATIENCE_MS 1000
#define FILES_OWN        11 /* standard ones, pid, events, control, shelf, log, the start's report */
#define FILES_START      4  /* snapshot, channel and copies that are under way to a new daemon */
#define FILES_FEW        1024 /* fewer open files than that are worth a warning */

/* Below queue_directory. Daemons that own more make it themselves, inside theirs. */
static const struct {
	const char *name;
	mode_t      mode;
	bool        is_owned; /* by mail_owner; otherwise by root, group that of mail_owner */
} directories[] = {
	{ "active", 0700, true },
	{ "deferred", 0700, true },
	{ "hold", 0700, true },
	{ "spool", 0700, true },
	{ "corrupt", 0700, true },
	{ "tmp", 0700, true },
	{ "state", 0700, true },
	{ "pid", 0755, false },
	{ "private", 0750, false },
	{ "public", 0755, false },
	/* Everybody may leave mail there, nobody see or remove that of others. What is made in it
	 * gets its group, so that pickup may read it. */
	{ "maildrop", 03733, true },
	{ "pickup", 0700, true },
};

static bool
make_directory(const char *path, mode_t mode, uid_t uid, gid_t gid, bool is_root,
               struct error *error)
{
	struct stat status;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_set_errno(error, "create directory %s", path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(error, "open directory %s", path);
	/* Set right whatever a crash, a copy or an upgrade left. */
	bool is_ok = fstat(fd, &status) == 0;
	if (is_ok && is_root && (status.st_uid != uid || status.st_gid != gid))
		is_ok = fchown(fd, uid, gid) == 0;
	if (is_ok && (status.st_mode & 07777) != mode)
		is_ok = fchmod(fd, mode) == 0;
	if (!is_ok)
		error_set_errno(error, "set owner and mode of directory %s", path);
	close(fd);
	return is_ok;
}

/* The directory itself may be given any mode by the admin; it is made when missing. */
static bool
make_parents(const char *path, struct error *error)
{
	struct buf   so_far = BUF(4096);
	struct slice rest = slice_from(path), part;
	bool         is_ok = true;

	if (path[0] == '/')
		buf_append_byte(&so_far, '/');
	while (is_ok && slice_next_word(&rest, "/", &part)) {
		is_ok = buf_append(&so_far, part);
		if (is_ok && mkdir(buf_text(&so_far), 0755) < 0 && errno != EEXIST)
			is_ok = error_set_errno(error, "create directory %s", buf_text(&so_far));
		buf_append_byte(&so_far, '/');
	}
	buf_free(&so_far);
	return is_ok;
}

/* For verify, which runs as mail_owner: data_directory itself is not his, credentials are in it. */
static bool
make_verify_directory(struct master *master, struct error *error)
{
	const char *data = master->generation->configuration.parameters.data_directory;
	struct buf  path = BUF(4096);
	bool        is_made = buf_append_format(&path, "%s/verify", data) &&
	               make_directory(buf_text(&path), 0700, master->mail_owner.uid,
	                              master->mail_owner.gid, !master->is_unprivileged, error);

	buf_free(&path);
	return is_made;
}

bool
prepare_directories(struct master *master, struct error *error)
{
	const struct parameters *parameters = &master->generation->configuration.parameters;
	bool                     is_root = !master->is_unprivileged;

	master->mail_owner = (struct owner){ geteuid(), getegid() };
	if (is_root && !owner_parse(parameters->mail_owner, &master->mail_owner, error))
		return error_prefix(error, "mail_owner");
	if (!make_parents(parameters->queue_directory, error) ||
	    !make_parents(parameters->data_directory, error))
		return false;
	if (chdir(parameters->queue_directory) < 0)
		return error_set_errno(error, "enter queue_directory %s",
		                       parameters->queue_directory);
	if (!make_verify_directory(master, error))
		return false;
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		uid_t uid = directories[i].is_owned ? master->mail_owner.uid : 0;

		if (!make_directory(directories[i].name, directories[i].mode, uid,
		                    master->mail_owner.gid, is_root, error))
			return false;
	}
	return true;
}

/* Waits a moment for the lock: a master that was just killed may not be gone yet. */
static bool
lock_patiently(int fd, struct error *error)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };
	int64_t               until_ms = clock_monotonic_ms() + LOCK_PATIENCE_MS;

	for (;;) {
		if (file_lock(fd, FILE_LOCK_EXCLUSIVE, false, "pid/master.pid", error))
			return true;
		if (error->errno_value != EAGAIN && error->errno_value != EACCES)
			return false;
		if (clock_monotonic_ms() >= until_ms)
			return error_set(error, "the mail system is already running");
		nanosleep(&pause, NULL);
	}
}

bool
prepare_lock(struct master *master, struct error *error)
{
	char text[32];
	int  fd = open("pid/master.pid", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0)
		return error_set_errno(error, "open pid/master.pid");
	if (!lock_patiently(fd, error)) {
		close(fd);
		return false;
	}
	/* A clean end leaves it empty. */
	master->was_unclean = pread(fd, text, sizeof(text), 0) > 0;
	/* Postfix's shape: the number, right-aligned. What a crash left there is overwritten. */
	snprintf(text, sizeof(text), "%10d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 ||
	    !file_write_all_at(fd, slice_from(text), 0, "pid/master.pid", error))
		log_warning("pid/master.pid cannot be written: going on with its lock");
	master->pid_file_fd = fd;
	return true;
}

void
prepare_unlock(struct master *master)
{
	if (master->pid_file_fd < 0)
		return;
	if (ftruncate(master->pid_file_fd, 0) < 0)
		log_warning("pid/master.pid cannot be emptied");
	close(master->pid_file_fd);
	master->pid_file_fd = -1;
}

void
prepare_limits(void)
{
	struct rlimit files;

	/* Ten thousand idle sessions need as many descriptors: as many as we may have. */
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	rlim_t wanted = files.rlim_max;
	if (geteuid() == 0 && wanted < 65536)
		wanted = 65536;
	struct rlimit more = { wanted, wanted };
	if (setrlimit(RLIMIT_NOFILE, &more) == 0)
		return;
	files.rlim_cur = files.rlim_max; /* root in a container: may not go beyond it */
	setrlimit(RLIMIT_NOFILE, &files);
}

void
prepare_shelf(struct master *master)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < FILES_FEW)
		(void)shelf_open(&master->shelf);
}

bool
prepare_has_room(struct error *error)
{
	int    copies[FILES_START];
	size_t count = 0;

	while (count < FILES_START && (copies[count] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0)
		count++;
	bool has_room = count == FILES_START || error_set_errno(error, "start a process");
	while (count > 0)
		close(copies[--count]);
	return has_room;
}

/* Channels of all services, their sockets, certificates, and what master has besides. */
bool
prepare_limits_suffice(struct master *master, struct error *error)
{
	struct rlimit files;
	size_t        needed = FILES_OWN + FILES_START + master->generation->runs.count +
	                certificates_files(master);

	LIST_EACH (node, &master->listeners)
		needed += CONTAINER_OF(node, struct master_listener, node)->fd >= 0;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur >= needed)
		return true;
	return error_set(error,
	                 "%zu services need %zu open files, but only %lu are allowed: raise the "
	                 "limit (ulimit -n, LimitNOFILE=) or switch services off in master.cf",
	                 master->generation->runs.count, needed, (unsigned long)files.rlim_cur);
}

void
prepare_limits_check(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < FILES_FEW)
		log_warning("only %lu open files are allowed for each process: few sessions at a "
		            "time will be served",
		            (unsigned long)files.rlim_cur);
}
