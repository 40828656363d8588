/*
 * mainfile.h - main.cf: its entries with their places, and the bytes around them.
 *
 * The file's text is kept, and each entry says which bytes are its own, so that a writer can
 * replace one entry and leave every comment as it is.
 */
#ifndef DAKIYA_CONF_MAINFILE_H
#define DAKIYA_CONF_MAINFILE_H

#include "lib/conf/report.h"
#include "lib/conf/values.h"

struct main_entry {
	struct slice name;
	struct slice text; /* line ends of continuation lines removed, blanks kept */
	unsigned     line;
	size_t       first_byte, end_byte; /* in main_file.text */
};

struct main_file {
	const char  *path;
	struct buf   text;
	struct arena arena;
	ARRAY(struct main_entry) entries; /* in the file's order, repeated names included */
};

/* Reads and parses; problems go to the report. False when the file cannot be read. */
bool main_file_read(struct main_file *file, const char *path, struct report *report);
/* Parses text (copied), for tests and fuzzing; path only for the report. */
void main_file_parse(struct main_file *file, const char *path, struct slice text,
                     struct report *report);
/* The last definition of each name wins; earlier ones are warned about. */
bool main_file_values(const struct main_file *file, struct values *values, struct report *report);
void main_file_free(struct main_file *file);

/* What a parameter's name may consist of: letters, digits, '_', '-', '.'. */
bool parameter_name_is_sound(struct slice name);

#endif
