/*
 * version.h - the version of the suite, and how every program tells it.
 */
#ifndef DAKIYA_CONF_VERSION_H
#define DAKIYA_CONF_VERSION_H

#include <stdbool.h>

/* The default of mail_version: one place for the number. */
const char *dakiya_version(void);
/* When --version is the first argument: prints "PROGRAM VERSION" (as called) and is true. */
bool version_asked(int argc, char **argv);

#endif
