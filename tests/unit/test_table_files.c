/* Files that dakmap builds: every kind written, read, listed; damaged ones are errors, no crashes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/file.h"
#include "lib/table/build.h"
#include "lib/table/pagefile.h"

#define ENTRIES 400

static char directory[] = "/tmp/dakiya-test-files-XXXXXX";

static const char *const types[] = { "hash", "btree", "lmdb", "cdb" };
#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))

static int
directory_make(void **state)
{
	(void)state;
	return mkdtemp(directory) == NULL;
}

static int
directory_remove(void **state)
{
	(void)state;
	return rmdir(directory);
}

/* Values of all sizes, also larger than a page. */
static void
entry_of(unsigned number, char *key, struct buf *value)
{
	snprintf(key, 40, "key%u@example.org", number);
	buf_clear(value);
	buf_append_format(value, "value %u ", number);
	for (unsigned i = 0; i < (number * 37) % 9000; i++)
		buf_append_byte(value, 'x');
}

static const char *
build(const char *type, unsigned count, bool without_nul)
{
	static char         path[120];
	const char         *suffix = "";
	struct build_target target = { .path = path,
		                       .mode = 0640,
		                       .uid = (uid_t)-1,
		                       .gid = (gid_t)-1,
		                       .without_nul = without_nul };
	struct error        error = ERROR_NONE;
	struct buf          value = BUF(10000);
	char                key[40];

	assert_true(table_build_kind(type, &target.kind, &suffix));
	snprintf(path, sizeof(path), "%s/t%s", directory, suffix);
	struct table_build *made = table_build_start(&target, &error);
	assert_non_null(made);
	for (unsigned i = 0; i < count; i++) {
		entry_of(i, key, &value);
		assert_int_equal(table_build_add(made, slice_from(key), buf_slice(&value), &error),
		                 LOOKUP_NOT_FOUND);
	}
	if (count > 0) {
		entry_of(0, key, &value);
		assert_int_equal(table_build_add(made, slice_from(key), SLICE("other"), &error),
		                 LOOKUP_FOUND);
		assert_true(table_build_replace(made, SLICE("twice"), SLICE("1"), &error));
		assert_true(table_build_replace(made, SLICE("twice"), SLICE("2"), &error));
	}
	assert_true(table_build_commit(&made, &error));
	buf_free(&value);
	return path;
}

static struct table *
open_built(const char *type)
{
	char         spec[150];
	struct error error = ERROR_NONE;

	snprintf(spec, sizeof(spec), "%s:%s/t", type, directory);
	struct table *table = table_open(spec, false, &error);
	if (table == NULL)
		fail_msg("%s", error.text);
	return table;
}

static bool
count_entry(struct slice key, struct slice value, void *context)
{
	unsigned *count = context;

	assert_true(key.length > 0 && value.length > 0);
	assert_int_not_equal(key.data[key.length - 1], 0);
	++*count;
	return true;
}

static void
every_kind_is_written_read_and_listed(void **state)
{
	(void)state;
	for (size_t t = 0; t < TYPE_COUNT * 2; t++) {
		const char   *type = types[t / 2];
		const char   *path = build(type, ENTRIES, t % 2 == 1);
		struct table *table = open_built(type);
		struct buf    value = BUF(10000), want = BUF(10000);
		struct error  error = ERROR_NONE;
		struct stat   status;
		char          key[40];
		unsigned      count = 0;

		for (unsigned i = 0; i < ENTRIES; i++) {
			entry_of(i, key, &want);
			key[0] = 'K';
			assert_int_equal(table_lookup(table, slice_from(key), &value, &error),
			                 LOOKUP_FOUND);
			assert_true(slice_equal(buf_slice(&value), buf_slice(&want)));
		}
		assert_int_equal(table_lookup(table, SLICE("twice"), &value, &error), LOOKUP_FOUND);
		assert_string_equal(buf_text(&value), "2");
		for (unsigned i = ENTRIES; i < 2 * ENTRIES; i++) {
			entry_of(i, key, &want);
			assert_int_equal(table_lookup(table, slice_from(key), &value, &error),
			                 LOOKUP_NOT_FOUND);
		}
		assert_int_equal(table_lookup(table, SLICE(""), &value, &error), LOOKUP_NOT_FOUND);
		assert_true(table_each(table, count_entry, &count, &error));
		assert_int_equal(count, ENTRIES + 1);
		assert_int_equal(stat(path, &status), 0);
		assert_int_equal(status.st_mode & 0777, 0640);
		table_close(&table);
		buf_free(&value);
		buf_free(&want);
		unlink(path);
	}
}

static void
empty_files_have_nothing(void **state)
{
	(void)state;
	for (size_t t = 0; t < TYPE_COUNT; t++) {
		const char   *path = build(types[t], 0, false);
		struct table *table = open_built(types[t]);
		struct buf    value = BUF(100);
		unsigned      count = 0;

		assert_int_equal(table_lookup(table, SLICE("k"), &value, NULL), LOOKUP_NOT_FOUND);
		assert_true(table_each(table, count_entry, &count, NULL));
		assert_int_equal(count, 0);
		table_close(&table);
		buf_free(&value);
		unlink(path);
	}
}

