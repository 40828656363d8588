/*
 * flush.h - asks qmgr to deliver now what waits for a domain (ETRN). The answer says that it has
 * begun; it does not wait for the queue to be gone through.
 */
#ifndef DAKIYA_QUEUE_FLUSH_H
#define DAKIYA_QUEUE_FLUSH_H

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"

/* site: a domain or an address literal. False and *error when qmgr is away or has no time now. */
bool queue_flush_site(const char *socket_path, struct slice site, int64_t timeout_ms,
                      struct error *error);

#endif
