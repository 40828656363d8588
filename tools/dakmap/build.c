/* build.c - databases from text, and from databases less a key. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/table/build.h"
#include "lib/table/textlines.h"
#include "lib/table/type.h"
#include "tools/dakmap/dakmap.h"

/* A build under way. */
struct work {
	const struct options *options;
	const char           *source; /* for messages */
	struct table_build   *build;
	struct slice          left_out; /* the key that is to go; empty = none */
	size_t                left_out_count;
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
	case LOOKUP_TRY_LATER: return false;
	case LOOKUP_FOUND: break;
	}
	if (!work->options->is_quiet)
		complain(work->options, "warning",
		         "%s, line %u: duplicate entry: \"%.*s\"; the first one stays",
		         work->source, line, SLICE_ARGS(key));
	return true;
}

/* A line in the wrong form is warned about and left out, as postmap does. */
static bool
work_line(struct work *work, unsigned number, struct slice line)
{
	struct buf   key = BUF(TEXTLINES_LINE_MOST), folded = BUF(TEXTLINES_LINE_MOST);
	struct slice name, value;
	struct error error = ERROR_NONE;
	bool         is_good = true, is_line;

	if (work->options->is_alias) {
		is_line = alias_split(line, &key, &value, &error);
		name = buf_slice(&key);
	} else {
		is_line = textlines_split(line, &name, &value);
		error_set(&error, "expected format: key whitespace value");
	}
	if (!is_line) {
		complain(work->options, "warning", "%s, line %u: %s", work->source, number,
		         error.text);
	} else {
		if (!work->options->is_alias && slice_ends_with(name, SLICE(":")))
			complain(work->options, "warning",
			         "%s, line %u: record is in \"key: value\" format; is this an "
			         "alias file?",
			         work->source, number);
		is_good = fold_key(work->options, name, &folded)
		                  ? work_add(work, number, buf_slice(&folded), value)
		                  : error_set(&work->error, "%s, line %u: key too long",
		                              work->source, number);
	}
	buf_free(&key);
	buf_free(&folded);
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

	if (work->left_out.length > 0 && slice_equal(key, work->left_out)) {
		work->left_out_count++;
		return true;
	}
	return table_build_replace(work->build, key, value, &work->error);
}

/* The entries of the database that is there. */
static bool
work_copy(struct work *work, const char *path)
{
	struct database *old = database_open(path, &work->error);

	if (old == NULL)
		return false;
	bool is_good =
		database_each(old, copy_entry, work, &work->error) && work->error.text[0] == '\0';
	database_close(&old, NULL);
	return is_good;
}

static bool
read_stdin(struct buf *text, struct error *error)
{
	for (;;) {
		if (!buf_reserve(text, 65536))
			return error_set(error, "standard input: too long");
		ssize_t got = read(STDIN_FILENO, text->data + text->length, 65536);

		if (got < 0 && errno != EINTR)
			return error_set_errno(error, "read standard input");
		if (got == 0)
			return true;
		if (got > 0)
			text->length += (size_t)got;
	}
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

static struct build_target
target_for(const struct options *options, const struct map *map, const char *path,
           const struct stat *source)
{
	mode_t mask = umask(0);

	umask(mask);
	struct build_target target = {
		.path = path,
		.kind = strcmp(map->type, "btree") == 0 ? DATABASE_BTREE : DATABASE_HASH,
		.mode = options->has_own_mode ? 0666 & ~mask : source->st_mode & 0666,
		.uid = geteuid() == 0 ? source->st_uid : (uid_t)-1,
		.gid = geteuid() == 0 ? source->st_gid : (gid_t)-1,
		.without_nul = options->without_nul,
	};
	return target;
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
	bool wants_old = options->is_incremental || options->remove != NULL;

	if (wants_old && stat(database, model) == 0)
		return true;
	if (stat(map->path, model) != 0)
		return error_set_errno(error, "open %s", wants_old ? database : map->path);
	return S_ISREG(model->st_mode) || error_set(error, "%s: not a file", map->path);
}

/* Runs inside the process that is the owner already. */
static int
work_run(struct work *work, const struct map *map, const char *database, const struct stat *model)
{
	const struct options *options = work->options;
	struct build_target   target = target_for(options, map, database, model);
	struct buf            text = BUF(TEXTLINES_FILE_MOST);
	bool                  is_good;

	if (options->is_incremental) {
		work->source = "standard input";
		is_good = read_stdin(&text, &work->error);
	} else {
		work->source = map->path;
		is_good = options->remove != NULL ||
		          textlines_read_file(map->path, &text, &work->error);
	}
	if (is_good)
		work->build = table_build_start(&target, &work->error);
	is_good = is_good && work->build != NULL;
	if (is_good &&
	    (options->remove != NULL || (options->is_incremental && access(database, F_OK) == 0)))
		is_good = work_copy(work, database);
	is_good = is_good && work_text(work, buf_slice(&text));
	buf_free(&text);
	return finish(work, is_good);
}

static int
work_start(struct work *work, const struct map *map)
{
	struct stat model;
	char       *database = NULL;
	int         status = EXIT_TROUBLE;

	if (strcmp(map->type, "hash") != 0 && strcmp(map->type, "btree") != 0) {
		complain(work->options, "fatal", "%s: tables of type %s are not built", map->spec,
		         map->type);
		return EXIT_TROUBLE;
	}
	if (asprintf(&database, "%s.db", map->path) < 0)
		return EXIT_TROUBLE;
	if (model_find(work->options, map, database, &model, &work->error) &&
	    become_owner(work->options, &model, &work->error))
		status = work_run(work, map, database, &model);
	else
		complain(work->options, "fatal", "%s", work->error.text);
	free(database);
	return status;
}

int
build_map(const struct options *options, const struct map *map)
{
	struct work work = { .options = options };

	return work_start(&work, map);
}

int
remove_key(const struct options *options, const struct map *map)
{
	struct buf  key = BUF(TABLE_KEY_MOST);
	struct work work = { .options = options };

	if (!fold_key(options, slice_from(options->remove), &key)) {
		complain(options, "fatal", "the key is too long");
		return EXIT_TROUBLE;
	}
	work.left_out = buf_slice(&key);
	int status = work_start(&work, map);
	buf_free(&key);
	return status == EXIT_DONE && work.left_out_count == 0 ? EXIT_NOT_FOUND : status;
}
