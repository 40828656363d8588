/*
 * dakconf.h - the parts of dakconf(1): show and edit main.cf and master.cf as postconf(1) does.
 *
 * show.c prints parameters, services.c what master.cf says; edit.c and edit_master.c change
 * files; known.c decides which names mean something. Called as postconf, failures exit with 1
 * and unknown names with 0, as scripts for Postfix expect.
 */
#ifndef DAKIYA_DAKCONF_H
#define DAKIYA_DAKCONF_H

#include <stdio.h>

#include "lib/conf/configuration.h"
#include "tools/dakconf/entries.h"

enum change {
	CHANGE_NONE,
	CHANGE_SET,     /* -e */
	CHANGE_REMOVE,  /* -X */
	CHANGE_COMMENT, /* -# */
};

enum name_class { CLASS_BUILTIN = 1, CLASS_SERVICE = 2, CLASS_USER = 4, CLASS_ALL = 7 };

struct dakconf {
	const char *program; /* as called, for messages */
	bool        is_postconf;
	const char *directory;
	bool        is_default_directory;
	char        mode; /* 'p', 'M', 'F', 'P', or another letter that says what to print */
	enum change change;
	bool        only_set;          /* -n */
	bool        defaults;          /* -d */
	bool        without_name;      /* -h */
	bool        without_value;     /* -H */
	bool        expanded;          /* -x */
	bool        folded;            /* -f */
	bool        as_json;           /* -j */
	bool        is_verbose;        /* -v */
	bool        is_quiet;          /* -q */
	unsigned    classes;           /* -C */
	ARRAY(const char *) overrides; /* -o name=value */

	struct configuration *configuration;
	struct master_text    master;
	struct hash           referred; /* names that main.cf or master.cf uses as $name */
	struct arena          arena;
};

void dakconf_warn(const struct dakconf *dakconf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Says why and returns what to exit with: status, but 1 for postconf. */
int dakconf_fail(const struct dakconf *dakconf, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- known.c ---- */

/* Notes the names that are used; after both files were read. False when memory is out. */
bool known_prepare(struct dakconf *dakconf);
/* Zero when the name means nothing: neither a parameter nor used by anybody. */
unsigned known_class(const struct dakconf *dakconf, struct slice name);
/* The default of a name in a class that has one. */
bool known_default(const struct dakconf *dakconf, struct slice name, struct slice *text);
/* Calls visit for each per-transport name that master.cf makes possible. */
void known_each_service_name(const struct dakconf *dakconf,
                             void (*visit)(void *context, const char *name), void *context);
/* Warns about what is set for nobody, and what is used and nowhere set, in the files shown. */
void known_warn(const struct dakconf *dakconf);

/* ---- show.c, services.c ---- */

int show_parameters(struct dakconf *dakconf, char **names, int count);
int show_master(struct dakconf *dakconf, char **requests, int count);
/* Appends name = value as the options want it, with its line end. */
void show_pair(const struct dakconf *dakconf, const char *name, struct slice text, struct buf *out);
/* The text with $names expanded, first of the entry's -o (may be NULL), then of main.cf. */
bool show_expand(const struct dakconf *dakconf, const struct values *overrides, const char *name,
                 struct slice text, struct buf *out);

/* ---- editing: a sysexits code ---- */

int edit_main(struct dakconf *dakconf, char **requests, int count);
int edit_master(struct dakconf *dakconf, char **requests, int count);
/* A configuration file open for a change: locked against another dakconf. */
struct edited_file {
	char      *path; /* symbolic links followed */
	int        fd;
	struct buf text;
};
bool edited_file_open(struct edited_file *file, const char *directory, const char *name,
                      struct error *error);
/* Puts the new text in place of the old, in one step; owner and mode stay. */
bool edited_file_replace(const struct edited_file *file, struct slice text, struct error *error);
void edited_file_close(struct edited_file *file);
/*
 * Appends the lines of [begin, end) that are comments or empty; the others, which are the
 * entry's own, with "#" in front or not at all.
 */
void edit_append_old_lines(struct slice text, size_t begin, size_t end, bool as_comments,
                           struct buf *out);

/* ---- lists.c ---- */

/* What -a, -A, -b, -l, -m, -t and -T print; a sysexits code. */
int lists_print(const struct dakconf *dakconf, char **arguments, int count);

/* main.cf(5) in mdoc. */
void manual_print(FILE *to);

#endif
