/*
 * expand.h - $name, ${name?{a}:{b}} and the comparisons of main.cf text (FACTS: main.cf syntax).
 *
 * Pure: reads names through a function, writes to a buf, whose limit bounds the result. Depth is
 * bounded, a name that leads back to itself is an error, not a loop.
 */
#ifndef DAKIYA_CONF_EXPAND_H
#define DAKIYA_CONF_EXPAND_H

#include "lib/base/buf.h"
#include "lib/base/error.h"

/* Nested names and braces; main.cf files in the wild stay below 10. */
#define EXPAND_DEPTH_MOST 50

struct expand_source {
	/* The unexpanded text of a name; false when it is defined nowhere (then it is empty). */
	bool (*find)(void *context, struct slice name, struct slice *text);
	/* Told of each name that is used and defined nowhere; may be NULL. */
	void (*undefined)(void *context, struct slice name);
	void *context;
};

/*
 * Appends the expansion of text. False and *error when it is malformed, too deep, too long for
 * out, or when a name leads back to itself; out then holds a part. `name` is whose value text is,
 * for loops and wording; empty when it belongs to none.
 */
bool expand(const struct expand_source *source, struct slice name, struct slice text,
            struct buf *out, struct error *error);

#endif
