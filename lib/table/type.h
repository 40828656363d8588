/*
 * type.h - inside lib/table: what a table type is, and what the types share.
 *
 * A type is one row. It loads immutable content (a parsed file, an open database) and looks keys
 * up in it from any thread; table.c keeps the current content, counts its users and loads it anew
 * when the file changes. Not for users of tables.
 */
#ifndef DAKIYA_TABLE_TYPE_H
#define DAKIYA_TABLE_TYPE_H

#include "lib/table/table.h"

struct table_type {
	const char *name;
	/* The file behind the name is name + suffix; NULL: the table has no file. */
	const char *suffix;
	bool        has_patterns; /* only whole keys are tried */
	bool        folds_keys;   /* lookup gets the key in lower case */
	bool        has_settings; /* the file is a cf file: see cf.h */
	/* TABLE_NEEDS_* of this name; NULL: none. Reads the cf file where the type has one. */
	unsigned (*needs)(struct slice name);
	/*
	 * Called once when a table is opened, whether its file is there or not: loads what cannot
	 * be loaded behind closed doors. NULL: nothing.
	 */
	bool (*prepare)(struct error *error);
	/*
	 * name is what follows "type:", path the file (NULL without one). NULL and *error when it
	 * cannot be; error->errno_value is set when the file could not be read, 0 when its
	 * content is wrong.
	 */
	void *(*load)(const char *name, const char *path, struct error *error);
	enum lookup (*lookup)(void *content, struct slice key, struct buf *value,
	                      struct error *error);
	void (*unload)(void *content);
	/* Lists the entries; NULL: cannot be. See table_each. */
	bool (*each)(void *content, table_visit *visit, void *context, struct error *error);
	/* For types whose content decides; NULL: as has_patterns says. */
	bool (*content_has_patterns)(const void *content);
};

extern const struct table_type table_type_inline, table_type_static, table_type_fail,
	table_type_environ, table_type_texthash, table_type_unix, table_type_cidr,
	table_type_regexp, table_type_pcre, table_type_hash, table_type_btree, table_type_lmdb,
	table_type_cdb, table_type_unionmap, table_type_pipemap, table_type_randmap,
	table_type_socketmap, table_type_tcp, table_type_sqlite, table_type_pgsql, table_type_mysql,
	table_type_ldap, table_type_redis;

/* What stands before and in "proxy:debug:hash:/x". */
struct table_spec {
	const struct table_type *type; /* NULL: there is none of this name */
	struct slice             word; /* "hash" */
	struct slice             name; /* "/x" */
	bool                     is_debugged;
};
/* False when text has not the look of type:name. */
bool table_spec_parse(struct slice text, struct table_spec *spec);
/* Why a type is not here, worded for the admin; always returns false. */
bool table_type_refuse(struct slice word, struct error *error);

/* Longest key that types which fold will look for; a longer one is in no table. */
#define TABLE_KEY_MOST 2048

/* *value = bytes; LOOKUP_FOUND, or LOOKUP_TRY_LATER when they do not fit. */
enum lookup table_give(struct slice bytes, struct buf *value, struct error *error);

/* ---- fixed keys in memory, for inline, texthash and unix (fixed.c) ---- */

struct fixed_table;
struct fixed_table *fixed_table_create(void);
/* The first value of a key stays; false when memory is out. *is_new may be NULL. */
bool fixed_table_add(struct fixed_table *fixed, struct slice key, struct slice value, bool *is_new);
enum lookup fixed_table_lookup(void *fixed, struct slice key, struct buf *value,
                               struct error *error);
bool        fixed_table_each(void *fixed, table_visit *visit, void *context, struct error *error);
void        fixed_table_free(void *fixed);

#endif
