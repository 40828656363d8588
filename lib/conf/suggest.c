/* suggest.c - see suggest.h. */
#include "lib/conf/suggest.h"

#include <stdint.h>

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment: three rows of the usual table. */
size_t
suggest_distance(struct slice a, struct slice b)
{
	uint8_t  memory[3][SUGGEST_LENGTH_MOST + 1];
	uint8_t *two_above = memory[0], *above = memory[1], *row = memory[2];

	if (a.length > SUGGEST_LENGTH_MOST || b.length > SUGGEST_LENGTH_MOST)
		return SIZE_MAX;
	for (size_t j = 0; j <= b.length; j++)
		above[j] = (uint8_t)j;
	for (size_t i = 1; i <= a.length; i++) {
		row[0] = (uint8_t)i;
		for (size_t j = 1; j <= b.length; j++) {
			char   x = ascii_lower(a.data[i - 1]), y = ascii_lower(b.data[j - 1]);
			size_t best = least(above[j - 1] + (x == y ? 0u : 1u),
			                    least(above[j], row[j - 1]) + 1u);

			if (i > 1 && j > 1 && x == ascii_lower(b.data[j - 2]) &&
			    y == ascii_lower(a.data[i - 2]))
				best = least(best, two_above[j - 2] + 1u);
			row[j] = (uint8_t)best;
		}
		uint8_t *spare = two_above;
		two_above = above;
		above = row;
		row = spare;
	}
	return above[b.length];
}

void
suggest_offer(struct suggestion *suggestion, const char *candidate)
{
	size_t distance = suggest_distance(suggestion->name, slice_from(candidate));
	/* A third of the letters may be wrong: "relay_host" is near relayhost, "foo" is near none.
	 */
	size_t most = suggestion->name.length / 3;

	if (distance == SIZE_MAX || distance > most)
		return;
	if (suggestion->best == NULL || distance < suggestion->distance) {
		suggestion->best = candidate;
		suggestion->distance = distance;
	}
}
