/*
 * dakmap.h - the parts of dakmap: building databases from text, and asking tables.
 *
 * One process does one command; what is wrong is said on standard error with file and line.
 */
#ifndef DAKIYA_DAKMAP_H
#define DAKIYA_DAKMAP_H

#include "lib/table/database.h"

struct options {
	const char *program; /* as called: dakmap, postmap, postalias */
	bool        is_alias;
	bool        keeps_case;     /* -f */
	bool        is_incremental; /* -i */
	bool        without_nul;    /* -n */
	bool        keeps_root;     /* -o */
	bool        has_own_mode;   /* -p: do not take the mode from the source */
	bool        replaces;       /* -r */
	bool        is_quiet;       /* -w: no words about duplicate keys */
	bool        is_dump;        /* -s */
	const char *query;          /* -q */
	const char *remove;         /* -d */
};

/* "type:/path" split up. */
struct map {
	const char *type; /* "hash" */
	char       *path; /* absolute, without ".db" */
	char       *spec; /* type:path */
};

enum { EXIT_DONE = 0, EXIT_NOT_FOUND = 1, EXIT_TROUBLE = 1, EXIT_WRONG_USAGE = 64 };

/* Each returns the exit status; trouble has been said. */
int build_map(const struct options *options, const struct map *map);
int remove_key(const struct options *options, const struct map *map);
int query_map(const struct options *options, const struct map *map);
int dump_map(const struct options *options, const struct map *map);

/* "dakmap: warning: ..." on standard error. */
void complain(const struct options *options, const char *kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * A line of aliases(5): "name: value", the name perhaps quoted. False and *error when it is not
 * one. key is appended without quotes; *value borrows.
 */
bool alias_split(struct slice line, struct buf *key, struct slice *value, struct error *error);

#endif
