/*
 * lines.h - the logical lines that main.cf and master.cf have in common.
 *
 * A line that begins with white space continues the one before, also across comments and empty
 * lines between them; '#' as first non-blank begins a comment. Pure, for any bytes.
 */
#ifndef DAKIYA_CONF_LINES_H
#define DAKIYA_CONF_LINES_H

#include "lib/base/buf.h"
#include "lib/conf/report.h"

/* Longest logical line. */
#define LINES_TEXT_MOST (256u * 1024)
/* Largest file. */
#define LINES_FILE_MOST (4u * 1024 * 1024)

struct lines {
	struct slice whole;        /* the file */
	size_t       offset;       /* of what comes next */
	unsigned     number;       /* of the physical line that comes next, less one */
	struct buf   text;         /* the line given last, joined with single line ends removed */
	unsigned     first_number; /* its first physical line, from 1 */
	size_t       first_offset; /* its bytes in the file are [first_offset, end_offset) */
	size_t       end_offset;
	bool         is_orphan; /* begins with white space, and there is nothing to continue */
};

void lines_init(struct lines *lines, struct slice whole);
/* The next logical line, trimmed; false at the end. Borrowed until the next call. */
bool lines_next(struct lines *lines, struct slice *text);
void lines_free(struct lines *lines);

/* Reads a file of at most LINES_FILE_MOST bytes; an error goes to the report. */
bool lines_read_file(const char *path, struct buf *bytes, struct report *report);

#endif
