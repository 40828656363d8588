/*
 * content.h - a message as it lies in a mailbox: own header fields in front, LF line ends.
 *
 * Maildir keeps LF; CRLF comes back when the message is read over POP3, so bytes and virtual
 * size (W=) are counted while converting. A CR that no LF follows stays.
 */
#ifndef DAKIYA_MAILBOX_CONTENT_H
#define DAKIYA_MAILBOX_CONTENT_H

#include <stdint.h>

#include "lib/base/buf.h"

struct content_count {
	uint64_t size;         /* bytes given out */
	uint64_t virtual_size; /* the same with CRLF line ends */
	bool     holds_cr;     /* a CR at the end of the last piece was not given out yet */
	bool     after_cr;     /* the last byte given out was a CR */
	bool     ends_line;    /* the last byte given out was a LF */
};

/*
 * Appends input with LF line ends to *out. A message may come in pieces with one count (zeroed at
 * first); end it with content_finish, which also ends the last line. False when out is full.
 */
bool content_convert(struct content_count *count, struct slice input, struct buf *out);
bool content_finish(struct content_count *count, struct buf *out);

/* Counts a stored file's virtual size in pieces (zeroed count at first). */
void content_measure(struct content_count *count, struct slice stored);

/* What of "From " at a line's start is held back until the next piece. */
struct content_quoting {
	size_t matched;
	bool   in_line;
};

/*
 * Appends text with LF line ends, in pieces of any size, with `>` in front of lines that begin
 * with "From " (quoting zeroed at first). At the end content_quote_finish gives what is held.
 */
void content_quote(struct content_quoting *quoting, struct slice bytes, struct buf *out);
void content_quote_finish(struct content_quoting *quoting, struct buf *out);
/* "From sender Sat Nov 28 08:48:13 2026\n" in local time; MAILER-DAEMON for the null sender. */
void content_append_from_line(struct buf *out, struct slice sender, int64_t wall_s);

/*
 * Return-Path, X-Original-To and Delivered-To (unless recipient is empty) with LF line ends. False:
 * a control byte in one.
 */
bool content_append_fields(struct buf *out, struct slice sender, struct slice original,
                           struct slice recipient);

/* Whether the header block at the start of content has a Delivered-To with this address. */
bool content_was_delivered_to(struct slice content, struct slice recipient);

#endif
