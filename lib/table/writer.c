/* writer.c - see writer.h: Berkeley DB (by database.h), LMDB and cdb (by their libraries). */
#include "lib/table/writer.h"

#include <cdb.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/table/database.h"
#include "lib/table/textlines.h"

#define MAP_START   ((size_t)256 << 20) /* of LMDB: address space, not memory */
#define COMMIT_SIZE ((size_t)4 << 20)   /* bytes of entries in a transaction */

bool
writer_terminate(struct slice *bytes, bool has_nul, struct buf *copy)
{
	buf_clear(copy);
	if (!buf_append(copy, *bytes) || (has_nul && !buf_append_byte(copy, '\0')))
		return false;
	*bytes = buf_slice(copy);
	return true;
}

/* ---- Berkeley DB ---- */

static void *
berkeley_create(const char *path, enum database_kind kind, bool has_nul, struct error *error)
{
	struct database *database = database_create(path, kind, 0600, error);

	if (database != NULL)
		database_set_nul(database, has_nul);
	return database;
}

static void *
hash_create(const char *path, bool has_nul, struct error *error)
{
	return berkeley_create(path, DATABASE_HASH, has_nul, error);
}

static void *
btree_create(const char *path, bool has_nul, struct error *error)
{
	return berkeley_create(path, DATABASE_BTREE, has_nul, error);
}

static enum lookup
berkeley_put(void *state, struct slice key, struct slice value, bool replaces, struct error *error)
{
	if (!replaces)
		return database_add(state, key, value, error);
	return database_replace(state, key, value, error) ? LOOKUP_NOT_FOUND : LOOKUP_TRY_LATER;
}

static bool
berkeley_finish(void *state, struct error *error)
{
	struct database *database = state;

	return database_close(&database, error);
}

const struct writer writer_hash = { hash_create, berkeley_put, berkeley_finish };
const struct writer writer_btree = { btree_create, berkeley_put, berkeley_finish };

/* ---- LMDB ---- */

struct lmdb_writer {
	char      *path;
	bool       has_nul;
	MDB_env   *environment;
	MDB_txn   *transaction;
	MDB_dbi    database;
	size_t     written; /* bytes in this transaction */
	size_t     map_size;
	struct buf key, value;
};

static bool
lmdb_error(const struct lmdb_writer *writer, int number, struct error *error)
{
	error_set(error, "write %s: %s", writer->path, mdb_strerror(number));
	if (error != NULL && number > 0)
		error->errno_value = number;
	return false;
}

static bool
lmdb_begin(struct lmdb_writer *writer, struct error *error)
{
	int number = mdb_txn_begin(writer->environment, NULL, 0, &writer->transaction);

	if (number == 0)
		number = mdb_dbi_open(writer->transaction, NULL, 0, &writer->database);
	writer->written = 0;
	return number == 0 || lmdb_error(writer, number, error);
}

/* The map is made larger between transactions, long before it is full. */
static bool
lmdb_commit(struct lmdb_writer *writer, struct error *error)
{
	MDB_envinfo info;
	MDB_stat    stat;
	int         number = mdb_txn_commit(writer->transaction);

	writer->transaction = NULL;
	if (number == 0)
		number = mdb_env_info(writer->environment, &info);
	if (number == 0)
		number = mdb_env_stat(writer->environment, &stat);
	if (number == 0 && (info.me_last_pgno + 1) * stat.ms_psize > writer->map_size / 2) {
		writer->map_size *= 2;
		number = mdb_env_set_mapsize(writer->environment, writer->map_size);
	}
	return number == 0 || lmdb_error(writer, number, error);
}

static bool
lmdb_finish(void *state, struct error *error)
{
	struct lmdb_writer *writer = state;
	bool                is_good = true;

	if (writer->transaction != NULL)
		is_good = lmdb_commit(writer, error);
	if (writer->environment != NULL)
		mdb_env_close(writer->environment);
	buf_free(&writer->key);
	buf_free(&writer->value);
	free(writer->path);
	free(writer);
	return is_good;
}

static void *
lmdb_create(const char *path, bool has_nul, struct error *error)
{
	struct lmdb_writer *writer = calloc(1, sizeof(*writer));
	int                 number;

	if (writer == NULL || (writer->path = strdup(path)) == NULL) {
		free(writer);
		error_set(error, "out of memory");
		return NULL;
	}
	writer->has_nul = has_nul;
	writer->map_size = MAP_START;
	writer->key = BUF(TEXTLINES_LINE_MOST);
	writer->value = BUF(TEXTLINES_LINE_MOST + 1);
	number = mdb_env_create(&writer->environment);
	if (number == 0)
		number = mdb_env_set_mapsize(writer->environment, writer->map_size);
	/* Nobody else knows the file yet; it is synced when it is whole. */
	if (number == 0)
		number = mdb_env_open(writer->environment, path,
		                      MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0600);
	if (number != 0)
		lmdb_error(writer, number, error);
	else if (lmdb_begin(writer, error))
		return writer;
	lmdb_finish(writer, NULL);
	return NULL;
}

