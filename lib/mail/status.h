/* status.h - enhanced status codes (RFC 3463): class.subject.detail, 0.0.0 when not known. */
#ifndef DAKIYA_MAIL_STATUS_H
#define DAKIYA_MAIL_STATUS_H

#include "lib/base/buf.h"

struct enhanced_status {
	unsigned char class;    /* 2, 4, 5; 0 = none */
	unsigned short subject; /* 0..999 */
	unsigned short detail;
};

/* At the start of text, followed by a blank or the end; *length = its bytes. False: none there. */
bool enhanced_status_parse(struct slice text, struct enhanced_status *status, size_t *length);
bool enhanced_status_append(struct buf *out, struct enhanced_status status);

#endif
