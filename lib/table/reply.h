/*
 * reply.h - what socketmap and tcp servers answer: parsed from bytes, no I/O.
 *
 * socketmap_table(5): a netstring "OK value", "NOTFOUND ", "TEMP reason", "TIMEOUT reason", "PERM
 * reason". tcp_table(5): a line "200 value", "500 reason" (not there), "400 reason" (later), with
 * %XX for what is no printable byte.
 */
#ifndef DAKIYA_TABLE_REPLY_H
#define DAKIYA_TABLE_REPLY_H

#include "lib/table/table.h"

#define REPLY_MOST 100000 /* bytes inside a netstring, and of a line */

enum reply_parse {
	REPLY_DONE,      /* *used, *answer; value or *error */
	REPLY_MORE,      /* not whole yet */
	REPLY_MALFORMED, /* *error */
};

enum reply_parse reply_parse_socketmap(struct slice input, size_t *used, enum lookup *answer,
                                       struct buf *value, struct error *error);
enum reply_parse reply_parse_tcp(struct slice input, size_t *used, enum lookup *answer,
                                 struct buf *value, struct error *error);
/* A key for a tcp server. */
bool reply_quote_tcp(struct slice key, struct buf *out);

#endif
