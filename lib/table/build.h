/*
 * build.h - a database built aside and renamed into place: readers see the old or the new one.
 *
 * The new file stands in the same directory until it is synced; a build that is not committed
 * leaves nothing. Nothing of an existing file is changed, so a crash cannot hurt it.
 */
#ifndef DAKIYA_TABLE_BUILD_H
#define DAKIYA_TABLE_BUILD_H

#include <sys/types.h>

#include "lib/table/database.h"

struct table_build;

struct build_target {
	const char        *path; /* absolute, with ".db" and the like */
	enum database_kind kind;
	mode_t             mode;
	uid_t              uid; /* (uid_t)-1: as it comes */
	gid_t              gid;
	bool               without_nul; /* keys and values end in no NUL */
};

/* The kind that a type of table is built as, and what is put behind its name; false: none. */
bool table_build_kind(const char *type, enum database_kind *kind, const char **suffix);

struct table_build *table_build_start(const struct build_target *target, struct error *error);
/* LOOKUP_FOUND: the key is there already and the first value stays. */
enum lookup table_build_add(struct table_build *build, struct slice key, struct slice value,
                            struct error *error);
bool        table_build_replace(struct table_build *build, struct slice key, struct slice value,
                                struct error *error);
/* Syncs and renames; false and *error when the old file stays. Clears the pointer always. */
bool table_build_commit(struct table_build **build, struct error *error);
void table_build_abandon(struct table_build **build);

#endif
