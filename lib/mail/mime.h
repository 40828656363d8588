/*
 * mime.h - the structure of a message as it comes, line by line: where headers of parts begin.
 *
 * RFC 2045 (Content-Type), 2046 (multipart, message). Nothing is decoded. The nesting and the
 * length of boundaries are bounded; work is linear in lines times the depth.
 */
#ifndef DAKIYA_MAIL_MIME_H
#define DAKIYA_MAIL_MIME_H

#include "lib/base/array.h"
#include "lib/mail/header.h"

enum mime_kind { MIME_LEAF, MIME_MULTIPART, MIME_MESSAGE };

struct mime_level {
	char  *boundary;
	size_t length;
	bool   is_digest; /* its parts are messages unless they say otherwise */
	size_t depth;
};

struct mime_walk {
	size_t nesting_limit;
	size_t boundary_limit; /* bytes of a boundary that are compared */
	ARRAY(struct mime_level) levels;
	size_t depth;
	/* of the header at hand */
	enum mime_kind kind;
	bool           is_digest;
	struct buf     boundary;
};

/* Begins with the message's own header. */
void mime_begin(struct mime_walk *walk, size_t nesting_limit, size_t boundary_limit);
void mime_end(struct mime_walk *walk);
/*
 * A field of the header at hand: Content-Type matters. A message that is encoded, which RFC 2046
 * 5.2.1 forbids, is walked into like any other, as Postfix does.
 */
void mime_take_field(struct mime_walk *walk, const struct header_field *field);

enum mime_next {
	MIME_BODY,     /* text, up to a boundary */
	MIME_HEADER,   /* the header of a message that is attached */
	MIME_TOO_DEEP, /* over the limit */
	MIME_NO_MEMORY,
};
/* The header at hand has ended. */
enum mime_next mime_end_header(struct mime_walk *walk);

enum mime_boundary {
	MIME_NO_BOUNDARY,
	MIME_PART_BEGINS, /* its header follows */
	MIME_PARTS_END,   /* text of the part around follows */
};
/* Looks whether a line, outside the message's own header, is a boundary of a part at hand. */
enum mime_boundary mime_take_line(struct mime_walk *walk, struct slice line);

/* Content-* and MIME-Version. */
bool mime_is_field(struct slice name);

#endif
