/*
 * sync-bench.c - what making things durable costs on a file system, in the ways that we could do
 * it.
 *
 *   sync-bench [-r ROUNDS] [-t SECONDS] [-l BYTES] DIRECTORY limits|files|log ...
 *
 * Each row runs for some seconds, the rows take turns, and the median of the rounds is printed with
 * the CPU time of one piece (all threads, without what the kernel's own threads do). "files" are
 * written into the tmp/ of 100 directories, synced, renamed into new/, and that is synced: what
 * a Maildir takes. "log" are records appended to a file. "limits" is what docs/performance.md
 * compares with. Nothing is removed: files that were just removed make others slow for a minute.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAILBOXES    100
#define WRITERS_MOST 100
#define BATCH_MOST   100
#define SYNCERS      4
#define ROUNDS_MOST  15
#define MB           (1u << 20)

static struct {
	int         directory, rounds, length;
	double      seconds;
	int         tmp[MAILBOXES], new[MAILBOXES];
	char       *content;
	atomic_long serial, done;
	double      end;
} run = { .rounds = 3, .length = 4096, .seconds = 1 };

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
must(bool is_good, const char *what)
{
	if (is_good)
		return;
	perror(what);
	exit(71);
}

/* ---- files ---- */

enum file_way {
	FILES_FSYNC,         /* each file, then each directory */
	FILES_FSYNC_THREADS, /* the same, several at a time */
	FILES_RANGE_FSYNC,   /* writing is started for all, then fsync of each */
	FILES_SYNCFS_NAMES,  /* that for the files, one syncfs for the directories */
	FILES_SYNCFS,        /* one syncfs for all files, one for all directories */
};

struct piece {
	int  fd;
	int  mailbox;
	char name[24];
};

struct share {
	struct piece *pieces;
	int           from, to;
	bool          is_names;
};

static void
sync_pieces(const struct share *share)
{
	for (int i = share->from; i < share->to; i++) {
		int fd = share->is_names ? run.new[share->pieces[i].mailbox] : share->pieces[i].fd;

		must(fsync(fd) == 0, "fsync");
	}
}

static void *
share_run(void *argument)
{
	sync_pieces(argument);
	return NULL;
}

static void
sync_in_threads(struct piece *pieces, int count, bool is_names)
{
	pthread_t    threads[SYNCERS];
	struct share shares[SYNCERS];

	for (int i = 0; i < SYNCERS; i++) {
		shares[i] = (struct share){ pieces, count * i / SYNCERS, count * (i + 1) / SYNCERS,
			                    is_names };
		must(pthread_create(&threads[i], NULL, share_run, &shares[i]) == 0, "thread");
	}
	for (int i = 0; i < SYNCERS; i++)
		pthread_join(threads[i], NULL);
}

static void
sync_batch(struct piece *pieces, int count, enum file_way way, bool is_names)
{
	struct share all = { pieces, 0, count, is_names };

	switch (way) {
	case FILES_FSYNC: sync_pieces(&all); return;
	case FILES_FSYNC_THREADS: sync_in_threads(pieces, count, is_names); return;
	case FILES_RANGE_FSYNC:
	case FILES_SYNCFS_NAMES:
		if (is_names && way == FILES_SYNCFS_NAMES)
			break;
		for (int i = 0; i < count && !is_names; i++)
			(void)sync_file_range(pieces[i].fd, 0, 0, SYNC_FILE_RANGE_WRITE);
		sync_pieces(&all);
		return;
	case FILES_SYNCFS: break;
	}
	must(syncfs(run.directory) == 0, "syncfs");
}

