/*
 * header.h - header fields of a message: find, iterate, make dates and ids.
 *
 * RFC 5322 2.2, 3.6. Input is a header block with CRLF (LF is tolerated); nothing is decoded.
 */
#ifndef DAKIYA_MAIL_HEADER_H
#define DAKIYA_MAIL_HEADER_H

#include <stdint.h>

#include "lib/base/buf.h"

struct header_field {
	struct slice name;  /* without colon and blanks */
	struct slice value; /* after the colon, folded as it stands, without the last line end */
	struct slice whole; /* name to last line end */
};

/* The next field off *block; false at its end or at the first line that is no field. */
bool header_next(struct slice *block, struct header_field *field);
/* The first field of that name, without regard to case. */
bool header_find(struct slice block, struct slice name, struct header_field *field);
/* Length of the header block of a message: up to and including the empty line, or all. */
size_t header_block_length(struct slice message);
/*
 * The value unfolded: line ends removed, outer blanks trimmed (RFC 5322 2.2.3). A CR that is part
 * of no line end becomes a blank, so that what comes out is always one line.
 */
bool header_unfold(struct slice value, struct buf *out);
/* "Tue, 24 Nov 2026 09:15:02 +0000" in local time with its zone (RFC 5322 3.3). */
bool date_append(struct buf *out, int64_t wall_s);
/* "<20261124091502.QUEUEID@host>": unique because the id never recurs. The time is UTC. */
bool message_id_append(struct buf *out, int64_t wall_s, const char *queue_id, const char *host);

#endif
