/*
 * lines.h - the text form of tables: logical lines with comments and continuation.
 *
 * Shared by texthash, cidr, regexp, pcre, match lists and dakmap. A line that begins with white
 * space continues the one before, also across comments and empty lines; '#' as the first
 * non-blank makes a comment.
 */
#ifndef DAKIYA_TABLE_LINES_H
#define DAKIYA_TABLE_LINES_H

#include "lib/base/buf.h"
#include "lib/base/error.h"

#define LINES_FILE_MOST ((size_t)256 << 20) /* bytes of a text table */
#define LINES_LINE_MOST ((size_t)1 << 20)   /* bytes of a logical line */

struct lines {
	struct slice rest;
	unsigned     next_line; /* number of the line at rest, from 1 */
	unsigned     line;      /* where the logical line given last began */
	struct buf   logical;
};

/* text must stay as long as the reader. */
void table_lines_start(struct lines *lines, struct slice text);
void table_lines_end(struct lines *lines);
/*
 * The next logical line without trailing white space, valid until the next call. False at the end,
 * or with *error set when a line is too long.
 */
bool table_lines_next(struct lines *lines, struct slice *line, struct error *error);
/* The first word, and what follows it without blanks around; false when there is no second. */
bool table_lines_split(struct slice line, struct slice *key, struct slice *value);

/* Reads a whole file; false and *error ("open /etc/x: No such file or directory"). */
bool table_lines_read_file(const char *path, struct buf *out, struct error *error);

#endif