static enum lookup
lmdb_put(void *state, struct slice key, struct slice value, bool replaces, struct error *error)
{
	struct lmdb_writer *writer = state;

	if (!writer_terminate(&key, writer->has_nul, &writer->key) ||
	    !writer_terminate(&value, writer->has_nul, &writer->value)) {
		error_set(error, "write %s: the entry is too long", writer->path);
		return LOOKUP_TRY_LATER;
	}
	MDB_val stored_key = { key.length, (void *)(uintptr_t)key.data };
	MDB_val stored_value = { value.length, (void *)(uintptr_t)value.data };
	int     number = mdb_put(writer->transaction, writer->database, &stored_key, &stored_value,
                             replaces ? 0 : MDB_NOOVERWRITE);
	if (number == MDB_KEYEXIST)
		return LOOKUP_FOUND;
	if (number == MDB_BAD_VALSIZE) {
		error_set(error, "the key \"%.*s\" is empty or longer than LMDB's %d bytes",
		          SLICE_ARGS(slice_first(key, 60)),
		          mdb_env_get_maxkeysize(writer->environment));
		return LOOKUP_TRY_LATER;
	}
	if (number != 0) {
		lmdb_error(writer, number, error);
		return LOOKUP_TRY_LATER;
	}
	writer->written += key.length + value.length;
	if (writer->written > COMMIT_SIZE &&
	    !(lmdb_commit(writer, error) && lmdb_begin(writer, error)))
		return LOOKUP_TRY_LATER;
	return LOOKUP_NOT_FOUND;
}

const struct writer writer_lmdb = { lmdb_create, lmdb_put, lmdb_finish };

/* ---- cdb ---- */

struct cdb_writer {
	char           *path;
	bool            has_nul;
	int             fd;
	struct cdb_make make;
	struct buf      key, value;
};

static bool
cdb_finish(void *state, struct error *error)
{
	struct cdb_writer *writer = state;
	bool               is_good = true;

	if (writer->fd >= 0) {
		if (cdb_make_finish(&writer->make) != 0)
			is_good = error_set_errno(error, "write %s", writer->path);
		close(writer->fd);
	}
	buf_free(&writer->key);
	buf_free(&writer->value);
	free(writer->path);
	free(writer);
	return is_good;
}

static void *
cdb_create(const char *path, bool has_nul, struct error *error)
{
	struct cdb_writer *writer = calloc(1, sizeof(*writer));

	if (writer == NULL || (writer->path = strdup(path)) == NULL) {
		free(writer);
		error_set(error, "out of memory");
		return NULL;
	}
	writer->has_nul = has_nul;
	writer->key = BUF(TEXTLINES_LINE_MOST);
	writer->value = BUF(TEXTLINES_LINE_MOST + 1);
	writer->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (writer->fd < 0)
		error_set_errno(error, "open %s", path);
	else if (cdb_make_start(&writer->make, writer->fd) == 0)
		return writer;
	else
		error_set_errno(error, "write %s", path);
	if (writer->fd >= 0)
		close(writer->fd);
	writer->fd = -1;
	cdb_finish(writer, NULL);
	return NULL;
}

static enum lookup
cdb_put(void *state, struct slice key, struct slice value, bool replaces, struct error *error)
{
	struct cdb_writer *writer = state;

	if (!writer_terminate(&key, writer->has_nul, &writer->key) ||
	    !writer_terminate(&value, writer->has_nul, &writer->value)) {
		error_set(error, "write %s: the entry is too long", writer->path);
		return LOOKUP_TRY_LATER;
	}
	int number =
		cdb_make_put(&writer->make, key.data, (unsigned)key.length, value.data,
	                     (unsigned)value.length, replaces ? CDB_PUT_REPLACE : CDB_PUT_INSERT);
	if (number >= 0)
		return number > 0 && !replaces ? LOOKUP_FOUND : LOOKUP_NOT_FOUND;
	error_set_errno(error, "write %s", writer->path);
	return LOOKUP_TRY_LATER;
}

const struct writer writer_cdb = { cdb_create, cdb_put, cdb_finish };