/* ---- damage ---- */

static void
file_write(const char *path, struct slice bytes)
{
	struct error error = ERROR_NONE;
	int          fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0 && file_write_all(fd, bytes, path, &error));
	close(fd);
}

static bool
count_anything(struct slice key, struct slice value, void *context)
{
	unsigned *count = context;

	*count += (unsigned)(key.length + value.length) % 7;
	return true;
}

/* A lookup in a damaged file ends, with any of the three answers; an error has words. */
static void
ask_damaged(const char *type)
{
	char          spec[150], key[40];
	struct error  error = ERROR_NONE;
	struct buf    value = BUF(10000), unused = BUF(10000);
	unsigned      count = 0;
	struct table *table;

	snprintf(spec, sizeof(spec), "%s:%s/t", type, directory);
	table = table_open(spec, false, &error);
	if (table == NULL)
		assert_true(error.text[0] != '\0');
	for (unsigned i = 0; i < 20 && table != NULL; i++) {
		error = ERROR_NONE;
		entry_of(i * 19, key, &unused);
		if (table_lookup(table, slice_from(key), &value, &error) == LOOKUP_TRY_LATER)
			assert_true(error.text[0] != '\0');
		assert_true(value.length < 10000);
	}
	if (table != NULL)
		table_each(table, count_anything, &count, &error);
	table_close(&table);
	buf_free(&value);
	buf_free(&unused);
}

static void
damage(const char *type)
{
	const char  *path = build(type, 60, false);
	struct buf   whole = BUF((size_t)1 << 24), broken = BUF((size_t)1 << 24);
	struct error error = ERROR_NONE;
	uint32_t     random = 12345;
	int          fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0 && file_read_all(fd, &whole, path, &error));
	close(fd);
	for (unsigned round = 0; round < 300; round++) {
		buf_clear(&broken);
		buf_append(&broken, buf_slice(&whole));
		/* Mostly where the structure is: near the front, or at page starts. */
		for (unsigned i = 0; i < 1 + round % 20; i++) {
			random = random * 1664525 + 1013904223;
			size_t at = (random >> 8) % broken.length;
			if (round % 3 == 0)
				at = at % 4096;
			else if (round % 3 == 1)
				at = at / 4096 * 4096 + at % 40;
			broken.data[at % broken.length] = (char)(random >> 3);
		}
		if (round % 7 == 6)
			buf_truncate(&broken, (random >> 5) % broken.length);
		file_write(path, buf_slice(&broken));
		ask_damaged(type);
	}
	unlink(path);
	buf_free(&whole);
	buf_free(&broken);
}

static void
damaged_lmdb_files_are_errors_at_most(void **state)
{
	(void)state;
	damage("lmdb");
}

static void
damaged_cdb_files_are_errors_at_most(void **state)
{
	(void)state;
	damage("cdb");
}

static void
a_file_that_is_none_says_so(void **state)
{
	const char *const names[] = { "t.lmdb", "t.cdb", "t.db" };
	const char *const read_as[] = { "lmdb", "cdb", "hash" };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char         path[120], spec[120];
		struct error error = ERROR_NONE;

		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		snprintf(spec, sizeof(spec), "%s:%s/t", read_as[i], directory);
		file_write(path, SLICE("key value\nthis is the text, not the table\n"));
		assert_null(table_open(spec, false, &error));
		assert_non_null(strstr(error.text, names[i]));
		unlink(path);
	}
}

static void
too_long_a_key_for_lmdb_is_named(void **state)
{
	char                long_key[600], path[120];
	struct build_target target = {
		.path = path, .kind = DATABASE_LMDB, .uid = (uid_t)-1, .gid = (gid_t)-1
	};
	struct error error = ERROR_NONE;

	(void)state;
	snprintf(path, sizeof(path), "%s/t.lmdb", directory);
	memset(long_key, 'k', sizeof(long_key));
	struct table_build *made = table_build_start(&target, &error);
	assert_non_null(made);
	assert_int_equal(table_build_add(made, slice_of(long_key, 600), SLICE("v"), &error),
	                 LOOKUP_TRY_LATER);
	assert_non_null(strstr(error.text, "longer than LMDB's"));
	table_build_abandon(&made);
	assert_int_equal(access(path, F_OK), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_is_written_read_and_listed),
		cmocka_unit_test(empty_files_have_nothing),
		cmocka_unit_test(damaged_lmdb_files_are_errors_at_most),
		cmocka_unit_test(damaged_cdb_files_are_errors_at_most),
		cmocka_unit_test(a_file_that_is_none_says_so),
		cmocka_unit_test(too_long_a_key_for_lmdb_is_named),
	};

	return cmocka_run_group_tests(tests, directory_make, directory_remove);
}
