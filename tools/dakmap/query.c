/* query.c - dakmap -q and -s. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/table/textlines.h"
#include "tools/dakmap/dakmap.h"

static int
query_one(const struct options *options, struct table *table, struct slice key, bool with_key)
{
	struct buf   value = BUF(TEXTLINES_LINE_MOST);
	struct error error = ERROR_NONE;
	enum lookup  answer = table_lookup(table, key, &value, &error);

	if (answer == LOOKUP_TRY_LATER)
		complain(options, "fatal", "%s", error.text);
	if (answer == LOOKUP_FOUND && with_key)
		printf("%.*s\t%.*s\n", SLICE_ARGS(key), SLICE_ARGS(buf_slice(&value)));
	else if (answer == LOOKUP_FOUND)
		printf("%.*s\n", SLICE_ARGS(buf_slice(&value)));
	buf_free(&value);
	return answer == LOOKUP_FOUND ? EXIT_DONE : EXIT_NOT_FOUND;
}

/* A line of standard input each; 0 when one was found. */
static int
query_stdin(const struct options *options, struct table *table)
{
	char  *line = NULL;
	size_t size = 0;
	int    status = EXIT_NOT_FOUND;

	for (;;) {
		ssize_t length = getline(&line, &size, stdin);

		if (length < 0)
			break;
		struct slice key = slice_of(line, (size_t)length);
		if (slice_ends_with(key, SLICE("\n")))
			key.length--;
		if (query_one(options, table, key, true) == EXIT_DONE)
			status = EXIT_DONE;
	}
	free(line);
	return status;
}

int
query_map(const struct options *options, const struct map *map)
{
	struct error  error = ERROR_NONE;
	struct table *table = table_open(map->spec, false, &error);

	if (table == NULL) {
		complain(options, "fatal", "%s", error.text);
		return EXIT_TROUBLE;
	}
	int status = strcmp(options->query, "-") == 0
	                     ? query_stdin(options, table)
	                     : query_one(options, table, slice_from(options->query), false);
	table_close(&table);
	return status;
}

static bool
print_entry(struct slice key, struct slice value, void *context)
{
	(void)context;
	return printf("%.*s\t%.*s\n", SLICE_ARGS(key), SLICE_ARGS(value)) >= 0;
}

int
dump_map(const struct options *options, const struct map *map)
{
	struct error     error = ERROR_NONE;
	char             path[4096];
	struct database *database = NULL;

	if (strcmp(map->type, "hash") != 0 && strcmp(map->type, "btree") != 0)
		error_set(&error, "%s: only hash: and btree: tables can be listed", map->spec);
	else if (snprintf(path, sizeof(path), "%s.db", map->path) >= (int)sizeof(path))
		error_set(&error, "%s: the path is too long", map->spec);
	else
		database = database_open(path, &error);
	bool is_good = database != NULL && database_each(database, print_entry, NULL, &error);
	database_close(&database, NULL);
	if (!is_good)
		complain(options, "fatal", "%s", error.text);
	return is_good ? EXIT_DONE : EXIT_TROUBLE;
}
