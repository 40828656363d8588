/*
 * suggest.h - the nearest known name to a misspelt one (Damerau-Levenshtein).
 */
#ifndef DAKIYA_CONF_SUGGEST_H
#define DAKIYA_CONF_SUGGEST_H

#include "lib/base/slice.h"

/* Names longer than this are not compared. */
#define SUGGEST_LENGTH_MOST 100

/*
 * Insertions, deletions, replacements and swaps of neighbours that make b of a, letters folded;
 * SIZE_MAX when either is too long.
 */
size_t suggest_distance(struct slice a, struct slice b);

/* The best candidate so far: start with { name }, offer all, read `best` (NULL = none near). */
struct suggestion {
	struct slice name;
	const char  *best;
	size_t       distance;
};
void suggest_offer(struct suggestion *suggestion, const char *candidate);

#endif
