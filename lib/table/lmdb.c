/*
 * lmdb.c - LMDB files, read; and the type lmdb.
 *
 * LMDB's own reader wants to write a lock file and follows what a page says; here a daemon may not
 * write and a page may be anything. The format (data version 1, 64-bit): two meta pages, of which
 * the one with the higher transaction counts; a B+ tree of branch and leaf pages; values that are
 * too large for a page on runs of overflow pages. Numbers are as the machine has them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/file.h"
#include "lib/table/pagefile.h"
#include "lib/table/type.h"

#define MAGIC         0xBEEFC0DEu
#define VERSION       1u
#define PAGE_LEAST    512u
#define PAGE_MOST     65536u
#define PAGE_HEADER   16u
#define NODE_HEADER   8u
#define DEPTH_MOST    32
#define TRIES_MOST    100 /* of a lookup while somebody writes */
#define VALUE_MOST    ((size_t)1 << 20)
#define META_SIZE     136u
#define NO_ROOT       UINT64_MAX
#define PAGE_BRANCH   0x01u
#define PAGE_LEAF     0x02u
#define PAGE_OVERFLOW 0x04u
#define NODE_BIGDATA  0x01u
#define NODE_SPECIAL  0x06u /* sub-database or duplicates: not in tables of ours */

/* Where things stand in a meta page, behind the page header. */
#define META_MAGIC     16u
#define META_VERSION   20u
#define META_PAGE_SIZE 40u  /* md_pad of the free list */
#define META_ROOT      128u /* md_root of the main tree */
#define META_TXN       144u

struct lmdb_file {
	int      fd;
	char    *path;
	uint32_t page_size;
};

static uint16_t
number16(const unsigned char *at)
{
	uint16_t number;

	memcpy(&number, at, sizeof(number));
	return number;
}

static uint32_t
number32(const unsigned char *at)
{
	uint32_t number;

	memcpy(&number, at, sizeof(number));
	return number;
}

static uint64_t
number64(const unsigned char *at)
{
	uint64_t number;

	memcpy(&number, at, sizeof(number));
	return number;
}

static bool
damaged(const struct lmdb_file *file, struct error *error)
{
	error_set(error, "read %s: the file is damaged; build it anew with dakmap", file->path);
	if (error != NULL)
		error->errno_value = EIO;
	return false;
}

static bool
bytes_read(const struct lmdb_file *file, void *out, size_t length, uint64_t position,
           struct error *error)
{
	if (position > INT64_MAX - length)
		return damaged(file, error);
	ssize_t got = file_read_at(file->fd, out, length, (int64_t)position);
	if (got < 0)
		return error_set_errno(error, "read %s", file->path);
	return (size_t)got == length || damaged(file, error);
}

/* ---- pages ---- */

struct page {
	unsigned char *bytes; /* page_size */
	uint32_t       size;
	uint32_t       nodes;
	unsigned       flags;
};

static bool
page_read(const struct lmdb_file *file, uint64_t number, struct page *page, struct error *error)
{
	uint32_t lower;

	if (number < 2 || number > INT64_MAX / file->page_size)
		return damaged(file, error);
	if (!bytes_read(file, page->bytes, file->page_size, number * file->page_size, error))
		return false;
	page->size = file->page_size;
	page->flags = number16(page->bytes + 10);
	lower = number16(page->bytes + 12);
	/* A writer that recycles the page at this moment is seen here, too. */
	if (number64(page->bytes) != number || lower < PAGE_HEADER || lower > page->size ||
	    (page->flags & (PAGE_BRANCH | PAGE_LEAF)) == 0)
		return damaged(file, error);
	page->nodes = (lower - PAGE_HEADER) / 2;
	return true;
}

struct node {
	struct slice key;
	uint64_t     child;    /* of a branch */
	struct slice value;    /* of a leaf, on the page */
	uint64_t     overflow; /* of a leaf: the first page of its value; 0: on the page */
	uint32_t     value_length;
};

static bool
node_read(const struct lmdb_file *file, const struct page *page, uint32_t index, struct node *node,
          struct error *error)
{
	uint32_t             at = number16(page->bytes + PAGE_HEADER + index * 2);
	const unsigned char *start;
	unsigned             flags;

