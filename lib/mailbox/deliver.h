/*
 * deliver.h - delivers batches of messages into mailboxes, durably, each at most once.
 *
 * Maildir: all files of a batch are written to tmp/, synced together, renamed into new/, then the
 * directories are synced once each. One-file mailboxes (mbox.h) come after that: what a batch has
 * for one file is appended under one lock with one sync, and those that others have locked are
 * waited for last. Runs as the mailbox's owner. A store may be used from several threads; one
 * batch belongs to one thread.
 */
#ifndef DAKIYA_MAILBOX_DELIVER_H
#define DAKIYA_MAILBOX_DELIVER_H

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/mailbox/mailfile_lock.h"
#include "lib/mailbox/sync.h"

/* One message; may be shared by several deliveries. Borrowed until the batch is done. */
struct mailbox_message {
	struct slice queue_id;
	struct slice sender; /* reverse-path without <> */
	int64_t      arrival_us;
	struct slice content; /* CRLF line ends; when file < 0 */
	int          file;    /* otherwise content lies here */
	uint64_t     file_offset, file_length;
	/* May have been delivered before, without our knowing (a crash lay between): look for it
	 * in new/ and cur/, which costs reading them once a batch and mailbox. */
	bool may_be_repeat;
};

enum mailbox_outcome {
	MAILBOX_DELIVERED,
	MAILBOX_DEFERRED,
	MAILBOX_REFUSED,
};

struct mailbox_delivery {
	/* given */
	const struct mailbox_message *message;
	struct slice                  recipient;
	struct slice                  original; /* empty = same as recipient */
	struct slice mailbox; /* path below the base; '/' at the end = Maildir, else mbox */
	uint64_t     quota;   /* bytes, 0 = none */
	bool         without_delivered_to;
	/* the result */
	enum mailbox_outcome outcome;
	const char          *status;    /* "2.0.0" */
	struct error         reason;    /* "delivered to maildir" */
	bool                 was_there; /* it was recognised as delivered before */
};

struct mailbox_store {
	int                       base;          /* directory descriptor, borrowed */
	const char               *base_name;     /* the parameter it is from, NULL = a user's */
	const char               *host;          /* myhostname, for names */
	uint64_t                  message_limit; /* of a message, and of an mbox file; 0 = none */
	const char               *limit_name;    /* the parameter it is from */
	bool                      defer_over_quota; /* virtual_quota_action = defer */
	struct mailbox_lock_rules lock;             /* of mbox files */
	struct mailbox_sync       sync;
	_Atomic(uint64_t)         serial; /* for names in tmp/ */
};

/*
 * base and host are borrowed. The base is virtual_mailbox_base, limits are virtual_mailbox_limit's
 * and none, locks are fcntl and dotlock with Postfix's times: set what is different.
 */
void mailbox_store_init(struct mailbox_store *store, int base, const char *host);

/* Carries out all of them and fills in their results. */
void mailbox_deliver(struct mailbox_store *store, struct mailbox_delivery *deliveries,
                     size_t count);

#endif
