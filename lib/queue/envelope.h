/* envelope.h - constants of the envelope and recipient records in lib/ipc/messages.def. */
#ifndef DAKIYA_QUEUE_ENVELOPE_H
#define DAKIYA_QUEUE_ENVELOPE_H

#include "lib/ipc/messages.h"

enum envelope_flag {
	ENVELOPE_8BIT = 1 << 0,      /* content holds bytes above 127 (BODY=8BITMIME or found) */
	ENVELOPE_SMTPUTF8 = 1 << 1,  /* an address or header field is UTF-8 (RFC 6531) */
	ENVELOPE_HOLD = 1 << 2,      /* goes on hold at once */
	ENVELOPE_IS_NOTICE = 1 << 3, /* made by bounce: never answered by another notice */
	ENVELOPE_DOUBLE_BOUNCE = 1 << 4,
	ENVELOPE_REQUIRETLS = 1 << 5,
	ENVELOPE_INTERNAL = 1 << 6,
	ENVELOPE_VERP = 1 << 7, /* a sender for each recipient; the upper 16 bits: see verp.h */
	/* JOB_VERIFY: recipients are asked for, nothing is delivered. */
	ENVELOPE_VERIFY = 1 << 8,
	ENVELOPE_REPORT = 1 << 9, /* the sender is told what became of the first attempt */
};

enum dsn_notify {
	DSN_NOTIFY_NEVER = 1 << 0,
	DSN_NOTIFY_SUCCESS = 1 << 1,
	DSN_NOTIFY_FAILURE = 1 << 2,
	DSN_NOTIFY_DELAY = 1 << 3,
	/* Made by intake alone: an alias whose addresses are recipients of their own. Nothing is
	 * delivered to it; the sender is told that it was expanded. */
	DSN_NOTIFY_EXPANDED = 1 << 4,
};
enum dsn_ret { DSN_RET_NONE, DSN_RET_FULL, DSN_RET_HDRS };

enum intake_status {
	INTAKE_OK,
	INTAKE_TRY_LATER, /* 451 4.3.0 */
	INTAKE_NO_SPACE,  /* 452 4.3.1 */
	INTAKE_REFUSED,   /* malformed: a bug, logged */
};

/*
 * Bytes of content that travel inside messages between daemons and in the journal. Above the first
 * only while a process holds little of it (intake_hold_content); the rest goes through a spool
 * file, which costs two more syncs.
 */
#define INLINE_CONTENT_MOST (64u * 1024)
#define HELD_CONTENT_MOST   (256u * 1024)

#endif
