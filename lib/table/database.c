/* database.c - see database.h; and the table types hash and btree. */
#include "lib/table/database.h"

#include <db.h>
#include <errno.h>
#include <stdlib.h>

#include "lib/base/mutex.h"
#include "lib/table/textlines.h"
#include "lib/table/type.h"

/*
 * Berkeley DB reads DB_CONFIG from the environment's home, by default the working directory. Below
 * a device there can be none, whoever the working directory belongs to.
 */
#define NO_HOME       "/dev/null"
#define CACHE_SIZE    (256 * 1024)
#define OPEN_MEMORY   (2 * CACHE_SIZE) /* more than it takes to open a file */
#define HABIT_ENTRIES 8                /* that are looked at to learn the habit */

enum nul_habit { NUL_UNKNOWN, NUL_ALWAYS, NUL_NEVER };

/*
 * Berkeley DB's own locks (DB_THREAD) cost more than a lookup; one of ours around the call does. It
 * is held while a page is read, which is a copy from the kernel's cache.
 */
struct database {
	struct mutex   lock; /* one thread at a time uses db */
	DB_ENV        *environment;
	DB            *db;
	char          *path;
	enum nul_habit habit; /* of all keys in the file; see habit_learn */
};

static bool
database_error(struct error *error, int number, const char *what, const char *path)
{
	error_set(error, "%s %s: %s", what, path, db_strerror(number));
	if (error != NULL)
		error->errno_value = number > 0 ? number : EIO;
	return false;
}

static void
database_release(struct database *database)
{
	if (database == NULL)
		return;
	if (database->db != NULL)
		database->db->close(database->db, DB_NOSYNC);
	if (database->environment != NULL)
		database->environment->close(database->environment, 0);
	mutex_destroy(&database->lock);
	free(database->path);
	free(database);
}

/* Berkeley DB would write to standard error; what it says comes back in error numbers. */
static void
say_nothing(const DB_ENV *environment, const char *prefix, const char *text)
{
	(void)environment;
	(void)prefix;
	(void)text;
}

/*
 * Berkeley DB 5.3 crashes when memory runs out while it makes an environment (it destroys what it
 * has not made): so somebody else finds that out first.
 */
static bool
has_memory(void)
{
	void *volatile probe = malloc(OPEN_MEMORY);
	bool has_it = probe != NULL;

	free(probe);
	return has_it;
}

static struct database *
database_prepare(const char *path, struct error *error)
{
	struct database *database = calloc(1, sizeof(*database));
	int              number = ENOMEM;

	if (database == NULL || !has_memory()) {
		database_error(error, number, "open", path);
		free(database);
		return NULL;
	}
	mutex_init(&database->lock);
	database->path = strdup(path);
	if (database->path == NULL)
		goto failed;
	number = db_env_create(&database->environment, 0);
	if (number != 0)
		goto failed;
	database->environment->set_errcall(database->environment, say_nothing);
	database->environment->set_cachesize(database->environment, 0, CACHE_SIZE, 1);
	number = database->environment->open(database->environment, NO_HOME,
	                                     DB_CREATE | DB_INIT_MPOOL | DB_PRIVATE, 0600);
	if (number != 0)
		goto failed;
	number = db_create(&database->db, database->environment, 0);
	if (number == 0)
		return database;
failed:
	database_error(error, number, "open", path);
	database_release(database);
	return NULL;
}

static struct database *
database_start(const char *path, DBTYPE type, uint32_t flags, unsigned mode, struct error *error)
{
	struct database *database = database_prepare(path, error);

	if (database == NULL)
		return NULL;
	int number = database->db->open(database->db, NULL, path, NULL, type, flags, (int)mode);
	if (number == 0)
		return database;
	if (number == EINVAL)
		error_set(error, "open %s: not a Berkeley DB hash or btree file", path);
	else
		database_error(error, number, "open", path);
	if (error != NULL && error->errno_value == 0)
		error->errno_value = EINVAL;
	database_release(database);
	return NULL;
}

/* What postalias adds for NIS has no NUL, whatever the other keys have. */
static bool
is_of_nis(const DBT *key)
{
	return slice_starts_with(slice_of(key->data, key->size), SLICE("YP_"));
}

