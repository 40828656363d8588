/*
 * mailfile_lock.h - locks on a mailbox that is one file, as other mail programs honour them.
 *
 * fcntl and flock are the kernel's and go with the process. The dotlock is a file NAME.lock beside
 * the mailbox. Ours begins with our process id, as liblockfile's do, and is itself locked as long
 * as we live: one of ours that nobody holds was left by a crash and is taken over at once.
 * Somebody else's is stale when it is older than stale_lock_time.
 *
 * All are taken or none is: nothing is held while another is waited for. So it does not matter in
 * which order other programs take theirs.
 */
#ifndef DAKIYA_MAILBOX_MAILFILE_LOCK_H
#define DAKIYA_MAILBOX_MAILFILE_LOCK_H

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/conf/parameters.h"

enum mailfile_lock_method {
	MAILFILE_FCNTL = 1 << 0,
	MAILFILE_FLOCK = 1 << 1,
	MAILFILE_DOTLOCK = 1 << 2,
	/* A dotlock is left out where the directory may not be written to: the others do then. */
	MAILFILE_DOTLOCK_MAY_FAIL = 1 << 3,
};

struct mailbox_lock_rules {
	unsigned methods;
	int64_t  wait_ms;  /* how long another may hold it before a delivery is put off */
	int64_t  stale_ms; /* the age of a foreign dotlock that is ignored */
};

/*
 * methods is the text of virtual_mailbox_lock or mailbox_delivery_lock; the times are those of
 * deliver_lock_attempts, deliver_lock_delay and stale_lock_time. False when methods has a word
 * that is none, or no word.
 */
bool mailfile_lock_rules(struct mailbox_lock_rules *rules, const char *methods,
                         const struct parameters *parameters);

struct mailfile_lock {
	int         directory; /* borrowed */
	const char *name;      /* borrowed */
	int         dotlock;   /* descriptor of the lock file; -1 = not taken */
};

enum mailfile_lock_result {
	MAILFILE_LOCKED,
	MAILFILE_BUSY,  /* another holds a lock; *error says which */
	MAILFILE_ERROR, /* it cannot be locked */
};

/* Tries once. fd is the open mailbox. */
enum mailfile_lock_result mailfile_lock_try(struct mailfile_lock *lock, int directory,
                                            const char *name, int fd,
                                            const struct mailbox_lock_rules *rules,
                                            struct error                    *error);
/* Gives the dotlock back; the kernel's locks end when the mailbox is closed. */
void mailfile_unlock(struct mailfile_lock *lock);

#endif
