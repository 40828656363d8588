/*
 * encode.h - base64 (RFC 4648 section 4), hexadecimal, quoted-printable (RFC 2045 6.7) and xtext
 * (RFC 3461 section 4).
 *
 * Decoders refuse anything that is not exactly in the encoding (no blanks, padding required,
 * unused bits zero) and leave the output as it was.
 */
#ifndef DAKIYA_BASE_ENCODE_H
#define DAKIYA_BASE_ENCODE_H

#include "lib/base/buf.h"

bool base64_encode(struct slice bytes, struct buf *out);
bool base64_decode(struct slice text, struct buf *out);
bool hex_encode(struct slice bytes, struct buf *out); /* lower case */
bool hex_decode(struct slice text, struct buf *out);
/*
 * quoted-printable (RFC 2045 6.7) of text with CRLF, given in pieces cut anywhere; begin with
 * { 0 }, close with quoted_end. No line is longer than 76; a CR or LF alone is encoded.
 */
struct quoted {
	size_t column;
	char   held; /* a blank or CR whose line may end here; 0 = none */
};
bool quoted_encode(struct quoted *quoted, struct slice bytes, struct buf *out);
bool quoted_end(struct quoted *quoted, struct buf *out);

bool xtext_encode(struct slice bytes, struct buf *out);
/* Also takes '=' as it is, which clients forget to encode. */
bool xtext_decode(struct slice text, struct buf *out);

#endif
