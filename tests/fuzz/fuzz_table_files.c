/*
 * cdb and lmdb files with anything in them: a lookup and a listing end, with an answer or an error.
 *
 * The first byte chooses the format. LMDB's pages are large and mostly the same, so the input may
 * also be changes to a file that is good: with bit 1 of the first byte, triples (page and offset,
 * byte) are put into a small tree with a branch, leaves and an overflow page.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/table/pagefile.h"

#define PAGE_SIZE 512
#define PAGES     8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
visit(struct slice key, struct slice value, void *context)
{
	size_t *total = context;

	*total += key.length + value.length;
	return *total < 1000000;
}

static void
ask(const char *path, bool is_cdb, bool is_good)
{
	static const char *const keys[] = { "k", "key1", "m", "", "zzz" };
	struct error             error = ERROR_NONE;
	struct cdb_file         *cdb = is_cdb ? cdb_file_open(path, &error) : NULL;
	struct lmdb_file        *lmdb = is_cdb ? NULL : lmdb_file_open(path, &error);
	struct buf               value = BUF(2000000);
	size_t                   total = 0;

	if (cdb == NULL && lmdb == NULL) {
		assert(error.text[0] != '\0');
		return;
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct slice key = slice_from(keys[i]);

		error = ERROR_NONE;
		enum lookup answer = is_cdb ? cdb_file_get(cdb, key, &value, &error)
		                            : lmdb_file_get(lmdb, key, &value, &error);
		if (answer == LOOKUP_TRY_LATER)
			assert(error.text[0] != '\0');
		/* So that what is changed below is a file that would work. */
		assert(!is_good || (answer == LOOKUP_FOUND) == (i < 3));
	}
	error = ERROR_NONE;
	if (!(is_cdb ? cdb_file_each(cdb, visit, &total, &error)
	             : lmdb_file_each(lmdb, visit, &total, &error)))
		assert(error.text[0] != '\0');
	cdb_file_close(cdb);
	lmdb_file_close(lmdb);
	buf_free(&value);
}

/* ---- a small good LMDB file ---- */

static void
put(unsigned char *at, uint64_t number, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (unsigned char)(number >> (8 * i));
}

static unsigned char *
page_start(unsigned char *file, unsigned number, unsigned flags, unsigned nodes)
{
	unsigned char *page = file + number * PAGE_SIZE;

	put(page, number, 8);
	put(page + 10, flags, 2);
	put(page + 12, 16 + 2 * nodes, 2);
	put(page + 14, PAGE_SIZE - 64 * nodes, 2);
	return page;
}

/* Nodes stand in the last 64-byte pieces of the page. */
static void
node_put(unsigned char *page, unsigned index, const char *key, uint64_t low, unsigned flags,
         struct slice value)
{
	size_t         at = PAGE_SIZE - 64 * (index + 1);
	unsigned char *node = page + at;

	put(page + 16 + 2 * index, at, 2);
	put(node, low, 4);
	put(node + 4, flags, 2);
	put(node + 6, strlen(key), 2);
	memcpy(node + 8, key, strlen(key));
	if (value.length > 0)
		memcpy(node + 8 + strlen(key), value.data, value.length);
}

static void
lmdb_make(unsigned char *file)
{
	unsigned char overflow[8] = { 6 };

	memset(file, 0, PAGE_SIZE * PAGES);
	for (unsigned i = 0; i < 2; i++) {
		unsigned char *meta = page_start(file, i, 8, 0);

		put(meta + 16, 0xBEEFC0DE, 4);
		put(meta + 20, 1, 4);
		put(meta + 40, PAGE_SIZE, 4);
		put(meta + 128, 3, 8);
		put(meta + 144, i + 1, 8);
	}
	unsigned char *branch = page_start(file, 3, 1, 2);
	node_put(branch, 0, "", 4, 0, SLICE_EMPTY);
	node_put(branch, 1, "m", 5, 0, SLICE_EMPTY);
	unsigned char *left = page_start(file, 4, 2, 2);
	node_put(left, 0, "k", 5, 0, SLICE("value"));
	node_put(left, 1, "key1", 900, 1, slice_of((const char *)overflow, 8));
	unsigned char *right = page_start(file, 5, 2, 1);
	node_put(right, 0, "m", 1, 0, SLICE("x"));
	put(page_start(file, 6, 4, 0) + 12, 2, 4);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char file[PAGE_SIZE * PAGES];
	char          path[40];
	int           fd;

	if (size < 1 || size > 60000)
		return 0;
	struct slice bytes = slice_of((const char *)data + 1, size - 1);
	bool         is_good = data[0] == 2 && size == 1;
	if ((data[0] & 2) != 0) {
		lmdb_make(file);
		for (size_t i = 0; i + 2 < bytes.length; i += 3) {
			size_t at = ((size_t)(unsigned char)bytes.data[i] << 8) |
			            (unsigned char)bytes.data[i + 1];
			file[at % sizeof(file)] = (unsigned char)bytes.data[i + 2];
		}
		bytes = slice_of((const char *)file, sizeof(file));
	}
	fd = memfd_create("table", MFD_CLOEXEC);
	if (fd < 0 || write(fd, bytes.data, bytes.length) != (ssize_t)bytes.length)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ask(path, (data[0] & 3) == 0, is_good);
	close(fd);
	return 0;
}