	/* From 4 KB pages on LMDB counts from the page's start, also with 64 KB. */
	if (at < PAGE_HEADER || at + NODE_HEADER > page->size)
		return damaged(file, error);
	start = page->bytes + at;
	flags = number16(start + 4);
	uint32_t key_length = number16(start + 6);
	uint32_t room = page->size - at - NODE_HEADER;
	if (key_length > room)
		return damaged(file, error);
	*node = (struct node){ .key = slice_of((const char *)start + NODE_HEADER, key_length) };
	if ((page->flags & PAGE_BRANCH) != 0) {
		node->child = (uint64_t)number16(start) | (uint64_t)number16(start + 2) << 16 |
		              (uint64_t)flags << 32;
		return true;
	}
	node->value_length = (uint32_t)number16(start) | (uint32_t)number16(start + 2) << 16;
	if ((flags & NODE_SPECIAL) != 0)
		return damaged(file, error);
	if ((flags & NODE_BIGDATA) != 0) {
		if (room - key_length < 8)
			return damaged(file, error);
		node->overflow = number64(start + NODE_HEADER + key_length);
		return node->overflow >= 2 || damaged(file, error);
	}
	if (node->value_length > room - key_length)
		return damaged(file, error);
	node->value = slice_of((const char *)start + NODE_HEADER + key_length, node->value_length);
	return true;
}

static bool
value_append(const struct lmdb_file *file, const struct node *node, struct buf *value,
             struct error *error)
{
	unsigned char header[PAGE_HEADER];
	uint64_t      position = node->overflow * file->page_size;

	if (node->value_length > VALUE_MOST + 1 ||
	    !buf_reserve(value, (size_t)node->value_length + 1))
		return error_set(error, "read %s: the value is too long", file->path);
	if (node->overflow == 0)
		return buf_append(value, node->value);
	if (node->overflow > INT64_MAX / file->page_size)
		return damaged(file, error);
	if (!bytes_read(file, header, sizeof(header), position, error))
		return false;
	if (number64(header) != node->overflow || (number16(header + 10) & PAGE_OVERFLOW) == 0)
		return damaged(file, error);
	if (!bytes_read(file, value->data + value->length, node->value_length,
	                position + PAGE_HEADER, error))
		return false;
	value->length += node->value_length;
	return true;
}

/* ---- the file ---- */

/* A finished transaction, and the root of its tree; NO_ROOT when it is empty. */
struct version {
	uint64_t transaction, root;
};

static bool
version_read(const struct lmdb_file *file, struct version *version, struct error *error)
{
	unsigned char meta[META_SIZE + PAGE_HEADER];
	bool          has_any = false;

	for (unsigned i = 0; i < 2; i++) {
		if (!bytes_read(file, meta, sizeof(meta), (uint64_t)i * file->page_size, error))
			return false;
		if (number32(meta + META_MAGIC) != MAGIC ||
		    number32(meta + META_VERSION) != VERSION)
			return damaged(file, error);
		uint64_t transaction = number64(meta + META_TXN);
		if (has_any && transaction <= version->transaction)
			continue;
		has_any = true;
		version->transaction = transaction;
		version->root = number64(meta + META_ROOT);
	}
	return true;
}

/*
 * Whether a writer finished a transaction since: what was read may be of pages used anew. LMDB uses
 * the pages of a version anew only after two more transactions, so an unchanged version proves that
 * what was read is whole.
 */
static bool
version_has_changed(const struct lmdb_file *file, const struct version *before)
{
	struct version now = { 0, 0 };

	return version_read(file, &now, NULL) &&
	       (now.transaction != before->transaction || now.root != before->root);
}

struct lmdb_file *
lmdb_file_open(const char *path, struct error *error)
{
	unsigned char     meta[META_SIZE + PAGE_HEADER];
	struct lmdb_file *file = calloc(1, sizeof(*file));

	if (file == NULL || (file->path = strdup(path)) == NULL) {
		error_set(error, "out of memory");
		free(file);
		return NULL;
	}
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (file->fd < 0) {
		error_set_errno(error, "open %s", path);
	} else if (bytes_read(file, meta, sizeof(meta), 0, error)) {
		file->page_size = number32(meta + META_PAGE_SIZE);
		if (number32(meta + META_MAGIC) == MAGIC &&
		    number32(meta + META_VERSION) == VERSION && file->page_size >= PAGE_LEAST &&
		    file->page_size <= PAGE_MOST && (file->page_size & (file->page_size - 1)) == 0)
			return file;
		damaged(file, error);
	}
	lmdb_file_close(file);
	return NULL;
}

