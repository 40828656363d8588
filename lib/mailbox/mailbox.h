/*
 * mailbox.h - one mailbox for a retrieval session: locked, listed, its messages opened, removed.
 *
 * Listing reads the directories new/ and cur/ once and takes sizes from the names (S=, W=); only
 * foreign names without them cost a read of the message. Nothing is moved or renamed, so IMAP
 * servers may work on the same mailbox. One thread at a time.
 */
#ifndef DAKIYA_MAILBOX_MAILBOX_H
#define DAKIYA_MAILBOX_MAILBOX_H

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/mailbox/client.h"

struct mailbox;

/*
 * Opens the mailbox at path below base (made when missing), locked against other POP3 sessions
 * when want_lock, and lists it. MAILBOX_OK sets *mailbox. The lock is the kernel's and goes with
 * the process.
 */
enum mailbox_status mailbox_open(int base, struct slice path, bool want_lock,
                                 struct mailbox **mailbox, struct error *error);
/* Gives the lock back. */
void mailbox_close(struct mailbox **mailbox);

struct mailbox_item {
	char     uidl[33]; /* never changes, never comes again */
	uint64_t size;     /* as sent, with CRLF */
};
size_t mailbox_count(const struct mailbox *mailbox);
/* index < mailbox_count. In order of arrival. */
void mailbox_item(const struct mailbox *mailbox, size_t index, struct mailbox_item *item);

/* A read-only descriptor of the message, the caller's; *length = bytes in the file. */
enum mailbox_status mailbox_fetch(struct mailbox *mailbox, size_t index, int *fd, uint64_t *length,
                                  struct error *error);
/* Removes the messages whose byte in marks is 1, durably; *removed of them were still there. */
enum mailbox_status mailbox_remove(struct mailbox *mailbox, struct slice marks, uint64_t *removed,
                                   struct error *error);

#endif
