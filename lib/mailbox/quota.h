/*
 * quota.h - how full a Maildir is, kept in its `maildirsize` file (Maildir++).
 *
 * First line "BYTESS" (the quota it was made for), then lines "bytes messages" that are summed.
 * Appended to by every delivery and removal, made anew from the names of the messages (S=) when
 * it is missing, malformed, over 5120 bytes, made for another quota, or says "full" and is not
 * fresh from a count. Other programs may keep it, too.
 */
#ifndef DAKIYA_MAILBOX_QUOTA_H
#define DAKIYA_MAILBOX_QUOTA_H

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"

struct quota_use {
	int64_t bytes;
	int64_t messages;
};

/* The sum of a maildirsize file; *limit is the bytes in its first line. False: malformed. */
bool quota_parse(struct slice text, int64_t *limit, struct quota_use *use);

/* How full the Maildir is. False and *error when it cannot be found out. */
bool quota_read(int root, int64_t limit, struct quota_use *use, struct error *error);
/*
 * The same when quota_read's answer would refuse mail: counts again unless that was done lately.
 */
bool quota_recount(int root, int64_t limit, struct quota_use *use, struct error *error);
/* Notes that bytes and messages came (or went: negative). Nothing when there is no file. */
void quota_note(int root, int64_t bytes, int64_t messages);

#endif
