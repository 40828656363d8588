/*
 * cf.h - the settings file of a table: "name = value" lines in the syntax of main.cf.
 *
 * Values are taken as they are: a '$' has no meaning. A name that is given twice keeps its last
 * value. Read by threads at the same time; nothing in it changes.
 */
#ifndef DAKIYA_TABLE_CF_H
#define DAKIYA_TABLE_CF_H

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"

struct cf;

/* NULL and *error (errno_value set when the file could not be read). */
struct cf *cf_read(const char *path, struct error *error);
/* The same from text; name is for the words. */
struct cf  *cf_parse(const char *name, struct slice text, struct error *error);
void        cf_free(struct cf *cf);
const char *cf_name(const struct cf *cf);

/* The value, or otherwise (which may be NULL) when it is not set. */
const char *cf_get(const struct cf *cf, const char *name, const char *otherwise);
/* False and *error when it is set and no number within bounds, or no yes or no. */
bool cf_get_number(const struct cf *cf, const char *name, int64_t least, int64_t most,
                   int64_t *value, struct error *error);
bool cf_get_bool(const struct cf *cf, const char *name, bool *value, struct error *error);
/* Warns about each name that is in none of the NULL-terminated lists: most are typing errors. */
void cf_warn_unknown(const struct cf *cf, const char *const *const *lists, size_t list_count);

size_t      cf_count(const struct cf *cf); /* of settings; 0 for NULL */
const char *cf_value_at(const struct cf *cf, size_t index);

#endif
