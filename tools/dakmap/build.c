/* build.c - databases from text, and from databases less some keys. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/encode.h"
#include "lib/table/build.h"
#include "lib/table/textlines.h"
#include "lib/table/type.h"
#include "tools/dakmap/dakmap.h"

/* A build under way. */
struct work {
	const struct options *options;
	const char           *source;    /* for messages */
	char                 *directory; /* of the source: -F's files may be relative to it */
	const struct input   *input;
	struct table_build   *build;
	size_t                left_out; /* entries with one of the keys that are to go */
	struct error          error;
};

static bool
fold_key(const struct options *options, struct slice key, struct buf *out)
{
	return options->keeps_case ? buf_append(out, key) : buf_append_lower(out, key);
}

static bool
work_add(struct work *work, unsigned line, struct slice key, struct slice value)
{
	if (key.length > TABLE_KEY_MOST)
		return error_set(&work->error, "%s, line %u: the key is longer than %d bytes",
		                 work->source, line, TABLE_KEY_MOST);
	if (work->options->replaces)
		return table_build_replace(work->build, key, value, &work->error);
	switch (table_build_add(work->build, key, value, &work->error)) {
	case LOOKUP_NOT_FOUND: return true;
	case LOOKUP_TRY_LATER: return error_prefix(&work->error, "%s, line %u", work->source, line);
	case LOOKUP_FOUND: break;
	}
	if (!work->options->is_quiet)
		complain(work->options, "warning", "%s, line %u: duplicate entry: \"%.*s\"",
		         work->source, line, SLICE_ARGS(key));
	return true;
}

/* -F: the contents of the files that value names, in base64. */
static bool
value_from_files(struct work *work, struct slice names, struct buf *value, struct error *error)
{
	struct buf   content = BUF(TEXTLINES_LINE_MOST / 2), path = BUF(8192);
	struct slice name;
	bool         is_good = true;

	while (is_good && slice_next_word(&names, " \t\r\n,", &name)) {
		buf_clear(&path);
		if (name.data[0] != '/' && work->directory != NULL)
			buf_append_format(&path, "%s/", work->directory);
		buf_append(&path, name);
		is_good = textlines_read_file(buf_text(&path), &content, error);
	}
	if (is_good && !base64_encode(buf_slice(&content), value))
		is_good = error_set(error, "the files are too long together");
	buf_free(&content);
	buf_free(&path);
	return is_good;
}

struct entry {
	struct buf   key_buffer, folded, files;
	struct slice key, value;
};

/* Takes the line apart; false and *error when it is left out. */
static bool
entry_read(struct work *work, struct slice line, struct entry *entry, struct error *error)
{
	const struct options *options = work->options;

	if (options->is_alias) {
		if (!alias_split(line, &entry->key_buffer, &entry->value, error))
			return false;
		entry->key = buf_slice(&entry->key_buffer);
	} else if (!textlines_split(line, &entry->key, &entry->value)) {
		return error_set(error, "expected format: key whitespace value");
	}
	return !options->takes_files || value_from_files(work, entry->value, &entry->files, error);
}

/* A line in the wrong form is warned about and left out, as postmap does. */
static bool
work_line(struct work *work, unsigned number, struct slice line)
{
	const struct options *options = work->options;
	struct entry          entry = { .key_buffer = BUF(TEXTLINES_LINE_MOST),
		                        .folded = BUF(TEXTLINES_LINE_MOST),
		                        .files = BUF(TEXTLINES_LINE_MOST) };
	struct error          error = ERROR_NONE;
	bool                  is_good = true;

	if (!options->takes_any && !slice_is_utf8(line)) {
		complain(options, "warning", "%s, line %u: non-UTF-8 input -- ignoring this line",
		         work->source, number);
	} else if (!entry_read(work, line, &entry, &error)) {
		complain(options, "warning", "%s, line %u: %s", work->source, number, error.text);
	} else {
		if (!options->is_alias && slice_ends_with(entry.key, SLICE(":")))
			complain(options, "warning",
			         "%s, line %u: record is in \"key: value\" format; is this an "
			         "alias file?",
			         work->source, number);
		is_good = fold_key(options, entry.key, &entry.folded)
		                  ? work_add(work, number, buf_slice(&entry.folded),
		                             options->takes_files ? buf_slice(&entry.files)
		                                                  : entry.value)
		                  : error_set(&work->error, "%s, line %u: key too long",
		                              work->source, number);
	}
	buf_free(&entry.key_buffer);
	buf_free(&entry.folded);
	buf_free(&entry.files);
	return is_good;
}

static bool
work_text(struct work *work, struct slice text)
{
	struct textlines lines;
	struct slice     line;
	bool             is_good = true;

	textlines_start(&lines, text);
	while (is_good && textlines_next(&lines, &line, &work->error))
		is_good = work_line(work, lines.line, line);
	textlines_end(&lines);
	if (is_good && work->error.text[0] != '\0')
		return error_prefix(&work->error, "%s", work->source);
	return is_good;
}

