/* entries.c - see entries.h: reading. */
#include "tools/dakconf/entries.h"

#include "lib/base/number.h"
#include "lib/conf/lines.h"
#include "lib/conf/mainfile.h"

#define WORDS_MOST 1000

const char *const entry_field_names[FIELD_COUNT] = {
	"service", "type",   "private",       "unprivileged",
	"chroot",  "wakeup", "process_limit", "command",
};

/* ---- words ---- */

static void
remark(struct buf *remarks, const char *what, struct slice text)
{
	if (remarks != NULL)
		buf_append_format(remarks, "master.cf: %s \"%.*s\"\n", what,
		                  SLICE_ARGS(slice_first(text, 200)));
}

/* Up to the brace that closes the one at the front; SLICE_NOT_FOUND when there is none. */
static size_t
closing_brace(struct slice text)
{
	size_t level = 0;

	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] == '{')
			level++;
		else if (text.data[i] == '}' && --level == 0)
			return i;
	}
	return SLICE_NOT_FOUND;
}

static size_t
word_length(struct slice text)
{
	size_t length = 0;

	while (length < text.length && !ascii_is_space(text.data[length]))
		length++;
	return length;
}

/* Cuts a word off *rest; braces around it are taken off, with the blanks inside them. */
static bool
take_word(struct slice *rest, struct slice *word, bool *was_braced, struct buf *remarks)
{
	*rest = slice_trim(*rest);
	*was_braced = rest->length > 0 && rest->data[0] == '{';
	if (rest->length == 0)
		return false;
	/* Braces right behind -o belong to the word. */
	if (slice_starts_with(*rest, SLICE("-o{"))) {
		size_t end = closing_brace(slice_from_offset(*rest, 2));

		*word = slice_first(*rest, end == SLICE_NOT_FOUND ? rest->length : end + 3);
		*rest = slice_from_offset(*rest, word->length);
		return true;
	}
	if (!*was_braced) {
		*word = slice_first(*rest, word_length(*rest));
		*rest = slice_from_offset(*rest, word->length);
		return true;
	}
	size_t end = closing_brace(*rest);
	if (end == SLICE_NOT_FOUND) {
		remark(remarks, "missing '}' in", *rest);
		*word = slice_trim(slice_from_offset(*rest, 1));
		*rest = SLICE_EMPTY;
		return true;
	}
	struct slice behind = slice_from_offset(*rest, end + 1);
	size_t       odd = word_length(behind);
	if (odd > 0)
		remark(remarks, "syntax error after '}' in", slice_first(*rest, end + 1 + odd));
	*word = slice_trim(slice_of(rest->data + 1, end - 1));
	*rest = slice_from_offset(behind, odd);
	return true;
}

/* ---- fields ---- */

static bool
is_flag(struct slice text)
{
	return text.length == 1 && strchr("yn-", text.data[0]) != NULL;
}

static bool
is_wakeup(struct slice text)
{
	int64_t number;

	if (text.length > 1 && text.data[text.length - 1] == '?')
		text.length--;
	return slice_equal(text, SLICE("-")) || number_parse(text, 0, INT32_MAX, &number);
}

static bool
is_limit(struct slice text)
{
	int64_t number;

	return slice_equal(text, SLICE("-")) || number_parse(text, 0, INT32_MAX, &number);
}

