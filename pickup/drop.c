/*
 * drop.c - maildrop/: mail that was left while nobody answered on public/pickup.
 *
 * Any user may put anything there, so a file is opened as nobody's friend, and whose it is says
 * fstat. A message is taken exactly once: before its commit the file moves to pickup/ under the
 * queue id, durably; what is found there after a crash is asked for by that id (intake_ask_known).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/io/file.h"
#include "pickup/pickup.h"
#include "pickup/submission.h"

#define SCAN_MS         60000 /* also without a sign of something new */
#define LOOK_MS         1000  /* without inotify, and while another generation works */
#define LATER_LEAST_MS  5000  /* when something could not be taken; doubling */
#define LATER_MOST_MS   (300 * INT64_C(1000))
#define AWAY_MOST       20    /* questions without an answer: the queue is left alone for a while */
#define UNFINISHED_S    86400 /* after that an unfinished file is left from a crash */
#define READ_STEP       (64u * 1024)
#define ENVELOPE_MOST   (16 * INT64_C(1048576)) /* bytes of a file beside its content */
#define ERROR_TEXT_MOST 200

struct drop {
	struct daemon_context *context;
	struct room           *room;
	int                    maildrop_fd, claims_fd, corrupt_fd;
	gid_t                  group; /* what files that were made in maildrop/ belong to */
	size_t                 later; /* what could not be taken in this round */
	size_t                 away;  /* how often in a row the queue did not answer */
	int64_t                claims_due_ms, claims_pause_ms;
};

/* One file, wherever it lies. */
struct drop_file {
	int         directory; /* maildrop_fd or claims_fd */
	const char *name;
	int         fd;
	struct stat status;
	char        reason[ERROR_TEXT_MOST]; /* why it is no good */
	char        id[QUEUE_ID_MOST];       /* its name since it is being taken */
};

enum drop_result { DROP_TAKEN, DROP_LATER, DROP_BAD };

int
drop_watch(void)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0 || inotify_add_watch(fd, SUBMIT_DIRECTORY, IN_MOVED_TO) >= 0)
		return fd;
	close(fd);
	return -1;
}

/* ---- opening ---- */

static enum drop_result
bad(struct drop_file *file, const char *reason)
{
	snprintf(file->reason, sizeof(file->reason), "%s", reason);
	return DROP_BAD;
}

