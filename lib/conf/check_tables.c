/* check_tables.c - the tables that main.cf and master.cf name: types, files; see check.h. */
#include "lib/conf/check.h"
#include "lib/conf/owner.h"
#include "lib/conf/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum table_kind {
	TABLE_FILE,    /* a text file that is read as it is */
	TABLE_INDEXED, /* FILE.db and the like, made of FILE by dakmap */
	TABLE_OTHER,   /* no file */
	TABLE_MISSING, /* Postfix has it, this suite does not */
};

static const struct {
	const char     *type;
	enum table_kind kind;
	const char     *suffix; /* TABLE_INDEXED */
} table_types[] = {
	{ "hash", TABLE_INDEXED, ".db" },   { "btree", TABLE_INDEXED, ".db" },
	{ "lmdb", TABLE_INDEXED, ".lmdb" }, { "cdb", TABLE_INDEXED, ".cdb" },
	{ "texthash", TABLE_FILE, "" },     { "cidr", TABLE_FILE, "" },
	{ "regexp", TABLE_FILE, "" },       { "pcre", TABLE_FILE, "" },
	{ "ldap", TABLE_FILE, "" },         { "mysql", TABLE_FILE, "" },
	{ "pgsql", TABLE_FILE, "" },        { "redis", TABLE_FILE, "" },
	{ "sqlite", TABLE_FILE, "" },       { "inline", TABLE_OTHER, "" },
	{ "static", TABLE_OTHER, "" },      { "unix", TABLE_OTHER, "" },
	{ "environ", TABLE_OTHER, "" },     { "fail", TABLE_OTHER, "" },
	{ "tcp", TABLE_OTHER, "" },         { "socketmap", TABLE_OTHER, "" },
	{ "pipemap", TABLE_OTHER, "" },     { "randmap", TABLE_OTHER, "" },
	{ "unionmap", TABLE_OTHER, "" },    { "dbm", TABLE_MISSING, "" },
	{ "sdbm", TABLE_MISSING, "" },      { "mongodb", TABLE_MISSING, "" },
	{ "memcache", TABLE_MISSING, "" },  { "nis", TABLE_MISSING, "" },
	{ "nisplus", TABLE_MISSING, "" },   { "netinfo", TABLE_MISSING, "" },
	{ "internal", TABLE_MISSING, "" },
};
#define TABLE_TYPE_COUNT (sizeof(table_types) / sizeof(table_types[0]))

/* Where a table is named. */
struct place {
	const struct conf_value *value;
	struct report           *report;
	bool                     is_list_of_tables; /* ..._maps: every a:b is a table */
	bool                     has_owner;         /* daemons run as somebody else than we do */
	struct owner             owner;
};

static void
warn(const struct place *place, const char *text)
{
	report_add(place->report, PROBLEM_WARNING, place->value->file, place->value->line, "%s: %s",
	           place->value->name, text);
}

/* The tables that dakuser keeps. */
static bool
is_of_users(const struct place *place, const char *path)
{
	struct slice whole = slice_from(path);

	return slice_ends_with(whole, SLICE("/mailboxes")) ||
	       slice_ends_with(whole, SLICE("/domains")) ||
	       slice_ends_with(whole, SLICE("/quotas")) ||
	       (slice_ends_with(whole, SLICE("/aliases")) &&
	        strcmp(place->value->name, "virtual_alias_maps") == 0);
}

/* Whether a file may be read, and be reached, by this owner. */
static bool
is_readable_by(const char *path, const struct owner *owner)
{
	struct stat status;
	char        part[600];
	mode_t      wanted = 04;

	for (size_t length = strlen(path); length > 0; length--) {
		if (length < strlen(path) && path[length] != '/')
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)length, path);
		if (stat(part, &status) != 0)
			return true; /* said otherwise */
		mode_t mode = status.st_uid == owner->uid   ? status.st_mode >> 6
		              : status.st_gid == owner->gid ? status.st_mode >> 3
		                                            : status.st_mode;
		if ((mode & wanted) == 0)
			return false;
		wanted = 01; /* of directories */
	}
	return true;
}

/* Root reads each table when a daemon starts; afterwards nobody may read as root. */
static void
check_readable(const struct place *place, const char *path)
{
	if (!place->has_owner || is_readable_by(path, &place->owner))
		return;
	report_add(
		place->report, PROBLEM_WARNING, place->value->file, place->value->line,
		"%s: %s cannot be read by net_owner: when it changes while the daemons run, mail "
		"waits until a reload; chgrp %u %s && chmod g+r %s",
		place->value->name, path, (unsigned)place->owner.gid, path, path);
}

