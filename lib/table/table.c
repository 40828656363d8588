/* table.c - see table.h: the types, and content that is counted and loaded anew. */
#include "lib/table/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mutex.h"
#include "lib/table/type.h"

#define CHECK_EVERY_MS 100

/* What a load made; shared by the lookups that run on it. */
struct content {
	size_t users;
	void  *data;
};

/* What tells one version of a file from the next. */
struct file_version {
	dev_t           device;
	ino_t           inode;
	off_t           size;
	struct timespec modified, changed;
};

struct table {
	char                    *spec;
	const char              *name; /* within spec, behind "type:" */
	char                    *path; /* NULL: no file */
	const struct table_type *type;
	bool                     is_debugged;
	bool                     keeps_case;
	struct mutex             lock;    /* guards everything below */
	struct content          *current; /* NULL: cannot be read, failure says why */
	struct file_version      version; /* of the last load tried */
	struct error             failure;
	uint64_t                 generation; /* of current */
	int64_t                  next_check_ms;
	bool                     is_loading; /* a thread is at it */
};

enum lookup
table_give(struct slice bytes, struct buf *value, struct error *error)
{
	if (buf_append(value, bytes))
		return LOOKUP_FOUND;
	error_set(error, "the value is too long (%zu bytes) or memory is out", bytes.length);
	return LOOKUP_TRY_LATER;
}

/* ---- content ---- */

/* True: the caller frees it, without the lock, since that may wait for a server's goodbye. */
static bool
content_leave_locked(struct content *content)
{
	return content != NULL && --content->users == 0;
}

static void
content_free(const struct table *table, struct content *content)
{
	table->type->unload(content->data);
	free(content);
}

static bool
version_read(const char *path, struct file_version *version, struct error *error)
{
	struct stat status;

	if (stat(path, &status) != 0) {
		int saved = errno;

		error_set_errno(error, "open %s", path);
		if (saved == EACCES)
			error_set(error,
			          "open %s: Permission denied (this program's user or sandbox "
			          "may not read it)",
			          path);
		if (error != NULL)
			error->errno_value = saved;
		return false;
	}
	*version = (struct file_version){ status.st_dev, status.st_ino, status.st_size,
		                          status.st_mtim, status.st_ctim };
	return true;
}

