/*
 * cdb.c - constant databases (D. J. Bernstein's format, as tinycdb writes it); and the type cdb.
 *
 * A header of 256 pairs (position, slots), records (key length, value length, key, value), then
 * 256 hash tables of pairs (hash, position). All numbers are 32 bits, little-endian.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/file.h"
#include "lib/table/pagefile.h"
#include "lib/table/type.h"

#define HEADER_SIZE 2048
#define VALUE_MOST  ((uint32_t)1 << 20)
#define SLOT_SIZE   8

struct cdb_file {
	int           fd;
	char         *path;
	uint32_t      size;
	uint32_t      records_end; /* where the first hash table begins */
	unsigned char header[HEADER_SIZE];
};

static uint32_t
number_at(const unsigned char *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

static bool
damaged(const struct cdb_file *file, struct error *error)
{
	error_set(error, "read %s: the file is damaged; build it anew with dakmap", file->path);
	if (error != NULL)
		error->errno_value = EIO;
	return false;
}

static bool
bytes_read(const struct cdb_file *file, void *out, size_t length, uint64_t position,
           struct error *error)
{
	ssize_t got = file_read_at(file->fd, out, length, (int64_t)position);

	if (got < 0)
		return error_set_errno(error, "read %s", file->path);
	return (size_t)got == length || damaged(file, error);
}

static bool
file_check(struct cdb_file *file, struct error *error)
{
	struct stat status;

	if (fstat(file->fd, &status) != 0)
		return error_set_errno(error, "open %s", file->path);
	if (status.st_size < HEADER_SIZE || status.st_size > UINT32_MAX)
		return damaged(file, error);
	file->size = (uint32_t)status.st_size;
	file->records_end = file->size;
	if (!bytes_read(file, file->header, HEADER_SIZE, 0, error))
		return false;
	for (size_t i = 0; i < 256; i++) {
		uint32_t position = number_at(file->header + i * 8);
		uint64_t slots = number_at(file->header + i * 8 + 4);

		if (position < HEADER_SIZE || position + slots * SLOT_SIZE > file->size)
			return damaged(file, error);
		if (position < file->records_end)
			file->records_end = position;
	}
	return true;
}

struct cdb_file *
cdb_file_open(const char *path, struct error *error)
{
	struct cdb_file *file = calloc(1, sizeof(*file));

	if (file == NULL || (file->path = strdup(path)) == NULL) {
		error_set(error, "out of memory");
		free(file);
		return NULL;
	}
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (file->fd < 0)
		error_set_errno(error, "open %s", path);
	else if (file_check(file, error))
		return file;
	cdb_file_close(file);
	return NULL;
}

void
cdb_file_close(struct cdb_file *file)
{
	if (file == NULL)
		return;
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	free(file);
}

static uint32_t
hash_of(struct slice key)
{
	uint32_t hash = 5381;

	for (size_t i = 0; i < key.length; i++)
		hash = (hash * 33) ^ (unsigned char)key.data[i];
	return hash;
}

/* The lengths of the record at position, checked against the file. */
static bool
record_read(const struct cdb_file *file, uint64_t position, uint32_t *key_length,
            uint32_t *value_length, struct error *error)
{
	unsigned char lengths[8];

	if (position < HEADER_SIZE || !bytes_read(file, lengths, 8, position, error))
		return position < HEADER_SIZE ? damaged(file, error) : false;
	*key_length = number_at(lengths);
	*value_length = number_at(lengths + 4);
	if (*value_length > VALUE_MOST + 1 ||
	    position + 8 + *key_length + *value_length > file->records_end)
		return damaged(file, error);
	return true;
}

static enum lookup
record_compare(const struct cdb_file *file, uint32_t position, struct slice key, struct buf *value,
               struct error *error)
{
	char     stored[TABLE_KEY_MOST + 1];
	uint32_t key_length, value_length;

	if (!record_read(file, position, &key_length, &value_length, error))
		return LOOKUP_TRY_LATER;
	if (key_length != key.length || key_length > sizeof(stored))
		return LOOKUP_NOT_FOUND;
	if (!bytes_read(file, stored, key_length, position + 8ull, error))
		return LOOKUP_TRY_LATER;
	if (memcmp(stored, key.data, key_length) != 0)
		return LOOKUP_NOT_FOUND;
	if (!buf_reserve(value, (size_t)value_length + 1)) {
		error_set(error, "read %s: the value is too long", file->path);
		return LOOKUP_TRY_LATER;
	}
	if (!bytes_read(file, value->data + value->length, value_length,
	                position + 8ull + key_length, error))
		return LOOKUP_TRY_LATER;
	value->length += value_length;
	return LOOKUP_FOUND;
}

static enum lookup
key_find(const struct cdb_file *file, struct slice key, struct buf *value, struct error *error)
{
	uint32_t hash = hash_of(key);
	uint32_t table = number_at(file->header + (hash & 255) * 8);
	uint32_t slots = number_at(file->header + (hash & 255) * 8 + 4);

	for (uint32_t i = 0; i < slots; i++) {
		unsigned char slot[SLOT_SIZE];
		uint64_t      index = ((hash >> 8) % slots + (uint64_t)i) % slots;

		if (!bytes_read(file, slot, SLOT_SIZE, table + index * SLOT_SIZE, error))
			return LOOKUP_TRY_LATER;
		if (number_at(slot + 4) == 0)
			return LOOKUP_NOT_FOUND;
		if (number_at(slot) != hash)
			continue;
		enum lookup answer = record_compare(file, number_at(slot + 4), key, value, error);
		if (answer != LOOKUP_NOT_FOUND)
			return answer;
	}
	return LOOKUP_NOT_FOUND;
}

/* With the NUL first, as Postfix's tools write it, then without. */
enum lookup
cdb_file_get(const struct cdb_file *file, struct slice key, struct buf *value, struct error *error)
{
	char with_nul[TABLE_KEY_MOST + 1];

	buf_clear(value);
	if (key.length > TABLE_KEY_MOST)
		return LOOKUP_NOT_FOUND;
	if (key.length > 0)
		memcpy(with_nul, key.data, key.length);
	with_nul[key.length] = '\0';
	enum lookup answer = key_find(file, slice_of(with_nul, key.length + 1), value, error);
	if (answer == LOOKUP_NOT_FOUND && key.length > 0)
		answer = key_find(file, slice_of(with_nul, key.length), value, error);
	if (answer == LOOKUP_FOUND && value->length > 0 && value->data[value->length - 1] == '\0')
		value->length--;
	if (answer == LOOKUP_TRY_LATER)
		buf_clear(value);
	return answer;
}

static struct slice
without_nul(struct slice bytes)
{
	if (bytes.length > 0 && bytes.data[bytes.length - 1] == '\0')
		bytes.length--;
	return bytes;
}

bool
cdb_file_each(const struct cdb_file *file, table_visit *visit, void *context, struct error *error)
{
	struct buf record = BUF((size_t)VALUE_MOST + TABLE_KEY_MOST + 2);
	uint64_t   position = HEADER_SIZE;
	bool       is_good = true, goes_on = true;

	while (is_good && goes_on && position < file->records_end) {
		uint32_t key_length, value_length;

		is_good = record_read(file, position, &key_length, &value_length, error);
		if (!is_good)
			break;
		size_t length = (size_t)key_length + value_length;
		buf_clear(&record);
		is_good = buf_reserve(&record, length + 1)
		                  ? bytes_read(file, record.data, length, position + 8, error)
		                  : error_set(error, "read %s: an entry is too long", file->path);
		if (is_good)
			goes_on =
				visit(without_nul(slice_of(record.data, key_length)),
			              without_nul(slice_of(record.data + key_length, value_length)),
			              context);
		position += 8 + length;
	}
	buf_free(&record);
	return is_good;
}

/* ---- the type ---- */

static void *
cdb_load(const char *name, const char *path, struct error *error)
{
	(void)name;
	return cdb_file_open(path, error);
}

static enum lookup
cdb_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	return cdb_file_get(content, key, value, error);
}

static bool
cdb_each(void *content, table_visit *visit, void *context, struct error *error)
{
	return cdb_file_each(content, visit, context, error);
}

static void
cdb_unload(void *content)
{
	cdb_file_close(content);
}

const struct table_type table_type_cdb = {
	.name = "cdb",
	.suffix = ".cdb",
	.folds_keys = true,
	.load = cdb_load,
	.lookup = cdb_lookup,
	.each = cdb_each,
	.unload = cdb_unload,
};
