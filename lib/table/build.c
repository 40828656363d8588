/* build.c - see build.h. */
#include "lib/table/build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/file.h"

struct table_build {
	struct build_target target;
	char               *path;
	char               *directory;
	char               *aside;
	struct database    *database;
};

static void
build_free(struct table_build *build)
{
	free(build->path);
	free(build->directory);
	free(build->aside);
	free(build);
}

static bool
names_make(struct table_build *build, const struct build_target *target)
{
	const char *slash = strrchr(target->path, '/');

	build->path = strdup(target->path);
	build->directory = strndup(target->path, (size_t)(slash - target->path) + 1);
	if (asprintf(&build->aside, "%.*s.%s.%ld", (int)(slash - target->path) + 1, target->path,
	             slash + 1, (long)getpid()) < 0)
		build->aside = NULL;
	return build->path != NULL && build->directory != NULL && build->aside != NULL;
}

struct table_build *
table_build_start(const struct build_target *target, struct error *error)
{
	struct table_build *build = calloc(1, sizeof(*build));

	if (strrchr(target->path, '/') == NULL) {
		error_set(error, "%s: not an absolute path", target->path);
		free(build);
		return NULL;
	}
	if (build == NULL || !names_make(build, target)) {
		error_set(error, "%s: out of memory", target->path);
		if (build != NULL)
			build_free(build);
		return NULL;
	}
	build->target = *target;
	build->target.path = build->path;
	/* Left behind by a crash of a process with this number. */
	unlink(build->aside);
	build->database = database_create(build->aside, target->kind, 0600, error);
	if (build->database == NULL) {
		build_free(build);
		return NULL;
	}
	database_set_nul(build->database, !target->without_nul);
	return build;
}

enum lookup
table_build_add(struct table_build *build, struct slice key, struct slice value,
                struct error *error)
{
	return database_add(build->database, key, value, error);
}

bool
table_build_replace(struct table_build *build, struct slice key, struct slice value,
                    struct error *error)
{
	return database_replace(build->database, key, value, error);
}

/* Owner and mode through the descriptor of the file that was just made, then the sync. */
static bool
aside_finish(const struct table_build *build, struct error *error)
{
	const struct build_target *target = &build->target;
	int                        fd = open(build->aside, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return error_set_errno(error, "open %s", build->aside);
	bool is_good = true;
	if ((target->uid != (uid_t)-1 || target->gid != (gid_t)-1) &&
	    fchown(fd, target->uid, target->gid) != 0)
		is_good = error_set_errno(error, "change the owner of %s", build->aside);
	if (is_good && fchmod(fd, target->mode) != 0)
		is_good = error_set_errno(error, "change the mode of %s", build->aside);
	is_good = is_good && file_sync(fd, build->aside, error);
	close(fd);
	return is_good;
}

static bool
aside_rename(const struct table_build *build, struct error *error)
{
	if (rename(build->aside, build->path) != 0)
		return error_set_errno(error, "rename %s to %s", build->aside, build->path);
	int directory = file_open_directory(build->directory, error);
	if (directory < 0)
		return false;
	bool is_good = file_sync_directory(directory, build->directory, error);
	close(directory);
	return is_good;
}

bool
table_build_commit(struct table_build **build, struct error *error)
{
	struct table_build *done = *build;

	*build = NULL;
	bool is_good = database_close(&done->database, error) && aside_finish(done, error) &&
	               aside_rename(done, error);
	if (!is_good)
		unlink(done->aside);
	build_free(done);
	return is_good;
}

void
table_build_abandon(struct table_build **build)
{
	struct table_build *gone = *build;

	if (gone == NULL)
		return;
	*build = NULL;
	database_close(&gone->database, NULL);
	unlink(gone->aside);
	build_free(gone);
}
