/*
 * environment.h - the clean environment of a program that we start, from import_environment.
 */
#ifndef DAKIYA_CONF_ENVIRONMENT_H
#define DAKIYA_CONF_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

#define ENVIRONMENT_MOST 64

struct environment {
	char  *list[ENVIRONMENT_MOST + 1]; /* NULL-terminated, for execve */
	size_t count;
};

/*
 * From words "NAME" (kept when it is set) and "NAME=value" (set); a PATH of system directories
 * unless one is named. False when memory is out or there are too many.
 */
bool environment_make(struct environment *environment, const char *words);
void environment_free(struct environment *environment);

#endif