void
lmdb_file_close(struct lmdb_file *file)
{
	if (file == NULL)
		return;
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	free(file);
}

/* ---- searching ---- */

/* The first node at or from `from` whose key is not below the key. */
static bool
page_search(const struct lmdb_file *file, const struct page *page, uint32_t from, struct slice key,
            uint32_t *index, bool *is_same, struct error *error)
{
	uint32_t low = from, high = page->nodes;

	*is_same = false;
	while (low < high) {
		uint32_t    middle = low + (high - low) / 2;
		struct node node;

		if (!node_read(file, page, middle, &node, error))
			return false;
		int order = slice_compare(key, node.key);
		if (order > 0) {
			low = middle + 1;
			continue;
		}
		*is_same = *is_same || order == 0;
		high = middle;
	}
	*index = low;
	return true;
}

static enum lookup
key_find(const struct lmdb_file *file, uint64_t root, struct slice key, struct page *page,
         struct buf *value, struct error *error)
{
	uint64_t    number = root;
	struct node node;
	uint32_t    index;
	bool        is_same;

	for (unsigned depth = 0; depth < DEPTH_MOST; depth++) {
		if (!page_read(file, number, page, error))
			return LOOKUP_TRY_LATER;
		bool is_leaf = (page->flags & PAGE_LEAF) != 0;
		/* The first key of a branch page is empty and means "everything below". */
		if (!page_search(file, page, is_leaf ? 0 : 1, key, &index, &is_same, error))
			return LOOKUP_TRY_LATER;
		if (is_leaf && !is_same)
			return LOOKUP_NOT_FOUND;
		if (!is_leaf && !is_same)
			index--;
		if (index >= page->nodes) {
			damaged(file, error);
			return LOOKUP_TRY_LATER;
		}
		if (!node_read(file, page, index, &node, error))
			return LOOKUP_TRY_LATER;
		if (is_leaf)
			return value_append(file, &node, value, error) ? LOOKUP_FOUND
			                                               : LOOKUP_TRY_LATER;
		number = node.child;
	}
	damaged(file, error);
	return LOOKUP_TRY_LATER;
}

static enum lookup
version_get(const struct lmdb_file *file, const struct version *version, struct slice key,
            struct page *page, struct buf *value, struct error *error)
{
	char        with_nul[TABLE_KEY_MOST + 1];
	enum lookup answer;

	if (version->root == NO_ROOT)
		return LOOKUP_NOT_FOUND;
	if (key.length > 0)
		memcpy(with_nul, key.data, key.length);
	with_nul[key.length] = '\0';
	answer = key_find(file, version->root, slice_of(with_nul, key.length + 1), page, value,
	                  error);
	if (answer == LOOKUP_NOT_FOUND && key.length > 0)
		answer = key_find(file, version->root, key, page, value, error);
	return answer;
}

enum lookup
lmdb_file_get(const struct lmdb_file *file, struct slice key, struct buf *value,
              struct error *error)
{
	struct page page = { .bytes = malloc(file->page_size) };
	enum lookup answer = LOOKUP_TRY_LATER;
	bool        is_whole = false;

	if (page.bytes == NULL)
		error_set(error, "out of memory");
	for (unsigned i = 0; i < TRIES_MOST && page.bytes != NULL && !is_whole; i++) {
		struct version version = { 0, NO_ROOT };

		buf_clear(value);
		answer = LOOKUP_TRY_LATER;
		if (key.length > TABLE_KEY_MOST)
			answer = LOOKUP_NOT_FOUND;
		else if (version_read(file, &version, error))
			answer = version_get(file, &version, key, &page, value, error);
		is_whole = !version_has_changed(file, &version);
	}
	free(page.bytes);
	if (page.bytes != NULL && !is_whole) {
		error_set(error, "read %s: it changes faster than it can be read", file->path);
		answer = LOOKUP_TRY_LATER;
	}
	if (answer == LOOKUP_FOUND && value->length > 0 && value->data[value->length - 1] == '\0')
		value->length--;
	if (answer == LOOKUP_TRY_LATER)
		buf_clear(value);
	return answer;
}