static bool
is_type(struct slice text)
{
	static const char *const types[] = { "inet", "unix", "unix-dgram", "fifo", "pass" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (slice_equal(text, slice_from(types[i])))
			return true;
	return false;
}

static bool
is_word(struct slice text)
{
	return text.length > 0 && text.data[0] != '#' && word_length(text) == text.length;
}

static bool (*const field_tests[FIELD_COUNT])(struct slice text) = {
	is_word, is_type, is_flag, is_flag, is_flag, is_wakeup, is_limit, is_word,
};

bool
entry_field_is_sound(enum entry_field field, struct slice text, struct slice line,
                     struct error *error)
{
	return field_tests[field](text) ||
	       error_set(error, "invalid %s field \"%.*s\" in \"%.*s\"", entry_field_names[field],
	                 SLICE_ARGS(slice_first(text, 100)), SLICE_ARGS(slice_first(line, 300)));
}

/* ---- arguments ---- */

/* "name = value" as "name=value"; what is neither stays as it is. */
static const char *
tidy_override(struct slice text, bool was_braced, struct arena *arena, struct buf *remarks)
{
	size_t       equals = slice_find_byte(text, '=');
	struct slice name = slice_trim(slice_first(text, equals));
	struct slice value =
		equals == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(text, equals + 1);

	if (was_braced && equals == SLICE_NOT_FOUND)
		remark(remarks, "missing '=' after attribute name:", text);
	else if (was_braced && slice_is_empty(name))
		remark(remarks, "missing attribute name:", text);
	else if (was_braced && word_length(name) < name.length)
		remark(remarks, "missing '=' after attribute name:", text);
	else if (was_braced)
		return arena_format(arena, "%.*s=%.*s", SLICE_ARGS(name),
		                    SLICE_ARGS(slice_trim(value)));
	return arena_text(arena, text);
}

static bool
push(struct entry *entry, const char *argument)
{
	return argument != NULL && ARRAY_PUSH(&entry->arguments, argument);
}

/* The program's own options come first; what stands behind them is the command's business. */
static bool
parse_arguments(struct slice rest, struct arena *arena, struct entry *entry, struct buf *remarks)
{
	struct slice word;
	bool         was_braced, are_options = true, is_good = true;

	while (is_good && take_word(&rest, &word, &was_braced, remarks)) {
		bool is_pair = are_options && !was_braced && slice_starts_with(word, SLICE("-o"));

		if (is_pair && word.length > 2) {
			struct slice pair = slice_from_offset(word, 2);

			was_braced = pair.data[0] == '{' && pair.data[pair.length - 1] == '}';
			if (was_braced)
				pair = slice_trim(slice_of(pair.data + 1, pair.length - 2));
			is_good = push(entry, "-o") &&
			          push(entry, tidy_override(pair, was_braced, arena, remarks));
		} else if (is_pair && take_word(&rest, &word, &was_braced, remarks)) {
			is_good = push(entry, "-o") &&
			          push(entry, tidy_override(word, was_braced, arena, remarks));
		} else {
			are_options &= word.length > 1 && word.data[0] == '-' && !was_braced &&
			               !slice_equal(word, SLICE("--"));
			is_good = push(entry, arena_text(arena, word));
		}
		if (are_options)
			entry->option_count = entry->arguments.count;
		is_good &= entry->arguments.count <= WORDS_MOST;
	}
	return is_good;
}

bool
entry_parse(struct slice line, struct arena *arena, struct entry *entry, struct buf *remarks,
            struct error *error)
{
	struct slice rest = line, word;
	bool         was_braced;

	*entry = (struct entry){ .option_count = 0 };
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		if (!take_word(&rest, &word, &was_braced, remarks))
			return error_set(error, "bad field count");
		if (!entry_field_is_sound((enum entry_field)i, word, line, error))
			return false;
		entry->fields[i] = arena_text(arena, word);
		if (entry->fields[i] == NULL)
			return error_set(error, "out of memory");
	}
	return parse_arguments(rest, arena, entry, remarks) ||
	       error_set(error, "too many words, or memory is out");
}

bool
entry_set_command(struct entry *entry, struct slice text, struct arena *arena, struct error *error)
{
	struct slice rest = text, word;
	bool         was_braced;

	ARRAY_FREE(&entry->arguments);
	entry->option_count = 0;
	if (!take_word(&rest, &word, &was_braced, NULL))
		word = SLICE_EMPTY;
	if (!entry_field_is_sound(FIELD_COMMAND, word, text, error))
		return false;
	entry->fields[FIELD_COMMAND] = arena_text(arena, word);
	return (entry->fields[FIELD_COMMAND] != NULL &&
	        parse_arguments(rest, arena, entry, NULL)) ||
	       error_set(error, "too many words, or memory is out");
}

void
entry_free(struct entry *entry)
{
	ARRAY_FREE(&entry->arguments);
}

/* ---- the file ---- */

static bool
parse_line(struct master_text *master, const struct lines *lines, struct slice line,
           struct error *error)
{
	struct entry entry;

	if (lines->is_orphan) {
		buf_append_format(&master->remarks,
		                  "%s: logical line must not start with whitespace: \"%.*s\"\n",
		                  master->path, SLICE_ARGS(slice_first(line, 200)));
		return true;
	}
	bool is_good = entry_parse(line, &master->arena, &entry, &master->remarks, error);
	if (!is_good && slice_equal(slice_from(error->text), SLICE("bad field count")))
		error_set(error, "file %s: line %u: bad field count", master->path,
		          lines->first_number);
	entry.first_byte = lines->first_offset;
	entry.end_byte = lines->end_offset;
	if (is_good && ARRAY_PUSH(&master->entries, entry))
		return true;
	entry_free(&entry);
	return is_good ? error_set(error, "out of memory") : false;
}

bool
master_text_parse(struct master_text *master, const char *path, struct slice text,
                  struct error *error)
{
	struct lines lines;
	struct slice line;
	bool         is_good = true;

