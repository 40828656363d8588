/* build.c - see build.h. */
#include "lib/table/build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/file.h"
#include "lib/table/writer.h"

struct table_build {
	struct build_target  target;
	char                *path;
	char                *directory;
	char                *aside;
	const struct writer *writer;
	void                *state;
};

static const struct {
	const char          *type;
	const char          *suffix;
	enum database_kind   kind;
	const struct writer *writer;
} kinds[] = {
	{ "hash", ".db", DATABASE_HASH, &writer_hash },
	{ "btree", ".db", DATABASE_BTREE, &writer_btree },
	{ "lmdb", ".lmdb", DATABASE_LMDB, &writer_lmdb },
	{ "cdb", ".cdb", DATABASE_CDB, &writer_cdb },
};
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

bool
table_build_kind(const char *type, enum database_kind *kind, const char **suffix)
{
	for (size_t i = 0; i < KIND_COUNT; i++)
		if (strcmp(kinds[i].type, type) == 0) {
			*kind = kinds[i].kind;
			*suffix = kinds[i].suffix;
			return true;
		}
	return false;
}

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
	for (size_t i = 0; i < KIND_COUNT; i++)
		if (kinds[i].kind == target->kind)
			build->writer = kinds[i].writer;
	build->state = build->writer->create(build->aside, !target->without_nul, error);
	if (build->state != NULL)
		return build;
	build_free(build);
	return NULL;
}

enum lookup
table_build_add(struct table_build *build, struct slice key, struct slice value,
                struct error *error)
{
	return build->writer->put(build->state, key, value, false, error);
}

bool
table_build_replace(struct table_build *build, struct slice key, struct slice value,
                    struct error *error)
{
	return build->writer->put(build->state, key, value, true, error) != LOOKUP_TRY_LATER;
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
	bool is_good = done->writer->finish(done->state, error) && aside_finish(done, error) &&
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
	gone->writer->finish(gone->state, NULL);
	unlink(gone->aside);
	build_free(gone);
}
