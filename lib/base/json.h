/*
 * json.h - strings as JSON text (RFC 8259), for what tools and status print for programs.
 *
 * Any bytes go in, valid JSON comes out: bytes that are no UTF-8 become '?'. No state.
 */
#ifndef DAKIYA_BASE_JSON_H
#define DAKIYA_BASE_JSON_H

#include "lib/base/buf.h"

/* The text in quotes. False when the buf is full. */
bool json_append_string(struct buf *out, struct slice text);
/* "name":"text" - put a comma in front yourself. */
bool json_append_member(struct buf *out, const char *name, struct slice text);

#endif