static void
write_piece(struct piece *piece)
{
	long serial = atomic_fetch_add(&run.serial, 1);

	piece->mailbox = (int)(serial % MAILBOXES);
	snprintf(piece->name, sizeof(piece->name), "%ld", serial);
	piece->fd = openat(run.tmp[piece->mailbox], piece->name,
	                   O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	must(piece->fd >= 0, "create");
	must(write(piece->fd, run.content, (size_t)run.length) == run.length, "write");
}

static void
files_run(int batch, enum file_way way)
{
	struct piece pieces[BATCH_MOST];

	while (now() < run.end) {
		for (int i = 0; i < batch; i++)
			write_piece(&pieces[i]);
		sync_batch(pieces, batch, way, false);
		for (int i = 0; i < batch; i++) {
			const struct piece *piece = &pieces[i];

			close(piece->fd);
			must(renameat(run.tmp[piece->mailbox], piece->name, run.new[piece->mailbox],
			              piece->name) == 0,
			     "rename");
		}
		sync_batch(pieces, batch, way, true);
		atomic_fetch_add(&run.done, batch);
	}
}

/* ---- log ---- */

enum log_way {
	LOG_RECYCLED,  /* segments that were filled before are written over */
	LOG_NEW,       /* each segment is made, filled with zeros and synced */
	LOG_ALLOCATED, /* each segment is made with fallocate only */
	LOG_GROWING,   /* a file that grows */
};

static int
segment_make(uint64_t size, enum log_way way)
{
	char name[32];

	snprintf(name, sizeof(name), "log.%ld", atomic_fetch_add(&run.serial, 1));
	int fd = openat(run.directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	must(fd >= 0, "create");
	if (way == LOG_ALLOCATED)
		must(posix_fallocate(fd, 0, (off_t)size) == 0, "fallocate");
	if (way == LOG_NEW || way == LOG_RECYCLED) {
		char *zeros = calloc(1, MB);

		must(zeros != NULL, "memory");
		for (uint64_t at = 0; at < size; at += MB)
			must(write(fd, zeros, MB) == MB, "fill");
		free(zeros);
	}
	must(fsync(fd) == 0 && fsync(run.directory) == 0, "fsync");
	return fd;
}

static void
log_run(int batch, enum log_way way, uint64_t size)
{
	size_t   bytes = (size_t)batch * (size_t)run.length;
	char    *records = malloc(bytes);
	uint64_t at = 0;
	int      fd = segment_make(size, way);

	must(records != NULL, "memory");
	memset(records, 'r', bytes);
	if (way == LOG_RECYCLED)
		run.end = now() + run.seconds; /* it was there before */
	while (now() < run.end) {
		if (at + bytes > size) {
			at = 0;
			if (way != LOG_RECYCLED) {
				close(fd);
				fd = segment_make(size, way);
			}
		}
		must(pwrite(fd, records, bytes, (off_t)at) == (ssize_t)bytes, "write");
		must(fdatasync(fd) == 0, "fdatasync");
		at += bytes;
		atomic_fetch_add(&run.done, batch);
	}
	close(fd);
	free(records);
}

/* ---- rows ---- */

struct row {
	const char   *title;
	const char   *of; /* the lists that it is in */
	int           writers, batch;
	bool          is_log;
	enum file_way files;
	enum log_way  log;
	unsigned      segment_mb;
};

static const struct row rows[] = {
	{ "files, 1 writer, fsync each", "limits files", 1, 1, .files = FILES_FSYNC },
	{ "files, 20 writers, fsync each", "limits files", 20, 1, .files = FILES_FSYNC },
	{ "files, 100 writers, fsync each", "limits files", 100, 1, .files = FILES_FSYNC },
	{ "files, batch of 4, fsync each", "files", 1, 4, .files = FILES_FSYNC },
	{ "files, batch of 4, syncfs", "files", 1, 4, .files = FILES_SYNCFS },
	{ "files, batch of 50, fsync each", "files", 1, 50, .files = FILES_FSYNC },
	{ "files, batch of 50, fsync by 4 threads", "files", 1, 50, .files = FILES_FSYNC_THREADS },
	{ "files, batch of 50, range, then fsync", "files", 1, 50, .files = FILES_RANGE_FSYNC },
	{ "files, batch of 50, syncfs for names", "files", 1, 50, .files = FILES_SYNCFS_NAMES },
	{ "files, batch of 50, syncfs for both", "limits files", 1, 50, .files = FILES_SYNCFS },
	{ "files, 4 batches of 50, fsync each", "files", 4, 50, .files = FILES_FSYNC },
	{ "files, 4 batches of 50, syncfs for both", "limits files", 4, 50, .files = FILES_SYNCFS },
	{ "log, 1 record a sync, 16 MB recycled", "limits log", 1, 1, true, .segment_mb = 16 },
	{ "log, 20 records a sync, 16 MB recycled", "limits log", 1, 20, true, .segment_mb = 16 },
	{ "log, 100 records a sync, 16 MB recycled", "limits log", 1, 100, true, .segment_mb = 16 },
	{ "log, 20 records, 1 MB recycled", "log", 1, 20, true, .segment_mb = 1 },
	{ "log, 20 records, 64 MB recycled", "log", 1, 20, true, .segment_mb = 64 },
	{ "log, 20 records, 1 MB new", "log", 1, 20, true, 0, LOG_NEW, 1 },
	{ "log, 20 records, 16 MB new", "log", 1, 20, true, 0, LOG_NEW, 16 },
	{ "log, 20 records, 16 MB fallocate", "log", 1, 20, true, 0, LOG_ALLOCATED, 16 },
	{ "log, 20 records, growing", "log", 1, 20, true, 0, LOG_GROWING, 1024 },
	{ "log, 1 record, growing", "log", 1, 1, true, 0, LOG_GROWING, 1024 },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void *
writer_run(void *argument)
{
	const struct row *row = argument;

	if (row->is_log)
		log_run(row->batch, row->log, (uint64_t)row->segment_mb * MB);
	else
		files_run(row->batch, row->files);
	return NULL;
}

static double
cpu_now(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
measure(const struct row *row, double *rate, double *cpu_ms)
{
	pthread_t threads[WRITERS_MOST];
	double    start = now(), cpu = cpu_now();

	atomic_store(&run.done, 0);
	run.end = start + run.seconds;
	for (int i = 0; i < row->writers; i++)
		must(pthread_create(&threads[i], NULL, writer_run, (void *)(uintptr_t)row) == 0,
		     "thread");
	for (int i = 0; i < row->writers; i++)
		pthread_join(threads[i], NULL);
	if (row->is_log && row->log == LOG_RECYCLED)
		start = run.end - run.seconds;
	*rate = (double)run.done / (now() - start);
	*cpu_ms = (cpu_now() - cpu) * 1e3 / (double)run.done;
}

static int
compare_doubles(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static bool
is_wanted(const struct row *row, char **lists)
{
	for (; *lists != NULL; lists++)
		if (strstr(row->of, *lists) != NULL)
			return true;
	return false;
}

static void
mailboxes_make(void)
{
	char path[32];

	for (int i = 0; i < MAILBOXES; i++) {
		snprintf(path, sizeof(path), "%d", i);
		must(mkdirat(run.directory, path, 0700) == 0, "mkdir");
		snprintf(path, sizeof(path), "%d/tmp", i);
		must(mkdirat(run.directory, path, 0700) == 0, "mkdir");
		run.tmp[i] = openat(run.directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		snprintf(path, sizeof(path), "%d/new", i);
		must(mkdirat(run.directory, path, 0700) == 0, "mkdir");
		run.new[i] = openat(run.directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(run.tmp[i] >= 0 && run.new[i] >= 0, "open");
	}
}

int
main(int argc, char **argv)
{
	static double rates[ROWS][ROUNDS_MOST], cpus[ROWS][ROUNDS_MOST];
	int           option;

	while ((option = getopt(argc, argv, "r:t:l:")) != -1) {
		switch (option) {
		case 'r': run.rounds = (int)strtol(optarg, NULL, 10); break;
		case 't': run.seconds = strtod(optarg, NULL); break;
		case 'l': run.length = (int)strtol(optarg, NULL, 10); break;
		default: return 64;
		}
	}
	if (optind + 2 > argc || run.rounds < 1 || run.rounds > ROUNDS_MOST || run.length < 1)
		return 64;
	run.directory = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(run.directory >= 0, argv[optind]);
	run.content = calloc(1, (size_t)run.length);
	must(run.content != NULL, "memory");
	mailboxes_make();
	for (int round = 0; round < run.rounds; round++)
		for (size_t i = 0; i < ROWS; i++)
			if (is_wanted(&rows[i], argv + optind + 1))
				measure(&rows[i], &rates[i][round], &cpus[i][round]);
	for (size_t i = 0; i < ROWS; i++) {
		if (!is_wanted(&rows[i], argv + optind + 1))
			continue;
		qsort(rates[i], (size_t)run.rounds, sizeof(double), compare_doubles);
		qsort(cpus[i], (size_t)run.rounds, sizeof(double), compare_doubles);
		printf("%-40s %8.0f/s (%.0f-%.0f)  %.3f ms CPU\n", rows[i].title,
		       rates[i][run.rounds / 2], rates[i][0], rates[i][run.rounds - 1],
		       cpus[i][run.rounds / 2]);
	}
	return 0;
}
