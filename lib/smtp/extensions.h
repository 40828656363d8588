/*
 * extensions.h - the SMTP service extensions that we know, as bits, for server and client.
 *
 * RFC 5321 4.1.1.1 (EHLO). One table of keywords; EHLO is written in its order.
 */
#ifndef DAKIYA_SMTP_EXTENSIONS_H
#define DAKIYA_SMTP_EXTENSIONS_H

#include "lib/base/buf.h"

enum smtp_extension {
	SMTP_PIPELINING = 1 << 0, /* RFC 2920 */
	SMTP_SIZE = 1 << 1,       /* RFC 1870 */
	SMTP_VRFY = 1 << 2,
	SMTP_ETRN = 1 << 3,     /* RFC 1985 */
	SMTP_STARTTLS = 1 << 4, /* RFC 3207 */
	SMTP_AUTH = 1 << 5,     /* RFC 4954 */
	SMTP_XCLIENT = 1 << 6,
	SMTP_ENHANCEDSTATUSCODES = 1 << 7, /* RFC 2034 */
	SMTP_8BITMIME = 1 << 8,            /* RFC 6152 */
	SMTP_DSN = 1 << 9,                 /* RFC 3461 */
	SMTP_SMTPUTF8 = 1 << 10,           /* RFC 6531 */
	SMTP_CHUNKING = 1 << 11,           /* RFC 3030 */
	SMTP_REQUIRETLS = 1 << 12,         /* RFC 8689 */
	SMTP_XFORWARD = 1 << 13,
	SMTP_XVERP = 1 << 14,
};

/* The bit of a keyword in any case; 0 when it is not known. */
unsigned smtp_extension_find(struct slice keyword);
/* The bits of a list as in smtpd_discard_ehlo_keywords; words not known are passed over. */
unsigned smtp_extension_list(struct slice words);
/* The keywords of bits with their parameters, one at a time: *at starts at 0; NULL at the end. */
const char *smtp_extension_next(unsigned bits, size_t *at, unsigned *bit);

#endif
