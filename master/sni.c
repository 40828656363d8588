/*
 * sni.c - the rows of tls_server_sni_maps: read whole, since the daemons cannot open what they
 * name.
 */
#include "master/master.h"

#include "lib/table/database.h"
#include "lib/table/textlines.h"
#include "lib/tls/tls_files.h"

/* Between the reader's caller and the tables' visit. */
struct rows {
	tls_map_entry *entry;
	void          *context;
	bool           is_refused; /* by the caller, who says why */
};

static bool
visit_row(struct slice name, struct slice value, void *context)
{
	struct rows *rows = context;

	rows->is_refused = !rows->entry(name, value, rows->context);
	return !rows->is_refused;
}

static bool
read_database(const char *path, struct rows *rows, struct error *error)
{
	struct database *database = database_open(path, error);
	bool             is_ok;

	if (database == NULL)
		return false;
	is_ok = database_each(database, visit_row, rows, error);
	struct error unimportant = ERROR_NONE;
	database_close(&database, &unimportant);
	return is_ok;
}

static bool
read_text(const char *path, struct rows *rows, struct error *error)
{
	struct buf       text = BUF(TEXTLINES_FILE_MOST);
	struct textlines lines;
	struct slice     line, name, value;
	bool             is_ok = textlines_read_file(path, &text, error);

	if (!is_ok)
		return false;
	error->text[0] = '\0';
	textlines_start(&lines, buf_slice(&text));
	while (is_ok && !rows->is_refused && textlines_next(&lines, &line, error)) {
		if (!textlines_split(line, &name, &value))
			is_ok = error_set(error, "%s, line %u: want a name and files", path,
			                  lines.line);
		else
			visit_row(name, value, rows);
	}
	is_ok = is_ok && error->text[0] == '\0';
	textlines_end(&lines);
	buf_free(&text);
	return is_ok;
}

static bool
read_table(struct slice spec, struct rows *rows, struct error *error)
{
	struct buf path = BUF(4096);
	size_t     colon = slice_find_byte(spec, ':');
	bool       is_ok;

	struct slice type = slice_first(spec, colon == SLICE_NOT_FOUND ? 0 : colon);
	bool         is_text = slice_equal(type, SLICE("texthash"));
	if (!is_text && !slice_equal(type, SLICE("hash")) && !slice_equal(type, SLICE("btree")))
		return error_set(error, "%.*s: want hash:, btree: or texthash:", SLICE_ARGS(spec));
	buf_append_format(&path, "%.*s%s", SLICE_ARGS(slice_from_offset(spec, colon + 1)),
	                  is_text ? "" : ".db");
	is_ok = is_text ? read_text(buf_text(&path), rows, error)
	                : read_database(buf_text(&path), rows, error);
	buf_free(&path);
	return is_ok;
}

bool
sni_read(const char *tables, bool (*entry)(struct slice name, struct slice value, void *context),
         void *context, struct error *error)
{
	struct slice rest = slice_from(tables), spec;
	struct rows  rows = { .entry = entry, .context = context };

	while (!rows.is_refused && table_next_item(&rest, &spec))
		if (!read_table(spec, &rows, error))
			return false;
	return !rows.is_refused;
}