/* ---- all entries ---- */

static struct slice
without_nul(struct slice bytes)
{
	if (bytes.length > 0 && bytes.data[bytes.length - 1] == '\0')
		bytes.length--;
	return bytes;
}

struct walk {
	const struct lmdb_file *file;
	table_visit            *visit;
	void                   *context;
	struct buf              value;
	bool                    goes_on;
	uint64_t                pages_left; /* a damaged tree may be a circle */
};

static bool
leaf_visit(struct walk *walk, const struct page *page, struct error *error)
{
	for (uint32_t i = 0; i < page->nodes && walk->goes_on; i++) {
		struct node node;

		buf_clear(&walk->value);
		if (!node_read(walk->file, page, i, &node, error) ||
		    !value_append(walk->file, &node, &walk->value, error))
			return false;
		walk->goes_on = walk->visit(without_nul(node.key),
		                            without_nul(buf_slice(&walk->value)), walk->context);
	}
	return true;
}

/* Down the leftmost way not yet gone; at[] is the next node of each page on the way. */
static bool
tree_walk(struct walk *walk, uint64_t root, struct page *page, struct error *error)
{
	uint64_t numbers[DEPTH_MOST] = { root };
	uint32_t at[DEPTH_MOST] = { 0 };
	size_t   depth = 1;

	while (depth > 0 && walk->goes_on) {
		struct node node;

		if (walk->pages_left-- == 0)
			return damaged(walk->file, error);
		if (!page_read(walk->file, numbers[depth - 1], page, error))
			return false;
		bool is_leaf = (page->flags & PAGE_LEAF) != 0;
		if (is_leaf && !leaf_visit(walk, page, error))
			return false;
		if (is_leaf || at[depth - 1] >= page->nodes) {
			depth--;
			continue;
		}
		if (depth == DEPTH_MOST)
			return damaged(walk->file, error);
		if (!node_read(walk->file, page, at[depth - 1]++, &node, error))
			return false;
		numbers[depth] = node.child;
		at[depth++] = 0;
	}
	return true;
}

bool
lmdb_file_each(const struct lmdb_file *file, table_visit *visit, void *context, struct error *error)
{
	struct walk    walk = { .file = file,
		                .visit = visit,
		                .context = context,
		                .value = BUF(VALUE_MOST + 2),
		                .goes_on = true };
	struct page    page = { .bytes = malloc(file->page_size) };
	struct version version = { 0, NO_ROOT };
	struct stat    status;
	bool           is_good = false;

	if (page.bytes == NULL)
		error_set(error, "out of memory");
	else if (fstat(file->fd, &status) != 0)
		error_set_errno(error, "read %s", file->path);
	else if (version_read(file, &version, error)) {
		/* Each branch is read once for each of its children. */
		walk.pages_left = (uint64_t)status.st_size / file->page_size * 4 + DEPTH_MOST;
		is_good = version.root == NO_ROOT || tree_walk(&walk, version.root, &page, error);
	}
	free(page.bytes);
	buf_free(&walk.value);
	return is_good;
}

/* ---- the type ---- */

static void *
lmdb_load(const char *name, const char *path, struct error *error)
{
	(void)name;
	return lmdb_file_open(path, error);
}

static enum lookup
lmdb_lookup(void *content, struct slice key, struct buf *value, struct error *error)
{
	return lmdb_file_get(content, key, value, error);
}

static bool
lmdb_each(void *content, table_visit *visit, void *context, struct error *error)
{
	return lmdb_file_each(content, visit, context, error);
}

static void
lmdb_unload(void *content)
{
	lmdb_file_close(content);
}

const struct table_type table_type_lmdb = {
	.name = "lmdb",
	.suffix = ".lmdb",
	.folds_keys = true,
	.load = lmdb_load,
	.lookup = lmdb_lookup,
	.each = lmdb_each,
	.unload = lmdb_unload,
};
