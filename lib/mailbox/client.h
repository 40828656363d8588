/* client.h - constants of the mailbox messages, and how pop3d and others use a mailbox channel. */
#ifndef DAKIYA_MAILBOX_CLIENT_H
#define DAKIYA_MAILBOX_CLIENT_H

enum mailbox_status {
	MAILBOX_OK,
	MAILBOX_IN_USE,    /* locked by another session */
	MAILBOX_TRY_LATER, /* I/O trouble, out of descriptors */
	MAILBOX_GONE,      /* that message is no longer there */
	MAILBOX_FULL,
};

enum attach_kind {
	ATTACH_JOBS,    /* the channel leads to qmgr: say agent_hello and pull jobs */
	ATTACH_MAILBOX, /* the channel is one login's: serve mailbox_* for this mailbox only */
	ATTACH_SPOOL,   /* as ATTACH_JOBS, to the worker with the group of mail_spool_directory */
};

#endif
