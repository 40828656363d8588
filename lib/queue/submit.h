/* submit.h - constants of the submit messages (sendmail to pickup) in lib/ipc/messages.def. */
#ifndef DAKIYA_QUEUE_SUBMIT_H
#define DAKIYA_QUEUE_SUBMIT_H

#include "lib/queue/envelope.h"

enum submit_status {
	SUBMIT_OK,          /* it is in the queue */
	SUBMIT_TRY_LATER,   /* the queue cannot be reached, or a lookup failed */
	SUBMIT_NO_SPACE,    /* the queue is full */
	SUBMIT_BUSY,        /* this user has too many submissions under way */
	SUBMIT_NOT_ALLOWED, /* authorized_submit_users */
	SUBMIT_BAD_DATA,    /* malformed addresses and the like */
	SUBMIT_REFUSED,     /* a rule about content, or its size */
	SUBMIT_UNKNOWN,     /* to submit_ask: no such message was taken in */
};

/* Flags of the envelope that a user may set. */
#define SUBMIT_FLAGS                                                                               \
	(ENVELOPE_8BIT | ENVELOPE_SMTPUTF8 | ENVELOPE_REQUIRETLS | ENVELOPE_VERP |                 \
	 ENVELOPE_VERIFY | ENVELOPE_REPORT | 0xffff0000u)

/* Sockets and directories below queue_directory. */
#define SUBMIT_SOCKET    "public/pickup"
#define SUBMIT_DIRECTORY "maildrop" /* a file whose name begins with a dot is not finished */

#define SUBMIT_CONTENT_MOST (32u * 1024) /* bytes of content in one message */

#endif
