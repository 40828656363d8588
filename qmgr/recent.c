/* recent.c - see recent.h. */
#include "qmgr/recent.h"

#include <stdlib.h>

void
recent_note(struct recent *recent, struct slice service, const char *id)
{
	if (!slice_equal(service, SLICE("pickup")))
		return;
	if (recent->ring == NULL)
		recent->ring = calloc(RECENT_MOST, sizeof(*recent->ring));
	if (recent->ring == NULL || hash_get(&recent->ids, slice_from(id)) != NULL)
		return;
	char *slot = recent->ring[recent->next];
	if (slot[0] != '\0')
		hash_remove(&recent->ids, slice_from(slot));
	memcpy(slot, id, strlen(id) + 1);
	if (!hash_put(&recent->ids, slice_from(slot), slot, NULL)) {
		slot[0] = '\0';
		return;
	}
	recent->next = (recent->next + 1) % RECENT_MOST;
}

bool
recent_has(const struct recent *recent, struct slice id)
{
	return hash_get(&recent->ids, id) != NULL;
}

void
recent_free(struct recent *recent)
{
	hash_free(&recent->ids, NULL);
	free(recent->ring);
	*recent = (struct recent){ 0 };
}
