/*
 * Text tables: whatever a file says, opening gives a table or an error, and lookups end.
 *
 * The first byte chooses the type, the line after it is the key, the rest is the file.
 */
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/table/table.h"
#include "lib/table/textlines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
ask(struct table *table, struct slice key)
{
	struct buf   value = BUF(100000);
	struct error error = ERROR_NONE;

	if (table_lookup(table, key, &value, &error) == LOOKUP_TRY_LATER)
		assert(error.text[0] != '\0');
	buf_free(&value);
}

static void
try_file(const char *type, struct slice key, struct slice text)
{
	char         spec[64];
	struct error error = ERROR_NONE;
	int          fd = memfd_create("table", MFD_CLOEXEC);

	if (fd < 0 || write(fd, text.data, text.length) != (ssize_t)text.length)
		abort();
	snprintf(spec, sizeof(spec), "%s:/proc/self/fd/%d", type, fd);
	struct table *table = table_open(spec, false, &error);
	if (table != NULL) {
		ask(table, key);
		ask(table, SLICE("192.0.2.1"));
		ask(table, SLICE(""));
	} else {
		assert(error.text[0] != '\0');
	}
	table_close(&table);
	close(fd);
}

static void
try_inline(const char *type, struct slice key, struct slice text)
{
	char        *spec = malloc(text.length + 20);
	struct error error = ERROR_NONE;

	snprintf(spec, text.length + 20, "%s:{%.*s}", type, (int)text.length, text.data);
	struct table *table = table_open(spec, false, &error);
	if (table != NULL)
		ask(table, key);
	table_close(&table);
	free(spec);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const file_types[] = { "texthash", "cidr", "regexp", "pcre" };
	static const char *const inline_types[] = { "inline", "cidr", "regexp", "pcre", "randmap" };
	struct slice             rest = slice_of((const char *)data, size), key;

	if (size < 2 || size > 20000)
		return 0;
	unsigned choice = data[0];
	rest = slice_from_offset(rest, 1);
	if (!slice_next_part(&rest, '\n', &key) || rest.data == NULL)
		return 0;
	if (choice % 2 == 0)
		try_file(file_types[choice / 2 % 4], key, rest);
	else if (memchr(rest.data, 0, rest.length) == NULL)
		try_inline(inline_types[choice / 2 % 5], key, rest);
	return 0;
}
