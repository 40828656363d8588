/*
 * name.h - names: of messages in a Maildir, and of mailboxes below virtual_mailbox_base.
 *
 * A message is `seconds.MmicrosecondsQqueueidRrecipienthash.host,S=size,W=virtualsize`, then
 * `:2,flags` once a client has seen it. All of it follows from the message and the recipient, so
 * that a delivery repeated after a crash has the name of the first. Foreign names are parsed for
 * what is in them. Pure functions.
 */
#ifndef DAKIYA_MAILBOX_NAME_H
#define DAKIYA_MAILBOX_NAME_H

#include <stdint.h>

#include "lib/base/buf.h"

#define MAILDIR_NAME_MOST 255 /* NAME_MAX of Linux file systems */
#define MAILBOX_PATH_MOST 1024

struct maildir_name {
	struct slice unique; /* before the first ',' or ':' - never changes */
	struct slice flags;  /* after ":2," */
	uint64_t     arrival_us;
	bool         has_size, has_virtual_size;
	uint64_t     size;         /* S=: bytes in the file */
	uint64_t     virtual_size; /* W=: bytes with every line end as CRLF */
};

/* False for names that are no messages ("." at the start, empty). */
bool maildir_name_parse(struct slice name, struct maildir_name *parsed);

/* Appends seconds.MmicrosecondsQidRhash.host; host is made safe for a file name. */
bool maildir_name_append_unique(struct buf *out, int64_t arrival_us, struct slice queue_id,
                                struct slice recipient, struct slice original, struct slice host);
/* Appends ,S=..,W=.. */
bool maildir_name_append_sizes(struct buf *out, uint64_t size, uint64_t virtual_size);

/* The UIDL of a message whose name has this unique part: 32 hexadecimal digits. */
void maildir_name_uidl(struct slice unique, char uidl[33]);

/*
 * Whether path may name a mailbox: relative, every component a plain name (no "", ".", "..", no
 * control bytes), one '/' at the end for a Maildir, at most MAILBOX_PATH_MOST bytes.
 */
bool mailbox_path_is_valid(struct slice path);
bool mailbox_path_is_maildir(struct slice path);

#endif
