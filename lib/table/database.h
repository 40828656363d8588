/*
 * database.h - Berkeley DB files as postmap writes them: opened for reading, or built aside.
 *
 * Keys and values may end in a NUL (postmap's habit) or not; what is given out never does. No
 * environment directory is used and no DB_CONFIG is read (CVE-2017-10140). A reader may be
 * used by several threads at once; a writer by one.
 */
#ifndef DAKIYA_TABLE_DATABASE_H
#define DAKIYA_TABLE_DATABASE_H

#include "lib/table/table.h"

enum database_kind { DATABASE_HASH, DATABASE_BTREE, DATABASE_LMDB, DATABASE_CDB };

struct database;

/* Opens an existing file of either kind. */
struct database *database_open(const char *path, struct error *error);
enum lookup      database_get(struct database *database, struct slice key, struct buf *value,
                              struct error *error);
/* Which kind it is. */
enum database_kind database_kind(const struct database *database);
/*
 * Calls visit for each entry, in the file's order, until it returns false. False and *error when
 * reading failed. Entries keep no NUL at the end.
 */
bool database_each(struct database *database, table_visit *visit, void *context,
                   struct error *error);

/* Creates a new file (hash or btree), which must not exist, with this mode. */
struct database *database_create(const char *path, enum database_kind kind, unsigned mode,
                                 struct error *error);
/* LOOKUP_FOUND: the key is there already and nothing was changed. */
enum lookup database_add(struct database *database, struct slice key, struct slice value,
                         struct error *error);
bool        database_replace(struct database *database, struct slice key, struct slice value,
                             struct error *error);
/* Whether keys and values that are written end in a NUL; default yes. */
void database_set_nul(struct database *database, bool has_nul);

/* Writes and syncs what is left; false and *error when that failed. Clears the pointer always. */
bool database_close(struct database **database, struct error *error);

#endif
