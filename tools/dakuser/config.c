/* config.c - what dakuser needs of main.cf. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/number.h"
#include "lib/conf/mainfile.h"
#include "lib/io/file.h"
#include "tools/dakuser/dakuser.h"

/* The first problem of the report is what the caller gets to see. */
static bool
values_read(const char *path, struct values *values, struct error *error)
{
	struct report    report = REPORT_NONE;
	struct main_file file = { 0 };

	bool is_good = main_file_read(&file, path, &report) && report.error_count == 0 &&
	               main_file_values(&file, values, &report);
	if (!is_good) {
		error_set(error, "%s: cannot be read", path);
		for (size_t i = 0; i < report.list.count; i++)
			if (report.list.items[i].severity == PROBLEM_ERROR) {
				error_set(error, "%s:%u: %s", report.list.items[i].file,
				          report.list.items[i].line, report.list.items[i].text);
				break;
			}
	}
	main_file_free(&file);
	report_free(&report);
	return is_good;
}

struct snapshot *
config_read(const char *directory, struct error *error)
{
	struct values    values = VALUES_NONE;
	struct buf       bytes = BUF(VALUES_BYTES_MOST);
	struct snapshot *snapshot = NULL;
	char             path[4096];
	int              fd = -1;

	if (snprintf(path, sizeof(path), "%s/main.cf", directory) >= (int)sizeof(path)) {
		error_set(error, "%s: the path is too long", directory);
		return NULL;
	}
	if (values_read(path, &values, error)) {
		fd = memfd_create("snapshot", MFD_CLOEXEC);
		if (fd < 0)
			error_set_errno(error, "memfd");
		else if (!values_encode(&values, &bytes))
			error_set(error, "%s: too much", path);
		else if (file_write_all(fd, buf_slice(&bytes), "memfd", error) &&
		         lseek(fd, 0, SEEK_SET) == 0)
			snapshot = snapshot_open(fd, error);
	}
	if (fd >= 0)
		close(fd);
	buf_free(&bytes);
	values_free(&values);
	return snapshot;
}

bool
owner_parse(const char *text, uid_t *uid, gid_t *gid, struct error *error)
{
	struct slice  rest = slice_from(text), first = SLICE_EMPTY;
	struct passwd entry, *found = NULL;
	int64_t       user, group;

	if (slice_next_part(&rest, ':', &first) && rest.data != NULL &&
	    number_parse(first, 0, UINT32_MAX - 1, &user) &&
	    number_parse(rest, 0, UINT32_MAX - 1, &group)) {
		*uid = (uid_t)user;
		*gid = (gid_t)group;
		return true;
	}
	char *room = malloc(65536);
	if (room != NULL)
		errno = getpwnam_r(text, &entry, room, 65536, &found);
	if (found != NULL) {
		*uid = found->pw_uid;
		*gid = found->pw_gid;
	}
	free(room);
	return found != NULL || error_set(error, "there is no user \"%s\" on this system", text);
}
