/*
 * dakconf.h - the parts of dakconf(1): show, edit, and the manual page of main.cf.
 */
#ifndef DAKIYA_DAKCONF_H
#define DAKIYA_DAKCONF_H

#include <stdio.h>

#include "lib/conf/configuration.h"

struct show {
	const struct configuration *configuration;
	bool                        only_set;     /* -n */
	bool                        defaults;     /* -d */
	bool                        without_name; /* -h */
	bool                        expanded;     /* -x */
};

/* Prints one parameter; false when it is not known. */
bool show_name(const struct show *show, const char *name);
/* All of them, in order of their names; -n: those that are set. */
void show_all(const struct show *show);
/* master.cf as postconf -M prints it; true when the service (NULL = all) is there. */
bool show_services(const struct master_file *file, const char *service);

/* Sets name=value lines in the directory's main.cf, everything else in it kept; a sysexits code. */
int edit_main(const char *directory, char **assignments, int count);

/* main.cf(5) in mdoc. */
void manual_print(FILE *to);
/* The rows in order of their names. */
const struct parameter_row **sorted_rows(void);

#endif
