/*
 * values.h - what is set: names with their unexpanded text and the place where they were set.
 *
 * One set is main.cf; one more for each service is main.cf with the service's -o overrides. It is
 * what a snapshot's bytes say.
 */
#ifndef DAKIYA_CONF_VALUES_H
#define DAKIYA_CONF_VALUES_H

#include "lib/base/arena.h"
#include "lib/base/array.h"
#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/hash.h"

struct conf_value {
	const char *name;
	const char *text; /* unexpanded, without blanks around */
	const char *file; /* "" when it came from no file */
	unsigned    line;
	bool        is_override; /* -o in master.cf */
};

/* Most entries, and most bytes of all of them together. */
#define VALUES_MOST       10000
#define VALUES_BYTES_MOST (8u * 1024 * 1024)

struct values {
	struct arena arena;
	struct hash  by_name;
	ARRAY(struct conf_value *) list; /* in the order in which names appeared first */
};

#define VALUES_NONE ((struct values){ .arena = ARENA(VALUES_BYTES_MOST) })

/* Sets or replaces. False when there are too many or memory is out. */
bool values_set(struct values *values, struct slice name, struct slice text, const char *file,
                unsigned line, bool is_override);
/* NULL when it is not set. */
const struct conf_value *values_get(const struct values *values, struct slice name);
bool                     values_copy(struct values *to, const struct values *from);
void                     values_free(struct values *values);

/* A snapshot's bytes (docs/architecture.md): false when there is no room. */
bool values_encode(const struct values *values, struct buf *out);
bool values_decode(struct values *values, struct slice bytes, struct error *error);
/* "name = value" lines, a line that starts with a blank continues, '#' comments: for tests. */
bool values_from_text(struct values *values, const char *text, struct error *error);

#endif
