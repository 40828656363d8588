/*
 * cards.h - what a listing shows of each message that waits in a file, all in one file, so that
 * listing a hundred thousand opens and closes none of theirs.
 *
 * A cache: it has no name and goes with the process. The backlog knows where each card lies
 * (struct waiting); listings write those that are missing, and a thread of control.c does so before
 * anybody asks. From several threads. Where no file without a name can be made there are no cards.
 */
#ifndef DAKIYA_QMGR_CARDS_H
#define DAKIYA_QMGR_CARDS_H

#include "lib/base/mutex.h"
#include "lib/ipc/messages.h"

#define CARD_MOST     32768      /* bytes: a message with more recipients than that has no card */
#define CARD_TOO_LONG UINT64_MAX /* the place of such a card: nobody need try again to make it */

struct cards {
	int          fd;   /* -1 = none */
	struct mutex lock; /* guards everything below */
	/* A card's place never comes again: the file's first byte is `base`, 1 at first. */
	uint64_t base, end;
};

void cards_open(struct cards *cards, int queue_fd);
void cards_close(struct cards *cards);

/* A card behind the others of *out; false when it is too large or memory is out. The encoding is
 * used again and again, its fields limited to CARD_MOST. */
bool card_append(struct buf *out, struct ipc_encoding *encoding,
                 const struct msg_queue_entry *entry);
/* Writes what card_append made: where the first of them lies, the others behind it; 0 = nowhere. */
uint64_t cards_write(struct cards *cards, struct slice made);
/* Forgets all of them when most of the file is cards that live_bytes does not count. */
void cards_trim(struct cards *cards, uint64_t live_bytes);

/* A stretch of the file that was read last: cards lie in the order in which they are asked for. */
struct cards_window {
	struct buf bytes;
	uint64_t   at;
};
/*
 * The card of that message; false when it is not there any more. *entry borrows the window until
 * the next call.
 */
bool cards_read(struct cards *cards, struct cards_window *window, uint64_t card, struct slice id,
                struct msg_queue_entry *entry);

#endif
