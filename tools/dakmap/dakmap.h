/*
 * dakmap.h - the parts of dakmap: building databases from text, and asking tables.
 *
 * One process does one command; what is wrong is said on standard error with file and line.
 */
#ifndef DAKIYA_DAKMAP_H
#define DAKIYA_DAKMAP_H

#include <stdio.h>

#include "lib/base/array.h"
#include "lib/base/hash.h"
#include "lib/table/database.h"

enum task { TASK_BUILD, TASK_QUERY, TASK_REMOVE, TASK_DUMP };

struct options {
	const char *program; /* as called: dakmap, postmap, postalias, newaliases */
	const char *config_directory;
	bool        has_own_config; /* -c: main.cf must be there */
	enum task   task;
	const char *argument;       /* of -q and -d */
	bool        is_alias;       /* aliases(5) */
	bool        keeps_case;     /* -f */
	bool        takes_files;    /* -F: values are names of files */
	bool        is_incremental; /* -i */
	bool        without_nul;    /* -n */
	bool        keeps_root;     /* -o */
	bool        has_own_mode;   /* -p: do not take the mode from the source */
	bool        replaces;       /* -r */
	bool        is_quiet;       /* -w: no words about duplicate keys */
	bool        takes_any;      /* -u: also what is no UTF-8 */
	bool        asks_headers;   /* -h */
	bool        asks_body;      /* -b */
	bool        knows_mime;     /* -m */
	bool        is_json;        /* -j */
	bool        is_verbose;     /* -v */
};

/* "type:/path" taken apart. */
struct map {
	char *type; /* "hash" */
	char *name; /* what follows; a file's is absolute and without ".db" */
	char *spec; /* type:name, with proxy: and the like in front */
};
/* False when it has been said what is wrong. */
bool map_parse(const struct options *options, const char *text, struct map *map);
void map_free(struct map *map);

/* Set in main.cf or its default; NULL when that has been said to be impossible. */
char *parameter_value(const struct options *options, const char *name);

enum { EXIT_DONE = 0, EXIT_NOT_FOUND = 1, EXIT_TROUBLE = 1, EXIT_WRONG_USAGE = 64 };

/*
 * What comes from standard input is read once, before anything is done for the first map: text for
 * -i, keys (folded) for -d.
 */
struct input {
	struct buf  text;
	struct hash keys; /* -> non-NULL */
};
bool input_read_text(struct input *input, struct error *error);
bool input_read_keys(const struct options *options, struct input *input, struct error *error);
void input_free(struct input *input);

/* Each returns the exit status; trouble has been said. */
int build_map(const struct options *options, const struct map *map, const struct input *input);
int query_maps(const struct options *options, const struct map *maps, size_t count);
int dump_map(const struct options *options, const struct map *map);

/* "dakmap: warning: ..." on standard error. */
void complain(const struct options *options, const char *kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * A line of aliases(5): "name: value", the name perhaps quoted. False and *error when it is not
 * one. key is appended without quotes, *value borrows.
 */
bool alias_split(struct slice line, struct buf *key, struct slice *value, struct error *error);

/*
 * The keys that header_checks and body_checks would look for in the message on standard input.
 * Calls visit for each; false when it returned false or reading failed.
 */
bool message_each_key(const struct options *options, FILE                  *from,
                      bool (*visit)(struct slice key, void *context), void *context);

#endif
