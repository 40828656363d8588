/*
 * mbox.h - a mailbox that is one file: messages are appended, each wholly or not at all.
 *
 * A message begins with a "From " line, has LF line ends, `>` in front of its own lines that begin
 * with "From ", and ends with an empty line. The file must be regular, with one name, and ours.
 *
 * What is under way is noted beside the file (attribute user.dakiya.append): where the message
 * begins, and when it is written, where it ends. So what a killed process left half written is
 * taken out by the next delivery here, before the message itself comes again. It is left alone
 * when another program has changed the file since. Where the file system has no such attributes
 * the half message stays, separated from the next.
 *
 * A message that was written, synced and not yet reported when the process died is delivered a
 * second time: there is no name by which it could be recognised, as in a Maildir.
 */
#ifndef DAKIYA_MAILBOX_MBOX_H
#define DAKIYA_MAILBOX_MBOX_H

#include "lib/mailbox/deliver.h"

enum mbox_result { MBOX_APPENDED, MBOX_FULL, MBOX_FAILED };

struct mbox_entry {
	const struct mailbox_message *message;
	struct slice                  recipient, original;
	uint64_t                      limit; /* most bytes of the file, 0 = none */
	/* the result */
	enum mbox_result result;
	struct error     reason; /* MBOX_FAILED */
};

/*
 * Appends the messages to the file at path below base (mailbox_path_is_valid; made when missing,
 * with its directories) under one lock, and makes them durable together. False when another held
 * it until until_ms (0: tried once): nothing was done, *error says who.
 */
bool mbox_append(int base, const char *path, const struct mailbox_lock_rules *rules,
                 int64_t until_ms, struct mbox_entry *entries, size_t count, struct error *error);

#endif