/*
 * Whether keys end in a NUL is the habit of the program that wrote the file, as the first entries
 * show: it saves a second search for each key that is not there. Where they differ, and in an empty
 * file, both are tried.
 */
static bool
habit_learn(struct database *database, struct error *error)
{
	DBC *cursor = NULL;
	DBT  key = { .flags = DB_DBT_REALLOC }, value = { .flags = DB_DBT_REALLOC };
	int  number = database->db->cursor(database->db, NULL, &cursor, 0);
	bool has_with = false, has_without = false;

	for (unsigned i = 0; i < HABIT_ENTRIES && number == 0; i++) {
		number = cursor->get(cursor, &key, &value, DB_NEXT);
		if (number != 0 || key.size == 0 || is_of_nis(&key))
			continue;
		bool has_nul = ((const char *)key.data)[key.size - 1] == '\0';
		has_with = has_with || has_nul;
		has_without = has_without || !has_nul;
	}
	if (has_with != has_without)
		database->habit = has_with ? NUL_ALWAYS : NUL_NEVER;
	if (cursor != NULL)
		cursor->close(cursor);
	free(key.data);
	free(value.data);
	return number == 0 || number == DB_NOTFOUND ||
	       database_error(error, number, "read", database->path);
}

struct database *
database_open(const char *path, struct error *error)
{
	struct database *database = database_start(path, DB_UNKNOWN, DB_RDONLY, 0, error);

	if (database == NULL || habit_learn(database, error))
		return database;
	database_release(database);
	return NULL;
}

struct database *
database_create(const char *path, enum database_kind kind, unsigned mode, struct error *error)
{
	return database_start(path, kind == DATABASE_HASH ? DB_HASH : DB_BTREE, DB_CREATE | DB_EXCL,
	                      mode, error);
}

enum database_kind
database_kind(const struct database *database)
{
	DBTYPE type = DB_UNKNOWN;

	database->db->get_type(database->db, &type);
	return type == DB_BTREE ? DATABASE_BTREE : DATABASE_HASH;
}

void
database_set_nul(struct database *database, bool has_nul)
{
	database->habit = has_nul ? NUL_ALWAYS : NUL_NEVER;
}

/* ---- reading ---- */

/* One get straight into the caller's buffer; DB_BUFFER_SMALL tells how much is needed. */
static int
get_into(struct database *database, struct slice key, struct buf *value)
{
	for (;;) {
		DBT wanted = { .data = (void *)(uintptr_t)key.data, .size = (uint32_t)key.length };
		DBT found = { .flags = DB_DBT_USERMEM };

		if (!buf_reserve(value, 63))
			return ENOMEM;
		found.data = value->data;
		found.ulen = (uint32_t)(value->capacity - 1 > UINT32_MAX ? UINT32_MAX
		                                                         : value->capacity - 1);
		mutex_lock(&database->lock);
		int number = database->db->get(database->db, NULL, &wanted, &found, 0);
		mutex_unlock(&database->lock);
		if (number == DB_BUFFER_SMALL) {
			if (!buf_reserve(value, found.size))
				return ENOMEM;
			continue;
		}
		if (number != 0)
			return number;
		value->length = found.size;
		if (value->length > 0 && value->data[value->length - 1] == '\0')
			value->length--;
		return 0;
	}
}

enum lookup
database_get(struct database *database, struct slice key, struct buf *value, struct error *error)
{
	char with_nul[TABLE_KEY_MOST + 1];

	if (key.length > TABLE_KEY_MOST)
		return LOOKUP_NOT_FOUND;
	buf_clear(value);
	if (key.length > 0)
		memcpy(with_nul, key.data, key.length);
	with_nul[key.length] = '\0';
	int number = DB_NOTFOUND;
	if (database->habit != NUL_NEVER)
		number = get_into(database, slice_of(with_nul, key.length + 1), value);
	if (number == DB_NOTFOUND && database->habit != NUL_ALWAYS && key.length > 0)
		number = get_into(database, slice_of(with_nul, key.length), value);
	if (number == 0)
		return LOOKUP_FOUND;
	if (number == DB_NOTFOUND)
		return LOOKUP_NOT_FOUND;
	database_error(error, number, "read", database->path);
	return LOOKUP_TRY_LATER;
}

