/* query.c - dakmap -q and -s. */
#include <stdlib.h>

#include "lib/base/encode.h"
#include "lib/base/json.h"
#include "lib/table/textlines.h"
#include "tools/dakmap/dakmap.h"

/* ---- output ---- */

/* postalias puts a colon behind names. */
static void
entry_print(const struct options *options, struct slice key, struct slice value)
{
	if (options->is_json) {
		struct buf text = BUF(16 * TEXTLINES_LINE_MOST);

		buf_append_byte(&text, '{');
		json_append_string(&text, key);
		buf_append_text(&text, ": ");
		json_append_string(&text, value);
		puts(buf_append_byte(&text, '}') ? buf_text(&text) : "{}");
		buf_free(&text);
		return;
	}
	fwrite(key.data, 1, key.length, stdout);
	fputs(options->is_alias ? ":\t" : "\t", stdout);
	fwrite(value.data, 1, value.length, stdout);
	putchar('\n');
}

/* ---- asking ---- */

struct question {
	const struct options *options;
	const struct map     *maps;
	size_t                count;
	struct table        **tables; /* opened when they are needed first */
	struct buf            value, file;
	bool                  has_failed, has_found;
};

static struct table *
table_of(struct question *question, size_t index)
{
	struct error error = ERROR_NONE;

	if (question->tables[index] != NULL)
		return question->tables[index];
	question->tables[index] = table_open(question->maps[index].spec, false, &error);
	if (question->tables[index] == NULL)
		complain(question->options, "fatal", "%s", error.text);
	else if (question->options->keeps_case)
		table_keep_case(question->tables[index]);
	return question->tables[index];
}

/* -F: the files' content instead of its base64. */
static bool
value_decode(struct question *question, const struct map *map)
{
	if (!question->options->takes_files)
		return true;
	question->file = BUF(TEXTLINES_LINE_MOST);
	bool is_good = base64_decode(buf_slice(&question->value), &question->file);
	buf_clear(&question->value);
	if (is_good)
		buf_append(&question->value, buf_slice(&question->file));
	else
		complain(question->options, "fatal",
		         "%s: the value is not in base64 (was the table built with -F?)",
		         map->spec);
	buf_free(&question->file);
	return is_good;
}

/* The first table that knows the key answers; one that fails ends it, since it might know. */
static enum lookup
key_find(struct question *question, struct slice key)
{
	for (size_t i = 0; i < question->count; i++) {
		struct error  error = ERROR_NONE;
		struct table *table = table_of(question, i);

		if (table == NULL)
			return LOOKUP_TRY_LATER;
		enum lookup answer = table_lookup(table, key, &question->value, &error);
		if (answer == LOOKUP_TRY_LATER)
			complain(question->options, "fatal", "%s", error.text);
		if (answer == LOOKUP_FOUND && !value_decode(question, &question->maps[i]))
			return LOOKUP_TRY_LATER;
		if (answer == LOOKUP_FOUND && question->value.length == 0)
			complain(question->options, "warning",
			         "table %s: key %.*s: empty string result is not allowed",
			         question->maps[i].spec, SLICE_ARGS(key));
		if (answer != LOOKUP_NOT_FOUND)
			return answer;
	}
	return LOOKUP_NOT_FOUND;
}

static bool
ask_one_of_many(struct slice key, void *context)
{
	struct question *question = context;

	if (slice_is_empty(key))
		return true;
	switch (key_find(question, key)) {
	case LOOKUP_FOUND:
		question->has_found = true;
		entry_print(question->options, key, buf_slice(&question->value));
		return true;
	case LOOKUP_NOT_FOUND: return true;
	case LOOKUP_TRY_LATER: question->has_failed = true; return false;
	}
	return false;
}

static void
ask_each_line(struct question *question)
{
	char   *line = NULL;
	size_t  size = 0;
	ssize_t length;
	bool    goes_on = true;

	while (goes_on && (length = getline(&line, &size, stdin)) >= 0) {
		struct slice key = slice_of(line, (size_t)length);

		if (slice_ends_with(key, SLICE("\n")))
			key.length--;
		goes_on = ask_one_of_many(key, question);
	}
	free(line);
}

static void
ask_one(struct question *question, struct slice key)
{
	switch (key_find(question, key)) {
	case LOOKUP_FOUND: question->has_found = true; break;
	case LOOKUP_NOT_FOUND: return;
	case LOOKUP_TRY_LATER: question->has_failed = true; return;
	}
	if (question->options->is_json) {
		entry_print(question->options, key, buf_slice(&question->value));
		return;
	}
	fwrite(question->value.data, 1, question->value.length, stdout);
	/* A file comes out byte for byte. */
	if (!question->options->takes_files)
		putchar('\n');
}

int
query_maps(const struct options *options, const struct map *maps, size_t count)
{
	struct question question = { .options = options,
		                     .maps = maps,
		                     .count = count,
		                     .tables = calloc(count + 1, sizeof(struct table *)),
		                     .value = BUF(TEXTLINES_LINE_MOST) };

	if (question.tables == NULL) {
		complain(options, "fatal", "out of memory");
		return EXIT_TROUBLE;
	}
	if (strcmp(options->argument, "-") != 0)
		ask_one(&question, slice_from(options->argument));
	else if (options->asks_headers || options->asks_body)
		message_each_key(options, stdin, ask_one_of_many, &question);
	else
		ask_each_line(&question);
	for (size_t i = 0; i < count; i++)
		table_close(&question.tables[i]);
	free(question.tables);
	buf_free(&question.value);
	return question.has_failed ? EXIT_TROUBLE : question.has_found ? EXIT_DONE : EXIT_NOT_FOUND;
}

/* ---- listing ---- */

static bool
print_entry(struct slice key, struct slice value, void *context)
{
	entry_print(context, key, value);
	return !ferror(stdout);
}

int
dump_map(const struct options *options, const struct map *map)
{
	struct error    error = ERROR_NONE;
	struct table   *table = table_open(map->spec, false, &error);
	struct options *context = (struct options *)(uintptr_t)options;
	bool            is_good = table != NULL && table_each(table, print_entry, context, &error);

	table_close(&table);
	if (!is_good)
		complain(options, "fatal", "%s", error.text);
	return is_good ? EXIT_DONE : EXIT_TROUBLE;
}
