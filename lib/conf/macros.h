/*
 * macros.h - $name in parameters that are filled in for each delivery (forward_path, luser_relay).
 *
 * Syntax as in main.cf. A value that comes from an address is data: what the filter does not name
 * becomes '_', and nothing in it is expanded again.
 */
#ifndef DAKIYA_CONF_MACROS_H
#define DAKIYA_CONF_MACROS_H

#include "lib/base/buf.h"
#include "lib/base/error.h"

struct macro {
	const char  *name;
	struct slice value;
	bool         is_trusted; /* not filtered: ours, or from the passwd line */
};

/* Appends bytes with those that filter does not name as '_'. */
bool macros_append_filtered(struct buf *out, struct slice bytes, const char *filter);
/* Appends text with the macros filled in; a name that is not among them is empty. */
bool macros_expand(const struct macro *macros, size_t count, struct slice text, const char *filter,
                   struct buf *out, struct error *error);

#endif
