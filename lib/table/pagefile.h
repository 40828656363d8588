/*
 * pagefile.h - cdb and lmdb files for reading: by pread, every offset checked.
 *
 * A file that is damaged, or cut while it is read, gives an error, never a crash: nothing is mapped
 * into memory and no position from the file is believed. Keys and values end in a NUL or not, as
 * in database.h; what is given out never does. Any number of threads at a time.
 */
#ifndef DAKIYA_TABLE_PAGEFILE_H
#define DAKIYA_TABLE_PAGEFILE_H

#include "lib/table/table.h"

struct cdb_file;
struct cdb_file *cdb_file_open(const char *path, struct error *error);
void             cdb_file_close(struct cdb_file *file);
enum lookup      cdb_file_get(const struct cdb_file *file, struct slice key, struct buf *value,
                              struct error *error);
/* Calls visit for each entry until it returns false; false and *error when reading failed. */
bool cdb_file_each(const struct cdb_file *file, table_visit *visit, void *context,
                   struct error *error);

/*
 * Follows changes made in place: a lookup sees the last finished transaction, without a lock.
 */
struct lmdb_file;
struct lmdb_file *lmdb_file_open(const char *path, struct error *error);
void              lmdb_file_close(struct lmdb_file *file);
enum lookup       lmdb_file_get(const struct lmdb_file *file, struct slice key, struct buf *value,
                                struct error *error);
bool              lmdb_file_each(const struct lmdb_file *file, table_visit *visit, void *context,
                                 struct error *error);

#endif
