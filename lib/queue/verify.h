/*
 * verify.h - asking verify(8) whether an address would be taken.
 *
 * verify owns the cache and the probes; whoever asks waits as long as it likes and gets what is
 * known then. Safe from several threads: a small pool of channels is shared.
 */
#ifndef DAKIYA_QUEUE_VERIFY_H
#define DAKIYA_QUEUE_VERIFY_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"

/* The numbers are those of Postfix's cache files, so that verify reads them. */
enum verify_status {
	VERIFY_GOOD = 0,    /* it would be delivered */
	VERIFY_LATER = 1,   /* nothing could be learnt */
	VERIFY_BAD = 2,     /* it would be returned */
	VERIFY_UNKNOWN = 3, /* nothing is known yet */
};

struct verify_client;
/* At most waiting_most threads wait at a time; for others what is known must do. */
struct verify_client *verify_client_create(const char *path, size_t waiting_most);
void                  verify_client_destroy(struct verify_client **client);

/*
 * What is known of the address (after rewriting and aliases) within wait_ms. *reason is appended
 * to. False and *error when verify cannot be asked.
 */
bool verify_ask(struct verify_client *client, struct slice address, int64_t wait_ms,
                enum verify_status *status, struct buf *reason, struct error *error);

#endif
