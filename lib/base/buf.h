/*
 * buf.h - a growing byte buffer with a hard maximum; the type of all output.
 *
 * A write that would pass the limit, or that finds no memory, changes nothing, returns false and
 * marks the buffer failed; later writes fail, too, so a run of appends needs one check at the
 * end. buf_clear forgets the mark. Zero-initialise with BUF(limit); buf_free releases.
 */
#ifndef DAKIYA_BASE_BUF_H
#define DAKIYA_BASE_BUF_H

#include <stdarg.h>
#include <stdint.h>

#include "lib/base/slice.h"

struct buf {
	char  *data;
	size_t length;
	size_t capacity;
	size_t limit; /* most bytes it may ever hold */
	bool   has_failed;
};

#define BUF(most) ((struct buf){ .limit = (most) })

void buf_free(struct buf *buf);
void buf_clear(struct buf *buf); /* keeps the memory */
/* Makes room for more bytes behind the end; buf->data + length may then be written. */
bool buf_reserve(struct buf *buf, size_t more);
/*
 * The same as far as the limit allows: false means that memory is out, and nothing else. For text
 * that is decoded: what fails afterwards is the text's fault.
 */
bool buf_reserve_some(struct buf *buf, size_t most);
bool buf_append(struct buf *buf, struct slice bytes);
bool buf_append_text(struct buf *buf, const char *text);
bool buf_append_byte(struct buf *buf, char byte);
bool buf_append_format(struct buf *buf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
bool buf_append_vformat(struct buf *buf, const char *format, va_list arguments)
	__attribute__((format(printf, 2, 0)));
bool buf_append_u64(struct buf *buf, uint64_t number); /* decimal */
/* ASCII letters in lower case. */
bool buf_append_lower(struct buf *buf, struct slice bytes);
/* As buf_append, control bytes and bytes that are no UTF-8 as '?': for logs and replies. */
bool buf_append_printable(struct buf *buf, struct slice bytes);
/* Drops the first count bytes (all when fewer are there) and moves the rest to the front. */
void buf_consume(struct buf *buf, size_t count);
void buf_truncate(struct buf *buf, size_t length);
/* What is in it; valid until the next change. */
struct slice buf_slice(const struct buf *buf);
/* The same as a NUL-terminated string (the NUL is not counted); "" when it has failed. */
const char *buf_text(struct buf *buf);

#endif