static struct slice
entry_slice(const DBT *entry)
{
	struct slice bytes = slice_of(entry->data, entry->size);

	if (bytes.length > 0 && bytes.data[bytes.length - 1] == '\0')
		bytes.length--;
	return bytes;
}

bool
database_each(struct database *database, table_visit *visit, void *context, struct error *error)
{
	DBC *cursor = NULL;
	DBT  key = { .flags = DB_DBT_REALLOC }, value = { .flags = DB_DBT_REALLOC };
	int  number = database->db->cursor(database->db, NULL, &cursor, 0);

	while (number == 0) {
		number = cursor->get(cursor, &key, &value, DB_NEXT);
		if (number == 0 && !visit(entry_slice(&key), entry_slice(&value), context))
			break;
	}
	if (cursor != NULL)
		cursor->close(cursor);
	free(key.data);
	free(value.data);
	if (number != 0 && number != DB_NOTFOUND)
		return database_error(error, number, "read", database->path);
	return true;
}

/* ---- writing ---- */

/* A DBT over a copy with a NUL behind it when that is the habit. */
static bool
entry_make(const struct database *database, struct slice bytes, struct buf *copy, DBT *entry)
{
	if (!buf_append(copy, bytes) || (database->habit != NUL_NEVER && !buf_append_byte(copy, 0)))
		return false;
	*entry = (DBT){ .data = copy->data, .size = (uint32_t)copy->length };
	return true;
}

static int
put(struct database *database, struct slice key, struct slice value, uint32_t flags)
{
	struct buf key_copy = BUF(TABLE_KEY_MOST + 1), value_copy = BUF(TEXTLINES_LINE_MOST + 1);
	DBT        key_entry, value_entry;
	int        number = ENOMEM;

	if (entry_make(database, key, &key_copy, &key_entry) &&
	    entry_make(database, value, &value_copy, &value_entry))
		number = database->db->put(database->db, NULL, &key_entry, &value_entry, flags);
	buf_free(&key_copy);
	buf_free(&value_copy);
	return number;
}

enum lookup
database_add(struct database *database, struct slice key, struct slice value, struct error *error)
{
	int number = put(database, key, value, DB_NOOVERWRITE);

	if (number == 0)
		return LOOKUP_NOT_FOUND;
	if (number == DB_KEYEXIST)
		return LOOKUP_FOUND;
	database_error(error, number, "write", database->path);
	return LOOKUP_TRY_LATER;
}

bool
database_replace(struct database *database, struct slice key, struct slice value,
                 struct error *error)
{
	int number = put(database, key, value, 0);

	return number == 0 || database_error(error, number, "write", database->path);
}

bool
database_close(struct database **database, struct error *error)
{
	struct database *gone = *database;

	if (gone == NULL)
		return true;
	*database = NULL;
	int number = gone->db->close(gone->db, 0);
	gone->db = NULL;
	if (number != 0)
		database_error(error, number, "close", gone->path);
	database_release(gone);
	return number == 0;
}

/* ---- the table types ---- */

static void *
database_load(const char *name, const char *path, struct error *error)
{
	(void)name;
	return database_open(path, error);
}

static enum lookup
database_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	return database_get(content, key, value, error);
}

static bool
database_visit(void *content, table_visit *visit, void *context, struct error *error)
{
	return database_each(content, visit, context, error);
}

static void
database_unload(void *content)
{
	struct database *database = content;

	database_close(&database, NULL);
}

const struct table_type table_type_hash = {
	.name = "hash",
	.suffix = ".db",
	.folds_keys = true,
	.load = database_load,
	.lookup = database_lookup,
	.each = database_visit,
	.unload = database_unload,
};

const struct table_type table_type_btree = {
	.name = "btree",
	.suffix = ".db",
	.folds_keys = true,
	.load = database_load,
	.lookup = database_lookup,
	.each = database_visit,
	.unload = database_unload,
};