static enum drop_result
file_open(const struct drop *drop, struct drop_file *file)
{
	int64_t limit = drop->room->parameters->message_size_limit;

	file->fd = openat(file->directory, file->name,
	                  O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	/* A link, a socket, or nobody's to read: for good. Anything else may pass. */
	if (file->fd < 0)
		return errno == ELOOP || errno == ENXIO || errno == EACCES || errno == EPERM
		               ? bad(file, "it cannot be opened")
		               : DROP_LATER;
	if (fstat(file->fd, &file->status) != 0)
		return DROP_LATER;
	if (!S_ISREG(file->status.st_mode))
		return bad(file, "it is no file");
	if (file->status.st_nlink != 1)
		return bad(file, "it has several names");
	/* Somebody's file that was made elsewhere and moved here is not his wish to send it. */
	if (!drop->context->is_unprivileged && file->status.st_gid != drop->group)
		return bad(file, "it was not made here");
	if (limit > 0 && file->status.st_size > ENVELOPE_MOST &&
	    (file->status.st_size - ENVELOPE_MOST) / 2 > limit)
		return bad(file, "it is too large");
	return DROP_TAKEN;
}

/* ---- reading ---- */

/* Frames until the end of the submission, which must be the end of the file. */
static enum drop_result
file_read(struct drop_file *file, struct submission *submission)
{
	struct buf           bytes = BUF(2 * (size_t)READ_STEP + 1024);
	struct ipc_frame     frame;
	size_t               whole;
	enum submission_step step = SUBMISSION_GOES_ON;
	bool                 has_failed = false;

	while (step == SUBMISSION_GOES_ON) {
		enum ipc_frame_read read_one = ipc_frame_read(buf_slice(&bytes), &frame, &whole);

		if (read_one == IPC_FRAME_WHOLE) {
			step = submission_take(submission, &frame);
			buf_consume(&bytes, whole);
			continue;
		}
		if (read_one == IPC_FRAME_MALFORMED || bytes.limit - bytes.length < READ_STEP)
			break;
		ssize_t got = buf_reserve(&bytes, READ_STEP)
		                      ? read(file->fd, bytes.data + bytes.length, READ_STEP)
		                      : -1;
		if (got < 0 && errno == EINTR)
			continue;
		has_failed = got < 0;
		if (got <= 0)
			break;
		bytes.length += (size_t)got;
	}
	char    byte;
	ssize_t beyond = has_failed ? -1 : read(file->fd, &byte, 1);
	bool    is_whole = step == SUBMISSION_ENDED && bytes.length == 0 && beyond == 0;
	buf_free(&bytes);
	/* What cannot be read now is not what it seems. */
	if (beyond < 0)
		return DROP_LATER;
	return is_whole ? DROP_TAKEN : bad(file, "malformed or cut");
}

/* ---- moving ---- */

/* Durable in both directories before anything depends on it. */
static bool
file_move(const struct drop *drop, struct drop_file *file, int to, const char *name)
{
	struct error error = ERROR_NONE;

	if (renameat(file->directory, file->name, to, name) != 0) {
		/* The sender may take it back, and another generation may have taken it. */
		if (errno != ENOENT)
			log_warning("maildrop: move %s to %s: error %d", file->name, name, errno);
		return false;
	}
	bool is_durable = file_sync_directory(to, "pickup", &error) &&
	                  file_sync_directory(drop->maildrop_fd, SUBMIT_DIRECTORY, &error);
	if (!is_durable)
		log_warning("%s", error.text);
	file->directory = to;
	file->name = name;
	return is_durable;
}

static void
file_set_aside(const struct drop *drop, struct drop_file *file)
{
	char name[100];

	if (file->fd < 0 &&
	    fstatat(file->directory, file->name, &file->status, AT_SYMLINK_NOFOLLOW) != 0)
		return; /* taken back */
	bool     is_file = S_ISREG(file->status.st_mode);
	unsigned uid = (unsigned)file->status.st_uid;

	snprintf(name, sizeof(name), "maildrop-%lld-%u", (long long)clock_wall_us(), uid);
	log_warning("maildrop: %s of uid=%u: %s: %s%s", file->name, uid, file->reason,
	            is_file ? "set aside as corrupt/" : "removed", is_file ? name : "");
	if (is_file)
		file_move(drop, file, drop->corrupt_fd, name);
	else
		unlinkat(file->directory, file->name, 0);
}

/* ---- one message ---- */

static enum drop_result
sender_check(const struct drop *drop, struct drop_file *file)
{
	struct error error = ERROR_NONE;

	switch (user_list_has(drop->room->submit_users, (uint32_t)file->status.st_uid, &error)) {
	case LOOKUP_FOUND: return DROP_TAKEN;
	case LOOKUP_NOT_FOUND:
		return bad(file, "this user may not send mail (authorized_submit_users)");
	case LOOKUP_TRY_LATER: log_warning("authorized_submit_users: %s", error.text); break;
	}
	return DROP_LATER;
}

/*
 * It was refused, and the program that sent it has long ended: its sender gets a notice. The file
 * is set aside when that is in the queue.
 */
static enum drop_result
message_return(const struct drop *drop, struct drop_file *file)
{
	struct submission        submission;
	struct submission_result result = { SUBMIT_TRY_LATER, "" };

	submission_init(&submission, &drop->room->intake, (uint32_t)file->status.st_uid);
	submission_return(&submission, file->reason);
	if (lseek(file->fd, 0, SEEK_SET) == 0 && file_read(file, &submission) == DROP_TAKEN)
		result = submission_commit(&submission);
	bool is_later = result.status != SUBMIT_OK && result.status != SUBMIT_REFUSED &&
	                result.status != SUBMIT_BAD_DATA;
	submission_reset(&submission);
	if (is_later)
		return DROP_LATER;
	file_set_aside(drop, file);
	return DROP_TAKEN;
}

/* Claimed under the id that it will have, then committed. */
static enum drop_result
message_commit(const struct drop *drop, struct drop_file *file, struct submission *submission)
{
	if (submission->failure == SUBMIT_OK) {
		snprintf(file->id, sizeof(file->id), "%s", submission->id);
		if (!file_move(drop, file, drop->claims_fd, file->id))
			return DROP_LATER;
	}
	struct submission_result result = submission_commit(submission);
	switch (result.status) {
	case SUBMIT_OK:
		/* When this is forgotten in a crash, the id is known to the queue. */
		unlinkat(file->directory, file->name, 0);
		return DROP_TAKEN;
	case SUBMIT_TRY_LATER:
	case SUBMIT_NO_SPACE:
	case SUBMIT_BUSY: return DROP_LATER;
	case SUBMIT_REFUSED: bad(file, result.reason); return message_return(drop, file);
	case SUBMIT_NOT_ALLOWED:
	case SUBMIT_BAD_DATA:
	case SUBMIT_UNKNOWN: break;
	}
	return bad(file, result.reason);
}

static enum drop_result
message_take(struct drop *drop, struct drop_file *file)
{
	struct submission submission;
	enum drop_result  result = file_open(drop, file);

	if (result == DROP_TAKEN)
		result = sender_check(drop, file);
	if (result != DROP_TAKEN)
		return result;
	submission_init(&submission, &drop->room->intake, (uint32_t)file->status.st_uid);
	result = file_read(file, &submission);
	bool is_away = result == DROP_TAKEN && submission.failure == SUBMIT_TRY_LATER &&
	               submission.id[0] == '\0';
	drop->away = is_away ? drop->away + 1 : 0;
	if (result == DROP_TAKEN)
		result = message_commit(drop, file, &submission);
	submission_reset(&submission);
	return result;
}

/* Any file that is to be read. */
static void
file_take(struct drop *drop, int directory, const char *name)
{
	struct drop_file file = { .directory = directory, .name = name, .fd = -1 };

	switch (message_take(drop, &file)) {
	case DROP_TAKEN: break;
	case DROP_LATER: drop->later++; break;
	case DROP_BAD: file_set_aside(drop, &file); break;
	}
	if (file.fd >= 0)
		close(file.fd);
}

/* ---- directories ---- */

/* A file whose name begins with a dot is being written, or was when its writer was killed. */
static void
unfinished_look(const struct drop *drop, const char *name)
{
	struct stat status;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    fstatat(drop->maildrop_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
	    S_ISDIR(status.st_mode) || status.st_mtime + UNFINISHED_S > clock_wall_us() / 1000000)
		return;
	log_info("maildrop: %s of uid=%u was never finished: removed", name,
	         (unsigned)status.st_uid);
	unlinkat(drop->maildrop_fd, name, 0);
}

static void
maildrop_visit(struct drop *drop, const char *name)
{
	struct stat status;

	if (name[0] == '.') {
		unfinished_look(drop, name);
		return;
	}
	/* A directory is nobody's mail; one that is not empty cannot be removed without going in.
	 */
	if (fstatat(drop->maildrop_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(status.st_mode)) {
		unlinkat(drop->maildrop_fd, name, AT_REMOVEDIR);
		return;
	}
	file_take(drop, drop->maildrop_fd, name);
}

/* Its owner may have put a directory in its place at the last moment. */
static void
claim_remove(const struct drop *drop, const char *name)
{
	char aside[100];

	if (unlinkat(drop->claims_fd, name, 0) == 0)
		return;
	snprintf(aside, sizeof(aside), "maildrop-%lld-%s", (long long)clock_wall_us(), name);
	renameat(drop->claims_fd, name, drop->corrupt_fd, aside);
}

/* Left from a process that was killed, or from a commit that failed. */
static void
claims_visit(struct drop *drop, const char *name)
{
	struct error error = ERROR_NONE;

	if (!queue_id_is_valid(slice_from(name)))
		return;
	switch (intake_ask_known(drop->room->intake.queue, name, &error)) {
	case INTAKE_OK:
		drop->away = 0;
		log_info("%s: was taken from maildrop before", name);
		claim_remove(drop, name);
		return;
	case INTAKE_REFUSED: file_take(drop, drop->claims_fd, name); return;
	case INTAKE_TRY_LATER:
	case INTAKE_NO_SPACE:
		drop->away++;
		drop->later++;
		return;
	}
}

static void
directory_visit(struct drop *drop, int fd, void (*visit)(struct drop *drop, const char *name))
{
	int            copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR           *directory = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry = NULL;

	if (directory == NULL) {
		if (copy >= 0)
			close(copy);
		drop->later++;
		return;
	}
	while (drop->away < AWAY_MOST && !daemon_is_draining(drop->context) &&
	       (errno = 0, entry = readdir(directory)) != NULL)
		visit(drop, entry->d_name);
	drop->later += entry == NULL && errno != 0;
	closedir(directory);
}

/* ---- the thread ---- */

static bool
drop_open(struct drop *drop, struct error *error)
{
	struct stat status;

	drop->maildrop_fd = drop->claims_fd = drop->corrupt_fd = -1;
	drop->maildrop_fd = file_open_directory(SUBMIT_DIRECTORY, error);
	drop->claims_fd = file_open_directory("pickup", error);
	drop->corrupt_fd = file_open_directory("corrupt", error);
	if (drop->maildrop_fd < 0 || drop->claims_fd < 0 || drop->corrupt_fd < 0)
		return false;
	if (fstat(drop->maildrop_fd, &status) != 0)
		return error_set_errno(error, "look at " SUBMIT_DIRECTORY);
	drop->group = status.st_gid;
	return true;
}

static void
drop_close(struct drop *drop)
{
	const int all[] = { drop->maildrop_fd, drop->claims_fd, drop->corrupt_fd };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] >= 0)
			close(all[i]);
}

