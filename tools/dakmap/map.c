/* map.c - which table an argument means, what main.cf says, and what standard input gives. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/conf/configuration.h"
#include "lib/conf/places.h"
#include "lib/table/textlines.h"
#include "lib/table/type.h"
#include "tools/dakmap/dakmap.h"

#ifndef DEFAULT_CONFIG_DIRECTORY
#define DEFAULT_CONFIG_DIRECTORY PLACE_CONFIG
#endif

/* ---- main.cf ---- */

static const char *
config_directory(const struct options *options)
{
	const char *set = options->config_directory;

	if (set == NULL)
		set = getenv("MAIL_CONFIG");
	return set == NULL || set[0] == '\0' ? DEFAULT_CONFIG_DIRECTORY : set;
}

/* NULL when it cannot be read; it has been said. */
static char *
value_read(const struct options *options, const char *directory, const char *name)
{
	struct configuration *configuration = configuration_create();
	struct report         report = REPORT_NONE;
	struct error          error = ERROR_NONE;
	struct buf            value = BUF(SETTINGS_TEXT_MOST);
	struct slice          row = slice_from(name), text;
	char                 *copy = NULL;

	if (configuration == NULL)
		error_set(&error, "out of memory");
	else if (!configuration_read_main(configuration, directory, &report))
		error_set(&error, "%s/main.cf cannot be read", directory);
	else if (!settings_text(&configuration->settings, row, &text))
		error_set(&error, "%s has no value", name);
	else if (settings_expand(&configuration->settings, NULL, row, text, &value, &error))
		copy = strdup(buf_text(&value));
	if (copy == NULL)
		complain(options, "fatal", "%s", error.text);
	buf_free(&value);
	report_free(&report);
	configuration_destroy(&configuration);
	return copy;
}

/* Tables are built on machines without a main.cf, too: then the defaults count. */
char *
parameter_value(const struct options *options, const char *name)
{
	const char *directory = config_directory(options);
	bool        is_alias = strcmp(name, "alias_database") == 0;
	char       *path = NULL, *value = NULL;

	if (asprintf(&path, "%s/main.cf", directory) < 0) {
		complain(options, "fatal", "out of memory");
		return NULL;
	}
	bool is_missing = access(path, F_OK) != 0 && errno == ENOENT;
	if (!is_missing)
		value = value_read(options, directory, name);
	else if (options->has_own_config)
		complain(options, "fatal", "open %s: No such file or directory", path);
	else
		value = strdup(is_alias ? "hash:/etc/aliases" : "hash");
	free(path);
	return value;
}

/* ---- arguments ---- */

static bool
is_type_word(struct slice word)
{
	for (size_t i = 0; i < word.length; i++)
		if (!ascii_is_alnum(word.data[i]))
			return false;
	return word.length > 0;
}

/* A file below the working directory becomes absolute, as tables want it. */
static char *
name_complete(const struct table_type *type, struct slice name)
{
	bool  is_file = type != NULL && type->suffix != NULL && type != &table_type_unix;
	char *directory = NULL, *complete = NULL;

	if (is_file && !slice_is_empty(name) && name.data[0] != '/' && name.data[0] != '{')
		directory = getcwd(NULL, 0);
	if (asprintf(&complete, "%s%s%.*s", directory == NULL ? "" : directory,
	             directory == NULL ? "" : "/", SLICE_ARGS(name)) < 0)
		complete = NULL;
	free(directory);
	return complete;
}

bool
map_parse(const struct options *options, const char *text, struct map *map)
{
	struct table_spec spec;
	struct error      error = ERROR_NONE;
	char             *whole = NULL;
	bool has_type = table_spec_parse(slice_from(text), &spec) && is_type_word(spec.word);

	if (has_type) {
		whole = strdup(text);
	} else {
		char *type = parameter_value(options, "default_database_type");

		if (type == NULL)
			return false;
		if (asprintf(&whole, "%s:%s", type, text) < 0)
			whole = NULL;
		free(type);
	}
	if (whole != NULL && table_spec_parse(slice_from(whole), &spec) && spec.type == NULL) {
		table_type_refuse(spec.word, &error);
		complain(options, "fatal", "%s", error.text);
		free(whole);
		return false;
	}
	if (whole != NULL) {
		map->type = strndup(spec.word.data, spec.word.length);
		map->name = name_complete(spec.type, spec.name);
		/* proxy: and debug: stay. */
		if (map->name == NULL ||
		    asprintf(&map->spec, "%.*s%s", (int)(spec.name.data - whole), whole,
		             map->name) < 0)
			map->spec = NULL;
		free(whole);
	}
	if (map->type == NULL || map->spec == NULL) {
		complain(options, "fatal", "out of memory");
		return false;
	}
	return true;
}

void
map_free(struct map *map)
{
	free(map->type);
	free(map->name);
	free(map->spec);
}

/* ---- standard input ---- */

bool
input_read_text(struct input *input, struct error *error)
{
	input->text = BUF(TEXTLINES_FILE_MOST);
	for (;;) {
		if (!buf_reserve(&input->text, 65536))
			return error_set(error, "standard input: too long");
		ssize_t got = read(STDIN_FILENO, input->text.data + input->text.length, 65536);

		if (got < 0 && errno != EINTR)
			return error_set_errno(error, "read standard input");
		if (got == 0)
			return true;
		if (got > 0)
			input->text.length += (size_t)got;
	}
}

static bool
key_add(const struct options *options, struct input *input, struct slice key, struct error *error)
{
	struct buf folded = BUF(TEXTLINES_LINE_MOST);
	bool       is_good =
		(options->keeps_case ? buf_append(&folded, key) : buf_append_lower(&folded, key)) &&
		hash_put(&input->keys, buf_slice(&folded), input, NULL);

	buf_free(&folded);
	return is_good || error_set(error, "a key is too long");
}

bool
input_read_keys(const struct options *options, struct input *input, struct error *error)
{
	struct slice rest, line;

	if (strcmp(options->argument, "-") != 0)
		return key_add(options, input, slice_from(options->argument), error);
	if (!input_read_text(input, error))
		return false;
	rest = buf_slice(&input->text);
	while (slice_next_part(&rest, '\n', &line))
		if (!slice_is_empty(line) && !key_add(options, input, line, error))
			return false;
	return true;
}

void
input_free(struct input *input)
{
	buf_free(&input->text);
	hash_free(&input->keys, NULL);
}
