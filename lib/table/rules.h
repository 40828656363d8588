/*
 * rules.h - text tables that are searched from the top: cidr, regexp, pcre.
 *
 * "pattern result", "!pattern result", "if [!]pattern" ... "endif", first match wins. The type
 * gives functions for its patterns; the list, nesting and line numbers are here.
 */
#ifndef DAKIYA_TABLE_RULES_H
#define DAKIYA_TABLE_RULES_H

#include "lib/table/table.h"

/* What one lookup needs beside the key; the type's own (match data, parsed address). */
struct rules_kind {
	/*
	 * Takes the pattern (with its flags) off the front of *rest. NULL and *error when it is
	 * malformed; result is what follows (empty for "if").
	 */
	void *(*parse)(struct slice *rest, struct error *error);
	/* Checks a result once it is known; NULL: any will do. */
	bool (*check)(const void *pattern, bool is_negated, struct slice result,
	              struct error *error);
	void (*free)(void *pattern);
	/* LOOKUP_FOUND: the pattern matches the key prepared in scratch. */
	enum lookup (*match)(const void *pattern, struct slice key, void *scratch,
	                     struct error *error);
	enum lookup (*give)(struct slice key, struct slice result, void *scratch, struct buf *value,
	                    struct error *error);
};

struct rules;

/* Parses text; name and line stand in errors. */
struct rules *rules_parse(const struct rules_kind *kind, const char *name, struct slice text,
                          struct error *error);
/* path, or the braces of "{ {rule}, {rule} }" when path is NULL. */
struct rules *rules_load(const struct rules_kind *kind, const char *name, const char *path,
                         struct error *error);
enum lookup   rules_lookup(const struct rules *rules, struct slice key, void *scratch,
                           struct buf *value, struct error *error);
void          rules_free(struct rules *rules);

#endif
