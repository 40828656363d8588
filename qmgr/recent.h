/*
 * recent.h - the ids of pickup's last messages, delivered or not.
 *
 * A message is taken from a user or from maildrop/ once, even when pickup is killed between its
 * commit and the note of that: the next pickup asks whether the id is known (intake_known). After a
 * restart of qmgr itself the journal tells them again, also those of messages that are done. What
 * it told is kept in a file: its segments are written over by the time of a second restart.
 */
#ifndef DAKIYA_QMGR_RECENT_H
#define DAKIYA_QMGR_RECENT_H

#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/queue/id.h"

#define RECENT_MOST 10000

struct recent {
	struct hash ids;
	char (*ring)[QUEUE_ID_MOST]; /* RECENT_MOST of them, made with the first */
	size_t next;
};

/* Only messages of that service are noted: nobody asks for others. Without memory it is forgotten,
 * and a repeat may be delivered twice. */
void recent_note(struct recent *recent, struct slice service, const char *id);
bool recent_has(const struct recent *recent, struct slice id);
/* The ids that the last start knew; a file that is missing or damaged tells none. */
void recent_load(struct recent *recent, int state_fd);
/* For the next start. False when they could not be kept: of no matter but for a second crash. */
bool recent_save(const struct recent *recent, int state_fd, struct error *error);
void recent_free(struct recent *recent);

#endif