	*master = (struct master_text){ .path = path,
		                        .arena = ARENA(64u * 1024 * 1024),
		                        .remarks = BUF(64u * 1024) };
	lines_init(&lines, text);
	while (is_good && lines_next(&lines, &line)) {
		is_good = lines.text.has_failed ? error_set(error, "file %s: line %u: too long",
		                                            path, lines.first_number)
		                                : parse_line(master, &lines, line, error);
	}
	lines_free(&lines);
	return is_good;
}

void
master_text_free(struct master_text *master)
{
	for (size_t i = 0; i < master->entries.count; i++)
		entry_free(&master->entries.items[i]);
	ARRAY_FREE(&master->entries);
	arena_reset(&master->arena);
	buf_free(&master->remarks);
}

/* ---- questions ---- */

bool
entry_override(const struct entry *entry, size_t at, struct slice *name, struct slice *value)
{
	if (at + 1 >= entry->option_count || strcmp(entry->arguments.items[at], "-o") != 0)
		return false;
	struct slice pair = slice_from(entry->arguments.items[at + 1]);
	size_t       equals = slice_find_byte(pair, '=');
	if (equals == SLICE_NOT_FOUND)
		return false;
	*name = slice_first(pair, equals);
	*value = slice_from_offset(pair, equals + 1);
	return parameter_name_is_sound(*name);
}

bool
entry_overrides(const struct entry *entry, struct values *values)
{
	struct slice name, value;

	for (size_t i = 0; i < entry->option_count; i++)
		if (entry_override(entry, i, &name, &value) &&
		    !values_set(values, name, value, NULL, 0, true))
			return false;
	return true;
}

bool
entry_scope(const struct entry *entry, struct values *values)
{
	return values_set(values, SLICE("service_name"), slice_from(entry->fields[FIELD_SERVICE]),
	                  NULL, 0, false) &&
	       values_set(values, SLICE("process_name"), slice_from(entry->fields[FIELD_COMMAND]),
	                  NULL, 0, false) &&
	       entry_overrides(entry, values);
}

static bool
fits(struct slice wanted, const char *text)
{
	return slice_equal(wanted, SLICE("*")) || slice_equal(wanted, slice_from(text));
}

bool
entry_matches(const struct entry *entry, struct slice service, struct slice type)
{
	return fits(service, entry->fields[FIELD_SERVICE]) &&
	       (slice_is_empty(type) || fits(type, entry->fields[FIELD_TYPE]));
}

/* ---- writing ---- */

#define LINE_MOST   79
#define INDENTATION "    "

struct folding {
	struct buf *out;
	bool        is_folded;
	size_t      column;
};

static void
append_word(struct folding *folding, const char *word, bool begins_line)
{
	struct slice text = slice_from(word);
	bool         is_braced = slice_is_empty(text) || word_length(text) < text.length;
	size_t       length = text.length + (is_braced ? 2 : 0);

	/* A line that holds its indentation only takes a word of any length. */
	if (folding->is_folded && (begins_line || (folding->column + 1 + length > LINE_MOST &&
	                                           folding->column > sizeof(INDENTATION) - 1))) {
		buf_append_text(folding->out, "\n" INDENTATION);
		folding->column = sizeof(INDENTATION) - 1;
	} else {
		buf_append_byte(folding->out, ' ');
		folding->column++;
	}
	buf_append_format(folding->out, is_braced ? "{%s}" : "%s", word);
	folding->column += length;
}

void
entry_append_command(const struct entry *entry, bool is_folded, size_t column, struct buf *out)
{
	struct folding folding = { out, is_folded, column };
	bool           follows_pair = false;

	buf_append_text(out, entry->fields[FIELD_COMMAND]);
	folding.column += strlen(entry->fields[FIELD_COMMAND]);
	for (size_t i = 0; i < entry->arguments.count; i++) {
		const char *const *argument = &entry->arguments.items[i];
		bool is_pair = i + 1 < entry->option_count && strcmp(*argument, "-o") == 0;

		append_word(&folding, *argument, is_pair || follows_pair);
		if (is_pair) {
			struct folding second = { out, false, folding.column };

			append_word(&second, argument[1], false);
			folding.column = second.column;
			i++;
		}
		follows_pair = is_pair;
	}
}

void
entry_append(const struct entry *entry, bool is_folded, struct buf *out)
{
	static const size_t columns[FIELD_COUNT] = { 0, 11, 17, 25, 33, 41, 49, 57 };
	size_t              column = 0;

	for (size_t i = 0; i < FIELD_COMMAND; i++) {
		buf_append_text(out, entry->fields[i]);
		column += strlen(entry->fields[i]);
		do {
			buf_append_byte(out, ' ');
			column++;
		} while (column < columns[i + 1]);
	}
	entry_append_command(entry, is_folded, column, out);
	buf_append_byte(out, '\n');
}
