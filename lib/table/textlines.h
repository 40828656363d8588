/*
 * textlines.h - the text form of tables: logical lines with comments and continuation.
 *
 * Shared by texthash, cidr, regexp, pcre, match lists and dakmap. A line that begins with white
 * space continues the one before, also across comments and empty lines; '#' as the first
 * non-blank makes a comment.
 */
#ifndef DAKIYA_TABLE_TEXTLINES_H
#define DAKIYA_TABLE_TEXTLINES_H

#include "lib/base/buf.h"
#include "lib/base/error.h"

#define TEXTLINES_FILE_MOST ((size_t)256 << 20) /* bytes of a text table */
#define TEXTLINES_LINE_MOST ((size_t)1 << 20)   /* bytes of a logical line */

struct textlines {
	struct slice rest;
	unsigned     next_line; /* number of the line at rest, from 1 */
	unsigned     line;      /* where the logical line given last began */
	struct buf   logical;
};

/* text must stay as long as the reader. */
void textlines_start(struct textlines *lines, struct slice text);
void textlines_end(struct textlines *lines);
/*
 * The next logical line without trailing white space, valid until the next call. False at the end,
 * or with *error set when a line is too long.
 */
bool textlines_next(struct textlines *lines, struct slice *line, struct error *error);
/*
 * The first word, and what follows it without blanks around; false when there is no second. Blanks
 * inside "..." and behind a backslash are part of the word, which keeps its quotes.
 */
bool textlines_split(struct slice line, struct slice *key, struct slice *value);

/* Reads a whole file; false and *error ("open /etc/x: No such file or directory"). */
bool textlines_read_file(const char *path, struct buf *out, struct error *error);

#endif
