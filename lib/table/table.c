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

static const struct table_type *const types[] = {
	&table_type_hash,    &table_type_btree,   &table_type_texthash, &table_type_inline,
	&table_type_static,  &table_type_cidr,    &table_type_regexp,   &table_type_pcre,
	&table_type_unix,    &table_type_environ, &table_type_fail,     &table_type_unionmap,
	&table_type_pipemap, &table_type_randmap,
};
#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))

static const char *const type_names[] = {
	"hash", "btree",   "texthash", "inline",   "static",  "cidr",    "regexp", "pcre",
	"unix", "environ", "fail",     "unionmap", "pipemap", "randmap", "proxy",  NULL,
};

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
	struct mutex             lock;    /* guards everything below */
	struct content          *current; /* NULL: cannot be read, failure says why */
	struct file_version      version; /* of the last load tried */
	struct error             failure;
	uint64_t                 generation; /* of current */
	int64_t                  next_check_ms;
	bool                     is_loading; /* a thread is at it */
};

const char *const *
table_type_names(void)
{
	return type_names;
}

enum lookup
table_give(struct slice bytes, struct buf *value, struct error *error)
{
	if (buf_append(value, bytes))
		return LOOKUP_FOUND;
	error_set(error, "the value is too long (%zu bytes) or memory is out", bytes.length);
	return LOOKUP_TRY_LATER;
}

/* ---- specs ---- */

/* The type and what follows its colon; proxy: is dropped, since every daemon opens tables. */
static const struct table_type *
type_find(struct slice spec, struct slice *name)
{
	if (slice_starts_with(spec, SLICE("proxy:")))
		spec = slice_from_offset(spec, 6);
	size_t       colon = slice_find_byte(spec, ':');
	struct slice word = slice_first(spec, colon);

	if (colon == SLICE_NOT_FOUND)
		return NULL;
	for (size_t i = 0; i < TYPE_COUNT; i++)
		if (slice_equal(word, slice_from(types[i]->name))) {
			*name = slice_from_offset(spec, colon + 1);
			return types[i];
		}
	return NULL;
}

bool
table_spec_is_known(struct slice text)
{
	struct slice name;

	return type_find(text, &name) != NULL;
}

bool
table_next_item(struct slice *rest, struct slice *item)
{
	struct slice separators = SLICE(", \t\r\n");
	size_t       start = 0, depth = 0, end;

	while (start < rest->length && slice_contains_byte(separators, rest->data[start]))
		start++;
	if (start == rest->length) {
		*rest = SLICE_EMPTY;
		return false;
	}
	for (end = start; end < rest->length; end++) {
		char c = rest->data[end];

		if (c == '{')
			depth++;
		else if (c == '}' && depth > 0)
			depth--;
		else if (depth == 0 && slice_contains_byte(separators, c))
			break;
	}
	*item = slice_of(rest->data + start, end - start);
	*rest = slice_from_offset(*rest, end);
	return true;
}

void
table_each_directory(const char *text, void (*visit)(const char *directory, void *context),
                     void       *context)
{
	struct slice rest = slice_from(text), word, name;

	while (slice_next_word(&rest, ", \t\r\n{}=!", &word)) {
		const struct table_type *type = type_find(word, &name);
		char                     path[4096];

		if (type == &table_type_unix)
			name = SLICE("/etc/passwd");
		else if (type == NULL)
			name = word;
		else if (type->suffix == NULL)
			continue;
		size_t slash = slice_find_last_byte(name, '/');
		if (slice_is_empty(name) || name.data[0] != '/' || slash >= sizeof(path) - 1)
			continue;
		size_t length = slash == 0 ? 1 : slash;
		memcpy(path, name.data, length);
		path[length] = '\0';
		visit(path, context);
	}
}

/* ---- content ---- */

static void
content_release_locked(const struct table *table, struct content *content)
{
	if (content == NULL || --content->users > 0)
		return;
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
	bool is_malformed = fresh == NULL && is_there && failure.errno_value == 0;
	if (is_malformed && has_content)
		log_warning("%s: %s; the content of before stays in use", table->spec,
		            failure.text);

	mutex_lock(&table->lock);
	table->version = version;
	if (!is_malformed || !has_content) {
		struct content *old = table->current;

		table->current = fresh;
		table->generation++;
		table->failure = failure;
		content_release_locked(table, old);
	}
	mutex_unlock(&table->lock);
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

static bool
table_fill(struct table *table, const char *spec, struct error *error)
{
	struct slice name;

	table->spec = strdup(spec);
	if (table->spec == NULL)
		return error_set(error, "%s: out of memory", spec);
	table->type = type_find(slice_from(table->spec), &name);
	if (table->type == NULL)
		return error_set(error,
		                 "unsupported table type in \"%s\" (there are hash, btree, "
		                 "texthash, inline, static, cidr, regexp, pcre)",
		                 spec);
	table->name = name.data;
	if (slice_is_empty(name))
		return error_set(error, "%s: a name must follow the type", spec);
	if (table->type->suffix == NULL)
		return true;
	/* "regexp:{ {/x/ y} }": the content stands in the name. */
	if (name.data[0] == '{' && table->type->has_patterns)
		return true;
	if (name.data[0] != '/' && table->type != &table_type_unix)
		return error_set(error, "%s: the file must be named by its absolute path", spec);
	if (table->type == &table_type_unix
	            ? asprintf(&table->path, "%s",
	                       strcmp(table->name, "group.byname") == 0 ? "/etc/group"
	                                                                : "/etc/passwd") < 0
	            : asprintf(&table->path, "%s%s", table->name, table->type->suffix) < 0) {
		table->path = NULL;
		return error_set(error, "%s: out of memory", spec);
	}
	return true;
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
	content_release_locked(gone, gone->current);
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

enum lookup
table_lookup(struct table *table, struct slice key, struct buf *value, struct error *error)
{
	char folded[TABLE_KEY_MOST];

	buf_clear(value);
	if (table->type->folds_keys && !key_fold(&key, folded))
		return LOOKUP_NOT_FOUND;
	struct content *content = content_take(table, error);
	if (content == NULL) {
		error_prefix(error, "table %s", table->spec);
		return LOOKUP_TRY_LATER;
	}
	enum lookup answer = table->type->lookup(content->data, key, value, error);
	if (answer == LOOKUP_TRY_LATER)
		error_prefix(error, "table %s", table->spec);
	mutex_lock(&table->lock);
	content_release_locked(table, content);
	mutex_unlock(&table->lock);
	return answer;
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
	if (content != NULL)
		content_release_locked(table, content);
	mutex_unlock(&table->lock);
	return generation;
}

bool
table_has_patterns(const struct table *table)
{
	return table->type->has_patterns;
}

const char *
table_spec(const struct table *table)
{
	return table->spec;
}
