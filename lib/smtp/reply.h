/*
 * reply.h - SMTP replies as values: parse what a server sent, format what we send.
 *
 * RFC 5321 4.2 (replies), RFC 3463 (enhanced status codes). No I/O, no state: safe from any thread.
 */
#ifndef DAKIYA_SMTP_REPLY_H
#define DAKIYA_SMTP_REPLY_H

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/mail/status.h"

struct smtp_reply {
	int                    code;   /* 200..599 */
	struct enhanced_status status; /* 0.0.0 when the peer sent none */
	struct slice           text;   /* without code and line ends; '\n' between lines */
};

enum smtp_parse { SMTP_PARSE_DONE, SMTP_PARSE_MORE, SMTP_PARSE_MALFORMED };

/*
 * Parses the reply, possibly of several lines, at the start of input.
 * SMTP_PARSE_DONE sets *reply and *consumed (bytes); SMTP_PARSE_MORE wants more input;
 * SMTP_PARSE_MALFORMED leaves both untouched. The caller limits how large input may grow.
 */
enum smtp_parse smtp_reply_parse(struct slice input, struct arena *arena, struct smtp_reply *reply,
                                 size_t *consumed);
/* Formats with CRLF, "250-" on all lines but the last, the status on each line. */
bool smtp_reply_append(struct buf *out, const struct smtp_reply *reply);

#endif
