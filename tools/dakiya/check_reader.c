/* check_reader.c - the entries of tables, whatever holds them; see check.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/conf/restrictions.h"
#include "lib/conf/snapshot.h"
#include "lib/io/file.h"
#include "lib/table/database.h"
#include "lib/table/textlines.h"
#include "tools/dakiya/check.h"

struct reading {
	const struct check_wish *wish;
	const char              *path;
	void (*visit)(void *context, const struct check_entry *entry);
	void  *context;
	size_t count;
};

struct slice
check_table_type(struct slice spec, struct slice *name)
{
	size_t colon;

	while (slice_starts_with(spec, SLICE("proxy:")))
		spec = slice_from_offset(spec, 6);
	colon = slice_find_byte(spec, ':');
	if (colon == SLICE_NOT_FOUND)
		return SLICE_EMPTY;
	*name = slice_from_offset(spec, colon + 1);
	return slice_first(spec, colon);
}

static bool
is_one_of(struct slice type, const char *const *types)
{
	for (; *types != NULL; types++) {
		if (slice_equal(type, slice_from(*types)))
			return true;
	}
	return false;
}

static bool
is_of_rules(struct slice type)
{
	static const char *const types[] = { "cidr", "regexp", "pcre", NULL };

	return is_one_of(type, types);
}

/* A type whose text is FILE. */
static bool
has_text(struct slice type)
{
	static const char *const types[] = { "texthash", "hash", "btree", "lmdb", "cdb", NULL };

	return is_one_of(type, types) || is_of_rules(type);
}

/* ---- text ---- */

/* "/a b/flags  value": a pattern may hold blanks. */
static void
split_rule(struct slice line, struct slice *key, struct slice *value)
{
	size_t start = line.length > 0 && line.data[0] == '!' ? 1 : 0, end = start + 1;
	char   delimiter = start < line.length ? line.data[start] : ' ';

	*key = SLICE_EMPTY;
	*value = SLICE_EMPTY;
	if (ascii_is_alnum(delimiter) || delimiter == '[' || delimiter == ':') {
		if (!textlines_split(line, key, value))
			*key = line;
		return;
	}
	while (end < line.length && line.data[end] != delimiter)
		end += line.data[end] == '\\' ? 2 : 1;
	if (end >= line.length)
		return;
	*key = slice_first(line, end + 1);
	struct slice rest = slice_from_offset(line, end + 1);
	while (rest.length > 0 && ascii_is_alpha(rest.data[0]))
		rest = slice_from_offset(rest, 1);
	*value = slice_trim(rest);
}

static void
split_alias(struct slice line, struct slice *key, struct slice *value)
{
	size_t colon = slice_find_byte(line, ':');

	*key = slice_trim(slice_first(line, colon));
	*value = slice_trim(slice_from_offset(line, colon == SLICE_NOT_FOUND ? 0 : colon + 1));
	if (key->length >= 2 && key->data[0] == '"')
		*key = slice_of(key->data + 1, key->length - 2);
}

static enum check_read
read_text(struct reading *reading, bool is_rule)
{
	struct buf       text = BUF(TEXTLINES_FILE_MOST);
	struct textlines lines;
	struct slice     line;
	enum check_read  result = CHECK_READ;

	if (!textlines_read_file(reading->path, &text, NULL)) {
		buf_free(&text);
		return CHECK_NOT_READ;
	}
	textlines_start(&lines, buf_slice(&text));
	while (result == CHECK_READ && textlines_next(&lines, &line, NULL)) {
		struct check_entry entry = { .file = reading->path,
			                     .line = lines.line,
			                     .is_rule = is_rule };

		line = slice_trim(line);
		if (is_rule)
			split_rule(line, &entry.key, &entry.value);
		else if (reading->wish->is_alias)
			split_alias(line, &entry.key, &entry.value);
		else if (!textlines_split(line, &entry.key, &entry.value))
			entry.key = line;
		if (reading->count++ >= CHECK_ENTRIES_MOST)
			result = CHECK_TOO_LARGE;
		else
			reading->visit(reading->context, &entry);
	}
	textlines_end(&lines);
	buf_free(&text);
	return result;
}

/* ---- databases ---- */

static bool
visit_record(struct slice key, struct slice value, void *context)
{
	struct reading    *reading = context;
	struct check_entry entry = { .key = key, .value = value, .file = reading->path };

	if (reading->count++ >= CHECK_ENTRIES_MOST)
		return false;
	/* How Postfix's newaliases marks a complete file. */
	if (!slice_equal(key, SLICE("@")) && !slice_starts_with(key, SLICE("YP_")))
		reading->visit(reading->context, &entry);
	return true;
}

static enum check_read
read_database(struct reading *reading, const char *path)
{
	struct database *database;
	bool             is_read;

	reading->path = path;
	database = database_open(path, NULL);
	if (database == NULL)
		return CHECK_NOT_READ;
	is_read = database_each(database, visit_record, reading, NULL);
	(void)database_close(&database, NULL);
	if (reading->count > CHECK_ENTRIES_MOST)
		return CHECK_TOO_LARGE;
	return is_read ? CHECK_READ : CHECK_NOT_READ;
}

/* ---- inline ---- */

static void
visit_own(void *context, struct slice key, struct slice value)
{
	struct reading    *reading = context;
	struct check_entry entry = { .key = key, .value = value, .file = "" };

	reading->visit(reading->context, &entry);
}

enum check_read
check_read_table(const struct check_wish *wish,
                 void (*visit)(void *context, const struct check_entry *entry), void *context)
{
	struct slice   name = SLICE_EMPTY;
	struct slice   type = check_table_type(wish->spec, &name);
	struct reading reading = { .wish = wish, .visit = visit, .context = context };
	char           path[2000], database[2010];
	bool is_database = slice_equal(type, SLICE("hash")) || slice_equal(type, SLICE("btree"));

	if (slice_equal(type, SLICE("inline")))
		return relay_each_own_entry(wish->spec, visit_own, &reading) ? CHECK_READ
		                                                             : CHECK_NOT_READ;
	if (!has_text(type) || name.length == 0 || name.data[0] != '/' ||
	    name.length >= sizeof(path))
		return CHECK_NOT_READ;
	snprintf(path, sizeof(path), "%.*s", SLICE_ARGS(name));
	snprintf(database, sizeof(database), "%s.db", path);
	reading.path = path;
	if (is_database && (!wish->wants_text || access(path, R_OK) != 0))
		return read_database(&reading, database);
	return read_text(&reading, is_of_rules(type));
}

struct snapshot *
check_snapshot(const struct configuration *configuration, const struct service *service)
{
	struct values    values = VALUES_NONE;
	struct buf       bytes = BUF(VALUES_BYTES_MOST);
	struct error     error = ERROR_NONE;
	struct snapshot *snapshot = NULL;
	int              fd = memfd_create("dakiya-check", MFD_CLOEXEC);

	if (fd >= 0 && configuration_service_values(configuration, service, &values) &&
	    values_encode(&values, &bytes) &&
	    file_write_all(fd, buf_slice(&bytes), "snapshot", &error))
		snapshot = snapshot_open(fd, &error);
	if (fd >= 0)
		close(fd);
	buf_free(&bytes);
	values_free(&values);
	return snapshot;
}
