/*
 * sync.h - making a batch of written files durable with few waits for the disk.
 *
 * Measured (docs/mailboxes.md): on ext4, batches of 50 small files in 50 Maildirs reach 1.5 to 2
 * times the rate with two syncfs calls as with an fsync for each file and directory. But syncfs
 * waits for everybody's writes; when that took long, fsync is used for a while. Small batches and
 * file systems where syncfs may promise less (network) always use fsync, the data of all files
 * being sent to the disk (sync_file_range) before the first wait. Safe from several threads.
 */
#ifndef DAKIYA_MAILBOX_SYNC_H
#define DAKIYA_MAILBOX_SYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

struct mailbox_sync {
	bool             may_syncfs; /* the file system is one where syncfs is as good as fsync */
	uint64_t         device;     /* where that is known */
	_Atomic(int64_t) slow_until_ms;
};

/* Looks at the file system of directory. */
void mailbox_sync_init(struct mailbox_sync *sync, int directory);

/*
 * Makes what was written to the descriptors (files or directories) durable; false with *error
 * when that failed for any of them. is_same_device: all lie on the file system of the init call.
 */
bool mailbox_sync_all(struct mailbox_sync *sync, const int *fds, size_t count, bool is_same_device,
                      struct error *error);

/*
 * One call for the whole file system, which fd lies on: true when that made everything durable.
 * False when it is not worth it for count files, not good there, or failed: each is to be synced.
 */
bool mailbox_sync_whole(struct mailbox_sync *sync, int fd, size_t count);

#endif