/* C5: a table that is missing, unreadable, or older than its source. */
static void
check_file(const struct place *place, const char *type, const char *path, const char *suffix)
{
	struct stat source, index;
	char        text[1200], index_path[600];
	bool        has_source = stat(path, &source) == 0;

	snprintf(index_path, sizeof(index_path), "%.500s%s", path, suffix);
	if (suffix[0] == '\0') {
		snprintf(text, sizeof(text), "table %s:%.500s: %s", type, path,
		         errno == EACCES ? "no permission" : "no such file");
		if (!has_source)
			warn(place, text);
		else
			check_readable(place, path);
		return;
	}
	if (stat(index_path, &index) != 0) {
		snprintf(text, sizeof(text), "table %.500s does not exist%s%s:%.400s", index_path,
		         has_source ? "; make it: dakmap "
		         : is_of_users(place, path)
		                 ? ": dakuser add NAME@DOMAIN makes "
		                 : ", nor does its source: write it, then dakmap ",
		         type, path);
		warn(place, text);
	} else if (has_source && source.st_mtime > index.st_mtime) {
		snprintf(text, sizeof(text), "%.500s is newer than its table: dakmap %s:%.400s",
		         path, type, path);
		warn(place, text);
	} else {
		check_readable(place, index_path);
	}
}

static void
complain_type(const struct place *place, struct slice type)
{
	struct suggestion suggestion = { .name = type };

	for (size_t i = 0; i < TABLE_TYPE_COUNT; i++) {
		if (table_types[i].kind != TABLE_MISSING)
			suggest_offer(&suggestion, table_types[i].type);
	}
	report_add(place->report, PROBLEM_ERROR, place->value->file, place->value->line,
	           "%s: \"%.*s\" is no type of table%s%s%s", place->value->name,
	           SLICE_ARGS(slice_first(type, 100)),
	           suggestion.best == NULL ? "" : "; did you mean ",
	           suggestion.best == NULL ? "" : suggestion.best,
	           suggestion.best == NULL ? "" : "?");
}

static bool
is_type_word(struct slice type)
{
	for (size_t i = 0; i < type.length; i++) {
		if (!ascii_is_alnum(type.data[i]))
			return false;
	}
	return type.length > 0 && ascii_is_alpha(type.data[0]);
}

static void
check_word(const struct place *place, struct slice word)
{
	while (slice_starts_with(word, SLICE("proxy:")) || slice_starts_with(word, SLICE("debug:")))
		word = slice_from_offset(word, 6);
	size_t       colon = slice_find_byte(word, ':'), row = 0;
	struct slice type = slice_first(word, colon);
	struct slice name = slice_from_offset(word, colon == SLICE_NOT_FOUND ? 0 : colon + 1);
	char         path[500];

	if (colon == SLICE_NOT_FOUND || !is_type_word(type))
		return;
	while (row < TABLE_TYPE_COUNT && !slice_equal(type, slice_from(table_types[row].type)))
		row++;
	if (row == TABLE_TYPE_COUNT) {
		if (place->is_list_of_tables)
			complain_type(place, type);
		return;
	}
	if (table_types[row].kind == TABLE_MISSING && place->is_list_of_tables)
		report_add(place->report, PROBLEM_ERROR, place->value->file, place->value->line,
		           "%s: tables of type %s are not supported (`dakmap -m` lists those that "
		           "are)",
		           place->value->name, table_types[row].type);
	if (name.length == 0 || name.data[0] != '/' || name.length >= sizeof(path))
		return;
	snprintf(path, sizeof(path), "%.*s", SLICE_ARGS(name));
	if (table_types[row].kind == TABLE_FILE || table_types[row].kind == TABLE_INDEXED)
		check_file(place, table_types[row].type, path, table_types[row].suffix);
}

/* A word up to a blank or comma; { ... } belongs to its word. */
static void
each_word(const struct place *place, struct slice text)
{
	size_t begin = 0, level = 0;

	for (size_t i = 0; i <= text.length; i++) {
		char c = i < text.length ? text.data[i] : ' ';

		if (c == '{')
			level++;
		else if (c == '}' && level > 0)
			level--;
		else if (i == text.length || (level == 0 && (ascii_is_space(c) || c == ','))) {
			check_word(place, slice_of(text.data + begin, i - begin));
			begin = i + 1;
		}
	}
}

void
check_tables(const struct configuration *configuration, struct report *report)
{
	struct buf   text = BUF(SETTINGS_TEXT_MOST);
	struct owner owner = { 0 };
	bool         has_owner = geteuid() == 0 &&
	                 check_expanded(&configuration->settings, "net_owner", &text) &&
	                 owner_parse(buf_text(&text), &owner, NULL);

	for (size_t i = 0; i < configuration->values.list.count; i++) {
		const struct conf_value *value = configuration->values.list.items[i];
		struct slice             name = slice_from(value->name);
		struct place place = { value, report, slice_ends_with(name, SLICE("_maps")),
			               has_owner, owner };
		const struct parameter_row *row = settings_row(&configuration->settings, name);

		/* What is not in the table of parameters is only used through others. */
		if (row != NULL && row->type == PARAMETER_STRING &&
		    check_expanded(&configuration->settings, value->name, &text))
			each_word(&place, buf_slice(&text));
	}
	buf_free(&text);
}
