/* check_host.c - the host that it runs on: clock, disk (C20); see check.h. */
#include "lib/conf/check.h"

#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>

/* 2026-01-01: no clock that is right shows less. */
#define CLOCK_LEAST 1767225600
/* From linux/magic.h. */
#define TMPFS_KIND 0x01021994
#define RAMFS_KIND 0x858458f6
/* Each message at rest is a file. */
#define INODES_LEAST 1000

static void
check_clock(struct report *report)
{
	time_t now = time(NULL);

	if (now < CLOCK_LEAST)
		report_add(
			report, PROBLEM_WARNING, "", 0,
			"the clock shows a time before 2026: mail would bear wrong dates, and no "
			"certificate be valid; set it, and keep it right with NTP");
}

static void
check_memory_disk(const char *path, const char *file, unsigned line, struct report *report)
{
	struct statfs status;

	if (statfs(path, &status) == 0 && ((unsigned long)status.f_type == TMPFS_KIND ||
	                                   (unsigned long)status.f_type == RAMFS_KIND))
		report_add(report, PROBLEM_WARNING, file, line,
		           "queue_directory %s is in memory: mail in it is lost when the power "
		           "fails",
		           path);
}

static void
check_space(const struct configuration *configuration, const char *path, const char *file,
            unsigned line, struct report *report)
{
	struct statvfs status;
	uint64_t       needed, there;

	if (statvfs(path, &status) != 0)
		return; /* not there yet: master makes it */
	needed = (uint64_t)configuration->parameters.message_size_limit / 2 * 3;
	if ((uint64_t)configuration->parameters.queue_minfree > needed)
		needed = (uint64_t)configuration->parameters.queue_minfree;
	if (__builtin_mul_overflow((uint64_t)status.f_bavail, (uint64_t)status.f_frsize, &there))
		there = UINT64_MAX;
	if (there < needed)
		report_add(
			report, PROBLEM_WARNING, file, line,
			"queue_directory %s has %llu bytes left, and no mail is taken below %llu "
			"(one and a half times message_size_limit, or queue_minfree)",
			path, (unsigned long long)there, (unsigned long long)needed);
	if (status.f_files > 0 && status.f_favail < INODES_LEAST)
		report_add(report, PROBLEM_WARNING, file, line,
		           "queue_directory %s has room for %llu more files only (inodes)", path,
		           (unsigned long long)status.f_favail);
}

void
check_host(const struct configuration *configuration, struct report *report)
{
	struct buf  path = BUF(4096);
	const char *file;
	unsigned    line;

	check_clock(report);
	check_place(&configuration->settings, "queue_directory", &file, &line);
	if (check_expanded(&configuration->settings, "queue_directory", &path)) {
		check_memory_disk(buf_text(&path), file, line, report);
		check_space(configuration, buf_text(&path), file, line, report);
	}
	buf_free(&path);
}