static bool
version_is_same(const struct file_version *a, const struct file_version *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->modified.tv_sec == b->modified.tv_sec &&
	       a->modified.tv_nsec == b->modified.tv_nsec &&
	       a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static struct content *
content_load(const struct table *table, struct error *error)
{
	struct content *content = calloc(1, sizeof(*content));

	if (content == NULL) {
		error_set(error, "out of memory");
		return NULL;
	}
	content->users = 1;
	content->data = table->type->load(table->name, table->path, error);
	if (content->data != NULL)
		return content;
	free(content);
	return NULL;
}

/*
 * Looks at the file and loads it when it is another. Called without the lock by the one thread
 * that set is_loading. What cannot be read is gone; what is malformed leaves the old content.
 */
static void
table_reload(struct table *table)
{
	struct file_version version = { 0 };
	struct error        failure = ERROR_NONE;
	struct content     *fresh = NULL;
	bool                is_there = version_read(table->path, &version, &failure);

	mutex_lock(&table->lock);
	bool is_same = is_there && version_is_same(&version, &table->version);
	bool has_content = table->current != NULL;
	mutex_unlock(&table->lock);
	/* A version that failed is not tried again, unless reading it did (rights may change). */
	if (!is_same || (!has_content && table->failure.errno_value != 0))
		fresh = is_there ? content_load(table, &failure) : NULL;
	else
		goto out;
	/* EHOSTUNREACH: a cf file names a host that cannot be resolved in the sandbox. */
	bool is_malformed = fresh == NULL && is_there &&
	                    (failure.errno_value == 0 || failure.errno_value == EHOSTUNREACH);
	if (is_malformed && has_content)
		log_warning("%s: %s; the content of before stays in use", table->spec,
		            failure.text);

	struct content *old = NULL;
	mutex_lock(&table->lock);
	table->version = version;
	if (!is_malformed || !has_content) {
		old = table->current;
		table->current = fresh;
		table->generation++;
		table->failure = failure;
	}
	bool is_last = content_leave_locked(old);
	mutex_unlock(&table->lock);
	if (is_last)
		content_free(table, old);
out:
	mutex_lock(&table->lock);
	table->is_loading = false;
	table->next_check_ms = clock_monotonic_ms() + CHECK_EVERY_MS;
	mutex_unlock(&table->lock);
}

static struct content *
content_take(struct table *table, struct error *error)
{
	int64_t now_ms = table->path == NULL ? 0 : clock_monotonic_ms();

	mutex_lock(&table->lock);
	if (table->path != NULL && !table->is_loading && now_ms >= table->next_check_ms) {
		table->is_loading = true;
		mutex_unlock(&table->lock);
		table_reload(table);
		mutex_lock(&table->lock);
	}
	struct content *content = table->current;
	if (content != NULL)
		content->users++;
	else if (error != NULL)
		*error = table->failure;
	mutex_unlock(&table->lock);
	return content;
}

/* ---- tables ---- */

/* The file behind the name; path stays NULL when there is none. */
static bool
table_find_file(struct table *table, struct error *error)
{
	const char *name = table->name, *file = name;

	if (table->type->suffix == NULL)
		return true;
	/* "regexp:{ {/x/ y} }": the content stands in the name. */
	if (name[0] == '{' && table->type->has_patterns)
		return true;
	if (table->type == &table_type_unix)
		file = strcmp(name, "group.byname") == 0 ? "/etc/group" : "/etc/passwd";
	if (file[0] != '/')
		return error_set(error, "%s: the file must be named by its absolute path",
		                 table->spec);
	if (asprintf(&table->path, "%s%s", file, table->type->suffix) >= 0)
		return true;
	table->path = NULL;
	return error_set(error, "%s: out of memory", table->spec);
}

static bool
table_fill(struct table *table, const char *spec, struct error *error)
{
	struct table_spec parsed;

	table->spec = strdup(spec);
	if (table->spec == NULL)
		return error_set(error, "%s: out of memory", spec);
	if (!table_spec_parse(slice_from(table->spec), &parsed))
		return error_set(error, "\"%s\" is no table: want type:name", spec);
	if (parsed.type == NULL) {
		table_type_refuse(parsed.word, error);
		return error_prefix(error, "%s", spec);
	}
	table->type = parsed.type;
	table->name = parsed.name.data;
	table->is_debugged = parsed.is_debugged;
	if (slice_is_empty(parsed.name))
		return error_set(error, "%s: a name must follow the type", spec);
	return table_find_file(table, error);
}

struct table *
table_open(const char *spec, bool may_be_missing, struct error *error)
{
	struct table *table = calloc(1, sizeof(*table));

	if (table == NULL) {
		error_set(error, "%s: out of memory", spec);
		return NULL;
	}
	mutex_init(&table->lock);
	if (!table_fill(table, spec, error))
		goto failed;
	if (table->type->prepare != NULL && !table->type->prepare(error)) {
		error_prefix(error, "%s", spec);
		goto failed;
	}
	bool is_there =
		table->path == NULL || version_read(table->path, &table->version, &table->failure);
	if (is_there)
		table->current = content_load(table, &table->failure);
	table->next_check_ms = clock_monotonic_ms() + CHECK_EVERY_MS;
	if (table->current != NULL || (may_be_missing && table->failure.errno_value != 0))
		return table;
	if (error != NULL)
		*error = table->failure;
	if (slice_find(slice_from(table->failure.text), slice_from(table->name)) == SLICE_NOT_FOUND)
		error_prefix(error, "%s", spec);
failed:
	table_close(&table);
	return NULL;
}

void
table_close(struct table **table)
{
	struct table *gone = *table;

	if (gone == NULL)
		return;
	if (content_leave_locked(gone->current))
		content_free(gone, gone->current);
	mutex_destroy(&gone->lock);
	free(gone->spec);
	free(gone->path);
	free(gone);
	*table = NULL;
}

/* The key in lower case in folded; false when it is longer than any key. */
static bool
key_fold(struct slice *key, char *folded)
{
	if (key->length > TABLE_KEY_MOST)
		return false;
	for (size_t i = 0; i < key->length; i++)
		folded[i] = ascii_lower(key->data[i]);
	*key = slice_of(folded, key->length);
	return true;
}

static void
debug_log(const struct table *table, struct slice key, enum lookup answer, const struct buf *value,
          const struct error *error)
{
	struct slice shown = slice_first(key, 500);

	switch (answer) {
	case LOOKUP_FOUND:
		log_info("%s lookup: \"%.*s\" = \"%.*s\"", table->spec, SLICE_ARGS(shown),
		         SLICE_ARGS(slice_first(buf_slice(value), 1000)));
		break;
	case LOOKUP_NOT_FOUND:
		log_info("%s lookup: \"%.*s\" = not found", table->spec, SLICE_ARGS(shown));
		break;
	case LOOKUP_TRY_LATER:
		log_info("%s lookup: \"%.*s\" = error: %s", table->spec, SLICE_ARGS(shown),
		         error == NULL ? "" : error->text);
		break;
	}
}

static enum lookup
content_lookup(struct table *table, struct slice key, struct buf *value, struct error *error)
{
	struct content *content = content_take(table, error);

	if (content == NULL) {
		error_prefix(error, "table %s", table->spec);
		return LOOKUP_TRY_LATER;
	}
	enum lookup answer = table->type->lookup(content->data, key, value, error);
	if (answer == LOOKUP_TRY_LATER)
		error_prefix(error, "table %s", table->spec);
	mutex_lock(&table->lock);
	bool is_last = content_leave_locked(content);
	mutex_unlock(&table->lock);
	if (is_last)
		content_free(table, content);
	return answer;
}

enum lookup
table_lookup(struct table *table, struct slice key, struct buf *value, struct error *error)
{
	char folded[TABLE_KEY_MOST];

	buf_clear(value);
	if (table->type->folds_keys && !table->keeps_case && !key_fold(&key, folded))
		return LOOKUP_NOT_FOUND;
	enum lookup answer = content_lookup(table, key, value, error);
	if (table->is_debugged)
		debug_log(table, key, answer, value, error);
	return answer;
}

bool
table_each(struct table *table, table_visit *visit, void *context, struct error *error)
{
	if (table->type->each == NULL)
		return error_set(error, "%s: tables of this type cannot be listed", table->spec);
	struct content *content = content_take(table, error);
	if (content == NULL)
		return error_prefix(error, "table %s", table->spec);
	bool is_good = table->type->each(content->data, visit, context, error);
	mutex_lock(&table->lock);
	bool is_last = content_leave_locked(content);
	mutex_unlock(&table->lock);
	if (is_last)
		content_free(table, content);
	return is_good;
}

uint64_t
table_refresh(struct table *table)
{
	mutex_lock(&table->lock);
	table->next_check_ms = 0;
	mutex_unlock(&table->lock);
	struct content *content = content_take(table, NULL);
	mutex_lock(&table->lock);
	uint64_t generation = content == NULL ? 0 : table->generation + 1;
	bool     is_last = content_leave_locked(content);
	mutex_unlock(&table->lock);
	if (is_last)
		content_free(table, content);
	return generation;
}

bool
table_has_patterns(const struct table *table)
{
	/* Types with content_has_patterns have no file, so their content never changes. */
	if (table->type->content_has_patterns != NULL)
		return table->type->content_has_patterns(table->current->data);
	return table->type->has_patterns;
}

void
table_keep_case(struct table *table)
{
	table->keeps_case = true;
}

const char *
table_spec(const struct table *table)
{
	return table->spec;
}
