/*
 * usage.h - the options of a command-line tool as one table: reading, --help, completion.
 *
 * A tool keeps a `struct usage`; getopt's tables, the help text and the words that a shell can
 * complete are made of it, so that none of them can forget an option. Headings are bold on a
 * terminal only, and never when NO_COLOR is set.
 */
#ifndef DAKIYA_BASE_USAGE_H
#define DAKIYA_BASE_USAGE_H

#include <stdbool.h>
#include <stdio.h>

/* Options that have a long name only are numbered from here. */
#define USAGE_LONG_ONLY 256

struct usage_option {
	int         letter;   /* what usage_next returns: the letter, or from USAGE_LONG_ONLY on */
	const char *name;     /* without "--"; NULL = has none */
	const char *argument; /* "DIRECTORY"; NULL = takes none */
	const char *meaning;
};

struct usage_command {
	const char *name;
	const char *arguments; /* behind the name, for people; may be "" */
	const char *meaning;
};

struct usage {
	const char *const          *forms;    /* without the program's name; ends with NULL */
	const struct usage_option  *options;  /* ends with letter 0 */
	const struct usage_command *commands; /* ends with name NULL; NULL = there are none */
	const char                 *notes;    /* a last paragraph; NULL = none */
};

/* The last part of argv[0]. */
const char *usage_program(const char *argv0);
/* Whether output to this stream may be coloured. */
bool usage_has_colour(FILE *to);
void usage_print(FILE *to, const char *program, const struct usage *usage);
/* One word a line: what may follow the program's name, for a shell's completion. */
void usage_print_words(FILE *to, const struct usage *usage);
/*
 * The next option as getopt_long gives it: -1 at the end, '?' for one that is not known (then it
 * has been said on standard error). --help and --complete print to standard output and exit.
 */
int usage_next(const struct usage *usage, int argc, char **argv);

#endif
