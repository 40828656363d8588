/*
 * id.h - queue ids: when a message came, and through which intake channel; never used twice.
 *
 * Seconds in base 52 (6 characters or more), microseconds in base 52 (4 characters), 'z', the
 * channel's instance number in base 51: Postfix's long form (FACTS 2.8). The alphabet is the
 * digits and the letters that are no vowels, in ASCII order, so that ids of one age sort by time.
 */
#ifndef DAKIYA_QUEUE_ID_H
#define DAKIYA_QUEUE_ID_H

#include <stdint.h>

#include "lib/base/slice.h"

#define QUEUE_ID_MOST 32 /* with the NUL */

/* wall_us must not be negative. */
void queue_id_format(char id[QUEUE_ID_MOST], int64_t wall_us, uint64_t instance);
/* Whether it may be a queue id, and so a file name: 6 to 31 ASCII letters and digits. */
bool queue_id_is_valid(struct slice id);
/* What is in an id of the long form; false for any other (outputs untouched). */
bool queue_id_parse(struct slice id, int64_t *wall_us, uint64_t *instance);
/* The subdirectory for it in deferred/: spreads ids of one second over all of them. */
char queue_id_subdirectory(struct slice id);

#endif