/* The same until it works; false: it is time to end. */
static bool
drop_open_at_last(struct drop *drop)
{
	struct error error = ERROR_NONE;

	while (!drop_open(drop, &error)) {
		drop_close(drop);
		log_trouble("%s: mail that is left there is not taken yet", error.text);
		if (daemon_wait(drop->context, -1, 0, clock_monotonic_ms() + LATER_LEAST_MS) ==
		    DAEMON_WAIT_DRAIN)
			return false;
	}
	return true;
}

/* The last generation may still be at it. The lock's descriptor; -1 when it is time to end. */
static int
drop_lock(const struct drop *drop)
{
	struct error error = ERROR_NONE;
	int          fd = -1;

	for (;;) {
		if (fd < 0)
			fd = openat(drop->claims_fd, ".lock",
			            O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd >= 0 && file_lock(fd, FILE_LOCK_EXCLUSIVE, false, "pickup/.lock", &error))
			return fd;
		if (daemon_wait(drop->context, -1, 0, clock_monotonic_ms() + LOOK_MS) ==
		    DAEMON_WAIT_DRAIN)
			break;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static void
watch_clear(int fd)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

	while (fd >= 0 && read(fd, events, sizeof(events)) > 0)
		;
}

/* What could not be taken is tried again more and more rarely; new mail does not wait for it. */
static void
claims_look(struct drop *drop)
{
	int64_t now_ms = clock_monotonic_ms();

	if (now_ms < drop->claims_due_ms)
		return;
	directory_visit(drop, drop->claims_fd, claims_visit);
	if (drop->later == 0)
		drop->claims_pause_ms = 0;
	else if (drop->claims_pause_ms == 0)
		drop->claims_pause_ms = LATER_LEAST_MS;
	else if (drop->claims_pause_ms < LATER_MOST_MS)
		drop->claims_pause_ms *= 2;
	drop->claims_due_ms = now_ms + (drop->later == 0 ? SCAN_MS : drop->claims_pause_ms);
}

static int64_t
drop_next_ms(struct drop *drop)
{
	int64_t now_ms = clock_monotonic_ms(), next_ms = now_ms + SCAN_MS;

	if (drop->room->watch_fd < 0)
		return now_ms + LOOK_MS;
	/* Claimed in this round and not committed: soon, the first time. */
	if (drop->later > 0 && drop->claims_pause_ms == 0)
		drop->claims_due_ms = now_ms + LATER_LEAST_MS;
	if (drop->later > 0 && next_ms > now_ms + LATER_LEAST_MS)
		next_ms = now_ms + LATER_LEAST_MS;
	return drop->claims_due_ms < next_ms ? drop->claims_due_ms : next_ms;
}

void *
drop_run(void *argument)
{
	struct daemon_context *context = argument;
	struct drop            drop = { .context = context, .room = context->room };

	if (!drop_open_at_last(&drop))
		return NULL;
	int lock_fd = drop_lock(&drop);
	if (lock_fd < 0)
		return NULL;
	while (!daemon_is_draining(context)) {
		drop.away = drop.later = 0;
		watch_clear(drop.room->watch_fd);
		claims_look(&drop);
		directory_visit(&drop, drop.maildrop_fd, maildrop_visit);
		daemon_wait(context, drop.room->watch_fd, POLLIN, drop_next_ms(&drop));
	}
	close(lock_fd);
	return NULL;
}