static bool
copy_entry(struct slice key, struct slice value, void *context)
{
	struct work *work = context;

	if (work->options->task == TASK_REMOVE && hash_get(&work->input->keys, key) != NULL) {
		work->left_out++;
		return true;
	}
	return table_build_replace(work->build, key, value, &work->error);
}

/* The entries of the database that is there. */
static bool
work_copy(struct work *work, const struct map *map)
{
	struct table *old = table_open(map->spec, false, &work->error);
	bool          is_good = old != NULL && table_each(old, copy_entry, work, &work->error) &&
	               work->error.text[0] == '\0';

	table_close(&old);
	return is_good;
}

/*
 * Whose the source is, the result shall be: as root, the work on somebody else's file is done as
 * that user, so that no link or name in his directory can turn root's hand (-o: not so).
 */
static bool
become_owner(const struct options *options, const struct stat *source, struct error *error)
{
	if (geteuid() != 0 || source->st_uid == 0 || options->keeps_root)
		return true;
	if (setgroups(0, NULL) != 0 ||
	    setresgid(source->st_gid, source->st_gid, source->st_gid) != 0 ||
	    setresuid(source->st_uid, source->st_uid, source->st_uid) != 0)
		return error_set_errno(error, "become the owner of the source");
	return true;
}

static int
finish(struct work *work, bool is_good)
{
	if (is_good)
		is_good = table_build_commit(&work->build, &work->error);
	table_build_abandon(&work->build);
	if (is_good)
		return EXIT_DONE;
	complain(work->options, "fatal", "%s", work->error.text);
	return EXIT_TROUBLE;
}

/* What the new file takes owner and mode from: the database that is there, or the text. */
static bool
model_find(const struct options *options, const struct map *map, const char *database,
           struct stat *model, struct error *error)
{
	bool wants_old = options->is_incremental || options->task == TASK_REMOVE;

	if (wants_old && stat(database, model) == 0)
		return true;
	if (options->task == TASK_REMOVE || stat(map->name, model) != 0)
		return error_set_errno(error, "open %s", wants_old ? database : map->name);
	return S_ISREG(model->st_mode) || error_set(error, "%s: not a file", map->name);
}

/* Runs inside the process that is the owner already. */
static int
work_run(struct work *work, const struct map *map, const struct build_target *target)
{
	const struct options *options = work->options;
	struct buf            text = BUF(TEXTLINES_FILE_MOST);
	bool                  is_removal = options->task == TASK_REMOVE, is_good = true;
	struct slice          lines = buf_slice(&work->input->text);

	work->source = options->is_incremental ? "stdin" : map->name;
	if (!is_removal && !options->is_incremental) {
		is_good = textlines_read_file(map->name, &text, &work->error);
		lines = buf_slice(&text);
	}
	if (is_good)
		work->build = table_build_start(target, &work->error);
	is_good = is_good && work->build != NULL;
	if (is_good && (is_removal || (options->is_incremental && access(target->path, F_OK) == 0)))
		is_good = work_copy(work, map);
	if (is_good && !is_removal)
		is_good = work_text(work, lines);
	buf_free(&text);
	/* Nothing to take out: the file stays as it is. */
	if (is_good && is_removal && work->left_out == 0) {
		table_build_abandon(&work->build);
		return EXIT_NOT_FOUND;
	}
	return finish(work, is_good);
}

static int
work_start(struct work *work, const struct map *map, struct build_target *target)
{
	const struct options *options = work->options;
	struct stat           model;
	mode_t                mask = umask(0);

	umask(mask);
	if (!model_find(options, map, target->path, &model, &work->error) ||
	    !become_owner(options, &model, &work->error)) {
		complain(options, "fatal", "%s", work->error.text);
		return EXIT_TROUBLE;
	}
	target->mode = options->has_own_mode ? 0644 : model.st_mode & 0666;
	target->uid = geteuid() == 0 ? model.st_uid : (uid_t)-1;
	target->gid = geteuid() == 0 ? model.st_gid : (gid_t)-1;
	target->without_nul = options->without_nul;
	work->directory = strndup(map->name, (size_t)(strrchr(map->name, '/') - map->name));
	if (options->is_verbose)
		complain(options, "info", "%s is written", target->path);
	int status = work_run(work, map, target);
	free(work->directory);
	return status;
}

int
build_map(const struct options *options, const struct map *map, const struct input *input)
{
	struct work         work = { .options = options, .input = input };
	struct build_target target = { .path = NULL };
	const char         *suffix;
	char               *path = NULL;
	int                 status = EXIT_TROUBLE;

	if (!table_build_kind(map->type, &target.kind, &suffix)) {
		complain(options, "fatal",
		         options->task == TASK_REMOVE
		                 ? "%s: keys cannot be removed from tables of type %s"
		                 : "%s: tables of type %s are not built",
		         map->spec, map->type);
		return EXIT_TROUBLE;
	}
	if (asprintf(&path, "%s%s", map->name, suffix) < 0 || map->name[0] != '/') {
		complain(options, "fatal", "%s: no file is named", map->spec);
		return EXIT_TROUBLE;
	}
	target.path = path;
	status = work_start(&work, map, &target);
	free(path);
	return status;
}
